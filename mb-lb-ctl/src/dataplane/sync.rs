//! The kernel's side of flow sync: what became of our flows, all of them at once, and the peer's put into our table.
//!
//! Blocks like the rest of the data plane, for microseconds: it may be called from a task that has its thread to itself.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, RingBuf};
use mb_lb_common::{
    EVENT_CLOSED, EVENT_EXPIRED, EVENT_GONE, EVENT_OPENED, EVENT_RESET, Flow, FlowEvent, FlowKey4,
    FlowKey6, FlowWord, SERVER_ACCEPT, SERVER_PRESENT, SERVER_RESET, SYNC_ADD, SYNC_BUSY,
    SYNC_CLOSE, SYNC_FULL, SYNC_OPEN, SYNC_REMOVE, SYNC_RESET, SYNC_STALE, SYNCED, Server, Service,
    ServiceKey, Settings, SyncArgs, TableState, generation_bits, maps,
};

use super::flows::{ends4, ends6};
use super::sys::{self, Cursor, Table};
use super::{LoadError, load, syscall};
use crate::peer::{FlowChange, FlowKind};

/// How often the kernel's servers are read again because a flow names one that is not known.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What the kernel's servers are is read again so often.
const REFRESH: Duration = Duration::from_secs(2);
/// A flow that had a packet here within this time is none of the peer's alone.
const JUST_NOW: Duration = Duration::from_secs(2);
/// Attempts for an element that another CPU is at.
const ATTEMPTS: usize = 50;

/// What became of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Done,
    /// It was so already.
    Unchanged,
    /// No such service, or no such server, in the configuration here.
    Unplaced,
    /// The table is full.
    Full,
    /// Another CPU was at it all the time.
    Busy,
}

/// Handles on the maps that flow sync reads, and the program that writes.
pub struct FlowSync {
    program: OwnedFd,
    hz: u32,
    settings: Table<u32, Settings>,
    table: Table<u32, TableState>,
    flows4: Table<FlowKey4, Flow>,
    flows6: Table<FlowKey6, Flow>,
    events: RingBuf<MapData>,
    directory: Directory,
    hasher: RandomState,
    /// Flows that could not be told of, because their server was not known.
    unresolved: u64,
}

/// Where a pass over all flows is.
#[derive(Debug, Default)]
pub struct Walk {
    v4: Cursor,
    v6: Cursor,
    /// Flows so far that could not be told of, because their server is not known.
    pub unresolved: u64,
}

impl Walk {
    pub const fn done(&self) -> bool {
        self.v4.done && self.v6.done
    }
}

/// What [`FlowSync::remove_others`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub removed: u64,
    /// Had a packet here a moment ago.
    pub kept: u64,
}

/// Flows by a hash of both ends: a million of them in 16 MiB. Two with the same hash make a flow that is gone stay until
/// it expires.
#[derive(Debug, Default)]
pub struct Seen(HashSet<u64>);

impl Seen {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Loads the program. To be done before the logger takes its map out of what is loaded.
pub fn load_program(loaded: &load::Loaded) -> Result<OwnedFd, LoadError> {
    syscall::load(load::object(), "sync", "mb_lb_sync", |name| {
        loaded.map_fd(name)
    })
    .map_err(load::io_error("cannot load flow sync"))
}

impl FlowSync {
    /// Opens the pinned maps of the data plane that is loaded, for a program of [`load_program`].
    pub fn open(pins: &Path, program: OwnedFd, hz: u32) -> Result<Self, LoadError> {
        let map_error = || load::io_error("cannot open the pinned maps");
        let ring = |error: &dyn std::fmt::Display| {
            load::io_error("cannot open the ring buffer of flows")(io::Error::other(
                error.to_string(),
            ))
        };
        let events = MapData::from_pin(pins.join(maps::EVENTS)).map_err(|e| ring(&e))?;
        Ok(Self {
            program,
            hz,
            settings: Table::open(&pins.join(maps::SETTINGS)).map_err(map_error())?,
            table: Table::open(&pins.join(maps::TABLE)).map_err(map_error())?,
            flows4: Table::open(&pins.join(maps::FLOWS4)).map_err(map_error())?,
            flows6: Table::open(&pins.join(maps::FLOWS6)).map_err(map_error())?,
            events: RingBuf::try_from(Map::RingBuf(events)).map_err(|e| ring(&e))?,
            directory: Directory::open(pins).map_err(map_error())?,
            hasher: RandomState::new(),
            unresolved: 0,
        })
    }

