//! What is written into packets: the next hop of a forwarded frame, and the RST that answers for a server that is
//! not there.
//!
//! Here is the place for the other forward methods (dnat, snat, ipip): they rewrite more, and end in [`send`] too.

use aya_ebpf::{
    bindings::xdp_action,
    helpers::{bpf_redirect, generated::bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use mb_lb_common::MAX_PORTS;

use crate::{
    maps::PORTS,
    packet::{
        ETH_LEN, Frame, IPV4_LEN, IPV6_LEN, Ipv4Header, Ipv6Header, Network, TCP_ACK, TCP_LEN,
        TCP_RST, Tcp, TcpHeader,
    },
    select::Target,
};

/// Time to live of packets that the director makes (RFC 1700).
const TTL: u8 = 64;

#[inline(always)]
pub fn frame(ctx: &XdpContext) -> Frame {
    Frame::new(ctx.data(), ctx.data_end())
}

/// The MAC address of the interface that a frame came in on, if it is ours.
#[inline(always)]
pub fn port_mac(ifindex: u32) -> Option<[u8; 6]> {
    let port = PORTS.get_ptr(ifindex % MAX_PORTS)?;
    // SAFETY: inside the map value.
    let port = unsafe { &*port };
    if port.ifindex != ifindex {
        return None;
    }
    Some(port.mac)
}

/// The addresses of a frame; that of the server in the pieces of `Server::link`.
#[repr(C)]
struct Addresses {
    destination: [u8; 4],
    destination_end: [u8; 2],
    source: [u8; 6],
}

/// Sends a frame on to a server: new MAC addresses, TTL or hop limit less one. `None`: the headers moved away.
#[inline(always)]
pub fn forward(
    ctx: &XdpContext,
    network: Network,
    l3: usize,
    ifindex: u32,
    target: &Target,
) -> Option<u32> {
    let frame = frame(ctx);
    let ethernet = frame.at::<Addresses>(0)?;
    let source = if target.ifindex == ifindex {
        // The frame was sent to this interface's address.
        // SAFETY: inside the frame.
        let ([a, b, c, d], [e, f]) =
            unsafe { ((*ethernet).destination, (*ethernet).destination_end) };
        [a, b, c, d, e, f]
    } else {
        port_mac(target.ifindex)?
    };
    match network {
        Network::V4 => {
            let ip = frame.at::<Ipv4Header>(l3)?;
            // SAFETY: inside the frame. The parser saw a TTL above 1.
            unsafe {
                (*ip).ttl -= 1;
                // RFC 1141: one less in the high byte of a word is 0x0100 more in the checksum. The carry comes at
                // 0xffff already: computed anew such a checksum is 0 (RFC 1624 section 3).
                let sum = u32::from(u16::from_be_bytes((*ip).checksum)) + 0x0100;
                (*ip).checksum = ((sum + u32::from(sum >= 0xffff)) as u16).to_be_bytes();
            }
        }
        Network::V6 => {
            let ip = frame.at::<Ipv6Header>(l3)?;
            // SAFETY: inside the frame. The parser saw a hop limit above 1.
            unsafe { (*ip).hop_limit -= 1 };
        }
    }
    // SAFETY: inside the frame.
    unsafe {
        // Two stores; written as six bytes, the address is taken apart into as many.
        (*ethernet).destination = (target.link as u32).to_le_bytes();
        (*ethernet).destination_end = ((target.link >> 32) as u16).to_le_bytes();
        (*ethernet).source = source;
    }
    Some(send(ifindex, target.ifindex))
}

/// Back through the interface it came from, or over to another.
#[inline(always)]
fn send(from: u32, to: u32) -> u32 {
    if from == to {
        return xdp_action::XDP_TX;
    }
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(to, 0) as u32 }
}

/// Turns the client's segment into the RST that a closed port would answer (RFC 9293 section 3.10.7.1), and sends
/// it back. VLAN tags stay. False: it could not be written. (An `Option` would come back through the stack, written with
/// the alignment of its parts: "misaligned stack access".)
#[inline(never)]
pub fn answer_reset(ctx: &XdpContext, network: Network, l3: usize, tcp: &Tcp) -> bool {
    write_reset(ctx, network, l3, tcp).is_some()
}

#[inline(always)]
fn write_reset(ctx: &XdpContext, network: Network, l3: usize, tcp: &Tcp) -> Option<()> {
    // At most Ethernet and two VLAN tags; tells the verifier so.
    let l3 = l3 & 0x1f;
    let ip_len = match network {
        Network::V4 => IPV4_LEN,
        Network::V6 => IPV6_LEN,
    };
    let (source, destination) = {
        let frame = frame(ctx);
        // The ports stand behind options or extension headers, which the answer does not have: find them first.
        let l4 = match network {
            Network::V4 => {
                let ip = frame.at::<Ipv4Header>(l3)?;
                // SAFETY: inside the frame.
                l3 + (((unsafe { (*ip).version_ihl } & 0xf) as usize) << 2)
            }
            Network::V6 => l3 + IPV6_LEN + tcp_offset6(frame, l3)?,
        };
        let header = frame.at::<TcpHeader>(l4)?;
        // SAFETY: inside the frame.
        unsafe { ((*header).source, (*header).destination) }
    };
    let len = frame(ctx).len();
    let shrink = (l3 + ip_len + TCP_LEN) as i64 - len as i64;
    // SAFETY: the context of this run; all pointers into the packet are taken anew below.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, shrink as i32) } != 0 {
        return None;
    }
    let frame = frame(ctx);
    let ethernet = frame.at::<[[u8; 6]; 2]>(0)?;
    // SAFETY: inside the frame.
    unsafe {
        let [to, from] = ethernet.read();
        ethernet.write([from, to]);
    }
    let (seq, ack, flags) = if tcp.has(TCP_ACK) {
        (tcp.ack, 0, TCP_RST)
    } else {
        (0, tcp.next_seq(), TCP_RST | TCP_ACK)
    };
    // Ports, sequence numbers, offset and flags; the rest of the header is zero.
    let mut sum = words(&destination) + words(&source);
    sum += half_words(seq) + half_words(ack) + (0x5000 | u32::from(flags));
    sum += u32::from(crate::packet::PROTO_TCP) + TCP_LEN as u32;
    match network {
        Network::V4 => {
            let ip = frame.at::<Ipv4Header>(l3)?;
            // SAFETY: inside the frame.
            let (client, vip) = unsafe { ((*ip).source, (*ip).destination) };
            let addresses = words4(&client) + words4(&vip);
            sum += addresses;
            let total = (IPV4_LEN + TCP_LEN) as u16;
            let ip_sum = 0x4500
                + u32::from(total)
                + 0x4000
                + (u32::from(TTL) << 8 | u32::from(crate::packet::PROTO_TCP))
                + addresses;
            // SAFETY: inside the frame.
            unsafe {
                ip.write(Ipv4Header {
                    version_ihl: 0x45,
                    tos: 0,
                    total_len: total.to_be_bytes(),
                    id: [0, 0],
                    fragment: [0x40, 0],
                    ttl: TTL,
                    protocol: crate::packet::PROTO_TCP,
                    checksum: checksum(ip_sum),
                    source: vip,
                    destination: client,
                });
            }
        }
        Network::V6 => {
            let ip = frame.at::<Ipv6Header>(l3)?;
            // SAFETY: inside the frame.
            let (client, vip) = unsafe { ((*ip).source, (*ip).destination) };
            sum += words16(&client) + words16(&vip);
            // SAFETY: inside the frame.
            unsafe {
                ip.write(Ipv6Header {
                    version: 0x60,
                    class_flow: [0, 0, 0],
                    payload_len: (TCP_LEN as u16).to_be_bytes(),
                    next_header: crate::packet::PROTO_TCP,
                    hop_limit: TTL,
                    source: vip,
                    destination: client,
                });
            }
        }
    }
    let header = frame.at::<TcpHeader>(l3 + ip_len)?;
    // SAFETY: inside the frame.
    unsafe {
        header.write(TcpHeader {
            source: destination,
            destination: source,
            seq: seq.to_be_bytes(),
            ack: ack.to_be_bytes(),
            offset: 0x50,
            flags,
            window: [0, 0],
            checksum: checksum(sum),
            urgent: [0, 0],
        });
    }
    Some(())
}

