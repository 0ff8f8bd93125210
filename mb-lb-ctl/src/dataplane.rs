//! The kernel's half as the controller sees it: loads, pins and attaches the program; applies plans; sweeps and audits.
//!
//! [`Dataplane`] blocks (system calls, and the sweep takes as long as the table is large), so it lives on a thread
//! of its own; `run` talks to it by channels.

mod arena;
mod flows;
mod kernel;
mod leases;
mod load;
mod sweep;
mod sync;
mod sys;
mod syscall;
mod trace;
mod via;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use aya::programs::{TestRun, TestRunOptions, Xdp};
use mb_lb_common::{
    AuditCell, PendingWindow, Reason, Server, ServerCount, ServerStats, TableState, maps,
};

pub use flows::{FlowEntry, HalfEntry};
pub use leases::Leases;
pub use sync::{Applied, FlowSync, Removed, Seen, Walk};
pub use trace::{Candidate, Segment, Traced, trace};
pub use via::detach as detach_vias;

pub use load::{LoadError, Mode, detach, interfaces, is_attached, lock_root, object, pin_dir};

use crate::config::{FlowTimeouts, XdpMode};
use crate::plan::{self, Desired, Image, Op, TableCache};
use kernel::Kernel;
use load::{Loaded, io_error};
use sweep::{Drift, Empty, Sweeper, Swept};
use sys::{PerCpuTable, Table};

/// Time between two comparisons of what is in the kernel with what should be.
const READ_BACK: Duration = Duration::from_secs(30);

/// A sweep that took long is followed by a rest of so many times its length: it costs one CPU 5 % at most.
const REST: u32 = 20;

/// What the data plane counts.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By index.
    pub servers: BTreeMap<u32, ServerReading>,
    /// Packets, in the order of [`Reason`].
    pub reasons: Vec<u64>,
    /// A sweep was run for this report; else `flows` and what was audited are of an earlier one.
    pub swept: bool,
    /// Flows in the table after the sweep.
    pub flows: u64,
    pub table_full: u64,
    pub sweeps: u64,
    pub sweep_took: Duration,
    /// Entries that the last comparisons found wrong and put right, as text.
    pub repaired: Vec<String>,
    /// All of them since the start.
    pub repairs: u64,
    /// A link that was there is not pinned any more: somebody has detached the program.
    pub detached: bool,
    /// What the sweep or the comparison could not do.
    pub error: Option<String>,
}

/// Counts of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerReading {
    pub active: i64,
    pub pending: u64,
    pub opened: u64,
    pub closed: u64,
    pub expired: u64,
    pub refused: u64,
    pub full: bool,
    pub packets: u64,
    pub bytes: u64,
    /// Flows that the sweep found: counted, and not.
    pub audited: u32,
    pub uncounted: u32,
    /// Proven drift, corrected by now.
    pub drift: i64,
}

/// What an earlier controller left in the kernel.
#[derive(Clone, Debug, Default)]
pub struct Adopted {
    pub image: Image,
    /// Generations of indices that are free now but were used.
    pub generations: BTreeMap<u32, u32>,
}

/// The loaded and adopted data plane.
pub struct Dataplane {
    loaded: Loaded,
    kernel: Kernel,
    sweeper: Sweeper,
    sync_program: OwnedFd,
    audit: Table<u32, AuditCell>,
    table: Table<u32, TableState>,
    stats: PerCpuTable<ServerStats>,
    reasons: PerCpuTable<u64>,
    flows: flows::FlowTables,
    drift: BTreeMap<u32, Drift>,
    cache: TableCache,
    /// What was applied last.
    image: Image,
    timeouts: FlowTimeouts,
    read_back_at: Instant,
    sweep_at: Instant,
    /// The last sweep, and what it found by server.
    swept: Swept,
    empty: Empty,
    audited: BTreeMap<u32, AuditCell>,
    sweeps: u64,
    repairs: u64,
    max_flows: u32,
    vias: via::Vias,
}

