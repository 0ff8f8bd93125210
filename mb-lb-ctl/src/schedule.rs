//! From the servers that may take new flows to the tables that the program chooses from.
//!
//! Where a new scheduler would go: a `SCHEDULER_*` number, its table here, its choice in the program's `select`.

mod alias;
mod maglev;
mod smooth;

use mb_lb_common::{
    AliasEntry, POOL_SMALL, SCHEDULER_LEASTCONN, SCHEDULER_ROUNDROBIN, SCHEDULER_SOURCE, SmallEntry,
};

use crate::config::Scheduler;

/// Weights in pools are configured weights times this: slow start needs the fraction.
pub const WEIGHT_SCALE: u32 = 256;

/// A server that may take new flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Index in the kernel.
    pub server: u32,
    /// Effective weight times [`WEIGHT_SCALE`]; not 0.
    pub weight: u32,
    /// 0: no cap.
    pub max_connections: u32,
    /// Stable hash of the server's address: two directors build the same Maglev table from it, whatever their
    /// indices and the order of their configurations.
    pub identity: u64,
}

/// What a pool is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    pub scheduler: Scheduler,
    /// Those that may take new flows now.
    pub candidates: Vec<Candidate>,
    /// Servers of the service, usable or not.
    pub configured: usize,
}

/// The tables of a pool, as they stand in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    pub servers: u32,
    pub scheduler: u32,
    pub capped: bool,
    pub small: Vec<SmallEntry>,
    pub alias: Vec<AliasEntry>,
    pub sequence: Vec<u16>,
    pub maglev: Vec<u16>,
}

/// Number of a scheduler in the kernel.
pub const fn scheduler_number(scheduler: Scheduler) -> u32 {
    match scheduler {
        Scheduler::Leastconn => SCHEDULER_LEASTCONN,
        Scheduler::Roundrobin => SCHEDULER_ROUNDROBIN,
        Scheduler::Source => SCHEDULER_SOURCE,
    }
}

/// Builds the tables. Every scheduler gets a Maglev table: it is the fall-back without state.
pub fn build(spec: &PoolSpec) -> Tables {
    let candidates = &spec.candidates;
    let mut tables = Tables {
        servers: candidates.len() as u32,
        scheduler: scheduler_number(spec.scheduler),
        capped: candidates.iter().any(|c| c.max_connections != 0),
        ..Tables::default()
    };
    if candidates.is_empty() {
        return tables;
    }
    if candidates.len() <= POOL_SMALL {
        tables.small = candidates
            .iter()
            .map(|c| SmallEntry {
                server: c.server,
                weight: c.weight,
                max_connections: c.max_connections,
                reserved: 0,
            })
            .collect();
    } else {
        tables.alias = alias::build(candidates);
    }
    if spec.scheduler == Scheduler::Roundrobin {
        tables.sequence = smooth::build(candidates);
    }
    tables.maglev = maglev::build(candidates, spec.configured);
    tables
}

/// FNV-1a, 64 bits: stable across builds, unlike the standard library's hashers.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
pub(crate) fn candidates(weights: &[u32]) -> Vec<Candidate> {
    weights
        .iter()
        .enumerate()
        .map(|(i, &weight)| Candidate {
            server: i as u32,
            weight: weight * WEIGHT_SCALE,
            max_connections: 0,
            identity: stable_hash(format!("10.0.{}.{}", i / 256, i % 256).as_bytes()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tables_that_a_scheduler_needs() {
        let spec = |scheduler, n: usize| PoolSpec {
            scheduler,
            candidates: candidates(&vec![1; n]),
            configured: n,
        };
        let small = build(&spec(Scheduler::Leastconn, 16));
        assert_eq!(
            (small.small.len(), small.alias.len(), small.sequence.len()),
            (16, 0, 0)
        );
        let large = build(&spec(Scheduler::Leastconn, 17));
        assert_eq!(
            (large.small.len(), large.alias.len(), large.sequence.len()),
            (0, 17, 0)
        );
        let rr = build(&spec(Scheduler::Roundrobin, 3));
        assert_eq!(rr.sequence.len(), 3);
        let none = build(&spec(Scheduler::Source, 0));
        assert_eq!(
            none,
            Tables {
                scheduler: SCHEDULER_SOURCE,
                ..Tables::default()
            }
        );
    }
}
