//! At least one wrong value for each key that the schema knows, with the message that people see.

use std::collections::BTreeSet;

use super::super::schema::{self, Section};
use super::{CONFIG_SYNC, GALERA, PEER, PROXY, SENTINEL, SERVICE, STORAGE, VRRP, diagnose};
use crate::config::{Code, Severity, render};

mod config_sync;
mod peer;
mod proxy;
mod tiers;
mod vrrp;

/// A key and what a file says for it. Everything else in the file is right.
type Case = (&'static str, &'static str);

const ROOT: &[Case] = &[
    ("director", "director = 3"),
    ("admin", "admin = \"/run/admin.sock\""),
    ("service", "service = \"192.168.1.100:25\""),
    ("service", "[service]"),
    ("service", "[service]\nlisten = \"192.168.1.100:25\""),
    ("service", "[[service]]\nlisten = \"192.168.1.100:25\""),
    (
        "service",
        "[service.\"a b\"]\nlisten = \"192.168.1.90:25\"\nservers = { a = \"192.168.1.1\", b = \"192.168.1.2\" }",
    ),
    ("vrrp", "vrrp = 51"),
    ("vrrp", "[vrrp]\ninterface = \"eth0\"\npriority = 101"),
    ("vrrp", "[[vrrp]]\ninterface = \"eth0\""),
    (
        "vrrp",
        "[vrrp.\"a b\"]\ninterface = \"eth0\"\nvirtual_router_id = 51\naddresses = \"192.168.1.100\"",
    ),
    ("peer", "peer = \"192.168.1.11:8405\""),
    ("peer", "[peer]"),
    ("peer", "[[peer]]\nlisten = \"192.168.1.10:8405\""),
    ("proxy", "proxy = \"192.168.1.100:443\""),
    ("proxy", "[proxy]\nlisten = \"192.168.1.100:443\""),
    ("proxy", "[[proxy]]\nlisten = \"192.168.1.100:443\""),
    (
        "proxy",
        "[proxy.\"a b\"]\nlisten = \"192.168.1.90:443\"\nservers = { a = \"192.168.1.1:80\", b = \"192.168.1.2:80\" }",
    ),
    (
        "proxy",
        "[proxy.smtp]\nlisten = \"192.168.1.90:443\"\nservers = { a = \"192.168.1.1:80\", b = \"192.168.1.2:80\" }",
    ),
    ("galera", "galera = \"192.168.1.98:3306\""),
    ("galera", "[galera]\nlisten = \"192.168.1.98:3306\""),
    (
        "galera",
        "[galera.\"a b\"]\nlisten = \"192.168.1.98:3306\"\nuser = \"x\"\nservers = { a = \"192.168.1.1:3306\" }",
    ),
    (
        "galera",
        "[galera.smtp]\nlisten = \"192.168.1.98:3306\"\nuser = \"x\"\nservers = { a = \"192.168.1.1:3306\" }",
    ),
    ("sentinel", "sentinel = true"),
    ("sentinel", "[[sentinel]]\nlisten = \"192.168.1.98:6379\""),
    ("storage", "storage = \"/var/spool\""),
    ("storage", "[storage]\ntype = \"mount\""),
    (
        "storage",
        "[storage.smtp]\ntype = \"mount\"\nmount = \"/q\"",
    ),
    ("config_sync", "config_sync = \"/etc/mailborder\""),
    ("config_sync", "[config_sync]\nsource = \"/etc/mailborder\""),
    (
        "config_sync",
        "[config_sync.\"a b\"]\nsource = \"/etc/mailborder\"\ntargets = \"mb2\"",
    ),
];

