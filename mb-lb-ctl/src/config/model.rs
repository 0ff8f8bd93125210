//! The configuration after parsing: every value is valid, every default is filled in.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

mod admin;
mod config_sync;
mod peer;
mod proxy;
mod secret;
mod tiers;
mod vrrp;

pub use admin::*;
pub use config_sync::*;
pub use peer::*;
pub use proxy::*;
pub use secret::*;
pub use tiers::*;
pub use vrrp::*;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    pub director: Director,
    pub admin: Admin,
    /// In the order of the file.
    pub services: Vec<Service>,
    /// In the order of the file. Left out where empty, so that the hash of a file without any stays what it was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxies: Vec<Proxy>,
    /// In the order of the file. Left out where empty, so that the hash of a file without any stays what it was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vrrps: Vec<Vrrp>,
    /// Left out where there is none, for the same reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// In the order of the file. Left out where empty, as `vrrps` is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config_syncs: Vec<ConfigSync>,
    /// In the order of the file. Left out where empty, as `vrrps` is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub galeras: Vec<Galera>,
    /// In the order of the file. Left out where empty, as `vrrps` is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sentinels: Vec<Sentinel>,
    /// In the order of the file. Left out where empty, as `vrrps` is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storages: Vec<Storage>,
}

impl Config {
    /// All that have servers with states: services, and proxies and tiers as such.
    pub fn balanced(&self) -> Vec<Service> {
        let proxies = self.proxies.iter().map(Proxy::as_service);
        let services = self.services.iter().cloned().chain(proxies);
        services.chain(self.steered()).collect()
    }

    /// Tiers that clients are brought to, as services in user mode.
    pub fn steered(&self) -> impl Iterator<Item = Service> + '_ {
        let galeras = self.galeras.iter().map(Galera::as_service);
        galeras.chain(self.sentinels.iter().map(Sentinel::as_service))
    }

    /// Addresses that clients connect to, some of them several times. Not those on loopback, which never move.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let services = self.services.iter().flat_map(|service| &service.listen);
        let proxies = self.proxies.iter();
        let proxies = proxies.flat_map(|proxy| proxy.listen.iter().chain(&proxy.redirect_http));
        let galeras = self.galeras.iter().flat_map(|galera| &galera.listen);
        let sentinels = self.sentinels.iter().flat_map(|sentinel| &sentinel.listen);
        services
            .chain(proxies)
            .chain(galeras)
            .chain(sentinels)
            .map(SocketAddr::ip)
            .filter(|address| !address.is_loopback())
    }
}

/// `[director]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Director {
    /// Default: the host name (the caller of the parser supplies it).
    pub name: String,
    /// Where XDP attaches; empty: derived from the VIPs' routes.
    pub interfaces: Vec<String>,
    pub xdp: XdpMode,
    /// Established flows held in the kernel, per address family. 1024 to 16,777,216.
    pub max_flows: u32,
    pub flow_timeouts: FlowTimeouts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// Native, and generic where the driver has no XDP; the fall-back is shown in `status`.
    Auto,
    Native,
    Generic,
}

/// `director.flow_timeouts`: how long a silent flow stays, by state. 1s to 24h each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FlowTimeouts {
    /// Default 15m (RFC 5321 section 4.5.3.2 lets a client wait 10 minutes).
    pub established: Duration,
    /// Default 120s.
    pub half_closed: Duration,
    /// Default 10s.
    pub closing: Duration,
    /// Default 5s.
    pub reset: Duration,
}

impl Default for FlowTimeouts {
    fn default() -> Self {
        Self {
            established: Duration::from_secs(15 * 60),
            half_closed: Duration::from_secs(120),
            closing: Duration::from_secs(10),
            reset: Duration::from_secs(5),
        }
    }
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admin {
    /// Default `/run/mb-lb/admin.sock`.
    pub socket: PathBuf,
    /// Default 0o660.
    pub socket_mode: u32,
    /// The page, the API and metrics. Left out where there are none, so that the hash of a file without them stays what
    /// it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<AdminHttp>,
    /// Default admin, which does not reach the hash.
    #[serde(skip_serializing_if = "SocketLevel::is_admin")]
    pub socket_level: SocketLevel,
}

/// `admin.socket_level`: what who may write to the admin socket may do, from little to all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketLevel {
    /// To look at what names no client.
    User,
    /// To look at all, and to clear maxima.
    Operator,
    #[default]
    Admin,
}

