//! Services and the pools that new flows are scheduled from.

use bytemuck::{Pod, Zeroable};

/// IP protocol number.
pub const TCP: u8 = 6;

/// Where a service listens.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct ServiceKey {
    /// IPv6, or v4-mapped.
    pub address: [u8; 16],
    pub port: [u8; 2],
    pub protocol: u8,
    pub zero: u8,
}

/// Value of the service map: the service's index.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Service {
    pub id: u32,
    /// Hash of its name, so that a restarted controller gives it the same index.
    pub name_hash: u32,
}

/// With no server, hand the connection to the director's own TCP stack, where the controller says the
/// `no_server` text. Without this bit the answer is RST.
pub const SERVICE_REPLY_LOCAL: u32 = 1;

/// What may change while a service runs, in one aligned 8 bytes: a store of it is the flip from one pool to the next.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceConf {
    /// Index of the active [`Pool`]: `2 * id` or `2 * id + 1`.
    pub pool: u32,
    /// `SERVICE_*` bits.
    pub flags: u32,
}

/// Per service: how many choices were made. Orders ties in `leastconn`, and is the position in `roundrobin`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ServiceCursor {
    pub next: u64,
    pub reserved: [u64; 7],
}

pub const SCHEDULER_LEASTCONN: u32 = 0;
pub const SCHEDULER_ROUNDROBIN: u32 = 1;
pub const SCHEDULER_SOURCE: u32 = 2;

/// Servers up to which `leastconn` compares all of them.
pub const POOL_SMALL: usize = 16;

/// A server of a small pool.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SmallEntry {
    pub server: u32,
    /// Effective weight times 256 (slow start needs the fraction); never 0 in a pool.
    pub weight: u32,
    /// As in the server's record; 0 is none.
    pub max_connections: u32,
    pub reserved: u32,
}

/// The servers of a service that may take new flows, prepared for choosing. Never changed while active.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Pool {
    /// Number of servers; 0 means that there is none to choose.
    pub servers: u32,
    /// `SCHEDULER_*`.
    pub scheduler: u32,
    /// First [`AliasEntry`]; `servers` entries. Only where `servers` is more than [`POOL_SMALL`].
    pub alias: u32,
    /// First [`SlotBlock`] of the smooth weighted round-robin sequence, and its length in slots.
    pub sequence: u32,
    pub sequence_len: u32,
    /// First [`SlotBlock`] of the Maglev table, and its length in slots.
    pub maglev: u32,
    pub maglev_len: u32,
    /// Length of the arena regions in use, so that the next controller knows what is free.
    pub alias_len: u32,
    /// 1 where a server of the pool has a cap.
    pub capped: u32,
    pub reserved: [u32; 7],
    pub small: [SmallEntry; POOL_SMALL],
}

/// One column of Walker's alias method: draw a column, then take `server` if a 32-bit coin is below
/// `threshold`, else `alias`. Each server is drawn in exact proportion to its weight.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct AliasEntry {
    pub threshold: u32,
    pub server: u16,
    pub alias: u16,
    /// Effective weights times 256 of the two.
    pub server_weight: u32,
    pub alias_weight: u32,
}

/// Slots in a block. An array map rounds each value up to 8 bytes, hence blocks.
pub const SLOTS_PER_BLOCK: u32 = 32;

/// Server indices of a Maglev table or of a round-robin sequence.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct SlotBlock {
    pub slots: [u16; SLOTS_PER_BLOCK as usize],
}
