//! Flows that fall silent, and what becomes of the packets that come all the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mb_lb_common::{FlowState, HalfKind, Reason};
use mb_lb_ctl::config::{FlowTimeouts, Scheduler};
use mb_lb_tests::wait_until;

use crate::frame::{ACK, FIN, Frame, RST, SYN};
use crate::rig::{Family, Rig, TX, all_timeouts, server_at};

const PORT: u16 = 25;
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(20);

fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.service(PORT, Scheduler::Leastconn, &[(0, 1), (1, 1), (2, 1)]);
    rig.apply();
    rig
}

fn segment(family: Family, port: u16, flags: u8) -> Vec<u8> {
    let seq = if flags & SYN == 0 { 1001 } else { 1000 };
    Frame::new(family, port, PORT, flags).seq(seq).bytes()
}

/// Opens a connection; its server.
fn open(rig: &mut Rig, family: Family, port: u16) -> u32 {
    let server = rig.server_of(&segment(family, port, SYN));
    assert_eq!(rig.server_of(&segment(family, port, ACK)), server);
    server
}

fn wait_for_flows(rig: &mut Rig, expected: u64) {
    wait_until("flows to expire", DEADLINE, || match rig.tick().flows {
        n if n == expected => Ok(()),
        n => Err(format!("{n} flows")),
    });
}

/// Ends of connections, by number: established, closing, reset.
const ENDS: [u8; 3] = [0, FIN | ACK, RST];

#[test]
fn each_state_has_its_own_timeout() {
    let states = [FlowState::Established, FlowState::Closing, FlowState::Reset];
    let mut rig = rig();
    for (which, gone) in states.into_iter().enumerate() {
        rig.timeouts(all_timeouts(LONG));
        for family in Family::BOTH {
            for port in 1..=30 {
                open(&mut rig, family, port);
                let end = ENDS[usize::from(port) % 3];
                if end != 0 {
                    rig.run(&segment(family, port, end));
                }
            }
        }
        assert_eq!(rig.tick().flows, 60);
        let mut timeouts = all_timeouts(LONG);
        match gone {
            FlowState::Established => timeouts.established = SHORT,
            FlowState::Closing => timeouts.closing = SHORT,
            _ => timeouts.reset = SHORT,
        }
        rig.timeouts(timeouts);
        wait_for_flows(&mut rig, 40);
        let flows = rig.plane.flows(usize::MAX).unwrap();
        for (state, index) in states.into_iter().zip(0..) {
            let found = flows.iter().filter(|flow| flow.state == state).count();
            assert_eq!(found, if index == which { 0 } else { 20 }, "{state:?}");
        }
        let active: i64 = (0..3).map(|server| rig.active(server)).sum();
        assert_eq!(active, if which == 0 { 0 } else { 20 });
        rig.audit();
        rig.timeouts(all_timeouts(SHORT));
        wait_for_flows(&mut rig, 0);
    }
    // The established ones of all rounds expired, nothing else did.
    let report = rig.tick();
    let expired: u64 = report.servers.values().map(|s| s.expired).sum();
    assert_eq!(expired, 60);
    for server in report.servers.values() {
        assert_eq!(
            (server.active, server.opened),
            (0, server.closed + server.expired)
        );
    }
}

#[test]
fn a_flow_that_speaks_does_not_expire() {
    let mut rig = rig();
    rig.timeouts(FlowTimeouts {
        established: Duration::from_secs(1),
        ..FlowTimeouts::default()
    });
    for family in Family::BOTH {
        open(&mut rig, family, 1);
        open(&mut rig, family, 2);
    }
    rig.settle();
    wait_until("the silent flows to expire", DEADLINE, || {
        for family in Family::BOTH {
            let ran = rig.send(&segment(family, 1, ACK));
            assert_eq!(ran.reason, Reason::Established);
        }
        match rig.tick().flows {
            2 => Ok(()),
            n => Err(format!("{n} flows")),
        }
    });
    rig.audit();
}

/// A SYN or a RST that is not believed may be anybody's: it keeps nothing alive.
#[test]
fn what_is_not_believed_keeps_no_flow() {
    let mut rig = rig();
    rig.timeouts(all_timeouts(SHORT));
    for family in Family::BOTH {
        open(&mut rig, family, 1);
        let far = |flags| Frame::new(family, 1, PORT, flags).seq(1 << 30).bytes();
        wait_until("the flow to expire", DEADLINE, || {
            let rst = rig.run(&far(RST)).0;
            let syn = rig.run(&segment(family, 1, SYN)).0;
            assert_eq!((rst, syn), (TX, TX));
            match rig.tick().flows {
                0 => Ok(()),
                n => Err(format!("{n} flows")),
            }
        });
    }
    rig.audit();
}

