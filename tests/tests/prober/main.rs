//! Checks against postfix and its `smtp-sink`, well and unwell, and against what HAProxy makes of the same. Needs root and the
//! Debian packages `postfix` and `haproxy`.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use mb_lb_ctl::config::{Check, CheckKind, SmtpCheck};
use mb_lb_ctl::engine::{CheckResult, CheckTask, Event, Outcome, ServerRef, Which};
use mb_lb_ctl::prober::Prober;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;

mod agent;
mod exec;
mod haproxy;
mod postfix;

const PORT: u16 = 2025;
const PATIENCE: Duration = Duration::from_secs(30);
const OK: Outcome = Outcome::Success;
const BAD: Outcome = Outcome::Failure;

/// A loopback address that nothing else of this machine uses, so that every server can have the same port.
fn fresh_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 128 | high, low, NEXT.fetch_add(1, Ordering::Relaxed))
}

struct Sink {
    child: Child,
    address: IpAddr,
}

impl Sink {
    fn start(options: &[&str]) -> Self {
        Self::start_at(fresh_address().into(), options, 100)
    }

    fn start_at(address: IpAddr, options: &[&str], backlog: u32) -> Self {
        let child = Command::new("smtp-sink")
            .args(["-u", "nobody"])
            .args(options)
            .arg(SocketAddr::new(address, PORT).to_string())
            .arg(backlog.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("smtp-sink is there (Debian package postfix)");
        let sink = Self { child, address };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = TcpStream::connect((address, PORT)) {
            assert!(
                Instant::now() < deadline,
                "smtp-sink does not listen: {error}"
            );
            std::thread::yield_now();
        }
        sink
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

fn smtp() -> CheckKind {
    CheckKind::Smtp(SmtpCheck {
        helo: "lb1.example".into(),
        ..SmtpCheck::default()
    })
}

fn task(address: IpAddr, kind: CheckKind, timeout: Duration) -> CheckTask {
    let interval = Duration::from_millis(20);
    CheckTask {
        server: ServerRef {
            service: "smtp".into(),
            server: "mb1".into(),
        },
        which: Which::Health,
        address: (address, PORT).into(),
        via: None,
        vip: None,
        check: Check {
            via: mb_lb_ctl::config::Via::Server,
            kind,
            port: Some(PORT),
            interval,
            fast_interval: interval,
            down_interval: interval,
            timeout,
            rise: 2,
            fall: 3,
        },
        interval,
    }
}

struct Checking {
    events: mpsc::Receiver<Event>,
    _prober: Prober,
}

impl Checking {
    fn start(task: CheckTask) -> Self {
        let (sender, events) = mpsc::channel(1);
        let mut prober = Prober::new(sender);
        prober.set(vec![task]);
        Self {
            events,
            _prober: prober,
        }
    }

    async fn next(&mut self) -> CheckResult {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        match event.expect("a result is due").expect("the prober lives") {
            Event::Checked { result, .. } => result,
            other => panic!("not a result: {other:?}"),
        }
    }

    /// Results come and go; this is the first with the code.
    async fn until(&mut self, code: &str) -> CheckResult {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let result = self.next().await;
            if result.code == code {
                return result;
            }
            assert!(
                Instant::now() < deadline,
                "still {result:?}, waiting for {code}"
            );
        }
    }
}

async fn once(address: IpAddr, kind: CheckKind, timeout: Duration) -> CheckResult {
    Checking::start(task(address, kind, timeout)).next().await
}

#[tokio::test]
async fn each_misbehaviour_has_its_code_and_its_words() {
    let late = "no reply to EHLO within 700ms";
    type Row = (
        &'static [&'static str],
        Outcome,
        &'static str,
        Option<u16>,
        &'static str,
    );
    let table: &[Row] = &[
        (&[], OK, "L7OK", Some(220), "220 smtp-sink ESMTP"),
        (
            &["-h", "mx1.example"],
            OK,
            "L7OK",
            Some(220),
            "220 mx1.example ESMTP",
        ),
        (&["-e"], OK, "L7OK", Some(220), "220 smtp-sink"),
        (
            &["-f", "EHLO"],
            OK,
            "L7OK",
            Some(220),
            "220 smtp-sink ESMTP",
        ),
        (
            &["-q", "QUIT"],
            OK,
            "L7OK",
            Some(220),
            "220 smtp-sink ESMTP",
        ),
        (
            &["-Q", "QUIT"],
            OK,
            "L7OK",
            Some(220),
            "220 smtp-sink ESMTP",
        ),
        (
            &["-f", "CONNECT"],
            BAD,
            "L7STS",
            Some(500),
            "500 5.3.0 Error: command failed at banner",
        ),
        (
            &["-B", "554 5.7.1 \x1b[31mno", "-f", "CONNECT"],
            BAD,
            "L7STS",
            Some(554),
            "554 5.7.1 ?[31mno at banner",
        ),
        (
            &["-r", "CONNECT"],
            BAD,
            "L7STS",
            Some(450),
            "450 4.3.0 Error: command failed at banner",
        ),
        (
            &["-Q", "CONNECT"],
            BAD,
            "L7STS",
            Some(421),
            "421 4.0.0 Server closing connection at banner",
        ),
        (
            &["-q", "CONNECT"],
            BAD,
            "L7RSP",
            None,
            "connection closed at banner",
        ),
        (
            &["-r", "EHLO"],
            BAD,
            "L7STS",
            Some(450),
            "450 4.3.0 Error: command failed at EHLO",
        ),
        (
            &["-f", "EHLO,HELO"],
            BAD,
            "L7STS",
            Some(500),
            "500 5.3.0 Error: command failed at HELO",
        ),
        (
            &["-q", "EHLO"],
            BAD,
            "L7RSP",
            None,
            "connection closed at EHLO",
        ),
        (
            &["-Q", "EHLO"],
            BAD,
            "L7STS",
            Some(421),
            "421 4.0.0 Server closing connection at EHLO",
        ),
        (&["-W", "EHLO:60"], BAD, "L7TOUT", None, late),
    ];
    for (options, outcome, code, reply, detail) in table {
        let sink = Sink::start(options);
        // Only the row that must run out of time is given little of it.
        let timeout = if *detail == late {
            Duration::from_millis(700)
        } else {
            PATIENCE
        };
        let result = once(sink.address, smtp(), timeout).await;
        let found = (
            result.outcome,
            result.code,
            result.reply,
            result.detail.as_str(),
        );
        assert_eq!(
            found,
            (*outcome, *code, *reply, *detail),
            "smtp-sink {options:?}"
        );
    }
}

#[tokio::test]
async fn frozen_server_fails_smtp_passes_tcp_and_comes_back() {
    let sink = Sink::start(&[]);
    let mut smtp = Checking::start(task(sink.address, smtp(), Duration::from_secs(1)));
    smtp.until("L7OK").await;
    sink.signal(Signal::SIGSTOP);
    let result = smtp.until("L7TOUT").await;
    assert_eq!(result.outcome, BAD);
    assert_eq!(
        result.detail,
        "no 220 banner within 1s: the process may be hung"
    );
    assert!(result.duration >= Duration::from_secs(1));
    // The kernel accepts on behalf of the process: that is what tcp cannot see.
    let tcp = once(sink.address, CheckKind::Tcp, PATIENCE).await;
    assert_eq!((tcp.outcome, tcp.code), (OK, "L4OK"));
    sink.signal(Signal::SIGCONT);
    assert_eq!(smtp.until("L7OK").await.outcome, OK);
}

#[tokio::test]
async fn killed_server_is_refused_at_once() {
    let sink = Sink::start(&[]);
    let mut checking = Checking::start(task(sink.address, smtp(), PATIENCE));
    checking.until("L7OK").await;
    drop(sink);
    let result = checking.until("L4CON").await;
    assert_eq!(
        (result.outcome, result.detail.as_str()),
        (Outcome::Refused, "connection refused")
    );
}

#[tokio::test]
async fn server_with_a_full_backlog_does_not_answer() {
    let sink = Sink::start_at(fresh_address().into(), &[], 1);
    sink.signal(Signal::SIGSTOP);
    let target = SocketAddr::new(sink.address, PORT);
    let connect = || TcpStream::connect_timeout(&target, Duration::from_millis(300));
    let queued: Vec<TcpStream> = std::iter::from_fn(|| connect().ok()).take(64).collect();
    assert!(queued.len() < 64, "the backlog never filled");
    let result = once(sink.address, CheckKind::Tcp, Duration::from_millis(700)).await;
    assert_eq!((result.outcome, result.code), (BAD, "L4TOUT"));
    assert_eq!(
        result.detail,
        "no answer to the connection attempt within 700ms"
    );
}

#[tokio::test]
async fn works_over_ipv6() {
    // ::1 cannot be told apart like 127.0.0.0/8; this is the only test that uses it.
    let sink = Sink::start_at("::1".parse().unwrap(), &[], 100);
    let result = once(sink.address, smtp(), PATIENCE).await;
    assert_eq!((result.outcome, result.code), (OK, "L7OK"));
}

#[tokio::test]
async fn sessions_end_with_quit() {
    let mut sink = Sink::start(&["-c"]);
    let mut checking = Checking::start(task(sink.address, smtp(), PATIENCE));
    for _ in 0..10 {
        assert_eq!(checking.next().await.code, "L7OK");
    }
    drop(checking);
    let mut shown = sink.child.stdout.take().unwrap();
    drop(sink);
    let mut text = String::new();
    shown.read_to_string(&mut text).unwrap();
    // The counters are rewritten in place; the last are those that count.
    let last = text.trim_end().rsplit('\r').next().unwrap();
    let quits: u32 = last
        .split_whitespace()
        .find_map(|field| field.strip_prefix("quit="))
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("no counter in {text:?}"));
    // The last result is out before its QUIT.
    assert!(quits >= 9, "{quits} of 10 sessions ended with QUIT");
}

