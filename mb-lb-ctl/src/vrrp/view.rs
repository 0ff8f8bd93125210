//! What a virtual router does at the moment, for those who show it.

use std::net::IpAddr;
use std::time::Duration;

use super::Instance;
use super::clock::clock;
use super::judge::Rejected;
use super::machine::{Heard, Role};

/// Times are of [`clock`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterView {
    pub role: Role,
    /// When the role began.
    pub since: Duration,
    /// Effective, after tracking.
    pub priority: u8,
    /// Where its adverts come from; `None` until it could have sent one.
    pub source: Option<IpAddr>,
    /// The active director, where that is another one: what it said last, and when.
    pub master: Option<(Heard, Duration)>,
    /// Adverts of this VRID that were not as they should be, since the router began.
    pub rejections: Vec<Rejected>,
    /// A hand-over is under way.
    pub is_leaving: bool,
    /// It has handed over on purpose and leaves a weaker peer alone.
    pub stands_aside: bool,
    /// What is wrong with its interface; not what the controller told it.
    pub fault: Option<String>,
}

impl RouterView {
    /// Of a router that has not begun.
    pub fn new(instance: &Instance) -> Self {
        Self {
            role: Role::Fault,
            since: clock(),
            priority: instance.priority,
            source: None,
            master: None,
            rejections: Vec::new(),
            is_leaving: false,
            stands_aside: false,
            fault: None,
        }
    }

    /// In more than counts and times of adverts, of which there can be hundreds a second.
    pub fn differs(&self, other: &Self) -> bool {
        let essence = |view: &Self| Self {
            master: view.master.map(|(heard, _)| (heard, Duration::ZERO)),
            rejections: view
                .rejections
                .iter()
                .map(|rejected| Rejected {
                    count: 0,
                    at: Duration::ZERO,
                    ..*rejected
                })
                .collect(),
            ..view.clone()
        };
        essence(self) != essence(other)
    }
}
