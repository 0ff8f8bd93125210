//! What waits to be sent on one connection: bounded in messages and in bytes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::link::Shared;
use super::message::{Message, wipe};
use super::stats::add;

/// Messages.
const MESSAGES: usize = 1024;
/// Two of the longest message.
const BYTES: usize = 8 << 20;

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
#[derive(Clone)]
pub struct Outgoing {
    to: SocketAddr,
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    shared: Arc<Shared>,
}

/// An encoded message.
pub(super) struct Queued {
    pub bytes: Vec<u8>,
    shared: Arc<Shared>,
    _room: OwnedSemaphorePermit,
}

impl Drop for Queued {
    fn drop(&mut self) {
        let queued = &self.shared.counters.queued;
        queued.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
        wipe(&mut self.bytes);
    }
}

pub(super) fn queue(to: SocketAddr, shared: Arc<Shared>) -> (Outgoing, mpsc::Receiver<Queued>) {
    let (queue, queued) = mpsc::channel(MESSAGES);
    let room = Arc::new(Semaphore::new(BYTES));
    let outgoing = Outgoing {
        to,
        queue,
        room,
        shared,
    };
    (outgoing, queued)
}

impl Outgoing {
    /// Waits while the queue is full.
    pub async fn send(&self, message: Message) -> Result<(), NotSent> {
        let (bytes, size) = encode(&message)?;
        // Who waits for room must not wait for a connection that has ended.
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(size) => room.map_err(|_| NotSent::Gone)?,
            () = self.queue.closed() => return Err(NotSent::Gone),
        };
        let place = self.queue.reserve().await.map_err(|_| NotSent::Gone)?;
        place.send(self.queued(bytes, room));
        Ok(())
    }

    pub fn try_send(&self, message: Message) -> Result<(), NotSent> {
        let (bytes, size) = encode(&message)?;
        let full = |_| match self.queue.is_closed() {
            true => NotSent::Gone,
            false => NotSent::Full,
        };
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(size)
            .map_err(full)?;
        let place = self.queue.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => NotSent::Full,
            mpsc::error::TrySendError::Closed(()) => NotSent::Gone,
        })?;
        place.send(self.queued(bytes, room));
        Ok(())
    }

    /// The connection has ended.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }

    /// The other end.
    pub fn to(&self) -> SocketAddr {
        self.to
    }

    fn queued(&self, bytes: Vec<u8>, room: OwnedSemaphorePermit) -> Queued {
        add(&self.shared.counters.queued, bytes.len() as u64);
        Queued {
            bytes,
            shared: Arc::clone(&self.shared),
            _room: room,
        }
    }
}

fn encode(message: &Message) -> Result<(Vec<u8>, u32), NotSent> {
    let bytes = message.encode().map_err(|_| NotSent::TooLarge)?;
    let size = u32::try_from(bytes.len()).map_err(|_| NotSent::TooLarge)?;
    Ok((bytes, size))
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("to", &self.to)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
