//! The key that both directors have.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::Secret;

/// In bytes.
pub const LENGTH: usize = 32;

/// 256 random bits. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; LENGTH]);

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read the key in {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the key has {0} hex digits, it must have 64")]
    Length(usize),
    #[error("the key has a character that is no hex digit")]
    NotHex,
    #[error("the operating system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

impl Key {
    /// A new one, from the operating system's random bytes.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; LENGTH];
        getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
        Ok(Self(bytes))
    }

    /// 64 hex digits; white space round them does not count.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim().as_bytes();
        let values: Option<Vec<u8>> = digits.iter().map(|&digit| hex(digit)).collect();
        let values = values.ok_or(KeyError::NotHex)?;
        if values.len() != 2 * LENGTH {
            return Err(KeyError::Length(values.len()));
        }
        let mut bytes = [0; LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(values.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }

    /// What the configuration names. `credentials` is `$CREDENTIALS_DIRECTORY`, where a relative path is looked up.
    pub fn load(secret: &Secret, credentials: Option<&Path>) -> Result<Self, KeyError> {
        let path = match secret {
            Secret::Text(text) => return Self::parse(text),
            Secret::File(path) => credentials.map_or_else(|| path.clone(), |dir| dir.join(path)),
        };
        // A path that leads to a device must not fill the memory, and one to a FIFO must not be waited for.
        let mut text = Vec::new();
        File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .and_then(|file| file.take(4096).read_to_end(&mut text))
            .map_err(|source| KeyError::Read { path, source })?;
        Self::parse(std::str::from_utf8(&text).map_err(|_| KeyError::NotHex)?)
    }

    /// As [`Key::parse`] reads it.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) const fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_it_was_written_as() {
        let key = Key::generate().expect("random");
        assert_eq!(Key::parse(&key.to_hex()).expect("hex"), key);
        let shown = format!(" {}\n", key.to_hex().to_uppercase());
        assert_eq!(Key::parse(&shown).expect("hex"), key);
        assert_ne!(Key::generate().expect("random"), key);
        assert_eq!(format!("{key:?}"), "Key(..)");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for text in ["", "00", "secret", &"0".repeat(63), &"0".repeat(65), "é"] {
            let error = Key::parse(text).expect_err("no key");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_file_is_looked_up_among_the_credentials() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = Key::generate().expect("random");
        std::fs::write(dir.path().join("peer.key"), key.to_hex() + "\n").expect("written");
        let relative = Secret::File("peer.key".into());
        let absolute = Secret::File(dir.path().join("peer.key"));
        let elsewhere = Some(Path::new("/nowhere"));
        assert_eq!(Key::load(&relative, Some(dir.path())).expect("there"), key);
        assert_eq!(Key::load(&absolute, elsewhere).expect("there"), key);
        assert_eq!(Key::load(&absolute, None).expect("there"), key);
        let missing = Key::load(&relative, elsewhere).expect_err("not there");
        assert!(missing.to_string().contains("/nowhere/peer.key"));
        let endless = Key::load(&Secret::File("/dev/zero".into()), None);
        assert!(matches!(endless, Err(KeyError::NotHex)));
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).expect("made");
        let nobody_writes = Key::load(&Secret::File(fifo), None);
        assert!(matches!(nobody_writes, Err(KeyError::Length(0))));
        let text = Secret::Text(key.to_hex());
        assert_eq!(Key::load(&text, None).expect("hex"), key);
    }
}
