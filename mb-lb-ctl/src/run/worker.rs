//! The data plane's thread: one job after the other, so that an answer after a job means that it is done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use crate::config::{Config, XdpMode};
use crate::dataplane::{Dataplane, FlowEntry, FlowSync, LoadError};
use crate::engine::{Attached, Event};
use crate::net::{self, Interface};
use crate::plan::Desired;

/// What the thread is asked to do.
pub enum Job {
    Apply(Box<Desired>),
    /// Attach to these, and to no others.
    Attach {
        interfaces: Vec<Interface>,
        mode: XdpMode,
        /// Interfaces that were asked for and cannot be had.
        error: Option<String>,
        /// Of the [`Worker::attach`] that this follows from.
        number: u64,
    },
    /// Have checks go through these VIPs, on these interfaces.
    Vias {
        vips: Vec<std::net::IpAddr>,
        interfaces: Vec<(String, u32)>,
    },
    Tick,
    Flows {
        limit: usize,
        done: Box<dyn FnOnce(Result<Vec<FlowEntry>, LoadError>) + Send>,
    },
    /// Handles of their own on the flows.
    FlowSync {
        done: Box<dyn FnOnce(Result<FlowSync, LoadError>) + Send>,
    },
    Record {
        index: u32,
        done: Box<dyn FnOnce(super::answer::RecordResult) + Send>,
    },
}

/// Readings of the flow table that may wait or be under way: each may take as long as the table is large, and a change of the
/// pools comes behind them.
const READINGS: usize = 4;

/// Handle of the thread.
pub struct Worker {
    jobs: blocking::Sender<Job>,
    thread: Option<JoinHandle<()>>,
    attach: watch::Sender<Option<(u64, Config)>>,
    /// A tick is waiting or under way: a slow sweep must not pile up more of them.
    ticking: Arc<Mutex<bool>>,
    readings: Arc<AtomicUsize>,
}

impl Worker {
    /// Starts the thread, and the task that looks interfaces up for it.
    pub fn spawn(dataplane: Dataplane, events: mpsc::Sender<Event>) -> anyhow::Result<Self> {
        let (jobs, queue) = blocking::channel();
        let ticking = Arc::new(Mutex::new(false));
        let done = Arc::clone(&ticking);
        let readings = Arc::new(AtomicUsize::new(0));
        let read = Arc::clone(&readings);
        let thread = std::thread::Builder::new()
            .name("dataplane".to_owned())
            .spawn(move || work(dataplane, &queue, &events, &done, &read))
            .context("cannot start the data plane's thread")?;
        let (attach, wanted) = watch::channel(None);
        tokio::spawn(look_up(wanted, jobs.clone()));
        Ok(Self {
            jobs,
            thread: Some(thread),
            attach,
            ticking,
            readings,
        })
    }

    /// Queues a job. Where the thread has ended, [`Worker::failed`] tells.
    pub fn send(&self, job: Job) {
        if let Job::Tick = job {
            let mut ticking = self
                .ticking
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if std::mem::replace(&mut *ticking, true) {
                return;
            }
        }
        if let Job::Flows { .. } = job
            && self.readings.fetch_add(1, Ordering::Relaxed) >= READINGS
        {
            self.readings.fetch_sub(1, Ordering::Relaxed);
            if let Job::Flows { done, .. } = job {
                done(Err(LoadError::Reading));
            }
            return;
        }
        let _queued = self.jobs.send(job);
    }

    /// Has handles made for flow sync; blocks until the thread has done so.
    pub fn flow_sync(&self) -> impl Fn() -> Result<FlowSync, String> + Send + Sync + 'static {
        let jobs = self.jobs.clone();
        move || {
            let (sender, made) = blocking::channel();
            let done = Box::new(move |made| {
                // Who asked may have given up.
                let _sent = sender.send(made);
            });
            jobs.send(Job::FlowSync { done })
                .map_err(|_| "the data plane's thread has ended".to_owned())?;
            let made = made
                .recv()
                .map_err(|_| "the data plane's thread has ended".to_owned())?;
            made.map_err(|error: LoadError| error.to_string())
        }
    }

    /// Attaches to the interfaces that this configuration asks for, now and whenever they change. `number` comes back
    /// with every [`Event::Interfaces`] that follows from it.
    pub fn attach(&self, number: u64, config: Config) {
        self.attach.send_replace(Some((number, config)));
    }

    /// Why the thread has ended, if it has.
    pub fn failed(&mut self) -> Option<String> {
        if !self.thread.as_ref()?.is_finished() {
            return None;
        }
        match self.thread.take()?.join() {
            Ok(()) => Some("it stopped".to_owned()),
            Err(_) => Some("it panicked".to_owned()),
        }
    }
}

