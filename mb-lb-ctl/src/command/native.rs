//! mb-lb's own commands: words to [`Native`], and the one line of JSON that answers each.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::format::count;
use crate::command::{find_service, parse_admin_state};
use crate::engine::{Change, Refusal, ServerRef, Weight};
use crate::snapshot::{AdminState, JSON_VERSION, Snapshot};

/// Events and flows that are sent when no number is given.
pub const DEFAULT_EVENTS: usize = 50;
pub const DEFAULT_FLOWS: usize = 1_000;

/// How a command ended: the exit codes of the command line, so that it can hand them on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
#[repr(u8)]
pub enum Code {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    ConfigErrors = 3,
    ConfigWarnings = 4,
    Unreachable = 5,
    NotFound = 6,
    TimedOut = 7,
    Refused = 8,
    Pending = 9,
    Degraded = 10,
}

impl Code {
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::ConfigErrors,
        Self::ConfigWarnings,
        Self::Unreachable,
        Self::NotFound,
        Self::TimedOut,
        Self::Refused,
        Self::Pending,
        Self::Degraded,
    ];

    /// What `--help`, the manual pages and the manual say of it.
    pub const fn means(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Usage => "wrong use",
            Self::ConfigErrors => "the configuration has errors, or cannot be read",
            Self::ConfigWarnings => {
                "the configuration has warnings (check --strict), or a line is unsupported (import --strict)"
            }
            Self::Unreachable => "the daemon does not answer",
            Self::NotFound => "no such service, server, config_sync or VRRP instance",
            Self::TimedOut => "timed out (--wait), or nobody took over (failover)",
            Self::Refused => {
                "refused: drain and maint that would leave fewer servers than min_up, detach while the daemon runs, import over a \
                 file that exists, a second run, sync or failover \
                 on a director that is not active, failover to one that is at fault or not in sync"
            }
            Self::Pending => {
                "changes are pending (diff), or the peer's configuration differs (peer diff)"
            }
            Self::Degraded => "degraded (status), or there is a problem (doctor)",
        }
    }
}

impl From<Code> for u8 {
    fn from(code: Code) -> Self {
        code as Self
    }
}

/// A number that is no [`Code`].
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a code that mb-lb uses")]
pub struct UnknownCode(u8);

impl TryFrom<u8> for Code {
    type Error = UnknownCode;

    fn try_from(number: u8) -> Result<Self, UnknownCode> {
        let known = Self::ALL.into_iter().find(|code| u8::from(*code) == number);
        known.ok_or(UnknownCode(number))
    }
}

/// The answer to a command that begins with `mb-lb`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply<T = Value> {
    pub version: u32,
    pub code: Code,
    /// For people; empty where `data` says it all.
    pub message: String,
    pub data: T,
}

/// The answer as one line.
pub fn reply<T: Serialize>(code: Code, message: &str, data: &T) -> String {
    let reply = Reply {
        version: JSON_VERSION,
        code,
        message: message.to_owned(),
        data,
    };
    // What is sent consists of structs, strings and numbers; none of them can fail to become JSON.
    let json = serde_json::to_string(&reply).unwrap_or_else(|error| {
        format!(
            "{{\"version\":{JSON_VERSION},\"code\":1,\"message\":{:?},\"data\":null}}",
            error.to_string()
        )
    });
    format!("{json}\n")
}

/// An answer without data.
pub fn complaint(code: Code, message: &str) -> String {
    reply(code, message, &Value::Null)
}

/// One of mb-lb's own commands, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Native {
    Snapshot,
    Change(Change),
    Reload,
    PeerDiff,
    PeerPush,
    /// With the configuration text, and what to call it in messages.
    Diff {
        text: String,
        name: String,
    },
    /// The last so many.
    Events(usize),
    /// The last so many, and then all that come.
    Follow(usize),
    Flows {
        service: Option<String>,
        limit: usize,
    },
    Record(ServerRef),
    /// Name of the `config_sync`.
    Sync(String),
    /// To be answered with [`Code::Usage`] and this text.
    Misused(String),
}

const USAGE: &str = "expected one of: mb-lb snapshot, set, weight, failover, reload, diff, peer, events, flows, record, sync";

impl Native {
    /// Understands the words after `mb-lb`.
    pub fn parse(words: &[&str], payload: Option<String>) -> Self {
        Self::understand(words, payload).unwrap_or_else(|text| Self::Misused(text.to_owned()))
    }

