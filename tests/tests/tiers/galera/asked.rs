//! Nodes that are none, and a director that may not look.

use std::io::Write as _;
use std::net::TcpListener;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::Severity;
use mb_lb_tests::galera::{MONITOR, PORT};
use mb_lb_tests::{Director, Lab, Machine, try_wait_until};
use nix::sys::signal::Signal;

use super::site::{SOON, Site, config, login};

#[test]
fn a_wrong_password_moves_nothing() -> Result<()> {
    let mut site = Site::start("galera-password")?;
    let writers = site.write(2);
    writers.wait_more()?;
    let wrong = login((MONITOR.0, "wrong"));
    site.director.write_config(&config(&site.lab, &wrong))?;
    site.director.running()?.signal(Signal::SIGHUP)?;
    let next = site.wait_alarm(Severity::Critical, "cannot be looked at")?;
    ensure!(next.contains("CREATE USER 'mb_monitor'"), "{next}");
    site.wait_rounds(6, || site.expect_elected("mb1"))?;
    ensure!(site.events("password")?.len() == 1, "told more than once");
    writers.wait_more()?;
    let right = login(MONITOR);
    site.director.write_config(&config(&site.lab, &right))?;
    site.director.running()?.signal(Signal::SIGHUP)?;
    site.wait_whole()?;
    let written = writers.stop()?;
    written.expect_nodes(&["mb1"])?;
    written.expect_all_at(&site.galera, 0)?;
    site.expect_switches(&[])
}

/// Says `word` to everybody, and lets them wait.
fn pretend(machine: &Machine, word: &'static [u8]) -> Result<()> {
    let address = (machine.ipv4(), PORT);
    let listener = machine
        .enter(|| TcpListener::bind(address))
        .context("cannot listen")?;
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming().flatten() {
            // Whoever does not want to hear it is gone.
            if (&stream).write_all(word).is_ok() {
                kept.push(stream);
            }
        }
    });
    Ok(())
}

#[test]
fn nodes_that_are_none() -> Result<()> {
    let lab = Lab::new("galera-none")?;
    pretend(lab.machine("mb1"), b"")?;
    pretend(lab.machine("mb2"), b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")?;
    let director = Director::start(&lab, "lb1", &config(&lab, &login(MONITOR)))?;
    try_wait_until("all to be seen for what they are", SOON, || {
        let status = director.status()?;
        let tier = status.tiers.first().context("no tier")?;
        let words: Vec<_> = tier.nodes.iter().map(|node| node.word.as_str()).collect();
        ensure!(
            words == ["not_answering", "garbage", "refused"],
            "{tier:#?}"
        );
        ensure!(tier.state == "failed", "{tier:#?}");
        ensure!(tier.nodes.iter().all(|node| !node.elected), "{tier:#?}");
        Ok(())
    })
}
