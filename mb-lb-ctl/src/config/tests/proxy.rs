//! `[proxy.NAME]`: defaults, what each key becomes, what is seen across the file, and that the key is not shown.

use std::time::Duration;

use super::{PROXY, SERVICE, VRRP, accept, codes, diagnose, shown};
use crate::config::{
    AccessLog, AgentCheck, BodyMatch, Check, CheckKind, Code, Config, Cookie, DynamicKey,
    HttpCheck, LogFormat, Network, Proxy, ProxyHeader, ProxyLimits, ProxyScheduler, ProxyServer,
    ProxyTimeouts, SameSite, ServerTls, TlsVersion, Upstream, Verify, parse,
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn server(name: &str, address: &str) -> ProxyServer {
    ProxyServer {
        name: name.to_owned(),
        address: address.parse().expect("valid"),
        tls: None,
        http: Upstream::Http1,
        cookie: None,
        weight: 1,
        max_connections: None,
        backup: false,
        send_proxy: None,
    }
}

fn check(kind: CheckKind) -> Check {
    Check {
        via: crate::config::Via::Server,
        kind,
        port: None,
        interval: seconds(2),
        fast_interval: seconds(2),
        down_interval: seconds(2),
        timeout: seconds(1),
        rise: 2,
        fall: 3,
    }
}

fn cookie(name: &str) -> Cookie {
    Cookie {
        name: name.to_owned(),
        indirect: true,
        nocache: true,
        preserve: false,
        http_only: false,
        secure: false,
        same_site: None,
        domain: None,
        max_idle: None,
        max_life: None,
        dynamic_key: None,
    }
}

fn defaults() -> Proxy {
    Proxy {
        follows: Vec::new(),
        name: "web".to_owned(),
        listen: vec!["192.168.1.99:443".parse().expect("valid")],
        certificates: Vec::new(),
        tls_min_version: TlsVersion::Tls12,
        http2: true,
        scheduler: ProxyScheduler::Roundrobin,
        cookie: None,
        redirect_http: Vec::new(),
        hsts: None,
        check: Some(check(CheckKind::Tcp)),
        agent: None,
        timeouts: ProxyTimeouts::default(),
        limits: ProxyLimits::default(),
        trusted_proxies: Vec::new(),
        forwarded: false,
        accept_proxy: Vec::new(),
        retries: 3,
        redispatch: true,
        slow_start: Duration::ZERO,
        min_up: 0,
        access_log: None,
        servers: vec![
            server("mb1", "192.168.1.101:8080"),
            server("mb2", "192.168.1.102:8080"),
        ],
    }
}

const FULL: &str = r#"
[proxy.web]
listen = ["192.168.1.100:443", "[2001:db8::100]:443"]
certificate = ["/etc/ssl/mail.pem", "/etc/ssl/sites/"]
tls_min_version = "1.3"
http2 = false
scheduler = "leastconn"
redirect_http = ["192.168.1.100:80", "[2001:db8::100]:80"]
hsts = "8760h"
trusted_proxies = ["10.0.0.0/8", "192.168.1.5"]
forwarded = true
accept_proxy = "192.0.2.0/24"
retries = 0
redispatch = false
slow_start = "30s"
access_log = { format = "httplog", file = "/var/log/mb-lb/access.log" }
[proxy.web.cookie]
name = "SERVERID"
mode = "insert"
indirect = false
nocache = false
preserve = true
http_only = true
secure = true
same_site = "None"
domain = ".Example.org"
max_idle = "30m"
max_life = "8h"
dynamic_key = "hunter2"
[proxy.web.check]
type = "http"
method = "POST"
path = "/health?full"
host = "mail.example.org"
expect = ["3xx", 204, 200, "201-203"]
body_regex = "ok|up"
tls = { verify = "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F", sni = "mail.example.org" }
port = 8443
interval = "5s"
[proxy.web.agent]
port = 9707

[proxy.web.timeouts]
handshake = "1s"
request = "2s"
keep_alive = "3s"
client = "4s"
server = "5s"
connect = "6s"
queue = "7s"
tunnel = "8s"
[proxy.web.limits]
connections = 1
connections_per_source = 2
requests_per_source = 3
header = "64k"
fields = 4
body = "10m"
streams = 5
[proxy.web.servers]
z = { address = "192.168.1.101:443", tls = { verify = "/etc/ssl/ca.pem", sni = "MB1.example.org" }, http = "2", cookie = "one", weight = 0, max_connections = 200, backup = true, send_proxy = "v2" }
a = { address = "[2001:db8::1]:443", tls = true, send_proxy = "v1" }
"#;

fn full() -> Proxy {
    let address = |text: &str| text.parse().expect("valid");
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip(0..) {
        *byte = at;
    }
    Proxy {
        follows: Vec::new(),
        name: "web".to_owned(),
        listen: vec![address("192.168.1.100:443"), address("[2001:db8::100]:443")],
        certificates: vec!["/etc/ssl/mail.pem".into(), "/etc/ssl/sites".into()],
        tls_min_version: TlsVersion::Tls13,
        http2: false,
        scheduler: ProxyScheduler::Leastconn,
        cookie: Some(Cookie {
            name: "SERVERID".to_owned(),
            indirect: false,
            nocache: false,
            preserve: true,
            http_only: true,
            secure: true,
            same_site: Some(SameSite::None),
            domain: Some("example.org".to_owned()),
            max_idle: Some(seconds(1800)),
            max_life: Some(seconds(8 * 3600)),
            dynamic_key: Some(DynamicKey("hunter2".to_owned())),
        }),
        redirect_http: vec![address("192.168.1.100:80"), address("[2001:db8::100]:80")],
        hsts: Some(seconds(365 * 86_400)),
        check: Some(Check {
            port: Some(8443),
            interval: seconds(5),
            fast_interval: seconds(5),
            down_interval: seconds(5),
            ..check(CheckKind::Http(HttpCheck {
                min_certificate: None,
                members: Vec::new(),
                method: "POST".to_owned(),
                path: "/health?full".to_owned(),
                host: Some("mail.example.org".to_owned()),
                expect: vec![(200, 204), (300, 399)],
                body: Some(BodyMatch::Regex("ok|up".to_owned())),
                tls: Some(ServerTls {
                    verify: Verify::Pinned(digest),
                    sni: Some("mail.example.org".to_owned()),
                }),
            }))
        }),
        agent: Some(AgentCheck {
            port: 9707,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            send: None,
        }),
        timeouts: ProxyTimeouts {
            handshake: seconds(1),
            request: seconds(2),
            keep_alive: seconds(3),
            client: seconds(4),
            server: seconds(5),
            connect: seconds(6),
            queue: seconds(7),
            tunnel: seconds(8),
        },
        limits: ProxyLimits {
            connections: 1,
            connections_per_source: Some(2),
            requests_per_source: Some(3),
            header: 65_536,
            fields: 4,
            body: Some(10 << 20),
            streams: 5,
        },
        trusted_proxies: vec![
            Network {
                address: "10.0.0.0".parse().expect("valid"),
                prefix: 8,
            },
            Network {
                address: "192.168.1.5".parse().expect("valid"),
                prefix: 32,
            },
        ],
        forwarded: true,
        accept_proxy: vec![Network {
            address: "192.0.2.0".parse().expect("valid"),
            prefix: 24,
        }],
        retries: 0,
        redispatch: false,
        slow_start: seconds(30),
        min_up: 0,
        access_log: Some(AccessLog {
            format: LogFormat::Httplog,
            file: Some("/var/log/mb-lb/access.log".into()),
        }),
        servers: vec![
            ProxyServer {
                tls: Some(ServerTls {
                    verify: Verify::Ca("/etc/ssl/ca.pem".into()),
                    sni: Some("mb1.example.org".to_owned()),
                }),
                http: Upstream::Http2,
                cookie: Some("one".to_owned()),
                weight: 0,
                max_connections: Some(200),
                backup: true,
                send_proxy: Some(ProxyHeader::V2),
                ..server("z", "192.168.1.101:443")
            },
            ProxyServer {
                tls: Some(ServerTls {
                    verify: Verify::System,
                    sni: None,
                }),
                send_proxy: Some(ProxyHeader::V1),
                ..server("a", "[2001:db8::1]:443")
            },
        ],
    }
}

#[track_caller]
fn one(source: &str) -> Proxy {
    let mut config = accept(source);
    assert_eq!(config.proxies.len(), 1);
    config.proxies.remove(0)
}

#[test]
fn listen_and_servers_suffice_without_any_service() {
    assert_eq!(one(PROXY), defaults());
    assert_eq!(codes(PROXY), []);
}

#[test]
fn every_key_arrives_in_the_model() {
    assert_eq!(one(FULL), full());
    assert_eq!(codes(FULL), []);
}

/// As the design has it, but for the sections that are not in this build.
const DESIGN: &str = r#"
[proxy.https_backend]               # layer 7, user mode
listen = ["192.168.1.100:443"]
certificate = "/etc/ssl/certs/mailborder.pem"   # file or directory, PEM chain + key; chosen by SNI, reloaded on change
scheduler = "roundrobin"
cookie = { name = "SERVERID", mode = "insert", indirect = true, nocache = true }
redirect_http = "192.168.1.100:80"
check = { type = "http", path = "/health", expect = 200, tls = true, verify = "none" }
timeouts = { connect = "5s", client = "50s", server = "50s" }
[proxy.https_backend.servers]
mb1 = { address = "192.168.1.101:443", tls = { verify = "none" }, cookie = "mb1" }
"#;

#[test]
fn the_design_is_taken_as_it_stands() {
    assert_eq!(codes(DESIGN), [Code::SingleServer]);
    let proxy = one(DESIGN);
    let tls = Some(ServerTls {
        verify: Verify::None,
        sni: None,
    });
    let expected = Proxy {
        name: "https_backend".to_owned(),
        listen: vec!["192.168.1.100:443".parse().expect("valid")],
        certificates: vec!["/etc/ssl/certs/mailborder.pem".into()],
        cookie: Some(cookie("SERVERID")),
        redirect_http: vec!["192.168.1.100:80".parse().expect("valid")],
        check: Some(check(CheckKind::Http(HttpCheck {
            min_certificate: None,
            members: Vec::new(),
            method: "GET".to_owned(),
            path: "/health".to_owned(),
            host: None,
            expect: vec![(200, 200)],
            body: None,
            tls: tls.clone(),
        }))),
        servers: vec![ProxyServer {
            tls,
            cookie: Some("mb1".to_owned()),
            ..server("mb1", "192.168.1.101:443")
        }],
        ..defaults()
    };
    assert_eq!(proxy, expected);
}

#[test]
fn notations_that_mean_the_same() {
    let with = |text: &str| one(&format!("{PROXY}{text}\n"));
    for (short, long) in [
        (
            "cookie = \"S\"",
            "cookie = { name = \"S\", mode = \"insert\" }",
        ),
        ("access_log = \"json\"", "access_log = {}"),
        ("certificate = \"/c\"", "certificate = [\"/c/\"]"),
        (
            "check = { type = \"http\", tls = true }",
            "check = { type = \"http\", tls = { verify = \"system\" } }",
        ),
        (
            "check = { type = \"http\", tls = true, verify = \"none\" }",
            "check = { type = \"http\", tls = { verify = \"none\" } }",
        ),
        (
            "check = { type = \"http\", expect = \"2xx\" }",
            "check = { type = \"http\", expect = [\"250-299\", \"200-260\"] }",
        ),
        ("limits = { header = 2048 }", "limits = { header = \"2k\" }"),
        (
            "timeouts = { connect = \"1s\" }",
            "timeouts = { connect = \"1s\", queue = \"1s\" }",
        ),
        (
            "trusted_proxies = \"10.0.0.1\"",
            "trusted_proxies = [\"10.0.0.1/32\"]",
        ),
        ("", "check = { type = \"tcp\" }"),
    ] {
        assert_eq!(with(short), with(long), "{short}");
    }
    assert_eq!(with("check = { type = \"none\" }").check, None);
}

#[test]
fn a_servers_cookie_is_its_name_unless_it_is_made_of_its_address() {
    let cookies = |text: &str| -> Vec<_> {
        let proxy = one(&format!("{PROXY}{text}\n"));
        proxy.servers.into_iter().map(|s| s.cookie).collect()
    };
    let named = [Some("mb1".to_owned()), Some("mb2".to_owned())];
    assert_eq!(cookies("cookie = \"S\""), named);
    assert_eq!(
        cookies("cookie = { name = \"S\", dynamic_key = \"k\" }"),
        [None, None]
    );
    assert_eq!(cookies(""), [None, None]);
}

/// Loopback is where a proxy may listen and where its servers may be: both are processes.
#[test]
fn loopback_is_good_for_a_proxy() {
    let local = PROXY
        .replace("192.168.1.99:443", "127.0.0.1:8443")
        .replace("192.168.1.101:", "127.0.0.1:");
    assert_eq!(codes(&local), []);
    let itself = local.replace("8080", "8443");
    assert_eq!(
        codes(&itself),
        [Code::ServerIsVip, Code::ClearText, Code::ClearText]
    );
}

#[test]
fn words_of_others() {
    let source = r#"
[proxies.web]
[proxy.web]
bind = "192.168.1.100:443"
crt = "/etc/ssl/mail.pem"
ssl_certificate_key = "/etc/ssl/mail.key"
balance = "roundrobin"
"option forwardfor" = true
mode = "http"
maxconn = 1000
timeout = { connect = "5s" }
proxy_pass = "192.168.1.101:80"
client_max_body_size = "10m"
weather = "fine"
[proxy.web.cookie]
name = "S"
httponly = true
path = "/"
[proxy.web.timeouts]
http-request = "5s"
websocket = "1h"
check = "1s"
[proxy.web.limits]
maxconn = 100
[proxy.web.servers]
mb1 = { address = "192.168.1.101:443", ssl = true, verify = "none", check = true, maxconn = 10 }
mb2 = { address = "192.168.1.102:443", tls = { ca-file = "/ca.pem" } }
"#;
    insta::assert_snapshot!("words_of_others", shown(source));
}

#[test]
fn across_the_file() {
    let source = format!(
        "{SERVICE}{}",
        r#"
[proxy.web]
listen = ["192.168.1.100:443", "192.168.1.100:25"]
certificate = "/c.pem"
redirect_http = ["192.168.1.100:80", "192.168.1.100:443"]
cookie = { name = "S", same_site = "none" }
check = { type = "http" }
[proxy.web.servers]
mb1 = { address = "192.168.1.101:443", weight = 0, backup = true, cookie = "mb2" }
mb2 = { address = "192.168.1.101:443", weight = 0, backup = true, tls = true }
mb3 = { address = "192.168.1.100:8080", weight = 0, backup = true }
[proxy.smtp]
listen = "192.168.1.100:80"
servers = { mb1 = "192.168.1.101:80" }
"#
    );
    insta::assert_snapshot!("across_the_file", shown(&source));
}

#[test]
fn each_warning_and_what_is_just_short_of_it() {
    let with = |text: &str| format!("{PROXY}{text}\n");
    let servers = |text: &str| {
        format!(
            "[proxy.web]\nlisten = \"192.168.1.99:443\"\nservers = {{ a = \"192.168.1.1:80\", {text} }}\n"
        )
    };
    for (source, expected) in [
        (servers("b = \"192.168.1.2:443\""), Some(Code::ClearText)),
        (servers("b = \"192.168.1.2:8443\""), Some(Code::ClearText)),
        (
            servers("b = { address = \"192.168.1.2:443\" }"),
            Some(Code::ClearText),
        ),
        (
            servers("b = { address = \"192.168.1.2:443\", tls = false }"),
            None,
        ),
        (
            servers("b = { address = \"192.168.1.2:443\", tls = true }"),
            None,
        ),
        (servers("b = \"192.168.1.2:8080\""), None),
        (servers("b = \"192.168.1.1:81\""), None),
        (
            servers("b = \"192.168.1.1:80\""),
            Some(Code::DuplicateServer),
        ),
        (
            with("cookie = { name = \"S\", same_site = \"none\" }"),
            Some(Code::RefusedCookie),
        ),
        (
            with("cookie = { name = \"S\", same_site = \"none\", secure = true }"),
            None,
        ),
        (with("cookie = { name = \"S\", same_site = \"lax\" }"), None),
        (with("cookie = \"__Secure-S\""), Some(Code::RefusedCookie)),
        (
            with("cookie = { name = \"__Host-S\", secure = true }"),
            None,
        ),
        (
            with("cookie = { name = \"__Host-S\", secure = true, domain = \"a.example\" }"),
            Some(Code::RefusedCookie),
        ),
        (
            format!(
                "{}cookie = \"S\"\n",
                servers("b = { address = \"192.168.1.2:80\", cookie = \"a\" }")
            ),
            Some(Code::DuplicateCookie),
        ),
        (
            format!(
                "{}check = {{ type = \"http\" }}\n",
                servers("b = { address = \"192.168.1.2:443\", tls = true }")
            ),
            Some(Code::ClearText),
        ),
        (
            format!(
                "{}check = {{ type = \"http\", port = 80 }}\n",
                servers("b = { address = \"192.168.1.2:443\", tls = true }")
            ),
            None,
        ),
    ] {
        accept(&source);
        assert_eq!(codes(&source), Vec::from_iter(expected), "{source}");
    }
}

#[test]
fn vrrp_tracks_a_proxy_as_it_tracks_a_service() {
    let with = |min_up: u32| {
        format!("{SERVICE}{PROXY}{VRRP}track_services = {{ web = {{ min_up = {min_up} }} }}\n")
    };
    assert_eq!(codes(&with(2)), []);
    assert_eq!(codes(&with(3)), [Code::TooFewServers]);
    let misspelt = with(1).replace("{ web =", "{ wbe =");
    let said = &diagnose(&misspelt)[0];
    assert_eq!(
        (said.code, said.help.as_deref()),
        (Code::UnknownService, Some("did you mean `web`?"))
    );
}

#[test]
fn the_hash_does_not_depend_on_order_and_does_on_all_else() {
    let hash = accept(FULL).hash();
    let mut turned = accept(FULL);
    let proxy = &mut turned.proxies[0];
    proxy.listen.reverse();
    proxy.redirect_http.reverse();
    proxy.servers.reverse();
    proxy.trusted_proxies.reverse();
    assert_eq!(turned.hash(), hash);
    for (from, to) in [
        ("retries = 0", "retries = 1"),
        ("hunter2", "hunter3"),
        ("weight = 0", "weight = 1"),
        ("1E1F", "1E1E"),
        ("\"/etc/ssl/mail.pem\", ", ""),
    ] {
        assert_ne!(accept(&FULL.replace(from, to)).hash(), hash, "{from}");
    }
    let config: Config = accept(&format!("{SERVICE}{PROXY}"));
    assert_ne!(config.hash(), accept(SERVICE).hash());
}

#[test]
fn the_dynamic_key_is_not_shown() {
    let mut said = String::new();
    for text in [
        "dynamic_key = \"hunter2\"",
        "dynamic_key = \"hunter2\\u0000\"",
        "dynamic_key = hunter2",
        "dynamic_key = [\"hunter2\"]",
        "dynamic_key = \"hunter2\"\ndynamic_key = \"hunter2\"",
        "dynamic-cookie-key = \"hunter2\"",
        "dynamickey = \"hunter2\"",
        "dynamic = \"hunter2\"",
    ] {
        let source = format!("{PROXY}[proxy.web.cookie]\nname = \"S\"\n{text}\n");
        let parsed = parse(&source, "lb1");
        said += &shown(&source);
        said += &format!("{parsed:?}\n");
        said += &serde_json::to_string(&parsed.diagnostics).expect("serializable");
        if let Some(config) = parsed.config {
            said += &serde_json::to_string(&config).expect("serializable");
        }
    }
    assert!(!said.contains("hunter"), "{said}");
}
