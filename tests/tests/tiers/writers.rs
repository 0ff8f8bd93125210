//! Clients that write, each in a thread of its own, until they are told to stop; and what each has seen.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use mb_lb_tests::try_wait_until;

/// A write that was acknowledged.
pub trait Acked {
    /// Who says that he has written it.
    fn by(&self) -> String;
}

/// What one writer has seen, in order.
#[derive(Debug)]
pub struct Log<A, E> {
    /// Writes that were acknowledged.
    pub acks: Vec<A>,
    pub errors: Vec<E>,
}

impl<A, E> Default for Log<A, E> {
    fn default() -> Self {
        Self {
            acks: Vec::new(),
            errors: Vec::new(),
        }
    }
}

/// What a writer is given: whether to go on, and where to say what it has seen.
pub struct Pen<A, E> {
    stop: Arc<AtomicBool>,
    log: Arc<Mutex<Log<A, E>>>,
}

impl<A, E> Pen<A, E> {
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    pub fn ack(&self, ack: A) {
        locked(&self.log).acks.push(ack);
    }

    pub fn error(&self, error: E) {
        locked(&self.log).errors.push(error);
    }
}

pub struct Writers<A, E> {
    stop: Arc<AtomicBool>,
    logs: Vec<Arc<Mutex<Log<A, E>>>>,
    threads: Vec<JoinHandle<()>>,
    soon: Duration,
}

impl<A: Acked + Send + 'static, E: Clone + Debug + Send + 'static> Writers<A, E> {
    /// Each runs `write`, with its number, and is to return when it does not go on. `soon` is how long others wait for
    /// what they expect of them.
    pub fn start<W>(count: usize, soon: Duration, write: W) -> Self
    where
        W: Fn(usize, &Pen<A, E>) + Clone + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let logs: Vec<_> = (0..count).map(|_| Arc::new(Mutex::default())).collect();
        let threads = logs.iter().enumerate().map(|(writer, log)| {
            let pen = Pen {
                stop: Arc::clone(&stop),
                log: Arc::clone(log),
            };
            let write = write.clone();
            std::thread::spawn(move || write(writer, &pen))
        });
        Self {
            threads: threads.collect(),
            stop,
            logs,
            soon,
        }
    }

    /// The same of each writer.
    pub fn look<T>(&self, what: impl Fn(&Log<A, E>) -> T) -> Vec<T> {
        self.logs.iter().map(|log| what(&locked(log))).collect()
    }

    /// Until each has written some more.
    pub fn wait_more(&self) -> Result<()> {
        let before = self.look(|log| log.acks.len());
        try_wait_until("writes", self.soon, || {
            let now = self.look(|log| log.acks.len());
            let errors = self.look(|log| log.errors.last().cloned());
            let more = before
                .iter()
                .zip(&now)
                .all(|(before, now)| *now > before + 20);
            ensure!(more, "{before:?}, {now:?}, {errors:?}");
            Ok(())
        })
    }

    /// Until each writes there.
    pub fn wait_on(&self, place: impl ToString) -> Result<()> {
        let place = place.to_string();
        try_wait_until(&format!("writes on {place}"), self.soon, || {
            let last = self.look(|log| log.acks.last().map(Acked::by));
            let errors = self.look(|log| log.errors.last().cloned());
            let there = last.iter().all(|last| last.as_ref() == Some(&place));
            ensure!(there, "{last:?}, {errors:?}");
            Ok(())
        })
    }

    /// Until each has had such an error, from now on.
    pub fn wait_error(&self, what: &str, is_it: impl Fn(&E) -> bool) -> Result<()> {
        let before = self.look(|log| log.errors.len());
        try_wait_until(what, self.soon, || {
            for (log, before) in self.logs.iter().zip(&before) {
                let log = locked(log);
                let errors = &log.errors;
                ensure!(errors[*before..].iter().any(&is_it), "{:?}", errors.last());
            }
            Ok(())
        })
    }

    /// Ends all of them.
    pub fn stop(self) -> Result<Written<A, E>> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a writer panicked"))?;
        }
        let logs = self.logs.iter();
        let take = |log: &Arc<Mutex<Log<A, E>>>| std::mem::take(&mut *locked(log));
        Ok(Written(logs.map(take).collect()))
    }
}

/// What all of them have seen.
pub struct Written<A, E>(pub Vec<Log<A, E>>);

impl<A: Acked, E> Written<A, E> {
    /// Where each wrote, in turn.
    pub fn places(&self) -> Vec<Vec<String>> {
        let of = |log: &Log<A, E>| {
            let mut places: Vec<_> = log.acks.iter().map(Acked::by).collect();
            places.dedup();
            places
        };
        self.0.iter().map(of).collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
