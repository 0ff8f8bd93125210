//! Every [`Reason`] on a table: packets before, the packet, its one counter, its action, and every byte that comes out.

use std::collections::BTreeSet;
use std::time::Duration;

use mb_lb_common::{Reason, SERVICE_REPLY_LOCAL, Verdict};
use mb_lb_ctl::config::{FlowTimeouts, Scheduler};
use mb_lb_tests::wait_until;

use crate::frame::{
    ACK, DESTINATION_OPTIONS, FIN, Frame, HOP_BY_HOP, ICMP, ICMPV6, QINQ, RST, SYN, UDP, VLAN,
    forwarded, reset_for,
};
use crate::rig::{DROP, FAILED, Family, PASS, Rig, TX, all_timeouts};
use crate::soundness::sound;

/// One server.
const NORMAL: u16 = 25;
/// No server.
const EMPTY: u16 = 26;
/// No server, and the director itself speaks.
const SPOKEN: u16 = 27;
/// Its server fails.
const FAILING: u16 = 28;
/// Its server's record goes away.
const GOING: u16 = 29;
/// Its server is behind an interface that the director does not have.
const ELSEWHERE: u16 = 30;
/// Nothing listens.
const NOBODY: u16 = 99;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    Same,
    To(u32),
    Reset,
    Nothing,
}

struct Row {
    name: &'static str,
    before: Vec<Frame>,
    /// Between `before` and the packet.
    change: fn(&mut Rig),
    packet: Frame,
    /// Done to the packet's bytes.
    spoil: fn(&mut Vec<u8>, usize),
    reason: Reason,
    out: Out,
}

fn row(name: &'static str, packet: Frame, reason: Reason, out: Out) -> Row {
    Row {
        name,
        before: Vec::new(),
        change: |_| {},
        packet,
        spoil: |_, _| {},
        reason,
        out,
    }
}

impl Row {
    fn after(mut self, before: &[&Frame]) -> Self {
        self.before = before.iter().map(|&frame| frame.clone()).collect();
        self
    }
    fn once(mut self, change: fn(&mut Rig)) -> Self {
        self.change = change;
        self
    }
    /// The second argument of `spoil` is where the IP header starts.
    fn spoilt(mut self, spoil: fn(&mut Vec<u8>, usize)) -> Self {
        self.spoil = spoil;
        self
    }

    #[track_caller]
    fn play(&self, rig: &mut Rig, family: Family) {
        for frame in &self.before {
            rig.send(&frame.bytes());
        }
        (self.change)(rig);
        let mut bytes = self.packet.bytes();
        (self.spoil)(&mut bytes, self.packet.l3());
        let ran = rig.send(&bytes);
        let what = format!("{} ({family:?})", self.name);
        assert_eq!(ran.reason, self.reason, "{what}");
        let (verdict, action, out) = match self.out {
            Out::Same => (Verdict::Pass, PASS, bytes),
            Out::To(server) => (Verdict::Forward, TX, forwarded(&self.packet, server)),
            Out::Reset => (Verdict::Answer, TX, reset_for(&self.packet)),
            Out::Nothing => (Verdict::Drop, DROP, bytes),
        };
        assert_eq!(ran.action, action, "{what}");
        if action != DROP {
            assert_eq!(ran.out, out, "{what}");
        }
        if action == TX {
            sound(&ran.out);
        }
        // A RST without a place is dropped where another segment would be answered.
        assert_eq!(ran.reason.verdict(), verdict, "{what}");
    }
}