/// After expiry a connection is still its server's, whatever the consistent hash would say.
#[test]
fn stragglers_go_where_they_went() {
    let mut rig = rig();
    rig.timeouts(all_timeouts(SHORT));
    let mut servers = BTreeMap::new();
    for family in Family::BOTH {
        for port in 1..=60 {
            servers.insert((family, port), open(&mut rig, family, port));
            let end = ENDS[usize::from(port) % 3];
            if end != 0 {
                rig.run(&segment(family, port, end));
            }
        }
    }
    wait_for_flows(&mut rig, 0);
    rig.settle();
    rig.timeouts(all_timeouts(LONG));
    for (&(family, port), &server) in &servers {
        let ran = rig.send(&segment(family, port, ACK));
        let expected: &[Reason] = match ENDS[usize::from(port) % 3] {
            // It has been silent for longer than anybody is, or it ended: it is not counted.
            flags if flags & FIN != 0 => &[Reason::Remembered],
            // It speaks although it expired, or although somebody has reset it: counted again after a second.
            _ => &[Reason::Recovered, Reason::Promoted],
        };
        assert!(expected.contains(&ran.reason), "{port}: {:?}", ran.reason);
        assert_eq!(server_at(&ran.out), server, "{family:?} {port}");
    }
    let kinds = rig.plane.halves(usize::MAX).unwrap();
    assert!(kinds.iter().any(|half| half.kind == HalfKind::Remembered));
    rig.audit();
    // Nothing keeps a new connection from the same ports from being scheduled.
    for family in Family::BOTH {
        let ran = rig.send(&Frame::new(family, 1, PORT, SYN).seq(70_000).bytes());
        assert_eq!(ran.action, TX);
    }
}

/// Sends a segment until it is promoted. No sooner than a second after it first came.
fn promoted_after_a_second(rig: &mut Rig, family: Family, port: u16, server: u32) {
    let before_first = Instant::now();
    let first = rig.send(&segment(family, port, ACK));
    assert_eq!(first.reason, Reason::Recovered);
    assert_eq!(server_at(&first.out), server);
    wait_until("promotion", DEADLINE, || {
        let ran = rig.send(&segment(family, port, ACK));
        assert_eq!(server_at(&ran.out), server);
        match ran.reason {
            Reason::Promoted => Ok(()),
            Reason::Recovered => Err("recovered"),
            other => panic!("{other:?}"),
        }
    });
    // A jiffy is at most 10 ms, and one may have been nearly over at the first segment.
    let elapsed = before_first.elapsed();
    assert!(elapsed >= Duration::from_millis(980), "after {elapsed:?}");
}

#[test]
fn a_flow_without_state_is_counted_after_a_second() {
    let mut rig = rig();
    for family in Family::BOTH {
        // Always the same choice, also on a director that has never seen anything.
        let server = rig.server_of(&segment(family, 7, RST));
        rig.settle();
        promoted_after_a_second(&mut rig, family, 7, server);
        assert_eq!(rig.active(server), 1);
        let ran = rig.send(&segment(family, 7, ACK));
        assert_eq!(ran.reason, Reason::Established);
        let ran = rig.send(&segment(family, 7, FIN | ACK));
        assert_eq!(ran.reason, Reason::FinSeen);
        assert_eq!(rig.active(server), 0);
        rig.audit();
    }
}

#[test]
fn a_flow_without_state_that_ends_at_once_is_closing() {
    let mut rig = rig();
    for family in Family::BOTH {
        let server = rig.server_of(&segment(family, 8, ACK));
        rig.settle();
        wait_until("promotion", DEADLINE, || {
            match rig.send(&segment(family, 8, FIN | ACK)).reason {
                Reason::FinSeen => Ok(()),
                Reason::Recovered => Err("recovered"),
                other => panic!("{other:?}"),
            }
        });
        let count = rig.count(server);
        assert_eq!(count.active, 0);
        assert_eq!(count.opened, count.closed);
        rig.audit();
    }
}
