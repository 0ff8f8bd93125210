//! Two directors that are active at once: seen over the peer link, ended by rule.

use super::pair::*;
use super::*;
use crate::peer::RoleOf;
use crate::vrrp::judge::{Rejected, Rejection};
use crate::vrrp::machine::{Heard, Role};
use crate::vrrp::view::RouterView;

/// Both active since now; this one has priority 100 and the lower address.
fn split(priority: u8) -> Bench {
    let mut bench = Bench::active(&one_and_peer(""));
    bench.connect();
    bench.in_sync(true);
    // What it says from now on is about the role here.
    bench.pass(1);
    let actions = bench.peer_is(role(Role::Active, priority));
    assert_eq!(orders(&actions, "VI_1"), []);
    bench
}

fn is_withheld(order: Option<Order>) -> bool {
    match order {
        Some(Order::Policy { withheld, .. }) => withheld,
        other => panic!("no policy: {other:?}"),
    }
}

/// The weaker one has given way.
fn gave_way() -> Bench {
    let mut bench = split(150);
    bench.pass(300);
    bench.turned("VI_1", Role::Active, Role::Backup, stronger());
    bench.view("VI_1", router_view(Role::Backup));
    bench.peer_is(role(Role::Active, 150));
    bench
}

#[test]
fn the_weaker_gives_way_after_300_ms() {
    for (priority, why) in [(150, "the priority"), (100, "the address")] {
        let mut bench = split(priority);
        let begun = bench.now.since_start;
        assert_eq!(
            bench.engine.next_deadline(bench.now),
            Some(begun + Duration::from_millis(300))
        );
        assert_eq!(orders(&bench.pass(299), "VI_1"), [], "{why}");
        let actions = bench.pass(1);
        let step_down = Order::StepDown {
            why: "two were active, and 192.0.2.11 is the stronger".to_owned(),
        };
        assert_eq!(orders(&actions, "VI_1"), [step_down], "{why}");
        assert!(
            bench
                .records
                .last()
                .expect("one")
                .text
                .ends_with(": giving way")
        );
        assert!(is_withheld(policy(&actions, "VI_1")), "{why}");
        assert!(bench.warns("VI_1: both directors were active at once"));
        assert_eq!(orders(&bench.pass(10), "VI_1"), [], "once");
        assert_eq!(bench.engine.next_deadline(bench.now), None);
    }
}

#[test]
fn the_stronger_tells_and_stays() {
    let mut bench = split(99);
    for _ in 0..5 {
        let actions = bench.pass(300);
        assert_eq!(orders(&actions, "VI_1"), []);
        bench.peer_is(role(Role::Active, 99));
    }
    assert_eq!(
        bench.kinds_of("VI_1"),
        ["backup", "active", "split-brain"],
        "told once"
    );
    assert!(bench.warns("VI_1: both directors were active at once"));
    assert_eq!(bench.engine.next_deadline(bench.now), None);
    bench.peer_is(role(Role::Backup, 99));
    assert_eq!(bench.alarms(), Vec::<String>::new());
}

/// It is no firewall where adverts come.
#[test]
fn what_does_not_fit_is_named_as_the_cause() {
    let mut bench = split(99);
    bench.pass(300);
    bench.peer_is(role(Role::Active, 99));
    let lost =
        "VI_1: both directors were active at once: adverts get lost between eth0 here and the peer";
    assert_eq!(bench.alarms(), [lost]);
    let refused = |rejection| Rejected {
        rejection,
        count: 3,
        source: other(),
        at: bench.now.since_start,
    };
    // Those are heard.
    let (interval, password) = (refused(Rejection::Interval), refused(Rejection::Password));
    let mut view = router_view(Role::Active);
    view.rejections = vec![interval];
    bench.view("VI_1", view.clone());
    assert_eq!(bench.alarms()[0], lost);
    view.rejections.push(password);
    bench.view("VI_1", view);
    let snapshot = bench.engine.snapshot(bench.now);
    let alarm = &snapshot.alarms[0];
    assert_eq!(
        alarm.text,
        "VI_1: both directors were active at once: adverts come, and do not fit"
    );
    assert_eq!(alarm.next, Rejection::Password.remedy());
}

#[test]
fn a_hand_over_is_no_split_brain() {
    let mut bench = split(150);
    bench.pass(200);
    bench.peer_is(role(Role::Backup, 150));
    bench.pass(50);
    bench.peer_is(role(Role::Active, 150));
    assert_eq!(orders(&bench.pass(299), "VI_1"), [], "it began anew");
    // One of the two is giving it up.
    let mut bench = split(150);
    let leaving = RoleOf {
        leaving: true,
        ..role(Role::Active, 150)
    };
    bench.peer_is(leaving);
    assert_eq!(orders(&bench.pass(400), "VI_1"), []);
    let mut bench = split(150);
    let leaving = RouterView {
        is_leaving: true,
        ..router_view(Role::Active)
    };
    bench.view("VI_1", leaving);
    assert_eq!(orders(&bench.pass(400), "VI_1"), []);
}

#[test]
fn what_the_peer_said_long_ago_is_no_split_brain() {
    let mut bench = split(150);
    bench.pass(100);
    assert_eq!(orders(&bench.pass(3000), "VI_1"), []);
    let mut bench = split(150);
    bench.disconnect();
    assert_eq!(orders(&bench.pass(400), "VI_1"), []);
}

#[test]
fn who_gave_way_stays_away_until_the_peer_is_active_no_more() {
    let withheld = |bench: &Bench| bench.engine.routers[0].withheld;
    let mut bench = gave_way();
    assert!(withheld(&bench));
    assert!(bench.warns("both directors were active at once"));
    bench.pass(1000);
    assert!(withheld(&bench));
    let actions = bench.peer_is(role(Role::Backup, 150));
    assert!(!is_withheld(policy(&actions, "VI_1")));
    assert_eq!(bench.alarms(), Vec::<String>::new());

    let mut bench = gave_way();
    assert!(!is_withheld(policy(&bench.disconnect(), "VI_1")));
    // The peer goes silent without a word.
    let mut bench = gave_way();
    bench.pass(2999);
    assert!(withheld(&bench));
    assert!(!is_withheld(policy(&bench.pass(1), "VI_1")));
}

#[test]
fn adverts_that_get_here_again_end_it() {
    let heard = |at| RouterView {
        master: Some((
            Heard {
                source: other(),
                priority: 150,
                interval: Duration::from_secs(1),
            },
            at,
        )),
        ..router_view(Role::Backup)
    };
    let mut bench = gave_way();
    // The last one before it was active itself.
    bench.pass(2500);
    let old = bench.now.since_start - Duration::from_secs(2);
    bench.peer_is(role(Role::Active, 150));
    assert_eq!(policy(&bench.view("VI_1", heard(old)), "VI_1"), None);
    let now = bench.now.since_start;
    let actions = bench.view("VI_1", heard(now));
    assert!(!is_withheld(policy(&actions, "VI_1")));
    assert_eq!(bench.alarms(), Vec::<String>::new());
}
