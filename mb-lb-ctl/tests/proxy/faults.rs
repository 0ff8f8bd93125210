//! Servers that fail, and clients that do.

use mb_lb_ctl::snapshot::HealthState;

use crate::{Bench, Reply, reserve, wait_until};

const GET: &str = "GET / HTTP/1.1\r\nHost: mail.example.com\r\n\r\n";

#[test]
fn what_is_safe_to_repeat_is_repeated_elsewhere() {
    let bench = Bench::new("", "");
    // Each connection out of the pool, and each new one, is closed without a word.
    for _ in 0..3 {
        bench.get("/", "");
    }
    bench.servers[0].will(Reply::Close);
    bench.servers[1].will(Reply::Close);
    let response = bench.get("/", "");
    assert_eq!(response.status, 200, "{response:?}");
    let lost: u64 = (0..3).map(|at| bench.counted(at).response_errors).sum();
    assert!(lost >= 1, "{lost}");
}

#[test]
fn what_may_have_had_an_effect_is_not_repeated() {
    let bench = Bench::new("", "");
    for server in &bench.servers {
        server.will(Reply::Close);
    }
    let mut client = bench.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: 2\r\n\r\nhi");
    let response = client.receive();
    assert_eq!(response.status, 502, "{response:?}");
    let seen: usize = bench.servers.iter().map(|server| server.seen().len()).sum();
    assert_eq!(seen, 1);
}

#[test]
fn a_server_that_is_not_there_costs_an_attempt_and_no_request() {
    let mut bench = Bench::new("cookie = \"SERVERID\"", "");
    // Nobody listens on port 1 of the loopback.
    bench.reload(|proxy| proxy.servers[0].address.set_port(1));
    for _ in 0..6 {
        assert_eq!(bench.get("/", "").status, 200);
    }
    // Who has its cookie moves.
    let moved = bench.get("/", "Cookie: SERVERID=mb1\r\n");
    assert_eq!(moved.status, 200);
    assert!(moved.field("set-cookie").is_some());
    assert!(bench.counted(0).connect_errors >= 1);
    assert!(bench.counted(0).redispatches >= 1);
}

/// Its check may be asked in another way than it is.
#[test]
fn a_server_that_is_up_and_cannot_be_reached_is_told_of() {
    let mut bench = Bench::new("", "");
    let (port, address) = reserve();
    bench.reload(|proxy| proxy.servers[0].address = address);
    assert!(bench.proxies.unreached().is_empty());
    for _ in 0..3 {
        assert_eq!(bench.get("/", "").status, 200);
    }
    let unreached = bench.proxies.unreached();
    let why = &unreached["web/mb1"];
    assert!(why.contains("Connection refused"), "{why}");
    assert_eq!(unreached.len(), 1);
    // When it is down it is not said twice.
    bench.set(0, |target| target.health = HealthState::Down);
    assert!(bench.proxies.unreached().is_empty());
    bench.set(0, |target| target.health = HealthState::Up);
    assert_eq!(bench.proxies.unreached().len(), 1);
    // It listens: the first connection is the end of the trouble, whatever is said in it.
    port.listen(16).expect("its own port");
    let mut clients: Vec<_> = (0..3).map(|_| bench.connect()).collect();
    for client in &mut clients {
        client.send(GET.as_bytes());
    }
    wait_until(|| bench.proxies.unreached().is_empty());
}

#[test]
fn a_silent_server_is_given_up_and_not_asked_again() {
    let bench = Bench::new("timeouts = { server = \"100ms\" }", "");
    for server in &bench.servers {
        server.will(Reply::Silence);
    }
    let response = bench.get("/", "");
    assert_eq!(response.status, 504, "{response:?}");
    let seen: usize = bench.servers.iter().map(|server| server.seen().len()).sum();
    assert_eq!(seen, 1);
}

/// hyper does not ask for the end of a body whose length it knows.
#[test]
fn a_request_with_a_body_of_known_length_comes_to_its_end() {
    let bench = Bench::new("timeouts = { server = \"100ms\" }", "");
    let post = b"POST / HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: 2\r\n\r\nhi";
    let mut client = bench.connect();
    for _ in 0..6 {
        client.send(post);
        assert_eq!(client.receive().status, 200);
    }
    for server in &bench.servers {
        assert_eq!(
            server.connections(),
            1,
            "{} is connected to once",
            server.name
        );
        server.will(Reply::Silence);
    }
    client.send(post);
    assert_eq!(client.receive().status, 504);
}

