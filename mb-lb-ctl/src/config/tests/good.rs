//! Files that are right: defaults, what each key becomes, the hash.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{SERVICE, accept, codes};
use crate::config::{
    Admin, AdminHttp, AgentCheck, Capability, Check, CheckKind, Config, Director, FlowTimeouts,
    Forward, Login, OnDown, ProxyHeader, Scheduler, Secret, Server, ServerTls, Service, SmtpCheck,
    SocketLevel, Verify, XdpMode, example, parse,
};

fn server(name: &str, last: u8) -> Server {
    Server {
        name: name.to_owned(),
        address: IpAddr::V4(Ipv4Addr::new(192, 168, 1, last)),
        weight: 1,
        max_connections: None,
        backup: false,
        port: None,
        send_proxy: None,
    }
}

fn defaults() -> Config {
    Config {
        director: Director {
            name: "lb1".to_owned(),
            interfaces: Vec::new(),
            xdp: XdpMode::Auto,
            max_flows: 262_144,
            flow_timeouts: FlowTimeouts::default(),
        },
        admin: Admin {
            socket: "/run/mb-lb/admin.sock".into(),
            socket_mode: 0o660,
            http: None,
            socket_level: SocketLevel::Admin,
        },
        services: vec![Service {
            follows: Vec::new(),
            name: "smtp".to_owned(),
            listen: vec!["192.168.1.100:25".parse().expect("valid")],
            forward: Forward::Dsr,
            scheduler: Scheduler::Leastconn,
            check: Some(Check {
                via: crate::config::Via::Server,
                kind: CheckKind::Tcp,
                port: Some(25),
                interval: Duration::from_secs(2),
                fast_interval: Duration::from_secs(2),
                down_interval: Duration::from_secs(2),
                timeout: Duration::from_secs(1),
                rise: 2,
                fall: 3,
            }),
            agent: None,
            on_down: OnDown::Reset,
            no_server: Some("421 4.3.2 Service not available, try again later".to_owned()),
            slow_start: Duration::ZERO,
            min_up: 0,
            servers: vec![server("mb1", 101), server("mb2", 102)],
        }],
        proxies: Vec::new(),
        vrrps: Vec::new(),
        peer: None,
        config_syncs: Vec::new(),
        galeras: Vec::new(),
        sentinels: Vec::new(),
        storages: Vec::new(),
    }
}

const FULL: &str = r#"
[director]
name = "lb2"
interfaces = ["eth1", "eth0"]
xdp = "native"
max_flows = 1_024
flow_timeouts = { established = "1h", half_closed = "1m", closing = "2s", reset = "1s" }

[admin]
socket = "/run/other.sock"
socket_mode = "600"
http = "[::]:8404"
user = "admin"
password_file = "stats.password"
socket_level = "operator"

[service.submission]
listen = ["192.168.1.100:587", "[2001:db8::100]:587"]
forward = "dsr"
scheduler = "source"
check = { type = "smtp", port = 10025, interval = "5s", fast_interval = "500ms", down_interval = "10s", timeout = "3s", rise = 1, fall = 255, helo = "[192.168.1.10]", capabilities = ["8bitmime", "AUTH PLAIN"], starttls = true, min_certificate = "7d" }
agent = { port = 9707, interval = "5s", timeout = "500ms", send = "state\n" }
on_down = "keep"
no_server = "450 later"
slow_start = "30s"
[service.submission.servers]
z = { address = "192.168.1.101", weight = 0, max_connections = 200, backup = true }
a = { address = "2001:db8::1", weight = 256 }

[service.imap]
listen = "192.168.1.100:143"
scheduler = "roundrobin"
check = { type = "none" }
no_server = "reset"
servers = { mb1 = "192.168.1.101", mb2 = "192.168.1.102" }
"#;

#[test]
fn listen_and_servers_suffice() {
    assert_eq!(accept(SERVICE), defaults());
    assert_eq!(codes(SERVICE), []);
}

