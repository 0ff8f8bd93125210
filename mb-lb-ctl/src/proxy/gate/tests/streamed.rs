//! The gate with a real hyper behind it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

struct Peer {
    client: DuplexStream,
    handle: Handle,
    /// Targets of the requests that hyper saw.
    seen: Arc<Mutex<Vec<String>>>,
    server: tokio::task::JoinHandle<hyper::Result<()>>,
}

fn pages() -> Pages {
    Arc::new(|violation| Page {
        content_type: "text/plain",
        body: format!("no: {}", violation.fault.word()).into(),
    })
}

/// All that can go on without us does. Nothing in these tests waits for anything but another task of this thread.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

/// Echoes content after a while; `/early` answers before it reads it; `/switch` makes a tunnel that echoes.
fn peer(split: usize) -> Peer {
    let (client, server) = duplex(split);
    let stream = GateStream::new(server, limits(), pages());
    let handle = stream.handle();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (owner, requests) = (handle.clone(), seen.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (owner, requests) = (owner.clone(), requests.clone());
        async move {
            requests.lock().unwrap().push(request.uri().to_string());
            let status = |status: StatusCode, body: Bytes| {
                let mut response = Response::new(Full::new(body));
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            };
            match request.uri().path() {
                "/early" => return status(StatusCode::OK, Bytes::from_static(b"early")),
                "/switch" => {
                    owner.make_transparent();
                    let upgrade = hyper::upgrade::on(&mut request);
                    tokio::spawn(async move {
                        let mut io = TokioIo::new(upgrade.await.unwrap());
                        let mut piece = [0; 100];
                        loop {
                            let length = io.read(&mut piece).await.unwrap();
                            if length == 0 {
                                break io.shutdown().await.unwrap();
                            }
                            io.write_all(&piece[..length]).await.unwrap();
                        }
                    });
                    let mut response = Response::new(Full::default());
                    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                    response
                        .headers_mut()
                        .insert("connection", "upgrade".parse().unwrap());
                    response
                        .headers_mut()
                        .insert("upgrade", "echo".parse().unwrap());
                    return Ok(response);
                }
                _ => {}
            }
            settle().await;
            match request.into_body().collect().await {
                Ok(body) => status(StatusCode::OK, body.to_bytes()),
                Err(_) => {
                    let violation = owner.violation().unwrap();
                    status(violation.fault.status(), Bytes::from_static(b"exchange"))
                }
            }
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    Peer {
        client,
        handle,
        seen,
        server: tokio::spawn(connection),
    }
}

/// All that comes back, without Date.
async fn exchange(peer: Peer, bytes: &[u8]) -> (String, Vec<String>) {
    let (mut read, mut write) = tokio::io::split(peer.client);
    let mut back = Vec::new();
    // Together: neither side waits for the other to be heard.
    let (_, result) = tokio::join!(write.write_all(bytes), read.read_to_end(&mut back));
    result.unwrap();
    drop((read, write));
    peer.server.await.unwrap().unwrap();
    let text = String::from_utf8(back).unwrap();
    let lines = text
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("date:"));
    let seen = peer.seen.lock().unwrap().clone();
    (lines.collect(), seen)
}

const ONE: &str = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
const BAD: &str = "GET /bad HTTP/1.1\r\nHost : a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
const REFUSAL: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 14\r\ncontent-type: text/plain\r\n\
                       cache-control: no-cache\r\nconnection: close\r\n\r\nno: field_name";

#[tokio::test]
async fn refused_at_once() {
    for split in [1, 7, 4096] {
        let (back, seen) = exchange(peer(split), BAD.as_bytes()).await;
        assert_eq!(back, REFUSAL);
        assert!(seen.is_empty());
    }
}

#[tokio::test]
async fn refused_after_the_answers_to_good_ones() {
    for split in [1, 7, 4096] {
        let bytes = [ONE, ONE, BAD].concat();
        let (back, seen) = exchange(peer(split), bytes.as_bytes()).await;
        assert_eq!(back, [ANSWER, ANSWER, REFUSAL].concat());
        assert_eq!(seen, ["/1", "/1"]);
    }
}

#[tokio::test]
async fn answers_come_though_the_client_sends_no_more() {
    let mut peer = peer(4096);
    peer.client
        .write_all([ONE, ONE, "GET / HT"].concat().as_bytes())
        .await
        .unwrap();
    peer.client.shutdown().await.unwrap();
    let (back, _) = exchange(peer, b"").await;
    assert_eq!(back, [ANSWER, ANSWER].concat());
}

const CHUNKED: &str = "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc";

#[tokio::test]
async fn broken_body_is_the_exchanges_to_answer() {
    for split in [1, 4096] {
        let bytes = format!("{ONE}POST /2 HTTP/1.1\r\n{CHUNKED}x");
        let (back, seen) = exchange(peer(split), bytes.as_bytes()).await;
        assert_eq!(
            back,
            format!("{ANSWER}HTTP/1.1 400 Bad Request\r\ncontent-length: 8\r\n\r\nexchange")
        );
        assert_eq!(seen, ["/1", "/2"]);
    }
}

#[tokio::test]
async fn no_second_answer_to_a_request_whose_body_breaks_later() {
    let bytes = format!("POST /early HTTP/1.1\r\n{CHUNKED}x");
    let mut peer = peer(4096);
    let head = bytes.len() - 2;
    peer.client
        .write_all(&bytes.as_bytes()[..head])
        .await
        .unwrap();
    settle().await;
    let (back, _) = exchange(peer, &bytes.as_bytes()[head..]).await;
    assert_eq!(back.matches("HTTP/1.1").count(), 1, "{back}");
    assert!(back.ends_with("early"));
}

#[tokio::test]
async fn nothing_is_said_to_bytes_after_the_last_request() {
    let last = "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let peer = peer(4096);
    let handle = peer.handle.clone();
    let (back, seen) = exchange(peer, [last, ONE].concat().as_bytes()).await;
    assert_eq!(
        back,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    assert_eq!(seen, ["/1"]);
    assert_eq!(handle.violation(), None);
}

#[tokio::test]
async fn switched_connection_is_a_tunnel() {
    for early in ["", "\0early\n"] {
        let mut peer = peer(4096);
        let ask = format!(
            "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n{early}"
        );
        peer.client.write_all(ask.as_bytes()).await.unwrap();
        settle().await;
        peer.client.write_all(b"\0\n\xff").await.unwrap();
        settle().await;
        peer.client.shutdown().await.unwrap();
        let mut back = Vec::new();
        peer.client.read_to_end(&mut back).await.unwrap();
        assert!(back.starts_with(b"HTTP/1.1 101 "));
        let echo = [early.as_bytes(), b"\0\n\xff"].concat();
        assert!(back.ends_with(&[b"\r\n\r\n", echo.as_slice()].concat()));
        assert_eq!(peer.handle.violation(), None);
    }
}

#[tokio::test]
async fn refusals_have_their_status_and_leave_their_reason() {
    for (head, status) in [
        (
            "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            "405 Method Not Allowed",
        ),
        (
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "505 HTTP Version Not Supported",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n",
            "413 Payload Too Large",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "501 Not Implemented",
        ),
    ] {
        let peer = peer(4096);
        let handle = peer.handle.clone();
        let (back, _) = exchange(peer, head.as_bytes()).await;
        assert!(
            back.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{back}"
        );
        assert!(back.ends_with(handle.violation().unwrap().fault.word()));
    }
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}", "b".repeat(2000));
    let (back, _) = exchange(peer(4096), long.as_bytes()).await;
    assert!(back.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
}

/// A client that does not stop sending still gets its answer, and is not read for ever.
#[tokio::test]
async fn lingers_for_a_while() {
    let peer = peer(64);
    let (mut read, mut write) = tokio::io::split(peer.client);
    let sender = tokio::spawn(async move {
        let mut sent = 0;
        while write.write_all(&[0; 64]).await.is_ok() {
            sent += 64;
        }
        sent
    });
    let mut back = Vec::new();
    read.read_to_end(&mut back).await.unwrap();
    assert!(back.starts_with(b"HTTP/1.1 400 "));
    peer.server.await.unwrap().unwrap();
    assert!((1 << 16..1 << 22).contains(&sender.await.unwrap()));
}

#[tokio::test]
async fn silent_client_is_left_after_a_second() {
    let mut peer = peer(4096);
    peer.client.write_all(b"\0").await.unwrap();
    let start = tokio::time::Instant::now();
    peer.server.await.unwrap().unwrap();
    assert!((1..3).contains(&start.elapsed().as_secs()));
    drop(peer.client);
}

#[tokio::test]
async fn time_of_the_head_is_known() {
    let mut peer = peer(4096);
    settle().await;
    assert_eq!(peer.handle.head_under_way(), None);
    assert_eq!(peer.handle.request_began(), None);
    peer.client.write_all(&ONE.as_bytes()[..5]).await.unwrap();
    settle().await;
    let began = peer.handle.head_under_way();
    assert!(began.is_some());
    peer.client.write_all(&ONE.as_bytes()[5..]).await.unwrap();
    settle().await;
    assert_eq!(peer.handle.head_under_way(), None);
    assert_eq!(peer.handle.request_began(), began);
}

#[tokio::test]
async fn bytes_read_before_come_first() {
    let (mut client, server) = duplex(4096);
    let mut stream = GateStream::new(server, limits(), pages()).with_start(&ONE.as_bytes()[..10]);
    client.write_all(&ONE.as_bytes()[10..]).await.unwrap();
    client.write_all(ONE.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut read = String::new();
    stream.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, [ONE, ONE].concat());
}

/// One read never holds bytes of two requests.
#[tokio::test]
async fn reads_end_where_requests_end() {
    let (mut client, server) = duplex(4096);
    let mut stream = GateStream::new(server, limits(), pages());
    client
        .write_all([ONE, ONE, ONE].concat().as_bytes())
        .await
        .unwrap();
    let mut piece = [0; 4096];
    for _ in 0..3 {
        assert_eq!(stream.read(&mut piece).await.unwrap(), ONE.len());
    }
}
