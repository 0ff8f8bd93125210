//! Which server gets a new flow.
//!
//! `leastconn` takes the least `(load + 1) / weight`. Up to [`POOL_SMALL`] servers all are compared, above that the
//! best of four drawn in proportion to weight. Ties go to the first in an order that turns by one with each choice.
//!
//! The load is `active + pending`. Pending flows are believed only while there are no more of them than active ones
//! (or than `pending_floor`): beyond that they are a flood, and a flood must not steer.
//!
//! Comparisons are arithmetic, not branches: with a compare-and-keep branch per server the verifier follows every
//! combination of outcomes and gives up ("BPF program is too large").

use mb_lb_common::{
    POOL_SMALL, Pool, SCHEDULER_ROUNDROBIN, SCHEDULER_SOURCE, SERVER_PRESENT, SLOTS_PER_BLOCK,
    Server, ServerCount, generation_bits, mix,
};

use crate::{
    atomic,
    maps::{ALIAS, COUNTS, CURSORS, POOLS, SERVERS, SLOTS},
    pending,
};

/// Candidates drawn from a large pool.
const DRAWS: u64 = 4;
/// Positions tried further on where the first choice of a sequence or a Maglev table is at its cap.
const PROBES: u32 = 16;
/// Above any load: marks a server at its cap.
const UNUSABLE: u64 = 1 << 40;

/// What a choice needs to know of the packet and the moment.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Request {
    pub service: u32,
    /// Index of the active pool.
    pub pool: u32,
    /// Of the whole connection.
    pub hash: u64,
    /// Of the client's address.
    pub source: u64,
    pub epoch: u32,
    pub pending_floor: u32,
}

/// All ones where `a < b`, else 0. Both must be below 2^63.
#[inline(always)]
const fn less_mask(a: u64, b: u64) -> u64 {
    ((a.wrapping_sub(b) as i64) >> 63) as u64
}

#[inline(always)]
const fn pick(mask: u64, yes: u64, no: u64) -> u64 {
    no ^ ((yes ^ no) & mask)
}

/// The least loaded candidate so far, by one way to see the load.
#[derive(Clone, Copy)]
struct Best {
    /// `weight << 16 | server`: one word less on a stack of 512 bytes.
    candidate: u64,
    load: u64,
}

impl Best {
    /// Worse than any candidate.
    const NONE: Self = Self {
        candidate: 1 << 16,
        load: UNUSABLE << 1,
    };

    /// Keeps the candidate if `(load + 1) / weight` is less; products stay below 2^60.
    #[inline(always)]
    fn offer(&mut self, candidate: u64, load: u64) {
        let better = less_mask(
            (load + 1) * (self.candidate >> 16),
            (self.load + 1) * (candidate >> 16),
        );
        self.candidate = pick(better, candidate, self.candidate);
        self.load = pick(better, load, self.load);
    }
}

/// Candidates are compared in both ways at once; the sums tell at the end which way is to be believed.
struct Contest {
    with_pending: Best,
    active_only: Best,
    active: u64,
    pending: u64,
}

impl Contest {
    #[inline(always)]
    const fn new() -> Self {
        Self {
            with_pending: Best::NONE,
            active_only: Best::NONE,
            active: 0,
            pending: 0,
        }
    }

    /// # Safety
    /// `count` points into the map of counts.
    #[inline(always)]
    unsafe fn offer(
        &mut self,
        server: u64,
        weight: u64,
        cap: u64,
        count: *mut ServerCount,
        epoch: u32,
    ) {
        // SAFETY: the caller's.
        let active = unsafe { active_of(count) };
        // SAFETY: the caller's.
        let pending = unsafe { pending::present(count, epoch) };
        self.active += active;
        self.pending += pending;
        // SAFETY: the caller's.
        let full = unsafe { at_cap(count, active, cap) };
        if cap != 0 {
            // SAFETY: the caller's.
            unsafe { atomic::add_u64(&raw mut (*count).refused, full & 1) };
        }
        // With pending flows the cap is kept ahead of time.
        let over = !less_mask(active + pending, cap) & !equal_zero_mask(cap);
        let candidate = weight << 16 | server;
        self.with_pending
            .offer(candidate, (active + pending) | (UNUSABLE & (full | over)));
        self.active_only
            .offer(candidate, active | (UNUSABLE & full));
    }

