//! What people read: nodes, one line, facts, alarms.

mod alarms;

use std::collections::{BTreeMap, BTreeSet};

use super::machine::{HOLD, Situation, Split};
use super::node::Watched;
use crate::config::{self, GaleraMode};
use crate::snapshot::HealthState;
use crate::tiers::{Node, State, Verdict};

/// All that a verdict is made of.
pub(super) struct Seen<'a> {
    pub(super) config: &'a config::Galera,
    pub(super) nodes: &'a BTreeMap<String, Watched>,
    pub(super) situation: Situation<'a>,
    /// There was a round.
    pub(super) asked: bool,
    /// The last one that was chosen.
    pub(super) writer: Option<&'a str>,
    pub(super) elected: &'a BTreeSet<String>,
    pub(super) since: u64,
    pub(super) changing: u32,
    pub(super) split: Option<&'a Split>,
}

impl Seen<'_> {
    fn with_word<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        let nodes = self
            .nodes
            .iter()
            .filter(move |(_, node)| node.word() == word);
        nodes.map(|(name, _)| name.as_str())
    }

    fn single(&self) -> bool {
        self.config.mode == GaleraMode::SingleWriter
    }
}

pub(super) fn verdict(seen: &Seen<'_>) -> Verdict {
    let alarms = alarms::alarms(seen);
    let well = |node: &Watched| node.is_up() && node.says_usable();
    let state = match (seen.asked, seen.elected.is_empty()) {
        (false, true) => State::Unknown,
        (_, true) => State::Failed,
        _ if alarms.is_empty() && seen.nodes.values().all(well) => State::Ok,
        _ => State::Degraded,
    };
    Verdict {
        state,
        summary: summary(seen),
        nodes: seen
            .config
            .servers
            .iter()
            .filter_map(|server| Some(node(seen, server, seen.nodes.get(&server.name)?)))
            .collect(),
        facts: facts(seen),
        alarms,
    }
}

fn summary(seen: &Seen<'_>) -> String {
    let all = seen.config.servers.len();
    let synced = seen
        .nodes
        .values()
        .filter(|node| node.says_usable())
        .count();
    let nodes = format!("{synced} of {all} synced");
    if !seen.asked && seen.elected.is_empty() {
        return "not asked yet".to_owned();
    }
    let who = match (seen.elected.first(), seen.single()) {
        (None, true) => "no writer".to_owned(),
        (None, false) => "no node takes clients".to_owned(),
        (Some(writer), true) => format!("writer {writer}"),
        (Some(_), false) => format!("{} of {all} take clients", seen.elected.len()),
    };
    match seen.situation {
        Situation::Split => format!("SPLIT BRAIN, {who}, {nodes}"),
        Situation::One(_) if seen.split.is_some() => {
            format!("after a split brain, {who}, {nodes}")
        }
        Situation::Changing if !seen.elected.is_empty() => format!(
            "{who}, held: the nodes do not agree (round {} of {HOLD}), {nodes}",
            seen.changing
        ),
        Situation::None if seen.asked => {
            let locked_out = |watched: &Watched| super::node::is_about_password(watched.word());
            match seen.nodes.values().all(locked_out) {
                true => format!("{who}, and nobody may look: user or password"),
                false => format!("{who}, no primary component, {nodes}"),
            }
        }
        _ => format!("{who}, {nodes}"),
    }
}

fn node(seen: &Seen<'_>, server: &config::TierServer, watched: &Watched) -> Node {
    let (good, rise) = (watched.good(), seen.config.rise);
    let reason = match (watched.says_usable(), watched.health) {
        (true, HealthState::Down | HealthState::Unknown) => {
            format!("{}, for {good} of {rise} rounds", watched.reason())
        }
        _ => watched.reason().to_owned(),
    };
    Node {
        name: server.name.clone(),
        role: "server",
        address: server.address.to_string(),
        health: watched.health,
        word: watched.word(),
        reason,
        elected: seen.elected.contains(&server.name),
        took: watched.took,
        fields: fields(watched),
    }
}

fn fields(watched: &Watched) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let Some(status) = &watched.status else {
        return fields;
    };
    let mut put = |name: &str, value: String| fields.insert(name.to_owned(), value);
    put("cluster_status", status.cluster_status.clone());
    put("state", status.comment.clone());
    put("state_uuid", status.state_uuid.clone());
    // Outside of a primary component it is the largest number there is.
    if status.primary() {
        put("conf_id", status.conf_id.to_string());
    }
    put("size", status.size.to_string());
    put("receive_queue", status.receive_queue.to_string());
    if let Some(paused) = watched.paused {
        put("flow_control", format!("{paused}%"));
    }
    if let Some(last) = status.last_committed {
        put("last_committed", last.to_string());
    }
    put("desync", on_off(status.desync));
    put("read_only", on_off(status.read_only));
    put("members", list(status.members.iter().map(String::as_str)));
    fields
}

fn on_off(on: bool) -> String {
    match on {
        true => "on".to_owned(),
        false => "off".to_owned(),
    }
}

fn facts(seen: &Seen<'_>) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut put = |name: &str, value: String| facts.insert(name.to_owned(), value);
    put("mode", seen.config.mode.name().to_owned());
    put("size_expected", seen.config.expected_size.to_string());
    put("size_configured", seen.config.servers.len().to_string());
    if let Situation::One(view) = seen.situation {
        put("size_seen", view.size.to_string());
    }
    if seen.single() {
        let writer = seen.elected.first().map_or("none", String::as_str);
        put("writer", writer.to_owned());
        if seen.elected.is_empty()
            && let Some(last) = seen.writer
        {
            put("last_writer", last.to_owned());
        }
    }
    if seen.since > 0 {
        put("since", crate::cli::format::timestamp(seen.since));
    }
    if let Some(split) = seen.split {
        put("split_brain", sides(&split.sides));
    }
    facts
}

/// `mb-db1 and mb-db2 against mb-db3`
pub(super) fn sides(sides: &[BTreeSet<String>]) -> String {
    let sides = sides
        .iter()
        .map(|side| list(side.iter().map(String::as_str)));
    sides.collect::<Vec<_>>().join(" against ")
}

/// `a, b and c`
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests;