fn rows(family: Family) -> Vec<Row> {
    let mut port = 10_000;
    // A connection of its own for each row.
    let mut own = |to: u16| {
        port += 1;
        move |flags: u8| {
            let seq = if flags & SYN == 0 { 1001 } else { 1000 };
            Frame::new(family, port, to, flags).seq(seq)
        }
    };
    let ip_protocol = match family {
        Family::V4 => |bytes: &mut Vec<u8>, l3: usize| {
            bytes[l3 + 9] = UDP;
        },
        Family::V6 => |bytes: &mut Vec<u8>, l3: usize| {
            bytes[l3 + 6] = UDP;
        },
    };
    let icmp = match family {
        Family::V4 => |bytes: &mut Vec<u8>, l3: usize| {
            bytes[l3 + 9] = ICMP;
        },
        Family::V6 => |bytes: &mut Vec<u8>, l3: usize| {
            bytes[l3 + 6] = ICMPV6;
        },
    };
    let mut rows = Vec::new();

    let syn = || Frame::new(family, 9999, NORMAL, SYN);
    rows.extend([
        row("ARP", syn(), Reason::NotIp, Out::Same)
            .spoilt(|bytes, _| bytes[12..14].copy_from_slice(&[0x08, 0x06])),
        row("for another machine", syn(), Reason::NotForUs, Out::Same)
            .spoilt(|bytes, _| bytes[5] ^= 1),
        row("cut short", syn(), Reason::Truncated, Out::Same).spoilt(|bytes, _| {
            bytes.pop();
        }),
        row("of another version", syn(), Reason::BadHeader, Out::Same)
            .spoilt(|bytes, l3| bytes[l3] = 0x55),
        row(
            "with three tags",
            syn().tags(&[QINQ, VLAN, VLAN]),
            Reason::VlanDepth,
            Out::Same,
        ),
        row("UDP", syn(), Reason::NotTcp, Out::Same).spoilt(ip_protocol),
        row("ICMP", syn(), Reason::Icmp, Out::Same).spoilt(icmp),
        row(
            "to a port of nobody",
            Frame::new(family, 9999, NOBODY, SYN),
            Reason::NoService,
            Out::Same,
        ),
        row(
            "at the end of its life",
            syn().ttl(1),
            Reason::TtlExpired,
            Out::Same,
        ),
    ]);
    rows.push(match family {
        Family::V4 => row(
            "first fragment",
            syn().fragment(0x2000),
            Reason::Fragment,
            Out::Same,
        ),
        Family::V6 => row(
            "fragment",
            syn().extensions(&[(crate::frame::FRAGMENT, 1)]),
            Reason::Fragment,
            Out::Same,
        ),
    });
    if family == Family::V6 {
        let five = [
            (HOP_BY_HOP, 1),
            (DESTINATION_OPTIONS, 1),
            (DESTINATION_OPTIONS, 1),
            (DESTINATION_OPTIONS, 1),
            (DESTINATION_OPTIONS, 1),
        ];
        rows.push(row(
            "five extension headers",
            syn().extensions(&five),
            Reason::ExtensionHeaders,
            Out::Same,
        ));
    }

    let c = own(NORMAL);
    rows.push(row("SYN", c(SYN), Reason::Scheduled, Out::To(0)));
    let c = own(NORMAL);
    rows.push(row("SYN again", c(SYN), Reason::SynRetransmitted, Out::To(0)).after(&[&c(SYN)]));
    let c = own(NORMAL);
    rows.push(row("the handshake's ACK", c(ACK), Reason::Promoted, Out::To(0)).after(&[&c(SYN)]));
    let c = own(NORMAL);
    rows.push(
        row(
            "data",
            c(ACK).payload(b"EHLO a\r\n"),
            Reason::Established,
            Out::To(0),
        )
        .after(&[&c(SYN), &c(ACK)]),
    );
    let c = own(NORMAL);
    rows.push(row("FIN", c(FIN | ACK), Reason::FinSeen, Out::To(0)).after(&[&c(SYN), &c(ACK)]));
    let c = own(NORMAL);
    rows.push(row("RST", c(RST), Reason::RstSeen, Out::To(0)).after(&[&c(SYN), &c(ACK)]));
    let c = own(NORMAL);
    rows.push(
        row(
            "RST from anywhere",
            c(RST).seq(0x4000_0000),
            Reason::RstIgnored,
            Out::To(0),
        )
        .after(&[&c(SYN), &c(ACK)]),
    );
    let c = own(NORMAL);
    rows.push(
        row(
            "ACK after FIN",
            c(ACK).seq(1002),
            Reason::Closing,
            Out::To(0),
        )
        .after(&[&c(SYN), &c(ACK), &c(FIN | ACK)]),
    );
    let c = own(NORMAL);
    rows.push(
        row(
            "ACK long after FIN",
            c(ACK).seq(1002),
            Reason::Remembered,
            Out::To(0),
        )
        .after(&[&c(SYN), &c(ACK), &c(FIN | ACK)])
        .once(|rig| {
            rig.timeouts(all_timeouts(Duration::from_millis(20)));
            wait_until(
                "the flows to expire",
                Duration::from_secs(20),
                || match rig.tick().flows {
                    0 => Ok(()),
                    n => Err(format!("{n} flows")),
                },
            );
            rig.timeouts(FlowTimeouts::default());
        }),
    );
    let c = own(NORMAL);
    rows.push(row(
        "ACK out of nowhere",
        c(ACK),
        Reason::Recovered,
        Out::To(0),
    ));
    let c = own(NORMAL);
    rows.push(
        row(
            "ACK of another number",
            c(ACK).seq(0x4000_0000),
            Reason::Handshake,
            Out::To(0),
        )
        .after(&[&c(SYN)]),
    );
    let c = own(EMPTY);
    rows.push(row(
        "SYN to no server",
        c(SYN),
        Reason::NoServerReset,
        Out::Reset,
    ));
    let c = own(EMPTY);
    rows.push(row(
        "RST to no server",
        c(RST),
        Reason::RstUnplaced,
        Out::Nothing,
    ));
    let c = own(SPOKEN);
    rows.push(row(
        "SYN to the director",
        c(SYN),
        Reason::NoServerLocal,
        Out::Same,
    ));
    let c = own(FAILING);
    rows.push(
        row(
            "data for a failed server",
            c(ACK).payload(b"x"),
            Reason::ServerDownReset,
            Out::Reset,
        )
        .after(&[&c(SYN), &c(ACK)])
        .once(|rig| {
            rig.mark(1, FAILED);
            rig.apply();
        }),
    );
    let c = own(GOING);
    rows.push(
        row(
            "data for a server that is gone",
            c(ACK),
            Reason::ServerGone,
            Out::Reset,
        )
        .after(&[&c(SYN), &c(ACK)])
        .once(|rig| {
            rig.desired.servers.remove(&2);
            rig.apply();
        }),
    );
    let c = own(ELSEWHERE);
    rows.push(row(
        "out of an interface that is not",
        c(SYN),
        Reason::RewriteFailed,
        Out::Nothing,
    ));
    rows
}

