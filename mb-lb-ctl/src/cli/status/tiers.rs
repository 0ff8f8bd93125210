//! Databases, session stores and storage in `status`: one line for each, and one for each node.

use std::fmt::Write as _;

use crate::cli::format::{grouped, grouped_signed, span};
use crate::cli::state;
use crate::cli::style::Style;
use crate::snapshot::{AdminState, HealthState, ServiceView, Snapshot, TierNodeView, TierView};

pub(super) fn tiers(text: &mut String, snapshot: &Snapshot, style: Style) {
    for tier in &snapshot.tiers {
        let mut services = snapshot.services.iter();
        let service = services.find(|service| service.name == tier.name);
        head(text, tier, service, style);
        nodes(text, tier, service, style);
    }
}

/// Shown with its tier.
pub(super) fn is_tier(snapshot: &Snapshot, service: &ServiceView) -> bool {
    snapshot.tiers.iter().any(|tier| tier.name == service.name)
}

fn head(text: &mut String, tier: &TierView, service: Option<&ServiceView>, style: Style) {
    let word = match tier.state.as_str() {
        "ok" => style.good("ok"),
        "degraded" => style.odd("degraded"),
        "failed" => style.bad("FAILED"),
        other => style.odd(other),
    };
    let since = match tier.state.as_str() {
        "ok" | "unknown" => String::new(),
        _ => format!(" for {}", span(tier.since)),
    };
    let clients = service.map_or_else(String::new, |service| {
        let listen: Vec<String> = service.listen.iter().map(ToString::to_string).collect();
        let servers = || service.servers.iter();
        format!(
            "   {}   active {}   {} new/s",
            listen.join(", "),
            grouped_signed(servers().map(|server| server.active).sum()),
            grouped(servers().map(|server| server.rate).sum()),
        )
    });
    // Writing into a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "\n{}   {} {}{clients}   {word}{since}: {}",
        style.strong(&tier.name),
        tier.kind,
        tier.mode,
        tier.summary,
    );
    if tier.state == "failed" && !tier.takes_out.is_empty() {
        let _ = writeln!(
            text,
            "  {} {} take no new clients",
            style.bad("TAKEN OUT:"),
            tier.takes_out.join(", ")
        );
    }
}

fn nodes(text: &mut String, tier: &TierView, service: Option<&ServiceView>, style: Style) {
    let width = |of: &dyn Fn(&TierNodeView) -> usize| tier.nodes.iter().map(of).max().unwrap_or(0);
    let names = width(&|node| label(node).chars().count());
    let words = width(&|node| node.word.chars().count());
    for (index, node) in tier.nodes.iter().enumerate() {
        let server = service
            .filter(|_| node.role == "server")
            .and_then(|service| {
                service
                    .servers
                    .iter()
                    .find(|server| server.name == node.name)
            });
        let word = format!("{:<words$}", node.word);
        let word = match node.health {
            HealthState::Up => style.good(&word),
            HealthState::Down => style.bad(&word),
            HealthState::Unknown => style.odd(&word),
        };
        let mut notes = Vec::new();
        if let Some(server) = server {
            if node.elected || server.active != 0 {
                notes.push(format!("active {}", grouped_signed(server.active)));
            }
            if server.weight == 0 {
                notes.push("weight 0: never chosen".to_owned());
            }
            if server.admin != AdminState::Ready {
                notes.push(format!("{} {}", state::word(server), state::note(server)));
            }
        }
        if !node.reason.is_empty() && node.reason != node.word {
            notes.push(node.reason.clone());
        }
        let mark = match node.elected {
            true => style.good("<- clients "),
            false => String::new(),
        };
        let line = format!(
            "  {}{:<names$}  {word}  {mark}{}",
            style.branch(index + 1 == tier.nodes.len()),
            label(node),
            notes.join("; "),
        );
        let _ = writeln!(text, "  {}", line.trim());
    }
}

fn label(node: &TierNodeView) -> String {
    match node.role.as_str() {
        "server" => node.name.clone(),
        role if role == node.name => role.to_owned(),
        role => format!("{role} {}", node.name),
    }
}