const DIRECTOR: &[Case] = &[
    ("name", "name = 1"),
    ("name", "name = \"\""),
    ("name", "name = \"lb 1\""),
    ("interfaces", "interfaces = []"),
    ("interfaces", "interfaces = 0"),
    ("interfaces", "interfaces = [\"eth0\", 1]"),
    ("interfaces", "interfaces = [\"eth0\", \"eth1\", \"eth0\"]"),
    (
        "interfaces",
        "interfaces = [\"averylonginterface\", \"eth 0\", \"a/b\"]",
    ),
    ("xdp", "xdp = \"nativ\""),
    ("xdp", "xdp = \"skb\""),
    ("xdp", "xdp = true"),
    ("max_flows", "max_flows = \"262144\""),
    ("max_flows", "max_flows = 1023"),
    ("max_flows", "max_flows = 16_777_217"),
    ("max_flows", "max_flows = 1e6"),
    ("max_flows", "max_flows = -1"),
    (
        "max_flows",
        "max_flows = 99999999999999999999999999999999999999999999",
    ),
    ("flow_timeouts", "flow_timeouts = \"15m\""),
    ("flow_timeouts", "flow_timeouts = { establish = \"15m\" }"),
];

const FLOW_TIMEOUTS: &[Case] = &[
    ("established", "established = 900"),
    ("established", "established = \"25h\""),
    ("half_closed", "half_closed = \"120\""),
    ("closing", "closing = \"500ms\""),
    ("reset", "reset = \"5 sec\""),
    ("reset", "reset = \"0s\""),
];

const ADMIN: &[Case] = &[
    ("socket", "socket = 1"),
    ("socket", "socket = \"\""),
    ("socket", "socket = \"admin.sock\""),
    ("socket", "socket = \"/run/mb-lb/\""),
    ("socket", "socket = \"/run/mb\\u0000lb\""),
    (
        "socket",
        "socket = \"/run/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
    ),
    ("socket_mode", "socket_mode = 660"),
    ("socket_mode", "socket_mode = \"0680\""),
    ("socket_mode", "socket_mode = \"rw-rw----\""),
    ("socket_mode", "socket_mode = \"1777\""),
    ("socket_level", "socket_level = 1"),
    ("socket_level", "socket_level = \"root\""),
    ("socket_level", "socket_level = \"readonly\""),
    ("http", "http = 8404"),
    ("http", "http = \"127.0.0.1\""),
    ("http", "http = \"*:8404\""),
    ("http", "http = \"127.0.0.1:0\""),
    ("http", "http = \"224.0.0.1:8404\""),
    ("http", "http = \"192.168.1.100:25\""),
    ("user", "user = \"admin\""),
    ("user", "http = \"127.0.0.1:8404\"\nuser = \"admin\""),
    (
        "user",
        "http = \"127.0.0.1:8404\"\nuser = \"a:b\"\npassword = \"x\"",
    ),
    ("password", "password = \"secret\""),
    (
        "password",
        "http = \"127.0.0.1:8404\"\npassword = \"secret\"",
    ),
    (
        "password",
        "http = \"127.0.0.1:8404\"\nuser = \"admin\"\npassword = \"\"",
    ),
    (
        "password",
        "http = \"127.0.0.1:8404\"\nuser = \"admin\"\npassword = \"se\\tcret\"",
    ),
    (
        "password_file",
        "password_file = \"/etc/mb-lb/stats.password\"",
    ),
    (
        "password_file",
        "http = \"127.0.0.1:8404\"\nuser = \"admin\"\npassword = \"secret\"\npassword_file = \"/etc/x\"",
    ),
    (
        "password_file",
        "http = \"127.0.0.1:8404\"\nuser = \"admin\"\npassword_file = \"etc/stats.password\"",
    ),
];

