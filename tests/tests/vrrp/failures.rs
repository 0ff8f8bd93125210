//! Processes that die, end or freeze, and links that go.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::vrrp::machine::{Cause, Role};
use nix::sys::signal::Signal;

use crate::form::V2;
use crate::keepalived::Keepalived;
use crate::network::{Heard, holders, wait_holders, wait_move};
use crate::process::RouterProcess;
use crate::router::Router;
use crate::{VIP4, lab};

#[test]
fn killed_router_leaves_no_second_owner_and_a_restart_in_time_gives_nothing_away() -> Result<()> {
    let lab = lab("killed")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let mut ours = RouterProcess::start(lb1, 101, &[])?;
    ours.wait_turn("to: Backup")?;
    ours.wait_turn("to: Active")?;
    let heard = Heard::count(lb2)?;
    let other = Keepalived::start(lb2, &V2.theirs(&lab, 100))?;
    heard.wait_many()?;
    ours.kill()?;
    let mut ours = RouterProcess::start(lb1, 101, &[])?;
    ours.wait_turn("to: Active, cause: Resumed")?;
    heard.wait_many()?;
    ensure!(!other.was_active()?, "the restart was seen");
    assert_eq!(holders(&lab, VIP4)?, [true, false]);
    // Nobody starts it again: the address goes by itself, before keepalived has it.
    ours.kill()?;
    wait_move(&lab, VIP4)
}

#[test]
fn terminated_router_hands_over() -> Result<()> {
    let lab = lab("term")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let mut ours = RouterProcess::start(lb1, 101, &[])?;
    ours.wait_turn("to: Backup")?;
    ours.wait_turn("to: Active")?;
    let heard = Heard::count(lb2)?;
    let _other = Keepalived::start(lb2, &V2.theirs(&lab, 100))?;
    heard.wait_many()?;
    ours.signal(Signal::SIGTERM)?;
    ours.wait_turn("to: Init, cause: HandedOver")?;
    ours.wait()?;
    wait_holders(&lab, VIP4, [false, true])
}

/// The one that has taken over is weaker: who asserts what it was would make two owners.
#[test]
fn frozen_router_loses_the_address_and_listens_before_it_speaks() -> Result<()> {
    let lab = lab("frozen")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let mut ours = RouterProcess::start(lb1, 150, &["--nopreempt"])?;
    ours.wait_turn("to: Backup")?;
    ours.wait_turn("to: Active")?;
    let to_other = Heard::count(lb2)?;
    let to_ours = Heard::count(lb1)?;
    let _other = Keepalived::start(lb2, &V2.theirs(&lab, 100))?;
    to_other.wait_many()?;
    ours.signal(Signal::SIGSTOP)?;
    wait_move(&lab, VIP4)?;
    to_ours.wait_many()?;
    ours.signal(Signal::SIGCONT)?;
    ours.wait_turn("to: Backup, cause: Frozen")?;
    // It has spoken no word: keepalived would have given way to it.
    to_ours.wait_many()?;
    assert_eq!(holders(&lab, VIP4)?, [false, true]);
    Ok(())
}

#[test]
fn frozen_keepalived_is_replaced_and_gets_the_address_back() -> Result<()> {
    let lab = lab("stopped")?;
    let other = Keepalived::start(lab.machine("lb2"), &V2.theirs(&lab, 150))?;
    wait_holders(&lab, VIP4, [false, true])?;
    let ours = Router::start(lab.machine("lb1"), &V2.ours(&lab, 100))?;
    ours.wait_role(Role::Backup)?;
    other.signal(Signal::SIGSTOP)?;
    let cause = ours.wait_role(Role::Active)?;
    ensure!(matches!(cause, Cause::Silence(_)), "{cause:?}");
    // Its address has no lease.
    wait_holders(&lab, VIP4, [true, true])?;
    other.signal(Signal::SIGCONT)?;
    let cause = ours.wait_role(Role::Backup)?;
    ensure!(
        matches!(cause, Cause::Stronger { priority: 150, .. }),
        "{cause:?}"
    );
    wait_holders(&lab, VIP4, [false, true])
}

#[test]
fn link_that_goes_down_is_a_fault() -> Result<()> {
    let lab = lab("link")?;
    let (lb1, lb2) = (lab.machine("lb1"), lab.machine("lb2"));
    let ours = Router::start(lb1, &V2.ours(&lab, 150))?;
    ours.wait_role(Role::Backup)?;
    ours.wait_role(Role::Active)?;
    let heard = Heard::count(lb2)?;
    let other = Keepalived::start(lb2, &V2.theirs(&lab, 100))?;
    heard.wait_many()?;
    ensure!(!other.was_active()?, "keepalived does not hear us");
    lb1.set_link(false)?;
    let down = Cause::Fault("eth0 is down".to_owned());
    assert_eq!(ours.wait_role(Role::Fault)?, down);
    wait_move(&lab, VIP4)?;
    lb1.set_link(true)?;
    assert_eq!(ours.wait_role(Role::Backup)?, Cause::Recovered);
    let cause = ours.wait_role(Role::Active)?;
    ensure!(
        matches!(cause, Cause::Weaker { priority: 100, .. }),
        "{cause:?}"
    );
    wait_holders(&lab, VIP4, [true, false])?;
    // The other one's, too.
    let ours_hears = Heard::count(lb1)?;
    ours.resign()?;
    ours.wait_role(Role::Backup)?;
    ours_hears.wait_many()?;
    lb2.set_link(false)?;
    let cause = ours.wait_role(Role::Active)?;
    ensure!(
        matches!(cause, Cause::Silence(_) | Cause::PeerLeft(_)),
        "{cause:?}"
    );
    wait_holders(&lab, VIP4, [true, false])?;
    // It is told to end, and nobody is there; then its own link goes, and it ends.
    let leaving = ours.begin_to_leave()?;
    ours.wait_view("the hand-over", |view| view.is_leaving)?;
    lb1.set_link(false)?;
    leaving.blocking_recv().context("it ended without a word")?;
    wait_holders(&lab, VIP4, [false, false])
}

/// Adverts that come from an address that is no more are not sent, and the peer takes over.
#[test]
fn source_address_that_goes_is_replaced_and_the_last_one_that_goes_is_a_fault() -> Result<()> {
    let lab = lab("source")?;
    let lb1 = lab.machine("lb1");
    let ours = Router::start(lb1, &V2.ours(&lab, 150))?;
    ours.wait_role(Role::Backup)?;
    ours.wait_role(Role::Active)?;
    let remove = |address: IpAddr, prefix: u8| {
        let address = format!("{address}/{prefix}");
        lb1.run("ip", &["address", "del", &address, "dev", "eth0"])
    };
    let (own, further) = (lb1.ipv4().into(), lab.vip4().into());
    remove(own, 16)?;
    ours.wait_view("the next address", |view| view.source == Some(further))?;
    ours.expect_no_turn()?;
    remove(further, 32)?;
    let cause = ours.wait_role(Role::Fault)?;
    ensure!(
        cause.to_string().contains("no IPv4 address to send"),
        "{cause}"
    );
    wait_holders(&lab, VIP4, [false, false])?;
    lb1.add_addresses("eth0", [(own, 16)])?;
    assert_eq!(ours.wait_role(Role::Backup)?, Cause::Recovered);
    ours.wait_role(Role::Active)?;
    ours.leave()
}