#[test]
fn every_key_arrives_in_the_model() {
    let mut expected = defaults();
    expected.director = Director {
        name: "lb2".to_owned(),
        interfaces: vec!["eth1".to_owned(), "eth0".to_owned()],
        xdp: XdpMode::Native,
        max_flows: 1024,
        flow_timeouts: FlowTimeouts {
            established: Duration::from_secs(3600),
            half_closed: Duration::from_secs(60),
            closing: Duration::from_secs(2),
            reset: Duration::from_secs(1),
        },
    };
    expected.admin = Admin {
        socket: "/run/other.sock".into(),
        socket_mode: 0o600,
        http: Some(AdminHttp {
            listen: "[::]:8404".parse().expect("valid"),
            login: Some(Login {
                user: "admin".to_owned(),
                password: Secret::File("stats.password".into()),
            }),
        }),
        socket_level: SocketLevel::Operator,
    };
    let submission = Service {
        follows: Vec::new(),
        name: "submission".to_owned(),
        listen: vec![
            "192.168.1.100:587".parse().expect("valid"),
            "[2001:db8::100]:587".parse().expect("valid"),
        ],
        forward: Forward::Dsr,
        scheduler: Scheduler::Source,
        check: Some(Check {
            via: crate::config::Via::Server,
            kind: CheckKind::Smtp(SmtpCheck {
                helo: "[192.168.1.10]".to_owned(),
                capabilities: vec![
                    Capability {
                        keyword: "8BITMIME".to_owned(),
                        parameters: Vec::new(),
                    },
                    Capability {
                        keyword: "AUTH".to_owned(),
                        parameters: vec!["PLAIN".to_owned()],
                    },
                ],
                starttls: Some(ServerTls {
                    verify: Verify::None,
                    sni: None,
                }),
                min_certificate: Some(Duration::from_secs(7 * 86_400)),
            }),
            port: Some(10025),
            interval: Duration::from_secs(5),
            fast_interval: Duration::from_millis(500),
            down_interval: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            rise: 1,
            fall: 255,
        }),
        agent: Some(AgentCheck {
            port: 9707,
            interval: Duration::from_secs(5),
            timeout: Duration::from_millis(500),
            send: Some("state\n".to_owned()),
        }),
        on_down: OnDown::Keep,
        no_server: Some("450 later".to_owned()),
        slow_start: Duration::from_secs(30),
        min_up: 0,
        servers: vec![
            Server {
                weight: 0,
                max_connections: Some(200),
                backup: true,
                ..server("z", 101)
            },
            Server {
                address: "2001:db8::1".parse().expect("valid"),
                weight: 256,
                ..server("a", 0)
            },
        ],
    };
    let imap = Service {
        name: "imap".to_owned(),
        listen: vec!["192.168.1.100:143".parse().expect("valid")],
        scheduler: Scheduler::Roundrobin,
        check: None,
        no_server: None,
        ..defaults().services.remove(0)
    };
    expected.services = vec![submission, imap];
    assert_eq!(accept(FULL), expected);
}

/// The director connects to the server: a port of its own, and a header that says who the client is.
#[test]
fn a_service_in_user_mode() {
    let source = "[service.smtp]\nlisten = \"192.168.1.100:25\"\nforward = \"proxy\"\n[service.smtp.servers]\n\
                  mb1 = { address = \"192.168.1.101\", port = 10025, send_proxy = \"v2\" }\nmb2 = \"127.0.0.1\"\n";
    assert_eq!(codes(source), []);
    let service = accept(source).services.remove(0);
    assert_eq!(service.forward, Forward::Proxy);
    let [mb1, mb2] = service.servers.as_slice() else {
        panic!("two servers");
    };
    assert_eq!(mb1.send_proxy, Some(ProxyHeader::V2));
    // The check goes where the connections go, unless it has a port of its own.
    let address = |server, port: &str| {
        let check = accept(&source.replace("listen =", &format!("check = {{ {port} }}\nlisten =")));
        let check = check.services[0].check.clone().expect("tcp");
        check.address(service.address_of(server)).to_string()
    };
    assert_eq!(address(mb1, ""), "192.168.1.101:10025");
    assert_eq!(address(mb2, ""), "127.0.0.1:25");
    assert_eq!(address(mb1, "port = 7"), "192.168.1.101:7");
}

#[test]
fn notations_that_mean_the_same() {
    let listen = SERVICE.replace("\"192.168.1.100:25\"", "[\"192.168.1.100:25\"]");
    let address = SERVICE.replace("\"192.168.1.101\"", "{ address = \"192.168.1.101\" }");
    let tables = "[service.smtp]\nlisten = \"192.168.1.100:25\"\n\
                  [service.smtp.servers.mb1]\naddress = \"192.168.1.101\"\n\
                  [service.smtp.servers.mb2]\naddress = \"192.168.1.102\"\n";
    let dotted = "service.smtp.listen = \"192.168.1.100:25\"\n\
                  service.smtp.servers.mb1 = \"192.168.1.101\"\n\
                  service.smtp.servers.mb2.address = \"192.168.1.102\"\n";
    let type_only = format!("{SERVICE}check = {{ type = \"tcp\" }}\n");
    let windows = SERVICE.replace('\n', "\r\n");
    for source in [&listen, &address, tables, dotted, &type_only, &windows] {
        assert_eq!(accept(source), defaults(), "{source}");
    }
}

