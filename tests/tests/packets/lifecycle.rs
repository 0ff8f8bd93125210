//! What the operator and the checks do to servers, while connections are in every state.

use mb_lb_common::{Reason, SERVICE_REPLY_LOCAL, Server};
use mb_lb_ctl::config::Scheduler;

use crate::frame::{ACK, FIN, Frame, PSH, RST, SYN, forwarded, reset_for};
use crate::rig::{DRAIN, DROP, FAILED, Family, PASS, READY, Ran, Rig, TX, server_at};

const PORT: u16 = 25;
const OLD: u32 = 0;
const NEW: u32 = 1;

/// States that a connection can be in when something happens to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Established,
    Closing,
    Reset,
    Recovered,
}

const STATES: [State; 5] = [
    State::Pending,
    State::Established,
    State::Closing,
    State::Reset,
    State::Recovered,
];

fn port(state: State, copy: u16) -> u16 {
    100 * (1 + state as u16) + copy
}

fn segment(family: Family, port: u16, flags: u8) -> Frame {
    let seq = if flags & SYN == 0 { 1001 } else { 1000 };
    Frame::new(family, port, PORT, flags).seq(seq)
}

fn send(rig: &mut Rig, family: Family, port: u16, flags: u8) -> Ran {
    rig.send(&segment(family, port, flags).bytes())
}

/// A rig with connections of server [`OLD`]: `copies` in each state.
fn rig(family: Family, copies: u16) -> Rig {
    let mut rig = Rig::new();
    rig.service(PORT, Scheduler::Leastconn, &[(OLD, 1)]);
    rig.apply();
    for state in STATES {
        for copy in 0..copies {
            let port = port(state, copy);
            let flags: &[u8] = match state {
                State::Pending => &[SYN],
                State::Established => &[SYN, ACK],
                State::Closing => &[SYN, ACK, FIN | ACK],
                State::Reset => &[SYN, ACK, RST],
                State::Recovered => &[ACK],
            };
            for flags in flags {
                let ran = send(&mut rig, family, port, *flags);
                assert_eq!((ran.action, server_at(&ran.out)), (TX, OLD));
            }
        }
    }
    assert_eq!(rig.active(OLD), i64::from(copies));
    rig
}

/// Adds server [`NEW`], which takes all new flows from now on.
fn replace(rig: &mut Rig, flags_of_old: u8) {
    rig.mark(OLD, flags_of_old);
    let [id] = rig.desired.services.keys().copied().collect::<Vec<_>>()[..] else {
        panic!("one service");
    };
    rig.desired.servers.insert(NEW, crate::rig::server(NEW, id));
    rig.pool(PORT, Scheduler::Leastconn, &[(NEW, 1)]);
    rig.apply();
}

#[test]
fn a_drained_server_keeps_its_flows_and_gets_no_new_ones() {
    for family in Family::BOTH {
        let mut rig = rig(family, 4);
        replace(&mut rig, DRAIN);
        let expect = |rig: &mut Rig, port, flags, reason, server| {
            let ran = send(rig, family, port, flags);
            assert_eq!(ran.reason, reason, "{port} {flags:#x}");
            assert_eq!(ran.out, forwarded(&segment(family, port, flags), server));
        };
        expect(
            &mut rig,
            port(State::Established, 0),
            ACK | PSH,
            Reason::Established,
            OLD,
        );
        expect(&mut rig, port(State::Closing, 0), ACK, Reason::Closing, OLD);
        expect(&mut rig, port(State::Reset, 0), ACK, Reason::Closing, OLD);
        expect(
            &mut rig,
            port(State::Recovered, 0),
            ACK,
            Reason::Recovered,
            OLD,
        );
        // The server has the SYN already: it would be a pity to lose the connection.
        expect(
            &mut rig,
            port(State::Pending, 0),
            ACK,
            Reason::Promoted,
            OLD,
        );
        // But a SYN that has to be sent again goes where new flows go.
        expect(
            &mut rig,
            port(State::Pending, 1),
            SYN,
            Reason::Scheduled,
            NEW,
        );
        expect(
            &mut rig,
            port(State::Pending, 1),
            SYN,
            Reason::SynRetransmitted,
            NEW,
        );
        expect(
            &mut rig,
            port(State::Pending, 1),
            ACK,
            Reason::Promoted,
            NEW,
        );
        // So do the next connections of known ports.
        expect(
            &mut rig,
            port(State::Closing, 1),
            SYN,
            Reason::Scheduled,
            NEW,
        );
        expect(&mut rig, port(State::Reset, 1), SYN, Reason::Scheduled, NEW);
        expect(
            &mut rig,
            port(State::Recovered, 1),
            SYN,
            Reason::Scheduled,
            NEW,
        );
        expect(&mut rig, 9, SYN, Reason::Scheduled, NEW);
        assert_eq!((rig.active(OLD), rig.active(NEW)), (5, 1));
        // Two of its four SYNs are still out.
        assert_eq!(rig.pending(OLD), 2);
        // What is left ends in the usual way.
        for copy in 0..4 {
            expect(
                &mut rig,
                port(State::Established, copy),
                FIN | ACK,
                Reason::FinSeen,
                OLD,
            );
        }
        expect(&mut rig, port(State::Pending, 0), RST, Reason::RstSeen, OLD);
        assert_eq!(rig.active(OLD), 0);
        rig.audit();
        // Ready again: it gets new flows.
        rig.mark(OLD, READY);
        rig.pool(PORT, Scheduler::Leastconn, &[(OLD, 1)]);
        rig.apply();
        expect(&mut rig, 10, SYN, Reason::Scheduled, OLD);
        rig.audit();
    }
}

