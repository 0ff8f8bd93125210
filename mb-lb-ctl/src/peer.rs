//! The other director: one encrypted connection, over which the two tell each other what they do.

pub mod key;
pub mod link;
pub mod message;
pub mod stats;
pub mod sync;

pub use key::{Key, KeyError};
pub use link::{Incoming, Link, NotSent, Outgoing, Settings, Timing, Why, spawn};
pub use message::{AdminEntry, FlowChange, FlowKind, Hello, Message, RoleOf, Status};
pub use stats::{RefusedReason, Stats};
pub use sync::{PeerEvent, Peering, SyncReport};
