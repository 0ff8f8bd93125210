//! `describe TIER`: all that is known about a database, a session store or storage.

use std::fmt::Write as _;

use serde_json::json;

use super::{SEARCHED, SHOWN};
use crate::cli::args::{Global, TextOrJson};
use crate::cli::client::Client;
use crate::cli::events as lines;
use crate::cli::exit::{Exit, Failure};
use crate::cli::format::{grouped, span};
use crate::cli::output::{emit, json as document, style_of_stdout};
use crate::cli::style::Style;
use crate::snapshot::{Alarm, EventView, HealthState, JSON_VERSION, Snapshot, TierView};

pub(super) fn describe(
    client: &Client,
    snapshot: &Snapshot,
    tier: &TierView,
    output: TextOrJson,
    global: &Global,
) -> Result<Exit, Failure> {
    let (_, mut events): (Exit, Vec<EventView>) =
        client.ask(&format!("mb-lb events {SEARCHED}"))?;
    let of_server = format!("{}/", tier.name);
    events.retain(|event| event.subject == tier.name || event.subject.starts_with(&of_server));
    events.drain(..events.len().saturating_sub(SHOWN));
    let start = format!("{} {}: ", tier.kind, tier.name);
    let alarms = snapshot.alarms.iter();
    let alarms: Vec<_> = alarms
        .filter(|alarm| alarm.text.starts_with(&start))
        .collect();
    emit(&match output {
        TextOrJson::Text => render(tier, &events, &alarms, style_of_stdout(global.color)),
        TextOrJson::Json => document(&json!({
            "version": JSON_VERSION,
            "tier": tier,
            "events": events,
            "alarms": alarms,
        }))?,
    })?;
    Ok(Exit::Ok)
}

pub fn render(tier: &TierView, events: &[EventView], alarms: &[&Alarm], style: Style) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "{}  {} {}  {} for {}: {}",
        style.strong(&tier.name),
        tier.kind,
        tier.mode,
        tier.state,
        span(tier.since),
        tier.summary
    );
    let mut rows = vec![("rounds", grouped(tier.rounds))];
    if let Some(chosen) = &tier.chosen {
        rows.push(("clients at", chosen.clone()));
    }
    if !tier.takes_out.is_empty() {
        rows.push(("takes out", tier.takes_out.join(", ")));
    }
    let facts = tier.facts.iter();
    rows.extend(facts.map(|(key, value)| (key.as_str(), value.clone())));
    super::section(&mut text, "Tier", &rows, style);
    for node in &tier.nodes {
        let health = match node.health {
            HealthState::Up => style.good("up"),
            HealthState::Down => style.bad("DOWN"),
            HealthState::Unknown => style.odd("unknown"),
        };
        let mut rows = vec![("state", format!("{health}, {}", node.word))];
        if !node.reason.is_empty() {
            rows.push(("why", node.reason.clone()));
        }
        if node.role == "server" && !matches!(tier.kind.as_str(), "storage") {
            rows.push((
                "clients",
                if node.elected { "yes" } else { "no" }.to_owned(),
            ));
        }
        if !node.address.is_empty() && node.address != node.name {
            rows.push(("address", node.address.clone()));
        }
        if let Some(took) = node.took_us {
            rows.push(("took", format!("{:.1} ms", took as f64 / 1000.0)));
        }
        let fields = node.fields.iter();
        rows.extend(fields.map(|(key, value)| (key.as_str(), value.clone())));
        super::section(
            &mut text,
            &format!("{} {}", node.role, node.name),
            &rows,
            style,
        );
    }
    let _ = writeln!(text, "\n{}", style.strong("Events"));
    if events.is_empty() {
        text.push_str("  none since the daemon started\n");
    }
    for event in events {
        let _ = write!(text, "  {}", lines::line(event, style));
    }
    for alarm in alarms {
        let _ = writeln!(text, "\n{} {}", style.bad("!"), alarm.text);
        if !alarm.next.is_empty() {
            let _ = writeln!(text, "  next: {}", alarm.next);
        }
    }
    if alarms.is_empty() {
        let next = "nothing to do; mb-lb-ctl events -f shows changes as they happen";
        let _ = writeln!(text, "\n{} {next}", style.strong("Next:"));
    }
    text
}
