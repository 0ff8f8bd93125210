//! The tasks that follow tiers, one for each.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::{Round, Task, galera, sentinel, storage};
use crate::engine::Event;

/// A follower that ended is started anew after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// Ends all of them when it is dropped.
#[derive(Debug)]
pub struct Watchers {
    events: mpsc::Sender<Event>,
    running: BTreeMap<String, (Task, JoinHandle<()>)>,
}

impl Watchers {
    /// Rounds wait while the queue of events is full.
    pub const fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            running: BTreeMap::new(),
        }
    }

    /// Follows exactly these from now on; those that did not change go on.
    pub fn set(&mut self, tasks: Vec<Task>) {
        let mut before = std::mem::take(&mut self.running);
        for task in tasks {
            let name = task.name().to_owned();
            let running = match before.remove(&name) {
                Some((known, handle)) if known == task => handle,
                Some((_, handle)) => {
                    handle.abort();
                    self.start(&task)
                }
                None => self.start(&task),
            };
            self.running.insert(name, (task, running));
        }
        for (_, gone) in before.into_values() {
            gone.abort();
        }
    }

    fn start(&self, task: &Task) -> JoinHandle<()> {
        let reports = Reports {
            name: task.name().to_owned(),
            events: self.events.clone(),
        };
        tokio::spawn(supervise(task.clone(), reports))
    }
}

/// Follows anew what came to a bad end: a tier that nobody looks at would seem well for ever. Aborted, it takes along whom it
/// looks after.
async fn supervise(task: Task, reports: Reports) {
    loop {
        let mut follower = JoinSet::new();
        let reports = reports.clone();
        match task.clone() {
            Task::Galera(config) => follower.spawn(galera::follow(config, reports)),
            Task::Sentinel(config) => follower.spawn(sentinel::follow(config, reports)),
            Task::Storage { config, slowly_too } => {
                follower.spawn(storage::follow(config, slowly_too, reports))
            }
        };
        match follower.join_next().await {
            Some(Err(error)) => {
                tracing::error!(tier = task.name(), %error, "its follower ended; it is started anew");
                tokio::time::sleep(AGAIN).await;
            }
            // Nobody listens any more.
            _ => return,
        }
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        for (_, handle) in self.running.values() {
            handle.abort();
        }
    }
}

/// Where rounds of one tier go.
#[derive(Clone, Debug)]
pub struct Reports {
    name: String,
    events: mpsc::Sender<Event>,
}

impl Reports {
    /// For whoever looks at rounds without an engine.
    pub fn new(name: &str, events: mpsc::Sender<Event>) -> Self {
        Self {
            name: name.to_owned(),
            events,
        }
    }

    /// False: nobody listens any more.
    pub async fn send(&self, round: Round) -> bool {
        let event = Event::Tier {
            name: self.name.clone(),
            round: Box::new(round),
        };
        self.events.send(event).await.is_ok()
    }
}
