//! Uploads that stand still, answers before their end, and what happens to clients meanwhile.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;

use mb_lb_ctl::snapshot::HealthState;

use crate::{Bench, Reply, bare, wait_until};

/// All requests go to the first server, which is a bare socket.
pub fn with_bare(keys: &str) -> (Bench, std::net::TcpListener) {
    let mut bench = Bench::new(keys, "");
    let (listener, address) = bare();
    for at in 1..3 {
        bench.set(at, |target| target.weight = 0);
    }
    bench.reload(|proxy| proxy.servers[0].address = address);
    (bench, listener)
}

pub fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    String::from_utf8(head).expect("text")
}

#[test]
fn a_server_that_takes_no_more_of_an_upload_is_given_up() {
    let (bench, listener) = with_bare("timeouts = { server = \"200ms\", client = \"1h\" }");
    let mut client = bench.connect();
    let mut writer = client.writer();
    // More than all buffers between hold.
    let upload = std::thread::spawn(move || {
        writer.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")?;
        writer.write_all(&vec![b'x'; 100_000_000])
    });
    let (mut server, _) = listener.accept().expect("a connection");
    read_head(&mut server);
    let response = client.receive();
    assert_eq!(response.status, 504, "{response:?}");
    wait_until(|| bench.counted(0).active == 0);
    drop(client);
    wait_until(|| upload.is_finished());
    // Whether all of it was thrown away or the connection ended before does not matter.
    let _sent = upload.join().expect("no panic");
}

#[test]
fn a_slow_upload_is_not_given_up() {
    let (bench, listener) = with_bare("timeouts = { server = \"2s\", client = \"1h\" }");
    let mut client = bench.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
    let (mut server, _) = listener.accept().expect("a connection");
    read_head(&mut server);
    for _ in 0..10 {
        // Each is the client's time, and together they are far more than the server's.
        std::thread::sleep(std::time::Duration::from_millis(300));
        client.send(b"x");
    }
    let mut body = [0; 10];
    server.read_exact(&mut body).expect("all of it");
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    server.write_all(answer).expect("it is taken");
    assert_eq!(client.receive().status, 200);
}