const SERVICE_KEYS: &[Case] = &[
    ("listen", ""),
    ("listen", "listen = 25"),
    ("listen", "listen = []"),
    (
        "listen",
        "listen = { address = \"192.168.1.100\", port = 25 }",
    ),
    ("listen", "listen = [25]"),
    ("listen", "listen = \"192.168.1.100\""),
    ("listen", "listen = \"192.168.1.100:0\""),
    ("listen", "listen = \"192.168.1.100/24\""),
    ("listen", "listen = \"mail.example.org:25\""),
    (
        "listen",
        "listen = [\"192.168.1.100:25\", \"192.168.1.100:25\"]",
    ),
    ("forward", "forward = \"dnat\""),
    ("forward", "forward = \"snat\""),
    ("forward", "forward = \"ipip\""),
    ("forward", "forward = \"proxi\""),
    ("forward", "forward = \"nat\""),
    ("forward", "forward = [\"dsr\"]"),
    ("scheduler", "scheduler = \"leastcon\""),
    ("scheduler", "scheduler = \"wrr\""),
    ("scheduler", "scheduler = \"magic\""),
    ("scheduler", "scheduler = 1"),
    ("check", "check = \"tcp\""),
    ("check", "check = false"),
    ("agent", "agent = 9707"),
    ("agent", "agent = {}"),
    ("agent", "agent = { port = 9707, rise = 2 }"),
    ("on_down", "on_down = \"drop\""),
    ("on_down", "on_down = true"),
    ("no_server", "no_server = \"\""),
    ("no_server", "no_server = 421"),
    ("no_server", "no_server = \"421 4.3.2 Sorry\\r\\n\""),
    ("no_server", "no_server = \"421 \\u001b[31m\""),
    ("slow_start", "slow_start = 30"),
    ("slow_start", "slow_start = \"2h\""),
    ("slow_start", "slow_start = \"-1s\""),
    ("slow_start", "slow_start = 12:30:00"),
    ("min_up", "min_up = 0"),
    ("min_up", "min_up = 3"),
    ("min_up", "min_up = \"half\""),
    ("follows", "follows = \"web\""),
    ("follows", "follows = {}"),
    ("follows", "follows = { web = [] }"),
    ("follows", "follows = { web = [\"\", 1] }"),
    ("follows", "follows = { smpt = \"mb-milter\" }"),
    ("follows", "follows = { smtp = \"mb-milter\" }"),
    ("servers", ""),
    ("servers", "servers = {}"),
    ("servers", "servers = [\"192.168.1.101\"]"),
    ("servers", "servers = \"192.168.1.101\""),
    (
        "servers",
        "servers = { mb1 = 1, mb2 = [\"192.168.1.102\"] }",
    ),
    (
        "servers",
        "servers = { \"a/b\" = \"192.168.1.101\", \"\" = \"192.168.1.102\" }",
    ),
];

