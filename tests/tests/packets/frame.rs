//! Frames as a client sends them, field by field, and as the RFCs say that they should come out.

use std::net::{IpAddr, SocketAddr};

use crate::rig::{Family, mac_of};

pub const OWN_MAC: [u8; 6] = [0x02, 0, 0x5e, 0, 0, 0x01];
pub const CLIENT_MAC: [u8; 6] = [0x02, 0, 0x5e, 0, 0, 0x0c];

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// 802.1Q.
pub const VLAN: u16 = 0x8100;
/// 802.1ad.
pub const QINQ: u16 = 0x88a8;
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;

pub const HOP_BY_HOP: u8 = 0;
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const ICMPV6: u8 = 58;
pub const DESTINATION_OPTIONS: u8 = 60;

const DONT_FRAGMENT: u16 = 0x4000;

/// The address that services listen on.
pub fn vip(family: Family) -> IpAddr {
    match family {
        Family::V4 => [192, 0, 2, 100].into(),
        Family::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100].into(),
    }
}

/// The `n`th address of clients.
pub fn client(family: Family, n: u32) -> IpAddr {
    let [a, b, c, d] = n.to_be_bytes();
    match family {
        Family::V4 => [198 ^ a, 18 ^ b, c, d].into(),
        Family::V6 => {
            let [high, low] = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            [0x2001, 0xdb8, 1, 0, 0, 0, high, low].into()
        }
    }
}

/// A frame with a TCP segment; [`Frame::bytes`] makes all lengths and checksums right.
#[derive(Clone, Debug)]
pub struct Frame {
    pub destination: [u8; 6],
    pub source: [u8; 6],
    /// EtherTypes of VLAN tags, outermost first.
    pub tags: Vec<u16>,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// Hop limit in IPv6.
    pub ttl: u8,
    /// Identification, flags and offset of IPv4.
    pub id: u16,
    pub fragment: u16,
    /// Bytes of IPv4 options, a multiple of 4.
    pub options: usize,
    /// IPv6 extension headers: type, and length in units of 8 bytes.
    pub extensions: Vec<(u8, usize)>,
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    /// Bytes of TCP options, a multiple of 4.
    pub tcp_options: usize,
    pub payload: Vec<u8>,
    /// Bytes after the packet, as short frames have on Ethernet.
    pub padding: usize,
}

impl Frame {
    /// From the client's `port` to the VIP's `to`.
    pub fn new(family: Family, port: u16, to: u16, flags: u8) -> Self {
        Self {
            destination: OWN_MAC,
            source: CLIENT_MAC,
            tags: Vec::new(),
            from: SocketAddr::new(client(family, 10), port),
            to: SocketAddr::new(vip(family), to),
            ttl: 61,
            id: 0x1234,
            fragment: DONT_FRAGMENT,
            options: 0,
            extensions: Vec::new(),
            flags,
            seq: 1000,
            ack: if flags & ACK == 0 { 0 } else { 0x7654_3210 },
            window: 0xfaf0,
            tcp_options: 0,
            payload: Vec::new(),
            padding: 0,
        }
    }

