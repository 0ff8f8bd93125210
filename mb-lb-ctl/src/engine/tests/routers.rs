//! What the virtual routers are told to go by, and what becomes of what they report.

use super::pair::*;
use super::*;
use crate::vrrp::machine::{Cause, Role};
use crate::vrrp::router::Report as Told;

#[test]
fn routers_are_told_when_the_interfaces_are_known_and_when_something_changes() {
    let config = one("track_scripts = { x = { command = \"/x\", weight = 5 } }");
    let mut bench = Bench::new(&Adopted::default(), SavedState::default(), &config);
    let actions = bench.handle(Event::Config(Box::new(config.clone())));
    assert!(actions.contains(&Action::Routers(config.vrrps.clone())));
    assert!(actions.contains(&Action::Links(vec!["eth0".to_owned()])));
    assert!(actions.iter().any(
        |action| matches!(action, Action::Scripts(scripts) if scripts.len() == 1 && scripts[0].0 == "VI_1")
    ));
    assert_eq!(policy(&actions, "VI_1"), None, "{actions:?}");
    let told = Order::Policy {
        priority: 105,
        fault: None,
        may_preempt: true,
        withheld: false,
    };
    assert_eq!(policy(&bench.attach(), "VI_1"), Some(told));
    assert_eq!(bench.handle(Event::Deadline), []);
    assert_eq!(bench.script(None), [], "as it was");
    assert_eq!(priority_of(policy(&bench.script(Some("no")), "VI_1")), 100);
    assert_eq!(bench.script(Some("another word")), [], "the same priority");
    assert_eq!(
        policy(&bench.handle(Event::Config(Box::new(config))), "VI_1"),
        None
    );
}

#[test]
fn the_priority_follows_what_is_tracked() {
    let mut bench = Bench::backup(&one("track_interfaces = { eth1 = { weight = -30 } }\n\
         track_services = { smtp = { min_up = 2, weight = -20 } }\n\
         track_scripts = { x = { command = \"/x\", weight = 5 } }"));
    let told = |actions: Vec<Action>| policy(&actions, "VI_1").map(|told| priority_of(Some(told)));
    assert_eq!(told(bench.script(Some("exit code 1"))), Some(100));
    assert_eq!(told(bench.link("eth1", false)), Some(70));
    assert_eq!(
        told(bench.check("mb1", Outcome::Failure)),
        None,
        "two are up"
    );
    assert_eq!(told(bench.check("mb2", Outcome::Failure)), Some(50));
    assert!(bench.warns("VI_1 has a lower priority than it should: interface eth1: it is down"));
    let tracks = bench.snapshot().vrrp[0].tracks.clone();
    let failed: Vec<_> = tracks.iter().filter_map(|t| t.failed.as_deref()).collect();
    assert_eq!(
        failed,
        ["it is down", "1 servers up, 2 wanted", "exit code 1"]
    );
    assert_eq!(told(bench.check("mb2", Outcome::Success)), Some(70));
    bench.admin("mb1", AdminState::Maint).expect("known");
    assert_eq!(told(bench.check("mb2", Outcome::Failure)), Some(50));
    assert_eq!(told(bench.link("eth1", true)), Some(80));
    assert_eq!(told(bench.check("mb2", Outcome::Success)), Some(100));
    assert_eq!(told(bench.script(None)), Some(105));
    assert_eq!(bench.alarms(), Vec::<String>::new());
}