#[test]
fn interval_is_the_default_of_the_other_two() {
    let source = format!("{SERVICE}check = {{ interval = \"5s\", down_interval = \"20s\" }}\n");
    let check = accept(&source).services.remove(0).check.expect("tcp");
    assert_eq!(check.fast_interval, Duration::from_secs(5));
    assert_eq!(check.down_interval, Duration::from_secs(20));
}

#[test]
fn an_smtp_check_says_the_directors_name() {
    let check = format!("{SERVICE}check = {{ type = \"smtp\" }}\n");
    let named = format!("[director]\nname = \"mx-lb\"\n{check}");
    for (source, name) in [(check, "lb1"), (named, "mx-lb")] {
        let check = accept(&source).services.remove(0).check.expect("smtp");
        let helo = name.to_owned();
        let smtp = SmtpCheck {
            helo,
            ..SmtpCheck::default()
        };
        assert_eq!(check.kind, CheckKind::Smtp(smtp));
    }
}

/// Clients of other ports speak first or speak TLS: a line of text would be an error of protocol.
#[test]
fn the_directors_refusal_is_spoken_on_smtp_ports_only() {
    for (listen, spoken) in [
        ("\"192.168.1.100:25\"", true),
        ("\"192.168.1.100:587\"", true),
        ("[\"192.168.1.100:25\", \"192.168.1.100:587\"]", true),
        ("\"192.168.1.100:465\"", false),
        ("[\"192.168.1.100:25\", \"192.168.1.100:465\"]", false),
        ("\"192.168.1.100:143\"", false),
    ] {
        let source = SERVICE.replace("\"192.168.1.100:25\"", listen);
        let service = accept(&source).services.remove(0);
        assert_eq!(service.no_server.is_some(), spoken, "{listen}");
        // The check goes to the first port.
        let first = service.listen[0].port();
        assert_eq!(service.check.expect("tcp").port, Some(first));
    }
}

#[test]
fn the_example_is_clean_and_short() {
    let parsed = parse(example(), "lb1");
    assert_eq!(parsed.diagnostics, []);
    let config = parsed.config.expect("no diagnostics");
    let names: Vec<_> = config.services[0]
        .servers
        .iter()
        .map(|s| s.name.as_str())
        .collect();
    assert_eq!(names, ["mb1", "mb2", "mb3"]);
    assert_eq!(example().lines().count(), 10);
}

#[test]
fn order_is_that_of_the_file() {
    let config = accept(FULL);
    let services: Vec<_> = config.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(services, ["submission", "imap"]);
    let servers: Vec<_> = config.services[0]
        .servers
        .iter()
        .map(|s| s.name.as_str())
        .collect();
    assert_eq!(servers, ["z", "a"]);
}

#[test]
fn the_hash_is_of_what_is_meant() {
    let hash = accept(SERVICE).hash();
    assert_eq!(hash.len(), 12);
    assert!(
        hash.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    );
    let swapped = "# comment\n[service.smtp]\n\
                   servers.mb2 = { address = \"192.168.1.102\" }\n\
                   servers.mb1 = \"192.168.1.101\"\nscheduler = \"leastconn\"\n\
                   listen = [\"192.168.1.100:25\"]\n";
    assert_eq!(accept(swapped).hash(), hash);
    for (from, to) in [
        (":25", ":26"),
        ("101", "103"),
        ("mb1", "mb3"),
        ("listen", "slow_start = \"1s\"\nlisten"),
        ("[service", "[director]\nmax_flows = 2048\n[service"),
    ] {
        assert_ne!(
            accept(&SERVICE.replacen(from, to, 1)).hash(),
            hash,
            "{from} {to}"
        );
    }
    let mut turned = accept(FULL);
    turned.services.reverse();
    turned.director.interfaces.reverse();
    turned.services[1].listen.reverse();
    assert_eq!(turned.hash(), accept(FULL).hash());
}

/// Two directors compare it, so it must not change from build to build.
#[test]
fn the_hash_is_stable() {
    insta::assert_snapshot!(accept(SERVICE).hash(), @"26bf335b1f76");
}
