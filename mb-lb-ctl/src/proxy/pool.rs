//! Connections to servers that wait for the next request, on one thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::connect::Sender;

/// One that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// A request that cannot be sent twice takes none that was idle for so long: the server may be about to close it.
const FRESH: Duration = Duration::from_secs(1);
/// Per server; what is more is closed, the one that was used longest ago first.
const MOST: usize = 256;

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

/// By [`id`](super::table::Server::id) of the server.
#[derive(Debug, Default)]
pub struct Pool {
    idle: RefCell<HashMap<u64, Vec<Idle>>>,
}

impl Pool {
    /// The one that was used last, for it is the least likely to be closed by the server at this moment. Many share one of
    /// HTTP/2, as long as it has room.
    pub fn take(&self, server: u64, is_repeatable: bool) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(&server)?;
        list.retain(|idle| !idle.sender.is_closed());
        let may =
            |idle: &Idle| idle.sender.has_room() && (is_repeatable || idle.since.elapsed() < FRESH);
        let at = list.iter().rposition(may)?;
        match list[at].sender.share() {
            Some(shared) => {
                list[at].since = Instant::now();
                Some(shared)
            }
            None => Some(list.remove(at).sender),
        }
    }

    pub fn put(&self, server: u64, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let list = idle.entry(server).or_default();
        if let Some(known) = list.iter_mut().find(|idle| idle.sender.is_same(&sender)) {
            known.since = Instant::now();
            return;
        }
        if list.len() >= MOST {
            list.remove(0);
        }
        list.push(Idle {
            sender,
            since: Instant::now(),
        });
    }

    /// Closes what was idle for too long, and all of servers that `keeps` says no of.
    pub fn tidy(&self, keeps: impl Fn(u64) -> bool) {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|&server, list| {
            list.retain(|idle| {
                let is_used = idle.sender.is_used() || idle.since.elapsed() < IDLE;
                !idle.sender.is_closed() && is_used
            });
            keeps(server) && !list.is_empty()
        });
    }
}
