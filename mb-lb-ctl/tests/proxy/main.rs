//! The proxy on the loopback: real sockets, real HTTP on both sides, servers that fail as they are told.

mod bench;
mod clients;
mod faults;
mod http2;
mod logs;
mod path;
mod refused;
mod relay;
mod stalls;
mod upstream2;

pub use bench::{Bench, Connection, Reply, SOON, bare, reserve, wait_until};
