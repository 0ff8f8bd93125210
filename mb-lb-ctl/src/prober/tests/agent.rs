//! Checks of type `agent` against agents that are scripted.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::*;
use crate::engine::{AgentReply, Weight};
use crate::snapshot::AdminState;

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(700);

fn agent(script: impl FnOnce(&mut TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((LOCAL, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        script(&mut stream);
    });
    address
}

/// Says this, and no more until the check has gone.
fn saying(words: impl Into<Vec<u8>>) -> SocketAddr {
    let words = words.into();
    agent(move |stream| {
        // The check may have heard enough before all is said.
        drop(stream.write_all(&words));
        drop(stream.read_to_end(&mut Vec::new()));
    })
}

async fn once(address: SocketAddr, send: Option<&str>, timeout: Duration) -> CheckResult {
    let mut task = task("mb1", address.port(), HOUR);
    task.check.kind = CheckKind::Agent {
        send: send.map(str::to_owned),
    };
    task.check.timeout = timeout;
    task.which = Which::Agent;
    let (sender, mut events) = mpsc::channel(1);
    let mut prober = Prober::new(sender);
    prober.set(vec![task]);
    let event = timeout_of(&mut events).await;
    let Event::Checked { which, result, .. } = event else {
        panic!("not a result: {event:?}")
    };
    assert_eq!(which, Which::Agent);
    result
}

async fn timeout_of(events: &mut mpsc::Receiver<Event>) -> Event {
    let event = tokio::time::timeout(PATIENCE, events.recv()).await;
    event.expect("a result is due").expect("the prober lives")
}

#[tokio::test]
async fn each_line_has_its_verdict_and_its_words() {
    let whole = AgentReply {
        weight: Some(Weight::Percent(75)),
        max_connections: Some(30),
        admin: Some(AdminState::Drain),
        up: Some(false),
        reason: Some("disk full".to_owned()),
    };
    let up = |up| AgentReply {
        up: Some(up),
        ..AgentReply::default()
    };
    for (words, code, detail, reply) in [
        ("up\n", "L7OK", "the agent says up", up(true)),
        ("up\r\n", "L7OK", "the agent says up", up(true)),
        (
            "\nup\n",
            "L7OK",
            "the agent says nothing new",
            AgentReply::default(),
        ),
        ("fail\ndown\n", "L7STS", "the agent says fail", up(false)),
        (
            "75% maxconn:30 drain down # disk full\n",
            "L7STS",
            "the agent says down: disk full",
            whole,
        ),
        (
            "hello up\tworld\n",
            "L7OK",
            "the agent says hello up world; not understood: hello world",
            up(true),
        ),
        (
            "\u{1b}[2J\n",
            "L7OK",
            "the agent says ?[2J; not understood: ?[2J",
            AgentReply::default(),
        ),
    ] {
        let result = once(saying(words), None, PATIENCE).await;
        assert_eq!(
            (result.code, result.detail.as_str(), result.agent),
            (code, detail, Some(reply)),
            "{words:?}"
        );
        let good = result.outcome == Outcome::Success;
        assert_eq!(good, code == "L7OK", "{words:?}");
    }
}

#[tokio::test]
async fn where_no_line_is_heard_nothing_is_asked_for() {
    let closing = |words: &'static [u8]| {
        agent(move |stream| {
            stream.write_all(words).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            drop(stream.read_to_end(&mut Vec::new()));
        })
    };
    for (address, code, detail) in [
        (closing(b""), "L7RSP", "the agent said nothing"),
        (
            closing(b"10"),
            "L7RSP",
            "the agent's line did not end, so nothing in it counts",
        ),
        (
            saying("x".repeat(1025)),
            "L7RSP",
            "the agent's line is longer than 1024 bytes",
        ),
        (saying(""), "L7TOUT", "no line of the agent within 700ms"),
        (
            saying("up"),
            "L7TOUT",
            "the agent's line began but did not end within 700ms",
        ),
    ] {
        let patience = if code == "L7TOUT" { SHORT } else { PATIENCE };
        let result = once(address, None, patience).await;
        assert_eq!(
            (result.outcome, result.code, result.detail.as_str()),
            (Outcome::Failure, code, detail)
        );
        assert_eq!(result.agent, None, "{detail}");
    }
    let longest = saying("x".repeat(1024) + "\n");
    let result = once(longest, None, PATIENCE).await;
    assert_eq!(result.code, "L7OK", "{}", result.detail);
}

#[tokio::test]
async fn what_is_to_be_sent_is_sent_as_it_is() {
    let address = agent(|stream| {
        let mut heard = [0; 12];
        stream.read_exact(&mut heard).unwrap();
        let good = &heard == b"state of mb1";
        stream
            .write_all(if good { b"up\n" } else { b"fail\n" })
            .unwrap();
        // The check ends the connection, and in order.
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    });
    let result = once(address, Some("state of mb1"), PATIENCE).await;
    assert_eq!(result.detail, "the agent says up");
}

#[tokio::test]
async fn a_server_has_an_agent_beside_its_check() {
    let port = accepting();
    let (sender, mut events) = mpsc::channel(8);
    let mut prober = Prober::new(sender);
    let mut beside = task("mb1", saying("drain\n").port(), HOUR);
    beside.which = Which::Agent;
    beside.check.kind = CheckKind::Agent { send: None };
    prober.set(vec![task("mb1", port, HOUR), beside.clone()]);
    let mut codes = Vec::new();
    for _ in 0..2 {
        let Event::Checked { which, result, .. } = timeout_of(&mut events).await else {
            panic!("not a result");
        };
        codes.push((which, result.code));
    }
    codes.sort_unstable();
    assert_eq!(codes, [(Which::Health, "L4OK"), (Which::Agent, "L7OK")]);
    let before = ids(&prober);
    prober.set(vec![beside.clone()]);
    let key = (beside.server, Which::Agent);
    assert_eq!(ids(&prober), HashMap::from([(key.clone(), before[&key])]));
}
