//! A server's life as an operator leads it: drain, maint, ready, weight, caps, backups, slow start; and what a client
//! hears when no server is left.

use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::cluster::{SOON, expect_code, place, places};
use mb_lb_tests::{Cluster, Session, Setup, try_wait_until};

const SERVERS: [&str; 3] = ["smtp/mb1", "smtp/mb2", "smtp/mb3"];
/// What stands in the configuration's reference for services on port 25.
const SORRY: &str = "421 4.3.2 Service not available, try again later\r\n";

fn with_service(name: &str, service: &str) -> Result<Cluster> {
    Setup {
        service: &format!("check = {{ type = \"none\" }}\n{service}"),
        ..Setup::default()
    }
    .start(name)
}

fn with_servers(name: &str, servers: [&str; 3]) -> Result<Cluster> {
    Setup {
        servers,
        ..Setup::default()
    }
    .start(name)
}

/// Sends `QUIT` on each and waits until the kernel has none of them left.
fn quit_all(cluster: &Cluster, sessions: Vec<Session>) -> Result<()> {
    for session in sessions {
        session.quit()?;
    }
    cluster.wait_active(&[0, 0, 0])
}

#[test]
fn what_would_leave_fewer_than_min_up_is_refused_unless_forced() -> Result<()> {
    let cluster = with_service("minup", "min_up = 2")?;
    let director = &cluster.director;
    director.expect(&["drain", SERVERS[0]])?;
    for word in ["drain", "maint"] {
        let answer = director.ctl(&[word, SERVERS[1], "--reason", "new disk"])?;
        let force = format!("mb-lb-ctl {word} {} --force", SERVERS[1]);
        let says = ["1 of 3 servers", "min_up is 2", &force];
        expect_code(&answer, 8, &says);
    }
    let sessions = cluster.open(4)?;
    assert_eq!(places(&sessions)?, [0, 2, 2]);

    director.expect(&["drain", SERVERS[1], "--reason", "new disk", "--force"])?;
    let more = cluster.open(2)?;
    assert_eq!(places(&more)?, [0, 0, 2]);
    let status = director.ctl(&["status"])?;
    let says = ["has 1 of 3 servers for new clients, and min_up is 2"];
    expect_code(&status, 10, &says);
    // Whoever comes back ends it.
    director.expect(&["ready", SERVERS[0]])?;
    let status = director.ctl(&["status"])?;
    assert!(!status.stdout.contains("min_up"), "{status:?}");
    quit_all(&cluster, sessions.into_iter().chain(more).collect())
}

#[test]
fn drain_keeps_sessions_and_takes_no_new_ones_until_ready() -> Result<()> {
    let cluster = with_service("drain", "on_down = \"reset\"")?;
    let mut sessions = cluster.open(12)?;
    assert_eq!(places(&sessions)?, [4, 4, 4]);
    cluster
        .director
        .expect(&["drain", SERVERS[1], "--reason", "kernel upgrade"])?;
    sessions.extend(cluster.open(12)?);
    assert_eq!(places(&sessions)?, [10, 4, 10]);
    for session in &mut sessions {
        session.expect_alive()?;
    }
    sessions
        .iter_mut()
        .find(|session| session.server() == "mb2")
        .context("mb2 has four")?
        .send_message()?;
    let shown = &cluster.servers()?[1];
    assert_eq!(
        (shown.usable, &*shown.admin_reason),
        (false, "kernel upgrade")
    );
    cluster.wait_agree(&[10, 4, 10])?;

    cluster.director.expect(&["ready", SERVERS[1]])?;
    sessions.extend(cluster.open(6)?);
    assert_eq!(places(&sessions)?, [10, 10, 10]);

    // Waiting for the last session is what an operator does before a reboot.
    cluster.director.expect(&["drain", SERVERS[0]])?;
    let (on_mb1, others): (Vec<_>, Vec<_>) = sessions
        .into_iter()
        .partition(|session| session.server() == "mb1");
    let early = cluster
        .director
        .ctl(&["drain", SERVERS[0], "--wait", "1s"])?;
    assert_eq!(early.code, 7, "{early:?}");
    for session in on_mb1 {
        session.quit()?;
    }
    cluster
        .director
        .expect(&["drain", SERVERS[0], "--wait", "30s"])?;
    cluster.wait_agree(&[0, 10, 10])?;
    quit_all(&cluster, others)
}