    /// Has the data plane tell of its flows, or be silent. What was told before is thrown away.
    pub fn listen(&mut self, wanted: bool) -> io::Result<()> {
        let mut settings = self.settings.get(&0)?.ok_or(io::ErrorKind::NotFound)?;
        settings.events = u32::from(wanted);
        self.settings.set(&0, &settings)?;
        while self.events.next().is_some() {}
        Ok(())
    }

    /// Readable when there are changes.
    pub fn events_fd(&self) -> RawFd {
        self.events.as_raw_fd()
    }

    /// Changes that found no room in the ring buffer since it was made, or could not be told of.
    pub fn lost(&self) -> io::Result<u64> {
        let table = self.table.get(&0)?;
        Ok(table.map_or(0, |table| table.events_lost) + self.unresolved)
    }

    /// Flows that both tables have room for.
    pub fn room(&self) -> io::Result<u64> {
        let room = |shape: sys::MapShape| u64::from(shape.max_entries);
        Ok(room(self.flows4.shape()?) + room(self.flows6.shape()?))
    }

    /// The changes that wait, up to `limit`. A flow that fell silent is told of only where `carries` its VIP: elsewhere
    /// its packets go through the other director, and it may be alive.
    pub fn changes(
        &mut self,
        limit: usize,
        carries: impl Fn(IpAddr) -> bool,
    ) -> io::Result<Vec<FlowChange>> {
        let mut changes = Vec::new();
        while changes.len() < limit {
            let Some(item) = self.events.next() else {
                break;
            };
            let event: FlowEvent = match item.get(..size_of::<FlowEvent>()) {
                Some(bytes) => bytemuck::pod_read_unaligned(bytes),
                None => continue,
            };
            drop(item);
            let vip = end(event.vip, event.vip_port);
            let kind = match event.kind {
                EVENT_OPENED => FlowKind::Open,
                EVENT_CLOSED => FlowKind::Close,
                EVENT_RESET => FlowKind::Reset,
                EVENT_GONE => FlowKind::Gone,
                EVENT_EXPIRED if carries(vip.ip()) => FlowKind::Gone,
                _ => continue,
            };
            let bits = u64::from(event.generation);
            let Some(server) = self.directory.address(event.server, bits)? else {
                // A server that has gone altogether has no ends worth telling of.
                if kind == FlowKind::Open {
                    self.unresolved += 1;
                }
                continue;
            };
            changes.push(FlowChange {
                kind,
                client: end(event.client, event.client_port),
                vip,
                server,
                idle_ms: 0,
                age_ms: 0,
            });
        }
        Ok(changes)
    }

    /// The next established flows of a pass, of those VIPs.
    pub fn walk(
        &mut self,
        walk: &mut Walk,
        vips: &BTreeSet<IpAddr>,
    ) -> io::Result<Vec<FlowChange>> {
        let found = self.step(walk, vips)?;
        Ok(found.into_iter().map(|(flow, _)| flow).collect())
    }

    /// With the jiffies since the last packet, negative where a flow is kept alive for the peer.
    fn step(
        &mut self,
        walk: &mut Walk,
        vips: &BTreeSet<IpAddr>,
    ) -> io::Result<Vec<(FlowChange, i32)>> {
        let now = self.jiffies()?;
        let (ends, flows): (Vec<_>, Vec<_>) = if !walk.v4.done {
            let batch = self.flows4.batch(&mut walk.v4)?;
            batch.into_iter().map(|(k, flow)| (ends4(&k), flow)).unzip()
        } else if !walk.v6.done {
            let batch = self.flows6.batch(&mut walk.v6)?;
            batch.into_iter().map(|(k, flow)| (ends6(&k), flow)).unzip()
        } else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for ((client, vip), flow) in ends.into_iter().zip(flows) {
            let word = FlowWord(flow.word);
            if !word.state().is_counted() || !vips.contains(&vip.ip()) {
                continue;
            }
            let Some(server) = self.directory.address(word.server(), word.generation())? else {
                walk.unresolved += 1;
                continue;
            };
            let idle = now.wrapping_sub(flow.last_seen);
            let change = FlowChange {
                kind: FlowKind::Open,
                client,
                vip,
                server,
                idle_ms: self.milliseconds(idle),
                age_ms: self.milliseconds(now.wrapping_sub(flow.created as u32)),
            };
            found.push((change, idle as i32));
        }
        Ok(found)
    }

