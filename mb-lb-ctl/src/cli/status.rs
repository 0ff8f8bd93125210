//! `status`: one screen that says what is so, why, and what to do next.

mod pair;
mod syncs;
mod tiers;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::cli::args::{self, Global, TextOrJson};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::format::{count, grouped, grouped_signed, span, timestamp};
use crate::cli::output::{emit, json, style_of_stdout};
use crate::cli::state;
use crate::cli::style::Style;
use crate::snapshot::{
    AdminState, DataplaneView, RemovedView, ServerView, ServiceView, Severity, Snapshot,
};

/// A service with more servers than this shows only those that need attention, so that a screen stays a screen.
const SHOWN: usize = 24;

pub fn run(global: &Global, args: &args::Status) -> Result<Exit, Failure> {
    let snapshot = Client::new(global).snapshot()?;
    emit(&match args.output {
        TextOrJson::Text => render(&snapshot, style_of_stdout(global.color)),
        TextOrJson::Json => json(&snapshot)?,
    })?;
    Ok(match degraded(&snapshot) {
        true => Exit::Degraded,
        false => Exit::Ok,
    })
}

/// Somebody ought to do something.
pub fn degraded(snapshot: &Snapshot) -> bool {
    !snapshot.alarms.is_empty()
        || snapshot.reload_error.is_some()
        || snapshot.dataplane.error.is_some()
}

pub fn render(snapshot: &Snapshot, style: Style) -> String {
    let mut text = String::new();
    director(&mut text, snapshot, style);
    pair::render(&mut text, snapshot, style);
    let services = snapshot.services.iter();
    for service in services.filter(|service| !tiers::is_tier(snapshot, service)) {
        let gone = state::lingering(snapshot).filter(|server| server.service == service.name);
        service_tree(&mut text, service, &gone.collect::<Vec<_>>(), style);
    }
    removed_services(&mut text, snapshot, style);
    tiers::tiers(&mut text, snapshot, style);
    syncs::syncs(&mut text, snapshot, style);
    alarms(&mut text, snapshot, style);
    text
}

fn director(text: &mut String, snapshot: &Snapshot, style: Style) {
    let (bullet, word) = match degraded(snapshot) {
        false => (style.good(style.bullet()), style.good("all well")),
        true => (style.bad(style.bullet()), style.bad("DEGRADED")),
    };
    // Writing into a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "{bullet} {}  {word}   since {} ({})   config {}   mb-lb {}",
        style.strong(&snapshot.director),
        span(snapshot.uptime),
        timestamp(snapshot.started_ms),
        snapshot.config_hash,
        snapshot.build,
    );
    let dataplane = &snapshot.dataplane;
    let _ = writeln!(
        text,
        "  XDP {}   {} of {}",
        interfaces(dataplane, style),
        count(dataplane.flows, "flow"),
        grouped(dataplane.max_flows),
    );
    if let Some(error) = &dataplane.error {
        let _ = writeln!(text, "  {} {error}", style.bad("data plane:"));
    }
    if dataplane.table_full > 0 {
        let _ = writeln!(
            text,
            "  {} {} found the flow table full",
            style.odd("flow table:"),
            count(dataplane.table_full, "flow"),
        );
    }
    if dataplane.repairs > 0 {
        let repaired = match dataplane.repairs {
            1 => "1 map entry has been repaired".to_owned(),
            many => format!("{} map entries have been repaired", grouped(many)),
        };
        let _ = writeln!(text, "  {} {repaired}", style.odd("drift:"));
    }
}

fn interfaces(dataplane: &DataplaneView, style: Style) -> String {
    if dataplane.interfaces.is_empty() {
        return style.bad("on no interface");
    }
    let words: Vec<String> = dataplane
        .interfaces
        .iter()
        .map(|interface| match interface.mode.as_str() {
            "native" => format!("native on {}", interface.name),
            // Works, but the driver builds a socket buffer for each packet first.
            mode => style.odd(&format!(
                "{mode} on {} (slower than native)",
                interface.name
            )),
        })
        .collect();
    words.join(", ")
}

/// Services that are in the file no more and still have flows.
fn removed_services(text: &mut String, snapshot: &Snapshot, style: Style) {
    let mut gone: BTreeMap<&str, Vec<&RemovedView>> = BTreeMap::new();
    for server in state::lingering(snapshot) {
        if !snapshot
            .services
            .iter()
            .any(|service| service.name == server.service)
        {
            gone.entry(&server.service).or_default().push(server);
        }
    }
    for (name, servers) in gone {
        let _ = match name {
            "" => writeln!(text, "\nremoved servers whose names are not known any more"),
            name => writeln!(text, "\n{} (removed)", style.strong(name)),
        };
        removed(text, &servers, style);
    }
}

/// The last lines of a tree.
fn removed(text: &mut String, gone: &[&RemovedView], style: Style) {
    for (index, server) in gone.iter().enumerate() {
        let branch = style.branch(index + 1 == gone.len());
        let _ = writeln!(
            text,
            "  {branch}{} (removed, {})",
            server.server,
            state::left(server)
        );
    }
}

