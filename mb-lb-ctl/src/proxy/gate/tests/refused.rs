//! A row for all that must be refused.

use super::*;
use Fault::*;

#[test]
fn heads() {
    let get = |rest: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{rest}");
    let post = |rest: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}\r\n\r\n");
    let target = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let host = |value: &str| format!("GET / HTTP/1.1\r\nHost:{value}\r\n\r\n");
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    let rows: Vec<(String, Fault)> = vec![
        // Two lengths, or one that can be read in two ways.
        (
            post("Content-Length: 3\r\nTransfer-Encoding: chunked"),
            TwoLengths,
        ),
        (
            post("Transfer-Encoding: chunked\r\nContent-Length: 3"),
            TwoLengths,
        ),
        (
            post("Content-Length: 3\r\nContent-Length: 3"),
            ContentLengthTwice,
        ),
        (
            post("Content-Length: 3\r\ncontent-length: 4"),
            ContentLengthTwice,
        ),
        (post("Content-Length: 3, 3"), ContentLength),
        (post("Content-Length: +3"), ContentLength),
        (post("Content-Length: -3"), ContentLength),
        (post("Content-Length: 3 3"), ContentLength),
        (post("Content-Length: 0x3"), ContentLength),
        (post("Content-Length: 3;a"), ContentLength),
        (post("Content-Length: "), ContentLength),
        (post("Content-Length: 9223372036854775808"), ContentLength),
        (post("Content-Length: 18446744073709551617"), ContentLength),
        (post("Content-Length: 00000000000000000003"), ContentLength),
        (post("Content-Length: 101"), BodySize),
        // Transfer-Encoding.
        (post("Transfer-Encoding: chunked\t"), TransferEncoding),
        (post("Transfer-Encoding: chunked "), TransferEncoding),
        (post("Transfer-Encoding:\tchunked"), TransferEncoding),
        (post("Transfer-Encoding: xchunked"), TransferEncoding),
        (post("Transfer-Encoding: \"chunked\""), TransferEncoding),
        (post("Transfer-Encoding: chunked;a=b"), TransferEncoding),
        (
            post("Transfer-Encoding: chunked, chunked"),
            TransferEncoding,
        ),
        (post("Transfer-Encoding: chunked, gzip"), TransferEncoding),
        (post("Transfer-Encoding: , chunked"), TransferEncoding),
        (
            post("Transfer-Encoding: identity, chunked"),
            TransferEncoding,
        ),
        (post("Transfer-Encoding: identity"), TransferEncoding),
        (post("Transfer-Encoding: gzip"), TransferEncoding),
        (post("Transfer-Encoding: gzip, chunked"), TransferCoding),
        (post("Transfer-Encoding: \u{b}chunked"), FieldValue),
        (
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            TransferEncodingTwice,
        ),
        (
            post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
            TransferEncoding,
        ),
        (
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            TransferEncodingVersion,
        ),
        // Lines.
        (get("A: b\rC: d\r\n\r\n"), FieldValue),
        (get("A: b\n\r\n"), LineEnd),
        (get("A: b\r\n\n"), LineEnd),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n".into(), LineEnd),
        ("GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n".into(), LineEnd),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), LineEnd),
        (get("A: b\r\n c\r\n\r\n"), Fold),
        (get("A: b\r\n\tc\r\n\r\n"), Fold),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n".into(), Fold),
        (get("A: b\0c\r\n\r\n"), FieldValue),
        (get("A: b\u{7f}c\r\n\r\n"), FieldValue),
        (get("A: b\u{1}c\r\n\r\n"), FieldValue),
        (get("A : b\r\n\r\n"), FieldName),
        (get("A\t: b\r\n\r\n"), FieldName),
        (get(": b\r\n\r\n"), FieldName),
        (get("A\r\n\r\n"), FieldName),
        (get("A b: c\r\n\r\n"), FieldName),
        (get("A\0: c\r\n\r\n"), FieldName),
        (get("Ä: c\r\n\r\n"), FieldName),
        (get("A(: c\r\n\r\n"), FieldName),
        (get("Content-Length\u{b}: 3\r\n\r\n"), FieldName),
        // Host.
        ("GET / HTTP/1.1\r\n\r\n".into(), HostMissing),
        (get("Host: a\r\n\r\n"), HostTwice),
        (get("hOST: b\r\n\r\n"), HostTwice),
        (host(""), HostSyntax),
        (host(" "), HostSyntax),
        (host(" :80"), HostSyntax),
        (host(" a b"), HostSyntax),
        (host(" a,b"), HostSyntax),
        (host(" a@b"), HostSyntax),
        (host(" a/b"), HostSyntax),
        (host(" a:b"), HostSyntax),
        (host(" a:80:80"), HostSyntax),
        (host(" a:99999"), HostSyntax),
        (host(" [::1"), HostSyntax),
        (host(" [::1]x"), HostSyntax),
        (host(" [x]"), HostSyntax),
        (host(" ä"), HostSyntax),
        (target("http://b/"), HostMismatch),
        (target("http://a:81/"), HostMismatch),
        (target("https://a:80/"), HostMismatch),
        ("GET / HTTP/1.0\r\nHost: \r\n\r\n".into(), HostSyntax),
        // Targets.
        (target("/a#b"), Target),
        (target("/\u{1}"), Target),
        (target("/\u{7f}"), Target),
        (target("/\0"), Target),
        (target("/ä"), Target),
        (target("/\ta"), Target),
        (target("/a<b"), Target),
        // The http crate has no such query either.
        (target("/a?b=\"c\""), Target),
        (target("a"), Target),
        (target("*"), Target),
        (target("a:80"), Target),
        (target("ftp://a/"), Target),
        (target("http://"), Target),
        (target("http:///x"), Target),
        (target("http://u@a/"), Target),
        (target("http://a b/"), RequestLine),
        (target("/a b"), RequestLine),
        (line("GET  / HTTP/1.1"), RequestLine),
        (line("GET /  HTTP/1.1"), RequestLine),
        (line("GET / HTTP/1.1 "), RequestLine),
        (line("GET\t/ HTTP/1.1"), RequestLine),
        (line("GET /"), RequestLine),
        (line("GET"), RequestLine),
        (
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            RequestLine,
        ),
        (line(" GET / HTTP/1.1"), Method),
        (line("G(T / HTTP/1.1"), Method),
        (line("\u{16}\u{3}\u{1}"), Method),
        (line("GET / HTTP/1.1x"), VersionSyntax),
        (line("GET / http/1.1"), VersionSyntax),
        (line("GET / HTTP/1"), VersionSyntax),
        (line("GET / HTTP/1.10"), VersionSyntax),
        (line("GET / HTTP/+1.1"), VersionSyntax),
        (line("GET / HTTP/1.2"), Version),
        (line("GET / HTTP/0.9"), Version),
        (line("GET / HTTP/2.0"), Version),
        (line("PRI * HTTP/2.0"), Version),
        (line("CONNECT a:443 HTTP/1.1"), Connect),
        // Limits.
        (get(&"A: b\r\n".repeat(10)), FieldCount),
        (get(&format!("A: {}\r\n\r\n", "b".repeat(1024))), HeaderSize),
        (format!("GET /{}", "a".repeat(1024)), HeaderSize),
        ("A".repeat(1024), HeaderSize),
    ];
    for (request, fault) in rows {
        // A good one before: it passes, and nothing of the other.
        let before = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let bytes = [before, request.as_bytes()].concat();
        let (passed, ends, violation) = run_split(limits(), &bytes);
        assert_eq!(passed, before, "{request:?}");
        assert_eq!(ends, [before.len()]);
        let place = Place::Head;
        assert_eq!(violation, Some(Violation { fault, place }), "{request:?}");
    }
}

