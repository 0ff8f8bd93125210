//! Checks of type `http` against peers that are scripted, and against real TLS.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::config::{BodyMatch, HttpCheck, ServerTls, Verify};
use crate::upstream_tls::tests::{Site, tls};

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(700);

fn get(path: &str) -> HttpCheck {
    HttpCheck {
        min_certificate: None,
        members: Vec::new(),
        method: "GET".to_owned(),
        path: path.to_owned(),
        host: None,
        expect: vec![(200, 399)],
        body: None,
        tls: None,
    }
}

async fn once(address: SocketAddr, http: HttpCheck, timeout: Duration) -> CheckResult {
    let mut task = task("mb1", address.port(), HOUR);
    task.check.kind = CheckKind::Http(http);
    task.check.timeout = timeout;
    let (result, line) = Probe::new(&task).run().await;
    if let Some(line) = line {
        line.close().await;
    }
    result
}

/// One connection: reads a request, and does what the script says.
fn peer(script: impl FnOnce(&mut std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((LOCAL, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        hear(&mut stream);
        script(&mut stream);
    });
    address
}

fn hear(stream: &mut std::net::TcpStream) -> String {
    let mut heard = Vec::new();
    let mut piece = [0; 1024];
    while !heard.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece).unwrap() {
            0 => break,
            count => heard.extend_from_slice(&piece[..count]),
        }
    }
    String::from_utf8(heard).unwrap()
}

fn answering(answer: impl AsRef<[u8]>) -> SocketAddr {
    let answer = answer.as_ref().to_vec();
    // The check may have heard enough before all is said.
    peer(move |stream| drop(stream.write_all(&answer)))
}

#[tokio::test]
async fn the_request_is_short_and_says_who_asks() {
    for (http, expected) in [
        (
            get("/health"),
            "GET /health HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n",
        ),
        (
            HttpCheck {
                method: "POST".to_owned(),
                host: Some("mail.example.org".to_owned()),
                ..get("/a?b")
            },
            "POST /a?b HTTP/1.1\r\nHost: mail.example.org\r\n",
        ),
    ] {
        let listener = TcpListener::bind((LOCAL, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let heard = hear(&mut stream);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
            // A server that waits for the end meets no reset.
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
            heard
        });
        let post = http.method == "POST";
        let result = once(address, http, PATIENCE).await;
        assert_eq!(
            (result.code, result.reply, result.detail.as_str()),
            ("L7OK", Some(200), "200 OK")
        );
        let heard = server.join().unwrap();
        let expected = expected.replace("PORT", &address.port().to_string());
        assert!(heard.starts_with(&expected), "{heard}");
        for line in ["User-Agent: mb-lb\r\n", "Connection: close\r\n"] {
            assert!(heard.contains(line), "{heard}");
        }
        assert_eq!(heard.contains("Content-Length: 0\r\n"), post, "{heard}");
    }
}

