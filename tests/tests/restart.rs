//! The controller ends in every way that there is, starts again, and nobody who sends mail notices.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::{AdminState, HealthState};
use mb_lb_tests::cluster::{Service, expect_all_alive, shares, sink};
use mb_lb_tests::{Cluster, Lab, Session, Traffic, kernel, try_wait_until};

const SOON: Duration = Duration::from_secs(30);

fn weighted(lab: &Lab) -> String {
    Service::smtp(lab, &[10, 10, 5]).toml()
}

/// What the sweep recounted is what the program counted, server by server.
fn expect_no_drift(cluster: &Cluster, expected: &[i64]) -> Result<()> {
    try_wait_until("the audit to find the counts", SOON, || {
        let status = cluster.director.status()?;
        let servers = &status.services[0].servers;
        let active: Vec<_> = servers.iter().map(|server| server.active).collect();
        let audited: Vec<_> = servers.iter().map(|server| server.audited as i64).collect();
        ensure!(
            active == expected && audited == expected,
            "counted {active:?}, audited {audited:?}, expected {expected:?}"
        );
        ensure!(
            servers.iter().all(|server| server.drift == 0),
            "{servers:?}"
        );
        Ok(())
    })
}

#[test]
fn killed_and_stopped_with_500_open_sessions() -> Result<()> {
    let mut cluster = Cluster::start("kill500", 3, weighted)?;
    assert!(!cluster.director.status()?.dataplane.adopted);
    let mut sessions = cluster.open(500)?;
    assert_eq!(cluster.counts("smtp")?, [200, 200, 100]);
    cluster.expect_flows("smtp", &sessions)?;

    cluster.director.kill()?;
    expect_all_alive(&mut sessions)?;
    // The data plane goes on alone, and goes on counting: the exact shares say so.
    let orphans = cluster.open(25)?;
    let shared = shares(&orphans);
    assert_eq!(
        (shared["mb1"], shared["mb2"], shared["mb3"]),
        (10, 10, 5),
        "{shared:?}"
    );
    sessions.extend(orphans);

    cluster.director.run()?;
    assert!(cluster.director.status()?.dataplane.adopted);
    assert_eq!(cluster.counts("smtp")?, [210, 210, 105]);
    cluster.expect_flows("smtp", &sessions)?;
    expect_all_alive(&mut sessions)?;

    cluster.director.stop()?;
    expect_all_alive(&mut sessions)?;
    for ended in sessions.drain(..105) {
        ended.quit()?;
    }
    cluster.director.run()?;
    assert!(cluster.director.status()?.dataplane.adopted);
    cluster.expect_flows("smtp", &sessions)?;
    expect_all_alive(&mut sessions)?;
    let left: Vec<_> = ["mb1", "mb2", "mb3"]
        .iter()
        .map(|name| shares(&sessions)[name] as i64)
        .collect();
    assert_eq!(cluster.counts("smtp")?, left);
    expect_no_drift(&cluster, &left)?;

    for session in sessions {
        session.quit()?;
    }
    try_wait_until("the counts to be zero", SOON, || {
        let counts = cluster.counts("smtp")?;
        ensure!(counts == [0, 0, 0], "{counts:?}");
        Ok(())
    })
}

