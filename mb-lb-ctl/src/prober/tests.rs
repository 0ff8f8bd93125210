//! What needs nothing but loopback; real mail servers are met in the lab tests.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::config::Check;

mod agent;
mod exec;
mod http;
mod smtp;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const HOUR: Duration = Duration::from_secs(3600);

fn task(name: &str, port: u16, interval: Duration) -> CheckTask {
    CheckTask {
        server: ServerRef {
            service: "smtp".into(),
            server: name.into(),
        },
        which: Which::Health,
        address: (LOCAL, port).into(),
        via: None,
        vip: None,
        check: Check {
            via: crate::config::Via::Server,
            kind: CheckKind::Tcp,
            port: Some(port),
            interval,
            fast_interval: interval,
            down_interval: interval,
            timeout: Duration::from_secs(10),
            rise: 2,
            fall: 3,
        },
        interval,
    }
}

/// A port where every connection is accepted and closed.
fn accepting() -> u16 {
    let listener = TcpListener::bind((LOCAL, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    port
}

async fn next(events: &mut mpsc::Receiver<Event>) -> (String, CheckResult) {
    let event = timeout(Duration::from_secs(30), events.recv()).await;
    match event.expect("a result is due").expect("the prober lives") {
        Event::Checked { server, result, .. } => (server.server, result),
        other => panic!("not a result: {other:?}"),
    }
}

fn ids(prober: &Prober) -> HashMap<(ServerRef, Which), tokio::task::Id> {
    let ids = prober.running.iter();
    ids.map(|(server, running)| (server.clone(), running.task.id()))
        .collect()
}

#[tokio::test]
async fn refused_port_is_l4con() {
    let closed = TcpListener::bind((LOCAL, 0)).unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let (sender, mut events) = mpsc::channel(1);
    let mut prober = Prober::new(sender);
    prober.set(vec![task("mb1", port, HOUR)]);
    let (_, result) = next(&mut events).await;
    assert_eq!(result.outcome, Outcome::Refused);
    assert_eq!(
        (result.code, result.detail.as_str()),
        ("L4CON", "connection refused")
    );
}

#[tokio::test]
async fn accepting_port_is_l4ok_and_the_server_sees_an_orderly_end() {
    let listener = tokio::net::TcpListener::bind((LOCAL, 0)).await.unwrap();
    let (sender, mut events) = mpsc::channel(1);
    let mut prober = Prober::new(sender);
    prober.set(vec![task(
        "mb1",
        listener.local_addr().unwrap().port(),
        HOUR,
    )]);
    let (mut peer, _) = listener.accept().await.unwrap();
    // A server that speaks first must not meet a reset.
    tokio::io::AsyncWriteExt::write_all(&mut peer, b"220 mx1\r\n")
        .await
        .unwrap();
    let mut heard = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut peer, &mut heard)
        .await
        .unwrap();
    assert!(heard.is_empty());
    let (_, result) = next(&mut events).await;
    assert_eq!((result.outcome, result.code), (Outcome::Success, "L4OK"));
}

#[tokio::test]
async fn unchanged_checks_keep_their_task() {
    let port = accepting();
    let (sender, mut events) = mpsc::channel(8);
    let mut prober = Prober::new(sender);
    prober.set(vec![task("mb1", port, HOUR), task("mb2", port, HOUR)]);
    let before = ids(&prober);
    next(&mut events).await;
    next(&mut events).await;

    let mut other_port = task("mb2", port, HOUR);
    other_port.check.timeout = Duration::from_secs(9);
    let mut other_limits = task("mb1", port, HOUR);
    (other_limits.check.rise, other_limits.check.interval) = (9, Duration::from_secs(1));
    prober.set(vec![other_limits, other_port, task("mb3", port, HOUR)]);
    let after = ids(&prober);
    let [mb1, mb2] = ["mb1", "mb2"].map(|name| (task(name, port, HOUR).server, Which::Health));
    assert_eq!(before[&mb1], after[&mb1]);
    assert_ne!(before[&mb2], after[&mb2]);
    assert_eq!(after.len(), 3);

    prober.set(Vec::new());
    assert!(prober.running.is_empty());
}

#[tokio::test]
async fn a_changed_interval_moves_the_next_run_without_a_restart() {
    let port = accepting();
    let (sender, mut events) = mpsc::channel(8);
    let mut prober = Prober::new(sender);
    prober.set(vec![task("mb1", port, HOUR)]);
    next(&mut events).await;
    let before = ids(&prober);
    prober.set(vec![task("mb1", port, Duration::from_millis(1))]);
    next(&mut events).await;
    next(&mut events).await;
    assert_eq!(before, ids(&prober));
}

#[test]
fn first_checks_are_spread() {
    let millis = Duration::from_millis;
    for (interval, total, expected) in [
        (millis(2000), 1, 200),
        (millis(2000), 1000, 200),
        (millis(2000), 5000, 1000),
        (millis(2000), 100_000, 2000),
        (millis(10), 5000, 10),
        (HOUR, usize::MAX, 3_600_000),
    ] {
        assert_eq!(spread(interval, total).as_millis(), expected, "{total}");
    }
    assert!((1..=CONCURRENCY).contains(&concurrency()));
}

#[tokio::test]
async fn removed_checks_end() {
    let port = accepting();
    let (sender, mut events) = mpsc::channel(1);
    let mut prober = Prober::new(sender);
    prober.set(vec![task("mb1", port, Duration::from_millis(1))]);
    next(&mut events).await;
    drop(prober);
    let closed = async { while events.recv().await.is_some() {} };
    timeout(Duration::from_secs(30), closed)
        .await
        .expect("its task ends with the prober");
}

#[tokio::test]
async fn more_checks_than_permits_all_get_their_turn() {
    let port = accepting();
    let (sender, mut events) = mpsc::channel(8);
    let mut prober = Prober::new(sender);
    let names: Vec<String> = (0..concurrency() + 50).map(|n| format!("mb{n}")).collect();
    prober.set(names.iter().map(|name| task(name, port, HOUR)).collect());
    let mut seen = std::collections::BTreeSet::new();
    for _ in &names {
        let (name, result) = next(&mut events).await;
        assert_eq!(result.code, "L4OK", "{name}");
        assert!(seen.insert(name));
    }
}
