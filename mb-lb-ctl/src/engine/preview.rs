//! What a configuration would change: the same code as a reload, stopped before it is applied.

use super::core::Engine;
use super::{Event, Now};
use std::time::Duration;

use crate::config::{
    AgentCheck, BodyMatch, Check, CheckKind, Config, Director, FlowTimeouts, Follows, HttpCheck,
    OnDown, Server, Service, SmtpCheck, Via, XdpMode,
};
use crate::plan::{self, TableCache};

mod config_sync;
mod http;
mod peer;
mod proxy;
mod tiers;
mod vrrp;

impl Engine {
    /// One line per change: first what the operator wrote, then what would be done to the kernel. Empty: nothing.
    pub fn preview(&self, config: &Config, now: Now) -> Vec<String> {
        let mut lines = changes(&self.file, config);
        let mut cache = TableCache::default();
        let before = self.desired(now).image(&mut cache);
        let mut after = self.clone();
        after.handle(Event::Config(Box::new(config.clone())), now);
        let after = after.desired(now).image(&mut TableCache::default());
        for op in plan::diff(&before, &after) {
            lines.push(format!("kernel: {op}"));
        }
        lines
    }
}

/// The differences of two configurations, as an operator would say them.
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let mut differ = |what: String, old: String, new: String| {
        if old != new {
            lines.push(format!("~ {what} {old} -> {new}"));
        }
    };
    let (a, b) = (&old.director, &new.director);
    differ("director.name".into(), a.name.clone(), b.name.clone());
    differ("director.interfaces".into(), interfaces(a), interfaces(b));
    differ("director.xdp".into(), xdp(a.xdp), xdp(b.xdp));
    differ(
        "director.max_flows (after stop, detach and start)".into(),
        a.max_flows.to_string(),
        b.max_flows.to_string(),
    );
    differ(
        "director.flow_timeouts".into(),
        timeouts(&a.flow_timeouts),
        timeouts(&b.flow_timeouts),
    );
    differ(
        "admin.socket (at the next start)".into(),
        old.admin.socket.display().to_string(),
        new.admin.socket.display().to_string(),
    );
    differ(
        "admin.socket_mode (at the next start)".into(),
        format!("{:04o}", old.admin.socket_mode),
        format!("{:04o}", new.admin.socket_mode),
    );
    http::changes(
        old.admin.http.as_ref(),
        new.admin.http.as_ref(),
        &mut differ,
    );
    differ(
        "admin.socket_level (at the next start)".into(),
        old.admin.socket_level.name().to_owned(),
        new.admin.socket_level.name().to_owned(),
    );
    for service in &old.services {
        if !new.services.iter().any(|other| other.name == service.name) {
            lines.push(format!("- {} (its open flows go on)", service.name));
        }
    }
    for service in &new.services {
        match old.services.iter().find(|other| other.name == service.name) {
            Some(known) => service_changes(known, service, &mut lines),
            None => lines.push(format!("+ {} with {}", service.name, names(service))),
        }
    }
    proxy::changes(&old.proxies, &new.proxies, &mut lines);
    vrrp::changes(&old.vrrps, &new.vrrps, &mut lines);
    peer::changes(old.peer.as_ref(), new.peer.as_ref(), &mut lines);
    tiers::changes(old, new, &mut lines);
    config_sync::changes(&old.config_syncs, &new.config_syncs, &mut lines);
    // Whoever is told that nothing changes believes it.
    if lines.is_empty() && old.hash() != new.hash() {
        lines.push("~ something that has no line of its own here: compare the files".to_owned());
    }
    lines
}

