//! Which server a request goes to. Pure: counts and random numbers come in as arguments.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mb_lb_common::mix;

use super::Target;
use crate::config::{ProxyScheduler, ProxyServer};
use crate::schedule::{Candidate, PoolSpec, WEIGHT_SCALE, stable_hash};
use crate::snapshot::{AdminState, HealthState};

/// A server that takes new users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usable {
    /// Index in the configuration.
    server: usize,
    /// With slow start, times [`WEIGHT_SCALE`]; at least 1.
    weight: u32,
}

/// The servers of a proxy as the engine has them now, ready to choose from.
#[derive(Debug)]
pub struct Balance {
    scheduler: ProxyScheduler,
    /// Whether a request whose cookie names it may go there, by index.
    keeps: Vec<bool>,
    /// Whether its connections go on, by index.
    lives: Vec<bool>,
    /// `max_connections` with slow start, by index.
    most: Vec<Option<u32>>,
    usable: Vec<Usable>,
    total: u64,
    /// With `source`: slots that hold indices of `usable`.
    maglev: Vec<u16>,
    /// With `roundrobin`: what each of `usable` is owed.
    owed: Mutex<Vec<i64>>,
    /// Where a search among equals begins.
    turn: AtomicUsize,
}

impl Balance {
    /// `targets` are in the order of `servers`; one that is missing counts as down.
    pub fn new(scheduler: ProxyScheduler, servers: &[ProxyServer], targets: &[Target]) -> Self {
        let known: HashMap<&str, &Target> = targets.iter().map(|t| (t.name.as_str(), t)).collect();
        let of = |server: &ProxyServer| known.get(server.name.as_str()).copied();
        let take = |backup: bool| -> Vec<Usable> {
            let all = servers.iter().enumerate();
            all.filter(|(_, server)| server.backup == backup)
                .filter_map(|(at, server)| {
                    let target = of(server).filter(|target| target.takes_users())?;
                    let weight = u32::from(target.weight) * WEIGHT_SCALE;
                    Some(Usable {
                        server: at,
                        weight: (weight * u32::from(target.percent) / 100).max(1),
                    })
                })
                .collect()
        };
        let mut usable = take(false);
        if usable.is_empty() {
            usable = take(true);
        }
        let maglev = match scheduler {
            ProxyScheduler::Source => maglev(servers, &usable),
            _ => Vec::new(),
        };
        Self {
            scheduler,
            keeps: servers
                .iter()
                .map(|server| of(server).is_some_and(Target::keeps_users))
                .collect(),
            lives: servers
                .iter()
                .map(|server| {
                    of(server).is_none_or(|target| {
                        target.health != HealthState::Down && target.admin != AdminState::Maint
                    })
                })
                .collect(),
            most: servers
                .iter()
                .map(|server| {
                    let percent = of(server).map_or(100, |target| target.percent);
                    let most = of(server).map_or(server.max_connections, |target| target.most);
                    most.map(|most| share(most, percent))
                })
                .collect(),
            total: usable.iter().map(|usable| u64::from(usable.weight)).sum(),
            owed: Mutex::new(vec![0; usable.len()]),
            turn: AtomicUsize::new(0),
            maglev,
            usable,
        }
    }

    /// Whether a request whose cookie names this server may go there.
    pub fn keeps(&self, server: usize) -> bool {
        self.keeps.get(server).copied().unwrap_or(false)
    }

    /// Whether its connections go on: not where it is down or in maintenance. Nothing is known of it: they do.
    pub fn lives(&self, server: usize) -> bool {
        self.lives.get(server).copied().unwrap_or(true)
    }

    /// Whether it takes new users.
    pub fn takes(&self, server: usize) -> bool {
        self.usable.iter().any(|usable| usable.server == server)
    }

    /// Requests that it may have at a time; `None`: no cap.
    pub fn most(&self, server: usize) -> Option<u32> {
        self.most.get(server).copied().flatten()
    }

    /// Whether another server takes new users.
    pub fn has_other(&self, server: usize) -> bool {
        self.usable.iter().any(|usable| usable.server != server)
    }

    /// Whether any server takes new users.
    pub fn is_empty(&self) -> bool {
        self.usable.is_empty()
    }

