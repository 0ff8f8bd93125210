//! Which server a new flow gets, decision by decision against a reference that is written for reading.

use std::time::Instant;

use mb_lb_common::Reason;
use mb_lb_ctl::config::Scheduler;

use crate::frame::{ACK, FIN, Frame, SYN};
use crate::rig::{Family, Rig, WINDOW};

const PORT: u16 = 25;
/// SYNs are believed up to so many, however few flows there are.
const FLOOR: u64 = 64;

/// Weighted least connections: the least `(load + 1) / weight`, where load is active and pending flows, unless there
/// are so many pending ones that they must be a flood. Ties go to the first from a place that moves on by one
/// with each choice.
pub struct Leastconn {
    weights: Vec<u64>,
    pub active: Vec<u64>,
    pub pending: Vec<u64>,
    choices: usize,
}

impl Leastconn {
    pub fn new(weights: &[u32]) -> Self {
        Self {
            weights: weights.iter().map(|&weight| u64::from(weight)).collect(),
            active: vec![0; weights.len()],
            pending: vec![0; weights.len()],
            choices: 0,
        }
    }

    pub fn choose(&mut self) -> usize {
        let n = self.weights.len();
        let (active, pending): (u64, u64) = (self.active.iter().sum(), self.pending.iter().sum());
        let believed = pending <= active.max(FLOOR);
        let load = |i: usize| self.active[i] + if believed { self.pending[i] } else { 0 };
        let mut best = self.choices % n;
        for i in (0..n).map(|i| (self.choices + i) % n) {
            // (load + 1) / weight, compared without division.
            if (load(i) + 1) * self.weights[best] < (load(best) + 1) * self.weights[i] {
                best = i;
            }
        }
        self.choices += 1;
        best
    }

    /// A connection whose handshake follows at once.
    pub fn choose_and_open(&mut self) -> usize {
        let server = self.choose();
        self.active[server] += 1;
        server
    }
}

fn syn(family: Family, connection: u32) -> Vec<u8> {
    segment(family, connection, SYN)
}

/// A segment of connection `n`, which has addresses and ports of its own.
pub fn segment(family: Family, n: u32, flags: u8) -> Vec<u8> {
    let seq = if flags & SYN == 0 { 1001 } else { 1000 };
    Frame::new(family, 1024 + (n % 50_000) as u16, PORT, flags)
        .by(n / 50_000)
        .seq(seq)
        .bytes()
}

pub fn rig_of(scheduler: Scheduler, weights: &[u32]) -> Rig {
    let mut rig = Rig::with_room(65_536);
    let servers: Vec<(u32, u32)> = (0..).zip(weights.iter().copied()).collect();
    rig.service(PORT, scheduler, &servers);
    rig.apply();
    rig
}

#[test]
fn fifty_flows_over_10_10_5_are_20_20_10() {
    for family in Family::BOTH {
        let mut rig = rig_of(Scheduler::Leastconn, &[10, 10, 5]);
        for n in 0..50 {
            rig.run(&syn(family, n));
            rig.run(&segment(family, n, ACK));
        }
        assert_eq!([0, 1, 2].map(|server| rig.active(server)), [20, 20, 10]);
        assert_eq!([0, 1, 2].map(|server| rig.pending(server)), [0, 0, 0]);
        rig.audit();
    }
}

/// Weights for a run: some equal, some far apart.
fn weights(random: &mut fastrand::Rng, n: usize) -> Vec<u32> {
    let most = [1, 4, 256][random.usize(..3)];
    (0..n).map(|_| random.u32(1..=most)).collect()
}