#[test]
fn flows_of_a_failed_server_are_reset_in_every_state() {
    for family in Family::BOTH {
        for flags in [ACK | PSH, FIN | ACK, 0, SYN | ACK] {
            let mut rig = rig(family, 3);
            replace(&mut rig, FAILED);
            for state in STATES {
                let frame = segment(family, port(state, 0), flags);
                let ran = rig.send(&frame.bytes());
                assert_eq!(ran.reason, Reason::ServerDownReset, "{state:?} {flags:#x}");
                assert_eq!((ran.action, ran.out), (TX, reset_for(&frame)), "{state:?}");
                // A RST gets no answer, whatever it belongs to.
                let ran = send(&mut rig, family, port(state, 1), RST);
                assert_eq!(
                    (ran.reason, ran.action),
                    (Reason::RstUnplaced, DROP),
                    "{state:?}"
                );
                // The client tries again at once, and is served.
                for copy in 0..3 {
                    let ran = send(&mut rig, family, port(state, copy), SYN);
                    assert_eq!(ran.reason, Reason::Scheduled, "{state:?} {copy}");
                    assert_eq!(server_at(&ran.out), NEW, "{state:?} {copy}");
                    let ran = send(&mut rig, family, port(state, copy), ACK);
                    assert_eq!(ran.reason, Reason::Promoted, "{state:?} {copy}");
                }
            }
            let report = rig.tick();
            assert_eq!(report.servers[&OLD].active, 0);
            assert_eq!(report.servers[&OLD].pending, 0);
            assert_eq!(report.servers[&OLD].opened, report.servers[&OLD].closed);
            assert_eq!(report.servers[&NEW].active, 15);
            assert_eq!(report.servers[&NEW].pending, 0);
            rig.audit();
        }
    }
}

/// `on_down = "keep"` is a drain.
#[test]
fn a_failed_server_that_comes_back_has_its_other_flows() {
    let family = Family::V4;
    let mut rig = rig(family, 2);
    replace(&mut rig, FAILED);
    let ran = send(&mut rig, family, port(State::Established, 0), ACK);
    assert_eq!(ran.reason, Reason::ServerDownReset);
    rig.mark(OLD, READY);
    rig.apply();
    // Reset is reset; who was silent meanwhile has lost nothing.
    let ran = send(&mut rig, family, port(State::Established, 0), ACK);
    assert_eq!(ran.reason, Reason::Closing);
    let ran = send(&mut rig, family, port(State::Established, 1), ACK);
    assert_eq!(ran.reason, Reason::Established);
    assert_eq!(rig.active(OLD), 1);
    rig.audit();
}

#[test]
fn flows_of_a_record_that_is_gone_are_reset() {
    for family in Family::BOTH {
        let mut rig = rig(family, 2);
        replace(&mut rig, DRAIN);
        rig.desired.servers.remove(&OLD);
        rig.apply();
        for state in [State::Established, State::Closing, State::Reset] {
            let frame = segment(family, port(state, 0), ACK | PSH);
            let ran = rig.send(&frame.bytes());
            assert_eq!(ran.reason, Reason::ServerGone, "{state:?}");
            assert_eq!(ran.out, reset_for(&frame), "{state:?}");
            let ran = send(&mut rig, family, port(state, 1), RST);
            assert_eq!(
                (ran.reason, ran.action),
                (Reason::RstUnplaced, DROP),
                "{state:?}"
            );
        }
        for state in [State::Pending, State::Recovered] {
            let ran = send(&mut rig, family, port(state, 0), ACK);
            assert_eq!(ran.reason, Reason::Recovered, "{state:?}");
            assert_eq!(server_at(&ran.out), NEW, "{state:?}");
        }
        for state in STATES {
            let ran = send(&mut rig, family, port(state, 1), SYN);
            assert_eq!((ran.reason, server_at(&ran.out)), (Reason::Scheduled, NEW));
        }
        // Both were counted, and both have been taken out.
        assert_eq!(rig.active(OLD), 0);
        rig.audit();
    }
}

