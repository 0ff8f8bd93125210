//! What the data plane tells of its flows, and what it makes of the peer's.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mb_lb_common::Reason;
use mb_lb_ctl::config::Scheduler;
use mb_lb_ctl::dataplane::{Applied, FlowSync, Removed, Seen, Walk};
use mb_lb_ctl::peer::{FlowChange, FlowKind};
use mb_lb_tests::wait_until;

use crate::frame::{ACK, FIN, Frame, PSH, RST, SYN, client, vip};
use crate::rig::{FAILED, Family, Rig, TX, all_timeouts, server_at};

const PORT: u16 = 25;
const LONG: Duration = Duration::from_secs(3600);
const NONE: Duration = Duration::ZERO;
const DEADLINE: Duration = Duration::from_secs(20);

fn rig(room: u32) -> (Rig, FlowSync) {
    let mut rig = Rig::with_room(room);
    rig.service(PORT, Scheduler::Leastconn, &[(0, 1), (1, 1), (2, 1)]);
    rig.apply();
    let mut sync = rig.plane.flow_sync().expect("the maps are there");
    sync.listen(true).expect("settings");
    (rig, sync)
}

/// As the rig gives servers their addresses.
fn address(server: u32) -> IpAddr {
    let [_, _, high, low] = server.to_be_bytes();
    [10, 77, high, low].into()
}

fn segment(family: Family, port: u16, flags: u8, seq: u32) -> Vec<u8> {
    Frame::new(family, port, PORT, flags).seq(seq).bytes()
}

fn open(rig: &mut Rig, family: Family, port: u16) -> u32 {
    let server = rig.server_of(&segment(family, port, SYN, 1000));
    assert_eq!(rig.server_of(&segment(family, port, ACK, 1001)), server);
    server
}

fn change(kind: FlowKind, family: Family, port: u16, server: u32) -> FlowChange {
    FlowChange {
        kind,
        client: SocketAddr::new(client(family, 10), port),
        vip: SocketAddr::new(vip(family), PORT),
        server: address(server),
        idle_ms: 0,
        age_ms: 0,
    }
}

fn told(sync: &mut FlowSync, carried: bool) -> Vec<FlowChange> {
    sync.changes(usize::MAX, |_| carried)
        .expect("the ring buffer")
}

fn apply(sync: &mut FlowSync, change: FlowChange) -> Applied {
    sync.apply(&change, NONE, false)
        .expect("the kernel runs it")
}

#[test]
fn every_change_of_a_flow_is_told_once_and_in_order() {
    let (mut rig, mut sync) = rig(4096);
    for family in Family::BOTH {
        let servers: Vec<u32> = (1..=4).map(|port| open(&mut rig, family, port)).collect();
        rig.run(&segment(family, 1, FIN | ACK, 1001));
        rig.run(&segment(family, 1, FIN | ACK, 1001));
        rig.run(&segment(family, 2, RST, 1001));
        // Closing, and its ports are used again.
        let again = open(&mut rig, family, 1);
        // Another client's reset is believed by nobody.
        rig.run(&segment(family, 3, RST, 0x7000_0000));
        // Its server fails.
        rig.mark(servers[3], FAILED);
        rig.apply();
        rig.run(&segment(family, 4, ACK | PSH, 1001));
        rig.mark(servers[3], crate::rig::READY);
        rig.apply();
        let of = |kind, port: u16, server| change(kind, family, port, server);
        let expected = [
            of(FlowKind::Open, 1, servers[0]),
            of(FlowKind::Open, 2, servers[1]),
            of(FlowKind::Open, 3, servers[2]),
            of(FlowKind::Open, 4, servers[3]),
            of(FlowKind::Close, 1, servers[0]),
            of(FlowKind::Reset, 2, servers[1]),
            of(FlowKind::Gone, 1, servers[0]),
            of(FlowKind::Open, 1, again),
            of(FlowKind::Reset, 4, servers[3]),
        ];
        assert_eq!(told(&mut sync, true), expected, "{family:?}");
    }
    rig.audit();
}

