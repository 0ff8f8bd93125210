//! The one owner of policy state: events in, actions out, a snapshot after every turn.
//!
//! The engine never waits and knows no clock; [`Engine::handle`] gets the time as an argument.

pub mod advice;
mod agent;
mod alarms;
mod amend;
mod by_hand;
mod change;
mod core;
mod counting;
mod desired;
mod ended;
mod frontend;
mod indices;
mod merging;
mod paths;
mod peering;
mod preview;
mod relayed;
mod routers;
mod saving;
mod server;
mod suspect;
mod syncs;
mod telling;
mod tiers;
mod tracking;
mod via;
mod view;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::Config;
use crate::snapshot::{AdminState, EventView};

pub use self::alarms::summary;
pub use self::amend::{Added, Amendment};
pub use self::by_hand::{ByHand, Forced, Setting};
pub use self::core::{Engine, Identity};
pub use self::frontend::ClientCap;
pub use self::preview::changes;
pub use self::syncs::SyncRefusal;
pub use self::view::mac;

/// The time of a turn, as the caller's clocks have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since the controller started; monotonic.
    pub since_start: Duration,
    /// Unix time in milliseconds, for people.
    pub wall_ms: u64,
}

/// Service and server, by name, as in `smtp_backend/mb2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerRef {
    pub service: String,
    pub server: String,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A configuration that has been parsed and checked is to be put in force.
    Config(Box<Config>),
    /// A file that was to be put in force was refused; the old one stays.
    ReloadFailed(String),
    /// A check of a server ended.
    Checked {
        server: ServerRef,
        /// Which of its checks.
        which: Which,
        /// What was checked: a result that was waiting while a reload gave the server another address is not its.
        address: SocketAddr,
        result: CheckResult,
    },
    /// What the kernel's neighbour table knows of a server's address has changed.
    Neighbour {
        address: IpAddr,
        neighbour: Neighbour,
    },
    /// An operator asked for a change; the answer goes out as [`Action::Reply`] with the same id.
    Change { id: u64, change: Change, by: String },
    /// What the data plane counts, once a second.
    Counted(Box<crate::dataplane::Report>),
    /// What proxies and services in user mode count, once a second.
    Relayed(crate::proxy::Readings),
    /// Certificates of proxies, by name of the proxy, where they are others than before.
    Certificates(std::collections::BTreeMap<String, Vec<crate::proxy::Info>>),
    /// A connection of a client of theirs has ended because this operator wanted that; `subject` is where it was.
    SessionEnded { subject: String, by: String },
    /// What proxies and services in user mode cannot do, by what it is, and why.
    Unserved(std::collections::BTreeMap<String, crate::proxy::Trouble>),
    /// What became of the last plan: `None` is well.
    Applied(Option<String>),
    /// Interfaces that XDP is attached to, with their MAC addresses, and what could not be attached.
    Interfaces {
        attached: Vec<Attached>,
        error: Option<String>,
        /// Which [`Action::Attach`] it follows from, counted by whoever performs them.
        number: u64,
    },
    /// Addresses on which the `no_server` text cannot be said, and why. RST is answered there instead.
    RepliesFailed(Vec<(SocketAddr, String)>),
    /// All addresses of this host.
    Addresses(std::collections::BTreeSet<IpAddr>),
    /// What a virtual router has done.
    Router {
        name: String,
        report: crate::vrrp::router::Report,
    },
    /// What a virtual router is; `at` is the time of its clock.
    RouterView {
        name: String,
        view: Box<crate::vrrp::view::RouterView>,
        at: Duration,
    },
    /// A virtual router does not run.
    RouterFailed { name: String, why: String },
    /// Tracked interfaces: which of them are up.
    Links(std::collections::BTreeMap<String, bool>),
    /// A tracked script came to another end than before: why it failed, or `None`.
    Script {
        instance: String,
        script: String,
        failed: Option<String>,
    },
    /// On the link to the other director.
    Peer(crate::peer::PeerEvent),
    /// The key of the link is another one than the link has; an [`Event::Config`] follows.
    PeerKey,
    /// What was found at a source or a target of a `config_sync`.
    ConfigSync(crate::config_sync::Report),
    /// All nodes of a tier were asked.
    Tier {
        name: String,
        round: Box<crate::tiers::Round>,
    },
    /// Checks go through these VIPs from now on, by the mark of the place in the list; or why they cannot.
    Vias {
        vips: Vec<IpAddr>,
        error: Option<String>,
    },
    /// [`Engine::next_deadline`] has come.
    Deadline,
}

