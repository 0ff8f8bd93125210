//! `sync`: has the targets of a `config_sync` brought in step now, and with `--wait` says what became of each.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::cli::args::{self, Global};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{emit, say};
use crate::command::line::quote;
use crate::snapshot::{Snapshot, SyncState, SyncTargetView, SyncView};

const POLL: Duration = Duration::from_millis(200);

pub fn run(global: &Global, args: &args::Sync) -> Result<Exit, Failure> {
    let client = Client::changing(global);
    let done = client
        .tell(&format!("mb-lb sync {}", quote(&args.name)))
        .map_err(|failure| failure.next("mb-lb-ctl list syncs"))?;
    let Some(limit) = args.wait else {
        emit(&format!(
            "{done}\nSee: mb-lb-ctl list syncs {}\n",
            args.name
        ))?;
        return Ok(Exit::Ok);
    };
    say(&format!(
        "{done}; waiting; Ctrl-C ends the waiting, not the runs"
    ));
    let started = Instant::now();
    loop {
        let snapshot = client.snapshot()?;
        let sync = find(&snapshot, &args.name)?;
        // What was ordered is under way when the order is answered.
        if !sync.targets.iter().any(|target| target.running) {
            emit(&outcome(sync))?;
            let in_step = |target: &SyncTargetView| target.state == SyncState::InStep;
            let well =
                sync.active && sync.source_error.is_none() && sync.targets.iter().all(in_step);
            return match well {
                true => Ok(Exit::Ok),
                false => {
                    Err(Failure::failed("not all targets are in step").next("mb-lb-ctl status"))
                }
            };
        }
        if started.elapsed() >= limit {
            emit(&outcome(sync))?;
            return Err(Failure::new(
                Exit::TimedOut,
                "not all runs have ended; they go on",
            ));
        }
        std::thread::sleep(POLL);
    }
}

fn find<'s>(snapshot: &'s Snapshot, name: &str) -> Result<&'s SyncView, Failure> {
    let found = snapshot.syncs.iter().find(|sync| sync.name == name);
    found.ok_or_else(|| Failure::new(Exit::NotFound, format!("no config_sync {name} any more")))
}

/// A line for each target, or why none has anything.
fn outcome(sync: &SyncView) -> String {
    if let Some(why) = &sync.source_error {
        return format!("{}: nothing is sent: {why}\n", sync.name);
    }
    let mut text = String::new();
    for target in &sync.targets {
        let how = match (&target.error, target.state) {
            (Some(why), _) => format!("failed: {why}"),
            (None, SyncState::InStep) => "in step".to_owned(),
            (None, SyncState::Standby) => "another director does it".to_owned(),
            (None, _) => "not known yet".to_owned(),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}/{}: {how}", sync.name, target.target);
    }
    text
}
