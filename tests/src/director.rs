//! The real controller on a director.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use mb_lb_ctl::snapshot::{FlowView, Snapshot};
use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::machine::Machine;
use crate::process::Process;
use crate::wait::try_wait_until;

/// Loading the program and creating its maps takes most of it.
const READY: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(10);

/// `mb-lb-ctl run` on a director of the lab, and the commands that speak to it. Dropping it kills the controller;
/// what it has pinned stays until the lab goes.
#[derive(Debug)]
pub struct Director {
    machine: Machine,
    program: PathBuf,
    bpf_root: PathBuf,
    process: Option<Process>,
    runs: u32,
    variables: Vec<(&'static str, OsString)>,
}

/// What a command of `mb-lb-ctl` did.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A server's counts in the kernel, and whether it takes new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub active: i64,
    pub opened: i64,
    pub closed: i64,
    pub expired: i64,
    pub accepts: bool,
}

impl Director {
    /// Writes the configuration (see [`Director::write_config`]), starts the controller and waits until it is ready.
    ///
    /// # Errors
    /// There is no `mb-lb-ctl` yet, or it does not get ready; the message holds what it said.
    pub fn start(lab: &Lab, name: &str, config: &str) -> Result<Self> {
        let mut director = Self::new(lab, name)?;
        director.write_config(config)?;
        director.run()?;
        Ok(director)
    }

    /// Without starting anything.
    ///
    /// # Errors
    /// There is no `mb-lb-ctl` yet.
    pub fn new(lab: &Lab, name: &str) -> Result<Self> {
        let machine = lab.machine(name).clone();
        let director = Self {
            program: find_program()?,
            bpf_root: lab.bpf_root(name),
            process: None,
            runs: 0,
            variables: Vec::new(),
            machine,
        };
        let state = director.state_dir();
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        Ok(director)
    }

    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    pub fn config_path(&self) -> PathBuf {
        self.machine.directory().join("mb-lb.toml")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.machine.directory().join("state")
    }

    pub fn bpf_root(&self) -> &Path {
        &self.bpf_root
    }

    /// The admin socket.
    pub fn socket(&self) -> PathBuf {
        self.machine.directory().join("admin.sock")
    }