/// An interface with the program on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub name: String,
    pub ifindex: u32,
    pub mac: [u8; 6],
    /// `native` or `generic`.
    pub mode: &'static str,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    pub outcome: Outcome,
    /// HAProxy's word for it: `L4OK`, `L4CON`, `L4TOUT`, `L6RSP`, `L6TOUT`, `L7OK`, `L7RSP`, `L7STS`, `L7TOUT`, `PROCOK`,
    /// `PROCERR`, `PROCTOUT`, `SOCKERR`.
    pub code: &'static str,
    /// Reply code of the protocol, where one was read.
    pub reply: Option<u16>,
    /// One line for people: `connection refused`, `220 banner not seen within 1s`.
    pub detail: String,
    pub duration: Duration,
    /// Of a health page that could be read.
    pub page: Option<HealthPage>,
    /// When the certificate that the server showed ends, in Unix seconds. `None` without TLS.
    pub certificate: Option<i64>,
    /// What an agent said. `None` with other checks, and where no whole line of it could be read: then nothing follows from
    /// an agent beside another check, as in HAProxy.
    pub agent: Option<AgentReply>,
}

/// What an agent asks for. What it says nothing of stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentReply {
    /// Of the configured weight, or in its place.
    pub weight: Option<Weight>,
    /// 0: no cap.
    pub max_connections: Option<u32>,
    pub admin: Option<AdminState>,
    /// `up`, or one of `down`, `fail` and `stopped`.
    pub up: Option<bool>,
    /// The agent's words after `#`, printable, at most 120 characters.
    pub reason: Option<String>,
}

/// What a health page says of its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthPage {
    /// Members that failed, and why.
    pub failed: Vec<(String, String)>,
    /// All members.
    pub names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure,
    /// A failure that leaves no doubt: the server's kernel says that nobody listens. It weighs as two.
    Refused,
    /// The director could not look: no descriptor, no local port, no network. Says nothing about the server.
    Inconclusive,
}

/// Next hop of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Neighbour {
    Resolved {
        mac: [u8; 6],
        ifindex: u32,
        interface: String,
    },
    /// The server does not answer: `no answer to ARP for 10.0.0.1 on eth0`.
    Unresolved(String),
    /// The director has no way to it, which says nothing about the server: `eth0 is down`, `no route to 10.0.0.1`,
    /// `10.0.0.1 is reached through the router 10.0.0.254, but dsr needs it on the same segment`.
    Unreachable(String),
}

/// A change that an operator asks for at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Admin {
        server: ServerRef,
        state: AdminState,
        reason: String,
        /// Refused where it would leave fewer servers than `min_up`.
        guarded: bool,
    },
    /// 0 to 256.
    Weight { server: ServerRef, weight: Weight },
    /// Hand the addresses of one virtual router, or of all, over to the peer.
    Failover { instance: Option<String> },
    /// See [`Setting`].
    Set { server: ServerRef, setting: Setting },
    /// Another address, another port, or both.
    Move {
        server: ServerRef,
        address: Option<IpAddr>,
        port: Option<u16>,
    },
    /// Add a server that is in no file; it begins in maintenance.
    Add { server: ServerRef, added: Added },
    /// Take out a server that is in maintenance.
    Remove { server: ServerRef },
    /// End the sessions that it has.
    EndSessions { server: ServerRef },
    /// Have a service take new clients, or nobody.
    Frontend { service: String, takes: bool },
    /// Have a service take nobody until the controller is started anew.
    ShutFrontend { service: String },
    /// Have a service in user mode have at most so many clients at a time; 0: as many as come.
    ClientCap { service: String, most: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Absolute(u16),
    /// Of the configured weight; the result is capped at 256.
    Percent(u32),
}

