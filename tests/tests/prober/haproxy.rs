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
        let mut records = records(text.trim_start_matches("# ")).into_iter();
        let columns = records.next().unwrap_or_default();
        let whole = records.filter(|cells| cells.len() == columns.len());
        whole
            .map(|cells| {
                let row: BTreeMap<_, _> = columns.iter().cloned().zip(cells).collect();
                (row["svname"].clone(), row)
            })
            .collect()
    }
}

/// CSV. Texts with commas are in quotes, and some have the end of a line in them.
fn records(text: &str) -> Vec<Vec<String>> {
    let mut records = Vec::new();
    let (mut cells, mut cell) = (Vec::new(), String::new());
    let mut is_quoted = false;
    for c in text.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
            '\n' if !is_quoted => {
                cells.push(std::mem::take(&mut cell));
                records.push(std::mem::take(&mut cells));
            }
            c => cell.push(c),
        }
    }
    records
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}
