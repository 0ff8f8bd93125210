//! A frame may end anywhere.

use mb_lb_common::Reason;
use mb_lb_ctl::config::Scheduler;

use crate::frame::{ACK, Frame, HOP_BY_HOP, QINQ, SYN, VLAN};
use crate::headers::steered;
use crate::rig::{Family, PASS, Rig, TX};

/// BPF_PROG_TEST_RUN takes nothing shorter, and no driver hands it up.
const ETHERNET: usize = 14;

#[test]
fn a_frame_that_is_cut_short_passes_untouched() {
    let mut rig = Rig::new();
    rig.service(25, Scheduler::Leastconn, &[(0, 1)]);
    rig.apply();
    let mut frames = steered();
    for family in Family::BOTH {
        let data = Frame::new(family, 40001, 25, ACK)
            .tags(&[QINQ, VLAN])
            .tcp_options(12)
            .payload(b"MAIL FROM:<>\r\n");
        frames.push((format!("data ({family:?})"), data));
    }
    for (name, frame) in frames {
        let bytes = frame.bytes();
        // The longest extension headers: every length near its ends, and a part of those in between.
        let step =
            |length: usize| length < 200 || bytes.len() - length < 200 || length.is_multiple_of(61);
        for length in (ETHERNET..bytes.len()).filter(|&length| step(length)) {
            let ran = rig.send(&bytes[..length]);
            let what = format!("{name}: {length} of {} bytes", bytes.len());
            assert_eq!(
                (ran.reason, ran.action),
                (Reason::Truncated, PASS),
                "{what}"
            );
            assert_eq!(ran.out, bytes[..length], "{what}");
        }
        assert_eq!(rig.send(&bytes).action, TX, "{name}: whole");
    }
}

/// Other reasons may come first where the beginning of a frame already says them; none of them forwards.
#[test]
fn frames_that_would_pass_anyway_are_never_touched() {
    let mut rig = Rig::new();
    rig.service(25, Scheduler::Leastconn, &[(0, 1)]);
    rig.apply();
    for family in Family::BOTH {
        let frame = |tags: &[u16]| Frame::new(family, 40000, 25, SYN).tags(tags);
        let mut frames = vec![
            frame(&[VLAN, VLAN, VLAN]),
            frame(&[QINQ, VLAN]).ttl(1),
            frame(&[]).extensions(&[(HOP_BY_HOP, 1); 5]),
        ];
        frames.push(Frame {
            destination: [0xff; 6],
            ..frame(&[VLAN])
        });
        for (index, frame) in frames.iter().enumerate() {
            if family == Family::V4 && !frame.extensions.is_empty() {
                continue;
            }
            let bytes = frame.bytes();
            for length in ETHERNET..=bytes.len() {
                let ran = rig.send(&bytes[..length]);
                assert_eq!(ran.action, PASS, "frame {index}, {length} bytes");
                assert_eq!(ran.out, bytes[..length], "frame {index}, {length} bytes");
            }
        }
    }
    assert_eq!(rig.tick().servers[&0].packets, 0);
}
