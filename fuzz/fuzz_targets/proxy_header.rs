//! The first bytes of a connection where a PROXY header is expected: nothing panics, a verdict does not change as more comes,
//! and what was read can be written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::config::ProxyHeader;
use mb_lb_ctl::proxy::proxy_header::{Decoded, V1_LONGEST, V2_LONGEST, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    let mut before = Ok(Decoded::Incomplete);
    for end in 0..=bytes.len().min(V2_LONGEST) {
        let now = decode(&bytes[..end]);
        if before != Ok(Decoded::Incomplete) {
            assert_eq!(now, before);
        }
        before = now;
    }
    assert_eq!(decode(bytes), before);
    match before {
        Ok(Decoded::Incomplete) => assert!(bytes.len() < V2_LONGEST),
        Ok(Decoded::Header { length, addresses }) => {
            assert!(length <= bytes.len() && length <= V2_LONGEST);
            assert!(!bytes.starts_with(b"PROXY") || length <= V1_LONGEST);
            let Some((from, to)) = addresses else {
                return;
            };
            for version in [ProxyHeader::V1, ProxyHeader::V2] {
                let again = encode(version, from, to);
                let Ok(Decoded::Header {
                    length,
                    addresses: Some(read),
                }) = decode(&again)
                else {
                    panic!("{again:?}");
                };
                assert_eq!(length, again.len());
                assert_eq!(read.0.ip().to_canonical(), from.ip().to_canonical());
                assert_eq!(read.1.ip().to_canonical(), to.ip().to_canonical());
                assert_eq!((read.0.port(), read.1.port()), (from.port(), to.port()));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