#[test]
fn maint_resets_sessions_at_their_next_packet_and_ready_takes_new_ones() -> Result<()> {
    let cluster = with_service("maint", "on_down = \"reset\"")?;
    for vip in cluster.vips() {
        let mut sessions = Session::open_many(cluster.lab.client(), vip, 9)?;
        assert_eq!(places(&sessions)?, [3, 3, 3]);
        cluster.director.expect(&["maint", SERVERS[2]])?;
        for session in &mut sessions {
            if session.server() == "mb3" {
                let error = session.command("NOOP").expect_err("mb3 is out");
                let reset = error
                    .root_cause()
                    .downcast_ref::<std::io::Error>()
                    .map(std::io::Error::kind);
                assert_eq!(reset, Some(ErrorKind::ConnectionReset), "{error:#}");
            } else {
                session.expect_alive()?;
            }
        }
        cluster.wait_agree(&[3, 3, 0])?;
        sessions.retain(|session| session.server() != "mb3");
        sessions.extend(Session::open_many(cluster.lab.client(), vip, 4)?);
        assert_eq!(places(&sessions)?, [5, 5, 0]);
        cluster.director.expect(&["ready", SERVERS[2]])?;
        sessions.extend(Session::open_many(cluster.lab.client(), vip, 5)?);
        assert_eq!(places(&sessions)?, [5, 5, 5]);
        quit_all(&cluster, sessions)?;
    }
    Ok(())
}

#[test]
fn maint_with_keep_leaves_sessions_alone() -> Result<()> {
    let cluster = with_service("keep", "on_down = \"keep\"")?;
    let mut sessions = cluster.open(9)?;
    cluster.director.expect(&["maint", SERVERS[0]])?;
    sessions.extend(cluster.open(6)?);
    assert_eq!(places(&sessions)?, [3, 6, 6]);
    for session in &mut sessions {
        session.send_message()?;
    }
    cluster.wait_agree(&[3, 6, 6])?;
    quit_all(&cluster, sessions)
}

#[test]
fn weight_0_takes_no_new_session_and_another_weight_another_share() -> Result<()> {
    let cluster = with_servers("weight", ["weight = 10"; 3])?;
    let mut sessions = cluster.open(9)?;
    cluster.director.expect(&["weight", SERVERS[0], "0"])?;
    sessions.extend(cluster.open(6)?);
    assert_eq!(places(&sessions)?, [3, 6, 6]);
    for session in &mut sessions {
        session.expect_alive()?;
    }
    cluster.director.expect(&["weight", SERVERS[0], "40"])?;
    sessions.extend(cluster.open(21)?);
    assert_eq!(places(&sessions)?, [24, 6, 6]);
    quit_all(&cluster, sessions)
}

#[test]
fn max_connections_is_a_cap_that_opens_again_below_three_quarters() -> Result<()> {
    let cluster = with_servers(
        "cap",
        [
            "weight = 10",
            "weight = 10",
            "weight = 10, max_connections = 4",
        ],
    )?;
    let mut sessions = cluster.open(18)?;
    assert_eq!(places(&sessions)?, [7, 7, 4]);
    let close_one_of_mb3 = |sessions: &mut Vec<Session>| -> Result<()> {
        let at = sessions
            .iter()
            .position(|session| session.server() == "mb3")
            .context("mb3 has some")?;
        sessions.remove(at).quit()?;
        cluster.wait_active(&places(&*sessions)?)
    };
    // Three of four are not below three quarters.
    close_one_of_mb3(&mut sessions)?;
    sessions.extend(cluster.open(2)?);
    assert_eq!(places(&sessions)?, [8, 8, 3]);
    close_one_of_mb3(&mut sessions)?;
    sessions.extend(cluster.open(2)?);
    assert_eq!(places(&sessions)?, [8, 8, 4]);
    sessions.extend(cluster.open(2)?);
    assert_eq!(places(&sessions)?, [9, 9, 4]);
    try_wait_until("refusals to be counted", SOON, || {
        let refused: Vec<_> = cluster.servers()?.iter().map(|s| s.refused).collect();
        ensure!(
            refused[..2] == [0, 0] && refused[2] > 0,
            "refused {refused:?}"
        );
        Ok(())
    })?;
    quit_all(&cluster, sessions)
}

#[test]
fn with_every_server_at_its_cap_a_client_is_told_to_come_again() -> Result<()> {
    let cluster = with_servers("caps", ["weight = 10, max_connections = 2"; 3])?;
    let sessions = cluster.open(6)?;
    assert_eq!(places(&sessions)?, [2, 2, 2]);
    assert_eq!(heard(&cluster)?, SORRY);
    cluster.wait_agree(&[2, 2, 2])?;
    quit_all(&cluster, sessions)?;
    assert_eq!(cluster.open(3)?.len(), 3);
    Ok(())
}

