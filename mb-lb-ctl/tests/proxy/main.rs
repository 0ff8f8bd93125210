//! The proxy on the loopback: real sockets, real HTTP on both sides, servers that fail as they are told.

mod bench;
mod faults;
mod path;
mod relay;

pub use bench::{Bench, Reply, SOON};