#[test]
fn a_response_that_breaks_off_breaks_off_at_the_client() {
    let bench = Bench::new("", "");
    for server in &bench.servers {
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
        server.will(Reply::Cut(half.to_vec()));
    }
    let mut client = bench.connect();
    client.send(GET.as_bytes());
    client.send(GET.as_bytes());
    // What there is of it, or nothing; never more, and no second response.
    let rest = client.rest().unwrap_or_default();
    assert!(rest.is_empty() || rest.ends_with("\r\n\r\nhalf"), "{rest}");
}

#[test]
fn bodies_that_are_too_large_are_refused() {
    let bench = Bench::new("limits = { body = 1000 }", "");
    let mut client = bench.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n");
    let response = client.receive();
    assert_eq!(response.status, 413);
    // An answer before the end of the body would be one, too.
    for server in &bench.servers {
        server.will(Reply::Silence);
    }
    let mut client = bench.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..3 {
        client.send(format!("1f4\r\n{}\r\n", "x".repeat(500)).as_bytes());
    }
    assert_eq!(client.receive().status, 413);
}

#[test]
fn a_client_that_stops_in_the_middle_is_given_up() {
    let bench = Bench::new(
        "timeouts = { request = \"100ms\", client = \"100ms\", keep_alive = \"200ms\" }",
        "",
    );
    // In the head: no word is owed.
    let mut client = bench.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: ma");
    let rest = client.rest().unwrap_or_default();
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 408"),
        "{rest}"
    );
    // In the body.
    let mut client = bench.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.receive().status, 408);
    // Between requests.
    let mut client = bench.connect();
    assert_eq!(client.get("/", "").status, 200);
    assert_eq!(client.rest().unwrap_or_default(), "");
}

#[test]
fn a_full_server_makes_wait_and_not_for_ever() {
    let mut bench = Bench::new(
        "timeouts = { queue = \"300ms\", connect = \"300ms\" }",
        ", max_connections = 1",
    );
    for server in &bench.servers {
        server.will(Reply::Silence);
    }
    let mut busy: Vec<_> = (0..3).map(|_| bench.connect()).collect();
    for client in &mut busy {
        client.send(GET.as_bytes());
    }
    while (0..3).any(|at| bench.counted(at).active == 0) {
        std::thread::yield_now();
    }
    let response = bench.get("/", "");
    assert_eq!(response.status, 503);
    assert!(response.body.contains("queue_timeout"), "{}", response.body);
    // One that becomes free serves who waits.
    bench.reload(|proxy| proxy.timeouts.queue = crate::SOON);
    let mut waiting = bench.connect();
    waiting.send(GET.as_bytes());
    drop(busy);
    assert_eq!(waiting.receive().status, 200);
}

#[test]
fn slow_start_gives_out_places_little_by_little() {
    let keys = "timeouts = { queue = \"200ms\", connect = \"200ms\" }";
    let mut bench = Bench::new(keys, ", max_connections = 4");
    for at in 0..3 {
        bench.set(at, |target| target.percent = 25);
        for _ in 0..2 {
            bench.servers[at].will(Reply::Silence);
        }
    }
    let mut busy: Vec<_> = (0..3).map(|_| bench.connect()).collect();
    for client in &mut busy {
        client.send(GET.as_bytes());
    }
    while (0..3).any(|at| bench.counted(at).active == 0) {
        std::thread::yield_now();
    }
    assert_eq!(bench.get("/", "").status, 503);
    bench.set(1, |target| target.percent = 50);
    let mut more = bench.connect();
    more.send(GET.as_bytes());
    while bench.counted(1).active < 2 {
        std::thread::yield_now();
    }
}

#[test]
fn who_waits_for_a_server_that_fails_gets_another() {
    let mut bench = Bench::new("cookie = \"SERVERID\"", ", max_connections = 1");
    bench.servers[0].will(Reply::Silence);
    let with = "GET / HTTP/1.1\r\nHost: h\r\nCookie: SERVERID=mb1\r\n\r\n";
    let mut first = bench.connect();
    first.send(with.as_bytes());
    while bench.counted(0).active == 0 {
        std::thread::yield_now();
    }
    let mut second = bench.connect();
    second.send(with.as_bytes());
    while bench.counted(0).queued == 0 {
        std::thread::yield_now();
    }
    bench.set(0, |target| target.health = HealthState::Down);
    let response = second.receive();
    assert_eq!(response.status, 200);
    assert_ne!(response.body, "mb1");
    assert!(response.field("set-cookie").is_some(), "{response:?}");
}
