//! One `[config_sync.NAME]`: which target gets a run when, and what is known of each. Pure: time comes in as an
//! argument, [`Order`]s and [`Told`] go out.

use std::time::Duration;

use super::{Changes, Done, Failure, Kind, Order, Run, Watch};
use crate::config::{ConfigSync, SyncMethod, SyncTarget};
use crate::engine::Now;

/// After a first failure a target is tried again after so long, then after twice as long and so on, up to `interval`.
const RETRY: Duration = Duration::from_secs(10);

/// What is known of a section and of its targets.
#[derive(Clone, Debug)]
pub struct Machine {
    config: ConfigSync,
    active: bool,
    /// Why there is nothing to send.
    source_error: Option<String>,
    targets: Vec<Target>,
}

/// What is known of a target.
#[derive(Clone, Debug)]
pub struct Target {
    config: SyncTarget,
    /// When the next run begins; `None` while it is running, or not to run at all.
    due: Option<Duration>,
    /// Number of the run that is under way.
    running: Option<u64>,
    /// Something has happened since the run began that it may have missed.
    again: bool,
    pub state: State,
    /// Failures in a row.
    pub failures: u32,
    /// Runs that ended.
    pub runs: u64,
    /// What must survive a restart.
    pub kept: Kept,
    /// When something last differed (Unix time in milliseconds), and what.
    pub changed: Option<(u64, Changes)>,
    pub took: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No run has ended yet.
    #[default]
    Unknown,
    InStep,
    Failed(Failure),
}

/// What outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Kept {
    /// Unix time in milliseconds.
    #[serde(default)]
    pub last_success: Option<u64>,
    /// Something has changed at the target, and the reload command has not succeeded since.
    #[serde(default)]
    pub reload_owed: bool,
}

/// A change of state, for `events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub subject: String,
    pub kind: &'static str,
    pub text: String,
}

impl Machine {
    /// Not active yet. `kept` knows what an earlier controller knew of a target, by [`key`].
    pub fn new(config: ConfigSync, kept: impl Fn(&str) -> Option<Kept>) -> Self {
        let target = |target: &SyncTarget| {
            let kept = kept(&key(&config.name, target)).unwrap_or_default();
            Target::new(target.clone(), kept)
        };
        Self {
            targets: config.targets.iter().map(target).collect(),
            active: false,
            source_error: None,
            config,
        }
    }

    pub const fn config(&self) -> &ConfigSync {
        &self.config
    }

    pub const fn is_active(&self) -> bool {
        self.active
    }

    pub fn source_error(&self) -> Option<&str> {
        self.source_error.as_deref()
    }

    /// With what each is called in this section: its host, or, where that is not enough, the path too.
    pub fn targets(&self) -> impl Iterator<Item = (String, &Target)> {
        let label = |target: &SyncTarget| {
            let same = |other: &&SyncTarget| other.host == target.host;
            match self.config.targets.iter().filter(same).count() {
                1 => target.host.clone(),
                _ => format!("{}:{}", target.host, target.path),
            }
        };
        self.targets
            .iter()
            .map(move |target| (label(&target.config), target))
    }

    /// Takes a new configuration. What is known of targets that stay is kept; runs of the old one end.
    pub fn reconfigure(
        &mut self,
        config: ConfigSync,
        kept: impl Fn(&str) -> Option<Kept>,
        now: Now,
    ) -> Vec<Order> {
        if config == self.config {
            return Vec::new();
        }
        let orders = self.stop();
        let mut old = std::mem::take(&mut self.targets);
        let same_source = config.source() == self.config.source();
        *self = Self {
            active: self.active,
            ..Self::new(config, kept)
        };
        for target in &mut self.targets {
            let same = |old: &Target| same_source && old.config == target.config;
            if let Some(at) = old.iter().position(same) {
                *target = old.swap_remove(at);
            }
        }
        if self.active {
            self.all_due(now.since_start);
        }
        orders
    }

    /// This director has become the active one, or is it no more.
    pub fn set_active(&mut self, active: bool, now: Now) -> Vec<Order> {
        if active == self.active {
            return Vec::new();
        }
        self.active = active;
        if !active {
            return self.stop();
        }
        // A watch reports once it has looked for the first time. Runs that begin after that miss no change.
        let first = match self.watch() {
            Some(_) => now.since_start + self.config.interval,
            None => now.since_start,
        };
        for target in &mut self.targets {
            target.due = Some(first);
        }
        Vec::new()
    }

    /// Ends what is under way.
    pub fn stop(&mut self) -> Vec<Order> {
        let ids: Vec<u64> = self
            .targets
            .iter_mut()
            .filter_map(|target| {
                target.due = None;
                target.again = false;
                target.running.take()
            })
            .collect();
        match ids.is_empty() {
            true => Vec::new(),
            false => vec![Order::Stop(ids)],
        }
    }

    /// What is to be looked at.
    pub fn watch(&self) -> Option<Watch> {
        let source = self.config.source()?;
        (self.active && self.config.on_change).then(|| Watch {
            name: self.config.name.clone(),
            source: source.clone(),
            git: matches!(self.config.method, SyncMethod::Git { .. }),
        })
    }

    /// A look at the source: it has changed, or cannot be looked at.
    pub fn on_source(&mut self, state: Result<(), String>, now: Now) -> Option<Told> {
        if !self.active {
            return None;
        }
        match state {
            Ok(()) => {
                self.all_due(now.since_start);
                None
            }
            Err(why) => self.source_failed(why),
        }
    }

