//! The immutable view that the command line, the admin socket and (later) the page and the metrics render.
//!
//! The engine publishes a new one after every turn. Whatever is shown anywhere comes from here, so two
//! places cannot tell different stories. The JSON form is an interface: fields are added, never renamed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Raised when a field of the JSON form changes its meaning.
pub const JSON_VERSION: u32 = 1;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    pub director: String,
    /// Of the controller.
    pub build: String,
    pub pid: u32,
    /// Seconds since the controller started.
    pub uptime: u64,
    /// When that was: Unix time in milliseconds.
    #[serde(default)]
    pub started_ms: u64,
    /// Short hash of the configuration in force.
    pub config_hash: String,
    pub config_path: String,
    /// Outcome of the last reload, where it failed: the old configuration is in force.
    pub reload_error: Option<String>,
    pub dataplane: DataplaneView,
    pub services: Vec<ServiceView>,
    /// Servers that were removed from the file and whose flows go on, or ended within the last minute.
    #[serde(default)]
    pub removed: Vec<RemovedView>,
    /// Virtual routers, in the order of the file.
    #[serde(default)]
    pub vrrp: Vec<VrrpView>,
    /// The other director, where one is configured.
    #[serde(default)]
    pub peer: Option<PeerView>,
    /// `[config_sync.NAME]`, in the order of the file.
    #[serde(default)]
    pub syncs: Vec<SyncView>,
    /// `[galera.NAME]`, `[sentinel.NAME]` and `[storage.NAME]`, in this order, each in that of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierView>,
    /// What an operator has to know now, worst first; empty: all is well.
    pub alarms: Vec<Alarm>,
}

