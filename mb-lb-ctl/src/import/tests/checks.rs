//! How servers are checked, by HAProxy and by keepalived.

use super::{said, single, written};
use crate::import::Verdict::{Approximated, Dead, Mapped, Unsupported};

#[test]
fn a_port_of_the_rules_comes_before_that_of_a_server() {
    let imported = single(
        "listen db\n mode tcp\n bind 192.0.2.100:3306\n option tcp-check\n tcp-check connect port 9200\n server a 192.0.2.1:3306 check port 9000\n server b 192.0.2.2:3306 check\n",
    );
    assert_eq!(
        written(&imported, "check"),
        Some(
            "check = { type = \"tcp\", port = 9200, interval = \"2s\", timeout = \"2s\", rise = 2, fall = 3 }"
        )
    );
    // The ports of servers make no difference.
    let (verdict, note) = said(&imported, "server a 192.0.2.1:3306 check port 9000");
    assert_eq!(verdict, Mapped);
    assert!(
        note.contains("`port 9000`: HAProxy goes by the port of the rules of the check"),
        "{note}"
    );
    assert_eq!(said(&imported, "server b 192.0.2.2:3306 check").0, Mapped);
    let imported = single(
        "listen db\n mode tcp\n bind 192.0.2.100:3306\n option tcp-check\n tcp-check connect\n server a 192.0.2.1:3306 check port 9000\n",
    );
    assert!(written(&imported, "check").is_some_and(|line| line.contains("port = 9000")));
}

#[test]
fn a_handshake_that_is_not_made_is_said() {
    let tcp = "listen imaps\n mode tcp\n bind 192.0.2.100:993\n server i 192.0.2.1:993 check check-ssl verify none\n";
    let imported = single(tcp);
    assert_eq!(
        said(&imported, "server i 192.0.2.1:993 check check-ssl verify none"),
        (
            Approximated,
            "`check-ssl`: HAProxy's checks make a TLS handshake; here that the port accepts connections is all that is checked".to_owned()
        )
    );
    // EHLO in clear would be no answer to a handshake.
    let smtps = tcp.replace(
        " mode tcp\n",
        " mode tcp\n option smtpchk EHLO lb.example.org\n",
    );
    assert_eq!(
        written(&single(&smtps), "check"),
        Some("check = { type = \"tcp\", interval = \"2s\", timeout = \"2s\", rise = 2, fall = 3 }")
    );
    // A proxy of servers that speak TLS, without `option httpchk`.
    let web = "listen web\n mode http\n bind 192.0.2.100:80\n server a 192.0.2.1:443 check ssl verify none\n";
    let (verdict, note) = said(&single(web), "server a 192.0.2.1:443 check ssl verify none");
    assert_eq!(verdict, Approximated);
    assert!(note.starts_with("`ssl`: HAProxy's checks make"), "{note}");
}

#[test]
fn checks_that_send_no_header_are_said() {
    let text = |more: &str| {
        format!(
            "listen mail\n mode tcp\n bind 192.0.2.100:25\n option smtpchk\n server a 192.0.2.1:10025 check send-proxy{more}\n"
        )
    };
    let imported = single(&text(""));
    let (verdict, note) = said(&imported, "server a 192.0.2.1:10025 check send-proxy");
    assert_eq!(verdict, Approximated);
    assert!(
        note.contains("`send-proxy`: HAProxy's checks send the PROXY header too"),
        "{note}"
    );
    let imported = single(&text(" port 25"));
    let (_, note) = said(
        &imported,
        "server a 192.0.2.1:10025 check send-proxy port 25",
    );
    assert!(!note.contains("PROXY header too"), "{note}");
}

