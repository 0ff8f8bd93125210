//! What operators do all day, against the real daemon: reload, drain, look, ask by socat, and make mistakes.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::{AdminState, HealthState};
use mb_lb_tests::cluster::{Service, expect_all_alive, expect_code, shares, sink};
use mb_lb_tests::{Cluster, Director, Lab, Sink, try_wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

fn even(lab: &Lab) -> String {
    Service::smtp(lab, &[10, 10, 10]).toml()
}

/// What `socat` gets for these lines from the admin socket, as a shell on the director would run it.
fn socat(director: &Director, lines: &str) -> Result<String> {
    let mut child = director
        .machine()
        .command("socat")
        .arg("stdio")
        .arg(director.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start socat")?;
    use std::io::Write as _;
    let mut stdin = child.stdin.take().context("socat's input")?;
    stdin.write_all(lines.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "socat: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn ten_lines_are_enough() -> Result<()> {
    let config = |_: &Lab| {
        r#"[service.smtp_backend]
listen = ["10.77.0.100:25"]
[service.smtp_backend.servers]
mb1 = { address = "10.77.0.101" }
mb2 = { address = "10.77.0.102" }
mb3 = { address = "10.77.0.103" }
"#
        .to_owned()
    };
    let cluster = Cluster::start("ten", 3, config)?;
    // With what the helper puts in front for the socket.
    let text = fs::read_to_string(cluster.director.config_path())?;
    assert!(text.lines().count() <= 10, "{text}");
    let status = cluster.director.status()?;
    let interface = &status.dataplane.interfaces[0];
    assert_eq!(
        (interface.name.as_str(), interface.mode.as_str()),
        ("eth0", "native")
    );
    let sessions = cluster.open(9)?;
    assert_eq!(
        shares(&sessions).into_values().collect::<Vec<_>>(),
        [3, 3, 3]
    );
    expect_code(
        &cluster.director.ctl(&["status"])?,
        0,
        &["all well", "smtp_backend", "mb3"],
    );
    expect_code(&cluster.director.ctl(&["check", "--strict"])?, 0, &[]);
    Ok(())
}

#[test]
fn socat_speaks_haproxys_language() -> Result<()> {
    let cluster = Cluster::start("socat", 3, even)?;
    let director = &cluster.director;
    let mut sessions = cluster.open(6)?;

    // One line, one answer, end of file; silence is success.
    assert_eq!(socat(director, "set server smtp/mb2 state drain\n")?, "\n");
    assert_eq!(cluster.server("smtp/mb2")?.admin, AdminState::Drain);
    let newer = cluster.open(4)?;
    assert_eq!(shares(&newer).get("mb2"), None);
    expect_all_alive(&mut sessions)?;
    assert_eq!(
        socat(director, "set server smtp/mb9 state drain\n")?,
        "No such server.\n\n"
    );
    assert_eq!(
        socat(director, "set server mail/mb1 state drain\n")?,
        "No such backend.\n\n"
    );
    assert!(socat(director, "nonsense\n")?.contains("Unknown command"));

    // The state file: admin state 8 is drain.
    let state = socat(director, "show servers state\n")?;
    let line = |text: &str, name: &str| -> Result<Vec<String>> {
        let line = text
            .lines()
            .find(|line| line.split(' ').nth(3) == Some(name))
            .with_context(|| format!("no {name} in {text}"))?;
        Ok(line.split(' ').map(str::to_owned).collect())
    };
    assert!(
        state.starts_with("1\n# be_id be_name srv_id srv_name"),
        "{state}"
    );
    assert_eq!(
        line(&state, "mb2")?[1..7],
        ["smtp", "2", "mb2", "10.77.0.102", "2", "8"]
    );
    assert_eq!(line(&state, "mb1")?[5..8], ["2", "0", "10"]);

    // Statistics in CSV, whose header says where what is.
    let stat = try_wait_until("the counts to be read", SOON, || {
        let stat = socat(director, "show stat\n")?;
        let mut lines = stat.lines();
        let header: Vec<_> = lines
            .next()
            .context("a header")?
            .trim_start_matches("# ")
            .split(',')
            .map(str::to_owned)
            .collect();
        let column = |name: &str| header.iter().position(|known| known == name);
        let (name, current, status) = (
            column("svname").context("svname")?,
            column("scur").context("scur")?,
            column("status").context("status")?,
        );
        let rows: Vec<(String, String, String)> = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let cells: Vec<_> = line.split(',').collect();
                (
                    cells[name].into(),
                    cells[current].into(),
                    cells[status].into(),
                )
            })
            .collect();
        let found = |server: &str| rows.iter().find(|row| row.0 == server).cloned();
        let mb1 = found("mb1").context("no mb1")?;
        ensure!(mb1.1 == "4", "{rows:?}");
        Ok((
            mb1,
            found("mb2").context("no mb2")?,
            found("BACKEND").context("no BACKEND")?,
        ))
    })?;
    assert_eq!(stat.0.2, "UP");
    assert_eq!((stat.1.1.as_str(), stat.1.2.as_str()), ("2", "DRAIN"));
    assert_eq!(stat.2.1, "10");

    // Two commands on a line, a prompt, and the way out.
    let both = socat(
        director,
        "set server smtp/mb2 state ready; set server smtp/mb3 weight 5\n",
    )?;
    assert_eq!(both, "\n\n");
    let server = cluster.server("smtp/mb3")?;
    assert_eq!((server.weight, server.initial_weight), (5, 10));
    assert_eq!(cluster.server("smtp/mb2")?.admin, AdminState::Ready);
    let dialogue = socat(
        director,
        "prompt\nset server smtp/mb3 weight 100%\nset server smtp/mb1 state maint\nshow info\nquit\n",
    )?;
    assert!(dialogue.matches("\n> ").count() >= 4, "{dialogue:?}");
    assert!(dialogue.contains("Name: "), "{dialogue}");
    assert_eq!(cluster.server("smtp/mb3")?.weight, 10);
    assert_eq!(cluster.server("smtp/mb1")?.admin, AdminState::Maint);
    // Taken out: its sessions end with their next packet, as on_down says; the others stay.
    for session in sessions
        .iter_mut()
        .filter(|session| session.server() != "mb1")
    {
        session.expect_alive()?;
    }
    for session in sessions
        .iter_mut()
        .filter(|session| session.server() == "mb1")
    {
        session.expect_alive().expect_err("mb1 is in maintenance");
    }
    Ok(())
}

#[test]
fn a_drain_waits_for_the_last_session() -> Result<()> {
    let cluster = Cluster::start("drain", 2, |lab| Service::smtp(lab, &[10, 10]).toml())?;
    let sessions = cluster.open(10)?;
    let late = cluster
        .director
        .ctl(&["drain", "smtp/mb1", "--wait", "1s", "--reason", "test"])?;
    expect_code(&late, 7, &["not empty", "5 flows left", "It stays drained"]);
    let server = cluster.server("smtp/mb1")?;
    assert_eq!(
        (server.admin, server.admin_reason.as_str()),
        (AdminState::Drain, "test")
    );

    let mut command = cluster
        .director
        .machine()
        .command(cluster.director.program());
    command
        .args(["drain", "smtp/mb1", "--wait", "5m"])
        .envs(cluster.director.environment());
    let mut waiting = cluster.director.machine().spawn("drain", &mut command)?;
    try_wait_until("the command to see the sessions", SOON, || {
        let said = waiting.errors()?;
        ensure!(said.contains("5 of 5 flows left"), "{said}");
        Ok(())
    })?;
    for session in sessions {
        assert_eq!(waiting.exited()?, None, "{}", waiting.errors()?);
        // None of them is cut, and those of the other server go on.
        session.quit()?;
    }
    let status = waiting.wait(SOON)?;
    let said = waiting.errors()?;
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains("no flow left"), "{said}");
    assert_eq!(cluster.active("smtp/mb1")?, 0);
    assert_eq!(shares(&cluster.open(4)?).get("mb2"), Some(&4));
    let ready = cluster
        .director
        .ctl(&["ready", "smtp/mb1", "--wait", "30s"])?;
    expect_code(&ready, 0, &["takes new flows"]);
    Ok(())
}

