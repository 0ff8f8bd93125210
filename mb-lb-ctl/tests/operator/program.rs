//! The real binary against the real listener: output and exit codes.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use mb_lb_ctl::snapshot::{AdminState, RemovedView};
use serde_json::Value;

use crate::daemon::Daemon;
use crate::fixtures::{
    active, at_fault, drained, event, handing_over, none_up, one_down, syncing, well,
};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mb-lb-ctl"));
    command.args(arguments).stdin(Stdio::null());
    for name in [
        "LC_ALL",
        "LC_CTYPE",
        "LANG",
        "NO_COLOR",
        "CLICOLOR_FORCE",
        "MB_LB_CONFIG",
        "MB_LB_SOCKET",
    ] {
        command.env_remove(name);
    }
    command
}

/// Exit code, stdout, stderr.
fn finish(output: Output) -> (i32, String, String) {
    (
        output.status.code().expect("not killed by a signal"),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn run(daemon: &Daemon, arguments: &[&str]) -> (i32, String, String) {
    finish(
        command(arguments)
            .env("MB_LB_SOCKET", daemon.socket())
            .output()
            .unwrap(),
    )
}

fn spawn(daemon: &Daemon, arguments: &[&str]) -> Child {
    command(arguments)
        .env("MB_LB_SOCKET", daemon.socket())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn status_tells_health_by_its_exit_code() {
    let (code, out, err) = run(&Daemon::start(well()), &["status"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("* lb1  all well   since 12d 4h "), "{out}");
    assert!(out.is_ascii() && !out.contains('\x1b'));
    let degraded = Daemon::start(one_down());
    let (code, out, _) = run(&degraded, &["status"]);
    assert_eq!(code, 10);
    assert!(
        out.ends_with("  next: mb-lb-ctl describe smtp_backend/mb3\n"),
        "{out}"
    );
    let (code, out, _) = run(&degraded, &["status", "-o", "json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (
            code,
            &json["version"],
            &json["services"][0]["servers"][2]["health"]
        ),
        (10, &1.into(), &"down".into())
    );
    let (_, out, _) = run(&degraded, &["--color", "always", "status"]);
    assert!(out.contains("\x1b["));
}

#[test]
fn no_daemon_is_said_to_be_none() {
    let mut daemon = Daemon::start(well());
    daemon.stop();
    let commands: &[(bool, &[&str])] = &[
        (false, &["status"]),
        (false, &["list", "servers"]),
        (false, &["describe", "a/b"]),
        (true, &["drain", "a/b"]),
        (true, &["weight", "a/b", "1"]),
        (false, &["events"]),
        (false, &["events", "-f"]),
        (true, &["reload"]),
        (false, &["diff"]),
        (true, &["failover"]),
        (false, &["peer", "diff"]),
        (true, &["peer", "push"]),
    ];
    let pins = daemon.directory().join("pins");
    let none = pins.to_str().unwrap();
    for (changes, arguments) in commands {
        let (code, out, err) = run(&daemon, &[*arguments, &["--bpf-root", none]].concat());
        assert_eq!((code, out.as_str()), (5, ""), "{arguments:?}");
        assert_eq!(err.contains("nothing was changed"), *changes, "{err}");
        assert!(err.contains("nothing is balanced"), "{err}");
        assert!(err.contains("  next: systemctl start mb-lb"), "{err}");
    }
    // What is pinned goes on. The loopback has index 1.
    std::fs::create_dir_all(pins.join("v1")).unwrap();
    std::fs::write(pins.join("v1/link-1-native"), "").unwrap();
    let (_, _, err) = run(&daemon, &["status", "--bpf-root", none]);
    assert!(
        err.contains("the XDP program is on lo and balances with what it knows"),
        "{err}"
    );
    // The file may say another socket than when the daemon started.
    let file = daemon.file("moved.toml", "[admin]\nsocket = \"/nonexistent/x.sock\"\n");
    let output = command(&["status", "--config", file.to_str().unwrap()]).output();
    let (code, _, err) = finish(output.unwrap());
    assert_eq!(code, 5);
    assert!(
        err.contains(
            "name the old one with --socket PATH: a new one takes effect at the next start"
        ),
        "{err}"
    );
}

#[test]
fn the_socket_is_found_by_option_environment_and_configuration() {
    let daemon = Daemon::start(well());
    let socket = daemon.socket();
    let config = daemon.file(
        "mb-lb.toml",
        &format!("[admin]\nsocket = {socket:?}\n[broken\n"),
    );
    let good = daemon.file("good.toml", &format!("[admin]\nsocket = {socket:?}\n"));
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let code = |arguments: &[&str]| finish(command(arguments).output().unwrap()).0;
    assert_eq!(code(&["status", "--socket", &path(&socket)]), 0);
    assert_eq!(code(&["--config", &path(&good), "status"]), 0);
    // A broken file leaves the default, where nobody listens in a test.
    assert_eq!(
        code(&[
            "--config",
            &path(&config),
            "--socket",
            "/nonexistent/x.sock",
            "status"
        ]),
        5
    );
    let by_environment = command(&["status"])
        .env("MB_LB_CONFIG", &good)
        .output()
        .unwrap();
    assert_eq!(finish(by_environment).0, 0);
}

#[test]
fn arguments_that_make_no_sense_are_usage_errors() {
    let daemon = Daemon::start(well());
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage:"),
        (&["bogus"], "unrecognized subcommand"),
        (&["list"], "<WHAT>"),
        (
            &["list", "bogus"],
            "possible values: services, servers, flows, vips, checks",
        ),
        (
            &["list", "servers", "-o", "bogus"],
            "possible values: table, wide, json, csv",
        ),
        (&["list", "servers", "--watch=0"], "1..=3600"),
        (&["list", "flows", "--limit", "x"], "invalid digit"),
        (&["describe", "mb1"], "did you mean smtp_backend/mb1?"),
        (&["drain", "mb1"], "did you mean smtp_backend/mb1?"),
        (&["drain", "mb9"], "for example smtp_backend/mb1"),
        (
            &["drain", "smtp_backend/"],
            "a server is named SERVICE/SERVER",
        ),
        (
            &["drain", "smtp_backend/mb1", "--wait", "5"],
            "a time needs a unit",
        ),
        (
            &["drain", "smtp_backend/mb1", "--wait", "5w"],
            "the unit is one of",
        ),
        (&["weight", "smtp_backend/mb1", "257"], "from 0 to 256"),
        (&["weight", "smtp_backend/mb1", "ten"], "for example 50%"),
        (
            &["drain", "smtp_backend/mb1", "--wait", "forever"],
            "for example 30s, 5m or 1h",
        ),
        (&["events", "-n", "x"], "invalid digit"),
        (
            &["status", "--color", "bogus"],
            "possible values: auto, always, never",
        ),
        (&["status", "-o", "yaml"], "possible values: text, json"),
    ];
    for (arguments, expected) in cases {
        let (code, _, err) = run(&daemon, arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
    assert_eq!(daemon.server(1).admin, AdminState::Ready);
}

#[test]
fn help_has_examples() {
    let daemon = Daemon::start(well());
    for name in [
        "run", "check", "diff", "reload", "status", "list", "describe", "drain", "maint", "ready",
        "weight", "events", "detach",
    ] {
        let (code, out, _) = run(&daemon, &[name, "--help"]);
        assert_eq!(code, 0);
        assert!(
            out.contains("Examples:\n") && out.contains(&format!("  mb-lb-ctl {name}"))
                || name == "detach",
            "{out}"
        );
    }
    let (code, out, _) = run(&daemon, &["--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("Exit codes:"), "{out}");
}

#[test]
fn changes_say_what_they_do_and_how_to_undo_them() {
    let daemon = Daemon::start(well());
    let (code, out, err) = run(
        &daemon,
        &[
            "drain",
            "smtp_backend/mb2",
            "--reason",
            "kernel; it's \\ old",
        ],
    );
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "smtp_backend/mb2: ready -> drain\nNo new flows; 420 open flows may end in peace.\n\
         Undo: mb-lb-ctl ready smtp_backend/mb2\n"
    );
    assert_eq!(daemon.server(2).admin, AdminState::Drain);
    assert_eq!(daemon.server(2).admin_reason, "kernel; it's \\ old");

    let (code, out, _) = run(&daemon, &["maint", "smtp_backend/mb2"]);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "smtp_backend/mb2: drain -> maint\nNo new flows, no checks; 420 open flows will be reset at the next packet \
         (on_down = \"reset\").\nUndo: mb-lb-ctl drain smtp_backend/mb2 --reason 'kernel; it'\\''s \\ old'\n"
    );
    let (code, out, _) = run(&daemon, &["maint", "smtp_backend/mb2"]);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "smtp_backend/mb2 is in maint already, by root\nNo new flows, no checks; 420 open flows will be reset at the \
         next packet (on_down = \"reset\").\nUndo: mb-lb-ctl ready smtp_backend/mb2\n"
    );
    let (_, out, _) = run(&daemon, &["ready", "smtp_backend/mb1"]);
    assert_eq!(out, "smtp_backend/mb1 is ready already\n");
    let (_, out, _) = run(&daemon, &["weight", "smtp_backend/mb3", "5"]);
    assert_eq!(out, "mb3 weighs 5 now\n", "nothing to undo");

    let (code, out, _) = run(&daemon, &["weight", "smtp_backend/mb3", "7"]);
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "mb3 weighs 7 now\nUndo: mb-lb-ctl weight smtp_backend/mb3 5\n"
        )
    );
    assert_eq!(daemon.server(3).weight, 7);
    // Of the weight in the file.
    run(&daemon, &["weight", "smtp_backend/mb3", "200%"]);
    assert_eq!(daemon.server(3).weight, 10);

    let (_, _, err) = run(&daemon, &["drain", "smtp_backend/mb1"]);
    assert_eq!(err, "", "mb3 is left");
    let (code, _, err) = run(&daemon, &["drain", "smtp_backend/mb3"]);
    assert_eq!(code, 0);
    assert_eq!(
        err,
        "warning: no other server of smtp_backend takes new flows; new clients get \
         \"421 4.3.2 Service not available, try again later\" until one does\n"
    );
    let (code, out, _) = run(&daemon, &["ready", "smtp_backend/mb3"]);
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "smtp_backend/mb3: drain -> ready\nUndo: mb-lb-ctl drain smtp_backend/mb3\n"
        )
    );
    assert_eq!(daemon.server(3).admin, AdminState::Ready);
}

