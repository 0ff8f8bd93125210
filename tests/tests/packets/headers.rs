//! Every form that a header can have: what is steered comes out with three things changed, what is not comes out as
//! it went in.

mod refused;

use mb_lb_common::Reason;
use mb_lb_ctl::config::Scheduler;

use crate::frame::{
    ACK, DESTINATION_OPTIONS, Frame, HOP_BY_HOP, QINQ, ROUTING, SYN, VLAN, forwarded,
    set_ipv4_checksum,
};
use crate::rig::{Family, IFINDEX, PASS, REDIRECT, Rig, TX};
use crate::soundness::sound;

const PORT: u16 = 25;
const NOBODY: u16 = 26;

/// VLAN tags that a frame of ours may have.
pub const TAGS: [&[u16]; 7] = [
    &[],
    &[VLAN],
    &[QINQ],
    &[QINQ, VLAN],
    &[VLAN, VLAN],
    &[QINQ, QINQ],
    &[VLAN, QINQ],
];

/// Chains of extension headers that are read.
pub const CHAINS: [&[(u8, usize)]; 9] = [
    &[],
    &[(HOP_BY_HOP, 1)],
    &[(ROUTING, 3)],
    &[(DESTINATION_OPTIONS, 2)],
    &[(HOP_BY_HOP, 2), (ROUTING, 1)],
    &[(HOP_BY_HOP, 1), (DESTINATION_OPTIONS, 1), (ROUTING, 1)],
    &[
        (HOP_BY_HOP, 1),
        (DESTINATION_OPTIONS, 2),
        (ROUTING, 3),
        (DESTINATION_OPTIONS, 4),
    ],
    &[
        (DESTINATION_OPTIONS, 1),
        (DESTINATION_OPTIONS, 1),
        (DESTINATION_OPTIONS, 1),
        (DESTINATION_OPTIONS, 1),
    ],
    // The longest header that there is: 2,048 bytes.
    &[(HOP_BY_HOP, 256), (DESTINATION_OPTIONS, 16)],
];

/// Frames of every form that is steered, without padding.
pub fn steered() -> Vec<(String, Frame)> {
    let mut frames = Vec::new();
    for tags in TAGS {
        for options in (0..=40).step_by(4) {
            let frame = Frame::new(Family::V4, 40000, PORT, SYN)
                .tags(tags)
                .options(options);
            frames.push((
                format!("IPv4, tags {tags:04x?}, {options} bytes of options"),
                frame,
            ));
        }
        for chain in CHAINS {
            let frame = Frame::new(Family::V6, 40000, PORT, SYN)
                .tags(tags)
                .extensions(chain);
            frames.push((
                format!("IPv6, tags {tags:04x?}, extensions {chain:?}"),
                frame,
            ));
        }
    }
    frames
}

fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.service(PORT, Scheduler::Leastconn, &[(0, 1)]);
    rig.apply();
    rig
}

/// A frame is forwarded to the server, and nothing but MAC addresses and TTL differs.
#[track_caller]
fn goes(rig: &mut Rig, name: &str, frame: &Frame) {
    let ran = rig.send(&frame.bytes());
    assert_eq!(ran.action, TX, "{name}: {:?}", ran.reason);
    assert_eq!(ran.out, forwarded(frame, 0), "{name}");
    sound(&ran.out);
}

/// Bytes come out as they went in, for this reason.
#[track_caller]
fn passes(rig: &mut Rig, name: &str, bytes: &[u8], reason: Reason) {
    let ran = rig.send(bytes);
    assert_eq!((ran.reason, ran.action), (reason, PASS), "{name}");
    assert_eq!(ran.out, bytes, "{name}");
}

#[test]
fn forwarded_frames_differ_in_addresses_and_ttl_only() {
    let mut rig = rig();
    for (name, frame) in steered() {
        goes(&mut rig, &name, &frame);
        goes(
            &mut rig,
            &format!("{name}, padded"),
            &frame.clone().padding(13),
        );
        for tcp_options in (0..=40).step_by(4) {
            let frame = frame.clone().tcp_options(tcp_options);
            goes(
                &mut rig,
                &format!("{name}, TCP options {tcp_options}"),
                &frame,
            );
        }
        for length in [1, 2, 7, 536] {
            let data = Frame {
                flags: ACK,
                payload: vec![0xa5; length],
                ..frame.clone().ack(77)
            };
            goes(&mut rig, &format!("{name}, {length} bytes"), &data);
        }
    }
}

