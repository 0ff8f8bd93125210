//! What checks of type `smtp` make of EHLO and STARTTLS, with servers that are scripted.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{Capability, ServerTls, SmtpCheck, Verify};
use crate::upstream_tls::tests::{Site, tls};

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(700);
const DAY: Duration = Duration::from_secs(86_400);

const BANNER: &str = "220 mx1\r\n";
const EHLO: &str =
    "250-mx1\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n250 8BITMIME\r\n";
const UNKNOWN: &str = "502 5.5.2 no such command\r\n";
const GO: &str = "220 2.0.0 Ready to start TLS\r\n";
const INSIDE: &str = "250-mx1\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME\r\n";

fn smtp() -> SmtpCheck {
    SmtpCheck {
        helo: "lb1".to_owned(),
        ..SmtpCheck::default()
    }
}

fn wanting(capabilities: &[&str]) -> SmtpCheck {
    let capability = |text: &&str| {
        let mut words = text.split(' ').map(str::to_owned);
        Capability {
            keyword: words.next().unwrap(),
            parameters: words.collect(),
        }
    };
    SmtpCheck {
        capabilities: capabilities.iter().map(capability).collect(),
        ..smtp()
    }
}

fn inside(tls: ServerTls, smtp: SmtpCheck) -> SmtpCheck {
    SmtpCheck {
        starttls: Some(tls),
        ..smtp
    }
}

/// A server of one connection: the first text is said at once, each further one after a line of the client. Then it listens,
/// to the end. With `acceptor` TLS begins after the first texts, and the second ones are answers inside it.
struct Server {
    clear: &'static [&'static str],
    acceptor: Option<TlsAcceptor>,
    inside: &'static [&'static str],
}

impl Server {
    async fn check(self, smtp: SmtpCheck, timeout: Duration) -> (CheckResult, Vec<String>) {
        let listener = tokio::net::TcpListener::bind((LOCAL, 0)).await.unwrap();
        let mut task = task("mb1", listener.local_addr().unwrap().port(), HOUR);
        task.check.kind = CheckKind::Smtp(smtp);
        task.check.timeout = timeout;
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            self.serve(stream).await
        });
        let (result, line) = Probe::new(&task).run().await;
        if let Some(line) = line {
            line.close().await;
        }
        (result, serving.await.unwrap())
    }

    async fn serve(self, stream: tokio::net::TcpStream) -> Vec<String> {
        let mut heard = Vec::new();
        let mut stream = BufStream::new(stream);
        let (banner, answers) = self.clear.split_first().unwrap();
        stream.write_all(banner.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        answer(&mut stream, answers, &mut heard).await;
        match self.acceptor {
            None => listen(stream, &mut heard).await,
            Some(acceptor) => {
                let Ok(stream) = acceptor.accept(stream).await else {
                    heard.push("no TLS".to_owned());
                    return heard;
                };
                let mut stream = BufStream::new(stream);
                answer(&mut stream, self.inside, &mut heard).await;
                listen(stream, &mut heard).await;
            }
        }
        heard
    }
}

type Heard = Vec<String>;

async fn answer<S>(stream: &mut BufStream<S>, answers: &[&str], heard: &mut Heard)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for answer in answers {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await.unwrap();
        heard.push(String::from_utf8_lossy(line.trim_ascii()).into_owned());
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

async fn listen<S: AsyncRead + AsyncWrite + Unpin>(mut stream: BufStream<S>, heard: &mut Heard) {
    loop {
        let mut line = Vec::new();
        // TLS that is not ended as it should be is an error here.
        match stream.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => heard.push(String::from_utf8_lossy(line.trim_ascii()).into_owned()),
        }
        if heard.last().is_some_and(|line| line == "QUIT") {
            return;
        }
    }
}

fn shown(result: &CheckResult) -> (&str, Option<u16>, &str) {
    (result.code, result.reply, &result.detail)
}

