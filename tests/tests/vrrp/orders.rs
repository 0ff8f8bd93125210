//! What the router does on order, what it shows, and how it defends the addresses.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::vrrp::Instance;
use mb_lb_ctl::vrrp::machine::{Cause, Role};
use mb_lb_ctl::vrrp::packet::GROUP4;
use mb_lb_ctl::vrrp::resume::Resume;
use mb_lb_ctl::vrrp::router::{Command, Report};
use mb_lb_tests::Wire;
use mb_lb_tests::frames::SEGMENT_LENGTH;
use mb_lb_tests::machine::Machine;

use crate::form::{Form, V2, V2_PASS, V3, VRID};
use crate::keepalived::Keepalived;
use crate::network::{Heard, holds, wait_holders};
use crate::router::{Router, policy};
use crate::{VIP4, lab};

#[test]
fn told_by_others_it_takes_over_and_steps_down_and_shows_what_it_does() -> Result<()> {
    let lab = lab("told")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let _other = Keepalived::start(lb2, &V2_PASS.theirs(&lab, 150))?;
    wait_holders(&lab, VIP4, [false, true])?;
    let ours = Router::start(lb1, &V2_PASS.ours(&lab, 100))?;
    ours.wait_role(Role::Backup)?;
    let view = ours.wait_view("the active director", |view| view.master.is_some())?;
    let (heard, _) = view.master.context("it was heard")?;
    assert_eq!((heard.source, heard.priority), (lb2.ipv4().into(), 150));
    assert_eq!((view.role, view.priority), (Role::Backup, 100));
    assert_eq!(view.source, Some(lb1.ipv4().into()));
    assert_eq!(view.rejections, []);
    let why = || "the sync group goes together".to_owned();
    ours.tell(Command::TakeOver { why: why() })?;
    assert_eq!(ours.wait_role(Role::Active)?, Cause::Told(why()));
    // The stronger one says at once that it is there.
    let cause = ours.wait_role(Role::Backup)?;
    ensure!(
        matches!(cause, Cause::Stronger { priority: 150, .. }),
        "{cause:?}"
    );
    // Stronger than that, it keeps them, until it is told to go.
    ours.tell(policy(200))?;
    ours.wait_role(Role::Active)?;
    wait_holders(&lab, VIP4, [true, false])?;
    let view = ours.wait_view("its own role", |view| view.role == Role::Active)?;
    assert_eq!((view.master, view.priority), (None, 200));
    ours.tell(Command::StepDown { why: why() })?;
    assert_eq!(ours.wait_role(Role::Backup)?, Cause::Told(why()));
    // Else it would preempt.
    ours.tell(policy(100))?;
    wait_holders(&lab, VIP4, [false, true])?;
    ours.leave()
}

/// Adverts so fast that the lease does not tell whether a peer has taken over.
#[test]
fn fast_adverts_resume_on_the_word_of_the_earlier_process() -> Result<()> {
    let lab = lab("resume")?;
    let lb1 = lab.machine("lb1");
    let fast = Form {
        milliseconds: 900,
        ..V3
    }
    .ours(&lab, 101);
    let ours = Router::start(lb1, &fast)?;
    ours.wait_role(Role::Backup)?;
    ours.wait_role(Role::Active)?;
    ours.crash();
    let earlier = Resume {
        alone: false,
        ago: Duration::ZERO,
    };
    let ours = Router::start_after(lb1, &fast, Some(earlier))?;
    assert_eq!(ours.wait_role(Role::Active)?, Cause::Resumed);
    ours.crash();
    // It says nothing, or it was too long ago: what is left is taken away, and the peers are listened to.
    let long_ago = Resume {
        alone: false,
        ago: fast.interval * 2,
    };
    for earlier in [None, Some(long_ago)] {
        let ours = Router::start_after(lb1, &fast, earlier)?;
        assert_eq!(ours.wait_role(Role::Backup)?, Cause::Started);
        ours.wait_role(Role::Active)?;
        ours.crash();
    }
    Ok(())
}

