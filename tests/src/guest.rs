//! A Debian system with systemd as its process 1, on a machine of the lab: what is installed and run as a service there,
//! is as on a real one.
//!
//! Its root is an overlay over `target/debian-root`, or over `target/debian-pair`, which has HAProxy, keepalived and sshd as
//! well (`cargo xtask setup` makes both); its mounts, processes and BPF file system are its own, and its network is the machine's. It has a control group of its own, which goes with the lab.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cluster::SOON;
use crate::director::Answer;
use crate::machine::Machine;
use crate::process::Process;
use crate::wait::try_wait_until;

const BOOT: &str = include_str!("guest/boot.sh");
/// As root has it there when he has logged in.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// For what somebody waits for at a terminal, such as an installation, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running system. Dropping it kills it.
#[derive(Debug)]
pub struct Guest {
    machine: Machine,
    /// Its process 1, as the host numbers it.
    init: u32,
    process: Process,
}

impl Guest {
    /// Boots, and returns when systemd has started what there is to start.
    ///
    /// # Errors
    /// There is no `target/debian-root`, no cgroup2, or it does not come up.
    pub fn boot(machine: &Machine) -> Result<Self> {
        Self::boot_from(machine, "debian-root")
    }

    /// As [`Guest::boot`], with a director or a server of a site that HAProxy and keepalived serve. Its name is the machine's.
    ///
    /// # Errors
    /// There is no `target/debian-pair`, no cgroup2, or it does not come up.
    pub fn boot_of_pair(machine: &Machine) -> Result<Self> {
        let guest = Self::boot_from(machine, "debian-pair")?;
        guest.expect("hostname", &[machine.name()])?;
        Ok(guest)
    }

