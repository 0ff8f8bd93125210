//! Flows of the active director are held on the standby, with right counts.

use std::time::Duration;

use anyhow::{Result, ensure};
use mb_lb_ctl::dataplane::{Leases, pin_dir};
use mb_lb_ctl::vrrp::clock::clock;
use mb_lb_tests::cluster::expect_all_alive;
use mb_lb_tests::pair::SOON;
use mb_lb_tests::{PairSetup, Session, try_wait_until};

#[test]
fn flows_and_counts_are_on_both_and_sessions_go_on_after_a_planned_failover() -> Result<()> {
    let pair = PairSetup::default().start("pairsync")?;
    let mut sessions = pair.open(60)?;
    let shares = pair.shares(&sessions);
    ensure!(shares == [20, 20, 20], "{shares:?}");
    for at in 0..2 {
        pair.wait_counts(at, &shares)?;
        pair.wait_counts_agree(at)?;
    }

    // Ends of every kind.
    for (number, session) in sessions.drain(..15).enumerate() {
        if number % 2 == 0 {
            session.quit()?;
        } else {
            session.reset()?;
        }
    }
    let shares = pair.shares(&sessions);
    for at in 0..2 {
        pair.wait_counts(at, &shares)?;
    }

    // From the moment that it takes over, and no longer than a client waits before it sends again, the other one's program
    // leaves packets alone whose flows it may yet hear of.
    let awaits = |at: usize| {
        let pins = pin_dir(pair.directors[at].bpf_root());
        anyhow::Ok(Leases::open(&pins)?.awaits_peer_until()?)
    };
    let before = (clock(), awaits(0)?);
    let answer = pair.directors[0].expect(&["failover"])?;
    ensure!(answer.contains("is active"), "{answer}");
    pair.wait_active(1)?;
    let until = awaits(1)?;
    let most = clock() + Duration::from_millis(200);
    ensure!(
        before.0 < until && until < most,
        "{before:?} {until:?} {most:?}"
    );
    ensure!(awaits(0)? == before.1, "lb1 takes nothing over");
    expect_all_alive(&mut sessions)?;
    for at in 0..2 {
        pair.wait_counts(at, &shares)?;
        pair.wait_counts_agree(at)?;
    }

    // The new active director goes on with the right choice: least connections, as if it had counted them all itself.
    let more = pair.open(15)?;
    let mut all: Vec<i64> = pair.shares(&more);
    for (sum, share) in all.iter_mut().zip(&shares) {
        *sum += share;
    }
    ensure!(all == [20, 20, 20], "{all:?} of {shares:?} and {more:?}");
    pair.wait_counts(0, &all)?;
    sessions.extend(more);
    for session in sessions {
        session.quit()?;
    }
    for at in 0..2 {
        pair.wait_counts(at, &[0, 0, 0])?;
        pair.wait_counts_agree(at)?;
    }
    Ok(())
}

#[test]
fn a_standby_that_comes_later_or_again_gets_all_flows_and_loses_those_that_ended_meanwhile()
-> Result<()> {
    let mut pair = PairSetup::default().start("pairagain")?;
    let mut sessions = pair.open(30)?;
    pair.wait_counts(1, &[10, 10, 10])?;
    pair.directors[1].kill()?;
    for session in sessions.drain(..12) {
        session.quit()?;
    }
    let left = pair.shares(&sessions);
    pair.wait_counts(0, &left)?;
    pair.directors[1].run()?;
    pair.wait_in_sync()?;
    pair.wait_counts(1, &left)?;
    pair.wait_counts_agree(1)?;

    // From nothing at all.
    pair.directors[1].stop()?;
    pair.directors[1].expect(&["detach"])?;
    pair.directors[1].run()?;
    pair.wait_in_sync()?;
    pair.wait_counts(1, &left)?;
    pair.wait_counts_agree(1)?;
    expect_all_alive(&mut sessions)
}

#[test]
fn a_peer_with_another_key_gets_nothing_and_the_reason_is_told() -> Result<()> {
    let other = "ff".repeat(32);
    let setup = PairSetup {
        keys: [mb_lb_tests::pair::KEY, &other],
        ..PairSetup::default()
    };
    let lab = PairSetup::lab("pairkey")?;
    let mut directors = Vec::new();
    for (at, name) in mb_lb_tests::pair::NAMES.into_iter().enumerate() {
        directors.push(mb_lb_tests::Director::start(
            &lab,
            name,
            &setup.config(&lab, at),
        )?);
    }
    try_wait_until("a refusal with its reason", SOON, || {
        let views: Vec<_> = directors
            .iter()
            .filter_map(|director| director.status().ok()?.peer)
            .collect();
        let refused: u64 = views
            .iter()
            .filter_map(|peer| peer.refused.get("wrong_key"))
            .sum();
        ensure!(views.len() == 2 && refused > 0, "{views:?}");
        ensure!(views.iter().all(|peer| !peer.connected), "{views:?}");
        Ok(())
    })?;
    // VRRP alone is enough.
    try_wait_until("lb1 to be active all the same", SOON, || {
        let status = directors[0].status()?;
        ensure!(status.vrrp[0].role == "active", "{:?}", status.vrrp);
        Ok(())
    })?;
    let sink = mb_lb_tests::Sink::start(lab.machine("mb1"))?;
    let session = Session::open(lab.client(), lab.smtp4())?;
    ensure!(session.server() == "mb1", "{session:?}");
    session.quit()?;
    drop(sink);
    Ok(())
}
