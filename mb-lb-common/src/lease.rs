//! Until when this director answers for a VIP.

use bytemuck::{Pod, Zeroable};

/// After so long, in nanoseconds, the kernel itself has taken an address away whose lease is over: its lifetimes are
/// whole seconds, and the shortest that is used is two. From then on an entry means nothing: whoever has the address
/// by other means is not kept from it.
pub const LEASE_MEANS: u64 = 4_000_000_000;

/// Key of the map of leases: an address may be another one's on another interface, as link-local ones are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct LeaseKey {
    /// The VIP in network order, as words of the host; IPv4 as `::ffff:a.b.c.d`.
    pub address: [u64; 2],
    /// Where it is asked for.
    pub ifindex: u64,
}

impl LeaseKey {
    pub const fn new(address: [u8; 16], ifindex: u32) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
        Self {
            address: [
                u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
                u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
            ],
            ifindex: ifindex as u64,
        }
    }

    pub const fn address(&self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h] = self.address[0].to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.address[1].to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

/// Value of the map of leases.
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
    fn addresses_come_back_as_they_were() {
        let address = *b"0123456789abcdef";
        assert_eq!(LeaseKey::new(address, 7).address(), address);
    }

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