#[test]
fn every_way_to_end_has_its_exit_code_and_says_why() -> Result<()> {
    let mut cluster = Cluster::start("codes", 3, even)?;
    let director = &cluster.director;
    expect_code(&director.ctl(&["status"])?, 0, &["all well"]);
    expect_code(&director.ctl(&["drain", "smtp"])?, 2, &["SERVICE/SERVER"]);
    expect_code(&director.ctl(&["weight", "smtp/mb1", "257"])?, 2, &["257"]);
    expect_code(&director.ctl(&["statsu"])?, 2, &["status"]);
    expect_code(
        &director.ctl(&["maint", "smtp/mb4"])?,
        6,
        &["no server mb4", "did you mean mb"],
    );
    expect_code(
        &director.ctl(&["describe", "smpt/mb1"])?,
        6,
        &["no service smpt", "smtp/mb1"],
    );
    expect_code(
        &director.ctl(&["list", "flows", "nope"])?,
        6,
        &["no service nope"],
    );
    expect_code(
        &director.ctl(&["check", "/nonexistent.toml"])?,
        3,
        &["cannot read"],
    );
    expect_code(&director.ctl(&["detach"])?, 8, &["is running"]);

    // Errors of a file: the line, a caret, what was meant; all of them at once.
    let file = |name: &str, text: &str| -> Result<String> {
        let path = director.machine().directory().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let bad = file(
        "bad.toml",
        "[service.smtp]\nlisten = [\"10.77.0.100:70000\"]\nshceduler = \"leastconn\"\n\
         [service.smtp.servers]\nmb1 = { address = \"10.77.0.1011\" }\n",
    )?;
    let answer = director.ctl(&["check", &bad])?;
    expect_code(
        &answer,
        3,
        &[
            "bad.toml:2:",
            "bad.toml:3:",
            "bad.toml:5:",
            "^^^",
            "scheduler",
            "3 errors",
        ],
    );
    let answer = director.ctl(&["check", &bad, "-o", "json"])?;
    let told: Value = serde_json::from_str(&answer.stdout)?;
    assert_eq!(
        (answer.code, &told["version"], &told["errors"]),
        (3, &1.into(), &3.into())
    );

    // This machine lacks an interface that the file names.
    let odd = file(
        "odd.toml",
        &format!(
            "[director]\ninterfaces = [\"eth9\"]\n{}",
            even(&cluster.lab)
        ),
    )?;
    expect_code(
        &director.ctl(&["check", &odd])?,
        0,
        &["there is no interface eth9", "0 errors"],
    );
    expect_code(&director.ctl(&["check", &odd, "--strict"])?, 4, &["eth9"]);
    // What status would say of servers and VIPs that it cannot get to is said before.
    let own = director.machine().ipv4();
    let far = file(
        "far.toml",
        &format!(
            "[service.smtp]\nlisten = \"192.0.2.100:25\"\n[service.smtp.servers]\n\
             mb1 = \"10.77.0.101\"\nmb2 = \"192.0.2.2\"\nmb3 = \"{own}\"\n"
        ),
    )?;
    expect_code(
        &director.ctl(&["check", &far, "--strict"])?,
        4,
        &[
            "no interface for the VIP 192.0.2.100",
            "smtp/mb2 would be down: no route to 192.0.2.2",
            &format!("smtp/mb3 would be down: {own} is an address of this director itself"),
            "3 warnings",
        ],
    );

    // Something is not as it should be.
    cluster.sinks.get_mut("mb3").context("a sink")?.kill()?;
    cluster.wait_server("smtp/mb3", SOON, |server| {
        server.health == HealthState::Down && !server.usable
    })?;
    let director = &cluster.director;
    expect_code(
        &director.ctl(&["status"])?,
        10,
        &["DEGRADED", "smtp/mb3 is down", "refused"],
    );
    let late = director.ctl(&["ready", "smtp/mb3", "--wait", "1s"])?;
    expect_code(&late, 7, &["takes no new flows", "refused"]);

    // A second daemon on the same state directory.
    let second = director
        .machine()
        .command(director.program())
        .args(["run", "--socket"])
        .arg(director.machine().directory().join("second.sock"))
        .envs(
            director
                .environment()
                .into_iter()
                .filter(|(name, _)| *name != "MB_LB_SOCKET"),
        )
        .output()?;
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(8), "{said}");
    assert!(
        said.contains("not started: another mb-lb-ctl run"),
        "{said}"
    );
    assert_eq!(director.ctl(&["list", "services"])?.code, 0);

    // Nobody there.
    cluster.director.stop()?;
    let director = &cluster.director;
    for command in [
        &["status"][..],
        &["reload"],
        &["drain", "smtp/mb1"],
        &["diff"],
        &["events"],
    ] {
        expect_code(
            &director.ctl(command)?,
            5,
            &["the daemon does not answer", "systemctl start mb-lb"],
        );
    }
    // A daemon that cannot start says so.
    director.write_config("[service.smtp\n")?;
    let failed = director
        .machine()
        .command(director.program())
        .arg("run")
        .envs(director.environment())
        .output()?;
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(3), "{said}");
    assert!(said.contains("not started") && said.contains('^'), "{said}");
    // As somebody who may not.
    let denied = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(director.program())
        .args(["detach", "--bpf-root"])
        .arg(director.bpf_root())
        .output()?;
    let said = String::from_utf8_lossy(&denied.stderr);
    assert_eq!(denied.status.code(), Some(1), "{said}");
    assert!(said.contains("permission denied"), "{said}");
    let state = director.machine().directory().join("other-state");
    let denied = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(director.program())
        .args(["run", "--state-dir"])
        .arg(&state)
        .output()?;
    let said = String::from_utf8_lossy(&denied.stderr);
    assert_eq!(denied.status.code(), Some(1), "{said}");
    assert!(said.contains("not started: permission denied"), "{said}");
    assert!(!state.exists(), "something is left");
    Ok(())
}