#[test]
fn a_backup_serves_only_while_no_other_can() -> Result<()> {
    let cluster = with_servers(
        "backup",
        ["weight = 10", "weight = 10", "weight = 10, backup = true"],
    )?;
    let mut sessions = cluster.open(8)?;
    assert_eq!(places(&sessions)?, [4, 4, 0]);
    cluster.director.expect(&["drain", SERVERS[0]])?;
    sessions.extend(cluster.open(2)?);
    assert_eq!(places(&sessions)?, [4, 6, 0]);
    cluster.director.expect(&["drain", SERVERS[1]])?;
    sessions.extend(cluster.open(5)?);
    assert_eq!(places(&sessions)?, [4, 6, 5]);
    cluster.director.expect(&["ready", SERVERS[0]])?;
    sessions.extend(cluster.open(5)?);
    assert_eq!(places(&sessions)?, [9, 6, 5]);
    for session in &mut sessions {
        session.expect_alive()?;
    }
    quit_all(&cluster, sessions)
}

/// All that a client hears until the other side closes.
fn heard(cluster: &Cluster) -> Result<String> {
    let to = cluster.lab.smtp4();
    hear(cluster, to)
}

fn hear(cluster: &Cluster, to: std::net::SocketAddr) -> Result<String> {
    let client = cluster.lab.client();
    let mut stream = client.enter(|| TcpStream::connect_timeout(&to, SOON))?;
    stream.set_read_timeout(Some(SOON))?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .with_context(|| format!("{to} said {text:?}"))?;
    Ok(text)
}

#[test]
fn without_any_server_a_client_hears_421_or_gets_rst_and_never_silence() -> Result<()> {
    let lab_address = "10.77.0.100:2525";
    let more = format!(
        "\n[service.other]\nlisten = [\"{lab_address}\", \"[fd77::100]:2525\"]\nno_server = \"reset\"\n\
         check = {{ type = \"none\" }}\n[service.other.servers]\nmb1 = \"10.77.0.101\"\n"
    );
    let cluster = Setup {
        more: &more,
        ..Setup::default()
    }
    .start("nobody")?;
    let mut kept = cluster.open(3)?;
    for server in SERVERS {
        cluster.director.expect(&["drain", server])?;
    }
    cluster.director.expect(&["maint", "other/mb1"])?;
    for vip in cluster.vips() {
        for _ in 0..20 {
            assert_eq!(hear(&cluster, vip)?, SORRY, "{vip}");
        }
        let mut reset = vip;
        reset.set_port(2525);
        let error = cluster
            .lab
            .client()
            .enter(|| TcpStream::connect_timeout(&reset, SOON))
            .expect_err("nobody is there");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{reset}");
    }
    // Whom the servers have, they keep.
    for session in &mut kept {
        session.expect_alive()?;
    }
    cluster.wait_agree(&places(&kept)?)?;
    try_wait_until("the reasons to be counted", SOON, || {
        for reason in ["no_server_local", "no_server_reset"] {
            ensure!(cluster.packets(reason)? > 0, "no packet is {reason}");
        }
        Ok(())
    })?;
    cluster.director.expect(&["ready", SERVERS[1]])?;
    for vip in cluster.vips() {
        let session = Session::open(cluster.lab.client(), vip)?;
        assert_eq!(place(&session)?, 1);
    }
    Ok(())
}

#[test]
fn slow_start_raises_the_weight_in_steps_to_the_whole() -> Result<()> {
    let cluster = with_service("ramp", "slow_start = \"5s\"")?;
    // A server that is seen for the first time has its whole weight.
    assert!(
        cluster
            .servers()?
            .iter()
            .all(|server| server.ramp_percent == 100)
    );
    cluster.director.expect(&["maint", SERVERS[2]])?;
    cluster.director.expect(&["ready", SERVERS[2]])?;
    let mut seen = vec![0];
    try_wait_until("the whole weight", SOON, || {
        let percent = cluster.servers()?[2].ramp_percent;
        let last = seen[seen.len() - 1];
        assert!(percent >= last, "{last} and then {percent}");
        if percent > last {
            seen.push(percent);
        }
        ensure!(percent == 100, "{percent} percent");
        Ok(())
    })?;
    assert!(seen[1] < 100 && seen[1] >= 10, "{seen:?}");
    Ok(())
}

/// Of an hour's ramp the first step, 10 percent, lasts three minutes.
#[test]
fn a_server_that_ramps_up_gets_a_tenth_of_its_share() -> Result<()> {
    let cluster = with_service("tenth", "slow_start = \"1h\"")?;
    cluster.director.expect(&["maint", SERVERS[2]])?;
    cluster.director.expect(&["ready", SERVERS[2]])?;
    let sessions = cluster.open(42)?;
    assert_eq!(places(&sessions)?, [20, 20, 2]);
    assert_eq!(cluster.servers()?[2].ramp_percent, 10);
    quit_all(&cluster, sessions)
}
