//! Frames that nobody planned: valid ones with anything done to them, and noise. The model says of each why it is not
//! steered; what is steered must come out whole.

use std::collections::BTreeMap;

use mb_lb_common::{Reason, Verdict};
use mb_lb_ctl::config::Scheduler;

use crate::frame::{
    DESTINATION_OPTIONS, FRAGMENT, Frame, HOP_BY_HOP, IPV4, IPV6, OWN_MAC, QINQ, ROUTING, VLAN,
    forward, vip,
};
use crate::model::{Parsed, parse};
use crate::rig::{DROP, Family, PASS, Ran, Rig, TX, packets};

const PORT: u16 = 25;
const EMPTY: u16 = 26;
const NOBODY: u16 = 27;

/// A valid frame of any form.
fn valid(random: &mut fastrand::Rng) -> Frame {
    let family = Family::BOTH[random.usize(..2)];
    let to = random.choice([PORT, PORT, EMPTY, NOBODY]).expect("a port");
    let port = random.u16(..8);
    let mut frame = Frame::new(family, port, to, random.u8(..)).seq(random.u32(..));
    for _ in 0..random.usize(..4) {
        frame.tags.push(if random.bool() { VLAN } else { QINQ });
    }
    frame.ack = random.u32(..);
    frame.ttl = random.u8(..);
    frame.padding = random.choice([0, 0, 6, 40]).expect("a length");
    frame.tcp_options = 4 * random.usize(..=10);
    frame.payload = vec![0x55; random.usize(..80)];
    match family {
        Family::V4 => {
            frame.options = 4 * random.usize(..=10);
            if random.u8(..8) == 0 {
                frame.fragment = random.u16(..);
            }
        }
        Family::V6 => {
            for _ in 0..random.usize(..7) {
                let headers = [HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, FRAGMENT];
                let kind = headers[random.usize(..33) / 10 % 4];
                frame.extensions.push((kind, random.usize(1..4)));
            }
        }
    }
    frame
}

/// Does something to a frame.
fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    // Where headers are; a payload has nothing to say.
    let headers = bytes.len().min(110);
    match random.u32(..8) {
        0 => {
            let at = random.usize(..headers);
            bytes[at] = random.u8(..);
        }
        1 => {
            let at = random.usize(..headers);
            bytes[at] ^= 1 << random.u32(..8);
        }
        2 => {
            let at = random.usize(..headers);
            bytes[at] = random
                .choice([0, 1, 4, 6, 0xff, 0x45, 0x60])
                .expect("a value");
        }
        3 => bytes.truncate(random.usize(14..=bytes.len())),
        4 => bytes.extend((0..random.usize(..64)).map(|i| i as u8)),
        5 => {
            let at = random.usize(..headers);
            bytes.remove(at);
        }
        6 => {
            let at = random.usize(..headers);
            bytes.insert(at, random.u8(..));
        }
        _ => {
            let (from, to) = (random.usize(12..headers), random.usize(12..headers));
            bytes[to] = bytes[from];
        }
    }
    while bytes.len() < 14 {
        bytes.push(0);
    }
}

fn noise(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..random.usize(14..200)).map(|_| random.u8(..)).collect();
    // Else the second question would be the last that is ever asked.
    bytes[..6].copy_from_slice(&OWN_MAC);
    let ethertype = random.choice([IPV4, IPV6, VLAN]).expect("a type");
    bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
    if random.bool() && bytes.len() > 14 {
        bytes[14] = if ethertype == IPV4 { 0x45 } else { 0x60 };
    }
    bytes
}