    /// Puts one change of the peer's into the table. `slack` lets an open flow live so much longer than its client's
    /// last packet allows, because the next word about it comes only then. With `known_here`, the flow is of a VIP that this
    /// director carries: then what is here already stays as it is.
    pub fn apply(
        &mut self,
        change: &FlowChange,
        slack: Duration,
        known_here: bool,
    ) -> io::Result<Applied> {
        if change.client.is_ipv4() != change.vip.is_ipv4() {
            return Ok(Applied::Unplaced);
        }
        for attempt in 0..2 {
            let Some((server, generation)) = self.directory.server(change.vip, change.server)?
            else {
                return Ok(Applied::Unplaced);
            };
            match self.run(change, server, generation, slack, known_here)? {
                SYNCED => return Ok(Applied::Done),
                SYNC_FULL => return Ok(Applied::Full),
                SYNC_STALE if attempt == 0 => self.directory.read()?,
                SYNC_STALE => return Ok(Applied::Unplaced),
                SYNC_BUSY => return Ok(Applied::Busy),
                _ => return Ok(Applied::Unchanged),
            }
        }
        Ok(Applied::Unplaced)
    }

    fn run(
        &self,
        change: &FlowChange,
        server: u32,
        generation: u32,
        slack: Duration,
        known_here: bool,
    ) -> io::Result<u32> {
        let jiffies = |ms: u64| i32::try_from(ms * u64::from(self.hz) / 1000).unwrap_or(i32::MAX);
        let slack = u64::try_from(slack.as_millis()).unwrap_or(u64::MAX);
        let mut args = SyncArgs {
            operation: match change.kind {
                FlowKind::Open if known_here => SYNC_ADD,
                FlowKind::Open => SYNC_OPEN,
                FlowKind::Close => SYNC_CLOSE,
                FlowKind::Reset => SYNC_RESET,
                FlowKind::Gone => SYNC_REMOVE,
            },
            family: if change.client.is_ipv4() { 4 } else { 6 },
            server,
            generation,
            client: mapped(change.client.ip()),
            vip: mapped(change.vip.ip()),
            client_port: change.client.port().to_be_bytes(),
            vip_port: change.vip.port().to_be_bytes(),
            idle: jiffies(u64::from(change.idle_ms)).saturating_sub(jiffies(slack)),
            age: jiffies(u64::from(change.age_ms)).unsigned_abs(),
            result: 0,
        };
        for _ in 0..ATTEMPTS {
            sys::run_syscall_program(self.program.as_fd(), &mut args)?;
            if args.result != SYNC_BUSY {
                break;
            }
            std::thread::yield_now();
        }
        Ok(args.result)
    }

    /// Removes the established flows of these VIPs that are not among `seen`, as far as one step of `walk` goes. Those that
    /// had a packet here a moment ago stay: the VIP may just have come.
    pub fn remove_others(
        &mut self,
        walk: &mut Walk,
        vips: &BTreeSet<IpAddr>,
        seen: &Seen,
    ) -> io::Result<Removed> {
        let recent = i32::try_from(JUST_NOW.as_secs() * u64::from(self.hz)).unwrap_or(i32::MAX);
        let mut removed = Removed::default();
        for (flow, idle) in self.step(walk, vips)? {
            if seen.0.contains(&self.hash(&flow)) {
                continue;
            }
            if (0..recent).contains(&idle) {
                removed.kept += 1;
                continue;
            }
            let gone = FlowChange {
                kind: FlowKind::Gone,
                ..flow
            };
            if self.apply(&gone, Duration::ZERO, false)? == Applied::Done {
                removed.removed += 1;
            }
        }
        Ok(removed)
    }

    pub fn note(&self, seen: &mut Seen, flow: &FlowChange) {
        seen.0.insert(self.hash(flow));
    }

