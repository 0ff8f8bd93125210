//! The header of the PROXY protocol, which stands before all else on a connection and says whose it is.
//!
//! Source: HAProxy's doc/proxy-protocol.txt, sections 2.1 (version 1, a line of text) and 2.2 (version 2, binary).

#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::ProxyHeader;

/// Longest line of version 1, with its end.
pub const V1_LONGEST: usize = 107;
/// Longest header of version 2 that is taken: 16 bytes and what follows them.
pub const V2_LONGEST: usize = 16 + 2048;

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Good so far; more bytes are needed.
    Incomplete,
    Header {
        /// In bytes; what follows is the connection's own.
        length: usize,
        /// From and to. `None` where the sender speaks for itself (LOCAL, as its checks do) or does not say (UNKNOWN, or no
        /// TCP over IP): the addresses of the connection count.
        addresses: Option<(SocketAddr, SocketAddr)>,
    },
}

/// Why it is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the connection does not begin with a PROXY header")]
    Signature,
    #[error("PROXY line of more than {V1_LONGEST} bytes")]
    LongLine,
    #[error("PROXY line with a carriage return or line feed alone")]
    LineEnd,
    #[error("PROXY line of a protocol other than TCP4, TCP6 and UNKNOWN")]
    Protocol,
    #[error("PROXY line without a good source address")]
    SourceAddress,
    #[error("PROXY line without a good destination address")]
    DestinationAddress,
    #[error("PROXY line without a good source port")]
    SourcePort,
    #[error("PROXY line without a good destination port")]
    DestinationPort,
    #[error("PROXY line with more after the destination port")]
    Trailing,
    #[error("PROXY header of version {0}; 1 and 2 are known")]
    Version(u8),
    #[error("PROXY header with command {0}; LOCAL (0) and PROXY (1) are known")]
    Command(u8),
    #[error("PROXY header with address family {0}; the last known is 3 (unix)")]
    Family(u8),
    #[error("PROXY header with transport {0}; the last known is 2 (datagram)")]
    Transport(u8),
    #[error("PROXY header with {0} bytes after its first 16; at most 2048 are taken")]
    LongHeader(u16),
    #[error("PROXY header with {0} bytes for addresses; its family needs more")]
    ShortAddresses(u16),
}

/// Bytes to send before all else. Where both addresses are IPv4, mapped into IPv6 or not, they are written as IPv4, else both
/// as IPv6.
pub fn encode(version: ProxyHeader, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let pair = match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Pair::V4(from, to),
        (from, to) => Pair::V6(mapped(from), mapped(to)),
    };
    match version {
        ProxyHeader::V1 => v1::encode(pair, from.port(), to.port()),
        ProxyHeader::V2 => v2::encode(pair, from.port(), to.port()),
    }
}

/// Reads a header of either version from the first bytes of a connection. What is wrong is said as soon as it can be known;
/// nothing beyond the header is looked at.
pub fn decode(bytes: &[u8]) -> Result<Decoded, Error> {
    if begins(bytes, v2::SIGNATURE) {
        v2::decode(bytes)
    } else if begins(bytes, v1::SIGNATURE) {
        v1::decode(bytes)
    } else {
        Err(Error::Signature)
    }
}

/// Addresses of one family.
#[derive(Clone, Copy)]
enum Pair {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Whether the bytes begin with it, as far as they go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let common = bytes.len().min(signature.len());
    bytes[..common] == signature[..common]
}
