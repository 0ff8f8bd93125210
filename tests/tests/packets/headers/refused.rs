//! What is not steered: row by row, what is done to a frame, and why the kernel gets it.

use mb_lb_common::Reason;

use super::{NOBODY, PORT, passes, rig};
use crate::frame::{
    DESTINATION_OPTIONS, FRAGMENT, Frame, HOP_BY_HOP, ICMP, ICMPV6, QINQ, ROUTING, SYN, UDP, VLAN,
    client,
};
use crate::rig::Family;

/// Rows of what is not steered: what is done to a frame, and the reason.
type Spoilt = (&'static str, Frame, fn(&mut Vec<u8>, usize), Reason);

fn whole(_: &mut Vec<u8>, _: usize) {}

fn set16(bytes: &mut [u8], at: usize, change: impl Fn(u16) -> u16) {
    let value = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    bytes[at..at + 2].copy_from_slice(&change(value).to_be_bytes());
}

#[rustfmt::skip]
fn both(family: Family) -> Vec<Spoilt> {
    let syn = || Frame::new(family, 40000, PORT, SYN);
    vec![
        ("ARP", syn(), |b, _| b[13] = 0x06, Reason::NotIp),
        ("a length instead of a type", syn(), |b, _| b[12..14].copy_from_slice(&[0, 46]), Reason::NotIp),
        ("LLDP", syn(), |b, _| b[12..14].copy_from_slice(&[0x88, 0xcc]), Reason::NotIp),
        ("MPLS", syn(), |b, _| b[12..14].copy_from_slice(&[0x88, 0x47]), Reason::NotIp),
        ("PPPoE", syn(), |b, _| b[12..14].copy_from_slice(&[0x88, 0x64]), Reason::NotIp),
        ("ARP in a VLAN", syn().tags(&[VLAN]), |b, _| b[16..18].copy_from_slice(&[0x08, 0x06]), Reason::NotIp),
        ("three tags", syn().tags(&[QINQ, VLAN, VLAN]), whole, Reason::VlanDepth),
        ("three tags of 802.1Q", syn().tags(&[VLAN; 3]), whole, Reason::VlanDepth),
        ("three tags of 802.1ad", syn().tags(&[QINQ; 3]), whole, Reason::VlanDepth),
        ("the old number of 802.1ad", syn().tags(&[0x9100]), whole, Reason::NotIp),
        ("to another machine", syn(), |b, _| b[0..6].copy_from_slice(&[2, 0, 0x5e, 0, 0, 9]), Reason::NotForUs),
        ("to another machine in a VLAN", syn().tags(&[VLAN]), |b, _| b[5] ^= 0x80, Reason::NotForUs),
        ("broadcast", syn(), |b, _| b[0..6].fill(0xff), Reason::NotForUs),
        ("multicast", syn(), |b, _| b[0..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 1]), Reason::NotForUs),
        ("to no port of ours", Frame::new(family, 40000, NOBODY, SYN), whole, Reason::NoService),
        ("to no address of ours", Frame { to: (client(family, 1), PORT).into(), ..syn() }, whole, Reason::NoService),
    ]
}

#[rustfmt::skip]
fn v4() -> Vec<Spoilt> {
    let syn = || Frame::new(Family::V4, 40000, PORT, SYN);
    vec![
        ("version 6", syn(), |b, l3| b[l3] = 0x65, Reason::BadHeader),
        ("version 0", syn(), |b, l3| b[l3] = 0x05, Reason::BadHeader),
        ("version 15", syn(), |b, l3| b[l3] = 0xf5, Reason::BadHeader),
        ("header of 16 bytes", syn(), |b, l3| b[l3] = 0x44, Reason::BadHeader),
        ("header of 0 bytes", syn(), |b, l3| b[l3] = 0x40, Reason::BadHeader),
        ("header longer than the packet", syn(), |b, l3| b[l3] = 0x4f, Reason::BadHeader),
        ("total length 0", syn(), |b, l3| set16(b, l3 + 2, |_| 0), Reason::BadHeader),
        ("total length below the header", syn(), |b, l3| set16(b, l3 + 2, |_| 19), Reason::BadHeader),
        ("total length without TCP", syn(), |b, l3| set16(b, l3 + 2, |_| 20), Reason::BadHeader),
        ("total length of half a TCP header", syn(), |b, l3| set16(b, l3 + 2, |_| 39), Reason::BadHeader),
        ("total length one above the frame", syn(), |b, l3| set16(b, l3 + 2, |n| n + 1), Reason::Truncated),
        ("total length 65535", syn(), |b, l3| set16(b, l3 + 2, |_| 65535), Reason::Truncated),
        ("first fragment", syn().fragment(0x2000), whole, Reason::Fragment),
        ("middle fragment", syn().fragment(0x2001), whole, Reason::Fragment),
        ("last fragment", syn().fragment(0x0001), whole, Reason::Fragment),
        ("fragment at the far end", syn().fragment(0x1fff), whole, Reason::Fragment),
        ("fragment that must not be one", syn().fragment(0x6000), whole, Reason::Fragment),
        ("fragment of UDP", syn().fragment(0x2000), |b, l3| b[l3 + 9] = UDP, Reason::Fragment),
        ("ICMP", syn(), |b, l3| b[l3 + 9] = ICMP, Reason::Icmp),
        ("UDP", syn(), |b, l3| b[l3 + 9] = UDP, Reason::NotTcp),
        ("SCTP", syn(), |b, l3| b[l3 + 9] = 132, Reason::NotTcp),
        ("ESP", syn(), |b, l3| b[l3 + 9] = 50, Reason::NotTcp),
        ("ICMPv6 in IPv4", syn(), |b, l3| b[l3 + 9] = ICMPV6, Reason::NotTcp),
        ("TCP header of 16 bytes", syn(), |b, l3| b[l3 + 32] = 0x40, Reason::BadHeader),
        ("TCP header of 0 bytes", syn(), |b, l3| b[l3 + 32] = 0, Reason::BadHeader),
        ("TCP header longer than the segment", syn(), |b, l3| b[l3 + 32] = 0x60, Reason::BadHeader),
        ("TCP header into the padding", syn().padding(40), |b, l3| b[l3 + 32] = 0xf0, Reason::BadHeader),
        ("IPv6 said, IPv4 sent", syn(), |b, _| b[12..14].copy_from_slice(&[0x86, 0xdd]), Reason::BadHeader),
    ]
}

