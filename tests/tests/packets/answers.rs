//! The RST that the director answers with (RFC 9293 section 3.10.7.1): for each kind of segment, in each kind of frame.

use mb_lb_common::Reason;
use mb_lb_ctl::config::Scheduler;

use crate::frame::{ACK, FIN, Frame, PSH, RST, SYN, reset_for};
use crate::headers::{CHAINS, TAGS};
use crate::rig::{DROP, FAILED, Family, Rig, TX};
use crate::soundness::sound;

const EMPTY: u16 = 26;
const FAILING: u16 = 28;

#[track_caller]
fn is_reset(rig: &mut Rig, frame: &Frame, reason: Reason) {
    let bytes = frame.bytes();
    let ran = rig.send(&bytes);
    assert_eq!((ran.reason, ran.action), (reason, TX), "{frame:?}");
    assert_eq!(ran.out, reset_for(frame), "{frame:?}");
    sound(&ran.out);
}

/// Segments that must be answered.
fn segments(family: Family, port: u16, to: u16) -> Vec<Frame> {
    let frame = |flags: u8, payload: &[u8]| Frame::new(family, port, to, flags).payload(payload);
    let mut frames = vec![
        frame(SYN, b""),
        // TCP Fast Open (RFC 7413).
        frame(SYN, b"EHLO a\r\n"),
        frame(SYN | FIN, b""),
        frame(ACK, b""),
        frame(ACK | PSH, b"odd"),
        frame(ACK | PSH, b"even"),
        frame(ACK | FIN, b""),
        frame(ACK | FIN, b"QUIT\r\n"),
        frame(SYN | ACK, b""),
        frame(FIN, b""),
        frame(FIN, b"x"),
        frame(0, b""),
        frame(0, b"data"),
        frame(!RST, b"all but RST"),
    ];
    for flags in [SYN, ACK, ACK | FIN] {
        // Numbers that wrap, and those whose sums carry.
        for number in [
            0,
            1,
            0xffff,
            0x1_0000,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX - 1,
            u32::MAX,
        ] {
            frames.push(frame(flags, b"abc").seq(number).ack(!number));
            frames.push(frame(flags, b"").seq(number).ack(number));
        }
    }
    frames
}

#[test]
fn a_service_without_a_server_answers_as_a_closed_port() {
    let mut rig = Rig::new();
    rig.service(EMPTY, Scheduler::Leastconn, &[]);
    rig.apply();
    for family in Family::BOTH {
        for frame in segments(family, 40000, EMPTY) {
            for tags in TAGS {
                is_reset(&mut rig, &frame.clone().tags(tags), Reason::NoServerReset);
            }
            is_reset(&mut rig, &frame.clone().padding(6), Reason::NoServerReset);
            is_reset(
                &mut rig,
                &frame.clone().tcp_options(40),
                Reason::NoServerReset,
            );
        }
    }
    for tags in TAGS {
        for options in (0..=40).step_by(4) {
            let frame = Frame::new(Family::V4, 40000, EMPTY, ACK)
                .tags(tags)
                .payload(b"abc");
            is_reset(&mut rig, &frame.options(options), Reason::NoServerReset);
        }
        for chain in CHAINS {
            let frame = Frame::new(Family::V6, 40000, EMPTY, ACK)
                .tags(tags)
                .payload(b"abc");
            is_reset(&mut rig, &frame.extensions(chain), Reason::NoServerReset);
        }
    }
}

/// Every pair of ports and many addresses: the checksums are right whatever the sums are.
#[test]
fn checksums_of_answers_are_right_for_any_connection() {
    let mut rig = Rig::new();
    rig.service(EMPTY, Scheduler::Leastconn, &[]);
    rig.apply();
    let mut random = fastrand::Rng::with_seed(1);
    for family in Family::BOTH {
        for _ in 0..2_000 {
            let flags = random.u8(..) & !RST;
            let frame = Frame::new(family, random.u16(..), EMPTY, flags)
                .by(random.u32(..))
                .seq(random.u32(..))
                .ack(random.u32(..));
            is_reset(&mut rig, &frame, Reason::NoServerReset);
        }
    }
}

#[test]
fn a_failed_server_is_answered_for_in_every_segment() {
    for family in Family::BOTH {
        let mut rig = Rig::new();
        rig.service(FAILING, Scheduler::Leastconn, &[(0, 1)]);
        rig.apply();
        let frames = segments(family, 0, FAILING);
        for port in 0..frames.len() as u16 {
            for flags in [SYN, ACK] {
                let frame = Frame::new(family, 10_000 + port, FAILING, flags);
                rig.send(&frame.seq(if flags == SYN { 1000 } else { 1001 }).bytes());
            }
        }
        assert_eq!(rig.active(0), frames.len() as i64);
        rig.mark(0, FAILED);
        rig.pool(FAILING, Scheduler::Leastconn, &[]);
        rig.apply();
        for (port, mut frame) in frames.into_iter().enumerate() {
            frame.from.set_port(10_000 + port as u16);
            // A SYN without ACK asks for something new, for which there is no server either.
            let reason = match frame.flags & (SYN | ACK) {
                SYN => Reason::NoServerReset,
                _ => Reason::ServerDownReset,
            };
            is_reset(&mut rig, &frame, reason);
        }
        assert_eq!(rig.active(0), 0);
        rig.audit();
    }
}

#[test]
fn a_reset_is_never_answered() {
    let mut rig = Rig::new();
    rig.service(EMPTY, Scheduler::Leastconn, &[]);
    rig.service(FAILING, Scheduler::Leastconn, &[(0, 1)]);
    rig.apply();
    let frame = |family, port, to, flags| Frame::new(family, port, to, flags).seq(1001);
    for family in Family::BOTH {
        for port in 1..=40 {
            rig.send(&frame(family, port, FAILING, SYN).seq(1000).bytes());
            if port % 2 == 0 {
                rig.send(&frame(family, port, FAILING, ACK).bytes());
            }
        }
    }
    rig.mark(0, FAILED);
    rig.apply();
    for family in Family::BOTH {
        for (port, extra) in (1..=40).zip(
            [0, ACK, SYN, FIN, PSH, SYN | ACK, FIN | ACK]
                .into_iter()
                .cycle(),
        ) {
            for to in [EMPTY, FAILING] {
                let ran = rig.send(&frame(family, port, to, RST | extra).payload(b"x").bytes());
                assert_eq!(
                    (ran.reason, ran.action),
                    (Reason::RstUnplaced, DROP),
                    "{to}"
                );
            }
        }
    }
    rig.audit();
    assert_eq!(rig.active(0), 0);
}
