//! Servers, their network and the director's own network fail, and come back.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::{CheckView, HealthState, ServerView};
use mb_lb_tests::cluster::{PATIENT, Service, expect_all_alive, shares, sink};
use mb_lb_tests::{Cluster, Session, Traffic, kernel, try_wait_until};

const SOON: Duration = Duration::from_secs(30);
/// The neighbour table is verified every 15 s, and an entry that does not answer takes some seconds to fail.
const NEIGHBOURS: Duration = Duration::from_secs(90);
/// The maps are compared every 30 s.
const READ_BACK: Duration = Duration::from_secs(60);

const FALL: usize = 3;
const RISE: usize = 2;
/// Finds a frozen process: the kernel accepts, nobody greets.
const QUICK: &str =
    r#"{ type = "smtp", port = 25, interval = "100ms", timeout = "1s", rise = 2, fall = 3 }"#;
const QUICK_TCP: &str =
    r#"{ type = "tcp", port = 25, interval = "100ms", timeout = "1s", rise = 2, fall = 3 }"#;

fn check(server: &ServerView) -> Result<&CheckView> {
    server.check.as_ref().context("it is checked")
}

/// Results of one kind at the end of the history.
fn streak(check: &CheckView, of: bool) -> usize {
    check.history.iter().rev().take_while(|&&r| r == of).count()
}

/// Waits until the server is as `to` says, and sees to it that it never is so before its checks say so.
fn wait_health(cluster: &Cluster, name: &str, to: HealthState) -> Result<ServerView> {
    try_wait_until(&format!("{name} to be {to:?}"), SOON, || {
        let server = cluster.server(name)?;
        let check = check(&server)?;
        let (good, bad) = (streak(check, true), streak(check, false));
        match server.health {
            HealthState::Up => assert!(bad < FALL, "up after {bad} failures: {server:?}"),
            HealthState::Down => assert!(good < RISE, "down after {good} successes: {server:?}"),
            HealthState::Unknown => {}
        }
        ensure!(server.health == to, "{server:?}");
        let in_kernel = server.usable == (to == HealthState::Up);
        ensure!(in_kernel, "not in the kernel yet: {server:?}");
        match to {
            // A refused connection weighs as two failures.
            HealthState::Down if check.code == "L4CON" => {
                assert!(2 * bad >= FALL, "down after {bad} refusals: {server:?}");
            }
            HealthState::Down => assert!(bad >= FALL, "down after {bad} failures: {server:?}"),
            _ => assert!(good >= RISE, "up after {good} successes: {server:?}"),
        }
        Ok(server)
    })
}

fn of<'s>(sessions: &'s mut [Session], server: &str) -> Vec<&'s mut Session> {
    let found: Vec<_> = sessions
        .iter_mut()
        .filter(|session| session.server() == server)
        .collect();
    assert!(!found.is_empty(), "no session with {server}");
    found
}

/// The next packet is answered with RST.
fn expect_reset(session: &mut Session) -> Result<()> {
    let error = match session.command("NOOP") {
        Ok(reply) => anyhow::bail!("{session} goes on: {reply:?}"),
        Err(error) => error,
    };
    let kind = error
        .downcast_ref::<std::io::Error>()
        .with_context(|| format!("not the connection's: {error:#}"))?
        .kind();
    ensure!(kind == ErrorKind::ConnectionReset, "{session}: {error:#}");
    Ok(())
}

