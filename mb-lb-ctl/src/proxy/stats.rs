//! What is counted, and the places at servers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

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
    freed: Notify,
}

impl Server {
    /// Requests under way and queued.
    pub fn load(&self) -> u64 {
        self.active.load(Ordering::Relaxed) + self.queued.load(Ordering::Relaxed)
    }

    /// Whether a request would find a place.
    pub fn has_room(&self, most: Option<u32>) -> bool {
        most.is_none_or(|most| self.active.load(Ordering::Relaxed) < u64::from(most))
    }

    /// What the engine says of it has changed: whoever waits looks again.
    pub fn look_again(&self) {
        self.freed.notify_waiters();
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

/// A request's place at a server; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    server: Arc<Server>,
    queue: Arc<Queue>,
}

impl Place {
    /// `None`: the server has as many as it may have.
    pub fn take(server: &Arc<Server>, queue: &Arc<Queue>, most: Option<u32>) -> Option<Self> {
        let most = most.map_or(u64::MAX, u64::from);
        let taken = server
            .active
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |active| {
                (active < most).then_some(active + 1)
            });
        taken.is_ok().then(|| {
            server.opened.add(1);
            Self {
                server: Arc::clone(server),
                queue: Arc::clone(queue),
            }
        })
    }

    /// Waits for a place at this very server. `most` says how many may be there, or `None` where there is no use in waiting
    /// any more.
    pub async fn wait(
        server: &Arc<Server>,
        queue: &Arc<Queue>,
        most: impl Fn() -> Option<Option<u32>>,
    ) -> Option<Self> {
        let _queued = Queued::new(server);
        loop {
            // Before it is looked at, so that nothing that is freed meanwhile is missed.
            let freed = server.freed.notified();
            if let Some(place) = Self::take(server, queue, most()?) {
                return Some(place);
            }
            freed.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.active.fetch_sub(1, Ordering::AcqRel);
        self.server.closed.add(1);
        // Who waits for this server comes before who takes any.
        if self.server.queued.load(Ordering::Acquire) > 0 {
            self.server.freed.notify_one();
        } else {
            self.queue.freed.notify_one();
        }
    }
}

struct Queued<'a>(&'a Server);

impl<'a> Queued<'a> {
    fn new(server: &'a Server) -> Self {
        server.queued.fetch_add(1, Ordering::AcqRel);
        Self(server)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::AcqRel);
        // The place that it was told of, if it was, is for the next.
        self.0.freed.notify_one();
    }
}

/// Requests that wait for a place at any server of a proxy.
#[derive(Debug, Default)]
pub struct Queue {
    freed: Notify,
}

impl Queue {
    /// Waits until a place may have become free; looked for by `try_take` before and after.
    pub async fn wait<T>(&self, mut try_take: impl FnMut() -> Option<T>) -> T {
        loop {
            let freed = self.freed.notified();
            if let Some(taken) = try_take() {
                // There may be room for the next one too.
                self.freed.notify_one();
                return taken;
            }
            freed.await;
        }
    }

    /// States of servers have changed: whoever waits looks again.
    pub fn look_again(&self) {
        self.freed.notify_waiters();
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
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(reason).or_default() += 1;
    }

    pub fn refused(&self) -> std::collections::BTreeMap<&'static str, u64> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_given_to_those_who_wait_for_that_server_first() {
        let (server, queue) = (Arc::new(Server::default()), Arc::new(Queue::default()));
        let one = Place::take(&server, &queue, Some(1)).expect("room");
        assert!(Place::take(&server, &queue, Some(1)).is_none());
        assert!(!server.has_room(Some(1)));
        let bound = {
            let (server, queue) = (Arc::clone(&server), Arc::clone(&queue));
            tokio::spawn(async move { Place::wait(&server, &queue, || Some(Some(1))).await })
        };
        let any = {
            let (server, queue) = (Arc::clone(&server), Arc::clone(&queue));
            tokio::spawn(async move {
                let take = || Place::take(&server, &queue, Some(1));
                queue.wait(take).await
            })
        };
        tokio::task::yield_now().await;
        assert_eq!(server.load(), 2);
        drop(one);
        let bound = bound.await.expect("it runs").expect("a place");
        assert!(!any.is_finished());
        drop(bound);
        let last = any.await.expect("a place");
        assert_eq!(server.counted().opened, 3);
        drop(last);
        assert_eq!(server.counted().closed, 3);
        assert_eq!(server.load(), 0);
    }

    #[tokio::test]
    async fn who_waits_for_a_server_that_fails_is_told() {
        let (server, queue) = (Arc::new(Server::default()), Arc::new(Queue::default()));
        let _one = Place::take(&server, &queue, Some(1)).expect("room");
        let is_up = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let waiting = {
            let (server, queue, is_up) = (server.clone(), queue.clone(), is_up.clone());
            tokio::spawn(async move {
                let most = || is_up.load(Ordering::Relaxed).then_some(Some(1));
                Place::wait(&server, &queue, most).await.is_some()
            })
        };
        tokio::task::yield_now().await;
        server.look_again();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        is_up.store(false, Ordering::Relaxed);
        server.look_again();
        assert!(!waiting.await.expect("it runs"));
        assert_eq!(server.load(), 1);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_no_trace() {
        let (server, queue) = (Arc::new(Server::default()), Arc::new(Queue::default()));
        let one = Place::take(&server, &queue, Some(1)).expect("room");
        let waiting = Place::wait(&server, &queue, || Some(Some(1)));
        let gave_up = tokio::time::timeout(std::time::Duration::ZERO, waiting).await;
        assert!(gave_up.is_err());
        assert_eq!(server.load(), 1);
        drop(one);
        assert!(Place::take(&server, &queue, Some(1)).is_some());
    }
}
