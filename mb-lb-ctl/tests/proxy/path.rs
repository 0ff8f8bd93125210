//! The usual way: who serves, what is passed on, what is counted.

use std::io::{Read as _, Write as _};

use mb_lb_ctl::snapshot::{AdminState, HealthState};

use crate::stalls::{read_head, with_bare};
use crate::{Bench, Reply, SOON};

const COOKIE: &str = "cookie = \"SERVERID\"";

#[test]
fn requests_go_round_and_connections_are_used_again() {
    let bench = Bench::new("", "");
    let mut client = bench.connect();
    let mut names = Vec::new();
    for _ in 0..9 {
        let response = client.get("/a?b=c", "");
        assert_eq!(response.status, 200, "{response:?}");
        names.push(response.body);
    }
    assert_eq!(names[..3], names[3..6]);
    names.sort();
    names.dedup();
    assert_eq!(names, ["mb1", "mb2", "mb3"]);
    for (at, server) in bench.servers.iter().enumerate() {
        assert_eq!(server.connections(), 1, "{}", server.name);
        let seen = server.seen();
        assert_eq!(seen.len(), 3);
        assert!(
            seen[0].starts_with("GET /a?b=c HTTP/1.1\r\n"),
            "{}",
            seen[0]
        );
        assert!(
            seen[0].contains("host: mail.example.com\r\n"),
            "{}",
            seen[0]
        );
        let counted = bench.counted(at);
        assert_eq!((counted.opened, counted.statuses), (3, [0, 3, 0, 0, 0]));
    }
}

#[test]
fn a_cookie_keeps_its_server_as_long_as_that_can_be() {
    let mut bench = Bench::new(COOKIE, "");
    let first = bench.get("/", "");
    let cookie = first.field("set-cookie").expect("a cookie").to_owned();
    let name = first.body.clone();
    assert_eq!(cookie, format!("SERVERID={name}; path=/"));
    let at = bench
        .servers
        .iter()
        .position(|server| server.name == name)
        .expect("one of them");
    let with = format!("Cookie: a=1; SERVERID={name}; b=2\r\n");
    bench.servers[at].seen();
    for _ in 0..5 {
        let again = bench.get("/", &with);
        assert_eq!(
            (again.body.as_str(), again.field("set-cookie")),
            (name.as_str(), None)
        );
    }
    for request in bench.servers[at].seen() {
        assert!(request.contains("cookie: a=1; b=2\r\n"), "{request}");
    }
    // Draining keeps its users, and takes no new ones.
    bench.set(at, |target| target.admin = AdminState::Drain);
    assert_eq!(bench.get("/", &with).body, name);
    for _ in 0..6 {
        assert_ne!(bench.get("/", "").body, name);
    }
    // Down, they move, and are told so.
    bench.set(at, |target| target.health = HealthState::Down);
    let moved = bench.get("/", &with);
    assert_ne!(moved.body, name);
    assert_eq!(
        moved.field("set-cookie"),
        Some(format!("SERVERID={}; path=/", moved.body).as_str())
    );
}

#[test]
fn without_any_server_the_answer_says_so() {
    let mut bench = Bench::new("", "");
    for at in 0..3 {
        bench.set(at, |target| target.admin = AdminState::Maint);
    }
    let response = bench.get("/", "");
    assert_eq!(response.status, 503);
    assert!(
        response
            .body
            .contains("No server is available to handle this request.")
    );
    assert_eq!(response.field("cache-control"), Some("no-cache"));
    let id = response.field("x-request-id").expect("an id");
    assert!(response.body.contains(id));
}

#[test]
fn bodies_stream_both_ways() {
    let bench = Bench::new("", "");
    let body = "x".repeat(1_000_000);
    let mut client = bench.connect();
    client.send(
        format!(
            "POST /in HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    let response = client.receive();
    assert_eq!(response.status, 200);
    let seen: Vec<_> = bench
        .servers
        .iter()
        .flat_map(|server| server.seen())
        .collect();
    assert!(seen[0].ends_with(&body), "{} bytes", seen[0].len());
    for server in &bench.servers {
        server.will(Reply::ok(&body));
    }
    assert_eq!(client.get("/out", "").body, body);
}

#[test]
fn a_websocket_is_carried_after_the_servers_101_and_not_before() {
    let bench = Bench::new("", "");
    let asks = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    bench.servers[0].will(Reply::with("403 Forbidden", "", "no"));
    let mut client = bench.connect();
    assert_eq!(client.get("/ws", asks).status, 403);
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    // Still a connection of requests.
    assert_eq!(client.get("/", "").body, "mb2");
    for server in &bench.servers {
        server.seen();
    }
    let mut client = bench.connect();
    bench.servers[0].will(Reply::Echo(switch.as_bytes().to_vec()));
    bench.servers[1].will(Reply::Echo(switch.as_bytes().to_vec()));
    bench.servers[2].will(Reply::Echo(switch.as_bytes().to_vec()));
    let response = client.get("/ws", asks);
    assert_eq!(response.status, 101);
    assert_eq!(response.field("upgrade"), Some("websocket"));
    client.send(b"\x81\x05hello");
    client.send(b"not HTTP at all\r\n\r\n");
    assert_eq!(client.take(26), b"\x81\x05hellonot HTTP at all\r\n\r\n");
}

/// Between two frames, and never within one (RFC 6455 section 7.4.1).
#[test]
fn a_websocket_is_told_that_the_proxy_goes() {
    websocket_is_told(|bench| drop(bench.proxies.drain(SOON)));
    websocket_is_told(|bench| bench.proxies.configure(Vec::new(), &[]));
    // An operator has ended it.
    websocket_is_told(|bench| {
        let mut sessions = bench.proxies.sessions().into_iter();
        let session = sessions.find(|session| session.server.is_some());
        let id = session.expect("it is open").id;
        assert!(bench.proxies.cut(id).is_some());
    });
}

fn websocket_is_told(go: impl FnOnce(&Bench)) {
    let (bench, listener) = with_bare("");
    let mut client = bench.connect();
    client.send(
        b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let (mut server, _) = listener.accept().expect("a connection");
    read_head(&mut server);
    let switch =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    server.write_all(switch).expect("it is taken");
    assert_eq!(client.receive().status, 101);
    server.write_all(b"\x81\x05he").expect("it is taken");
    assert_eq!(client.take(4), b"\x81\x05he");
    go(&bench);
    // Masked, and between frames already.
    let mut last = [0; 8];
    server.read_exact(&mut last).expect("a last word");
    let [0x88, 0x82, a, b, _, _, code @ ..] = last else {
        panic!("{last:02x?}");
    };
    assert_eq!(u16::from_be_bytes([code[0] ^ a, code[1] ^ b]), 1001);
    server.write_all(b"llo\x81\x01!").expect("it is taken");
    assert_eq!(client.take(3), b"llo");
    let next = client.take(3);
    if next == b"\x81\x01!" {
        // Both frames came at once.
        assert_eq!(client.take(4), b"\x88\x02\x03\xe9");
    } else {
        assert_eq!([next, client.take(1)].concat(), b"\x88\x02\x03\xe9");
    }
    client.wait_end();
}