/// Nobody but the socket's owner and group may change a thing, or look.
#[test]
fn the_socket_is_closed_to_others() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let cluster = Cluster::start("closed", 1, |lab| Service::smtp(lab, &[10]).toml())?;
    let director = &cluster.director;
    let mode = fs::metadata(director.socket())?.permissions().mode() & 0o777;
    assert_eq!(mode, 0o660, "{mode:o}");
    // The way to the socket is open, the socket is not; nor is the program that the lab runs a secret.
    let program = director.machine().directory().join("mb-lb-ctl");
    fs::copy(director.program(), &program)?;
    let mut way = director.machine().directory().to_owned();
    while way.starts_with(cluster.lab.dir()) {
        fs::set_permissions(&way, fs::Permissions::from_mode(0o755))?;
        way.pop();
    }
    let denied = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .args(["maint", "smtp/mb1", "--socket"])
        .arg(director.socket())
        .output()?;
    let said = String::from_utf8_lossy(&denied.stderr);
    assert_eq!(denied.status.code(), Some(5), "{said}");
    assert!(said.contains("not allowed to connect"), "{said}");
    assert_eq!(cluster.server("smtp/mb1")?.admin, AdminState::Ready);
    // And nothing listens on the network that nobody asked for: one TCP socket, that of the no_server text.
    let listening = director.machine().run("ss", &["-Hltnu"])?;
    for line in listening.lines() {
        assert!(line.contains("10.77.0.100:25 "), "{listening}");
    }
    Ok(())
}

