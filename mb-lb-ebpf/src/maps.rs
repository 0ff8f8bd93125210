//! The maps. All but the logger's and those of checks through the VIP are pinned; names and sizes are in `mb_lb_common`.
//!
//! Flows live in plain preallocated hash maps, which refuse when full. An LRU map would evict in silence, and
//! with the flow its count.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use mb_lb_common::{
    AliasEntry, AuditCell, DEFAULT_MAX_FLOWS, EVENT_BYTES, Flow, FlowKey4, FlowKey6, Half, Lease,
    LeaseKey, MAX_ALIAS, MAX_HALF, MAX_LEASES, MAX_LISTENS, MAX_PORTS, MAX_REASONS, MAX_SERVERS,
    MAX_SERVICES, MAX_SLOT_BLOCKS, MAX_VIA_FLOWS, MAX_VIAS, Pool, Port, Server, ServerCount,
    ServerStats, Service, ServiceConf, ServiceCursor, ServiceKey, Settings, SlotBlock, TableState,
    Via, ViaKey, ViaServer,
};

#[map]
pub static SETTINGS: Array<Settings> = Array::pinned(1, 0);
#[map]
pub static PORTS: Array<Port> = Array::pinned(MAX_PORTS, 0);
#[map]
pub static SERVICES: HashMap<ServiceKey, Service> = HashMap::pinned(MAX_LISTENS, 0);
#[map]
pub static SERVICE_CONFS: Array<ServiceConf> = Array::pinned(MAX_SERVICES, 0);
#[map]
pub static CURSORS: Array<ServiceCursor> = Array::pinned(MAX_SERVICES, 0);
#[map]
pub static POOLS: Array<Pool> = Array::pinned(2 * MAX_SERVICES, 0);
#[map]
pub static ALIAS: Array<AliasEntry> = Array::pinned(MAX_ALIAS, 0);
#[map]
pub static SLOTS: Array<SlotBlock> = Array::pinned(MAX_SLOT_BLOCKS, 0);
#[map]
pub static SERVERS: Array<Server> = Array::pinned(MAX_SERVERS, 0);
#[map]
pub static COUNTS: Array<ServerCount> = Array::pinned(MAX_SERVERS, 0);
#[map]
pub static SERVER_STATS: PerCpuArray<ServerStats> = PerCpuArray::pinned(MAX_SERVERS, 0);
#[map]
pub static REASONS: PerCpuArray<u64> = PerCpuArray::pinned(MAX_REASONS, 0);
#[map]
pub static TABLE: Array<TableState> = Array::pinned(1, 0);
#[map]
pub static AUDIT: Array<AuditCell> = Array::pinned(MAX_SERVERS, 0);
#[map]
pub static FLOWS4: HashMap<FlowKey4, Flow> = HashMap::pinned(DEFAULT_MAX_FLOWS, 0);
#[map]
pub static FLOWS6: HashMap<FlowKey6, Flow> = HashMap::pinned(DEFAULT_MAX_FLOWS, 0);
#[map]
pub static HALF4: LruHashMap<FlowKey4, Half> = LruHashMap::pinned(MAX_HALF, 0);
#[map]
pub static HALF6: LruHashMap<FlowKey6, Half> = LruHashMap::pinned(MAX_HALF, 0);
#[map]
pub static EVENTS: RingBuf = RingBuf::pinned(EVENT_BYTES, 0);
#[map]
pub static LEASES: HashMap<LeaseKey, Lease> = HashMap::pinned(MAX_LEASES, 0);
#[map]
pub static TAKEOVER: Array<u64> = Array::pinned(1, 0);
#[map]
pub static VIAS: Array<Via> = Array::with_max_entries(MAX_VIAS, 0);
#[map]
pub static VIA_FLOWS: LruHashMap<ViaKey, ViaServer> =
    LruHashMap::with_max_entries(MAX_VIA_FLOWS, 0);
