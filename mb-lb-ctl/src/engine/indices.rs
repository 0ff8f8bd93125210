//! Which index in the kernel belongs to which server.
//!
//! An index is given away again only when no flow in the table names it; each time with a new generation, so that
//! nothing that still remembers the old server can count for the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mb_lb_common::{MAX_SERVERS, Server};

use crate::plan::mapped;

/// Sweeps in a row that must find no flow of a removed server. A sweep comes once a second at most: handshakes that were
/// under way and clients that are half closed have a minute.
const QUIET_SWEEPS: u32 = 60;

/// An index and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub index: u32,
    pub generation: u32,
}

/// A server that was removed while it had flows: its record stays until they are gone.
#[derive(Clone, Debug)]
pub struct Retired {
    pub server: Server,
    quiet: u32,
}

/// All indices.
#[derive(Clone, Debug)]
pub struct Indices {
    /// The last generation of every index that was ever used.
    generations: BTreeMap<u32, u32>,
    free: BTreeSet<u32>,
    retired: BTreeMap<u32, Retired>,
    /// Retired indices by name hash.
    by_name: BTreeMap<u64, u32>,
}

impl Default for Indices {
    fn default() -> Self {
        Self {
            generations: BTreeMap::new(),
            free: (0..MAX_SERVERS).collect(),
            retired: BTreeMap::new(),
            by_name: BTreeMap::new(),
        }
    }
}

impl Indices {
    /// Starts from what an earlier controller left: all of its servers are retired until the configuration names them.
    pub fn adopt(servers: &BTreeMap<u32, Server>, generations: &BTreeMap<u32, u32>) -> Self {
        let mut indices = Self {
            generations: generations.clone(),
            ..Self::default()
        };
        for (&index, &server) in servers {
            indices.generations.insert(index, server.generation);
            indices.free.remove(&index);
            indices.retire(index, server);
        }
        indices
    }

    /// The index of the server with this name hash: the one it has or had, else a free one. `None`: all are taken.
    /// With it comes the record of an earlier life, where there is one.
    pub fn take(&mut self, name_hash: u64) -> Option<(Slot, Option<Server>)> {
        if let Some(index) = self.by_name.remove(&name_hash) {
            let retired = self.retired.remove(&index);
            let generation = self.generations.get(&index).copied().unwrap_or(1);
            return Some((Slot { index, generation }, retired.map(|r| r.server)));
        }
        let index = self.free.pop_first()?;
        let generation = self
            .generations
            .get(&index)
            .map_or(1, |generation| generation.wrapping_add(1).max(1));
        self.generations.insert(index, generation);
        Some((Slot { index, generation }, None))
    }

    /// The server with this record was removed from the configuration.
    pub fn retire(&mut self, index: u32, server: Server) {
        self.by_name.insert(server.name_hash, index);
        self.retired.insert(index, Retired { server, quiet: 0 });
    }

    /// A sweep found so many flows of a removed server. True: the index is free now.
    pub fn swept(&mut self, index: u32, flows: u64) -> bool {
        let Some(retired) = self.retired.get_mut(&index) else {
            return false;
        };
        if flows != 0 {
            retired.quiet = 0;
            return false;
        }
        retired.quiet += 1;
        if retired.quiet < QUIET_SWEEPS {
            return false;
        }
        let name_hash = retired.server.name_hash;
        self.retired.remove(&index);
        if self.by_name.get(&name_hash) == Some(&index) {
            self.by_name.remove(&name_hash);
        }
        self.free.insert(index);
        true
    }

    /// The next hop of an address has changed: flows of removed servers follow too.
    pub fn follow(&mut self, address: IpAddr, mac: [u8; 6], ifindex: u32) {
        for retired in self.retired.values_mut() {
            if retired.server.address == mapped(address) {
                let flags = Server::flags_of(retired.server.link);
                retired.server.link = Server::link(mac, flags);
                retired.server.ifindex = ifindex;
            }
        }
    }

    pub fn retired(&self) -> impl Iterator<Item = (u32, &Server)> {
        self.retired
            .iter()
            .map(|(&index, retired)| (index, &retired.server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    fn server(generation: u32, name_hash: u64) -> Server {
        Server {
            generation,
            name_hash,
            ..Server::zeroed()
        }
    }

    #[test]
    fn a_server_keeps_its_index_over_a_restart() {
        let adopted = BTreeMap::from([(4, server(7, 0xaa)), (5, server(1, 0xbb))]);
        let mut indices = Indices::adopt(&adopted, &BTreeMap::from([(0, 3), (4, 7), (5, 1)]));
        let (slot, earlier) = indices.take(0xaa).expect("room");
        assert_eq!(
            slot,
            Slot {
                index: 4,
                generation: 7
            }
        );
        assert_eq!(earlier, Some(server(7, 0xaa)));
        // A new one gets a free index, in a generation that was never used there.
        let (slot, earlier) = indices.take(0xcc).expect("room");
        assert_eq!(
            (slot, earlier),
            (
                Slot {
                    index: 0,
                    generation: 4
                },
                None
            )
        );
        // The one that nobody names stays, retired.
        assert_eq!(indices.retired().map(|(i, _)| i).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn an_index_is_reused_only_after_its_last_flow() {
        let mut indices = Indices::default();
        let (slot, _) = indices.take(1).expect("room");
        indices.retire(slot.index, server(slot.generation, 1));
        let (other, _) = indices.take(2).expect("room");
        assert_ne!(other.index, slot.index);
        assert!(!indices.swept(slot.index, 0));
        assert!(!indices.swept(slot.index, 3));
        for _ in 1..QUIET_SWEEPS {
            assert!(!indices.swept(slot.index, 0));
        }
        assert!(indices.swept(slot.index, 0));
        let (again, _) = indices.take(3).expect("room");
        assert_eq!(
            again,
            Slot {
                index: slot.index,
                generation: slot.generation + 1
            }
        );
    }

    #[test]
    fn there_is_an_end() {
        let mut indices = Indices::default();
        for i in 0..u64::from(MAX_SERVERS) {
            assert!(indices.take(i).is_some());
        }
        assert!(indices.take(u64::MAX).is_none());
    }
}