#[test]
fn bodies() {
    // Content; what of it may pass.
    let rows: &[(&[u8], usize, Fault)] = &[
        (b"\r\n", 0, ChunkSize),
        (b"x\r\n", 0, ChunkSize),
        (b" 3\r\n", 0, ChunkSize),
        (b"3 \r\n", 1, ChunkSize),
        (b"3 ;a\r\n", 1, ChunkSize),
        (b"0x3\r\n", 1, ChunkSize),
        (b"+3\r\n", 0, ChunkSize),
        (b"-3\r\n", 0, ChunkSize),
        (b"3_\r\n", 1, ChunkSize),
        (b";a\r\n", 0, ChunkSize),
        (b"0000000000000003\r\n", 15, ChunkSize),
        (b"FFFFFFFFFFFFFFFF\r\n", 15, ChunkSize),
        (b"10000000000000000\r\n", 15, ChunkSize),
        (b"FFFFFFFFFFFFFFF\r\n", 16, BodySize),
        (b"3\n", 1, ChunkSize),
        (b"3\rx", 2, LineEnd),
        (b"3\r\r\n", 2, LineEnd),
        (b"3;a\nb", 3, ChunkExtension),
        (b"3;a\0\r\n", 3, ChunkExtension),
        (b"3;a\rb\r\n", 4, LineEnd),
        (b"3\r\nabcd\r\n", 6, ChunkEnd),
        (b"3\r\nabc\n", 6, ChunkEnd),
        (b"3\r\nabc\rx", 7, ChunkEnd),
        (b"3\r\nabc0\r\n\r\n", 6, ChunkEnd),
        (b"60\r\n", 3, BodySize),
        // Trailers: none pass.
        (b"0\r\nA: b\n\r\n", 3, LineEnd),
        (b"0\r\nA: b\rc\r\n\r\n", 3, FieldValue),
        (b"0\r\nA : b\r\n\r\n", 3, FieldName),
        (b"0\r\n b\r\n\r\n", 3, Fold),
        (b"0\r\nContent-Length: 3\r\n\r\n", 3, Trailer),
        (b"0\r\ntransfer-encoding: chunked\r\n\r\n", 3, Trailer),
        (b"0\r\nHost: b\r\n\r\n", 3, Trailer),
        (b"0\r\n\n", 3, LineEnd),
        (b"0\r\nGET / HTTP/1.1\r\n\r\n", 3, FieldName),
    ];
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let limits = Limits {
        body: Some(95),
        ..limits()
    };
    for &(content, passes, fault) in rows {
        let bytes = [head, content].concat();
        let (passed, ends, violation) = run_split(limits, &bytes);
        let text = String::from_utf8_lossy(content);
        let place = Place::Body;
        assert_eq!(violation, Some(Violation { fault, place }), "{text:?}");
        assert_eq!(passed.len(), head.len() + passes, "{text:?}");
        assert!(ends.is_empty());
    }
}