    fn understand(words: &[&str], payload: Option<String>) -> Result<Self, &'static str> {
        if payload.is_some() && words.first() != Some(&"diff") {
            return Err("only mb-lb diff takes a payload");
        }
        match words {
            ["snapshot"] => Ok(Self::Snapshot),
            ["reload"] => Ok(Self::Reload),
            ["set", "force", server, state, reason @ ..] => {
                set(server, state, reason, false).map(Self::Change)
            }
            ["set", server, state, reason @ ..] => {
                set(server, state, reason, true).map(Self::Change)
            }
            ["set", ..] => {
                Err("usage: mb-lb set [force] SERVICE/SERVER ready|drain|maint [REASON]")
            }
            ["weight", server, weight] => Ok(Self::Change(Change::Weight {
                server: parse_server(server)?,
                weight: parse_weight(weight)?,
            })),
            ["failover"] => Ok(Self::Change(Change::Failover { instance: None })),
            ["failover", instance] => Ok(Self::Change(Change::Failover {
                instance: Some((*instance).to_owned()),
            })),
            ["failover", ..] => Err("usage: mb-lb failover [INSTANCE]"),
            ["peer", "diff"] => Ok(Self::PeerDiff),
            ["peer", "push"] => Ok(Self::PeerPush),
            ["peer", ..] => Err("usage: mb-lb peer diff|push"),
            ["weight", ..] => Err("usage: mb-lb weight SERVICE/SERVER N"),
            ["diff", name @ ..] => payload
                .map(|text| Self::Diff {
                    text,
                    name: match name {
                        [] => "the new configuration".to_owned(),
                        words => words.join(" "),
                    },
                })
                .ok_or("usage: mb-lb diff << and the configuration on the lines that follow"),
            ["events"] => Ok(Self::Events(DEFAULT_EVENTS)),
            ["events", "follow"] => Ok(Self::Follow(0)),
            ["events", "follow", count] => parse_count(count).map(Self::Follow),
            ["events", count] => parse_count(count).map(Self::Events),
            ["events", ..] => Err("usage: mb-lb events [N] | mb-lb events follow [N]"),
            ["flows"] => Ok(Self::flows(None, DEFAULT_FLOWS)),
            ["flows", "limit", count] => Ok(Self::flows(None, parse_count(count)?)),
            ["flows", service] => Ok(Self::flows(Some(service), DEFAULT_FLOWS)),
            ["flows", service, "limit", count] => {
                Ok(Self::flows(Some(service), parse_count(count)?))
            }
            ["flows", ..] => Err("usage: mb-lb flows [SERVICE] [limit N]"),
            ["record", server] => parse_server(server).map(Self::Record),
            ["record", ..] => Err("usage: mb-lb record SERVICE/SERVER"),
            ["sync", name] => Ok(Self::Sync((*name).to_owned())),
            ["sync", ..] => Err("usage: mb-lb sync NAME"),
            _ => Err(USAGE),
        }
    }

    fn flows(service: Option<&str>, limit: usize) -> Self {
        Self::Flows {
            service: service.map(str::to_owned),
            limit,
        }
    }
}

fn set(server: &str, state: &str, reason: &[&str], guarded: bool) -> Result<Change, &'static str> {
    Ok(Change::Admin {
        server: parse_server(server)?,
        state: parse_admin_state(state).ok_or("the state is one of: ready, drain, maint")?,
        reason: reason.join(" "),
        guarded,
    })
}

/// `SERVICE/SERVER`.
pub fn parse_server(name: &str) -> Result<ServerRef, &'static str> {
    match name.split_once('/') {
        Some((service, server)) if !service.is_empty() && !server.is_empty() => Ok(ServerRef {
            service: service.to_owned(),
            server: server.to_owned(),
        }),
        _ => Err("a server is named SERVICE/SERVER, for example smtp_backend/mb1"),
    }
}

/// `5` or `50%`.
pub fn parse_weight(text: &str) -> Result<Weight, &'static str> {
    super::weight::parse(text).map_err(|_| {
        "a weight is a whole number from 0 to 256, or percent of that in the file, for example 50%"
    })
}

fn parse_count(word: &str) -> Result<usize, &'static str> {
    word.parse().map_err(|_| "a whole number is expected")
}

