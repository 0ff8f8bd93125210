use super::*;
use crate::net::kernel::{Link, Mac};

const ETH: u32 = 2;
const OTHER: u32 = 3;
const A: Mac = [2, 0, 0, 0, 0, 0xa];
const B: Mac = [2, 0, 0, 0, 0, 0xb];

fn server() -> IpAddr {
    "10.0.0.2".parse().unwrap()
}

fn entry(state: EntryState) -> Entry {
    Entry {
        address: server(),
        ifindex: ETH,
        state,
    }
}

fn facts(route: Route, states: &[EntryState]) -> Facts {
    let link = |index, name: &str, mac| Link {
        index,
        name: name.into(),
        mac,
        mtu: 1500,
        up: true,
        loopback: false,
    };
    Facts {
        links: Links::from([
            (ETH, link(ETH, "eth0", Some([2; 6]))),
            (OTHER, link(OTHER, "eth1", Some([4; 6]))),
            (9, link(9, "tun0", None)),
        ]),
        addresses: vec![Address {
            ifindex: ETH,
            address: "10.0.0.1".parse().unwrap(),
            prefix: 24,
        }],
        routes: BTreeMap::from([(server(), route)]),
        entries: states.iter().copied().map(entry).collect(),
    }
}

const DIRECT: Route = Route::Direct { ifindex: ETH };

fn resolved(mac: Mac) -> Action {
    let neighbour = Neighbour::Resolved {
        mac,
        ifindex: ETH,
        interface: "eth0".into(),
    };
    Action::Report(server(), neighbour)
}

fn unresolved(reason: &str) -> Action {
    Action::Report(server(), Neighbour::Unresolved(reason.into()))
}

fn unreachable(reason: &str) -> Action {
    Action::Report(server(), Neighbour::Unreachable(reason.into()))
}

fn silent() -> Action {
    unresolved("no answer to ARP for 10.0.0.2 on eth0")
}

fn resolve() -> Action {
    Action::Resolve(server(), ETH)
}

fn verify() -> Action {
    Action::Verify(server(), ETH)
}

/// A table that follows the server and has read this.
fn table(states: &[EntryState]) -> (Table, Vec<Action>) {
    let mut table = Table::default();
    table.follow(&[server()]);
    let actions = table.on_facts(facts(DIRECT, states));
    (table, actions)
}

#[test]
fn what_is_found_at_first() {
    assert_eq!(table(&[]).1, [resolve()]);
    assert_eq!(table(&[EntryState::Open]).1, [resolve()]);
    assert_eq!(
        table(&[EntryState::Failed]).1,
        [resolve()],
        "it may be long past"
    );
    assert_eq!(table(&[EntryState::Valid(A)]).1, [resolved(A), verify()]);
    assert_eq!(table(&[EntryState::Fixed(A)]).1, [resolved(A)]);
}

#[test]
fn changes_of_a_known_neighbour() {
    let cases: [(&[EntryState], &[Action]); 6] = [
        (&[EntryState::Valid(A)], &[]),
        (&[EntryState::Valid(B)], &[resolved(B)]),
        (&[EntryState::Failed], &[resolve()]),
        (
            &[EntryState::Failed, EntryState::Valid(B)],
            &[resolve(), resolved(B)],
        ),
        (
            &[EntryState::Failed, EntryState::Failed],
            &[resolve(), silent()],
        ),
        (
            &[
                EntryState::Failed,
                EntryState::Open,
                EntryState::Failed,
                EntryState::Failed,
                EntryState::Valid(A),
            ],
            &[resolve(), silent(), resolved(A)],
        ),
    ];
    for (changes, expected) in cases {
        let (mut table, _) = table(&[EntryState::Valid(A)]);
        let actions: Vec<_> = changes
            .iter()
            .flat_map(|state| table.on_entry(entry(*state)))
            .collect();
        assert_eq!(actions, expected, "{changes:?}");
    }
}

#[test]
fn one_that_was_never_known_is_silent_after_the_first_failure() {
    let (mut table, _) = table(&[]);
    assert_eq!(table.on_entry(entry(EntryState::Open)), []);
    assert_eq!(table.on_entry(entry(EntryState::Failed)), [silent()]);
    assert_eq!(table.on_entry(entry(EntryState::Failed)), []);
}

#[test]
fn entry_that_the_kernel_dropped_is_asked_for_again() {
    let (mut table, _) = table(&[EntryState::Valid(A)]);
    assert_eq!(table.on_entry_gone(server(), ETH), [resolve()]);
    assert_eq!(
        table.on_entry(entry(EntryState::Valid(A))),
        [],
        "nothing changed"
    );
}

