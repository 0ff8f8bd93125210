//! Every command and every complaint of the runtime language, without a socket.

use mb_lb_ctl::command::line::split;
use mb_lb_ctl::command::native::{DEFAULT_EVENTS, DEFAULT_FLOWS};
use mb_lb_ctl::command::{Answer, Context, Native, respond};
use mb_lb_ctl::config::SocketLevel;
use mb_lb_ctl::engine::{Change, ServerRef, Setting, Weight};
use mb_lb_ctl::snapshot::{AdminState, AgentView, Snapshot};

use crate::fixtures::{NOW_MS, well};

fn ask(text: &str) -> Answer {
    ask_of(&well(), SocketLevel::Admin, text)
}

fn ask_of(snapshot: &Snapshot, level: SocketLevel, text: &str) -> Answer {
    let line = split(text);
    assert_eq!(line.commands.len(), 1, "{text:?}");
    let payload = line.payload_until.map(|_| "payload\n".to_owned());
    let context = Context {
        snapshot,
        now_ms: NOW_MS,
        level,
        socket: ("/run/mb-lb/admin.sock", SocketLevel::Admin),
        process: Default::default(),
    };
    respond(&line.commands[0], payload, &context)
}

fn text(command: &str) -> String {
    match ask(command) {
        Answer::Text(text) => text,
        other => panic!("{command:?} gives {other:?}"),
    }
}

fn mb(number: u32) -> ServerRef {
    ServerRef {
        service: "smtp_backend".into(),
        server: format!("mb{number}"),
    }
}

fn admin(number: u32, state: AdminState, reason: &str) -> Change {
    asked(number, state, reason, false)
}

fn asked(number: u32, state: AdminState, reason: &str, guarded: bool) -> Change {
    Change::Admin {
        server: mb(number),
        state,
        reason: reason.into(),
        guarded,
    }
}

fn weight(number: u32, weight: Weight) -> Change {
    Change::Weight {
        server: mb(number),
        weight,
    }
}

#[test]
fn changes_are_understood() {
    use AdminState::{Drain, Maint, Ready};
    let cases = [
        (
            "set server smtp_backend/mb2 state ready",
            admin(2, Ready, ""),
        ),
        (
            "set server smtp_backend/mb2 state drain",
            admin(2, Drain, ""),
        ),
        (
            "set server smtp_backend/mb2 state maint",
            admin(2, Maint, ""),
        ),
        ("set server #2/#3 state maint", admin(3, Maint, "")),
        (
            "set server smtp_backend/#1 state maint",
            admin(1, Maint, ""),
        ),
        ("enable server smtp_backend/mb1", admin(1, Ready, "")),
        ("disable server smtp_backend/mb1", admin(1, Maint, "")),
        (
            "set server smtp_backend/mb1 weight 7",
            weight(1, Weight::Absolute(7)),
        ),
        (
            "set server smtp_backend/mb1 weight 50%",
            weight(1, Weight::Percent(50)),
        ),
        (
            "set weight smtp_backend/mb1 256",
            weight(1, Weight::Absolute(256)),
        ),
    ];
    for (command, change) in cases {
        assert_eq!(
            ask(command),
            Answer::Change {
                change,
                done: String::new()
            },
            "{command}"
        );
    }
}

