//! Configuration of the mail servers: what `[config_sync.NAME]` names is brought to its targets by rsync or git, over ssh.
//!
//! ```text
//!                  Order::Watch, Run, Stop
//!   engine (Machine, one per section) -----> Runner --spawn/abort--> watch task (one per source)
//!      ^                                        |                      looks at the source once a second
//!      |                                        +--spawn/abort--> run task (one per target at a time)
//!      |                                                             waits for a permit (8 runs at a time)
//!      +---- Report: Source, Transferred, Ended (mpsc<Event>) -------'  rsync, ssh, git: each a process group
//! ```
//!
//! [`machine`] decides what runs when and what is known of each target; it knows neither clock nor process.
//! [`Runner`] is the edge. A task can be aborted at any point: its process group is killed with it. Only the active
//! director has orders to run, so two directors never write to one target.

mod command;
mod failure;
pub mod machine;
mod output;
mod process;
mod run;
mod runner;
mod settle;
mod tree;

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{ConfigSync, SyncTarget};

pub use failure::{Failure, Kind};
pub use machine::Machine;
pub use output::Changes;
pub use runner::Runner;

/// What the edge is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Look at exactly these sources.
    Watch(Vec<Watch>),
    /// Bring one target in step, once.
    Run(Box<Run>),
    /// End these runs, and what they have started.
    Stop(Vec<u64>),
}

/// A source that is looked at for changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watch {
    /// Of the section.
    pub name: String,
    pub source: PathBuf,
    /// Only what git's branches point to matters.
    pub git: bool,
}

/// One run for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub id: u64,
    pub sync: ConfigSync,
    pub target: SyncTarget,
    /// Something has changed there, and the reload command has not succeeded since.
    pub reload_owed: bool,
}

/// What the edge found, or an operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Of the section `name`: something has changed since the last report (or this is the first), or it cannot be
    /// looked at, and why.
    Source {
        name: String,
        state: Result<(), String>,
    },
    /// An operator wants all targets of the section brought in step now.
    Wanted { name: String },
    /// Something has changed at the target. Comes before the reload command is run.
    Transferred { id: u64, changes: Changes },
    Ended {
        id: u64,
        result: Result<Done, Failure>,
        took: Duration,
    },
}

/// A run that did all it should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub changes: Changes,
    /// The reload command was run.
    pub reloaded: bool,
}
