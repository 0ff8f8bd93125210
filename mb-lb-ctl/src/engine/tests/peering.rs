//! What the two directors tell each other, and what holds on both.

use super::pair::*;
use super::*;
use crate::peer::{AdminEntry, Message, PeerEvent, Status};
use crate::vrrp::machine::Role;

const NO_VIPS: Vec<IpAddr> = Vec::new();

fn bench() -> Bench {
    Bench::backup(&one_and_peer(""))
}

fn may_preempt(order: Option<Order>) -> bool {
    match order {
        Some(Order::Policy { may_preempt, .. }) => may_preempt,
        other => panic!("no policy: {other:?}"),
    }
}

fn entry(server: &str, admin: AdminState, since_ms: u64) -> AdminEntry {
    AdminEntry {
        service: "smtp".to_owned(),
        server: server.to_owned(),
        admin,
        by: "bob".to_owned(),
        reason: "disk".to_owned(),
        weight: None,
        configured: Some(10),
        since_ms,
    }
}

fn admins(actions: &[Action]) -> Vec<Vec<AdminEntry>> {
    let messages = said(actions).into_iter();
    messages
        .filter_map(|message| match message {
            Message::Admin(entries) => Some(entries),
            _ => None,
        })
        .collect()
}

fn statuses(actions: &[Action]) -> Vec<Status> {
    let messages = said(actions).into_iter();
    messages
        .filter_map(|message| match message {
            Message::Status(status) => Some(status),
            _ => None,
        })
        .collect()
}

fn carries(actions: &[Action]) -> Vec<Vec<IpAddr>> {
    let carry = |action: &Action| match action {
        Action::Carry(carried) => Some(carried.vips.iter().copied().collect()),
        _ => None,
    };
    actions.iter().filter_map(carry).collect()
}

fn server(bench: &Bench, at: usize) -> crate::snapshot::ServerView {
    bench.snapshot().services[0].servers[at].clone()
}

#[test]
fn the_link_waits_for_the_servers_to_be_in_the_kernel() {
    let config = one_and_peer("");
    let mut bench = Bench::new(&Adopted::default(), SavedState::default(), &config);
    bench.acknowledges = false;
    let has_link = |actions: &[Action]| {
        let links = actions.iter().filter_map(|action| match action {
            Action::PeerLink(peer, _) => Some(peer.is_some()),
            _ => None,
        });
        links.collect::<Vec<_>>()
    };
    let actions = bench.handle(Event::Config(Box::new(config.clone())));
    assert!(has_link(&actions).is_empty());
    assert!(has_link(&bench.attach()).is_empty());
    let refused = bench.handle(Event::Applied(Some("no".to_owned())));
    assert!(has_link(&refused).is_empty());
    bench.count(&[]);
    let actions = bench.handle(Event::Applied(None));
    assert_eq!(has_link(&actions), [true]);
    assert_eq!(carries(&actions), [NO_VIPS], "a link begins with none");
    assert!(has_link(&bench.handle(Event::Deadline)).is_empty());
    // The same link, whose key may have been corrected meanwhile; not where it is up.
    let actions = bench.handle(Event::Config(Box::new(config.clone())));
    assert_eq!(has_link(&actions), [true]);
    bench.connect();
    let actions = bench.handle(Event::Config(Box::new(config)));
    assert!(has_link(&actions).is_empty());
    // Nor does it stay with a key that is another one now.
    let actions = bench.handle(Event::PeerKey);
    assert!(has_link(&actions).is_empty(), "the configuration follows");
    let actions = bench.handle(Event::Config(Box::new(one_and_peer(""))));
    assert_eq!(has_link(&actions), [true]);
    assert_eq!(bench.kinds_of("peer"), ["peer-up", "peer-key"]);
    bench.connect();
    let refusing = with(&format!(
        "{}{PEER}accept_push = false\n",
        instance("VI_1", 51, "")
    ));
    assert!(bench.engine.accepts_push());
    let actions = bench.handle(Event::Config(Box::new(refusing)));
    assert!(has_link(&actions).is_empty(), "it stays up");
    assert!(!bench.engine.accepts_push());
    let actions = bench.handle(Event::Config(Box::new(one(""))));
    assert_eq!(has_link(&actions), [false]);
}

