//! A new configuration under a running daemon: told before, all or nothing, and no session is lost.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::cluster::{Service, expect_all_alive, expect_code, shares, sink};
use mb_lb_tests::{Cluster, Lab, Session, Traffic, try_wait_until};
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_secs(30);

fn even(lab: &Lab) -> String {
    Service::smtp(lab, &[10, 10, 10]).toml()
}

#[test]
fn a_reload_under_load_adds_and_removes_without_losing_a_session() -> Result<()> {
    let mut cluster = Cluster::start("reload", 3, |lab| Service::smtp(lab, &[10, 10]).toml())?;
    let lab = &cluster.lab;
    let _submission = ["mb1", "mb2", "mb3"]
        .iter()
        .map(|name| sink(lab, name, 587))
        .collect::<Result<Vec<_>>>()?;
    let mut second = Service::smtp(lab, &[1, 1, 1]);
    second.name = "submission".to_owned();
    second.listen.set_port(587);
    let submission = second.listen;
    let mut traffic = Traffic::start(lab.client(), lab.smtp4());
    traffic.expect_more(20)?;
    let mut sessions = cluster.open(20)?;

    // One server and one service more, by SIGHUP.
    cluster
        .director
        .write_config(&(even(lab) + &second.toml()))?;
    cluster.director.running()?.signal(Signal::SIGHUP)?;
    try_wait_until("the new configuration to be in force", SOON, || {
        let status = cluster.director.status()?;
        ensure!(
            status.services.len() == 2,
            "{} services",
            status.services.len()
        );
        Ok(())
    })?;
    cluster.wait_usable()?;
    let client = cluster.lab.client();
    let mut others = Session::open_many(client, submission, 9)?;
    assert_eq!(shares(&others).into_values().collect::<Vec<_>>(), [3, 3, 3]);
    traffic.expect_more(60)?;
    cluster.wait_server("smtp/mb3", SOON, |server| server.opened > 0)?;
    sessions.extend(cluster.open(20)?);

    // Both go again, by command.
    cluster
        .director
        .write_config(&Service::smtp(&cluster.lab, &[10, 10]).toml())?;
    let answer = cluster.director.ctl(&["reload"])?;
    expect_code(
        &answer,
        0,
        &["this has changed", "- smtp/mb3", "- submission"],
    );
    assert_eq!(cluster.director.status()?.services.len(), 1);
    traffic.expect_more(60)?;
    expect_all_alive(&mut sessions)?;
    expect_all_alive(&mut others)?;
    let newer = cluster.open(10)?;
    assert_eq!(shares(&newer).get("mb3"), None);
    Session::open(cluster.lab.client(), submission).expect_err("the service is gone");
    expect_code(
        &cluster.director.ctl(&["describe", "smtp/mb3"])?,
        6,
        &["smtp/mb3 was removed from the file"],
    );

    traffic.finish()?;
    for session in sessions.into_iter().chain(others).chain(newer) {
        session.quit()?;
    }
    assert_eq!(cluster.counts("smtp")?, [0, 0]);
    Ok(())
}

#[test]
fn a_bad_file_changes_nothing_and_a_good_one_is_told_before() -> Result<()> {
    let mut cluster = Cluster::start("badfile", 3, even)?;
    let mut sessions = cluster.open(9)?;
    let good = cluster.director.status()?;

    // What is in force.
    expect_code(
        &cluster.director.ctl(&["diff"])?,
        0,
        &["would change nothing"],
    );
    expect_code(
        &cluster.director.ctl(&["reload"])?,
        0,
        &["nothing has changed"],
    );

    // A file with errors.
    let bad = even(&cluster.lab).replace("weight = 10", "wieght = 10");
    cluster.director.write_config(&bad)?;
    for command in ["check", "reload", "diff"] {
        let answer = cluster.director.ctl(&[command])?;
        expect_code(&answer, 3, &["wieght", "weight", "^"]);
    }
    let status = cluster.director.ctl(&["status"])?;
    expect_code(
        &status,
        10,
        &["the last reload was refused", "mb-lb-ctl check"],
    );
    let seen = cluster.director.status()?;
    assert_eq!(seen.config_hash, good.config_hash);
    assert!(seen.reload_error.context("said")?.contains("wieght"));
    expect_all_alive(&mut sessions)?;
    assert_eq!(shares(&cluster.open(3)?).len(), 3);

    // The good one takes the complaint away; a second bad one by SIGHUP brings it back.
    cluster.director.write_config(&even(&cluster.lab))?;
    cluster.director.expect(&["reload"])?;
    expect_code(&cluster.director.ctl(&["status"])?, 0, &["all well"]);
    cluster.director.write_config("[service.smtp\n")?;
    cluster.director.running()?.signal(Signal::SIGHUP)?;
    try_wait_until("the bad file to be told", SOON, || {
        let status = cluster.director.status()?;
        ensure!(status.reload_error.is_some(), "no word of it");
        Ok(())
    })?;
    assert_eq!(cluster.director.status()?.config_hash, good.config_hash);

    // Changes are told before they are made.
    let changed = even(&cluster.lab).replacen("weight = 10", "weight = 30", 1);
    cluster.director.write_config(&changed)?;
    let diff = cluster.director.ctl(&["diff"])?;
    expect_code(&diff, 9, &["~ smtp/mb1 weight 10 -> 30", "kernel: "]);
    assert_eq!(cluster.server("smtp/mb1")?.weight, 10);
    assert_eq!(cluster.director.status()?.config_hash, good.config_hash);
    let kernel: Vec<_> = diff
        .stdout
        .lines()
        .filter(|line| line.starts_with("kernel: "))
        .collect();
    let reload = cluster.director.ctl(&["reload"])?;
    expect_code(&reload, 0, &["~ smtp/mb1 weight 10 -> 30"]);
    for line in kernel {
        assert!(reload.stdout.contains(line), "{line} is not in {reload:?}");
    }
    assert_eq!(cluster.server("smtp/mb1")?.weight, 30);
    cluster.expect_flows("smtp", &sessions)
}

#[test]
fn a_new_size_of_the_flow_table_says_what_it_takes() -> Result<()> {
    let mut cluster = Cluster::start("maxflows", 3, |lab| {
        "[director]\nmax_flows = 4096\n".to_owned() + &even(lab)
    })?;
    let mut sessions = cluster.open(6)?;
    let larger = "[director]\nmax_flows = 8192\n".to_owned() + &even(&cluster.lab);
    cluster.director.write_config(&larger)?;
    expect_code(
        &cluster.director.ctl(&["diff"])?,
        9,
        &["director.max_flows (after stop, detach and start) 4096 -> 8192"],
    );
    expect_code(
        &cluster.director.ctl(&["reload"])?,
        0,
        &["director.max_flows"],
    );
    let says = [
        "director.max_flows is 8192, but the pinned flow table has room for 4096",
        "stop, mb-lb-ctl detach, start",
    ];
    expect_code(&cluster.director.ctl(&["status"])?, 10, &says);
    // A restart alone does not do it either, and loses nothing.
    cluster.director.restart()?;
    expect_code(&cluster.director.ctl(&["status"])?, 10, &says);
    expect_all_alive(&mut sessions)?;
    cluster.director.stop()?;
    cluster.director.expect(&["detach"])?;
    cluster.director.run()?;
    cluster.wait_usable()?;
    let status = cluster.director.status()?;
    assert_eq!((status.dataplane.max_flows, status.alarms.len()), (8192, 0));
    Ok(())
}
