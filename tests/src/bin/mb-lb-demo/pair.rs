//! Two directors with one virtual IP: the sessions do not notice which of them is active.

use anyhow::{Result, ensure};
use mb_lb_tests::cluster::expect_all_alive;
use mb_lb_tests::pair::SOON;
use mb_lb_tests::{Busy, PairSetup, try_wait_until};

use crate::narrator::Narrator;

const IDLE: usize = 200;
const BUSY: usize = 40;

pub fn director_dies(n: &mut Narrator) -> Result<()> {
    n.act("Two directors");
    n.say(
        "Another network, now with two directors. They share the VIP by VRRP (version 2, adverts of a second, as keepalived has \
         it), and tell each other of every flow over an encrypted connection.",
    );
    let setup = PairSetup::default();
    let mut pair = setup.start("demopair")?;
    n.proved("lb1 is active, lb2 stands by, and each holds the flows of the other");
    n.say(&format!(
        "{IDLE} clients keep a session open, and {BUSY} more send one message after another over theirs."
    ));
    let mut idle = pair.open(IDLE)?;
    let busy = pair.open(BUSY)?;
    let shares: Vec<i64> = pair
        .shares(&idle)
        .into_iter()
        .zip(pair.shares(&busy))
        .map(|(a, b)| a + b)
        .collect();
    let mut busy = Busy::start(busy);
    for at in 0..2 {
        pair.wait_counts(at, &shares)?;
    }
    n.proved(format!("both directors count the same flows: {shares:?}"));

    n.say("A planned failover, as before maintenance.");
    let said = pair.directors[0].expect(&["failover"])?;
    n.command("mb-lb-ctl failover", &said);
    pair.wait_active(1)?;
    busy.expect_all_deliver()?;
    expect_all_alive(&mut idle)?;
    n.proved(format!(
        "lb2 is active, all {} sessions go on, and none was reset",
        IDLE + BUSY
    ));

    n.say(
        "Now the worst: the controller of the active director gets kill -9, and its XDP program is taken out of the kernel. \
         lb1 hears no advert any more.",
    );
    pair.directors[1].kill()?;
    pair.directors[1].expect(&["detach"])?;
    try_wait_until("lb1 to be active", SOON, || {
        let (role, holds) = (pair.router(0)?.role, pair.holders()?);
        ensure!(
            role == "active" && holds == [true, false],
            "{role} {holds:?}"
        );
        Ok(())
    })?;
    n.command(
        "mb-lb-ctl status",
        &pair.directors[0].ctl(&["status"])?.stdout,
    );
    busy.expect_all_deliver()?;
    expect_all_alive(&mut idle)?;
    pair.wait_counts(0, &shares)?;
    let (delivered, sessions) = busy.finish()?;
    n.proved(format!(
        "lb1 has taken over, and all {} sessions go on: {delivered} messages were accepted, none was lost",
        sessions.len() + idle.len()
    ));
    Ok(())
}