#[test]
fn other_addresses_and_interfaces_are_ignored() {
    let (mut table, _) = table(&[EntryState::Valid(A)]);
    let state = EntryState::Valid(B);
    let elsewhere = Entry {
        ifindex: OTHER,
        ..entry(state)
    };
    assert_eq!(table.on_entry(elsewhere), []);
    let somebody = Entry {
        address: "10.0.0.3".parse().unwrap(),
        ..entry(state)
    };
    assert_eq!(table.on_entry(somebody), []);
    assert_eq!(table.on_entry_gone(server(), OTHER), []);
}

#[test]
fn ticks_provoke_what_is_not_resolved_and_verify_what_is() {
    for (state, plain, verifying) in [
        (EntryState::Open, vec![resolve()], vec![resolve()]),
        (EntryState::Failed, vec![resolve()], vec![resolve()]),
        (EntryState::Valid(A), vec![], vec![verify()]),
        (EntryState::Fixed(A), vec![], vec![]),
    ] {
        let (table, _) = table(&[state]);
        assert_eq!(
            (table.on_tick(false), table.on_tick(true)),
            (plain, verifying),
            "{state:?}"
        );
    }
}

#[test]
fn paths_that_dsr_cannot_use() {
    let router = Some("10.0.0.254".parse().unwrap());
    let mut no_link = facts(Route::None, &[]);
    no_link.links.get_mut(&ETH).unwrap().up = false;
    let mut carrier_lost = facts(DIRECT, &[EntryState::Valid(A)]);
    carrier_lost.links.get_mut(&ETH).unwrap().up = false;
    let cases = [
        (
            facts(Route::Local, &[]),
            "10.0.0.2 is an address of this director itself",
        ),
        (
            facts(
                Route::Via {
                    ifindex: ETH,
                    router,
                },
                &[],
            ),
            "10.0.0.2 is reached through the router 10.0.0.254, but dsr needs it on the same segment",
        ),
        (
            facts(Route::Direct { ifindex: 9 }, &[]),
            "10.0.0.2 is reached through tun0, which has no MAC addresses, but dsr needs Ethernet",
        ),
        (facts(Route::None, &[]), "no route to 10.0.0.2"),
        (
            facts(Route::Direct { ifindex: 77 }, &[]),
            "no route to 10.0.0.2",
        ),
        (no_link, "eth0 is down, so 10.0.0.2 cannot be reached"),
        (carrier_lost, "eth0 is down, so 10.0.0.2 cannot be reached"),
    ];
    for (facts, reason) in cases {
        let (mut table, _) = table(&[EntryState::Valid(A)]);
        assert_eq!(table.on_facts(facts.clone()), [unreachable(reason)]);
        assert_eq!(table.on_facts(facts), [], "said once");
        assert_eq!(table.on_tick(true), [], "nobody to ask");
        assert_eq!(
            table.on_entry(entry(EntryState::Valid(B))),
            [],
            "not on our segment"
        );
    }
}

#[test]
fn link_that_comes_back_is_asked_anew() {
    let (mut table, _) = table(&[EntryState::Valid(A)]);
    table.on_facts(facts(Route::None, &[]));
    assert_eq!(table.on_facts(facts(DIRECT, &[])), [resolve()]);
    assert_eq!(table.on_entry(entry(EntryState::Valid(A))), [resolved(A)]);
}

#[test]
fn link_down_is_told_without_waiting_for_a_reading() {
    let (mut table, _) = table(&[EntryState::Valid(A)]);
    assert_eq!(table.on_link_down(OTHER), []);
    let reason = "eth0 is down, so 10.0.0.2 cannot be reached";
    assert_eq!(table.on_link_down(ETH), [unreachable(reason)]);
    assert_eq!(table.on_entry(entry(EntryState::Failed)), []);
    assert_eq!(table.on_link_down(ETH), []);
}

#[test]
fn renamed_interface_is_reported() {
    let (mut table, _) = table(&[EntryState::Valid(A)]);
    let mut renamed = facts(DIRECT, &[EntryState::Valid(A)]);
    renamed.links.get_mut(&ETH).unwrap().name = "lan0".into();
    let neighbour = Neighbour::Resolved {
        mac: A,
        ifindex: ETH,
        interface: "lan0".into(),
    };
    assert_eq!(
        table.on_facts(renamed),
        [Action::Report(server(), neighbour)]
    );
}

#[test]
fn one_that_was_taken_away_and_comes_back_counts_as_new() {
    let (mut table, _) = table(&[EntryState::Valid(A)]);
    table.follow(&[]);
    assert_eq!(table.followed().count(), 0);
    table.follow(&[server()]);
    let actions = table.on_facts(facts(DIRECT, &[EntryState::Valid(A)]));
    assert_eq!(actions, [resolved(A), verify()]);
}
