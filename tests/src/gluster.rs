//! GlusterFS on three machines: a volume of three copies, and a mount of it on another machine.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::machine::Machine;
use crate::mounts::Mounts;
use crate::process::Process;
use crate::wait::try_wait_until;

const START: Duration = Duration::from_secs(60);

pub const VOLUME: &str = "qvol";

/// The volume [`VOLUME`] on the first three servers of a lab.
#[derive(Debug)]
pub struct Gluster {
    servers: Vec<Mounts>,
    daemons: Vec<Process>,
}

impl Gluster {
    /// # Errors
    /// It is not installed, or the volume does not start.
    pub fn start(lab: &Lab) -> Result<Self> {
        let mut servers = Vec::new();
        let mut daemons = Vec::new();
        for machine in lab.servers().iter().take(3) {
            let at = machine.directory().display();
            // The disk may be full for reasons of its own, and a brick minds.
            let mounts = Mounts::new(
                machine,
                "gluster-mounts",
                &format!(
                    "mkdir -p /run/gluster {at}/glusterd {at}/gluster-log {at}/brick /var/lib/glusterd /var/log/glusterfs; \
                     mount --bind {at}/glusterd /var/lib/glusterd; mount --bind {at}/gluster-log /var/log/glusterfs; \
                     mount -t tmpfs -o size=64m tmpfs {at}/brick"
                ),
            )?;
            daemons.push(Self::daemon(&mounts)?);
            servers.push(mounts);
        }
        let gluster = Self { servers, daemons };
        for index in 0..3 {
            try_wait_until("glusterd", START, || gluster.run(index, &["pool", "list"]))?;
        }
        for index in 1..3 {
            let peer = gluster.servers[index].machine().ipv4().to_string();
            gluster.run(0, &["peer", "probe", &peer])?;
        }
        try_wait_until("three peers", START, || {
            let listed = gluster.run(0, &["pool", "list"])?;
            ensure!(listed.matches("Connected").count() == 3, "{listed}");
            Ok(())
        })?;
        let bricks: Vec<String> = (0..3).map(|index| gluster.brick(index)).collect();
        let mut create = vec!["volume", "create", VOLUME, "replica", "3"];
        create.extend(bricks.iter().map(String::as_str));
        create.push("force");
        try_wait_until("the volume", START, || gluster.run(0, &create))?;
        gluster.run(0, &["volume", "set", VOLUME, "network.ping-timeout", "5"])?;
        gluster.run(0, &["volume", "start", VOLUME])?;
        Ok(gluster)
    }

    fn daemon(mounts: &Mounts) -> Result<Process> {
        mounts.spawn(
            "glusterd",
            "glusterd",
            &["-N", "-p", "/run/glusterd.pid", "--log-level", "WARNING"],
        )
    }

    /// The command line of GlusterFS on one of the servers.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, index: usize, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["-s", "KILL", "60", "gluster", "--mode=script"];
        all.extend(arguments);
        self.servers[index].run("timeout", &all)
    }

    /// A script that runs the command line on one of the servers, from wherever.
    pub fn command_line(&self, index: usize, arguments: &[&str]) -> String {
        format!(
            "#!/bin/sh\nexec nsenter -m -n -t {} -- gluster --mode=script {}\n",
            self.servers[index].pid(),
            arguments.join(" ")
        )
    }

    pub fn machine(&self, index: usize) -> &Machine {
        self.servers[index].machine()
    }

    /// As the volume knows it.
    pub fn brick(&self, index: usize) -> String {
        let machine = self.machine(index);
        format!(
            "{}:{}/brick/b",
            machine.ipv4(),
            machine.directory().display()
        )
    }

    /// Sends a signal to the process of a brick.
    ///
    /// # Errors
    /// It is not running.
    pub fn signal_brick(&self, index: usize, signal: Signal) -> Result<()> {
        let path = format!("{}/brick/b", self.machine(index).directory().display());
        let listed = self.servers[index].run("pgrep", &["-f", &format!("glusterfsd.*{path}")])?;
        let pid = listed.lines().next().context("no process of a brick")?;
        let name = signal.as_str();
        self.servers[index]
            .run("kill", &["-s", &name["SIG".len()..], pid])
            .map(drop)
    }

    /// `kill -9` of the daemon; bricks stay.
    ///
    /// # Errors
    /// The kernel does not know it.
    pub fn kill_daemon(&mut self, index: usize) -> Result<()> {
        self.daemons[index].kill()
    }

    /// # Errors
    /// It cannot be started.
    pub fn daemon_again(&mut self, index: usize) -> Result<()> {
        self.daemons[index] = Self::daemon(&self.servers[index])?;
        Ok(())
    }

    /// Mounts the volume, and returns when it can be written.
    ///
    /// # Errors
    /// It does not come.
    pub fn mount(&self, mounts: &Mounts, path: &str) -> Result<Process> {
        let log = mounts.machine().directory().join("gluster-client.log");
        let mut arguments: Vec<String> = (0..3)
            .map(|index| format!("--volfile-server={}", self.machine(index).ipv4()))
            .collect();
        arguments.extend([
            "--no-daemon".to_owned(),
            format!("--volfile-id={VOLUME}"),
            format!("--log-file={}", log.display()),
            path.to_owned(),
        ]);
        mounts.run("mkdir", &["-p", path])?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let client = mounts.spawn("gluster-client", "glusterfs", &arguments)?;
        let file: PathBuf = [path, ".there"].iter().collect();
        let file = file.display().to_string();
        try_wait_until("the mount of the volume", START, || {
            mounts.run("mountpoint", &["-q", path])?;
            mounts.run("timeout", &["-s", "KILL", "5", "touch", &file])
        })?;
        Ok(client)
    }
}

impl Drop for Gluster {
    fn drop(&mut self) {
        // Bricks and helpers have left their daemon's session; they are whoever is on the machine.
        for server in &self.servers {
            let name = server.machine().namespace();
            let script = format!("ip netns pids {name} | xargs -r kill -9");
            if let Err(error) = Command::new("sh").args(["-c", &script]).status() {
                eprintln!("lab: {error:#}");
            }
        }
    }
}