/// Opens and closes at random for as long as every SYN is surely in its window; decisions made, or what was wrong.
fn replay(
    rig: &mut Rig,
    model: &mut Leastconn,
    random: &mut fastrand::Rng,
    first: &mut u32,
) -> Result<usize, String> {
    // Connections and their servers: SYN sent, and established.
    let (mut half, mut open) = (Vec::<(u32, usize)>::new(), Vec::<(u32, usize)>::new());
    let mut decisions = 0;
    let started = Instant::now();
    while decisions < 400 && started.elapsed() < WINDOW / 2 {
        let family = |n: u32| Family::BOTH[n as usize % 2];
        match random.u32(..10) {
            // More come than go.
            0..=4 => {
                let n = *first;
                *first += 1;
                let expected = model.choose();
                let got = rig.server_of(&syn(family(n), n)) as usize;
                if got != expected {
                    return Err(format!("decision {decisions}: {got} instead of {expected}"));
                }
                model.pending[got] += 1;
                half.push((n, got));
                decisions += 1;
            }
            5..=7 if !half.is_empty() => {
                let (n, server) = half.swap_remove(random.usize(..half.len()));
                rig.run(&segment(family(n), n, ACK));
                model.pending[server] -= 1;
                model.active[server] += 1;
                open.push((n, server));
            }
            _ if !open.is_empty() => {
                let (n, server) = open.swap_remove(random.usize(..open.len()));
                rig.run(&segment(family(n), n, FIN | ACK));
                model.active[server] -= 1;
            }
            _ => {}
        }
    }
    // Leaves nothing behind that ages.
    for (n, server) in half {
        rig.run(&segment(Family::BOTH[n as usize % 2], n, ACK));
        model.pending[server] -= 1;
        model.active[server] += 1;
    }
    Ok(decisions)
}

#[test]
fn leastconn_decides_as_the_reference_does() {
    let mut random = fastrand::Rng::with_seed(16);
    for n in 1..=16 {
        let weights = weights(&mut random, n);
        let mut rig = rig_of(Scheduler::Leastconn, &weights);
        let mut model = Leastconn::new(&weights);
        let (mut connection, mut decided, mut slow) = (0, 0, 0);
        while decided < 400 {
            let started = Instant::now();
            match replay(&mut rig, &mut model, &mut random, &mut connection) {
                Ok(decisions) => decided += decisions,
                Err(_) if started.elapsed() > WINDOW && slow < 5 => {
                    // The machine stood still, and SYNs fell out of the metric: from the beginning.
                    slow += 1;
                    rig = rig_of(Scheduler::Leastconn, &weights);
                    model = Leastconn::new(&weights);
                }
                Err(why) => panic!("weights {weights:?}: {why}"),
            }
        }
        rig.audit();
        for (server, &active) in (0..).zip(&model.active) {
            assert_eq!(rig.active(server), active as i64);
        }
    }
}

/// A larger number of flows, none of them half open: the clock plays no part.
#[test]
fn leastconn_decides_so_with_thousands_of_flows() {
    let mut random = fastrand::Rng::with_seed(7);
    let weights = [256, 100, 99, 7, 1, 1];
    let mut rig = rig_of(Scheduler::Leastconn, &weights);
    let mut model = Leastconn::new(&weights);
    let mut open = Vec::new();
    for n in 0..8_000 {
        let expected = model.choose_and_open();
        assert_eq!(rig.server_of(&syn(Family::V4, n)) as usize, expected, "{n}");
        rig.run(&segment(Family::V4, n, ACK));
        open.push((n, expected));
        while random.u32(..100) < 45 && !open.is_empty() {
            let (n, server) = open.swap_remove(random.usize(..open.len()));
            rig.run(&segment(Family::V4, n, FIN | ACK));
            model.active[server] -= 1;
        }
    }
    rig.audit();
}

/// Smooth weighted round robin: every turn each server gains its weight, and the first of the richest pays for all.
fn smooth(weights: &[u32], turns: usize) -> Vec<u32> {
    let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
    let mut credit = vec![0i64; weights.len()];
    (0..turns)
        .map(|_| {
            for (credit, &weight) in credit.iter_mut().zip(weights) {
                *credit += i64::from(weight);
            }
            let most = *credit.iter().max().expect("a server");
            let chosen = credit.iter().position(|&c| c == most).expect("the richest");
            credit[chosen] -= total;
            chosen as u32
        })
        .collect()
}

