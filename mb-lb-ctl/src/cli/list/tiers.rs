//! Rows of `list tiers`: one for each node. And those of `list checks` that are of no server.

use super::rows::{optional, text};
use super::table::{Cell, Rows, narrow, wide};
use crate::snapshot::{HealthState, TierNodeView, TierView};

use Cell::{Count, Seconds};

pub fn tiers(tiers: &[&TierView]) -> Rows {
    Rows {
        columns: vec![
            narrow("tier"),
            narrow("kind"),
            narrow("tier_state"),
            narrow("role"),
            narrow("node"),
            narrow("state"),
            narrow("clients"),
            narrow("why"),
            wide("health"),
            wide("address"),
            wide("ms"),
            wide("mode"),
            wide("since"),
            wide("rounds"),
            wide("summary"),
            wide("facts"),
        ],
        rows: tiers
            .iter()
            .flat_map(|tier| tier.nodes.iter().map(move |node| row(tier, node)))
            .collect(),
    }
}

fn row(tier: &TierView, node: &TierNodeView) -> Vec<Cell> {
    let facts: Vec<_> = node
        .fields
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    vec![
        text(&tier.name),
        text(&tier.kind),
        text(&tier.state),
        text(&node.role),
        text(&node.name),
        text(&node.word),
        text(if node.elected { "yes" } else { "" }),
        text(&node.reason),
        text(health(node.health)),
        text(&node.address),
        milliseconds(node),
        text(&tier.mode),
        Seconds(tier.since),
        Count(tier.rounds),
        text(&tier.summary),
        text(facts.join(" ")),
    ]
}

/// What is asked of others than servers, which have checks of their own.
pub fn checks<'t>(
    tiers: &'t [&TierView],
) -> impl Iterator<Item = (&'t TierView, &'t TierNodeView)> {
    tiers.iter().flat_map(|tier| {
        let nodes = tier.nodes.iter().filter(|node| node.role != "server");
        nodes.map(move |node| (*tier, node))
    })
}

pub fn milliseconds(node: &TierNodeView) -> Cell {
    let took = node.took_us.map(|took| took as f64 / 1000.0);
    optional(took.map(|took| format!("{took:.1}")))
}

pub const fn health(health: HealthState) -> &'static str {
    match health {
        HealthState::Up => "up",
        HealthState::Down => "down",
        HealthState::Unknown => "unknown",
    }
}
