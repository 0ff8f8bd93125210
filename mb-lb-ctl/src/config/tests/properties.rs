//! Whatever the file holds: no panic, places that exist, and a `Config` exactly when there is no error.

use proptest::prelude::*;

use super::SERVICE;
use crate::config::{Severity, example, parse, render, schema};

const FULL: &str = r#"[director]
name = "lb1"
interfaces = ["eth0"]
flow_timeouts = { established = "15m" }
[admin]
socket = "/run/mb-lb/admin.sock"
[service.smtp]
listen = ["192.168.1.100:25", "[2001:db8::1]:25"]
check = { type = "smtp", interval = "2s", rise = 2, fall = 3 }
no_server = "421 4.3.2 Später"
[service.smtp.servers]
mb1 = { address = "192.168.1.101", weight = 10 }
mb2 = "192.168.1.102"
[proxy.web]
listen = ["192.168.1.100:443"]
certificate = "/etc/ssl/mail.pem"
cookie = { name = "SERVERID", secure = true, same_site = "none", dynamic_key = "hunter2" }
redirect_http = "192.168.1.100:80"
hsts = "8760h"
check = { type = "http", path = "/health", expect = [200, "3xx"], body_regex = "ok|up", tls = true, verify = "none" }
timeouts = { connect = "5s", client = "50s" }
limits = { header = "32k", body = 1000 }
trusted_proxies = ["10.0.0.0/8"]
access_log = { format = "json", file = "/var/log/x.log" }
[proxy.web.servers]
mb1 = { address = "192.168.1.101:443", tls = { verify = "/ca.pem", sni = "a.example" }, http = "2", cookie = "a" }
mb2 = "192.168.1.102:80"
[vrrp.VI_1]
interface = "eth0"
virtual_router_id = 51
auth_pass = "hunter2"
addresses = ["192.168.1.100/24", "192.168.1.99"]
unicast_peers = ["192.168.1.11"]
sync_group = "mail"
track_interfaces = { eth1 = { weight = -20 } }
track_services = { smtp = { min_up = 1 } }
track_scripts = { x = { command = "/bin/x 1", interval = "2s" } }
[peer]
listen = "192.168.1.10:8405"
address = "192.168.1.11:8405"
key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
[vrrp.VI_2]
interface = "eth0"
virtual_router_id = 51
version = 3
addresses = "fe80::100/64"
sync_group = "mail"
"#;

fn holds(source: &str) -> Result<(), TestCaseError> {
    let parsed = parse(source, "lb1");
    prop_assert_eq!(parsed.config.is_some(), parsed.errors() == 0);
    for diagnostic in &parsed.diagnostics {
        let location = &diagnostic.location;
        prop_assert!(location.start <= location.end && location.end <= source.len());
        prop_assert!(source.get(location.start..location.end).is_some());
        let line = source.split('\n').nth(location.line - 1);
        let length = line.map(|line| line.chars().count());
        prop_assert!(length.is_some_and(|length| location.column <= length + 1));
        prop_assert!(!diagnostic.message.contains('\n'));
    }
    let text = render(&parsed.diagnostics, source, "mb-lb.toml", false);
    prop_assert_eq!(text.is_empty(), parsed.diagnostics.is_empty());
    for diagnostic in &parsed.diagnostics {
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let head = format!("{severity}[{}]: ", diagnostic.code.id());
        prop_assert!(text.contains(&head), "{} not in {}", head, text);
    }
    if let Some(config) = parsed.config {
        prop_assert_eq!(config.hash().len(), 12);
    }
    Ok(())
}

/// Pieces that are near enough to a configuration to get past the first checks.
fn piece() -> impl Strategy<Value = String> {
    let words: Vec<String> = schema::ALL
        .iter()
        .flat_map(|section| section.keys.iter().chain(section.later))
        .map(|key| (*key).to_owned())
        .collect();
    let marks = [
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ",",
        ".",
        "\"",
        "'",
        "\"\"\"",
        "\n",
        " ",
        "#",
        "1",
        "-1",
        "0x",
        "1e5",
        "true",
        "\"2s\"",
        "\"192.168.1.1\"",
        "\"192.168.1.1:25\"",
        "\"00ff\"",
        "\"192.168.1.1/24\"",
        "\"fe80::1/64\"",
        "\"192.168.1.1:443\"",
        "\"10.0.0.0/8\"",
        "\"10m\"",
        "\"none\"",
        "\"http\"",
        "web",
        "smtp",
        "mb1",
        "ä",
        "\u{0}",
        "\r\n",
        "\\",
        "1979-05-27",
        "\u{feff}",
        "\"\"",
    ];
    prop_oneof![
        proptest::sample::select(words),
        proptest::sample::select(marks.map(str::to_owned).to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text(source in "\\PC*") {
        holds(&source)?;
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        holds(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_pieces(pieces in proptest::collection::vec(piece(), 0..60)) {
        holds(&pieces.concat())?;
    }

    #[test]
    fn a_good_file_with_pieces_put_in(
        base in proptest::sample::select(vec![FULL, SERVICE, example()]),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), 0usize..12, piece()), 1..5),
    ) {
        let mut source = base.to_owned();
        for (at, length, piece) in edits {
            let start = source.floor_char_boundary(at.index(source.len() + 1));
            let end = source.ceil_char_boundary((start + length).min(source.len()));
            source.replace_range(start..end, &piece);
        }
        holds(&source)?;
    }

    #[test]
    fn a_good_file_cut_off(base in proptest::sample::select(vec![FULL, SERVICE, example()]), at in any::<proptest::sample::Index>()) {
        let end = base.floor_char_boundary(at.index(base.len() + 1));
        holds(&base[..end])?;
    }
}