/// Why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("No such backend.")]
    NoSuchService,
    #[error("No such server.")]
    NoSuchServer,
    #[error("Already existing server has the same name in backend.")]
    Exists,
    #[error("Only servers in maintenance mode can be deleted.")]
    NotInMaintenance,
    #[error("This is the last server of the service: a service has at least one.")]
    LastServer,
    #[error("No server can have this address: {0}.")]
    BadAddress(String),
    /// Said to operators only; tools of HAProxy know of no such thing.
    #[error(
        "{service} would have {left} of {servers} servers for new clients, and min_up is {min_up}"
    )]
    TooFewLeft {
        service: String,
        left: usize,
        servers: usize,
        min_up: u32,
    },
    #[error("There is no room for another server.")]
    NoRoom,
    #[error("The port of a server with dsr is the one that clients connect to.")]
    NoPort,
    #[error(
        "The servers of a tier are those of the file, and who has the clients is what is known of them all."
    )]
    OfTier,
    #[error("Health check was not configured on this server, cannot enable.")]
    NoCheck,
    #[error("Agent was not configured on this server, cannot enable.")]
    NoAgent,
    #[error("Health checks are not enabled on this server.")]
    ChecksNotEnabled,
    #[error("agent checks are not enabled on this server.")]
    AgentNotEnabled,
    #[error(
        "Not done: the kernel counts no clients of a service; `set maxconn server` caps each of its servers."
    )]
    NoClientCap,
    /// With `true`: it takes nobody.
    #[error("{}", match .0 { true => "All sockets are already disabled.", false => "All sockets are already enabled." })]
    PausedAlready(bool),
    #[error("Frontend was already shut down.")]
    ShutAlready,
    #[error("Frontend was previously shut down, cannot {}.", match .0 { true => "enable", false => "disable" })]
    Shut(bool),
    /// Empty: none at all.
    #[error("{}", no_instance(.0))]
    NoInstance(String),
    /// There is nothing to hand over, or nobody who ought to get it.
    #[error("not handed over: {0}")]
    NotActive(String),
    #[error("{0}: nobody took over, the addresses stay here")]
    Stayed(String),
    #[error("not handed over: {0}")]
    NotHandedOver(String),
    /// It is remembered, and tried again every second.
    #[error("the kernel did not take it yet: {0}")]
    NotApplied(String),
}

fn no_instance(name: &str) -> String {
    match name {
        "" => "no [vrrp.NAME] is configured".to_owned(),
        name => format!("no VRRP instance {name}"),
    }
}

/// What a virtual router is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// See [`crate::vrrp::router::Command::Policy`].
    Policy {
        priority: u8,
        fault: Option<String>,
        may_preempt: bool,
        withheld: bool,
    },
    Resign {
        why: String,
        aside: bool,
    },
    TakeOver {
        why: String,
    },
    StepDown {
        why: String,
    },
}

/// A change of role for a program of the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookCall {
    pub path: std::path::PathBuf,
    pub instance: String,
    pub from: &'static str,
    pub to: &'static str,
    pub priority: u8,
}

