//! The connection to the other director, kept up.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::key::Key;
use super::message::{Hello, Message};
use super::stats::{RefusedReason, Stats};

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

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// There is no connection, or it is not the one that was meant.
    #[error("no connection to the peer")]
    Gone,
    /// Only of `try_send`.
    #[error("the queue to the peer is full")]
    Full,
    /// Over [`super::message::MAX_MESSAGE`] or [`super::message::MAX_FLOWS`].
    #[error("the message is too long")]
    TooLarge,
}

/// One connection's sending half.
#[derive(Clone, Debug)]
pub struct Outgoing {}

impl Outgoing {
    /// Waits while the queue is full.
    pub async fn send(&self, message: Message) -> Result<(), NotSent> {
        let _ = message;
        Err(NotSent::Gone)
    }

    pub fn try_send(&self, message: Message) -> Result<(), NotSent> {
        let _ = message;
        Err(NotSent::Gone)
    }

    pub fn is_closed(&self) -> bool {
        true
    }
}

/// The link, whatever connection it has.
#[derive(Clone, Debug)]
pub struct Link {}

impl Link {
    /// On the present connection. Waits while its queue is full.
    pub async fn send(&self, message: Message) -> Result<(), NotSent> {
        let _ = message;
        Err(NotSent::Gone)
    }

    pub fn try_send(&self, message: Message) -> Result<(), NotSent> {
        let _ = message;
        Err(NotSent::Gone)
    }

    /// The present connection.
    pub fn outgoing(&self) -> Option<Outgoing> {
        None
    }

    pub fn connected(&self) -> bool {
        false
    }

    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    /// Sends what is queued, if that goes quickly, ends the connection and frees the port. Returns when that is done.
    pub async fn stop(&self) {}
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
    let _ = (settings, hello);
    let (_, incoming) = mpsc::channel(1);
    (Link {}, incoming)
}
