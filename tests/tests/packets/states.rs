//! The life of a connection, segment by segment: what each is counted as, and what it does to the server's counts.

use std::time::Instant;

use mb_lb_common::{PendingWindow, Reason};
use mb_lb_ctl::config::Scheduler;

use crate::frame::{ACK, FIN, Frame, PSH, RST, SYN, forwarded};
use crate::rig::{Family, Rig, TX, WINDOW};

/// How far from what is expected a RST or FIN is believed.
const NEAR: u32 = 1 << 20;

/// A segment, its reason, and `active` and `pending` of the server afterwards.
struct Step {
    flags: u8,
    seq: u32,
    bytes: usize,
    reason: Reason,
    active: i64,
    pending: u32,
}

struct Life {
    name: &'static str,
    steps: Vec<Step>,
    /// `opened` and `closed` of the server at the end.
    moved: (u64, u64),
}

fn step(flags: u8, seq: u32, reason: Reason, active: i64, pending: u32) -> Step {
    data(flags, seq, 0, reason, active, pending)
}

fn data(flags: u8, seq: u32, bytes: usize, reason: Reason, active: i64, pending: u32) -> Step {
    Step {
        flags,
        seq,
        bytes,
        reason,
        active,
        pending,
    }
}

#[rustfmt::skip]
fn lives() -> Vec<Life> {
    use Reason::{
        Closing, Established, FinSeen, Handshake, Promoted, Recovered, RstIgnored, RstSeen,
        Scheduled, SynRetransmitted,
    };
    // The first segments of a client whose SYN has the number 1000.
    let opening = || vec![step(SYN, 1000, Scheduled, 0, 1), step(ACK, 1001, Promoted, 1, 0)];
    let opened = |rest: Vec<Step>| opening().into_iter().chain(rest).collect::<Vec<_>>();
    let life = |name, steps, opened, closed| Life { name, steps, moved: (opened, closed) };
    vec![
        life("open, speak, close", opened(vec![
            data(ACK | PSH, 1001, 8, Established, 1, 0),
            data(ACK | PSH, 1009, 100, Established, 1, 0),
            step(FIN | ACK, 1109, FinSeen, 0, 0),
            step(ACK, 1110, Closing, 0, 0),
        ]), 1, 1),
        life("SYN retransmitted", vec![
            step(SYN, 1000, Scheduled, 0, 1),
            step(SYN, 1000, SynRetransmitted, 0, 1),
            step(SYN, 1000, SynRetransmitted, 0, 1),
            step(ACK, 1001, Promoted, 1, 0),
        ], 1, 0),
        life("another SYN before the first is answered", vec![
            step(SYN, 1000, Scheduled, 0, 1),
            step(SYN, 500_000, Scheduled, 0, 1),
            step(ACK, 1001, Handshake, 0, 1),
            step(ACK, 500_001, Promoted, 1, 0),
        ], 1, 0),
        life("the ACK is lost, data comes", vec![
            step(SYN, 1000, Scheduled, 0, 1),
            data(ACK | PSH, 1001, 30, Promoted, 1, 0),
        ], 1, 0),
        life("much is lost, the last segment comes", vec![
            step(SYN, 1000, Scheduled, 0, 1),
            data(ACK, 1001 + NEAR - 1, 30, Promoted, 1, 0),
        ], 1, 0),
        life("ACKs that answer something else", vec![
            step(SYN, 1000, Scheduled, 0, 1),
            step(ACK, 1000, Handshake, 0, 1),
            step(ACK, 999, Handshake, 0, 1),
            step(ACK, 1001 + NEAR, Handshake, 0, 1),
            step(ACK, 1001 + (1 << 31), Handshake, 0, 1),
            step(FIN | ACK, 0, Handshake, 0, 1),
            step(SYN | ACK, 1000, Handshake, 0, 1),
            step(ACK, 1001, Promoted, 1, 0),
        ], 1, 0),
        life("numbers wrap in the handshake", vec![
            step(SYN, u32::MAX, Scheduled, 0, 1),
            step(ACK, 0, Promoted, 1, 0),
            data(ACK, 0, 50, Established, 1, 0),
            step(FIN | ACK, 50, FinSeen, 0, 0),
        ], 1, 1),
        life("numbers wrap while speaking", vec![
            step(SYN, u32::MAX - 9, Scheduled, 0, 1),
            step(ACK, u32::MAX - 8, Promoted, 1, 0),
            data(ACK, u32::MAX - 8, 100, Established, 1, 0),
            step(RST, 91, RstSeen, 0, 0),
        ], 1, 1),
        life("RST before the ACK", vec![
            step(SYN, 1000, Scheduled, 0, 1),
            step(RST, 1001, RstSeen, 0, 0),
            // The server has been told; what comes now belongs to nothing.
            step(ACK, 1001, Recovered, 0, 0),
            step(SYN, 9000, Scheduled, 0, 1),
        ], 0, 0),
        life("RST before the ACK, from somebody who guesses", vec![
            step(SYN, 1000, Scheduled, 0, 1),
            step(RST, 1001 + NEAR, RstIgnored, 0, 1),
            step(RST | ACK, 999_999_999, RstIgnored, 0, 1),
            step(ACK, 1001, Promoted, 1, 0),
        ], 1, 0),
        life("FIN instead of the ACK", vec![
            step(SYN, 1000, Scheduled, 0, 1),
            data(FIN | ACK, 1001, 6, FinSeen, 0, 0),
            step(ACK, 1008, Closing, 0, 0),
        ], 1, 1),
        life("RST", opened(vec![
            step(RST, 1001, RstSeen, 0, 0),
            step(RST, 1001, Closing, 0, 0),
            step(ACK, 1001, Closing, 0, 0),
        ]), 1, 1),
        life("RST and ACK", opened(vec![step(RST | ACK, 1001, RstSeen, 0, 0)]), 1, 1),
        life("RST at the window's lower end", opened(vec![
            step(RST, 1001u32.wrapping_sub(NEAR + 1), RstIgnored, 1, 0),
            step(RST, 1001u32.wrapping_sub(NEAR), RstSeen, 0, 0),
        ]), 1, 1),
        life("RST at the window's upper end", opened(vec![
            step(RST, 1001 + NEAR, RstIgnored, 1, 0),
            step(RST, 1001 + (1 << 31), RstIgnored, 1, 0),
            step(RST, 1001 + NEAR - 1, RstSeen, 0, 0),
        ]), 1, 1),
        life("the window moves with the client", opened(vec![
            data(ACK, 1001 + 900_000, 100, Established, 1, 0),
            data(ACK, 1001 + 1_800_000, 100, Established, 1, 0),
            step(RST, 1001, RstIgnored, 1, 0),
            step(RST, 1101 + 1_800_000, RstSeen, 0, 0),
        ]), 1, 1),
        life("FIN of nobody", opened(vec![
            step(FIN | ACK, 1001 + (1 << 30), Established, 1, 0),
        ]), 1, 0),
        life("FIN retransmitted", opened(vec![
            step(FIN | ACK, 1001, FinSeen, 0, 0),
            step(FIN | ACK, 1001, Closing, 0, 0),
            step(FIN | ACK, 1001, Closing, 0, 0),
        ]), 1, 1),
        life("FIN twice, with different data", opened(vec![
            data(FIN | ACK, 1001, 10, FinSeen, 0, 0),
            data(FIN | ACK, 1005, 20, Closing, 0, 0),
        ]), 1, 1),
        life("data after FIN", opened(vec![
            step(FIN | ACK, 1001, FinSeen, 0, 0),
            data(ACK | PSH, 1001, 5, Closing, 0, 0),
            data(ACK | PSH, 1002, 5, Closing, 0, 0),
        ]), 1, 1),
        life("RST after FIN", opened(vec![
            step(FIN | ACK, 1001, FinSeen, 0, 0),
            step(RST, 1002, Closing, 0, 0),
            step(RST, 1002, Closing, 0, 0),
        ]), 1, 1),
        life("FIN after RST", opened(vec![
            step(RST, 1001, RstSeen, 0, 0),
            step(FIN | ACK, 1001, Closing, 0, 0),
        ]), 1, 1),
        // Both sides send FIN at once (RFC 9293 figure 13): the client's side of it.
        life("simultaneous close", opened(vec![
            data(FIN | ACK, 1001, 6, FinSeen, 0, 0),
            step(ACK, 1008, Closing, 0, 0),
            step(ACK, 1008, Closing, 0, 0),
        ]), 1, 1),
        life("ports used again after FIN", opened(vec![
            step(FIN | ACK, 1001, FinSeen, 0, 0),
            step(SYN, 777_000, Scheduled, 0, 1),
            step(ACK, 777_001, Promoted, 1, 0),
            step(FIN | ACK, 777_001, FinSeen, 0, 0),
            step(SYN, 888_000, Scheduled, 0, 1),
            step(ACK, 888_001, Promoted, 1, 0),
        ]), 3, 2),
        life("ports used again after RST", opened(vec![
            step(RST, 1001, RstSeen, 0, 0),
            step(SYN, 777_000, Scheduled, 0, 1),
            step(ACK, 777_001, Promoted, 1, 0),
        ]), 2, 1),
        life("SYN of the same connection, late", opened(vec![
            step(SYN, 1000, SynRetransmitted, 1, 0),
            step(SYN, 1000, SynRetransmitted, 1, 0),
            data(ACK, 1001, 5, Established, 1, 0),
        ]), 1, 0),
        // The client has forgotten its connection: the server challenges (RFC 9293 section 3.10.7.4), the client
        // resets, and asks again.
        life("SYN of another connection", opened(vec![
            step(SYN, 5_000_000, SynRetransmitted, 1, 0),
            step(RST, 1001, RstSeen, 0, 0),
            step(SYN, 5_000_000, Scheduled, 0, 1),
            step(ACK, 5_000_001, Promoted, 1, 0),
        ]), 2, 1),
        life("SYN and FIN asks for a connection", vec![
            step(SYN | FIN, 1000, Scheduled, 0, 1),
            step(SYN | FIN, 1000, SynRetransmitted, 0, 1),
        ], 0, 0),
        life("SYN with data", vec![
            data(SYN, 1000, 50, Scheduled, 0, 1),
            step(ACK, 1051, Promoted, 1, 0),
        ], 1, 0),
        life("SYN and RST is a RST", opened(vec![step(SYN | RST, 1001, RstSeen, 0, 0)]), 1, 1),
        life("no flags, odd flags", opened(vec![
            data(0, 1001, 5, Established, 1, 0),
            step(0xe8, 1006, Established, 1, 0),
        ]), 1, 0),
        life("out of nowhere", vec![
            data(ACK, 1001, 5, Recovered, 0, 0),
            data(ACK, 1006, 5, Recovered, 0, 0),
            step(FIN | ACK, 1011, Recovered, 0, 0),
            step(RST, 1012, RstSeen, 0, 0),
            step(RST, 1012, Recovered, 0, 0),
            step(SYN, 9000, Scheduled, 0, 1),
            step(ACK, 9001, Promoted, 1, 0),
        ], 1, 0),
        life("SYN and ACK out of nowhere", vec![step(SYN | ACK, 1001, Recovered, 0, 0)], 0, 0),
    ]
}