#[test]
fn a_frozen_server_is_out_after_fall_checks_and_back_after_rise() -> Result<()> {
    let cluster = Cluster::start("frozen", 3, |lab| {
        let reset = Service::smtp(lab, &[10, 10, 10])
            .check(QUICK)
            .line("on_down = \"reset\"");
        // The same servers behind another VIP port, seen by a check that only connects.
        let mut blind = Service::smtp(lab, &[10, 10, 10]).check(QUICK_TCP);
        blind.name = "blind".to_owned();
        blind.listen.set_port(26);
        reset.toml() + &blind.toml()
    })?;
    let mut sessions = cluster.open(30)?;
    let before = cluster.server("smtp/mb1")?;
    let failures = check(&before)?.failures;
    cluster.sinks["mb1"].freeze()?;
    let down = wait_health(&cluster, "smtp/mb1", HealthState::Down)?;
    assert_eq!(check(&down)?.failures - failures, FALL as u64, "{down:?}");
    assert_eq!(check(&down)?.code, "L7TOUT", "{down:?}");
    assert!(!down.usable);

    // No new session goes there; its clients are told at once.
    let newer = cluster.open(20)?;
    assert_eq!(shares(&newer).get("mb1"), None);
    for session in of(&mut sessions, "mb1") {
        expect_reset(session)?;
    }
    sessions.retain(|session| session.server() != "mb1");
    expect_all_alive(&mut sessions)?;
    assert_eq!(cluster.active("smtp/mb1")?, 0);

    // To the tcp check the server is well: its kernel accepts. That is what the smtp check is for.
    let seen = cluster.server("blind/mb1")?;
    let level = check(&seen)?.streak;
    let later = cluster.wait_server("blind/mb1", SOON, |server| {
        server
            .check
            .as_ref()
            .is_some_and(|check| check.streak > level + 5)
    })?;
    assert_eq!(
        (later.health, later.usable),
        (HealthState::Up, true),
        "{later:?}"
    );

    cluster.sinks["mb1"].thaw()?;
    let up = wait_health(&cluster, "smtp/mb1", HealthState::Up)?;
    assert!(up.usable);
    assert_eq!(check(&up)?.falls, check(&before)?.falls + 1);
    let back = cluster.open(10)?;
    assert_eq!(shares(&back).get("mb1"), Some(&10));
    Ok(())
}

#[test]
fn with_keep_the_sessions_of_a_frozen_server_stay_and_go_on() -> Result<()> {
    let cluster = Cluster::start("keep", 2, |lab| {
        Service::smtp(lab, &[10, 10])
            .check(QUICK)
            .line("on_down = \"keep\"")
            .toml()
    })?;
    let mut sessions = cluster.open(20)?;
    cluster.sinks["mb1"].freeze()?;
    wait_health(&cluster, "smtp/mb1", HealthState::Down)?;
    let newer = cluster.open(10)?;
    assert_eq!(shares(&newer).get("mb1"), None);
    assert_eq!(cluster.active("smtp/mb1")?, 10);
    cluster.sinks["mb1"].thaw()?;
    expect_all_alive(&mut sessions)?;
    wait_health(&cluster, "smtp/mb1", HealthState::Up)?;
    let mut all = newer;
    all.extend(sessions);
    cluster.expect_flows("smtp", &all)
}

#[test]
fn a_refused_port_is_told_as_such_and_no_server_at_all_is_answered() -> Result<()> {
    let mut cluster = Cluster::start("refused", 2, |lab| {
        Service::smtp(lab, &[10, 10]).check(QUICK).toml()
    })?;
    for name in ["mb1", "mb2"] {
        let sink = cluster.sinks.get_mut(name).context("a sink")?;
        sink.kill()?;
        let server = format!("smtp/{name}");
        let down = wait_health(&cluster, &server, HealthState::Down)?;
        assert_eq!(check(&down)?.code, "L4CON", "{down:?}");
        assert!(down.health_reason.contains("refused"), "{down:?}");
        // Less than `fall`, which is 3: a refusal weighs as two failures.
        assert!(check(&down)?.failures <= 2, "{down:?}");
    }
    let status = cluster.director.ctl(&["status"])?;
    assert_eq!(status.code, 10, "{status:?}");
    assert!(status.stdout.contains("NO SERVER"), "{status:?}");
    let error = Session::open(cluster.lab.client(), cluster.lab.smtp4())
        .expect_err("nobody greets with 220");
    assert!(format!("{error:#}").contains("421 4.3.2"), "{error:#}");

    let back = sink(&cluster.lab, "mb2", 25)?;
    wait_health(&cluster, "smtp/mb2", HealthState::Up)?;
    assert_eq!(shares(&cluster.open(4)?).get("mb2"), Some(&4));
    drop(back);
    Ok(())
}