#[test]
fn names_that_do_not_exist_are_not_found_and_near_ones_are_offered() {
    let mut snapshot = well();
    snapshot.removed = vec![RemovedView {
        service: "smtp_backend".into(),
        server: "mb8".into(),
        flows: 4,
        ..RemovedView::default()
    }];
    let daemon = Daemon::start(snapshot);
    let cases: &[(&[&str], &str)] = &[
        (&["drain", "smtp_backend/mb9"], "did you mean mb1?"),
        (
            &["weight", "smtp_backed/mb2", "1"],
            "did you mean smtp_backend/mb2?",
        ),
        (
            &["describe", "smtp_backend/nobody"],
            "there are: mb1, mb2, mb3",
        ),
        (
            &["list", "servers", "smtp_backen"],
            "did you mean smtp_backend?",
        ),
        (&["list", "flows", "web"], "there are: smtp_backend"),
        (
            &["ready", "smtp_backend/mb8"],
            "smtp_backend/mb8 was removed from the file; 4 flows left",
        ),
    ];
    for (arguments, expected) in cases {
        let (code, out, err) = run(&daemon, arguments);
        assert_eq!((code, out.as_str()), (6, ""), "{arguments:?}: {err}");
        assert!(
            err.contains(expected) && err.contains("  next: "),
            "{arguments:?}: {err}"
        );
    }
}

