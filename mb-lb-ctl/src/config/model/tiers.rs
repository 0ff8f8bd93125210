//! `[galera.NAME]`, `[sentinel.NAME]` and `[storage.NAME]` after parsing.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::{Forward, OnDown, Scheduler, Secret, Server, ServerTls, Service};

/// A database node, or a Redis server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TierServer {
    pub name: String,
    pub address: SocketAddr,
    /// 0 to 256, default 1; with [`GaleraMode::Any`] its share of new connections. 0: never chosen.
    pub weight: u16,
    /// 1 to 255, default 100: the highest that is usable becomes the writer; equal ones by name.
    pub priority: u8,
    /// `None`: no cap. 1 to 1,000,000.
    pub max_connections: Option<u32>,
}

/// `[galera.NAME]`: clients of `listen` are brought to a node that is synced with the primary component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Galera {
    pub name: String,
    /// At least one.
    pub listen: Vec<SocketAddr>,
    pub mode: GaleraMode,
    /// Of MariaDB; needs no more than USAGE.
    pub user: String,
    /// `None`: the user has none.
    pub password: Option<Secret>,
    /// `None`: in clear.
    pub tls: Option<ServerTls>,
    /// From one round to the next. 100ms to 1h, default 1s.
    pub interval: Duration,
    /// Of all that is asked of one node in a round. 10ms to 60s, default 800ms.
    pub timeout: Duration,
    /// Good answers until a node that was not usable is. 1 to 255, default 3.
    pub rise: u8,
    /// Rounds without an answer until a node is not usable. 1 to 255, default 3.
    pub fall: u8,
    /// A donor whose state transfer does not block it (`wsrep_sst_method=mariabackup`) counts as usable. Default false.
    pub allow_donor: bool,
    /// Nodes that belong to the cluster. Default: the number of `servers`.
    pub expected_size: u32,
    /// Write sets that wait at a node before that is an alarm. Default 100.
    pub max_receive_queue: u32,
    /// Share of the time between two rounds that a node may be paused by flow control before that is an alarm, in percent.
    /// 1 to 100, default 10.
    pub max_flow_control: u8,
    /// In the order of the file; at least one, at most 32.
    pub servers: Vec<TierServer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GaleraMode {
    /// All clients at one node. The default.
    SingleWriter,
    /// Weighted least connections over all usable nodes.
    Any,
}

impl GaleraMode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::SingleWriter => "single-writer",
            Self::Any => "any",
        }
    }
}

/// `[sentinel.NAME]`: clients of `listen` are brought to the master that a majority of the Sentinels names and that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sentinel {
    pub name: String,
    /// At least one.
    pub listen: Vec<SocketAddr>,
    /// What the Sentinels call the master. Default: the name of the section.
    pub master: String,
    /// At least one, at most 15.
    pub sentinels: Vec<SocketAddr>,
    /// Redis servers. Default: one at the address of each Sentinel, port 6379, named by that address.
    pub servers: Vec<TierServer>,
    /// Of Redis' ACLs. `None`: the default user.
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub tls: Option<ServerTls>,
    pub sentinel_user: Option<String>,
    /// `None`: the Sentinels ask for none.
    pub sentinel_password: Option<Secret>,
    pub sentinel_tls: Option<ServerTls>,
    /// From one round to the next; what Sentinels publish begins one at once. 50ms to 1h, default 500ms.
    pub interval: Duration,
    /// Of one question. 10ms to 60s, default 400ms.
    pub timeout: Duration,
}

/// `[storage.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Storage {
    pub name: String,
    pub kind: StorageKind,
    /// Where it is mounted on this director. With [`StorageKind::Mount`] always given. Absolute.
    pub mount: Option<PathBuf>,
    /// A file is written, read back and removed on the mount. Default true.
    pub write_probe: bool,
    /// From one round to the next. 100ms to 1h, default 5s.
    pub interval: Duration,
    /// Of each question. 10ms to 60s, default 2s.
    pub timeout: Duration,
    /// Rounds until good again. 1 to 255, default 2.
    pub rise: u8,
    /// Rounds until failed. 1 to 255, default 2.
    pub fall: u8,
    /// Percent of the blocks and of the inodes that have to be free, else it has failed. 0 to 99, default 5. The alarm
    /// comes at three times as much.
    pub min_free: u8,
    /// What takes longer is an alarm. Default 250ms.
    pub max_latency: Duration,
    /// Services, or servers of services, that take no new client while it has failed.
    pub takes_out: Vec<TakesOut>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageKind {
    Nfs {
        server: IpAddr,
        /// Path of the export. `None`: only the server is looked at.
        export: Option<String>,
        /// Default 2049.
        port: u16,
        /// Which versions are spoken. Default 3 and 4: an answer in one of the two will do.
        version: NfsVersion,
        /// A file is written, read back and removed over NFSv3, from a port below 1024 and as root, without a mount.
        /// Default false.
        export_probe: bool,
    },
    Glusterfs {
        /// At least one, at most 32.
        servers: Vec<IpAddr>,
        volume: String,
        /// Of glusterd. Default 24007.
        port: u16,
        /// Program that prints `gluster volume heal VOLUME info summary --xml`, run by the active director only. Empty:
        /// none.
        heal_command: Vec<String>,
        /// Default 60s.
        heal_interval: Duration,
    },
    Mount,
}

impl StorageKind {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Nfs { .. } => "nfs",
            Self::Glusterfs { .. } => "glusterfs",
            Self::Mount => "mount",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NfsVersion {
    #[serde(rename = "3")]
    V3,
    #[serde(rename = "4")]
    V4,
    #[serde(rename = "any")]
    Any,
}

/// `"SERVICE"` or `"SERVICE/SERVER"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TakesOut {
    pub service: String,
    pub server: Option<String>,
}

/// As far as clients, admin states and weights go, a tier with `listen` is a service in user mode.
fn as_service(
    name: &str,
    listen: &[SocketAddr],
    scheduler: Scheduler,
    servers: &[TierServer],
) -> Service {
    let server = |server: &TierServer| Server {
        name: server.name.clone(),
        address: server.address.ip(),
        weight: server.weight,
        max_connections: server.max_connections,
        backup: false,
        port: Some(server.address.port()),
        send_proxy: None,
    };
    Service {
        name: name.to_owned(),
        listen: listen.to_vec(),
        forward: Forward::Proxy,
        scheduler,
        // What is known of its servers comes from the tier.
        check: None,
        agent: None,
        on_down: OnDown::Reset,
        no_server: None,
        slow_start: Duration::ZERO,
        min_up: 0,
        follows: Vec::new(),
        servers: servers.iter().map(server).collect(),
    }
}

impl Galera {
    pub fn as_service(&self) -> Service {
        as_service(
            &self.name,
            &self.listen,
            Scheduler::Leastconn,
            &self.servers,
        )
    }
}

impl Sentinel {
    pub fn as_service(&self) -> Service {
        as_service(
            &self.name,
            &self.listen,
            Scheduler::Leastconn,
            &self.servers,
        )
    }
}

impl std::fmt::Display for TakesOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.server {
            Some(server) => write!(f, "{}/{server}", self.service),
            None => f.write_str(&self.service),
        }
    }
}