const CHECK: &[Case] = &[
    ("type", "type = 1"),
    ("type", "type = \"tcpp\""),
    ("type", "type = \"mysql\""),
    ("type", "type = \"agent-check\""),
    ("type", "type = \"httpchk\""),
    ("type", "type = \"tcp-check\""),
    ("type", "type = \"none\"\nport = 25\nrise = 1"),
    ("port", "port = 0"),
    ("port", "port = 65536"),
    ("port", "port = \"25\""),
    ("interval", "interval = 2"),
    ("interval", "interval = \"2\""),
    ("interval", "interval = \"1ms\""),
    ("interval", "interval = \"2h\""),
    ("interval", "interval = \"fast\""),
    ("fast_interval", "fast_interval = 1.5"),
    ("fast_interval", "fast_interval = \"1.5s\""),
    ("down_interval", "down_interval = \"1d\""),
    ("down_interval", "down_interval = \"0s\""),
    ("timeout", "timeout = \"61s\""),
    ("timeout", "timeout = \"1S\""),
    ("timeout", "timeout = \"500us\""),
    ("rise", "rise = 0"),
    ("rise", "rise = 256"),
    ("fall", "fall = true"),
    ("fall", "fall = 0x100"),
    ("helo", "helo = \"lb1.example.org\""),
    ("helo", "type = \"tcp\"\nhelo = \"lb1.example.org\""),
    ("helo", "type = \"smtp\"\nhelo = \"lb1\\r\\nQUIT\""),
    ("helo", "type = \"smtp\"\nhelo = 1"),
    ("helo", "type = \"smtp\"\nhelo = \"\""),
    ("via", "via = \"vpi\""),
    ("via", "via = true"),
    (
        "via",
        "type = \"exec\"\ncommand = \"/bin/true\"\nvia = \"vip\"",
    ),
    ("capabilities", "capabilities = \"STARTTLS\""),
    ("capabilities", "type = \"smtp\"\ncapabilities = []"),
    ("capabilities", "type = \"smtp\"\ncapabilities = 8"),
    (
        "capabilities",
        "type = \"smtp\"\ncapabilities = [\"8BITMIME\", \"AUTH=PLAIN\", \"SIZE ä\", \"\", true]",
    ),
    ("starttls", "starttls = true"),
    ("starttls", "type = \"smtp\"\nstarttls = \"yes\""),
    (
        "starttls",
        "type = \"smtp\"\nstarttls = { verify = \"maybe\", sni = \"192.0.2.1\" }",
    ),
    ("min_certificate", "min_certificate = \"7d\""),
    (
        "min_certificate",
        "type = \"smtp\"\nmin_certificate = \"7d\"",
    ),
    (
        "min_certificate",
        "type = \"smtp\"\nstarttls = false\nmin_certificate = \"7d\"",
    ),
    (
        "min_certificate",
        "type = \"smtp\"\nstarttls = true\nmin_certificate = 7",
    ),
    (
        "min_certificate",
        "type = \"smtp\"\nstarttls = true\nmin_certificate = \"7 days\"",
    ),
    (
        "min_certificate",
        "type = \"http\"\ntls = true\nmin_certificate = \"0d\"",
    ),
    (
        "min_certificate",
        "type = \"http\"\ntls = true\nmin_certificate = \"99999999999999999999d\"",
    ),
    ("method", "type = \"http\"\nmethod = \"get\""),
    ("method", "type = \"http\"\nmethod = \"GET /\""),
    ("method", "type = \"http\"\nmethod = \"CONNECT\""),
    ("method", "type = \"smtp\"\nmethod = \"GET\""),
    ("path", "path = \"/health\""),
    ("path", "type = \"http\"\npath = \"health\""),
    ("path", "type = \"http\"\npath = \"http://mb1/health\""),
    ("path", "type = \"http\"\npath = \"/a b\""),
    ("path", "type = \"http\"\npath = \"/\\r\\nX: y\""),
    ("host", "type = \"http\"\nhost = \"a b\""),
    ("expect", "expect = 200"),
    ("expect", "type = \"http\"\nexpect = 99"),
    ("expect", "type = \"http\"\nexpect = []"),
    ("expect", "type = \"http\"\nexpect = true"),
    (
        "expect",
        "type = \"http\"\nexpect = [200, \"6xx\", \"399-200\"]",
    ),
    ("body", "type = \"http\"\nbody = \"\""),
    ("body", "type = \"http\"\nmethod = \"HEAD\"\nbody = \"ok\""),
    ("body_regex", "type = \"http\"\nbody_regex = \"(ok\""),
    (
        "body_regex",
        "type = \"http\"\nbody = \"ok\"\nbody_regex = \"ok\"",
    ),
    ("tls", "tls = true"),
    ("tls", "type = \"http\"\ntls = \"none\""),
    ("verify", "verify = \"none\""),
    ("verify", "type = \"http\"\nverify = \"none\""),
    ("verify", "type = \"http\"\ntls = false\nverify = \"none\""),
    ("verify", "type = \"http\"\ntls = {}\nverify = \"none\""),
    ("verify", "type = \"http\"\ntls = true\nverify = false"),
    ("port", "type = \"agent\""),
    ("send", "send = \"state\\n\""),
    ("send", "type = \"agent\"\nport = 9707\nsend = \"\""),
    ("send", "type = \"agent\"\nport = 9707\nsend = 1"),
    ("type", "type = \"external-check\""),
    ("command", "type = \"exec\""),
    ("command", "command = \"/usr/local/bin/x\""),
    ("command", "type = \"exec\"\ncommand = []"),
    ("command", "type = \"exec\"\ncommand = true"),
    ("command", "type = \"exec\"\ncommand = \"x\""),
    (
        "command",
        "type = \"exec\"\ncommand = \"/usr/local/bin/x -v\"",
    ),
    (
        "command",
        "type = \"exec\"\ncommand = [\"x\", 1, \"a\\u0000b\"]",
    ),
    ("members", "members = \"redis\""),
    ("members", "type = \"http\"\nmembers = []"),
    ("members", "type = \"http\"\nmembers = [\"\", true]"),
    (
        "members",
        "type = \"http\"\nmembers = \"a name that is longer than any that is ever shown\"",
    ),
    (
        "members",
        "type = \"http\"\nmethod = \"HEAD\"\nmembers = \"redis\"",
    ),
];