#[test]
fn restarted_20_times_under_load() -> Result<()> {
    let mut cluster = Cluster::start("load20", 3, weighted)?;
    let mut sessions = cluster.open(50)?;
    let before: Vec<String> = sessions.iter().map(|s| s.server().to_owned()).collect();
    let mut traffic = Traffic::start(cluster.lab.client(), cluster.lab.smtp4());
    traffic.expect_more(30)?;
    for round in 0..20 {
        if round % 2 == 0 {
            cluster.director.kill()?;
        } else {
            cluster.director.stop()?;
        }
        // Some come and go without a controller, some while it starts, some with it.
        traffic.expect_more(5)?;
        cluster
            .director
            .run()
            .with_context(|| format!("restart {round}"))?;
        assert!(cluster.director.status()?.dataplane.adopted);
        traffic.expect_more(5)?;
        let flows = cluster.flows()?;
        for (session, server) in sessions.iter().zip(&before) {
            assert_eq!(
                flows.get(&session.local()),
                Some(&format!("smtp/{server}")),
                "restart {round}: {session}"
            );
        }
    }
    let delivered = traffic.finish()?;
    expect_all_alive(&mut sessions)?;
    try_wait_until("the servers to have every message", SOON, || {
        let messages = cluster
            .sinks
            .values()
            .map(|sink| sink.messages())
            .sum::<Result<u64>>()?;
        ensure!(messages == delivered, "{messages} of {delivered}");
        Ok(())
    })?;
    let held: Vec<_> = ["mb1", "mb2", "mb3"]
        .iter()
        .map(|name| shares(&sessions)[name] as i64)
        .collect();
    expect_no_drift(&cluster, &held)?;
    assert_eq!(cluster.counts("smtp")?, held);
    cluster.expect_flows("smtp", &sessions)
}

#[test]
fn a_new_build_takes_the_place_of_the_program_and_keeps_the_maps() -> Result<()> {
    let mut cluster = Cluster::start("upgrade", 3, weighted)?;
    let mut sessions = cluster.open(40)?;
    let mut traffic = Traffic::start(cluster.lab.client(), cluster.lab.smtp4());
    traffic.expect_more(10)?;
    let root = cluster.director.bpf_root().to_owned();
    let links = kernel::links(&root)?;
    assert_eq!(links.len(), 1, "{links:?}");
    let (link, program) = kernel::link_and_program(&links[0])?;
    let flows = kernel::map_id(&root, "FLOWS4")?;

    let newer = cluster
        .director
        .machine()
        .directory()
        .join("mb-lb-ctl-newer");
    fs::copy(cluster.director.program(), &newer)?;
    cluster.director.stop()?;
    cluster.director.set_program(newer);
    cluster.director.run()?;
    try_wait_until("the program in the link to change", SOON, || {
        let (now_link, now_program) = kernel::link_and_program(&links[0])?;
        // The same link: at no moment was there no program.
        ensure!(now_link == link, "another link: {link} -> {now_link}");
        ensure!(now_program != program, "still program {program}");
        Ok(())
    })?;
    assert_eq!(kernel::links(&root)?, links);
    assert_eq!(kernel::map_id(&root, "FLOWS4")?, flows);
    traffic.expect_more(60)?;
    traffic.finish()?;
    expect_all_alive(&mut sessions)?;
    assert_eq!(cluster.counts("smtp")?, [16, 16, 8]);
    cluster.expect_flows("smtp", &sessions)
}

#[test]
fn a_second_controller_and_another_mode_leave_all_as_it_is() -> Result<()> {
    let mut cluster = Cluster::start("second", 3, weighted)?;
    let root = cluster.director.bpf_root().to_owned();
    let mut sessions = cluster.open(5)?;
    let links = |root: &std::path::Path| -> Result<Vec<_>> {
        kernel::links(root)?
            .iter()
            .map(|link| kernel::link_and_program(link))
            .collect()
    };
    let before = links(&root)?;
    assert_eq!(before.len(), 1);

    // With a state directory of its own, the pins are all that the two share.
    let other = cluster.director.machine().directory().join("other-state");
    let config = cluster.director.config_path().display().to_string();
    let arguments = [
        "--config",
        &config,
        "--state-dir",
        &other.display().to_string(),
        "run",
    ];
    let second = cluster.director.ctl(&arguments)?;
    assert_ne!(second.code, 0, "{second:?}");
    let says = format!("another mb-lb-ctl works on {}", root.display());
    assert!(second.stderr.contains(&says), "{second:?}");
    assert_eq!(links(&root)?, before);
    expect_all_alive(&mut sessions)?;

    let text = format!(
        "[director]\nxdp = \"generic\"\n\n{}",
        weighted(&cluster.lab)
    );
    cluster.director.write_config(&text)?;
    let says = "goes on in native mode";
    cluster.director.expect(&["reload"])?;
    let told = |cluster: &Cluster| {
        try_wait_until("the refusal to be told", SOON, || {
            let status = cluster.director.ctl(&["status"])?;
            ensure!(
                status.code == 10 && status.stdout.contains(says),
                "{status:?}"
            );
            Ok(())
        })
    };
    told(&cluster)?;
    assert_eq!(links(&root)?, before);
    expect_all_alive(&mut sessions)?;
    // Nor does a restart throw it away.
    cluster.director.stop()?;
    cluster.director.run()?;
    told(&cluster)?;
    assert_eq!(links(&root)?[0].0, before[0].0, "the link is another");
    expect_all_alive(&mut sessions)?;
    cluster.expect_flows("smtp", &sessions)
}

