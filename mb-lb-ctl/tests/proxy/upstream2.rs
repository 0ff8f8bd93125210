//! Servers of HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::watch;

use crate::http2::Http2;
use crate::{Bench, wait_until};

/// In clear, with prior knowledge (RFC 9113 section 3.3). `/slow` answers when it is told, `/never` never; all else with the
/// method, the authority, the path and the body.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
    goes: Arc<watch::Sender<bool>>,
}

impl Server {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        listener.set_nonblocking(true).expect("an option");
        let server = Self {
            address: listener.local_addr().expect("an address"),
            connections: Arc::default(),
            under_way: Arc::default(),
            goes: Arc::new(watch::Sender::new(false)),
        };
        let own = server.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(own.serve(listener));
        });
        server
    }

    async fn serve(self, listener: std::net::TcpListener) {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        while let Ok((stream, _)) = listener.accept().await {
            self.connections.fetch_add(1, Ordering::SeqCst);
            let own = self.clone();
            let service = service_fn(move |request| own.clone().answer(request));
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move {
                // The proxy ends it as it likes.
                let _ended = serving.await;
            });
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        match parts.uri.path() {
            "/slow" => {
                self.under_way.fetch_add(1, Ordering::SeqCst);
                let mut goes = self.goes.subscribe();
                let _told = goes.wait_for(|goes| *goes).await;
                self.under_way.fetch_sub(1, Ordering::SeqCst);
            }
            "/never" => std::future::pending().await,
            _ => {}
        }
        let body = body.collect().await.map(|body| body.to_bytes());
        let body = String::from_utf8(body.unwrap_or_default().to_vec()).expect("text");
        let text = format!("{} {} {body}", parts.method, parts.uri);
        Ok(Response::new(Full::from(text)))
    }
}

/// All requests go to one server.
fn bench(keys: &str) -> (Bench, Server) {
    let mut bench = Bench::new(keys, ", http = \"2\"");
    let server = Server::start();
    for at in 1..3 {
        bench.set(at, |target| target.weight = 0);
    }
    bench.reload(|proxy| proxy.servers[0].address = server.address);
    (bench, server)
}

#[test]
fn requests_are_theirs_and_share_a_connection() {
    let (bench, server) = bench("");
    let mut client = bench.connect();
    for at in 0..5 {
        let response = client.get(&format!("/{at}"), "");
        assert_eq!(response.body, format!("GET http://mail.example.com/{at} "));
    }
    client.send(b"POST /p HTTP/1.1\r\nHost: h:8080\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.receive().body, "POST http://h:8080/p hi");
    client.send(
        b"GET /g HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    );
    assert_eq!(client.receive().body, "GET http://h/g hi");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn as_many_connections_are_made_as_are_wanted_and_no_more() {
    let (bench, server) = bench("");
    let connections = || server.connections.load(Ordering::SeqCst);
    let mut clients: Vec<_> = (0..300).map(|_| bench.connect()).collect();
    // Each of the two threads has made its own.
    for client in &mut clients {
        assert_eq!(client.get("/", "").status, 200);
    }
    let before = connections();
    assert!(before <= 2, "{before}");
    let slow = b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n";
    let wait_for = |count: usize| {
        wait_until(|| server.under_way.load(Ordering::SeqCst) == count);
    };
    // A hundred fit into one.
    for client in &mut clients[..100] {
        client.send(slow);
    }
    wait_for(100);
    assert_eq!(connections(), before);
    for client in &mut clients[100..] {
        client.send(slow);
    }
    wait_for(300);
    assert!(connections() >= 3, "{}", connections());
    server.goes.send_replace(true);
    for client in &mut clients {
        assert_eq!(client.receive().status, 200);
    }
    assert_eq!(bench.counted(0).response_errors, 0);
}

#[test]
fn a_connection_that_does_not_answer_is_not_used_again() {
    let (bench, server) = bench("timeouts = { server = \"3s\" }");
    // On one thread, which is that of the client.
    let mut client = Http2::new(bench.connect());
    client.ask(1, "/");
    client.wait_for(1, 200);
    client.ask(3, "/never");
    // So that its time is over long before that of the next one.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    client.ask(5, "/slow");
    wait_until(|| server.under_way.load(Ordering::SeqCst) == 1);
    client.wait_for(3, 504);
    // One that ends well on the same connection does not bring it back.
    server.goes.send_replace(true);
    client.wait_for(5, 200);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    client.ask(7, "/");
    client.wait_for(7, 200);
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}
