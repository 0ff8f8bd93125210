//! Floods of HTTP/2: each ends its own connection or is answered as it comes, and others are served all the while.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::Https;
use crate::script::{self, Dialogue};

const FRAMES: &str = include_str!("scripts/frames.py");
const STALL: &str = include_str!("scripts/stall.py");
const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;
/// `limits.streams`, as it is by default.
const STREAMS: u32 = 100;
/// So many streams may a client make the director reset.
const RESETS: u32 = 32;
/// A flood of this many frames is at least 42 MB.
const FRAMES_OF_A_FLOOD: u32 = 3_000_000;
/// By how much the controller may grow, in KiB. The windows and buffers of a connection hold 14 MiB at most: 1 MiB of what
/// comes, and of what is to be sent 128 KiB for each of 100 streams. What the allocator keeps besides is no more than that again.
/// A flood that was kept, or its answers, would not fit.
const GROWTH: u64 = 32 * 1024;

/// What a client has seen of its connection.
#[derive(Debug, Deserialize)]
struct Seen {
    heads: u32,
    resets: u32,
    /// Acknowledgements.
    settings: u32,
    pings: u32,
    /// The last one's code.
    goaway: Option<u32>,
    ended: bool,
}

fn has_not_grown(https: &mut Https, before: u64, what: &str) -> Result<()> {
    let after = https.memory()?;
    ensure!(
        after < before + GROWTH,
        "{what}: from {before} to {after} KiB"
    );
    Ok(())
}

/// Others are served while it lasts and afterwards.
fn attack(https: &mut Https, name: &str, count: u32, pace: Option<&str>) -> Result<Seen> {
    let before = https.memory()?;
    let mut command = script::command(https.client(), "frames.py", FRAMES)?;
    let address = https.lab.vip4().to_string();
    command
        .args([&address, name, &count.to_string()])
        .args(pace)
        .stdout(Stdio::piped());
    let mut running = command.spawn()?;
    let mut served = 0;
    while running.try_wait()?.is_none() || served < 3 {
        let page = https.get("/", &[])?;
        ensure!(page.status == "200", "{name}: {page:?}");
        served += 1;
    }
    let output = running.wait_with_output()?;
    ensure!(output.status.success(), "{name}: {}", output.status);
    has_not_grown(https, before, name)?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).with_context(|| format!("{name}: {text}"))
}

#[test]
fn streams_that_a_client_resets_or_has_reset_end_its_connection() -> Result<()> {
    let mut https = Https::start("pxresets", "")?;
    for name in [
        "reset",
        "window of 0",
        "window too large",
        "data after the end",
        "priority too short",
        "priority of itself",
        "second head",
        "too much data",
    ] {
        let seen = attack(&mut https, name, 2000, None)?;
        ensure!(seen.ended, "{name}: {seen:?}");
        let codes = [Some(PROTOCOL_ERROR), Some(ENHANCE_YOUR_CALM)];
        ensure!(codes.contains(&seen.goaway), "{name}: {seen:?}");
        // One stream at a time; what a client resets itself it may.
        if name == "reset" {
            continue;
        }
        let seen = attack(&mut https, name, 2000, Some("paced"))?;
        ensure!(seen.ended, "{name}: {seen:?}");
        ensure!(codes.contains(&seen.goaway), "{name}: {seen:?}");
        ensure!(seen.resets <= RESETS, "{name}: {seen:?}");
        ensure!(seen.pings <= RESETS + 1, "{name}: {seen:?}");
    }
    let requests: usize = https
        .servers
        .iter()
        .map(|nginx| {
            let log = nginx.log()?;
            Ok(log.matches("/flood").count() + log.matches("/upload").count())
        })
        .sum::<Result<_>>()?;
    ensure!(requests <= STREAMS as usize, "{requests} came to servers");

    // Requests that are given up, one after the other, are no attack; nothing of them stays.
    let seen = attack(&mut https, "cancel", 500, Some("paced"))?;
    ensure!(!seen.ended && seen.goaway.is_none(), "{seen:?}");
    https.wait_nothing_at_servers()
}

#[test]
fn floods_of_frames_are_ended_or_answered_one_by_one() -> Result<()> {
    let mut https = Https::start("pxfloods", "")?;
    for name in ["continuations", "empty continuations", "empty data"] {
        let seen = attack(&mut https, name, FRAMES_OF_A_FLOOD, None)?;
        ensure!(seen.ended, "{name}: {seen:?}");
        ensure!(seen.goaway == Some(ENHANCE_YOUR_CALM), "{name}: {seen:?}");
    }
    // The first SETTINGS and the last PING are the client's own.
    for (name, settings, pings) in [
        ("settings", FRAMES_OF_A_FLOOD + 1, 1),
        ("pings", 1, FRAMES_OF_A_FLOOD + 1),
        ("priorities", 1, 1),
        ("unknown frames", 1, 1),
    ] {
        let seen = attack(&mut https, name, FRAMES_OF_A_FLOOD, None)?;
        ensure!(
            (seen.settings, seen.pings) == (settings, pings),
            "{name}: {seen:?}"
        );
        ensure!(!seen.ended && seen.goaway.is_none(), "{name}: {seen:?}");
    }
    https.wait_nothing_at_servers()
}

/// Every stream has its head, and no more is taken of any.
fn stall(https: &Https, place: &str) -> Result<Dialogue> {
    script::command(https.client(), "frames.py", FRAMES)?;
    let mut command = script::command(https.client(), "stall.py", STALL)?;
    let address = https.lab.vip4().to_string();
    let mut client = Dialogue::start(command.args([&address, place, &STREAMS.to_string()]))?;
    let seen: Seen = serde_json::from_str(&client.line()?)?;
    ensure!(seen.heads == STREAMS && !seen.ended, "{seen:?}");
    Ok(client)
}

#[test]
fn a_client_that_takes_nothing_has_bounded_memory_and_frees_servers_as_it_goes() -> Result<()> {
    let mut https = Https::start("pxstall", "")?;
    for place in ["stream", "connection"] {
        let before = https.memory()?;
        let client = stall(&https, place)?;
        for _ in 0..5 {
            ensure!(https.get("/", &[])?.status == "200");
        }
        has_not_grown(&mut https, before, place)?;
        drop(client);
        https.wait_nothing_at_servers()?;
    }
    Ok(())
}

/// However lively the connection is otherwise.
#[test]
fn streams_that_stand_still_are_reset_and_free_servers() -> Result<()> {
    let https = Https::start("pxstill", "timeouts = { client = \"1s\" }")?;
    for place in ["stream", "connection"] {
        let mut client = stall(&https, place)?;
        let seen: Seen = serde_json::from_str(&client.ask("more")?)?;
        ensure!(seen.ended || seen.resets == STREAMS, "{place}: {seen:?}");
        https.wait_nothing_at_servers()?;
    }
    Ok(())
}
