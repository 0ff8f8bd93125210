//! Messages between directors that both behave.

use std::net::SocketAddr;

use super::rig::{Director, Puppet, hello, net, pair, settings, until, within};
use crate::peer::message::{MAX_FLOWS, MAX_MESSAGE};
use crate::peer::{FlowChange, FlowKind, Message, NotSent, Why};

fn flow(port: u16) -> FlowChange {
    FlowChange {
        kind: FlowKind::Open,
        client: SocketAddr::from(([198, 51, 100, 1], port)),
        vip: SocketAddr::from(([192, 0, 2, 100], 25)),
        server: [192, 0, 2, 1].into(),
        idle_ms: 1,
        age_ms: 2,
    }
}

fn config(length: usize) -> Message {
    Message::Config {
        text: "x".repeat(length),
        hash: String::new(),
    }
}

fn numbered(number: u64) -> Message {
    Message::SnapshotDone {
        number,
        unplaced: 0,
        kept: 0,
    }
}

#[tokio::test]
async fn messages_go_both_ways_in_their_order_whatever_their_length() {
    let (mut lower, mut upper) = pair(&net());
    assert_eq!(lower.connected().await.name, "upper");
    assert_eq!(upper.connected().await.name, "lower");
    let sent = [
        Message::ConfigAsk,
        config(MAX_MESSAGE - 16),
        Message::Flows(vec![flow(1); MAX_FLOWS]),
        config(70_000),
        Message::SnapshotBegin {
            number: 7,
            vips: vec![[192, 0, 2, 100].into()],
        },
    ];
    let links = [lower.link.clone(), upper.link.clone()];
    for (from, to) in links.into_iter().zip([&mut upper, &mut lower]) {
        assert!(from.connected());
        let sending = async {
            for message in &sent {
                from.send(message.clone()).await.expect("connected");
            }
        };
        let receiving = async {
            for message in &sent {
                assert!(to.message().await == *message, "{}", message.name());
            }
        };
        tokio::join!(sending, receiving);
        until(|| from.stats().queued == 0).await;
    }
    assert_eq!(lower.link.stats().connections, 1);
    assert_eq!(lower.link.stats().error, None);
}

#[tokio::test]
async fn what_is_too_long_is_said_at_once() {
    let (mut lower, _upper) = pair(&net());
    lower.connected().await;
    for long in [
        config(MAX_MESSAGE),
        Message::Flows(vec![flow(1); MAX_FLOWS + 1]),
    ] {
        assert_eq!(lower.link.send(long.clone()).await, Err(NotSent::TooLarge));
        assert_eq!(lower.link.try_send(long), Err(NotSent::TooLarge));
    }
    assert!(lower.link.connected());
}

#[tokio::test]
async fn without_a_connection_nothing_is_kept() {
    let net = net();
    let lower = Director::new("lower", settings(net.lower, net.upper));
    assert_eq!(lower.link.send(numbered(1)).await, Err(NotSent::Gone));
    assert_eq!(lower.link.try_send(numbered(1)), Err(NotSent::Gone));
    assert!(lower.link.outgoing().is_none());
    assert_eq!(lower.link.stats().queued, 0);
}

/// A user that does not read is waited for: the queues fill up to their limits, and nothing is lost.
#[tokio::test]
async fn a_slow_user_is_felt_by_the_sender() {
    let (mut lower, mut upper) = pair(&net());
    lower.connected().await;
    upper.connected().await;
    let outgoing = lower.link.outgoing().expect("connected");
    let big = config(1 << 20);
    let mut sent = 0;
    // The kernel's buffers and both queues take some; then there is an end.
    let full = loop {
        match outgoing.try_send(big.clone()) {
            Ok(()) => sent += 1,
            Err(why) if lower.link.stats().bytes_sent > 0 => break why,
            Err(_) => {}
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(full, NotSent::Full);
    assert!(lower.link.stats().queued <= 8 << 20);
    let waiting = tokio::spawn(async move { outgoing.send(numbered(9)).await });
    for _ in 0..sent {
        assert!(upper.message().await == big);
    }
    assert_eq!(upper.message().await, numbered(9));
    assert_eq!(within(waiting).await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn what_was_queued_for_one_connection_is_not_sent_on_the_next() {
    let net = net();
    let mut upper = Director::new("upper", settings(net.upper, net.lower));
    let first = Puppet::dial(net.lower.ip(), net.upper, hello("first")).await;
    upper.connected().await;
    let old = upper.link.outgoing().expect("connected");
    // Nobody reads them, so that some stay in the queue.
    while old.try_send(config(1 << 20)).is_ok() {
        tokio::task::yield_now().await;
    }
    let waiting = tokio::spawn({
        let old = old.clone();
        async move { old.send(config(1 << 20)).await }
    });
    let mut second = Puppet::dial(net.lower.ip(), net.upper, hello("second")).await;
    assert_eq!(upper.disconnected().await, Why::Replaced);
    assert_eq!(upper.connected().await.name, "second");
    assert_eq!(within(waiting).await.expect("no panic"), Err(NotSent::Gone));
    assert_eq!(old.try_send(numbered(1)), Err(NotSent::Gone));
    assert!(old.is_closed());
    upper.link.send(numbered(2)).await.expect("connected");
    assert_eq!(second.receive().await, numbered(2));
    until(|| upper.link.stats().queued == 0).await;
    drop(first);
}
