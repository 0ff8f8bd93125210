//! What the whole program shares: timeouts, interfaces, the state of the flow table, the sweep's arguments.

use bytemuck::{Pod, Zeroable};

/// Times in jiffies. Written by the controller, which knows how long a jiffy is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Settings {
    /// A pending window is `1 << window_shift` jiffies, the power of two nearest to one second.
    pub window_shift: u32,
    /// Pending flows are believed while there are no more of them than this, or than active flows.
    pub pending_floor: u32,
    /// A recovered flow that goes on for so long is established.
    pub recover_after: u32,
    /// For so long after an insert failed, SYNs are steered by consistent hash without state.
    pub full_for: u32,
    /// 1: changes of flows go into the ring buffer, for a peer.
    pub events: u32,
    pub reserved: [u32; 11],
}

/// An interface that packets arrive on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Port {
    /// 0 where unused. Anything else must equal the packet's.
    pub ifindex: u32,
    /// Only frames to this address are ours: a bridge floods what is meant for others.
    pub mac: [u8; 6],
    pub reserved: [u8; 6],
}

/// State of the flow table that all CPUs share.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct TableState {
    /// Jiffies when an insert last failed because the table was full; 0 is never.
    pub full_at: u64,
    /// Inserts that failed so.
    pub full_total: u64,
    /// 1 once the log has a line about it.
    pub said: u64,
    /// Changes of flows that found the ring buffer full.
    pub events_lost: u64,
    pub reserved: [u64; 4],
}

pub const SKIP4: u32 = 1;
pub const SKIP6: u32 = 2;

/// In and out of one run of the sweep.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SweepArgs {
    /// In: number of this pass, never twice the same. 0 visits no flow: it only reads the clocks, and adds
    /// `correction` to the count of `server`.
    pub pass: u64,
    /// In: timeouts in jiffies by state; 0 leaves flows of that state alone.
    pub established: u32,
    pub half_closed: u32,
    pub closing: u32,
    pub reset: u32,
    /// Out: jiffies and CLOCK_MONOTONIC in nanoseconds at the start; two runs tell how long a jiffy is.
    pub jiffies: u64,
    pub nanoseconds: u64,
    /// Out: flows in the tables after the pass, and flows that it removed.
    pub flows: u32,
    pub removed: u32,
    /// In, with pass 0: proven drift to take out of a server's count.
    pub server: u32,
    pub correction: i32,
    /// In: tables that are known to be empty, [`SKIP4`] and [`SKIP6`]: it takes milliseconds to find that out.
    pub skip: u32,
    /// Out: those of the flows that are of IPv6.
    pub flows6: u32,
}
