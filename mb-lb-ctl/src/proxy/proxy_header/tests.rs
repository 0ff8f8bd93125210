use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::{Decoded, Error, V1_LONGEST, V2_LONGEST, decode, encode};
use crate::config::ProxyHeader;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn addresses(from: &str, to: &str) -> (SocketAddr, SocketAddr) {
    (from.parse().unwrap(), to.parse().unwrap())
}

fn v2(rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, rest].concat()
}

#[test]
fn written() {
    let lines: &[(&str, &str, &str)] = &[
        (
            "192.0.2.1:56324",
            "192.0.2.2:443",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
        ),
        (
            "[2001:db8::1]:1",
            "[2001:db8::2]:65535",
            "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
        ),
        (
            "[::ffff:192.0.2.1]:1",
            "[::ffff:192.0.2.2]:2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        ),
        (
            "[::ffff:192.0.2.1]:1",
            "192.0.2.2:2",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        ),
        (
            "[2001:db8::1]:1",
            "192.0.2.2:2",
            "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 1 2\r\n",
        ),
    ];
    for (from, to, line) in lines {
        let (from, to) = addresses(from, to);
        let written = encode(ProxyHeader::V1, from, to);
        assert_eq!(String::from_utf8(written).unwrap(), *line);
    }
    let (from, to) = addresses("192.0.2.1:258", "[::ffff:192.0.2.2]:443");
    let rest = [0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 1, 187];
    assert_eq!(encode(ProxyHeader::V2, from, to), v2(&rest));
    let (from, to) = addresses("[2001:db8::1]:258", "[2001:db8::2]:443");
    let written = encode(ProxyHeader::V2, from, to);
    assert_eq!(written[12..16], [0x21, 0x21, 0, 36]);
    assert_eq!(written.len(), 52);
    assert_eq!(written[48..], [1, 2, 1, 187]);
}

#[test]
fn lines() {
    let header = |length, addresses| Ok(Decoded::Header { length, addresses });
    let four = addresses("192.0.2.1:1", "192.0.2.2:2");
    let six = addresses("[2001:db8::1]:0", "[::ffff:192.0.2.2]:65535");
    let long = |length: usize| format!("PROXY UNKNOWN{}\r\n", "x".repeat(length - 15));
    let spaced = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    let rows: &[(&str, Result<Decoded, Error>)] = &[
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            header(36, Some(four)),
        ),
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET",
            header(36, Some(four)),
        ),
        (
            "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 0 65535\r\n",
            header(49, Some(six)),
        ),
        ("PROXY UNKNOWN\r\n", header(15, None)),
        ("PROXY UNKNOWN ffff::1 :: what ever\r\n", header(36, None)),
        (&spaced(V1_LONGEST), header(V1_LONGEST, None)),
        (&spaced(V1_LONGEST + 1), Err(Error::LongLine)),
        (&spaced(V1_LONGEST + 2), Err(Error::LongLine)),
        (
            &spaced(V1_LONGEST)[..V1_LONGEST - 1],
            Ok(Decoded::Incomplete),
        ),
        (&long(40), Err(Error::Protocol)),
        ("", Ok(Decoded::Incomplete)),
        ("PRO", Ok(Decoded::Incomplete)),
        ("PROXY TCP", Ok(Decoded::Incomplete)),
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r",
            Ok(Decoded::Incomplete),
        ),
        ("GET / HTTP/1.1\r\n", Err(Error::Signature)),
        ("PROXZ", Err(Error::Signature)),
        ("proxy TCP4", Err(Error::Signature)),
        ("PROXY\r\n", Err(Error::Signature)),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", Err(Error::LineEnd)),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rG", Err(Error::LineEnd)),
        ("PROXY UDP4", Err(Error::Protocol)),
        ("PROXY UNK\r\n", Err(Error::Protocol)),
        ("PROXY \r\n", Err(Error::Protocol)),
        ("PROXY TCP4\r\n", Err(Error::SourceAddress)),
        (
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            Err(Error::SourceAddress),
        ),
        (
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            Err(Error::SourceAddress),
        ),
        (
            "PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
            Err(Error::SourceAddress),
        ),
        (
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            Err(Error::SourceAddress),
        ),
        ("PROXY TCP4 192.0.2.1\r\n", Err(Error::DestinationAddress)),
        (
            "PROXY TCP4 192.0.2.1 a 1 2\r\n",
            Err(Error::DestinationAddress),
        ),
        ("PROXY TCP4 192.0.2.1 192.0.2.2\r\n", Err(Error::SourcePort)),
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            Err(Error::SourcePort),
        ),
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            Err(Error::SourcePort),
        ),
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            Err(Error::DestinationPort),
        ),
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            Err(Error::DestinationPort),
        ),
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            Err(Error::Trailing),
        ),
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            Err(Error::Trailing),
        ),
    ];
    for (line, decoded) in rows {
        assert_eq!(decode(line.as_bytes()), *decoded, "{line:?}");
    }
}

