//! Bytes in, bytes out, over the real socket.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mb_lb_ctl::admin::{MAX_CONNECTIONS, MAX_LINE, MAX_PAYLOAD, RESERVED};
use mb_lb_ctl::config::SocketLevel;
use mb_lb_ctl::snapshot::AdminState;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::fixtures::{event, well};

fn connect(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    // A test that hangs is a test that fails, but later.
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// Sends all at once and reads until the daemon closes; our own side stays open.
fn exchange(daemon: &Daemon, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = connect(daemon);
    stream.write_all(bytes.as_ref()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn read_exactly(stream: &mut UnixStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

fn at_end(mut stream: UnixStream) {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

const VERSION: &str = "2.6.0-mb-lb-0.1.0\n\n";

#[test]
fn each_answer_is_followed_by_an_empty_line_and_one_line_is_all() {
    let daemon = Daemon::start(well());
    let two = VERSION.repeat(2);
    let cases: &[(&str, &str)] = &[
        ("show version\n", VERSION),
        ("show version\r\n", VERSION),
        ("show version;show version\n", &two),
        ("  show version ;  show version ;\r\n", &two),
        // Lines that come together are answered together.
        ("show version\nshow version\n", &two),
        ("set server smtp_backend/mb1 state maint\n", "\n"),
        (
            "set server smtp_backend/mb1 state ready;show version\n",
            "\n2.6.0-mb-lb-0.1.0\n\n",
        ),
        // An error does not end the chain.
        (
            "get weight nope/nope;show version\n",
            "No such backend.\n\n2.6.0-mb-lb-0.1.0\n\n",
        ),
        ("quit\n", ""),
        ("show version;quit;show version\n", VERSION),
        (r"get weight smtp_backend/mb1\;x", ""),
        ("get weight smtp_backend/mb1\\;x\n", "No such server.\n\n"),
    ];
    for (sent, expected) in cases {
        let mut stream = connect(&daemon);
        stream.write_all(sent.as_bytes()).unwrap();
        if !sent.ends_with('\n') {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, *expected, "{sent:?}");
    }
    assert!(exchange(&daemon, "\n").starts_with("Unknown command. Please enter one"));
    assert!(exchange(&daemon, b"\xff\xfe\n").starts_with("Unknown command. Please enter one"));
}

#[test]
fn half_a_command_is_never_run() {
    let daemon = Daemon::start(well());
    let mut stream = connect(&daemon);
    stream
        .write_all(b"set server smtp_backend/mb1 state maint")
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    at_end(stream);
    let mut stream = connect(&daemon);
    stream.write_all(b"mb-lb diff <<END\nsame\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    at_end(stream);
    assert_eq!(daemon.server(1).admin, AdminState::Ready);
}

#[test]
fn the_prompt_keeps_the_connection_open() {
    let daemon = Daemon::start(well());
    let mut stream = connect(&daemon);
    let mut step = |sent: &str, expected: &str| {
        stream.write_all(sent.as_bytes()).unwrap();
        read_exactly(&mut stream, expected);
    };
    step("prompt\n", "\n> ");
    step("show version\n", "2.6.0-mb-lb-0.1.0\n\n> ");
    step("set server smtp_backend/mb1 weight 3\n", "\n> ");
    step(
        "set timeout cli 60;get weight smtp_backend/mb1\n",
        "\n> 3 (initial 10)\n\n> ",
    );
    step("mb-lb diff <<\n", "+ ");
    step("same\n", "+ ");
    step(
        "\n",
        "{\"version\":1,\"code\":9,\"message\":\"\",\"data\":[\"~ 5 bytes, 1 lines\"]}\n\n> ",
    );
    stream.write_all(b"prompt\n").unwrap();
    // Turned off again: this was the last line.
    read_exactly(&mut stream, "\n");
    at_end(stream);

    assert_eq!(
        exchange(&daemon, "prompt; show version; quit\n"),
        format!("\n> {VERSION}> ")
    );
}

#[test]
fn names_of_users_are_kept_with_what_they_did() {
    let daemon = Daemon::start(well());
    assert_eq!(exchange(&daemon, "set server #2/#2 state drain\n"), "\n");
    let server = daemon.server(2);
    let me = nix::unistd::User::from_uid(nix::unistd::geteuid())
        .unwrap()
        .unwrap();
    assert_eq!(
        (server.admin, server.admin_by),
        (AdminState::Drain, me.name)
    );
    assert_eq!(
        exchange(&daemon, "set weight smtp_backend/mb3 200%\n"),
        "\n"
    );
    assert_eq!(daemon.server(3).weight, 10);
}

#[test]
fn sizes_are_bounded_and_said_to_be() {
    let daemon = Daemon::start(well());
    let long = "x".repeat(MAX_LINE - 1);
    assert!(exchange(&daemon, format!("{long}\n")).starts_with("Unknown command"));
    let answer = exchange(&daemon, format!("{long}x\n"));
    assert_eq!(
        answer,
        "Line too long: at most 16384 bytes are read. Nothing of it was done.\n\n"
    );
    // Without an end, too, and however much follows.
    let answer = exchange(&daemon, "x".repeat(MAX_LINE * 4));
    assert!(answer.starts_with("Line too long"), "{answer}");

    let line = format!("# {}\n", "x".repeat(1000));
    let payload = line.repeat(MAX_PAYLOAD / line.len());
    let answer = exchange(&daemon, format!("mb-lb diff <<END\n{payload}END\n"));
    assert!(answer.starts_with("{\"version\":1,\"code\":9,"), "{answer}");
    let answer = exchange(
        &daemon,
        format!("mb-lb diff <<END\n{payload}{payload}END\n"),
    );
    assert_eq!(
        answer,
        "Payload too long: at most 1048576 bytes are read. Nothing of it was done.\n\n"
    );
    let pattern = "P".repeat(65);
    let answer = exchange(&daemon, format!("mb-lb diff <<{pattern}\n"));
    assert!(
        answer.starts_with("The pattern that ends the payload"),
        "{answer}"
    );
}

#[test]
fn too_many_connections_are_refused_in_words() {
    let daemon = Daemon::start(well());
    let mut open: Vec<UnixStream> = (0..MAX_CONNECTIONS + RESERVED)
        .map(|_| connect(&daemon))
        .collect();
    // All have been accepted when each has been answered.
    for stream in &mut open {
        stream.write_all(b"prompt\n").unwrap();
        read_exactly(stream, "\n> ");
    }
    let words =
        "Too many connections to the admin socket: 64 are open. Close one and try again.\n\n";
    assert_eq!(exchange(&daemon, ""), words);
    // Who speaks before it reads gets them too, and so does who speaks after that.
    assert_eq!(exchange(&daemon, "show version\n"), words);
    let mut late = connect(&daemon);
    read_exactly(&mut late, words);
    late.write_all(b"show version\n").unwrap();
    let mut one = open.pop().unwrap();
    one.write_all(b"quit\n").unwrap();
    at_end(one);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while exchange(&daemon, "show version;quit\n") != VERSION {
        assert!(
            std::time::Instant::now() < deadline,
            "the place was never free again"
        );
    }
    at_end(late);
}

#[test]
fn a_silent_client_is_left_after_its_timeout() {
    let daemon = Daemon::start(well());
    let mut stream = connect(&daemon);
    stream.write_all(b"prompt;set timeout cli 50ms\n").unwrap();
    read_exactly(&mut stream, "\n> \n> ");
    at_end(stream);
}

#[test]
fn payloads_end_at_an_empty_line_or_a_pattern() {
    let daemon = Daemon::start(well());
    let data = |sent: &str| -> Value {
        let answer = exchange(&daemon, sent);
        let (line, rest) = answer.split_once('\n').unwrap();
        assert_eq!(rest, "\n");
        let mut reply: Value = serde_json::from_str(line).unwrap();
        reply["data"].take()
    };
    assert_eq!(
        data("mb-lb diff <<\na = 1\nb = 2\n\n")[0],
        "~ 12 bytes, 2 lines"
    );
    assert_eq!(
        data("mb-lb diff <<END\na = 1\n\nb = 2\nEND\n")[0],
        "~ 13 bytes, 3 lines"
    );
    assert_eq!(
        data("mb-lb diff <<END\r\na = 1\r\nEND\r\n")[0],
        "~ 7 bytes, 1 lines"
    );
    assert_eq!(data("mb-lb diff <<\n\n")[0], "~ 0 bytes, 0 lines");
}

#[test]
fn own_commands_answer_with_one_line_of_json() {
    let daemon = Daemon::start(well());
    let reply = |sent: &str| -> Value {
        let answer = exchange(&daemon, format!("{sent}\n"));
        let (line, rest) = answer.split_once('\n').unwrap();
        assert_eq!(rest, "\n", "{sent}");
        let reply: Value = serde_json::from_str(line).unwrap();
        assert_eq!(reply["version"], 1);
        reply
    };
    let cases = [
        ("mb-lb set smtp_backend/mb1 drain a\\;b", 0, ""),
        ("mb-lb weight smtp_backend/mb1 7", 0, "mb1 weighs 7 now"),
        (
            "mb-lb set smtp_backend/mb9 drain",
            6,
            "no server mb9 in service smtp_backend; did you mean mb1?",
        ),
        (
            "mb-lb set smtp_backed/mb1 drain",
            6,
            "no service smtp_backed; did you mean smtp_backend/mb1?",
        ),
        (
            "mb-lb weight web/x 1",
            6,
            "no service web; there are: smtp_backend/mb1, smtp_backend/mb2, smtp_backend/mb3",
        ),
        (
            "mb-lb record smtp_backend/nobody",
            6,
            "no server nobody in service smtp_backend; there are: mb1, mb2, mb3",
        ),
        (
            "mb-lb flows smtp",
            6,
            "no service smtp; there are: smtp_backend",
        ),
        (
            "mb-lb record smtp_backend/mb1",
            1,
            "the map servers cannot be read",
        ),
        (
            "mb-lb bogus",
            2,
            "expected one of: mb-lb snapshot, set, weight, failover, reload, diff, peer, events, flows, record, sync",
        ),
    ];
    for (sent, code, message) in cases {
        let reply = reply(sent);
        assert_eq!(reply["code"], code, "{sent}: {reply}");
        assert_eq!(reply["message"], message, "{sent}");
        assert!(reply["data"].is_null(), "{sent}");
    }
    assert_eq!(daemon.server(1).admin_reason, "a;b");
    assert_eq!(reply("mb-lb snapshot")["data"]["director"], "lb1");
    assert_eq!(
        reply("mb-lb reload")["data"][0],
        "+ smtp_backend/mb4 weight 10"
    );
    assert_eq!(
        reply("mb-lb record smtp_backend/mb3")["data"]["weight"],
        "5"
    );
    let numbers = |sent: &str| -> Vec<u64> {
        let events = reply(sent)["data"].take();
        let numbers = events.as_array().unwrap().iter();
        numbers
            .map(|event| event["seq"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers("mb-lb events"), [1, 2, 3]);
    assert_eq!(numbers("mb-lb events 2"), [2, 3]);
    assert!(numbers("mb-lb events 0").is_empty());
    assert_eq!(reply("mb-lb flows")["data"].as_array().unwrap().len(), 3);
    assert_eq!(
        reply("mb-lb flows smtp_backend limit 1")["data"][0]["client"],
        "203.0.113.7:40000"
    );
}

#[test]
fn followed_events_come_once_and_in_order() {
    let mut daemon = Daemon::start(well());
    let mut stream = connect(&daemon);
    stream.write_all(b"mb-lb events follow 1\n").unwrap();
    let expected = |seq: u64, kind: &str, text: &str| {
        let event = serde_json::to_string(&event(seq, kind, text)).unwrap();
        format!("{{\"version\":1,\"code\":0,\"message\":\"\",\"data\":{event}}}\n")
    };
    read_exactly(&mut stream, &expected(3, "down", "connection refused"));
    // An event that was among the old ones is not told again.
    daemon
        .events
        .send(event(3, "down", "connection refused"))
        .unwrap();
    daemon.events.send(event(4, "up", "back")).unwrap();
    read_exactly(&mut stream, &expected(4, "up", "back"));
    daemon.stop();
    at_end(stream);
    assert!(!daemon.socket().exists());
    assert!(daemon.directory().exists());
}

#[test]
fn connections_begin_with_the_sockets_level_and_can_only_lower_it() {
    let daemon = Daemon::start_at(well(), SocketLevel::Operator);
    let cases = [
        ("show cli level\n", "operator\n\n"),
        (
            "user;show cli level;operator;show cli level\n",
            "\nuser\n\nPermission denied\n\nuser\n\n",
        ),
        (
            "set server smtp_backend/mb1 state maint\n",
            "Permission denied\n\n",
        ),
        (
            "clear counters;clear counters all\n",
            "\nPermission denied\n\n",
        ),
    ];
    for (sent, expected) in cases {
        assert_eq!(exchange(&daemon, sent), expected, "{sent:?}");
    }
    let sockets = format!(
        "# socket lvl processes\nunix@{} operator all\n\n",
        daemon.socket().display()
    );
    assert_eq!(exchange(&daemon, "show cli sockets\n"), sockets);
    assert_eq!(daemon.server(1).admin, AdminState::Ready);
}

#[test]
fn flows_are_listed_and_found_by_their_ids() {
    let daemon = Daemon::start(well());
    let list = exchange(&daemon, "show sess\n");
    assert_eq!(list.lines().count(), 4, "{list}");
    let id = list.split(':').next().unwrap();
    let one = exchange(&daemon, format!("show sess {id}\n"));
    assert!(one.starts_with(&format!("{id}: [")), "{one}");
    assert_eq!(
        exchange(&daemon, "show sess 0x12\n"),
        "Session not found.\n\n"
    );
    assert_eq!(
        exchange(&daemon, "shutdown session 0x12\n"),
        "No such session (use 'show sess').\n\n"
    );
    let refused = exchange(&daemon, format!("shutdown session {id}\n"));
    assert!(refused.starts_with("Not done: "), "{refused}");
    assert!(exchange(&daemon, "show env PATH\n").starts_with("PATH=/"));
}

#[test]
fn a_clear_is_for_all_connections() {
    let daemon = Daemon::start(well());
    let opened = || {
        let stat = exchange(&daemon, "show stat 2 4 1\n");
        stat.lines()
            .nth(1)
            .unwrap()
            .split(',')
            .nth(7)
            .unwrap()
            .to_owned()
    };
    assert_eq!(opened(), "12034");
    assert_eq!(exchange(&daemon, "clear counters all\n"), "\n");
    assert_eq!(opened(), "0");
    daemon.snapshot.send_modify(|snapshot| {
        std::sync::Arc::make_mut(snapshot).services[0].servers[0].opened += 5;
    });
    assert_eq!(opened(), "5");
}
