//! How a command ends: exit codes, and errors that say what did not happen and what to do next.

use std::fmt;
use std::process::ExitCode;

use crate::cli::style::Style;
pub use crate::command::native::Code as Exit;

/// An error for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// What did not happen and why; empty when all has been said already.
    pub message: String,
    /// What to do next; may be empty.
    pub next: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            next: String::new(),
        }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// With what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    /// The reader of our output has gone. That is how `status | head -1` ends, so it counts as success.
    pub(super) fn broken_pipe() -> Self {
        Self::new(Exit::Ok, "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Says on stderr what went wrong and gives the exit code.
pub(super) fn code(ended: Result<Exit, Failure>, style: Style) -> ExitCode {
    let exit = match ended {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.message.is_empty() {
                super::output::say(&format!("{} {failure}", style.bad("error:")));
            }
            if !failure.next.is_empty() {
                super::output::say(&format!("  next: {}", failure.next));
            }
            failure.exit
        }
    };
    ExitCode::from(u8::from(exit))
}