#[test]
fn programs_of_haproxy_are_run() {
    let text = |path: &str| {
        format!(
            "global\n external-check\n insecure-fork-wanted\nlisten mail\n mode tcp\n bind 192.0.2.100:25\n option external-check\n external-check command {path}\n external-check path /opt/bin\n server a 192.0.2.1:25 check inter 5s port 8025\n"
        )
    };
    let imported = single(&text("/usr/local/bin/chk"));
    assert_eq!(
        written(&imported, "check"),
        Some(
            "check = { type = \"exec\", command = \"/usr/local/bin/chk\", interval = \"5s\", timeout = \"5s\", rise = 2, fall = 3 }"
        )
    );
    let (verdict, note) = said(&imported, "external-check command /usr/local/bin/chk");
    assert_eq!(verdict, Approximated);
    assert!(
        note.contains("in the sandbox of the systemd unit"),
        "{note}"
    );
    assert_eq!(said(&imported, "option external-check").0, Mapped);
    assert_eq!(
        said(&imported, "external-check path /opt/bin").0,
        Unsupported
    );
    let imported = single(&text("chk"));
    assert_eq!(said(&imported, "external-check command chk").0, Unsupported);
    assert!(written(&imported, "check").is_some_and(|line| line.contains("type = \"tcp\"")));
    // Without its option HAProxy runs nothing.
    let dead = text("/usr/local/bin/chk").replace(" option external-check\n", "");
    let imported = single(&dead);
    assert_eq!(
        said(&imported, "external-check command /usr/local/bin/chk").0,
        Dead
    );
}

/// A virtual server with dsr.
fn ipvs(of_all: &str, servers: &str) -> String {
    format!("virtual_server 192.0.2.100 25 {{\n lb_kind DR\n delay_loop 10\n{of_all}{servers}}}\n")
}

fn real(last: u8, check: &str) -> String {
    format!(" real_server 192.0.2.{last} 25 {{\n{check} }}\n")
}

#[test]
fn keepalived_tries_again_once_unless_told_otherwise() {
    let check = |kind: &str, inside: &str| format!("  {kind} {{\n{inside}  }}\n");
    for (of_all, of_server, of_check, expected) in [
        (
            "",
            "",
            check("TCP_CHECK", ""),
            "type = \"tcp\", interval = \"10s\", timeout = \"5s\", fast_interval = \"1s\", rise = 1, fall = 2",
        ),
        (
            "",
            "",
            check("HTTP_GET", ""),
            "type = \"http\", path = \"/\", interval = \"10s\", timeout = \"5s\", fast_interval = \"3s\", rise = 1, fall = 2",
        ),
        (
            " retry 5\n connect_timeout 4\n",
            "",
            check("TCP_CHECK", ""),
            "type = \"tcp\", interval = \"10s\", timeout = \"4s\", fast_interval = \"1s\", rise = 1, fall = 6",
        ),
        (
            " retry 5\n delay_before_retry 7\n",
            "  retry 4\n",
            check("TCP_CHECK", ""),
            "type = \"tcp\", interval = \"10s\", timeout = \"5s\", fast_interval = \"7s\", rise = 1, fall = 5",
        ),
        (
            " retry 5\n",
            "  retry 4\n",
            check("SMTP_CHECK", "   retry 3\n"),
            "type = \"smtp\", interval = \"10s\", timeout = \"5s\", fast_interval = \"1s\", rise = 1, fall = 4",
        ),
        (
            " retry 5\n",
            "",
            check("SMTP_CHECK", "   retry 0\n   delay_loop 20\n"),
            "type = \"smtp\", interval = \"20s\", timeout = \"5s\", rise = 1, fall = 1",
        ),
    ] {
        let text = ipvs(of_all, &real(1, &format!("{of_server}{of_check}")));
        let imported = single(&text);
        let expected = format!("check = {{ {expected} }}");
        assert_eq!(
            written(&imported, "check"),
            Some(expected.as_str()),
            "{text}"
        );
        if of_all.contains("retry 5") {
            let dead = of_check.contains("retry") || of_server.contains("retry");
            let verdict = if dead { Dead } else { Mapped };
            assert_eq!(said(&imported, "retry 5").0, verdict, "{text}");
        }
    }
    // One goes by the line that another one overrides.
    let text = ipvs(
        " retry 5\n",
        &(real(1, "  TCP_CHECK {\n   retry 2\n  }\n") + &real(2, "  TCP_CHECK {\n  }\n")),
    );
    let imported = single(&text);
    assert_eq!(said(&imported, "retry 2").0, Mapped);
    assert_eq!(
        said(&imported, "retry 5"),
        (
            Approximated,
            "all servers of a service are checked alike, as the first of them".to_owned()
        )
    );
}