#[test]
fn complaints_are_haproxys_word_for_word() {
    let usage = "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | \
                 check-addr | check-port | fqdn | health | ssl | state | weight";
    let cases = [
        ("set server", "Require 'backend/server'."),
        (
            "set server smtp_backend state ready",
            "Require 'backend/server'.",
        ),
        (
            "set server smtp_backend/ state ready",
            "Require 'backend/server'.",
        ),
        ("set server /mb1 state ready", "Require 'backend/server'."),
        ("set server nope/mb1 state ready", "No such backend."),
        ("set server #9/mb1 state ready", "No such backend."),
        (
            "set server smtp_backend/nope state ready",
            "No such server.",
        ),
        ("set server smtp_backend/#9 state ready", "No such server."),
        // The server is looked for before the rest is looked at.
        (
            "set server smtp_backend/nope state bogus",
            "No such server.",
        ),
        ("set server smtp_backend/nope", "No such server."),
        (
            "set server smtp_backend/mb1 state",
            "'set server <srv> state' expects 'ready', 'drain' and 'maint'.",
        ),
        (
            "set server smtp_backend/mb1 state READY",
            "'set server <srv> state' expects 'ready', 'drain' and 'maint'.",
        ),
        ("set server smtp_backend/mb1", usage),
        ("set server smtp_backend/mb1 bogus", usage),
        (
            "set server smtp_backend/mb1 weight",
            "Require <weight> or <weight%>.",
        ),
        (
            "set server smtp_backend/mb1 weight 257",
            "Absolute weight can only be between 0 and 256 inclusive.",
        ),
        (
            "set server smtp_backend/mb1 weight x",
            "Empty weight string empty or preceded by garbage",
        ),
        (
            "set server smtp_backend/mb1 weight -1%",
            "Relative weight must be positive.",
        ),
        (
            "set weight smtp_backend/mb1 5x",
            "Trailing garbage in weight string",
        ),
        (
            "set weight smtp_backend/mb1",
            "Require <weight> or <weight%>.",
        ),
        ("get weight", "Require 'backend/server'."),
        ("get weight nope/mb1", "No such backend."),
        ("get weight smtp_backend/nope", "No such server."),
        ("enable server smtp_backend/nope", "No such server."),
        ("disable server nope/nope", "No such backend."),
        ("show stat nope 7 -1", "No such proxy."),
        ("show stat 0 7 -1", "No such proxy."),
        ("show stat domain dns", "Invalid statistics domain."),
        ("show servers state nope", "Can't find backend."),
        ("set timeout", "'set timeout' only supports 'cli'."),
        ("set timeout bogus 5", "'set timeout' only supports 'cli'."),
        ("set timeout cli", "Expects an integer value."),
        ("set timeout cli x", "Invalid timeout value."),
        ("set timeout cli 0", "Invalid timeout value."),
        ("set timeout cli 5w", "Invalid timeout value."),
        (
            "set timeout cli 99999999999999999999",
            "Invalid timeout value.",
        ),
    ];
    for (command, complaint) in cases {
        // Some of them do not end their line, there and here.
        let text = text(command);
        assert_eq!(
            text.strip_suffix('\n').unwrap_or(&text),
            complaint,
            "{command}"
        );
    }
}

#[test]
fn unknown_commands_get_the_list() {
    for command in ["", "bogus", "trace 0"] {
        let text = text(command);
        assert!(
            text.starts_with("Unknown command. Please enter one of the following commands only:\n"),
            "{command:?}: {text}"
        );
        assert!(text.contains("\n  show stat "), "{text}");
    }
    for command in ["show", "show nope", "set", "set nope x", "get nope"] {
        let text = text(command);
        assert!(
            text.starts_with(
                "Unknown command, but maybe one of the following ones is a better match:\n"
            ),
            "{command:?}: {text}"
        );
    }
    let many = vec!["x"; 65].join(" ");
    assert_eq!(text(&many), "Too many words: 65, at most 64 are allowed.\n");
}

#[test]
fn what_is_asked_is_answered() {
    assert_eq!(text("get weight smtp_backend/mb3"), "5 (initial 5)\n");
    assert_eq!(text("show version"), "2.6.0-mb-lb-0.1.0\n");
    assert_eq!(text("show backend"), "# name\nsmtp_backend\n");
    assert_eq!(
        text("show errors"),
        "Total events captured on [23/Nov/2026:12:17:37.358] : 0\n"
    );
    assert!(text("help").starts_with("The following commands are valid at this level:\n"));
    assert_eq!(ask("prompt"), Answer::Prompt);
    assert_eq!(ask("quit"), Answer::Quit);
    let seconds = std::time::Duration::from_secs;
    assert_eq!(ask("set timeout cli 60"), Answer::Timeout(seconds(60)));
    assert_eq!(ask("set timeout cli 2m"), Answer::Timeout(seconds(120)));
}

