//! `config_sync` in `status`: one line for each, and one for each target that has a problem.

use std::fmt::Write as _;

use crate::cli::format::{count, timestamp};
use crate::cli::style::Style;
use crate::snapshot::{Snapshot, SyncState, SyncTargetView, SyncView};

pub(super) fn syncs(text: &mut String, snapshot: &Snapshot, style: Style) {
    if snapshot.syncs.is_empty() {
        return;
    }
    text.push('\n');
    for sync in &snapshot.syncs {
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "config_sync {}   {} from {}   {}",
            style.strong(&sync.name),
            sync.method,
            sync.source.as_deref().unwrap_or("the targets' own origin"),
            summary(sync, style)
        );
        let problems: Vec<_> = sync
            .targets
            .iter()
            .filter(|target| is_odd(target))
            .collect();
        for (index, target) in problems.iter().enumerate() {
            let branch = style.branch(index + 1 == problems.len());
            let _ = writeln!(
                text,
                "  {branch}{}  {}",
                target.target,
                problem(target, style)
            );
        }
    }
}

fn summary(sync: &SyncView, style: Style) -> String {
    if !sync.active {
        return "on the active director".to_owned();
    }
    if let Some(why) = &sync.source_error {
        return style.bad(&format!("NOTHING IS SENT: {why}"));
    }
    let all = sync.targets.len();
    let good = sync
        .targets
        .iter()
        .filter(|target| target.state == SyncState::InStep);
    let well = format!("{}/{all} in step", good.count());
    let last = sync
        .targets
        .iter()
        .filter_map(|target| target.changed_ms)
        .max();
    match last {
        Some(when) => format!("{well}   last change sent {}", timestamp(when)),
        None => well,
    }
}

fn is_odd(target: &SyncTargetView) -> bool {
    target.state != SyncState::Standby && (target.error.is_some() || target.reload_owed)
}

fn problem(target: &SyncTargetView, style: Style) -> String {
    let Some(why) = &target.error else {
        return "reload still to be done".to_owned();
    };
    let last = match target.last_success_ms {
        Some(when) => format!("last in step {}", timestamp(when)),
        None => "never in step".to_owned(),
    };
    let owed = if target.reload_owed {
        "; reload still to be done"
    } else {
        ""
    };
    format!(
        "{}  {last}, {} since: {why}{owed}",
        style.bad("FAILS"),
        count(u64::from(target.failures), "failure")
    )
}
