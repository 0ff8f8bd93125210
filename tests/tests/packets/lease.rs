//! Who asks for a VIP whose lease is over gets no answer.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use mb_lb_common::{LEASE_MEANS, Reason};
use mb_lb_ctl::dataplane::Leases;
use mb_lb_ctl::vrrp::clock::clock;

use crate::frame::{CLIENT_MAC, OWN_MAC, VLAN, vip};
use crate::rig::{DROP, Family, PASS, Rig};

const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const HOUR: Duration = Duration::from_secs(3600);

fn ethernet(destination: [u8; 6], tags: &[u16], ethertype: u16) -> Vec<u8> {
    let mut frame = [destination, CLIENT_MAC].concat();
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(ethertype.to_be_bytes());
    frame
}

/// RFC 826.
fn arp(operation: u16, destination: [u8; 6], tags: &[u16], target: IpAddr) -> Vec<u8> {
    let IpAddr::V4(target) = target else {
        panic!("ARP is for IPv4");
    };
    let mut frame = ethernet(destination, tags, 0x0806);
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(CLIENT_MAC);
    frame.extend([198, 18, 0, 10]);
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// RFC 4861 section 4.3.
fn ndp(kind: u8, destination: [u8; 6], tags: &[u16], target: IpAddr) -> Vec<u8> {
    let IpAddr::V6(target) = target else {
        panic!("neighbour discovery is for IPv6");
    };
    let mut frame = ethernet(destination, tags, 0x86dd);
    frame.extend([0x60, 0, 0, 0, 0, 24, 58, 255]);
    frame.extend(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 10).octets());
    frame.extend(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x100).octets());
    frame.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
    frame.extend(target.octets());
    frame
}

/// Broadcast or multicast, to this director alone, and inside a VLAN.
fn questions(family: Family, target: IpAddr) -> Vec<Vec<u8>> {
    match family {
        Family::V4 => vec![
            arp(REQUEST, [0xff; 6], &[], target),
            arp(REQUEST, OWN_MAC, &[], target),
            arp(REQUEST, [0xff; 6], &[VLAN], target),
        ],
        Family::V6 => vec![
            ndp(SOLICITATION, [0x33, 0x33, 0xff, 0, 1, 0], &[], target),
            ndp(SOLICITATION, OWN_MAC, &[], target),
            ndp(SOLICITATION, [0x33, 0x33, 0xff, 0, 1, 0], &[VLAN], target),
        ],
    }
}

#[test]
fn question_for_a_vip_is_answered_until_its_lease_is_over() {
    let mut rig = Rig::new();
    rig.apply();
    let leases = Leases::open(rig.plane.pins()).expect("the map is there");
    for family in Family::BOTH {
        let vip = vip(family);
        let mut expect = |drops: bool, what: &str| {
            for frame in questions(family, vip) {
                let ran = rig.send(&frame);
                let expected = if drops { DROP } else { PASS };
                assert_eq!(ran.action, expected, "{what}: {family:?}");
                assert_eq!(ran.reason == Reason::LeaseOver, drops, "{what}: {family:?}");
                assert_eq!(ran.out, frame, "{what}: {family:?}");
            }
        };
        expect(false, "no lease at all");
        leases.grant(vip, clock() + HOUR).expect("room");
        expect(false, "runs");
        leases.grant(vip, clock()).expect("room");
        expect(true, "just over");
        let meant = Duration::from_nanos(LEASE_MEANS);
        leases
            .grant(vip, clock().saturating_sub(meant))
            .expect("room");
        expect(false, "over for long");
        leases.grant(vip, clock()).expect("room");
        leases.forget(vip).expect("it is there");
        leases.forget(vip).expect("nothing to do");
        expect(false, "given up");
    }
}

#[test]
fn lease_that_is_over_concerns_nothing_else() {
    let mut rig = Rig::new();
    rig.apply();
    let leases = Leases::open(rig.plane.pins()).expect("the map is there");
    let other = [
        IpAddr::from([192, 0, 2, 101]),
        "2001:db8::101".parse().expect("an address"),
    ];
    for family in Family::BOTH {
        leases.grant(vip(family), clock()).expect("room");
    }
    let mut frames = vec![
        arp(REPLY, OWN_MAC, &[], vip(Family::V4)),
        ndp(ADVERTISEMENT, OWN_MAC, &[], vip(Family::V6)),
    ];
    frames.extend(questions(Family::V4, other[0]));
    frames.extend(questions(Family::V6, other[1]));
    for frame in frames {
        let ran = rig.send(&frame);
        assert_eq!(ran.action, PASS, "{:?}", ran.reason);
        assert_eq!(ran.out, frame);
    }
    // Cut short anywhere, it asks for nothing.
    for family in Family::BOTH {
        for frame in questions(family, vip(family)) {
            for length in 14..frame.len() {
                let ran = rig.send(&frame[..length]);
                assert_eq!(ran.action, PASS, "{length} bytes");
            }
        }
    }
}