#[test]
fn every_reason_is_counted_and_does_what_it_says() {
    let mut seen = BTreeSet::new();
    for family in Family::BOTH {
        let mut rig = Rig::new();
        rig.service(NORMAL, Scheduler::Leastconn, &[(0, 1)]);
        rig.service(EMPTY, Scheduler::Leastconn, &[]);
        rig.service(SPOKEN, Scheduler::Leastconn, &[]);
        rig.flags(SPOKEN, SERVICE_REPLY_LOCAL);
        rig.service(FAILING, Scheduler::Leastconn, &[(1, 1)]);
        rig.service(GOING, Scheduler::Leastconn, &[(2, 1)]);
        rig.service(ELSEWHERE, Scheduler::Leastconn, &[(3, 1)]);
        rig.record(3).ifindex = 77;
        rig.apply();
        for row in rows(family) {
            row.play(&mut rig, family);
            seen.insert(row.reason);
        }

        let mut full = Rig::with_room(1);
        full.service(NORMAL, Scheduler::Leastconn, &[(0, 1)]);
        full.apply();
        let c = |port: u16, flags| Frame::new(family, port, NORMAL, flags);
        let row = row(
            "no room",
            c(2, ACK).seq(1001),
            Reason::TableFull,
            Out::To(0),
        )
        .after(&[&c(1, SYN), &c(1, ACK).seq(1001), &c(2, SYN)]);
        row.play(&mut full, family);
        seen.insert(row.reason);
    }
    // It concerns no segment: `lease` has its packets; and `takeover` has those of the other.
    seen.insert(Reason::LeaseOver);
    seen.insert(Reason::AwaitsPeer);
    for reason in Reason::ALL {
        assert!(seen.contains(reason), "{reason:?} was not provoked");
    }
}
