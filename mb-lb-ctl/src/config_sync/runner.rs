//! The edge: tasks that look at sources, and tasks that run. See the drawing in [`super`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::settle::Settling;
use super::{Order, Report, Run, Watch, run, tree};
use crate::engine::Event;

/// Runs that may be under way at a time: each is two or three processes.
const CONCURRENCY: usize = 8;
/// From one look at a source to the next.
const LOOK: Duration = Duration::from_secs(1);
/// A large tree is looked at for at most one part in so many of the time.
const SHARE: u32 = 20;

/// Owner of all tasks. Dropping it ends them, and what they have started.
pub struct Runner {
    events: mpsc::Sender<Event>,
    permits: Arc<Semaphore>,
    watches: HashMap<Watch, Task>,
    runs: HashMap<u64, Task>,
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Runner {
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            permits: Arc::new(Semaphore::new(CONCURRENCY)),
            watches: HashMap::new(),
            runs: HashMap::new(),
        }
    }

    /// Reports come as [`Event::ConfigSync`]; that of a run that was stopped may still be in the channel.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn obey(&mut self, order: Order) {
        match order {
            Order::Watch(wanted) => {
                let mut before = std::mem::take(&mut self.watches);
                for watch in wanted {
                    let task = before.remove(&watch).unwrap_or_else(|| {
                        Task(tokio::spawn(look(watch.clone(), self.events.clone())))
                    });
                    self.watches.insert(watch, task);
                }
            }
            Order::Run(run) => {
                self.runs.retain(|_, task| !task.0.is_finished());
                let task = perform(*run, Arc::clone(&self.permits), self.events.clone());
                let (id, task) = task;
                self.runs.insert(id, Task(tokio::spawn(task)));
            }
            Order::Stop(ids) => {
                for id in ids {
                    self.runs.remove(&id);
                }
            }
        }
    }
}

/// The number of the run, and the run.
fn perform(
    run: Run,
    permits: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
) -> (u64, impl Future<Output = ()> + Send) {
    let id = run.id;
    let task = async move {
        let _permit = permits.acquire().await.expect("it is never closed");
        let started = Instant::now();
        let result = run::run(&run, async |changes| {
            let changes = changes.clone();
            // An engine that is gone needs no report.
            let _sent = events
                .send(Event::ConfigSync(Report::Transferred { id, changes }))
                .await;
        })
        .await;
        let took = started.elapsed();
        let report = Report::Ended { id, result, took };
        let _sent = events.send(Event::ConfigSync(report)).await;
    };
    (id, task)
}

/// Looks at a source for ever.
async fn look(watch: Watch, events: mpsc::Sender<Event>) {
    let start = Instant::now();
    let mut settling = Settling::default();
    loop {
        let began = Instant::now();
        let seen = {
            let watch = watch.clone();
            tokio::task::spawn_blocking(move || tree::fingerprint(&watch)).await
        };
        let Ok(seen) = seen else {
            // The runtime is about to end.
            return;
        };
        if let Some(state) = settling.look(seen, start.elapsed()) {
            let name = watch.name.clone();
            let report = Event::ConfigSync(Report::Source { name, state });
            if events.send(report).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(LOOK.max(began.elapsed() * SHARE)).await;
    }
}
