//! What is made of rounds. Pure.

use super::Round;
use crate::config;
use crate::engine::Now;
use crate::tiers::{Told, Verdict, Wishes};

/// One `[storage.NAME]`.
#[derive(Clone, Debug)]
pub struct Machine {
    config: config::Storage,
    verdict: Verdict,
}

impl Machine {
    /// `chosen`: the server that had the clients before this process began.
    pub fn new(config: config::Storage, chosen: Option<String>) -> Self {
        let _ = chosen;
        Self {
            config,
            verdict: Verdict::default(),
        }
    }

    pub const fn config(&self) -> &config::Storage {
        &self.config
    }

    /// What is known of nodes that stay is kept.
    pub fn reconfigure(&mut self, config: config::Storage, now: Now) {
        let _ = now;
        self.config = config;
    }

    /// Takes in what was seen.
    pub fn on_round(&mut self, round: &Round, wishes: &Wishes, now: Now) -> Vec<Told> {
        let _ = (round, wishes, now);
        Vec::new()
    }

    /// Judges anew what is known, because operators or the other director want something else.
    pub fn reconsider(&mut self, wishes: &Wishes, now: Now) -> Vec<Told> {
        let _ = (wishes, now);
        Vec::new()
    }

    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The server that has the clients, or had them last.
    pub fn chosen(&self) -> Option<&str> {
        None
    }
}

impl Machine {
    /// Why it counts as failed, if it does.
    pub fn failed(&self) -> Option<&str> {
        None
    }
}
