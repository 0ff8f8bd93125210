//! Flow sync: what the data plane tells of its flows, and what it is told of the peer's.

use bytemuck::{Pod, Zeroable};

/// A flow was established.
pub const EVENT_OPENED: u32 = 1;
/// FIN: closing, not counted any more.
pub const EVENT_CLOSED: u32 = 2;
/// RST, of the client or answered for a failed server.
pub const EVENT_RESET: u32 = 3;
/// Removed: a new connection on the same ports, or its server has lost its index.
pub const EVENT_GONE: u32 = 4;
/// Removed by the sweep, which a director does to flows that it does not carry too.
pub const EVENT_EXPIRED: u32 = 5;

/// One change of a flow, in the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowEvent {
    /// `EVENT_*`
    pub kind: u32,
    pub server: u32,
    /// As in [`crate::FlowWord`].
    pub generation: u32,
    pub reserved: u32,
    /// IPv6, or v4-mapped.
    pub client: [u8; 16],
    pub vip: [u8; 16],
    pub client_port: [u8; 2],
    pub vip_port: [u8; 2],
    pub reserved_end: u32,
}

/// Makes a flow established here, or keeps it alive where it is.
pub const SYNC_OPEN: u32 = 1;
/// As [`EVENT_CLOSED`], [`EVENT_RESET`], [`EVENT_GONE`].
pub const SYNC_CLOSE: u32 = 2;
pub const SYNC_RESET: u32 = 3;
pub const SYNC_REMOVE: u32 = 4;

/// As [`SYNC_OPEN`], but only where there is no such flow in any state.
pub const SYNC_ADD: u32 = 5;

/// It was done.
pub const SYNCED: u32 = 1;
/// It was so already, or there is no such flow.
pub const SYNC_UNCHANGED: u32 = 2;
/// The server's index belongs to another by now.
pub const SYNC_STALE: u32 = 3;
/// No room in the table.
pub const SYNC_FULL: u32 = 4;
/// Another CPU was at the same bucket or element: try again.
pub const SYNC_BUSY: u32 = 5;

/// In and out of one run of the program that puts the peer's flows into the table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SyncArgs {
    /// `SYNC_*` operation. 0 only reads the clock.
    pub operation: u32,
    /// 4 or 6.
    pub family: u32,
    pub server: u32,
    /// Of the server's record.
    pub generation: u32,
    /// IPv6, or v4-mapped.
    pub client: [u8; 16],
    pub vip: [u8; 16],
    pub client_port: [u8; 2],
    pub vip_port: [u8; 2],
    /// Jiffies since the client's last packet; negative lets the flow live longer.
    pub idle: i32,
    /// Jiffies since the flow was established.
    pub age: u32,
    /// Out: what came of it; with operation 0, the low 32 bits of jiffies.
    pub result: u32,
}
