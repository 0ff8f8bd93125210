//! Servers: what the controller writes, what the program counts, what the sweep finds.

use bytemuck::{Pod, Zeroable};

/// The record is in use. Without it, a flow that names it has lost its server.
pub const SERVER_PRESENT: u8 = 1;
/// New flows may go here (also asked again when a SYN is retransmitted).
pub const SERVER_ACCEPT: u8 = 2;
/// The next packet of each of its flows is answered with RST (`on_down = "reset"`).
pub const SERVER_RESET: u8 = 4;

/// A server, written by the controller only: one cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Server {
    /// Next hop and `SERVER_*` bits ([`Server::link`]); one load sees both, so neither is ever torn.
    pub link: u64,
    /// Raised each time the index is given to another server.
    pub generation: u32,
    /// Interface that leads to the server.
    pub ifindex: u32,
    /// Cap on active flows; 0 is none. Once reached, new flows come again below three quarters of it.
    pub max_connections: u32,
    /// Index of the service it belongs to.
    pub service: u32,
    /// IPv6, or v4-mapped. For people and for reading back; the program steers by `mac`.
    pub address: [u8; 16],
    /// Hash of service and server name, so that a restarted controller finds its records again.
    pub name_hash: u64,
    pub reserved: [u8; 16],
}

impl Server {
    /// Packs a next hop (bytes 0 to 5 in memory) and `SERVER_*` bits (byte 6).
    #[inline(always)]
    pub const fn link(mac: [u8; 6], flags: u8) -> u64 {
        u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], flags, 0])
    }
    #[inline(always)]
    pub const fn mac_of(link: u64) -> [u8; 6] {
        let b = link.to_le_bytes();
        [b[0], b[1], b[2], b[3], b[4], b[5]]
    }
    #[inline(always)]
    pub const fn flags_of(link: u64) -> u8 {
        (link >> 48) as u8
    }
}

/// One second of SYNs: `epoch << 32 | count`, changed by compare-and-swap only.
///
/// The epoch makes an aged window read as empty without anybody clearing it, so a SYN that never becomes a
/// connection cannot leave a count behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingWindow(pub u64);

impl PendingWindow {
    #[inline(always)]
    pub const fn new(epoch: u32, count: u32) -> Self {
        Self(((epoch as u64) << 32) | count as u64)
    }
    #[inline(always)]
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }
    #[inline(always)]
    pub const fn count(self) -> u32 {
        self.0 as u32
    }
}

/// What is counted per server, shared by all CPUs: one cache line. Written by the data plane only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ServerCount {
    /// Flows in a counted state. Signed, so that an error would show as what it is.
    pub active: i64,
    /// [`PendingWindow`]s of even and odd epochs.
    pub pending: [u64; 2],
    /// Flows that ever became active here.
    pub opened: u64,
    /// Flows that left a counted state by FIN, RST or a failed server.
    pub closed: u64,
    /// Flows that left a counted state because they fell silent.
    pub expired: u64,
    /// Choices that were made while this server was at its cap.
    pub refused: u64,
    /// 1 while at the cap (hysteresis).
    pub full: u64,
}

/// Forwarded traffic of one server, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ServerStats {
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
}

/// What one sweep found for one server. Valid where `pass` is the pass that was run.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct AuditCell {
    pub pass: u64,
    /// Flows in a counted state.
    pub counted: u32,
    /// Flows in the table that are not counted (closing, reset).
    pub uncounted: u32,
}
