//! `describe`: all that is known about one server.

pub mod tier;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use crate::cli::args::{self, Global, TextOrJson};
use crate::cli::change::find;
use crate::cli::client::Client;
use crate::cli::events;
use crate::cli::exit::{Exit, Failure};
use crate::cli::format::{bytes, count, grouped, grouped_signed, span};
use crate::cli::list::rows::history;
use crate::cli::output::{emit, json as document, style_of_stdout};
use crate::cli::state;
use crate::cli::style::Style;
use crate::command::info::date;
use crate::command::line::quote;
use crate::command::native::state_word;
use crate::engine::advice;
use crate::snapshot::{
    AdminState, CheckView, EventView, HealthState, JSON_VERSION, ServerView, ServiceView,
};

/// Events that are looked through for those of the server, and those that are shown.
const SEARCHED: usize = 1_000;
const SHOWN: usize = 10;

/// One server with what the snapshot does not hold.
#[derive(Clone, Debug)]
pub struct Subject<'s> {
    pub service: &'s ServiceView,
    pub server: &'s ServerView,
    /// Of this server, oldest first.
    pub events: Vec<EventView>,
    /// Field and value, or why they could not be read.
    pub kernel: Result<BTreeMap<String, String>, String>,
}

pub fn run(global: &Global, args: &args::Describe) -> Result<Exit, Failure> {
    let client = Client::new(global);
    if args.server.service.is_empty() {
        let snapshot = client.snapshot()?;
        let tier = snapshot
            .tiers
            .iter()
            .find(|tier| tier.name == args.server.server);
        if let Some(tier) = tier {
            return tier::describe(&client, &snapshot, tier, args.output, global);
        }
    }
    let snapshot = client.snapshot_with(&args.server)?;
    let (service, server) = find(&snapshot, &args.server)?;
    let name = format!("{}/{}", service.name, server.name);
    let (_, mut events): (Exit, Vec<EventView>) =
        client.ask(&format!("mb-lb events {SEARCHED}"))?;
    events.retain(|event| event.subject == name);
    events.drain(..events.len().saturating_sub(SHOWN));
    let kernel = match client.ask(&format!("mb-lb record {}", quote(&name))) {
        Ok((_, record)) => Ok(record),
        // The rest is worth showing without it.
        Err(failure) if failure.exit == Exit::Failed => Err(failure.message),
        Err(failure) => return Err(failure),
    };
    let subject = Subject {
        service,
        server,
        events,
        kernel,
    };
    emit(&match args.output {
        TextOrJson::Text => render(&subject, style_of_stdout(global.color)),
        TextOrJson::Json => document(&json!({
            "version": JSON_VERSION,
            "service": service.name,
            "server": server,
            "events": subject.events,
            "kernel": subject.kernel.as_ref().ok(),
            "kernel_error": subject.kernel.as_ref().err(),
        }))?,
    })?;
    Ok(Exit::Ok)
}

pub fn render(subject: &Subject, style: Style) -> String {
    let Subject {
        service, server, ..
    } = subject;
    let name = format!("{}/{}", service.name, server.name);
    // Writing into a String cannot fail, here and below.
    let mut text = String::new();
    let head = format!(
        "{}  {}  {}",
        style.strong(&name),
        state::painted(server, 0, style),
        state::note(server)
    );
    let _ = writeln!(text, "{}", head.trim_end());
    section(&mut text, "Settings", &settings(service, server), style);
    section(&mut text, "State", &states(server), style);
    section(&mut text, "Flows", &flows(server), style);
    if let Some(check) = &server.check {
        section(&mut text, "Check", &check_rows(check), style);
    }
    match &subject.kernel {
        Ok(record) => {
            let rows: Vec<_> = record
                .iter()
                .map(|(key, value)| (key.as_str(), value.clone()))
                .collect();
            section(&mut text, "Kernel", &rows, style);
        }
        Err(error) => section(&mut text, "Kernel", &[("not read", error.clone())], style),
    }
    let _ = writeln!(text, "\n{}", style.strong("Events"));
    if subject.events.is_empty() {
        text.push_str("  none since the daemon started\n");
    }
    for event in &subject.events {
        let _ = write!(text, "  {}", events::line(event, style));
    }
    let _ = writeln!(text, "\n{} {}", style.strong("Next:"), next(&name, server));
    text
}