/// Users of a proxy are not flows: who has the cookie of a drained server still comes to it.
#[test]
fn of_a_proxy_users_are_told_of() {
    let mut snapshot = well();
    snapshot.services[0].layer = 7;
    let daemon = Daemon::start(snapshot);
    let (code, out, _) = run(&daemon, &["drain", "smtp_backend/mb2"]);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "smtp_backend/mb2: ready -> drain\nNo new users; 420 requests under way. Users who have its cookie still come here: \
         mb-lb-ctl maint smtp_backend/mb2 sends them to other servers.\nUndo: mb-lb-ctl ready smtp_backend/mb2\n"
    );
    let (code, _, err) = run(&daemon, &["drain", "smtp_backend/mb2", "--wait", "10ms"]);
    assert_eq!(code, 7);
    assert!(
        err.contains("It stays drained, and what is under way goes on\n  next: mb-lb-ctl maint smtp_backend/mb2 sends"),
        "{err}"
    );
    let (code, out, err) = run(&daemon, &["maint", "smtp_backend/mb2", "--wait", "10ms"]);
    assert_eq!(code, 7);
    assert_eq!(
        out,
        "smtp_backend/mb2: drain -> maint\nNo new requests, no checks; 420 requests under way may end. Users who have its \
         cookie get another server.\nUndo: mb-lb-ctl drain smtp_backend/mb2\n"
    );
    assert!(
        err.contains("It stays in maint, and what is under way goes on\n  next: mb-lb-ctl describe smtp_backend/mb2"),
        "{err}"
    );
    daemon.snapshot.send_modify(|snapshot| {
        let server = &mut Arc::make_mut(snapshot).services[0].servers[1];
        (server.active, server.pending) = (0, 0);
    });
    let (code, _, err) = run(&daemon, &["maint", "smtp_backend/mb2", "--wait", "60s"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("smtp_backend/mb2: no request is under way after "),
        "{err}"
    );
}

