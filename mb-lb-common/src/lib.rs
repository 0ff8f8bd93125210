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
mod lease;
mod reason;
mod server;
mod service;
mod settings;
mod sync;
mod via;

pub use flow::{
    Flow, FlowKey4, FlowKey6, FlowState, FlowWord, Half, HalfKind, HalfWord, generation_bits,
};
pub use hash::{flow_hash4, flow_hash6, mix, source_hash};
pub use lease::{LEASE_MEANS, Lease, LeaseKey};
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
pub use settings::{Port, SKIP4, SKIP6, Settings, SweepArgs, TableState};
pub use sync::{
    EVENT_CLOSED, EVENT_EXPIRED, EVENT_GONE, EVENT_OPENED, EVENT_RESET, FlowEvent, SYNC_ADD,
    SYNC_BUSY, SYNC_CLOSE, SYNC_FULL, SYNC_OPEN, SYNC_REMOVE, SYNC_RESET, SYNC_STALE,
    SYNC_UNCHANGED, SYNCED, SyncArgs,
};

pub use via::{
    MAX_VIA_FLOWS, MAX_VIAS, VIA_LASTS, VIA_MARK, VIA_MASK, Via, ViaAddress, ViaKey, ViaServer,
    ipv4_of_via, via_ipv4,
};

/// Part of the pin path: two builds share maps only when they agree on every layout in this crate.
pub const LAYOUT_VERSION: u32 = 2;

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
/// Bytes of the ring buffer with changes of flows: room for 65,536 of them.
pub const EVENT_BYTES: u32 = 4 << 20;

/// VIPs with a lease.
pub const MAX_LEASES: u32 = 4096;

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
    pub const EVENTS: &str = "EVENTS";
    pub const LEASES: &str = "LEASES";
    /// One `u64`: until when, in nanoseconds of CLOCK_BOOTTIME, segments that belong to nothing are dropped, because this
    /// director has just taken over and the peer may not have told of all flows yet. 0: never.
    pub const TAKEOVER: &str = "TAKEOVER";
    /// Of checks through the VIP, and not pinned: they are as old as the controller.
    pub const VIAS: &str = "VIAS";
    pub const VIA_FLOWS: &str = "VIA_FLOWS";
    /// Every map that is pinned and adopted by the next controller.
    pub const ALL: [&str; 21] = [
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
        EVENTS,
        LEASES,
        TAKEOVER,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{align_of, offset_of, size_of};
    use std::format;
    use std::string::String;

    /// `Name size align: field@offset ...`; does not compile where a field is left out.
    macro_rules! layout {
        ($($name:ident { $($field:ident),* })*) => {{
            let mut text = String::new();
            $(
                let _complete = |value: $name| {
                    let $name { $($field: _),* } = value;
                };
                text += &format!("{} {} {}:", stringify!($name), size_of::<$name>(), align_of::<$name>());
                $(text += &format!(" {}@{}", stringify!($field), offset_of!($name, $field));)*
                text.push('\n');
            )*
            text
        }};
    }

    /// What pinned maps of this layout version were created with. A change here needs a new version.
    #[test]
    fn layout_is_frozen() {
        assert_eq!(LAYOUT_VERSION, 2);
        let layout = layout! {
            FlowKey4 { client, vip, client_port, vip_port }
            FlowKey6 { client, vip, client_port, vip_port }
            Flow { word, last_seen, client_next, created, synced, reserved }
            Half { word, epoch, isn, since, reserved }
            Server { link, generation, ifindex, max_connections, service, address, name_hash, reserved }
            ServerCount { active, pending, opened, closed, expired, refused, full }
            ServerStats { packets, bytes }
            AuditCell { pass, counted, uncounted }
            ServiceKey { address, port, protocol, zero }
            Service { id, name_hash }
            ServiceConf { pool, flags }
            ServiceCursor { next, reserved }
            SmallEntry { server, weight, max_connections, reserved }
            Pool {
                servers, scheduler, alias, sequence, sequence_len, maglev, maglev_len, alias_len, capped, reserved, small
            }
            AliasEntry { threshold, server, alias, server_weight, alias_weight }
            SlotBlock { slots }
            Settings { window_shift, pending_floor, recover_after, full_for, events, reserved }
            Port { ifindex, mac, reserved }
            TableState { full_at, full_total, said, events_lost, reserved }
            SweepArgs {
                pass, established, half_closed, closing, reset, jiffies, nanoseconds, flows, removed, server, correction,
                skip, flows6
            }
            FlowEvent {
                kind, server, generation, reserved, client, vip, client_port, vip_port, reserved_end
            }
            SyncArgs {
                operation, family, server, generation, client, vip, client_port, vip_port, idle, age, result
            }
            LeaseKey { address, ifindex }
            Lease { over_at }
        };
        assert_eq!(layout, include_str!("layout.txt"));
    }

    /// Bits and numbers that are stored in maps.
    #[test]
    fn what_the_bits_mean_is_frozen() {
        use FlowState::{Closing, Dead, Established, HalfClosed, Reset};
        use HalfKind::{Gone, Local, Pending, Recovered, Remembered};
        assert_eq!(
            [Dead, Established, HalfClosed, Closing, Reset].map(|state| state as u8),
            [0, 1, 2, 3, 4]
        );
        assert_eq!(
            [Gone, Pending, Recovered, Remembered, Local].map(|kind| kind as u8),
            [0, 1, 2, 3, 4]
        );
        assert_eq!([SERVER_PRESENT, SERVER_ACCEPT, SERVER_RESET], [1, 2, 4]);
        assert_eq!(SERVICE_REPLY_LOCAL, 1);
        assert_eq!(
            [SCHEDULER_LEASTCONN, SCHEDULER_ROUNDROBIN, SCHEDULER_SOURCE],
            [0, 1, 2]
        );
        assert_eq!(
            FlowWord::new(HalfClosed, 0x1234, 0xabc, 0x765_4321).0,
            0x7654_321a_bc12_3402
        );
        assert_eq!(
            HalfWord::new(Local, 0x1234, 0xabc, 0x765_4321).0,
            0x7654_321a_bc12_3404
        );
        assert_eq!(PendingWindow::new(7, 9).0, 0x7_0000_0009);
    }

    /// A map that is pinned is only adopted with the size that it has.
    #[test]
    fn sizes_of_maps_are_frozen() {
        let sizes = [
            MAX_SERVICES,
            MAX_LISTENS,
            MAX_SERVERS,
            MAX_ALIAS,
            MAX_SLOT_BLOCKS,
            MAX_PORTS,
            MAX_REASONS,
            MAX_HALF,
            MAX_LEASES,
        ];
        assert_eq!(
            sizes,
            [256, 2048, 16_384, 65_536, 262_144, 256, 64, 262_144, 4096]
        );
    }

    /// Counters are adopted by their place: a new reason goes to the end.
    #[test]
    fn reasons_keep_their_places() {
        let names = Reason::ALL
            .iter()
            .fold(String::new(), |all, reason| all + reason.name() + "\n");
        assert_eq!(names, include_str!("reasons.txt"));
    }
}