#[test]
fn a_server_without_neighbour_is_down_and_says_why() -> Result<()> {
    let cluster = Cluster::start_unready("neighbour", 2, |lab| {
        let mut service = Service::smtp(lab, &[10, 10]).check(r#"{ type = "none" }"#);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (name, ip) in [
            ("nobody", "10.77.0.250"),
            ("far", "192.0.2.5"),
            ("lost", "198.51.100.5"),
        ] {
            service.servers.push((name.to_owned(), address(ip), 10));
        }
        // lb1 reaches one network through the client, and another not at all.
        lab.machine("lb1")
            .run("ip", &["route", "add", "192.0.2.0/24", "via", "10.77.0.10"])
            .expect("a route");
        service.toml()
    })?;
    for (name, why) in [
        ("smtp/nobody", "no answer to ARP for 10.77.0.250 on eth0"),
        (
            "smtp/far",
            "192.0.2.5 is reached through the router 10.77.0.10",
        ),
        ("smtp/lost", "no route to 198.51.100.5"),
    ] {
        let server = cluster.wait_server(name, SOON, |server| {
            server.health == HealthState::Down && !server.usable
        })?;
        assert!(server.health_reason.contains(why), "{server:?}");
        assert!(!server.usable);
        let described = cluster.director.expect(&["describe", name])?;
        assert!(described.contains(why), "{described}");
    }
    cluster.wait_server("smtp/mb1", SOON, |server| server.usable)?;
    cluster.wait_server("smtp/mb2", SOON, |server| server.usable)?;
    let sessions = cluster.open(10)?;
    let shared: Vec<_> = shares(&sessions).into_iter().collect();
    assert_eq!(shared, [("mb1", 5), ("mb2", 5)]);

    // The cable of a server is pulled: nothing checks it but its neighbour entry.
    cluster.lab.machine("mb1").set_link(false)?;
    let down = cluster.wait_server("smtp/mb1", NEIGHBOURS, |server| {
        server.health == HealthState::Down && !server.usable
    })?;
    assert!(
        down.health_reason
            .contains("no answer to ARP for 10.77.0.101"),
        "{down:?}"
    );
    let newer = cluster.open(6)?;
    assert_eq!(shares(&newer).get("mb2"), Some(&6));
    cluster.lab.machine("mb1").set_link(true)?;
    cluster.wait_server("smtp/mb1", NEIGHBOURS, |server| server.usable)?;
    Ok(())
}

#[test]
fn sessions_follow_a_server_to_another_mac_address() -> Result<()> {
    let cluster = Cluster::start("mac", 2, |lab| {
        Service::smtp(lab, &[10, 10])
            .check(PATIENT)
            .line("on_down = \"keep\"")
            .toml()
    })?;
    let mut sessions = cluster.open(10)?;
    // One says so as a new card does (gratuitous ARP), the other is found out.
    cluster
        .lab
        .machine("mb1")
        .sysctl("ipv4.conf.eth0.arp_notify", "1")?;
    for (name, mac) in [("mb1", "02:77:00:00:01:01"), ("mb2", "02:77:00:00:01:02")] {
        let machine = cluster.lab.machine(name);
        machine.run("ip", &["link", "set", "eth0", "address", mac])?;
        cluster.wait_server(&format!("smtp/{name}"), NEIGHBOURS, |server| {
            server.mac.as_deref() == Some(mac)
        })?;
        for session in of(&mut sessions, name) {
            session.expect_alive()?;
        }
    }
    cluster.wait_usable()?;
    cluster.expect_flows("smtp", &sessions)?;
    let events = cluster.director.expect(&["events", "-n", "100"])?;
    assert!(
        events.contains("10.77.0.102 is now at 02:77:00:00:01:02"),
        "{events}"
    );
    let shared: Vec<_> = shares(&cluster.open(10)?).into_values().collect();
    assert_eq!(shared, [5, 5]);
    Ok(())
}

