//! What the checks make of a server: rise and fall, and the slow start after a fall.
//!
//! Counting is HAProxy's, so that operators' `rise` and `fall` mean what they always meant: a level from 0 to
//! `rise + fall - 1`, up from `rise` on, one success in between restores all of it, one failure below takes
//! all of it. A refused connection weighs as two failures: a port that nobody listens on is no passing weakness.
//! The start differs: a server begins unknown and takes nothing until its first check, and that
//! check decides at once, because waiting for `rise` checks at boot would only prolong an outage.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::Check;
use crate::engine::Outcome;
use crate::snapshot::HealthState;

mod slow_start;

pub use slow_start::{SlowStart, next_step, ramp_percent};

/// Results kept for `describe`.
pub const HISTORY: usize = 20;

/// Health of one server, fed with the results of its checks. Times are those of the caller's one clock.
#[derive(Clone, Debug)]
pub struct Health {
    state: HealthState,
    rise: u32,
    fall: u32,
    level: u32,
    streak: u32,
    history: VecDeque<bool>,
    failures: u64,
    falls: u64,
    since: Duration,
    /// Spent down before `since`.
    downtime: Duration,
}

/// The state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub from: HealthState,
    pub to: HealthState,
}

impl Transition {
    /// A server came back, as opposed to its being seen for the first time.
    pub fn is_recovery(self) -> bool {
        self.from == HealthState::Down && self.to == HealthState::Up
    }
}

impl Health {
    /// A server of which nothing is known. Limits of 0 count as 1.
    pub fn new(rise: u8, fall: u8, now: Duration) -> Self {
        Self {
            state: HealthState::Unknown,
            rise: u32::from(rise.max(1)),
            fall: u32::from(fall.max(1)),
            level: 0,
            streak: 0,
            history: VecDeque::with_capacity(HISTORY),
            failures: 0,
            falls: 0,
            since: now,
            downtime: Duration::ZERO,
        }
    }

    /// Takes in the result of one check.
    pub fn on_result(&mut self, outcome: Outcome, now: Duration) -> Option<Transition> {
        if outcome == Outcome::Inconclusive {
            return None;
        }
        self.remember(outcome);
        if outcome != Outcome::Success && self.state == HealthState::Up {
            self.failures += 1;
        }
        let to = match (self.state, outcome) {
            (HealthState::Unknown, Outcome::Success) => HealthState::Up,
            (HealthState::Unknown, _) => HealthState::Down,
            (HealthState::Up, Outcome::Success) => {
                self.level = self.full();
                HealthState::Up
            }
            (HealthState::Up, _) => {
                let weight = if outcome == Outcome::Refused { 2 } else { 1 };
                self.level = self.level.saturating_sub(weight);
                if self.level < self.rise {
                    HealthState::Down
                } else {
                    HealthState::Up
                }
            }
            (HealthState::Down, Outcome::Success) => {
                self.level += 1;
                if self.level >= self.rise {
                    HealthState::Up
                } else {
                    HealthState::Down
                }
            }
            (HealthState::Down, _) => {
                self.level = 0;
                HealthState::Down
            }
        };
        self.enter(to, now)
    }

    /// Up without a check of our own: an earlier controller saw it so.
    pub fn assume_up(&mut self, now: Duration) {
        self.state = HealthState::Up;
        self.level = self.full();
        self.since = now;
    }

    /// So because somebody says so, from the full level or from the bottom.
    pub fn force(&mut self, to: HealthState, now: Duration) -> Option<Transition> {
        let transition = self.enter(to, now);
        self.level = match to {
            HealthState::Up => self.full(),
            HealthState::Unknown | HealthState::Down => 0,
        };
        transition
    }

    /// Down without a check of our own: it was down when an earlier controller last saw it.
    pub fn assume_down(&mut self, now: Duration) {
        self.state = HealthState::Down;
        self.level = 0;
        self.since = now;
    }

    /// Back to unknown, as after a maintenance in which nothing was checked. Counters and history stay.
    pub fn forget(&mut self, now: Duration) -> Option<Transition> {
        self.streak = 0;
        self.enter(HealthState::Unknown, now)
    }

    /// Puts new limits in force. The state stays; a server on probation stays as many failures from its full
    /// level, or as many successes from the bottom, as the new limits leave room for.
    pub fn set_limits(&mut self, rise: u8, fall: u8) {
        let missing = self.full() - self.level;
        self.rise = u32::from(rise.max(1));
        self.fall = u32::from(fall.max(1));
        self.level = match self.state {
            HealthState::Unknown => 0,
            HealthState::Up => self.full() - missing.min(self.fall - 1),
            HealthState::Down => self.level.min(self.rise - 1),
        };
    }

    /// Distance from the start of one check to the next.
    pub fn interval(&self, check: &Check) -> Duration {
        match self.state {
            HealthState::Up if self.level == self.full() => check.interval,
            HealthState::Down if self.level == 0 => check.down_interval,
            _ => check.fast_interval,
        }
    }

    pub fn state(&self) -> HealthState {
        self.state
    }

    /// HAProxy's health counter: 0 to rise + fall - 1.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Consecutive results of the last kind.
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// Failed checks while up.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Changes from up to down.
    pub fn falls(&self) -> u64 {
        self.falls
    }

    /// The last results, newest last, at most [`HISTORY`]; `true` is a success.
    pub fn history(&self) -> impl ExactSizeIterator<Item = bool> + '_ {
        self.history.iter().copied()
    }

    /// When the present state began.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Time spent down in all.
    pub fn downtime(&self, now: Duration) -> Duration {
        match self.state {
            HealthState::Down => self.downtime + now.saturating_sub(self.since),
            _ => self.downtime,
        }
    }

    fn full(&self) -> u32 {
        self.rise + self.fall - 1
    }

    fn remember(&mut self, outcome: Outcome) {
        let success = outcome == Outcome::Success;
        self.streak = if self.streak > 0 && self.history.back() == Some(&success) {
            self.streak.saturating_add(1)
        } else {
            1
        };
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(success);
    }

    fn enter(&mut self, to: HealthState, now: Duration) -> Option<Transition> {
        let from = self.state;
        if from == to {
            return None;
        }
        self.level = match to {
            HealthState::Up => self.full(),
            HealthState::Unknown | HealthState::Down => 0,
        };
        if from == HealthState::Up && to == HealthState::Down {
            self.falls += 1;
        }
        self.downtime = self.downtime(now);
        self.since = now;
        self.state = to;
        Some(Transition { from, to })
    }
}

#[cfg(test)]
mod tests;
