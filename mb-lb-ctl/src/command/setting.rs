//! What can be set of one server: words to [`Setting`] with HAProxy's complaints, and [`Setting`] to what has to be done.

use std::net::IpAddr;

use crate::command::weight;
use crate::engine::{self, Change, Forced, ServerRef, Weight, Which};
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
    /// What its agent is to have said: up or down; `None`: neither word was given.
    Agent(Option<bool>),
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

const STATE_EXPECTS: &str = "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n";
const HEALTH_EXPECTS: &str = "'set server <srv> health' expects 'up', 'stopping', or 'down'.\n";
const USAGE: &str = "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | check-addr \
     | check-port | fqdn | health | ssl | state | weight\n";
const AGENT_EXPECTS: &str = "'set server <srv> agent' expects 'up' or 'down'.\n";
/// As `send` of the configuration.
const LONGEST_SEND: usize = 1024;
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
            "agent" => Ok(Self::Agent(match value {
                "up" => Some(true),
                "down" => Some(false),
                _ => None,
            })),
            "agent-addr" => given("agent-addr requires an address and optionally a port.")
                .map(|value| Self::AgentAddress(value.to_owned())),
            "agent-port" => {
                given("agent-port requires a port.").map(|value| Self::AgentPort(value.to_owned()))
            }
            // A line end cannot be written on the socket; HAProxy has no word for it.
            "agent-send" => {
                let text = value.replace("\\n", "\n").replace("\\r", "\r");
                Ok(Self::AgentSend(text))
            }
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

    /// The change to ask the engine for, and what to say when it is done; the error is the answer where there is nothing to ask.
    pub fn change(self, server: ServerRef, view: &ServerView) -> Result<(Change, String), String> {
        let silent = |change| Ok((change, String::new()));
        let set = |server, setting| silent(Change::Set { server, setting });
        match self {
            Self::State(state) => silent(Change::Admin {
                server,
                state,
                reason: String::new(),
                guarded: false,
            }),
            Self::Weight(weight) => silent(Change::Weight { server, weight }),
            Self::Address { address, port } => {
                let (port, done) = moved(view, address, port.as_deref())?;
                let address = Some(address).filter(|address| view.address != Some(*address));
                let change = Change::Move {
                    server,
                    address,
                    port,
                };
                Ok((change, done))
            }
            Self::Health(forced) => set(server, engine::Setting::Health(forced)),
            Self::Agent(_) | Self::AgentSend(_) if view.agent.is_none() => {
                Err(format!("{NO_AGENT}.\n"))
            }
            Self::AgentAddress(_) | Self::AgentPort(_) if view.agent.is_none() => {
                Err(NO_AGENT.to_owned())
            }
            Self::Agent(Some(up)) => set(server, engine::Setting::AgentSays(up)),
            Self::Agent(None) => Err(AGENT_EXPECTS.to_owned()),
            Self::AgentSend(text) if text.len() > LONGEST_SEND => Err(not_done(&format!(
                "an agent is told {LONGEST_SEND} bytes at most"
            ))),
            Self::AgentSend(text) => set(server, engine::Setting::AgentSend(text)),
            Self::AgentAddress(text) => match text.parse() {
                Ok(address) => set(server, engine::Setting::AgentAddress(Some(address))),
                Err(_) => Err(format!("invalid addr '{text}'")),
            },
            Self::AgentPort(text) => {
                let port = port(&text)?;
                set(server, engine::Setting::AgentPort(Some(port)))
            }
            Self::AgentChecks(false) if view.agent.is_none() => Err(String::new()),
            Self::AgentChecks(true) if view.agent.is_none() => {
                Err("Agent was not configured on this server, cannot enable.\n".to_owned())
            }
            Self::AgentChecks(on) => set(server, engine::Setting::Checks(Which::Agent, on)),
            Self::CheckAddress { .. } | Self::CheckPort(_) if view.check.is_none() => {
                Err(NO_CHECK.to_owned())
            }
            Self::CheckAddress { address, port } => match port {
                Some(port) => set(server, engine::Setting::CheckAt(address, port)),
                None => set(server, engine::Setting::CheckAddress(Some(address))),
            },
            Self::CheckPort(port) => set(server, engine::Setting::CheckPort(Some(port))),
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
            Self::Checks(on) => set(server, engine::Setting::Checks(Which::Health, on)),
            Self::MaxConnections(most) => set(server, engine::Setting::MaxConnections(most)),
            Self::CutOff => silent(Change::EndSessions { server }),
        }
    }
}

/// The port that has to be changed, if any, and what HAProxy says of the whole; the error is the answer where nothing has to be.
fn moved(
    view: &ServerView,
    address: IpAddr,
    port: Option<&str>,
) -> Result<(Option<u16>, String), String> {
    const BY: &str = "by 'stats socket command'\n";
    let is_there = view.address == Some(address);
    let from = view
        .address
        .map_or_else(String::new, |from| from.to_string());
    let ip = match is_there {
        true => "no need to change the addr".to_owned(),
        false => format!("IP changed from '{from}' to '{address}'"),
    };
    let Some(text) = port else {
        let said = format!("{ip} {BY}");
        return if is_there {
            Err(said)
        } else {
            Ok((None, said))
        };
    };
    let unchanged = if is_there {
        "no need to change the addr, "
    } else {
        ""
    };
    let Ok(port) = text.parse::<u16>() else {
        return Err(format!(
            "{unchanged}problem converting port '{text}' to an int {BY}"
        ));
    };
    if port != view.port {
        let said = format!("{ip}, port changed from '{}' to '{port}' {BY}", view.port);
        return Ok((Some(port), said));
    }
    let said = format!("{ip}, no need to change the port {BY}");
    if is_there {
        Err(said)
    } else {
        Ok((None, said))
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