#[test]
fn a_network_card_that_is_replaced_carries_the_program_again() -> Result<()> {
    let cluster = Cluster::start("card", 2, |lab| {
        Service::smtp(lab, &[10, 10])
            .line("on_down = \"keep\"")
            .toml()
    })?;
    let root = cluster.director.bpf_root().to_owned();
    let mut sessions = cluster.open(10)?;
    let client = cluster.lab.client();

    // Another MAC address on the same card.
    let moved = [0x02, 0x77, 0, 0, 2, 1];
    let lb1 = cluster.lab.machine("lb1");
    lb1.run(
        "ip",
        &["link", "set", "eth0", "address", "02:77:00:00:02:01"],
    )?;
    client.run("ip", &["neigh", "flush", "dev", "eth0"])?;
    try_wait_until("the kernel to have the MAC address", SOON, || {
        let ports = kernel::entries(&root, "PORTS")?;
        ensure!(
            ports
                .iter()
                .any(|(_, port)| port.windows(6).any(|part| part == moved)),
            "it is in no port"
        );
        Ok(())
    })?;
    expect_all_alive(&mut sessions)?;
    assert_eq!(shares(&cluster.open(4)?).len(), 2);

    // Another card.
    let old = kernel::links(&root)?;
    cluster.lab.replace_card("lb1", [0x02, 0x77, 0, 0, 2, 2])?;
    try_wait_until("the program to be on the new card", SOON, || {
        let links = kernel::links(&root)?;
        ensure!(
            links.len() == 1 && links != old,
            "{links:?}, before {old:?}"
        );
        let status = cluster.director.status()?;
        ensure!(
            status.dataplane.error.is_none() && status.dataplane.interfaces.len() == 1,
            "{:?}",
            status.dataplane
        );
        Ok(())
    })?;
    // Now, not before: a director that has the VIP and no program on the card resets what it does not know.
    lb1.add_addresses("eth0", [(cluster.lab.vip4().into(), 32)])?;
    client.run("ip", &["neigh", "flush", "dev", "eth0"])?;
    cluster.wait_usable()?;
    expect_all_alive(&mut sessions)?;
    cluster.expect_flows("smtp", &sessions)?;
    let newer = cluster.open(10)?;
    assert_eq!(shares(&newer).into_values().collect::<Vec<_>>(), [5, 5]);
    Ok(())
}

#[test]
fn a_link_of_the_director_that_flaps_ends_no_session() -> Result<()> {
    let cluster = Cluster::start("flap", 3, |lab| Service::smtp(lab, &[10, 10, 10]).toml())?;
    let mut sessions = cluster.open(25)?;
    let lb1 = cluster.director.machine();
    lb1.run("ip", &["link", "set", "eth0", "down"])?;
    // Its clients send now, and hear nothing; their own kernels send again until it is back.
    try_wait_until("the director to know", SOON, || {
        let server = cluster.server("smtp/mb1")?;
        ensure!(server.health_reason.contains("eth0 is down"), "{server:?}");
        ensure!(!server.usable, "{server:?}");
        Ok(())
    })?;
    lb1.run("ip", &["link", "set", "eth0", "up"])?;
    expect_all_alive(&mut sessions)?;
    cluster.wait_usable()?;
    expect_all_alive(&mut sessions)?;
    cluster.expect_flows("smtp", &sessions)?;
    assert_eq!(cluster.packets("server_down_reset")?, 0);
    expect_even(&cluster)
}

#[test]
fn a_vip_that_somebody_took_away_is_told() -> Result<()> {
    let cluster = Cluster::start("missing", 3, |lab| Service::smtp(lab, &[10, 10, 10]).toml())?;
    assert_eq!(cluster.director.ctl(&["status"])?.code, 0);
    let (lb1, vip) = (cluster.director.machine(), cluster.lab.vip4());
    lb1.run(
        "ip",
        &["address", "del", &format!("{vip}/32"), "dev", "eth0"],
    )?;
    let add = format!("ip address add {vip}/32 dev eth0");
    try_wait_until("the missing VIP to be told", SOON, || {
        let status = cluster.director.ctl(&["status"])?;
        ensure!(
            status.code == 10 && status.stdout.contains(&add),
            "{status:?}"
        );
        Ok(())
    })?;
    lb1.add_addresses("eth0", [(vip.into(), 32)])?;
    try_wait_until("all to be well again", SOON, || {
        let status = cluster.director.ctl(&["status"])?;
        ensure!(status.code == 0, "{status:?}");
        Ok(())
    })
}