#[test]
fn info_has_the_keys_that_tools_ask_for() {
    let text = text("show info");
    for key in [
        "Name",
        "Version",
        "Release_date",
        "Nbproc",
        "Process_num",
        "Pid",
        "Uptime",
        "Uptime_sec",
        "Maxconn",
        "CurrConns",
        "CumConns",
        "Maxpipes",
        "PipesUsed",
        "Tasks",
        "Run_queue",
        "node",
    ] {
        let found = text
            .lines()
            .filter(|line| line.starts_with(&format!("{key}: ")));
        assert_eq!(found.count(), 1, "{key}");
    }
    for line in text.lines() {
        assert_eq!(line.matches(": ").count(), 1, "{line}");
    }
    assert_eq!(text.lines().count(), 69);
    for line in [
        "Uptime: 12d 4h00m00s",
        "Pid: 4711",
        "CurrConns: 1050",
        "CumConns: 36102",
        "Tasks: 3",
        "Start_time_sec: 1794385057",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    let typed = self::text("show info typed");
    assert!(typed.starts_with("0.Name.1:POS:str:HAProxy\n1.Version.1:POS:str:2.6.0-mb-lb-0.1.0\n"));
    assert_eq!(typed.lines().count(), text.lines().count());
    let described = self::text("show info typed desc");
    for (line, typed) in described.lines().zip(typed.lines()) {
        let meaning = line.strip_prefix(typed).unwrap();
        assert!(
            meaning.starts_with(":\"") && meaning.ends_with('"') && meaning.len() > 10,
            "{line}"
        );
    }
    let json: serde_json::Value = serde_json::from_str(&self::text("show info json")).unwrap();
    assert_eq!(json[0]["field"]["name"], "Name");
    assert_eq!(json[0]["tags"]["origin"], "Product");
    assert_eq!(json[0]["value"]["value"], "HAProxy");
    assert_eq!(json.as_array().unwrap().len(), text.lines().count());
}

#[test]
fn servers_state_is_haproxys_file() {
    let text = text("show servers state");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "1");
    let names: Vec<&str> = lines[1].strip_prefix("# ").unwrap().split(' ').collect();
    assert_eq!(names.len(), 25);
    assert_eq!(
        (names[0], names[5], names[18], names[24]),
        ("be_id", "srv_op_state", "srv_port", "srv_agent_port")
    );
    assert_eq!(
        lines[2],
        "2 smtp_backend 1 mb1 192.168.1.101 2 0 10 10 7260 15 3 4 6 0 0 0 - 25 - 0 10025 - - 0"
    );
    assert_eq!(lines.len(), 5);
    for line in &lines[2..] {
        assert_eq!(line.split(' ').count(), names.len(), "{line}");
    }
    assert_eq!(self::text("show servers state smtp_backend"), text);
    assert_eq!(self::text("show servers state #2"), text);

    let servers =
        |snapshot: Snapshot| match ask_of(&snapshot, SocketLevel::Admin, "show servers state") {
            Answer::Text(text) => text,
            other => panic!("{other:?}"),
        };
    let down = servers(crate::fixtures::none_up());
    let row = |position: usize| down.lines().nth(1 + position).unwrap().to_owned();
    assert!(row(1).starts_with("2 smtp_backend 1 mb1 192.168.1.101 0 1 10 10 3600 15 3 4 14 "));
    assert!(row(2).starts_with("2 smtp_backend 2 mb2 192.168.1.102 0 8 7 10 31 15 3 4 6 "));
    assert!(row(3).starts_with("2 smtp_backend 3 mb3 192.168.1.103 0 0 5 5 125 8 2 0 6 "));
    let odd = servers(crate::fixtures::degraded());
    assert!(
        odd.lines().nth(2).unwrap().contains(" 192.168.1.101 1 0 "),
        "slow start"
    );
    assert!(
        odd.lines()
            .nth(5)
            .unwrap()
            .ends_with(" 0 0 0 0 0 0 0 - 25 - 0 0 - - 0"),
        "no check"
    );
}

