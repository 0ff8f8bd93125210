//! A mail server hangs, and comes back.

use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use mb_lb_ctl::snapshot::HealthState;
use mb_lb_tests::try_wait_until;

use crate::mail::{Load, deliver, is_reset};
use crate::narrator::Narrator;
use crate::stage::{SOON, Stage, by_server, expect_alive, listed, packets, quit_all, server};

/// Mail clients that go on sending all the time.
const CLIENTS: usize = 8;
/// As the configuration has it.
const FALL: u32 = 3;

pub fn server_freezes(n: &mut Narrator, stage: &Stage) -> Result<()> {
    n.act("A mail server hangs");
    n.say(&format!(
        "{CLIENTS} mail clients send without a break; each message whose session fails is sent again, as every MTA does. \
         25 further clients have a session open. Then mb2 gets SIGSTOP: its kernel goes on accepting connections, but \
         nobody answers. A check that only connects would not notice. This check waits for the 220 banner.",
    ));
    stage.wait_idle()?;
    let sessions = stage.open(25)?;
    let load = Load::start(stage.lab.client(), stage.lab.smtp4(), CLIENTS);
    let result = freeze_and_thaw(n, stage, sessions, &load);
    // First the clients end, so that a failure does not leave them to a lab that is gone.
    let finished = load.finish();
    result?;
    let (delivered, again) = finished?;
    let events = stage.director.expect(&["events"])?;
    n.proved(format!(
        "the {CLIENTS} clients delivered every message, {delivered} in all; {again} of them needed another try"
    ));
    n.command("mb-lb-ctl events", &events);
    let target = Stage::target("mb2");
    for kind in ["down", "up"] {
        let told = events
            .lines()
            .any(|line| line.contains(&format!("  {kind} ")) && line.contains(&target));
        ensure!(told, "no event says that mb2 went {kind}");
    }
    n.proved("the events tell when mb2 went down and why, and when it came back");
    Ok(())
}

fn freeze_and_thaw(
    n: &mut Narrator,
    stage: &Stage,
    sessions: Vec<mb_lb_tests::Session>,
    load: &Load,
) -> Result<()> {
    delivers(load, 20)?;
    let before = stage.director.status()?;
    let falls = falls(&before)?;
    stage.sink("mb2")?.freeze()?;
    let frozen = Instant::now();
    let down = stage.wait_status("mb2 to be found down", SOON, |status| {
        let mb2 = server(status, "mb2")?;
        ensure!(
            mb2.health == HealthState::Down && !mb2.usable,
            "mb2 is {:?}",
            mb2.health
        );
        Ok(())
    })?;
    let took = frozen.elapsed();
    let mb2 = server(&down, "mb2")?;
    let streak = mb2.check.as_ref().map_or(0, |check| check.streak);
    ensure!(
        self::falls(&down)? == falls + 1 && streak >= FALL,
        "mb2 fell after {streak} failures"
    );
    let status = stage.director.ctl(&["status"])?;
    ensure!(
        status.code == 10,
        "status of a degraded cluster ends with {}",
        status.code
    );
    n.command("mb-lb-ctl status", &status.stdout);
    n.proved(format!(
        "mb2 was found down by {FALL} failed checks in a row, {:.1} s after it froze: {}",
        took.as_secs_f64(),
        mb2.health_reason
    ));

    stage.wait_avoided("mb2")?;
    let new = stage.open(30)?;
    let counts = by_server(&new);
    ensure!(
        counts["mb2"] == 0,
        "new sessions went to {}",
        listed(&counts)
    );
    quit_all(new)?;
    n.proved(format!("30 new sessions avoid mb2: {}", listed(&counts)));
    delivers(load, 20)?;
    n.proved("mail goes on");

    let (stuck, mut others): (Vec<_>, Vec<_>) = sessions
        .into_iter()
        .partition(|session| session.server() == "mb2");
    ensure!(!stuck.is_empty(), "there was no session on mb2");
    let resets = packets(&down, "server_down_reset")?;
    let count = stuck.len() as u64;
    for mut session in stuck {
        match session.command("NOOP") {
            Err(error) if is_reset(&error) => {}
            other => anyhow::bail!("{session}: NOOP to a server that is down gave {other:?}"),
        }
    }
    std::thread::scope(|scope| {
        let again: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| deliver(stage.lab.client(), stage.lab.smtp4())))
            .collect();
        again.into_iter().try_for_each(|client| {
            client
                .join()
                .map_err(|_| anyhow!("a client panicked"))?
                .context("the second try")
        })
    })?;
    stage.wait_status("the resets to be counted", SOON, |status| {
        let more = packets(status, "server_down_reset")? - resets;
        ensure!(more >= count, "{more} of {count}");
        Ok(())
    })?;
    n.proved(format!(
        "{count} clients had a session on mb2. Each got a RST from the director at its next packet, and delivered to another \
         server at the second try"
    ));
    n.say(
        "Without that RST they would wait for a reply that never comes: RFC 5321 tells a client to wait five minutes for \
         most replies. on_down = \"keep\" leaves the sessions alone instead.",
    );
    expect_alive(&mut others)?;
    n.proved(format!(
        "the {} sessions on mb1 and mb3 did not notice",
        others.len()
    ));
    quit_all(others)?;
    thaw(n, stage)
}

fn thaw(n: &mut Narrator, stage: &Stage) -> Result<()> {
    stage.sink("mb2")?.thaw()?;
    let up = stage.wait_status("mb2 to be up again", SOON, |status| {
        let mb2 = server(status, "mb2")?;
        ensure!(mb2.usable, "mb2 is {:?}: {}", mb2.health, mb2.health_reason);
        Ok(())
    })?;
    let mb2 = server(&up, "mb2")?;
    ensure!(mb2.ramp_percent < 100, "mb2 takes its whole share at once");
    n.proved(format!(
        "mb2 goes on, two good checks bring it back, and slow start lets it begin with {} % of its weight",
        mb2.ramp_percent
    ));
    stage.wait_status("mb2 to have its whole weight", SOON, |status| {
        let percent = server(status, "mb2")?.ramp_percent;
        ensure!(percent == 100, "{percent} %");
        Ok(())
    })?;
    n.proved("after the slow_start of 5 s it takes its whole share");
    Ok(())
}

/// Waits until so many more messages are delivered.
fn delivers(load: &Load, more: u64) -> Result<()> {
    let start = load.delivered();
    try_wait_until("mail to be delivered", SOON, || {
        let delivered = load.delivered() - start;
        ensure!(delivered >= more, "{delivered} of {more} messages");
        Ok(())
    })
}

fn falls(status: &mb_lb_ctl::snapshot::Snapshot) -> Result<u64> {
    let check = server(status, "mb2")?.check.as_ref();
    Ok(check.map_or(0, |check| check.falls))
}