fn service_changes(old: &Service, new: &Service, lines: &mut Vec<String>) {
    let name = &new.name;
    let mut differ = |what: &str, old: String, new: String| {
        if old != new {
            lines.push(format!("~ {what} {old} -> {new}"));
        }
    };
    let listens = |service: &Service| {
        let mut text: Vec<_> = service.listen.iter().map(ToString::to_string).collect();
        text.sort_unstable();
        text.join(", ")
    };
    differ(&format!("{name} listen"), listens(old), listens(new));
    differ(
        &format!("{name} forward"),
        old.forward.name().into(),
        new.forward.name().into(),
    );
    differ(
        &format!("{name} scheduler"),
        old.scheduler.name().into(),
        new.scheduler.name().into(),
    );
    differ(
        &format!("{name} on_down"),
        on_down(old.on_down),
        on_down(new.on_down),
    );
    differ(&format!("{name} no_server"), no_server(old), no_server(new));
    differ(
        &format!("{name} slow_start"),
        span(old.slow_start),
        span(new.slow_start),
    );
    differ(
        &format!("{name} min_up"),
        min_up(old.min_up),
        min_up(new.min_up),
    );
    differ(
        &format!("{name} follows"),
        follows(&old.follows),
        follows(&new.follows),
    );
    differ(
        &format!("{name} check"),
        check(old.check.as_ref()),
        check(new.check.as_ref()),
    );
    differ(
        &format!("{name} agent"),
        agent(old.agent.as_ref()),
        agent(new.agent.as_ref()),
    );
    for server in &old.servers {
        if !new.servers.iter().any(|other| other.name == server.name) {
            lines.push(format!(
                "- {name}/{} {} (its open flows go on)",
                server.name, server.address
            ));
        }
    }
    let total: u32 = new
        .servers
        .iter()
        .map(|server| u32::from(server.weight))
        .sum();
    for server in &new.servers {
        let target = format!("{name}/{}", server.name);
        let Some(known) = old.servers.iter().find(|other| other.name == server.name) else {
            lines.push(format!(
                "+ {target} {} weight {}",
                server.address, server.weight
            ));
            continue;
        };
        if known.address != server.address {
            lines.push(format!(
                "~ {target} address {} -> {} (open flows stay with {})",
                known.address, server.address, known.address
            ));
        }
        if known.weight != server.weight {
            let share = (u32::from(server.weight) * 100)
                .checked_div(total)
                .unwrap_or(0);
            lines.push(format!(
                "~ {target} weight {} -> {} (about {share}% of new flows)",
                known.weight, server.weight
            ));
        }
        if known.max_connections != server.max_connections {
            let cap =
                |cap: Option<u32>| cap.map_or_else(|| "none".to_owned(), |cap| cap.to_string());
            lines.push(format!(
                "~ {target} max_connections {} -> {}",
                cap(known.max_connections),
                cap(server.max_connections)
            ));
        }
        let port = |server: &Server| {
            let port = server.port.map(|port| port.to_string());
            port.unwrap_or_else(|| "that of listen".to_owned())
        };
        let send_proxy = |server: &Server| server.send_proxy.map_or("none", proxy::send_proxy);
        for (what, old, new) in [
            ("port", port(known), port(server)),
            (
                "send_proxy",
                send_proxy(known).to_owned(),
                send_proxy(server).to_owned(),
            ),
        ] {
            if old != new {
                lines.push(format!("~ {target} {what} {old} -> {new}"));
            }
        }
        if known.backup != server.backup {
            lines.push(format!(
                "~ {target} backup {} -> {}",
                known.backup, server.backup
            ));
        }
    }
}

fn names(service: &Service) -> String {
    let names: Vec<&str> = service
        .servers
        .iter()
        .map(|server| server.name.as_str())
        .collect();
    names.join(", ")
}

/// As an operator would write it in the file.
fn min_up(servers: u32) -> String {
    match servers {
        0 => "none".to_owned(),
        servers => servers.to_string(),
    }
}

