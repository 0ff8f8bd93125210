//! What happened on the link, in numbers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Why a connection, or what came over it, was not taken.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
pub enum RefusedReason {
    #[error("it does not come from the peer's address")]
    WrongAddress,
    #[error("too many connections are opened at once")]
    TooMany,
    #[error("it does not speak the protocol of mb-lb directors")]
    Garbage,
    #[error("it speaks another version of the protocol")]
    WrongVersion,
    #[error("it has another key")]
    WrongKey,
    #[error("a length is over the limit")]
    TooLarge,
    #[error("it did not say in time who it is")]
    Timeout,
    #[error("it ended before it said who it is")]
    Closed,
    #[error("what came was changed on the way, or recorded before")]
    Tampered,
    #[error("what came is no message of the protocol")]
    BadMessage,
    #[error("it is this director itself")]
    Myself,
    #[error("the peer opened another connection")]
    Duplicate,
}

impl RefusedReason {
    pub const ALL: [Self; 12] = [
        Self::WrongAddress,
        Self::TooMany,
        Self::Garbage,
        Self::WrongVersion,
        Self::WrongKey,
        Self::TooLarge,
        Self::Timeout,
        Self::Closed,
        Self::Tampered,
        Self::BadMessage,
        Self::Myself,
        Self::Duplicate,
    ];
}

/// Counted since [`super::spawn`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// The other end, while connected.
    pub connected: Option<SocketAddr>,
    /// Connections that were up.
    pub connections: u64,
    /// The last word on why there is none; `None` while connected and before anything failed.
    pub error: Option<String>,
    /// `listen` could not be bound.
    pub not_listening: Option<String>,
    pub messages_sent: u64,
    pub messages_received: u64,
    /// On the wire.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Bytes that wait to be sent.
    pub queued: u64,
    /// The last round trip of a ping, in microseconds.
    pub round_trip_us: Option<u64>,
    /// Attempts to connect that did not end in a connection.
    pub dials_failed: u64,
    /// All reasons, in the order of the enum.
    pub refused: BTreeMap<RefusedReason, u64>,
}

impl Stats {
    pub fn refused(&self, reason: RefusedReason) -> u64 {
        self.refused.get(&reason).copied().unwrap_or_default()
    }
}