impl SocketLevel {
    fn is_admin(&self) -> bool {
        *self == Self::Admin
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// `[service.NAME]`: layer 4, in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    pub name: String,
    /// TCP; at least one.
    pub listen: Vec<SocketAddr>,
    pub forward: Forward,
    pub scheduler: Scheduler,
    /// `None` where `check` is `{ type = "none" }`: the servers count as up.
    pub check: Option<Check>,
    /// Beside `check`. Left out where there is none, so that the hash of a file without one stays what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentCheck>,
    pub on_down: OnDown,
    /// Spoken by the director when no server is up; one line without CR or LF, at most 500 bytes. `None`: RST.
    pub no_server: Option<String>,
    /// Zero: none.
    pub slow_start: Duration,
    /// Of its servers, so many ought to take new clients; with fewer there is an alarm, and commands that would leave
    /// fewer are refused unless they are forced. Zero: none. Left out as `follows` is.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_up: u32,
    /// Left out where there are none, so that the hash of a file without any stays what it was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub follows: Vec<Follows>,
    /// In the order of the file; at least one, at most 1,024.
    pub servers: Vec<Server>,
}

/// For keys that came later.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(super) const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Service {
    /// The server's address, with the port that it is reached at: for clients of the first `listen`, where it has none of
    /// its own.
    pub fn address_of(&self, server: &Server) -> SocketAddr {
        // A service has at least one `listen`.
        let port = self.listen.first().map_or(0, SocketAddr::port);
        SocketAddr::new(server.address, server.port.unwrap_or(port))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// Direct server return: the frame goes to the server's MAC address, the server answers the client itself.
    Dsr,
    /// In user mode: the director takes the connection, opens one to the server, and copies both ways.
    Proxy,
}

impl Forward {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dsr => "dsr",
            Self::Proxy => "proxy",
        }
    }

    /// The XDP program does it; otherwise a process, to which the kernel's tables, next hops and interfaces are nothing.
    pub const fn is_in_kernel(self) -> bool {
        match self {
            Self::Dsr => true,
            Self::Proxy => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    Leastconn,
    Roundrobin,
    Source,
}

impl Scheduler {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leastconn => "leastconn",
            Self::Roundrobin => "roundrobin",
            Self::Source => "source",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDown {
    /// The next packet of each flow of the failed server is answered with RST.
    Reset,
    /// Flows stay with the server.
    Keep,
}

/// `check = { ... }`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub kind: CheckKind,
    /// Left out where it is the default, so that the hash of a file without it stays what it was.
    #[serde(skip_serializing_if = "Via::is_server")]
    pub via: Via,
    /// Default: for a service in the kernel the port of its first `listen`, else `None`: that of the server.
    pub port: Option<u16>,
    /// Between two checks of a server that is up and stable. Default 2s.
    pub interval: Duration,
    /// While the state is in question (a result differs from the state). Default: `interval`.
    pub fast_interval: Duration,
    /// While the server is down. Default: `interval`.
    pub down_interval: Duration,
    /// For the whole check. Default 1s; not more than 60s.
    pub timeout: Duration,
    /// Successes until up. 1 to 255, default 2.
    pub rise: u8,
    /// Failures until down. 1 to 255, default 3.
    pub fall: u8,
}

/// Which way a check goes to its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// To its own address.
    #[default]
    Server,
    /// As clients' packets: addressed to the VIP, with the server as next hop. With [`Forward::Dsr`] only.
    Vip,
}

impl Via {
    const fn is_server(&self) -> bool {
        matches!(self, Self::Server)
    }
}

