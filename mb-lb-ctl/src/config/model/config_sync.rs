//! `[config_sync.NAME]` after parsing.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// `[config_sync.NAME]`: files of this director that other machines get.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ConfigSync {
    pub name: String,
    pub method: SyncMethod,
    /// At least one; no two are the same.
    pub targets: Vec<SyncTarget>,
    /// From one run to the next. 1s to 24h, default 5m.
    pub interval: Duration,
    /// Also soon after something at the source has changed. Default: true where there is a source.
    pub on_change: bool,
    /// For the shell of the target, after something has changed there. One line.
    pub reload: Option<String>,
    /// `None`: the keys that ssh has by itself.
    pub identity_file: Option<PathBuf>,
    /// `None`: the files that ssh has by itself.
    pub known_hosts: Option<PathBuf>,
    /// For the transfer, and once more for the reload command. 1s to 1h, default 60s.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncMethod {
    Rsync {
        /// Absolute, without a slash at its end.
        source: PathBuf,
        /// Patterns of rsync.
        exclude: Vec<String>,
        /// What the source does not have is removed at the target. Default false.
        delete: bool,
    },
    Git {
        /// A repository on this director, which is pushed. `None`: the target fetches from its own `origin`.
        source: Option<PathBuf>,
        /// `None`: the one that is checked out at the source, or, without a source, at the target.
        branch: Option<String>,
    },
}

impl ConfigSync {
    /// The directory on this director.
    pub const fn source(&self) -> Option<&PathBuf> {
        match &self.method {
            SyncMethod::Rsync { source, .. } => Some(source),
            SyncMethod::Git { source, .. } => source.as_ref(),
        }
    }
}

impl SyncMethod {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rsync { .. } => "rsync",
            Self::Git { .. } => "git",
        }
    }
}

/// One element of `targets`. Nothing in it means anything to a shell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct SyncTarget {
    /// A name or an address, without brackets.
    pub host: String,
    /// Default 22.
    pub port: u16,
    /// Default `root`.
    pub user: String,
    /// Absolute, without a slash at its end. Default: that of the source.
    pub path: String,
}