#[test]
fn a_director_preempts_when_it_holds_the_peers_flows() {
    let mut bench = Bench::up(&one(""));
    let actions = bench.handle(Event::Config(Box::new(one_and_peer(""))));
    assert!(!may_preempt(policy(&actions, "VI_1")));
    bench.connect();
    assert!(may_preempt(policy(&bench.in_sync(true), "VI_1")));
    assert_eq!(policy(&bench.in_sync(true), "VI_1"), None);
    assert!(!may_preempt(policy(&bench.in_sync(false), "VI_1")));
    bench.in_sync(true);
    // With nobody to take them from, nothing is to be waited for.
    let actions = bench.handle(Event::Config(Box::new(one(""))));
    assert_eq!(policy(&actions, "VI_1"), None, "it may, as before");
    assert_eq!(bench.kinds_of("peer"), ["peer-up", "in-sync", "in-sync"]);
}

#[test]
fn the_later_word_holds() {
    let mut bench = bench();
    bench.connect();
    bench.now.wall_ms = 5000;
    bench.admin("mb1", AdminState::Drain).expect("known");
    let hear = |bench: &mut Bench, entry: AdminEntry| bench.hear(Message::Admin(vec![entry]));
    hear(&mut bench, entry("mb1", AdminState::Maint, 4999));
    assert_eq!(server(&bench, 0).admin, AdminState::Drain);
    hear(&mut bench, entry("mb1", AdminState::Maint, 5000));
    assert_eq!(
        server(&bench, 0).admin,
        AdminState::Drain,
        "the same moment"
    );
    let actions = hear(&mut bench, entry("mb1", AdminState::Maint, 5001));
    let view = server(&bench, 0);
    assert_eq!(
        (
            view.admin,
            view.admin_by.as_str(),
            view.admin_reason.as_str()
        ),
        (AdminState::Maint, "bob", "disk")
    );
    assert_eq!(admins(&actions), Vec::<Vec<AdminEntry>>::new(), "no echo");
    let told = bench.records.last().expect("recorded");
    assert_eq!(
        (told.subject.as_str(), told.text.as_str()),
        ("smtp/mb1", "drain -> maint by bob on lb2: disk")
    );
    assert_eq!(bench.pool(), [(2, 2560), (3, 1280)]);
    // Once more changes nothing, and is not told.
    let records = bench.records.len();
    hear(&mut bench, entry("mb1", AdminState::Maint, 6000));
    assert_eq!(bench.records.len(), records);
    // What is done last holds, though this clock is behind.
    let actions = bench.handle(Event::Change {
        id: 7,
        change: Change::Admin {
            server: target("mb1"),
            state: AdminState::Ready,
            reason: String::new(),
            guarded: false,
        },
        by: "alice".to_owned(),
    });
    let told = admins(&actions);
    assert_eq!(
        (told[0][0].admin, told[0][0].since_ms),
        (AdminState::Ready, 6001)
    );
}

#[test]
fn a_word_from_the_far_future_is_not_believed() {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    let mut bench = bench();
    bench.connect();
    let now = bench.now.wall_ms;
    for since_ms in [u64::MAX, now + DAY_MS + 1] {
        bench.hear(Message::Admin(vec![entry(
            "mb1",
            AdminState::Drain,
            since_ms,
        )]));
        assert_eq!(server(&bench, 0).admin, AdminState::Ready);
    }
    // A clock that is wrong by less: what is said here afterwards is later all the same.
    bench.hear(Message::Admin(vec![entry(
        "mb1",
        AdminState::Drain,
        now + DAY_MS,
    )]));
    assert_eq!(server(&bench, 0).admin, AdminState::Drain);
    bench.admin("mb1", AdminState::Ready).expect("known");
    assert_eq!(server(&bench, 0).admin, AdminState::Ready);
    let changed = bench.saved.expect("saved").changed["smtp/mb1"];
    assert_eq!(changed, now + DAY_MS + 1);
}

