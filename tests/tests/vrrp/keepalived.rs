//! A keepalived on a machine.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::machine::Machine;
use mb_lb_tests::process::Process;
use mb_lb_tests::try_wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::SOON;

pub struct Keepalived {
    process: Process,
    pid_file: PathBuf,
}

impl Keepalived {
    /// `settings` are the lines of its virtual router.
    pub fn start(machine: &Machine, settings: &str) -> Result<Self> {
        Self::start_with(machine, "", settings)
    }

    /// `blocks` stand before its virtual router.
    pub fn start_with(machine: &Machine, blocks: &str, settings: &str) -> Result<Self> {
        let directory = machine.directory();
        let config = directory.join("keepalived.conf");
        let pid_file = directory.join("vrrp.pid");
        let name = machine.name();
        fs::write(
            &config,
            format!(
                "global_defs {{\n router_id {name}\n script_user root\n enable_script_security\n}}\n{blocks}\n\
                 vrrp_instance VI_1 {{\n interface eth0\n {settings}\n}}\n"
            ),
        )?;
        let mut command = machine.command("keepalived");
        command
            .args(["-n", "-l", "-D", "-G", "-P", "-R", "-f"])
            .arg(&config);
        command.arg("-p").arg(directory.join("keepalived.pid"));
        command.arg("-r").arg(&pid_file);
        let process = machine.spawn("keepalived", &mut command)?;
        let keepalived = Self { process, pid_file };
        keepalived.wait_log("Entering BACKUP STATE")?;
        Ok(keepalived)
    }

    pub fn wait_log(&self, line: &str) -> Result<()> {
        try_wait_until(line, SOON, || {
            let log = self.process.errors()?;
            ensure!(log.contains(line), "{}", self.process.tail());
            Ok(())
        })
    }

    pub fn tail(&self) -> String {
        self.process.tail()
    }

    /// It has taken the addresses at some time.
    pub fn was_active(&self) -> Result<bool> {
        Ok(self.process.errors()?.contains("Entering MASTER STATE"))
    }

    /// SIGTERM: it says priority 0.
    pub fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(SOON)?;
        Ok(())
    }

    /// The process that speaks VRRP first: the other one would have it stop politely.
    pub fn crash(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.process.kill()
    }

    /// To the process that speaks VRRP.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid: i32 = fs::read_to_string(&self.pid_file)?.trim().parse()?;
        kill(Pid::from_raw(pid), signal).context("keepalived's child is gone")
    }
}
