//! `[proxy.NAME]` after parsing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{AgentCheck, Check, Follows, Forward, OnDown, Scheduler, Server, Service};

/// `[proxy.NAME]`: layer 7, in user mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proxy {
    pub name: String,
    /// TCP; at least one.
    pub listen: Vec<SocketAddr>,
    /// `certificate`: PEM files with chain and key, or directories of such files. Empty: HTTP in clear.
    pub certificates: Vec<PathBuf>,
    /// `tls_min_version`. Default [`TlsVersion::Tls12`].
    pub tls_min_version: TlsVersion,
    /// Whether clients may speak HTTP/2. Default true. In clear, HTTP/2 is spoken by prior knowledge (RFC 9113
    /// section 3.3).
    pub http2: bool,
    pub scheduler: ProxyScheduler,
    pub cookie: Option<Cookie>,
    /// Addresses on which HTTP in clear is answered with 301 to the same place by HTTPS.
    pub redirect_http: Vec<SocketAddr>,
    /// `max-age` of Strict-Transport-Security (RFC 6797). `None`: the field is not added.
    pub hsts: Option<Duration>,
    /// `None` where `check` is `{ type = "none" }`.
    pub check: Option<Check>,
    /// As of a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentCheck>,
    pub timeouts: ProxyTimeouts,
    pub limits: ProxyLimits,
    /// Networks whose X-Forwarded-* and Forwarded fields are believed and kept. Default: none.
    pub trusted_proxies: Vec<Network>,
    /// Adds `Forwarded` (RFC 7239) besides X-Forwarded-For, -Proto and -Host. Default false.
    pub forwarded: bool,
    /// A PROXY header, version 1 or 2, is expected of every client in these networks, and of no other. Default: none.
    pub accept_proxy: Vec<Network>,
    /// Further attempts where a request could not be given to a server. 0 to 10, default 3.
    pub retries: u8,
    /// Whether a request with a cookie goes to another server after its own could not be reached. Default true.
    pub redispatch: bool,
    /// Zero: none.
    pub slow_start: Duration,
    /// As of a service.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub min_up: u32,
    /// As of a service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub follows: Vec<Follows>,
    pub access_log: Option<AccessLog>,
    /// In the order of the file; at least one, at most 1,024.
    pub servers: Vec<ProxyServer>,
}

impl Proxy {
    /// As far as checks, admin states, weights and slow start go, a proxy is a service in user mode.
    pub fn as_service(&self) -> Service {
        let server = |server: &ProxyServer| Server {
            name: server.name.clone(),
            address: server.address.ip(),
            weight: server.weight,
            max_connections: server.max_connections,
            backup: server.backup,
            port: Some(server.address.port()),
            send_proxy: server.send_proxy,
        };
        Service {
            name: self.name.clone(),
            listen: self.listen.clone(),
            forward: Forward::Proxy,
            // Read by nobody: the proxy has words of its own.
            scheduler: Scheduler::Roundrobin,
            check: self.check.clone(),
            agent: self.agent.clone(),
            on_down: OnDown::Keep,
            no_server: None,
            slow_start: self.slow_start,
            min_up: self.min_up,
            follows: self.follows.clone(),
            servers: self.servers.iter().map(server).collect(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum TlsVersion {
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyScheduler {
    /// Smooth, weighted. The default.
    Roundrobin,
    /// Least `(requests under way + queued + 1) / weight`.
    Leastconn,
    /// By the client's address; the same on both directors.
    Source,
    /// The better of two that are drawn in proportion to their weights.
    Random,
}

impl ProxyScheduler {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Roundrobin => "roundrobin",
            Self::Leastconn => "leastconn",
            Self::Source => "source",
            Self::Random => "random",
        }
    }
}

/// `cookie = { ... }`: stickiness as HAProxy's `cookie NAME insert`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cookie {
    /// A token (RFC 6265 section 4.1.1).
    pub name: String,
    /// The server does not see it. Default true.
    pub indirect: bool,
    /// A response that gets the cookie and could be cached gets `cache-control: private` too. Default true.
    pub nocache: bool,
    /// A cookie of this name that the server itself sets is left, and none is added. Default false.
    pub preserve: bool,
    /// Default false, as in HAProxy.
    pub http_only: bool,
    /// Default false, as in HAProxy.
    pub secure: bool,
    pub same_site: Option<SameSite>,
    /// Without the leading dot where the file has one.
    pub domain: Option<String>,
    /// Unused for so long, it is void. At least 1s.
    pub max_idle: Option<Duration>,
    /// So long after it was first given out, it is void.
    pub max_life: Option<Duration>,
    /// `dynamic_key`: servers without a `cookie` of their own get a value made of this key and their address.
    pub dynamic_key: Option<DynamicKey>,
}

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DynamicKey(pub String);

impl Deref for DynamicKey {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DynamicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DynamicKey(..)")
    }
}

impl Serialize for DynamicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

impl SameSite {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// `timeouts = { ... }`. 10ms to 24h each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProxyTimeouts {
    /// TLS with the client, and a PROXY header. Default 5s.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its header. Default 10s.
    pub request: Duration,
    /// Between requests of a connection. Default 50s.
    pub keep_alive: Duration,
    /// `client`: the client takes or gives nothing, in the middle of a body. Default 50s.
    pub client: Duration,
    /// `server`: until the response begins, and between parts of its body. Default 50s.
    pub server: Duration,
    /// TCP and TLS with a server, each attempt. Default 5s.
    pub connect: Duration,
    /// A request waits for a place at a server. Default: `connect`.
    pub queue: Duration,
    /// After a switch of protocols (WebSocket): neither side says anything. Default 1h.
    pub tunnel: Duration,
}

impl Default for ProxyTimeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            request: Duration::from_secs(10),
            keep_alive: Duration::from_secs(50),
            client: Duration::from_secs(50),
            server: Duration::from_secs(50),
            connect: Duration::from_secs(5),
            queue: Duration::from_secs(5),
            tunnel: Duration::from_secs(3600),
        }
    }
}