fn span(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0 => "0s".to_owned(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

fn timeouts(timeouts: &FlowTimeouts) -> String {
    format!(
        "established {}, half_closed {}, closing {}, reset {}",
        span(timeouts.established),
        span(timeouts.half_closed),
        span(timeouts.closing),
        span(timeouts.reset)
    )
}

fn interfaces(director: &Director) -> String {
    if director.interfaces.is_empty() {
        return "by the routes of the VIPs".to_owned();
    }
    director.interfaces.join(", ")
}

fn xdp(mode: XdpMode) -> String {
    match mode {
        XdpMode::Auto => "auto",
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
    }
    .to_owned()
}

fn on_down(on_down: OnDown) -> String {
    match on_down {
        OnDown::Reset => "reset".to_owned(),
        OnDown::Keep => "keep".to_owned(),
    }
}

fn follows(all: &[Follows]) -> String {
    let one = |follows: &Follows| format!("{} ({})", follows.service, follows.members.join(", "));
    match all {
        [] => "none".to_owned(),
        all => all.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

fn no_server(service: &Service) -> String {
    match &service.no_server {
        Some(text) => format!("\"{text}\""),
        None => "reset".to_owned(),
    }
}

fn check(check: Option<&Check>) -> String {
    let Some(check) = check else {
        return "none".to_owned();
    };
    let kind = match &check.kind {
        CheckKind::Tcp => "tcp".to_owned(),
        CheckKind::Smtp(smtp) => smtp_check(smtp),
        CheckKind::Http(http) => http_check(http),
        CheckKind::Exec { command } => format!("exec ({})", command.join(" ")),
        CheckKind::Agent { send: None } => "agent".to_owned(),
        CheckKind::Agent { send: Some(send) } => format!("agent (send {send:?})"),
    };
    let mut text = kind;
    if let Some(port) = check.port {
        text.push_str(&format!(" port {port}"));
    }
    if check.via == Via::Vip {
        text.push_str(" via vip");
    }
    text.push_str(&format!(" every {}", span(check.interval)));
    if check.fast_interval != check.interval {
        text.push_str(&format!(", fast {}", span(check.fast_interval)));
    }
    if check.down_interval != check.interval {
        text.push_str(&format!(", down {}", span(check.down_interval)));
    }
    text.push_str(&format!(
        ", timeout {}, rise {}, fall {}",
        span(check.timeout),
        check.rise,
        check.fall
    ));
    text
}

fn smtp_check(smtp: &SmtpCheck) -> String {
    let mut parts = Vec::new();
    // Of what two directors have in common, the director's own name is none.
    if !smtp.helo.is_empty() {
        parts.push(format!("helo {}", smtp.helo));
    }
    if !smtp.capabilities.is_empty() {
        let all: Vec<_> = smtp.capabilities.iter().map(ToString::to_string).collect();
        parts.push(format!("capabilities {}", all.join(", ")));
    }
    if smtp.starttls.is_some() {
        parts.push(format!("starttls {}", proxy::tls(smtp.starttls.as_ref())));
    }
    parts.extend(smtp.min_certificate.map(min_certificate));
    match parts.is_empty() {
        true => "smtp".to_owned(),
        false => format!("smtp ({})", parts.join(", ")),
    }
}

fn min_certificate(least: Duration) -> String {
    format!("min_certificate {}", span(least))
}

fn agent(agent: Option<&AgentCheck>) -> String {
    let Some(agent) = agent else {
        return "none".to_owned();
    };
    let mut text = format!(
        "port {} every {}, timeout {}",
        agent.port,
        span(agent.interval),
        span(agent.timeout)
    );
    if let Some(send) = &agent.send {
        text.push_str(&format!(", send {send:?}"));
    }
    text
}

/// What is asked, and what has to come back.
fn http_check(http: &HttpCheck) -> String {
    let mut text = format!("{} {}", http.method, http.path);
    if !http.members.is_empty() {
        text.push_str(&format!(", members {}", http.members.join(", ")));
    }
    if let Some(host) = &http.host {
        text.push_str(&format!(", host {host}"));
    }
    let expect: Vec<_> = http
        .expect
        .iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    text.push_str(&format!(", expect {}", expect.join(", ")));
    match &http.body {
        Some(BodyMatch::Text(body)) => text.push_str(&format!(", body \"{body}\"")),
        Some(BodyMatch::Regex(regex)) => text.push_str(&format!(", body_regex \"{regex}\"")),
        None => {}
    }
    if http.tls.is_some() {
        text.push_str(&format!(", tls {}", proxy::tls(http.tls.as_ref())));
    }
    if let Some(least) = http.min_certificate {
        text.push_str(&format!(", {}", min_certificate(least)));
    }
    format!("http ({text})")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `peer diff` compares.
    #[test]
    fn what_is_each_directors_own_leaves_no_gap() {
        let shared = |check: &str, vrrp: &str| {
            let text = format!(
                "{vrrp}[service.smtp]\nlisten = \"192.0.2.100:25\"\ncheck = {{ type = \"smtp\"{check} }}\n\
                 servers = {{ mb1 = \"192.0.2.1\", mb2 = \"192.0.2.2\" }}\n"
            );
            let config = crate::config::parse(&text, "lb1").config;
            config.expect("valid").shared()
        };
        let vrrp = "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\naddresses = \"192.0.2.100/24\"\n";
        let lines = changes(&shared("", ""), &shared(", fall = 9", vrrp));
        assert_eq!(
            lines,
            [
                "~ smtp check smtp port 25 every 2s, timeout 1s, rise 2, fall 3 -> smtp port 25 every 2s, timeout 1s, rise 2, fall 9",
                "+ vrrp VI_1 with 192.0.2.100/24",
            ]
        );
        let named = changes(&shared("", ""), &shared(", helo = \"mx\"", ""));
        assert!(named[0].contains("-> smtp (helo mx) port"), "{named:?}");
    }

    #[test]
    fn every_change_is_said_in_the_words_of_the_file() {
        let parse = |text: &str| crate::config::parse(text, "lb1").config.expect("valid");
        let old = parse(
            "[service.smtp]\nlisten = \"192.0.2.100:25\"\n[service.smtp.servers]\nmb1 = \"192.0.2.1\"\n\
             mb2 = \"192.0.2.2\"\nmb4 = \"192.0.2.4\"\n[service.imap]\nlisten = \"192.0.2.100:143\"\n\
             [service.imap.servers]\nmb1 = \"192.0.2.1\"\n",
        );
        let new = parse(
            "[director]\nname = \"lb2\"\ninterfaces = [\"eth0\", \"eth1\"]\nxdp = \"generic\"\nmax_flows = 4096\n\
             flow_timeouts = { established = \"1h\", reset = \"1500ms\" }\n\
             [admin]\nsocket = \"/run/x.sock\"\nsocket_mode = \"0600\"\nsocket_level = \"user\"\n\
             [service.smtp]\nlisten = [\"192.0.2.100:25\", \"192.0.2.101:25\"]\nscheduler = \"source\"\non_down = \"keep\"\n\
             no_server = \"reset\"\nslow_start = \"2m\"\nmin_up = 2\n\
             check = { type = \"smtp\", helo = \"lb\", port = 10025, interval = \"3s\", fast_interval = \"1s\", down_interval = \"10s\" }\n\
             [service.smtp.servers]\nmb1 = { address = \"192.0.2.9\", weight = 3, max_connections = 200 }\n\
             mb2 = { address = \"192.0.2.2\", backup = true }\nmb3 = \"192.0.2.3\"\n\
             [service.pop]\nlisten = \"192.0.2.100:110\"\ncheck = { type = \"none\" }\n[service.pop.servers]\nmb1 = \"192.0.2.1\"\n",
        );
        insta::assert_snapshot!(changes(&old, &new).join("\n"));
        assert_eq!(changes(&new, &new), Vec::<String>::new());
    }
}
