//! The access log: a line for each request, whatever becomes of it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Bench, Reply, SOON};

/// Waits for so many lines.
fn lines(file: &Path, count: usize) -> Vec<String> {
    let begin = Instant::now();
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count && text.ends_with('\n') {
            assert_eq!(lines.len(), count, "{text}");
            return lines;
        }
        assert!(begin.elapsed() < SOON, "{text}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn bench(file: &Path, format: &str, keys: &str) -> Bench {
    let log = format!(
        "cookie = \"SERVERID\"\naccess_log = {{ format = \"{format}\", file = \"{}\" }}\n{keys}",
        file.display()
    );
    Bench::new(&log, "")
}

#[test]
fn a_line_of_json_has_the_request_and_its_id() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("access.log");
    let bench = bench(&file, "json", "");
    let mut client = bench.connect();
    client.send(b"POST /a?b=c HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: 2\r\nX-Request-Id: mine\r\n\r\nhi");
    let response = client.receive();
    let line = lines(&file, 1).remove(0);
    let line: Value = serde_json::from_str(&line).expect("JSON");
    let seen = bench.seen().remove(0);
    let id = response.field("x-request-id").expect("an id");
    assert_ne!(id, "mine", "it is not believed");
    assert_eq!(line["request_id"], id);
    assert!(seen.contains(&format!("x-request-id: {id}\r\n")), "{seen}");
    for (name, value) in [
        ("client", Value::from("127.0.0.1")),
        ("proxy", "web".into()),
        ("server", response.body.as_str().into()),
        ("method", "POST".into()),
        ("host", "mail.example.com".into()),
        ("target", "/a?b=c".into()),
        ("version", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("bytes_in", 2.into()),
        ("bytes_out", 3.into()),
        ("termination", "--".into()),
        ("cookie", "NI".into()),
        ("retries", 0.into()),
        ("tls_version", Value::Null),
    ] {
        assert_eq!(line[name], value, "{name} in {line}");
    }
    for name in [
        "request_ms",
        "queue_ms",
        "connect_ms",
        "response_ms",
        "total_ms",
    ] {
        assert!(line[name].is_f64(), "{name} in {line}");
    }
}

#[test]
fn a_line_of_httplog_has_the_form_of_haproxys() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("access.log");
    let bench = bench(&file, "httplog", "");
    assert_eq!(bench.get("/a", "Cookie: SERVERID=mb2\r\n").status, 200);
    let line = lines(&file, 1).remove(0);
    let words: Vec<&str> = line.split(' ').collect();
    let [
        client,
        date,
        front,
        server,
        times,
        status,
        bytes,
        request_cookie,
        response_cookie,
        ending,
        connections,
        queues,
        method,
        target,
        version,
    ] = words[..]
    else {
        panic!("{line}");
    };
    assert!(client.starts_with("127.0.0.1:"), "{line}");
    assert!(date.starts_with('[') && date.ends_with(']'), "{line}");
    assert_eq!((front, server), ("web", "web/mb2"));
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    assert_eq!(
        times.split('/').filter(|time| is_number(time)).count(),
        5,
        "{line}"
    );
    assert_eq!(
        (status, bytes, request_cookie, response_cookie),
        ("200", "3", "-", "-")
    );
    assert_eq!(ending, "--VN");
    assert_eq!(connections.split('/').count(), 5, "{line}");
    assert_eq!(queues, "0/0");
    assert_eq!([method, target, version], ["\"GET", "/a", "HTTP/1.1\""]);
}

#[test]
fn the_id_of_a_proxy_in_front_is_kept_where_it_is_trusted() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("access.log");
    let bench = bench(&file, "json", "trusted_proxies = \"127.0.0.0/8\"");
    let response = bench.get("/", "X-Request-Id: mine\r\n");
    assert_eq!(response.field("x-request-id"), Some("mine"));
    let seen = bench.seen().remove(0);
    assert_eq!(seen.matches("x-request-id: mine\r\n").count(), 1, "{seen}");
    let line: Value = serde_json::from_str(&lines(&file, 1)[0]).expect("JSON");
    assert_eq!(line["request_id"], "mine");
}

#[test]
fn what_goes_wrong_has_a_line_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("access.log");
    let mut bench = bench(&file, "httplog", "timeouts = { request = \"100ms\" }");
    let ending = |count: usize| {
        let line = lines(&file, count).remove(count - 1);
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        (words[5].clone(), words[9].clone(), words[12..].join(" "))
    };
    // No request at all.
    let mut client = bench.connect();
    client.send(b"GET / HTTP/1.1\nHost: h\n\n");
    assert_eq!(client.receive().status, 400);
    let is = |status: &str, ending: &str, request: &str| {
        (status.to_owned(), ending.to_owned(), request.to_owned())
    };
    assert_eq!(ending(1), is("400", "PR--", "\"<BADREQ>\""));
    // One that does not come to its end.
    let mut client = bench.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: ");
    let _end = client.rest();
    assert_eq!(ending(2), is("-1", "cR--", "\"<BADREQ>\""));
    // The client goes before there is a response.
    for server in &bench.servers {
        server.will(Reply::Silence);
    }
    let mut client = bench.connect();
    client.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    let begin = Instant::now();
    while bench.servers.iter().all(|server| server.seen().is_empty()) {
        assert!(begin.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(client);
    assert_eq!(ending(3), is("-1", "CHN-", "\"GET /a HTTP/1.1\""));
    // There is no server.
    for at in 0..3 {
        bench.set(at, |target| target.weight = 0);
    }
    assert_eq!(bench.get("/b", "").status, 503);
    assert_eq!(ending(4), is("503", "SCN-", "\"GET /b HTTP/1.1\""));
}
