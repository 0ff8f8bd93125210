//! Where the configuration file and the admin socket are.

use std::path::{Path, PathBuf};

use crate::cli::args::Global;
use crate::cli::exit::{Exit, Failure};

const DEFAULT_CONFIG: &str = "/etc/mb-lb/mb-lb.toml";
const DEFAULT_SOCKET: &str = "/run/mb-lb/admin.sock";

impl Global {
    pub fn config_path(&self) -> &Path {
        self.config
            .as_deref()
            .unwrap_or_else(|| Path::new(DEFAULT_CONFIG))
    }

    /// As given, or as configured, or the default. A file that cannot be read or has errors must not keep anybody
    /// from asking the daemon, so this looks for the one key only.
    pub fn socket_path(&self) -> PathBuf {
        if let Some(socket) = &self.socket {
            return socket.clone();
        }
        std::fs::read_to_string(self.config_path())
            .ok()
            .and_then(|source| configured_socket(&source))
            .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
    }
}

fn configured_socket(source: &str) -> Option<PathBuf> {
    let table: toml::Table = source.parse().ok()?;
    let socket = table.get("admin")?.get("socket")?.as_str()?;
    Some(PathBuf::from(socket))
}

/// The text of a configuration file.
///
/// # Errors
/// One that is not there, or cannot be read, has the exit code of one with errors.
pub fn read(path: &Path) -> Result<String, Failure> {
    use std::io::ErrorKind;
    std::fs::read_to_string(path).map_err(|error| {
        let (why, next) = match error.kind() {
            ErrorKind::NotFound => (
                "there is no such file".to_owned(),
                "name another with --config FILE",
            ),
            ErrorKind::PermissionDenied => (
                "permission denied".to_owned(),
                "run this as root, or as a user who may read the file",
            ),
            ErrorKind::InvalidData => ("it is not UTF-8".to_owned(), "save it as UTF-8"),
            ErrorKind::IsADirectory => (
                "it is a directory".to_owned(),
                "name the file in it, for example mb-lb.toml",
            ),
            _ => (error.to_string(), "name another with --config FILE"),
        };
        Failure::new(
            Exit::ConfigErrors,
            format!("cannot read {}: {why}", path.display()),
        )
        .next(next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_has_its_own_advice() {
        let dir = tempfile::tempdir().unwrap();
        let latin1 = dir.path().join("latin1.toml");
        std::fs::write(&latin1, b"# \xe4\n").unwrap();
        for (path, why, next) in [
            (dir.path().join("none.toml"), "no such file", "--config"),
            (latin1, "not UTF-8", "save it"),
            (dir.path().to_owned(), "is a directory", "name the file"),
        ] {
            let failure = read(&path).unwrap_err();
            assert_eq!(failure.exit, Exit::ConfigErrors);
            assert!(failure.message.contains(why), "{failure:?}");
            assert!(failure.next.contains(next), "{failure:?}");
        }
    }

    #[test]
    fn the_socket_is_found_in_the_file() {
        let cases = [
            ("[admin]\nsocket = \"/x.sock\"\n", Some("/x.sock")),
            ("[admin]\n", None),
            ("[admin]\nsocket = 5\n", None),
            ("not toml", None),
            ("", None),
        ];
        for (source, expected) in cases {
            assert_eq!(
                configured_socket(source).as_deref(),
                expected.map(Path::new),
                "{source:?}"
            );
        }
    }
}