/// One virtual router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VrrpView {
    pub name: String,
    pub interface: String,
    pub virtual_router_id: u8,
    /// 2 or 3.
    pub version: u8,
    /// With the length of the prefix.
    pub addresses: Vec<String>,
    /// `active`, `backup`, `fault` or `init`.
    pub role: String,
    /// Seconds since the role began, and why it did.
    pub since: u64,
    pub cause: String,
    /// As configured, and with tracking.
    pub base_priority: u8,
    pub priority: u8,
    /// Where its adverts come from.
    pub source: Option<IpAddr>,
    /// The active director, where it is another one.
    pub active: Option<ActiveView>,
    /// A hand-over is under way; it was handed over on purpose, and a weaker peer keeps the addresses.
    pub leaving: bool,
    pub aside: bool,
    pub fault: Option<String>,
    pub tracks: Vec<TrackView>,
    /// Adverts of this virtual router that were not as they should be.
    pub rejections: Vec<RejectionView>,
    /// Changes of role since the controller started.
    pub turns: u64,
    /// Take-overs by this director, newest first, at most 10.
    pub takeovers: Vec<TakeoverView>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActiveView {
    pub address: Option<IpAddr>,
    pub priority: u8,
    /// Milliseconds since its last advert.
    pub age_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrackView {
    pub what: String,
    pub weight: i16,
    pub failed: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RejectionView {
    /// A stable word: `password`, `checksum`, `interval`, ...
    pub reason: String,
    pub text: String,
    pub count: u64,
    pub source: Option<IpAddr>,
    /// Seconds since the last.
    pub age: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TakeoverView {
    /// Unix time in milliseconds.
    pub time_ms: u64,
    pub cause: String,
    /// How long nobody advertised before: clients were without a director for no longer, unless the network needs longer.
    pub outage_ms: Option<u64>,
}

/// The other director.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerView {
    pub address: String,
    pub connected: bool,
    /// Seconds since the connection began or ended.
    pub since: u64,
    pub name: String,
    pub build: String,
    /// Why there is no connection.
    pub why: Option<String>,
    /// The peer's flows are held here, and ours there.
    pub in_sync: bool,
    pub peer_in_sync: bool,
    /// Hash of what both ought to have alike, here and there.
    pub config_hash: String,
    pub peer_config_hash: Option<String>,
    /// Name, role and priority of its virtual routers.
    pub roles: Vec<PeerRoleView>,
    /// Changes of flows and flows of snapshots.
    pub sent: u64,
    pub received: u64,
    /// Received ones that changed the table; that name what is not configured here; that found the table full.
    pub applied: u64,
    pub unplaced: u64,
    pub full: u64,
    /// Changes that found the ring buffer full; each time all flows are sent anew.
    pub lost: u64,
    /// Flows of the last snapshot that the peer could not place.
    pub peer_unplaced: u64,
    pub round_trip_us: Option<u64>,
    /// Milliseconds by which the peer's clock is ahead of this one's, negative where it is behind; right to half the round trip.
    pub clock_ahead_ms: Option<i64>,
    /// Connections and messages that were refused, by reason.
    pub refused: BTreeMap<String, u64>,
    pub error: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerRoleView {
    pub name: String,
    pub role: String,
    pub priority: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataplaneView {
    pub interfaces: Vec<InterfaceView>,
    /// Pin directory.
    pub pinned_at: String,
    /// Maps were found and kept when the controller started.
    pub adopted: bool,
    /// Flows in the table, counted or not, both families.
    pub flows: u64,
    /// Flows in a counted state.
    pub active: u64,
    /// Room for flows, per family.
    pub max_flows: u64,
    /// Inserts refused because the table was full.
    pub table_full: u64,
    /// Packets by reason, in the order of `mb_lb_common::Reason`.
    pub reasons: Vec<ReasonCount>,
    /// Map entries that differed from what they should be and were repaired.
    pub repairs: u64,
    /// Sweeps run, and duration of the last in microseconds.
    pub sweeps: u64,
    pub sweep_micros: u64,
    /// Why the data plane cannot do its work; `None` where it does.
    pub error: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InterfaceView {
    pub name: String,
    /// `native` or `generic`.
    pub mode: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReasonCount {
    pub name: String,
    pub verdict: String,
    pub text: String,
    pub packets: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub severity: Severity,
    /// What is so.
    pub text: String,
    /// What to do next: a command or a sentence.
    pub next: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Critical,
    #[default]
    Warning,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    pub name: String,
    /// Index in the kernel.
    pub id: u32,
    pub listen: Vec<SocketAddr>,
    pub forward: String,
    pub scheduler: String,
    pub on_down: String,
    pub no_server: Option<String>,
    /// `reply` or `reset`, of a proxy `503`: what a client gets when no server is usable.
    pub no_server_does: String,
    /// Seconds since it was last usable or not usable (a change of that).
    pub since: u64,
    /// Number of times no server was usable.
    pub downs: u64,
    pub servers: Vec<ServerView>,
    /// As in the configuration; 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_up: u32,
    /// Takes no new client, because this operator wants that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
    /// And does so until the controller is started anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shut_down: bool,
    /// In user mode: has at most so many clients at a time because this operator wants that, in place of what the file says;
    /// 0: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_clients: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_clients_by: Option<String>,
    /// 4: a service; 7: a proxy.
    #[serde(default = "layer_4")]
    pub layer: u8,
    /// With proxies and services in user mode only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientsView>,
    /// Of a proxy with TLS, in the order of the files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateView>,
}

/// Clients of a proxy, or of a service in user mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientsView {
    /// How many connections there may be at a time; 0: as many as come.
    #[serde(default)]
    pub most: u32,
    /// Connections that are open, and all of them.
    pub open: u64,
    pub connections: u64,
    pub requests: u64,
    /// TLS handshakes: full, resumed, failed.
    pub handshakes: [u64; 3],
    /// Connections and requests that were refused, by a stable word.
    pub refused: BTreeMap<String, u64>,
    /// Lines of the access log that were dropped.
    pub unlogged: u64,
}

/// A certificate of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    pub file: String,
    pub names: Vec<String>,
    pub issuer: String,
    /// Unix seconds.
    pub not_before: i64,
    pub not_after: i64,
    /// SHA-256, in hex digits.
    pub fingerprint: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

const fn layer_4() -> u8 {
    4
}

/// What the operator wants.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    #[default]
    Ready,
    /// No new flow; those that are stay.
    Drain,
    /// No new flow, no checks; those that are are treated as `on_down` says.
    Maint,
}

/// What the checks see.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// Not enough is known yet; takes no new flow.
    #[default]
    Unknown,
    Up,
    Down,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerView {
    pub name: String,
    /// Index in the kernel.
    pub id: u32,
    /// Position in the service, from 1.
    pub position: u32,
    pub address: Option<IpAddr>,
    /// Port that clients connect to (the service's).
    pub port: u16,
    pub backup: bool,
    /// As configured.
    pub initial_weight: u16,
    /// As set now, with what an agent asks for.
    pub weight: u16,
    /// With slow start, in percent of `weight`; 100 otherwise.
    pub ramp_percent: u8,
    pub max_connections: Option<u32>,
    pub admin: AdminState,
    /// Who asked for the admin state and why; empty where nobody said.
    pub admin_by: String,
    pub admin_reason: String,
    /// What its agent asks for, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentView>,
    /// What operators set besides admin state and weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<HandView>,
    pub health: HealthState,
    /// One line: why it is up or down, e.g. `connection refused`, `no MAC address for 10.0.0.1 on eth0`.
    pub health_reason: String,
    /// Takes new flows now.
    pub usable: bool,
    /// Well, and its tier brings clients to another server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stands_by: bool,
    /// Seconds since admin state or health last changed.
    pub since: u64,
    /// Seconds spent down since the controller started.
    pub downtime: u64,
    pub check: Option<CheckView>,
    /// Next hop, where known.
    pub mac: Option<String>,
    pub interface: Option<String>,
    /// Flows in a counted state.
    pub active: i64,
    /// Half-open flows in the present windows.
    pub pending: u64,
    /// Highest `active` seen.
    pub active_max: i64,
    pub opened: u64,
    pub closed: u64,
    pub expired: u64,
    /// Choices made while it was at `max_connections`.
    pub refused: u64,
    /// Counted flows found by the last audit, and the drift that it proved.
    pub audited: u64,
    pub drift: i64,
    pub packets: u64,
    pub bytes: u64,
    /// New flows in the last whole second.
    pub rate: u64,
    pub rate_max: u64,
    /// Seconds since a flow was last opened.
    pub last_flow: Option<u64>,
    /// With proxies and services in user mode only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relayed: Option<RelayedView>,
}

impl ServerView {
    /// What operator and agent together want: the stricter of the two.
    pub fn wish(&self) -> AdminState {
        let agent = self.agent.as_ref().map(|agent| agent.admin);
        self.admin.max(agent.unwrap_or_default())
    }
}

/// The agent of a server, and what it asks for until it asks for something else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentView {
    pub port: u16,
    /// An operator wants that it is not asked.
    pub off: bool,
    /// HAProxy's code for the last answer.
    pub code: String,
    /// What it said, or why it said nothing.
    pub detail: String,
    /// Milliseconds that the last answer took.
    pub duration_ms: u64,
    pub admin: AdminState,
    /// `50%` or `5`.
    pub weight: Option<String>,
    /// 0: no cap.
    pub max_connections: Option<u32>,
    /// False: it says that the server is down.
    pub up: bool,
}

/// What operators set of a server besides admin state and weight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandView {
    pub by: String,
    /// Each of it in words: `its check rests`.
    pub words: Vec<String>,
    /// And as a stable word: `check_off`.
    #[serde(default)]
    pub what: Vec<String>,
    pub check_off: bool,
    pub agent_off: bool,
    /// Takes no new flow until a check succeeds.
    pub stopping: bool,
    pub check_address: Option<IpAddr>,
    pub check_port: Option<u16>,
    /// In place of what the file says; 0: no cap.
    pub max_connections: Option<u32>,
    /// In place of what the file says; empty: nothing.
    pub agent_send: Option<String>,
}

/// What only a process can count of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayedView {
    /// Connections that could not be made.
    pub connect_errors: u64,
    /// Responses that ended too early or were none.
    pub response_errors: u64,
    pub retries: u64,
    pub redispatches: u64,
    /// Responses 1xx to 5xx.
    pub statuses: [u64; 5],
}

/// A server that is in the file no more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RemovedView {
    /// Empty where the name is not known any more.
    pub service: String,
    pub server: String,
    /// Index in the kernel.
    pub id: u32,
    pub address: Option<IpAddr>,
    /// Counted and half-open.
    pub flows: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckView {
    /// `type` of the check, or the kind of a tier.
    pub kind: String,
    pub port: u16,
    /// HAProxy's code for the last result, e.g. `L4OK`, `L4CON`, `L4TOUT`, `L7OK`, `L7RSP`, `L7TOUT`, `L7STS`; `INI` before the first.
    pub code: String,
    /// Reply code of the protocol, where one was read (SMTP 220, 554).
    pub reply: Option<u16>,
    /// One line for people.
    pub detail: String,
    /// Milliseconds that the last check took.
    pub duration_ms: u64,
    pub rise: u8,
    pub fall: u8,
    /// Consecutive successes or failures of the last kind.
    pub streak: u32,
    /// HAProxy's health counter: 0 to rise + fall - 1; up from `rise` on.
    pub level: u32,
    /// Failed checks while up, and falls from up to down.
    pub failures: u64,
    pub falls: u64,
    /// The last results, newest last; at most 20. `true` is a success.
    pub history: Vec<bool>,
    /// Milliseconds from one check to the next at present.
    pub interval_ms: u64,
    /// When the certificate ends that the server last showed to a check, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_not_after: Option<i64>,
}

/// One `[config_sync.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncView {
    pub name: String,
    /// `rsync` or `git`.
    pub method: String,
    /// Directory on this director; `None`: the targets fetch by themselves.
    pub source: Option<String>,
    /// This director is the active one, and so the one that does it.
    pub active: bool,
    /// Why nothing is sent to anybody.
    pub source_error: Option<String>,
    pub reload: Option<String>,
    pub targets: Vec<SyncTargetView>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// Another director does it.
    Standby,
    /// No run has ended yet.
    #[default]
    Waiting,
    InStep,
    Failed,
}

