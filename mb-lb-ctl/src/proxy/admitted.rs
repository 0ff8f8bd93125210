//! Connections of clients: how many there may be, and who is still there when all are to go.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::sessions::Session;
use super::table::{Listen, Proxy};
use super::worker::Worker;
use crate::config::ProxyLimits;

/// Descriptors that are not for clients: health checks, the admin socket, the data plane, listening sockets.
const RESERVED: u64 = 2048;

/// Of all proxies and threads together.
#[derive(Debug)]
pub struct Census {
    /// Descriptors in all.
    most: u64,
    /// Those that are not clients': connections to servers, and pipes.
    others: AtomicU64,
    /// Those who came before it was said that all are to go, and those who came since.
    open: [AtomicU64; 2],
    is_leaving: AtomicU64,
}

impl Census {
    /// As many as there are descriptors for: one half for clients, one for their servers.
    pub fn of_this_process() -> Self {
        let descriptors = match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((soft, hard)) => {
                // The soft limit is there for programs that use select(2).
                match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
                    Ok(()) => hard,
                    Err(_) => soft,
                }
            }
            Err(_) => 1024,
        };
        Self::new(most(descriptors))
    }

    const fn new(most: u64) -> Self {
        Self {
            most,
            others: AtomicU64::new(0),
            open: [AtomicU64::new(0), AtomicU64::new(0)],
            is_leaving: AtomicU64::new(0),
        }
    }

    /// From now on who comes is counted apart.
    pub fn leave(&self) {
        self.is_leaving.store(1, Ordering::SeqCst);
    }

    /// Who came before.
    pub fn left_over(&self) -> u64 {
        self.open[0].load(Ordering::SeqCst)
    }

    pub fn all(&self) -> u64 {
        let [before, since] = &self.open;
        before.load(Ordering::SeqCst) + since.load(Ordering::SeqCst)
    }

    /// `None`: there are as many as there may be.
    fn enter(&self) -> Option<usize> {
        let turn = usize::from(self.is_leaving.load(Ordering::SeqCst) != 0);
        if self.all() >= self.most / 2 {
            return None;
        }
        self.open[turn].fetch_add(1, Ordering::SeqCst);
        Some(turn)
    }

    fn take(&self, count: u64) -> bool {
        let others = self.others.fetch_add(count, Ordering::Relaxed) + count;
        let may = others <= self.most - self.most / 2;
        if !may {
            self.others.fetch_sub(count, Ordering::Relaxed);
        }
        may
    }
}

/// A quarter is left for the rest where there are few.
const fn most(descriptors: u64) -> u64 {
    let reserved = if descriptors / 4 < RESERVED {
        descriptors / 4
    } else {
        RESERVED
    };
    descriptors - reserved
}

/// Descriptors of a connection to a server, or of a pipe, until it is dropped.
#[derive(Debug)]
pub struct Descriptors {
    worker: Rc<Worker>,
    count: u64,
}

impl Descriptors {
    /// `None`: there are as many as there may be.
    pub fn take(worker: &Rc<Worker>, count: u64) -> Option<Self> {
        worker.census().take(count).then(|| Self {
            worker: Rc::clone(worker),
            count,
        })
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        let others = &self.worker.census().others;
        others.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// Counted among the connections, until it is dropped.
#[derive(Debug)]
pub struct Admitted {
    proxy: Arc<Proxy>,
    worker: Rc<Worker>,
    turn: usize,
    session: Arc<Session>,
    /// It is counted for this source.
    source: Option<IpAddr>,
}

impl Admitted {
    /// `ends` are the client's and what it has connected to. `None`: there are as many as there may be, which is counted.
    pub fn new(
        listen: &Listen,
        worker: &Rc<Worker>,
        ends: (SocketAddr, SocketAddr),
    ) -> Option<Self> {
        let proxy = &listen.proxy;
        let closed = proxy.stats.closed.get();
        let open = proxy.stats.connections.get().saturating_sub(closed);
        if proxy.is_full(open) {
            proxy.stats.refuse("connections");
            return None;
        }
        let Some(turn) = worker.census().enter() else {
            proxy.stats.refuse("descriptors");
            return None;
        };
        proxy.stats.connections.add(1);
        Some(Self {
            proxy: Arc::clone(proxy),
            worker: Rc::clone(worker),
            turn,
            session: worker.sessions().enter(&proxy.name, ends.0, ends.1),
            source: None,
        })
    }

    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// `false`: the source has as many as it may have.
    pub fn counts_for(&mut self, limits: &ProxyLimits, source: IpAddr) -> bool {
        let may = self.worker.limits.connect(limits, source);
        if may && limits.connections_per_source.is_some() {
            self.source = Some(source);
        }
        may
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.proxy.stats.closed.add(1);
        self.worker.sessions().leave(&self.session);
        self.worker.census().open[self.turn].fetch_sub(1, Ordering::SeqCst);
        if let Some(source) = self.source {
            self.worker.limits.disconnect(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_left_for_the_rest() {
        assert_eq!(most(65_536), 63_488);
        assert_eq!(most(1_024), 768);
        assert_eq!(most(0), 0);
        let census = Census::new(4);
        assert!(census.enter().is_some() && census.enter().is_some());
        assert_eq!(census.enter(), None, "the other half is for servers");
        assert!(census.take(2));
        assert!(!census.take(1));
    }

    #[test]
    fn who_came_before_is_told_from_who_came_since() {
        let census = Census::new(10);
        assert_eq!(census.enter(), Some(0));
        census.leave();
        assert_eq!(census.enter(), Some(1));
        assert_eq!(census.left_over(), 1);
        assert_eq!(census.all(), 2);
    }
}
