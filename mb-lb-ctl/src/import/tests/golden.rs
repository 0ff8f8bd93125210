//! The files of a deployment, and what is made of them, to the letter.

use std::net::IpAddr;

use super::{imported, row};
use crate::config::{Forward, parse, schema};
use crate::import::{Imported, Input, Options, Verdict, import};

const HAPROXY: &str = include_str!("fixtures/document/haproxy.cfg");
const KEEPALIVED: &str = include_str!("fixtures/document/keepalived.conf");
const BACKUP: &str = include_str!("fixtures/document/keepalived-backup.conf");
const MAILBORDER: &str = include_str!("fixtures/document/mailborder.conf");
const TUNED: &str = include_str!("fixtures/tuned/haproxy.cfg");
const DEAD: &str = include_str!("fixtures/dead/haproxy.cfg");
const TRACKED: &str = include_str!("fixtures/tracked/keepalived.conf");
const IPVS: &str = include_str!("fixtures/ipvs/keepalived.conf");

/// Configuration and report, as they are printed.
fn shown(imported: &Imported) -> String {
    let config = imported.config.as_deref().unwrap_or("nothing\n");
    format!("{config}\n----\n{}", imported.report.text())
}

/// Without the page of statistics, which not every build has.
fn without_page(text: &str) -> &str {
    text.split("# Statistics")
        .next()
        .expect("what is before it")
}

#[test]
fn the_document_with_dsr() {
    let files = [
        ("haproxy.cfg", without_page(HAPROXY)),
        ("keepalived.conf", KEEPALIVED),
        ("mailborder.conf", MAILBORDER),
    ];
    insta::assert_snapshot!(shown(&imported(&files, &Options::default())));
}

#[test]
fn the_document_with_proxy() {
    let files = [
        ("haproxy.cfg", without_page(HAPROXY)),
        ("keepalived.conf", KEEPALIVED),
    ];
    let options = Options {
        forward: Forward::Proxy,
        ..Options::default()
    };
    let imported = imported(&files, &options);
    assert_eq!(imported.report.setups, []);
    insta::assert_snapshot!(shown(&imported));
}

#[test]
fn the_order_of_files_does_not_matter_for_what_is_served() {
    let files = [("keepalived.conf", KEEPALIVED), ("haproxy.cfg", HAPROXY)];
    let one = imported(&files, &Options::default());
    let other = imported(&[files[1], files[0]], &Options::default());
    let config = |imported: &Imported| {
        let text = imported.config.clone().expect("a configuration");
        parse(&text, "lb1").config.expect("valid")
    };
    assert_eq!(config(&one), config(&other));
}

#[test]
fn the_page_of_statistics_is_there_where_this_build_has_one() {
    let imported = imported(
        &[("haproxy.cfg", HAPROXY), ("keepalived.conf", KEEPALIVED)],
        &Options::default(),
    );
    let config = imported.config.as_deref().expect("a configuration");
    let (auth, uri) = (row(&imported, 0, 57), row(&imported, 0, 55));
    let text = &imported.report.files[0].rows.last().expect("rows").text;
    assert_eq!(text, "stats auth admin:***");
    if schema::ADMIN.keys.contains(&"http") {
        // It has no `stats admin`.
        assert_eq!((auth.0, uri.0), (Verdict::Approximated, Verdict::Mapped));
        for line in [
            "http = \"0.0.0.0:8404\"",
            "user = \"admin\"",
            "password = \"secure_password\"",
        ] {
            assert!(config.contains(line), "{line}");
        }
    } else {
        assert_eq!(
            (auth.0, uri.0),
            (Verdict::Unsupported, Verdict::Unsupported)
        );
        assert!(auth.1.contains("this build"), "{auth:?}");
        assert!(!config.contains("8404"));
    }
}

#[test]
fn the_backup_differs_in_its_priority() {
    let config = |keepalived| {
        let files = [("haproxy.cfg", HAPROXY), ("keepalived.conf", keepalived)];
        let text = imported(&files, &Options::default())
            .config
            .expect("a configuration");
        parse(&text, "lb1").config.expect("valid")
    };
    let (mut active, backup) = (config(KEEPALIVED), config(BACKUP));
    assert_eq!(
        (active.vrrps[0].priority, backup.vrrps[0].priority),
        (101, 100)
    );
    active.vrrps[0].priority = 100;
    assert_eq!(active, backup);
}

#[test]
fn tuned() {
    let files = [("haproxy.cfg", TUNED), ("keepalived.conf", KEEPALIVED)];
    insta::assert_snapshot!(shown(&imported(&files, &Options::default())));
}

#[test]
fn dead_lines() {
    let options = Options {
        vips: vec![IpAddr::from([192, 0, 2, 100])],
        ..Options::default()
    };
    insta::assert_snapshot!(shown(&imported(&[("haproxy.cfg", DEAD)], &options)));
}

