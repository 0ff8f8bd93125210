//! What is refused: counted, told, and without any effect on what is good.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::rig::{
    Director, Net, Puppet, between, connect, drain, hello, key, listen, net, pair, settings, until,
};
use crate::peer::frame::{self, CHUNK};
use crate::peer::message::MAX_MESSAGE;
use crate::peer::{Incoming, Message, RefusedReason, Settings, Timing, Why};

fn upper(net: &Net) -> Director {
    Director::new("upper", settings(net.upper, net.lower))
}

/// Waits for the count and for the report.
async fn refused(director: &mut Director, reason: RefusedReason) {
    let told = director
        .find(|incoming| match incoming {
            Incoming::Refused { reason, .. } => Some(reason),
            Incoming::Connected { .. } => panic!("it was taken"),
            _ => None,
        })
        .await;
    assert_eq!(told, reason);
    assert!(director.link.stats().refused(reason) > 0);
}

/// Sends bytes as the peer's address would, and gives what is answered until the end.
async fn say(net: &Net, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(net.lower.ip(), net.upper).await;
    // It may be refused before all is said.
    let _ = stream.write_all(bytes).await;
    drain(&mut stream).await
}

#[tokio::test]
async fn another_key() {
    let net = net();
    let mut upper = upper(&net);
    let other = Settings {
        key: key(2),
        ..settings(net.lower, net.upper)
    };
    let mut lower = Director::new("lower", other);
    refused(&mut upper, RefusedReason::WrongKey).await;
    refused(&mut lower, RefusedReason::WrongKey).await;
    let error = lower.link.stats().error.expect("said");
    assert!(error.ends_with("it has another key"), "{error}");
    // The right one is taken all the same.
    within_stop(lower).await;
    let _lower = Director::new("lower", settings(net.lower, net.upper));
    assert_eq!(upper.connected().await.name, "lower");
}

async fn within_stop(director: Director) {
    super::rig::within(director.link.stop()).await;
}

#[tokio::test]
async fn another_version_that_dials() {
    let net = net();
    let mut upper = upper(&net);
    let answer = say(&net, b"MBLB\x00\x02").await;
    assert_eq!(answer, frame::hello());
    refused(&mut upper, RefusedReason::WrongVersion).await;
}

#[tokio::test]
async fn another_version_that_answers() {
    let net = net();
    let ear = listen(net.upper).await;
    let mut lower = Director::new("lower", settings(net.lower, net.upper));
    let (mut stream, _) = super::rig::within(ear.accept()).await.expect("it dials");
    stream.write_all(b"MBLB\xff\xff").await.expect("written");
    refused(&mut lower, RefusedReason::WrongVersion).await;
}

#[tokio::test]
async fn garbage_is_not_answered() {
    let net = net();
    let mut upper = upper(&net);
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00",
        b"M\n",
        &[0; 4096],
    ] {
        assert_eq!(say(&net, garbage).await, b"");
    }
    refused(&mut upper, RefusedReason::Garbage).await;
    until(|| upper.link.stats().refused(RefusedReason::Garbage) == 4).await;
}

#[tokio::test]
async fn garbage_behind_a_good_hello() {
    let net = net();
    let mut upper = upper(&net);
    // A Noise message of another length than the protocol's.
    say(&net, &[&frame::hello()[..], &[0, 3, 1, 2, 3]].concat()).await;
    refused(&mut upper, RefusedReason::Garbage).await;
    // One of the right length with random content.
    say(&net, &[&frame::hello()[..], &[0, 48], &[7; 48]].concat()).await;
    refused(&mut upper, RefusedReason::WrongKey).await;
    say(&net, &[&frame::hello()[..], &[0xff, 0xff]].concat()).await;
    refused(&mut upper, RefusedReason::TooLarge).await;
}

#[tokio::test]
async fn another_address() {
    let net = net();
    let mut upper = upper(&net);
    let mut stream = connect(net.stranger, net.upper).await;
    assert_eq!(drain(&mut stream).await, b"");
    refused(&mut upper, RefusedReason::WrongAddress).await;
}

#[tokio::test]
async fn this_director_itself() {
    let net = net();
    let own = hello("upper");
    let (_, said) = tokio::sync::watch::channel(own.clone());
    let (link, incoming) = crate::peer::spawn(settings(net.upper, net.lower), said);
    let mut upper = Director { link, incoming };
    let stream = connect(net.lower.ip(), net.upper).await;
    let dialed = crate::peer::handshake::dial(stream, &key(1), own).await;
    assert!(dialed.is_err());
    refused(&mut upper, RefusedReason::Myself).await;
}

fn impatient(net: &Net) -> Settings {
    Settings {
        timing: Timing {
            handshake: Duration::from_millis(200),
            ..Timing::default()
        },
        ..settings(net.upper, net.lower)
    }
}

