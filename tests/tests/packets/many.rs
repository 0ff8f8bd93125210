//! `leastconn` over more servers than it compares: how even it is, against a simulation of what it promises. And as many
//! services as there can be.

use std::collections::BTreeMap;

use mb_lb_common::MAX_SERVICES;
use mb_lb_ctl::config::Scheduler;
use mb_lb_ctl::plan::DesiredService;
use mb_lb_ctl::schedule::{Candidate, PoolSpec};

use crate::choice::{rig_of, segment};
use crate::frame::{ACK, SYN};
use crate::rig::{Family, Rig};

/// Flows per unit of weight.
const FLOWS: u32 = 20;

/// The best of four servers drawn in proportion to weight. Returns the heaviest load in terms of the fair share.
fn simulate(weights: &[u32], flows: u32, random: &mut fastrand::Rng) -> f64 {
    let drawn: Vec<usize> = weights
        .iter()
        .enumerate()
        .flat_map(|(server, &weight)| vec![server; weight as usize])
        .collect();
    let mut load = vec![0u32; weights.len()];
    for _ in 0..flows {
        let chosen = (0..4)
            .map(|_| drawn[random.usize(..drawn.len())])
            .min_by(|&a, &b| {
                let of = |i: usize, j: usize| (load[i] + 1) * weights[j];
                of(a, b).cmp(&of(b, a))
            })
            .expect("four");
        load[chosen] += 1;
    }
    heaviest(weights, &load)
}

/// How many times its fair share the server has that is worst off.
fn heaviest(weights: &[u32], load: &[u32]) -> f64 {
    let (total, flows): (u32, u32) = (weights.iter().sum(), load.iter().sum());
    let per_weight = f64::from(flows) / f64::from(total);
    load.iter()
        .zip(weights)
        .map(|(&load, &weight)| f64::from(load) / (f64::from(weight) * per_weight))
        .fold(0.0, f64::max)
}

#[test]
fn the_best_of_four_is_nearly_even() {
    let mut random = fastrand::Rng::with_seed(4);
    let mut cases: Vec<Vec<u32>> = [17, 64, 1000].map(|n| vec![1; n]).to_vec();
    for n in [17, 64, 300] {
        cases.push((0..n).map(|_| random.u32(1..=8)).collect());
    }
    for weights in cases {
        let flows = FLOWS * weights.iter().sum::<u32>();
        // The worst of some runs, and a twentieth more: where four random draws are meant, this is what they give.
        let bound = (0..10)
            .map(|_| simulate(&weights, flows, &mut random))
            .fold(0.0, f64::max)
            * 1.05;
        assert!(bound < 1.6, "the simulation is even itself: {bound}");
        let mut rig = rig_of(Scheduler::Leastconn, &weights);
        let mut load = vec![0u32; weights.len()];
        for n in 0..flows {
            let server = rig.server_of(&segment(Family::V4, n, SYN));
            assert_eq!(rig.server_of(&segment(Family::V4, n, ACK)), server);
            load[server as usize] += 1;
        }
        let worst = heaviest(&weights, &load);
        assert!(
            worst <= bound,
            "{} servers: {worst:.3} of the fair share, {bound:.3} is allowed",
            weights.len()
        );
        assert!(load.iter().all(|&flows| flows > 0), "a server got nothing");
        rig.audit();
    }
}

/// A server that is new and empty gets its share of new flows, not all of them.
#[test]
fn an_empty_server_is_not_flooded() {
    let weights = vec![1; 40];
    let mut rig = rig_of(Scheduler::Leastconn, &weights);
    let all: Vec<(u32, u32)> = (0..40).map(|server| (server, 1)).collect();
    rig.pool(25, Scheduler::Leastconn, &all[1..]);
    rig.apply();
    for n in 0..2_000 {
        rig.run(&segment(Family::V4, n, SYN));
        rig.run(&segment(Family::V4, n, ACK));
    }
    assert_eq!(rig.active(0), 0);
    rig.pool(25, Scheduler::Leastconn, &all);
    rig.apply();
    for n in 2_000..2_200 {
        rig.run(&segment(Family::V4, n, SYN));
        rig.run(&segment(Family::V4, n, ACK));
    }
    // It is among the four in about a tenth of all draws, and then it wins: 19 are to be expected.
    let got = rig.active(0);
    assert!((8..=36).contains(&got), "{got} of 200");
    rig.audit();
}

/// Tables of 256 services, each as long as it can be: they fit once, and while one after the other is replaced.
#[test]
fn the_longest_tables_of_all_services_can_be_replaced() {
    let mut rig = Rig::new();
    // Together as long as a sequence gets, without a common divisor.
    for weights in [[8000, 4191, 4193], [8000, 4193, 4191], [8002, 4191, 4191]] {
        let candidates: Vec<_> = (0u32..)
            .zip(weights)
            .map(|(server, weight)| Candidate {
                server,
                weight,
                max_connections: 0,
                identity: u64::from(server),
            })
            .collect();
        rig.desired.services = (0..MAX_SERVICES)
            .map(|id| {
                let pool = PoolSpec {
                    scheduler: Scheduler::Roundrobin,
                    configured: candidates.len(),
                    candidates: candidates.clone(),
                };
                (id, DesiredService { flags: 0, pool })
            })
            .collect::<BTreeMap<_, _>>();
        rig.apply();
    }
}
