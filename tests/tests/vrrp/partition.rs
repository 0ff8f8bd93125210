//! Adverts that arrive in one direction only, or in none: two owners meanwhile, and one afterwards, whom the link believes.

use std::cell::Cell;
use std::net::UdpSocket;

use anyhow::{Result, ensure};
use mb_lb_ctl::vrrp::machine::{Cause, Role};
use mb_lb_tests::lab::Lab;
use mb_lb_tests::machine::Machine;
use mb_lb_tests::{Wire, try_wait_until};

use crate::form::V2;
use crate::keepalived::Keepalived;
use crate::network::{Cut, Heard, wait_holders};
use crate::router::Router;
use crate::{SOON, VIP4, lab};

/// A frame as the link sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Advert([u8; 6]),
    /// Gratuitous ARP for [`VIP4`].
    Claim([u8; 6]),
}

fn said(frame: &[u8]) -> Option<Said> {
    let from: [u8; 6] = frame.get(6..12)?.try_into().ok()?;
    let vip: std::net::Ipv4Addr = VIP4.parse().ok()?;
    match frame.get(12..14)? {
        [0x08, 0x00] if frame.get(23)? == &112 => Some(Said::Advert(from)),
        [0x08, 0x06] if frame.get(28..32)? == vip.octets() => Some(Said::Claim(from)),
        _ => None,
    }
}

/// Waits until `lb1` has said with one of its next two adverts, and several times, that the address is there.
fn wait_announced(wire: &Wire, winner: &Machine) -> Result<()> {
    let (adverts, claims) = (Cell::new(0), Cell::new(0));
    wire.wait_for("announcements of the winner", |frame| {
        match said(frame) {
            Some(Said::Advert(from)) if from == winner.mac() => adverts.set(adverts.get() + 1),
            Some(Said::Claim(from)) if from == winner.mac() => claims.set(claims.get() + 1),
            _ => {}
        }
        (adverts.get() > 2 || claims.get() >= 5).then_some(())
    })?;
    ensure!(
        claims.get() >= 5,
        "{} announcements in {} adverts",
        claims.get(),
        adverts.get()
    );
    Ok(())
}

/// Whom the client believes.
fn wait_believed(lab: &Lab, machine: &Machine) -> Result<()> {
    let mac = machine.mac().map(|byte| format!("{byte:02x}")).join(":");
    try_wait_until("the client's table", SOON, || {
        let told = lab.client().run("ip", &["neighbour", "show", VIP4])?;
        ensure!(told.contains(&mac), "{told}, not {mac}");
        Ok(())
    })
}

fn pair(lab: &Lab, ours: u8, theirs: u8) -> Result<(Router, Keepalived)> {
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let router = Router::start(lb1, &V2.ours(lab, ours))?;
    router.wait_role(Role::Backup)?;
    router.wait_role(Role::Active)?;
    // Somebody who has to know where the address is.
    lab.client()
        .enter(|| UdpSocket::bind("0.0.0.0:0")?.send_to(&[0], (VIP4, 9)))?;
    wait_believed(lab, lb1)?;
    let (to_ours, to_other) = (Heard::count(lb1)?, Heard::count(lb2)?);
    let other = Keepalived::start(lb2, &V2.theirs(lab, theirs))?;
    if ours > theirs {
        to_other.wait_many()?;
        ensure!(!other.was_active()?, "keepalived does not hear us");
    } else {
        router.wait_role(Role::Backup)?;
        wait_believed(lab, lb2)?;
        to_ours.wait_many()?;
    }
    router.expect_no_turn()?;
    Ok((router, other))
}

#[test]
fn weaker_keepalived_that_is_deaf_is_contradicted_and_gives_way_once_it_hears() -> Result<()> {
    let lab = lab("deaf2")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let (ours, _other) = pair(&lab, 150, 100)?;
    let cut = Cut::adverts_to(lb2)?;
    wait_holders(&lab, VIP4, [true, true])?;
    // It is heard, and says on the link that the address is there.
    let mac = ours.wait_claim(VIP4.parse()?)?;
    assert_eq!(mac, lb2.mac());
    wait_believed(&lab, lb1)?;
    ours.expect_no_turn()?;
    cut.mend()?;
    wait_holders(&lab, VIP4, [true, false])?;
    wait_believed(&lab, lb1)?;
    ours.expect_no_turn()
}

