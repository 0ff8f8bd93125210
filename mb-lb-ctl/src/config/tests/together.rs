//! Typos, TOML that is none, many errors at once, and what only shows across services.

use std::fmt::Write;

use super::{SERVICE, accept, codes, diagnose, shown};
use crate::config::{Code, Severity, parse, render};

#[test]
fn typos() {
    let source = r#"
[directory]
name = "lb1"
[director]
interface = ["eth0"]
max-flows = 4096
flow_timeouts = { half_close = "2m" }
[admin]
sockt = "/run/a.sock"
[services.smtp]
listen = "192.168.1.100:25"
[service.smtp]
lisen = "192.168.1.100:25"
balance = "leastconn"
shceduler = "leastconn"
interval = "2s"
weather = "fine"
check = { typ = "tcp", inter = "2s", healthcheck = 1 }
[service.smtp.servers]
mb1 = { adress = "192.168.1.101", wieght = 10, maxconn = 5 }
[metrics]
"#;
    insta::assert_snapshot!("typos", shown(source));
}

#[test]
fn broken_toml() {
    let mut text = String::new();
    for source in [
        "listen = 192.168.1.100:25\n",
        "scheduler = leastconn\nservers = { mb1 = \"192.168.1.101\" }\n",
        "backup = yes\n",
        "listen \"192.168.1.100:25\"\n",
        "listen =\nscheduler = \"rr\"\n",
        "listen = \"192.168.1.100:25\nscheduler = \"rr\"\n",
        "no_server = \"\"\"421\nscheduler = \"rr\"\n",
        "listen = [\"192.168.1.100:25\"\nscheduler = \"rr\"\n[admin]\nsockt = 1\n",
        "servers = { mb1 = \"192.168.1.101\",\nscheduler = \"rr\"\n[admin]\nsockt = 1\n",
        "check = { rise = 02 }\n",
        "check = { rise = 2 fall = 3 }\n",
        "slow_start = 30s # long\n",
        "no_server = \"421 \\q\"\n",
        "listen = \"192.168.1.100:25\" scheduler = \"rr\"\n",
        "= 3\n",
        "listen = 1..2\n",
        "x = \u{1}\n",
        "[admin\nsocket = 1\n",
        "[service.other]]\nlisten = 1\n",
    ] {
        let source = format!("[service.smtp]\n{source}");
        text += &shown(&source);
        text += "----\n";
    }
    insta::assert_snapshot!("broken_toml", text);
}

#[test]
fn given_twice() {
    let source = format!(
        "[director]\nname = \"a\"\nname = \"b\"\n{SERVICE}listen = \"192.168.1.99:25\"\n\
         check = {{ rise = 1, rise = 2 }}\n\n[service.imap]\nservers.mb1 = \"192.168.1.101\"\n\
         servers.mb1 = \"192.168.1.102\"\nservers.mb2 = \"192.168.1.102\"\n\
         listen = \"192.168.1.100:143\"\n[service.smtp] # again\n[director]\nxdp = \"auto\"\n"
    );
    insta::assert_snapshot!("given_twice", shown(&source));
}

#[test]
fn all_errors_of_a_file_at_once() {
    let source = r#"
[director]
name = "lb 1"
max_flows = 0
[vrrp.VI_1]
priority = 101
[admin]
socket_mode = 660
[service.smtp_backend]
listen = ["192.168.1.100", "192.168.1.100:25"]
forward = "dnat"
scheduler = "rr"
check = { interval = 2, rise = 0, port = 70000 }
slow_start = "30"
[service.smtp_backend.servers]
mb1 = { address = "mb1", weight = 1000 }
mb2 = { weight = "10" }
mb3 = "192.168.1.100"
[service.second]
listen = "192.168.1.100:25"
"#;
    insta::assert_snapshot!("all_at_once", shown(source));
    let parsed = parse(source, "lb1");
    assert_eq!(parsed.config, None);
    assert_eq!((parsed.errors(), parsed.warnings()), (20, 0));
}

