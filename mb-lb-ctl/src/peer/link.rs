//! The connection to the other director, kept up: what its users hold.
//!
//! ```text
//! Link::send ---> queue of the connection ---> [connection] ---> Incoming ---> the receiver of `spawn`
//!                                                   ^ Established
//! Link::stop, or all Links dropped -----------> [keeper] <--- [handshake] at most 4 that came, and 1 that is made
//! ```
//!
//! The keeper is spawned here, the others in [`super::keeper`]. Each connection has a queue of its own, which
//! ends with it, so nothing that was meant for an earlier one is sent on a later one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::keeper::Keeper;
use super::key::Key;
use super::message::{Hello, Message};
use super::queue::{NotSent, Outgoing};
use super::stats::{Counters, RefusedReason, Stats};

/// Messages that were received and wait for the user. While so many do, nothing is taken from the peer, whose own
/// queue then fills up.
const INCOMING: usize = 64;

/// How the link is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bound, and where connections to the peer come from.
    pub listen: SocketAddr,
    /// The peer's `listen`.
    pub address: SocketAddr,
    pub key: Key,
    pub timing: Timing,
}

/// Limits of time. The defaults are what directors use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the connection to the other's [`Hello`]. Default 2s.
    pub handshake: Duration,
    /// A ping is sent when nothing was for so long. Default 500ms.
    pub ping: Duration,
    /// The connection is dead when nothing came for so long. Default 2s.
    pub silence: Duration,
    /// The connection is dead when the other takes nothing for so long. Default 5s.
    pub stuck: Duration,
    /// Between attempts to connect or to bind: the first, and what doubling ends at. Default 200ms and 2s.
    pub retry: (Duration, Duration),
    /// For what is queued, at [`Link::stop`]. Default 200ms.
    pub drain: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(2),
            ping: Duration::from_millis(500),
            silence: Duration::from_secs(2),
            stuck: Duration::from_secs(5),
            retry: (Duration::from_millis(200), Duration::from_secs(2)),
            drain: Duration::from_millis(200),
        }
    }
}

/// What the link tells. Between a `Connected` and its `Disconnected` all messages are of that connection.
#[derive(Clone, Debug)]
pub enum Incoming {
    Connected {
        from: SocketAddr,
        hello: Hello,
        /// Sends on this connection and on no later one.
        outgoing: Outgoing,
    },
    Message(Message),
    Disconnected {
        why: Why,
    },
    /// At most one a second and reason; [`Stats`] counts all.
    Refused {
        from: SocketAddr,
        reason: RefusedReason,
    },
    /// Said when it begins or its text changes: nobody can connect to us.
    NotListening {
        error: String,
    },
    /// As the last, for connections that we make.
    Unreachable {
        error: String,
    },
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("the peer closed the connection")]
    Closed,
    #[error("nothing was heard of the peer")]
    Silent,
    #[error("the peer takes nothing in")]
    Stuck,
    #[error("the peer opened another connection")]
    Replaced,
    #[error("the link was stopped")]
    Stopped,
    #[error("{0}")]
    Refused(RefusedReason),
    #[error("{0}")]
    Io(String),
}

/// What the link's tasks and its users share.
#[derive(Debug)]
pub(super) struct Shared {
    pub counters: Counters,
    /// The sending half of the present connection.
    pub current: watch::Sender<Option<Outgoing>>,
}

/// The link, whatever connection it has.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
    /// The keeper ends when that says so, or when the last is dropped.
    stop: Arc<watch::Sender<bool>>,
    /// Closed when the keeper has ended.
    ended: watch::Receiver<()>,
}

impl Link {
    /// On the present connection. Waits while its queue is full.
    pub async fn send(&self, message: Message) -> Result<(), NotSent> {
        self.outgoing().ok_or(NotSent::Gone)?.send(message).await
    }

    pub fn try_send(&self, message: Message) -> Result<(), NotSent> {
        self.outgoing().ok_or(NotSent::Gone)?.try_send(message)
    }

    /// The present connection.
    pub fn outgoing(&self) -> Option<Outgoing> {
        self.shared.current.borrow().clone()
    }

    pub fn connected(&self) -> bool {
        self.shared.current.borrow().is_some()
    }

    pub fn stats(&self) -> Stats {
        let to = self.shared.current.borrow().as_ref().map(Outgoing::to);
        self.shared.counters.stats(to)
    }

    /// Sends what is queued, if that goes quickly, ends the connection and frees the port. Returns when that is done.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

/// Keeps a connection to the peer up until [`Link::stop`], or until all [`Link`]s or the receiver are dropped. `hello` is
/// what is said of ourselves at the time of each connection. The receiver must be read: while it is full, nothing is
/// taken from the peer.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn spawn(
    settings: Settings,
    hello: watch::Receiver<Hello>,
) -> (Link, mpsc::Receiver<Incoming>) {
    let (incoming, received) = mpsc::channel(INCOMING);
    let (stop, stopping) = watch::channel(false);
    let (running, ended) = watch::channel(());
    let shared = Arc::new(Shared {
        counters: Counters::default(),
        current: watch::Sender::new(None),
    });
    let keeper = Keeper::new(settings, hello, incoming, Arc::clone(&shared));
    tokio::spawn(async move {
        keeper.run(stopping).await;
        drop(running);
    });
    let link = Link {
        shared,
        stop: Arc::new(stop),
        ended,
    };
    (link, received)
}
