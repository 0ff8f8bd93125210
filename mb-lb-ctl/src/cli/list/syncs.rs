//! Rows of `list syncs`: one for each target.

use super::rows::{optional, text};
use super::table::{Cell, Rows, narrow, wide};
use crate::cli::format::timestamp;
use crate::snapshot::{SyncState, SyncTargetView, SyncView};

use Cell::Count;

/// So many names of files fit beside the rest.
const NAMED: usize = 3;

pub fn syncs(syncs: &[&SyncView]) -> Rows {
    Rows {
        columns: vec![
            narrow("sync"),
            narrow("target"),
            narrow("state"),
            narrow("last_success"),
            narrow("last_change"),
            narrow("changed"),
            narrow("why"),
            wide("method"),
            wide("source"),
            wide("path"),
            wide("user"),
            wide("port"),
            wide("runs"),
            wide("failures"),
            wide("ms"),
            wide("reload_owed"),
            wide("next"),
        ],
        rows: syncs
            .iter()
            .flat_map(|sync| sync.targets.iter().map(move |target| row(sync, target)))
            .collect(),
    }
}

fn row(sync: &SyncView, target: &SyncTargetView) -> Vec<Cell> {
    vec![
        text(&sync.name),
        text(&target.target),
        text(word(sync, target)),
        optional(target.last_success_ms.map(timestamp)),
        optional(target.changed_ms.map(timestamp)),
        text(changed(target)),
        optional(sync.source_error.as_ref().or(target.error.as_ref())),
        text(&sync.method),
        optional(sync.source.as_ref()),
        text(&target.path),
        text(&target.user),
        text(target.port),
        Count(target.runs),
        Count(u64::from(target.failures)),
        Count(target.took_ms),
        text(if target.reload_owed { "yes" } else { "no" }),
        optional(target.next.as_ref()),
    ]
}

fn word(sync: &SyncView, target: &SyncTargetView) -> &'static str {
    match (target.state, &sync.source_error) {
        (SyncState::Standby, _) => "standby",
        (_, Some(_)) | (SyncState::Failed, _) => "FAILS",
        _ if target.running => "running",
        (SyncState::Waiting, _) => "waiting",
        (SyncState::InStep, _) => "in step",
    }
}

/// What differed when something last did.
fn changed(target: &SyncTargetView) -> String {
    let names = target.files.iter().take(NAMED).map(String::as_str);
    let mut names = names.collect::<Vec<_>>().join(", ");
    if target.changed > NAMED as u64 {
        names.push_str(&format!(", ... ({} files)", target.changed));
    }
    match &target.commits {
        Some(commits) if names.is_empty() => commits.clone(),
        Some(commits) => format!("{commits}: {names}"),
        None => names,
    }
}
