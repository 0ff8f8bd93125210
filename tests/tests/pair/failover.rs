//! 2,000 idle and 200 busy sessions, and everything that can happen to the active director: none of them notices.

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::cluster::expect_all_alive;
use mb_lb_tests::pair::SOON;
use mb_lb_tests::{Busy, Pair, PairSetup, Session, try_wait_until};

const IDLE: usize = 2000;
const BUSY: usize = 200;

/// Sessions of both kinds, and how many each server has of them.
struct Load {
    idle: Vec<Session>,
    busy: Busy,
    shares: Vec<i64>,
}

impl Load {
    fn start(pair: &Pair, idle: usize, busy: usize) -> Result<Self> {
        let idle = pair.open(idle)?;
        let busy = pair.open(busy)?;
        let shares = pair
            .shares(&idle)
            .into_iter()
            .zip(pair.shares(&busy))
            .map(|(a, b)| a + b)
            .collect();
        let load = Self {
            idle,
            busy: Busy::start(busy),
            shares,
        };
        for at in 0..2 {
            pair.wait_counts(at, &load.shares)?;
        }
        Ok(load)
    }

    /// No session is lost, every busy one delivers, and the counts are right on the active director, and on the standby
    /// where it takes part.
    fn expect_well(&mut self, pair: &Pair, directors: &[usize]) -> Result<()> {
        self.busy.expect_all_deliver()?;
        expect_all_alive(&mut self.idle)?;
        for &at in directors {
            pair.wait_counts(at, &self.shares)?;
            pair.wait_counts_agree(at)?;
        }
        Ok(())
    }

    fn finish(self, pair: &Pair) -> Result<()> {
        let (delivered, sessions) = self.busy.finish()?;
        let mut accepted = 0;
        for sink in &pair.sinks {
            accepted += sink.messages()?;
        }
        ensure!(
            accepted == delivered,
            "{delivered} sent, {accepted} accepted"
        );
        for session in self.idle.into_iter().chain(sessions) {
            session.quit()?;
        }
        for at in 0..2 {
            pair.wait_counts(at, &[0, 0, 0])?;
            pair.wait_counts_agree(at)?;
        }
        Ok(())
    }
}

fn setup() -> PairSetup<'static> {
    PairSetup {
        // smtp-sink takes 256 sessions unless told.
        sink: &["-m", "4000"],
        ..PairSetup::default()
    }
}

#[test]
fn no_session_is_lost_by_failover_crash_cut_or_failback() -> Result<()> {
    let mut pair = setup().start("pairlost")?;
    let mut load = Load::start(&pair, IDLE, BUSY)?;

    // Planned.
    pair.directors[0].expect(&["failover"])?;
    pair.wait_active(1)?;
    load.expect_well(&pair, &[0, 1])
        .context("planned failover")?;
    pair.directors[1].expect(&["failover"])?;
    pair.wait_active(0)?;
    load.expect_well(&pair, &[0, 1]).context("back again")?;

    // The controller dies, and the data plane with it.
    pair.directors[0].kill()?;
    pair.directors[0].expect(&["detach"])?;
    try_wait_until("lb2 to be active", SOON, || {
        let (role, holds) = (pair.router(1)?.role, pair.holders()?);
        ensure!(
            role == "active" && holds == [false, true],
            "{role} {holds:?}"
        );
        Ok(())
    })?;
    load.expect_well(&pair, &[1]).context("crash and detach")?;

    // It comes back with nothing, learns every flow, and only then takes over again, for it is the preferred one.
    pair.directors[0].run()?;
    pair.wait_active(0)?;
    pair.wait_in_sync()?;
    load.expect_well(&pair, &[0, 1]).context("failback")?;

    // The cable of the active one.
    pair.lab.directors()[0].set_link(false)?;
    try_wait_until("lb2 to be active", SOON, || {
        let role = pair.router(1)?.role;
        ensure!(role == "active", "{role}");
        Ok(())
    })?;
    load.expect_well(&pair, &[1]).context("cable pulled")?;
    pair.lab.directors()[0].set_link(true)?;
    pair.wait_active(0)?;
    pair.wait_in_sync()?;
    load.expect_well(&pair, &[0, 1]).context("cable back")?;
    load.finish(&pair)
}

#[test]
fn restarts_and_upgrades_of_either_controller_change_no_role_and_lose_nothing() -> Result<()> {
    let mut pair = setup().start("pairrestart")?;
    let mut load = Load::start(&pair, 300, 100)?;
    let turns = pair.router(1)?.turns;
    for round in 0..3 {
        // As systemd does it: the next process goes on with what this one leaves.
        pair.directors[0].replace()?;
        pair.wait_active(0)?;
        load.expect_well(&pair, &[0])
            .with_context(|| format!("restart {round}"))?;
        pair.directors[0].kill()?;
        pair.directors[0].run()?;
        pair.wait_active(0)?;
        load.expect_well(&pair, &[0])
            .with_context(|| format!("kill {round}"))?;
        ensure!(pair.router(1)?.turns == turns, "lb2 has changed its role");
        pair.directors[1].replace()?;
        ensure!(pair.router(0)?.role == "active", "lb1 is not active");
        pair.wait_active(0)?;
        pair.directors[1].kill()?;
        pair.directors[1].run()?;
        pair.wait_active(0)?;
        pair.wait_in_sync()?;
        load.expect_well(&pair, &[0, 1])
            .with_context(|| format!("standby {round}"))?;
        // A new process counts anew.
        ensure!(pair.router(1)?.turns == turns, "lb2 has been active");
    }
    load.finish(&pair)
}

#[test]
fn idle_sessions_from_both_sides_of_a_cut_are_kept_when_it_heals() -> Result<()> {
    let pair = setup().start("pairheal")?;
    let mut before = pair.open(30)?;
    let mut shares = pair.shares(&before);
    pair.wait_counts(1, &shares)?;
    // At the switch: lb1 goes on as if nobody else were there.
    pair.lab.set_port("lb1", false)?;
    try_wait_until("lb2 to be active", SOON, || {
        let (role, connected) = (pair.router(1)?.role, pair.peer(0)?.connected);
        ensure!(
            role == "active" && !connected,
            "{role}, connected {connected}"
        );
        Ok(())
    })?;
    let mut meanwhile = pair.open(30)?;
    for (share, more) in shares.iter_mut().zip(pair.shares(&meanwhile)) {
        *share += more;
    }
    pair.wait_counts(1, &shares)?;
    pair.lab.set_port("lb1", true)?;
    pair.wait_active(0)?;
    pair.wait_in_sync()?;
    // The stronger one is active again, and knows what was opened without it.
    pair.wait_counts(0, &shares)?;
    expect_all_alive(&mut before)?;
    expect_all_alive(&mut meanwhile)?;
    pair.wait_counts_agree(0)
}
