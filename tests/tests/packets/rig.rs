//! The program under test with maps of its own, and what can be seen of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use aya::maps::{Map, MapData, PerCpuArray};
use mb_lb_common::{
    Reason, SERVER_ACCEPT, SERVER_PRESENT, SERVER_RESET, Server, ServerCount, Service, maps,
};
use mb_lb_ctl::config::{FlowTimeouts, Scheduler};
use mb_lb_ctl::dataplane::{Dataplane, Report};
use mb_lb_ctl::plan::{Desired, DesiredService, mapped, service_key};
use mb_lb_ctl::schedule::{Candidate, PoolSpec, WEIGHT_SCALE};
use mb_lb_tests::wait_until;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::frame::{OWN_MAC, vip};

pub const DROP: u32 = 1;
pub const PASS: u32 = 2;
pub const TX: u32 = 3;
pub const REDIRECT: u32 = 4;

/// Flows that a test's tables hold where it does not say otherwise.
pub const ROOM: u32 = 4096;
/// Interface that frames come in on: the loopback's, as BPF_PROG_TEST_RUN has it.
pub const IFINDEX: u32 = 1;
/// The shortest time that a SYN is in the load metric: one window, less what may be lost by rounding.
pub const WINDOW: Duration = Duration::from_millis(700);

/// Accepts flows.
pub const READY: u8 = SERVER_PRESENT | SERVER_ACCEPT;
/// Keeps its flows, accepts none.
pub const DRAIN: u8 = SERVER_PRESENT;
/// Failed, with `on_down = "reset"`.
pub const FAILED: u8 = SERVER_PRESENT | SERVER_RESET;

/// What one packet did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub reason: Reason,
    /// `XDP_*`.
    pub action: u32,
    pub out: Vec<u8>,
}

pub struct Rig {
    pub plane: Dataplane,
    pub desired: Desired,
    counters: PerCpuArray<MapData, u64>,
    seen: Vec<u64>,
    sweeps: u64,
}

/// The MAC address of a server's next hop.
pub fn mac_of(server: u32) -> [u8; 6] {
    let [_, _, high, low] = server.to_be_bytes();
    [0x02, 0, 0x5e, 0x01, high, low]
}

impl Rig {
    pub fn new() -> Self {
        Self::with_room(ROOM)
    }

    /// `max_flows` per family.
    pub fn with_room(max_flows: u32) -> Self {
        private_bpffs();
        let root = Path::new("/sys/fs/bpf/mb-lb");
        // By `Display`: what the verifier says has many lines.
        let plane = Dataplane::open(root, max_flows).unwrap_or_else(|error| panic!("{error}"));
        assert!(!plane.adopted(), "maps of another test");
        let pin = MapData::from_pin(plane.pins().join(maps::REASONS)).expect("a pinned map");
        let counters =
            PerCpuArray::try_from(Map::PerCpuArray(pin)).expect("a per-CPU array of 8 bytes");
        let desired = Desired {
            ports: BTreeMap::from([(IFINDEX, OWN_MAC)]),
            ..Desired::default()
        };
        Self {
            plane,
            desired,
            counters,
            seen: vec![0; Reason::ALL.len()],
            sweeps: 0,
        }
    }

    /// A service at the VIPs of both families on `port`; its index is the port's. Servers are index and weight.
    pub fn service(&mut self, port: u16, scheduler: Scheduler, servers: &[(u32, u32)]) {
        let id = service_id(port);
        for family in Family::BOTH {
            let key = service_key(SocketAddr::new(vip(family), port));
            let name_hash = u32::from(port);
            self.desired.listens.insert(key, Service { id, name_hash });
        }
        for &(index, _) in servers {
            self.desired
                .servers
                .entry(index)
                .or_insert_with(|| server(index, id));
        }
        self.pool(port, scheduler, servers);
    }

    /// Gives a service another pool.
    pub fn pool(&mut self, port: u16, scheduler: Scheduler, servers: &[(u32, u32)]) {
        let candidates = servers
            .iter()
            .map(|&(server, weight)| Candidate {
                server,
                weight: weight * WEIGHT_SCALE,
                max_connections: self.desired.servers[&server].max_connections,
                identity: mb_lb_common::mix(u64::from(server) + 1),
            })
            .collect();
        let pool = PoolSpec {
            scheduler,
            configured: servers.len(),
            candidates,
        };
        let flags = self
            .desired
            .services
            .get(&service_id(port))
            .map_or(0, |service| service.flags);
        self.desired
            .services
            .insert(service_id(port), DesiredService { flags, pool });
    }

    /// Sets a service's `SERVICE_*` bits.
    pub fn flags(&mut self, port: u16, flags: u32) {
        self.desired
            .services
            .get_mut(&service_id(port))
            .expect("a service of this rig")
            .flags = flags;
    }

    /// Sets a server's `SERVER_*` bits.
    pub fn mark(&mut self, index: u32, flags: u8) {
        self.record(index).link = Server::link(mac_of(index), flags);
    }

    /// A server's record, to change it.
    pub fn record(&mut self, index: u32) -> &mut Server {
        self.desired
            .servers
            .get_mut(&index)
            .expect("a server of this rig")
    }

    pub fn apply(&mut self) {
        self.plane
            .apply(&self.desired)
            .expect("the kernel takes the plan");
    }

    pub fn timeouts(&mut self, timeouts: FlowTimeouts) {
        self.desired.timeouts = timeouts;
        self.apply();
    }

