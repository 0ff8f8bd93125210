//! Until when the XDP program lets this director be found at a VIP.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use mb_lb_common::{Lease, maps};

use super::sys::Table;
use crate::plan::mapped;

/// The program's map of leases, on a handle of its own.
#[derive(Debug)]
pub struct Leases {
    table: Table<[u8; 16], Lease>,
}

impl Leases {
    /// # Errors
    /// Where no program is loaded, or one from before there were leases.
    pub fn open(pins: &Path) -> io::Result<Self> {
        let table = Table::open(&pins.join(maps::LEASES))?;
        Ok(Self { table })
    }

    /// Requests for this address are answered until then; `until` is of [`clock`](crate::vrrp::clock::clock).
    ///
    /// # Errors
    /// The kernel's; there is no room.
    pub fn grant(&self, address: IpAddr, until: Duration) -> io::Result<()> {
        let over_at = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.table.set(&mapped(address), &Lease { over_at })
    }

    /// The program has nothing to say about this address any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forget(&self, address: IpAddr) -> io::Result<()> {
        self.table.remove(&mapped(address))
    }
}
