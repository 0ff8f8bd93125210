//! The mb-lb controller.
//!
//! Pure logic and I/O are kept apart. The modules of the first group know no tokio, no aya, no socket and no
//! clock: time comes in as an argument, actions go out as values. The modules of the second group do the I/O.
//! Every task is spawned in [`run`], whose header draws them.

// Pure.
pub mod command;
pub mod config;
pub mod config_sync;
pub mod engine;
pub mod health;
pub mod import;
pub mod plan;
pub mod schedule;
pub mod snapshot;
pub mod tiers;
pub mod vrrp;

// Edges.
pub mod admin;
pub mod cli;
pub mod dataplane;
pub mod net;
pub mod peer;
pub mod prober;
pub mod proxy;
pub mod run;
pub mod script;
pub mod upstream_tls;