#[test]
fn maps_that_somebody_damaged_are_repaired_and_that_is_counted() -> Result<()> {
    let cluster = Cluster::start("damage", 3, |lab| Service::smtp(lab, &[10, 10, 10]).toml())?;
    let root = cluster.director.bpf_root().to_owned();
    let mut sessions = cluster.open(30)?;
    assert_eq!(cluster.director.status()?.dataplane.repairs, 0);

    let services = kernel::entries(&root, "SERVICES")?;
    assert_eq!(services.len(), 1);
    // A server's record: the link (next hop and flags) is its first eight bytes.
    let index = cluster.server("smtp/mb1")?.id.to_ne_bytes();
    let servers = kernel::entries(&root, "SERVERS")?;
    let (_, record) = servers
        .iter()
        .find(|(key, _)| *key == index)
        .context("no record of mb1")?;
    let mut damaged = record.clone();
    damaged[..6].fill(0xee);
    kernel::update(&root, "SERVERS", &index, &damaged)?;
    kernel::delete(&root, "SERVICES", &services[0].0)?;
    // The pool in use: so many servers and such a place in the arena that nobody may follow it there.
    let (service, conf) = service_conf(&root)?;
    let pools = kernel::entries(&root, "POOLS")?;
    let (pool_index, pool) = pools
        .iter()
        .find(|(key, _)| *key == conf[..4])
        .context("no pool in use")?;
    let mut damaged = pool.clone();
    damaged[..4].fill(0xff);
    damaged[20..28].fill(0xff);
    kernel::update(&root, "POOLS", pool_index, &damaged)?;
    Session::open(cluster.lab.client(), cluster.lab.smtp4())
        .expect_err("the kernel knows no service now");

    let repaired = try_wait_until("the maps to be repaired", READ_BACK, || {
        let repairs = cluster.director.status()?.dataplane.repairs;
        ensure!(repairs > 0, "no repair");
        Ok(repairs)
    })?;
    assert_eq!(repaired, 3);
    assert_eq!(kernel::entries(&root, "SERVICES")?, services);
    assert_eq!(kernel::entries(&root, "SERVERS")?, servers);
    let events = cluster.director.expect(&["events", "-n", "100"])?;
    assert!(
        events.contains("a map differed from what it should be"),
        "{events}"
    );
    assert!(
        cluster
            .director
            .ctl(&["status"])?
            .stdout
            .contains("3 map entries have been repaired")
    );
    expect_all_alive(&mut sessions)?;
    cluster.expect_flows("smtp", &sessions)?;
    expect_even(&cluster)?;

    // Which pool is in use: one that no service has.
    let mut conf = service_conf(&root)?.1;
    conf[..4].fill(0xff);
    kernel::update(&root, "SERVICE_CONFS", &service, &conf)?;
    Session::open(cluster.lab.client(), cluster.lab.smtp4()).expect_err("there is no such pool");
    expect_all_alive(&mut sessions)?;
    try_wait_until("the service to have its pool again", READ_BACK, || {
        let repairs = cluster.director.status()?.dataplane.repairs;
        ensure!(repairs == 4, "{repairs} repairs");
        Ok(())
    })?;
    expect_all_alive(&mut sessions)?;
    expect_even(&cluster)
}

fn expect_even(cluster: &Cluster) -> Result<()> {
    let newer = cluster.open(30)?;
    assert_eq!(
        shares(&newer).into_values().collect::<Vec<_>>(),
        [10, 10, 10]
    );
    Ok(())
}

/// Key and value of the one service that is in use: bit 31 of its flags says so, and its first four bytes name its pool.
fn service_conf(root: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
    kernel::entries(root, "SERVICE_CONFS")?
        .into_iter()
        .find(|(_, conf)| u32::from_ne_bytes([conf[4], conf[5], conf[6], conf[7]]) >> 31 == 1)
        .context("no service in use")
}

#[test]
fn a_server_that_dies_under_load_costs_only_its_own_sessions() -> Result<()> {
    let mut cluster = Cluster::start("dies", 3, |lab| {
        Service::smtp(lab, &[10, 10, 10]).check(QUICK).toml()
    })?;
    let mut sessions = cluster.open(30)?;
    cluster.sinks.get_mut("mb2").context("a sink")?.kill()?;
    wait_health(&cluster, "smtp/mb2", HealthState::Down)?;
    // From here on nothing is lost.
    let mut traffic = Traffic::start(cluster.lab.client(), cluster.lab.smtp4());
    traffic.expect_more(200)?;
    traffic.finish()?;
    sessions.retain(|session| session.server() != "mb2");
    assert_eq!(sessions.len(), 20);
    expect_all_alive(&mut sessions)?;
    try_wait_until("the counts to be those of the sessions", SOON, || {
        let counts = cluster.counts("smtp")?;
        ensure!(counts == [10, 0, 10], "{counts:?}");
        Ok(())
    })
}