#[test]
fn nothing_is_told_where_nobody_listens_and_a_full_buffer_is_counted() {
    let (mut rig, mut sync) = rig(200_000);
    sync.listen(false).expect("settings");
    open(&mut rig, Family::V4, 1);
    assert_eq!(told(&mut sync, true), []);
    sync.listen(true).expect("settings");
    let lost = sync.lost().expect("the table");
    // More than the buffer holds.
    let room = u64::from(mb_lb_common::EVENT_BYTES) / 64;
    let mut opened = 0;
    for n in 0.. {
        let from = client(Family::V4, 1000 + n / 60_000);
        let port = u16::try_from(n % 60_000).expect("a port") + 1;
        for (flags, seq) in [(SYN, 1000), (ACK, 1001)] {
            let mut frame = Frame::new(Family::V4, port, PORT, flags).seq(seq);
            frame.from = SocketAddr::new(from, port);
            rig.run(&frame.bytes());
        }
        opened += 1;
        if opened == room + 1000 {
            break;
        }
    }
    let heard = told(&mut sync, true).len() as u64;
    let lost = sync.lost().expect("the table") - lost;
    assert!(lost > 0);
    assert_eq!(heard + lost, opened);
    // And it goes on.
    rig.run(&segment(Family::V4, 61_000, SYN, 1000));
    rig.run(&segment(Family::V4, 61_000, ACK, 1001));
    assert_eq!(told(&mut sync, true).len(), 1);
}

#[test]
fn who_falls_silent_is_told_of_only_by_the_director_that_carries_it() {
    for carried in [true, false] {
        let (mut rig, mut sync) = rig(4096);
        rig.timeouts(all_timeouts(LONG));
        let server = open(&mut rig, Family::V4, 1);
        assert_eq!(told(&mut sync, carried).len(), 1);
        rig.timeouts(all_timeouts(Duration::from_millis(20)));
        wait_until("the flow to expire", DEADLINE, || match rig.tick().flows {
            0 => Ok(()),
            n => Err(format!("{n} flows")),
        });
        let expected = match carried {
            true => vec![change(FlowKind::Gone, Family::V4, 1, server)],
            false => Vec::new(),
        };
        assert_eq!(told(&mut sync, carried), expected);
    }
}

#[test]
fn the_peers_flows_are_counted_like_our_own_and_their_packets_find_them() {
    let (mut rig, mut sync) = rig(4096);
    for family in Family::BOTH {
        let base = rig.active(2);
        let opened = change(FlowKind::Open, family, 7, 2);
        assert_eq!(apply(&mut sync, opened), Applied::Done);
        assert_eq!(apply(&mut sync, opened), Applied::Unchanged);
        assert_eq!(rig.active(2), base + 1);
        // What the peer told is not told back.
        assert_eq!(told(&mut sync, true), []);
        // Sequence numbers are not known here: the first packet says.
        let ran = rig.send(&segment(family, 7, ACK | PSH, 0x5555_0000));
        assert_eq!((ran.reason, ran.action), (Reason::Established, TX));
        assert_eq!(server_at(&ran.out), 2);
        let far = rig.send(&segment(family, 7, RST, 0x1111_0000));
        assert_eq!(far.reason, Reason::RstIgnored);
        // A connection that ends before it has said anything here is believed.
        assert_eq!(
            apply(&mut sync, change(FlowKind::Open, family, 8, 1)),
            Applied::Done
        );
        let fin = rig.send(&segment(family, 8, FIN | ACK, 0x2222_0000));
        assert_eq!(fin.reason, Reason::FinSeen);
        assert_eq!(
            told(&mut sync, true),
            [change(FlowKind::Close, family, 8, 1)]
        );
        rig.audit();
    }
}

