//! The gate beside the parsers that hyper uses: what passes is read by them, and in the same way.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn heads_that_pass_are_read_the_same_by_httparse(
        target in "[/*a-z#?:@ \\[\\]]{0,6}",
        name in "([Hh]ost|Content-Length|Transfer-Encoding|A|Connection)",
        value in "[a0-9, \t:]{0,4}|chunked|close",
        end in "\r\n|\n|\r",
    ) {
        let text = format!("GET /{target} HTTP/1.1\r\nHost: a{end}{name}: {value}\r\n\r\n");
        let (passed, ends, _) = run_split(limits(), text.as_bytes());
        if !passed.is_empty() {
            let mut fields = [httparse::EMPTY_HEADER; 10];
            let mut request = httparse::Request::new(&mut fields);
            let status = request.parse(&passed).unwrap();
            prop_assert!(status.is_complete());
            prop_assert_eq!(request.path.unwrap(), format!("/{target}"));
            prop_assert_eq!(request.headers.len(), 2);
            prop_assert!(request.path.unwrap().parse::<http::Uri>().is_ok());
            prop_assert!(ends.len() <= 1);
        }
    }

    #[test]
    fn any_bytes_have_one_outcome(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        run_split(limits(), &bytes);
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        run_split(limits(), &[head, bytes.as_slice()].concat());
    }

    #[test]
    fn chunks_come_through(sizes in proptest::collection::vec(1usize..20, 0..5), cut in 0usize..60) {
        let mut bytes = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for &size in &sizes {
            bytes.extend_from_slice(format!("{size:x}\r\n{}\r\n", "x".repeat(size)).as_bytes());
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let (passed, ends, violation) = run_split(limits(), &bytes);
        prop_assert_eq!(violation, None);
        prop_assert_eq!(ends, [bytes.len()]);
        prop_assert_eq!(&passed, &bytes);
        // Cut short: what is there passes, and no end is seen.
        let short = &bytes[..bytes.len() - cut.clamp(1, 5)];
        prop_assert_eq!(run(limits(), &[short]).1, Vec::<usize>::new());
    }
}

/// Each byte in a target that passes is one that http::Uri takes.
#[test]
fn targets_that_pass_are_read_by_hyper() {
    for (start, byte) in (0..=255u8).flat_map(|byte| [(b"/a", byte), (b"/?", byte)]) {
        let target = [start, [byte].as_slice(), b"b"].concat();
        let head = [b"GET ", target.as_slice(), b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        let passes = run(limits(), &[&head]).2.is_none();
        let is_uri = http::Uri::try_from(target.as_slice()).is_ok();
        assert!(!passes || is_uri, "{byte:#x}");
        if !passes && is_uri {
            assert!(byte == b'#' || byte >= 0x7f, "{byte:#x} {:?}", byte as char);
        }
    }
}
