//! What would become of a packet: the real program, run once on maps of its own that hold what the pinned ones hold.
//!
//! The pinned maps are only read. The copies are pinned on a BPF file system in a mount namespace of this thread's own,
//! so nothing is left of them, however the process ends.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use etherparse::PacketBuilder;
use mb_lb_common::{
    Flow, FlowKey4, FlowKey6, FlowWord, Half, HalfWord, Port, Reason, Server, ServerCount,
    ServiceCursor, Settings, TableState, maps,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::kernel::Kernel;
use super::load::{LoadError, io_error, pin_dir};
use super::sys::Table;
use super::{Dataplane, pending};
use crate::plan::{self, Image};

/// Test runs come in on the loopback interface.
const IFINDEX: u32 = 1;
const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// Half-open and established flows of one packet need no more.
const ROOM: u32 = 1024;
/// Readings of the maps while they change, at most.
const READINGS: usize = 5;

/// What comes from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    Syn,
    Ack,
    Fin,
    Rst,
}

/// What the program did, and on what grounds.
#[derive(Clone, Debug)]
pub struct Traced {
    pub reason: Reason,
    /// Index of the service in the kernel; `None`: none listens there.
    pub service: Option<u32>,
    /// `SCHEDULER_*` of the service.
    pub scheduler: u32,
    /// The server that an established flow of this client belongs to.
    pub flow: Option<u32>,
    /// The same of an entry in the half-open table.
    pub half: Option<u32>,
    pub chosen: Option<u32>,
    /// Next hop of the frame that came out, where it goes to a server.
    pub mac: Option<[u8; 6]>,
    /// Of the service, by index.
    pub servers: Vec<Candidate>,
}

/// A server of the service as the kernel has it.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub index: u32,
    pub record: Server,
    pub active: i64,
    pub pending: u64,
    /// At its cap.
    pub full: bool,
}

/// What a packet meets in the pinned maps.
struct Original {
    image: Image,
    counts: Vec<(u32, ServerCount)>,
    cursors: Vec<(u32, ServiceCursor)>,
    settings: Settings,
    table: TableState,
    takeover: u64,
    flow: Option<Flow>,
    half: Option<Half>,
}

/// Addresses of the two ends, both of one family.
#[derive(Clone, Copy)]
struct Ends {
    client: SocketAddr,
    vip: SocketAddr,
}

/// Runs the program of this build on a segment from `client` to `vip`. Changes nothing outside this thread, which has a mount
/// namespace of its own from then on.
///
/// # Errors
/// Where nothing is pinned below `root`, or the kernel refuses something (root is needed).
pub fn trace(
    root: &Path,
    client: SocketAddr,
    vip: SocketAddr,
    segment: Segment,
) -> Result<Traced, LoadError> {
    let ends = Ends { client, vip };
    let original =
        Original::read(&pin_dir(root), ends).map_err(io_error("cannot read the pinned maps"))?;
    hide(root).map_err(io_error("cannot make a place for copies of the maps"))?;
    let mut plane = Dataplane::open(root, ROOM)?;
    original
        .copy_to(&mut plane, ends)
        .map_err(io_error("cannot copy the maps"))?;
    let mac = original.mac();
    let (_action, out) = plane.run_packet(&frame(ends, mac, segment, original.next()))?;
    original
        .judge(&plane, ends, &out)
        .map_err(io_error("cannot read what the program did"))
}

/// Puts an empty BPF file system over `root`, for this thread only.
fn hide(root: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let options = Some("mode=0700");
    mount(Some("bpf"), root, Some("bpf"), MsFlags::empty(), options)?;
    Ok(())
}

impl Original {
    /// The controller may be writing: what is read twice the same is whole.
    fn read(pins: &Path, ends: Ends) -> io::Result<Self> {
        let mut last: Option<Image> = None;
        for _ in 0..READINGS {
            let kernel = Kernel::open(pins)?;
            let image = kernel.image()?;
            if last.as_ref() == Some(&image) {
                return Self::around(pins, ends, &kernel, image);
            }
            last = Some(image);
        }
        Err(io::Error::other("they do not stop changing; try again"))
    }

    fn around(pins: &Path, ends: Ends, kernel: &Kernel, image: Image) -> io::Result<Self> {
        let open = |name: &str| pins.join(name);
        let cursors: Table<u32, ServiceCursor> = Table::open(&open(maps::CURSORS))?;
        let settings: Table<u32, Settings> = Table::open(&open(maps::SETTINGS))?;
        let table: Table<u32, TableState> = Table::open(&open(maps::TABLE))?;
        let takeover: Table<u32, u64> = Table::open(&open(maps::TAKEOVER))?;
        let missing = || io::Error::other("an entry is missing");
        let count = |index: &u32| Ok((*index, kernel.counts.get(index)?.ok_or_else(missing)?));
        let cursor = |id: &u32| Ok((*id, cursors.get(id)?.ok_or_else(missing)?));
        let (flow, half) = match ends.keys() {
            Keys::V4(key) => (
                Table::open(&open(maps::FLOWS4))?.get(&key)?,
                Table::open(&open(maps::HALF4))?.get(&key)?,
            ),
            Keys::V6(key) => (
                Table::open(&open(maps::FLOWS6))?.get(&key)?,
                Table::open(&open(maps::HALF6))?.get(&key)?,
            ),
        };
        Ok(Self {
            counts: image.servers.keys().map(count).collect::<io::Result<_>>()?,
            cursors: image
                .services
                .keys()
                .map(cursor)
                .collect::<io::Result<_>>()?,
            settings: settings.get(&0)?.ok_or_else(missing)?,
            table: table.get(&0)?.ok_or_else(missing)?,
            takeover: takeover.get(&0)?.ok_or_else(missing)?,
            flow,
            half,
            image,
        })
    }