#[test]
fn binary() {
    let header = |length, addresses| Ok(Decoded::Header { length, addresses });
    let four = addresses("192.0.2.1:258", "192.0.2.2:443");
    let tail = [192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 1, 187];
    let with = |fixed: [u8; 4], tail: &[u8]| v2(&[&fixed, tail].concat());
    let unix = vec![b'/'; 216];
    let longest = vec![0; 2048];
    let rows: &[(Vec<u8>, Result<Decoded, Error>)] = &[
        (with([0x21, 0x11, 0, 12], &tail), header(28, Some(four))),
        // Further fields are passed over, and what follows is not looked at.
        (
            with([0x21, 0x11, 0, 15], &[&tail[..], &[4, 0, 0, 22]].concat()),
            header(31, Some(four)),
        ),
        (with([0x20, 0x11, 0, 12], &tail), header(28, None)),
        (with([0x20, 0, 0, 0], &[]), header(16, None)),
        (with([0x20, 0xff, 0, 0], &[]), header(16, None)),
        (with([0x21, 0, 0, 0], &[]), header(16, None)),
        (with([0x21, 0x12, 0, 12], &tail), header(28, None)),
        (with([0x21, 0x31, 0, 216], &unix), header(232, None)),
        (with([0x21, 0, 8, 0], &longest), header(V2_LONGEST, None)),
        (
            with([0x21, 0x11, 0, 12], &tail[..11]),
            Ok(Decoded::Incomplete),
        ),
        (v2(&[]), Ok(Decoded::Incomplete)),
        (v2(&[0x21]), Ok(Decoded::Incomplete)),
        (v2(&[0x21, 0x11, 0]), Ok(Decoded::Incomplete)),
        (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), Err(Error::Signature)),
        (v2(&[0x11]), Err(Error::Version(1))),
        (v2(&[0x22]), Err(Error::Command(2))),
        (v2(&[0x21, 0x41]), Err(Error::Family(4))),
        (v2(&[0x21, 0x13]), Err(Error::Transport(3))),
        (v2(&[0x21, 0x11, 8, 1]), Err(Error::LongHeader(2049))),
        (v2(&[0x20, 0x00, 8, 1]), Err(Error::LongHeader(2049))),
        (v2(&[0x21, 0x11, 0, 11]), Err(Error::ShortAddresses(11))),
        (v2(&[0x21, 0x21, 0, 35]), Err(Error::ShortAddresses(35))),
        (v2(&[0x21, 0x31, 0, 215]), Err(Error::ShortAddresses(215))),
    ];
    for (bytes, decoded) in rows {
        assert_eq!(decode(bytes), *decoded, "{bytes:?}");
    }
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        any::<Ipv4Addr>().prop_map(|address| IpAddr::V6(address.to_ipv6_mapped())),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ];
    (ip, any::<u16>()).prop_map(SocketAddr::from)
}

proptest! {
    #[test]
    fn what_is_written_can_be_read(from in any_address(), to in any_address(), two: bool, after: Vec<u8>) {
        let version = if two { ProxyHeader::V2 } else { ProxyHeader::V1 };
        let mut bytes = encode(version, from, to);
        let length = bytes.len();
        prop_assert!(two || length <= V1_LONGEST);
        for end in 0..length {
            prop_assert_eq!(decode(&bytes[..end]), Ok(Decoded::Incomplete));
        }
        bytes.extend(after);
        let Ok(Decoded::Header { length: read, addresses: Some((a, b)) }) = decode(&bytes) else {
            panic!("{bytes:?}");
        };
        prop_assert_eq!(read, length);
        prop_assert_eq!((a.ip().to_canonical(), a.port()), (from.ip().to_canonical(), from.port()));
        prop_assert_eq!((b.ip().to_canonical(), b.port()), (to.ip().to_canonical(), to.port()));
    }

    /// More bytes neither mend what was wrong nor change what was read.
    #[test]
    fn verdicts_are_final(start in 0_usize..3, rest: Vec<u8>) {
        let start = [&b""[..], b"PROXY TCP4 ", SIGNATURE][start];
        let bytes = [start, &rest].concat();
        let mut before = Ok(Decoded::Incomplete);
        for end in 0..=bytes.len() {
            let now = decode(&bytes[..end]);
            if before != Ok(Decoded::Incomplete) {
                prop_assert_eq!(now, before);
            }
            before = now;
        }
    }
}
