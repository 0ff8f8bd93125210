//! A server that clients get no answer from is checked at once, instead of when its next check is due.
//!
//! What the director sees of clients is no proof: a flood of forged SYNs looks like a dead server. So it never takes a server
//! out; it only makes the checks come one after the other, until one of them succeeds or `fall` of them have failed. After a
//! success nothing is suspected for the length of an interval, which bounds what a flood can cost to one more check in each.

use std::time::Duration;

use super::core::Engine;
use super::server::ServerState;
use super::{Action, Now};
use crate::config::Check;
use crate::dataplane::ServerReading;
use crate::proxy::Counted;
use crate::snapshot::{AdminState, HealthState};

/// From one check of a suspected server to the next.
const DISTANCE: Duration = Duration::from_millis(100);
/// Said of a server at most so often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Whether a server is suspected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suspect {
    is_suspected: bool,
    /// A check succeeded: not again before then.
    spared_until: Duration,
    told_at: Option<Duration>,
}

impl Suspect {
    /// From the start of one check to the next, where it is suspected.
    pub fn interval(&self, regular: Duration) -> Duration {
        match self.is_suspected {
            true => regular.min(DISTANCE),
            false => regular,
        }
    }

    /// Clients get no answer. True: that is news.
    fn raise(&mut self, now: Duration) -> bool {
        if self.is_suspected || now < self.spared_until {
            return false;
        }
        self.is_suspected = true;
        let is_old = |at: Duration| now.saturating_sub(at) >= TOLD_EVERY;
        let tell = self.told_at.is_none_or(is_old);
        if tell {
            self.told_at = Some(now);
        }
        tell
    }

    /// A check came to its end: the server is well, or down, or neither yet.
    pub fn on_checked(&mut self, well: bool, state: HealthState, check: &Check, now: Duration) {
        if well && self.is_suspected {
            self.spared_until = now + check.interval;
        }
        if well || state == HealthState::Down {
            self.is_suspected = false;
        }
    }

    /// Nothing is known of it any more. True: it was suspected.
    pub fn clear(&mut self) -> bool {
        std::mem::take(&mut self.is_suspected)
    }
}

/// SYNs were brought to the server a second ago, and since then nobody has answered one of its SYN-ACKs.
pub fn is_silent(before: &ServerReading, now: &ServerReading) -> bool {
    before.pending > 0 && now.opened == before.opened
}

/// Connections to the server could not be made.
pub fn is_refusing(before: Option<&Counted>, now: &Counted) -> bool {
    before.is_some_and(|before| now.connect_errors > before.connect_errors)
}

impl ServerState {
    /// Clients get no answer. True: that is to be told.
    pub(super) fn suspect(&mut self, is_checked: bool, now: Duration) -> bool {
        let is_up = self.health.state() == HealthState::Up;
        is_checked
            && !self.by_hand.check_off
            && is_up
            && self.judged.is_none()
            && self.wish() != AdminState::Maint
            && self.suspect.raise(now)
    }
}

impl Engine {
    pub(super) fn tell_suspects(
        &mut self,
        suspects: Vec<String>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        for subject in suspects {
            let text = "clients get no answer from it: checked at once".to_owned();
            self.record(now, &subject, "suspect", text, actions);
        }
    }
}
