//! Two directors of ours: one VIP, flows that both know, sessions that survive.

mod chaos;
mod failover;
mod groups;
mod lease;
mod moved;
mod policy;
mod sync;
mod tickets;