#[test]
fn weights_count_against_the_same_configured_one() {
    let weight = |weight, configured, since_ms| AdminEntry {
        weight,
        configured,
        ..entry("mb3", AdminState::Ready, since_ms)
    };
    let mut bench = bench();
    bench.connect();
    let mut hear = |entry: AdminEntry| {
        bench.hear(Message::Admin(vec![entry]));
        server(&bench, 2).weight
    };
    assert_eq!(hear(weight(Some(2), Some(5), 1)), 2);
    assert_eq!(hear(weight(Some(3), Some(10), 2)), 2, "of another file");
    assert_eq!(hear(weight(None, Some(10), 3)), 5, "as configured here");
    assert_eq!(hear(weight(Some(9999), Some(5), 4)), 256);
    assert_eq!(hear(weight(Some(7), None, 5)), 7, "of an older build");
}

#[test]
fn servers_that_are_not_here_are_no_matter() {
    let mut bench = bench();
    bench.connect();
    let elsewhere = AdminEntry {
        service: "imap".to_owned(),
        ..entry("mb1", AdminState::Drain, 1)
    };
    let entries = vec![
        entry("mb9", AdminState::Drain, 1),
        elsewhere,
        entry("mb2", AdminState::Drain, 1),
    ];
    bench.hear(Message::Admin(entries));
    let states: Vec<_> = (0..3).map(|at| server(&bench, at).admin).collect();
    assert_eq!(
        states,
        [AdminState::Ready, AdminState::Drain, AdminState::Ready]
    );
}

#[test]
fn what_operators_want_is_told_on_connection_and_on_change() {
    let mut bench = bench();
    let nothing: [Vec<AdminEntry>; 0] = [];
    assert_eq!(admins(&bench.connect()), nothing, "nobody wants anything");
    let change = |state| Event::Change {
        id: 7,
        change: Change::Admin {
            server: target("mb1"),
            state,
            reason: "disk".to_owned(),
            guarded: false,
        },
        by: "bob".to_owned(),
    };
    let now_ms = bench.now.wall_ms;
    let expected = entry("mb1", AdminState::Drain, now_ms);
    let actions = bench.handle(change(AdminState::Drain));
    assert_eq!(admins(&actions), [vec![expected.clone()]]);
    assert_eq!(
        admins(&bench.handle(change(AdminState::Drain))),
        Vec::<Vec<AdminEntry>>::new(),
        "it is so already"
    );
    // A weight of hand goes with what the file says.
    bench
        .change(Change::Weight {
            server: target("mb1"),
            weight: Weight::Absolute(3),
        })
        .expect("known");
    let expected = AdminEntry {
        weight: Some(3),
        since_ms: now_ms + 1,
        ..expected
    };
    bench.disconnect();
    assert_eq!(admins(&bench.connect()), [vec![expected]]);
    // That it is ready again is a wish as well.
    bench.handle(change(AdminState::Ready));
    let told = admins(&bench.connect());
    assert_eq!(told[0][0].admin, AdminState::Ready);
    // Without a peer, nobody is told.
    let mut alone = Bench::backup(&one(""));
    assert_eq!(said(&alone.handle(change(AdminState::Drain))), []);
    assert!(alone.saved.expect("saved").changed.is_empty());
}

#[test]
fn times_of_changes_outlive_the_process() {
    let config = one_and_peer("");
    let mut before = Bench::backup(&config);
    before.now.wall_ms = 5000;
    before.admin("mb1", AdminState::Drain).expect("known");
    before.admin("mb1", AdminState::Ready).expect("known");
    let saved = before.saved.expect("saved");
    assert!(saved.servers.is_empty());
    assert_eq!(saved.changed["smtp/mb1"], 5001);

    let mut after = Bench::new(&Adopted::default(), saved, &config);
    after.handle(Event::Config(Box::new(config)));
    let told = admins(&after.connect());
    assert_eq!((told[0].len(), told[0][0].since_ms), (1, 5001));
    // The peer has missed it.
    after.hear(Message::Admin(vec![entry("mb1", AdminState::Drain, 5000)]));
    assert_eq!(server(&after, 0).admin, AdminState::Ready);
    after.hear(Message::Admin(vec![entry("mb1", AdminState::Drain, 5002)]));
    assert_eq!(server(&after, 0).admin, AdminState::Drain);
    let saved = after.saved.expect("saved");
    assert_eq!(saved.changed["smtp/mb1"], 5002);
    assert_eq!(saved.servers["smtp/mb1"].by, "bob");
}

