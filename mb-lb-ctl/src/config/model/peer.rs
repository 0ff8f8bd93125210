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
    /// The other director may put a configuration in the place of this one's. Default true. Left out where it is, so that
    /// the hash of a file without it stays what it was.
    #[serde(skip_serializing_if = "is_default")]
    pub accept_push: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_default(accept_push: &bool) -> bool {
    *accept_push
}
