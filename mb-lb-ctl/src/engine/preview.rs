//! What a configuration would change: the same code as a reload, stopped before it is applied.

use super::core::Engine;
use super::{Event, Now};
use crate::config::{Config, Service};
use crate::plan::{self, TableCache};

impl Engine {
    /// One line per change: first what the operator wrote, then what would be done to the kernel. Empty: nothing.
    pub fn preview(&self, config: &Config, now: Now) -> Vec<String> {
        let mut lines = changes(&self.config, config);
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
    differ(
        "director.interfaces".into(),
        format!("{:?}", a.interfaces),
        format!("{:?}", b.interfaces),
    );
    differ(
        "director.xdp".into(),
        format!("{:?}", a.xdp),
        format!("{:?}", b.xdp),
    );
    differ(
        "director.max_flows".into(),
        a.max_flows.to_string(),
        b.max_flows.to_string(),
    );
    differ(
        "director.flow_timeouts".into(),
        format!("{:?}", a.flow_timeouts),
        format!("{:?}", b.flow_timeouts),
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
    for service in &old.services {
        if !new.services.iter().any(|other| other.name == service.name) {
            lines.push(format!(
                "- {} ({} servers; their open flows go on)",
                service.name,
                service.servers.len()
            ));
        }
    }
    for service in &new.services {
        match old.services.iter().find(|other| other.name == service.name) {
            Some(known) => service_changes(known, service, &mut lines),
            None => lines.push(format!(
                "+ {} ({} servers)",
                service.name,
                service.servers.len()
            )),
        }
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
        &format!("{name} scheduler"),
        old.scheduler.name().into(),
        new.scheduler.name().into(),
    );
    differ(
        &format!("{name} on_down"),
        format!("{:?}", old.on_down),
        format!("{:?}", new.on_down),
    );
    differ(
        &format!("{name} no_server"),
        format!("{:?}", old.no_server),
        format!("{:?}", new.no_server),
    );
    differ(
        &format!("{name} slow_start"),
        format!("{:?}", old.slow_start),
        format!("{:?}", new.slow_start),
    );
    differ(
        &format!("{name} check"),
        format!("{:?}", old.check),
        format!("{:?}", new.check),
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
        if known.backup != server.backup {
            lines.push(format!(
                "~ {target} backup {} -> {}",
                known.backup, server.backup
            ));
        }
    }
}