#[tokio::test]
async fn a_handshake_that_stalls() {
    let net = net();
    let mut upper = Director::new("upper", impatient(&net));
    for said in [&b""[..], b"MB", &frame::hello(), b"MBLB\0\x01\0\x30half"] {
        let mut stream = connect(net.lower.ip(), net.upper).await;
        stream.write_all(said).await.expect("written");
        drain(&mut stream).await;
    }
    refused(&mut upper, RefusedReason::Timeout).await;
    until(|| upper.link.stats().refused(RefusedReason::Timeout) == 4).await;
}

#[tokio::test]
async fn a_flood_of_connections_ends_and_the_peer_gets_in() {
    let net = net();
    let mut upper = Director::new("upper", impatient(&net));
    let mut flood = Vec::new();
    for _ in 0..50 {
        flood.push(connect(net.lower.ip(), net.upper).await);
    }
    refused(&mut upper, RefusedReason::TooMany).await;
    let counted = || {
        let stats = upper.link.stats();
        stats.refused(RefusedReason::TooMany) + stats.refused(RefusedReason::Timeout)
    };
    until(|| counted() == 50).await;
    let _lower = Director::new("lower", settings(net.lower, net.upper));
    assert_eq!(upper.connected().await.name, "lower");
}

/// A connection between two, through somebody that records it.
async fn recorded(net: &Net) -> (Director, Director, Vec<u8>) {
    let tape = Arc::new(Mutex::new(Vec::new()));
    let mut behind = net.upper;
    behind.set_port(net.upper.port() + 1);
    let record = {
        let tape = Arc::clone(&tape);
        move |_, chunk: &mut Vec<u8>| tape.lock().expect("no panic").extend(chunk.iter())
    };
    let ear = listen(net.upper).await;
    tokio::spawn(between(ear, net.lower.ip(), behind, record));
    let mut upper = Director::new("upper", settings(behind, net.lower));
    let mut lower = Director::new("lower", settings(net.lower, net.upper));
    upper.connected().await;
    lower.connected().await;
    lower
        .link
        .send(Message::ConfigAsk)
        .await
        .expect("connected");
    assert_eq!(upper.message().await, Message::ConfigAsk);
    let tape = tape.lock().expect("no panic").clone();
    (lower, upper, tape)
}

#[tokio::test]
async fn a_recording_is_not_taken_and_disturbs_nothing() {
    let net = net();
    let (lower, mut upper, tape) = recorded(&net).await;
    let mut behind = net.upper;
    behind.set_port(net.upper.port() + 1);
    for _ in 0..3 {
        let mut stream = connect(net.lower.ip(), behind).await;
        stream.write_all(&tape).await.expect("written");
        drain(&mut stream).await;
    }
    refused(&mut upper, RefusedReason::Tampered).await;
    until(|| upper.link.stats().refused(RefusedReason::Tampered) == 3).await;
    lower
        .link
        .send(Message::ConfigAsk)
        .await
        .expect("connected");
    assert_eq!(upper.message().await, Message::ConfigAsk);
    assert_eq!(upper.link.stats().connections, 1);
}

#[tokio::test]
async fn a_recording_cut_off_anywhere_is_not_taken() {
    let net = net();
    let (_lower, upper, tape) = recorded(&net).await;
    let mut behind = net.upper;
    behind.set_port(net.upper.port() + 1);
    for end in 0..tape.len() {
        let mut stream = connect(net.lower.ip(), behind).await;
        stream.write_all(&tape[..end]).await.expect("written");
        // A reset comes where it was refused before its end.
        let _ = stream.shutdown().await;
        drain(&mut stream).await;
    }
    let stats = || upper.link.stats();
    let counted = || {
        let stats = stats();
        stats.refused(RefusedReason::Closed) + stats.refused(RefusedReason::Tampered)
    };
    until(|| counted() == tape.len() as u64).await;
    assert_eq!(stats().connections, 1);
}

#[tokio::test]
async fn a_bit_that_is_flipped_ends_the_connection_and_the_next_is_good() {
    let net = net();
    let mut behind = net.upper;
    behind.set_port(net.upper.port() + 1);
    let mut done = false;
    // Behind the handshake, once.
    let flip = move |before, chunk: &mut Vec<u8>| {
        if before > 0 && chunk.len() > 1000 && !done {
            done = true;
            chunk[500] ^= 0x10;
        }
    };
    let ear = listen(net.upper).await;
    tokio::spawn(between(ear, net.lower.ip(), behind, flip));
    let mut upper = Director::new("upper", settings(behind, net.lower));
    let mut lower = Director::new("lower", settings(net.lower, net.upper));
    upper.connected().await;
    lower.connected().await;
    let message = Message::Config {
        text: "x".repeat(2000),
        hash: String::new(),
    };
    lower.link.send(message.clone()).await.expect("connected");
    let tampered = Why::Refused(RefusedReason::Tampered);
    assert_eq!(upper.disconnected().await, tampered);
    assert_eq!(upper.link.stats().refused(RefusedReason::Tampered), 1);
    lower.disconnected().await;
    lower.connected().await;
    lower.link.send(message.clone()).await.expect("connected");
    assert_eq!(upper.message().await, message);
}

