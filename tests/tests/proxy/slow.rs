//! Clients that take their time (slowhttptest): their time is limited, and others are served all the while.

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::ClientsView;
use mb_lb_tests::{Process, try_wait_until};

use crate::Https;
use crate::setup::SOON;

const CONNECTIONS: u64 = 300;
/// What one of them may hold, in KiB: the header of 32 KiB, and a record of TLS each way.
const EACH: u64 = 64;
/// What a reader may make the director hold besides, in KiB: what was read of the server and not yet written.
const EACH_READER: u64 = 8 * EACH;
const TIMEOUTS: &str = "timeouts = { request = \"1s\", keep_alive = \"2s\", client = \"1s\" }";

fn clients(https: &Https) -> Result<ClientsView> {
    let status = https.director.status()?;
    let mut clients = status.services.into_iter().filter_map(|s| s.clients);
    clients.next().context("a proxy")
}

/// Starts it, and returns when all its connections have come and were ended.
fn outlast(https: &Https, arguments: &[&str], path: &str) -> Result<Process> {
    let before = clients(https)?.connections;
    let url = format!("https://{}{path}", https.lab.vip4());
    let count = CONNECTIONS.to_string();
    let client = https.client();
    let mut command = client.command("slowhttptest");
    command
        .args(arguments)
        .args(["-c", &count, "-r", &count, "-l", "120", "-u", &url]);
    let process = client.spawn("slowhttptest", &mut command)?;
    let mut served = 0;
    try_wait_until("slow clients", SOON, || {
        ensure!(https.get("/", &[])?.status == "200");
        served += 1;
        let all = clients(https)?.connections;
        ensure!(all >= before + CONNECTIONS + served, "{all}");
        Ok(())
    })?;
    try_wait_until("their end", SOON, || {
        let open = clients(https)?.open;
        ensure!(open == 0, "{open}");
        Ok(())
    })?;
    ensure!(https.get("/", &[])?.status == "200");
    Ok(process)
}

#[test]
fn slow_heads_and_bodies_are_ended() -> Result<()> {
    let mut https = Https::start("pxslow", TIMEOUTS)?;
    for (arguments, path) in [
        (["-H", "-i", "1"].as_slice(), "/"),
        (&["-B", "-i", "2", "-s", "100000"], "/upload"),
    ] {
        let before = https.memory()?;
        let mut process = outlast(&https, arguments, path)?;
        ensure!(process.wait(SOON)?.success(), "{}", process.tail());
        let text = process.output()?;
        ensure!(text.contains("No open connections left"), "{text}");
        let after = https.memory()?;
        ensure!(
            after < before + CONNECTIONS * EACH,
            "{arguments:?}: from {before} to {after} KiB"
        );
    }
    Ok(())
}

#[test]
fn slow_readers_are_ended() -> Result<()> {
    let mut https = Https::start("pxread", TIMEOUTS)?;
    let before = https.memory()?;
    let mut process = outlast(&https, &["-X", "-n", "5", "-z", "5"], "/big")?;
    ensure!(process.exited()?.is_none(), "{}", process.output()?);
    let after = https.memory()?;
    ensure!(
        after < before + CONNECTIONS * EACH_READER,
        "from {before} to {after} KiB"
    );
    https.wait_nothing_at_servers()
}