fn work(
    mut dataplane: Dataplane,
    queue: &blocking::Receiver<Job>,
    events: &mpsc::Sender<Event>,
    ticking: &Mutex<bool>,
    readings: &AtomicUsize,
) {
    while let Ok(job) = queue.recv() {
        let event = match job {
            Job::Apply(desired) => {
                let applied = dataplane.apply(&desired);
                Some(Event::Applied(applied.err().map(|error| error.to_string())))
            }
            Job::Attach {
                interfaces,
                mode,
                error,
                number,
            } => Some(attach(&mut dataplane, &interfaces, mode, error, number)),
            Job::Vias { vips, interfaces } => {
                let error = dataplane.set_vias(&vips, &interfaces).err();
                Some(Event::Vias { vips, error })
            }
            Job::Tick => {
                let report = dataplane.tick();
                *ticking
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner) = false;
                Some(Event::Counted(Box::new(report)))
            }
            Job::Flows { limit, done } => {
                done(dataplane.flows(limit));
                readings.fetch_sub(1, Ordering::Relaxed);
                None
            }
            Job::FlowSync { done } => {
                done(dataplane.flow_sync());
                None
            }
            Job::Record { index, done } => {
                done(dataplane.record(index));
                None
            }
        };
        if let Some(event) = event
            && events.blocking_send(event).is_err()
        {
            // The engine is gone, and the process with it.
            return;
        }
    }
}

fn attach(
    dataplane: &mut Dataplane,
    interfaces: &[Interface],
    mode: XdpMode,
    missing: Option<String>,
    number: u64,
) -> Event {
    let mut errors: Vec<String> = missing.into_iter().collect();
    let mut attached = Vec::new();
    for interface in interfaces {
        match dataplane.attach(&interface.name, interface.index, mode) {
            Ok(mode) => attached.push(Attached {
                name: interface.name.clone(),
                ifindex: interface.index,
                mac: interface.mac,
                mode: mode.name(),
            }),
            Err(error) => errors.push(error.to_string()),
        }
    }
    // Where an interface is missing, what runs on others stays: better too much than nothing.
    if errors.is_empty() {
        let keep: Vec<u32> = attached.iter().map(|interface| interface.ifindex).collect();
        if let Err(error) = dataplane.detach_others(&keep) {
            errors.push(error.to_string());
        }
    }
    Event::Interfaces {
        attached,
        error: (!errors.is_empty()).then(|| errors.join("; ")),
        number,
    }
}

/// Looks up the interfaces of the wanted configuration, and again when one of them changes.
async fn look_up(mut wanted: watch::Receiver<Option<(u64, Config)>>, jobs: blocking::Sender<Job>) {
    loop {
        let config = wanted.borrow_and_update().clone();
        let Some((number, config)) = config else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        let (interfaces, error) = net::wanted_interfaces(&config).await;
        let names: Vec<String> = interfaces
            .iter()
            .map(|interface| interface.name.clone())
            .chain(config.director.interfaces.iter().cloned())
            .collect();
        let mode = config.director.xdp;
        if jobs
            .send(Job::Attach {
                interfaces,
                mode,
                error: error.clone(),
                number,
            })
            .is_err()
        {
            return;
        }
        let changed = async {
            match net::watch_interfaces(names).await {
                Ok((mut changes, _task)) => {
                    // An error is the end of the watch: look again then too, but not in a tight loop.
                    if changes.changed().await.is_err() {
                        tokio::time::sleep(super::TICK).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "interfaces are not watched");
                    tokio::time::sleep(super::TICK * 10).await;
                }
            }
        };
        // What could not be had is tried again: it may only be late.
        let again = async {
            match &error {
                Some(_) => tokio::time::sleep(super::TICK).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = changed => {}
            () = again => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handle whose thread is busy elsewhere, and what waits for it.
    fn waiting() -> (Worker, blocking::Receiver<Job>) {
        let (jobs, queue) = blocking::channel();
        let worker = Worker {
            jobs,
            thread: None,
            attach: watch::channel(None).0,
            ticking: Arc::default(),
            readings: Arc::default(),
        };
        (worker, queue)
    }

    /// Asks for flows, and says whether that waits now; else it was refused in words.
    fn waits(worker: &Worker, queue: &blocking::Receiver<Job>) -> bool {
        let (sender, refused) = blocking::channel();
        worker.send(Job::Flows {
            limit: 1,
            done: Box::new(move |flows| {
                let error = flows.expect_err("nobody has read any");
                sender.send(error.to_string()).expect("the test waits");
            }),
        });
        match (queue.try_recv(), refused.try_recv()) {
            (Ok(Job::Flows { .. }), Err(_)) => true,
            (Err(_), Ok(why)) => {
                let says = "others read the flow table already; try again when they are done";
                assert_eq!(why, says);
                false
            }
            _ => panic!("it is to wait, or to be refused"),
        }
    }

    #[test]
    fn four_readings_wait_and_more_are_refused_until_one_is_done() {
        let (worker, queue) = waiting();
        let four = [(); 4].map(|()| waits(&worker, &queue));
        assert_eq!(four, [true; 4]);
        // A refusal takes no place, nor gives one back.
        for _ in 0..3 {
            assert!(!waits(&worker, &queue));
        }
        // As the thread does after each.
        worker.readings.fetch_sub(1, Ordering::Relaxed);
        assert!(waits(&worker, &queue));
        assert!(!waits(&worker, &queue));
        // Changes are not readings.
        worker.send(Job::Tick);
        assert!(matches!(queue.try_recv(), Ok(Job::Tick)));
    }
}