impl Check {
    /// Where the check of a server goes that is reached at `server`.
    pub fn address(&self, server: SocketAddr) -> SocketAddr {
        SocketAddr::new(server.ip(), self.port.unwrap_or(server.port()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// The port accepts a connection.
    Tcp,
    /// A 220 banner, a positive reply to EHLO, a polite QUIT (RFC 5321 sections 3.1, 4.1.1.1, 4.1.1.10).
    Smtp(SmtpCheck),
    /// One request, and what has to come back (RFC 9110).
    Http(HttpCheck),
    /// One line of HAProxy's agent protocol.
    Agent {
        /// Said first, as it is.
        send: Option<String>,
    },
    /// A program of the operator's, called as HAProxy's `external-check` does.
    Exec {
        /// By its absolute path, with its arguments.
        command: Vec<String>,
    },
}

impl CheckKind {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Smtp(_) => "smtp",
            Self::Http(_) => "http",
            Self::Agent { .. } => "agent",
            Self::Exec { .. } => "exec",
        }
    }

    /// How long the server's certificate has to last at least. `None`: it may have expired.
    pub const fn min_certificate(&self) -> Option<Duration> {
        match self {
            Self::Smtp(smtp) => smtp.min_certificate,
            Self::Http(http) => http.min_certificate,
            Self::Tcp | Self::Agent { .. } | Self::Exec { .. } => None,
        }
    }
}

/// A check of type `smtp`. What was not there once is left out where it is not given, so that the hash of a file without any
/// stays what it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SmtpCheck {
    /// Argument of EHLO. Default: the director's name.
    pub helo: String,
    /// What the server has to offer in its last reply to EHLO, and `STARTTLS` in its first one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    /// RFC 3207. `None`: all of it is in clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starttls: Option<ServerTls>,
    /// With `starttls` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_certificate: Option<Duration>,
}

/// A keyword of EHLO with parameters (RFC 5321 section 4.1.1.1), in capitals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    pub keyword: String,
    /// Those that have to be among the offered ones. Of `SIZE` the number has to be as large at least.
    pub parameters: Vec<String>,
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.keyword)?;
        self.parameters
            .iter()
            .try_for_each(|word| write!(f, " {word}"))
    }
}

/// `agent = { ... }`: a program at the server that is asked beside `check`, and says what its server can take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentCheck {
    pub port: u16,
    /// Default 2s.
    pub interval: Duration,
    /// Default 1s.
    pub timeout: Duration,
    /// Said first, as it is.
    pub send: Option<String>,
}

impl AgentCheck {
    /// The same as the prober runs it. `rise` and `fall` are no concern of an agent: what it says holds at once.
    pub fn check(&self) -> Check {
        Check {
            kind: CheckKind::Agent {
                send: self.send.clone(),
            },
            via: Via::Server,
            port: Some(self.port),
            interval: self.interval,
            fast_interval: self.interval,
            down_interval: self.interval,
            timeout: self.timeout,
            rise: 1,
            fall: 1,
        }
    }
}

/// A check of type `http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpCheck {
    /// Default GET.
    pub method: String,
    /// Begins with `/`. Default `/`.
    pub path: String,
    /// `Host` field. Default: the server's address.
    pub host: Option<String>,
    /// First and last of each range, 100 to 599. Default 200 to 399, as HAProxy.
    pub expect: Vec<(u16, u16)>,
    pub body: Option<BodyMatch>,
    /// Of a health page in JSON: only these members count, whatever the status is. Empty: the status counts. Left out where
    /// there are none, so that the hash of a file without any stays what it was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// `None`: in clear.
    pub tls: Option<ServerTls>,
    /// With `tls` only. Left out as `members` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_certificate: Option<Duration>,
}

/// One entry of `follows = { SERVICE = ["MEMBER", ...] }`: a server takes no new client while the health page of the server
/// of the same name in that service says that one of these members has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Follows {
    pub service: String,
    /// At least one.
    pub members: Vec<String>,
}

/// What the first 64 kB of a body have to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyMatch {
    /// `body = "text"`
    Text(String),
    /// `body_regex = "..."`, in the syntax of the crate `regex`.
    Regex(String),
}

/// One row of `[service.NAME.servers]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    pub name: String,
    /// IPv4 or IPv6, whatever the service listens on: with `dsr` the next hop is a MAC address.
    pub address: IpAddr,
    /// 0 to 256, default 1; 0 takes no new flow.
    pub weight: u16,
    /// `None`: no cap. 1 to 1,000,000.
    pub max_connections: Option<u32>,
    /// Used only while no other server of the service can be.
    pub backup: bool,
    /// With [`Forward::Proxy`] only. `None`: the port that the client connected to. Left out where there is none, so that
    /// the hash of a file without any stays what it was; `send_proxy` as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// With [`Forward::Proxy`] only: a PROXY header that tells the server the client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_proxy: Option<ProxyHeader>,
}
