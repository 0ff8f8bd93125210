//! Connections to servers that wait for the next request, on one thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::connect::Sender;

/// One that nobody used for so long is closed.
pub const IDLE: Duration = Duration::from_secs(30);
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
    /// The one that was used last, for it is the least likely to be closed by the server at this moment.
    pub fn take(&self, server: u64) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(&server)?;
        while let Some(found) = list.pop() {
            if found.sender.is_closed() {
                continue;
            }
            if let Sender::Http2(sender) = &found.sender {
                // Many share it.
                let sender = Sender::Http2(sender.clone());
                let since = Instant::now();
                list.push(Idle { since, ..found });
                return Some(sender);
            }
            return Some(found.sender);
        }
        None
    }

    pub fn put(&self, server: u64, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let list = idle.entry(server).or_default();
        if let Sender::Http2(_) = sender {
            list.retain(|idle| !idle.sender.is_closed());
            if !list.is_empty() {
                return;
            }
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
            list.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < IDLE);
            keeps(server) && !list.is_empty()
        });
    }
}
