//! A director that fails gives the addresses to a peer that is better, and to no other.

use super::pair::*;
use super::*;
use crate::peer::RoleOf;
use crate::vrrp::machine::{Cause, Heard, Role};
use crate::vrrp::router::Report as Told;
use crate::vrrp::view::RouterView;

fn resigns(actions: &[Action]) -> bool {
    match orders(actions, "VI_1").as_slice() {
        [] => false,
        [Order::Resign { aside: false, .. }] => true,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_director_resigns_when_it_fails_and_the_peer_is_better() {
    let mut bench = Bench::active(&one_and_peer(FAILING));
    bench.connect();
    bench.peer_is(role(Role::Backup, 90));
    let actions = bench.script(Some("exit code 1"));
    let why = "script x: exit code 1; the peer has priority 90, this one 80".to_owned();
    assert_eq!(
        orders(&actions, "VI_1"),
        [Order::Resign { why, aside: false }]
    );
    // Its new priority goes before, so that the hand-over is not followed by preemption.
    assert_eq!(priority_of(policy(&actions, "VI_1")), 80);
    assert!(!resigns(&bench.pass(1000)), "once");
    bench.pass(5000);
    bench.told("VI_1", Told::Stayed);
    assert!(!resigns(&bench.pass(9999)));
    bench.peer_is(role(Role::Backup, 90));
    assert!(resigns(&bench.pass(1)), "10 s after it came to nothing");
}

#[test]
fn a_director_that_does_not_fail_stays() {
    let mut bench = Bench::active(&one_and_peer(FAILING));
    bench.connect();
    assert!(!resigns(&bench.peer_is(role(Role::Backup, 200))));
    assert!(resigns(&bench.script(Some("exit code 1"))));
}

#[test]
fn nobody_resigns_for_a_peer_that_is_no_better() {
    let cases: [(&str, Option<RoleOf>); 7] = [
        ("unknown", None),
        ("weaker", Some(role(Role::Backup, 79))),
        ("the same", Some(role(Role::Backup, 80))),
        ("at fault", Some(role(Role::Fault, 200))),
        ("not running", Some(role(Role::Init, 200))),
        (
            "another instance",
            Some(RoleOf {
                vrid: 52,
                ..role(Role::Backup, 200)
            }),
        ),
        (
            "another family",
            Some(RoleOf {
                ipv6: true,
                ..role(Role::Backup, 200)
            }),
        ),
    ];
    for (case, peer) in cases {
        let mut bench = Bench::active(&one_and_peer(FAILING));
        bench.connect();
        if let Some(peer) = peer {
            bench.peer_is(peer);
        }
        assert!(!resigns(&bench.script(Some("exit code 1"))), "{case}");
        assert!(!resigns(&bench.pass(60_000)), "{case}");
    }
    // What it said holds as long as the connection.
    let mut bench = Bench::active(&one_and_peer(FAILING));
    bench.connect();
    bench.peer_is(role(Role::Backup, 200));
    bench.disconnect();
    assert!(!resigns(&bench.script(Some("exit code 1"))));
}

#[test]
fn nobody_resigns_where_it_is_not_wanted_or_under_way() {
    let failing = |keys: &str| {
        let mut bench = Bench::active(&one_and_peer(&format!("{FAILING}\n{keys}")));
        bench.connect();
        bench.peer_is(role(Role::Backup, 200));
        bench
    };
    assert!(!resigns(&failing("preempt = false").script(Some("no"))));
    let mut bench = failing("");
    let leaving = RouterView {
        is_leaving: true,
        ..router_view(Role::Active)
    };
    bench.view("VI_1", leaving);
    assert!(!resigns(&bench.script(Some("no"))));
    let mut bench = failing("");
    bench.turned("VI_1", Role::Active, Role::Backup, stronger());
    assert!(!resigns(&bench.script(Some("no"))));
    // A fault takes it away at once.
    let mut bench = failing("track_interfaces = [\"eth1\"]");
    bench.link("eth1", false);
    assert!(!resigns(&bench.script(Some("no"))));
}

#[test]
fn without_a_peer_the_priority_that_was_heard_last_counts() {
    let heard = |priority| RouterView {
        master: Some((
            Heard {
                source: other(),
                priority,
                interval: Duration::from_secs(1),
            },
            Duration::ZERO,
        )),
        ..router_view(Role::Backup)
    };
    for (priority, expected) in [(90, true), (80, false)] {
        let mut bench = Bench::backup(&one(FAILING));
        bench.view("VI_1", heard(priority));
        // Its farewell says nothing of how strong it is.
        bench.view("VI_1", heard(0));
        bench.turned("VI_1", Role::Backup, Role::Active, Cause::PeerLeft(other()));
        bench.view("VI_1", router_view(Role::Active));
        assert_eq!(resigns(&bench.script(Some("no"))), expected, "{priority}");
    }
    let mut bench = Bench::active(&one(FAILING));
    assert!(!resigns(&bench.script(Some("no"))), "nobody was ever heard");
}
