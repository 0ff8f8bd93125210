//! A keepalived that is configured otherwise: what can be heard is heard, and what is wrong is named.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::vrrp::judge::Rejection;
use mb_lb_ctl::vrrp::machine::{Cause, Role};

use crate::form::{Form, V2, V2_PASS, V3};
use crate::keepalived::Keepalived;
use crate::network::{Cut, Heard, wait_holders};
use crate::router::Router;
use crate::{VIP4, lab};

/// Two owners: that is what such a mistake makes.
fn unheard(name: &str, ours: Form, theirs: Form, expected: Rejection) -> Result<()> {
    let lab = lab(name)?;
    let lb2 = lab.machine("lb2");
    let other = Keepalived::start(lb2, &theirs.theirs(&lab, 150))?;
    wait_holders(&lab, VIP4, [false, true])?;
    let ours = Router::start(lab.machine("lb1"), &ours.ours(&lab, 100))?;
    ours.wait_rejection(expected)?;
    ours.wait_role_any(Role::Active)?;
    // Told once, counted each time.
    let view = ours.wait_view("a second one", |view| {
        view.rejections
            .iter()
            .any(|rejected| rejected.rejection == expected && rejected.count >= 2)
    });
    let view = view.with_context(|| other.tail())?;
    assert_eq!(view.rejections.len(), 1);
    assert_eq!(view.rejections[0].source, IpAddr::from(lb2.ipv4()));
    assert_eq!(view.master, None);
    wait_holders(&lab, VIP4, [true, true])
}

#[test]
fn wrong_password() -> Result<()> {
    let theirs = Form {
        password: Some("different"),
        ..V2
    };
    unheard("password", V2_PASS, theirs, Rejection::Password)
}

#[test]
fn password_on_one_side() -> Result<()> {
    unheard("nopass", V2_PASS, V2, Rejection::AuthType)
}

#[test]
fn other_version() -> Result<()> {
    // keepalived falls silent when it hears many of another version.
    let ours = Form {
        milliseconds: 1000,
        ..V3
    };
    unheard("version", ours, V2, Rejection::Version)
}

#[test]
fn unicast_on_one_side() -> Result<()> {
    let theirs = Form {
        unicast: true,
        ..V2
    };
    unheard("onecast", V2, theirs, Rejection::Unicast)
}

#[test]
fn password_that_differs_where_it_does_not_count() -> Result<()> {
    let lab = lab("eight")?;
    let theirs = Form {
        password: Some("secure_pXXXX"),
        ..V2
    };
    let _other = Keepalived::start(lab.machine("lb2"), &theirs.theirs(&lab, 150))?;
    wait_holders(&lab, VIP4, [false, true])?;
    let heard = Heard::count(lab.machine("lb1"))?;
    let ours = Router::start(lab.machine("lb1"), &V2_PASS.ours(&lab, 100))?;
    ours.wait_role(Role::Backup)?;
    heard.wait_many()?;
    ours.expect_no_turn()
}

#[test]
fn other_vrid() -> Result<()> {
    let lab = lab("vrid")?;
    let settings = V2.theirs(&lab, 150).replace("id 51", "id 52");
    let mut other = Keepalived::start(lab.machine("lb2"), &settings)?;
    wait_holders(&lab, VIP4, [false, true])?;
    let ours = Router::start(lab.machine("lb1"), &V2.ours(&lab, 100))?;
    ours.wait_role(Role::Backup)?;
    let cause = ours.wait_role(Role::Active)?;
    ensure!(matches!(cause, Cause::Silence(_)), "{cause:?}");
    // Another virtual router is nobody's business.
    let heard = Heard::count(lab.machine("lb1"))?;
    heard.wait_many()?;
    let view = ours.wait_view("its role", |view| view.role == Role::Active)?;
    assert_eq!(view.rejections, []);
    // That both have the address is seen on the link.
    other.stop()?;
    let _other = Keepalived::start(lab.machine("lb2"), &settings)?;
    let mac = ours.wait_claim(VIP4.parse()?)?;
    assert_eq!(mac, lab.machine("lb2").mac());
    wait_holders(&lab, VIP4, [true, true])
}

