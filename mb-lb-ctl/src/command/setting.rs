//! What can be set of one server: words to [`Setting`] with HAProxy's complaints, and [`Setting`] to what has to be done.

use std::net::IpAddr;

use crate::command::weight;
use crate::engine::{Change, ServerRef, Weight};
use crate::snapshot::{AdminState, ServerView};

use super::{not_done, parse_admin_state};

/// What a command wants of a server that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    State(AdminState),
    Weight(Weight),
    Address {
        address: IpAddr,
        /// As it was written; `None`: the port stays.
        port: Option<String>,
    },
    Health(Forced),
    /// What its agent is to have said: up or down.
    Agent(bool),
    AgentAddress(String),
    AgentPort(String),
    AgentSend(String),
    CheckAddress {
        address: IpAddr,
        port: Option<u16>,
    },
    CheckPort(u16),
    HostName(String),
    Tls,
    /// Checks go on, or stop.
    Checks(bool),
    AgentChecks(bool),
    MaxConnections(u32),
    /// All of its connections end now.
    CutOff,
}

/// `set server ... health`: what its checks are to have said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    Up,
    /// Takes only clients that are bound to it by their cookie.
    Stopping,
    Down,
}

const STATE_EXPECTS: &str = "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n";
const HEALTH_EXPECTS: &str = "'set server <srv> health' expects 'up', 'stopping', or 'down'.\n";
const USAGE: &str = "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | check-addr \
     | check-port | fqdn | health | ssl | state | weight\n";
const NO_AGENT: &str = "agent checks are not enabled on this server";
const NO_CHECK: &str = "health checks are not enabled on this server";

impl Setting {
    /// Understands what follows `set server BACKEND/SERVER`.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let word = |index: usize| words.get(index).copied().unwrap_or_default();
        let value = word(1);
        let given = |text: &str| match value {
            "" => Err(format!("set server <b>/<s> {text}\n")),
            value => Ok(value),
        };
        match word(0) {
            "state" => parse_admin_state(value)
                .map(Self::State)
                .ok_or_else(|| STATE_EXPECTS.to_owned()),
            "weight" => weight::parse(value).map(Self::Weight),
            "addr" => {
                let value = given("addr requires an address and optionally a port.")?;
                let address = value
                    .parse()
                    .map_err(|_| format!("Invalid addr '{value}' by 'stats socket command'\n"))?;
                let port = (word(2) == "port").then(|| word(3).to_owned());
                Ok(Self::Address { address, port })
            }
            "health" => match value {
                "up" => Ok(Self::Health(Forced::Up)),
                "stopping" => Ok(Self::Health(Forced::Stopping)),
                "down" => Ok(Self::Health(Forced::Down)),
                _ => Err(HEALTH_EXPECTS.to_owned()),
            },
            // Whether there is an agent is looked at before the word is.
            "agent" => Ok(Self::Agent(value == "up")),
            "agent-addr" => given("agent-addr requires an address and optionally a port.")
                .map(|value| Self::AgentAddress(value.to_owned())),
            "agent-port" => {
                given("agent-port requires a port.").map(|value| Self::AgentPort(value.to_owned()))
            }
            "agent-send" => Ok(Self::AgentSend(value.to_owned())),
            "check-addr" => {
                let value = given("check-addr requires an address and optionally a port.")?;
                let address = value
                    .parse()
                    .map_err(|_| format!("invalid addr '{value}'"))?;
                let port = match word(2) {
                    "port" => Some(port(word(3))?),
                    _ => None,
                };
                Ok(Self::CheckAddress { address, port })
            }
            "check-port" => given("check-port requires a port.")
                .and_then(port)
                .map(Self::CheckPort),
            "fqdn" => given("fqdn requires a FQDN.").map(|value| Self::HostName(value.to_owned())),
            "ssl" => Ok(Self::Tls),
            _ => Err(USAGE.to_owned()),
        }
    }

    /// The change to ask the engine for; the error is the answer where there is nothing to ask.
    pub fn change(self, server: ServerRef, view: &ServerView) -> Result<Change, String> {
        match self {
            Self::State(state) => Ok(Change::Admin {
                server,
                state,
                reason: String::new(),
            }),
            Self::Weight(weight) => Ok(Change::Weight { server, weight }),
            Self::Address { address, port } => Err(address_change(view, address, port.as_deref())
                .unwrap_or_else(|| {
                    not_done(
                        "the address of a server is changed in the configuration file, followed by a reload",
                    )
                })),
            Self::Health(_) => Err(not_done("health is what the checks say; use 'state'")),
            // No server of this version has an agent, and this is what HAProxy says of one without.
            Self::Agent(_) | Self::AgentSend(_) => Err(format!("{NO_AGENT}.\n")),
            Self::AgentAddress(_) | Self::AgentPort(_) => Err(NO_AGENT.to_owned()),
            Self::AgentChecks(false) => Err(String::new()),
            Self::AgentChecks(true) => {
                Err("Agent was not configured on this server, cannot enable.\n".to_owned())
            }
            Self::CheckAddress { .. } | Self::CheckPort(_) if view.check.is_none() => {
                Err(NO_CHECK.to_owned())
            }
            Self::CheckAddress { .. } | Self::CheckPort(_) => Err(not_done(
                "where checks go is changed in the configuration file, followed by a reload",
            )),
            Self::HostName(_) => Err(
                "set server <b>/<s> fqdn failed because no resolution is configured.\n".to_owned(),
            ),
            Self::Tls => Err(
                "'set server <srv> ssl' cannot be set.  default-server should define ssl settings\n"
                    .to_owned(),
            ),
            Self::Checks(false) if view.check.is_none() => Err(String::new()),
            Self::Checks(true) if view.check.is_none() => Err(
                "Health check was not configured on this server, cannot enable.\n".to_owned(),
            ),
            // They are, always.
            Self::Checks(true) => Err(String::new()),
            Self::Checks(false) => Err(not_done(
                "checks of one server cannot be stopped; 'state maint' stops them with the server",
            )),
            Self::MaxConnections(_) => Err(not_done(
                "`max_connections` of a server is changed in the configuration file, followed by a reload",
            )),
            Self::CutOff => Err(not_done(
                "connections end with 'state maint', where `on_down` is \"reset\"",
            )),
        }
    }
}

/// What HAProxy says of an address where it has not to be changed; `None` where it has.
fn address_change(view: &ServerView, address: IpAddr, port: Option<&str>) -> Option<String> {
    const BY: &str = "by 'stats socket command'";
    let same = view.address == Some(address);
    let unchanged = if same {
        "no need to change the addr, "
    } else {
        ""
    };
    match port {
        None if same => Some(format!("no need to change the addr {BY}\n")),
        None => None,
        Some(text) => match text.parse::<u16>() {
            Err(_) => Some(format!(
                "{unchanged}problem converting port '{text}' to an int {BY}\n"
            )),
            Ok(port) if same && port == view.port => Some(format!(
                "no need to change the addr, no need to change the port {BY}\n"
            )),
            Ok(_) => None,
        },
    }
}

fn port(word: &str) -> Result<u16, String> {
    match word.parse::<i64>() {
        Err(_) => Err("provided port is not an integer".to_owned()),
        Ok(number) => u16::try_from(number)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| "provided port is invalid".to_owned()),
    }
}
