//! Runs the checks: one task per server and check, results as [`Event::Checked`].
//!
//! ```text
//!   set(tasks) --> Prober --spawn/abort--> check task (one per server)
//!                     |                       |  waits for a permit (256 checks at a time)
//!                     +--watch: interval----->|  runs the check, bounded by its timeout
//!                                             +--> mpsc<Event> --> engine
//! ```
//!
//! A check task can be cancelled at any point: it owns nothing but its socket. When the engine's channel is
//! full, the task waits, and with it the next check of that server: results are never dropped.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::{CheckKind, HttpCheck};
use crate::engine::{CheckResult, CheckTask, Event, Outcome, ServerRef, Which};

pub mod agent;
mod certificate;
mod exec;
mod finding;
pub mod http;
mod line;
mod reply;
mod smtp;
mod tcp;

use finding::Finding;

/// Checks that may be under way at a time; bounds the controller's open sockets.
const CONCURRENCY: usize = 256;

/// Programs that may run at a time: each is a process, and may start others.
const PROGRAMS: usize = 32;

/// First checks are spread over this long, so that a start does not open a thousand connections at once.
const FIRST_SPREAD: Duration = Duration::from_millis(200);

/// Intervals vary by this share either way, so that the checks of many servers do not fall into step.
const JITTER: f64 = 0.1;

/// Owner of all check tasks. Dropping it ends them.
pub struct Prober {
    events: mpsc::Sender<Event>,
    permits: Arc<Semaphore>,
    programs: Arc<Semaphore>,
    running: HashMap<(ServerRef, Which), Running>,
}

struct Running {
    probe: Probe,
    interval: watch::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prober {
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            permits: Arc::new(Semaphore::new(CONCURRENCY)),
            programs: Arc::new(Semaphore::new(PROGRAMS)),
            running: HashMap::new(),
        }
    }

    /// Runs exactly these checks from now on, at most one of each kind per server. A check that stays keeps its rhythm;
    /// where only its interval changed, the next run moves accordingly and a run under way is left alone. The
    /// result of a check that was taken away may still be in the channel.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn set(&mut self, tasks: Vec<CheckTask>) {
        let mut before = std::mem::take(&mut self.running);
        for task in tasks {
            let probe = Probe::new(&task);
            let kept = before
                .remove(&(task.server.clone(), task.which))
                .filter(|running| running.probe == probe && !running.task.is_finished());
            let running = match kept {
                Some(running) => {
                    running.interval.send_if_modified(|interval| {
                        std::mem::replace(interval, task.interval) != task.interval
                    });
                    running
                }
                None => self.start(task.server.clone(), task.which, probe, task.interval),
            };
            self.running.insert((task.server, task.which), running);
        }
    }

    fn start(&self, server: ServerRef, which: Which, probe: Probe, interval: Duration) -> Running {
        let (sender, receiver) = watch::channel(interval);
        let permits = Arc::clone(match probe.program {
            Some(_) => &self.programs,
            None => &self.permits,
        });
        let events = self.events.clone();
        let task = tokio::spawn(repeat(
            server,
            which,
            probe.clone(),
            receiver,
            permits,
            events,
        ));
        Running {
            probe,
            interval: sender,
            task,
        }
    }
}

/// All that makes one check different from another; how often it runs is not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Probe {
    address: SocketAddr,
    kind: CheckKind,
    pattern: Option<http::Pattern>,
    program: Option<exec::Program>,
    timeout: Duration,
}

impl Probe {
    fn new(task: &CheckTask) -> Self {
        let CheckTask { address, check, .. } = task;
        Self {
            address: *address,
            kind: check.kind.clone(),
            pattern: http::Pattern::of(&check.kind),
            program: exec::Program::of(task),
            timeout: check.timeout,
        }
    }

    /// Runs the check once. The conversation is returned so that it can be ended politely after the result
    /// is out: the peer's manners at the end are no part of the verdict.
    async fn run(&self) -> (CheckResult, Option<line::Line>) {
        let started = Instant::now();
        let limit = line::Limit {
            deadline: started + self.timeout,
            timeout: self.timeout,
        };
        if let Some(program) = &self.program {
            let finding = program.check(self.timeout).await;
            return (finding.into_result(started.elapsed()), None);
        }
        let (finding, line) = match self.open(limit).await {
            Err(finding) => (finding, None),
            Ok(mut line) => {
                let finding = match &self.kind {
                    // A program is run, above; it has no line.
                    CheckKind::Tcp | CheckKind::Exec { .. } => tcp::check(),
                    CheckKind::Smtp(smtp) => smtp::check(&mut line, smtp, self.address.ip()).await,
                    CheckKind::Agent { send } => agent::check(&mut line, send.as_deref()).await,
                    CheckKind::Http(http) => {
                        http::check(&mut line, http, self.pattern.as_ref(), self.address).await
                    }
                };
                let finding = match line.certificate() {
                    Some(certificate) => {
                        certificate::judge(finding, self.kind.min_certificate(), certificate)
                    }
                    None => finding,
                };
                (finding, Some(line))
            }
        };
        let result = finding.into_result(started.elapsed());
        (result, line)
    }
}

impl Probe {
    async fn open(&self, limit: line::Limit) -> Result<line::Line, Finding> {
        let mut line = line::Line::open(self.address, limit).await?;
        if let CheckKind::Http(HttpCheck { tls: Some(tls), .. }) = &self.kind {
            line.secure(tls, self.address.ip()).await?;
        }
        Ok(line)
    }
}

/// The life of one check task.
async fn repeat(
    server: ServerRef,
    which: Which,
    probe: Probe,
    mut interval: watch::Receiver<Duration>,
    permits: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
) {
    sleep(FIRST_SPREAD.mul_f64(fastrand::f64())).await;
    loop {
        let permit = permits.acquire().await.expect("it is never closed");
        let started = Instant::now();
        let (result, line) = probe.run().await;
        let event = Event::Checked {
            server: server.clone(),
            which,
            address: probe.address,
            result,
        };
        if events.send(event).await.is_err() {
            return;
        }
        if let Some(line) = line {
            line.close().await;
        }
        drop(permit);
        let stretch = 1.0 + JITTER * (2.0 * fastrand::f64() - 1.0);
        if !wait(started, stretch, &mut interval).await {
            return;
        }
    }
}

/// Waits until the interval in force, times `stretch`, has passed since `started`. False: the prober is gone.
async fn wait(started: Instant, stretch: f64, interval: &mut watch::Receiver<Duration>) -> bool {
    loop {
        let due = started + interval.borrow_and_update().mul_f64(stretch);
        tokio::select! {
            () = sleep_until(due) => return true,
            changed = interval.changed() => if changed.is_err() { return false },
        }
    }
}

#[cfg(test)]
mod tests;