#[test]
fn weight_0_and_a_program_that_is_not_there_are_faults() {
    let mut bench = Bench::backup(&one(
        "track_interfaces = [\"eth1\"]\ntrack_services = { smtp = {} }\ntrack_scripts = { x = { command = \"/x\" } }",
    ));
    let told = |actions: Vec<Action>| fault_of(policy(&actions, "VI_1"));
    let says = |text: &str| Some(text.to_owned());
    assert_eq!(
        told(bench.link("eth1", false)),
        says("interface eth1: it is down")
    );
    assert_eq!(told(bench.link("eth1", true)), None);
    assert_eq!(
        told(bench.script(Some("exit code 1"))),
        says("script x: exit code 1")
    );
    assert!(
        bench.warns(
            "VI_1 is at fault, this director cannot have its addresses: script x: exit code 1"
        )
    );
    assert_eq!(told(bench.script(None)), None);
    for server in ["mb1", "mb2"] {
        assert_eq!(policy(&bench.check(server, Outcome::Failure), "VI_1"), None);
    }
    assert_eq!(
        told(bench.check("mb3", Outcome::Failure)),
        says("service smtp: 0 servers up, 1 wanted")
    );
    assert_eq!(told(bench.check("mb3", Outcome::Success)), None);

    let gone = Event::Interfaces {
        attached: Vec::new(),
        error: None,
        number: 1,
    };
    let no_program = says("the XDP program is on no interface");
    assert_eq!(told(bench.handle(gone)), no_program);
    // Without it, the servers cannot be reached either.
    assert_eq!(told(bench.attach()), None);
    let report = Report {
        detached: true,
        ..Report::default()
    };
    assert_eq!(
        told(bench.handle(Event::Counted(Box::new(report)))),
        no_program
    );
    assert_eq!(told(bench.count(&[])), None);
}

#[test]
fn hooks_are_called_in_order_with_the_priority() {
    let mut bench = Bench::up(&one(&format!("notify = \"/n\"\n{FAILING}")));
    let calls = |actions: Vec<Action>| -> Vec<(&str, &str, u8)> {
        let hook = |action| match action {
            Action::Hook(call) => {
                assert_eq!(
                    (call.instance.as_str(), call.path.to_str()),
                    ("VI_1", Some("/n"))
                );
                Some((call.from, call.to, call.priority))
            }
            _ => None,
        };
        actions.into_iter().filter_map(hook).collect()
    };
    let began = bench.turned("VI_1", Role::Init, Role::Backup, Cause::Started);
    assert_eq!(calls(began), [("init", "backup", 100)]);
    assert_eq!(calls(bench.script(Some("no"))), []);
    let took = bench.turned("VI_1", Role::Backup, Role::Active, silence());
    assert_eq!(calls(took), [("backup", "active", 80)]);
    bench.script(None);
    let fault = Cause::Fault("eth0 is down".to_owned());
    let lost = bench.turned("VI_1", Role::Active, Role::Fault, fault);
    assert_eq!(calls(lost), [("active", "fault", 100)]);
    assert_eq!(bench.kinds_of("VI_1"), ["backup", "active", "fault"]);
    assert_eq!(bench.snapshot().vrrp[0].turns, 3);
}

#[test]
fn a_take_over_shows_how_long_nobody_advertised() {
    let mut bench = Bench::backup(&one(""));
    for round in 0..12 {
        bench.pass(1000);
        let report = Told::Turned {
            from: Role::Backup,
            to: Role::Active,
            cause: silence(),
            silent: Some(Duration::from_millis(3000 + round)),
        };
        bench.told("VI_1", report);
        bench.turned("VI_1", Role::Active, Role::Backup, stronger());
    }
    let takeovers = bench.snapshot().vrrp[0].takeovers.clone();
    assert_eq!(takeovers.len(), 10);
    assert_eq!(
        (takeovers[0].outage_ms, takeovers[0].time_ms),
        (Some(3011), 1_012_000)
    );
    assert_eq!(takeovers[0].cause, "no advert for 3.000 s");
}

#[test]
fn a_take_over_tells_its_gap_where_there_was_one() {
    let mut bench = Bench::backup(&one(""));
    let mut told = |silent| {
        let report = Told::Turned {
            from: Role::Backup,
            to: Role::Active,
            cause: silence(),
            silent: Some(Duration::from_millis(silent)),
        };
        bench.told("VI_1", report);
        bench.records.last().expect("recorded").text.clone()
    };
    assert!(told(12).ends_with("; nobody advertised for 12 ms"));
    assert_eq!(told(0), "backup -> active: no advert for 3.000 s");
}

