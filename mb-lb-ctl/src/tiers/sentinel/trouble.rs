//! Why there is no answer.

use std::fmt;

/// Bytes that are quoted of what a peer said.
const QUOTED: usize = 120;

/// Why a node did not say what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its host says that nobody listens.
    Refused,
    /// Within the time there is for it.
    NotAnswering,
    /// It closed the connection.
    Closed,
    /// The network says so.
    Unreachable(String),
    Tls(String),
    /// A Sentinel does not watch a master of this name.
    UnknownMaster,
    NoAuth,
    WrongPassword,
    /// The user may not give this command.
    NoPermission(String),
    /// It reads its data set, and serves nobody.
    Loading,
    /// A replica without its master, and told not to serve what may be old.
    MasterDown,
    /// A script runs for too long.
    Busy,
    /// It has as many clients as it takes.
    Full,
    /// The configured password cannot be read.
    Secret(String),
    /// This director could not ask.
    Own(String),
    /// Another error of its own.
    Error(String),
    /// Not what a Redis server or Sentinel says.
    Garbage(String),
}

impl Trouble {
    /// Stable word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NotAnswering => "not_answering",
            Self::Closed => "closed",
            Self::Unreachable(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::UnknownMaster => "unknown_master",
            Self::NoAuth => "no_auth",
            Self::WrongPassword => "wrong_password",
            Self::NoPermission(_) => "no_permission",
            Self::Loading => "loading",
            Self::MasterDown => "master_down",
            Self::Busy => "busy",
            Self::Full => "full",
            Self::Secret(_) => "no_password",
            Self::Own(_) => "not_asked",
            Self::Error(_) => "error",
            Self::Garbage(_) => "garbage",
        }
    }

    /// The configuration is wrong, here or there.
    pub const fn is_access(&self) -> bool {
        matches!(
            self,
            Self::NoAuth | Self::WrongPassword | Self::NoPermission(_) | Self::Secret(_)
        )
    }

    /// It lives, and has not said what it is.
    pub const fn says_nothing(&self) -> bool {
        matches!(self, Self::Busy | Self::Full)
    }

    /// What a server said to a password. Words of its own are not repeated: it may have quoted what it did not understand.
    pub fn from_login(code: &str, detail: &str) -> Self {
        match Self::from_reply(code, detail) {
            Self::Error(_) => Self::Error(format!("{} at AUTH", quoted(code))),
            Self::NoPermission(_) => Self::NoPermission("AUTH".to_owned()),
            known => known,
        }
    }

    /// What a server said with an error reply.
    pub fn from_reply(code: &str, detail: &str) -> Self {
        match code {
            "NOAUTH" => Self::NoAuth,
            "WRONGPASS" => Self::WrongPassword,
            "NOPERM" => Self::NoPermission(quoted(detail)),
            "LOADING" => Self::Loading,
            "MASTERDOWN" => Self::MasterDown,
            "BUSY" => Self::Busy,
            "ERR" if detail.starts_with("max number of clients") => Self::Full,
            // Before Redis 6.
            "ERR" if detail == "invalid password" => Self::WrongPassword,
            "ERR" if detail.starts_with("No such master") => Self::UnknownMaster,
            _ => Self::Error(quoted(&format!("{code} {detail}"))),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("it refuses connections: no process listens"),
            Self::NotAnswering => f.write_str("it does not answer in time"),
            Self::Closed => f.write_str("it closed the connection"),
            Self::Unreachable(why) => write!(f, "it cannot be reached: {why}"),
            Self::Tls(why) => f.write_str(why),
            Self::UnknownMaster => f.write_str("it watches no master of this name"),
            Self::NoAuth => f.write_str("it wants a password (NOAUTH)"),
            Self::WrongPassword => f.write_str("it refuses the user or the password (WRONGPASS)"),
            Self::NoPermission(what) => write!(f, "the user may not ask (NOPERM {what})"),
            Self::Loading => f.write_str("it loads its data set"),
            Self::MasterDown => f.write_str("it has lost its master, and serves nothing old"),
            Self::Busy => f.write_str("a script keeps it busy"),
            Self::Full => f.write_str("it has reached its `maxclients`"),
            Self::Secret(why) => write!(f, "its password cannot be read: {why}"),
            Self::Own(why) => write!(f, "this director could not ask: {why}"),
            Self::Error(what) => write!(f, "it answered with the error \"{what}\""),
            Self::Garbage(what) => write!(f, "it does not answer as Redis does: {what}"),
        }
    }
}

/// What people may be shown of a peer's words: printable ASCII, and not much of it.
pub(super) fn quoted(text: &str) -> String {
    let shown = |character: char| match character {
        ' '..='~' => character,
        _ => '?',
    };
    text.chars().take(QUOTED).map(shown).collect()
}