#[test]
fn own_commands_are_understood() {
    use AdminState::{Drain, Maint, Ready};
    let flows = |service: Option<&str>, limit| Native::Flows {
        service: service.map(str::to_owned),
        limit,
    };
    let cases = [
        ("mb-lb snapshot", Native::Snapshot),
        ("mb-lb reload", Native::Reload),
        (
            "mb-lb set smtp_backend/mb1 ready",
            Native::Change(asked(1, Ready, "", true)),
        ),
        (
            "mb-lb set smtp_backend/mb1 drain kernel upgrade",
            Native::Change(asked(1, Drain, "kernel upgrade", true)),
        ),
        (
            "mb-lb set force smtp_backend/mb1 drain kernel upgrade",
            Native::Change(asked(1, Drain, "kernel upgrade", false)),
        ),
        (
            r"mb-lb set smtp_backend/mb1 maint a\;\ \ b",
            Native::Change(asked(1, Maint, "a;  b", true)),
        ),
        (
            "mb-lb weight smtp_backend/mb1 0",
            Native::Change(weight(1, Weight::Absolute(0))),
        ),
        (
            "mb-lb diff <<",
            Native::Diff {
                text: "payload\n".into(),
                name: "the new configuration".into(),
            },
        ),
        (
            r"mb-lb diff my\ file <<",
            Native::Diff {
                text: "payload\n".into(),
                name: "my file".into(),
            },
        ),
        ("mb-lb events", Native::Events(DEFAULT_EVENTS)),
        ("mb-lb events 5", Native::Events(5)),
        ("mb-lb events follow", Native::Follow(0)),
        ("mb-lb events follow 5", Native::Follow(5)),
        ("mb-lb flows", flows(None, DEFAULT_FLOWS)),
        ("mb-lb flows limit 5", flows(None, 5)),
        (
            "mb-lb flows smtp_backend",
            flows(Some("smtp_backend"), DEFAULT_FLOWS),
        ),
        (
            "mb-lb flows smtp_backend limit 5",
            flows(Some("smtp_backend"), 5),
        ),
        ("mb-lb record smtp_backend/mb1", Native::Record(mb(1))),
        ("mb-lb sync etc", Native::Sync("etc".to_owned())),
    ];
    for (command, native) in cases {
        assert_eq!(ask(command), Answer::Native(native), "{command}");
    }
}

