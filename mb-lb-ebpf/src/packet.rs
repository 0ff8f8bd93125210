//! From a frame to a connection, or the reason why not.
//!
//! No byte is read that was not checked against the end of the frame first. The parser knows no map and no
//! helper, so the host build tests it on plain slices.

use mb_lb_common::{FlowKey4, FlowKey6, Reason};

pub const ETH_LEN: usize = 14;
const VLAN_LEN: usize = 4;
const VLAN_TAGS: usize = 2;
pub const IPV4_LEN: usize = 20;
pub const IPV6_LEN: usize = 40;
pub const TCP_LEN: usize = 20;
/// Headers that may stand between the IPv6 header and TCP.
const EXTENSION_HEADERS: usize = 4;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

const PROTO_HOP_BY_HOP: u8 = 0;
const PROTO_ICMP: u8 = 1;
pub const PROTO_TCP: u8 = 6;
const PROTO_ROUTING: u8 = 43;
const PROTO_FRAGMENT: u8 = 44;
const PROTO_ICMPV6: u8 = 58;
const PROTO_DEST_OPTIONS: u8 = 60;

/// Operation of an ARP packet (RFC 826).
const ARP_REQUEST: u16 = 1;
/// Type of an ICMPv6 message (RFC 4861 section 4.3).
const NEIGHBOUR_SOLICITATION: u8 = 135;

pub const TCP_FIN: u8 = 0x01;
pub const TCP_SYN: u8 = 0x02;
pub const TCP_RST: u8 = 0x04;
pub const TCP_ACK: u8 = 0x10;

/// Bounds of a frame. Offsets are checked where they are used.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    /// `start..end` must be memory that the caller may access while the frame is in use; in the XDP program
    /// these are `data` and `data_end` of the context.
    #[inline(always)]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    #[inline(always)]
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// Pointer to a `T` at `offset`, if it lies inside the frame. `T` has alignment 1.
    #[inline(always)]
    pub fn at<T>(self, offset: usize) -> Option<*mut T> {
        let from = opaque(self.start + offset);
        if from + size_of::<T>() > self.end {
            return None;
        }
        Some(from as *mut T)
    }

    #[inline(always)]
    fn get<T: Copy>(self, offset: usize) -> Result<T, Reason> {
        let p = self.at::<T>(offset).ok_or(Reason::Truncated)?;
        // SAFETY: `at` has checked the bounds, and T is a byte array or a struct of byte arrays (alignment 1).
        Ok(unsafe { p.read() })
    }
}

/// Hides from the compiler how an address came about. Else it may check one register against the end of the frame
/// and read through another, and the verifier finds the read unchecked ("offset is outside of the packet").
#[inline(always)]
fn opaque(address: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    let address = {
        let mut address = address;
        // SAFETY: moves a register to itself. (No instruction at all makes two line infos of one offset, which the
        // kernel refuses: "Invalid line_info".)
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) address, options(pure, nomem, nostack, preserves_flags));
        }
        address
    };
    address
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ipv4Header {
    pub version_ihl: u8,
    pub tos: u8,
    pub total_len: [u8; 2],
    pub id: [u8; 2],
    pub fragment: [u8; 2],
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: [u8; 2],
    pub source: [u8; 4],
    pub destination: [u8; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ipv6Header {
    pub version: u8,
    pub class_flow: [u8; 3],
    pub payload_len: [u8; 2],
    pub next_header: u8,
    pub hop_limit: u8,
    pub source: [u8; 16],
    pub destination: [u8; 16],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TcpHeader {
    pub source: [u8; 2],
    pub destination: [u8; 2],
    pub seq: [u8; 4],
    pub ack: [u8; 4],
    pub offset: u8,
    pub flags: u8,
    pub window: [u8; 2],
    pub checksum: [u8; 2],
    pub urgent: [u8; 2],
}

/// The link layer of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub destination: [u8; 6],
    pub ethertype: u16,
    /// Where the IP header starts.
    pub l3: usize,
}

/// What the TCP header says, and the length of what it carries.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    /// Sequence numbers that the segment takes: payload, SYN, FIN.
    pub segment_len: u32,
}

impl Tcp {
    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
    /// A SYN that asks for a connection.
    #[inline(always)]
    pub const fn is_syn(&self) -> bool {
        self.flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN
    }
    /// Sequence number after this segment.
    #[inline(always)]
    pub const fn next_seq(&self) -> u32 {
        self.seq.wrapping_add(self.segment_len)
    }
}

/// A TCP segment of a connection named by `K`.
///
/// Aligned to eight: the compiler writes both addresses to the stack as one word, and the verifier allows that only
/// there ("misaligned stack access").
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<K> {
    pub key: K,
    pub tcp: Tcp,
}

/// Ethernet and up to two VLAN tags (802.1Q, 802.1ad).
#[inline(always)]
pub fn link(frame: Frame) -> Result<Link, Reason> {
    // Eight bytes are one load; no frame has fewer.
    let [a, b, c, d, e, f, ..]: [u8; 8] = frame.get(0)?;
    let mut ethertype = u16::from_be_bytes(frame.get(12)?);
    let mut l3 = ETH_LEN;
    for _ in 0..VLAN_TAGS {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        ethertype = u16::from_be_bytes(frame.get(l3 + 2)?);
        l3 += VLAN_LEN;
    }
    Ok(Link {
        destination: [a, b, c, d, e, f],
        ethertype,
        l3,
    })
}

/// What follows the link layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    V4,
    V6,
}

