//! What one round has seen.

use std::time::Duration;

/// What all parts of a storage said when they were asked once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    pub parts: Vec<Part>,
    /// Of GlusterFS: which bricks hold the same files. Empty: not known.
    pub sets: Vec<Set>,
}

/// One thing that was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub role: Role,
    /// Unique among those of its role.
    pub name: String,
    /// What was spoken to: socket address or path.
    pub address: String,
    pub seen: Result<Seen, Trouble>,
    pub took: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Nfs,
    Mountd,
    Export,
    Mount,
    Glusterd,
    Brick,
    Heal,
}

impl Role {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nfs => "nfs",
            Self::Mountd => "mountd",
            Self::Export => "export",
            Self::Mount => "mount",
            Self::Glusterd => "glusterd",
            Self::Brick => "brick",
            Self::Heal => "heal",
        }
    }
}

/// What is in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// It answers; what it said, in words.
    Answers(String),
    /// It is not there, and nobody needs it; why, in words.
    NotNeeded(String),
    /// A mount or an export that does its work.
    Works {
        space: Space,
        /// A file was written and read back. Otherwise only the file system was asked.
        wrote: bool,
        /// What is to be known besides, in words. May be empty.
        note: String,
    },
    /// What waits for healing, and the number of the answer: the same one comes again until there is a new one.
    Heals { backlog: Backlog, number: u64 },
    /// It could not be found out, which says nothing of the storage; why, in words.
    Unknown(String),
}

/// Blocks and inodes as unprivileged users have them. A total of 0 says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub blocks: u64,
    pub blocks_free: u64,
    pub files: u64,
    pub files_free: u64,
}

impl Space {
    /// Free share of blocks and of inodes in percent, rounded down; `None` without a total.
    pub fn free(&self) -> (Option<u8>, Option<u8>) {
        let share = |free: u64, of: u64| {
            let percent = u128::from(free.min(of)) * 100 / u128::from(of.max(1));
            (of > 0).then(|| u8::try_from(percent).unwrap_or(100))
        };
        (
            share(self.blocks_free, self.blocks),
            share(self.files_free, self.files),
        )
    }
}

/// Entries over all bricks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub pending: u64,
    pub split_brain: u64,
    /// Bricks that could not be counted.
    pub unknown: u32,
}

/// Bricks that hold the same files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// By the names of their parts.
    pub bricks: Vec<String>,
    /// So many have to be there for writing.
    pub needed: usize,
    /// With exactly half of them, the first has to be among these, and they are enough.
    pub half_with_first: bool,
}

impl Set {
    /// Whether it can be written when these are there.
    pub fn writable(&self, there: impl Fn(&str) -> bool) -> bool {
        let count = self.bricks.iter().filter(|name| there(name)).count();
        let half = self.half_with_first
            && count * 2 == self.bricks.len()
            && self.bricks.first().is_some_and(|first| there(first));
        count >= self.needed || half
    }
}

/// What is not in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub kind: Kind,
    /// One line for people.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NotAnswering,
    Refused,
    Unreachable,
    /// What it answers is not what such a server answers.
    Garbage,
    /// It answers that it does not do this.
    Rejected,
    WrongVersion,
    NotRegistered,
    ExportGone,
    NoVolume,
    Permission,
    StaleHandle,
    ReadOnly,
    Full,
    Quota,
    IoError,
    /// A child waits in the kernel since then, Unix time in milliseconds.
    Hung {
        since_ms: u64,
    },
    NotMounted,
    WrongMount,
    /// The program behind a FUSE mount is gone.
    StaleMount,
    NoQuorum,
    /// The test itself could not be made.
    Untested,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotAnswering => "not_answering",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Garbage => "garbage",
            Self::Rejected => "rejected",
            Self::WrongVersion => "wrong_version",
            Self::NotRegistered => "not_registered",
            Self::ExportGone => "export_gone",
            Self::NoVolume => "no_volume",
            Self::Permission => "permission",
            Self::StaleHandle => "stale_handle",
            Self::ReadOnly => "read_only",
            Self::Full => "full",
            Self::Quota => "quota",
            Self::IoError => "io_error",
            Self::Hung { .. } => "hung",
            Self::NotMounted => "not_mounted",
            Self::WrongMount => "wrong_mount",
            Self::StaleMount => "stale_mount",
            Self::NoQuorum => "no_quorum",
            Self::Untested => "untested",
        }
    }

    /// It does not pass by itself, so nothing is gained by looking again.
    pub const fn is_definite(self) -> bool {
        matches!(
            self,
            Self::StaleHandle
                | Self::ReadOnly
                | Self::NotMounted
                | Self::WrongMount
                | Self::StaleMount
        )
    }
}

impl Trouble {
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }
}
