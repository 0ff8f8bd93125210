//! Redis with Sentinel: where the master is.
//!
//! ```text
//!   Line (one connection, kept) --+-- Sentinels: what they call the master --+
//!                                 +-- servers: what each says that it is ----+--> Round -> Machine -> Verdict
//!   Subscription (of each Sentinel) -- something has happened: a round at once
//! ```

mod ask;
mod follow;
mod line;
mod machine;
pub mod reply;
mod subscribe;
mod tally;
mod trouble;

pub use follow::follow;
pub use machine::Machine;
pub use tally::{Tally, majority};
pub use trouble::Trouble;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// What all nodes said when they were asked once, by their addresses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    pub sentinels: BTreeMap<SocketAddr, Seen<Vote>>,
    pub servers: BTreeMap<SocketAddr, Seen<Says>>,
}

/// An answer, and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen<T> {
    pub answer: Result<T, Trouble>,
    pub took: Duration,
}

/// What a Sentinel knows of the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    pub names: Named,
    /// `config-epoch`: of two Sentinels that differ, the one with the higher is later.
    pub epoch: u64,
    /// As it prints them: `master`, `s_down`, `o_down`, ...
    pub flags: Vec<String>,
    /// Sentinels that it knows besides itself.
    pub others: u64,
    pub quorum: u64,
    /// It has lost trust in its clock, and acts on nothing. `None`: it does not say.
    pub tilt: Option<bool>,
    /// Whether enough Sentinels are there for a failover, as it sees it; asked less often. `None`: it does not say.
    pub can_fail_over: Option<Result<(), String>>,
}

/// What Sentinels call the master.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    Address(SocketAddr),
    /// `resolve-hostnames`, `announce-hostnames`: a name with a port, for which nobody is asked here.
    Host(String),
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(host) => f.write_str(host),
        }
    }
}

/// What a server says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    Master {
        /// Replicas that are connected to it.
        replicas: usize,
        offset: i64,
    },
    Replica {
        /// Whose.
        of: String,
        /// Of the link to its master: `connected`, `sync`, `connect`, ...
        link: String,
        offset: i64,
    },
}