/// In version 2 it is a mistake, but the sender lives.
#[test]
fn other_interval_in_version_2() -> Result<()> {
    let lab = lab("interval2")?;
    let slow = Form {
        milliseconds: 3000,
        ..V2
    };
    let other = Keepalived::start(lab.machine("lb2"), &slow.theirs(&lab, 150))?;
    other.wait_log("Entering MASTER STATE")?;
    let ours = Router::start(lab.machine("lb1"), &V2.ours(&lab, 100))?;
    ours.wait_rejection(Rejection::Interval)?;
    let view = ours.wait_view("many of them", |view| {
        view.rejections.first().is_some_and(|seen| seen.count >= 4)
    })?;
    assert_eq!(view.role, Role::Backup);
    let (heard, _) = view.master.context("it is heard")?;
    assert_eq!((heard.priority, heard.interval.as_secs()), (150, 3));
    Ok(())
}

/// In version 3 it is none: the active director's interval counts.
#[test]
fn other_interval_in_version_3() -> Result<()> {
    let lab = lab("interval3")?;
    let slow = Form {
        milliseconds: 1500,
        ..V3
    };
    let mut other = Keepalived::start(lab.machine("lb2"), &slow.theirs(&lab, 150))?;
    wait_holders(&lab, VIP4, [false, true])?;
    let heard = Heard::count(lab.machine("lb1"))?;
    // Three of its own intervals are shorter than one of the other's, so at first it may believe that nobody is there.
    let ours = Router::start(lab.machine("lb1"), &V3.ours(&lab, 100))?;
    ours.wait_view("it", |view| {
        view.role == Role::Backup && view.master.is_some()
    })?;
    ours.forget_reports();
    heard.wait_many()?;
    ours.expect_no_turn()?;
    let view = ours.wait_view("it", |view| view.role == Role::Backup)?;
    assert_eq!(view.rejections, []);
    other.stop()?;
    ours.wait_role(Role::Active)?;
    // And the reverse: keepalived takes ours.
    let heard = Heard::count(lab.machine("lb2"))?;
    let other = Keepalived::start(lab.machine("lb2"), &slow.theirs(&lab, 50))?;
    heard.wait_many()?;
    ensure!(!other.was_active()?, "keepalived does not hear us");
    ours.resign()?;
    ours.wait_role(Role::Backup)?;
    wait_holders(&lab, VIP4, [false, true])
}

/// keepalived 2.2.7 does not hear those whose list differs; it is heard, so there is one owner where it is stronger.
#[test]
fn other_addresses() -> Result<()> {
    let lab = lab("addresses")?;
    let settings = V2.theirs(&lab, 150).replace(
        "virtual_ipaddress {",
        "virtual_ipaddress {\n  10.77.0.201/32 dev eth0",
    );
    let mut other = Keepalived::start(lab.machine("lb2"), &settings)?;
    wait_holders(&lab, VIP4, [false, true])?;
    let heard = Heard::count(lab.machine("lb1"))?;
    let ours = Router::start(lab.machine("lb1"), &V2.ours(&lab, 100))?;
    ours.wait_rejection(Rejection::Addresses)?;
    heard.wait_many()?;
    wait_holders(&lab, VIP4, [false, true])?;
    other.stop()?;
    ours.wait_role_any(Role::Active)?;
    wait_holders(&lab, VIP4, [true, false])
}

/// Who is active stays it. Of two that are, the higher address wins; that is keepalived's.
#[test]
fn equal_priorities() -> Result<()> {
    let lab = lab("equal")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let ours = Router::start(lb1, &V2.ours(&lab, 100))?;
    ours.wait_role(Role::Backup)?;
    ours.wait_role(Role::Active)?;
    let (to_ours, to_other) = (Heard::count(lb1)?, Heard::count(lb2)?);
    let mut other = Keepalived::start(lb2, &V2.theirs(&lab, 100))?;
    to_other.wait_many()?;
    ensure!(!other.was_active()?, "keepalived took over");
    ours.expect_no_turn()?;
    let cut = Cut::adverts_to(lb2)?;
    // It hears nothing, and begins; ours hears that, and gives way.
    let cause = ours.wait_role(Role::Backup)?;
    ensure!(
        matches!(cause, Cause::Stronger { priority: 100, .. }),
        "{cause:?}"
    );
    cut.mend()?;
    wait_holders(&lab, VIP4, [false, true])?;
    to_ours.wait_many()?;
    ours.expect_no_turn()?;
    other.stop()?;
    ours.wait_role(Role::Active)?;
    ours.leave()
}
