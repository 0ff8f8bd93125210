//! HAProxy with the check that is usual for Redis, for comparison.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::redis::PASSWORD;
use mb_lb_tests::{Lab, Process, try_wait_until};

use super::site::SOON;

pub struct Rival {
    _process: Process,
    socket: PathBuf,
}

impl Rival {
    /// On the director, in front of the same servers; returns when it has found the master.
    pub fn start(lab: &Lab) -> Result<Self> {
        let machine = lab.machine("lb1");
        let socket = machine.directory().join("haproxy.sock");
        let mut text = format!(
            "global\n    stats socket {} level admin\ndefaults\n    mode tcp\n    timeout connect 1s\n    timeout client 30s\n    \
             timeout server 30s\n    timeout check 500ms\nlisten redis\n    bind {}:6390\n    option tcp-check\n    \
             tcp-check connect\n    tcp-check send AUTH\\ {PASSWORD}\\r\\n\n    tcp-check expect string +OK\n    \
             tcp-check send info\\ replication\\r\\n\n    tcp-check expect string role:master\n    \
             tcp-check send QUIT\\r\\n\n    tcp-check expect string +OK\n    \
             default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions\n",
            socket.display(),
            lab.vip4()
        );
        for server in lab.servers() {
            let (name, address) = (server.name(), server.ipv4());
            text += &format!("    server {name} {address}:6379 check\n");
        }
        let path = machine.directory().join("haproxy.cfg");
        fs::write(&path, text)?;
        let mut command = machine.command("haproxy");
        command.args(["-db", "-f"]).arg(&path);
        let rival = Self {
            _process: machine.spawn("haproxy", &mut command)?,
            socket,
        };
        try_wait_until("HAProxy to find the master", SOON, || {
            let up = rival.up()?;
            ensure!(up == ["mb1"], "{up:?} are up");
            Ok(())
        })?;
        Ok(rival)
    }

    /// The servers that it brings clients to.
    pub fn up(&self) -> Result<Vec<String>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"show stat\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let mut up = Vec::new();
        for line in text.lines().filter(|line| line.starts_with("redis,mb")) {
            let fields: Vec<_> = line.split(',').collect();
            let status = fields.get(17).context("a line without a state")?;
            if status.starts_with("UP") {
                up.push(fields[1].to_owned());
            }
        }
        Ok(up)
    }
}
