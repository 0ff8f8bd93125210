//! Planned hand-overs: who may ask for one, and what is answered when.

use super::pair::*;
use super::*;
use crate::peer::{Message, RoleOf};
use crate::vrrp::machine::{Cause, Role};
use crate::vrrp::router::Report as Told;
use crate::vrrp::view::RouterView;

fn refused(actions: &[Action]) -> Refusal {
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::Router { .. })),
        "{actions:?}"
    );
    match replies(actions).pop() {
        Some((_, Err(refusal))) => refusal,
        other => panic!("{other:?}"),
    }
}

fn asked() -> Order {
    Order::Resign {
        why: "asked for by alice".to_owned(),
        aside: true,
    }
}

#[test]
fn what_cannot_be_handed_over_is_refused() {
    let mut bench = Bench::up(&with(""));
    assert_eq!(
        refused(&bench.failover(1, None)),
        Refusal::NoInstance(String::new())
    );
    let mut bench = Bench::backup(&one(""));
    assert_eq!(
        refused(&bench.failover(1, Some("VI_9"))),
        Refusal::NoInstance("VI_9".to_owned())
    );
    for instance in [None, Some("VI_1")] {
        assert_eq!(
            refused(&bench.failover(1, instance)),
            Refusal::NotActive("VI_1 is backup here".to_owned())
        );
    }
}

#[test]
fn a_peer_that_cannot_have_it_does_not_get_it() {
    let cases = [
        (Role::Fault, true, "VI_1 is at fault on the peer"),
        (Role::Init, true, "VI_1 does not run on the peer"),
        (
            Role::Backup,
            false,
            "the peer has not taken in all flows yet: sessions would be lost with VI_1",
        ),
    ];
    for (theirs, in_sync, why) in cases {
        let mut bench = Bench::active(&one_and_peer(""));
        bench.connect();
        let status = crate::peer::Status {
            in_sync,
            ..bench.status(vec![role(theirs, 100)])
        };
        bench.hear(Message::Status(status));
        assert_eq!(
            refused(&bench.failover(1, None)),
            Refusal::NotActive(why.to_owned())
        );
    }
    // Of a peer that says nothing, keepalived for one, nothing is known: VRRP will tell.
    let mut bench = Bench::active(&one_and_peer(""));
    assert_eq!(orders(&bench.failover(1, None), "VI_1"), [asked()]);
}

/// All of a sync group at once, and the answer is for all.
#[test]
fn an_instance_goes_with_its_group() {
    let mut bench = Bench::active(&group(""));
    let actions = bench.failover(7, Some("VI_2"));
    assert_eq!(orders(&actions, "VI_1"), [asked()]);
    assert_eq!(orders(&actions, "VI_2"), [asked()]);
    let actions = bench.turned("VI_2", Role::Active, Role::Backup, handed_over());
    assert_eq!(replies(&actions), []);
    let actions = bench.turned("VI_1", Role::Active, Role::Backup, handed_over());
    let [(7, Ok(text))] = &replies(&actions)[..] else {
        panic!("{actions:?}");
    };
    for name in ["VI_1", "VI_2"] {
        let done = format!("{name}: {} is active", other());
        assert!(text.contains(&done), "{text}");
    }
}

#[test]
fn it_is_answered_when_it_is_over() {
    let heard = format!("VI_1: {} is active", other());
    let cases = [
        (handed_over(), Ok(heard.clone())),
        (stronger(), Ok(heard)),
        (
            Cause::Frozen(Duration::from_secs(5)),
            Err(Refusal::NotHandedOver(
                "active -> backup: this process did not run for 5.000 s: listening first"
                    .to_owned(),
            )),
        ),
    ];
    for (cause, expected) in cases {
        let mut bench = Bench::active(&one(""));
        let actions = bench.failover(7, Some("VI_1"));
        assert_eq!(orders(&actions, "VI_1"), [asked()]);
        assert_eq!(replies(&actions), []);
        // Another one asks meanwhile.
        bench.failover(8, None);
        let actions = bench.turned("VI_1", Role::Active, Role::Backup, cause);
        assert_eq!(replies(&actions), [(7, expected.clone()), (8, expected)]);
        assert_eq!(replies(&bench.pass(60_000)), []);
    }
    let mut bench = Bench::active(&one(""));
    bench.failover(7, None);
    assert_eq!(
        replies(&bench.told("VI_1", Told::Stayed)),
        [(7, Err(Refusal::Stayed("VI_1".to_owned())))]
    );
    assert_eq!(bench.kinds_of("VI_1")[2..], ["failover", "stayed"]);
}