    fn copy_to(&self, plane: &mut Dataplane, ends: Ends) -> io::Result<()> {
        let mut image = self.image.clone();
        let port = Port {
            ifindex: IFINDEX,
            mac: self.mac(),
            reserved: [0; 6],
        };
        image.ports.insert(IFINDEX, port);
        for op in plan::diff(&Image::default(), &image) {
            plane.kernel.apply(&op)?;
        }
        plane.kernel.set_settings(&self.settings)?;
        for (index, count) in &self.counts {
            plane.kernel.counts.set(index, count)?;
        }
        let open = |name: &str| plane.loaded.pins.join(name);
        let cursors: Table<u32, ServiceCursor> = Table::open(&open(maps::CURSORS))?;
        for (id, cursor) in &self.cursors {
            cursors.set(id, cursor)?;
        }
        plane.table.set(&0, &self.table)?;
        Table::open(&open(maps::TAKEOVER))?.set(&0, &self.takeover)?;
        match ends.keys() {
            Keys::V4(key) => {
                put(&open(maps::FLOWS4), &key, self.flow.as_ref())?;
                put(&open(maps::HALF4), &key, self.half.as_ref())
            }
            Keys::V6(key) => {
                put(&open(maps::FLOWS6), &key, self.flow.as_ref())?;
                put(&open(maps::HALF6), &key, self.half.as_ref())
            }
        }
    }

    /// The director's address, which frames for it have.
    fn mac(&self) -> [u8; 6] {
        let port = self.image.ports.values().next();
        port.map_or([0x02, 0, 0, 0, 0, 0x02], |port| port.mac)
    }

    /// Sequence number of a packet in the middle, where its flow is known: another one would not be believed.
    fn next(&self) -> u32 {
        self.flow.map_or(1, |flow| flow.client_next)
    }

    fn judge(&self, plane: &Dataplane, ends: Ends, out: &[u8]) -> io::Result<Traced> {
        let mut reason = None;
        for one in Reason::ALL {
            if plane.reasons.get(*one as u32)?.iter().sum::<u64>() > 0 {
                reason = Some(*one);
            }
        }
        let mut chosen = None;
        for &index in self.image.servers.keys() {
            if plane
                .stats
                .get(index)?
                .iter()
                .any(|stats| stats.packets > 0)
            {
                chosen = Some(index);
            }
        }
        let service = self.image.listens.get(&plan::service_key(ends.vip));
        let service = service.map(|service| service.id);
        let epoch = (plane.sweeper.jiffies()? >> self.settings.window_shift) as u32;
        let servers = self.counts.iter().filter_map(|(index, count)| {
            let record = self.image.servers.get(index)?;
            (Some(record.service) == service).then_some(Candidate {
                index: *index,
                record: *record,
                active: count.active,
                pending: pending(count, epoch),
                full: count.full != 0,
            })
        });
        let scheduler = service.and_then(|id| self.image.services.get(&id));
        Ok(Traced {
            reason: reason.ok_or_else(|| io::Error::other("it counted nothing"))?,
            service,
            scheduler: scheduler.map_or(0, |service| service.tables.scheduler),
            flow: self.flow.map(|flow| FlowWord(flow.word).server()),
            half: self.half.map(|half| HalfWord(half.word).server()),
            mac: chosen.and_then(|_| out.first_chunk().copied()),
            chosen,
            servers: servers.collect(),
        })
    }
}

fn put<K: bytemuck::Pod, V: bytemuck::Pod>(
    path: &Path,
    key: &K,
    value: Option<&V>,
) -> io::Result<()> {
    match value {
        Some(value) => Table::open(path)?.set(key, value),
        None => Ok(()),
    }
}

enum Keys {
    V4(FlowKey4),
    V6(FlowKey6),
}

impl Ends {
    fn keys(self) -> Keys {
        let client_port = self.client.port().to_be_bytes();
        let vip_port = self.vip.port().to_be_bytes();
        match (self.client.ip(), self.vip.ip()) {
            (IpAddr::V4(client), IpAddr::V4(vip)) => Keys::V4(FlowKey4 {
                client: client.octets(),
                vip: vip.octets(),
                client_port,
                vip_port,
            }),
            (client, vip) => Keys::V6(FlowKey6 {
                client: sixteen(client),
                vip: sixteen(vip),
                client_port,
                vip_port,
            }),
        }
    }
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Ethernet, IP and TCP with all checksums. `next`: sequence number of what is no SYN.
fn frame(ends: Ends, mac: [u8; 6], segment: Segment, next: u32) -> Vec<u8> {
    const WINDOW: u16 = 64240;
    const TTL: u8 = 64;
    let link = PacketBuilder::ethernet2(CLIENT_MAC, mac);
    let network = match (ends.client.ip(), ends.vip.ip()) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => link.ipv4(client.octets(), vip.octets(), TTL),
        (client, vip) => link.ipv6(sixteen(client), sixteen(vip), TTL),
    };
    let sequence = match segment {
        Segment::Syn => 1,
        Segment::Ack | Segment::Fin | Segment::Rst => next,
    };
    let tcp = network.tcp(ends.client.port(), ends.vip.port(), sequence, WINDOW);
    let tcp = match segment {
        Segment::Syn => tcp.syn(),
        Segment::Ack => tcp.ack(1),
        Segment::Fin => tcp.fin().ack(1),
        Segment::Rst => tcp.rst(),
    };
    let mut bytes = Vec::new();
    // Into memory, and without a payload that could be too long.
    let _written = tcp.write(&mut bytes, &[]);
    bytes
}
