//! Redis with Sentinel: clients of the VIP reach one master, whatever happens to it and to the Sentinels.

mod asked;
mod occupied;
mod rival;
mod site;
mod twins;

use anyhow::{Result, ensure};
use mb_lb_tests::redis::MASTER;
use mb_lb_tests::try_wait_until;
use nix::sys::signal::Signal;

use rival::Rival;
use site::{SOON, Site};

#[test]
fn a_killed_master_and_its_return() -> Result<()> {
    let mut site = Site::start("redis-kill")?;
    let rival = Rival::start(&site.lab)?;
    let writers = site.write(2);
    writers.wait_more()?;
    let mut idle = site.connect()?;

    site.redis.kill(0)?;
    idle.wait_end()?;
    let new = site.wait_other("mb1")?;
    writers.wait_on(site.address_of(&new))?;

    // It comes back as the master that it was.
    site.redis.start_server(0)?;
    try_wait_until("HAProxy to have two masters", SOON, || {
        let up = rival.up()?;
        ensure!(up.len() == 2, "{up:?} are up");
        site.expect_only(&new)
    })?;
    try_wait_until("an alarm", SOON, || {
        site.alarm("servers say that they are the master")
    })?;
    ensure!(site.word("mb1")? == "demoted", "{}", site.word("mb1")?);
    site.expect_all_reach(&new, 20)?;
    try_wait_until("the old master to be a replica", SOON, || {
        let word = site.word("mb1")?;
        ensure!(word == "replica", "{word}");
        site.expect_only(&new)
    })?;
    writers.wait_more()?;
    writers.stop()?.expect_moved_once()?;

    let events = site.director.expect(&["events"])?;
    for told in [
        "no master",
        "the master moved from mb1",
        "say that they are the master",
    ] {
        ensure!(events.contains(told), "no \"{told}\" in {events}");
    }
    Ok(())
}

#[test]
fn a_frozen_master_thaws() -> Result<()> {
    let site = Site::start("redis-freeze")?;
    let writers = site.write(2);
    writers.wait_more()?;
    let mut idle = site.connect()?;

    site.redis.signal(0, Signal::SIGSTOP)?;
    // Its kernel would keep clients waiting for as long as they like.
    idle.wait_end()?;
    let new = site.wait_other("mb1")?;
    writers.wait_on(site.address_of(&new))?;

    site.redis.signal(0, Signal::SIGCONT)?;
    try_wait_until(
        "the thawed one to claim that it is the master",
        SOON,
        || {
            let word = site.word("mb1")?;
            ensure!(word == "demoted", "{word}");
            site.expect_only(&new)
        },
    )?;
    site.expect_all_reach(&new, 20)?;
    try_wait_until("the thawed one to be a replica", SOON, || {
        let word = site.word("mb1")?;
        ensure!(word == "replica", "{word}");
        Ok(())
    })?;
    let written = writers.stop()?;
    written.expect_moved_once()?;
    written.expect_no_timeout()
}

#[test]
fn a_master_cut_off_from_the_majority() -> Result<()> {
    let site = Site::start("redis-part")?;
    let rival = Rival::start(&site.lab)?;
    let writers = site.write(2);
    writers.wait_more()?;
    let mut idle = site.connect()?;

    site.redis.part(&site.lab, 0, false)?;
    let new = site.wait_other("mb1")?;
    idle.wait_end()?;
    writers.wait_on(site.address_of(&new))?;
    // The danger is there: the old one takes writes, and HAProxy brings some to it.
    ensure!(site.redis.role(0)? == "master");
    ensure!(site.redis.ask(0, &["SET", "lost", "1"])?.trim() == "OK");
    try_wait_until("HAProxy to have two masters", SOON, || {
        let up = rival.up()?;
        ensure!(up.len() == 2, "{up:?} are up");
        site.expect_only(&new)
    })?;
    site.expect_all_reach(&new, 20)?;
    ensure!(site.redis.master_by(0)? == site.address_of("mb1").to_string());
    let votes = &site.tier()?.facts["votes"];
    ensure!(*votes == format!("mb1 1, {new} 2"), "{votes}");

    site.redis.part(&site.lab, 0, true)?;
    try_wait_until("the old master to be a replica", SOON, || {
        let word = site.word("mb1")?;
        ensure!(word == "replica", "{word}");
        site.expect_only(&new)
    })?;
    writers.wait_more()?;
    writers.stop()?.expect_moved_once()
}