const SERVER: &[Case] = &[
    ("address", ""),
    ("address", "address = 1"),
    ("address", "address = \"mb1.example.org\""),
    ("address", "address = \"192.168.1.101:25\""),
    ("address", "address = \"192.168.1.101/24\""),
    ("address", "address = \"192.168.1.100\""),
    ("address", "address = \"127.0.0.1\""),
    ("weight", "weight = 257"),
    ("weight", "weight = -1"),
    ("weight", "weight = \"10\""),
    ("weight", "weight = 0.5"),
    ("max_connections", "max_connections = 0"),
    ("max_connections", "max_connections = 1_000_001"),
    ("max_connections", "max_connections = \"many\""),
    ("backup", "backup = \"yes\""),
    ("backup", "backup = 1"),
    ("port", "port = 10025"),
    ("port", "port = 0"),
    ("send_proxy", "send_proxy = \"v2\""),
    ("send_proxy", "send_proxy = true"),
];

const ALL: [(&Section, &[Case]); 26] = [
    (&schema::ROOT, ROOT),
    (&schema::DIRECTOR, DIRECTOR),
    (&schema::FLOW_TIMEOUTS, FLOW_TIMEOUTS),
    (&schema::ADMIN, ADMIN),
    (&schema::SERVICE, SERVICE_KEYS),
    (&schema::CHECK, CHECK),
    (&schema::AGENT, AGENT),
    (&schema::SERVER, SERVER),
    (&schema::PROXY, proxy::PROXY),
    (&schema::COOKIE, proxy::COOKIE),
    (&schema::TIMEOUTS, proxy::TIMEOUTS),
    (&schema::LIMITS, proxy::LIMITS),
    (&schema::ACCESS_LOG, proxy::ACCESS_LOG),
    (&schema::PROXY_SERVER, proxy::PROXY_SERVER),
    (&schema::SERVER_TLS, proxy::SERVER_TLS),
    (&schema::VRRP, vrrp::VRRP),
    (&schema::TRACK_INTERFACE, vrrp::TRACK_INTERFACE),
    (&schema::TRACK_SERVICE, vrrp::TRACK_SERVICE),
    (&schema::TRACK_SCRIPT, vrrp::TRACK_SCRIPT),
    (&schema::PEER, peer::PEER),
    (&schema::CONFIG_SYNC, config_sync::CONFIG_SYNC),
    (&schema::SYNC_TARGET, config_sync::SYNC_TARGET),
    (&schema::GALERA, tiers::GALERA),
    (&schema::SENTINEL, tiers::SENTINEL),
    (&schema::TIER_SERVER, tiers::TIER_SERVER),
    (&schema::STORAGE, tiers::STORAGE),
];

const AGENT: &[Case] = &[
    ("port", ""),
    ("port", "port = 0"),
    ("port", "agent_port = 9707"),
    ("interval", "port = 9707\ninterval = 5"),
    ("interval", "port = 9707\ninterval = \"1ms\""),
    ("timeout", "port = 9707\ntimeout = \"61s\""),
    ("send", "port = 9707\nsend = \"\""),
    ("send", "port = 9707\nsend = true"),
];

