//! What the doctor found of one thing.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    #[serde(rename = "ok")]
    Ok,
    /// Works, and somebody ought to look at it.
    #[serde(rename = "warning")]
    Warning,
    /// Something does not work, or will not.
    #[serde(rename = "problem")]
    Problem,
    /// It could not be looked at.
    #[serde(rename = "not known")]
    NotKnown,
}

impl Level {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::NotKnown => "not known",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable word: `kernel`, `interfaces`, ...
    pub group: &'static str,
    pub level: Level,
    /// What is so.
    pub text: String,
    /// What that means; empty where it is plain or all is well.
    pub means: String,
    /// What to do about it; empty where nothing is to be done.
    pub next: String,
    /// `SERVICE/SERVER`, where it is about one.
    pub server: Option<String>,
}

impl Finding {
    fn new(group: &'static str, level: Level, parts: [&str; 3]) -> Self {
        let [text, means, next] = parts.map(str::to_owned);
        Self {
            group,
            level,
            text,
            means,
            next,
            server: None,
        }
    }

    pub fn ok(group: &'static str, text: &str) -> Self {
        Self::new(group, Level::Ok, [text, "", ""])
    }

    pub fn warning(group: &'static str, text: &str, means: &str, next: &str) -> Self {
        Self::new(group, Level::Warning, [text, means, next])
    }

    pub fn problem(group: &'static str, text: &str, means: &str, next: &str) -> Self {
        Self::new(group, Level::Problem, [text, means, next])
    }

    /// `why` it could not be looked at, and how it can be.
    pub fn not_known(group: &'static str, why: &str, next: &str) -> Self {
        Self::new(group, Level::NotKnown, [why, "", next])
    }

    #[must_use]
    pub fn of(mut self, server: &str) -> Self {
        self.server = Some(server.to_owned());
        self
    }
}