#[test]
fn ends_that_the_peer_tells_take_the_count_down_once() {
    let (mut rig, mut sync) = rig(4096);
    for family in Family::BOTH {
        for kind in [FlowKind::Close, FlowKind::Reset, FlowKind::Gone] {
            let before = rig.active(0);
            assert_eq!(
                apply(&mut sync, change(FlowKind::Open, family, 9, 0)),
                Applied::Done
            );
            // Of another server: an earlier connection.
            assert_eq!(
                apply(&mut sync, change(kind, family, 9, 1)),
                Applied::Unchanged
            );
            assert_eq!(rig.active(0), before + 1);
            assert_eq!(apply(&mut sync, change(kind, family, 9, 0)), Applied::Done);
            assert_eq!(rig.active(0), before);
            let again = apply(&mut sync, change(kind, family, 9, 0));
            // Closing and reset flows are still there, and not counted.
            let removes = kind == FlowKind::Gone;
            assert_eq!(again, Applied::Unchanged, "{kind:?} {removes}");
            assert_eq!(rig.active(0), before);
            // Of one that was never there.
            assert_eq!(
                apply(&mut sync, change(kind, family, 10, 0)),
                Applied::Unchanged
            );
            // The ports are used again, on another server.
            assert_eq!(
                apply(&mut sync, change(FlowKind::Open, family, 9, 1)),
                Applied::Done
            );
            assert_eq!(
                apply(&mut sync, change(FlowKind::Open, family, 9, 2)),
                Applied::Done
            );
            assert_eq!((rig.active(0), rig.active(1)), (before, 0));
            assert_eq!(
                apply(&mut sync, change(FlowKind::Gone, family, 9, 2)),
                Applied::Done
            );
            assert_eq!(rig.active(2), 0);
        }
    }
    assert_eq!(told(&mut sync, true), []);
    rig.audit();
}

#[test]
fn what_has_no_place_here_is_said_and_leaves_nothing() {
    let (mut rig, mut sync) = rig(8);
    let elsewhere = FlowChange {
        vip: SocketAddr::new(vip(Family::V4), 26),
        ..change(FlowKind::Open, Family::V4, 1, 0)
    };
    assert_eq!(apply(&mut sync, elsewhere), Applied::Unplaced);
    assert_eq!(
        apply(&mut sync, change(FlowKind::Open, Family::V4, 1, 9)),
        Applied::Unplaced
    );
    for port in 1..=8 {
        let change = change(FlowKind::Open, Family::V4, port, u32::from(port) % 3);
        assert_eq!(apply(&mut sync, change), Applied::Done);
    }
    assert_eq!(
        apply(&mut sync, change(FlowKind::Open, Family::V4, 9, 0)),
        Applied::Full
    );
    assert_eq!(rig.tick().flows, 8);
    rig.audit();
    // A server that has another index by now: found again, and the old one's flows are told apart by address.
    rig.desired.servers.remove(&0);
    rig.service(PORT, Scheduler::Leastconn, &[(1, 1), (2, 1)]);
    rig.apply();
    assert_eq!(
        apply(&mut sync, change(FlowKind::Gone, Family::V4, 3, 0)),
        Applied::Unplaced
    );
}