fn section(text: &mut String, title: &str, rows: &[(&str, String)], style: Style) {
    let _ = writeln!(text, "\n{}", style.strong(title));
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    for (key, value) in rows {
        let line = format!("  {key:<width$}  {value}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

fn settings(service: &ServiceView, server: &ServerView) -> Vec<(&'static str, String)> {
    let listen: Vec<String> = service.listen.iter().map(ToString::to_string).collect();
    let address = server
        .address
        .map_or_else(|| "-".to_owned(), |address| address.to_string());
    let mut rows = vec![
        ("listen", listen.join(", ")),
        ("address", address),
        ("scheduler", service.scheduler.clone()),
        ("forward", service.forward.clone()),
        (
            "weight",
            match server.weight == server.initial_weight {
                true => server.weight.to_string(),
                false => format!("{} (configured {})", server.weight, server.initial_weight),
            },
        ),
        (
            "max_connections",
            server
                .max_connections
                .map_or_else(|| "none".to_owned(), |cap| grouped(u64::from(cap))),
        ),
        ("on_down", service.on_down.clone()),
    ];
    if service.min_up > 0 {
        rows.push(("min_up", service.min_up.to_string()));
    }
    if server.backup {
        rows.push(("backup", "yes".to_owned()));
    }
    rows
}

fn states(server: &ServerView) -> Vec<(&'static str, String)> {
    let wanted = match (server.admin_by.as_str(), server.admin_reason.as_str()) {
        ("", "") => String::new(),
        (by, "") => format!(", by {by}"),
        ("", reason) => format!(": {reason}"),
        (by, reason) => format!(", by {by}: {reason}"),
    };
    let health = match server.health {
        HealthState::Up => "up",
        HealthState::Down => "down",
        HealthState::Unknown => "unknown",
    };
    let reason = match server.health_reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let next_hop = match (&server.mac, &server.interface) {
        (Some(mac), Some(interface)) => format!("{mac} on {interface}"),
        (Some(mac), None) => mac.clone(),
        (None, _) => "not known".to_owned(),
    };
    let mut rows = vec![("wanted", format!("{}{wanted}", state_word(server.admin)))];
    if let Some(hand) = &server.by_hand {
        rows.push(("by hand", state::by_hand(hand)));
    }
    if let Some(agent) = &server.agent {
        rows.push(("agent", state::agent(agent)));
    }
    rows.extend([
        ("health", format!("{health}{reason}")),
        (
            "new flows",
            match (server.usable, server.ramp_percent) {
                (false, _) => "no".to_owned(),
                (true, 100..) => "yes".to_owned(),
                (true, percent) => format!("yes, slow start at {percent}% of the weight"),
            },
        ),
        ("since", span(server.since)),
        ("downtime", span(server.downtime)),
        ("next hop", next_hop),
    ]);
    rows
}

fn flows(server: &ServerView) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        (
            "active",
            format!(
                "{} (most {})",
                grouped_signed(server.active),
                grouped_signed(server.active_max)
            ),
        ),
        ("pending", grouped(server.pending)),
        ("opened", grouped(server.opened)),
        ("closed", grouped(server.closed)),
        ("expired", grouped(server.expired)),
        ("sent elsewhere", grouped(server.refused)),
        (
            "rate",
            format!(
                "{} new/s (most {})",
                grouped(server.rate),
                grouped(server.rate_max)
            ),
        ),
        (
            "traffic",
            format!(
                "{} packets, {}",
                grouped(server.packets),
                bytes(server.bytes)
            ),
        ),
        (
            "last opened",
            server
                .last_flow
                .map_or_else(|| "never".to_owned(), |ago| format!("{} ago", span(ago))),
        ),
        ("audited", grouped(server.audited)),
    ];
    if server.drift != 0 {
        rows.push(("drift", format!("{:+}", server.drift)));
    }
    rows
}

fn check_rows(check: &CheckView) -> Vec<(&'static str, String)> {
    let certificate = check
        .certificate_not_after
        .map(|end| ("certificate", format!("ends on {}", date(end))));
    let reply = check
        .reply
        .map_or_else(String::new, |reply| format!(", reply {reply}"));
    let mut rows = vec![
        (
            "kind",
            format!(
                "{} to port {}, every {} ms",
                check.kind,
                check.port,
                grouped(check.interval_ms)
            ),
        ),
        (
            "last",
            format!(
                "{}{reply} in {} ms: {}",
                check.code,
                grouped(check.duration_ms),
                check.detail
            ),
        ),
        (
            "rise/fall",
            format!("{}/{}, {} in a row", check.rise, check.fall, check.streak),
        ),
        ("history", format!("{}  (newest last)", history(check))),
        (
            "failed",
            format!(
                "{} while up, went down {}",
                count(check.failures, "check"),
                count(check.falls, "time")
            ),
        ),
    ];
    rows.extend(certificate);
    rows
}

fn next(name: &str, server: &ServerView) -> String {
    match (server.admin, server.health) {
        (AdminState::Drain | AdminState::Maint, _) => {
            format!("mb-lb-ctl ready {name} when it may take new flows again")
        }
        (AdminState::Ready, HealthState::Down) => advice::server(
            &server.health_reason,
            server.check.as_ref().map(|check| check.code.as_str()),
            server.check.as_ref().map_or(0, |check| check.port),
        ),
        (AdminState::Ready, HealthState::Unknown) => {
            "wait for the first checks: mb-lb-ctl list checks".to_owned()
        }
        (AdminState::Ready, HealthState::Up) => {
            format!("nothing to do; mb-lb-ctl drain {name} before you work on it")
        }
    }
}