#[inline(always)]
pub fn network(link: &Link) -> Result<Network, Reason> {
    match link.ethertype {
        ETHERTYPE_IPV4 => Ok(Network::V4),
        ETHERTYPE_IPV6 => Ok(Network::V6),
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => Err(Reason::VlanDepth),
        _ => Err(Reason::NotIp),
    }
}

/// An address that somebody asks for, in network order; IPv4 as `::ffff:a.b.c.d`. In words: the compiler writes bytes to
/// the stack in pieces that the verifier refuses ("misaligned stack access").
pub type Asked = [u64; 2];

/// The address that a frame asks for, by ARP for IPv4 over Ethernet (RFC 826) or by neighbour discovery (RFC 4861
/// section 4.3).
#[inline(always)]
pub fn asked(frame: Frame) -> Result<Asked, Reason> {
    let link = link(frame)?;
    match link.ethertype {
        ETHERTYPE_ARP => {
            let operation = u16::from_be_bytes(frame.get(link.l3 + 6)?);
            if operation != ARP_REQUEST {
                return Err(Reason::NotIp);
            }
            let [a, b, c, d]: [u8; 4] = frame.get(link.l3 + 24)?;
            Ok([0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])])
        }
        ETHERTYPE_IPV6 => {
            let ip = frame.at::<Ipv6Header>(link.l3).ok_or(Reason::Truncated)?;
            // SAFETY: `at` has checked the bounds; byte arrays need no alignment.
            let next = unsafe { (*ip).next_header };
            let [kind]: [u8; 1] = frame.get(link.l3 + IPV6_LEN)?;
            if next != PROTO_ICMPV6 || kind != NEIGHBOUR_SOLICITATION {
                return Err(Reason::NotIp);
            }
            let target = link.l3 + IPV6_LEN + 8;
            Ok([
                u64::from_ne_bytes(frame.get(target)?),
                u64::from_ne_bytes(frame.get(target + 8)?),
            ])
        }
        _ => Err(Reason::NotIp),
    }
}

/// IPv4, options allowed (RFC 791), down to TCP.
#[inline(always)]
pub fn ipv4(frame: Frame, l3: usize) -> Result<Segment<FlowKey4>, Reason> {
    let ip = frame.at::<Ipv4Header>(l3).ok_or(Reason::Truncated)?;
    // SAFETY: `at` has checked the bounds; byte arrays need no alignment. Why a reference, see `tcp`.
    let ip = unsafe { &*ip };
    let header_len = ((ip.version_ihl & 0x0f) as usize) << 2;
    if ip.version_ihl >> 4 != 4 || header_len < IPV4_LEN {
        return Err(Reason::BadHeader);
    }
    let total_len = u16::from_be_bytes(ip.total_len) as usize;
    if total_len < header_len {
        return Err(Reason::BadHeader);
    }
    if l3 + total_len > frame.len() {
        return Err(Reason::Truncated);
    }
    // More fragments, or an offset.
    if u16::from_be_bytes(ip.fragment) & 0x3fff != 0 {
        return Err(Reason::Fragment);
    }
    match ip.protocol {
        PROTO_TCP => {}
        PROTO_ICMP => return Err(Reason::Icmp),
        _ => return Err(Reason::NotTcp),
    }
    let (tcp, source, destination) = tcp(frame, l3 + header_len, total_len - header_len)?;
    if ip.ttl <= 1 {
        return Err(Reason::TtlExpired);
    }
    Ok(Segment {
        key: FlowKey4 {
            client: ip.source,
            vip: ip.destination,
            client_port: source,
            vip_port: destination,
        },
        tcp,
    })
}