/// The file for a case, and where the case stands in it.
fn file(section: &Section, (key, text): Case) -> String {
    let sets = |name: &str| text.starts_with(name) || key == name;
    match section.title {
        "the file's top level" if key == "service" && !text.starts_with("[service.") => {
            format!("{text}\n")
        }
        "the file's top level" => format!("{text}\n{SERVICE}"),
        "[director]" => format!("[director]\n{text}\n{SERVICE}"),
        "director.flow_timeouts" => format!("[director.flow_timeouts]\n{text}\n{SERVICE}"),
        "[admin]" => format!("[admin]\n{text}\n{SERVICE}"),
        "[service.NAME]" => {
            let mut lines: Vec<_> = SERVICE.lines().collect();
            lines.retain(|line| !sets(line.split(' ').next().unwrap_or_default()));
            format!("{}\n{text}\n", lines.join("\n"))
        }
        "service.NAME.agent" => format!("{SERVICE}\n[service.smtp.agent]\n{text}\n"),
        "service.NAME.check" => format!("{SERVICE}\n[service.smtp.check]\n{text}\n"),
        "service.NAME.servers.NAME" => {
            let address = if key == "address" {
                ""
            } else {
                "address = \"192.168.1.101\"\n"
            };
            format!(
                "[service.smtp]\nlisten = \"192.168.1.100:25\"\n\
                 servers.mb2 = \"192.168.1.102\"\n[service.smtp.servers.mb1]\n{address}{text}\n"
            )
        }
        "[proxy.NAME]" => {
            let mut lines: Vec<_> = PROXY.lines().collect();
            lines.retain(|line| !sets(line.split(' ').next().unwrap_or_default()));
            format!("{SERVICE}{}\n{text}\n", lines.join("\n"))
        }
        "proxy.NAME.cookie" => {
            let name = if key == "name" { "" } else { "name = \"S\"\n" };
            format!("{SERVICE}{PROXY}[proxy.web.cookie]\n{name}{text}\n")
        }
        "proxy.NAME.timeouts" => format!("{SERVICE}{PROXY}[proxy.web.timeouts]\n{text}\n"),
        "proxy.NAME.limits" => format!("{SERVICE}{PROXY}[proxy.web.limits]\n{text}\n"),
        "proxy.NAME.access_log" => {
            format!("{SERVICE}{PROXY}[proxy.web.access_log]\n{text}\n")
        }
        "proxy.NAME.servers.NAME" | "proxy.NAME.servers.NAME.tls" => {
            let address = if key == "address" {
                ""
            } else {
                "address = \"192.168.1.101:8080\"\n"
            };
            let table = if section.title.ends_with("tls") {
                "[proxy.web.servers.mb1.tls]\n"
            } else {
                ""
            };
            format!(
                "{SERVICE}[proxy.web]\nlisten = \"192.168.1.99:8080\"\nservers.mb2 = \"192.168.1.102:8080\"\n\
                 [proxy.web.servers.mb1]\n{address}{table}{text}\n"
            )
        }
        "[vrrp.NAME]" => {
            let given = |name: &str| {
                let given = format!("{name} =");
                let mut own = text.lines().take_while(|line| !line.starts_with('['));
                key == name || own.any(|line| line.starts_with(&given))
            };
            let mut lines: Vec<_> = VRRP.lines().collect();
            lines.retain(|line| !given(line.split(' ').next().unwrap_or_default()));
            format!("{SERVICE}{}\n{text}\n", lines.join("\n"))
        }
        "vrrp.NAME.track_interfaces.NAME" => {
            format!("{SERVICE}{VRRP}[vrrp.VI_1.track_interfaces.eth1]\n{text}\n")
        }
        "vrrp.NAME.track_services.NAME" => {
            format!("{SERVICE}{VRRP}[vrrp.VI_1.track_services.smtp]\n{text}\n")
        }
        "vrrp.NAME.track_scripts.NAME" => {
            let command = if key == "command" {
                ""
            } else {
                "command = \"/bin/x\"\n"
            };
            format!("{SERVICE}{VRRP}[vrrp.VI_1.track_scripts.x]\n{command}{text}\n")
        }
        "[peer]" => {
            let mut lines: Vec<_> = PEER.lines().collect();
            let key = if key == "key" { "key_file" } else { key };
            lines.retain(|line| line.split(' ').next() != Some(key));
            format!("{SERVICE}{}\n{text}\n", lines.join("\n"))
        }
        "[config_sync.NAME]" => {
            let mut lines: Vec<_> = CONFIG_SYNC.lines().collect();
            let given = |name: &str| text.lines().any(|line| line.starts_with(name));
            lines.retain(|line| {
                let name = line.split(' ').next().unwrap_or_default();
                key != name && !given(name)
            });
            format!("{SERVICE}{}\n{text}\n", lines.join("\n"))
        }
        "config_sync.NAME.targets" => {
            let host = match key {
                "host" => "",
                _ => "host = \"mb2\"\n",
            };
            let sync = CONFIG_SYNC.replace("targets = \"mb2\"\n", "");
            format!("{SERVICE}{sync}[[config_sync.etc.targets]]\n{host}{text}\n")
        }
        "[galera.NAME]" => without(GALERA, key, text),
        "[sentinel.NAME]" => without(SENTINEL, key, text),
        "[storage.NAME]" => without(STORAGE, key, text),
        "galera.NAME.servers.NAME" => {
            let address = match key {
                "address" => "",
                _ => "address = \"192.168.1.111:3306\"\n",
            };
            let lines = GALERA.replace("db1 = \"192.168.1.111:3306\", ", "");
            let lines = lines.replace("servers = { db2 = ", "servers.db2 = ");
            let lines = lines.replace(", db3 = \"192.168.1.113:3306\" }", "");
            format!("{SERVICE}{lines}[galera.db.servers.db1]\n{address}{text}\n")
        }
        other => panic!("no file for a case of {other}"),
    }
}

