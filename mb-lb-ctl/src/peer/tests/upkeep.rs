//! How the connection is kept up, lost, replaced and ended.

use std::time::Duration;

use tokio::net::TcpStream;

use super::rig::{Director, Puppet, hello, key, listen, net, pair, settings, until, within};
use crate::peer::handshake;
use crate::peer::{Incoming, Message, RefusedReason, Timing, Why};

fn short() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        ping: ms(10),
        silence: ms(1000),
        stuck: ms(300),
        retry: (ms(5), ms(20)),
        ..Timing::default()
    }
}

#[tokio::test]
async fn pings_keep_an_idle_connection_up_and_measure_it() {
    let net = net();
    let quick = |listen, address| crate::peer::Settings {
        timing: short(),
        ..settings(listen, address)
    };
    let mut lower = Director::new("lower", quick(net.lower, net.upper));
    let mut upper = Director::new("upper", quick(net.upper, net.lower));
    lower.connected().await;
    upper.connected().await;
    // For longer than silence would be suffered.
    until(|| upper.link.stats().messages_received > 300).await;
    let stats = lower.link.stats();
    assert!(stats.round_trip_us.is_some());
    assert_eq!((stats.connections, stats.connected), (1, Some(net.upper)));
}

#[tokio::test]
async fn a_silent_peer_is_dead() {
    let net = net();
    let mut upper = Director::new(
        "upper",
        crate::peer::Settings {
            timing: short(),
            ..settings(net.upper, net.lower)
        },
    );
    let _puppet = Puppet::dial(net.lower.ip(), net.upper, hello("lower")).await;
    upper.connected().await;
    assert_eq!(upper.disconnected().await, Why::Silent);
    assert!(!upper.link.connected());
    assert_eq!(upper.link.stats().connected, None);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_dead() {
    let net = net();
    let timing = Timing {
        silence: Duration::from_secs(60),
        ..short()
    };
    let mut upper = Director::new(
        "upper",
        crate::peer::Settings {
            timing,
            ..settings(net.upper, net.lower)
        },
    );
    let _puppet = Puppet::dial(net.lower.ip(), net.upper, hello("lower")).await;
    upper.connected().await;
    let outgoing = upper.link.outgoing().expect("connected");
    let flood = async {
        let message = Message::Config {
            text: "x".repeat(1 << 20),
            hash: String::new(),
        };
        while outgoing.send(message.clone()).await.is_ok() {}
    };
    within(flood).await;
    assert_eq!(upper.disconnected().await, Why::Stuck);
}

#[tokio::test]
async fn a_newer_connection_takes_the_place_of_the_older() {
    let net = net();
    let mut upper = Director::new("upper", settings(net.upper, net.lower));
    let _first = Puppet::dial(net.lower.ip(), net.upper, hello("first")).await;
    assert_eq!(upper.connected().await.name, "first");
    let mut second = Puppet::dial(net.lower.ip(), net.upper, hello("second")).await;
    assert_eq!(upper.disconnected().await, Why::Replaced);
    assert_eq!(upper.connected().await.name, "second");
    assert_eq!(upper.link.stats().refused(RefusedReason::Duplicate), 1);
    second.send(&Message::ConfigAsk).await;
    assert_eq!(upper.message().await, Message::ConfigAsk);
}

/// Between them, nothing is told of two connections at once.
#[tokio::test]
async fn connections_that_chase_each_other_are_told_one_after_the_other() {
    let net = net();
    let mut upper = Director::new("upper", settings(net.upper, net.lower));
    let mut puppets = Vec::new();
    for _ in 0..20 {
        puppets.push(Puppet::dial(net.lower.ip(), net.upper, hello("lower")).await);
    }
    let last = puppets.last_mut().expect("20");
    last.send(&Message::ConfigAsk).await;
    let mut up = false;
    loop {
        match upper.next().await {
            Incoming::Connected { .. } => assert!(!std::mem::replace(&mut up, true)),
            Incoming::Disconnected { why } => {
                assert!(std::mem::replace(&mut up, false));
                assert_eq!(why, Why::Replaced);
            }
            Incoming::Message(message) => {
                assert!(up);
                assert_eq!(message, Message::ConfigAsk);
                break;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_lower_address_dials_again_when_the_connection_is_lost() {
    let net = net();
    let ear = listen(net.upper).await;
    let mut lower = Director::new("lower", settings(net.lower, net.upper));
    let accept = async || -> TcpStream {
        let (stream, from) = within(ear.accept()).await.expect("it dials");
        assert_eq!(from.ip(), net.lower.ip());
        stream
    };
    for name in ["first", "second"] {
        let stream = accept().await;
        let puppet = within(handshake::accept(stream, &key(1), hello(name))).await;
        assert_eq!(lower.connected().await.name, name);
        drop(puppet.unwrap_or_else(|error| panic!("{error}")));
        assert_eq!(lower.disconnected().await, Why::Closed);
    }
    assert_eq!(lower.link.stats().connections, 2);
}

#[tokio::test]
async fn that_nobody_is_there_is_said_once() {
    let net = net();
    let mut lower = Director::new(
        "lower",
        crate::peer::Settings {
            timing: short(),
            ..settings(net.lower, net.upper)
        },
    );
    until(|| lower.link.stats().dials_failed > 3).await;
    match lower.next().await {
        Incoming::Unreachable { error } => {
            assert!(error.contains(&net.upper.to_string()), "{error}");
            assert_eq!(lower.link.stats().error, Some(error));
        }
        other => panic!("{other:?}"),
    }
    assert!(lower.incoming.try_recv().is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_waited_for() {
    let net = net();
    let other = listen(net.upper).await;
    let mut upper = Director::new("upper", settings(net.upper, net.lower));
    let error = upper
        .find(|incoming| match incoming {
            Incoming::NotListening { error } => Some(error),
            _ => None,
        })
        .await;
    assert!(error.contains(&net.upper.to_string()), "{error}");
    assert_eq!(upper.link.stats().not_listening, Some(error));
    drop(other);
    let _lower = Director::new("lower", settings(net.lower, net.upper));
    upper.connected().await;
    assert_eq!(upper.link.stats().not_listening, None);
}

#[tokio::test]
async fn a_stop_sends_what_is_queued_and_frees_the_port() {
    let net = net();
    let (mut lower, mut upper) = pair(&net);
    lower.connected().await;
    upper.connected().await;
    let last = Message::TakeOver {
        vrid: 51,
        ipv6: false,
        interface: "eth0".to_owned(),
        why: "stop".to_owned(),
    };
    lower.link.send(last.clone()).await.expect("connected");
    within(lower.link.stop()).await;
    assert_eq!(upper.message().await, last);
    assert_eq!(upper.disconnected().await, Why::Closed);
    assert!(!lower.link.connected());
    drop(listen(net.lower).await);
    // Twice does no harm.
    within(lower.link.stop()).await;
    // With other settings, as a reload does it.
    let mut again = Director::new("again", settings(net.lower, net.upper));
    assert_eq!(upper.connected().await.name, "again");
    again.connected().await;
}

#[tokio::test]
async fn a_stop_waits_for_no_user() {
    let net = net();
    let upper = Director::new("upper", settings(net.upper, net.lower));
    let mut puppet = Puppet::dial(net.lower.ip(), net.upper, hello("lower")).await;
    // More than is kept for a user that does not read.
    for number in 0..200 {
        let unplaced = 0;
        puppet
            .send(&Message::SnapshotDone {
                number,
                unplaced,
                kept: 0,
            })
            .await;
    }
    until(|| upper.incoming.len() == upper.incoming.max_capacity()).await;
    within(upper.link.stop()).await;
    drop(listen(net.upper).await);
}

#[tokio::test]
async fn the_link_ends_with_its_users() {
    let net = net();
    let Director { link, incoming } = Director::new("lower", settings(net.lower, net.upper));
    drop(incoming);
    within(link.stop()).await;
    let Director { link, mut incoming } = Director::new("lower", settings(net.lower, net.upper));
    drop(link);
    within(async { while incoming.recv().await.is_some() {} }).await;
}
