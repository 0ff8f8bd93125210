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
pub fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Failed,
        };
        Failure::new(exit, format!("cannot read {}: {error}", path.display()))
            .next("name the file as an argument, or with --config FILE")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