    #[inline(always)]
    fn winner(self, floor: u32) -> Option<u32> {
        let believed = self.pending <= self.active || self.pending <= floor as u64;
        let best = if believed {
            self.with_pending
        } else {
            self.active_only
        };
        if best.load >= UNUSABLE {
            return None;
        }
        Some(best.candidate as u32 & 0xffff)
    }
}

#[inline(always)]
const fn equal_zero_mask(a: u64) -> u64 {
    // Both are below 2^63.
    (a.wrapping_sub(1) as i64 >> 63) as u64
}

/// The count of active flows, never below zero.
///
/// # Safety
/// `count` points into the map of counts.
#[inline(always)]
unsafe fn active_of(count: *const ServerCount) -> u64 {
    // SAFETY: the caller's.
    let active = unsafe { atomic::load((&raw const (*count).active).cast()) };
    active & !((active as i64 >> 63) as u64)
}

/// All ones while the server takes nothing because of its cap: from `cap` flows on, until they are below three
/// quarters of it. Branchless; `cap` 0 is no cap.
///
/// # Safety
/// As [`active_of`].
#[inline(always)]
unsafe fn at_cap(count: *mut ServerCount, active: u64, cap: u64) -> u64 {
    // SAFETY: the caller's.
    let was = unsafe { atomic::load(&raw const (*count).full) };
    let reached = !less_mask(active, cap);
    let lingers = !less_mask(active * 4, cap * 3) & !equal_zero_mask(was);
    let full = (reached | lingers) & !equal_zero_mask(cap);
    // SAFETY: the caller's. A plain store: every CPU derives the same value from the same counts.
    unsafe { (&raw mut (*count).full).write_volatile(full & 1) };
    full
}

/// Answer of [`mb_lb_choose`] and [`mb_lb_consistent`]: there is no server, or all are at their cap.
const NO_SERVER: u32 = u32::MAX;

/// Chooses a server by the service's scheduler. `None`: there is none, or all are at their cap.
#[inline(always)]
pub fn choose(request: &Request) -> Option<u32> {
    // SAFETY: a live reference.
    some(unsafe { mb_lb_choose(request) })
}

/// The consistent choice, without state: alike on every director with the same servers.
#[inline(always)]
pub fn consistent(request: &Request) -> Option<u32> {
    // SAFETY: a live reference.
    some(unsafe { mb_lb_consistent(request) })
}

#[inline(always)]
const fn some(server: u32) -> Option<u32> {
    if server == NO_SERVER {
        None
    } else {
        Some(server)
    }
}

/// A global function: the verifier looks at it once, and not again for each way that leads to it (which exceeds
/// its million instructions). The argument must look like a C pointer to the verifier, hence no reference.
///
/// # Safety
/// `request` is null or points at a request.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn mb_lb_choose(request: *const Request) -> u32 {
    // SAFETY: the caller's; the check for null is the verifier's wish.
    unsafe { request.as_ref() }
        .and_then(by_scheduler)
        .unwrap_or(NO_SERVER)
}

/// As [`mb_lb_choose`].
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn mb_lb_consistent(request: *const Request) -> u32 {
    // SAFETY: the caller's; the check for null is the verifier's wish.
    unsafe { request.as_ref() }
        .and_then(by_hash)
        .unwrap_or(NO_SERVER)
}

#[inline(always)]
fn by_scheduler(request: &Request) -> Option<u32> {
    let pool = POOLS.get_ptr(request.pool)?;
    // SAFETY: inside the map value; a pool is not changed while it is active.
    let pool = unsafe { &*pool };
    if pool.servers == 0 {
        return None;
    }
    let cursor = CURSORS.get_ptr_mut(request.service)?;
    // SAFETY: inside the map value.
    let turn = unsafe { atomic::add_u64(&raw mut (*cursor).next, 1) };
    let first = match pool.scheduler {
        SCHEDULER_ROUNDROBIN => walk(pool.sequence, pool.sequence_len, turn, pool.capped != 0),
        SCHEDULER_SOURCE => walk(
            pool.maglev,
            pool.maglev_len,
            scale(request.source, pool.maglev_len),
            pool.capped != 0,
        ),
        _ => None,
    };
    // A heavy server can fill all places that a walk tries. Where it is at its cap, any server with room will do.
    match first {
        Some(server) => Some(server),
        None if pool.servers as usize <= POOL_SMALL => least_of_all(pool, request, turn),
        None => least_of_four(pool, request, turn),
    }
}

