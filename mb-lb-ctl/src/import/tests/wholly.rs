//! "Mapped" is said only of what is wholly so: names, addresses, backups, times, sections that are out of service.

use super::{said, single, written};
use crate::import::Verdict::{Approximated, Dead, Mapped, NotNeeded, Unsupported};

#[test]
fn settings_of_one_bind_are_not_those_of_all() {
    let web = |binds: &str| {
        format!(
            "frontend web\n mode http\n{binds} redirect scheme https code 301 if !{{ ssl_fc }}\n default_backend webs\nbackend webs\n mode http\n server a 192.0.2.1:8080\n"
        )
    };
    let plain = "bind 192.0.2.100:443 ssl crt /a.pem";
    let behind = "bind 192.0.2.100:8443 ssl crt /a.pem accept-proxy";
    let imported = single(&web(&format!(
        " {plain}\n {behind}\n bind 192.0.2.100:80\n"
    )));
    assert_eq!(
        written(&imported, "listen"),
        Some("listen = [\"192.0.2.100:443\"]")
    );
    assert_eq!(written(&imported, "accept_proxy"), None);
    assert_eq!(said(&imported, plain).0, Mapped);
    assert_eq!(
        said(&imported, behind),
        (
            Unsupported,
            "`accept-proxy` is not as in line 3, and a proxy has it for all its addresses: left out. Write a second [proxy.NAME] with the same servers".to_owned()
        )
    );
    // What most say counts; an address in clear that expects no header cannot be one of theirs.
    let second = "bind 192.0.2.100:9443 ssl crt /a.pem accept-proxy";
    let clear = "bind 192.0.2.100:80";
    let imported = single(&web(&format!(" {plain}\n {behind}\n {second}\n {clear}\n")));
    assert_eq!(
        written(&imported, "listen"),
        Some("listen = [\"192.0.2.100:8443\", \"192.0.2.100:9443\"]")
    );
    assert_eq!(
        written(&imported, "accept_proxy"),
        Some("accept_proxy = [\"0.0.0.0/0\", \"::/0\"]")
    );
    assert_eq!(written(&imported, "redirect_http"), None);
    assert_eq!(said(&imported, plain).0, Unsupported);
    assert_eq!(said(&imported, clear).0, Unsupported);

    let newest = "bind 192.0.2.100:8443 ssl crt /b.pem ssl-min-ver TLSv1.3";
    let imported = single(&web(&format!(" {plain}\n {newest}\n")));
    assert_eq!(
        said(&imported, newest),
        (
            Unsupported,
            "`ssl-min-ver` is not as in line 3, and a proxy has it for all its addresses: left out. Write a second [proxy.NAME] with the same servers".to_owned()
        )
    );
    assert_eq!(written(&imported, "tls_min_version"), None);
    // `global` says the same of the other line.
    let global = "global\n ssl-default-bind-options ssl-min-ver TLSv1.3\n";
    let imported = single(&format!(
        "{global}{}",
        web(&format!(" {plain}\n {newest}\n"))
    ));
    assert_eq!(
        written(&imported, "tls_min_version"),
        Some("tls_min_version = \"1.3\"")
    );
    let why = "certificates of all addresses of a proxy are one set, of which the name chooses that clients ask for";
    assert_eq!(said(&imported, newest), (Approximated, why.to_owned()));
    // There is nothing to show to clients.
    let listed = "bind 192.0.2.100:9443 ssl crt-list /etc/list";
    let imported = single(&web(&format!(" {plain}\n {listed}\n")));
    assert_eq!(said(&imported, listed).0, Unsupported);
}

#[test]
fn of_several_backups_haproxy_uses_one() {
    let text = |more: &str| {
        format!(
            "listen db\n mode tcp\n bind 192.0.2.100:3306\n{more} server a 192.0.2.1:3306\n server b 192.0.2.2:3306 backup\n server c 192.0.2.3:3306 backup\n"
        )
    };
    let imported = single(&text(""));
    let why = "`backup`: HAProxy uses the first of them that is up, `b`; here all that are up share the clients while no other server can take any";
    for line in [
        "server b 192.0.2.2:3306 backup",
        "server c 192.0.2.3:3306 backup",
    ] {
        let (verdict, note) = said(&imported, line);
        assert_eq!((verdict, note.as_str()), (Approximated, why), "{line}");
    }
    assert_eq!(
        imported.report.notices,
        [format!(
            "db has 2 backups without `option allbackups`. {why}. Where only one may be in use, as with databases, leave one in the file"
        )]
    );
    let imported = single(&text(" option allbackups\n"));
    assert_eq!(said(&imported, "server c 192.0.2.3:3306 backup").0, Mapped);
    assert_eq!(said(&imported, "option allbackups").0, NotNeeded);
    assert_eq!(imported.report.notices, Vec::<String>::new());
    // Of proxies, too.
    let text = text("").replace("mode tcp", "mode http");
    assert_eq!(single(&text).report.notices.len(), 1);
}

