//! Until when this director answers for a VIP.

use bytemuck::{Pod, Zeroable};

/// After so long, in nanoseconds, the kernel itself has taken an address away whose lease is over: its lifetimes are
/// whole seconds, and the shortest that is used is two. From then on an entry means nothing: whoever has the address
/// by other means is not kept from it.
pub const LEASE_MEANS: u64 = 4_000_000_000;

/// Value of the map of leases; the key is the VIP, IPv4 as `::ffff:a.b.c.d`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Lease {
    /// CLOCK_BOOTTIME in nanoseconds. For [`LEASE_MEANS`] from then on, nobody is told where the VIP is.
    pub over_at: u64,
}

impl Lease {
    /// Whether it has run out, and not so long ago that it means nothing any more.
    #[inline(always)]
    pub const fn is_over(&self, now: u64) -> bool {
        now >= self.over_at && now - self.over_at < LEASE_MEANS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_over_for_a_while() {
        let lease = Lease { over_at: 1000 };
        assert!(!lease.is_over(0));
        assert!(!lease.is_over(999));
        assert!(lease.is_over(1000));
        assert!(lease.is_over(999 + LEASE_MEANS));
        assert!(!lease.is_over(1000 + LEASE_MEANS));
        assert!(!Lease { over_at: u64::MAX }.is_over(u64::MAX - 1));
    }
}
