//! Two directors of ours: one VIP, flows that both know, sessions that survive.

mod chaos;
mod failover;
mod policy;
mod sync;