#[tokio::test]
async fn every_bit_of_the_handshake_counts() {
    let net = net();
    let upper = Director::new("upper", settings(net.upper, net.lower));
    // The hello, the length and the Noise message of the dialer.
    for at in 0..frame::HELLO + 2 + 48 {
        let mut near = connect(net.lower.ip(), net.upper).await;
        let (mut ours, theirs) = tokio::io::duplex(4096);
        let dialing = tokio::spawn(async move {
            let dialed = crate::peer::handshake::dial(theirs, &key(1), hello("lower")).await;
            assert!(dialed.is_err());
        });
        let relay = async {
            let mut passed = 0;
            let mut there = [0; 512];
            let mut back = [0; 512];
            loop {
                tokio::select! {
                    read = ours.read(&mut there) => match read {
                        Ok(bytes @ 1..) => {
                            if (passed..passed + bytes).contains(&at) {
                                there[at - passed] ^= 1;
                            }
                            passed += bytes;
                            if near.write_all(&there[..bytes]).await.is_err() {
                                break;
                            }
                            // A length that grew would be waited for.
                            if passed > at && at == frame::HELLO + 1 {
                                break;
                            }
                        }
                        _ => break,
                    },
                    read = near.read(&mut back) => match read {
                        Ok(bytes @ 1..) => if ours.write_all(&back[..bytes]).await.is_err() {
                            break;
                        },
                        _ => break,
                    },
                }
            }
        };
        super::rig::within(relay).await;
        drop((ours, near));
        super::rig::within(dialing).await.expect("no panic");
    }
    let all = || upper.link.stats().refused.values().sum::<u64>();
    until(|| all() == (frame::HELLO + 2 + 48) as u64).await;
    assert_eq!(upper.link.stats().connections, 0);
}

#[tokio::test]
async fn a_message_over_the_limit() {
    let net = net();
    let mut upper = upper(&net);
    let mut puppet = Puppet::dial(net.lower.ip(), net.upper, hello("lower")).await;
    upper.connected().await;
    let wire = puppet.seal(&vec![0; MAX_MESSAGE + CHUNK]);
    // It is refused before all of it is sent.
    let _ = puppet.connection.stream.write_all(&wire).await;
    let why = Why::Refused(RefusedReason::TooLarge);
    assert_eq!(upper.disconnected().await, why);
    assert_eq!(upper.link.stats().refused(RefusedReason::TooLarge), 1);
}

#[tokio::test]
async fn what_is_no_message() {
    let net = net();
    let mut upper = upper(&net);
    let again = Message::Hello(hello("again")).encode().expect("short");
    // No variant has that number; a length that is not there; something behind a message; a second hello.
    for bytes in [
        &[200][..],
        &[2, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[9, 9],
        &again,
    ] {
        let mut puppet = Puppet::dial(net.lower.ip(), net.upper, hello("lower")).await;
        upper.connected().await;
        let wire = puppet.seal(bytes);
        puppet.write(&wire).await;
        let why = Why::Refused(RefusedReason::BadMessage);
        assert_eq!(upper.disconnected().await, why, "{bytes:?}");
    }
    assert_eq!(upper.link.stats().refused(RefusedReason::BadMessage), 4);
}

#[tokio::test]
async fn frames_out_of_order_or_twice() {
    let net = net();
    let mut upper = upper(&net);
    let one = Message::ConfigAsk.encode().expect("short");
    for twice in [true, false] {
        let mut puppet = Puppet::dial(net.lower.ip(), net.upper, hello("lower")).await;
        upper.connected().await;
        let first = puppet.seal(&one);
        let second = puppet.seal(&one);
        let wire = match twice {
            true => [first.as_slice(), &first].concat(),
            false => [second, first].concat(),
        };
        puppet.write(&wire).await;
        let why = Why::Refused(RefusedReason::Tampered);
        assert_eq!(upper.disconnected().await, why);
    }
}

/// What a stranger does is not felt by the two that are connected.
#[tokio::test]
async fn a_good_connection_outlives_all_of_it() {
    let net = net();
    let (mut lower, mut upper) = pair(&net);
    lower.connected().await;
    upper.connected().await;
    for _ in 0..20 {
        say(&net, b"garbage").await;
        let mut stranger = connect(net.stranger, net.upper).await;
        drain(&mut stranger).await;
    }
    lower
        .link
        .send(Message::ConfigAsk)
        .await
        .expect("connected");
    assert_eq!(upper.message().await, Message::ConfigAsk);
    let stats = upper.link.stats();
    assert_eq!(stats.connections, 1);
    assert_eq!(stats.refused(RefusedReason::WrongAddress), 20);
    assert_eq!(stats.refused(RefusedReason::Garbage), 20);
}