#[test]
fn address_that_is_taken_away_or_claimed_is_defended() -> Result<()> {
    let lab = lab("defend")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let ours = Router::start(lb1, &V2.ours(&lab, 101))?;
    ours.wait_role(Role::Backup)?;
    ours.wait_role(Role::Active)?;
    let vip: IpAddr = VIP4.parse()?;
    lb1.run(
        "ip",
        &["address", "del", &V2.vip_with_prefix(), "dev", "eth0"],
    )?;
    ours.wait("the address to be put back", |report| {
        (*report == Report::Restored(vip)).then_some(())
    })?;
    ensure!(holds(lb1, VIP4)?);
    // Somebody else has it too.
    lb2.add_addresses("eth0", [(vip, 32)])?;
    lb2.run("arping", &["-U", "-c", "1", "-I", "eth0", VIP4])?;
    assert_eq!(ours.wait_claim(vip)?, lb2.mac());
    ours.leave()?;
    ensure!(!holds(lb1, VIP4)?);
    Ok(())
}

/// More of them than it can read: it goes on to say that it is there.
#[test]
fn flood_of_adverts_does_not_silence_it() -> Result<()> {
    let lab = lab("flood")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let ours = Router::start(lb1, &V2.ours(&lab, 101))?;
    ours.wait_role(Role::Backup)?;
    ours.wait_role(Role::Active)?;
    let heard = Heard::count(lb2)?;
    let other = Keepalived::start(lb2, &V2.theirs(&lab, 100))?;
    heard.wait_many()?;
    let wire = Wire::open(lab.client())?;
    let frames = vec![garbage(lab.client(), lb1); 256];
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Full queues are what is wanted.
                let _sent = wire.send_many(&frames);
            }
        });
        let waited = ours
            .wait_view("the flood", |view| {
                view.rejections
                    .first()
                    .is_some_and(|seen| seen.count > 10_000)
            })
            .and_then(|_| heard.wait_many());
        over.store(true, Ordering::Relaxed);
        waited
    })?;
    ensure!(!other.was_active()?, "keepalived heard nothing");
    ours.expect_no_turn()
}

/// An advert of version 2 with a wrong checksum, to one machine only.
fn garbage(from: &Machine, to: &Machine) -> [u8; SEGMENT_LENGTH] {
    let mut frame = [0; SEGMENT_LENGTH];
    frame[..6].copy_from_slice(&to.mac());
    frame[6..12].copy_from_slice(&from.mac());
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 255, 112]);
    frame[26..30].copy_from_slice(&from.ipv4().octets());
    frame[30..34].copy_from_slice(&GROUP4.octets());
    let sum: u32 = frame[14..34]
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame[34..42].copy_from_slice(&[0x21, VRID, 254, 1, 0, 1, 0, 0]);
    frame
}

/// Several virtual routers on one interface; each hears its own adverts only.
#[test]
fn several_at_once() -> Result<()> {
    let lab = lab("several")?;
    let lb1 = lab.machine("lb1");
    let instances: Vec<Instance> = (1..=5u8)
        .map(|n| {
            Ok(Instance {
                name: format!("VI_{n}"),
                vrid: n.try_into()?,
                addresses: vec![(format!("10.77.0.{}", 200 + n).parse()?, 32)],
                ..V3.ours(&lab, 100)
            })
        })
        .collect::<Result<_>>()?;
    let routers = instances
        .iter()
        .map(|instance| Router::start(lb1, instance))
        .collect::<Result<Vec<_>>>()?;
    for router in &routers {
        router.wait_role(Role::Backup)?;
        router.wait_role(Role::Active)?;
        let view = router.wait_view("its role", |view| view.role == Role::Active)?;
        assert_eq!(view.rejections, []);
    }
    for (router, n) in routers.into_iter().zip(1..) {
        ensure!(holds(lb1, &format!("10.77.0.{}", 200 + n))?);
        router.leave()?;
        ensure!(!holds(lb1, &format!("10.77.0.{}", 200 + n))?);
    }
    Ok(())
}