#[tokio::test]
async fn what_comes_back_has_its_code_and_its_words() {
    let json = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let redis = r#"{"status": "fail", "checks": {"database": "ok", "redis": {"status": "fail", "error": "timeout"}}}"#;
    for (answer, code, detail) in [
        ("HTTP/1.1 200 OK\r\n\r\nok".to_owned(), "L7OK", "200 OK"),
        ("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_owned(), "L7OK", "302 Found"),
        ("HTTP/1.0 404 Not Found\r\n\r\n".to_owned(), "L7STS", "404 Not Found"),
        ("HTTP/1.1 503\r\n\r\n".to_owned(), "L7STS", "503"),
        (json("503 Service Unavailable", redis), "L7STS", "503: redis: timeout"),
        (json("500 Oops", r#"{"status": "down"}"#), "L7STS", "500 Oops, status down"),
        (json("200 OK", r#"{"status": "ok"}"#), "L7OK", "200 OK"),
        (json("200 OK", r#"{"status": "degraded"}"#), "L7OK", "200 OK, but it says: degraded"),
        (json("200 OK", redis), "L7OK", "200 OK, but it says: fail (redis: timeout)"),
        (
            "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\n{\"checks\": {\"db\": \"locked\"\r\n2\r\n}}\r\n0\r\n\r\n"
                .replace("1c\r\n", "1b\r\n"),
            "L7STS",
            "503: db: locked",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok".to_owned(), "L7RSP", "200 OK, but the connection ended in the middle of the body"),
        ("HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nok".to_owned(), "L7STS", "500 No"),
        ("HTTP/1.1 200 O".to_owned(), "L7RSP", "connection closed in the middle of the header"),
        (String::new(), "L7RSP", "connection closed without an answer"),
        ("220 mx1 ESMTP\r\n".to_owned(), "L7RSP", "not HTTP: \"220 mx1 ESMTP\""),
        ("\u{1b}[2J\u{0}\r\n\r\n".to_owned(), "L7RSP", "not HTTP: \"?[2J?\""),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".to_owned(),
            "L7RSP",
            "the chunks of the body are not well-formed",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(100_000)),
            "L7RSP",
            "a header longer than 65536 bytes",
        ),
        (format!("HTTP/1.1 200 OK\r\n\r\n{}", "a".repeat(200_000)), "L7OK", "200 OK"),
    ] {
        let result = once(answering(&answer), get("/"), PATIENCE).await;
        assert_eq!((result.code, result.detail.as_str()), (code, detail), "{answer:.100}");
        let good = if code == "L7OK" { Outcome::Success } else { Outcome::Failure };
        assert_eq!(result.outcome, good);
    }
}

#[tokio::test]
async fn the_body_has_to_hold_what_is_wanted() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nstate: up\n";
    let body = |body| HttpCheck {
        body: Some(body),
        ..get("/")
    };
    for (wanted, code) in [
        (BodyMatch::Text("state: up".to_owned()), "L7OK"),
        (BodyMatch::Text("state: down".to_owned()), "L7RSP"),
        (BodyMatch::Regex("^state: (up|ok)$".to_owned()), "L7RSP"),
        (BodyMatch::Regex("(?m)^state: (up|ok)$".to_owned()), "L7OK"),
    ] {
        let result = once(answering(answer), body(wanted.clone()), PATIENCE).await;
        assert_eq!(result.code, code, "{wanted:?}: {}", result.detail);
        assert_eq!(result.reply, Some(200));
    }
    let wanted = body(BodyMatch::Text("state: down".to_owned()));
    let result = once(answering(answer), wanted, PATIENCE).await;
    assert_eq!(
        result.detail,
        "200 OK, but body \"state: down\" is not in what came"
    );
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_to_wait_for() {
    let head = HttpCheck {
        method: "HEAD".to_owned(),
        ..get("/")
    };
    let address = peer(|stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
            .unwrap();
        drop(stream.read(&mut [0; 1]));
    });
    assert_eq!(once(address, head, PATIENCE).await.code, "L7OK");
}

/// Byte by byte, and never to an end.
fn dripping(start: &'static str) -> SocketAddr {
    peer(move |stream| {
        stream.write_all(start.as_bytes()).unwrap();
        while stream.write_all(b"a").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    })
}

#[tokio::test]
async fn a_slow_server_does_not_outlast_the_timeout() {
    let silent = || peer(|stream| drop(stream.read(&mut [0; 1])));
    for (address, detail) in [
        (
            silent(),
            "no answer to GET / within 700ms: the process may be hung",
        ),
        (
            dripping("HTTP/1.1 200 OK\r\nA: "),
            "the answer began but did not end within 700ms",
        ),
        (
            dripping("HTTP/1.1 200 OK\r\n\r\n"),
            "200, but its body did not end within 700ms",
        ),
    ] {
        let started = Instant::now();
        let result = once(address, get("/"), SHORT).await;
        assert_eq!((result.code, result.detail.as_str()), ("L7TOUT", detail));
        assert!(started.elapsed() < PATIENCE / 2);
    }
    // What is known is not waited for.
    let result = once(dripping("HTTP/1.1 503 No\r\n\r\n"), get("/"), SHORT).await;
    assert_eq!((result.code, result.reply), ("L7STS", Some(503)));
}

/// A server with this certificate, for as long as the test runs.
async fn secure(site: &Site) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((LOCAL, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = site.acceptor();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            drop(stream.read(&mut [0; 1024]).await);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            drop(stream.write_all(answer).await);
            drop(stream.shutdown().await);
        }
    });
    address
}

#[tokio::test]
async fn each_way_to_verify_finds_what_it_is_for() {
    let site = Site::alone(&["127.0.0.1", "a.example"]);
    let other = Site::alone(&["127.0.0.1"]);
    let address = secure(&site).await;
    let named = |name: &str| ServerTls {
        sni: Some(name.to_owned()),
        ..site.listed()
    };
    for (tls, code, detail) in [
        (tls(Verify::None), "L7OK", "200 OK"),
        (site.listed(), "L7OK", "200 OK"),
        (site.pinned(), "L7OK", "200 OK"),
        (named("a.example"), "L7OK", "200 OK"),
        (
            named("b.example"),
            "L6RSP",
            "its certificate is refused: it is not for b.example",
        ),
        (
            other.listed(),
            "L6RSP",
            "its certificate is refused: it has issued itself, and is not",
        ),
        (
            other.pinned(),
            "L6RSP",
            "its certificate is refused: it is sha256:",
        ),
    ] {
        let http = HttpCheck {
            tls: Some(tls.clone()),
            ..get("/")
        };
        let result = once(address, http, PATIENCE).await;
        assert_eq!(result.code, code, "{tls:?}: {}", result.detail);
        assert!(result.detail.starts_with(detail), "{}", result.detail);
    }
}

#[tokio::test]
async fn what_is_no_tls_has_its_code() {
    let with = |verify| HttpCheck {
        tls: Some(tls(verify)),
        ..get("/")
    };
    // None of these waits for the end of a request.
    let raw = |answer: &'static [u8]| {
        let listener = TcpListener::bind((LOCAL, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            drop(stream.read(&mut [0; 4096]));
            drop(stream.write_all(answer));
        });
        address
    };
    let clear = once(
        raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        with(Verify::None),
        PATIENCE,
    )
    .await;
    assert_eq!(
        (clear.code, clear.detail.as_str()),
        ("L6RSP", "it does not speak TLS")
    );
    let closed = once(raw(b""), with(Verify::None), PATIENCE).await;
    assert_eq!(
        (closed.code, closed.detail.as_str()),
        ("L6RSP", "connection closed while TLS was set up")
    );

    let silent = TcpListener::bind((LOCAL, 0)).unwrap();
    let late = once(silent.local_addr().unwrap(), with(Verify::None), SHORT).await;
    assert_eq!(
        (late.code, late.detail.as_str()),
        ("L6TOUT", "TLS was not set up within 700ms")
    );

    // The director's own trouble is nobody's fault.
    let own = once(
        silent.local_addr().unwrap(),
        with(Verify::Ca("/nowhere/ca.pem".into())),
        SHORT,
    )
    .await;
    assert_eq!((own.outcome, own.code), (Outcome::Inconclusive, "SOCKERR"));
    assert!(own.detail.contains("/nowhere/ca.pem"), "{}", own.detail);
}

/// A request in clear to a server that wants TLS.
#[tokio::test]
async fn a_tls_server_does_not_answer_in_clear() {
    let address = secure(&Site::alone(&["127.0.0.1"])).await;
    let result = once(address, get("/"), PATIENCE).await;
    assert_eq!(result.code, "L7RSP", "{}", result.detail);
}

/// A page that says 503 for what does not count here is good, and one that does not name a member is not.
#[tokio::test]
async fn only_some_members_count() {
    let page = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let one = r#"{"status": "unhealthy", "checks": {"database": "failed", "mb-milter": "ok"}}"#;
    let both =
        r#"{"status": "unhealthy", "checks": {"database": "failed", "mb-milter": "failed"}}"#;
    for (answer, outcome, code, detail) in [
        (
            page("503 Service Unavailable", one),
            Outcome::Success,
            "L7OK",
            "503 Service Unavailable, for reasons that do not count here: database: failed",
        ),
        (
            page("503 Service Unavailable", both),
            Outcome::Failure,
            "L7STS",
            "503: mb-milter: failed",
        ),
        (
            page(
                "200 OK",
                r#"{"status": "healthy", "checks": {"mb-milter": "ok"}}"#,
            ),
            Outcome::Success,
            "L7OK",
            "200 OK",
        ),
        (
            page(
                "200 OK",
                r#"{"status": "healthy", "checks": {"database": "ok"}}"#,
            ),
            Outcome::Failure,
            "L7RSP",
            "200 OK, but its health page says nothing of mb-milter",
        ),
        (
            page("200 OK", "<html>"),
            Outcome::Failure,
            "L7RSP",
            "200 OK, but no health page: its members cannot be seen",
        ),
    ] {
        let http = HttpCheck {
            min_certificate: None,
            members: vec!["mb-milter".to_owned()],
            ..get("/health")
        };
        let result = once(answering(answer), http, PATIENCE).await;
        let seen = (result.outcome, result.code, result.detail.as_str());
        assert_eq!(seen, (outcome, code, detail));
    }
}
