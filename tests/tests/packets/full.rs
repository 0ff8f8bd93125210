//! The flow table has no room left: nobody loses a flow, no count moves, and it is over when it is over.

use std::time::Duration;

use mb_lb_common::Reason;
use mb_lb_ctl::config::{FlowTimeouts, Scheduler};
use mb_lb_tests::wait_until;

use crate::frame::{ACK, FIN, Frame, PSH, RST, SYN};
use crate::rig::{Family, Rig, TX, all_timeouts, server_at};

const PORT: u16 = 25;
const ROOM: u16 = 8;

fn send(rig: &mut Rig, family: Family, port: u16, flags: u8) -> (Reason, u32) {
    let seq = if flags & SYN == 0 { 1001 } else { 1000 };
    let ran = rig.send(&Frame::new(family, port, PORT, flags).seq(seq).bytes());
    assert_eq!(ran.action, TX);
    (ran.reason, server_at(&ran.out))
}

#[test]
fn a_full_table_loses_nothing() {
    for family in Family::BOTH {
        let mut rig = Rig::with_room(u32::from(ROOM));
        assert_eq!(rig.plane.max_flows(), u32::from(ROOM));
        let servers = [(0, 1), (1, 1), (2, 1)];
        rig.service(PORT, Scheduler::Leastconn, &servers);
        rig.apply();
        let open: Vec<u32> = (1..=ROOM)
            .map(|port| {
                let (_, server) = send(&mut rig, family, port, SYN);
                assert_eq!(
                    send(&mut rig, family, port, ACK),
                    (Reason::Promoted, server)
                );
                server
            })
            .collect();
        let counts = |rig: &Rig| [0, 1, 2].map(|server| rig.count(server));
        let before = counts(&rig);

        // One had its SYN before anybody knew.
        let (reason, early) = send(&mut rig, family, 100, SYN);
        assert_eq!(reason, Reason::Scheduled);
        for flags in [ACK, ACK | PSH, FIN | ACK] {
            assert_eq!(
                send(&mut rig, family, 100, flags),
                (Reason::TableFull, early)
            );
        }
        // The next ones have no state at all, and stay on their servers all the same.
        for port in 200..300 {
            let (reason, server) = send(&mut rig, family, port, SYN);
            assert_eq!(reason, Reason::TableFull, "{port}");
            for flags in [SYN, ACK, ACK | PSH, FIN | ACK, RST] {
                let (reason, again) = send(&mut rig, family, port, flags);
                let expected = if flags == SYN {
                    Reason::TableFull
                } else {
                    Reason::Recovered
                };
                assert_eq!((reason, again), (expected, server), "{port} {flags:#x}");
            }
        }
        assert_eq!(rig.tick().table_full, 3);
        for (port, &server) in (1..=ROOM).zip(&open) {
            assert_eq!(
                send(&mut rig, family, port, ACK),
                (Reason::Established, server)
            );
        }
        for (before, after) in before.into_iter().zip(counts(&rig)) {
            let moved = |count: mb_lb_common::ServerCount| {
                (count.active, count.opened, count.closed, count.expired)
            };
            assert_eq!(moved(before), moved(after));
        }
        rig.audit();

        // Room again.
        for port in 1..=ROOM {
            assert_eq!(send(&mut rig, family, port, FIN | ACK).0, Reason::FinSeen);
        }
        rig.timeouts(all_timeouts(Duration::from_millis(20)));
        wait_until("room", Duration::from_secs(20), || match rig.tick().flows {
            0 => Ok(()),
            n => Err(format!("{n} flows")),
        });
        rig.timeouts(FlowTimeouts::default());
        // The one that waited for it is counted now, by its own server.
        assert_eq!(send(&mut rig, family, 100, ACK), (Reason::Promoted, early));
        assert_eq!(rig.active(early), 1);
        wait_until(
            "SYNs to be remembered again",
            Duration::from_secs(20),
            || match send(&mut rig, family, 400, SYN).0 {
                Reason::Scheduled => Ok(()),
                Reason::TableFull => Err("table full"),
                other => panic!("{other:?}"),
            },
        );
        assert_eq!(send(&mut rig, family, 400, ACK).0, Reason::Promoted);
        rig.audit();
    }
}

/// A flow that was opened without state is counted once there is room.
#[test]
fn what_came_while_it_was_full_is_counted_later() {
    let family = Family::V4;
    let mut rig = Rig::with_room(1);
    rig.service(PORT, Scheduler::Leastconn, &[(0, 1), (1, 1), (2, 1)]);
    rig.apply();
    for flags in [SYN, ACK] {
        send(&mut rig, family, 1, flags);
        send(&mut rig, family, 2, flags);
    }
    let (reason, server) = send(&mut rig, family, 3, SYN);
    assert_eq!(reason, Reason::TableFull);
    send(&mut rig, family, 1, FIN | ACK);
    rig.timeouts(all_timeouts(Duration::from_millis(20)));
    wait_until("room", Duration::from_secs(20), || match rig.tick().flows {
        0 => Ok(()),
        n => Err(format!("{n} flows")),
    });
    rig.timeouts(FlowTimeouts::default());
    wait_until("promotion", Duration::from_secs(20), || {
        match send(&mut rig, family, 3, ACK) {
            (Reason::Promoted, to) if to == server => Ok(()),
            (Reason::Recovered, to) if to == server => Err("recovered"),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(rig.active(server), 1);
    rig.audit();
}
