//! Value of a server's cookie out of a key and the server's address, as HAProxy's `dynamic-cookie-key` makes it: 64 bits
//! of XXH64 over the key, the address and the port, in hexadecimal. The same on every director that has the key.

use std::net::{IpAddr, SocketAddr};

use xxhash_rust::xxh64::xxh64;

pub(super) fn value(key: &str, address: SocketAddr) -> String {
    let mut text = key.as_bytes().to_vec();
    match address.ip() {
        IpAddr::V4(ip) => text.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => text.extend_from_slice(&ip.octets()),
    }
    text.extend_from_slice(&u32::from(address.port()).to_be_bytes());
    format!("{:016x}", xxh64(&text, 0))
}