    fn boot_from(machine: &Machine, root: &str) -> Result<Self> {
        let lower = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        let lower = lower.join(root).canonicalize();
        let lower = lower
            .with_context(|| format!("there is no target/{root}: `cargo xtask setup` makes it"))?;
        let cgroup = cgroup2()?.join(machine.namespace());
        fs::create_dir(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
        let mut command = machine.command("sh");
        command
            .args(["-c", BOOT, "boot"])
            .arg(lower)
            .arg(machine.directory().join("guest"))
            .arg(cgroup);
        let mut process = machine.spawn("systemd", &mut command)?;
        let shell = process.pid();
        let init = try_wait_until("process 1 of the guest", SOON, || {
            if let Some(status) = process.exited()? {
                bail!("it ended: {status}; {}", process.tail());
            }
            let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))?;
            let init = children.trim().parse().context("no child yet")?;
            let name = fs::read_to_string(format!("/proc/{init}/comm"))?;
            ensure!(name.trim() == "systemd", "{name:?} is not systemd yet");
            Ok(init)
        })?;
        let guest = Self {
            machine: machine.clone(),
            init,
            process,
        };
        try_wait_until("the guest to be up", SOON, || {
            let answer = guest.run("systemctl", &["is-system-running"])?;
            let state = answer.stdout.trim();
            ensure!(
                matches!(state, "running" | "degraded"),
                "{state}; {}",
                guest.process.tail()
            );
            Ok(())
        })?;
        Ok(guest)
    }

    /// A path of the guest, as the host reaches it.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Runs a command in the guest to its end.
    ///
    /// # Errors
    /// It cannot be started. A command that fails is an [`Answer`] with its exit code.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Answer> {
        let output = self
            .command(program)
            .args(arguments)
            .output()
            .context("cannot start nsenter")?;
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// As [`Guest::run`], for a command that has to succeed; returns all that it said.
    ///
    /// # Errors
    /// Its exit code is not 0.
    pub fn expect(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let answer = self.run(program, arguments)?;
        ensure!(
            answer.code == 0,
            "{program} {}: {answer:?}; {}",
            arguments.join(" "),
            self.process.tail()
        );
        Ok(answer.stdout + &answer.stderr)
    }

    /// Runs a line of shell as somebody who is logged in as root; a part of a pipeline that fails is its failure.
    ///
    /// # Errors
    /// As [`Guest::run`].
    pub fn shell(&self, line: &str) -> Result<Answer> {
        self.run("bash", &["-o", "pipefail", "-c", line])
    }

    /// Runs a line of shell on a terminal, where somebody waits until it has said something, and then types. The answer
    /// has all that was on the terminal as its output.
    ///
    /// # Errors
    /// It cannot be started, does not say that, or does not end.
    pub fn on_terminal(&self, line: &str, says: &str, keys: &str) -> Result<Answer> {
        // Ctrl-C is for the command, and the shell tells how it ended.
        let line = format!("trap : INT; stty rows 40 cols 200; export TERM=xterm; {line}");
        let mut child = self
            .command("script")
            .args(["-qefc", &line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start nsenter")?;
        let mut keyboard = child.stdin.take().context("its keyboard")?;
        let mut output = child.stdout.take().context("its screen")?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let screen = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                if let Ok(mut seen) = screen.lock() {
                    seen.extend(&bytes[..read]);
                }
            }
        });
        let text = || {
            seen.lock()
                .map(|seen| String::from_utf8_lossy(&seen).into_owned())
        };
        let text = || text().unwrap_or_default();
        let waited = try_wait_until(&format!("{line} to say {says:?}"), PATIENCE, || {
            let text = text();
            ensure!(text.contains(says), "{text}");
            Ok(())
        });
        let typed = waited.and_then(|()| keyboard.write_all(keys.as_bytes()).map_err(Into::into));
        let ended = typed.and_then(|()| {
            try_wait_until(&format!("{line} to end"), PATIENCE, || {
                child.try_wait()?.context("it runs")
            })
        });
        // Its terminal goes, and it with it.
        drop(keyboard);
        if ended.is_err() {
            child.kill().context("killing script")?;
            child.wait().context("waiting for script")?;
        }
        let status = ended.with_context(text)?;
        ensure!(reader.join().is_ok(), "reading its screen panicked");
        Ok(Answer {
            code: status.code().unwrap_or(-1),
            stdout: text(),
            stderr: String::new(),
        })
    }

    /// Starts a line of shell in the background; [`Guest::interrupt`] is its Ctrl-C.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, label: &str, line: &str) -> Result<Process> {
        let mut command = self.command("sh");
        command.args(["-c", &format!("echo $$ > /run/{label}.pid; exec {line}")]);
        self.machine.spawn(label, &mut command)
    }

    /// SIGINT to what [`Guest::spawn`] has started.
    ///
    /// # Errors
    /// It is gone.
    pub fn interrupt(&self, label: &str) -> Result<()> {
        let line = format!("kill -INT $(cat /run/{label}.pid)");
        self.expect("sh", &["-c", &line]).map(drop)
    }

    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.machine.command("nsenter");
        command
            .args(["--target", &self.init.to_string()])
            .args(["--pid", "--mount", "--uts", "--ipc", "--cgroup"])
            .arg(format!("--root=/proc/{}/root", self.init))
            // A working directory of nsenter's is one of the host.
            .args([
                "env",
                "-i",
                "-C",
                "/root",
                PATH,
                "HOME=/root",
                "DEBIAN_FRONTEND=noninteractive",
                program,
            ]);
        command
    }

    /// Every file of the guest's own file system with its kind, mode, owner, size and target, but for those that a
    /// running system and its package manager write by themselves.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn files(&self) -> Result<BTreeMap<PathBuf, String>> {
        let root = self.path("/");
        let device = fs::metadata(&root)?.dev();
        let mut files = BTreeMap::new();
        let mut waiting = vec![root.clone()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(&directory)
                .with_context(|| format!("cannot read {}", directory.display()))?
            {
                let path = entry?.path();
                let facts = fs::symlink_metadata(&path)?;
                let name = Path::new("/").join(path.strip_prefix(&root)?);
                if WRITTEN_BY_OTHERS
                    .iter()
                    .any(|other| name.starts_with(other))
                {
                    continue;
                }
                // An overlay's directories have its device number, its files may not.
                if facts.is_dir() && facts.dev() == device {
                    waiting.push(path.clone());
                }
                files.insert(name, described(&path, &facts)?);
            }
        }
        Ok(files)
    }
}

/// Lists of packages before and after, logs, and systemd's own notes.
const WRITTEN_BY_OTHERS: [&str; 7] = [
    "/var/lib/dpkg/status",
    "/var/lib/dpkg/status-old",
    "/var/lib/dpkg/lock",
    "/var/lib/systemd",
    "/var/cache/ldconfig",
    "/var/log",
    "/tmp",
];

fn described(path: &Path, facts: &fs::Metadata) -> Result<String> {
    let kind = facts.file_type();
    let what = if kind.is_symlink() {
        format!("-> {}", fs::read_link(path)?.display())
    } else if kind.is_dir() {
        "directory".to_owned()
    } else if kind.is_file() {
        format!("{} bytes", facts.len())
    } else if kind.is_socket() {
        "socket".to_owned()
    } else {
        "other".to_owned()
    };
    Ok(format!(
        "{:o} {}:{} {what}",
        facts.mode(),
        facts.uid(),
        facts.gid()
    ))
}

/// Where the unified hierarchy is mounted.
fn cgroup2() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .map(|fields| PathBuf::from(fields[1]))
        .context("no cgroup2 is mounted: systemd needs it")
}
