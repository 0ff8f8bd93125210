//! Weighted Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4): an even table that moves little when servers
//! come and go, built alike by every director.

use mb_lb_common::mix;

use super::Candidate;

/// Table lengths, all prime so that every skip visits every slot. Each is about twice the one before: so no server
/// has more than 200 slots, and the tables of all servers that can exist fit the arena twice.
const LENGTHS: [u32; 7] = [1021, 2039, 4093, 8191, 16381, 32749, 65537];
/// Slots per server aimed at; fewer where the largest table does not have them.
const SLOTS_PER_SERVER: u32 = 100;

/// The table: kernel indices of servers. Its length follows `configured`, not how many of them are usable now: another
/// length would move nearly every client when one server goes.
pub fn build(candidates: &[Candidate], configured: usize) -> Vec<u16> {
    let n = configured.max(candidates.len()) as u32;
    let len = LENGTHS
        .into_iter()
        .find(|&len| len >= n * SLOTS_PER_SERVER)
        .unwrap_or(LENGTHS[LENGTHS.len() - 1]);
    fill(candidates, len)
}

/// In turns by identity; a server's turn comes as often as its weight says, the heaviest in every round.
fn fill(candidates: &[Candidate], len: u32) -> Vec<u16> {
    struct Turn {
        server: u16,
        weight: u64,
        credit: u64,
        next: u64,
        skip: u64,
    }
    let len = u64::from(len);
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    order.sort_by_key(|c| (c.identity, c.server));
    let heaviest = order.iter().map(|c| u64::from(c.weight)).max().unwrap_or(1);
    let mut turns: Vec<Turn> = order
        .into_iter()
        .map(|c| Turn {
            server: c.server as u16,
            weight: u64::from(c.weight),
            credit: 0,
            next: mix(c.identity) % len,
            skip: mix(c.identity ^ 0x6d62_2d6c_6221_0001) % (len - 1) + 1,
        })
        .collect();
    let mut table: Vec<Option<u16>> = vec![None; len as usize];
    let mut left = len;
    loop {
        for turn in &mut turns {
            turn.credit += turn.weight;
            if turn.credit < heaviest {
                continue;
            }
            turn.credit -= heaviest;
            while table[turn.next as usize].is_some() {
                turn.next = (turn.next + turn.skip) % len;
            }
            table[turn.next as usize] = Some(turn.server);
            left -= 1;
            if left == 0 {
                return table.into_iter().flatten().collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::candidates;
    use std::collections::BTreeMap;

    fn shares(table: &[u16]) -> BTreeMap<u16, usize> {
        let mut shares = BTreeMap::new();
        for &server in table {
            *shares.entry(server).or_default() += 1;
        }
        shares
    }

    #[test]
    fn shares_follow_weights() {
        for weights in [vec![10, 10, 5], vec![1, 256], vec![7; 64], vec![1; 1024]] {
            let table = build(&candidates(&weights), weights.len());
            let total: u32 = weights.iter().sum();
            for (server, slots) in shares(&table) {
                let expected =
                    table.len() as f64 * f64::from(weights[server as usize]) / f64::from(total);
                assert!(
                    (slots as f64 - expected).abs() <= 2.0,
                    "server {server} of {}: {slots} slots for {expected}",
                    weights.len()
                );
            }
        }
    }

    #[test]
    fn order_and_indices_do_not_matter() {
        let one = candidates(&[10, 10, 5, 3]);
        let table = build(&one, 4);
        // Another director: other indices, other order, same addresses.
        let mut other: Vec<_> = one.iter().rev().cloned().collect();
        for c in &mut other {
            c.server += 100;
        }
        let expected: Vec<u16> = table.iter().map(|s| s + 100).collect();
        assert_eq!(build(&other, 4), expected);
    }

    #[test]
    fn few_slots_move_when_a_server_leaves() {
        // With 11 the table is longer than 10 would need.
        for n in [10, 11] {
            let all = candidates(&vec![1; n]);
            let left = &all[..n - 1];
            let gone = all[n - 1].server as u16;
            let (before, after) = (build(&all, n), build(left, n));
            assert_eq!(before.len(), after.len());
            let moved = before
                .iter()
                .zip(&after)
                .filter(|(b, a)| **b != gone && b != a)
                .count();
            // A tenth belonged to the server that left; of the rest, Maglev moves a few percent.
            assert!(
                moved * 100 < before.len() * 10,
                "{moved} of {} moved",
                before.len()
            );
        }
    }

    #[test]
    fn the_arena_has_room_for_every_server_that_can_exist_twice() {
        use mb_lb_common::{MAX_SERVERS, MAX_SERVICES, MAX_SLOT_BLOCKS, SLOTS_PER_BLOCK};
        let blocks =
            |n: usize| (build(&candidates(&vec![1; n]), n).len() as u32).div_ceil(SLOTS_PER_BLOCK);
        // The dearest numbers of servers: just too many for the next shorter table.
        for n in [1, 11, 21, 41, 82, 164, 328, 1024] {
            let services = (MAX_SERVERS / n as u32).min(MAX_SERVICES);
            let needed = 2 * services * blocks(n);
            assert!(
                needed <= MAX_SLOT_BLOCKS,
                "{services} services of {n} servers need {needed}"
            );
        }
    }
}