impl Dataplane {
    /// Loads the program and adopts the pinned maps, or creates them. Attaches nothing.
    pub fn open(root: &Path, max_flows: u32) -> Result<Self, LoadError> {
        let loaded = load::load(root, max_flows)?;
        let pins = loaded.pins.clone();
        let sweeper = Sweeper::load(object(), |name| loaded.map_fd(name))
            .map_err(io_error("cannot load the sweep"))?;
        let kernel = Kernel::open(&pins).map_err(io_error("cannot open the pinned maps"))?;
        kernel
            .set_settings(&sweeper.settings())
            .map_err(io_error("cannot write the settings"))?;
        let open = |name: &str| pins.join(name);
        let map_error = || io_error("cannot open the pinned maps");
        let flows = flows::FlowTables::open(&pins).map_err(map_error())?;
        Ok(Self {
            image: kernel.image().map_err(map_error())?,
            kernel,
            audit: Table::open(&open(maps::AUDIT)).map_err(map_error())?,
            table: Table::open(&open(maps::TABLE)).map_err(map_error())?,
            stats: PerCpuTable::open(&open(maps::SERVER_STATS)).map_err(map_error())?,
            reasons: PerCpuTable::open(&open(maps::REASONS)).map_err(map_error())?,
            max_flows: flows.max_flows().map_err(map_error())?,
            flows,
            sweeper,
            sync_program: sync::load_program(&loaded)?,
            loaded,
            drift: BTreeMap::new(),
            cache: TableCache::default(),
            timeouts: FlowTimeouts::default(),
            read_back_at: Instant::now() + READ_BACK,
            sweep_at: Instant::now(),
            swept: Swept::default(),
            empty: Empty::default(),
            audited: BTreeMap::new(),
            sweeps: 0,
            repairs: 0,
            vias: via::Vias::default(),
        })
    }

    /// The maps were there already.
    pub const fn adopted(&self) -> bool {
        self.loaded.adopted
    }

    /// Room for flows per family. That of the pinned maps, which may not be what the configuration says.
    pub const fn max_flows(&self) -> u32 {
        self.max_flows
    }

    /// The eBPF object in use, for its logger.
    pub fn ebpf(&mut self) -> &mut aya::Ebpf {
        &mut self.loaded.ebpf
    }

    /// The flows for whoever keeps a peer in step, on handles of its own.
    pub fn flow_sync(&self) -> Result<FlowSync, LoadError> {
        let program = self.sync_program.try_clone();
        let program = program.map_err(io_error("cannot open flow sync"))?;
        FlowSync::open(&self.loaded.pins, program, self.sweeper.hz())
    }

    pub fn pins(&self) -> &Path {
        &self.loaded.pins
    }

    /// What is in the kernel now, for the engine to start from.
    pub fn adopt(&self) -> Result<Adopted, LoadError> {
        let mut generations = BTreeMap::new();
        for index in 0..mb_lb_common::MAX_SERVERS {
            let generation = self
                .kernel
                .generation(index)
                .map_err(io_error("cannot read the servers"))?;
            if generation != 0 {
                generations.insert(index, generation);
            }
        }
        Ok(Adopted {
            image: self.image.clone(),
            generations,
        })
    }