#[test]
fn who_waits_is_answered_when_the_router_goes() {
    let mut bench = Bench::active(&one(""));
    bench.failover(7, None);
    let actions = bench.handle(Event::RouterFailed {
        name: "VI_1".to_owned(),
        why: "netlink was lost".to_owned(),
    });
    let why = Refusal::NotHandedOver("netlink was lost".to_owned());
    assert_eq!(replies(&actions), [(7, Err(why))]);

    let mut bench = Bench::active(&one(""));
    bench.failover(7, None);
    let actions = bench.handle(Event::Config(Box::new(with(""))));
    let why = Refusal::NotHandedOver("VI_1 is in the configuration no more".to_owned());
    assert_eq!(replies(&actions), [(7, Err(why))]);
}

#[test]
fn all_that_is_active_here_goes() {
    let both = format!("{}{}", instance("VI_1", 51, ""), instance("VI_2", 52, ""));
    let mut bench = Bench::active(&with(&both));
    let actions = bench.failover(7, None);
    assert_eq!(orders(&actions, "VI_1"), [asked()]);
    assert_eq!(orders(&actions, "VI_2"), [asked()]);
    // The last one tells.
    let actions = bench.turned("VI_1", Role::Active, Role::Backup, handed_over());
    assert_eq!(replies(&actions), []);
    let actions = bench.turned("VI_2", Role::Active, Role::Backup, handed_over());
    assert_eq!(replies(&actions).len(), 1);
    // One of them.
    let mut bench = Bench::active(&with(&both));
    let actions = bench.failover(7, Some("VI_1"));
    assert_eq!(orders(&actions, "VI_2"), []);
    bench.turned("VI_1", Role::Active, Role::Backup, handed_over());
    let actions = bench.failover(8, None);
    assert_eq!(orders(&actions, "VI_1"), []);
    assert_eq!(orders(&actions, "VI_2"), [asked()]);
}

#[test]
fn the_peer_is_asked_when_the_hand_over_has_begun() {
    let mut bench = Bench::active(&one_and_peer(""));
    bench.connect();
    bench.peer_is(role(Role::Backup, 90));
    assert_eq!(take_overs(&bench.failover(1, None)), 0);
    let leaving = RouterView {
        is_leaving: true,
        ..router_view(Role::Active)
    };
    let actions = bench.view("VI_1", leaving.clone());
    let asked = Message::TakeOver {
        vrid: 51,
        ipv6: false,
        interface: "eth0".to_owned(),
        why: "the other director hands over".to_owned(),
    };
    assert!(said(&actions).contains(&asked), "{actions:?}");
    assert_eq!(take_overs(&bench.view("VI_1", leaving)), 0, "once");
}

#[test]
fn only_a_peer_that_can_take_over_is_asked() {
    let asks = |peer: RoleOf, in_sync: bool| {
        let mut bench = Bench::active(&one_and_peer(""));
        bench.connect();
        let status = crate::peer::Status {
            in_sync,
            ..bench.status(vec![peer])
        };
        bench.hear(Message::Status(status));
        let fault = Cause::Fault("eth0 is down".to_owned());
        take_overs(&bench.turned("VI_1", Role::Active, Role::Fault, fault)) == 1
    };
    assert!(asks(role(Role::Backup, 90), true));
    assert!(!asks(role(Role::Backup, 90), false));
    assert!(!asks(role(Role::Fault, 90), true));
    assert!(!asks(role(Role::Active, 90), true));
}

#[test]
fn a_backup_takes_over_when_the_peer_asks() {
    let ask = |vrid, ipv6| Message::TakeOver {
        vrid,
        ipv6,
        interface: "eth7".to_owned(),
        why: "the other director hands over".to_owned(),
    };
    let mut bench = Bench::backup(&one_and_peer(""));
    bench.connect();
    let why = "the other director hands over".to_owned();
    assert_eq!(
        orders(&bench.hear(ask(51, false)), "VI_1"),
        [Order::TakeOver { why }]
    );
    assert_eq!(orders(&bench.hear(ask(52, false)), "VI_1"), []);
    assert_eq!(orders(&bench.hear(ask(51, true)), "VI_1"), []);
    let mut bench = Bench::active(&one_and_peer(""));
    bench.connect();
    assert_eq!(orders(&bench.hear(ask(51, false)), "VI_1"), []);
}