#[test]
fn clients_get_the_times_of_their_frontend() {
    let imported = single(
        "defaults\n mode http\n timeout http-request 60s\n timeout client 50s\nfrontend web\n bind 192.0.2.100:80\n timeout http-request 5s\n timeout http-keep-alive 3s\n default_backend webs\nbackend webs\n timeout http-request 9s\n server a 192.0.2.1:8080\n",
    );
    assert_eq!(
        written(&imported, "timeouts"),
        Some("timeouts = { client = \"50s\", request = \"5s\", keep_alive = \"3s\" }")
    );
    assert_eq!(said(&imported, "timeout http-request 5s").0, Mapped);
    assert_eq!(
        said(&imported, "timeout http-request 9s"),
        (Dead, "HAProxy goes by that of the frontend".to_owned())
    );
    assert_eq!(said(&imported, "timeout http-request 60s").0, NotNeeded);
    let imported = single(
        "frontend one\n mode http\n bind 192.0.2.100:80\n timeout client 5s\n default_backend webs\nfrontend two\n mode http\n bind 192.0.2.100:81\n timeout client 7s\n default_backend webs\nbackend webs\n mode http\n server a 192.0.2.1:8080\n",
    );
    assert_eq!(
        said(&imported, "timeout client 7s"),
        (
            Approximated,
            "all frontends of a proxy wait as long as line 4 says".to_owned()
        )
    );
}

#[test]
fn what_is_out_of_service_is_left_out() {
    let off = "listen off\n mode tcp\n bind 192.0.2.100:587\n disabled\n server s1 192.0.2.31:587 check\n";
    let on = "listen on\n mode tcp\n bind 192.0.2.100:25\n server s2 192.0.2.32:25 check\n";
    let imported = single(&format!("{off}{on}"));
    assert_eq!(written(&imported, "[service.off]"), None);
    assert_eq!(written(&imported, "[service.on]"), Some("[service.on]"));
    for line in [
        "listen off",
        "bind 192.0.2.100:587",
        "disabled",
        "server s1 192.0.2.31:587 check",
    ] {
        let why = "HAProxy does not serve it, as line 4 says".to_owned();
        assert_eq!(said(&imported, line), (Dead, why), "{line}");
    }
    // The last word counts.
    let text = off.replace(" disabled\n", " disabled\n enabled\n");
    assert_eq!(
        written(&single(&text), "[service.off]"),
        Some("[service.off]")
    );
    // Who comes in finds nobody.
    let imported = single(&format!(
        "{on}frontend f\n mode tcp\n bind 192.0.2.100:110\n default_backend b\nbackend b\n mode tcp\n disabled\n server s3 192.0.2.33:110\n"
    ));
    assert_eq!(
        said(&imported, "default_backend b"),
        (
            Dead,
            "`b` is disabled: HAProxy closes every connection".to_owned()
        )
    );
    assert_eq!(said(&imported, "server s3 192.0.2.33:110").0, Dead);
    assert_eq!(written(&imported, "[service.b]"), None);
}

#[test]
fn names_that_change_are_said() {
    let imported = single(
        "frontend f\n mode tcp\n bind 192.0.2.100:25\n default_backend smtp:in\nbackend smtp:in\n mode tcp\n server mx:1 192.0.2.1:25\n",
    );
    assert_eq!(
        written(&imported, "[service.smtp_in]"),
        Some("[service.smtp_in]")
    );
    for (line, theirs, ours) in [
        ("backend smtp:in", "smtp:in", "smtp_in"),
        ("server mx:1 192.0.2.1:25", "mx:1", "mx_1"),
    ] {
        let why = format!(
            "`{theirs}` is `{ours}` here, and scripts have to say so: names have letters, digits, `_`, `.` and `-`"
        );
        assert_eq!(said(&imported, line), (Approximated, why));
    }
}