#[rustfmt::skip]
fn v6() -> Vec<Spoilt> {
    let syn = || Frame::new(Family::V6, 40000, PORT, SYN);
    let with = |chain: &[(u8, usize)]| syn().extensions(chain);
    vec![
        ("version 4", syn(), |b, l3| b[l3] = 0x40, Reason::BadHeader),
        ("version 7", syn(), |b, l3| b[l3] = 0x70, Reason::BadHeader),
        ("payload length 0", syn(), |b, l3| set16(b, l3 + 4, |_| 0), Reason::BadHeader),
        ("payload of half a TCP header", syn(), |b, l3| set16(b, l3 + 4, |_| 19), Reason::BadHeader),
        ("payload one above the frame", syn(), |b, l3| set16(b, l3 + 4, |n| n + 1), Reason::Truncated),
        ("payload 65535", syn(), |b, l3| set16(b, l3 + 4, |_| 65535), Reason::Truncated),
        ("fragment", with(&[(FRAGMENT, 1)]), whole, Reason::Fragment),
        ("fragment behind others", with(&[(HOP_BY_HOP, 1), (DESTINATION_OPTIONS, 1), (FRAGMENT, 1)]), whole, Reason::Fragment),
        ("fragment behind four", with(&[(HOP_BY_HOP, 1), (DESTINATION_OPTIONS, 1), (ROUTING, 1), (DESTINATION_OPTIONS, 1), (FRAGMENT, 1)]), whole, Reason::Fragment),
        ("five headers", with(&[(HOP_BY_HOP, 1), (DESTINATION_OPTIONS, 1), (DESTINATION_OPTIONS, 1), (DESTINATION_OPTIONS, 1), (ROUTING, 1)]), whole, Reason::ExtensionHeaders),
        ("five headers, hop by hop last", with(&[(DESTINATION_OPTIONS, 1), (DESTINATION_OPTIONS, 1), (DESTINATION_OPTIONS, 1), (DESTINATION_OPTIONS, 1), (HOP_BY_HOP, 1)]), whole, Reason::ExtensionHeaders),
        ("eight headers", with(&[(DESTINATION_OPTIONS, 1); 8]), whole, Reason::ExtensionHeaders),
        ("a header longer than the packet", with(&[(HOP_BY_HOP, 1)]), |b, l3| b[l3 + 41] = 200, Reason::BadHeader),
        ("a header that ends in TCP", with(&[(HOP_BY_HOP, 1)]), |b, l3| b[l3 + 41] = 1, Reason::BadHeader),
        ("a header that is the last thing", with(&[(HOP_BY_HOP, 1)]), |b, l3| { set16(b, l3 + 4, |_| 8); b.truncate(l3 + 48); }, Reason::BadHeader),
        ("a header without its second byte", with(&[(HOP_BY_HOP, 1)]), |b, l3| { set16(b, l3 + 4, |_| 1); b.truncate(l3 + 41); }, Reason::Truncated),
        ("ICMPv6", syn(), |b, l3| b[l3 + 6] = ICMPV6, Reason::Icmp),
        ("ICMPv6 behind options", with(&[(HOP_BY_HOP, 1)]), |b, l3| b[l3 + 40] = ICMPV6, Reason::Icmp),
        ("ICMP of IPv4 in IPv6", syn(), |b, l3| b[l3 + 6] = ICMP, Reason::NotTcp),
        ("UDP", syn(), |b, l3| b[l3 + 6] = UDP, Reason::NotTcp),
        ("nothing next", syn(), |b, l3| b[l3 + 6] = 59, Reason::NotTcp),
        ("ESP", syn(), |b, l3| b[l3 + 6] = 50, Reason::NotTcp),
        ("AH", syn(), |b, l3| b[l3 + 6] = 51, Reason::NotTcp),
        ("mobility", syn(), |b, l3| b[l3 + 6] = 135, Reason::NotTcp),
        ("TCP header of 16 bytes", syn(), |b, l3| b[l3 + 52] = 0x40, Reason::BadHeader),
        ("TCP header longer than the segment", syn(), |b, l3| b[l3 + 52] = 0x60, Reason::BadHeader),
        ("TCP header into the padding", syn().padding(40), |b, l3| b[l3 + 52] = 0xf0, Reason::BadHeader),
        ("IPv4 said, IPv6 sent", syn(), |b, _| b[12..14].copy_from_slice(&[0x08, 0x00]), Reason::BadHeader),
    ]
}

#[test]
fn what_is_not_steered_comes_out_as_it_went_in() {
    let mut rig = rig();
    let rows = [both(Family::V4), both(Family::V6), v4(), v6()].concat();
    for (name, frame, spoil, reason) in rows {
        let mut bytes = frame.bytes();
        spoil(&mut bytes, frame.l3());
        passes(
            &mut rig,
            &format!("{name} ({:?})", frame.family()),
            &bytes,
            reason,
        );
    }
    let report = rig.tick();
    assert_eq!(report.flows, 0);
    assert_eq!(report.servers[&0].packets, 0);
}
