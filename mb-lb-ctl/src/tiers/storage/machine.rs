//! What is made of rounds. Pure.

mod advice;
mod judge;

use super::Round;
use crate::config::{self, StorageKind};
use crate::engine::Now;
use crate::snapshot::{Alarm, Severity};
use crate::tiers::{State, Told, Verdict, Wishes};

use judge::{Fault, Judged};

/// One `[storage.NAME]`.
#[derive(Clone, Debug)]
pub struct Machine {
    config: config::Storage,
    verdict: Verdict,
    /// Why it counts as failed.
    failed: Option<Fault>,
    /// The first round decides at once.
    decided: bool,
    /// Rounds in a row that say otherwise than what it counts as.
    otherwise: u8,
    memory: Memory,
}

/// What rounds say only together.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// Since when the mount hangs, Unix time in milliseconds: children come and go meanwhile.
    hung_since: Option<u64>,
    /// The last counts of what waits for healing, the newest last.
    pending: Vec<u64>,
    /// Of the last of them.
    number: Option<u64>,
    split_brain: bool,
}

impl Machine {
    /// `chosen` has no meaning for storage.
    pub fn new(config: config::Storage, chosen: Option<String>) -> Self {
        let _ = chosen;
        Self {
            config,
            verdict: Verdict {
                summary: "not asked yet".to_owned(),
                ..Verdict::default()
            },
            failed: None,
            decided: false,
            otherwise: 0,
            memory: Memory::default(),
        }
    }

    pub const fn config(&self) -> &config::Storage {
        &self.config
    }

    /// What is known is kept, unless it is another storage now.
    pub fn reconfigure(&mut self, config: config::Storage, now: Now) {
        let _ = now;
        if is_another(&config.kind, &self.config.kind) || config.mount != self.config.mount {
            *self = Self::new(config, None);
        } else {
            self.config = config;
        }
    }

    /// Takes in what was seen.
    pub fn on_round(&mut self, round: &Round, wishes: &Wishes, now: Now) -> Vec<Told> {
        let _ = (wishes, now);
        self.memory.take_in(round);
        let judged = judge::judge(&self.config, round, &self.memory);
        let mut told = Vec::new();
        self.count(&judged, &mut told);
        if judged.split_brain && !self.memory.split_brain {
            told.push(Told {
                kind: "split-brain",
                text: "files in split brain".to_owned(),
            });
        }
        self.memory.split_brain = judged.split_brain;
        self.verdict = self.conclude(judged);
        told
    }

    /// Nothing that operators or the other director want changes anything.
    pub fn reconsider(&mut self, wishes: &Wishes, now: Now) -> Vec<Told> {
        let _ = (wishes, now);
        Vec::new()
    }

    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Storage has no server that is chosen.
    pub fn chosen(&self) -> Option<&str> {
        None
    }

    /// Why it counts as failed.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_ref().map(|fault| &*fault.text)
    }

    fn count(&mut self, judged: &Judged, told: &mut Vec<Told>) {
        if !judged.tested && judged.fault.is_none() {
            return;
        }
        let first = !std::mem::replace(&mut self.decided, true);
        match (&judged.fault, self.failed.is_some()) {
            (Some(fault), true) => {
                self.otherwise = 0;
                self.failed = Some(fault.clone());
            }
            (Some(fault), false) => {
                self.otherwise = self.otherwise.saturating_add(1);
                if first || fault.at_once || self.otherwise >= self.config.fall {
                    self.otherwise = 0;
                    told.push(Told {
                        kind: "storage-failed",
                        text: format!("it has failed: {}", fault.text),
                    });
                    self.failed = Some(fault.clone());
                }
            }
            (None, true) => {
                self.otherwise = self.otherwise.saturating_add(1);
                if self.otherwise >= self.config.rise {
                    self.otherwise = 0;
                    self.failed = None;
                    told.push(Told {
                        kind: "storage-ok",
                        text: format!("works again: {}", judged.phrase),
                    });
                }
            }
            (None, false) => self.otherwise = 0,
        }
    }

    fn conclude(&self, judged: Judged) -> Verdict {
        let mut alarms = judged.alarms;
        let (state, summary) = match (&self.failed, &judged.fault) {
            (Some(failed), fault) => {
                alarms.insert(
                    0,
                    Alarm {
                        severity: Severity::Critical,
                        text: format!("it has failed: {}", failed.text),
                        next: failed.next.clone(),
                    },
                );
                let better = match fault {
                    None if self.otherwise > 0 => format!(
                        "; good again for {} of {} rounds",
                        self.otherwise, self.config.rise
                    ),
                    _ => String::new(),
                };
                (State::Failed, format!("{}{better}", failed.text))
            }
            (None, Some(fault)) => (
                State::Degraded,
                format!(
                    "{} ({} of {} rounds until it counts as failed)",
                    fault.text, self.otherwise, self.config.fall
                ),
            ),
            (None, None) if !self.decided => (State::Unknown, judged.phrase),
            (None, None) => match alarms.first() {
                None => (State::Ok, judged.phrase),
                Some(alarm) => {
                    let name = format!("storage {}: ", self.config.name);
                    let what = alarm.text.strip_prefix(&name).unwrap_or(&alarm.text);
                    (State::Degraded, what.to_owned())
                }
            },
        };
        Verdict {
            state,
            summary,
            nodes: judged.nodes,
            facts: judged.facts,
            alarms,
        }
    }
}

/// Whether it is somewhere else, and not only asked otherwise.
fn is_another(a: &StorageKind, b: &StorageKind) -> bool {
    match (a, b) {
        (
            StorageKind::Nfs { server, export, .. },
            StorageKind::Nfs {
                server: before,
                export: earlier,
                ..
            },
        ) => (server, export) != (before, earlier),
        (StorageKind::Glusterfs { volume, .. }, StorageKind::Glusterfs { volume: before, .. }) => {
            volume != before
        }
        (StorageKind::Mount, StorageKind::Mount) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
