//! What is set on the socket is so in the data plane, goes over a restart, and is undone.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::HealthState;
use mb_lb_tests::cluster::{Service, shares};
use mb_lb_tests::{Cluster, Session, try_wait_until};

use crate::ask;
use crate::rig::SOON;

/// Sessions of mb1 and of mb2.
fn places(sessions: &[Session]) -> [usize; 2] {
    let shares = shares(sessions);
    ["mb1", "mb2"].map(|name| shares.get(name).copied().unwrap_or_default())
}

#[test]
fn a_cap_of_a_server_holds_over_a_restart_until_it_is_undone() -> Result<()> {
    let mut cluster = Cluster::start("sockcap", 2, |lab| Service::smtp(lab, &[10, 10]).toml())?;
    let socket = cluster.director.socket();
    let mut sessions = cluster.open(6)?;
    ensure!(places(&sessions) == [3, 3]);
    ensure!(ask(&socket, "set maxconn server smtp/mb1 4\n")? == "\n");
    sessions.extend(cluster.open(6)?);
    ensure!(places(&sessions) == [4, 8], "{:?}", places(&sessions));
    cluster.director.restart()?;
    sessions.extend(cluster.open(4)?);
    ensure!(places(&sessions) == [4, 12], "{:?}", places(&sessions));
    let server = cluster.server("smtp/mb1")?;
    let hand = server.by_hand.context("it is shown")?;
    ensure!(
        hand.by == "root" && hand.words == ["at most 4 connections (file: no cap)"],
        "{hand:?}"
    );
    let said = cluster.director.expect(&["describe", "smtp/mb1"])?;
    ensure!(
        said.contains("at most 4 connections (file: no cap), by root"),
        "{said}"
    );

    ensure!(ask(&socket, "set maxconn server smtp/mb1 0\n")? == "\n");
    ensure!(cluster.server("smtp/mb1")?.by_hand.is_none());
    sessions.extend(cluster.open(4)?);
    ensure!(places(&sessions) == [8, 12], "{:?}", places(&sessions));
    Ok(())
}

/// Of services in user mode, proxies among them.
#[test]
fn a_cap_of_clients_turns_away_who_comes_then() -> Result<()> {
    let cluster = Cluster::start("sockclients", 2, |lab| {
        let service = Service::smtp(lab, &[10, 10]).toml();
        service.replace("\"dsr\"", "\"proxy\"")
    })?;
    let socket = cluster.director.socket();
    let sessions = cluster.open(3)?;
    ensure!(ask(&socket, "set maxconn frontend smtp 3\n")? == "\n");
    ensure!(cluster.open(1).is_err(), "a fourth is served");
    ensure!(ask(&socket, "set maxconn frontend smtp 4\n")? == "\n");
    let more = cluster.open(1)?;
    let row = ask(&socket, "show stat smtp 1 -1\n")?;
    let limit = row.lines().nth(1).and_then(|row| row.split(',').nth(6));
    ensure!(limit == Some("4"), "{row}");
    drop((sessions, more));
    Ok(())
}

#[test]
fn a_service_that_is_shut_down_takes_nobody_before_and_after_a_restart() -> Result<()> {
    let mut cluster = Cluster::start("sockshut", 2, |lab| Service::smtp(lab, &[10, 10]).toml())?;
    let socket = cluster.director.socket();
    let mut sessions = cluster.open(2)?;
    ensure!(ask(&socket, "shutdown frontend smtp\n")? == "\n");
    ensure!(cluster.open(1).is_err(), "it takes somebody");
    let refused = ask(&socket, "enable frontend smtp\n")?;
    ensure!(
        refused == "Frontend was previously shut down, cannot enable.\n\n",
        "{refused}"
    );
    cluster.director.restart()?;
    ensure!(cluster.open(1).is_err(), "it takes somebody");
    // It was in nobody's pool: nothing is known of it before the first check.
    for name in ["smtp/mb1", "smtp/mb2"] {
        cluster.wait_server(name, SOON, |server| server.health == HealthState::Up)?;
    }
    ensure!(ask(&socket, "enable frontend smtp\n")? == "\n");
    sessions.extend(cluster.open(2)?);
    for session in &mut sessions {
        session.expect_alive()?;
    }
    Ok(())
}

/// What the agent of mb1 was told last.
type Heard = Arc<Mutex<String>>;

/// An agent that hears up to 64 bytes, and is up.
fn agent(cluster: &Cluster) -> Result<Heard> {
    let machine = &cluster.lab.servers()[0];
    let listener = machine.enter(|| TcpListener::bind("0.0.0.0:9707"))?;
    let heard = Heard::default();
    let noted = Arc::clone(&heard);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut told = [0; 64];
            // Who says nothing is not waited for.
            let _set = stream.set_read_timeout(Some(std::time::Duration::from_millis(200)));
            let length = stream.read(&mut told).unwrap_or_default();
            let told = String::from_utf8_lossy(&told[..length]).into_owned();
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = told;
            // The next check is another connection.
            let _said = stream.write_all(b"up\n");
        }
    });
    Ok(heard)
}

#[test]
fn an_agent_hears_what_is_set() -> Result<()> {
    let cluster = Cluster::start("socksend", 2, |lab| {
        let agent =
            r#"agent = { port = 9707, interval = "200ms", timeout = "1s", send = "file\n" }"#;
        Service::smtp(lab, &[10, 10]).line(agent).toml()
    })?;
    let socket = cluster.director.socket();
    let heard = agent(&cluster)?;
    let hears = |told: &str| {
        try_wait_until(&format!("the agent to hear {told:?}"), SOON, || {
            let heard = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ensure!(heard == told, "{heard:?}");
            Ok(())
        })
    };
    hears("file\n")?;
    for (line, told) in [
        (r"how\ are\ you", "how are you"),
        (r"state\\n", "state\n"),
        ("", ""),
        (r"file\\n", "file\n"),
    ] {
        let answer = ask(&socket, format!("set server smtp/mb1 agent-send {line}\n"))?;
        ensure!(answer == "\n", "{line}: {answer}");
        hears(told)?;
    }
    ensure!(cluster.server("smtp/mb1")?.by_hand.is_none());
    Ok(())
}