#[test]
fn own_commands_say_how_they_are_used() {
    let cases = [
        ("mb-lb", "expected one of: mb-lb snapshot, "),
        ("mb-lb bogus", "expected one of: mb-lb snapshot, "),
        ("mb-lb snapshot x", "expected one of: mb-lb snapshot, "),
        ("mb-lb snapshot <<", "only mb-lb diff takes a payload"),
        ("mb-lb diff", "usage: mb-lb diff <<"),
        ("mb-lb set", "usage: mb-lb set "),
        ("mb-lb set smtp_backend/mb1", "usage: mb-lb set "),
        (
            "mb-lb set smtp_backend ready",
            "a server is named SERVICE/SERVER",
        ),
        (
            "mb-lb set smtp_backend/ ready",
            "a server is named SERVICE/SERVER",
        ),
        (
            "mb-lb set smtp_backend/mb1 bogus",
            "the state is one of: ready, drain, maint",
        ),
        ("mb-lb weight smtp_backend/mb1", "usage: mb-lb weight "),
        ("mb-lb weight mb1 5", "a server is named SERVICE/SERVER"),
        (
            "mb-lb weight smtp_backend/mb1 257",
            "a weight is a whole number from 0 to 256",
        ),
        (
            "mb-lb weight smtp_backend/mb1 half",
            "a weight is a whole number from 0 to 256",
        ),
        ("mb-lb events x", "a whole number is expected"),
        ("mb-lb events follow x", "a whole number is expected"),
        ("mb-lb events 1 2 3", "usage: mb-lb events "),
        ("mb-lb flows limit x", "a whole number is expected"),
        (
            "mb-lb flows smtp_backend limit x",
            "a whole number is expected",
        ),
        ("mb-lb flows a b c d", "usage: mb-lb flows "),
        ("mb-lb record", "usage: mb-lb record "),
        ("mb-lb record mb1", "a server is named SERVICE/SERVER"),
    ];
    for (command, complaint) in cases {
        match ask(command) {
            Answer::Native(Native::Misused(text)) => {
                assert!(text.starts_with(complaint), "{command}: {text}");
            }
            other => panic!("{command:?} gives {other:?}"),
        }
    }
}

#[test]
fn levels_decide_before_anything_else_is_looked_at() {
    let ask = |level, command| ask_of(&well(), level, command);
    let denied = Answer::Text("Permission denied\n".to_owned());
    for command in [
        "set server",
        "set server smtp_backend/mb1 state maint",
        "enable server nope/nope",
        "shutdown session foo",
        "set maxconn global x",
        "commit ssl cert",
        "clear counters all",
    ] {
        assert_eq!(ask(SocketLevel::User, command), denied, "{command}");
        assert_eq!(ask(SocketLevel::Operator, command), denied, "{command}");
        assert_ne!(ask(SocketLevel::Admin, command), denied, "{command}");
    }
    for command in ["show sess", "show errors", "clear counters", "operator"] {
        assert_eq!(ask(SocketLevel::User, command), denied, "{command}");
        assert_ne!(ask(SocketLevel::Operator, command), denied, "{command}");
    }
    let native = |level, command| match ask(level, command) {
        Answer::Text(text) => {
            text.contains("\"code\":8,\"message\":\"Permission denied: it takes the level ")
        }
        _ => false,
    };
    assert!(native(
        SocketLevel::Operator,
        "mb-lb set smtp_backend/mb1 maint"
    ));
    assert!(native(SocketLevel::User, "mb-lb flows"));
    assert!(!native(SocketLevel::User, "mb-lb snapshot"));
    assert_eq!(
        text("show cli sockets"),
        "# socket lvl processes\nunix@/run/mb-lb/admin.sock admin all\n"
    );
}

#[test]
fn what_mb_lb_cannot_do_is_said_in_one_line() {
    for command in [
        "set maxconn global 5",
        "add server smtp_backend/mb9 192.0.2.9:25 ssl",
        "add server smtp_backend/mb9 192.0.2.9:26",
        "set rate-limit sessions global 5",
    ] {
        let text = text(command);
        assert!(
            text.starts_with("Not done: ") && text.ends_with(".\n"),
            "{command}: {text}"
        );
        assert_eq!(text.lines().count(), 1, "{command}");
    }
}