#[test]
fn own_state_is_said_on_change_and_every_second() {
    let mut bench = bench();
    assert_eq!(statuses(&bench.pass(5000)), [], "to nobody");
    let first = statuses(&bench.connect());
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].config_hash, bench.engine.shared_hash);
    assert_eq!(first[0].sent_at_ms, bench.now.wall_ms);
    assert!(!first[0].in_sync);
    let expected = crate::peer::RoleOf {
        address: router_view(Role::Backup).source.expect("given"),
        ..role(Role::Backup, 100)
    };
    assert_eq!(first[0].roles, [expected]);
    assert_eq!(statuses(&bench.pass(0)), []);
    assert_eq!(statuses(&bench.pass(899)), []);
    assert_eq!(statuses(&bench.pass(1)).len(), 1);
    assert!(statuses(&bench.in_sync(true))[0].in_sync);
    let actions = bench.turned("VI_1", Role::Backup, Role::Active, silence());
    assert_eq!(statuses(&actions)[0].roles[0].role, Role::Active);
    let vip = IpAddr::from([192, 0, 2, 100]);
    let actions = bench.handle(Event::Addresses([vip].into()));
    assert_eq!(statuses(&actions)[0].owned, [vip]);
    let leaving = crate::vrrp::view::RouterView {
        is_leaving: true,
        ..router_view(Role::Active)
    };
    assert!(statuses(&bench.view("VI_1", leaving))[0].roles[0].leaving);
    bench.disconnect();
    assert_eq!(statuses(&bench.pass(5000)), []);
    assert_eq!(
        statuses(&bench.connect()).len(),
        1,
        "a new one knows nothing"
    );
}

#[test]
fn carried_vips_are_told_when_they_change() {
    let vip = IpAddr::from([192, 0, 2, 100]);
    let mut bench = bench();
    let addresses = |more: &[IpAddr]| {
        let own = IpAddr::from([192, 0, 2, 10]);
        Event::Addresses(more.iter().copied().chain([own]).collect())
    };
    assert_eq!(
        carries(&bench.handle(addresses(&[]))),
        Vec::<Vec<IpAddr>>::new()
    );
    assert_eq!(carries(&bench.handle(addresses(&[vip]))), [[vip]]);
    let other = IpAddr::from([192, 0, 2, 77]);
    assert_eq!(
        carries(&bench.handle(addresses(&[vip, other]))),
        Vec::<Vec<IpAddr>>::new(),
        "of no service"
    );
    assert_eq!(carries(&bench.connect()), Vec::<Vec<IpAddr>>::new());
    assert_eq!(carries(&bench.handle(addresses(&[]))), [NO_VIPS]);
}

#[test]
fn a_peer_with_another_configuration_is_an_alarm() {
    let mut bench = bench();
    bench.connect();
    bench.in_sync(true);
    bench.peer_is(role(Role::Active, 100));
    bench.pass(60_000);
    assert_eq!(bench.alarms(), Vec::<String>::new());
    let status = Status {
        config_hash: "0123456789ab".to_owned(),
        ..bench.status(Vec::new())
    };
    bench.hear(Message::Status(status));
    assert_eq!(bench.alarms(), ["the peer has another configuration"]);
    let peer = bench.snapshot().peer.expect("configured");
    assert_eq!(peer.peer_config_hash.as_deref(), Some("0123456789ab"));
    bench.disconnect();
    assert_eq!(bench.alarms(), Vec::<String>::new(), "nobody says it now");
}