#[inline(always)]
fn by_hash(request: &Request) -> Option<u32> {
    let pool = POOLS.get_ptr(request.pool)?;
    // SAFETY: inside the map value; a pool is not changed while it is active.
    let pool = unsafe { &*pool };
    if pool.servers == 0 {
        return None;
    }
    let hash = if pool.scheduler == SCHEDULER_SOURCE {
        request.source
    } else {
        request.hash
    };
    slot(pool.maglev, pool.maglev_len, scale(hash, pool.maglev_len))
}

/// Maps a hash evenly onto `0..n`.
#[inline(always)]
const fn scale(hash: u64, n: u32) -> u64 {
    ((hash >> 32) * n as u64) >> 32
}

#[inline(always)]
fn least_of_all(pool: &Pool, request: &Request, turn: u64) -> Option<u32> {
    let n = pool.servers as u64;
    let start = turn.checked_rem(n)?;
    let mut contest = Contest::new();
    for i in 0..POOL_SMALL as u64 {
        if i >= n {
            break;
        }
        let at = start + i;
        // Minus n where at is n or more.
        let at = at.wrapping_sub(n & !less_mask(at, n));
        let entry = &pool.small[(at & (POOL_SMALL as u64 - 1)) as usize];
        let count = COUNTS.get_ptr_mut(entry.server)?;
        // SAFETY: a pointer that the map has just given.
        unsafe {
            contest.offer(
                entry.server as u64,
                entry.weight as u64,
                entry.max_connections as u64,
                count,
                request.epoch,
            );
        }
    }
    contest.winner(request.pending_floor)
}

#[inline(always)]
fn least_of_four(pool: &Pool, request: &Request, turn: u64) -> Option<u32> {
    let mut contest = Contest::new();
    let mut random = request.hash ^ mix(turn);
    for _ in 0..DRAWS {
        random = mix(random.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let column = scale(random, pool.servers) as u32;
        let entry = ALIAS.get_ptr(pool.alias + column)?;
        // SAFETY: inside the map value.
        let entry = unsafe { &*entry };
        let own = less_mask(random & 0xffff_ffff, entry.threshold as u64);
        let server = pick(own, entry.server as u64, entry.alias as u64);
        let weight = pick(own, entry.server_weight as u64, entry.alias_weight as u64);
        let count = COUNTS.get_ptr_mut(server as u32)?;
        let mut cap = 0;
        if pool.capped != 0 {
            let record = SERVERS.get_ptr(server as u32)?;
            // SAFETY: inside the map value.
            cap = unsafe { (*record).max_connections } as u64;
        }
        // SAFETY: a pointer that the map has just given.
        unsafe { contest.offer(server, weight, cap, count, request.epoch) };
    }
    match contest.winner(request.pending_floor) {
        Some(server) => Some(server),
        // All four are at their cap: look further before saying that there is none.
        None => walk(
            pool.maglev,
            pool.maglev_len,
            scale(request.hash, pool.maglev_len),
            true,
        ),
    }
}

/// The server at position `at` (modulo the length), or at one of the next where that one is at its cap.
#[inline(always)]
fn walk(first: u32, len: u32, at: u64, capped: bool) -> Option<u32> {
    if len == 0 {
        return None;
    }
    let start = at.checked_rem(len as u64)? as u32;
    if !capped {
        return slot(first, len, start as u64);
    }
    for i in 0..PROBES {
        let mut position = start + i;
        // A table may be shorter than the number of probes.
        position = position.checked_rem(len)?;
        let server = slot(first, len, position as u64)?;
        let record = SERVERS.get_ptr(server)?;
        let count = COUNTS.get_ptr_mut(server)?;
        // SAFETY: pointers that the maps have just given.
        let full = unsafe { at_cap(count, active_of(count), (*record).max_connections as u64) };
        if full == 0 {
            return Some(server);
        }
        // SAFETY: inside the map value.
        unsafe { atomic::add_u64(&raw mut (*count).refused, 1) };
    }
    None
}

#[inline(always)]
fn slot(first: u32, len: u32, at: u64) -> Option<u32> {
    if at >= len as u64 {
        return None;
    }
    let block = SLOTS.get_ptr(first + at as u32 / SLOTS_PER_BLOCK)?;
    // SAFETY: inside the map value; the index is masked to the block.
    let server = unsafe { (*block).slots[(at as u32 % SLOTS_PER_BLOCK) as usize] };
    Some(server as u32)
}

/// A server that a segment can be sent to.
#[derive(Clone, Copy)]
pub struct Target {
    pub server: u32,
    /// Next hop and flags, see [`Server::link`].
    pub link: u64,
    pub ifindex: u32,
    pub generation: u32,
}

impl Target {
    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        Server::flags_of(self.link) & flag != 0
    }
}