    /// Attaches to an interface, or replaces the program there.
    pub fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        mode: XdpMode,
    ) -> Result<Mode, LoadError> {
        load::attach(&mut self.loaded, interface, ifindex, mode)
    }

    /// Has checks go through these VIPs, each by the mark of its place in the list, on the interfaces that carry the program.
    ///
    /// # Errors
    /// What the kernel refused, in words; then checks must not use a mark.
    pub fn set_vias(
        &mut self,
        vips: &[std::net::IpAddr],
        interfaces: &[(String, u32)],
    ) -> Result<(), String> {
        self.vias.set(&mut self.loaded.ebpf, vips, interfaces)
    }

    /// Detaches from every interface that is not in `keep`.
    pub fn detach_others(&mut self, keep: &[u32]) -> Result<(), LoadError> {
        for ifindex in load::attached(&self.loaded.pins).into_keys() {
            if !keep.contains(&ifindex) {
                load::detach_interface(&self.loaded.pins, ifindex)?;
            }
        }
        Ok(())
    }

    /// Makes the kernel what is desired. Returns the operations that were done. One that is refused does not hold up
    /// those of other services; the first error is returned.
    pub fn apply(&mut self, desired: &Desired) -> Result<Vec<Op>, LoadError> {
        self.timeouts = desired.timeouts;
        let image = desired.image(&mut self.cache);
        let ops = plan::diff(&self.image, &image);
        // Before the first flow can come.
        self.empty.serve(image.listens.keys());
        let mut refused = None;
        for op in &ops {
            // What could not be replaced may still be pointed at: then nothing is taken away.
            let takes_away = matches!(
                op,
                Op::RemoveListen { .. }
                    | Op::ClearService { .. }
                    | Op::ClearServer { .. }
                    | Op::ClearPort { .. }
            );
            if takes_away && refused.is_some() {
                continue;
            }
            let applied = match op {
                Op::ResetCounts { index } => self.stats.clear(*index),
                _ => Ok(()),
            };
            match applied.and_then(|()| self.kernel.apply(op)) {
                Ok(()) => plan::apply(&mut self.image, op),
                Err(error) => {
                    refused.get_or_insert_with(|| {
                        io_error(format!("the kernel refused «{op}»"))(error)
                    });
                }
            }
        }
        if let Some(error) = refused {
            return Err(error);
        }
        Ok(ops)
    }

    /// Compares the kernel with what was applied, and puts right what differs.
    fn read_back(&mut self) -> std::io::Result<Vec<String>> {
        let actual = self.kernel.image()?;
        // Counts belong to the data plane: a repair never resets them.
        let ops: Vec<Op> = plan::diff(&actual, &self.image)
            .into_iter()
            .filter(|op| !matches!(op, Op::ResetCounts { .. }))
            .collect();
        for op in &ops {
            self.kernel.apply(op)?;
        }
        self.repairs += ops.len() as u64;
        Ok(ops.iter().map(ToString::to_string).collect())
    }

    /// Expires, audits and reads all counters; every 30 s also compares the maps.
    pub fn tick(&mut self) -> Report {
        let mut report = Report::default();
        if let Err(error) = self.fill(&mut report) {
            report.error = Some(format!("reading the data plane: {error}"));
        }
        if Instant::now() >= self.read_back_at {
            self.read_back_at = Instant::now() + READ_BACK;
            match self.read_back() {
                Ok(repaired) => report.repaired = repaired,
                Err(error) => report.error = Some(format!("comparing the maps: {error}")),
            }
        }
        report.repairs = self.repairs;
        let links = load::attached(&self.loaded.pins);
        report.detached = self
            .image
            .ports
            .values()
            .any(|port| !links.contains_key(&port.ifindex));
        report
    }

    fn fill(&mut self, report: &mut Report) -> std::io::Result<()> {
        let indices: Vec<u32> = self.image.servers.keys().copied().collect();
        let now = Instant::now();
        report.swept = now >= self.sweep_at;
        let before = self.counts(&indices)?;
        if report.swept {
            let listens = self.image.listens.keys();
            self.swept = self
                .sweeper
                .sweep(&self.timeouts, &mut self.empty, listens)?;
            self.sweep_at = now + self.swept.took * REST;
            self.sweeps += 1;
            self.audited.clear();
        }
        let after = self.counts(&indices)?;
        let epoch = (self.sweeper.jiffies()? >> self.sweeper.settings().window_shift) as u32;
        self.drift.retain(|index, _| after.contains_key(index));
        for (&index, count) in &after {
            let mut drift = 0;
            if report.swept {
                let cell = self
                    .audit
                    .get(&index)?
                    .filter(|cell| cell.pass == self.swept.pass)
                    .unwrap_or_default();
                self.audited.insert(index, cell);
                if let Some(before) = before.get(&index) {
                    let judge = self.drift.entry(index).or_default();
                    drift = judge.judge(before, count, cell.counted).unwrap_or(0);
                }
            }
            let cell = self.audited.get(&index).copied().unwrap_or_default();
            if drift != 0 {
                self.sweeper.correct(index, -(drift as i32))?;
                self.drift.remove(&index);
            }
            let cap = self
                .image
                .servers
                .get(&index)
                .map_or(0, |server| server.max_connections);
            let (mut packets, mut bytes) = (0, 0);
            for stats in self.stats.get(index)? {
                packets += stats.packets;
                bytes += stats.bytes;
            }
            report.servers.insert(
                index,
                ServerReading {
                    active: count.active,
                    pending: pending(count, epoch),
                    opened: count.opened,
                    closed: count.closed,
                    expired: count.expired,
                    refused: count.refused,
                    full: count.full != 0 && lingers_at_cap(count.active, cap),
                    packets,
                    bytes,
                    audited: cell.counted,
                    uncounted: cell.uncounted,
                    drift,
                },
            );
        }
        for reason in Reason::ALL {
            report
                .reasons
                .push(self.reasons.get(*reason as u32)?.iter().sum());
        }
        report.flows = u64::from(self.swept.flows);
        report.sweeps = self.sweeps;
        report.sweep_took = self.swept.took;
        report.table_full = self.table.get(&0)?.map_or(0, |table| table.full_total);
        Ok(())
    }

    fn counts(&self, indices: &[u32]) -> std::io::Result<BTreeMap<u32, ServerCount>> {
        let mut counts = BTreeMap::new();
        for &index in indices {
            if let Some(count) = self.kernel.counts.get(&index)? {
                counts.insert(index, count);
            }
        }
        Ok(counts)
    }

    /// Up to `limit` flows, and whose they are.
    pub fn flows(&self, limit: usize) -> Result<Vec<FlowEntry>, LoadError> {
        let jiffies = self
            .sweeper
            .jiffies()
            .map_err(io_error("cannot read the clock"))?;
        self.flows
            .list(limit, jiffies, self.sweeper.hz())
            .map_err(io_error("cannot read the flow table"))
    }

    /// Runs the loaded program once on a frame, as if it had come in on the loopback interface of this network
    /// namespace (ifindex 1), with the maps as they are. It counts and remembers like any other packet.
    ///
    /// Returns the XDP action (2 pass, 1 drop, 3 transmit, 4 redirect) and the frame as the program left it.
    ///
    /// # Errors
    /// The kernel's; it refuses frames shorter than an Ethernet header.
    pub fn run_packet(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), LoadError> {
        let refused = |error: &dyn std::fmt::Display| {
            io_error("cannot run the program")(std::io::Error::other(error.to_string()))
        };
        let program: &mut Xdp = self
            .loaded
            .ebpf
            .program_mut("mb_lb")
            .ok_or_else(|| refused(&"not loaded"))?
            .try_into()
            .map_err(|error: aya::programs::ProgramError| refused(&error))?;
        let mut out = vec![0; frame.len() + 64];
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ..TestRunOptions::default()
            })
            .map_err(|error| refused(&error))?;
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value, out))
    }

    /// Up to `limit` entries of the half-open table.
    pub fn halves(&self, limit: usize) -> Result<Vec<HalfEntry>, LoadError> {
        self.flows
            .halves(limit)
            .map_err(io_error("cannot read the half-open table"))
    }

    /// What the kernel holds of a server.
    pub fn record(&self, index: u32) -> Result<(Option<Server>, ServerCount), LoadError> {
        let count = self
            .kernel
            .counts
            .get(&index)
            .map_err(io_error("cannot read the counts"))?
            .unwrap_or_default();
        let actual = self
            .kernel
            .server(index)
            .map_err(io_error("cannot read the servers"))?;
        Ok((actual, count))
    }
}

/// Whether a server that was at its cap still is. The program asks only when it chooses, so its mark can be old.
fn lingers_at_cap(active: i64, cap: u32) -> bool {
    cap != 0 && active * 4 >= i64::from(cap) * 3
}

/// SYNs in the present window and the last.
fn pending(count: &ServerCount, epoch: u32) -> u64 {
    count
        .pending
        .iter()
        .map(|&word| PendingWindow(word))
        .filter(|window| window.epoch() == epoch || window.epoch().wrapping_add(1) == epoch)
        .map(|window| u64::from(window.count()))
        .sum()
}
