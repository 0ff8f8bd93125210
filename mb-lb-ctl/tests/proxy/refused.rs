//! What could be read in two ways is refused: by bytes through real sockets. Nothing of it comes to a server.

use crate::{Bench, Reply, wait_until};

/// Whether the connection is closed behind the answer, by what it says and does.
fn refused(bench: &Bench, request: &[u8], status: u16) {
    let text = String::from_utf8_lossy(request);
    let mut client = bench.connect();
    // What follows would be smuggled.
    client.send(&[request, b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"].concat());
    let response = client.receive();
    assert_eq!(response.status, status, "{text:?}: {}", response.head);
    assert_eq!(response.field("connection"), Some("close"), "{text:?}");
    let rest = client.rest().expect("a proper end");
    assert_eq!(rest, "", "{text:?}");
    assert_eq!(bench.seen(), Vec::<String>::new(), "{text:?}");
}

#[test]
fn requests_that_can_be_read_in_two_ways_come_to_no_server() {
    let bench = Bench::new("", "");
    let get = |rest: &str| format!("GET / HTTP/1.1\r\nHost: h\r\n{rest}\r\n");
    let post =
        |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{body}");
    let target = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    let rows: Vec<(String, u16)> = vec![
        // Both lengths.
        (
            post(
                "Content-Length: 5\r\nTransfer-Encoding: chunked",
                "0\r\n\r\n",
            ),
            400,
        ),
        (
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 5",
                "0\r\n\r\n",
            ),
            400,
        ),
        // More than one length, a list, a sign, a blank.
        (post("Content-Length: 1\r\nContent-Length: 1", "a"), 400),
        (post("Content-Length: 1\r\nContent-Length: 2", "ab"), 400),
        (post("Content-Length: 1, 1", "a"), 400),
        (post("Content-Length: +1", "a"), 400),
        (post("Content-Length: -1", "a"), 400),
        (post("Content-Length: 1 1", "a"), 400),
        (post("Content-Length: 0x1", "a"), 400),
        (post("Content-Length: ", ""), 400),
        (post("Content-Length: 18446744073709551617", "a"), 400),
        // Not `chunked` alone; in HTTP/1.0; with a tab; twice.
        (post("Transfer-Encoding: gzip", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked, gzip", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), 501),
        (post("Transfer-Encoding: identity", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: xchunked", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: \"chunked\"", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\t", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding:\tchunked", "0\r\n\r\n"), 400),
        (
            post("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"),
            400,
        ),
        (
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                "0\r\n\r\n",
            ),
            400,
        ),
        (
            "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        // CR alone, LF alone, folded lines, NUL, a blank before the colon.
        (get("A: b\rC: d\r\n"), 400),
        ("GET / HTTP/1.1\nHost: h\n\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: h\n\r\n".into(), 400),
        (get("A: b\nC: d\r\n"), 400),
        (get("A: b\r\n c\r\n"), 400),
        (get("A: b\r\n\tc\r\n"), 400),
        ("GET / HTTP/1.1\r\n Host: h\r\n\r\n".into(), 400),
        (get("A: b\0c\r\n"), 400),
        (get("A\0: b\r\n"), 400),
        (get("A : b\r\n"), 400),
        (get("Content-Length : 0\r\n"), 400),
        (get(": b\r\n"), 400),
        (get("A\r\n"), 400),
        // Host.
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), 400),
        (get("Host: h\r\n"), 400),
        (get("host: other\r\n"), 400),
        (target("http://other/"), 400),
        (target("https://h:8443/"), 400),
        (target("http://user@h/"), 400),
        // Targets.
        (target("/a#b"), 400),
        ("GET / HTTP/1.1\r\nHost: a:b:c\r\n\r\n".to_owned(), 400),
        (target("/\u{1}"), 400),
        (target("/\0"), 400),
        (target("/\t"), 400),
        (target("/\u{7f}"), 400),
        (target("/a b"), 400),
        (target("/?a=\"b\""), 400),
        (target("nothing"), 400),
        // Versions, and what is not offered.
        ("GET /\r\nHost: h\r\n\r\n".into(), 400),
        ("GET / HTTP/1.2\r\nHost: h\r\n\r\n".into(), 505),
        ("GET / HTTP/3.0\r\nHost: h\r\n\r\n".into(), 505),
        ("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n".into(), 405),
        // Too much.
        (get(&"A: b\r\n".repeat(100)), 431),
        (get(&format!("A: {}\r\n", "b".repeat(40_000))), 431),
    ];
    for (request, status) in rows {
        refused(&bench, request.as_bytes(), status);
    }
}

/// The head of such a request has gone on; its body has no end at the server, which takes it for none.
#[test]
fn bodies_that_can_be_read_in_two_ways_come_to_no_server_whole() {
    let bench = Bench::new("", "");
    let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(10_000));
    for body in [
        "10000000000000000\r\na\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFF\r\na\r\n0\r\n\r\n",
        "-1\r\na\r\n0\r\n\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "1\na\n0\n\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1;a\nb\r\na\r\n0\r\n\r\n",
        "1;a\0\r\na\r\n0\r\n\r\n",
        "1;a\rb\r\na\r\n0\r\n\r\n",
        long.as_str(),
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nHost: h\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\r\n\n",
    ] {
        let head = "POST /in HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
        // An answer before the end of the body would be one, too.
        for server in &bench.servers {
            server.will(Reply::Silence);
        }
        let mut client = bench.connect();
        client.send([head, body, smuggled].concat().as_bytes());
        let response = client.receive();
        assert_eq!(response.status, 400, "{body:?}");
        assert_eq!(response.field("connection"), Some("close"), "{body:?}");
        assert_eq!(client.rest().expect("a proper end"), "", "{body:?}");
        for seen in bench.seen() {
            assert!(!seen.contains("smuggled"), "{body:?}: {seen:?}");
            assert!(!seen.ends_with("\r\n0\r\n\r\n"), "{body:?}: {seen:?}");
        }
    }
}