#[test]
fn across_services() {
    let source = r#"
[director]
[admin]
socket_mode = "0666"
[service.smtp]
listen = ["192.168.1.100:25", "[2001:db8::100]:25"]
check = { interval = "11s", timeout = "20s" }
no_server = "Sorry"
[service.smtp.servers]
mb1 = { address = "192.168.1.101", weight = 0, backup = true }
mb2 = { address = "2001:db8::100", weight = 0, backup = true }
mb3 = { address = "192.168.1.101", weight = 0, backup = true }
[service.other]
listen = ["192.168.1.99:25", "[2001:db8:0::100]:25"]
no_server = "421-4.3.2 more follows"
check = { interval = "500ms" }
servers = { mb1 = "192.168.1.100" }
"#;
    insta::assert_snapshot!("across_services", shown(source));
}

#[test]
fn warnings_leave_a_config() {
    let source = SERVICE.replace(", mb2 = \"192.168.1.102\"", "");
    let parsed = parse(&source, "lb1");
    assert!(parsed.config.is_some());
    assert_eq!((parsed.errors(), parsed.warnings()), (0, 1));
    assert_eq!(codes(&source), [Code::SingleServer]);
}

#[test]
fn each_warning_and_what_is_just_short_of_it() {
    let check = |text: &str| format!("{SERVICE}check = {{ {text} }}\n");
    let servers = |text: &str| {
        format!("[service.smtp]\nlisten = \"192.168.1.100:25\"\nservers = {{ {text} }}\n")
    };
    let one = "a = { address = \"192.168.1.1\", weight = 0 }";
    for (source, expected) in [
        (check("interval = \"10s\", fall = 3"), None),
        (
            check("interval = \"11s\", fall = 3"),
            Some(Code::SlowToNotice),
        ),
        (
            check("interval = \"25s\", fast_interval = \"1s\", fall = 6"),
            None,
        ),
        (check("interval = \"1s\""), None),
        (
            check("interval = \"999ms\""),
            Some(Code::TimeoutOverInterval),
        ),
        (
            check("timeout = \"2001ms\""),
            Some(Code::TimeoutOverInterval),
        ),
        (servers(&format!("{one}, b = \"192.168.1.2\"")), None),
        (
            servers(&format!(
                "{one}, b = {{ address = \"192.168.1.2\", weight = 0 }}"
            )),
            Some(Code::AllWeightsZero),
        ),
        (
            servers(
                "a = { address = \"192.168.1.1\", backup = true }, \
                 b = { address = \"192.168.1.2\", backup = true }",
            ),
            Some(Code::OnlyBackups),
        ),
        (servers("a = \"192.168.1.1\""), Some(Code::SingleServer)),
        (
            servers("a = \"192.168.1.1\", b = \"192.168.1.1\""),
            Some(Code::DuplicateServer),
        ),
        (format!("{SERVICE}no_server = \"599\"\n"), None),
        (
            format!("{SERVICE}no_server = \"421x\"\n"),
            Some(Code::NoReplyCode),
        ),
        (
            format!("{SERVICE}no_server = \"250 ok\"\n"),
            Some(Code::NoReplyCode),
        ),
        (format!("[admin]\nsocket_mode = \"0664\"\n{SERVICE}"), None),
        (
            format!("[admin]\nsocket_mode = \"0662\"\n{SERVICE}"),
            Some(Code::OpenSocket),
        ),
    ] {
        accept(&source);
        assert_eq!(codes(&source), Vec::from_iter(expected), "{source}");
    }
}

#[test]
fn the_host_name_must_do_as_a_name() {
    let parsed = parse(SERVICE, "(none)");
    insta::assert_snapshot!(
        "host_name",
        render(&parsed.diagnostics, SERVICE, "mb-lb.toml", false)
    );
    let named = format!("[director]\nname = \"lb1\"\n{SERVICE}");
    assert!(parse(&named, "(none)").config.is_some());
}

#[test]
fn an_empty_file_takes_no_service_away() {
    for source in ["", "\n# nothing\n", "[director]\n", "[service]\n"] {
        assert_eq!(codes(source), [Code::NoService], "{source:?}");
    }
}