#[test]
fn detach_is_refused_under_a_running_daemon_and_takes_all_away_after_it() -> Result<()> {
    let mut cluster = Cluster::start("detach", 3, weighted)?;
    let root = cluster.director.bpf_root().to_owned();
    let mut sessions = cluster.open(5)?;
    let carries = |cluster: &Cluster| {
        cluster
            .director
            .machine()
            .run("ip", &["-o", "link", "show", "eth0"])
            .map(|text| text.contains(" xdp "))
    };
    let refused = cluster.director.ctl(&["detach"])?;
    assert_eq!(refused.code, 8, "{refused:?}");
    assert!(
        refused.stderr.contains("nothing was detached"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    expect_all_alive(&mut sessions)?;
    assert!(carries(&cluster)?);

    let forced = cluster.director.ctl(&["detach", "--force"])?;
    assert_eq!(forced.code, 0, "{forced:?}");
    try_wait_until("the daemon to notice", SOON, || {
        let status = cluster.director.ctl(&["status"])?;
        ensure!(
            status.code == 10
                && status
                    .stdout
                    .contains("was detached while this daemon runs"),
            "{status:?}"
        );
        Ok(())
    })?;
    cluster.director.restart()?;
    cluster.wait_usable()?;
    drop(sessions);
    let mut sessions = cluster.open(5)?;

    cluster.director.stop()?;
    expect_all_alive(&mut sessions)?;
    let pins = kernel::all(&root)?;
    assert!(pins.len() > 10, "{pins:?}");
    let done = cluster.director.ctl(&["detach", "--verbose"])?;
    assert_eq!(done.code, 0, "{done:?}");
    let begins = "XDP program removed from eth0, and its maps from the kernel.\n";
    assert!(done.stdout.starts_with(begins), "{done:?}");
    for pin in &pins {
        assert!(done.stdout.contains(&pin.display().to_string()), "{done:?}");
    }
    assert_eq!(kernel::all(&root)?, Vec::<std::path::PathBuf>::new());
    assert!(fs::read_dir(&root)?.next().is_none(), "a directory is left");
    // The kernel frees a link a moment after its last pin has gone.
    try_wait_until("the program to be off the interface", SOON, || {
        ensure!(!carries(&cluster)?, "it is on");
        Ok(())
    })?;
    let again = cluster.director.ctl(&["detach"])?;
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stderr.contains("nothing is attached"), "{again:?}");

    // A start from nothing.
    cluster.director.run()?;
    assert!(!cluster.director.status()?.dataplane.adopted);
    cluster.wait_usable()?;
    assert_eq!(shares(&cluster.open(25)?).len(), 3);
    Ok(())
}

#[test]
fn what_the_operator_wanted_outlives_kill_9() -> Result<()> {
    let mut cluster = Cluster::start("wishes", 4, |lab| {
        Service::smtp(lab, &[10, 10, 10, 10]).toml()
    })?;
    let director = &cluster.director;
    director.expect(&["drain", "smtp/mb1", "--reason", "kernel upgrade"])?;
    director.expect(&["maint", "smtp/mb2", "--reason", "disk is failing"])?;
    director.expect(&["weight", "smtp/mb3", "30"])?;
    cluster.director.kill()?;
    // Nothing of it needs the controller.
    let shared = |sessions: &[Session]| {
        shares(sessions)
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect::<Vec<_>>()
    };
    let expected = [("mb3".to_owned(), 30), ("mb4".to_owned(), 10)];
    let orphans = cluster.open(40)?;
    assert_eq!(shared(&orphans), expected);
    drop(orphans);
    for _ in 0..2 {
        cluster.director.run()?;
        let drained = cluster.server("smtp/mb1")?;
        assert_eq!(drained.admin, AdminState::Drain);
        assert_eq!(drained.admin_reason, "kernel upgrade");
        assert!(!drained.admin_by.is_empty());
        let out = cluster.server("smtp/mb2")?;
        assert_eq!(out.admin, AdminState::Maint);
        assert_eq!(out.admin_reason, "disk is failing");
        let heavy = cluster.server("smtp/mb3")?;
        assert_eq!((heavy.weight, heavy.initial_weight), (30, 10));
        cluster.wait_server("smtp/mb3", SOON, |server| server.active == 0)?;
        cluster.wait_server("smtp/mb4", SOON, |server| server.active == 0)?;
        let sessions = cluster.open(40)?;
        assert_eq!(shared(&sessions), expected);
        cluster.director.kill()?;
    }
    // And it can be undone.
    cluster.director.run()?;
    cluster
        .director
        .expect(&["ready", "smtp/mb1", "--wait", "30s"])?;
    cluster
        .director
        .expect(&["ready", "smtp/mb2", "--wait", "30s"])?;
    cluster.director.expect(&["weight", "smtp/mb3", "10"])?;
    cluster.director.kill()?;
    cluster.director.run()?;
    cluster.wait_usable()?;
    let server = cluster.server("smtp/mb2")?;
    assert_eq!(
        (server.admin, server.admin_reason.as_str()),
        (AdminState::Ready, "")
    );
    Ok(())
}

/// The port of the checks is not that of the mail, so that checks can be held up while mail flows.
#[test]
fn before_its_first_checks_a_restarted_controller_trusts_those_that_were_up_and_only_those()
-> Result<()> {
    const CHECK_PORT: u16 = 2525;
    let mut cluster = Cluster::start_unready("trust", 3, |lab| {
        Service::smtp(lab, &[10, 10, 10])
            .check(r#"{ type = "smtp", port = 2525, interval = "200ms", timeout = "60s", rise = 2, fall = 3 }"#)
            .toml()
    })?;
    let mut checked = ["mb1", "mb2", "mb3"]
        .iter()
        .map(|name| sink(&cluster.lab, name, CHECK_PORT))
        .collect::<Result<Vec<_>>>()?;
    cluster.wait_usable()?;
    checked[2].kill()?;
    cluster.wait_server("smtp/mb3", SOON, |server| {
        server.health == HealthState::Down
    })?;
    try_wait_until("the kernel to have it", SOON, || {
        let record = cluster.director.record("smtp/mb3")?;
        ensure!(!record.accepts, "{record:?}");
        Ok(())
    })?;
    cluster.director.kill()?;
    checked[0].freeze()?;
    checked[1].freeze()?;
    // Answers no check until the first two are thawed: neither good nor bad news from it.
    let third = sink(&cluster.lab, "mb3", CHECK_PORT)?;
    third.freeze()?;

    cluster.director.run()?;
    for name in ["smtp/mb1", "smtp/mb2"] {
        let server = cluster.server(name)?;
        assert!(server.usable, "{server:?}");
        assert!(server.health_reason.contains("as before"), "{server:?}");
        assert_eq!(server.check.context("a check")?.code, "INI");
    }
    let server = cluster.server("smtp/mb3")?;
    assert_eq!(
        (server.usable, server.health),
        (false, HealthState::Unknown),
        "{server:?}"
    );
    let sessions = cluster.open(20)?;
    let shared = shares(&sessions);
    assert_eq!((shared["mb1"], shared["mb2"]), (10, 10), "{shared:?}");
    // Still nothing was checked.
    for name in ["smtp/mb1", "smtp/mb2", "smtp/mb3"] {
        assert_eq!(cluster.server(name)?.check.context("a check")?.code, "INI");
    }

    for sink in [&checked[0], &checked[1], &third] {
        sink.thaw()?;
    }
    cluster.wait_usable()?;
    let newer = cluster.open(10)?;
    assert_eq!(shares(&newer)["mb3"], 10);
    Ok(())
}

/// mb1 moves to the address of machine mb4, mb2 and mb1 change places, mb3 is removed.
fn changed(lab: &Lab) -> String {
    let mut service = Service::smtp(lab, &[10, 10, 5]);
    service.servers.truncate(2);
    service.servers.swap(0, 1);
    service.servers[1].1 = lab.machine("mb4").ipv4().into();
    service.toml()
}

fn expect_shares(sessions: &[Session]) {
    let shared: Vec<_> = shares(sessions).into_iter().collect();
    assert_eq!(shared, [("mb1", 10), ("mb2", 10), ("mb3", 5)]);
}

fn expect_changed(cluster: &Cluster, sessions: &mut Vec<Session>) -> Result<()> {
    cluster.wait_usable()?;
    expect_all_alive(sessions)?;
    let flows = cluster.flows()?;
    for session in sessions.iter() {
        let server = flows
            .get(&session.local())
            .with_context(|| format!("no flow of {session}"))?;
        // The old mb1 and mb3 are in no configuration any more, and keep their names.
        assert_eq!(*server, format!("smtp/{}", session.server()), "{session}");
    }
    let status = cluster.director.status()?;
    let names: Vec<_> = status.services[0]
        .servers
        .iter()
        .map(|server| server.name.as_str())
        .collect();
    assert_eq!(names, ["mb2", "mb1"]);
    let removed: Vec<_> = status
        .removed
        .iter()
        .map(|server| (server.service.as_str(), server.server.as_str()))
        .collect();
    assert_eq!(removed, [("smtp", "mb1"), ("smtp", "mb3")]);
    // mb2 has its ten; the new mb1 none.
    assert_eq!(cluster.counts("smtp")?, [10, 0]);
    let new = cluster.open(10)?;
    assert_eq!(shares(&new).into_iter().collect::<Vec<_>>(), [("mb4", 10)]);
    sessions.extend(new);
    assert_eq!(cluster.counts("smtp")?, [10, 10]);
    expect_all_alive(sessions)
}

#[test]
fn a_configuration_changed_while_the_controller_was_down_moves_no_flow() -> Result<()> {
    let mut cluster = Cluster::start("offline", 4, weighted)?;
    let mut sessions = cluster.open(25)?;
    expect_shares(&sessions);
    cluster.director.stop()?;
    cluster.director.write_config(&changed(&cluster.lab))?;
    cluster.director.run()?;
    assert!(cluster.director.status()?.dataplane.adopted);
    expect_changed(&cluster, &mut sessions)?;
    // What was removed is still known for what it is after one more.
    cluster.director.kill()?;
    cluster.director.run()?;
    expect_all_alive(&mut sessions)?;
    assert_eq!(cluster.counts("smtp")?, [10, 10]);
    Ok(())
}

#[test]
fn the_same_change_by_reload_moves_no_flow() -> Result<()> {
    let cluster = Cluster::start("online", 4, weighted)?;
    let mut sessions = cluster.open(25)?;
    expect_shares(&sessions);
    cluster.director.write_config(&changed(&cluster.lab))?;
    cluster.director.expect(&["reload"])?;
    expect_changed(&cluster, &mut sessions)
}
