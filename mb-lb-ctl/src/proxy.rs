//! The HTTPS proxy: layer 7, in user mode.
//!
//! ```text
//!               configure, steer            readings
//!  engine ------------------------> Proxies ---------> once a second, back to the engine
//!                                      |
//!            one thread per core: a current-thread runtime, its own listening sockets (SO_REUSEPORT), its own pools
//!                                      |
//!   accept -> PROXY header -> TLS -> gate (HTTP/1.1) -> hyper -> exchange -> pool -> server
//! ```
//!
//! The life of a request:
//! 1. the gate reads the raw bytes of HTTP/1.1 and ends what could be read in two ways; HTTP/2 is checked field by field;
//! 2. limits: of the source, of the header, of the body;
//! 3. the session cookie is read and taken out, forwarding fields are made;
//! 4. a server is chosen: the cookie's where it may be used, else by the scheduler; a full one makes the request wait;
//! 5. a connection is taken from the pool or made; what was not sent yet may be tried again elsewhere;
//! 6. the response's fields are mended (cookie, HSTS), both bodies stream with back-pressure;
//! 7. one line in the access log, counters.
//!
//! What the engine decides (admin state, health, weight) comes in by [`Target`]; nothing here checks servers.

mod admitted;
mod attempt;
mod balance;
mod body;
mod certs;
mod connect;
pub mod cookie;
mod exchange;
mod forwarded;
pub mod gate;
mod io;
mod journal;
mod limits;
mod listening;
mod local;
pub mod log;
mod page;
mod pool;
mod proxies;
pub mod proxy_header;
mod queue;
mod relay;
mod serve;
mod sessions;
mod splice;
mod stats;
mod table;
mod tickets;
mod tls;
mod tunnel;
mod upgrade;
mod websocket;
mod worker;

pub use certs::{
    Certificates, Error as CertificateError, Info, Resolver, chain as pem_chain,
    check as check_certificate, stamp,
};
pub use journal::Log;
pub use listening::{Keeper, NoKeeper};
pub use proxies::Proxies;
pub use sessions::{OpenSession, is_session};
pub use table::Plan;
pub use tickets::{MOST as MOST_TICKET_KEYS, TicketKey, Tickets, unix_seconds};
pub use tls::server_config;

use std::collections::BTreeMap;

use crate::snapshot::{AdminState, HealthState};

/// What the engine says of the servers of one proxy, or of one service in user mode, in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    pub proxy: String,
    /// At most so many clients, in place of what is configured; 0: as many as come.
    pub most_clients: Option<u32>,
    pub targets: Vec<Target>,
}

/// What was counted at one server since the program started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests, or connections of a service, that are under way now.
    pub active: u64,
    /// Those that wait for a place.
    pub queued: u64,
    pub opened: u64,
    pub closed: u64,
    /// To the server and from it.
    pub bytes: u64,
    /// Connections that could not be made.
    pub connect_errors: u64,
    /// Responses that ended too early or were none.
    pub response_errors: u64,
    pub retries: u64,
    pub redispatches: u64,
    /// Responses 1xx to 5xx.
    pub statuses: [u64; 5],
}

/// What was counted at one proxy, or service in user mode, since the program started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Connections of clients that are open, and all of them.
    pub open: u64,
    pub connections: u64,
    pub requests: u64,
    /// TLS handshakes.
    pub full: u64,
    pub resumed: u64,
    pub failed: u64,
    /// Connections and requests that were refused, by a stable word.
    pub refused: BTreeMap<&'static str, u64>,
    /// Lines of the access log that were dropped, because too many waited.
    pub unlogged: u64,
    /// By name.
    pub servers: BTreeMap<String, Counted>,
}

/// What does not work, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Clients find nobody.
    Unserved(String),
    /// Clients are served, but something is not as the configuration says.
    Limited(String),
}

impl Trouble {
    pub fn why(&self) -> &str {
        match self {
            Self::Unserved(why) | Self::Limited(why) => why,
        }
    }
}

/// By name of the proxy or service.
pub type Readings = BTreeMap<String, Reading>;

/// What the engine says of one server of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As in the configuration.
    pub name: String,
    pub admin: AdminState,
    /// Unknown takes no request, as down.
    pub health: HealthState,
    /// In force: 0 to 256.
    pub weight: u16,
    /// In force, with what an agent asks for. `None`: no cap.
    pub most: Option<u32>,
    /// How often an operator ended its sessions.
    pub ended: u64,
    /// Slow start: share of the weight and of `max_connections`, 1 to 100.
    pub percent: u8,
}

impl Target {
    /// Whether a request whose cookie names it may go there: draining servers and those of weight 0 keep their users.
    pub fn keeps_users(&self) -> bool {
        self.health == HealthState::Up && self.admin != AdminState::Maint
    }

    /// Whether it takes new users.
    pub fn takes_users(&self) -> bool {
        self.health == HealthState::Up && self.admin == AdminState::Ready && self.weight > 0
    }
}