/// What the edges are to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the kernel so.
    Apply(Box<crate::plan::Desired>),
    /// What proxies and services in user mode are to think of their servers.
    Steer(Vec<crate::proxy::Steering>),
    /// Run exactly these checks from now on (the prober keeps those that did not change).
    Checks(Vec<CheckTask>),
    /// Have checks go through exactly these VIPs, on these interfaces.
    Vias {
        vips: Vec<IpAddr>,
        /// Names and indices.
        interfaces: Vec<(String, u32)>,
    },
    /// Follow exactly these neighbours.
    Neighbours(Vec<IpAddr>),
    /// Say these `no_server` texts on these addresses.
    Replies(Vec<(SocketAddr, String)>),
    Reply {
        id: u64,
        result: Result<String, Refusal>,
    },
    /// Attach to the interfaces of this configuration.
    Attach(Box<Config>),
    /// For the journal and for `events`.
    Record(EventView),
    /// Keep what must survive a restart.
    Save(SavedState),
    /// Run exactly these virtual routers.
    Routers(Vec<crate::config::Vrrp>),
    Router {
        name: String,
        order: Order,
    },
    /// Tell whether these interfaces are up.
    Links(Vec<String>),
    /// Run exactly these scripts, each of the instance of that name.
    Scripts(Vec<(String, crate::config::TrackScript)>),
    Hook(HookCall),
    /// Keep this link to the peer, or none. With the time that a silent flow lives.
    PeerLink(Option<Box<crate::config::Peer>>, Duration),
    PeerSend(crate::peer::Message),
    /// The VIPs of services that are on this host.
    Carry(crate::peer::Carried),
    /// Look at sources and bring targets in step, or stop that.
    ConfigSync(crate::config_sync::Order),
    /// Follow exactly these tiers.
    Tiers(Vec<crate::tiers::Task>),
}

/// A server may have two checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    /// `check`: rise and fall count its results.
    Health,
    /// `agent`, beside it.
    Agent,
}

/// A check of a server with dsr that goes the way of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThroughVip {
    pub vip: IpAddr,
    /// For SO_MARK.
    pub mark: u32,
}

/// One check to be run for one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckTask {
    pub server: ServerRef,
    pub which: Which,
    /// Where it goes.
    pub address: SocketAddr,
    /// What clients connect to, for programs that want to know: the first `listen` of the service.
    pub vip: Option<SocketAddr>,
    pub check: crate::config::Check,
    /// It goes through this VIP, on a socket with this mark.
    pub via: Option<ThroughVip>,
    /// Present distance between two runs (interval, fast_interval or down_interval).
    pub interval: Duration,
}

/// What must outlive the process and is not in the kernel: admin states and weights that differ from the configuration,
/// names, and what is known of the targets of `config_sync`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SavedState {
    pub version: u32,
    pub servers: std::collections::BTreeMap<String, SavedServer>,
    /// `SERVICE/SERVER@ADDRESS` of all servers that the kernel holds: it knows them by a hash of this only, and those
    /// that were removed from the file while they had flows are in no file any more.
    #[serde(default)]
    pub known: std::collections::BTreeSet<String>,
    /// When an operator last changed a server, in milliseconds of Unix time, so that the later word holds on both directors.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub changed: std::collections::BTreeMap<String, u64>,
    /// Targets of `config_sync`, by `config_sync::machine::key`.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub syncs: std::collections::BTreeMap<String, crate::config_sync::machine::Kept>,
    /// What operators have changed of the file, by `SERVICE/SERVER`.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub amendments: std::collections::BTreeMap<String, Amendment>,
    /// Services that take nobody, and who wants that.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub paused: std::collections::BTreeMap<String, String>,
    /// Services that have another number of clients at most than the file says.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub client_caps: std::collections::BTreeMap<String, ClientCap>,
    /// What checks last said of each server, by `SERVICE/SERVER@ADDRESS`.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub health: std::collections::BTreeMap<String, SavedHealth>,
    /// Which server has the clients, by tier.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub chosen: std::collections::BTreeMap<String, String>,
    /// Servers of split brains that are not over, by tier.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub splits: std::collections::BTreeMap<String, std::collections::BTreeSet<String>>,
}

/// What checks last said of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SavedHealth {
    pub up: bool,
    /// Why it was down.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SavedServer {
    pub admin: AdminState,
    #[serde(default)]
    pub by: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub weight: Option<u16>,
    /// What the file said when the weight was set.
    #[serde(default)]
    pub configured: Option<u16>,
    #[serde(default, skip_serializing_if = "ByHand::is_nothing")]
    pub by_hand: ByHand,
    /// Unix seconds.
    #[serde(default)]
    pub since: u64,
}

#[cfg(test)]
mod tests;
