//! The manual's way from HAProxy and keepalived to mb-lb, walked as it is written: the commands are read out of the chapter,
//! and run at the prompts where they stand, forth, back and forth again, while mail goes on.
//!
//! Nothing stands in for anything: the machines are Debian systems with systemd, sshd, HAProxy and keepalived, `apt` installs the
//! package, and the addresses are the manual's.

mod chapter;
mod mail;
mod site;
mod table;
mod walk;

use std::time::Duration;

use anyhow::{Result, ensure};

use mail::Mail;
use site::Site;
use walk::Walk;

/// For elections at adverts of a second, and a machine that has other things to do.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn the_table_of_this_test_has_the_commands_of_the_chapter_and_no_others() -> Result<()> {
    table::agree(&chapter::steps()?)
}

#[test]
fn the_chapter_of_the_maintenance_window_as_it_is_written() -> Result<()> {
    let steps = chapter::steps()?;
    table::agree(&steps)?;
    let site = Site::start()?;
    let mail = Mail::start(site.client(), mb_lb_tests::site::smtp());
    let mut walk = Walk { site, mail };
    for (at, step) in steps.iter().enumerate() {
        walk.go(step, &step.forward, false)?;
        if step.back.is_empty() {
            continue;
        }
        walk.go(step, &step.back, true)?;
        // keepalived has the VIP then, as before the step that moved it.
        if walk::leads_past_the_step_before(step)? {
            let moving = &steps[at - 1];
            walk.go(moving, &moving.forward, false)?;
        }
        walk.go(step, &step.forward, false)?;
    }
    let Walk { site, mail } = walk;
    let seen = mail.finish()?;
    let taken: u64 = site
        .sinks
        .iter()
        .map(|sink| sink.messages())
        .sum::<Result<u64>>()?;
    ensure!(
        taken >= seen.accepted,
        "{taken} messages at the servers, {seen:?}"
    );
    Ok(())
}
