//! The contract between the XDP program and the controller.
//!
//! Everything that crosses the boundary is here and nowhere else: map names and sizes, the layout of
//! every key and value, the states of a flow, and the reasons for what the program does with a packet.
//! Values are `#[repr(C)]` and [`bytemuck::Pod`], which refuses padding when it compiles; addresses and
//! ports are big-endian byte arrays, so byte order cannot be mixed up.
//!
//! A change to any layout is a new [`LAYOUT_VERSION`]; `layout_is_frozen` below fails until it is one.
#![cfg_attr(not(test), no_std)]

mod flow;
mod hash;
mod reason;
mod server;
mod service;
mod settings;

pub use flow::{
    Flow, FlowKey4, FlowKey6, FlowState, FlowWord, Half, HalfKind, HalfWord, generation_bits,
};
pub use hash::{flow_hash4, flow_hash6, mix, source_hash};
pub use reason::{Reason, Verdict};
pub use server::{
    AuditCell, PendingWindow, SERVER_ACCEPT, SERVER_PRESENT, SERVER_RESET, Server, ServerCount,
    ServerStats,
};
pub use service::{
    AliasEntry, POOL_SMALL, Pool, SCHEDULER_LEASTCONN, SCHEDULER_ROUNDROBIN, SCHEDULER_SOURCE,
    SERVICE_REPLY_LOCAL, SLOTS_PER_BLOCK, Service, ServiceConf, ServiceCursor, ServiceKey,
    SlotBlock, SmallEntry, TCP,
};
pub use settings::{Port, Settings, SweepArgs, TableState};

/// Part of the pin path: two builds share maps only when they agree on every layout in this crate.
pub const LAYOUT_VERSION: u32 = 1;

/// Services that one director can hold.
pub const MAX_SERVICES: u32 = 256;
/// `listen` entries of all services together.
pub const MAX_LISTENS: u32 = 2048;
/// Servers in one service.
pub const MAX_SERVERS_PER_SERVICE: u32 = 1024;
/// Servers of all services together, including removed ones that still have flows.
pub const MAX_SERVERS: u32 = 16384;
/// Entries of the alias arena: two pools (active and next) of every server that can exist, rounded up.
pub const MAX_ALIAS: u32 = 4 * MAX_SERVERS;
/// Blocks of 32 slots in the arena of Maglev tables and round-robin sequences (16 MiB).
/// Two Maglev tables (active and next) of every server that can exist take 220,000 of them at most; the rest is for
/// sequences.
pub const MAX_SLOT_BLOCKS: u32 = 262_144;
/// Interfaces are found at `ifindex % MAX_PORTS`.
pub const MAX_PORTS: u32 = 256;
/// Room for counters of reasons.
pub const MAX_REASONS: u32 = 64;
/// Default of `director.max_flows`, per address family.
pub const DEFAULT_MAX_FLOWS: u32 = 262_144;
/// Half-open and remembered flows, per address family. An LRU map: it never refuses, it forgets.
pub const MAX_HALF: u32 = 262_144;

/// Names of the maps, as they appear in the object and under the pin path.
pub mod maps {
    pub const SETTINGS: &str = "SETTINGS";
    pub const PORTS: &str = "PORTS";
    pub const SERVICES: &str = "SERVICES";
    pub const SERVICE_CONFS: &str = "SERVICE_CONFS";
    pub const CURSORS: &str = "CURSORS";
    pub const POOLS: &str = "POOLS";
    pub const ALIAS: &str = "ALIAS";
    pub const SLOTS: &str = "SLOTS";
    pub const SERVERS: &str = "SERVERS";
    pub const COUNTS: &str = "COUNTS";
    pub const SERVER_STATS: &str = "SERVER_STATS";
    pub const REASONS: &str = "REASONS";
    pub const TABLE: &str = "TABLE";
    pub const AUDIT: &str = "AUDIT";
    pub const FLOWS4: &str = "FLOWS4";
    pub const FLOWS6: &str = "FLOWS6";
    pub const HALF4: &str = "HALF4";
    pub const HALF6: &str = "HALF6";
    /// Every map that is pinned and adopted by the next controller.
    pub const ALL: [&str; 18] = [
        SETTINGS,
        PORTS,
        SERVICES,
        SERVICE_CONFS,
        CURSORS,
        POOLS,
        ALIAS,
        SLOTS,
        SERVERS,
        COUNTS,
        SERVER_STATS,
        REASONS,
        TABLE,
        AUDIT,
        FLOWS4,
        FLOWS6,
        HALF4,
        HALF6,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{align_of, size_of};

    /// Sizes and alignments that pinned maps of this layout version were created with.
    #[test]
    fn layout_is_frozen() {
        let layout = [
            ("FlowKey4", size_of::<FlowKey4>(), align_of::<FlowKey4>()),
            ("FlowKey6", size_of::<FlowKey6>(), align_of::<FlowKey6>()),
            ("Flow", size_of::<Flow>(), align_of::<Flow>()),
            ("Half", size_of::<Half>(), align_of::<Half>()),
            ("Server", size_of::<Server>(), align_of::<Server>()),
            (
                "ServerCount",
                size_of::<ServerCount>(),
                align_of::<ServerCount>(),
            ),
            (
                "ServerStats",
                size_of::<ServerStats>(),
                align_of::<ServerStats>(),
            ),
            ("AuditCell", size_of::<AuditCell>(), align_of::<AuditCell>()),
            (
                "ServiceKey",
                size_of::<ServiceKey>(),
                align_of::<ServiceKey>(),
            ),
            ("Service", size_of::<Service>(), align_of::<Service>()),
            (
                "ServiceConf",
                size_of::<ServiceConf>(),
                align_of::<ServiceConf>(),
            ),
            (
                "ServiceCursor",
                size_of::<ServiceCursor>(),
                align_of::<ServiceCursor>(),
            ),
            ("Pool", size_of::<Pool>(), align_of::<Pool>()),
            (
                "AliasEntry",
                size_of::<AliasEntry>(),
                align_of::<AliasEntry>(),
            ),
            ("SlotBlock", size_of::<SlotBlock>(), align_of::<SlotBlock>()),
            ("Settings", size_of::<Settings>(), align_of::<Settings>()),
            ("Port", size_of::<Port>(), align_of::<Port>()),
            (
                "TableState",
                size_of::<TableState>(),
                align_of::<TableState>(),
            ),
            ("SweepArgs", size_of::<SweepArgs>(), align_of::<SweepArgs>()),
        ];
        assert_eq!(LAYOUT_VERSION, 1);
        assert_eq!(
            layout,
            [
                ("FlowKey4", 12, 4),
                ("FlowKey6", 36, 4),
                ("Flow", 64, 8),
                ("Half", 32, 8),
                ("Server", 64, 8),
                ("ServerCount", 64, 8),
                ("ServerStats", 16, 8),
                ("AuditCell", 16, 8),
                ("ServiceKey", 20, 4),
                ("Service", 8, 4),
                ("ServiceConf", 8, 4),
                ("ServiceCursor", 64, 8),
                ("Pool", 320, 4),
                ("AliasEntry", 16, 4),
                ("SlotBlock", 64, 2),
                ("Settings", 64, 4),
                ("Port", 16, 4),
                ("TableState", 64, 8),
                ("SweepArgs", 64, 8),
            ]
        );
    }
}
