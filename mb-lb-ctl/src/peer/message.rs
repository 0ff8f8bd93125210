//! What directors tell each other, and how it becomes bytes.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::proxy::{MOST_TICKET_KEYS, TicketKey};
use crate::snapshot::AdminState;
use crate::vrrp::machine::Role;

/// Bytes of the longest message.
pub const MAX_MESSAGE: usize = 4 << 20;
/// Flows in one [`Message::Flows`] or [`Message::SnapshotFlows`]: a flow takes several times as much memory as it takes
/// bytes on the wire.
pub const MAX_FLOWS: usize = 8192;
/// Bytes of a [`Message::TicketKeys`] at most: time, name and secret of each, and three in front.
const KEYS: usize = 3 + MOST_TICKET_KEYS * (10 + 16 + 32);
/// What is longer has no keys in it, and would take long to wipe.
const WIPED: usize = 4096;
const _: () = assert!(KEYS < WIPED);

/// Of bytes of a message that are not needed any more: there may be keys in it.
pub(super) fn wipe(bytes: &mut [u8]) {
    if bytes.len() <= WIPED {
        bytes.zeroize();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The first of each side; no other is.
    Hello(Hello),
    Status(Status),
    /// What became of flows since the last.
    Flows(Vec<FlowChange>),
    /// All flows of these VIPs follow. One that is not among them is none any more.
    SnapshotBegin {
        number: u64,
        vips: Vec<IpAddr>,
    },
    SnapshotFlows {
        number: u64,
        flows: Vec<FlowChange>,
    },
    SnapshotEnd {
        number: u64,
        /// In all messages of the snapshot.
        flows: u64,
        /// The sender has all flows of these VIPs. Where it may lack some, nothing follows from one that is not there.
        complete: bool,
    },
    /// The answer to the end, when the kernel holds them.
    SnapshotDone {
        number: u64,
        /// Flows that found no place or no server.
        unplaced: u64,
        /// Flows that are not in the snapshot and were not removed, because they had a packet there a moment ago.
        kept: u64,
    },
    /// What operators want of servers.
    Admin(Vec<AdminEntry>),
    /// The sender gives the virtual router up.
    TakeOver {
        vrid: u8,
        ipv6: bool,
        interface: String,
        why: String,
    },
    ConfigAsk,
    Config {
        text: String,
        hash: String,
    },
    ConfigPush {
        id: u64,
        text: String,
        by: String,
    },
    ConfigPushed {
        id: u64,
        result: Result<String, String>,
    },
    /// Sent and answered by the link itself.
    Ping,
    Pong,
    /// All keys of session tickets. Only for a peer whose [`Hello`] says [`TICKET_KEYS`].
    TicketKeys(Vec<TicketKey>),
    /// Which server has the clients, by tier, where the sender decides that. Only for a peer whose [`Hello`] says [`TIERS`].
    Tiers(Vec<(String, String)>),
}

/// In [`Hello::knows`]: the sender takes [`Message::TicketKeys`].
pub const TICKET_KEYS: &str = "ticket-keys";

/// In [`Hello::knows`]: the sender takes [`Message::Tiers`].
pub const TIERS: &str = "tiers";
/// Tiers in one [`Message::Tiers`].
pub const MAX_TIERS: usize = 1024;

/// Who the other director is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// `director.name`.
    pub name: String,
    pub build: String,
    /// Random, one for each process.
    pub boot: u64,
    /// What the sender takes beyond the messages of the first build that spoke this version, in words with a space
    /// between. An unknown message ends the connection, so what is not said here is not sent. Earlier builds say nothing,
    /// and read nothing into it.
    pub knows: String,
    /// Unix time in milliseconds.
    pub started_ms: u64,
}