/// The controller gives an index away when no flow is left. Should it ever do so earlier, the new server must neither
/// get the old one's flows nor their counts.
#[test]
fn an_index_given_to_another_server_carries_nothing_over() {
    for family in Family::BOTH {
        let mut rig = rig(family, 3);
        let mac = [0x02, 0, 0x5e, 0x02, 0, 0];
        let record = rig.record(OLD);
        record.generation = 2;
        record.link = Server::link(mac, READY);
        rig.apply();
        assert_eq!(rig.active(OLD), 0);
        for state in [State::Established, State::Closing, State::Reset] {
            let frame = segment(family, port(state, 0), ACK | PSH);
            let ran = rig.send(&frame.bytes());
            assert_eq!(ran.reason, Reason::ServerGone, "{state:?}");
            assert_eq!(ran.out, reset_for(&frame), "{state:?}");
            let ran = send(&mut rig, family, port(state, 1), RST);
            assert_eq!(ran.reason, Reason::RstUnplaced, "{state:?}");
            assert_eq!(rig.active(OLD), 0, "{state:?}");
        }
        for state in STATES {
            // The new server's own SYN, which an old one must not take out of its window.
            let ran = send(&mut rig, family, 7 + state as u16, SYN);
            assert_eq!(ran.reason, Reason::Scheduled, "{state:?}");
            assert_eq!(ran.out[..6], mac, "{state:?}");
            let ran = send(&mut rig, family, port(state, 0), SYN);
            assert_eq!(ran.reason, Reason::Scheduled, "{state:?}");
            assert_eq!(ran.out[..6], mac, "{state:?}");
        }
        assert_eq!(rig.pending(OLD), 10);
        assert_eq!(rig.active(OLD), 0);
        // The third of each expires.
        let left = rig.tick();
        assert_eq!(left.servers[&OLD].active, 0);
        rig.timeouts(crate::rig::all_timeouts(std::time::Duration::from_millis(
            20,
        )));
        mb_lb_tests::wait_until(
            "old flows to expire",
            std::time::Duration::from_secs(20),
            || match rig.tick().flows {
                0 => Ok(()),
                n => Err(format!("{n} flows")),
            },
        );
        let count = rig.count(OLD);
        assert_eq!(
            (count.active, count.opened, count.closed, count.expired),
            (0, 0, 0, 0)
        );
    }
}

#[test]
fn a_new_next_hop_is_used_at_once() {
    let family = Family::V4;
    let mut rig = rig(family, 1);
    let mac = [0x02, 0, 0x5e, 0x03, 0, 0];
    rig.record(OLD).link = Server::link(mac, READY);
    rig.apply();
    let ran = send(&mut rig, family, port(State::Established, 0), ACK);
    assert_eq!((ran.reason, &ran.out[..6]), (Reason::Established, &mac[..]));
    assert_eq!(rig.active(OLD), 1);
}

#[test]
fn a_service_that_is_removed_keeps_what_it_has() {
    for family in Family::BOTH {
        let mut rig = rig(family, 1);
        rig.desired.listens.clear();
        rig.desired.services.clear();
        rig.apply();
        let ran = send(&mut rig, family, port(State::Established, 0), ACK);
        assert_eq!((ran.reason, ran.action), (Reason::Established, TX));
        for state in [State::Pending, State::Recovered] {
            let ran = send(&mut rig, family, port(state, 0), ACK);
            assert_eq!(
                (ran.reason, ran.action),
                (Reason::NoService, PASS),
                "{state:?}"
            );
        }
        let ran = send(&mut rig, family, 9, SYN);
        assert_eq!((ran.reason, ran.action), (Reason::NoService, PASS));
        rig.audit();
    }
}

#[test]
fn the_director_speaks_where_no_server_can() {
    for family in Family::BOTH {
        let mut rig = rig(family, 1);
        rig.pool(PORT, Scheduler::Leastconn, &[]);
        rig.flags(PORT, SERVICE_REPLY_LOCAL);
        rig.mark(OLD, FAILED);
        rig.apply();
        let local = |rig: &mut Rig, port, flags| {
            let frame = segment(family, port, flags).bytes();
            let ran = rig.send(&frame);
            assert_eq!(
                (ran.reason, ran.action),
                (Reason::NoServerLocal, PASS),
                "{flags:#x}"
            );
            assert_eq!(ran.out, frame);
        };
        // The whole of a conversation, as the kernel's TCP needs it.
        for flags in [SYN, SYN, ACK, ACK | PSH, FIN | ACK, ACK, RST] {
            local(&mut rig, 9, flags);
        }
        // Connections that were never the director's get a RST, for it knows nothing of them.
        let frame = segment(family, 10, ACK | PSH);
        let ran = rig.send(&frame.bytes());
        assert_eq!(ran.reason, Reason::NoServerReset);
        assert_eq!(ran.out, reset_for(&frame));
        // Their next attempt is the director's.
        for state in STATES {
            local(&mut rig, port(state, 0), SYN);
        }
        local(&mut rig, 11, SYN);
        // A server comes back: what has begun here goes on here.
        rig.mark(OLD, READY);
        rig.pool(PORT, Scheduler::Leastconn, &[(OLD, 1)]);
        rig.apply();
        for flags in [ACK, ACK | PSH, FIN | ACK] {
            local(&mut rig, 11, flags);
        }
        let ran = send(&mut rig, family, 12, SYN);
        assert_eq!((ran.reason, server_at(&ran.out)), (Reason::Scheduled, OLD));
        assert_eq!(rig.active(OLD), 0);
        rig.audit();
    }
}