/// One target of a [`SyncView`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncTargetView {
    /// Its host, with the path where a host has more than one.
    pub target: String,
    /// Unique among all targets.
    pub key: String,
    pub user: String,
    pub host: String,
    pub port: u16,
    pub path: String,
    pub state: SyncState,
    /// A run is under way.
    pub running: bool,
    /// Unix time in milliseconds; kept over a restart.
    pub last_success_ms: Option<u64>,
    /// When something last differed (Unix time in milliseconds), and how many files.
    pub changed_ms: Option<u64>,
    pub changed: u64,
    /// With git: `2 commits 1a2b3c4..5d6e7f8`.
    pub commits: Option<String>,
    /// `+ NAME`, `- NAME`, `~ NAME`; at most 20.
    pub files: Vec<String>,
    /// Why the last run failed; `None` where it did not.
    pub error: Option<String>,
    /// Stable word: `unreachable`, `unknown_host_key`, `reload`, ...
    pub error_kind: Option<String>,
    /// What to do about it.
    pub next: Option<String>,
    /// Failures in a row.
    pub failures: u32,
    /// Runs that ended since the controller started.
    pub runs: u64,
    /// The reload command has not succeeded since something changed there.
    pub reload_owed: bool,
    /// Milliseconds that the last run took.
    pub took_ms: u64,
    /// Seconds until the next run.
    pub next_run: Option<u64>,
}