#[test]
fn what_is_set_by_hand_is_understood() {
    let set = |setting| Change::Set {
        server: mb(1),
        setting,
    };
    let frontend = |most| Change::ClientCap {
        service: "smtp_backend".into(),
        most,
    };
    for (command, wanted) in [
        (
            "set maxconn server smtp_backend/mb1 10",
            set(Setting::MaxConnections(10)),
        ),
        (
            "set maxconn server smtp_backend/mb1 +1000000",
            set(Setting::MaxConnections(1_000_000)),
        ),
        ("set maxconn frontend smtp_backend 0", frontend(0)),
        ("set maxconn frontend smtp_backend 5", frontend(5)),
        (
            "shutdown frontend smtp_backend",
            Change::ShutFrontend {
                service: "smtp_backend".into(),
            },
        ),
    ] {
        match ask(command) {
            Answer::Change { change, done } => assert_eq!((change, done), (wanted, String::new())),
            other => panic!("{command:?} gives {other:?}"),
        }
    }
    for command in [
        "set maxconn server smtp_backend/mb1 1000001",
        "set maxconn server smtp_backend/mb1 99999999999999999999",
        "set maxconn frontend smtp_backend -1",
        "set maxconn frontend smtp_backend 1000001",
    ] {
        assert_eq!(text(command), "Value out of range.\n", "{command}");
    }

    let mut snapshot = well();
    snapshot.services[0].servers[0].agent = Some(AgentView::default());
    for (command, told) in [
        ("agent-send how\\ are\\ you\\\\n", "how are you\n"),
        ("agent-send one two", "one"),
        ("agent-send", ""),
    ] {
        let command = format!("set server smtp_backend/mb1 {command}");
        match ask_of(&snapshot, SocketLevel::Admin, &command) {
            Answer::Change { change, .. } => {
                assert_eq!(change, set(Setting::AgentSend(told.to_owned())));
            }
            other => panic!("{command:?} gives {other:?}"),
        }
    }
    let long = format!(
        "set server smtp_backend/mb1 agent-send {}",
        "x".repeat(1025)
    );
    match ask_of(&snapshot, SocketLevel::Admin, &long) {
        Answer::Text(text) => assert_eq!(text, "Not done: an agent is told 1024 bytes at most.\n"),
        other => panic!("{other:?}"),
    }
}

/// Words that commands are made of, and some that they are not.
fn word() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    const KNOWN: &[&str] = &[
        "set",
        "get",
        "show",
        "clear",
        "enable",
        "disable",
        "add",
        "del",
        "new",
        "commit",
        "abort",
        "shutdown",
        "server",
        "servers",
        "weight",
        "state",
        "conn",
        "stat",
        "info",
        "sess",
        "ssl",
        "cert",
        "crt-list",
        "maxconn",
        "frontend",
        "global",
        "rate-limit",
        "session",
        "sessions",
        "counters",
        "all",
        "typed",
        "json",
        "desc",
        "up",
        "no-maint",
        "domain",
        "proxy",
        "-1",
        "0",
        "2",
        "addr",
        "port",
        "health",
        "agent",
        "agent-addr",
        "check-addr",
        "check-port",
        "fqdn",
        "smtp_backend",
        "smtp_backend/mb1",
        "#2/#1",
        "192.0.2.1",
        "2001:db8::1",
        "mb-lb",
        "flows",
        "limit",
        "help",
        "-n",
        "*",
        "timeout",
        "cli",
        "99999999999999999999",
        "50%",
        "-5",
    ];
    prop_oneof![
        4 => prop::sample::select(KNOWN).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

proptest::proptest! {
    #[test]
    fn no_words_do_harm(
        words in proptest::collection::vec(word(), 0..9),
        payload in proptest::option::of(proptest::prelude::any::<String>()),
        level in 0..3,
    ) {
        let level = [SocketLevel::User, SocketLevel::Operator, SocketLevel::Admin][level as usize];
        let snapshot = crate::fixtures::degraded();
        let context = Context {
            snapshot: &snapshot,
            now_ms: NOW_MS,
            level,
            socket: ("/run/mb-lb/admin.sock", level),
            process: Default::default(),
        };
        if let Answer::Change { .. } = respond(&words, payload, &context) {
            proptest::prop_assert_eq!(level, SocketLevel::Admin);
        }
    }

    #[test]
    fn no_line_does_harm(text in proptest::prelude::any::<String>()) {
        let line = split(&text);
        proptest::prop_assert!(!line.commands.is_empty());
    }
}