#[test]
fn stronger_keepalived_that_is_not_heard_gets_the_address_back_once_it_is() -> Result<()> {
    let lab = lab("deaf1")?;
    let (ours, _other) = pair(&lab, 100, 150)?;
    let cut = Cut::adverts_to(lab.machine("lb1"))?;
    let cause = ours.wait_role(Role::Active)?;
    ensure!(matches!(cause, Cause::Silence(_)), "{cause:?}");
    wait_holders(&lab, VIP4, [true, true])?;
    cut.mend()?;
    let cause = ours.wait_role(Role::Backup)?;
    ensure!(
        matches!(cause, Cause::Stronger { priority: 150, .. }),
        "{cause:?}"
    );
    wait_holders(&lab, VIP4, [false, true])?;
    wait_believed(&lab, lab.machine("lb2"))
}

/// Nothing arrives, so neither knows of the other, and the client believes who spoke last, which is the loser. First only
/// the winner hears again: it tells the link.
#[test]
fn winner_announces_again_when_it_hears_the_loser() -> Result<()> {
    let lab = lab("split1")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let (ours, _other) = pair(&lab, 150, 100)?;
    lab.cut("lb1", "lb2")?;
    lab.cut("lb2", "lb1")?;
    wait_holders(&lab, VIP4, [true, true])?;
    wait_believed(&lab, lb2)?;
    let wire = Wire::open(lab.client())?;
    lab.mend("lb2", "lb1")?;
    wire.wait_for("an advert of the loser", |frame| {
        (said(frame) == Some(Said::Advert(lb2.mac()))).then_some(())
    })?;
    wait_announced(&wire, lb1)?;
    wait_believed(&lab, lb1)?;
    ours.expect_no_turn()?;
    lab.mend("lb1", "lb2")?;
    wait_holders(&lab, VIP4, [true, false])
}

/// First the loser hears again: it gives way, and says so, for else the winner would never know that there were two.
#[test]
fn loser_that_gives_way_has_the_winner_announce_again() -> Result<()> {
    let lab = lab("split2")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let (ours, _other) = pair(&lab, 100, 150)?;
    lab.cut("lb1", "lb2")?;
    lab.cut("lb2", "lb1")?;
    ours.wait_role(Role::Active)?;
    wait_holders(&lab, VIP4, [true, true])?;
    wait_believed(&lab, lb1)?;
    let wire = Wire::open(lab.client())?;
    // The next advert is one of keepalived's.
    wire.wait_for("an advert of ours", |frame| {
        (said(frame) == Some(Said::Advert(lb1.mac()))).then_some(())
    })?;
    lab.mend("lb1", "lb2")?;
    lab.mend("lb2", "lb1")?;
    let cause = ours.wait_role(Role::Backup)?;
    ensure!(
        matches!(cause, Cause::Stronger { priority: 150, .. }),
        "{cause:?}"
    );
    wait_announced(&wire, lb2)?;
    wait_believed(&lab, lb2)?;
    wait_holders(&lab, VIP4, [false, true])
}

/// The loser hears first, and keepalived gives way without a word: the winner never knows that there were two, and the
/// link learns all the same.
#[test]
fn loser_that_gives_way_unheard_is_forgotten_by_the_link() -> Result<()> {
    let lab = lab("split3")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let (ours, _other) = pair(&lab, 150, 100)?;
    lab.cut("lb1", "lb2")?;
    lab.cut("lb2", "lb1")?;
    wait_holders(&lab, VIP4, [true, true])?;
    wait_believed(&lab, lb2)?;
    lab.mend("lb1", "lb2")?;
    wait_holders(&lab, VIP4, [true, false])?;
    let wire = Wire::open(lab.client())?;
    let adverts = Cell::new(0);
    let claimed = wire.wait_for("an announcement, or two adverts", |frame| {
        match said(frame) {
            Some(Said::Claim(from)) if from == lb1.mac() => Some(true),
            Some(Said::Advert(from)) if from == lb1.mac() => {
                adverts.set(adverts.get() + 1);
                (adverts.get() > 2).then_some(false)
            }
            _ => None,
        }
    })?;
    ensure!(claimed, "no announcement of the winner within two adverts");
    wait_believed(&lab, lb1)?;
    ours.expect_no_turn()
}
