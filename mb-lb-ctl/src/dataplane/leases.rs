//! Until when the XDP program lets this director be found at a VIP, and until when it waits for the peer's flows.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use mb_lb_common::{Lease, LeaseKey, MAX_LEASES, maps};

use super::sys::Table;
use crate::plan::mapped;

/// The program's map of leases, on a handle of its own.
#[derive(Debug)]
pub struct Leases {
    table: Table<LeaseKey, Lease>,
    takeover: Table<u32, u64>,
}

impl Leases {
    /// # Errors
    /// Where no program is loaded, or one from before there were leases.
    pub fn open(pins: &Path) -> io::Result<Self> {
        let table = Table::open(&pins.join(maps::LEASES))?;
        let takeover = Table::open(&pins.join(maps::TAKEOVER))?;
        Ok(Self { table, takeover })
    }

    /// Requests for this address on this interface are answered until then; `until` is of
    /// [`clock`](crate::vrrp::clock::clock).
    ///
    /// # Errors
    /// The kernel's; there is no room.
    pub fn grant(&self, address: IpAddr, ifindex: u32, until: Duration) -> io::Result<()> {
        let over_at = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        let key = LeaseKey::new(mapped(address), ifindex);
        self.table.set(&key, &Lease { over_at })
    }

    /// This director takes over: until then, a client's packet of a connection that nobody knows here is dropped, so that it
    /// comes again when the peer has told of it. `until` is as for [`grant`](Self::grant).
    ///
    /// # Errors
    /// The kernel's.
    pub fn await_peer(&self, until: Duration) -> io::Result<()> {
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.takeover.set(&0, &until)
    }

    /// What [`await_peer`](Self::await_peer) said last; zero: nothing.
    ///
    /// # Errors
    /// The kernel's.
    pub fn awaits_peer_until(&self) -> io::Result<Duration> {
        let until = self.takeover.get(&0)?;
        Ok(Duration::from_nanos(until.unwrap_or_default()))
    }

    /// The program has nothing to say about this address there any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forget(&self, address: IpAddr, ifindex: u32) -> io::Result<()> {
        self.table.remove(&LeaseKey::new(mapped(address), ifindex))
    }

    /// Forgets what an earlier process has left of other addresses than these.
    ///
    /// # Errors
    /// The kernel's.
    pub fn keep(&self, addresses: impl Fn(IpAddr) -> bool) -> io::Result<()> {
        for (key, _) in self.table.entries(MAX_LEASES as usize)? {
            if !addresses(Ipv6Addr::from(key.address()).to_canonical()) {
                self.table.remove(&key)?;
            }
        }
        Ok(())
    }
}