/// The library would send such a GET without its body, and the server would take that for the next request.
#[test]
fn a_get_with_a_body_of_unknown_length_keeps_it() {
    let (bench, listener) = with_bare("");
    let mut client = bench.connect();
    client.send(
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let (mut server, _) = listener.accept().expect("a connection");
    let head = read_head(&mut server);
    assert!(
        head.contains("\r\ntransfer-encoding: chunked\r\n"),
        "{head}"
    );
    let mut body = vec![0; "5\r\nhello\r\n0\r\n\r\n".len()];
    server.read_exact(&mut body).expect("the body");
    assert_eq!(body, b"5\r\nhello\r\n0\r\n\r\n");
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    server.write_all(answer).expect("it is taken");
    assert_eq!(client.receive().status, 204);
}

/// What is still on its way when the answer is given must not make the kernel take the answer back.
#[test]
fn an_answer_before_the_end_of_an_upload_reaches_the_client() {
    const MORE: usize = 20_000_000;
    let upload = |bench: &Bench, status: u16| {
        let mut client = bench.connect();
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {MORE}\r\n\r\n");
        client.send(head.as_bytes());
        // It does not look for an answer before all is sent.
        client.send(&vec![b'x'; MORE]);
        assert_eq!(client.receive().status, status);
    };
    let mut bench = Bench::new("limits = { body = 1000 }", "");
    upload(&bench, 413);
    for at in 0..3 {
        bench.set(at, |target| target.health = HealthState::Down);
    }
    bench.reload(|proxy| proxy.limits.body = None);
    upload(&bench, 503);
}

#[test]
fn what_cannot_be_repeated_takes_no_connection_that_was_idle_for_long() {
    let mut bench = Bench::new("", "");
    for at in 1..3 {
        bench.set(at, |target| target.weight = 0);
    }
    // All on one thread, which is that of the client.
    let mut client = bench.connect();
    assert_eq!(client.get("/", "").status, 200);
    // Longer than such a connection is taken for fresh.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.receive().status, 200);
    assert_eq!(bench.servers[0].connections(), 2);
    assert_eq!(client.get("/", "").status, 200);
    assert_eq!(bench.servers[0].connections(), 2, "a GET takes any");
}

#[test]
fn who_waits_while_the_file_is_reloaded_hears_of_what_comes_after() {
    let mut bench = Bench::new(
        "cookie = \"SERVERID\"\ntimeouts = { queue = \"1h\" }",
        ", max_connections = 1",
    );
    bench.servers[0].will(Reply::Silence);
    let with = b"GET / HTTP/1.1\r\nHost: h\r\nCookie: SERVERID=mb1\r\n\r\n";
    let mut first = bench.connect();
    first.send(with);
    wait_until(|| bench.counted(0).active == 1);
    let mut second = bench.connect();
    second.send(with);
    wait_until(|| bench.counted(0).queued == 1);
    bench.reload(|proxy| proxy.retries = 5);
    bench.set(0, |target| target.health = HealthState::Down);
    assert_eq!(second.receive().status, 200);
}

#[test]
fn clients_of_a_proxy_that_is_removed_are_asked_to_go() {
    let bench = Bench::new("timeouts = { keep_alive = \"1h\" }", "");
    let mut idle = bench.connect();
    assert_eq!(idle.get("/", "").status, 200);
    for server in &bench.servers {
        server.will(Reply::Echo(
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha".to_vec(),
        ));
    }
    let mut busy = bench.connect();
    busy.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until(|| (0..3).any(|at| bench.counted(at).active == 1));
    bench.proxies.configure(Vec::new(), &[]);
    assert_eq!(idle.rest().expect("a proper end"), "");
    // Nobody listens there any more.
    wait_until(|| TcpStream::connect(bench.at).is_err());
    busy.writer().shutdown(Shutdown::Both).expect("it was open");
}

/// What a client does not take is not taken from the server either.
#[test]
fn a_client_that_reads_nothing_holds_up_its_server() {
    const LENGTH: usize = 200_000_000;
    let (bench, listener) = with_bare("timeouts = { client = \"1h\", server = \"1h\" }");
    let mut client = bench.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let (mut server, _) = listener.accept().expect("a connection");
    read_head(&mut server);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
    server.write_all(head.as_bytes()).expect("it is taken");
    server.set_nonblocking(true).expect("an option");
    let piece = vec![b'x'; 1 << 20];
    let mut sent = 0;
    // Until nothing has been taken for a while; all buffers of the kernel and ours are far smaller than the body.
    let mut waits = 0;
    while waits < 100 && sent < LENGTH {
        match server.write(&piece[..piece.len().min(LENGTH - sent)]) {
            Ok(more) => (sent, waits) = (sent + more, 0),
            Err(_) => {
                waits += 1;
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
    assert!(sent < LENGTH / 2, "{sent} bytes were taken");
    // And all of it comes when it reads.
    server.set_nonblocking(false).expect("an option");
    let sender = std::thread::spawn(move || server.write_all(&vec![b'x'; LENGTH - sent]));
    let response = client.receive();
    assert_eq!(response.body.len(), LENGTH);
    sender.join().expect("no panic").expect("it is taken");
}

/// Clients who come while others are asked to go are answered, however late they speak.
#[test]
fn who_comes_while_all_are_to_go_is_answered() {
    let bench = Bench::new("http2 = false", "");
    let mut idle = bench.connect();
    assert_eq!(idle.get("/", "").status, 200);
    let _drained = bench.proxies.drain(crate::SOON);
    assert_eq!(idle.rest().expect("a proper end"), "");
    let open = || bench.proxies.readings()["web"].open;
    for _ in 0..20 {
        wait_until(|| open() == 0);
        let mut late = bench.connect();
        // It is there, and has said nothing.
        wait_until(|| open() == 1);
        let response = late.get("/", "");
        assert_eq!(response.status, 200);
        assert_eq!(response.field("connection"), Some("close"));
    }
    // Later nobody accepts, and nobody refuses.
    let _closed = bench.proxies.close(crate::SOON);
    let mut waits = bench.connect();
    waits.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    waits.expect_silence();
}

/// Where nothing is ever said of its servers, clients are told so.
#[test]
fn who_waits_for_word_of_the_servers_waits_not_for_ever() {
    let mut bench = Bench::new("", "");
    for at in 0..3 {
        bench.set(at, |target| target.health = HealthState::Unknown);
    }
    // As a new one.
    bench.reload(|proxy| proxy.name = "other".to_owned());
    assert_eq!(bench.get("/", "").status, 503);
}

/// The same sockets: clients may wait in them.
#[test]
fn a_proxy_of_another_name_takes_over_its_sockets() {
    let mut bench = Bench::new("", "");
    wait_until(|| bench.kept.0.load(Ordering::SeqCst) == 2);
    let mut idle = bench.connect();
    assert_eq!(idle.get("/", "").status, 200);
    bench.reload(|proxy| proxy.name = "other".to_owned());
    assert_eq!(idle.rest().expect("a proper end"), "");
    // Nothing was said of its servers yet, and clients wait until there is.
    let mut waiting: Vec<_> = (0..20).map(|_| bench.connect()).collect();
    for client in &mut waiting {
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    waiting[0].expect_silence();
    bench.set(0, |target| target.weight = 2);
    for client in &mut waiting {
        assert_eq!(client.receive().status, 200);
    }
    assert_eq!(bench.kept.0.load(Ordering::SeqCst), 2);
}
