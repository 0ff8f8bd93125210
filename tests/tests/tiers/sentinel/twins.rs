//! Two directors: what one has, the other has.

use std::fs;

use anyhow::{Result, ensure};
use mb_lb_tests::pair::SOON;
use mb_lb_tests::redis::PORT;
use mb_lb_tests::{Director, PairSetup, Redis, RedisClient, RedisSetup, try_wait_until};

use super::site;

fn wait_elected(director: &Director, name: &str) -> Result<()> {
    try_wait_until(&format!("{name} to be elected"), SOON, || {
        let status = director.status()?;
        let tier = &status.tiers[0];
        let mut elected = tier.nodes.iter().filter(|node| node.elected);
        let first = elected.next().map(|node| node.name.as_str());
        ensure!(first == Some(name), "{first:?}: {}", tier.summary);
        Ok(())
    })
}

#[test]
fn the_other_director_has_the_same_master_without_a_majority() -> Result<()> {
    let lab = PairSetup::lab("redis-twins")?;
    let mut redis = Redis::start(&lab, &RedisSetup::default())?;
    let more = site::config(&lab);
    let setup = PairSetup {
        more: &more,
        ..PairSetup::default()
    };
    let mut pair = setup.start_in(lab)?;
    for director in &pair.directors {
        wait_elected(director, "mb1")?;
    }
    redis.kill_sentinel(1)?;
    redis.kill_sentinel(2)?;
    for director in &pair.directors {
        try_wait_until("an alarm", SOON, || {
            let alarms = director.status()?.alarms;
            let told = alarms
                .iter()
                .any(|alarm| alarm.text.contains("no failover is possible"));
            ensure!(told, "{alarms:?}");
            Ok(())
        })?;
        wait_elected(director, "mb1")?;
    }

    // One that knows nothing of what was before.
    pair.directors[1].kill()?;
    fs::remove_dir_all(pair.directors[1].state_dir())?;
    fs::create_dir_all(pair.directors[1].state_dir())?;
    pair.directors[1].run()?;
    wait_elected(&pair.directors[1], "mb1")?;

    pair.directors[0].kill()?;
    let vip = (pair.lab.vip4(), PORT).into();
    try_wait_until("clients at the other director", SOON, || {
        let server = RedisClient::connect(pair.lab.client(), vip)?.server()?;
        ensure!(redis.name_of(server) == Some("mb1"), "{server}");
        ensure!(pair.holders()?[1]);
        Ok(())
    })
}
