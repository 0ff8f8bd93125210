//! A mount namespace on a machine: what is mounted there nobody else sees, and it goes with its last process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};

use crate::machine::Machine;
use crate::process::Process;
use crate::wait::try_wait_until;

const START: Duration = Duration::from_secs(20);

/// Holds it open.
#[derive(Debug)]
pub struct Mounts {
    machine: Machine,
    holder: Process,
}

impl Mounts {
    /// With an empty `/run` but for the lab's part, after the commands of a shell.
    ///
    /// # Errors
    /// A command fails.
    pub fn new(machine: &Machine, label: &str, commands: &str) -> Result<Self> {
        let lab = crate::lab::keeper::ROOT;
        let script = format!(
            "set -e; cd {lab}; mount -t tmpfs tmpfs /run; mkdir -p {lab}; mount -c --rbind . {lab}; cd /; {commands}\n\
             echo ready; exec sleep infinity"
        );
        let mut command = machine.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        let mut holder = machine.spawn(label, &mut command)?;
        try_wait_until("a mount namespace", START, || {
            ensure!(holder.exited()?.is_none(), "it ended; {}", holder.tail());
            ensure!(holder.output()?.contains("ready"), "{}", holder.tail());
            Ok(())
        })?;
        Ok(Self {
            machine: machine.clone(),
            holder,
        })
    }

    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Whoever enters its namespaces is inside.
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// A command inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.machine.command("nsenter");
        command
            .args(["-m", "-t", &self.holder.pid().to_string(), "--"])
            .arg(program);
        command
    }

    /// Runs a command inside to its end and returns its standard output.
    ///
    /// # Errors
    /// It cannot be started, or fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let pid = self.holder.pid().to_string();
        let mut all = vec!["-m", "-t", &pid, "--", program];
        all.extend(arguments);
        self.machine.run("nsenter", &all)
    }

    /// A command in the background inside.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, label: &str, program: &str, arguments: &[&str]) -> Result<Process> {
        let mut command = self.command(program);
        command.args(arguments);
        self.machine.spawn(label, &mut command)
    }

    /// Takes this thread inside, for good. Only a thread of its own may be sent there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn move_thread(&self) -> Result<()> {
        Self::move_thread_to(self.namespace_file()?)
    }

    pub(crate) fn namespace_file(&self) -> Result<File> {
        let path = format!("/proc/{}/ns/mnt", self.holder.pid());
        File::open(&path).with_context(|| format!("cannot open {path}"))
    }

    pub(crate) fn move_thread_to(namespace: File) -> Result<()> {
        unshare(CloneFlags::CLONE_FS).context("cannot have a working directory of its own")?;
        setns(namespace, CloneFlags::CLONE_NEWNS).context("cannot enter the mount namespace")
    }

    /// A program that runs another one inside.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn wrap(&self, program: &Path) -> Result<PathBuf> {
        let path = self.machine.directory().join("inside");
        let text = format!(
            "#!/bin/sh\nexec nsenter -m -t {} -- {} \"$@\"\n",
            self.holder.pid(),
            program.display()
        );
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}