#[test]
fn a_peer_that_is_not_there_is_an_alarm_after_10_s() {
    let mut bench = bench();
    bench.pass(9999);
    assert_eq!(bench.alarms(), Vec::<String>::new());
    bench.pass(1);
    assert_eq!(
        bench.alarms(),
        [
            "no connection to the peer 192.0.2.11:8405; sessions would be lost if this director failed"
        ]
    );
    let trouble = || Event::Peer(PeerEvent::Trouble("connection refused".to_owned()));
    bench.handle(trouble());
    bench.handle(trouble());
    assert!(bench.warns("192.0.2.11:8405: connection refused; sessions"));
    bench.connect();
    assert_eq!(bench.alarms(), Vec::<String>::new());
    bench.disconnect();
    bench.pass(9999);
    assert_eq!(bench.alarms(), Vec::<String>::new());
    bench.pass(1);
    assert!(bench.warns("192.0.2.11:8405: the connection was closed; sessions"));
    assert_eq!(
        bench.kinds_of("peer"),
        ["peer-trouble", "peer-up", "peer-down"],
        "each is said once"
    );
    // A stranger's mistake while the link is up is no reason for what comes later.
    bench.connect();
    bench.handle(Event::Peer(PeerEvent::Trouble(
        "the handshake was refused: it has another key".to_owned(),
    )));
    bench.pass(60_000);
    bench.disconnect();
    assert_eq!(bench.alarms(), Vec::<String>::new());
}

#[test]
fn what_does_not_pass_by_itself_is_an_alarm_at_once() {
    let mut bench = bench();
    let mut step = |why: &str| {
        bench.handle(Event::Peer(PeerEvent::Trouble(why.to_owned())));
        let alarms = bench.snapshot().alarms;
        let alarm = alarms
            .into_iter()
            .find(|alarm| alarm.text.contains("no connection"));
        alarm.map(|alarm| alarm.next)
    };
    for (why, expected) in [
        (
            "192.0.2.11 was refused: it has another key",
            "same key file",
        ),
        (
            "no link to the peer: cannot read the key in /k: No such file or directory",
            "peer-key",
        ),
        (
            "the peer cannot connect to us: cannot listen on 192.0.2.10:8405: Cannot assign requested address",
            "`listen`",
        ),
    ] {
        let next = step(why).expect("an alarm");
        assert!(next.contains(expected), "{why}: {next}");
    }
    let refused =
        "the peer cannot be reached: cannot connect to 192.0.2.11:8405: Connection refused";
    assert_eq!(step(refused), None, "it may only start");
    bench.pass(10_000);
    assert!(bench.warns("Connection refused; sessions"));
}

#[test]
fn flows_that_do_not_get_across_are_alarms() {
    let mut bench = bench();
    bench.connect();
    bench.peer_is(role(Role::Active, 100));
    bench.pass(9999);
    assert_eq!(bench.alarms(), Vec::<String>::new());
    bench.pass(1);
    assert!(bench.warns("flows of the two directors are not in sync yet"));
    bench.in_sync(true);
    assert_eq!(bench.alarms(), Vec::<String>::new());
    let status = Status {
        in_sync: false,
        ..bench.status(Vec::new())
    };
    bench.hear(Message::Status(status));
    assert!(bench.warns("flows of the two directors are not in sync yet"));
    let report = crate::peer::SyncReport {
        in_sync: true,
        peer_unplaced: 3,
        error: Some("no map".to_owned()),
        ..Default::default()
    };
    bench.handle(Event::Peer(PeerEvent::Report(Box::new(report))));
    assert!(bench.warns("the peer cannot place 3 flows of this director"));
    assert!(bench.warns("flow sync: no map"));
}

#[test]
fn there_is_a_peer_where_it_is_connected() {
    let bench = Bench::backup(&one(""));
    assert_eq!(
        bench.engine.has_peer(),
        Err("no [peer] is configured".to_owned())
    );
    assert_eq!(bench.snapshot().peer, None);
    let mut bench = self::bench();
    assert_eq!(
        bench.engine.has_peer(),
        Err("no connection to the peer 192.0.2.11:8405".to_owned())
    );
    bench.connect();
    assert_eq!(bench.engine.has_peer(), Ok(()));
}