/// The engine's refusal, with the name that was perhaps meant.
pub fn refusal(refusal: &Refusal, server: Option<&ServerRef>, snapshot: &Snapshot) -> String {
    match refusal {
        Refusal::NoSuchService | Refusal::NoSuchServer => match server {
            Some(server) => complaint(Code::NotFound, &not_found(snapshot, server)),
            None => complaint(Code::NotFound, &refusal.to_string()),
        },
        Refusal::NoInstance(_) => complaint(Code::NotFound, &refusal.to_string()),
        Refusal::NotActive(_) => complaint(Code::Refused, &refusal.to_string()),
        Refusal::Stayed(_) => complaint(Code::TimedOut, &refusal.to_string()),
        Refusal::NotHandedOver(_) => complaint(Code::Failed, &refusal.to_string()),
        Refusal::NotApplied(_) => complaint(Code::Failed, &refusal.to_string()),
        Refusal::Exists
        | Refusal::NotInMaintenance
        | Refusal::LastServer
        | Refusal::NoRoom
        | Refusal::TooFewLeft { .. }
        | Refusal::BadAddress(_)
        | Refusal::NoPort
        | Refusal::OfTier
        | Refusal::NoCheck
        | Refusal::NoAgent
        | Refusal::ChecksNotEnabled
        | Refusal::AgentNotEnabled
        | Refusal::NoClientCap
        | Refusal::ShutAlready
        | Refusal::Shut(_)
        | Refusal::PausedAlready(_) => complaint(Code::Refused, &refusal.to_string()),
    }
}

/// Whether there is such a server, and what to say if not.
pub fn check_server(snapshot: &Snapshot, server: &ServerRef) -> Result<(), String> {
    let known = snapshot.services.iter().any(|service| {
        service.name == server.service
            && service
                .servers
                .iter()
                .any(|view| view.name == server.server)
    });
    if known {
        Ok(())
    } else {
        Err(not_found(snapshot, server))
    }
}

/// Whether there is such a service, and what to say if not.
pub fn check_service(snapshot: &Snapshot, name: &str) -> Result<(), String> {
    let removed = || snapshot.removed.iter().any(|server| server.service == name);
    if find_service(snapshot, name).is_some() || removed() {
        return Ok(());
    }
    let names = snapshot.services.iter().map(|service| service.name.clone());
    Err(format!("no service {name}{}", hint(name, names)))
}

/// Whether there is such a `config_sync`, and what to say if not.
pub fn check_sync(snapshot: &Snapshot, name: &str) -> Result<(), String> {
    if snapshot.syncs.iter().any(|sync| sync.name == name) {
        return Ok(());
    }
    let names = snapshot.syncs.iter().map(|sync| sync.name.clone());
    Err(format!("no config_sync {name}{}", hint(name, names)))
}

/// Whether there is such a tier, and what to say if not.
pub fn check_tier(snapshot: &Snapshot, name: &str) -> Result<(), String> {
    if snapshot.tiers.iter().any(|tier| tier.name == name) {
        return Ok(());
    }
    let names = snapshot.tiers.iter().map(|tier| tier.name.clone());
    Err(format!("no tier {name}{}", hint(name, names)))
}

fn not_found(snapshot: &Snapshot, wanted: &ServerRef) -> String {
    let full = format!("{}/{}", wanted.service, wanted.server);
    let mut flows = snapshot
        .removed
        .iter()
        .filter(|known| known.service == wanted.service && known.server == wanted.server)
        .map(|known| known.flows)
        .peekable();
    if flows.peek().is_some() {
        return format!(
            "{full} was removed from the file; {} left",
            count(flows.sum(), "flow")
        );
    }
    let service = snapshot
        .services
        .iter()
        .find(|service| service.name == wanted.service);
    match service {
        Some(service) => {
            let names = service.servers.iter().map(|server| server.name.clone());
            format!(
                "no server {} in service {}{}",
                wanted.server,
                wanted.service,
                hint(&wanted.server, names)
            )
        }
        None => {
            let all = snapshot.services.iter().flat_map(|service| {
                service
                    .servers
                    .iter()
                    .map(|server| format!("{}/{}", service.name, server.name))
            });
            format!("no service {}{}", wanted.service, hint(&full, all))
        }
    }
}

/// `; did you mean X?`, or what there is, or nothing.
fn hint(wanted: &str, names: impl Iterator<Item = String>) -> String {
    /// So many names fit on a line.
    const SHOWN: usize = 8;
    let names: Vec<String> = names.collect();
    let nearest = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wanted, name), name))
        .min()
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1));
    match nearest {
        Some((_, name)) => format!("; did you mean {name}?"),
        None if names.is_empty() => "; none is configured".to_owned(),
        None if names.len() <= SHOWN => format!("; there are: {}", names.join(", ")),
        None => format!("; there are {}", names.len()),
    }
}

/// The word for an admin state, in both dialects.
pub const fn state_word(state: AdminState) -> &'static str {
    match state {
        AdminState::Ready => "ready",
        AdminState::Drain => "drain",
        AdminState::Maint => "maint",
    }
}
