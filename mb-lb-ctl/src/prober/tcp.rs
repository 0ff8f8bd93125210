//! Check `tcp`: the port accepts a connection.
//!
//! The kernel accepts on behalf of a process, so this succeeds for a process that is stopped or hung as long
//! as its backlog has room. A check that must see such a server down has to speak the protocol.

use super::Finding;

/// What it means that the connection is there.
pub(super) fn check() -> Finding {
    Finding::success("L4OK", "connected")
}
