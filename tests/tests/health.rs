//! What is known of servers besides the regular checks: clients that get no answer, and what was seen before a restart.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use mb_lb_ctl::snapshot::{HealthState, ServerView};
use mb_lb_tests::cluster::{PATIENT, SOON, Service, sink};
use mb_lb_tests::{Cluster, Lab, try_wait_until};

/// The next check is long after the end of any test.
const HOURLY: &str =
    r#"{ type = "tcp", port = 25, interval = "1h", timeout = "1s", rise = 2, fall = 3 }"#;

/// Connects to the VIP again and again, as mail servers do, until `so`.
fn knock(cluster: &Cluster, name: &str, so: impl Fn(&ServerView) -> bool) -> Result<ServerView> {
    let to = cluster.lab.smtp4();
    let client = cluster.lab.client();
    try_wait_until(&format!("{name} to change"), SOON, || {
        for _ in 0..4 {
            // That it is refused is what this is about.
            let connected =
                client.enter(|| TcpStream::connect_timeout(&to, Duration::from_millis(300)));
            drop(connected);
        }
        let server = cluster.server(name)?;
        ensure!(so(&server), "{server:?}");
        Ok(server)
    })
}

fn is_down(server: &ServerView) -> bool {
    server.health == HealthState::Down && !server.usable
}

