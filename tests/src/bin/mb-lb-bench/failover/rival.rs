//! keepalived with HAProxy on both directors.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::pair::SOON;
use mb_lb_tests::{Lab, Machine, PairSetup, Process, Sink, SinkOptions, try_wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Timing;
use crate::directors::haproxy_config;

pub struct Rival {
    pub lab: Lab,
    timing: Timing,
    directors: [Option<Daemons>; 2],
    sinks: Vec<Sink>,
}

struct Daemons {
    keepalived: Process,
    /// Of the process that speaks VRRP.
    pid_file: PathBuf,
    haproxy: Process,
}

impl Rival {
    /// Starts all, and returns when `lb1` alone has the VIP.
    pub fn start(timing: Timing, sink: &[&str]) -> Result<Self> {
        let lab = PairSetup::lab("rival")?;
        let options = SinkOptions {
            record: false,
            arguments: sink.iter().map(|&word| word.to_owned()).collect(),
            ..SinkOptions::default()
        };
        let sinks = lab
            .servers()
            .iter()
            .map(|machine| Sink::with(machine, &options))
            .collect::<Result<_>>()?;
        let mut rival = Self {
            lab,
            timing,
            directors: [None, None],
            sinks,
        };
        rival.run(0)?;
        rival.run(1)?;
        rival.wait_active(0)?;
        Ok(rival)
    }

    /// Starts what is missing on a director.
    pub fn run(&mut self, at: usize) -> Result<()> {
        let machine = &self.lab.directors()[at];
        // So that both hold the VIP's port ready.
        machine.sysctl("ipv4.ip_nonlocal_bind", "1")?;
        let haproxy = start_haproxy(&self.lab, machine)?;
        let (keepalived, pid_file) = start_keepalived(&self.lab, machine, at, self.timing)?;
        self.directors[at] = Some(Daemons {
            keepalived,
            pid_file,
            haproxy,
        });
        Ok(())
    }

    fn daemons(&mut self, at: usize) -> Result<&mut Daemons> {
        self.directors[at]
            .as_mut()
            .context("nothing runs on that director")
    }

    /// SIGTERM to keepalived, which says that it goes. HAProxy stays.
    pub fn stop_keepalived(&mut self, at: usize) -> Result<()> {
        self.daemons(at)?.keepalived.signal(Signal::SIGTERM)
    }

    /// `kill -9` of everything. The process that speaks VRRP first: its parent would have it stop politely.
    pub fn kill(&mut self, at: usize) -> Result<()> {
        let daemons = self.daemons(at)?;
        let pid: i32 = fs::read_to_string(&daemons.pid_file)?.trim().parse()?;
        kill(Pid::from_raw(pid), Signal::SIGKILL).context("cannot kill keepalived")?;
        daemons.haproxy.kill()?;
        daemons.keepalived.kill()
    }

    /// Ends what is left of it, with the VIP, and starts it anew.
    pub fn restart(&mut self, at: usize) -> Result<()> {
        if let Some(mut daemons) = self.directors[at].take() {
            daemons.haproxy.kill()?;
            if daemons.keepalived.exited()?.is_none() {
                daemons.keepalived.wait(SOON)?;
            }
        }
        let machine = &self.lab.directors()[at];
        if self.holds(at)? {
            let vip = format!("{}/32", self.lab.vip4());
            machine.run("ip", &["address", "del", &vip, "dev", "eth0"])?;
        }
        self.run(at)
    }

    pub fn down(self) -> Result<()> {
        let Self {
            lab,
            directors,
            sinks,
            ..
        } = self;
        drop((directors, sinks));
        lab.down()
    }

    fn holds(&self, at: usize) -> Result<bool> {
        let listed =
            self.lab.directors()[at].run("ip", &["-4", "-o", "address", "show", "dev", "eth0"])?;
        Ok(listed.contains(&format!(" {}/", self.lab.vip4())))
    }

    /// Waits until this director has the VIP, and the other has not.
    pub fn wait_active(&self, at: usize) -> Result<()> {
        try_wait_until("one keepalived to have the VIP", SOON, || {
            let holds = [self.holds(0)?, self.holds(1)?];
            ensure!(holds[at] && !holds[1 - at], "{holds:?}");
            Ok(())
        })
    }
}

fn start_haproxy(lab: &Lab, machine: &Machine) -> Result<Process> {
    let path = machine.directory().join("haproxy.cfg");
    fs::write(&path, haproxy_config(lab, ""))
        .with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = machine.command("haproxy");
    command.args(["-db", "-f"]).arg(&path);
    let mut process = machine.spawn("haproxy", &mut command)?;
    let listens = || -> Result<()> {
        if let Some(status) = process.exited()? {
            anyhow::bail!("it ended: {status}; {}", process.tail());
        }
        let listed = machine.run("ss", &["-H", "-l", "-t", "-n", "sport", "=", ":25"])?;
        ensure!(!listed.is_empty(), "it does not listen");
        Ok(())
    };
    try_wait_until("HAProxy to listen", Duration::from_secs(10), listens)?;
    Ok(process)
}

fn start_keepalived(
    lab: &Lab,
    machine: &Machine,
    at: usize,
    timing: Timing,
) -> Result<(Process, PathBuf)> {
    let directory = machine.directory();
    let config = directory.join("keepalived.conf");
    let pid_file = directory.join("vrrp.pid");
    let text = format!(
        "global_defs {{\n router_id {}\n}}\nvrrp_instance VI_1 {{\n interface eth0\n virtual_router_id 51\n priority {}\n \
         {}\n virtual_ipaddress {{\n  {}/32 dev eth0\n }}\n}}\n",
        machine.name(),
        101 - at,
        timing.keepalived,
        lab.vip4()
    );
    fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
    // One that was killed leaves them, and the next one would take itself for the second.
    for file in [&pid_file, &directory.join("keepalived.pid")] {
        if file.exists() {
            fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
    }
    let mut command = machine.command("keepalived");
    command
        .args(["-n", "-l", "-D", "-G", "-P", "-R", "-f"])
        .arg(&config);
    command.arg("-p").arg(directory.join("keepalived.pid"));
    command.arg("-r").arg(&pid_file);
    Ok((machine.spawn("keepalived", &mut command)?, pid_file))
}