#[test]
fn a_router_that_does_not_run_is_told_and_gets_its_policy_anew() {
    let failed = || Event::RouterFailed {
        name: "VI_1".to_owned(),
        why: "netlink was lost".to_owned(),
    };
    let mut bench = Bench::active(&one(""));
    assert!(bench.engine.is_active());
    let actions = bench.handle(failed());
    assert!(policy(&actions, "VI_1").is_some());
    assert!(bench.warns("VRRP instance VI_1 does not run: netlink was lost"));
    assert!(!bench.engine.is_active(), "nobody holds its addresses");
    assert_eq!(bench.snapshot().vrrp[0].role, "init");
    bench.handle(failed());
    assert_eq!(
        bench.kinds_of("VI_1"),
        ["backup", "active", "vrrp-failed"],
        "said once"
    );
    bench.turned("VI_1", Role::Init, Role::Backup, Cause::Started);
    bench.view("VI_1", router_view(Role::Backup));
    assert_eq!(bench.alarms(), Vec::<String>::new());
}

#[test]
fn what_others_do_to_the_addresses_is_told_and_forgotten() {
    let vip = IpAddr::from([192, 0, 2, 100]);
    let mac = [2, 0, 0, 0, 0, 9];
    let mut bench = Bench::active(&one(""));
    for _ in 0..2 {
        bench.told("VI_1", Told::Claimed { address: vip, mac });
        bench.told("VI_1", Told::Trouble("no room".to_owned()));
    }
    bench.told("VI_1", Told::Restored(vip));
    assert_eq!(
        bench.kinds_of("VI_1")[2..],
        ["claimed", "vrrp-trouble", "restored"]
    );
    assert!(bench.warns("02:00:00:00:00:09 claims 192.0.2.100"));
    assert!(bench.warns("another program takes 192.0.2.100 away"));
    assert!(bench.warns("VI_1: no room"));
    bench.pass(60_000);
    assert_eq!(bench.alarms(), Vec::<String>::new());
    // Whoever has them now may.
    bench.told("VI_1", Told::Claimed { address: vip, mac });
    assert!(bench.warns("claims"));
    bench.turned("VI_1", Role::Active, Role::Backup, stronger());
    assert!(!bench.warns("claims"));
}

#[test]
fn a_reload_keeps_the_roles_of_instances_that_stay() {
    let both = format!("{}{}", instance("VI_1", 51, ""), instance("VI_2", 52, ""));
    let mut bench = Bench::active(&with(&both));
    let changed = one("priority = 90\ntrack_interfaces = [\"eth1\"]");
    let actions = bench.handle(Event::Config(Box::new(changed.clone())));
    assert!(actions.contains(&Action::Routers(changed.vrrps)));
    assert!(actions.contains(&Action::Links(vec!["eth1".to_owned()])));
    assert_eq!(priority_of(policy(&actions, "VI_1")), 90);
    assert_eq!(policy(&actions, "VI_2"), None);
    let vrrp = bench.snapshot().vrrp;
    assert_eq!((vrrp.len(), vrrp[0].role.as_str()), (1, "active"));
    // The last word of the one that has gone.
    assert_eq!(
        bench.turned("VI_2", Role::Active, Role::Init, Cause::Left),
        []
    );
    // One that comes back is another.
    let actions = bench.handle(Event::Config(Box::new(with(&both))));
    assert!(policy(&actions, "VI_2").is_some());
    assert_eq!(bench.snapshot().vrrp[1].role, "init");
    bench.handle(Event::Config(Box::new(with(""))));
    assert!(bench.snapshot().vrrp.is_empty());
}

#[test]
fn what_one_of_a_pair_does_is_done_where_all_instances_are_active() {
    let both = format!("{}{}", instance("VI_1", 51, ""), instance("VI_2", 52, ""));
    let mut bench = Bench::backup(&with(&both));
    bench.handle(Event::Addresses([IpAddr::from([192, 0, 2, 100])].into()));
    assert!(!bench.engine.is_active());
    bench.turned("VI_1", Role::Backup, Role::Active, silence());
    assert!(!bench.engine.is_active());
    bench.turned("VI_2", Role::Backup, Role::Active, silence());
    assert!(bench.engine.is_active());
    bench.turned("VI_1", Role::Active, Role::Backup, stronger());
    assert!(!bench.engine.is_active());
    // Without VRRP: who has the VIPs.
    let mut bench = Bench::up(&with(""));
    assert!(!bench.engine.is_active());
    bench.handle(Event::Addresses([IpAddr::from([192, 0, 2, 100])].into()));
    assert!(bench.engine.is_active());
}
