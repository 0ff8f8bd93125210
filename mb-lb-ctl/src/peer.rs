//! The other director: one encrypted connection, over which the two tell each other what they do.
//!
//! [`message`], [`frame`] and [`clock`] are pure. [`link`] is what is used; the tasks behind it are drawn there.

pub mod clock;
mod connection;
pub mod frame;
mod handshake;
mod keeper;
pub mod key;
pub mod link;
pub mod message;
mod queue;
pub mod stats;
pub mod sync;
#[cfg(test)]
mod tests;

pub use clock::PeerClock;
pub use key::{Key, KeyError};
pub use link::{Incoming, Link, Settings, Timing, Why, spawn};
pub use message::{
    AdminEntry, FlowChange, FlowKind, Hello, Message, RoleOf, Status, TICKET_KEYS, TIERS,
};
pub use queue::{NotSent, Outgoing};
pub use stats::{RefusedReason, Stats};
pub use sync::{Carried, PeerEvent, Peering, SyncReport};
