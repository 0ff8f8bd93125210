//! Passwords and keys.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// What nobody is to read in a log: neither `Debug` nor `Serialize` shows it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Not empty.
    Text(String),
    /// The caller reads it. Joined to `$CREDENTIALS_DIRECTORY` of systemd.exec(5), which leaves an absolute path as
    /// it is.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(_) => serializer.serialize_newtype_variant("Secret", 0, "text", "***"),
            Self::File(path) => serializer.serialize_newtype_variant("Secret", 1, "file", path),
        }
    }
}
