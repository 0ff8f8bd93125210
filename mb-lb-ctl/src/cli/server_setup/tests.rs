use super::*;

const CONFIG: &str = r#"
[service.smtp]
listen = ["192.0.2.100:25", "[2001:db8::100]:25"]
servers = { mb1 = "192.0.2.1", mb2 = "192.0.2.2" }
[service.submission]
listen = "192.0.2.101:587"
servers = { first = "192.0.2.1" }
[service.imap]
listen = "192.0.2.100:143"
forward = "proxy"
servers = { mb1 = "192.0.2.1" }
[proxy.web]
listen = "192.0.2.100:80"
servers = { mb1 = "192.0.2.1:80" }
"#;

fn printed(name: &str, undo: bool) -> Result<String, Failure> {
    let config = crate::config::parse(CONFIG, "lb1").config.expect("valid");
    let (service, server) = name.split_once('/').unwrap_or(("", name));
    let wanted = ServerRef {
        service: service.to_owned(),
        server: server.to_owned(),
    };
    text(&config, &wanted, undo)
}

#[test]
fn a_server_of_one_service() {
    insta::assert_snapshot!("set_up", printed("smtp/mb2", false).unwrap());
    insta::assert_snapshot!("undo", printed("smtp/mb2", true).unwrap());
}

/// Those of the first lines are for who reads the whole.
#[test]
fn notes_are_what_concerns_people() {
    let set_up = printed("smtp/mb2", false).unwrap();
    assert_eq!(
        notes(&set_up).collect::<Vec<_>>(),
        [
            "Its mail daemon has to listen on all addresses, or on the VIP too: port 25.",
            "What it reaches at the VIP today, such as a database, it looks for on itself from then on.",
        ]
    );
    let none = printed("web/mb1", false).unwrap();
    assert_eq!(
        notes(&none).collect::<Vec<_>>(),
        ["web/mb1 needs no set-up (a proxy): the director connects to the server's own address."]
    );
}

#[test]
fn what_another_service_needs_is_kept() {
    let set_up = printed("submission/first", false).unwrap();
    for vip in ["192.0.2.100/32", "192.0.2.101/32", "2001:db8::100/128"] {
        assert!(set_up.contains(vip), "{set_up}");
    }
    insta::assert_snapshot!("undo_shared", printed("submission/first", true).unwrap());
}

#[test]
fn who_needs_nothing_is_told_so_in_a_comment() {
    for name in ["imap/mb1", "web/mb1"] {
        let text = printed(name, false).unwrap();
        assert!(
            text.starts_with('#') && text.contains("needs no set-up"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
    }
}

#[test]
fn who_is_not_there_is_said() {
    for (name, exit, says) in [
        ("smtp/mb9", Exit::NotFound, "no server smtp/mb9"),
        ("web/mb9", Exit::NotFound, "no server web/mb9"),
        ("pop/mb1", Exit::NotFound, "no server pop/mb1"),
        ("mb2", Exit::Usage, "did you mean smtp/mb2?"),
        ("mb9", Exit::Usage, "for example"),
    ] {
        let failure = printed(name, false).unwrap_err();
        assert_eq!(failure.exit, exit, "{name}");
        assert!(failure.message.contains(says), "{failure}");
    }
}
