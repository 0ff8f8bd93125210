//! What is behind the mail servers: databases, session store and quarantine storage, watched and judged.
//!
//! ```text
//!   config::{Galera, Sentinel, Storage} -> Task -> follow (edge: asks, once per interval) -> Event::Tier(Round)
//!     -> Machine (pure; of the engine) -> Verdict -> snapshot, alarms; which servers take clients of `listen`
//! ```
//!
//! An edge says what it saw and concludes nothing. A machine concludes and asks nothing. How clients then get to the
//! server is no matter of either: a tier with `listen` is a service in user mode.

pub mod galera;
pub mod secret;
pub mod sentinel;
pub mod storage;
mod watchers;

pub use watchers::{Reports, Watchers};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config;
use crate::snapshot::{Alarm, HealthState};

/// Whether all passwords can be read.
///
/// # Errors
/// The first that cannot.
pub fn check(config: &config::Config) -> Result<(), String> {
    let galeras = config.galeras.iter();
    let galeras = galeras.map(|galera| ("galera", &galera.name, &galera.password));
    let sentinels = config.sentinels.iter().flat_map(|sentinel| {
        let secrets = [&sentinel.password, &sentinel.sentinel_password];
        secrets.map(|secret| ("sentinel", &sentinel.name, secret))
    });
    for (kind, name, secret) in galeras.chain(sentinels) {
        if let Some(Err(error)) = secret.as_ref().map(secret::read) {
            return Err(format!(
                "{kind} {name}: the password cannot be read: {error}"
            ));
        }
    }
    Ok(())
}

/// What is to be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    Galera(config::Galera),
    Sentinel(config::Sentinel),
    Storage {
        config: config::Storage,
        /// This director is the one that may ask what is dear to answer.
        slowly_too: bool,
    },
}

impl Task {
    pub fn name(&self) -> &str {
        match self {
            Self::Galera(config) => &config.name,
            Self::Sentinel(config) => &config.name,
            Self::Storage { config, .. } => &config.name,
        }
    }
}

/// What was seen when all nodes of a tier were asked once.
#[derive(Clone, Debug, PartialEq)]
pub enum Round {
    Galera(galera::Round),
    Sentinel(sentinel::Round),
    Storage(storage::Round),
}

/// What else decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Servers that operators do not want to have clients: drain, maint, weight 0.
    pub withheld: BTreeSet<String>,
    /// This director decides. Otherwise it follows `told`.
    pub leads: bool,
    /// What the director that decides has chosen last.
    pub told: Option<String>,
}

/// What a machine makes of it all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub state: State,
    /// One line: what is so. `writer mb-db1, 3 of 3 synced`
    pub summary: String,
    pub nodes: Vec<Node>,
    /// Further facts, by name, in words for people and for the JSON form.
    pub facts: BTreeMap<String, String>,
    pub alarms: Vec<Alarm>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not enough is known yet.
    #[default]
    Unknown,
    Ok,
    /// It does its work, and something is wrong.
    Degraded,
    /// It does not do its work.
    Failed,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

/// One machine, process or path of a tier.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Of a server: its name in the configuration.
    pub name: String,
    /// What it is: `server`, `sentinel`, `nfs`, `mountd`, `export`, `mount`, `glusterd`, `brick`, `heal`.
    pub role: &'static str,
    pub address: String,
    pub health: HealthState,
    /// Stable word for its state: `synced`, `donor`, `not_answering`, ...
    pub word: &'static str,
    /// One line for people.
    pub reason: String,
    /// Clients of `listen` are brought there. With servers only.
    pub elected: bool,
    /// What the last answer took.
    pub took: Option<Duration>,
    /// Further facts, by name.
    pub fields: BTreeMap<String, String>,
}

/// Something to be told of, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Stable word: `switch`, `split-brain`, `hold`, `two-masters`, `size`, `password`, ...
    pub kind: &'static str,
    pub text: String,
}
