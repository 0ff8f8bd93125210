//! A program in the background, killed with its handle.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::try_wait_until;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Option<Child>,
    output: PathBuf,
    errors: PathBuf,
}

impl Process {
    /// Standard output goes to `log` with `.out` appended, standard error to `.err`.
    pub(crate) fn spawn(what: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let with_ending = |ending: &str| {
            let mut path = log.as_os_str().to_owned();
            path.push(ending);
            PathBuf::from(path)
        };
        let (output, errors) = (with_ending(".out"), with_ending(".err"));
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        command
            .stdin(Stdio::null())
            .stdout(create(&output)?)
            .stderr(create(&errors)?);
        // SAFETY: signal and setsid are async-signal-safe and touch no memory of ours.
        unsafe {
            command.pre_exec(|| {
                // A shell that starts the tests in the background has SIGINT ignored, and that is inherited.
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                // The lab's keeper ends it; Ctrl-C in a terminal must not end half of a lab that is to stay.
                nix::unistd::setsid()?;
                Ok(())
            });
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {what}"))?;
        Ok(Self {
            what: what.to_owned(),
            child: Some(child),
            output,
            errors,
        })
    }

    /// # Panics
    /// The process has been waited for.
    pub fn pid(&self) -> u32 {
        self.child
            .as_ref()
            .expect("a process that was waited for is not asked again")
            .id()
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    /// The kernel does not know the process.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => child
                .try_wait()
                .with_context(|| format!("cannot wait for {}", self.what)),
            None => Ok(Some(ExitStatus::default())),
        }
    }

    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).context("a pid beyond the kernel's")?;
        kill(Pid::from_raw(pid), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.what))
    }

    /// Waits for its own end.
    ///
    /// # Errors
    /// It still runs after `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.what);
        try_wait_until(&what, within, || match self.exited() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(anyhow!("it runs; {}", self.tail())),
            Err(error) => Err(error),
        })
    }

    /// `kill -9`, and waits for the end.
    ///
    /// # Errors
    /// The kernel does not know the process.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child
            .kill()
            .and_then(|()| child.wait())
            .map(drop)
            .with_context(|| format!("cannot kill {}", self.what))
    }

    /// Lets it run on without a handle, until its lab goes.
    pub fn release(mut self) -> u32 {
        let pid = self.pid();
        self.child = None;
        pid
    }

    /// What it has printed so far.
    ///
    /// # Errors
    /// The file is gone.
    pub fn output(&self) -> Result<String> {
        read(&self.output)
    }

    /// What it has printed to standard error so far.
    ///
    /// # Errors
    /// The file is gone.
    pub fn errors(&self) -> Result<String> {
        read(&self.errors)
    }

    /// The last lines of standard error, for messages.
    pub fn tail(&self) -> String {
        match self.errors() {
            Ok(text) => {
                let lines: Vec<_> = text.lines().collect();
                let last = lines[lines.len().saturating_sub(15)..].join("\n  ");
                format!("{} has said:\n  {last}", self.what)
            }
            Err(error) => format!("{} has no log: {error:#}", self.what),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("lab: {error:#}");
        }
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
