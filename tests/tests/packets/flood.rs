//! SYNs that nobody means: they neither steer nor cost anybody a connection.

use std::time::Duration;

use mb_lb_common::Reason;
use mb_lb_ctl::config::Scheduler;
use mb_lb_tests::wait_until;

use crate::choice::{Leastconn, rig_of, segment};
use crate::frame::{ACK, Frame, PSH, SYN};
use crate::rig::{Family, Rig, TX, server_at};

/// SYNs in a flood.
const SYNS: u32 = 100_000;
const WEIGHTS: [u32; 3] = [10, 10, 5];
/// Sessions that are there before.
const SESSIONS: u32 = 203;

fn flood(rig: &mut Rig, family: Family) {
    for n in 0..SYNS {
        // Addresses that no session has.
        let frame = Frame::new(family, (n % 60_000) as u16, 25, SYN)
            .by(10_000 + n / 7)
            .seq(n.wrapping_mul(0x9e37_79b9));
        assert_eq!(rig.run(&frame.bytes()).0, TX);
    }
}

#[test]
fn a_flood_neither_steers_nor_evicts() {
    let mut rig = rig_of(Scheduler::Leastconn, &WEIGHTS);
    let mut model = Leastconn::new(&WEIGHTS);
    let family = |n: u32| Family::BOTH[n as usize % 2];
    let mut servers = Vec::new();
    for n in 0..SESSIONS {
        let server = rig.server_of(&segment(family(n), n, SYN));
        rig.run(&segment(family(n), n, ACK));
        assert_eq!(model.choose_and_open(), server as usize);
        servers.push(server);
    }
    let before: Vec<_> = (0..3).map(|server| rig.count(server)).collect();

    flood(&mut rig, Family::V4);
    // The choices of a flood turn ties on, as any others do; that is all that they do.
    for _ in 0..SYNS {
        model.choose();
    }
    let mut salt = 0;
    wait_until("a flood in the windows", Duration::from_secs(20), || {
        salt += 1;
        flood_some(&mut rig, &mut model, salt);
        match (0..3).map(|server| rig.pending(server)).sum::<u64>() {
            n if n > u64::from(SESSIONS) => Ok(()),
            n => Err(format!("{n} SYNs")),
        }
    });
    // What it has left in the windows is there, and is not believed: it need not even be modelled.
    for n in SESSIONS..SESSIONS + 100 {
        flood_some(&mut rig, &mut model, n);
        let expected = model.choose_and_open();
        let server = rig.server_of(&segment(family(n), n, SYN));
        assert_eq!(server as usize, expected, "session {n}");
        assert_eq!(rig.server_of(&segment(family(n), n, ACK)), server);
        servers.push(server);
    }
    // Nobody has lost anything.
    rig.settle();
    for (n, &server) in (0..).zip(&servers) {
        let ran = rig.send(&segment(family(n), n, ACK | PSH));
        assert_eq!(
            (ran.reason, server_at(&ran.out)),
            (Reason::Established, server)
        );
    }
    for (server, before) in (0..).zip(before) {
        let count = rig.count(server);
        assert_eq!(count.active, model.active[server as usize] as i64);
        assert_eq!(
            (count.closed, count.expired),
            (before.closed, before.expired)
        );
    }
    rig.audit();
}

/// Keeps the windows full: more SYNs than there are sessions, again before each decision.
fn flood_some(rig: &mut Rig, model: &mut Leastconn, salt: u32) {
    for n in 0..2 * SESSIONS {
        let frame = Frame::new(Family::V6, n as u16, 25, SYN).by(1_000_000 + salt);
        rig.run(&frame.bytes());
        model.choose();
    }
}

/// A flood of ACKs that belong to nothing is not counted, and goes by a hash that asks no load.
#[test]
fn acks_out_of_nowhere_do_not_steer() {
    let mut rig = rig_of(Scheduler::Leastconn, &WEIGHTS);
    let mut model = Leastconn::new(&WEIGHTS);
    for n in 0..50 {
        model.choose_and_open();
        rig.run(&segment(Family::V4, n, SYN));
        rig.run(&segment(Family::V4, n, ACK));
    }
    for n in 0..10_000 {
        let frame = Frame::new(Family::V4, n as u16, 25, ACK).by(20_000 + n);
        assert_eq!(rig.run(&frame.bytes()).0, TX);
    }
    assert_eq!([0, 1, 2].map(|server| rig.active(server)), [20, 20, 10]);
    for n in 50..100 {
        let server = rig.server_of(&segment(Family::V4, n, SYN));
        assert_eq!(server as usize, model.choose_and_open());
        rig.run(&segment(Family::V4, n, ACK));
    }
    assert_eq!([0, 1, 2].map(|server| rig.active(server)), [40, 40, 20]);
    rig.audit();
}