/// Checks what the program did with a frame that it can read.
fn check_steered(bytes: &[u8], parsed: &Parsed, ran: &Ran) {
    let family = if parsed.to.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let ours = parsed.to.ip() == vip(family);
    match parsed.to.port() {
        PORT if ours => {
            let mut expected = bytes.to_vec();
            assert_eq!(ran.reason.verdict(), Verdict::Forward, "{parsed:?}");
            let right = checksum_is_right(bytes, parsed.l3, family);
            forward(&mut expected, parsed.l3, family, 0);
            if !right {
                // Wrong before, wrong after: the fresh sum is no measure.
                let sum = parsed.l3 + 10..parsed.l3 + 12;
                expected[sum.clone()].copy_from_slice(&ran.out[sum]);
            }
            assert_eq!((ran.action, &ran.out), (TX, &expected), "{parsed:?}");
        }
        EMPTY if ours && parsed.flags & 4 != 0 => {
            assert_eq!(
                (ran.reason, ran.action),
                (Reason::RstUnplaced, DROP),
                "{parsed:?}"
            );
        }
        EMPTY if ours => {
            assert_eq!(
                (ran.reason, ran.action),
                (Reason::NoServerReset, TX),
                "{parsed:?}"
            );
            let back = parse(
                &ran.out,
                [bytes[6], bytes[7], bytes[8], bytes[9], bytes[10], bytes[11]],
            )
            .unwrap_or_else(|reason| panic!("{reason:?} in the answer to {parsed:?}"));
            crate::soundness::sound(&ran.out);
            assert_eq!(
                (back.from, back.to, back.l3),
                (parsed.to, parsed.from, parsed.l3)
            );
            let (seq, ack, flags) = if parsed.flags & 0x10 != 0 {
                (parsed.ack, 0, 0x04)
            } else {
                (0, parsed.seq.wrapping_add(parsed.length), 0x14)
            };
            assert_eq!(
                (back.seq, back.ack, back.flags, back.length),
                (seq, ack, flags, 0)
            );
        }
        _ => {
            assert_eq!(
                (ran.reason, ran.action),
                (Reason::NoService, PASS),
                "{parsed:?}"
            );
            assert_eq!(ran.out, bytes, "{parsed:?}");
        }
    }
}

fn checksum_is_right(bytes: &[u8], l3: usize, family: Family) -> bool {
    if family == Family::V6 {
        return true;
    }
    let end = l3 + usize::from(bytes[l3] & 0xf) * 4;
    let mut fresh = bytes[l3..end].to_vec();
    crate::frame::set_ipv4_checksum(&mut fresh);
    fresh == bytes[l3..end]
}

#[test]
fn any_frame_is_read_as_the_model_reads_it() {
    let mut random = fastrand::Rng::with_seed(100_000);
    let mut rig = Rig::new();
    rig.service(PORT, Scheduler::Leastconn, &[(0, 1)]);
    rig.service(EMPTY, Scheduler::Leastconn, &[]);
    rig.apply();
    let mut seen: BTreeMap<Reason, u32> = BTreeMap::new();
    for number in 0..packets(100_000) {
        let bytes = if random.u8(..8) == 0 {
            noise(&mut random)
        } else {
            let mut bytes = valid(&mut random).bytes();
            for _ in 0..random.usize(..4) {
                mutate(&mut bytes, &mut random);
            }
            bytes
        };
        let ran = rig.send(&bytes);
        *seen.entry(ran.reason).or_default() += 1;
        match parse(&bytes, OWN_MAC) {
            Ok(parsed) => check_steered(&bytes, &parsed, &ran),
            Err(reason) => {
                assert_eq!(
                    (ran.reason, ran.action),
                    (reason, PASS),
                    "{number}: {bytes:02x?}"
                );
                assert_eq!(ran.out, bytes, "{number}");
            }
        }
    }
    // The frames were of every kind, or the test would say little.
    for reason in [
        Reason::NotIp,
        Reason::NotForUs,
        Reason::Truncated,
        Reason::BadHeader,
        Reason::VlanDepth,
        Reason::ExtensionHeaders,
        Reason::Fragment,
        Reason::Icmp,
        Reason::NotTcp,
        Reason::NoService,
        Reason::TtlExpired,
        Reason::Recovered,
        Reason::NoServerReset,
        Reason::RstUnplaced,
        Reason::Scheduled,
    ] {
        assert!(
            seen.contains_key(&reason),
            "{reason:?} never came: {seen:?}"
        );
    }
    rig.audit();
}