/// The smallest section of its kind without the keys that the case gives, and with the case.
fn without(smallest: &str, key: &str, text: &str) -> String {
    let mut lines: Vec<_> = smallest.lines().collect();
    let given = |name: &str| {
        text.lines()
            .any(|line| line.split(' ').next() == Some(name))
    };
    lines.retain(|line| {
        let name = line.split(' ').next().unwrap_or_default();
        key != name && !given(name)
    });
    // Of another type of storage, what the smallest has would be wrong too.
    if text.starts_with("type = ") && text.contains("mount\"") || text.contains("glusterfs") {
        lines.retain(|line| !line.starts_with("server "));
    }
    format!("{SERVICE}{}\n{text}\n", lines.join("\n"))
}

#[test]
fn every_key_has_a_case() {
    let sections: Vec<_> = ALL.iter().map(|(section, _)| section.title).collect();
    let known: Vec<_> = schema::ALL.iter().map(|section| section.title).collect();
    assert_eq!(sections, known);
    for (section, cases) in ALL {
        let keys: BTreeSet<_> = section.keys.iter().chain(section.later).copied().collect();
        let covered: BTreeSet<_> = cases.iter().map(|(key, _)| *key).collect();
        assert_eq!(covered, keys, "{}", section.title);
    }
}

/// Names the key, so that the message can be understood without the file.
#[test]
fn every_case_is_an_error_that_names_its_key() {
    for (section, cases) in ALL {
        for case in cases {
            let source = file(section, *case);
            // A VIP that is given twice, or is a server, is named by its address.
            let by_address = [
                Code::DuplicateListen,
                Code::ServerIsVip,
                Code::DuplicateAddress,
                Code::DuplicateName,
            ];
            let named = diagnose(&source).into_iter().any(|diagnostic| {
                diagnostic.severity == Severity::Error
                    && (diagnostic.message.contains(case.0)
                        || by_address.contains(&diagnostic.code))
            });
            assert!(named, "{source}\n{:#?}", diagnose(&source));
        }
    }
}