#[test]
fn a_walk_finds_every_flow_of_its_vips_and_the_rest_can_be_removed() {
    let (mut rig, mut sync) = rig(20_000);
    const FLOWS: u16 = 9000;
    for family in Family::BOTH {
        for port in 1..=FLOWS {
            let server = u32::from(port) % 3;
            let opened = change(FlowKind::Open, family, port, server);
            let slack = Duration::from_secs(600);
            assert_eq!(
                sync.apply(&opened, slack, false)
                    .expect("the kernel runs it"),
                Applied::Done
            );
        }
    }
    // Packets of these came here just now.
    let live: Vec<u32> = (FLOWS + 1..=FLOWS + 5)
        .map(|port| open(&mut rig, Family::V4, port))
        .collect();
    // Not established any more.
    apply(&mut sync, change(FlowKind::Close, Family::V4, 3, 0));
    let v4 = BTreeSet::from([vip(Family::V4)]);
    let mut walk = Walk::default();
    let (mut seen, mut found) = (Seen::default(), BTreeSet::new());
    while !walk.done() {
        for flow in sync.walk(&mut walk, &v4).expect("the table") {
            assert_eq!(flow.kind, FlowKind::Open);
            let port = flow.client.port();
            let server = match live.get(usize::from(port).wrapping_sub(usize::from(FLOWS) + 1)) {
                Some(&server) => server,
                None => u32::from(port) % 3,
            };
            assert_eq!(flow.server, address(server));
            found.insert(flow.client);
            if flow.client.port() % 2 == 0 && flow.client.port() <= FLOWS {
                sync.note(&mut seen, &flow);
            }
        }
    }
    assert_eq!(found.len(), usize::from(FLOWS) - 1 + live.len());
    let (mut walk, mut removed) = (Walk::default(), Removed::default());
    while !walk.done() {
        let step = sync
            .remove_others(&mut walk, &v4, &seen)
            .expect("the table");
        removed.removed += step.removed;
        removed.kept += step.kept;
    }
    let expected = Removed {
        removed: u64::from(FLOWS) / 2 - 1,
        kept: live.len() as u64,
    };
    assert_eq!(removed, expected);
    let counts: i64 = (0..3).map(|server| rig.active(server)).sum();
    assert_eq!(
        counts,
        i64::from(FLOWS) + i64::from(FLOWS) / 2 + live.len() as i64
    );
    rig.tick();
}

#[test]
fn idle_flows_of_the_peer_live_as_long_as_their_clients_last_packet_allows_and_some() {
    let (mut rig, mut sync) = rig(4096);
    let idle = |port, idle_ms| FlowChange {
        idle_ms,
        ..change(FlowKind::Open, Family::V6, port, 0)
    };
    rig.timeouts(all_timeouts(LONG));
    // Silent for an hour and more; with slack for the next word of the peer's.
    apply(&mut sync, idle(1, 3_700_000));
    sync.apply(&idle(2, 3_700_000), Duration::from_secs(600), false)
        .expect("the kernel runs it");
    apply(&mut sync, idle(3, 3_000_000));
    wait_until("the first to expire", DEADLINE, || match rig.tick().flows {
        2 => Ok(()),
        n => Err(format!("{n} flows")),
    });
    assert_eq!(rig.active(0), 2);
    // The next word keeps it alive, an older one does not make it older.
    apply(&mut sync, idle(3, 10));
    apply(&mut sync, idle(3, 3_599_000));
    let vips = BTreeSet::from([vip(Family::V6)]);
    let mut walk = Walk::default();
    let mut flows = Vec::new();
    while !walk.done() {
        flows.extend(sync.walk(&mut walk, &vips).expect("the table"));
    }
    let third = flows
        .iter()
        .find(|flow| flow.client.port() == 3)
        .expect("there");
    assert!(third.idle_ms < 1_000_000, "{third:?}");
}

#[test]
fn of_a_vip_that_is_carried_here_the_peer_adds_only_what_is_not_known() {
    let (mut rig, mut sync) = rig(4096);
    for family in Family::BOTH {
        let late = |sync: &mut FlowSync, port, server| {
            let change = change(FlowKind::Open, family, port, server);
            sync.apply(&change, NONE, true).expect("the kernel runs it")
        };
        let server = open(&mut rig, family, 1);
        let other = (server + 1) % 3;
        assert_eq!(late(&mut sync, 1, other), Applied::Unchanged);
        rig.run(&segment(family, 1, FIN | ACK, 1001));
        // It has just ended here, whatever the peer still says.
        assert_eq!(late(&mut sync, 1, server), Applied::Unchanged);
        let before = rig.active(2);
        assert_eq!(late(&mut sync, 2, 2), Applied::Done);
        assert_eq!(late(&mut sync, 2, 2), Applied::Unchanged);
        assert_eq!(rig.active(2), before + 1);
        rig.audit();
    }
}
