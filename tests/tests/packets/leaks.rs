//! Random segments of a few connections, against a machine that says what each of them is. Whatever comes, the counts
//! are those of the flows in the table, and at the end all are zero.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use mb_lb_common::Reason;
use mb_lb_ctl::config::Scheduler;
use mb_lb_tests::wait_until;

use crate::frame::{ACK, FIN, Frame, PSH, RST, SYN};
use crate::rig::{Family, Rig, TX, all_timeouts, server_at};

const PORT: u16 = 25;
const NEAR: u32 = 1 << 20;
/// Connections that speak, per family.
const CONNECTIONS: u16 = 300;
const SERVERS: [(u32, u32); 3] = [(0, 10), (1, 10), (2, 5)];

/// What is known of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Pending {
        isn: u32,
    },
    Established {
        next: u32,
    },
    Closing,
    Reset,
    /// Not counted until it has been seen for a second. Since when, at the earliest and at the latest.
    Recovered {
        since: (Instant, Instant),
    },
    Remembered,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    flags: u8,
    seq: u32,
    length: u32,
}

impl Segment {
    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
    const fn next(self) -> u32 {
        self.seq
            .wrapping_add(self.length)
            .wrapping_add((self.flags & SYN != 0) as u32)
            .wrapping_add((self.flags & FIN != 0) as u32)
    }
}

const fn near(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead < NEAR || ahead >= NEAR.wrapping_neg()
}

impl State {
    /// The reason that a segment must have that came between two moments, and the state after it. With `old`, a
    /// recovered flow has been seen for a second.
    fn on(self, segment: Segment, old: bool, when: (Instant, Instant)) -> (Reason, Self) {
        let is_syn = segment.flags & (SYN | ACK | RST) == SYN;
        let pending = State::Pending { isn: segment.seq };
        let opened = if segment.has(FIN) {
            (Reason::FinSeen, Self::Closing)
        } else {
            let next = segment.next();
            (Reason::Promoted, Self::Established { next })
        };
        match self {
            Self::Pending { isn } if is_syn && isn == segment.seq => {
                (Reason::SynRetransmitted, self)
            }
            Self::Established { .. } if is_syn => (Reason::SynRetransmitted, self),
            _ if is_syn => (Reason::Scheduled, pending),
            Self::Unknown if segment.has(RST) => (Reason::Recovered, self),
            Self::Unknown => (Reason::Recovered, Self::Recovered { since: when }),
            Self::Pending { isn } => {
                let follows = segment.seq.wrapping_sub(isn).wrapping_sub(1) < NEAR;
                match (segment.has(RST), follows) {
                    (true, true) => (Reason::RstSeen, Self::Unknown),
                    (true, false) => (Reason::RstIgnored, self),
                    (false, true) => opened,
                    (false, false) => (Reason::Handshake, self),
                }
            }
            Self::Recovered { .. } if segment.has(RST) => (Reason::RstSeen, Self::Unknown),
            Self::Recovered { .. } if old => opened,
            Self::Recovered { .. } => (Reason::Recovered, self),
            Self::Remembered => (Reason::Remembered, self),
            Self::Closing | Self::Reset => (Reason::Closing, self),
            Self::Established { next } => {
                let believed = near(segment.seq, next);
                if segment.has(RST) {
                    match believed {
                        true => (Reason::RstSeen, Self::Reset),
                        false => (Reason::RstIgnored, self),
                    }
                } else if segment.has(SYN) {
                    (Reason::SynRetransmitted, self)
                } else if segment.has(FIN) && believed {
                    (Reason::FinSeen, Self::Closing)
                } else {
                    let next = segment.next();
                    (Reason::Established, Self::Established { next })
                }
            }
        }
    }

    /// After it has been silent for longer than its timeout.
    fn expired(self, when: (Instant, Instant)) -> Self {
        match self {
            Self::Established { .. } | Self::Reset => Self::Recovered { since: when },
            Self::Closing => Self::Remembered,
            other => other,
        }
    }

    const fn is_counted(self) -> bool {
        matches!(self, Self::Established { .. })
    }
}

/// Mostly what clients send, sometimes anything.
fn segment(random: &mut fastrand::Rng, state: State) -> Segment {
    let flags = match random.u32(..20) {
        0..=4 => SYN,
        5..=9 => ACK,
        10..=12 => ACK | PSH,
        13..=15 => FIN | ACK,
        16 => RST,
        17 => RST | ACK,
        18 => SYN | ACK,
        _ => random.u8(..),
    };
    let expected = match state {
        State::Pending { isn } if flags & SYN != 0 && random.bool() => isn,
        State::Pending { isn } => isn.wrapping_add(1),
        State::Established { next } => next,
        _ => random.u32(..),
    };
    let seq = match random.u32(..10) {
        0 => random.u32(..),
        // The ends of the window.
        1 => expected.wrapping_add(NEAR - 2 + random.u32(..4)),
        2 => expected.wrapping_sub(NEAR - 2 + random.u32(..4)),
        _ => expected,
    };
    let length = if flags & PSH == 0 {
        0
    } else {
        random.u32(..64)
    };
    Segment { flags, seq, length }
}