/// Length of the extension headers before TCP. The parser has already accepted them.
#[inline(always)]
fn tcp_offset6(frame: Frame, l3: usize) -> Option<usize> {
    crate::packet::skip_extension_headers(frame, l3)
        .ok()
        .map(|(_, skipped)| skipped)
}

#[inline(always)]
fn words(b: &[u8; 2]) -> u32 {
    u32::from(u16::from_be_bytes(*b))
}

#[inline(always)]
fn words4(b: &[u8; 4]) -> u32 {
    half_words(u32::from_be_bytes(*b))
}

#[inline(always)]
fn words16(b: &[u8; 16]) -> u32 {
    words4(&[b[0], b[1], b[2], b[3]])
        + words4(&[b[4], b[5], b[6], b[7]])
        + words4(&[b[8], b[9], b[10], b[11]])
        + words4(&[b[12], b[13], b[14], b[15]])
}

#[inline(always)]
const fn half_words(x: u32) -> u32 {
    (x >> 16) + (x & 0xffff)
}

/// Internet checksum (RFC 1071) of a sum of at most 2^16 words.
#[inline(always)]
const fn checksum(sum: u32) -> [u8; 2] {
    let sum = half_words(half_words(sum));
    (!(sum as u16)).to_be_bytes()
}

const _: () = assert!(ETH_LEN + 2 * 4 <= 0x1f);
