//! Each form of VRRP with keepalived, both ways round: who is stronger has the address, who hands over or stops is
//! replaced at once, who dies is replaced when its time is up.

use anyhow::{Result, ensure};
use mb_lb_ctl::vrrp::machine::{Cause, Role};

use crate::form::{Form, V2, V2_PASS, V2_UNICAST, V3, V3_IPV6, V3_UNICAST};
use crate::keepalived::Keepalived;
use crate::lab;
use crate::network::{Heard, wait_holders, wait_move};
use crate::router::Router;

#[test]
fn version_2() -> Result<()> {
    ours_is_stronger("e2", V2)?;
    theirs_is_stronger("e2", V2)
}

#[test]
fn version_2_with_password() -> Result<()> {
    ours_is_stronger("e2p", V2_PASS)?;
    theirs_is_stronger("e2p", V2_PASS)
}

#[test]
fn version_2_unicast() -> Result<()> {
    ours_is_stronger("e2u", V2_UNICAST)?;
    theirs_is_stronger("e2u", V2_UNICAST)
}

#[test]
fn version_3() -> Result<()> {
    ours_is_stronger("e3", V3)?;
    theirs_is_stronger("e3", V3)
}

#[test]
fn version_3_unicast() -> Result<()> {
    ours_is_stronger("e3u", V3_UNICAST)?;
    theirs_is_stronger("e3u", V3_UNICAST)
}

#[test]
fn version_3_over_ipv6() -> Result<()> {
    ours_is_stronger("e36", V3_IPV6)?;
    theirs_is_stronger("e36", V3_IPV6)
}

fn ours_is_stronger(name: &str, form: Form) -> Result<()> {
    let lab = lab(name)?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let heard = Heard::count(lb2)?;
    // It preempts.
    let mut other = Keepalived::start(lb2, &form.theirs(&lab, 100))?;
    wait_holders(&lab, form.vip(), [false, true])?;
    let ours = Router::start(lb1, &form.ours(&lab, 150))?;
    assert_eq!(ours.wait_role(Role::Backup)?, Cause::Started);
    let cause = ours.wait_role(Role::Active)?;
    ensure!(
        matches!(cause, Cause::Weaker { priority: 100, .. }),
        "{cause:?}"
    );
    wait_holders(&lab, form.vip(), [true, false])?;
    other.stop()?;
    // It is heard: who has just begun does not take over.
    let mut other = Keepalived::start(lb2, &form.theirs(&lab, 100))?;
    heard.wait_many()?;
    ensure!(!other.was_active()?, "keepalived does not hear us");
    ours.expect_no_turn()?;
    // It hands over, and leaves the weaker one alone until that stops.
    ours.resign()?;
    let cause = ours.wait_role(Role::Backup)?;
    ensure!(matches!(cause, Cause::HandedOver { .. }), "{cause:?}");
    wait_holders(&lab, form.vip(), [false, true])?;
    other.stop()?;
    let cause = ours.wait_role(Role::Active)?;
    ensure!(matches!(cause, Cause::PeerLeft(_)), "{cause:?}");
    // It dies. In whole seconds, which is what leases are counted in, nobody has the address meanwhile.
    let other = Keepalived::start(lb2, &form.theirs(&lab, 100))?;
    heard.wait_many()?;
    ensure!(!other.was_active()?, "keepalived does not hear us");
    ours.crash();
    if form.milliseconds >= 1000 {
        wait_move(&lab, form.vip())
    } else {
        wait_holders(&lab, form.vip(), [false, true])
    }
}

fn theirs_is_stronger(name: &str, form: Form) -> Result<()> {
    let lab = lab(name)?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let heard = Heard::count(lb1)?;
    let ours = Router::start(lb1, &form.ours(&lab, 100))?;
    assert_eq!(ours.wait_role(Role::Backup)?, Cause::Started);
    let cause = ours.wait_role(Role::Active)?;
    ensure!(matches!(cause, Cause::Silence(_)), "{cause:?}");
    // It gives way.
    let mut other = Keepalived::start(lb2, &form.theirs(&lab, 150))?;
    let cause = ours.wait_role(Role::Backup)?;
    ensure!(
        matches!(cause, Cause::Stronger { priority: 150, .. }),
        "{cause:?}"
    );
    wait_holders(&lab, form.vip(), [false, true])?;
    // It hears, and waits.
    heard.wait_many()?;
    ours.expect_no_turn()?;
    ours.wait_view("nothing to complain about", |view| {
        view.rejections.is_empty() && view.master.is_some()
    })?;
    // A stop, and a death.
    other.stop()?;
    let cause = ours.wait_role(Role::Active)?;
    ensure!(matches!(cause, Cause::PeerLeft(_)), "{cause:?}");
    wait_holders(&lab, form.vip(), [true, false])?;
    let mut other = Keepalived::start(lb2, &form.theirs(&lab, 150))?;
    ours.wait_role(Role::Backup)?;
    other.crash()?;
    let cause = ours.wait_role(Role::Active)?;
    ensure!(matches!(cause, Cause::Silence(_)), "{cause:?}");
    // What a keepalived leaves when it dies is there for ever.
    wait_holders(&lab, form.vip(), [true, true])?;
    // An end says so, whether anybody hears it or not.
    ours.leave()?;
    wait_holders(&lab, form.vip(), [false, true])
}
