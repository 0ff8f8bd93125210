//! What the structure of a frame says, by the RFCs: the reason why it is not steered, or the connection that it is of.
//!
//! Written on slices and without looking at the program. The order of the questions is that of the layers; where a
//! frame has several faults, the first one names it.

use std::net::{IpAddr, SocketAddr};

use mb_lb_common::Reason;

/// A TCP segment that can be steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    /// Sequence numbers that it takes (RFC 9293 section 3.4).
    pub length: u32,
    /// Where the IP header starts.
    pub l3: usize,
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads a frame that came in on an interface with this address.
pub fn parse(frame: &[u8], own: [u8; 6]) -> Result<Parsed, Reason> {
    // IEEE 802.3, then up to two tags of IEEE 802.1Q.
    let mut at = 12;
    let mut ethertype = word(frame, at).ok_or(Reason::Truncated)?;
    for _ in 0..2 {
        if matches!(ethertype, 0x8100 | 0x88a8) {
            at += 4;
            ethertype = word(frame, at).ok_or(Reason::Truncated)?;
        }
    }
    let l3 = at + 2;
    let version = match ethertype {
        0x0800 => 4,
        0x86dd => 6,
        0x8100 | 0x88a8 => return Err(Reason::VlanDepth),
        _ => return Err(Reason::NotIp),
    };
    if frame[..6] != own {
        return Err(Reason::NotForUs);
    }
    let packet = &frame[l3..];
    let (segment, from, to, hops): (&[u8], IpAddr, IpAddr, u8) = if version == 4 {
        ipv4(packet)?
    } else {
        ipv6(packet)?
    };
    // RFC 9293 section 3.1.
    if segment.len() < 20 {
        return Err(Reason::BadHeader);
    }
    let header = usize::from(segment[12] >> 4) * 4;
    if header < 20 || header > segment.len() {
        return Err(Reason::BadHeader);
    }
    if hops <= 1 {
        return Err(Reason::TtlExpired);
    }
    let flags = segment[13];
    let control = u32::from(flags & 1) + u32::from(flags >> 1 & 1);
    Ok(Parsed {
        from: SocketAddr::new(from, u16::from_be_bytes([segment[0], segment[1]])),
        to: SocketAddr::new(to, u16::from_be_bytes([segment[2], segment[3]])),
        flags,
        seq: long(segment, 4),
        ack: long(segment, 8),
        length: (segment.len() - header) as u32 + control,
        l3,
    })
}

type Network<'a> = (&'a [u8], IpAddr, IpAddr, u8);

/// RFC 791 section 3.1.
fn ipv4(packet: &[u8]) -> Result<Network<'_>, Reason> {
    if packet.len() < 20 {
        return Err(Reason::Truncated);
    }
    let header = usize::from(packet[0] % 16) * 4;
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    if packet[0] / 16 != 4 || header < 20 || total < header {
        return Err(Reason::BadHeader);
    }
    if total > packet.len() {
        return Err(Reason::Truncated);
    }
    let more_fragments = packet[6] & 0x20 != 0;
    let offset = u16::from_be_bytes([packet[6], packet[7]]) % 0x2000;
    if more_fragments || offset != 0 {
        return Err(Reason::Fragment);
    }
    match packet[9] {
        6 => {}
        1 => return Err(Reason::Icmp),
        _ => return Err(Reason::NotTcp),
    }
    let address =
        |at: usize| IpAddr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    Ok((&packet[header..total], address(12), address(16), packet[8]))
}

/// RFC 8200 sections 3 and 4.
fn ipv6(packet: &[u8]) -> Result<Network<'_>, Reason> {
    if packet.len() < 40 {
        return Err(Reason::Truncated);
    }
    if packet[0] / 16 != 6 {
        return Err(Reason::BadHeader);
    }
    let payload = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    let end = 40 + payload;
    if end > packet.len() {
        return Err(Reason::Truncated);
    }
    let mut next = packet[6];
    let mut at = 40;
    for _ in 0..4 {
        if !matches!(next, 0 | 43 | 60) {
            break;
        }
        // A chain may lead into the padding of a frame, and out of it.
        let length = word(packet, at).ok_or(Reason::Truncated)? % 256;
        next = packet[at];
        at += 8 * (1 + usize::from(length));
    }
    match next {
        6 => {}
        44 => return Err(Reason::Fragment),
        58 => return Err(Reason::Icmp),
        0 | 43 | 60 => return Err(Reason::ExtensionHeaders),
        _ => return Err(Reason::NotTcp),
    }
    if at > end {
        return Err(Reason::BadHeader);
    }
    let address = |at: usize| -> IpAddr {
        let bytes: [u8; 16] = packet[at..at + 16].try_into().expect("16 bytes");
        bytes.into()
    };
    Ok((&packet[at..end], address(8), address(24), packet[7]))
}