#[test]
fn messages() {
    for (section, cases) in ALL {
        let mut text = String::new();
        for case in cases {
            let source = file(section, *case);
            let diagnostics = diagnose(&source);
            text += &render(&diagnostics, &source, "mb-lb.toml", false);
            text += "----\n";
        }
        let name: String = section
            .title
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        insta::assert_snapshot!(format!("messages_{}", name.trim_matches('_')), text);
    }
}

/// The codes that take more than one wrong value.
const MORE: &[(Code, &str)] = &[
    (Code::Syntax, "listen"),
    (Code::DuplicateKey, "[admin]\n[admin]"),
    (
        Code::AllWeightsZero,
        "[service.a.servers]\nb = { address = \"192.168.1.1\", weight = 0 }",
    ),
    (
        Code::OnlyBackups,
        "[service.a.servers]\nb = { address = \"192.168.1.1\", backup = true }",
    ),
    (
        Code::SingleServer,
        "[service.a.servers]\nb = \"192.168.1.1\"",
    ),
    (Code::SlowToNotice, "[service.a.check]\ninterval = \"31s\""),
    (
        Code::TimeoutOverInterval,
        "[service.a.check]\ntimeout = \"3s\"",
    ),
    (
        Code::DuplicateServer,
        "[service.a.servers]\nb = \"192.168.1.1\"\nc = \"192.168.1.1\"",
    ),
    (Code::NoReplyCode, "[service.a]\nno_server = \"sorry\""),
    (Code::OpenSocket, "[admin]\nsocket_mode = \"666\""),
    (Code::OpenPage, "[admin]\nhttp = \"192.168.1.10:8404\""),
    (Code::LongPassword, "[vrrp.a]\nauth_pass = \"123456789\""),
    (Code::LonelyGroup, "[vrrp.a]\nsync_group = \"b\""),
    (
        Code::WeightWithoutPreempt,
        "[vrrp.a]\npreempt = false\n[vrrp.a.track_interfaces.eth0]\nweight = 1",
    ),
    (
        Code::WeightOfOwner,
        "[vrrp.a]\npriority = 255\n[vrrp.a.track_interfaces.eth0]\nweight = 1",
    ),
    (
        Code::ClearText,
        "[proxy.a.servers]\nb = \"192.168.1.1:443\"",
    ),
    (
        Code::RefusedCookie,
        "[proxy.a]\ncookie = { name = \"__Secure-A\" }",
    ),
    (
        Code::DuplicateCookie,
        "[proxy.a]\ncookie = \"S\"\n[proxy.a.servers]\n\
         b = \"192.168.1.1:80\"\nc = { address = \"192.168.1.2:80\", cookie = \"b\" }",
    ),
    (
        Code::FewSentinels,
        "[sentinel.a]\nsentinels = \"192.168.1.1:26379\"",
    ),
    (
        Code::OwnVip,
        "[service.a]\nlisten = \"192.168.1.9:25\"\n[galera.b]\nlisten = \"192.168.1.9:3306\"",
    ),
    (
        Code::NoMajority,
        "[galera.a.servers]\nb = \"192.168.1.1:3306\"\nc = \"192.168.1.2:3306\"",
    ),
    (
        Code::NoShell,
        "[vrrp.a.track_scripts.x]\ncommand = \"/bin/x | y\"",
    ),
];

#[test]
fn every_code_is_reached() {
    let mut found = BTreeSet::new();
    for (section, cases) in ALL {
        for case in cases {
            found.extend(diagnose(&file(section, *case)).into_iter().map(|d| d.code));
        }
    }
    for (code, source) in MORE {
        let codes: Vec<_> = diagnose(source).into_iter().map(|d| d.code).collect();
        assert!(codes.contains(code), "{code:?} {codes:?}");
        found.insert(*code);
    }
    // Its limits are in `together::limits`, with files too long to be written here.
    found.insert(Code::TooMany);
    assert_eq!(found, Code::ALL.iter().copied().collect());
}