    /// An operator wants it now.
    pub fn force(&mut self, now: Now) {
        if self.active {
            self.all_due(now.since_start);
        }
    }

    fn all_due(&mut self, now: Duration) {
        for target in &mut self.targets {
            match target.running {
                Some(_) => target.again = true,
                None => target.due = Some(now),
            }
        }
    }

    /// When [`Self::start`] has something to do.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.targets.iter().filter_map(|target| target.due).min()
    }

    /// Begins the runs that are due. `next` gives each a number of its own.
    pub fn start(&mut self, now: Now, mut next: impl FnMut() -> u64) -> Vec<Order> {
        let mut orders = Vec::new();
        for target in &mut self.targets {
            if target.due.is_none_or(|due| due > now.since_start) {
                continue;
            }
            let id = next();
            target.due = None;
            target.again = false;
            target.running = Some(id);
            orders.push(Order::Run(Box::new(Run {
                id,
                sync: self.config.clone(),
                target: target.config.clone(),
                reload_owed: target.kept.reload_owed,
            })));
        }
        orders
    }

    /// A run has changed something; whether it succeeds is not known yet.
    pub fn on_transferred(&mut self, id: u64, changes: Changes, now: Now) {
        let owed = self.config.reload.is_some();
        if let Some(target) = self.running(id) {
            target.kept.reload_owed = owed;
            target.changed = Some((now.wall_ms, changes));
        }
    }

    pub fn on_ended(
        &mut self,
        id: u64,
        result: Result<Done, Failure>,
        took: Duration,
        now: Now,
    ) -> Option<Told> {
        let interval = self.config.interval;
        let at = self.targets.iter().position(|t| t.running == Some(id))?;
        let subject = {
            let (label, _) = self.targets().nth(at)?;
            format!("{}/{label}", self.config.name)
        };
        let target = &mut self.targets[at];
        target.running = None;
        target.runs += 1;
        target.took = took;
        let succeeded = result.is_ok();
        target.failures = if succeeded { 0 } else { target.failures + 1 };
        let wait = match succeeded {
            true => interval,
            false => interval.min(RETRY * 2u32.saturating_pow(target.failures.min(16) - 1)),
        };
        target.due = Some(match std::mem::take(&mut target.again) {
            true => now.since_start,
            false => now.since_start + wait,
        });
        match result {
            Err(failure) if failure.kind == Kind::Source => self.source_failed(failure.why),
            Err(failure) => {
                self.source_error = None;
                target.fail(failure, subject)
            }
            Ok(done) => {
                self.source_error = None;
                target.succeed(&done, subject, now)
            }
        }
    }

    fn source_failed(&mut self, why: String) -> Option<Told> {
        if self.source_error.as_ref() == Some(&why) {
            return None;
        }
        self.source_error = Some(why.clone());
        Some(Told {
            subject: self.config.name.clone(),
            kind: "sync-failed",
            text: format!("nothing is sent: {why}"),
        })
    }

    fn running(&mut self, id: u64) -> Option<&mut Target> {
        self.targets.iter_mut().find(|t| t.running == Some(id))
    }

    /// What must survive a restart, by [`key`].
    pub fn kept(&self) -> impl Iterator<Item = (String, Kept)> {
        self.targets
            .iter()
            .filter(|target| target.kept != Kept::default())
            .map(|target| (key(&self.config.name, &target.config), target.kept.clone()))
    }
}

/// A target among those of all sections.
pub fn key(section: &str, target: &SyncTarget) -> String {
    format!("{section} {}:{}:{}", target.host, target.port, target.path)
}

impl Target {
    const fn new(config: SyncTarget, kept: Kept) -> Self {
        Self {
            config,
            due: None,
            running: None,
            again: false,
            state: State::Unknown,
            failures: 0,
            runs: 0,
            kept,
            changed: None,
            took: Duration::ZERO,
        }
    }

    pub const fn config(&self) -> &SyncTarget {
        &self.config
    }

    pub const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// When the next run begins, where one is not under way.
    pub const fn due(&self) -> Option<Duration> {
        self.due
    }

    fn fail(&mut self, failure: Failure, subject: String) -> Option<Told> {
        let known = matches!(&self.state, State::Failed(known) if *known == failure);
        let text = failure.why.clone();
        self.state = State::Failed(failure);
        let kind = "sync-failed";
        (!known).then_some(Told {
            subject,
            kind,
            text,
        })
    }

    fn succeed(&mut self, done: &Done, subject: String, now: Now) -> Option<Told> {
        self.kept.last_success = Some(now.wall_ms);
        self.kept.reload_owed = false;
        let before = std::mem::replace(&mut self.state, State::InStep);
        let mut text = match (done.changes.is_empty(), done.reloaded) {
            (false, _) => done.changes.summary(),
            (true, true) => "nothing differed, but a reload was owed".to_owned(),
            (true, false) if before == State::InStep => return None,
            (true, false) => "nothing differed".to_owned(),
        };
        if matches!(before, State::Failed(_)) {
            text.insert_str(0, "works again: ");
        }
        if done.reloaded {
            text.push_str("; reloaded");
        }
        Some(Told {
            subject,
            kind: "sync",
            text,
        })
    }
}

#[cfg(test)]
mod tests;
