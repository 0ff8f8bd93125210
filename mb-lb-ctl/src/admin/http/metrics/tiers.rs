//! Databases, session stores, storage, and files for the mail servers.

use super::exposition::{families, one_hot};
use super::{Exposition, bit};
use crate::cli::list::health_word;
use crate::snapshot::{Snapshot, SyncState};

families! {
    STATE = Gauge "mb_lb_tier_state" ["tier", "kind", "state"]
        "1 for the state of the tier: ok, degraded, failed or unknown; 0 for the others.";
    ROUNDS = Counter "mb_lb_tier_rounds_total" ["tier", "kind"]
        "How often all nodes of the tier were asked.";
    NODE = Gauge "mb_lb_tier_node_health" ["tier", "kind", "role", "node", "state"]
        "1 for what is seen of the node: up, down or unknown; 0 for the others.";
    ELECTED = Gauge "mb_lb_tier_node_elected" ["tier", "kind", "role", "node"]
        "1 where clients are brought to the node.";
    TOOK = Gauge "mb_lb_tier_node_answer_seconds" ["tier", "kind", "role", "node"]
        "How long the last answer of the node took.";
    SYNC = Gauge "mb_lb_config_sync_state" ["sync", "target", "state"]
        "1 for the state of the target: standby, waiting, in_step or failed; 0 for the others.";
    SOURCE = Gauge "mb_lb_config_sync_source_ok" ["sync"]
        "1 unless nothing can be sent because of the source.";
    SUCCESS = Gauge "mb_lb_config_sync_last_success_timestamp_seconds" ["sync", "target"]
        "When the target was last in step, in Unix time.";
    RUNS = Counter "mb_lb_config_sync_runs_total" ["sync", "target"]
        "Runs that ended.";
    FAILURES = Gauge "mb_lb_config_sync_failures" ["sync", "target"]
        "Failures in a row; 0 after a success.";
    OWED = Gauge "mb_lb_config_sync_reload_owed" ["sync", "target"]
        "1 while the reload command has not succeeded since something changed there.";
}

const TIER_STATES: &[&str] = &["ok", "degraded", "failed", "unknown"];
const HEALTH_STATES: &[&str] = &["up", "down", "unknown"];
const SYNC_STATES: &[&str] = &["standby", "waiting", "in_step", "failed"];

pub(super) fn write(snapshot: &Snapshot, text: &mut Exposition) {
    let tiers = || snapshot.tiers.iter();
    text.family(
        &STATE,
        tiers().flat_map(|tier| {
            one_hot(TIER_STATES, &tier.state)
                .map(|(state, is)| ([&*tier.name, &*tier.kind, state], is))
        }),
    );
    text.family(
        &ROUNDS,
        tiers().map(|tier| ([&*tier.name, &*tier.kind], tier.rounds)),
    );
    let nodes = || {
        tiers().flat_map(|tier| {
            let nodes = tier.nodes.iter();
            nodes.map(move |node| {
                let names = [&*tier.name, &*tier.kind, &*node.role, &*node.name];
                (names, node)
            })
        })
    };
    text.family(
        &NODE,
        nodes().flat_map(|([tier, kind, role, name], node)| {
            one_hot(HEALTH_STATES, health_word(node.health))
                .map(move |(state, is)| ([tier, kind, role, name, state], is))
        }),
    );
    text.family(
        &ELECTED,
        nodes().map(|(names, node)| (names, bit(node.elected))),
    );
    text.family(
        &TOOK,
        nodes().filter_map(|(names, node)| Some((names, node.took_us? as f64 / 1e6))),
    );

    let syncs = || snapshot.syncs.iter();
    let targets = || {
        syncs().flat_map(|sync| {
            let targets = sync.targets.iter();
            targets.map(move |target| ([&*sync.name, &*target.target], target))
        })
    };
    text.family(
        &SYNC,
        targets().flat_map(|([sync, name], target)| {
            one_hot(SYNC_STATES, sync_word(target.state))
                .map(move |(state, is)| ([sync, name, state], is))
        }),
    );
    text.family(
        &SOURCE,
        syncs().map(|sync| ([&*sync.name], bit(sync.source_error.is_none()))),
    );
    text.family(
        &SUCCESS,
        targets()
            .filter_map(|(names, target)| Some((names, target.last_success_ms? as f64 / 1000.0))),
    );
    text.family(&RUNS, targets().map(|(names, target)| (names, target.runs)));
    text.family(
        &FAILURES,
        targets().map(|(names, target)| (names, target.failures)),
    );
    text.family(
        &OWED,
        targets().map(|(names, target)| (names, bit(target.reload_owed))),
    );
}

fn sync_word(state: SyncState) -> &'static str {
    match state {
        SyncState::Standby => "standby",
        SyncState::Waiting => "waiting",
        SyncState::InStep => "in_step",
        SyncState::Failed => "failed",
    }
}
