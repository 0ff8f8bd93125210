//! What must pass, and where requests end.

use super::*;

#[test]
fn requests() {
    let rows: &[&[&[u8]]] = &[
        &[b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
        &[b"GET / HTTP/1.1\r\nhost:a:8080\r\n\r\n", b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"],
        &[b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"],
        &[b"GET / HTTP/1.1\r\nHost: [::1]:443\r\n\r\n"],
        &[b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n"],
        &[b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"],
        &[b"GET http://a/x HTTP/1.1\r\nHost: A\r\n\r\n"],
        &[b"GET HTTP://a?x HTTP/1.1\r\nHost: a:80\r\n\r\n"],
        &[b"GET https://a:443 HTTP/1.1\r\nHost: a\r\n\r\n"],
        &[b"GET http://a/x HTTP/1.0\r\n\r\n"],
        &[b"GET /%zz?a={'b':[1|2]} HTTP/1.1\r\nHost: a\r\nX: \xe4 \t\r\n\r\n"],
        &[b"BREW! / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\t \r\n\r\n"],
        &[b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
        &[b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:  100 \r\n\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"],
        &[b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"],
        &[
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0A;x=\"y;z\"\r\n0123456789\r\n000\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        &[
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:chunked\r\n\r\n0;e\r\nA: b\r\nC:\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
        &[b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"],
        &[b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"],
    ];
    for row in rows {
        let bytes = row.concat();
        let (passed, ends, violation) = run_split(limits(), &bytes);
        assert_eq!(violation, None, "{:?}", String::from_utf8_lossy(&bytes));
        assert_eq!(passed, bytes);
        let mut end = 0;
        let wanted: Vec<usize> = row
            .iter()
            .map(|request| {
                end += request.len();
                end
            })
            .collect();
        assert_eq!(ends, wanted);
    }
}

#[test]
fn of_a_head_nothing_passes_before_its_end() {
    let mut gate = Gate::new(limits());
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(gate.is_between_requests());
    for end in 1..bytes.len() {
        assert_eq!(gate.feed(&bytes[..end]).passed, 0);
        assert!(!gate.is_between_requests());
    }
    let progress = gate.feed(bytes);
    assert!(progress.has_head && progress.passed == bytes.len());
    assert!(gate.is_between_requests());
}

#[test]
fn limits_are_what_may_just_be() {
    let field = "A: b\r\n".repeat(9);
    let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n");
    assert_eq!(run_split(limits(), bytes.as_bytes()).2, None);
    let pad = 1024 - "GET / HTTP/1.1\r\nHost: a\r\nA: \r\n\r\n".len();
    let bytes = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n",
        "b".repeat(pad)
    );
    assert_eq!(bytes.len(), 1024);
    assert_eq!(run(limits(), &[bytes.as_bytes()]).2, None);
}

#[test]
fn open_gate_lets_all_pass() {
    let mut gate = Gate::new(limits());
    gate.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    gate.open();
    assert_eq!(gate.feed(b"\0\x81\n").passed, 3);
}