impl Hello {
    pub fn knows(&self, word: &str) -> bool {
        self.knows.split(' ').any(|known| known == word)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub config_hash: String,
    pub roles: Vec<RoleOf>,
    /// VIPs that the sender has on its interfaces.
    pub owned: Vec<IpAddr>,
    /// The sender has taken in the other's flows.
    pub in_sync: bool,
    /// Unix time in milliseconds.
    pub sent_at_ms: u64,
}

/// One virtual router of the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleOf {
    pub vrid: u8,
    pub ipv6: bool,
    pub interface: String,
    pub name: String,
    pub role: Role,
    /// With tracking.
    pub priority: u8,
    /// Where its adverts come from.
    pub address: IpAddr,
    /// It is giving the addresses up.
    pub leaving: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowChange {
    pub kind: FlowKind,
    pub client: SocketAddr,
    pub vip: SocketAddr,
    pub server: IpAddr,
    /// Since its last packet.
    pub idle_ms: u32,
    /// Since it was opened.
    pub age_ms: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlowKind {
    Open,
    /// Both sides have closed it.
    Close,
    Reset,
    /// Out of the table.
    Gone,
}

/// What an operator wants of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminEntry {
    pub service: String,
    pub server: String,
    pub admin: AdminState,
    pub by: String,
    pub reason: String,
    /// Set by hand; `None`: the configured one.
    pub weight: Option<u16>,
    /// What the sender's file said when the weight was set.
    pub configured: Option<u16>,
    /// Unix time in milliseconds.
    pub since_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("{0} bytes, the most is {MAX_MESSAGE}")]
    TooLong(usize),
    #[error("{0} flows, the most is {MAX_FLOWS}")]
    TooManyFlows(usize),
    #[error("{0} keys, the most is {MOST_TICKET_KEYS}")]
    TooManyKeys(usize),
    #[error("{0} tiers, the most is {MAX_TIERS}")]
    TooManyTiers(usize),
    #[error("not a message: {0}")]
    Postcard(#[from] postcard::Error),
    #[error("{0} bytes after the message")]
    Trailing(usize),
}

impl Message {
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        self.limits()?;
        let bytes = match self {
            // All at once: what grows leaves secrets behind where it was.
            Self::TicketKeys(_) => postcard::to_extend(self, Vec::with_capacity(KEYS))?,
            _ => postcard::to_stdvec(self)?,
        };
        match bytes.len() {
            long if long > MAX_MESSAGE => Err(CodecError::TooLong(long)),
            _ => Ok(bytes),
        }
    }

    /// Takes no memory for what is not there: lists grow as their items are read.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(CodecError::TooLong(bytes.len()));
        }
        let (message, rest) = postcard::take_from_bytes::<Self>(bytes)?;
        if !rest.is_empty() {
            return Err(CodecError::Trailing(rest.len()));
        }
        message.limits()?;
        Ok(message)
    }

    /// For logs and counters.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Status(_) => "status",
            Self::Flows(_) => "flows",
            Self::SnapshotBegin { .. } => "snapshot_begin",
            Self::SnapshotFlows { .. } => "snapshot_flows",
            Self::SnapshotEnd { .. } => "snapshot_end",
            Self::SnapshotDone { .. } => "snapshot_done",
            Self::Admin(_) => "admin",
            Self::TakeOver { .. } => "take_over",
            Self::ConfigAsk => "config_ask",
            Self::Config { .. } => "config",
            Self::ConfigPush { .. } => "config_push",
            Self::ConfigPushed { .. } => "config_pushed",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::TicketKeys(_) => "ticket_keys",
            Self::Tiers(_) => "tiers",
        }
    }

    fn limits(&self) -> Result<(), CodecError> {
        match self {
            Self::Flows(flows) | Self::SnapshotFlows { flows, .. } if flows.len() > MAX_FLOWS => {
                Err(CodecError::TooManyFlows(flows.len()))
            }
            Self::TicketKeys(keys) if keys.len() > MOST_TICKET_KEYS => {
                Err(CodecError::TooManyKeys(keys.len()))
            }
            Self::Tiers(tiers) if tiers.len() > MAX_TIERS => {
                Err(CodecError::TooManyTiers(tiers.len()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
