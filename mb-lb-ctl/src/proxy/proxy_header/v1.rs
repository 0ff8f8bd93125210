//! Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Decoded, Error, Pair, V1_LONGEST, begins};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

pub(super) fn encode(pair: Pair, from_port: u16, to_port: u16) -> Vec<u8> {
    let line = match pair {
        Pair::V4(from, to) => format!("PROXY TCP4 {from} {to} {from_port} {to_port}\r\n"),
        Pair::V6(from, to) => format!("PROXY TCP6 {from} {to} {from_port} {to_port}\r\n"),
    };
    line.into_bytes()
}

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Error> {
    let start = &bytes[..bytes.len().min(V1_LONGEST)];
    let end = start.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    early(&start[..end.unwrap_or(start.len())])?;
    let full = start.len() == V1_LONGEST;
    let Some(end) = end else {
        return if full {
            Err(Error::LongLine)
        } else {
            Ok(Decoded::Incomplete)
        };
    };
    match start[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if full => return Err(Error::LongLine),
        [b'\r'] => return Ok(Decoded::Incomplete),
        _ => return Err(Error::LineEnd),
    }
    let rest = start.get(SIGNATURE.len()..end).ok_or(Error::Signature)?;
    Ok(Decoded::Header {
        length: end + 2,
        addresses: parse(rest)?,
    })
}

/// A protocol that is not known need not be waited for.
fn early(start: &[u8]) -> Result<(), Error> {
    let rest = start.get(SIGNATURE.len()..).unwrap_or_default();
    let known = [&b"TCP4 "[..], b"TCP6 ", b"UNKNOWN"];
    if known.iter().any(|known| begins(rest, known)) {
        Ok(())
    } else {
        Err(Error::Protocol)
    }
}

/// What follows the signature, without the end of the line.
fn parse(rest: &[u8]) -> Result<Option<(SocketAddr, SocketAddr)>, Error> {
    let mut words = rest.split(|&byte| byte == b' ');
    let family = words.next().unwrap_or_default();
    let address = |word: Option<&[u8]>| -> Option<IpAddr> {
        match family {
            b"TCP4" => parsed::<Ipv4Addr>(word).map(IpAddr::V4),
            _ => parsed::<Ipv6Addr>(word).map(IpAddr::V6),
        }
    };
    match family {
        b"TCP4" | b"TCP6" => {}
        // Whatever follows is to be passed over.
        b"UNKNOWN" => return Ok(None),
        _ => return Err(Error::Protocol),
    }
    let from = address(words.next()).ok_or(Error::SourceAddress)?;
    let to = address(words.next()).ok_or(Error::DestinationAddress)?;
    let from_port = port(words.next()).ok_or(Error::SourcePort)?;
    let to_port = port(words.next()).ok_or(Error::DestinationPort)?;
    if words.next().is_some() {
        return Err(Error::Trailing);
    }
    let from = SocketAddr::new(from, from_port);
    Ok(Some((from, SocketAddr::new(to, to_port))))
}

fn parsed<T: FromStr>(word: Option<&[u8]>) -> Option<T> {
    std::str::from_utf8(word?).ok()?.parse().ok()
}

/// Digits only, none of them a zero too many.
fn port(word: Option<&[u8]>) -> Option<u16> {
    let word = word?;
    let plain =
        word.iter().all(u8::is_ascii_digit) && (word.len() == 1 || word.first() != Some(&b'0'));
    if plain { parsed(Some(word)) } else { None }
}
