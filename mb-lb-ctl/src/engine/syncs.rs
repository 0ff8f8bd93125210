//! Configuration of the mail servers: the machines of all `[config_sync.NAME]`, and when this director runs them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::core::Engine;
use super::{Action, Now};
use crate::config::{Config, ConfigSync};
use crate::config_sync::machine::{Kept, State, Target, Told, key};
use crate::config_sync::{Machine, Order, Report, Watch};
use crate::snapshot::{Alarm, Severity, SyncState, SyncTargetView, SyncView};

/// The time of the last success is written down again only when it is older than this: a short interval is no reason to
/// write a file once a second.
const STALE_MS: u64 = 60_000;

/// What the engine holds of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Syncs {
    machines: Vec<Machine>,
    /// Runs so far.
    number: u64,
    /// As last ordered.
    watched: Vec<Watch>,
    /// As last saved, or as an earlier controller left it.
    saved: BTreeMap<String, Kept>,
}

impl Syncs {
    pub(super) fn new(saved: BTreeMap<String, Kept>) -> Self {
        Self {
            saved,
            ..Self::default()
        }
    }
}

/// Why a sync cannot be had now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncRefusal {
    #[error("no config_sync {0}")]
    Unknown(String),
    #[error("this director is not the active one: the other one does it")]
    NotActive,
}

impl Engine {
    /// The sections of a new configuration.
    pub(super) fn configure_syncs(&mut self, config: &Config, now: Now, actions: &mut Vec<Action>) {
        let mut old = std::mem::take(&mut self.syncs.machines);
        let saved = &self.syncs.saved;
        let kept = |key: &str| saved.get(key).cloned();
        let mut orders = Vec::new();
        for sync in &config.config_syncs {
            let known = old
                .iter()
                .position(|machine| machine.config().name == sync.name);
            let machine = match known {
                Some(at) => {
                    let mut machine = old.swap_remove(at);
                    orders.extend(machine.reconfigure(sync.clone(), kept, now));
                    machine
                }
                None => Machine::new(sync.clone(), kept),
            };
            self.syncs.machines.push(machine);
        }
        for mut gone in old {
            orders.extend(gone.stop());
        }
        actions.extend(orders.into_iter().map(Action::ConfigSync));
    }

    /// What the edge found.
    pub(super) fn on_sync(&mut self, report: Report, now: Now, actions: &mut Vec<Action>) {
        let mut told: Vec<Told> = Vec::new();
        match report {
            Report::Source { name, state } => {
                told.extend(
                    self.sync(&name)
                        .and_then(|machine| machine.on_source(state, now)),
                );
            }
            Report::Wanted { name } => {
                if let Some(machine) = self.sync(&name) {
                    machine.force(now);
                }
            }
            Report::Transferred { id, changes } => {
                for machine in &mut self.syncs.machines {
                    machine.on_transferred(id, changes.clone(), now);
                }
            }
            Report::Ended { id, result, took } => {
                let ended = self
                    .syncs
                    .machines
                    .iter_mut()
                    .find_map(|machine| machine.on_ended(id, result.clone(), took, now));
                told.extend(ended);
            }
        }
        for Told {
            subject,
            kind,
            text,
        } in told
        {
            self.record(now, &subject, kind, text, actions);
        }
    }

    /// Whether [`Report::Wanted`] does anything.
    ///
    /// # Errors
    /// There is none of that name, or this director is not the active one.
    pub fn can_sync(&self, name: &str) -> Result<(), SyncRefusal> {
        let mut machines = self.syncs.machines.iter();
        match machines.find(|machine| machine.config().name == name) {
            None => Err(SyncRefusal::Unknown(name.to_owned())),
            Some(machine) if machine.is_active() => Ok(()),
            Some(_) => Err(SyncRefusal::NotActive),
        }
    }

    fn sync(&mut self, name: &str) -> Option<&mut Machine> {
        let mut machines = self.syncs.machines.iter_mut();
        machines.find(|machine| machine.config().name == name)
    }

    /// Begins what is due, ends what is not to run here any more.
    pub(super) fn settle_syncs(&mut self, now: Now, actions: &mut Vec<Action>) {
        let active = self.is_active();
        let Syncs {
            machines,
            number,
            watched,
            ..
        } = &mut self.syncs;
        let mut orders = Vec::new();
        for machine in machines.iter_mut() {
            orders.extend(machine.set_active(active, now));
        }
        let wanted: Vec<Watch> = machines.iter().filter_map(Machine::watch).collect();
        if wanted != *watched {
            orders.push(Order::Watch(wanted.clone()));
            *watched = wanted;
        }
        for machine in machines {
            orders.extend(machine.start(now, || {
                *number += 1;
                *number
            }));
        }
        actions.extend(orders.into_iter().map(Action::ConfigSync));
    }

