//! What happened on the link, in numbers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

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

/// What the tasks of the link count. No number depends on another, so relaxed order is enough.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub connections: AtomicU64,
    pub messages_sent: AtomicU64,
    pub messages_received: AtomicU64,
    pub bytes_sent: AtomicU64,
    pub bytes_received: AtomicU64,
    pub queued: AtomicU64,
    /// 0: none yet.
    pub round_trip_us: AtomicU64,
    pub dials_failed: AtomicU64,
    refused: [AtomicU64; RefusedReason::ALL.len()],
    pub error: Text,
    pub not_listening: Text,
}

/// A sentence that comes and goes.
#[derive(Debug, Default)]
pub(super) struct Text(Mutex<Option<String>>);

impl Text {
    /// Whether that is new.
    pub fn set(&self, text: Option<String>) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = *held != text;
        *held = text;
        new
    }

    fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

pub(super) fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

impl Counters {
    pub fn refuse(&self, reason: RefusedReason) {
        add(&self.refused[reason as usize], 1);
    }

    pub fn stats(&self, connected: Option<SocketAddr>) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            connected,
            connections: get(&self.connections),
            error: self.error.get(),
            not_listening: self.not_listening.get(),
            messages_sent: get(&self.messages_sent),
            messages_received: get(&self.messages_received),
            bytes_sent: get(&self.bytes_sent),
            bytes_received: get(&self.bytes_received),
            queued: get(&self.queued),
            round_trip_us: Some(get(&self.round_trip_us)).filter(|us| *us > 0),
            dials_failed: get(&self.dials_failed),
            refused: RefusedReason::ALL
                .into_iter()
                .map(|reason| (reason, get(&self.refused[reason as usize])))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let counters = Counters::default();
        for (at, reason) in RefusedReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            for _ in 0..=at {
                counters.refuse(reason);
            }
        }
        let stats = counters.stats(None);
        assert_eq!(stats.refused.len(), RefusedReason::ALL.len());
        for (at, reason) in RefusedReason::ALL.into_iter().enumerate() {
            assert_eq!(stats.refused(reason), at as u64 + 1);
        }
    }
}
