//! postfix's `smtp-source`: many messages through many sessions.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::machine::Machine;
use crate::process::Process;

/// What to send. Every message has a session, and so a connection, of its own, unless told otherwise.
#[derive(Clone, Debug)]
pub struct Source {
    to: SocketAddr,
    messages: u32,
    sessions: u32,
    arguments: Vec<String>,
    within: Duration,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Messages that the server has accepted (a positive reply to the end of DATA).
    pub delivered: u64,
    /// `smtp-source` had no error.
    pub success: bool,
    /// What it said; the first error ends it.
    pub errors: String,
    pub took: Duration,
}

/// An `smtp-source` at work.
#[derive(Debug)]
pub struct Sending {
    process: Process,
    started: Instant,
    within: Duration,
}

impl Source {
    /// One message to `to`.
    pub fn new(to: SocketAddr) -> Self {
        Self {
            to,
            messages: 1,
            sessions: 1,
            arguments: Vec::new(),
            within: Duration::from_secs(120),
        }
    }

    pub fn messages(mut self, messages: u32) -> Self {
        self.messages = messages;
        self
    }

    /// Sessions at the same time.
    pub fn sessions(mut self, sessions: u32) -> Self {
        self.sessions = sessions;
        self
    }

    /// A further argument of `smtp-source`, e.g. `-d` (one session for many messages), `-l 20000` as two.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Gives up after this time; two minutes unless told.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Sends from `machine` to the end.
    ///
    /// # Errors
    /// It cannot be started or does not end in time. A message that is not delivered is no error here, see [`Sent`].
    pub fn run(&self, machine: &Machine) -> Result<Sent> {
        self.start(machine, "smtp-source")?.finish()
    }

    /// Starts sending from `machine`. `label` names the log, so it differs between sources of one machine.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, machine: &Machine, label: &str) -> Result<Sending> {
        let mut command = machine.command("smtp-source");
        command
            // A name of its own: otherwise it asks the resolver for the host's.
            .args(["-c", "-M", "client.lab.example"])
            .args(["-m", &self.messages.to_string()])
            .args(["-s", &self.sessions.to_string()])
            .args(&self.arguments)
            .arg(self.to.to_string());
        Ok(Sending {
            process: machine.spawn(label, &mut command)?,
            started: Instant::now(),
            within: self.within,
        })
    }
}

impl Sending {
    /// Messages delivered so far.
    ///
    /// # Errors
    /// Its output is gone or not understood.
    pub fn delivered(&self) -> Result<u64> {
        // A running counter, each value after a carriage return.
        let output = self.process.output()?;
        match output.trim().rsplit('\r').next() {
            None | Some("") => Ok(0),
            Some(last) => last
                .trim()
                .parse()
                .with_context(|| format!("no number in smtp-source's counter: {last:?}")),
        }
    }

    /// The process, e.g. to freeze or kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn finish(mut self) -> Result<Sent> {
        let status = self.process.wait(self.within)?;
        Ok(Sent {
            delivered: self.delivered()?,
            success: status.success(),
            errors: self.process.errors()?,
            took: self.started.elapsed(),
        })
    }
}

impl Sent {
    /// # Errors
    /// Not exactly `messages` were delivered, or there was an error on the way.
    pub fn expect_all(&self, messages: u64) -> Result<()> {
        if !self.success || self.delivered != messages {
            bail!(
                "{} of {messages} messages delivered in {:?}: {}",
                self.delivered,
                self.took,
                self.errors.trim()
            );
        }
        Ok(())
    }
}
