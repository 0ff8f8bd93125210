//! A hundred random events over a pair under load. What DESIGN promises at the end holds: no session is lost, counts are
//! the flows, one director has the VIP.

use std::env;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::cluster::expect_all_alive;
use mb_lb_tests::pair::{NAMES, SOON};
use mb_lb_tests::{Busy, Pair, PairSetup, try_wait_until};
use nix::sys::signal::Signal;

const EVENTS: usize = 100;
const SEED: u64 = 20_261_126;

/// What can happen to a director.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// The controller is killed, and started again.
    Kill,
    /// The controller is replaced, as by an upgrade.
    Replace,
    /// The controller is stopped for good, which hands the VIP over, and started again.
    Restart,
    /// The controller does not run for a while.
    Freeze,
    /// The cable is pulled, and put back.
    Cable,
    Failover,
    /// A server is drained and made ready again.
    Drain,
    Reload,
    /// Another program takes the VIP away.
    TakeAddress,
}

const ALL: [Happening; 9] = [
    Happening::Kill,
    Happening::Replace,
    Happening::Restart,
    Happening::Freeze,
    Happening::Cable,
    Happening::Failover,
    Happening::Drain,
    Happening::Reload,
    Happening::TakeAddress,
];

/// Numerical Recipes' generator: the same seed, the same events.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }
}

/// Who is active, whatever the other is.
fn active(pair: &Pair) -> Result<usize> {
    try_wait_until("one director to be active", SOON, || {
        for at in 0..2 {
            if pair.router(at)?.role == "active" {
                return Ok(at);
            }
        }
        anyhow::bail!("none is");
    })
}

fn happen(pair: &mut Pair, what: Happening, at: usize) -> Result<()> {
    match what {
        Happening::Kill => {
            pair.directors[at].kill()?;
            pair.directors[at].run()
        }
        Happening::Replace => pair.directors[at].replace(),
        Happening::Restart => pair.directors[at].restart(),
        Happening::Freeze => {
            let other = 1 - at;
            pair.directors[at].running()?.signal(Signal::SIGSTOP)?;
            let moved = try_wait_until("the other to be active", SOON, || {
                let role = pair.router(other)?.role;
                ensure!(role == "active", "{role}");
                Ok(())
            });
            pair.directors[at].running()?.signal(Signal::SIGCONT)?;
            moved
        }
        Happening::Cable => {
            pair.lab.directors()[at].set_link(false)?;
            let moved = try_wait_until("the other to be active", SOON, || {
                let role = pair.router(1 - at)?.role;
                ensure!(role == "active", "{role}");
                Ok(())
            });
            pair.lab.directors()[at].set_link(true)?;
            moved
        }
        Happening::Failover => {
            let from = active(pair)?;
            // It may have moved by itself meanwhile.
            let answer = pair.directors[from].ctl(&["failover"])?;
            ensure!(answer.code == 0 || answer.code == 8, "{answer:?}");
            Ok(())
        }
        Happening::Drain => {
            pair.directors[at].expect(&["drain", "smtp/mb2", "--reason", "chaos"])?;
            pair.directors[1 - at]
                .expect(&["ready", "smtp/mb2"])
                .map(drop)
        }
        Happening::Reload => pair.directors[at].expect(&["reload"]).map(drop),
        Happening::TakeAddress => {
            let vip = format!("{}/32", pair.lab.vip4());
            // Nothing is lost where it is not there.
            let _gone =
                pair.lab.directors()[at].run("ip", &["address", "del", &vip, "dev", "eth0"]);
            Ok(())
        }
    }
}

#[test]
fn a_hundred_random_events_lose_no_session_and_no_count() -> Result<()> {
    let seed = match env::var("MB_LB_CHAOS_SEED") {
        Ok(text) => text.parse().context("MB_LB_CHAOS_SEED")?,
        Err(_) => SEED,
    };
    println!("MB_LB_CHAOS_SEED={seed}");
    let setup = PairSetup {
        interval: "version = 3\nadvert_interval = \"200ms\"",
        ..PairSetup::default()
    };
    let mut pair = setup.start("pairchaos")?;
    let mut idle = pair.open(200)?;
    let busy = pair.open(60)?;
    let shares: Vec<i64> = pair
        .shares(&idle)
        .into_iter()
        .zip(pair.shares(&busy))
        .map(|(a, b)| a + b)
        .collect();
    pair.wait_counts(1, &shares)?;
    let mut busy = Busy::start(busy);
    let mut random = Random(seed);
    for number in 0..EVENTS {
        let (what, at) = (ALL[random.below(ALL.len())], random.below(2));
        println!("{number}: {what:?} on {}", NAMES[at]);
        happen(&mut pair, what, at)
            .with_context(|| format!("{number}: {what:?} on {}", NAMES[at]))?;
        // The promise is of a peer that is in sync.
        pair.wait_in_sync()?;
        active(&pair)?;
        if number % 10 == 9 {
            busy.expect_all_deliver()
                .with_context(|| format!("after event {number}"))?;
        }
    }
    busy.expect_all_deliver()?;
    expect_all_alive(&mut idle)?;
    try_wait_until("one owner of the VIP", SOON, || {
        let (roles, holds) = (
            [pair.router(0)?.role, pair.router(1)?.role],
            pair.holders()?,
        );
        ensure!(holds[0] != holds[1], "{roles:?} {holds:?}");
        ensure!(
            roles.contains(&"active".to_owned()) && roles.contains(&"backup".to_owned()),
            "{roles:?}"
        );
        Ok(())
    })?;
    for at in 0..2 {
        pair.wait_counts(at, &shares)?;
        pair.wait_counts_agree(at)?;
    }
    let (delivered, sessions) = busy.finish()?;
    let mut accepted = 0;
    for sink in &pair.sinks {
        accepted += sink.messages()?;
    }
    ensure!(
        accepted == delivered,
        "{delivered} sent, {accepted} accepted"
    );
    for session in idle.into_iter().chain(sessions) {
        session.quit()?;
    }
    for at in 0..2 {
        pair.wait_counts(at, &[0, 0, 0])?;
    }
    Ok(())
}
