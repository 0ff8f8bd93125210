//! Masters that live, and cannot say so at the moment.

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::{RedisClient, RedisSetup, try_wait_until};

use super::site::{SOON, Site};

/// Sentinels that do not think of a failover meanwhile.
fn patient() -> RedisSetup {
    RedisSetup {
        down_after_ms: 60_000,
        server_lines: "busy-reply-threshold 100\nrdbcompression no\nloading-process-events-interval-bytes 1024\n".to_owned(),
        ..RedisSetup::default()
    }
}

#[test]
fn a_busy_or_full_master_keeps_its_clients() -> Result<()> {
    let site = Site::with("redis-busy", &patient())?;
    let mut idle = site.connect()?;
    let mut looping = site.connect()?;
    let running = std::thread::spawn(move || looping.ask(&["EVAL", "while true do end", "0"]));
    site.wait_word("mb1", "busy")?;
    // For as long as it takes.
    let rounds = site.tier()?.rounds;
    try_wait_until("further rounds", SOON, || {
        let tier = site.tier()?;
        ensure!(tier.rounds > rounds + 4, "{}", tier.rounds);
        ensure!(site.word("mb1")? == "busy");
        site.expect_only("mb1")
    })?;
    site.redis.ask(0, &["SCRIPT", "KILL"])?;
    let ended = running.join().expect("no panic").expect_err("it was ended");
    ensure!(ended.to_string().contains("Script killed"), "{ended}");
    site.wait_word("mb1", "master")?;
    ensure!(idle.ask(&["PING"])? == "PONG");

    // As many clients as it takes: the director's own connection is not among them any more.
    let mut direct = RedisClient::connect(site.lab.client(), site.redis.address(0))?;
    direct.ask(&["CONFIG", "SET", "maxclients", "1"])?;
    let list = direct.ask(&["CLIENT", "LIST"])?;
    let own = format!("addr={}:", site.director.machine().ipv4());
    let asking = list
        .lines()
        .find(|line| line.contains(&own) && line.contains("cmd=role"))
        .context("the director asks")?;
    let id = asking
        .split(' ')
        .find_map(|field| field.strip_prefix("id="));
    direct.ask(&["CLIENT", "KILL", "ID", id.context("an id")?])?;
    site.wait_word("mb1", "full")?;
    site.expect_only("mb1")?;
    ensure!(idle.ask(&["PING"])? == "PONG");
    direct.ask(&["CONFIG", "SET", "maxclients", "1000"])?;
    site.wait_word("mb1", "master")?;
    ensure!(idle.ask(&["PING"])? == "PONG");
    Ok(())
}

#[test]
fn a_master_that_loads_serves_nobody() -> Result<()> {
    let mut site = Site::with("redis-loading", &patient())?;
    // Some hundred kilobytes in a snapshot, at which it looks up from time to time.
    let fill = "for i = 1, 200 do redis.call('SET', 'k' .. i, string.rep('x', 2048)) end return 1";
    site.connect()?.ask(&["EVAL", fill, "0"])?;
    site.redis.ask(0, &["BGREWRITEAOF"])?;
    try_wait_until("a snapshot", SOON, || {
        let info = site.redis.ask(0, &["INFO", "persistence"])?;
        let size = info
            .lines()
            .find_map(|line| line.strip_prefix("aof_base_size:"));
        let size: u64 = size.context("no size")?.trim().parse()?;
        ensure!(size > 400_000, "{size} bytes");
        Ok(())
    })?;
    site.redis.kill(0)?;
    // 20 ms for each key.
    site.redis.spawn_server(0, &["--key-load-delay", "20000"])?;
    site.wait_word("mb1", "loading")?;
    ensure!(site.elected()?.is_none());
    let summary = site.tier()?.summary;
    ensure!(
        summary
            == "no master: mb1, named by 3 of 3 Sentinels, has not said that it is one: it loads its data set",
        "{summary}"
    );
    let refused = site.connect().expect_err("nobody is elected");
    ensure!(refused.kind() != std::io::ErrorKind::TimedOut, "{refused}");
    site.wait_elected("mb1")?;
    ensure!(site.connect()?.ask(&["STRLEN", "k200"])? == "2048");
    Ok(())
}