    pub fn family(&self) -> Family {
        if self.from.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        }
    }

    pub fn seq(mut self, seq: u32) -> Self {
        self.seq = seq;
        self
    }
    pub fn ack(mut self, ack: u32) -> Self {
        self.ack = ack;
        self
    }
    pub fn tags(mut self, tags: &[u16]) -> Self {
        self.tags = tags.to_vec();
        self
    }
    pub fn options(mut self, bytes: usize) -> Self {
        self.options = bytes;
        self
    }
    pub fn extensions(mut self, headers: &[(u8, usize)]) -> Self {
        self.extensions = headers.to_vec();
        self
    }
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }
    pub fn fragment(mut self, fragment: u16) -> Self {
        self.fragment = fragment;
        self
    }
    pub fn tcp_options(mut self, bytes: usize) -> Self {
        self.tcp_options = bytes;
        self
    }
    pub fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }
    /// From the `n`th client.
    pub fn by(mut self, n: u32) -> Self {
        self.from.set_ip(client(self.family(), n));
        self
    }

    /// Where the IP header starts.
    pub fn l3(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    /// As on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.destination);
        bytes.extend(self.source);
        for (i, tag) in self.tags.iter().enumerate() {
            bytes.extend(tag.to_be_bytes());
            bytes.extend((0x2000 + 10 * (i as u16 + 1)).to_be_bytes());
        }
        let tcp = self.tcp();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes.extend(IPV4.to_be_bytes());
                let mut ip = vec![0x45 + (self.options / 4) as u8, 0x10];
                ip.extend(((20 + self.options + tcp.len()) as u16).to_be_bytes());
                ip.extend(self.id.to_be_bytes());
                ip.extend(self.fragment.to_be_bytes());
                ip.extend([self.ttl, TCP, 0, 0]);
                ip.extend(from.octets());
                ip.extend(to.octets());
                // No-operation, end of list.
                ip.extend((0..self.options).map(|i| u8::from(i + 1 < self.options)));
                set_ipv4_checksum(&mut ip);
                bytes.extend(ip);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                bytes.extend(IPV6.to_be_bytes());
                let mut types = self.extensions.iter().map(|(header, _)| *header);
                let mut extensions = Vec::new();
                let first = types.next().unwrap_or(TCP);
                for (header, units) in &self.extensions {
                    extensions.push(types.next().unwrap_or(TCP));
                    extensions.push((units - 1) as u8);
                    extensions.extend(extension_body(*header, 8 * units - 2));
                }
                bytes.extend([0x60, 0x0a, 0xbc, 0xde]);
                bytes.extend(((extensions.len() + tcp.len()) as u16).to_be_bytes());
                bytes.extend([first, self.ttl]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
                bytes.extend(extensions);
            }
            _ => panic!("addresses of two families"),
        }
        bytes.extend(tcp);
        bytes.extend((0..self.padding).map(|i| 0xe0 | i as u8));
        bytes
    }

    fn tcp(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([((20 + self.tcp_options) as u8) << 2, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend((0..self.tcp_options).map(|_| 1));
        tcp.extend(&self.payload);
        let mut pseudo = Vec::new();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                pseudo.extend(from.octets());
                pseudo.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                pseudo.extend(from.octets());
                pseudo.extend(to.octets());
            }
            _ => panic!("addresses of two families"),
        }
        pseudo.extend([0, TCP]);
        pseudo.extend((tcp.len() as u16).to_be_bytes());
        let checksum = checksum(&[&pseudo, &tcp]);
        tcp[16..18].copy_from_slice(&checksum);
        tcp
    }

    /// Sequence numbers that the segment takes.
    pub fn length(&self) -> u32 {
        self.payload.len() as u32
            + u32::from(self.flags & SYN != 0)
            + u32::from(self.flags & FIN != 0)
    }
}

/// A valid body of an extension header: options are one PadN (RFC 8200 section 4.2), a routing header has no
/// segments left (section 4.4).
fn extension_body(header: u8, length: usize) -> Vec<u8> {
    let mut body = vec![0; length];
    if header == ROUTING {
        // An unassigned type, so that nothing but "segments left 0" counts.
        body[0] = 200;
    } else {
        body[0] = 1;
        body[1] = (length - 2) as u8;
    }
    body
}

/// RFC 1071, over parts that each have even length but the last.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_be_bytes()
}

/// Computes the header checksum of an IPv4 header with options anew.
pub fn set_ipv4_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum(&[header]);
    header[10..12].copy_from_slice(&sum);
}

/// What a director makes of a frame for a server: MAC addresses, TTL, and nothing else.
pub fn forwarded(frame: &Frame, server: u32) -> Vec<u8> {
    let mut bytes = frame.bytes();
    forward(&mut bytes, frame.l3(), frame.family(), server);
    bytes
}

/// As [`forwarded`], on the bytes of a frame whose IP header is at `l3`.
pub fn forward(bytes: &mut [u8], l3: usize, family: Family, server: u32) {
    bytes[..6].copy_from_slice(&mac_of(server));
    bytes[6..12].copy_from_slice(&OWN_MAC);
    match family {
        Family::V4 => {
            bytes[l3 + 8] -= 1;
            let header = usize::from(bytes[l3] & 0xf) * 4;
            set_ipv4_checksum(&mut bytes[l3..l3 + header]);
        }
        Family::V6 => bytes[l3 + 7] -= 1,
    }
}

/// The RST that a closed port answers a segment with (RFC 9293 section 3.10.7.1), as a director sends it.
pub fn reset_for(frame: &Frame) -> Vec<u8> {
    let mut reset = Frame::new(frame.family(), frame.to.port(), frame.from.port(), RST);
    reset.destination = frame.source;
    reset.source = frame.destination;
    reset.tags = frame.tags.clone();
    reset.from = frame.to;
    reset.to = frame.from;
    reset.ttl = 64;
    reset.id = 0;
    reset.window = 0;
    if frame.flags & ACK != 0 {
        // <SEQ=SEG.ACK><CTL=RST>
        reset.seq = frame.ack;
        reset.ack = 0;
    } else {
        // <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>
        reset.seq = 0;
        reset.ack = frame.seq.wrapping_add(frame.length());
        reset.flags = RST | ACK;
    }
    let mut bytes = reset.bytes();
    // Type of service, traffic class and flow label are the director's own: none.
    match frame.family() {
        Family::V4 => {
            let l3 = reset.l3();
            bytes[l3 + 1] = 0;
            set_ipv4_checksum(&mut bytes[l3..l3 + 20]);
        }
        Family::V6 => bytes[reset.l3() + 1..reset.l3() + 4].fill(0),
    }
    bytes
}