#[test]
fn bodies_without_measure() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let refused = |content: Vec<u8>| run(limits(), &[head, &content]).2.unwrap().fault;
    // One long extension, and many short ones.
    assert_eq!(
        refused([b"1;".as_slice(), &[b'a'; 5000]].concat()),
        ChunkExtension
    );
    let unlimited = Limits {
        body: None,
        ..limits()
    };
    let chunks = b"1;aaaaaaa\r\nx\r\n".repeat(1000);
    assert_eq!(
        run(unlimited, &[head, &chunks]).2.unwrap().fault,
        ChunkExtension
    );
    // Trailers.
    assert_eq!(
        refused([b"0\r\n".as_slice(), &b"A: b\r\n".repeat(11)].concat()),
        FieldCount
    );
    assert_eq!(
        refused([b"0\r\nA: ".as_slice(), &[b'a'; 1024]].concat()),
        HeaderSize
    );
    // Many chunks.
    assert_eq!(refused(b"1\r\nx\r\n".repeat(101)), BodySize);
}

#[test]
fn after_the_last_request_nothing_passes() {
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
    ] {
        let bytes = [head, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        let (passed, ends, violation) = run_split(limits(), bytes.as_bytes());
        assert_eq!(passed, head.as_bytes());
        assert_eq!(ends, [head.len()]);
        let (fault, place) = (AfterLast, Place::After);
        assert_eq!(violation, Some(Violation { fault, place }));
    }
}

#[test]
fn statuses_and_words() {
    for (fault, status, word) in [
        (HeaderSize, 431, "header_size"),
        (FieldCount, 431, "field_count"),
        (BodySize, 413, "body_size"),
        (TransferCoding, 501, "transfer_coding"),
        (Version, 505, "version"),
        (Connect, 405, "connect"),
        (TwoLengths, 400, "two_lengths"),
    ] {
        assert_eq!(fault.status().as_u16(), status);
        assert_eq!(fault.word(), word);
    }
}

#[test]
fn refused_stays_refused() {
    let mut gate = Gate::new(limits());
    gate.feed(b"\0");
    gate.open();
    let progress = gate.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(progress.passed, 0);
    assert!(matches!(progress.next, Next::Refused(_)));
}