#[test]
fn lists_and_descriptions_for_people_and_programs() -> Result<()> {
    let cluster = Cluster::start("lists", 3, even)?;
    let director = &cluster.director;
    let sessions = cluster.open(6)?;
    cluster.wait_server("smtp/mb1", SOON, |server| server.active == 2)?;
    let json = |arguments: &[&str]| -> Result<Value> {
        let told: Value = serde_json::from_str(&director.expect(arguments)?)?;
        assert_eq!(told["version"], 1, "{arguments:?}");
        Ok(told)
    };
    for (what, rows) in [
        ("services", 1),
        ("servers", 3),
        ("flows", 6),
        ("vips", 1),
        ("checks", 3),
    ] {
        let told = json(&["list", what, "-o", "json"])?;
        assert_eq!(told[what].as_array().map(Vec::len), Some(rows), "{told}");
        let csv = director.expect(&["list", what, "-o", "csv"])?;
        assert_eq!(csv.lines().count(), rows + 1, "{csv}");
        for form in ["table", "wide"] {
            let text = director.expect(&["list", what, "-o", form])?;
            assert!(text.lines().count() > rows, "{text}");
        }
    }
    let flows = director.expect(&["list", "flows", "smtp"])?;
    for session in &sessions {
        let line = flows
            .lines()
            .find(|line| line.contains(&session.local().to_string()))
            .with_context(|| format!("no {session} in {flows}"))?;
        assert!(
            line.contains(&format!("smtp/{}", session.server())),
            "{line}"
        );
    }
    let told = json(&["describe", "smtp/mb1", "-o", "json"])?;
    assert_eq!(told["server"]["active"], 2);
    assert_eq!(told["kernel"]["active"], "2");
    assert_eq!(told["kernel"]["mac"], "02:77:00:00:00:65");
    assert_eq!(told["kernel"]["address"], "10.77.0.101");
    let text = director.expect(&["describe", "smtp/mb1"])?;
    for part in [
        "Settings",
        "10.77.0.101",
        "02:77:00:00:00:65",
        "accepts new flows",
        "Events",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let told = json(&["status", "-o", "json"])?;
    assert_eq!(told["services"][0]["servers"][0]["active"], 2);
    assert_eq!(told["dataplane"]["interfaces"][0]["mode"], "native");

    director.expect(&["maint", "smtp/mb3", "--reason", "disk is failing"])?;
    let events = json(&["events", "-n", "1", "-o", "json"])?;
    let last = &events["events"][0];
    assert_eq!(last["subject"], "smtp/mb3");
    assert_eq!(last["kind"], "maint");
    assert!(
        last["text"]
            .as_str()
            .is_some_and(|text| text.contains("disk is failing"))
    );
    Ok(())
}

#[test]
fn a_server_that_listens_only_later_comes_into_use() -> Result<()> {
    let mut cluster = Cluster::start("later", 2, |lab| Service::smtp(lab, &[10, 10]).toml())?;
    drop(cluster.sinks.remove("mb2"));
    cluster.wait_server("smtp/mb2", SOON, |server| {
        server.health == HealthState::Down && !server.usable
    })?;
    // The controller starts anew while the server is away: its first check decides, and says why.
    cluster.director.stop()?;
    cluster.director.expect(&["detach"])?;
    cluster.director.run()?;
    let down = cluster.wait_server("smtp/mb2", SOON, |server| {
        server.health == HealthState::Down && !server.usable
    })?;
    assert!(down.health_reason.contains("refused"), "{down:?}");
    cluster.wait_server("smtp/mb1", SOON, |server| server.usable)?;
    let _back: Sink = sink(&cluster.lab, "mb2", 25)?;
    cluster.wait_usable()?;
    assert_eq!(
        shares(&cluster.open(4)?).into_values().collect::<Vec<_>>(),
        [2, 2]
    );
    Ok(())
}