#[tokio::test]
async fn in_clear_all_that_is_wanted_has_to_be_offered() {
    let table: &[(&[&str], &[&str], &str, Option<u16>, &str)] = &[
        (&[], &[BANNER, EHLO], "L7OK", Some(220), "220 mx1"),
        (
            &["STARTTLS", "8BITMIME", "SIZE", "SIZE 10240000"],
            &[BANNER, EHLO],
            "L7OK",
            Some(220),
            "220 mx1",
        ),
        (
            &["DSN"],
            &[BANNER, EHLO],
            "L7STS",
            Some(250),
            "EHLO does not offer DSN",
        ),
        (
            &["DSN", "8BITMIME", "SIZE 99999999"],
            &[BANNER, EHLO],
            "L7STS",
            Some(250),
            "EHLO does not offer DSN, SIZE 99999999",
        ),
        (
            &["STARTTLS"],
            &[BANNER, "250 STARTTLS\r\n"],
            "L7STS",
            Some(250),
            "EHLO does not offer STARTTLS",
        ),
        (
            &["STARTTLS"],
            &[BANNER, UNKNOWN],
            "L7STS",
            Some(502),
            "502 5.5.2 no such command at EHLO",
        ),
        (
            &[],
            &[BANNER, UNKNOWN, "250 mx1\r\n"],
            "L7OK",
            Some(220),
            "220 mx1",
        ),
    ];
    for (wanted, clear, code, reply, detail) in table {
        let server = Server {
            clear,
            acceptor: None,
            inside: &[],
        };
        let (result, heard) = server.check(wanting(wanted), PATIENCE).await;
        assert_eq!(shown(&result), (*code, *reply, *detail), "{wanted:?}");
        assert_eq!(result.certificate, None);
        assert_eq!(heard.first().map(String::as_str), Some("EHLO lb1"));
        assert_eq!(heard.last().map(String::as_str), Some("QUIT"), "{detail}");
    }
}

#[tokio::test]
async fn inside_tls_it_asks_again() {
    let site = Site::alone(&["mx1.example"]);
    let table: &[(&[&str], &[&str], &str, &str)] = &[
        (
            &["STARTTLS", "8BITMIME", "AUTH LOGIN"],
            &[INSIDE],
            "L7OK",
            "220 mx1",
        ),
        // What was offered in clear is not what counts.
        (
            &["SIZE", "PIPELINING", "AUTH"],
            &[INSIDE],
            "L7STS",
            "EHLO inside TLS does not offer SIZE, PIPELINING",
        ),
        (
            &[],
            &["421 4.3.2 not now\r\n"],
            "L7STS",
            "421 4.3.2 not now at EHLO inside TLS",
        ),
        (
            &[],
            &["nonsense\r\n"],
            "L7RSP",
            "not an SMTP reply: \"nonsense\", at EHLO inside TLS",
        ),
    ];
    for (wanted, answers, code, detail) in table {
        let server = Server {
            clear: &[BANNER, EHLO, GO],
            acceptor: Some(site.acceptor()),
            inside: answers,
        };
        let smtp = inside(tls(Verify::None), wanting(wanted));
        let (result, heard) = server.check(smtp, PATIENCE).await;
        assert_eq!((result.code, result.detail.as_str()), (*code, *detail));
        assert_eq!(heard, ["EHLO lb1", "STARTTLS", "EHLO lb1", "QUIT"]);
        // rcgen's own, which lasts.
        assert!(result.certificate.is_some_and(|end| end > 60_000_000_000));
    }
}

