//! The edge, and peers that are not what they should be.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{Round, Says, Trouble, follow};
use crate::config::{self, Secret, TierServer};
use crate::engine::Event;
use crate::tiers::{self, Reports};

const GUARD: Duration = Duration::from_secs(60);

/// For one question, where an answer comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a peer does with each connection.
#[derive(Clone, Debug)]
enum Peer {
    /// Says this to whatever comes first, and keeps the connection.
    Says(Vec<u8>),
    /// Says this again and again.
    Endless(&'static [u8]),
    /// Says this byte by byte, with a pause after each.
    Drips(&'static [u8]),
    /// Closes at the first word.
    Closes,
    /// Says this and closes, without having heard a word.
    Greets(&'static [u8]),
    /// Closes after this.
    SaysAndCloses(&'static [u8]),
    /// Answers each command of [`answer`].
    Redis(&'static str),
}

async fn serve(peer: Peer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, peer.clone()));
        }
    });
    address
}

async fn converse(mut stream: TcpStream, peer: Peer) {
    let mut heard = [0; 4096];
    if let Peer::Greets(bytes) = peer {
        // Whether it arrives is the other's to see.
        let _ = stream.write_all(bytes).await;
        return;
    }
    loop {
        let Ok(count @ 1..) = stream.read(&mut heard).await else {
            return;
        };
        let said = match &peer {
            Peer::Says(bytes) => stream.write_all(bytes).await,
            Peer::Endless(bytes) => loop {
                if let Err(error) = stream.write_all(bytes).await {
                    break Err(error);
                }
            },
            Peer::Drips(bytes) => {
                for byte in *bytes {
                    if stream.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(())
            }
            Peer::Closes | Peer::Greets(_) => return,
            Peer::SaysAndCloses(bytes) => {
                // Whether it arrives is the other's to see.
                let _ = stream.write_all(bytes).await;
                return;
            }
            Peer::Redis(role) => stream.write_all(&answer(&heard[..count], role)).await,
        };
        if said.is_err() {
            return;
        }
    }
}

/// Of a server that wants no password.
fn answer(heard: &[u8], role: &str) -> Vec<u8> {
    let heard = String::from_utf8_lossy(heard);
    let mut said = String::new();
    for word in heard.split("\r\n") {
        match word {
            "AUTH" => {
                said += "-ERR AUTH <password> called without any password configured for the default user.\r\n";
            }
            "PING" => said += "+PONG\r\n",
            "ROLE" => said += role,
            _ => {}
        }
    }
    said.into_bytes()
}

fn config(sentinels: Vec<SocketAddr>, servers: &[SocketAddr]) -> config::Sentinel {
    let server = |(index, address): (usize, &SocketAddr)| TierServer {
        name: format!("r{}", index + 1),
        address: *address,
        weight: 1,
        priority: 100,
        max_connections: None,
    };
    config::Sentinel {
        name: "redis".into(),
        listen: vec!["127.0.0.1:6379".parse().expect("valid")],
        master: "mymaster".into(),
        sentinels,
        servers: servers.iter().enumerate().map(server).collect(),
        user: None,
        password: None,
        tls: None,
        sentinel_user: None,
        sentinel_password: None,
        sentinel_tls: None,
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(400),
    }
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Round {
    let event = tokio::time::timeout(GUARD, events.recv()).await;
    match event.expect("a round in time").expect("it goes on") {
        Event::Tier { round, .. } => match *round {
            tiers::Round::Sentinel(round) => round,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// The troubles of a Sentinel and of a server that are such a peer, in two rounds one after the other.
async fn troubles(peer: Peer, timeout: Duration) -> Vec<[Trouble; 2]> {
    let address = serve(peer).await;
    let (sender, mut events) = mpsc::channel(1);
    let mut config = config(vec![address], &[address]);
    config.timeout = timeout;
    let task = tokio::spawn(follow(config, Reports::new("redis", sender)));
    let mut troubles = Vec::new();
    for _ in 0..2 {
        let round = next(&mut events).await;
        let vote = round.sentinels[&address].answer.clone();
        let says = round.servers[&address].answer.clone();
        troubles.push([vote.expect_err("no vote"), says.expect_err("no role")]);
    }
    task.abort();
    troubles
}

fn is_garbage(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Garbage(_))
}

#[tokio::test]
async fn garbage_is_called_garbage() {
    let nested = |depth: usize| Peer::Says(b"*1\r\n".repeat(depth));
    for peer in [
        Peer::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        Peer::Says(b"220 mb1 ESMTP\r\n".to_vec()),
        Peer::Says(vec![0; 5000]),
        Peer::Says(b"$x\r\n".to_vec()),
        Peer::Says(b":1\r\n:1\r\n:1\r\n:1\r\n:1\r\n".to_vec()),
        Peer::Says(b"*0\r\n*0\r\n*0\r\n*0\r\n".to_vec()),
        // Deeper than anything is meant to be.
        nested(10_000),
        nested(200),
        Peer::Endless(b"+x"),
        Peer::Endless(b"*9\r\n"),
        Peer::Endless(b"*4096\r\n"),
    ] {
        for [vote, says] in troubles(peer.clone(), PATIENCE).await {
            assert!(is_garbage(&vote), "{peer:?}: {vote:?}");
            assert!(is_garbage(&says), "{peer:?}: {says:?}");
        }
    }
}

#[tokio::test]
async fn announcements_are_not_believed() {
    for peer in [
        Peer::Says(b"$999999999999\r\n".to_vec()),
        Peer::Says(b"$9223372036854775807\r\nxx".to_vec()),
        Peer::Says(b"*2147483647\r\n".to_vec()),
        Peer::Says(b"*9223372036854775807\r\n".to_vec()),
        Peer::Says(b"=-1\r\n".to_vec()),
        Peer::Says(b"%-1\r\n".to_vec()),
        Peer::Says(b"|4611686018427387903\r\n".to_vec()),
        Peer::Drips(b"*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n"),
    ] {
        for [vote, says] in troubles(peer.clone(), Duration::from_millis(50)).await {
            assert_eq!(vote, Trouble::NotAnswering, "{peer:?}");
            assert_eq!(says, Trouble::NotAnswering, "{peer:?}");
        }
    }
    // What is announced comes, and goes on coming.
    for [vote, says] in troubles(Peer::Endless(b"$999999999999\r\n"), PATIENCE).await {
        assert_eq!(vote.to_string(), says.to_string());
        assert_eq!(
            vote.to_string(),
            "it does not answer as Redis does: its reply has more than 65536 bytes"
        );
    }
}

#[tokio::test]
async fn whoever_closes_is_said_to() {
    for [vote, says] in troubles(Peer::Closes, PATIENCE).await {
        assert_eq!((vote, says), (Trouble::Closed, Trouble::Closed));
    }
    // Part of an answer is none.
    for [vote, says] in troubles(Peer::SaysAndCloses(b"*3\r\n$6\r\nmas"), PATIENCE).await {
        assert!(is_garbage(&vote) && is_garbage(&says), "{vote:?} {says:?}");
    }
}

#[tokio::test]
async fn error_replies_have_their_reasons() {
    for (reply, trouble) in [
        (
            "-LOADING Redis is loading the dataset in memory\r\n",
            Trouble::Loading,
        ),
        (
            "-MASTERDOWN Link with MASTER is down\r\n",
            Trouble::MasterDown,
        ),
        ("-BUSY Redis is busy running a script.\r\n", Trouble::Busy),
        ("-NOAUTH Authentication required.\r\n", Trouble::NoAuth),
        ("-ERR max number of clients reached\r\n", Trouble::Full),
        ("-ERR what?\r\n", Trouble::Error("ERR what?".into())),
    ] {
        let peer = Peer::Says(reply.repeat(4).into_bytes());
        for [vote, says] in troubles(peer, PATIENCE).await {
            assert_eq!((&vote, &says), (&trouble, &trouble));
        }
    }
}

/// A server that is full does not wait for the question: it has reset the connection when that arrives.
#[tokio::test]
async fn what_is_said_before_the_end_is_heard() {
    for _ in 0..50 {
        let full = Peer::Greets(b"-ERR max number of clients reached\r\n");
        for [vote, says] in troubles(full, PATIENCE).await {
            assert_eq!((vote, says), (Trouble::Full, Trouble::Full));
        }
    }
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let (sender, mut events) = mpsc::channel(1);
    let config = config(vec![address], &[address]);
    let task = tokio::spawn(follow(config, Reports::new("redis", sender)));
    let round = next(&mut events).await;
    assert_eq!(round.sentinels[&address].answer, Err(Trouble::Refused));
    assert_eq!(round.servers[&address].answer, Err(Trouble::Refused));
    task.abort();
}

#[tokio::test]
async fn a_password_that_nobody_wants_or_that_cannot_be_read() {
    let address = serve(Peer::Redis("*3\r\n$6\r\nmaster\r\n:7\r\n*0\r\n")).await;
    let mut config = config(vec![address], &[address]);
    config.password = Some(Secret::Text("x".into()));
    config.sentinel_password = Some(Secret::File("/nowhere/password".into()));
    let (sender, mut events) = mpsc::channel(1);
    let task = tokio::spawn(follow(config, Reports::new("redis", sender)));
    for _ in 0..3 {
        let round = next(&mut events).await;
        let master = Says::Master {
            replicas: 0,
            offset: 7,
        };
        assert_eq!(round.servers[&address].answer, Ok(master));
        let trouble = round.sentinels[&address].answer.clone();
        let trouble = trouble.expect_err("no password").to_string();
        assert!(
            trouble.starts_with("its password cannot be read: /nowhere/password: "),
            "{trouble}"
        );
    }
    task.abort();
}

#[tokio::test]
async fn one_that_hangs_does_not_hide_the_others() {
    let silent = serve(Peer::Says(Vec::new())).await;
    let master = serve(Peer::Redis("*3\r\n$6\r\nmaster\r\n:7\r\n*0\r\n")).await;
    let (sender, mut events) = mpsc::channel(1);
    let config = config(vec![silent], &[silent, master]);
    let task = tokio::spawn(follow(config, Reports::new("redis", sender)));
    let round = next(&mut events).await;
    assert_eq!(round.servers[&silent].answer, Err(Trouble::NotAnswering));
    assert!(round.servers[&master].answer.is_ok());
    task.abort();
}