#[test]
fn a_rule_of_a_check_without_its_option_is_dead() {
    let text = HAPROXY.replace("    option tcp-check\n", "    # was option tcp-check\n");
    let files = [
        ("haproxy.cfg", text.as_str()),
        ("keepalived.conf", KEEPALIVED),
    ];
    let imported = imported(&files, &Options::default());
    let (verdict, note) = row(&imported, 0, 29);
    assert_eq!(verdict, Verdict::Dead);
    assert!(note.contains("there is no `option tcp-check`"), "{note}");
    // The port of mail was asked, and still is.
    let config = imported.config.expect("a configuration");
    assert!(
        config.contains("check = { type = \"tcp\", interval = \"2s\""),
        "{config}"
    );
    assert!(!config.contains("10025"));
}

#[test]
fn tracked() {
    let options = Options {
        name: "high.example.org".to_owned(),
        ..Options::default()
    };
    let files = [
        ("keepalived.conf", TRACKED),
        ("haproxy.cfg", without_page(HAPROXY)),
    ];
    insta::assert_snapshot!(shown(&imported(&files, &options)));
}

#[test]
fn ipvs() {
    insta::assert_snapshot!(shown(&imported(
        &[("keepalived.conf", IPVS)],
        &Options::default()
    )));
}

#[test]
fn databases_get_an_address_of_their_own() {
    let files = [
        ("haproxy.cfg", without_page(HAPROXY)),
        ("keepalived.conf", KEEPALIVED),
        ("mailborder.conf", MAILBORDER),
    ];
    let inner = IpAddr::from([192, 168, 1, 99]);
    let options = Options {
        tier_vip: Some(inner),
        ..Options::default()
    };
    let imported = imported(&files, &options);
    let parsed = parse(imported.config.as_deref().expect("a configuration"), "lb1");
    let config = parsed.config.expect("valid");
    assert_eq!(config.galeras[0].listen, [(inner, 3306).into()]);
    assert_eq!(config.sentinels[0].listen, [(inner, 6379).into()]);
    let vips: Vec<_> = config.vrrps[0]
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(vips, ["192.168.1.100/24", "192.168.1.99/32"]);
    assert_eq!(imported.report.notices, Vec::<String>::new());
}

#[test]
fn nothing_to_serve_is_said_and_not_written() {
    for (text, line, says) in [
        (
            "frontend f\n    bind *:25\n    default_backend b\nbackend b\n    server a mb1.example.org:25 check\n",
            5,
            "names are not looked up",
        ),
        (
            "frontend f\n    bind *:25\n    default_backend b\nbackend b\n    server a 192.0.2.1:25 check\n",
            2,
            "--vip ADDRESS",
        ),
    ] {
        let imported = imported(&[("haproxy.cfg", text)], &Options::default());
        assert_eq!(imported.config, None);
        let (verdict, note) = row(&imported, 0, line);
        assert_eq!(verdict, Verdict::Unsupported);
        assert!(note.contains(says), "{note}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error_with_its_line() {
    for (text, says) in [
        (
            "global\n    log \"x\n",
            "haproxy.cfg:2: a quote is not closed",
        ),
        (
            "vrrp_instance A {\n state \"x\n",
            "haproxy.cfg:2: a quote is not closed",
        ),
        ("server { }\n", "haproxy.cfg is no configuration"),
        (
            &format!("global_defs {}\n", "{ a ".repeat(20)),
            "haproxy.cfg:1: blocks are nested",
        ),
    ] {
        let input = Input {
            name: "haproxy.cfg",
            text,
        };
        let error = import(&[input], &Options::default())
            .expect_err(text)
            .to_string();
        assert!(error.starts_with(says), "{error}");
    }
}

#[test]
fn passwords_are_not_in_the_report() {
    for (text, secret) in [
        (
            "listen s\n    bind :80\n    mode http\n    stats auth \"a:hush\\\"hush\"\n",
            "hush",
        ),
        ("userlist u\n    user a insecure-password hush\n", "hush"),
        (
            "vrrp_instance A {\n  authentication {\n    auth_pass \"hu\"sh\n  }\n}\n",
            "hu",
        ),
        (
            "[redis]\npassword = hush\n[database]\ndb_password=hush\n",
            "hush",
        ),
    ] {
        let input = Input { name: "x", text };
        let imported = import(&[input], &Options::default()).expect("imported");
        let said = imported.report.text();
        assert!(!said.contains(secret), "{said}");
    }
}

#[test]
fn agents_are_asked_where_this_build_can() {
    let text = "frontend f\n    bind 192.0.2.100:25\n    default_backend b\nbackend b\n\
                \x20   server a 192.0.2.1:25 check agent-check agent-port 8888 agent-inter 5s agent-send \"x\\n\"\n\
                \x20   server b 192.0.2.2:25 check\n";
    let imported = imported(&[("haproxy.cfg", text)], &Options::default());
    let config = imported.config.as_deref().expect("a configuration");
    let (verdict, note) = row(&imported, 0, 5);
    if schema::SERVICE.keys.contains(&"agent") {
        assert_eq!(verdict, Verdict::Mapped, "{note}");
        let line = "agent = { port = 8888, interval = \"5s\", send = \"x\\u000A\" }";
        assert!(config.contains(line), "{config}");
        assert_eq!(row(&imported, 0, 6).0, Verdict::Approximated);
    } else {
        assert_eq!(verdict, Verdict::Approximated);
        assert!(note.contains("no agents"), "{note}");
    }
}