#[test]
fn after_the_last_request_nothing_is_served() {
    let bench = Bench::new("", "");
    for head in [
        "GET /first HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "GET /first HTTP/1.0\r\nHost: h\r\n\r\n",
    ] {
        let mut client = bench.connect();
        client.send(
            [head, "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"]
                .concat()
                .as_bytes(),
        );
        assert_eq!(client.receive().status, 200);
        assert_eq!(client.rest().unwrap_or_default(), "");
        let seen = bench.seen();
        assert!(
            seen.len() == 1 && seen[0].starts_with("GET /first"),
            "{seen:?}"
        );
    }
}

/// A switch of protocols that the server does not make is none: what follows are requests, and are looked at as such.
#[test]
fn before_the_servers_101_nothing_is_a_tunnel() {
    let bench = Bench::new("", "");
    let mut client = bench.connect();
    let asks =
        "GET /first HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.send(
        [asks, "GET /smuggled HTTP/1.1\nHost: h\r\n\r\n"]
            .concat()
            .as_bytes(),
    );
    assert_eq!(client.receive().status, 200);
    assert_eq!(client.receive().status, 400);
    assert_eq!(client.rest().expect("a proper end"), "");
    assert_eq!(bench.seen().len(), 1);
}

/// Each client is one source, not the balancer that they come through.
#[test]
fn with_a_proxy_header_its_source_is_counted() {
    let bench = Bench::new(
        "accept_proxy = [\"127.0.0.1\"]\nlimits = { connections_per_source = 1 }",
        "",
    );
    let from = |address: &str| {
        let mut client = bench.connect();
        let header = format!("PROXY TCP4 {address} 192.0.2.9 1000 80\r\n");
        client.send(header.as_bytes());
        client
    };
    let mut first = from("192.0.2.1");
    assert_eq!(first.get("/", "").status, 200);
    let mut other = from("192.0.2.2");
    assert_eq!(other.get("/", "").status, 200);
    from("192.0.2.1").wait_end();
    wait_until(|| bench.refused("connections_per_source") == 1);
    drop(first);
    wait_until(|| {
        let mut again = from("192.0.2.1");
        again.try_send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        again
            .rest()
            .is_ok_and(|rest| rest.starts_with("HTTP/1.1 200"))
    });
}
