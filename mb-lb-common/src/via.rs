//! Checks through the VIP: the packets of a check to a server carry the VIP as their destination, as those of clients do.

use bytemuck::{Pod, Zeroable};

/// Mark (SO_MARK) of the sockets of such checks; the lower half is the index of the VIP in [`crate::maps::VIAS`].
pub const VIA_MARK: u32 = 0x6d62_0000;
/// The half of a mark that tells whether it is one.
pub const VIA_MASK: u32 = 0xffff_0000;
/// VIPs that checks go through.
pub const MAX_VIAS: u32 = 256;
/// Connections of checks whose servers are known: more than can be under way. An LRU map.
pub const MAX_VIA_FLOWS: u32 = 16_384;

/// An address in network order, as words of the host: the verifier wants what is copied on the stack aligned to eight bytes. IPv4
/// as `::ffff:a.b.c.d`.
pub type ViaAddress = [u64; 2];

/// A VIP.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Via {
    pub vip: ViaAddress,
}

impl Via {
    pub const fn new(address: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
        Self {
            vip: [
                u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
                u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
            ],
        }
    }
}

/// An IPv4 address, as four bytes of a packet read into a word of the host, which is little-endian.
#[inline(always)]
pub const fn via_ipv4(word: u32) -> ViaAddress {
    [0, ((word as u64) << 32) | 0xffff_0000]
}

/// The reverse of [`via_ipv4`].
#[inline(always)]
pub const fn ipv4_of_via(address: &ViaAddress) -> u32 {
    (address[1] >> 32) as u32
}

/// A connection of a check, as the answers of the server name it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ViaKey {
    pub vip: ViaAddress,
    /// That of the VIP, then the local one: four bytes as they stand in the answer, read into a word of the host.
    pub ports: u64,
}

/// The server that a connection goes to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ViaServer {
    pub address: ViaAddress,
    /// When the check last sent something, in nanoseconds since the boot.
    pub seen: u64,
}

/// An answer that comes later than this, in nanoseconds, is none of a check: no check lasts longer than a minute.
pub const VIA_LASTS: u64 = 65_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_the_same_from_a_packet_and_from_the_controller() {
        let octets = [192, 0, 2, 100];
        let word = u32::from_le_bytes(octets);
        let mapped = core::net::Ipv4Addr::from(octets).to_ipv6_mapped().octets();
        assert_eq!(via_ipv4(word), Via::new(mapped).vip);
        assert_eq!(ipv4_of_via(&via_ipv4(word)), word);
    }
}