/// IPv6, with up to four extension headers (RFC 8200 section 4), down to TCP.
#[inline(always)]
pub fn ipv6(frame: Frame, l3: usize) -> Result<Segment<FlowKey6>, Reason> {
    let ip = frame.at::<Ipv6Header>(l3).ok_or(Reason::Truncated)?;
    // SAFETY: `at` has checked the bounds; byte arrays need no alignment. Why a reference, see `tcp`.
    let ip = unsafe { &*ip };
    if ip.version >> 4 != 6 {
        return Err(Reason::BadHeader);
    }
    let payload_len = u16::from_be_bytes(ip.payload_len) as usize;
    if l3 + IPV6_LEN + payload_len > frame.len() {
        return Err(Reason::Truncated);
    }
    let (next, skipped) = skip_extension_headers(frame, l3)?;
    match next {
        PROTO_TCP => {}
        PROTO_FRAGMENT => return Err(Reason::Fragment),
        PROTO_ICMPV6 => return Err(Reason::Icmp),
        PROTO_HOP_BY_HOP | PROTO_ROUTING | PROTO_DEST_OPTIONS => {
            return Err(Reason::ExtensionHeaders);
        }
        _ => return Err(Reason::NotTcp),
    }
    if skipped > payload_len {
        return Err(Reason::BadHeader);
    }
    let (tcp, source, destination) = tcp(frame, l3 + IPV6_LEN + skipped, payload_len - skipped)?;
    if ip.hop_limit <= 1 {
        return Err(Reason::TtlExpired);
    }
    Ok(Segment {
        key: FlowKey6 {
            client: ip.source,
            vip: ip.destination,
            client_port: source,
            vip_port: destination,
        },
        tcp,
    })
}

/// Protocol behind the extension headers, and their length.
#[inline(always)]
pub fn skip_extension_headers(frame: Frame, l3: usize) -> Result<(u8, usize), Reason> {
    let ip: Ipv6Header = frame.get(l3)?;
    let mut next = ip.next_header;
    let mut skipped = 0usize;
    for _ in 0..EXTENSION_HEADERS {
        match next {
            PROTO_HOP_BY_HOP | PROTO_ROUTING | PROTO_DEST_OPTIONS => {
                let header: [u8; 2] = frame.get(l3 + IPV6_LEN + skipped)?;
                next = header[0];
                skipped += (header[1] as usize + 1) << 3;
            }
            _ => break,
        }
    }
    Ok((next, skipped))
}

/// `length` is what IP carries: TCP header and payload.
#[inline(always)]
fn tcp(frame: Frame, l4: usize, length: usize) -> Result<(Tcp, [u8; 2], [u8; 2]), Reason> {
    if length < TCP_LEN {
        return Err(Reason::BadHeader);
    }
    let header = frame.at::<TcpHeader>(l4).ok_or(Reason::Truncated)?;
    // A reference: the compiler takes a copy of the whole header apart at offsets that fit no field.
    // SAFETY: `at` has checked the bounds; byte arrays need no alignment.
    let header = unsafe { &*header };
    let flags = header.flags;
    let header_len = ((header.offset >> 4) as usize) << 2;
    if header_len < TCP_LEN || header_len > length {
        return Err(Reason::BadHeader);
    }
    let segment_len = (length - header_len) as u32
        + u32::from(flags & TCP_FIN != 0)
        + u32::from(flags & TCP_SYN != 0);
    Ok((
        Tcp {
            flags,
            seq: u32::from_be_bytes(header.seq),
            ack: u32::from_be_bytes(header.ack),
            segment_len,
        },
        header.source,
        header.destination,
    ))
}