/// `limits = { ... }`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProxyLimits {
    /// Connections of clients at a time, all together. 1 to 1,000,000, default 20,000.
    pub connections: u32,
    /// Of one source: an IPv4 address, or an IPv6 /64. Default: no limit.
    pub connections_per_source: Option<u32>,
    /// Requests of one source in a second; more are answered with 429. Default: no limit.
    pub requests_per_source: Option<u32>,
    /// Bytes of a request's line and fields; more is answered with 431. 1k to 256k, default 32k.
    pub header: u32,
    /// Number of a request's fields; more is answered with 431. 1 to 1,000, default 100.
    pub fields: u16,
    /// Bytes of a request's body; more is answered with 413. Default: no limit.
    pub body: Option<u64>,
    /// Streams of an HTTP/2 connection at a time. 1 to 1,000, default 100.
    pub streams: u16,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_source: None,
            requests_per_source: None,
            header: 32 * 1024,
            fields: 100,
            body: None,
            streams: 100,
        }
    }
}

/// A network in CIDR notation; bits below the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Network {
    pub address: IpAddr,
    /// In bits.
    pub prefix: u8,
}

impl Network {
    /// Whether the address is one of it. An IPv4 address mapped into IPv6 is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix))
                    .unwrap_or(0);
                (u32::from(network) ^ u32::from(address)) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix))
                    .unwrap_or(0);
                (u128::from(network) ^ u128::from(address)) & mask == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// `access_log = { ... }`, or the format alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessLog {
    pub format: LogFormat,
    /// Opened anew at a reload. `None`: the controller's standard output, which systemd gives to the journal.
    pub file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One object per line.
    Json,
    /// As HAProxy's `option httplog`.
    Httplog,
}

/// One row of `[proxy.NAME.servers]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProxyServer {
    pub name: String,
    pub address: SocketAddr,
    /// `None`: HTTP in clear.
    pub tls: Option<ServerTls>,
    /// Default [`Upstream::Http1`].
    pub http: Upstream,
    /// Value of the session cookie. Default: the server's name where the proxy has a cookie without `dynamic_key`.
    pub cookie: Option<String>,
    /// 0 to 256, default 1; 0 takes only requests whose cookie names it.
    pub weight: u16,
    /// Requests under way at a time; more wait. `None`: no cap. 1 to 1,000,000.
    pub max_connections: Option<u32>,
    /// Used only while no other server of the proxy can be.
    pub backup: bool,
    /// A PROXY header that tells the server the client's address.
    pub send_proxy: Option<ProxyHeader>,
}

/// Version of HTTP that a server is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Upstream {
    #[serde(rename = "1.1")]
    Http1,
    /// By ALPN over TLS, by prior knowledge in clear.
    #[serde(rename = "2")]
    Http2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyHeader {
    V1,
    V2,
}

/// `tls = { ... }` of a server, and of a check of type `http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerTls {
    pub verify: Verify,
    /// Server name indication (RFC 6066), and the name that a certificate is checked for. Default: none is sent, and the
    /// certificate is checked for the address.
    pub sni: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Any certificate will do.
    None,
    /// `verify = "/path/ca.pem"`: issued by one of these.
    Ca(PathBuf),
    /// `verify = "system"`: issued by a certificate authority that this host trusts (/etc/ssl/certs).
    System,
    /// `verify = "sha256:..."`: this very certificate, by the digest of its DER form.
    Pinned([u8; 32]),
}
