//! `[peer]` after parsing.

use std::net::SocketAddr;

use serde::Serialize;

use super::Secret;

/// `[peer]`: the other director.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// This director's own end; the other has it as `address`.
    pub listen: SocketAddr,
    /// Of the family of `listen`.
    pub address: SocketAddr,
    /// 64 hex digits, or a file that holds them.
    pub key: Secret,
}