#[test]
fn a_planned_failover() -> Result<()> {
    let site = Site::start("redis-planned")?;
    let writers = site.write(2);
    writers.wait_more()?;
    let mut idle = site.connect()?;

    // Nobody writes to the old one any more before it moves.
    site.director.expect(&["maint", "redis/mb1"])?;
    idle.wait_end()?;
    let refused = site.connect().expect_err("nobody is elected");
    ensure!(
        refused.kind() == std::io::ErrorKind::ConnectionRefused
            || refused.kind() == std::io::ErrorKind::ConnectionReset,
        "{refused}"
    );
    let summary = site.tier()?.summary;
    ensure!(
        summary == "no master: mb1 is, and an operator does not want it to have clients",
        "{summary}"
    );
    // Whatever was under way has been served when this is.
    site.redis.ask(0, &["PING"])?;
    let before: u64 = site.redis.ask(0, &["GET", site::COUNTER])?.trim().parse()?;

    site.redis
        .ask_sentinel(1, &["SENTINEL", "FAILOVER", MASTER])?;
    let new = site.wait_other("mb1")?;
    writers.wait_on(site.address_of(&new))?;
    let written = writers.stop()?;
    written.expect_moved_once()?;
    // Not one write was lost.
    written.expect_continued_after(before)?;
    site.director.expect(&["ready", "redis/mb1"])?;
    Ok(())
}

#[test]
fn a_failover_that_nobody_told_of() -> Result<()> {
    let site = Site::start("redis-failover")?;
    let writers = site.write(2);
    writers.wait_more()?;
    let mut idle = site.connect()?;
    site.redis
        .ask_sentinel(1, &["SENTINEL", "FAILOVER", MASTER])?;
    let new = site.wait_other("mb1")?;
    idle.wait_end()?;
    writers.wait_on(site.address_of(&new))?;
    try_wait_until("the old master to be a replica", SOON, || {
        let word = site.word("mb1")?;
        ensure!(word == "replica", "{word}");
        site.expect_only(&new)
    })?;
    writers.stop()?.expect_moved_once()
}

#[test]
fn sentinels_die_and_then_the_master() -> Result<()> {
    let mut site = Site::start("redis-sentinels")?;
    let writers = site.write(1);
    writers.wait_more()?;
    let mut idle = site.connect()?;

    site.redis.kill_sentinel(2)?;
    try_wait_until("a warning", SOON, || site.alarm("2 of 3 Sentinels answer"))?;
    ensure!(site.tier()?.state == "degraded");
    site.redis.kill_sentinel(1)?;
    try_wait_until("an alarm", SOON, || site.alarm("no failover is possible"))?;
    let summary = site.tier()?.summary;
    ensure!(
        summary == "master mb1, kept without a majority: 1 of 3 Sentinels answer",
        "{summary}"
    );
    // No client has noticed.
    writers.wait_more()?;
    ensure!(idle.ask(&["PING"])? == "PONG");
    let written = writers.stop()?;
    written.expect_only(site.address_of("mb1"))?;

    site.redis.kill(0)?;
    idle.wait_end()?;
    try_wait_until("nobody to be elected", SOON, || {
        let elected = site.elected()?;
        ensure!(elected.is_none(), "{elected:?}");
        Ok(())
    })?;
    site.redis.start_server(0)?;
    site.wait_elected("mb1")?;
    site.expect_all_reach("mb1", 3)?;

    site.redis.start_sentinel(1)?;
    site.redis.start_sentinel(2)?;
    try_wait_until("all to be well", SOON, || {
        let tier = site.tier()?;
        ensure!(tier.state == "ok", "{}: {}", tier.state, tier.summary);
        Ok(())
    })?;
    let elected = site.elected()?;
    site.expect_all_reach(&elected.unwrap_or_default(), 3)
}

#[test]
fn a_restarted_director_keeps_the_master_without_a_majority() -> Result<()> {
    let mut site = Site::start("redis-restart")?;
    site.redis.kill_sentinel(1)?;
    site.redis.kill_sentinel(2)?;
    try_wait_until("an alarm", SOON, || site.alarm("no failover is possible"))?;
    site.director.restart()?;
    site.wait_elected("mb1")?;
    site.expect_all_reach("mb1", 3)
}
