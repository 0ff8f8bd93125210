//! What is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Counted;

/// A counter that many threads add to; nobody needs it to be exact at a moment.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One server of one proxy, for as long as its name and address stay.
#[derive(Debug, Default)]
pub struct Server {
    active: AtomicU64,
    queued: AtomicU64,
    pub opened: Counter,
    pub closed: Counter,
    pub bytes: Counter,
    pub connect_errors: Counter,
    pub response_errors: Counter,
    pub retries: Counter,
    pub redispatches: Counter,
    statuses: [Counter; 5],
    /// What was the cap when somebody last came; 0: there was none.
    cap: AtomicU64,
    /// Why the last connection could not be made, and when that was; none since one could.
    trouble: Mutex<Option<(Instant, String)>>,
}

impl Server {
    /// Requests under way and queued.
    pub fn load(&self) -> u64 {
        self.active.load(Ordering::Relaxed) + self.queued.load(Ordering::Relaxed)
    }

    /// Whether a request would find a place.
    pub fn has_room(&self, most: Option<u32>) -> bool {
        // With the line's length, which is changed before this is read.
        most.is_none_or(|most| self.active.load(Ordering::SeqCst) < u64::from(most))
    }

    /// As [`Self::has_room`], with the cap that was in force when somebody last came.
    pub fn has_room_left(&self) -> bool {
        match self.cap.load(Ordering::Relaxed) {
            0 => true,
            cap => self.active.load(Ordering::SeqCst) < cap,
        }
    }

    /// One request more, unless there are as many as there may be.
    pub fn enter(&self, most: Option<u32>) -> bool {
        let most = most.map(u64::from);
        self.cap.store(most.unwrap_or(0), Ordering::Relaxed);
        let more = |active| (active < most.unwrap_or(u64::MAX)).then_some(active + 1);
        let entered = self
            .active
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        if entered.is_ok() {
            self.opened.add(1);
        }
        entered.is_ok()
    }

    pub fn leave(&self) {
        self.active.fetch_sub(1, Ordering::SeqCst);
        self.closed.add(1);
    }

    pub fn join_queue(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    pub fn leave_queue(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection could not be made. `true`: the one before could, or failed otherwise.
    pub fn failed(&self, why: String) -> bool {
        self.connect_errors.add(1);
        let mut trouble = lock(&self.trouble);
        let is_new = trouble.as_ref().is_none_or(|(_, before)| *before != why);
        *trouble = Some((Instant::now(), why));
        is_new
    }

    pub fn connected(&self) {
        *lock(&self.trouble) = None;
    }

    /// Why connections cannot be made, where that was found out in the last minute.
    pub fn trouble(&self) -> Option<String> {
        const RECENT: Duration = Duration::from_secs(60);
        let trouble = lock(&self.trouble);
        let recent = trouble.as_ref().filter(|(at, _)| at.elapsed() < RECENT);
        recent.map(|(_, why)| why.clone())
    }

    pub fn count_status(&self, status: u16) {
        let class = usize::from(status / 100).wrapping_sub(1);
        if let Some(counter) = self.statuses.get(class) {
            counter.add(1);
        }
    }

    pub fn counted(&self) -> Counted {
        Counted {
            active: self.active.load(Ordering::Relaxed),
            queued: self.queued.load(Ordering::Relaxed),
            opened: self.opened.get(),
            closed: self.closed.get(),
            bytes: self.bytes.get(),
            connect_errors: self.connect_errors.get(),
            response_errors: self.response_errors.get(),
            retries: self.retries.get(),
            redispatches: self.redispatches.get(),
            statuses: std::array::from_fn(|class| self.statuses[class].get()),
        }
    }
}

/// Of one proxy.
#[derive(Debug, Default)]
pub struct Proxy {
    pub connections: Counter,
    pub closed: Counter,
    pub requests: Counter,
    /// Handshakes: full, resumed, failed.
    pub handshakes_full: Counter,
    pub handshakes_resumed: Counter,
    pub handshakes_failed: Counter,
    /// Requests and connections that were refused, by a stable word.
    refused: Mutex<std::collections::BTreeMap<&'static str, u64>>,
}

impl Proxy {
    pub fn refuse(&self, reason: &'static str) {
        let mut refused = lock(&self.refused);
        *refused.entry(reason).or_default() += 1;
    }

    pub fn refused(&self) -> std::collections::BTreeMap<&'static str, u64> {
        lock(&self.refused).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