/// A server that has just been chosen.
#[inline(always)]
pub fn target(server: u32) -> Option<Target> {
    let record = SERVERS.get_ptr(server)?;
    // SAFETY: inside the map value. `link` is one load, so MAC address and flags belong together.
    let target = unsafe {
        Target {
            server,
            link: atomic::load(&raw const (*record).link),
            ifindex: (*record).ifindex,
            generation: (*record).generation,
        }
    };
    if !target.has(SERVER_PRESENT) {
        return None;
    }
    Some(target)
}

/// The server that a word names, if `generation` (as in the word) is still its own.
#[inline(always)]
pub fn owner(server: u32, generation: u64) -> Option<Target> {
    let target = target(server)?;
    if generation_bits(target.generation) != generation {
        return None;
    }
    Some(target)
}

/// Two indices are one machine.
#[inline(always)]
pub fn same_address(a: u32, b: u32) -> bool {
    let (Some(a), Some(b)) = (SERVERS.get_ptr(a), SERVERS.get_ptr(b)) else {
        return false;
    };
    // SAFETY: inside the map values.
    unsafe {
        let (a, b) = (
            (&raw const (*a).address).cast::<u64>(),
            (&raw const (*b).address).cast::<u64>(),
        );
        atomic::load(a) == atomic::load(b) && atomic::load(a.add(1)) == atomic::load(b.add(1))
    }
}

/// Where the server that a word names counts its flows. `None`: its index belongs to another server by now, whose
/// counts are none of the flow's.
#[inline(always)]
pub fn count_of(server: u32, generation: u64) -> Option<*mut ServerCount> {
    let record = SERVERS.get_ptr(server)?;
    // SAFETY: inside the map value.
    if generation_bits(unsafe { (*record).generation }) != generation {
        return None;
    }
    COUNTS.get_ptr_mut(server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn masks_are_comparisons(a in 0u64..1 << 62, b in 0u64..1 << 62) {
            prop_assert_eq!(less_mask(a, b) == u64::MAX, a < b);
            prop_assert_eq!(less_mask(a, b) == 0, a >= b);
            prop_assert_eq!(equal_zero_mask(a) != 0, a == 0);
            prop_assert_eq!(pick(less_mask(a, b), a, b), a.min(b));
        }

        /// The scan keeps what a division-free comparison of fractions would choose: the first of the least.
        #[test]
        fn best_is_the_first_of_the_least(candidates in prop::collection::vec((0u64..1_000_000, 1u64..=65_536), 1..40)) {
            let mut best = Best::NONE;
            for (i, &(load, weight)) in candidates.iter().enumerate() {
                best.offer(weight << 16 | i as u64, load);
            }
            let expected = candidates
                .iter()
                .enumerate()
                .min_by(|(i, a), (j, b)| {
                    (u128::from(a.0 + 1) * u128::from(b.1))
                        .cmp(&(u128::from(b.0 + 1) * u128::from(a.1)))
                        .then(i.cmp(j))
                })
                .map(|(i, _)| i as u64);
            prop_assert_eq!(Some(best.candidate & 0xffff), expected);
        }

        #[test]
        fn cap_has_hysteresis(cap in 1u64..10_000, steps in prop::collection::vec(0i64..12_000, 1..50)) {
            let mut count = ServerCount::default();
            let mut full = false;
            for active in steps {
                count.active = active;
                // SAFETY: a live, exclusive reference.
                let got = unsafe { at_cap(&mut count, active as u64, cap) } != 0;
                full = active as u64 >= cap || (full && active as u64 * 4 >= cap * 3);
                prop_assert_eq!(got, full);
            }
        }
    }

    #[test]
    fn no_cap_is_never_full() {
        let mut count = ServerCount {
            full: 1,
            ..ServerCount::default()
        };
        // SAFETY: a live, exclusive reference.
        assert_eq!(unsafe { at_cap(&mut count, 1_000_000, 0) }, 0);
        assert_eq!(count.full, 0);
    }
}