fn service_tree(text: &mut String, service: &ServiceView, gone: &[&RemovedView], style: Style) {
    let usable = service
        .servers
        .iter()
        .filter(|server| server.usable)
        .count();
    let up = format!("{usable}/{} up", service.servers.len());
    let listen: Vec<String> = service.listen.iter().map(ToString::to_string).collect();
    let _ = writeln!(
        text,
        "\n{}   {}   {} {}   {}   active {}   {} new/s",
        style.strong(&service.name),
        listen.join(", "),
        service.scheduler,
        service.forward,
        match usable {
            0 => style.bad(&up),
            all if all == service.servers.len() => style.good(&up),
            _ => style.odd(&up),
        },
        grouped_signed(service.servers.iter().map(|server| server.active).sum()),
        grouped(service.servers.iter().map(|server| server.rate).sum()),
    );
    if usable == 0 {
        let _ = writeln!(
            text,
            "  {} for {}: new clients get {}",
            style.bad("NO SERVER"),
            span(service.since),
            match (service.no_server_does.as_str(), &service.no_server) {
                ("reply", Some(reply)) => format!("\"{reply}\""),
                ("503", _) => "a page with 503".to_owned(),
                _ => "a reset".to_owned(),
            }
        );
    }
    servers(text, service, gone.is_empty(), style);
    removed(text, gone, style);
}

/// `ends`: nothing follows in this tree.
fn servers(text: &mut String, service: &ServiceView, ends: bool, style: Style) {
    let all = service.servers.len();
    let shown: Vec<&ServerView> = service
        .servers
        .iter()
        .filter(|server| all <= SHOWN || !state::is_plain(server))
        .take(SHOWN)
        .collect();
    let width = |of: &dyn Fn(&ServerView) -> String| {
        let widths = shown.iter().map(|server| of(server).chars().count());
        widths.max().unwrap_or(0)
    };
    let name_width = width(&|server| server.name.clone());
    let word_width = width(&|server| state::word(server));
    let weight_width = width(&|server| server.weight.to_string());
    let mark_width = width(&state::weight_mark);
    let active_width = width(&|server| grouped_signed(server.active));
    let pending_width = width(&|server| grouped(server.pending));
    for (index, server) in shown.iter().enumerate() {
        let line = format!(
            "  {}{:<name_width$}  {}  weight {:>weight_width$}{:<mark_width$}  active {:>active_width$}  pending {:>pending_width$}  {}",
            style.branch(ends && index + 1 == all),
            server.name,
            state::painted(server, word_width, style),
            server.weight,
            state::weight_mark(server),
            grouped_signed(server.active),
            grouped(server.pending),
            state::note(server),
        );
        let _ = writeln!(text, "  {}", line.trim());
    }
    if shown.len() < all {
        let rest = all - shown.len();
        let active: i64 = service.servers.iter().map(|server| server.active).sum();
        let shown_active: i64 = shown.iter().map(|server| server.active).sum();
        let odd = service
            .servers
            .iter()
            .filter(|s| !state::is_plain(s))
            .count()
            - shown.len();
        let states = match odd {
            0 => "all up".to_owned(),
            odd => format!(
                "{} up, {} not",
                grouped((rest - odd) as u64),
                grouped(odd as u64)
            ),
        };
        let _ = writeln!(
            text,
            "  {}{} more: {states}, active {}   (mb-lb-ctl list servers {})",
            style.branch(ends),
            grouped(rest as u64),
            grouped_signed(active - shown_active),
            service.name,
        );
    }
}

fn alarms(text: &mut String, snapshot: &Snapshot, style: Style) {
    text.push('\n');
    for alarm in &snapshot.alarms {
        let mark = match alarm.severity {
            Severity::Critical => style.bad("!!"),
            Severity::Warning => style.odd("!"),
        };
        let _ = writeln!(text, "{mark} {}", alarm.text);
        if !alarm.next.is_empty() {
            let _ = writeln!(text, "  next: {}", alarm.next);
        }
    }
    if let Some(error) = &snapshot.reload_error
        && error.trim_end().contains('\n')
    {
        let _ = writeln!(text, "\n{}", style.strong("What was wrong with the file:"));
        for line in error.trim_end().lines() {
            let _ = writeln!(text, "{}", format!("  {line}").trim_end());
        }
    }
    // Each has its own.
    if snapshot.alarms.iter().any(|alarm| !alarm.next.is_empty()) {
        return;
    }
    let next = if snapshot.reload_error.is_some() {
        "mb-lb-ctl check, correct the file, mb-lb-ctl reload".to_owned()
    } else if snapshot.dataplane.error.is_some() {
        "journalctl -u mb-lb -n 50".to_owned()
    } else if snapshot.services.is_empty() {
        format!(
            "no service is configured: add a [service.NAME] to {}, then mb-lb-ctl reload",
            snapshot.config_path
        )
    } else if let Some(name) = set_aside(snapshot) {
        format!("mb-lb-ctl ready {name} when it may take new flows again")
    } else {
        "nothing to do; mb-lb-ctl events -f shows changes as they happen".to_owned()
    };
    let _ = writeln!(text, "{} {next}", style.strong("Next:"));
}

/// The first server that somebody has drained or taken out, and may have forgotten.
fn set_aside(snapshot: &Snapshot) -> Option<String> {
    snapshot.services.iter().find_map(|service| {
        let mut servers = service.servers.iter();
        let server = servers.find(|server| server.admin != AdminState::Ready)?;
        Some(format!("{}/{}", service.name, server.name))
    })
}