#[test]
fn waiting_ends_when_the_server_is_empty() {
    let daemon = Daemon::start(well());
    let mut child = spawn(&daemon, &["drain", "smtp_backend/mb2", "--wait", "60s"]);
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = || err.next().unwrap().unwrap();
    assert_eq!(
        next(),
        "waiting until no flow is left; Ctrl-C ends the waiting, not the change"
    );
    let told = |line: &str, left: &str| {
        let beginning = format!("smtp_backend/mb2: {left} left after ");
        assert!(line.starts_with(&beginning), "{line}");
    };
    told(&next(), "421 of 421 flows");
    let flows = |active: i64, pending: u64| {
        daemon.snapshot.send_modify(|snapshot| {
            let server = &mut Arc::make_mut(snapshot).services[0].servers[1];
            server.active = active;
            server.pending = pending;
        });
    };
    flows(217, 0);
    told(&next(), "217 of 421 flows");
    // A half-open connection may still become a session.
    flows(0, 1);
    told(&next(), "1 of 421 flows");
    flows(0, 0);
    told(&next(), "0 of 421 flows");
    assert!(next().starts_with("smtp_backend/mb2: no flow left after "));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn waiting_has_an_end() {
    let daemon = Daemon::start(well());
    let (code, out, err) = run(&daemon, &["maint", "smtp_backend/mb1", "--wait", "10ms"]);
    assert_eq!(code, 7, "{err}");
    assert!(
        out.contains("Undo: mb-lb-ctl ready smtp_backend/mb1"),
        "{out}"
    );
    assert!(
        err.contains("is not empty after 10ms: 421 flows left. It stays in maint; each is reset"),
        "{err}"
    );
    assert_eq!(daemon.server(1).admin, AdminState::Maint);

    let daemon = Daemon::start(well());
    let mut child = spawn(&daemon, &["drain", "smtp_backend/mb1", "--wait", "60s"]);
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    err.read_line(&mut line).unwrap();
    err.read_line(&mut line).unwrap();
    assert!(line.contains("421 of 421 flows left"), "{line}");
    assert_eq!(
        run(&daemon, &["ready", "smtp_backend/mb1", "--wait", "60s"]).0,
        0
    );
    assert_eq!(child.wait().unwrap().code(), Some(1));
    err.read_to_string(&mut line).unwrap();
    assert!(
        line.contains("smtp_backend/mb1 is up now: somebody has changed it"),
        "{line}"
    );
}

#[test]
fn nothing_to_wait_for_is_found_to_be_so() {
    let daemon = Daemon::start(one_down());
    daemon.snapshot.send_modify(|snapshot| {
        Arc::make_mut(snapshot).services[0].servers[2].pending = 0;
    });
    let (code, _, err) = run(&daemon, &["drain", "smtp_backend/mb3", "--wait", "0s"]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = run(&daemon, &["drain", "smtp_backend/mb1", "--wait", "0s"]);
    assert_eq!(code, 7, "{err}");
    assert!(
        err.contains("It stays drained, and its flows go on"),
        "{err}"
    );
    assert!(
        err.contains("mb-lb-ctl maint smtp_backend/mb1 treats them as on_down says"),
        "{err}"
    );
}

#[test]
fn ready_waits_until_the_server_takes_flows() {
    let daemon = Daemon::start(none_up());
    let (code, out, _) = run(&daemon, &["ready", "smtp_backend/mb1", "--wait", "60s"]);
    assert_eq!(code, 0, "{out}");
    let (code, out, err) = run(&daemon, &["ready", "smtp_backend/mb2", "--wait", "10ms"]);
    assert_eq!(code, 7);
    assert!(
        out.starts_with("smtp_backend/mb2: drain -> ready\n"),
        "{out}"
    );
    assert!(
        err.contains("takes no new flows after 10ms: it is DOWN, for 31s: no MAC address"),
        "{err}"
    );
}

#[test]
fn diff_and_reload_say_what_changes() {
    let daemon = Daemon::start(well());
    let file = |name: &str, text: &str| daemon.file(name, text).to_str().unwrap().to_owned();
    let (code, out, err) = run(&daemon, &["diff", &file("new.toml", "END\n\nx = 1\n")]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (9, "~ 12 bytes, 4 lines\n", "")
    );
    let (code, out, err) = run(&daemon, &["diff", &file("same.toml", "same\n")]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.contains("a reload would change nothing"), "{err}");
    let (code, out, err) = run(&daemon, &["diff", &file("bad.toml", "bad\n")]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(
        err.contains("has errors, so there is nothing to compare:\nerror[E001]: not TOML\n"),
        "{err}"
    );
    assert!(
        err.contains(&format!("{}:1:1", file("bad.toml", "bad\n"))),
        "{err}"
    );
    let (code, _, err) = run(&daemon, &["diff", "/nonexistent/new.toml"]);
    assert_eq!(code, 3);
    assert!(err.contains("cannot read /nonexistent/new.toml"), "{err}");
    // Without a name: the file that the daemon itself reads.
    let own = file("own.toml", "same\n");
    daemon
        .snapshot
        .send_modify(|snapshot| Arc::make_mut(snapshot).config_path = own);
    assert_eq!(run(&daemon, &["diff"]).0, 0);

    let (code, out, err) = run(&daemon, &["reload"]);
    assert_eq!((code, out.as_str()), (0, "+ smtp_backend/mb4 weight 10\n"));
    assert_eq!(
        err,
        "warning[W103]: one server only\nreloaded; this has changed:\n"
    );
    daemon.snapshot.send_modify(|snapshot| {
        Arc::make_mut(snapshot).reload_error = Some("error[E003]: unknown key".to_owned());
    });
    let (code, out, err) = run(&daemon, &["reload"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(
        err.starts_with(
            "error: not reloaded, the old configuration stays in force:\nerror[E003]: unknown key\n"
        ),
        "{err}"
    );
    assert!(
        err.ends_with("  next: correct the file, then mb-lb-ctl check\n"),
        "{err}"
    );
}

#[test]
fn lists_and_descriptions_come_from_the_daemon() {
    let daemon = Daemon::start(drained());
    let (code, out, _) = run(&daemon, &["list", "servers", "smtp_backend"]);
    assert_eq!(code, 0);
    assert!(out.contains("by alice 4m 12s ago: kernel upgrade"), "{out}");
    let (_, out, err) = run(&daemon, &["ls", "flows", "--limit", "1", "-o", "csv"]);
    assert_eq!(
        err,
        "only 1 flow of about 1,052 shown; --limit N shows more\n"
    );
    assert_eq!(
        out,
        "client,vip,server,state,idle,age\n203.0.113.7:40000,192.168.1.100:25,smtp_backend/mb1,established,0,60\n"
    );
    // The daemon has not counted them yet.
    daemon
        .snapshot
        .send_modify(|snapshot| std::sync::Arc::make_mut(snapshot).dataplane.flows = 0);
    let (_, _, err) = run(&daemon, &["list", "flows", "--limit", "1"]);
    assert_eq!(
        err,
        "only 1 flow shown, there are more; --limit N shows more\n"
    );
    let (_, out, _) = run(&daemon, &["list", "flows", "smtp_backend", "-o", "json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["flows"][1]["idle_seconds"], 252);

    let (code, out, _) = run(&daemon, &["describe", "smtp_backend/mb3"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("2026-11-23 12:07:40Z  down     smtp_backend/mb3  connection refused"),
        "{out}"
    );
    assert!(!out.contains("attach"), "only its own events");
    let (code, out, _) = run(&daemon, &["describe", "smtp_backend/mb1", "-o", "json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["server"]["name"]), (0, &"mb1".into()));
    assert_eq!(json["kernel_error"], "the map servers cannot be read");
}

#[test]
fn syncs_are_asked_for_and_told() {
    let daemon = Daemon::start(syncing());
    let ordered = "config_sync etc: its targets are brought in step now";
    let (code, out, err) = run(&daemon, &["sync", "etc"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("{ordered}\nSee: mb-lb-ctl list syncs etc\n"));
    let (code, out, err) = run(&daemon, &["sync", "etc", "--wait", "10s"]);
    assert_eq!(code, 1);
    assert_eq!(
        out,
        "etc/192.168.1.101: in step\netc/192.168.1.102: failed: the reload command ended with 5: no such unit\n"
    );
    assert!(err.starts_with(ordered), "{err}");
    let (code, _, err) = run(&daemon, &["sync", "other"]);
    assert_eq!(code, 8);
    assert!(err.contains("this director is not the active one"), "{err}");
    let (code, _, err) = run(&daemon, &["sync", "rulez"]);
    assert_eq!(code, 6);
    assert!(
        err.contains("no config_sync rulez; did you mean rules?"),
        "{err}"
    );
    let (code, out, _) = run(&daemon, &["list", "syncs", "rules", "-o", "csv"]);
    assert_eq!((code, out.lines().count()), (0, 2));
    let (code, _, err) = run(&daemon, &["list", "syncs", "smtp_backend"]);
    assert_eq!(code, 6);
    assert!(err.contains("there are: etc, rules, other"), "{err}");
}

#[test]
fn a_failover_ends_with_the_code_of_what_became_of_it() {
    let daemon = Daemon::start(active());
    for arguments in [&["failover"][..], &["failover", "VI_1"]] {
        let (code, out, err) = run(&daemon, arguments);
        assert_eq!(code, 0, "{err}");
        assert!(
            out.starts_with("VI_1: 192.168.1.11 is active (after ") && out.ends_with(" ms)\n"),
            "{out}"
        );
        assert_eq!(
            err,
            "asking for a hand-over: this director goes on serving until the peer is heard\n\
             undo: mb-lb-ctl failover on the other director\n"
        );
    }
    let cases = [
        (
            "VI_2",
            8,
            "error: not handed over: VI_2 is backup here\n  next: mb-lb-ctl status\n",
        ),
        (
            "VI_3",
            7,
            "error: VI_3: nobody took over, the addresses stay here\n  \
             next: look at the other director: mb-lb-ctl status there\n",
        ),
        (
            "VI_4",
            1,
            "error: not handed over: VI_4: eth0 is down\n  next: mb-lb-ctl status\n",
        ),
        (
            "a b",
            6,
            "error: no VRRP instance a b\n  next: mb-lb-ctl status\n",
        ),
    ];
    for (instance, expected, said) in cases {
        let (code, out, err) = run(&daemon, &["failover", instance]);
        assert_eq!((code, out.as_str()), (expected, ""), "{err}");
        assert!(err.ends_with(said), "{err}");
    }
    assert_eq!(run(&daemon, &["failover", "VI_1", "VI_2"]).0, 2);
}

#[test]
fn the_peers_configuration_is_compared_and_replaced() {
    let line = "~ smtp_backend scheduler leastconn -> source\n";
    let differing = Daemon::start(handing_over());
    let (code, out, err) = run(&differing, &["peer", "diff"]);
    assert_eq!((code, out.as_str()), (9, line));
    assert_eq!(
        err,
        "what peer push would change here, were it said on the peer:\n"
    );
    let (code, out, err) = run(&differing, &["peer", "push"]);
    assert_eq!((code, out.as_str()), (0, line));
    assert!(
        err.starts_with("the peer has taken the configuration and put it in force"),
        "{err}"
    );
    let same = Daemon::start(active());
    let (code, out, err) = run(&same, &["peer", "diff"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(
        err.starts_with("both directors have the same configuration"),
        "{err}"
    );
    let alone = Daemon::start(well());
    let (code, out, err) = run(&alone, &["peer", "diff"]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (
            1,
            "",
            "error: no [peer] is configured\n  next: write [peer] on both directors, then mb-lb-ctl reload\n"
        )
    );
    let (code, out, err) = run(&alone, &["peer", "push"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.ends_with(
            " may not: no [peer] is configured\n  next: write [peer] on both directors, then mb-lb-ctl reload\n"
        ),
        "{err}"
    );
    let apart = Daemon::start(at_fault());
    for command in ["diff", "push"] {
        let (code, _, err) = run(&apart, &["peer", command]);
        assert_eq!(code, 1);
        assert!(
            err.contains("no connection to the peer")
                && err.ends_with("  next: mb-lb-ctl status\n"),
            "{err}"
        );
    }
    assert_eq!(run(&alone, &["peer"]).0, 2);
    assert_eq!(run(&alone, &["peer", "pull"]).0, 2);
}

#[test]
fn a_watched_list_comes_again() {
    let daemon = Daemon::start(well());
    let mut child = spawn(&daemon, &["list", "vips", "--watch=1", "-o", "csv"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        assert_eq!(
            lines.next().unwrap().unwrap(),
            "vip,port,service,up,scheduler,forward"
        );
        assert_eq!(
            lines.next().unwrap().unwrap(),
            "192.168.1.100,25,smtp_backend,3/3,leastconn,dsr"
        );
        assert_eq!(lines.next().unwrap().unwrap(), "");
    }
    drop(lines);
    // The reader is gone, and that is no failure.
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn events_are_shown_and_followed() {
    let mut daemon = Daemon::start(well());
    let (code, out, _) = run(&daemon, &["events", "-n", "1"]);
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "2026-11-23 12:07:40Z  down     smtp_backend/mb3  connection refused\n"
        )
    );
    let (_, out, _) = run(&daemon, &["events", "-o", "json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&json["version"], json["events"].as_array().unwrap().len()),
        (&1.into(), 3)
    );

    let mut child = spawn(&daemon, &["events", "-f", "-n", "1", "-o", "json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let old = next();
    assert_eq!((&old["version"], &old["seq"]), (&1.into(), &3.into()));
    daemon.events.send(event(4, "up", "back")).unwrap();
    assert_eq!(next()["text"], "back");
    daemon.stop();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert!(err.contains("later events are not shown"), "{err}");
}

#[test]
fn a_log_level_that_is_none_does_not_silence_the_log() {
    let output = command(&["run", "--config", "/nonexistent/mb-lb.toml"])
        .env("MB_LB_LOG", "inof")
        .output()
        .unwrap();
    let (code, _, err) = finish(output);
    assert_eq!(code, 3, "{err}");
    assert!(
        err.contains("MB_LB_LOG cannot be understood: `inof` is not a level"),
        "{err}"
    );
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let daemon = Daemon::start(one_down());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command(&["status"])
        .env("MB_LB_SOCKET", daemon.socket())
        .stdout(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_running_daemon_is_not_detached() {
    let daemon = Daemon::start(well());
    let (code, out, err) = run(&daemon, &["detach"]);
    assert_eq!((code, out.as_str()), (8, ""));
    assert!(
        err.contains("the daemon (pid 4711) is running; nothing was detached"),
        "{err}"
    );
    assert!(err.contains("mb-lb-ctl detach --force"), "{err}");
}

#[test]
fn a_file_that_is_not_there_is_not_checked() {
    let daemon = Daemon::start(well());
    let (code, out, err) = run(&daemon, &["check", "/nonexistent/mb-lb.toml"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(
        err.contains("cannot read /nonexistent/mb-lb.toml: there is no such file"),
        "{err}"
    );
}

#[test]
fn checks_end_with_the_code_of_what_they_found() {
    let daemon = Daemon::start(well());
    let file = |name: &str, text: &str| daemon.file(name, text).to_str().unwrap().to_owned();
    let good = "[service.mail]\nlisten = [\"192.0.2.1:25\"]\n[service.mail.servers]\n\
        a = { address = \"192.0.2.11\" }\nb = { address = \"192.0.2.12\" }\n";
    let json = |arguments: &[&str]| -> (i32, Value) {
        let (code, out, _) = run(&daemon, arguments);
        (code, serde_json::from_str(&out).unwrap())
    };
    let path = file("good.toml", good);
    let (code, found) = json(&["check", &path, "-o", "json"]);
    assert_eq!(
        (code, &found["version"], &found["errors"]),
        (0, &1.into(), &0.into())
    );
    assert_eq!(run(&daemon, &["check", "--config", &path]).0, 0);

    let path = file("bad.toml", &good.replace("listen", "lisen"));
    let (code, out, err) = run(&daemon, &["check", &path]);
    assert_eq!(code, 3, "{out}");
    assert!(out.contains("did you mean `listen`?"), "{out}");
    assert!(
        err.starts_with(&format!("{path}: ")) && err.contains(" error"),
        "{err}"
    );
    let (code, found) = json(&["check", &path, "-o", "json"]);
    assert_eq!(code, 3);
    let lines = found["diagnostics"].as_array().unwrap().iter();
    assert!(lines.map(|found| &found["line"]).any(|line| *line == 2));

    let path = file(
        "odd.toml",
        &good.replace("b = { address = \"192.0.2.12\" }\n", ""),
    );
    assert_eq!(
        run(&daemon, &["check", &path]).0,
        0,
        "a warning is no error"
    );
    let (code, out, err) = run(&daemon, &["check", &path, "--strict"]);
    assert_eq!(code, 4, "{out}");
    assert!(
        out.contains("warning") && err.contains("0 errors, "),
        "{out}{err}"
    );
}

const PREPARED: &str =
    "[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = { mb1 = \"192.0.2.1\" }\n";

#[test]
fn server_setup_needs_a_file_and_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mb-lb.toml");
    std::fs::write(&path, PREPARED).unwrap();
    let path = path.display().to_string();
    let run = |arguments: &[&str]| {
        let all = [&["--config", path.as_str()], arguments].concat();
        finish(command(&all).output().unwrap())
    };
    let (code, out, err) = run(&["server-setup", "smtp/mb1"]);
    assert_eq!(code, 0);
    // On its way to a shell, what people have to know is said beside it.
    let notes: Vec<&str> = err.lines().collect();
    assert_eq!(
        notes,
        [
            "smtp/mb1: Its mail daemon has to listen on all addresses, or on the VIP too: port 25.",
            "smtp/mb1: What it reaches at the VIP today, such as a database, it looks for on itself from then on.",
        ]
    );
    assert!(
        out.contains("\nip address replace 192.0.2.100/32 dev lo\n"),
        "{out}"
    );
    let (code, out, _) = run(&["server-setup", "smtp/mb1", "--undo"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("\nip address del 192.0.2.100/32 dev lo\n"),
        "{out}"
    );
    for (name, expected, says) in [
        (
            "smtp/mb9",
            6,
            "there is no server smtp/mb9\n  next: its service has mb1",
        ),
        ("mb1", 2, "did you mean smtp/mb1?"),
    ] {
        let (code, out, err) = run(&["server-setup", name]);
        assert_eq!((code, out.as_str()), (expected, ""));
        assert!(err.contains(says), "{err}");
    }
}

#[test]
fn the_doctor_is_polite_where_nobody_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mb-lb.toml");
    std::fs::write(&path, PREPARED).unwrap();
    let [config, socket, state] = ["mb-lb.toml", "admin.sock", "state"]
        .map(|name| dir.path().join(name).display().to_string());
    let global = [
        "--config",
        &config,
        "--socket",
        &socket,
        "--state-dir",
        &state,
    ];
    let run =
        |arguments: &[&str]| finish(command(&[&global, arguments].concat()).output().unwrap());
    let (code, out, err) = run(&["doctor"]);
    assert_eq!((code, err.as_str()), (10, ""));
    let silent = format!("  problem    the daemon does not answer at {socket}: No such file");
    assert!(out.contains(&silent), "{out}");
    assert!(out.contains("\nkernel\n"), "{out}");
    let (code, out, _) = run(&["doctor", "--server", "mb1", "-o", "json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &json["version"], &json["not_known"]),
        (0, &1.into(), &1.into())
    );
    assert_eq!(json["findings"][0]["server"], "smtp/mb1");
    let (code, _, err) = run(&["doctor", "--server", "mb9"]);
    assert_eq!(code, 6);
    assert!(err.contains("there is no server mb9"), "{err}");
    // A file with errors is a finding like any other.
    std::fs::write(&path, "[service.smtp]\n").unwrap();
    let (code, out, _) = run(&["doctor"]);
    assert_eq!(code, 10);
    assert!(
        out.contains("mb-lb.toml has ") && out.contains("error"),
        "{out}"
    );
}