/// Longer than what most interfaces take, so nothing in the program is bound to 1,500 bytes.
#[test]
fn a_large_segment_is_forwarded_whole() {
    let mut rig = rig();
    for family in Family::BOTH {
        let frame = Frame::new(family, 40000, PORT, ACK).payload(&[0x5a; 3300]);
        goes(&mut rig, "3,300 bytes", &frame);
    }
}

/// The checksum is the one that computing it anew gives, also where it wraps round (RFC 1624 section 3).
#[test]
fn ttl_is_decremented_with_every_checksum() {
    let mut rig = rig();
    for id in 0..=u16::MAX {
        let frame = Frame {
            id,
            ..Frame::new(Family::V4, 40000, PORT, SYN)
        };
        let (action, out) = rig.run(&frame.bytes());
        assert_eq!(action, TX);
        assert_eq!(out, forwarded(&frame, 0), "identification {id:#06x}");
    }
}

#[test]
fn ttl_and_hop_limit_that_are_used_up_are_the_kernels() {
    let mut rig = rig();
    for family in Family::BOTH {
        for ttl in 0..=255 {
            let frame = Frame::new(family, 40000, PORT, SYN).ttl(ttl);
            if ttl <= 1 {
                passes(&mut rig, "expired", &frame.bytes(), Reason::TtlExpired);
            } else {
                goes(&mut rig, &format!("TTL {ttl}"), &frame);
            }
        }
    }
}

#[test]
fn another_interface_has_its_own_address() {
    let mut rig = rig();
    let other = [0x02, 0, 0x5e, 0, 0, 0x02];
    rig.desired.ports.insert(2, other);
    rig.record(0).ifindex = 2;
    rig.apply();
    for family in Family::BOTH {
        let frame = Frame::new(family, 40000, PORT, SYN);
        let ran = rig.send(&frame.bytes());
        let mut expected = forwarded(&frame, 0);
        expected[6..12].copy_from_slice(&other);
        assert_eq!((ran.reason, ran.action), (Reason::Scheduled, REDIRECT));
        assert_eq!(ran.out, expected);
    }
}

#[test]
fn an_interface_that_is_not_ours_passes_everything() {
    let mut rig = rig();
    rig.desired.ports.clear();
    rig.apply();
    // In the same slot of the table, but another interface.
    for ports in [None, Some(IFINDEX + mb_lb_common::MAX_PORTS)] {
        if let Some(port) = ports {
            rig.desired.ports.insert(port, crate::frame::OWN_MAC);
            rig.apply();
        }
        for family in Family::BOTH {
            let frame = Frame::new(family, 40000, PORT, SYN);
            passes(
                &mut rig,
                "not our interface",
                &frame.bytes(),
                Reason::NotForUs,
            );
        }
    }
}

/// "Don't fragment", and the bit that RFC 3514 gave a meaning to, make no fragment.
#[test]
fn flags_of_ipv4_that_do_not_fragment() {
    let mut rig = rig();
    for fragment in [0, 0x4000, 0x8000, 0xc000] {
        let frame = Frame::new(Family::V4, 40000, PORT, SYN).fragment(fragment);
        // Not read by the other parser, which keeps no reserved bit.
        let ran = rig.send(&frame.bytes());
        assert_eq!(
            (ran.action, ran.out),
            (TX, forwarded(&frame, 0)),
            "{fragment:#06x}"
        );
    }
}

/// The program believes a network card, and servers check: a wrong checksum stays as wrong as it was.
#[test]
fn a_wrong_checksum_is_not_made_right() {
    let mut rig = rig();
    let frame = Frame::new(Family::V4, 40000, PORT, SYN);
    let mut bytes = frame.bytes();
    let right = u16::from_be_bytes([bytes[24], bytes[25]]);
    bytes[24..26].copy_from_slice(&right.wrapping_add(5).to_be_bytes());
    let ran = rig.send(&bytes);
    assert_eq!(ran.action, TX);
    let mut repaired = ran.out.clone();
    set_ipv4_checksum(&mut repaired[14..34]);
    assert_ne!(ran.out, repaired);
}