/// Service `index` with servers `first` to `last`.
fn many(index: u32, servers: std::ops::Range<u32>, listens: u32) -> String {
    let listen = |port| format!("\"10.9.{}.{}:{}\"", index >> 8, index & 255, port + 1);
    let listen: Vec<_> = (0..listens).map(listen).collect();
    let mut text = format!("[service.s{index}]\nlisten = [{}]\n", listen.join(", "));
    text += &format!("[service.s{index}.servers]\n");
    for n in servers {
        let _ = writeln!(text, "m{n} = \"10.1.{}.{}\"", n >> 8, n & 255);
    }
    text
}

#[test]
fn limits() {
    let full: String = (0..256).map(|i| many(i, 1..65, 8)).collect();
    assert_eq!(codes(&full), []);
    assert_eq!(accept(&full).services.len(), 256);
    let largest = many(0, 0..1024, 1);
    assert_eq!(codes(&largest), []);

    let services = full + &many(256, 1..3, 1);
    let said: Vec<_> = diagnose(&services).into_iter().map(|d| d.message).collect();
    // The one service too many also brings a server and a listen too many.
    assert_eq!(
        said,
        [
            "257 services, the most is 256",
            "2049 `listen` addresses in all services, the most is 2048",
            "16386 servers in all services, the most is 16384",
        ]
    );
    let servers = diagnose(&many(0, 0..1025, 1));
    assert_eq!(
        servers[0].message,
        "1025 servers in service `s0`, the most is 1024"
    );
    assert_eq!(servers[0].location.line, 4 + 1024);

    let names: Vec<_> = (0..257).map(|n| format!("\"eth{n}\"")).collect();
    let source = format!("[director]\ninterfaces = [{}]\n{SERVICE}", names.join(", "));
    assert_eq!(codes(&source), [Code::TooMany]);

    for (bytes, expected) in [(500, None), (501, Some(Code::BadText))] {
        let text = format!("421 {}", "x".repeat(bytes - 4));
        let source = format!("{SERVICE}no_server = \"{text}\"\n");
        assert_eq!(codes(&source), Vec::from_iter(expected));
    }
}

/// What newcomers write, and what they are told first.
#[test]
fn mistakes_of_the_first_hour() {
    let mut text = String::new();
    for source in [
        "[services.smtp]\nlisten = \"192.0.2.100:25\"\n[services.smtp.servers]\nmb1 = \"192.0.2.1\"\n",
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\n[service.smtp.servers]\nmb1 = \"192.0.2.1\"\n\
         mb2 = \"192.0.2.2\"\nscheduler = \"leastconn\"\ncheck = { type = \"tcp\" }\n",
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\nno_server = \"421 später\"\n\
         [service.smtp.servers]\nmb1 = \"192.0.2.1\"\nmb2 = \"192.0.2.2\"\n",
    ] {
        text += &shown(source);
        text.push('\n');
    }
    insta::assert_snapshot!("first_hour", text);
}

#[test]
fn diagnostics_as_json() {
    let source = format!("{SERVICE}weather = 1\nlisten = \"ä\"\n");
    insta::assert_json_snapshot!("json", diagnose(&source));
}

#[test]
fn colour_is_only_added() {
    let source = "[servce.smtp]\n";
    let diagnostics = diagnose(source);
    let plain = render(&diagnostics, source, "mb-lb.toml", false);
    let coloured = render(&diagnostics, source, "mb-lb.toml", true);
    assert!(!plain.contains('\u{1b}'));
    assert!(coloured.contains('\u{1b}'));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
}

/// A file is not able to write to the terminal of whoever checks it.
#[test]
fn control_characters_do_not_get_through() {
    let source = "[service.\"\\u001b[31m\"]\nlisten = \"\\u001b]0;x\\u0007\"\n\u{1b}[2J = 1\n";
    let text = shown(source);
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    let errors = diagnose(source);
    assert!(errors.iter().any(|d| d.severity == Severity::Error));
}