/// A connection, and the server that knows it.
#[derive(Clone, Copy)]
struct Known {
    state: State,
    server: Option<u32>,
}

type Model = BTreeMap<(Family, u16), Known>;

fn play(rig: &mut Rig, model: &mut Model, random: &mut fastrand::Rng) -> Reason {
    let key = (Family::BOTH[random.usize(..2)], random.u16(..CONNECTIONS));
    let known = model.get_mut(&key).expect("all are in the model");
    let segment = segment(random, known.state);
    let frame = Frame::new(key.0, 10_000 + key.1, PORT, segment.flags)
        .seq(segment.seq)
        .payload(&vec![0; segment.length as usize]);
    let asked = Instant::now();
    let ran = rig.send(&frame.bytes());
    assert_eq!(ran.action, TX);
    let when = (asked, Instant::now());
    // The program's clock has ticks of up to 10 ms; in between, either is right.
    let tick = Duration::from_millis(11);
    let second = Duration::from_secs(1);
    let old = match known.state {
        State::Recovered { since } if when.1 - since.0 < second - tick => false,
        State::Recovered { since } if when.0 - since.1 > second + tick => true,
        _ => ran.reason != Reason::Recovered,
    };
    let (reason, next) = known.state.on(segment, old, when);
    let what = format!("{segment:?} of {key:?} in {:?}", known.state);
    assert_eq!(ran.reason, reason, "{what}");
    let server = server_at(&ran.out);
    match (reason, known.server) {
        (Reason::Scheduled, _) | (_, None) => {}
        (_, Some(same)) => assert_eq!(server, same, "{what}"),
    }
    known.state = next;
    known.server = (next != State::Unknown).then_some(server);
    reason
}

fn compare(rig: &mut Rig, model: &Model) {
    rig.audit();
    for (server, _) in SERVERS {
        let expected = model
            .values()
            .filter(|known| known.state.is_counted() && known.server == Some(server))
            .count();
        assert_eq!(rig.active(server), expected as i64, "server {server}");
    }
}

/// Lets every flow expire.
fn expire(rig: &mut Rig, model: &mut Model) {
    let timeouts = rig.desired.timeouts;
    rig.timeouts(all_timeouts(Duration::from_millis(20)));
    let before = Instant::now();
    wait_until(
        "all flows to expire",
        Duration::from_secs(20),
        || match rig.tick().flows {
            0 => Ok(()),
            n => Err(format!("{n} flows")),
        },
    );
    let when = (before, Instant::now());
    rig.timeouts(timeouts);
    for known in model.values_mut() {
        known.state = known.state.expired(when);
    }
}

#[test]
fn no_sequence_of_segments_leaves_a_count_behind() {
    let packets: usize = crate::rig::packets(100_000);
    let mut random = fastrand::Rng::with_seed(2);
    let mut rig = Rig::new();
    rig.service(PORT, Scheduler::Leastconn, &SERVERS);
    // Nothing expires while the model is not looking.
    rig.timeouts(all_timeouts(Duration::from_secs(3600)));
    let unknown = Known {
        state: State::Unknown,
        server: None,
    };
    let mut model: Model = Family::BOTH
        .into_iter()
        .flat_map(|family| (0..CONNECTIONS).map(move |port| ((family, port), unknown)))
        .collect();
    let mut seen = BTreeSet::new();
    for batch in 1..=20 {
        for _ in 0..packets / 20 {
            seen.insert(play(&mut rig, &mut model, &mut random));
        }
        compare(&mut rig, &model);
        if batch % 5 == 0 {
            expire(&mut rig, &mut model);
            compare(&mut rig, &model);
        }
    }
    let report = rig.tick();
    for (index, server) in &report.servers {
        assert_eq!(server.active, 0, "server {index}");
        assert!(server.opened > 0, "server {index} had no flow");
        assert_eq!(server.opened, server.closed + server.expired);
    }
    assert_eq!(report.flows, 0);
    use Reason::{
        Closing, Established, FinSeen, Handshake, Promoted, Recovered, Remembered, RstIgnored,
        RstSeen, Scheduled, SynRetransmitted,
    };
    let all = BTreeSet::from([
        Closing,
        Established,
        FinSeen,
        Handshake,
        Promoted,
        Recovered,
        Remembered,
        RstIgnored,
        RstSeen,
        Scheduled,
        SynRetransmitted,
    ]);
    assert_eq!(seen, all);
}