#[test]
fn roundrobin_is_the_smooth_sequence() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut many = vec![vec![10, 10, 5], vec![1], vec![5, 1, 1], vec![256, 1]];
    for n in [2, 16, 17, 64] {
        many.push((0..n).map(|_| random.u32(1..=9)).collect());
    }
    for weights in many {
        let mut rig = rig_of(Scheduler::Roundrobin, &weights);
        let round: u32 = weights.iter().sum();
        let expected = smooth(&weights, 2 * round as usize + 3);
        for (n, &server) in (0..).zip(&expected) {
            let got = rig.server_of(&syn(Family::BOTH[n as usize % 2], n));
            assert_eq!(got, server, "turn {n} of {weights:?}");
        }
    }
}

#[test]
fn source_sends_a_client_to_one_server() {
    const CLIENTS: u32 = 4_000;
    for family in Family::BOTH {
        let mut rig = rig_of(Scheduler::Source, &[10, 10, 5]);
        let server = |rig: &mut Rig, client: u32, port: u16, flags: u8| {
            let frame = Frame::new(family, port, PORT, flags).by(client);
            rig.server_of(&frame.bytes())
        };
        let mut shares = [0u32; 3];
        let first: Vec<u32> = (0..CLIENTS)
            .map(|client| {
                let chosen = server(&mut rig, client, 40_000, SYN);
                shares[chosen as usize] += 1;
                for port in [1, 25, 40_001, 65_535] {
                    assert_eq!(server(&mut rig, client, port, SYN), chosen);
                }
                // Also without state, on a director that has never seen the client.
                assert_eq!(server(&mut rig, client, 2, ACK), chosen);
                chosen
            })
            .collect();
        for (share, weight) in shares.into_iter().zip([10.0, 10.0, 5.0]) {
            // Four standard deviations of a binomial share.
            let p = weight / 25.0;
            let deviation = (f64::from(CLIENTS) * p * (1.0 - p)).sqrt();
            let off = (f64::from(share) - f64::from(CLIENTS) * p).abs();
            assert!(off < 4.0 * deviation, "{shares:?}");
        }
        // A server leaves: its clients move, and few of the others.
        rig.pool(PORT, Scheduler::Source, &[(0, 10), (1, 10)]);
        rig.apply();
        let moved = (0..CLIENTS)
            .zip(&first)
            .filter(|(_, was)| **was != 2)
            .filter(|(client, was)| server(&mut rig, *client, 3, SYN) != **was)
            .count();
        assert!(moved < CLIENTS as usize / 10, "{moved} moved");
        // It comes back: everything is as it was.
        rig.pool(PORT, Scheduler::Source, &[(0, 10), (1, 10), (2, 5)]);
        rig.apply();
        for (client, &was) in (0..CLIENTS).zip(&first) {
            assert_eq!(server(&mut rig, client, 4, SYN), was);
        }
    }
}

/// The choice without state is the same whatever came before.
#[test]
fn a_flow_without_state_always_goes_to_the_same_server() {
    for scheduler in [Scheduler::Leastconn, Scheduler::Roundrobin] {
        let mut one = rig_of(scheduler, &[10, 10, 5]);
        let chosen: Vec<u32> = (0..500)
            .map(|n| one.server_of(&segment(Family::V4, n, ACK)))
            .collect();
        let mut other = rig_of(scheduler, &[10, 10, 5]);
        for n in 1_000..1_100 {
            other.run(&syn(Family::V4, n));
        }
        for (n, &server) in (0..500).zip(&chosen).rev() {
            other.settle();
            let ran = other.send(&segment(Family::V4, n, ACK));
            assert_eq!(ran.reason, Reason::Recovered);
            assert_eq!(crate::rig::server_at(&ran.out), server);
        }
        for server in 0..3 {
            assert!(chosen.contains(&server));
        }
    }
}