/// A peer that no mail server can be made to be: says `words`, then stays silent until the client goes.
fn talker(words: Vec<u8>) -> IpAddr {
    let address = fresh_address();
    let listener = TcpListener::bind((address, PORT)).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The check may leave in the middle of a long speech.
        let _ = stream.write_all(&words);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    address.into()
}

#[tokio::test]
async fn other_protocols_and_endless_talk_are_garbage() {
    let table: &[(&[u8], &str, Option<u16>, &str)] = &[
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            "L7RSP",
            None,
            "not an SMTP reply: \"SSH-2.0-OpenSSH_9.2\", at banner",
        ),
        (
            b"\x16\x03\x01\0\xff",
            "L7RSP",
            None,
            "not an SMTP reply: \"?????\", at banner",
        ),
        (
            b"220-a\r\n250 b\r\n",
            "L7RSP",
            None,
            "reply lines with different codes: 220 and 250, at banner",
        ),
        (
            &[b'2'; 1],
            "L7TOUT",
            None,
            "the banner began but did not end within 700ms",
        ),
        (
            b"220-please wait\r\n",
            "L7TOUT",
            None,
            "the banner began but did not end within 700ms",
        ),
        (
            b"220 a\r\n250 b\r\n",
            "L7RSP",
            Some(220),
            "the server talks before it is spoken to",
        ),
    ];
    for (words, code, reply, detail) in table {
        let timeout = if *code == "L7TOUT" {
            Duration::from_millis(700)
        } else {
            PATIENCE
        };
        let result = once(talker(words.to_vec()), smtp(), timeout).await;
        let found = (
            result.outcome,
            result.code,
            result.reply,
            result.detail.as_str(),
        );
        assert_eq!(
            found,
            (BAD, *code, *reply, *detail),
            "{}",
            words.escape_ascii()
        );
    }
    let endless = [b"220-".as_slice(), &[b'x'; 100_000]].concat();
    let result = once(talker(endless), smtp(), PATIENCE).await;
    let found = (result.outcome, result.code, result.detail.as_str());
    assert_eq!(
        found,
        (BAD, "L7RSP", "a reply longer than 4096 bytes, at banner")
    );
}
