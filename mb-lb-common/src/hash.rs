//! Hashes that choose servers. Unseeded on purpose: both directors must choose alike.

use crate::{FlowKey4, FlowKey6};

/// Finaliser of 64 bits with full avalanche (Stafford's variant 13 of the MurmurHash3 finaliser).
#[inline(always)]
pub const fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[inline(always)]
const fn fold(a: [u8; 16]) -> u64 {
    let hi = u64::from_be_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]);
    let lo = u64::from_be_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]);
    mix(hi ^ mix(lo))
}

#[inline(always)]
const fn ports(client: [u8; 2], vip: [u8; 2]) -> u64 {
    ((u16::from_be_bytes(client) as u64) << 16) | u16::from_be_bytes(vip) as u64
}

/// Hash of a connection, IPv4.
#[inline(always)]
pub const fn flow_hash4(key: &FlowKey4) -> u64 {
    let addresses =
        ((u32::from_be_bytes(key.client) as u64) << 32) | u32::from_be_bytes(key.vip) as u64;
    mix(mix(addresses) ^ ports(key.client_port, key.vip_port))
}

/// Hash of a connection, IPv6.
#[inline(always)]
pub const fn flow_hash6(key: &FlowKey6) -> u64 {
    mix(fold(key.client) ^ mix(fold(key.vip) ^ ports(key.client_port, key.vip_port)))
}

/// Hash of a client's address alone, for the `source` scheduler. IPv4 as v4-mapped.
#[inline(always)]
pub const fn source_hash(client: [u8; 16]) -> u64 {
    fold(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two directors of different builds must steer alike: the values are frozen.
    #[test]
    fn hashes_are_frozen() {
        let key = FlowKey4 {
            client: [192, 0, 2, 1],
            vip: [192, 0, 2, 100],
            client_port: 40000u16.to_be_bytes(),
            vip_port: 25u16.to_be_bytes(),
        };
        assert_eq!(mix(1), 0x5692_161d_100b_05e5);
        assert_ne!(flow_hash4(&key), 0);
        let mut other = key;
        other.client_port = 40001u16.to_be_bytes();
        // One bit of input moves about half of the output.
        let moved = (flow_hash4(&key) ^ flow_hash4(&other)).count_ones();
        assert!((16..=48).contains(&moved), "{moved} bits moved");
    }
}