fn suspected(cluster: &Cluster) -> Result<String> {
    let events = cluster.director.expect(&["events", "-n", "1000"])?;
    let suspects = events.lines().filter(|line| line.contains("get no answer"));
    Ok(suspects.collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_server_that_refuses_clients_is_out_long_before_its_next_check() -> Result<()> {
    let mut cluster = Cluster::start("refuses", 2, |lab| {
        Service::smtp(lab, &[10, 10]).check(HOURLY).toml()
    })?;
    cluster.open(4)?;
    assert_eq!(suspected(&cluster)?, "");
    cluster.sinks.get_mut("mb1").expect("it runs").kill()?;
    let down = knock(&cluster, "smtp/mb1", is_down)?;
    assert_eq!(down.health_reason, "connection refused", "{down:?}");
    let told = suspected(&cluster)?;
    assert!(
        told.contains("smtp/mb1") && !told.contains("smtp/mb2"),
        "{told}"
    );
    // All go to the other one now.
    assert_eq!(cluster.open(4)?.len(), 4);
    Ok(())
}

#[test]
fn a_server_that_does_not_answer_syns_is_out_long_before_its_next_check() -> Result<()> {
    let cluster = Cluster::start("silent", 2, |lab| {
        Service::smtp(lab, &[10, 10]).check(HOURLY).toml()
    })?;
    let firewall = "add table ip silence; add chain ip silence input { type filter hook input priority 0; }; \
                    add rule ip silence input tcp dport 25 tcp flags syn drop";
    cluster.lab.machine("mb2").run("nft", &[firewall])?;
    let down = knock(&cluster, "smtp/mb2", is_down)?;
    assert!(
        down.health_reason
            .starts_with("no answer to the connection attempt"),
        "{down:?}"
    );
    Ok(())
}

#[test]
fn forged_syns_take_nobody_out() -> Result<()> {
    let cluster = Cluster::start("forged", 2, |lab| {
        Service::smtp(lab, &[10, 10]).check(HOURLY).toml()
    })?;
    // Addresses that are nobody's: whatever the servers answer, no ACK ever follows.
    let client = cluster.lab.client();
    client.run("ip", &["address", "add", "10.77.0.240/32", "dev", "eth0"])?;
    let firewall = "add table ip forged; add chain ip forged input { type filter hook input priority 0; }; \
                    add rule ip forged input ip daddr 10.77.0.240 drop";
    client.run("nft", &[firewall])?;
    let to = cluster.lab.smtp4();
    try_wait_until("both servers to be suspected, and found well", SOON, || {
        for _ in 0..4 {
            let sent = client.enter(|| {
                let socket = socket2::Socket::new(
                    socket2::Domain::IPV4,
                    socket2::Type::STREAM,
                    Some(socket2::Protocol::TCP),
                )?;
                let from: SocketAddr = ([10, 77, 0, 240], 0).into();
                socket.bind(&from.into())?;
                socket.connect_timeout(&to.into(), Duration::from_millis(300))
            });
            ensure!(sent.is_err(), "nobody can have answered");
        }
        let told = suspected(&cluster)?;
        ensure!(
            told.contains("smtp/mb1") && told.contains("smtp/mb2"),
            "{told}"
        );
        for name in ["smtp/mb1", "smtp/mb2"] {
            let server = cluster.server(name)?;
            let check = server.check.as_ref();
            let looked = check.is_some_and(|check| check.history.len() >= 2);
            ensure!(looked, "{server:?}");
            assert!(server.usable, "{server:?}");
        }
        Ok(())
    })?;
    assert_eq!(cluster.open(4)?.len(), 4);
    Ok(())
}

#[test]
fn a_server_that_refuses_relayed_clients_is_out_long_before_its_next_check() -> Result<()> {
    let mut cluster = Cluster::start("relayed", 2, |lab| {
        Service::smtp(lab, &[10, 10])
            .check(HOURLY)
            .toml()
            .replace("\"dsr\"", "\"proxy\"")
    })?;
    cluster.sinks.get_mut("mb1").expect("it runs").kill()?;
    let down = knock(&cluster, "smtp/mb1", is_down)?;
    assert_eq!(down.health_reason, "connection refused", "{down:?}");
    Ok(())
}

/// As after a boot: nothing is left in the kernel, only the state file.
fn boot(cluster: &mut Cluster) -> Result<()> {
    cluster.director.stop()?;
    cluster.director.expect(&["detach"])?;
    cluster.director.run()
}

#[test]
fn after_a_boot_servers_begin_as_they_were_last_seen() -> Result<()> {
    let quick = PATIENT.replace("200ms", "100ms");
    let mut cluster = Cluster::start("boot", 2, |lab| {
        Service::smtp(lab, &[10, 10]).check(&quick).toml()
    })?;
    cluster.sinks.get_mut("mb1").expect("it runs").kill()?;
    cluster.wait_server("smtp/mb1", SOON, is_down)?;
    // What checks say is written within a second or two.
    let state = cluster.director.state_dir().join("state.json");
    try_wait_until("it to be written", SOON, || {
        let text = std::fs::read_to_string(&state)?;
        let saved: serde_json::Value = serde_json::from_str(&text)?;
        let health = saved["health"].as_object().cloned().unwrap_or_default();
        let of = |name: &str| health.iter().find(|(key, _)| key.starts_with(name));
        let up = |name| of(name).map(|(_, last)| last["up"] == true);
        ensure!(
            up("smtp/mb1@") == Some(false) && up("smtp/mb2@") == Some(true),
            "{text}"
        );
        Ok(())
    })?;

    // It is well again by the time the director comes back: that takes `rise` checks, of which there is one.
    let again = sink(&cluster.lab, "mb1", 25)?;
    let hourly = |lab: &Lab| Service::smtp(lab, &[10, 10]).check(HOURLY).toml();
    cluster.director.write_config(&hourly(&cluster.lab))?;
    boot(&mut cluster)?;
    let checked = |server: &ServerView| {
        let check = server.check.as_ref();
        check.is_some_and(|check| check.history.last() == Some(&true))
    };
    let mb1 = cluster.wait_server("smtp/mb1", SOON, checked)?;
    assert_eq!(mb1.health, HealthState::Down, "{mb1:?}");
    assert_eq!(
        mb1.health_reason, "as before: connection refused",
        "{mb1:?}"
    );
    assert!(!mb1.usable, "{mb1:?}");
    // The engine knows it first; the data plane follows.
    let mb2 = cluster.wait_server("smtp/mb2", SOON, |server| checked(server) && server.usable)?;
    assert_eq!(mb2.health, HealthState::Up, "{mb2:?}");
    drop(again);
    Ok(())
}

/// Checks that go the way of clients; the interval is short, so that each test sees many.
const THROUGH: &str =
    r#"{ type = "smtp", via = "vip", interval = "200ms", timeout = "2s", rise = 2, fall = 2 }"#;

fn reason(cluster: &Cluster, name: &str, so: &str) -> Result<()> {
    try_wait_until(&format!("{name} to be as it is"), SOON, || {
        let server = cluster.server(name)?;
        ensure!(server.health_reason == so, "{}", server.health_reason);
        Ok(())
    })
}

#[test]
fn through_the_vip_it_is_seen_that_the_vip_is_missing_and_which_of_the_two_it_is() -> Result<()> {
    let cluster = Cluster::start("through", 3, |lab| {
        let smtp = Service::smtp(lab, &[10, 10, 10]).check(THROUGH);
        // The same servers, checked at their own addresses: these see nothing of it.
        let mut own = Service::smtp(lab, &[10, 10, 10]);
        own.name = "own".to_owned();
        own.listen.set_port(26);
        own.check = PATIENT.replace("type = \"smtp\"", "type = \"smtp\", port = 25");
        smtp.toml() + &own.toml()
    })?;
    // This director has the VIP, and the check still reaches it on each of the servers.
    let vip = cluster.lab.vip4();
    let held = cluster
        .lab
        .machine("lb1")
        .run("ip", &["-o", "address", "show"])?;
    ensure!(held.contains(&vip.to_string()), "{held}");

    let of_lo = [format!("{vip}/32"), "dev".to_owned(), "lo".to_owned()];
    let of_lo: Vec<&str> = of_lo.iter().map(String::as_str).collect();
    let mb1 = cluster.lab.machine("mb1");
    mb1.run("ip", &[&["address", "del"], &of_lo[..]].concat())?;
    let own = mb1.ipv4();
    reason(
        &cluster,
        "smtp/mb1",
        &format!("does not answer for {vip} port 25, and accepts {own}: the VIP is not on its lo"),
    )?;
    cluster.wait_server("smtp/mb1", SOON, |server| !server.usable)?;
    assert!(
        cluster.server("own/mb1")?.usable,
        "its own address shows nothing of it"
    );
    // No client finds it before that is put right.
    assert_eq!(cluster.open(10)?.len(), 10);
    mb1.run("ip", &[&["address", "add"], &of_lo[..]].concat())?;
    cluster.wait_server("smtp/mb1", SOON, |server| server.usable)?;

    // A service that is bound to the server's own address only.
    let mb2 = cluster.lab.machine("mb2");
    let firewall = format!(
        "add table ip unbound; add chain ip unbound input {{ type filter hook input priority 0; }}; \
         add rule ip unbound input ip daddr {vip} tcp dport 25 reject with tcp reset"
    );
    mb2.run("nft", &[&firewall])?;
    let own = mb2.ipv4();
    reason(
        &cluster,
        "smtp/mb2",
        &format!("refuses {vip} port 25 and accepts {own}: its service is not bound to the VIP"),
    )?;
    mb2.run("nft", &["delete table ip unbound"])?;
    cluster.wait_server("smtp/mb2", SOON, |server| server.usable)?;

    // The server as a whole.
    cluster.sinks["mb3"].freeze()?;
    cluster.wait_server("smtp/mb3", SOON, |server| {
        server.health_reason.contains("no 220 banner")
    })?;
    cluster.sinks["mb3"].thaw()?;
    cluster.wait_server("smtp/mb3", SOON, |server| server.usable)?;
    Ok(())
}

#[test]
fn checks_through_the_vip_reach_each_server_for_itself_and_outlive_a_kill() -> Result<()> {
    let mut cluster = Cluster::start("each", 3, |lab| {
        Service::smtp(lab, &[10, 10, 10]).check(THROUGH).toml()
    })?;
    // Each is greeted by its own name.
    let greetings = |cluster: &Cluster| -> Result<()> {
        for name in ["mb1", "mb2", "mb3"] {
            let server = cluster.server(&format!("smtp/{name}"))?;
            let detail = server.check.map(|check| check.detail).unwrap_or_default();
            ensure!(detail.contains(name), "{name} says {detail}");
        }
        Ok(())
    };
    try_wait_until("each to be greeted by its own", SOON, || {
        greetings(&cluster)
    })?;
    cluster.director.kill()?;
    cluster.director.run()?;
    cluster.wait_usable()?;
    try_wait_until("each to be greeted by its own", SOON, || {
        greetings(&cluster)
    })?;
    let mut sessions = cluster.open(9)?;
    mb_lb_tests::cluster::expect_all_alive(&mut sessions)
}

#[test]
fn checks_go_through_an_ipv6_vip_too() -> Result<()> {
    let cluster = Cluster::start("through6", 2, |lab| {
        let mut service = Service::smtp(lab, &[10, 10]).check(THROUGH);
        service.listen = lab.smtp6();
        for (server, machine) in service.servers.iter_mut().zip(lab.servers()) {
            server.1 = machine.ipv6().into();
        }
        service.toml()
    })?;
    let vip = cluster.lab.vip6();
    let lo = format!("{vip}/128");
    let mb1 = cluster.lab.machine("mb1");
    mb1.run("ip", &["-6", "address", "del", &lo, "dev", "lo"])?;
    let own = mb1.ipv6();
    reason(
        &cluster,
        "smtp/mb1",
        &format!("does not answer for {vip} port 25, and accepts {own}: the VIP is not on its lo"),
    )?;
    mb1.run("ip", &["-6", "address", "add", &lo, "dev", "lo"])?;
    cluster.wait_server("smtp/mb1", SOON, |server| server.usable)?;
    Ok(())
}
