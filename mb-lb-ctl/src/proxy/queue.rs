//! Places at servers, and who waits for one: first come, first served, among those whom the place suits.
//!
//! Whoever leaves a place tells the first who waits for it and was not told of another one. Where there is none, the place
//! is remembered as spare, for who is no longer told of another one, or comes next. A place is never free while somebody
//! waits for it, but for the moment in which he wakes up; in that moment one who suits any server may be ahead of one who
//! waits for this server only, and who then goes on waiting.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::stats::Server;

/// Requests that may wait; more are answered at once.
const MOST: usize = 10_000;

/// A request's place at a server; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    server: Arc<Server>,
    queue: Arc<Queue>,
}

impl Place {
    /// For who has waited, or sees by [`Queue::has_room`] that he need not. `None`: the server has as many as it may have.
    pub fn take(server: &Arc<Server>, queue: &Arc<Queue>, most: Option<u32>) -> Option<Self> {
        server.enter(most).then(|| Self {
            server: Arc::clone(server),
            queue: Arc::clone(queue),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.leave();
        self.queue.tell(&self.server);
    }
}

/// Requests that wait for a place at servers of one proxy.
#[derive(Debug, Default)]
pub struct Queue {
    /// How many there are, to be seen without the lock.
    length: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By number.
    line: VecDeque<Waiter>,
    /// Places became free here that nobody could be told of, and who was told last and did not take one: he and those
    /// before him are not told again. Empty where the line is.
    spare: Vec<(Arc<Server>, Option<u64>)>,
}

impl Waiting {
    /// A place became free. `after`: not for that one and those before.
    fn tell(&mut self, server: &Arc<Server>, after: Option<u64>) {
        let mut line = self.line.iter_mut();
        let first = line.find(|waiter| {
            waiter.told.is_none()
                && after.is_none_or(|after| waiter.number > after)
                && waiter.wants(server, true)
        });
        if let Some(waiter) = first {
            waiter.told = Some(Arc::clone(server));
            waiter.wake.notify_one();
        } else if !self.line.is_empty() {
            let mut spare = self.spare.iter_mut();
            match spare.find(|(spare, _)| Arc::ptr_eq(spare, server)) {
                Some((_, known)) => *known = after.min(*known),
                None => self.spare.push((Arc::clone(server), after)),
            }
        }
    }

    /// Somebody may be told of what is spare.
    fn tell_spare(&mut self) {
        for (server, after) in std::mem::take(&mut self.spare) {
            if server.has_room_left() {
                self.tell(&server, after);
            }
        }
    }

    fn at(&self, number: u64) -> Option<usize> {
        let found = self
            .line
            .binary_search_by_key(&number, |waiter| waiter.number);
        found.ok()
    }
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    /// The only server that will do; `None`: any that takes new users.
    server: Option<Arc<Server>>,
    /// It is to look for a place, which became free here.
    told: Option<Arc<Server>>,
    wake: Arc<Notify>,
}

impl Waiter {
    /// Whether a place at `server` would do. `is_open`: it takes new users.
    fn wants(&self, server: &Arc<Server>, is_open: bool) -> bool {
        self.server
            .as_ref()
            .map_or(is_open, |own| Arc::ptr_eq(own, server))
    }
}

impl Queue {
    /// Whether a newcomer finds a place and takes nobody's.
    pub fn has_room(&self, server: &Arc<Server>, most: Option<u32>, is_open: bool) -> bool {
        server.has_room(most) && (most.is_none() || !self.is_awaited(server, is_open))
    }

    fn is_awaited(&self, server: &Arc<Server>, is_open: bool) -> bool {
        if self.length.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let waiting = self.lock();
        let mut line = waiting.line.iter();
        line.any(|waiter| waiter.wants(server, is_open))
    }

    /// Whether no more may wait.
    pub fn is_full(&self) -> bool {
        self.length.load(Ordering::Relaxed) >= MOST
    }

    /// Waits for what `try_take` finds: at this very server, or at any that takes new users.
    pub async fn wait<T>(
        &self,
        server: Option<&Arc<Server>>,
        mut try_take: impl FnMut() -> Option<T>,
    ) -> T {
        let (ticket, is_first) = self.join(server);
        // A place may have become free while there was nobody to be told.
        if is_first && let Some(taken) = try_take() {
            return taken;
        }
        loop {
            ticket.wake.notified().await;
            // Before it looks, so that it is told of what becomes free meanwhile.
            let told = ticket.look();
            if let Some(taken) = try_take() {
                // What it was told of may still be there.
                self.pass_on(told, None);
                return taken;
            }
            self.pass_on(told, Some(ticket.number));
        }
    }

    /// `true`: nobody before it waits for the same.
    fn join(&self, server: Option<&Arc<Server>>) -> (Ticket<'_>, bool) {
        if let Some(server) = server {
            server.join_queue();
        }
        let wake = Arc::new(Notify::new());
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        let is_before = |waiter: &Waiter| match server {
            Some(server) => waiter.wants(server, true),
            None => waiter.server.is_none(),
        };
        let is_first = !waiting.line.iter().any(is_before);
        waiting.line.push_back(Waiter {
            number,
            server: server.cloned(),
            told: None,
            wake: Arc::clone(&wake),
        });
        self.length.store(waiting.line.len(), Ordering::SeqCst);
        waiting.tell_spare();
        if let Some(server) = server.filter(|server| !is_first && server.has_room_left()) {
            waiting.tell(server, None);
        }
        drop(waiting);
        let ticket = Ticket {
            queue: self,
            number,
            server: server.cloned(),
            wake,
        };
        (ticket, is_first)
    }

    /// A place became free.
    fn tell(&self, server: &Arc<Server>) {
        if self.length.load(Ordering::SeqCst) > 0 {
            self.lock().tell(server, None);
        }
    }

    /// Who was told has looked: others are told of what is left.
    fn pass_on(&self, told: Option<Arc<Server>>, after: Option<u64>) {
        let mut waiting = self.lock();
        waiting.tell_spare();
        if let Some(server) = told
            && server.has_room_left()
        {
            waiting.tell(&server, after);
        }
    }

    /// What the engine or the configuration says has changed: whoever waits looks again.
    pub fn look_again(&self) {
        for waiter in &self.lock().line {
            waiter.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // What is in it is whole at any time.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number in the line, until it is dropped.
struct Ticket<'a> {
    queue: &'a Queue,
    number: u64,
    server: Option<Arc<Server>>,
    wake: Arc<Notify>,
}

impl Ticket<'_> {
    /// What it was told of, and is not any more.
    fn look(&self) -> Option<Arc<Server>> {
        let mut waiting = self.queue.lock();
        let at = waiting.at(self.number)?;
        waiting.line[at].told.take()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.leave_queue();
        }
        let mut waiting = self.queue.lock();
        let at = waiting.at(self.number);
        let own = at.and_then(|at| waiting.line.remove(at));
        self.queue
            .length
            .store(waiting.line.len(), Ordering::SeqCst);
        if waiting.line.is_empty() {
            waiting.spare.clear();
        }
        drop(waiting);
        self.queue.pass_on(own.and_then(|own| own.told), None);
    }
}

#[cfg(test)]
mod tests;
