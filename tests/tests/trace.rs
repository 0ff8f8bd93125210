//! `mb-lb-ctl trace`: says beforehand what the program does, and changes nothing by it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::cluster::{expect_code, place};
use mb_lb_tests::{Cluster, Setup};
use serde_json::Value;

const CLIENT: &str = "203.0.113.9:40000";

fn trace(cluster: &Cluster, from: &str, to: SocketAddr, flags: &str) -> Result<Value> {
    let to = to.to_string();
    let arguments = ["trace", from, &to, "--flags", flags, "-o", "json"];
    let answer = cluster.director.expect(&arguments)?;
    Ok(serde_json::from_str(&answer)?)
}

/// Name of the server that it would go to.
fn chosen(traced: &Value) -> Result<&str> {
    let mut servers = traced["servers"].as_array().context("servers")?.iter();
    let of = servers.find(|server| server["index"] == traced["chosen"]);
    of.and_then(|server| server["name"].as_str())
        .with_context(|| format!("{traced}"))
}

/// All that the kernel counts and remembers.
fn state(cluster: &Cluster) -> Result<String> {
    let flows = cluster.flows()?;
    let records = cluster.records()?;
    let counts = [
        "scheduled",
        "promoted",
        "established",
        "fin_seen",
        "rst_seen",
        "remembered",
    ]
    .map(|reason| cluster.packets(reason).ok());
    Ok(format!("{flows:?} {records:?} {counts:?}"))
}

#[test]
fn it_foretells_where_each_new_session_goes_and_changes_nothing() -> Result<()> {
    let cluster = Setup {
        servers: ["weight = 10", "weight = 7", "weight = 3"],
        ..Setup::default()
    }
    .start("trace")?;
    let vips = cluster.vips();
    let mut sessions = Vec::new();
    let mut seen = [0; 3];
    for round in 0..12 {
        // The second is IPv6.
        let vip = vips[round % 2];
        let client = match vip.is_ipv4() {
            true => CLIENT,
            false => "[2001:db8:9::9]:40000",
        };
        let before = state(&cluster)?;
        let traced = trace(&cluster, client, vip, "syn")?;
        assert_eq!(traced["reason"], "scheduled", "{traced}");
        assert_eq!(traced["service"], "smtp");
        // Neither does asking again.
        assert_eq!(trace(&cluster, client, vip, "syn")?, traced);
        assert_eq!(state(&cluster)?, before);
        let session = mb_lb_tests::Session::open(cluster.lab.client(), vip)?;
        assert_eq!(session.server(), chosen(&traced)?, "{traced}");
        seen[place(&session)?] += 1;
        sessions.push(session);
        cluster.wait_agree(&seen)?;
    }
    assert!(seen.iter().all(|seen| *seen > 0), "{seen:?}");
    for session in sessions {
        session.quit()?;
    }
    Ok(())
}

#[test]
fn a_session_is_found_with_its_server_by_each_kind_of_packet() -> Result<()> {
    let cluster = Setup::default().start("tracef")?;
    let vip = cluster.vips()[0];
    let mut session = cluster.open_one()?;
    let server = session.server().to_owned();
    // Its server gets no new flows, and keeps those that it has.
    let target = format!("smtp/{server}");
    let drain = ["drain", &target, "--reason", "new disk"];
    cluster.director.expect(&drain)?;
    let client = session.local().to_string();
    for (flags, reason) in [
        ("ack", "established"),
        ("fin", "fin_seen"),
        ("rst", "rst_seen"),
    ] {
        let traced = trace(&cluster, &client, vip, flags)?;
        assert_eq!(traced["reason"], reason, "{traced}");
        assert_eq!(chosen(&traced)?, server);
        assert_eq!(traced["known"]["flow"], traced["chosen"]);
    }
    // Told to go by copies only.
    session.expect_alive()?;

    let to = vip.to_string();
    let text = cluster.director.expect(&["trace", CLIENT, &to])?;
    for words in [
        "smtp: dsr, leastconn",
        "SYN, a server was chosen",
        "next hop 02:77",
        "drain",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    session.quit()
}

#[test]
fn it_says_where_nobody_listens_and_needs_no_daemon() -> Result<()> {
    let mut cluster = Setup::default().start("traced")?;
    let vip = cluster.vips()[0];
    let mut nobody = vip;
    nobody.set_port(587);
    let text = cluster
        .director
        .expect(&["trace", CLIENT, &nobody.to_string()])?;
    for words in ["none listens there", "no_service", "own kernel, untouched"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let six = ["trace", CLIENT, "[2001:db8::1]:25"];
    expect_code(&cluster.director.ctl(&six)?, 2, &["not of the same family"]);
    let name = ["trace", "client.example.org:25", "192.0.2.1:25"];
    expect_code(&cluster.director.ctl(&name)?, 2, &["CLIENT:PORT"]);

    cluster.director.kill()?;
    let text = cluster
        .director
        .expect(&["trace", CLIENT, &vip.to_string()])?;
    for words in ["scheduled", "to 10.77.0.10", "The daemon does not answer"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let pins = cluster.director.bpf_root();
    ensure!(pins.exists());
    cluster.director.expect(&["detach"])?;
    let answer = cluster.director.ctl(&["trace", CLIENT, &vip.to_string()])?;
    expect_code(&answer, 1, &["nothing is pinned at"]);
    Ok(())
}
