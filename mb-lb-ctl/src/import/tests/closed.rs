//! What keeps clients out is not opened in silence.

use super::{said, single, written};
use crate::import::Verdict::{Approximated, Dead, Mapped, Unsupported};

/// A service beside, so that there is always something to write.
const OTHER: &str = "listen other\n mode tcp\n bind 192.0.2.100:143\n server o 192.0.2.9:143\n";

fn web(bind: &str, front: &str, back: &str) -> String {
    format!(
        "{OTHER}frontend web\n mode http\n bind 192.0.2.100:443 ssl crt /etc/ssl/a.pem{bind}\n{front} default_backend webs\nbackend webs\n mode http\n{back} server a 192.0.2.1:8080\n"
    )
}

#[test]
fn the_level_of_the_socket_is_kept() {
    let socket = |words: &str| format!("global\n stats socket /run/h.sock {words}\n{OTHER}");
    for (words, level, notices) in [
        ("mode 666 level user", "user", 1),
        ("mode 660 level operator", "operator", 1),
        ("mode 600 level admin", "admin", 0),
        // HAProxy's default.
        ("mode 660", "operator", 1),
    ] {
        let imported = single(&socket(words));
        let expected = format!("socket_level = \"{level}\"");
        assert_eq!(written(&imported, "socket_level"), Some(expected.as_str()));
        assert_eq!(imported.report.notices.len(), notices, "{words}");
    }
    let imported = single(&socket("mode 666 level user group monitoring"));
    assert_eq!(
        written(&imported, "socket_mode"),
        Some("socket_mode = \"0666\"")
    );
    let (verdict, note) = said(
        &imported,
        "stats socket /run/h.sock mode 666 level user group monitoring",
    );
    assert_eq!(verdict, Approximated);
    assert_eq!(
        note,
        "the socket is /run/mb-lb/admin.sock: have scripts that name /run/h.sock name that instead; it speaks the same language; `group monitoring`: the socket belongs to the user and group of the daemon, which is root in its unit; who else is to use it gets in by socket_mode, or by sudo"
    );
    assert_eq!(
        imported.report.notices,
        [
            "the admin socket has HAProxy's level, user, with which nothing can be changed; mb-lb-ctl needs socket_level = \"admin\" to drain and weight servers"
        ]
    );
}

#[test]
fn a_line_break_in_a_path_begins_no_line_of_ours() {
    let imported = single(&format!(
        "global\n stats socket /run/h\\npassword_file\\ =\\ \\\"x\\\" level admin\n{OTHER}"
    ));
    assert_eq!(written(&imported, "password_file"), None);
    assert_eq!(
        written(&imported, "socket ="),
        Some("socket = \"/run/mb-lb/admin.sock\"")
    );
}

#[test]
fn who_asks_clients_for_certificates_is_left_out() {
    for word in ["required", "optional"] {
        let bind = format!(" verify {word} ca-file /etc/ssl/clients.pem");
        let imported = single(&web(&bind, "", ""));
        assert_eq!(written(&imported, "[proxy"), None);
        let why = format!(
            "`verify {word}`: clients are not asked for certificates here, so whoever has none would come in: have the servers ask for them, behind a [service.NAME]"
        );
        let line = format!("bind 192.0.2.100:443 ssl crt /etc/ssl/a.pem{bind}");
        assert_eq!(said(&imported, &line), (Unsupported, why.clone()));
        assert_eq!(
            imported.report.notices,
            [format!(
                "file:7: access control that mb-lb does not have; what it guards is left out: {why}"
            )]
        );
        assert_eq!(said(&imported, "backend webs").0, Unsupported);
    }
    // HAProxy asks nobody.
    for bind in [
        " ca-file /etc/ssl/clients.pem",
        " verify none ca-file /etc/ssl/clients.pem",
    ] {
        let imported = single(&web(bind, "", ""));
        let line = format!("bind 192.0.2.100:443 ssl crt /etc/ssl/a.pem{bind}");
        assert_eq!(said(&imported, &line).0, Mapped);
        assert_eq!(written(&imported, "[proxy.webs]"), Some("[proxy.webs]"));
        assert_eq!(imported.report.notices, Vec::<String>::new());
    }
}

#[test]
fn one_address_may_be_left_out_and_the_others_served() {
    let front = " bind 192.0.2.100:8443 ssl crt /etc/ssl/a.pem verify required ca-file /x.pem\n";
    let imported = single(&web("", front, ""));
    assert_eq!(
        written(&imported, "listen = [\"192.0.2.100:443\"]"),
        Some("listen = [\"192.0.2.100:443\"]")
    );
    let (verdict, _) = said(&imported, front.trim());
    assert_eq!(verdict, Unsupported);
    assert_eq!(imported.report.notices.len(), 1);
}