    /// One packet. Exactly one counter must have moved, by one.
    pub fn send(&mut self, frame: &[u8]) -> Ran {
        let (action, out) = self.plane.run_packet(frame).expect("the kernel runs it");
        let now = self.read();
        let moved: Vec<(Reason, u64)> = Reason::ALL
            .iter()
            .zip(now.iter().zip(&self.seen))
            .filter(|(_, (now, seen))| now != seen)
            .map(|(reason, (now, seen))| (*reason, now - seen))
            .collect();
        self.seen = now;
        let [(reason, 1)] = moved[..] else {
            panic!("one packet moved the counters {moved:?}");
        };
        Ran {
            reason,
            action,
            out,
        }
    }

    /// As [`Rig::send`], where the reason does not matter: quicker.
    pub fn run(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        self.plane.run_packet(frame).expect("the kernel runs it")
    }

    /// The server that a frame went to.
    pub fn server_of(&mut self, frame: &[u8]) -> u32 {
        let (action, out) = self.run(frame);
        assert_eq!(action, TX, "not forwarded");
        server_at(&out)
    }

    /// The counter of a reason.
    pub fn counter(&self, reason: Reason) -> u64 {
        self.counters
            .get(&(reason as u32), 0)
            .expect("a counter")
            .iter()
            .sum()
    }

    fn read(&self) -> Vec<u64> {
        Reason::ALL.iter().map(|r| self.counter(*r)).collect()
    }

    /// Catches up with what [`Rig::run`] has counted.
    pub fn settle(&mut self) {
        self.seen = self.read();
    }

    pub fn count(&self, server: u32) -> ServerCount {
        self.plane.record(server).expect("the maps are there").1
    }

    pub fn active(&self, server: u32) -> i64 {
        self.count(server).active
    }

    /// Sweeps, audits, reads: with no drift and no error. The data plane may rest from its last sweep; waits for the
    /// next.
    #[track_caller]
    pub fn tick(&mut self) -> Report {
        let report = wait_until("a sweep", Duration::from_secs(20), || {
            match self.plane.tick() {
                report if report.sweeps > self.sweeps || report.error.is_some() => Ok(report),
                report => Err(format!("{} sweeps", report.sweeps)),
            }
        });
        self.sweeps = report.sweeps;
        assert_eq!(report.error, None);
        assert!(report.repaired.is_empty(), "{:?}", report.repaired);
        for (index, reading) in &report.servers {
            assert_eq!(reading.drift, 0, "drift of server {index}");
        }
        report
    }

    /// SYNs that the load metric counts for a server.
    pub fn pending(&mut self, server: u32) -> u64 {
        self.tick().servers[&server].pending
    }

    /// The counts are those of the flows in the table, server by server.
    #[track_caller]
    pub fn audit(&mut self) {
        let report = self.tick();
        let mut counted: BTreeMap<u32, i64> = BTreeMap::new();
        let flows = self.plane.flows(usize::MAX).expect("the table is there");
        for flow in flows.iter().filter(|flow| flow.state.is_counted()) {
            *counted.entry(flow.server).or_default() += 1;
        }
        for (index, reading) in &report.servers {
            let found = counted.remove(index).unwrap_or(0);
            assert_eq!(reading.active, found, "count of server {index}");
            assert_eq!(i64::from(reading.audited), found, "audit of server {index}");
            let moved = reading.opened as i64 - reading.closed as i64 - reading.expired as i64;
            assert_eq!(moved, found, "opened and closed of server {index}");
        }
        assert_eq!(counted, BTreeMap::new(), "flows of servers that are not");
        assert_eq!(report.flows, flows.len() as u64);
    }
}

/// The server whose MAC address a frame that came out has.
#[track_caller]
pub fn server_at(out: &[u8]) -> u32 {
    let server = u32::from_be_bytes([0, 0, out[4], out[5]]);
    assert_eq!(out[..6], mac_of(server), "not to a server");
    server
}

/// A record of the first generation that is ready.
pub fn server(index: u32, service: u32) -> Server {
    let [_, _, high, low] = index.to_be_bytes();
    Server {
        link: Server::link(mac_of(index), READY),
        generation: 1,
        ifindex: IFINDEX,
        max_connections: 0,
        service,
        address: mapped([10, 77, high, low].into()),
        name_hash: u64::from(index) + 1,
        reserved: [0; 16],
    }
}

const fn service_id(port: u16) -> u32 {
    port as u32 % mb_lb_common::MAX_SERVICES
}

/// Timeouts that end every flow which is silent for so long.
pub const fn all_timeouts(silent: Duration) -> FlowTimeouts {
    FlowTimeouts {
        established: silent,
        half_closed: silent,
        closing: silent,
        reset: silent,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

/// A BPF file system that this thread alone sees, where the controller expects one. It and its pins go with the
/// thread, however the thread ends.
fn private_bpffs() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace of its own (root is needed)");
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .expect("mounts stay inside the namespace");
    mount(
        Some("bpf"),
        "/sys/fs/bpf",
        Some("bpf"),
        MsFlags::empty(),
        Some("mode=0700"),
    )
    .expect("a BPF file system (root is needed)");
}

/// Packets in a randomised test: `default`, or what `MB_LB_TEST_PACKETS` says.
pub fn packets(default: usize) -> usize {
    match std::env::var("MB_LB_TEST_PACKETS") {
        Ok(text) => text.parse().expect("MB_LB_TEST_PACKETS is a number"),
        Err(_) => default,
    }
}