/// Plays a life on a server that nobody else uses.
fn play(rig: &mut Rig, family: Family, server: u32, life: &Life) -> Result<(), String> {
    let to = 1000 + server as u16;
    for (number, step) in life.steps.iter().enumerate() {
        let frame = Frame::new(family, 40000, to, step.flags)
            .seq(step.seq)
            .payload(&vec![b'x'; step.bytes]);
        let ran = rig.send(&frame.bytes());
        let count = rig.count(server);
        let pending: u32 = count
            .pending
            .map(|word| PendingWindow(word).count())
            .iter()
            .sum();
        let got = (ran.reason, count.active, pending);
        let expected = (step.reason, step.active, step.pending);
        if got != expected {
            return Err(format!("segment {number}: {got:?} instead of {expected:?}"));
        }
        if ran.action != TX || ran.out != forwarded(&frame, server) {
            return Err(format!("segment {number}: {ran:02x?}"));
        }
    }
    let count = rig.count(server);
    if (count.opened, count.closed, count.expired) != (life.moved.0, life.moved.1, 0) {
        return Err(format!("at the end {count:?}"));
    }
    Ok(())
}

#[test]
fn counts_follow_every_life() {
    const ATTEMPTS: u32 = 3;
    let lives = lives();
    for family in Family::BOTH {
        let mut rig = Rig::new();
        for server in 0..ATTEMPTS * lives.len() as u32 {
            rig.service(1000 + server as u16, Scheduler::Leastconn, &[(server, 1)]);
        }
        rig.apply();
        for (number, life) in lives.iter().enumerate() {
            // Windows age by the clock: on a machine that stood still, play it again.
            for attempt in 0..ATTEMPTS {
                let started = Instant::now();
                let server = number as u32 * ATTEMPTS + attempt;
                match play(&mut rig, family, server, life) {
                    Ok(()) => break,
                    Err(_) if started.elapsed() > WINDOW && attempt + 1 < ATTEMPTS => {}
                    Err(why) => panic!("{} ({family:?}): {why}", life.name),
                }
            }
        }
        rig.audit();
    }
}