#[test]
fn what_rules_guard_is_left_out() {
    let deny = " http-request deny if { path_beg /admin } !{ src 10.0.0.0/8 }\n";
    for (front, back, line) in [(deny, "", 8), ("", deny, 11)] {
        let imported = single(&web("", front, back));
        assert_eq!(written(&imported, "[proxy"), None);
        let why = "`http-request deny` keeps clients out, and nothing here does: have the servers do it, and import a copy of the file without this line";
        assert_eq!(said(&imported, deny.trim()), (Unsupported, why.to_owned()));
        assert_eq!(
            imported.report.notices,
            [format!(
                "file:{line}: access control that mb-lb does not have; what it guards is left out: {why}"
            )]
        );
        let (verdict, note) = said(&imported, "server a 192.0.2.1:8080");
        assert_eq!(verdict, Unsupported);
        assert!(
            note.contains(&format!("line {line}: `http-request deny`")),
            "{note}"
        );
    }
    // Of TCP as well, where it is not a limit.
    let mail = |rule: &str| {
        format!(
            "{OTHER}listen mail\n mode tcp\n bind 192.0.2.100:25\n {rule}\n server m 192.0.2.1:25\n"
        )
    };
    let imported = single(&mail(
        "tcp-request connection reject if !{ src 10.0.0.0/8 }",
    ));
    assert_eq!(written(&imported, "[service.mail]"), None);
    let rule = "tcp-request connection reject if { src_conn_rate gt 10 }";
    let imported = single(&mail(rule));
    assert_eq!(written(&imported, "[service.mail]"), Some("[service.mail]"));
    assert_eq!(said(&imported, rule).0, Unsupported);
    assert_eq!(
        imported.report.notices,
        [
            "file:8: a limit is lost: it limits rates or counts of clients, and there are no stick tables: limits.requests_per_source and limits.connections_per_source of a proxy limit sources"
        ]
    );
    // HAProxy ignores it there.
    let imported = single(&mail("http-request deny"));
    assert_eq!(said(&imported, "http-request deny").0, Dead);
    assert_eq!(written(&imported, "[service.mail]"), Some("[service.mail]"));
}

#[test]
fn only_all_clients_are_sent_to_https() {
    let front = |rule: &str| {
        format!(" bind 192.0.2.100:80\n acl tls ssl_fc\n acl acme path_beg /.well-known\n {rule}\n")
    };
    for rule in [
        "redirect scheme https code 301",
        "redirect scheme https code 301 if !{ ssl_fc }",
        "http-request redirect scheme https code 301 unless { ssl_fc }",
        "redirect scheme https code 301 if ! { ssl_fc }",
        "redirect scheme https code 301 if !tls",
    ] {
        let imported = single(&web("", &front(rule), ""));
        assert_eq!(
            written(&imported, "redirect_http"),
            Some("redirect_http = [\"192.0.2.100:80\"]"),
            "{rule}"
        );
        assert_eq!(said(&imported, rule).0, Mapped, "{rule}");
    }
    for rule in [
        "redirect scheme https code 301 if !{ ssl_fc } !acme",
        "redirect scheme https code 301 if !acme",
        "redirect scheme https code 301 if { ssl_fc }",
        "redirect scheme https code 301 unless !{ ssl_fc }",
        "http-request redirect scheme https if { hdr(host) -i shop.example.org }",
    ] {
        let imported = single(&web("", &front(rule), ""));
        assert_eq!(written(&imported, "redirect_http"), None, "{rule}");
        let why = "redirect_http sends all clients in clear to HTTPS, and this line only some: there are no conditions";
        assert_eq!(said(&imported, rule), (Unsupported, why.to_owned()));
        assert_eq!(said(&imported, "bind 192.0.2.100:80").0, Unsupported);
    }
}

#[test]
fn a_page_to_look_at_may_not_become_one_to_change_things_in_silence() {
    let page = |more: &str| {
        format!(
            "{OTHER}listen stats\n mode http\n bind 127.0.0.1:8404\n stats enable\n stats auth viewer:secret\n{more}"
        )
    };
    let why = "there is no `stats admin`: HAProxy's page can only be looked at, and on this one `viewer` may change the state of servers";
    let imported = single(&page(""));
    assert_eq!(
        said(&imported, "stats auth viewer:***"),
        (Approximated, why.to_owned())
    );
    assert_eq!(
        imported.report.notices,
        [format!(
            "the page of statistics: {why}. Without `user` and `password` nobody may, and everybody sees it who reaches its address"
        )]
    );
    let imported = single(&page(" stats admin if TRUE\n"));
    assert_eq!(said(&imported, "stats auth viewer:***").0, Mapped);
    assert_eq!(said(&imported, "stats admin if TRUE").0, Mapped);
    assert_eq!(imported.report.notices, Vec::<String>::new());
    let imported = single(&page(" stats admin if LOCALHOST\n"));
    let why = "its condition is not there: on the page `viewer` may change the state of servers from everywhere";
    assert_eq!(
        said(&imported, "stats admin if LOCALHOST"),
        (Unsupported, why.to_owned())
    );
    assert_eq!(
        imported.report.notices,
        [format!("access control is lost: `stats admin`: {why}")]
    );
    for rule in [
        "stats http-request deny if !{ src 10.0.0.0/8 }",
        "stats scope .",
        "http-request deny if !{ src 10.0.0.0/8 }",
    ] {
        let imported = single(&page(&format!(" {rule}\n")));
        assert_eq!(written(&imported, "http ="), None, "{rule}");
        assert_eq!(said(&imported, rule).0, Unsupported, "{rule}");
        let notices = &imported.report.notices;
        assert!(
            notices[0].starts_with("file:10: access control that mb-lb does not have; "),
            "{notices:?}"
        );
    }
    let text = page("").replace(
        ":8404",
        ":8404 ssl crt /x.pem verify required ca-file /y.pem",
    );
    let imported = single(&text);
    assert_eq!(written(&imported, "http ="), None);
    assert_eq!(
        imported.report.notices.len(),
        1,
        "{:?}",
        imported.report.notices
    );
}
