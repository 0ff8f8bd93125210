//! Two directors of ours: one VIP, flows that both know, sessions that survive.

mod failover;
mod sync;
