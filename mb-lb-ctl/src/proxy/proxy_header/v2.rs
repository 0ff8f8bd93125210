//! Version 2: 12 bytes of signature, version and command, family and transport, length, addresses, further fields.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Decoded, Error, Pair, V2_LONGEST};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Up to the addresses.
const FIXED: usize = 16;
/// Two addresses and two ports.
const V4: usize = 12;
const V6: usize = 36;
const UNIX: usize = 216;

pub(super) fn encode(pair: Pair, from_port: u16, to_port: u16) -> Vec<u8> {
    let mut header = Vec::with_capacity(FIXED + V6);
    header.extend_from_slice(SIGNATURE);
    // Version 2, PROXY; then family and stream.
    match pair {
        Pair::V4(from, to) => {
            header.extend_from_slice(&[0x21, 0x11, 0, V4 as u8]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
        }
        Pair::V6(from, to) => {
            header.extend_from_slice(&[0x21, 0x21, 0, V6 as u8]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
        }
    }
    header.extend_from_slice(&from_port.to_be_bytes());
    header.extend_from_slice(&to_port.to_be_bytes());
    header
}

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Error> {
    let Some(&command) = bytes.get(12) else {
        return Ok(Decoded::Incomplete);
    };
    if command >> 4 != 2 {
        return Err(Error::Version(command >> 4));
    }
    let command = command & 15;
    if command > 1 {
        return Err(Error::Command(command));
    }
    let Some(&kind) = bytes.get(13) else {
        return Ok(Decoded::Incomplete);
    };
    let (family, transport) = (kind >> 4, kind & 15);
    // Of LOCAL only the length is to be read.
    let local = command == 0;
    if !local && family > 3 {
        return Err(Error::Family(family));
    }
    if !local && transport > 2 {
        return Err(Error::Transport(transport));
    }
    let Some(&[high, low]) = bytes.get(14..FIXED) else {
        return Ok(Decoded::Incomplete);
    };
    let rest = u16::from_be_bytes([high, low]);
    let length = FIXED + usize::from(rest);
    if length > V2_LONGEST {
        return Err(Error::LongHeader(rest));
    }
    let needed = match family {
        _ if local => 0,
        1 => V4,
        2 => V6,
        3 => UNIX,
        _ => 0,
    };
    if usize::from(rest) < needed {
        return Err(Error::ShortAddresses(rest));
    }
    let Some(rest) = bytes.get(FIXED..length) else {
        return Ok(Decoded::Incomplete);
    };
    // A datagram's addresses are not those of a connection.
    let addresses = match (local, transport) {
        (false, 1) => addresses(family, rest),
        _ => None,
    };
    Ok(Decoded::Header { length, addresses })
}

fn addresses(family: u8, rest: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    match family {
        1 => {
            let (from, rest) = rest.split_first_chunk::<4>()?;
            let (to, rest) = rest.split_first_chunk::<4>()?;
            let (from_port, to_port) = ports(rest)?;
            let from = SocketAddr::from((Ipv4Addr::from(*from), from_port));
            Some((from, SocketAddr::from((Ipv4Addr::from(*to), to_port))))
        }
        2 => {
            let (from, rest) = rest.split_first_chunk::<16>()?;
            let (to, rest) = rest.split_first_chunk::<16>()?;
            let (from_port, to_port) = ports(rest)?;
            let from = SocketAddr::from((Ipv6Addr::from(*from), from_port));
            Some((from, SocketAddr::from((Ipv6Addr::from(*to), to_port))))
        }
        _ => None,
    }
}

fn ports(rest: &[u8]) -> Option<(u16, u16)> {
    let (from, rest) = rest.split_first_chunk::<2>()?;
    let to = rest.first_chunk::<2>()?;
    Some((u16::from_be_bytes(*from), u16::from_be_bytes(*to)))
}
