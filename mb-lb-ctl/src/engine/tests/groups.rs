//! Sync groups: at fault together, and together where the addresses go.

use super::pair::*;
use super::*;
use crate::vrrp::machine::{Cause, Role};
use crate::vrrp::view::RouterView;

/// Routers that do as the tasks do: what is wrong with the interface, or what the engine says is wrong, is a fault.
struct Routers {
    bench: Bench,
    routers: Vec<(&'static str, RouterView, Option<String>)>,
}

impl Routers {
    fn new() -> Self {
        let bench = Bench::backup(&group(""));
        let router = |name| (name, router_view(Role::Backup), None);
        Self {
            bench,
            routers: vec![router("VI_1"), router("VI_2")],
        }
    }

    fn cut(&mut self, at: usize, is_cut: bool) {
        self.routers[at].1.fault = is_cut.then(|| "eth0 is down".to_owned());
        self.settle();
    }

    /// Both lose their interface, or get it back, before the engine hears of it.
    fn cut_both(&mut self, is_cut: bool) {
        for (_, view, _) in &mut self.routers {
            view.fault = is_cut.then(|| "eth0 is down".to_owned());
        }
        self.settle();
    }

    fn settle(&mut self) {
        // Each is looked at until no more follows; it must come to an end.
        for _ in 0..10 {
            let mut actions = Vec::new();
            for (name, view, policy) in &mut self.routers {
                let from = view.role;
                let fault = view.fault.clone().or_else(|| policy.clone());
                let (to, cause) = match (from, fault) {
                    (Role::Backup, Some(why)) => (Role::Fault, Cause::Fault(why)),
                    (Role::Fault, None) => (Role::Backup, Cause::Recovered),
                    _ => (from, Cause::Started),
                };
                view.role = to;
                if from != to {
                    actions.extend(self.bench.turned(name, from, to, cause));
                }
                actions.extend(self.bench.view(name, view.clone()));
            }
            let mut news = false;
            for (name, _, fault) in &mut self.routers {
                if let Some(told) = policy(&actions, name) {
                    *fault = fault_of(Some(told));
                    news = true;
                }
            }
            if !news {
                return;
            }
        }
        panic!("it goes on and on");
    }

    fn roles(&self) -> Vec<Role> {
        self.routers.iter().map(|(_, view, _)| view.role).collect()
    }
}

const BACKUPS: [Role; 2] = [Role::Backup; 2];
const FAULTS: [Role; 2] = [Role::Fault; 2];

#[test]
fn a_group_is_at_fault_together_and_comes_back_together() {
    let mut routers = Routers::new();
    routers.cut(0, true);
    assert_eq!(routers.roles(), FAULTS);
    assert!(routers.bench.warns("VI_2 is at fault, this director cannot have its addresses: the sync group is at fault: VI_1: eth0 is down"));
    routers.cut(0, false);
    assert_eq!(routers.roles(), BACKUPS);
}

#[test]
fn a_group_on_one_interface_comes_back() {
    let mut routers = Routers::new();
    routers.cut_both(true);
    assert_eq!(routers.roles(), FAULTS);
    routers.cut_both(false);
    assert_eq!(routers.roles(), BACKUPS);
}

#[test]
fn a_second_fault_in_a_group_counts_when_the_first_is_gone() {
    let mut routers = Routers::new();
    routers.cut(0, true);
    routers.cut(1, true);
    routers.cut(0, false);
    assert_eq!(routers.roles(), FAULTS);
    let view = &routers.bench.snapshot().vrrp;
    assert_eq!(view[1].fault.as_deref(), Some("eth0 is down"));
    assert_eq!(
        view[0].fault.as_deref(),
        Some("the sync group is at fault: VI_2: eth0 is down")
    );
    routers.cut(1, false);
    assert_eq!(routers.roles(), BACKUPS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_group_is_at_fault_while_one_of_it_is(steps in prop::collection::vec((0..3usize, any::<bool>()), 1..20)) {
        let mut routers = Routers::new();
        for (at, is_cut) in steps {
            match at {
                0 | 1 => routers.cut(at, is_cut),
                _ => routers.cut_both(is_cut),
            }
            let any = routers.routers.iter().any(|(_, view, _)| view.fault.is_some());
            prop_assert_eq!(routers.roles(), if any { FAULTS } else { BACKUPS });
        }
        routers.cut_both(false);
        prop_assert_eq!(routers.roles(), BACKUPS);
    }
}

#[test]
fn a_group_waits_for_a_member_that_does_not_run() {
    let mut routers = Routers::new();
    let why = "the password in /etc/mb-lb/vrrp.password cannot be read";
    let failed = Event::RouterFailed {
        name: "VI_1".to_owned(),
        why: why.to_owned(),
    };
    let actions = routers.bench.handle(failed);
    let fault = fault_of(policy(&actions, "VI_2")).expect("a fault");
    assert_eq!(fault, format!("the sync group is at fault: VI_1: {why}"));
    // It runs again.
    routers.settle();
    assert_eq!(routers.roles(), BACKUPS);
}

#[test]
fn a_group_goes_along_with_one_of_it() {
    let mut bench = Bench::backup(&group(""));
    let actions = bench.turned("VI_1", Role::Backup, Role::Active, silence());
    let why = "VI_1 of the same sync group took over".to_owned();
    assert_eq!(orders(&actions, "VI_2"), [Order::TakeOver { why }]);
    assert_eq!(orders(&actions, "VI_1"), []);
    // It is active already: nobody is told.
    let actions = bench.turned("VI_2", Role::Backup, Role::Active, silence());
    assert_eq!(orders(&actions, "VI_1"), []);

    let why = "VI_1 of the same sync group gave way".to_owned();
    let mut handing = bench;
    let actions = handing.turned("VI_1", Role::Active, Role::Backup, handed_over());
    let resign = Order::Resign {
        why: why.clone(),
        aside: true,
    };
    assert_eq!(orders(&actions, "VI_2"), [resign]);

    let mut bench = Bench::active(&group(""));
    let actions = bench.turned("VI_1", Role::Active, Role::Backup, stronger());
    assert_eq!(orders(&actions, "VI_2"), [Order::StepDown { why }]);
    // The fault of one is told by what the others go by.
    let mut bench = Bench::active(&group(""));
    let fault = Cause::Fault("eth0 is down".to_owned());
    let actions = bench.turned("VI_1", Role::Active, Role::Fault, fault);
    assert_eq!(orders(&actions, "VI_2"), []);
}

#[test]
fn instances_without_a_group_go_alone() {
    let both = format!("{}{}", instance("VI_1", 51, ""), instance("VI_2", 52, ""));
    let mut bench = Bench::backup(&with(&both));
    let actions = bench.turned("VI_1", Role::Backup, Role::Active, silence());
    assert_eq!(orders(&actions, "VI_2"), []);
    let cut = RouterView {
        fault: Some("eth0 is down".to_owned()),
        ..router_view(Role::Fault)
    };
    assert_eq!(policy(&bench.view("VI_1", cut), "VI_2"), None);
}