    /// Writes the configuration. `text` has no `[admin]` table: one with the lab's socket is put in front.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_config(&self, text: &str) -> Result<()> {
        let path = self.config_path();
        let text = format!("[admin]\nsocket = {:?}\n\n{text}", self.socket());
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Starts the controller and waits until it is ready.
    ///
    /// # Errors
    /// As [`Director::start`].
    pub fn run(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Starts the controller without waiting. Every run has a log of its own in the machine's directory.
    ///
    /// # Errors
    /// It runs already, or cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the controller on {} runs already", self.machine.name());
        }
        self.runs += 1;
        let mut command = self.machine.command(&self.program);
        command.args(["run", "--config"]).arg(self.config_path());
        command.arg("--bpf-root").arg(&self.bpf_root);
        command.arg("--state-dir").arg(self.state_dir());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let label = format!("mb-lb-ctl-{}", self.runs);
        self.process = Some(self.machine.spawn(&label, &mut command)?);
        Ok(())
    }

    /// Variables that make `mb-lb-ctl` without further arguments mean this director.
    pub fn environment(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("MB_LB_CONFIG", self.config_path()),
            ("MB_LB_SOCKET", self.socket()),
            ("MB_LB_BPF_ROOT", self.bpf_root.clone()),
            ("MB_LB_STATE_DIR", self.state_dir()),
        ]
    }

    /// Sets a variable of the controller's environment from the next start on.
    pub fn set_variable(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.variables.push((name, value.into()));
    }

    /// Takes another `mb-lb-ctl` from the next start on, as an upgrade does.
    pub fn set_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// The `mb-lb-ctl` that it runs.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Waits until the controller answers `status`, degraded or not.
    ///
    /// # Errors
    /// It ends or does not answer in time; the message holds what it said.
    pub fn wait_ready(&mut self) -> Result<()> {
        let what = format!("the controller on {} to be ready", self.machine.name());
        let ended = try_wait_until(&what, READY, || {
            let said = match &mut self.process {
                Some(process) => {
                    if let Some(status) = process.exited()? {
                        return Ok(Some(format!("it ended: {status}; {}", process.tail())));
                    }
                    process.tail()
                }
                None => "it was not started".to_owned(),
            };
            let answer = self.ctl(&["status"])?;
            match answer.code {
                0 | 10 => Ok(None),
                code => Err(anyhow!(
                    "status exits with {code}: {}; {said}",
                    answer.stderr.trim()
                )),
            }
        })?;
        match ended {
            None => Ok(()),
            Some(how) => {
                self.process = None;
                bail!("waited for {what}, but {how}")
            }
        }
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.running()?.kill()?;
        self.process = None;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It does not run, does not end in time, or ends with an error.
    pub fn stop(&mut self) -> Result<()> {
        let process = self.running()?;
        process.signal(Signal::SIGTERM)?;
        let status = process.wait(STOP)?;
        if !status.success() {
            bail!("the controller ended with {status}; {}", process.tail());
        }
        self.process = None;
        Ok(())
    }

    /// [`Director::stop`] and [`Director::run`].
    ///
    /// # Errors
    /// Those of both.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.run()
    }

    /// As a service manager replaces it: SIGUSR1, and the next one at once.
    ///
    /// # Errors
    /// As [`Director::restart`].
    pub fn replace(&mut self) -> Result<()> {
        let process = self.running()?;
        process.signal(Signal::SIGUSR1)?;
        let status = process.wait(STOP)?;
        if !status.success() {
            bail!("the controller ended with {status}; {}", process.tail());
        }
        self.process = None;
        self.run()
    }

    /// The running controller, e.g. to send it SIGHUP.
    ///
    /// # Errors
    /// It does not run.
    pub fn running(&mut self) -> Result<&mut Process> {
        let name = self.machine.name();
        self.process
            .as_mut()
            .with_context(|| format!("the controller on {name} does not run"))
    }

    /// Runs `mb-lb-ctl ARGUMENTS` on the director, speaking to its socket, and waits for the end.
    ///
    /// # Errors
    /// It cannot be started. A command that fails is an [`Answer`] with its exit code.
    pub fn ctl(&self, arguments: &[&str]) -> Result<Answer> {
        let output = self
            .machine
            .command(&self.program)
            .args(arguments)
            .envs(self.environment())
            .env("NO_COLOR", "1")
            .output()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// As [`Director::ctl`], for a command that has to succeed.
    ///
    /// # Errors
    /// Its exit code is not 0.
    pub fn expect(&self, arguments: &[&str]) -> Result<String> {
        let answer = self.ctl(arguments)?;
        if answer.code != 0 {
            bail!(
                "mb-lb-ctl {}: exit code {}: {}{}",
                arguments.join(" "),
                answer.code,
                answer.stdout,
                answer.stderr
            );
        }
        Ok(answer.stdout)
    }

    /// `status -o json`.
    ///
    /// # Errors
    /// The controller does not answer, or not in the snapshot's form.
    pub fn status(&self) -> Result<Snapshot> {
        serde_json::from_value(self.status_json()?).context("status -o json is no snapshot")
    }

    /// `status -o json`, as anybody outside sees it.
    ///
    /// # Errors
    /// The controller does not answer, or not in JSON.
    pub fn status_json(&self) -> Result<serde_json::Value> {
        let answer = self.ctl(&["status", "-o", "json"])?;
        if !matches!(answer.code, 0 | 10) {
            bail!(
                "status exits with {}: {}",
                answer.code,
                answer.stderr.trim()
            );
        }
        serde_json::from_str(&answer.stdout).context("status -o json printed no JSON")
    }

    /// All flows of the table, both families, counted or not, by `list flows -o json`.
    ///
    /// # Errors
    /// The controller does not answer, or not in JSON.
    pub fn flows(&self) -> Result<Vec<FlowView>> {
        let text = self.expect(&["list", "flows", "-o", "json", "--limit", "10000000"])?;
        let mut list: serde_json::Value =
            serde_json::from_str(&text).context("list flows -o json printed no JSON")?;
        serde_json::from_value(list["flows"].take()).context("list flows -o json lists no flows")
    }

    /// What the kernel holds of `SERVICE/SERVER` at this moment; `status` is up to a second old.
    ///
    /// # Errors
    /// The controller does not answer, or there is no such server.
    pub fn record(&self, server: &str) -> Result<Record> {
        let reply = self.admin(&format!("mb-lb record {server}"))?;
        let json: serde_json::Value = serde_json::from_str(reply.trim())
            .with_context(|| format!("the record of {server} is no JSON: {reply:?}"))?;
        let fields = &json["data"];
        let number = |name: &str| {
            fields[name]
                .as_str()
                .and_then(|text| text.parse().ok())
                .with_context(|| format!("no {name} in the record of {server}: {reply:?}"))
        };
        Ok(Record {
            active: number("active")?,
            opened: number("opened")?,
            closed: number("closed")?,
            expired: number("expired")?,
            accepts: fields["flags"]
                .as_str()
                .is_some_and(|flags| flags.contains("accepts new flows")),
        })
    }

    /// Writes one line to the admin socket and reads the reply to its end.
    ///
    /// # Errors
    /// The socket does not answer.
    pub fn admin(&self, line: &str) -> Result<String> {
        let path = self.socket();
        let exchange = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(&path)?;
            stream.set_read_timeout(Some(STOP))?;
            stream.write_all(line.as_bytes())?;
            stream.write_all(b"\n")?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply)?;
            Ok(reply)
        };
        exchange().with_context(|| format!("{line:?} to {}", path.display()))
    }
}

/// `$MB_LB_CTL`, or the one built together with this program.
fn find_program() -> Result<PathBuf> {
    if let Some(path) = env::var_os("MB_LB_CTL") {
        return Ok(path.into());
    }
    let own = env::current_exe().context("cannot tell where this program is")?;
    // target/PROFILE/PROGRAM, or target/PROFILE/deps/TEST-HASH.
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("mb-lb-ctl"))
        .find(|path| path.is_file());
    found.context(
        "there is no mb-lb-ctl beside this program: `cargo xtask test` builds it, as does `cargo build -p mb-lb-ctl` in \
         the same profile; $MB_LB_CTL can name another",
    )
}