#[tokio::test]
async fn what_keeps_tls_from_being_set_up_is_said() {
    let site = Site::alone(&["mx1.example"]);
    let late = "TLS was not set up within 700ms";
    let table: &[(&[&str], &str, &str)] = &[
        (
            &[BANNER, "250-mx1\r\n250 8BITMIME\r\n"],
            "L7STS",
            "EHLO does not offer STARTTLS",
        ),
        (
            &[BANNER, EHLO, "454 4.7.0 TLS not available\r\n"],
            "L7STS",
            "454 4.7.0 TLS not available at STARTTLS",
        ),
        (
            &[BANNER, EHLO, "250 2.0.0 fine\r\n"],
            "L7STS",
            "250 2.0.0 fine at STARTTLS",
        ),
        (
            &[BANNER, "502 5.5.2 no\r\n"],
            "L7STS",
            "502 5.5.2 no at EHLO",
        ),
        (
            &[
                BANNER,
                EHLO,
                "220 2.0.0 Ready\r\n250-mx1\r\n250 AUTH PLAIN\r\n",
            ],
            "L7RSP",
            "the server said something in clear after its reply to STARTTLS",
        ),
        (
            &[BANNER, "250-mx1\r\n250 STARTTLS\r\n220 2.0.0 Ready\r\n"],
            "L7RSP",
            "the server said more than its reply to EHLO",
        ),
        (&[BANNER, EHLO, GO], "L6TOUT", late),
    ];
    for (clear, code, detail) in table {
        let server = Server {
            clear,
            acceptor: None,
            inside: &[],
        };
        let patience = if *detail == late { SHORT } else { PATIENCE };
        let smtp = inside(tls(Verify::None), smtp());
        let (result, heard) = server.check(smtp, patience).await;
        assert_eq!(
            (result.outcome, result.code, result.detail.as_str()),
            (Outcome::Failure, *code, *detail)
        );
        assert_eq!(result.certificate, None);
        // Once the server waits for TLS, it is told nothing else.
        let waits = heard.iter().any(|line| line == "STARTTLS") && !detail.ends_with("at STARTTLS");
        let quits = heard.last().is_some_and(|line| line == "QUIT");
        assert_eq!(quits, !waits, "{detail}: {heard:?}");
    }
    let server = Server {
        clear: &[BANNER, EHLO, GO, "500 what is that?\r\n"],
        acceptor: None,
        inside: &[],
    };
    let (result, _) = server
        .check(inside(tls(Verify::None), smtp()), PATIENCE)
        .await;
    assert_eq!(
        (result.code, result.detail.as_str()),
        ("L6RSP", "it does not speak TLS")
    );
    let server = Server {
        clear: &[BANNER, EHLO, GO],
        acceptor: Some(site.acceptor()),
        inside: &[INSIDE],
    };
    let other = Site::alone(&["mx1.example"]);
    let (result, heard) = server.check(inside(other.pinned(), smtp()), PATIENCE).await;
    assert_eq!(result.code, "L6RSP");
    let refused = "its certificate is refused: it is sha256:";
    assert!(result.detail.starts_with(refused), "{}", result.detail);
    assert_eq!(heard.last().map(String::as_str), Some("no TLS"));
}

#[tokio::test]
async fn a_certificate_that_ends_is_told_and_fails_where_it_must_not() {
    let soon = SystemTime::now() + DAY;
    let unix = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(since.as_secs()).unwrap()
    };
    let end = crate::command::info::date(unix(soon));
    let sooner = format!("its certificate expires on {end}, sooner than min_certificate allows");
    let week = Some(DAY * 7);
    for (site, least, code, detail, certificate) in [
        (
            Site::ending(&["mx1"], soon),
            None,
            "L7OK",
            "220 mx1",
            unix(soon),
        ),
        (
            Site::ending(&["mx1"], soon),
            Some(DAY / 2),
            "L7OK",
            "220 mx1",
            unix(soon),
        ),
        (
            Site::ending(&["mx1"], soon),
            week,
            "L6RSP",
            sooner.as_str(),
            unix(soon),
        ),
        (
            Site::expired(&["mx1"]),
            None,
            "L7OK",
            "220 mx1",
            1_580_515_200,
        ),
        (
            Site::expired(&["mx1"]),
            week,
            "L6RSP",
            "its certificate has expired on 2020-02-01",
            1_580_515_200,
        ),
    ] {
        let server = Server {
            clear: &[BANNER, EHLO, GO],
            acceptor: Some(site.acceptor()),
            inside: &[INSIDE],
        };
        let smtp = SmtpCheck {
            min_certificate: least,
            ..inside(tls(Verify::None), smtp())
        };
        let (result, heard) = server.check(smtp, PATIENCE).await;
        assert_eq!((result.code, result.detail.as_str()), (code, detail));
        assert_eq!(result.certificate, Some(certificate));
        assert_eq!(heard, ["EHLO lb1", "STARTTLS", "EHLO lb1", "QUIT"]);
    }
}
