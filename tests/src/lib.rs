//! The lab: a mail cluster in network namespaces, with real peers, for tests, demo and benchmark.
//!
//! ```text
//!   client          lb1 (lb2)        mb1 .. mbN         10.77.0.0/16, fd77::/64
//!   .10             .2 (.3)          .101 ..            each namespace has one interface, eth0
//!     |               |                 |               VIP .100: on eth0 of lb1, on lo of the servers
//!   --+---------------+-----------------+--             bridge in the namespace `switch`
//! ```
//!
//! [`Lab`] makes and removes the network; a [`Machine`] runs commands and code in it; [`Sink`] and [`Source`] are
//! postfix's `smtp-sink` and `smtp-source`; a [`Session`] is one SMTP connection that a test holds in its hand;
//! [`Director`] is the real `mb-lb-ctl run`; a [`Cluster`] is all of them at work, and [`Traffic`] is mail that does
//! not stop meanwhile; a [`Guest`] is a Debian system with systemd on a machine, and [`site`] gives machines the addresses of the manual; a [`Wire`] sends and sees frames;
//! [`Sshd`] is OpenSSH's server, [`Redis`] is Redis with Sentinel,
//! [`Galera`] is MariaDB with Galera.
//! Waiting is always for a condition, with a deadline ([`wait_until`]).
//!
//! Everything here needs root. Nothing outlives its lab, not even where the test is killed by `kill -9`.

pub mod busy;
pub mod cluster;
pub mod director;
pub mod frames;
pub mod galera;
pub mod ganesha;
pub mod gluster;
pub mod guest;
pub mod halted;
pub mod hangfs;
pub mod kernel;
pub mod lab;
pub mod machine;
pub mod mounts;
pub mod nginx;
pub mod pair;
pub mod process;
pub mod redis;
pub mod session;
pub mod sink;
pub mod site;
pub mod source;
pub mod sshd;
pub mod traffic;
pub mod wait;

pub use busy::Busy;
pub use cluster::{Cluster, Setup};
pub use director::{Director, Record};
pub use frames::{Segment, Wire};
pub use galera::Galera;
pub use ganesha::Ganesha;
pub use gluster::Gluster;
pub use guest::Guest;
pub use halted::Halted;
pub use hangfs::HangFs;
pub use lab::{Lab, Topology};
pub use machine::Machine;
pub use mounts::Mounts;
pub use nginx::Nginx;
pub use pair::{Pair, PairSetup};
pub use process::Process;
pub use redis::{Redis, RedisClient, RedisSetup};
pub use session::Session;
pub use sink::{Sink, SinkOptions};
pub use source::{Sent, Source};
pub use sshd::Sshd;
pub use traffic::Traffic;
pub use wait::{try_wait_until, wait_until};