    /// Which server has which index is read anew at the next use.
    pub fn forget_servers(&mut self) {
        self.directory.read_at = None;
        self.directory.ids.clear();
        self.directory.addresses.clear();
        self.directory.indices.clear();
    }

    fn hash(&self, flow: &FlowChange) -> u64 {
        self.hasher.hash_one((flow.client, flow.vip))
    }

    fn jiffies(&self) -> io::Result<u32> {
        let mut args = SyncArgs::default();
        sys::run_syscall_program(self.program.as_fd(), &mut args)?;
        Ok(args.result)
    }

    fn milliseconds(&self, jiffies: u32) -> u32 {
        // Negative: seen after the clock was read, or kept alive for the peer.
        let jiffies = u64::try_from(jiffies as i32).unwrap_or(0);
        u32::try_from(jiffies * 1000 / u64::from(self.hz.max(1))).unwrap_or(u32::MAX)
    }
}

/// Which server has which index, as the kernel has it.
struct Directory {
    services: Table<ServiceKey, Service>,
    servers: Table<u32, Server>,
    ids: HashMap<SocketAddr, u32>,
    addresses: HashMap<u32, (IpAddr, u64)>,
    indices: HashMap<(u32, IpAddr), (u32, u32)>,
    read_at: Option<Instant>,
}

impl Directory {
    fn open(pins: &Path) -> io::Result<Self> {
        Ok(Self {
            services: Table::open(&pins.join(maps::SERVICES))?,
            servers: Table::open(&pins.join(maps::SERVERS))?,
            ids: HashMap::new(),
            addresses: HashMap::new(),
            indices: HashMap::new(),
            read_at: None,
        })
    }

    fn read(&mut self) -> io::Result<()> {
        self.read_at = Some(Instant::now());
        self.ids = self
            .services
            .entries(usize::MAX)?
            .into_iter()
            .map(|(key, service)| (end(key.address, key.port), service.id))
            .collect();
        self.addresses.clear();
        self.indices.clear();
        // Those that take new flows last: of two with one address, a removed one is not what is meant, and least of all one
        // whose flows are ended.
        let mut servers = self.servers.entries(usize::MAX)?;
        servers.sort_by_key(|(_, server)| {
            let flags = Server::flags_of(server.link);
            (flags & SERVER_ACCEPT != 0, flags & SERVER_RESET == 0)
        });
        for (index, server) in servers {
            if Server::flags_of(server.link) & SERVER_PRESENT == 0 {
                continue;
            }
            let address = Ipv6Addr::from(server.address).to_canonical();
            self.addresses
                .insert(index, (address, generation_bits(server.generation)));
            self.indices
                .insert((server.service, address), (index, server.generation));
        }
        Ok(())
    }

    /// A server that was renamed has another index for new flows, and nothing else tells.
    fn refresh(&mut self) -> io::Result<()> {
        match self.read_at {
            Some(at) if at.elapsed() < REFRESH => Ok(()),
            _ => self.read(),
        }
    }

    /// Reads again what may have changed, but not for every flow of a server that is not there.
    fn read_if_old(&mut self) -> io::Result<bool> {
        if self.read_at.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return Ok(false);
        }
        self.read()?;
        Ok(true)
    }

    fn address(&mut self, index: u32, bits: u64) -> io::Result<Option<IpAddr>> {
        let known = |directory: &Self| {
            let (address, generation) = directory.addresses.get(&index)?;
            (*generation == bits).then_some(*address)
        };
        if let Some(address) = known(self) {
            return Ok(Some(address));
        }
        if !self.read_if_old()? {
            return Ok(None);
        }
        Ok(known(self))
    }

    fn server(&mut self, vip: SocketAddr, address: IpAddr) -> io::Result<Option<(u32, u32)>> {
        self.refresh()?;
        let known = |directory: &Self| {
            let service = directory.ids.get(&vip)?;
            directory.indices.get(&(*service, address)).copied()
        };
        if let Some(found) = known(self) {
            return Ok(Some(found));
        }
        if !self.read_if_old()? {
            return Ok(None);
        }
        Ok(known(self))
    }
}

fn end(address: [u8; 16], port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(
        Ipv6Addr::from(address).to_canonical(),
        u16::from_be_bytes(port),
    )
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
