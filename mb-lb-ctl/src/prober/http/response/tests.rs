use proptest::prelude::*;

use super::*;

/// All at once, and then the end.
fn decode(bytes: &[u8], to_head: bool) -> Result<Response, Garbage> {
    let mut decoder = Decoder::new(to_head);
    decoder.feed(bytes)?;
    decoder.end()
}

fn good(bytes: &[u8]) -> (u16, String, Extent) {
    let response = decode(bytes, false).expect("a response");
    let body = String::from_utf8(response.body).expect("text");
    (response.status, body, response.extent)
}

#[test]
fn bodies_end_as_the_header_says() {
    use Extent::{Part, Whole};
    for (bytes, status, body, extent) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
            "ok",
            Whole,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay",
            200,
            "ok",
            Whole,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
            200,
            "ok",
            Part,
        ),
        ("HTTP/1.0 200\r\n\r\nok", 200, "ok", Whole),
        ("HTTP/1.1 503 No\nA: b\n\nok", 503, "ok", Whole),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", Whole),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\nA: b\r\n\r\n",
            200,
            "ok",
            Whole,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 99\r\n\r\n2\nok\n0\n\n",
            200,
            "ok",
            Whole,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
            200,
            "ok",
            Part,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            200,
            "ok",
            Part,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
            200,
            "ok",
            Whole,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            200,
            "",
            Whole,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n\u{0}\u{1}",
            101,
            "",
            Whole,
        ),
    ] {
        assert_eq!(
            good(bytes.as_bytes()),
            (status, body.to_owned(), extent),
            "{bytes}"
        );
    }
    let head = decode(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true).expect("no body");
    assert_eq!((head.extent, head.phrase.as_str()), (Whole, "OK"));
}

#[test]
fn what_is_no_response() {
    let fault = |bytes: &str| decode(bytes.as_bytes(), false).expect_err(bytes);
    assert_eq!(fault(""), Garbage::Silence);
    assert_eq!(fault("HTTP/1.1 200 OK\r\nA"), Garbage::Cut);
    assert_eq!(fault("HT"), Garbage::Cut);
    for bytes in [
        "SSH-2.0-x\r\n",
        "220 mx1\r\n",
        "\r\n\r\n",
        "HTTP/2 200\r\n",
        "x",
        "\u{16}\u{3}",
    ] {
        assert!(matches!(fault(bytes), Garbage::NotHttp(_)), "{bytes:?}");
    }
    for header in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 abc OK",
        "HTTP/1.1 200 OK\r\nA b",
        "HTTP/1.1 200 OK\r\nContent-Length: -1",
        "HTTP/1.1 200 OK\r\nContent-Length: +1",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2",
    ] {
        let bytes = format!("{header}\r\n\r\n");
        assert!(matches!(fault(&bytes), Garbage::Header(_)), "{bytes:?}");
    }
    for chunks in [
        "x\r\n",
        "\r\n",
        "-1\r\n",
        "2\r\nokay\r\n",
        "ffffffffffffffffff\r\n",
        &"1".repeat(2000),
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert_eq!(fault(&bytes), Garbage::Chunks, "{chunks}");
    }
}

#[test]
fn length_is_bounded() {
    let endless = [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &[b'a'; LONGEST]].concat();
    assert_eq!(decode(&endless, false), Err(Garbage::TooLong));
    let many = [
        b"HTTP/1.1 200 OK\r\n".as_slice(),
        &b"A: b\r\n".repeat(200),
        b"\r\n",
    ]
    .concat();
    assert!(matches!(decode(&many, false), Err(Garbage::Header(_))));
    let head = b"HTTP/1.1 200 OK\r\n\r\n";
    let big = [head.as_slice(), &[b'a'; 2 * LONGEST]].concat();
    let response = decode(&big, false).expect("a response");
    assert_eq!(response.extent, Extent::Enough);
    assert_eq!(response.body.len(), LONGEST - head.len());
    let endless = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(LONGEST);
    assert_eq!(decode(&endless, false), Err(Garbage::TooLong));
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        "HTTP/1\\.[01] [1-5][0-9]{2} [a-z]{0,8}\r?\n".prop_map(String::into_bytes),
        "content-length: [0-9]{1,3}\r\n".prop_map(String::into_bytes),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        "[0-9a-f]{1,2}\r\n".prop_map(String::into_bytes),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// However the bytes are cut into packets, they say the same.
    #[test]
    fn packets_do_not_matter(bytes in noise(), size in 1usize..9, to_head: bool) {
        let mut decoder = Decoder::new(to_head);
        let mut result = Ok(false);
        for piece in bytes.chunks(size) {
            result = decoder.feed(piece);
            if result != Ok(false) {
                break;
            }
        }
        let slowly = result.and_then(|_| decoder.end());
        match (slowly, decode(&bytes, to_head)) {
            // It is quoted as far as it had come.
            (Err(Garbage::NotHttp(early)), Err(Garbage::NotHttp(late))) => {
                prop_assert!(late.starts_with(early.trim_end()));
            }
            (slowly, at_once) => prop_assert_eq!(slowly, at_once),
        }
    }
}
