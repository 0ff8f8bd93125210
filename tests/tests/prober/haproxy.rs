//! A real HAProxy, as the judge of what its words mean.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::*;

pub struct Haproxy {
    directory: tempfile::TempDir,
    child: Child,
}

impl Haproxy {
    /// `sections` come after `global`, which holds `global`.
    pub fn start(global: &str, sections: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("haproxy.cfg");
        let text = format!(
            "global\n    stats socket {}/socket level admin\n{global}defaults\n    mode tcp\n    timeout connect 10s\n    \
             timeout client 10s\n    timeout server 10s\n{sections}",
            directory.path().display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("haproxy")
            .args(["-db", "-q", "-f"])
            .arg(&config)
            .spawn()
            .expect("haproxy is there (Debian package haproxy)");
        Self { directory, child }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Servers by name, each with its columns of `show stat`. Empty before HAProxy listens.
    pub fn servers(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let Ok(mut socket) = UnixStream::connect(self.directory().join("socket")) else {
            return BTreeMap::new();
        };
        socket.write_all(b"show stat -1 4 -1\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let mut lines = text.lines().filter(|line| !line.is_empty());
        let head = lines.next().unwrap_or_default().trim_start_matches("# ");
        let columns: Vec<_> = head.split(',').collect();
        lines
            .map(|line| {
                let cells = columns.iter().zip(line.split(','));
                let row: BTreeMap<_, _> = cells
                    .map(|(column, cell)| ((*column).to_owned(), cell.to_owned()))
                    .collect();
                (row["svname"].clone(), row)
            })
            .collect()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}