    /// When a run is due.
    pub(super) fn sync_deadline(&self) -> Option<Duration> {
        self.syncs
            .machines
            .iter()
            .filter_map(Machine::next_deadline)
            .min()
    }

    /// What must survive a restart.
    pub(super) fn syncs_to_save(&self) -> BTreeMap<String, Kept> {
        let fresh = |key: &str, kept: Kept| {
            let Some(before) = self.syncs.saved.get(key) else {
                return kept;
            };
            let (Some(now), Some(then)) = (kept.last_success, before.last_success) else {
                return kept;
            };
            let same = before.reload_owed == kept.reload_owed;
            match same && now.saturating_sub(then) < STALE_MS {
                true => before.clone(),
                false => kept,
            }
        };
        self.syncs
            .machines
            .iter()
            .flat_map(Machine::kept)
            .map(|(key, kept)| {
                let kept = fresh(&key, kept);
                (key, kept)
            })
            .collect()
    }

    /// Remembers what was saved.
    pub(super) fn syncs_saved(&mut self, saved: &BTreeMap<String, Kept>) {
        self.syncs.saved.clone_from(saved);
    }

    pub(super) fn sync_alarms(&self, alarms: &mut Vec<Alarm>) {
        for machine in &self.syncs.machines {
            let config = machine.config();
            let name = &config.name;
            let mut warn = |text: String, next: String| {
                alarms.push(Alarm {
                    severity: Severity::Warning,
                    text,
                    next,
                });
            };
            if !machine.is_active() {
                continue;
            }
            if let Some(why) = machine.source_error() {
                let next = match config.source() {
                    Some(source) => {
                        format!("ls -la {}; then mb-lb-ctl sync {name}", source.display())
                    }
                    None => format!("mb-lb-ctl sync {name}"),
                };
                warn(format!("config_sync {name} sends nothing: {why}"), next);
            }
            for (label, target) in machine.targets() {
                if let State::Failed(failure) = &target.state {
                    warn(
                        format!("config_sync {name} to {label} fails: {}", failure.why),
                        failure.next(config, target.config()),
                    );
                }
            }
        }
    }

    pub(super) fn sync_views(&self, now: Now) -> Vec<SyncView> {
        self.syncs
            .machines
            .iter()
            .map(|machine| SyncView {
                name: machine.config().name.clone(),
                method: machine.config().method.name().to_owned(),
                source: machine
                    .config()
                    .source()
                    .map(|path| path.display().to_string()),
                active: machine.is_active(),
                source_error: machine.source_error().map(str::to_owned),
                reload: machine.config().reload.clone(),
                targets: machine
                    .targets()
                    .map(|(label, target)| {
                        view(machine.config(), machine.is_active(), label, target, now)
                    })
                    .collect(),
            })
            .collect()
    }
}

fn view(
    config: &ConfigSync,
    active: bool,
    target: String,
    state: &Target,
    now: Now,
) -> SyncTargetView {
    let failure = match &state.state {
        State::Failed(failure) => Some(failure),
        State::Unknown | State::InStep => None,
    };
    let changed = state.changed.as_ref();
    SyncTargetView {
        target,
        key: key(&config.name, state.config()),
        user: state.config().user.clone(),
        host: state.config().host.clone(),
        port: state.config().port,
        path: state.config().path.clone(),
        state: match (active, &state.state) {
            (false, _) => SyncState::Standby,
            (true, State::Unknown) => SyncState::Waiting,
            (true, State::InStep) => SyncState::InStep,
            (true, State::Failed(_)) => SyncState::Failed,
        },
        running: state.is_running(),
        last_success_ms: state.kept.last_success,
        changed_ms: changed.map(|(when, _)| *when),
        changed: changed.map_or(0, |(_, changes)| changes.count),
        commits: changed.and_then(|(_, changes)| changes.commits.clone()),
        files: changed.map_or_else(Vec::new, |(_, changes)| changes.listed.clone()),
        error: failure.map(|failure| failure.why.clone()),
        error_kind: failure.map(|failure| failure.kind.name().to_owned()),
        next: failure.map(|failure| failure.next(config, state.config())),
        failures: state.failures,
        runs: state.runs,
        reload_owed: state.kept.reload_owed,
        took_ms: u64::try_from(state.took.as_millis()).unwrap_or(u64::MAX),
        next_run: state
            .due()
            .map(|due| due.saturating_sub(now.since_start).as_secs()),
    }
}

#[cfg(test)]
mod tests;