/// A database, a session store, or storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TierView {
    pub name: String,
    /// `galera`, `sentinel` or `storage`.
    pub kind: String,
    /// `single-writer`, `any`; `master`; `nfs`, `glusterfs`, `mount`.
    pub mode: String,
    /// `unknown`, `ok`, `degraded` or `failed`.
    pub state: String,
    /// Seconds since `state` is so.
    pub since: u64,
    /// One line: what is so.
    pub summary: String,
    /// The server that has the clients, or had them last.
    pub chosen: Option<String>,
    /// Services and servers that take nobody while it has failed.
    pub takes_out: Vec<String>,
    /// How often all nodes were asked since the controller started.
    pub rounds: u64,
    /// Further facts, by name.
    pub facts: BTreeMap<String, String>,
    pub nodes: Vec<TierNodeView>,
}

/// A machine, a process or a path of a [`TierView`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TierNodeView {
    pub name: String,
    /// `server`, `sentinel`, `nfs`, `mountd`, `export`, `mount`, `glusterd`, `brick`, `heal`.
    pub role: String,
    pub address: String,
    pub health: HealthState,
    /// Stable word: `synced`, `donor`, `not_answering`, ...
    pub word: String,
    /// One line for people.
    pub reason: String,
    /// Clients are brought there.
    pub elected: bool,
    /// Microseconds that the last answer took.
    pub took_us: Option<u64>,
    /// Further facts, by name.
    pub fields: BTreeMap<String, String>,
}

/// One line of `events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// Number, from 1, without gaps while the controller runs.
    pub seq: u64,
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// `service/server`, `service`, or empty for the director.
    pub subject: String,
    /// Stable word: `up`, `down`, `drain`, `maint`, `ready`, `weight`, `reload`, `attach`, `mac`, `drift`, ...
    pub kind: String,
    pub text: String,
    /// Further fields.
    pub fields: BTreeMap<String, String>,
}

/// One flow of the table, for `list flows`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowView {
    pub client: SocketAddr,
    /// Address and port that the client connected to.
    pub vip: SocketAddr,
    pub service: String,
    pub server: String,
    /// The server is in the file no more.
    #[serde(default)]
    pub removed: bool,
    /// Word of the state machine: `established`, `half_closed`, `closing`, `reset`.
    pub state: String,
    /// Seconds since its last packet.
    pub idle_seconds: u64,
    /// Seconds since it was opened.
    pub age_seconds: u64,
}
