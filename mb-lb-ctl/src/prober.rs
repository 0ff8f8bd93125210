//! Runs the checks: one task per server and check, results as [`Event::Checked`].
//!
//! ```text
//!   set(tasks) --> Prober --spawn/abort--> check task (one per server; two with an agent)
//!                     |                       |  waits for a permit
//!                     +--watch: interval----->|  runs the check, bounded by its timeout
//!                                             +--> mpsc<Event> --> engine
//! ```
//!
//! At most 2,048 checks are under way at a time, and at most a quarter of the descriptors that the process may have are for
//! them, since each holds a socket. A server that hangs holds its permit until `timeout`: with half of 5,000 servers hung,
//! checks every 2 s and a timeout of 1 s, 1,250 permits are held at any time, and there have to be more, or checks of servers that
//! are well come late. First checks are spread in the same way, 5,000 a second, so that a start does not open thousands of
//! connections at once and yet all is known soon. Programs have 32 permits of their own: each is a process, and may start others.
//!
//! A check task can be cancelled at any point: it owns nothing but its socket, or a program that is killed with it. When the engine's channel is
//! full, the task waits, and with it the next check of that server: results are never dropped.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::{CheckKind, HttpCheck};
use crate::engine::{CheckResult, CheckTask, Event, Outcome, ServerRef, ThroughVip, Which};

pub mod agent;
mod certificate;
mod exec;
mod finding;
pub mod http;
mod line;
mod reply;
mod smtp;
mod tcp;
mod via;

use finding::Finding;

/// Checks that may be under way at a time.
const CONCURRENCY: usize = 2048;

/// Programs that may run at a time.
const PROGRAMS: usize = 32;

/// First checks are spread over so long at least, and so long for each.
const FIRST_SPREAD: Duration = Duration::from_millis(200);
const FIRST_SPREAD_EACH: Duration = Duration::from_micros(200);

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
            permits: Arc::new(Semaphore::new(concurrency())),
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
        let total = tasks.len();
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
                None => self.start(&task, probe, spread(task.interval, total)),
            };
            self.running.insert((task.server, task.which), running);
        }
    }

    fn start(&self, task: &CheckTask, probe: Probe, spread: Duration) -> Running {
        let (sender, receiver) = watch::channel(task.interval);
        let permits = Arc::clone(match probe.program {
            Some(_) => &self.programs,
            None => &self.permits,
        });
        let (server, which) = (task.server.clone(), task.which);
        let (first, events) = (spread.mul_f64(fastrand::f64()), self.events.clone());
        let repeated = repeat(
            server,
            which,
            probe.clone(),
            first,
            receiver,
            permits,
            events,
        );
        Running {
            probe,
            interval: sender,
            task: tokio::spawn(repeated),
        }
    }
}

/// Of the descriptors that this process may have, a quarter.
fn concurrency() -> usize {
    let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let quarter = usize::try_from(descriptors / 4).unwrap_or(CONCURRENCY);
    quarter.clamp(1, CONCURRENCY)
}

/// Over how long the first runs of `total` checks are spread.
fn spread(interval: Duration, total: usize) -> Duration {
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    interval.min(FIRST_SPREAD.max(FIRST_SPREAD_EACH.saturating_mul(total)))
}

/// All that makes one check different from another; how often it runs is not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Probe {
    address: SocketAddr,
    kind: CheckKind,
    pattern: Option<http::Pattern>,
    program: Option<exec::Program>,
    via: Option<ThroughVip>,
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
            via: task.via,
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
        let mut line = match self.via {
            None => line::Line::open(self.address, limit).await?,
            Some(via) => {
                // So that there is time to find out why.
                let half = line::Limit {
                    deadline: limit.deadline - self.timeout / 2,
                    timeout: self.timeout / 2,
                };
                let opened = line::Line::open_by(via::connect(self.address, via), half, limit);
                match opened.await {
                    Ok(mut line) => {
                        line.end_abruptly();
                        line
                    }
                    Err(found) => return Err(via::explain(found, self.address, via, limit).await),
                }
            }
        };
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
    first: Duration,
    mut interval: watch::Receiver<Duration>,
    permits: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
) {
    sleep(first).await;
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
