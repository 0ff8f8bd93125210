//! Galera: clients of the VIP write to one node, whatever happens to the nodes.

mod asked;
mod site;
mod writers;

use anyhow::{Result, ensure};
use mb_lb_ctl::snapshot::Severity;
use mb_lb_tests::galera::TLS_MONITOR;
use mb_lb_tests::try_wait_until;

use site::{SOON, Site, login};

#[test]
fn nodes_are_killed() -> Result<()> {
    let mut site = Site::start("galera-kill")?;
    let writers = site.write(2);
    writers.wait_more()?;

    // Not the writer: all writes stall for seconds, with all states green, and nothing is moved.
    site.galera.kill(2)?;
    site.wait_alarm(Severity::Warning, "the cluster has 2 of 3 nodes")?;
    writers.wait_more()?;
    site.expect_elected("mb1")?;
    site.expect_switches(&[])?;
    site.galera.spawn(2)?;
    site.galera.wait_whole()?;
    site.wait_whole()?;

    // The writer.
    site.galera.kill(0)?;
    site.wait_elected("mb2")?;
    writers.wait_on("mb2")?;
    site.wait_alarm(Severity::Warning, "the cluster has 2 of 3 nodes")?;
    site.galera.spawn(0)?;
    site.galera.wait_whole()?;
    site.wait_whole()?;
    // No way back without a cause.
    site.wait_rounds(5, || site.expect_elected("mb2"))?;

    // Stopped as operators do.
    site.galera.stop(1)?;
    site.wait_elected("mb1")?;
    writers.wait_on("mb1")?;
    site.galera.spawn(1)?;
    site.galera.wait_whole()?;
    site.wait_whole()?;

    let written = writers.stop()?;
    written.expect_nodes(&["mb1", "mb2", "mb1"])?;
    for at in 0..3 {
        written.expect_all_at(&site.galera, at)?;
    }
    site.expect_switches(&["mb1 -> mb2", "mb2 -> mb1"])
}

/// A thawed node claims for seconds that all is as it was. Asked over TLS.
#[test]
fn nodes_are_frozen() -> Result<()> {
    let site = Site::start_with("galera-freeze", |galera| {
        let certificate = galera.certificate().display();
        format!(
            "{}\ntls = {{ verify = \"{certificate}\", sni = \"galera.test\" }}",
            login(TLS_MONITOR)
        )
    })?;
    let writers = site.write(2);
    writers.wait_more()?;

    site.galera.freeze(0, true)?;
    site.wait_elected("mb2")?;
    site.wait_alarm(Severity::Warning, "the cluster has 2 of 3 nodes")?;
    writers.wait_on("mb2")?;
    let stays = || site.expect_elected("mb2");
    site.galera.freeze(0, false)?;
    let node = site.wait_word("mb1", "contradicted", stays)?;
    ensure!(node.fields["cluster_status"] == "Primary", "{node:?}");
    ensure!(node.fields["state"] == "Synced", "{node:?}");
    site.wait_word("mb1", "synced", stays)?;
    site.wait_whole()?;

    // Another one: nothing is moved.
    site.galera.freeze(2, true)?;
    site.wait_word("mb3", "not_answering", stays)?;
    site.wait_alarm(Severity::Warning, "the cluster has 2 of 3 nodes")?;
    writers.wait_more()?;
    site.galera.freeze(2, false)?;
    site.wait_word("mb3", "synced", stays)?;
    site.wait_whole()?;

    let written = writers.stop()?;
    written.expect_nodes(&["mb1", "mb2"])?;
    for at in 0..3 {
        written.expect_all_at(&site.galera, at)?;
    }
    site.expect_switches(&["mb1 -> mb2"])
}