#[test]
fn programs_of_keepalived_are_run_where_all_servers_have_the_same() {
    let misc =
        |path: &str, more: &str| format!("  MISC_CHECK {{\n   misc_path \"{path}\"\n{more}  }}\n");
    let same = misc("/usr/local/bin/chk -p 25", "   misc_timeout 4\n");
    let imported = single(&ipvs("", &(real(1, &same) + &real(2, &same))));
    assert_eq!(
        written(&imported, "check"),
        Some(
            "check = { type = \"exec\", command = [\"/usr/local/bin/chk\", \"-p\", \"25\"], interval = \"10s\", timeout = \"4s\", rise = 1, fall = 1 }"
        )
    );
    let (verdict, note) = said(&imported, "MISC_CHECK {");
    assert_eq!(verdict, Approximated);
    assert!(
        note.starts_with("after its own arguments come four more"),
        "{note}"
    );
    assert!(
        note.contains("in the sandbox of the systemd unit"),
        "{note}"
    );

    // One of them would be asked of all.
    let (one, two) = (
        misc("/bin/chk 192.0.2.1", ""),
        misc("/bin/chk 192.0.2.2", ""),
    );
    let text = ipvs("", &(real(1, &one) + &real(2, &two)));
    let imported = single(&text);
    assert_eq!(
        written(&imported, "check"),
        Some("check = { type = \"tcp\" }")
    );
    let (verdict, note) = said(&imported, "misc_path \"/bin/chk 192.0.2.1\"");
    assert_eq!(verdict, Unsupported);
    assert!(
        note.starts_with("each server has a program or arguments of its own"),
        "{note}"
    );
    assert_eq!(
        imported.report.notices.len(),
        1,
        "{:?}",
        imported.report.notices
    );
    let imported = single(&ipvs("", &real(1, &misc("/bin/chk", "   misc_dynamic\n"))));
    assert_eq!(
        written(&imported, "check"),
        Some("check = { type = \"tcp\" }")
    );
    assert_eq!(said(&imported, "misc_dynamic").0, Unsupported);

    // Beside another check.
    let text = ipvs("", &real(1, &format!("  TCP_CHECK {{\n  }}\n{one}")));
    assert_eq!(
        said(&single(&text), "MISC_CHECK {"),
        (
            Unsupported,
            "a server has one check, and another one is imported".to_owned()
        )
    );
}

#[test]
fn a_server_that_cannot_be_reached_is_left_out_alone() {
    let check = "  TCP_CHECK {\n  }\n";
    for (sorry, why) in [
        (
            "sorry_server 127.0.0.1 25",
            "left out: 127.0.0.1 is on this machine, which dsr cannot reach. no_server = \"TEXT\" has the director answer while no server is up",
        ),
        (
            "sorry_server 192.0.2.9 2525",
            "left out: it listens on port 2525, and dsr cannot change ports",
        ),
    ] {
        let imported = single(&ipvs(&format!(" {sorry}\n"), &real(1, check)));
        assert_eq!(said(&imported, sorry), (Unsupported, why.to_owned()));
        assert_eq!(written(&imported, "forward"), Some("forward = \"dsr\""));
        assert_eq!(
            written(&imported, "\"192.0.2.1\""),
            Some("\"192.0.2.1\" = { address = \"192.0.2.1\" }")
        );
        assert_eq!(said(&imported, "real_server 192.0.2.1 25 {").0, Mapped);
    }
    let imported = single(&ipvs(" sorry_server 192.0.2.9 25\n", &real(1, check)));
    assert_eq!(
        said(&imported, "sorry_server 192.0.2.9 25"),
        (
            Approximated,
            "keepalived does not check it; here all servers of a service are checked".to_owned()
        )
    );
    assert_eq!(
        written(&imported, "\"192.0.2.9\""),
        Some("\"192.0.2.9\" = { address = \"192.0.2.9\", backup = true }")
    );
}