    /// Index of the server for a request without a cookie that holds. `may`: a place is free there, and it was not tried
    /// yet. `load`: requests under way and queued there.
    pub fn choose(
        &self,
        client: IpAddr,
        random: impl FnMut() -> u64,
        load: impl Fn(usize) -> u64,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match self.scheduler {
            ProxyScheduler::Roundrobin => self.in_turn(may),
            ProxyScheduler::Leastconn => self.least(load, may),
            ProxyScheduler::Source => self.by_source(client, may),
            ProxyScheduler::Random => self.better_of_two(random, load, may),
        }
    }

    /// Smooth weighted round robin: each is owed its weight, and who is owed most pays for all.
    fn in_turn(&self, may: impl Fn(usize) -> bool) -> Option<usize> {
        let mut owed = self
            .owed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut total = 0;
        let mut best: Option<usize> = None;
        for (at, usable) in self.usable.iter().enumerate() {
            if !may(usable.server) {
                continue;
            }
            owed[at] += i64::from(usable.weight);
            total += i64::from(usable.weight);
            if best.is_none_or(|best| owed[at] > owed[best]) {
                best = Some(at);
            }
        }
        let best = best?;
        owed[best] -= total;
        Some(self.usable[best].server)
    }

    /// The least `(load + 1) / weight`; equals take turns.
    fn least(&self, load: impl Fn(usize) -> u64, may: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.usable.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut best: Option<(u64, u32, usize)> = None;
        for step in 0..count {
            let usable = self.usable[(first.wrapping_add(step)) % count];
            if !may(usable.server) {
                continue;
            }
            let wanted = load(usable.server) + 1;
            let is_less = best.is_none_or(|(least, weight, _)| {
                u128::from(wanted) * u128::from(weight)
                    < u128::from(least) * u128::from(usable.weight)
            });
            if is_less {
                best = Some((wanted, usable.weight, usable.server));
            }
        }
        best.map(|(_, _, server)| server)
    }

    fn by_source(&self, client: IpAddr, may: impl Fn(usize) -> bool) -> Option<usize> {
        let slots = self.maglev.len();
        if slots == 0 {
            return None;
        }
        let mut hash = hash(client);
        // The next slots, where that server cannot have it; a pool has a prime number of slots, far more than servers.
        for _ in 0..slots.min(512) {
            let at = usize::try_from(hash % slots as u64).unwrap_or_default();
            let server = self.usable.get(usize::from(self.maglev[at]))?.server;
            if may(server) {
                return Some(server);
            }
            hash = mix(hash);
        }
        self.in_turn(may)
    }

    /// Of two that are drawn in proportion to their weights, the one with the smaller load.
    fn better_of_two(
        &self,
        mut random: impl FnMut() -> u64,
        load: impl Fn(usize) -> u64,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut draw = || {
            let mut left = random().checked_rem(self.total)?;
            self.usable.iter().find(|usable| {
                let is_here = left < u64::from(usable.weight);
                left = left.saturating_sub(u64::from(usable.weight));
                is_here
            })
        };
        let (a, b) = (draw()?, draw()?);
        let share = |usable: &Usable| {
            u128::from(load(usable.server) + 1) * u128::from(WEIGHT_SCALE) * 1024
                / u128::from(usable.weight)
        };
        let (first, second) = if share(b) < share(a) { (b, a) } else { (a, b) };
        [first, second]
            .into_iter()
            .map(|usable| usable.server)
            .find(|&server| may(server))
            .or_else(|| self.least(load, may))
    }
}

/// At least one, so that it comes to work at all.
fn share(most: u32, percent: u8) -> u32 {
    let share = u64::from(most) * u64::from(percent.min(100)) / 100;
    u32::try_from(share).unwrap_or(most).max(1)
}

/// The same on both directors: by addresses, not by order.
fn maglev(servers: &[ProxyServer], usable: &[Usable]) -> Vec<u16> {
    let candidates = usable.iter().enumerate().map(|(at, usable)| Candidate {
        server: u32::try_from(at).unwrap_or(u32::MAX),
        weight: usable.weight,
        max_connections: 0,
        identity: stable_hash(servers[usable.server].address.to_string().as_bytes()),
    });
    let spec = PoolSpec {
        scheduler: crate::config::Scheduler::Source,
        candidates: candidates.collect(),
        configured: servers.len(),
    };
    crate::schedule::build(&spec).maglev
}

fn hash(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => stable_hash(&address.octets()),
        IpAddr::V6(address) => stable_hash(&address.octets()),
    }
}

#[cfg(test)]
mod tests;