#[test]
fn operators_at_work() -> Result<()> {
    let site = Site::start("galera-operators")?;
    let writers = site.write(2);
    writers.wait_more()?;

    site.galera.sql(0, "SET GLOBAL wsrep_desync = ON")?;
    site.wait_elected("mb2")?;
    ensure!(site.node("mb1")?.word == "desynced");
    writers.wait_on("mb2")?;
    site.galera.sql(0, "SET GLOBAL wsrep_desync = OFF")?;
    site.wait_whole()?;

    site.galera.sql(1, "SET GLOBAL read_only = ON")?;
    site.wait_elected("mb1")?;
    ensure!(site.node("mb2")?.word == "read_only");
    writers.wait_on("mb1")?;
    site.galera.sql(1, "SET GLOBAL read_only = OFF")?;
    site.wait_whole()?;

    site.galera
        .sql(0, "SET GLOBAL wsrep_reject_queries = ALL")?;
    site.wait_elected("mb2")?;
    ensure!(site.node("mb1")?.word == "rejecting_queries");
    writers.wait_on("mb2")?;
    site.galera
        .sql(0, "SET GLOBAL wsrep_reject_queries = NONE")?;
    site.wait_whole()?;

    site.director.expect(&["drain", "db/mb2"])?;
    site.wait_elected("mb1")?;
    writers.wait_on("mb1")?;
    site.director.expect(&["ready", "db/mb2"])?;
    site.wait_rounds(4, || site.expect_elected("mb1"))?;

    // Not a failure of the writer, however full.
    site.galera.sql(0, "SET GLOBAL max_connections = 10")?;
    let mut held = Vec::new();
    let held_at = site.lab.machine("mb1").ipv4();
    let full = try_wait_until("error 1040", SOON, || {
        let stream = site
            .lab
            .client()
            .enter(|| std::net::TcpStream::connect((held_at, 3306)))?;
        held.push(stream);
        let word = site.node("mb1")?.word;
        ensure!(word == "too_many_connections", "{word}");
        site.expect_elected("mb1")
    });
    full?;
    site.wait_alarm(Severity::Critical, "no connection left")?;
    site.expect_elected("mb1")?;
    drop(held);
    site.galera.sql(0, "SET GLOBAL max_connections = 50")?;
    site.wait_whole()?;

    let written = writers.stop()?;
    written.expect_nodes(&["mb1", "mb2", "mb1", "mb2", "mb1"])?;
    written.expect_all_at(&site.galera, 2)?;
    site.expect_switches(&["mb1 -> mb2", "mb2 -> mb1", "mb1 -> mb2", "mb2 -> mb1"])
}

#[test]
fn the_cluster_is_torn() -> Result<()> {
    let mut site = Site::start("galera-torn")?;
    let writers = site.write(2);
    writers.wait_more()?;

    // All three alone: nobody is better than the others.
    site.galera.cut(1)?;
    site.galera.cut(2)?;
    site.wait_elected("")?;
    writers.wait_refused()?;
    let next = site.wait_alarm(Severity::Critical, "no node is part of a primary component")?;
    ensure!(next.contains("pc.bootstrap=YES"), "{next}");
    site.galera.heal(1)?;
    site.galera.heal(2)?;
    site.galera.wait_whole()?;
    site.wait_elected("mb1")?;
    site.wait_whole()?;
    writers.wait_on("mb1")?;
    site.expect_switches(&[])?;

    // Somebody makes a component of one that was cut off.
    site.galera.cut(2)?;
    site.wait_word("mb3", "non_primary", || site.expect_elected("mb1"))?;
    site.galera
        .sql(2, "SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'")?;
    let next = site.wait_alarm(Severity::Critical, "SPLIT BRAIN: mb1 and mb2 against mb3")?;
    ensure!(next.contains("mb1 has the clients' last writes"), "{next}");
    let stays = || site.expect_elected("mb1");
    site.director.expect(&["drain", "db/mb1"])?;
    site.wait_rounds(4, stays)?;
    site.director.expect(&["ready", "db/mb1"])?;
    writers.wait_more()?;

    // The wrong side goes, and comes back with the state of the right one.
    site.galera.stop(2)?;
    site.galera.heal(2)?;
    site.wait_alarm(Severity::Critical, "mb3 is not back in it")?;
    site.galera.empty(2)?;
    site.galera.spawn(2)?;
    site.galera.wait_whole()?;
    site.wait_whole()?;
    ensure!(site.events("split-brain-over")?.len() == 1);

    let written = writers.stop()?;
    written.expect_nodes(&["mb1"])?;
    for at in 0..3 {
        written.expect_all_at(&site.galera, at)?;
    }
    site.expect_switches(&[])
}

#[test]
fn all_crash_and_are_started_again() -> Result<()> {
    let mut site = Site::start("galera-crash")?;
    let writers = site.write(2);
    writers.wait_more()?;

    for at in 0..3 {
        site.galera.kill(at)?;
    }
    site.wait_elected("")?;
    writers.wait_refused()?;
    let next = site.wait_alarm(Severity::Critical, "no node is part of a primary component")?;
    ensure!(next.contains("--wsrep-recover"), "{next}");

    // Two that wait for the third.
    site.galera.spawn(1)?;
    site.galera.spawn(2)?;
    site.wait_rounds(5, || site.expect_elected(""))?;
    ensure!(site.node("mb2")?.word == "refused");
    site.galera.spawn(0)?;
    site.galera.wait_whole()?;
    site.wait_whole()?;
    writers.wait_more()?;

    let written = writers.stop()?;
    for at in 0..3 {
        written.expect_all_at(&site.galera, at)?;
    }
    Ok(())
}
