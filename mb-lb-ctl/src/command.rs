//! The language of the admin socket: words to [`Command`], and [`Command`] to an answer.
//!
//! Two dialects share one grammar. HAProxy's runtime commands are answered as HAProxy 2.6 answers them, down to the
//! text of the errors, so that the scripts and tools written for it work; what mb-lb adds begins with `mb-lb` and is
//! answered by one line of JSON ([`native`]).

pub mod help;
pub mod info;
pub mod line;
pub mod native;
pub mod servers;
pub mod stat;
pub mod weight;

use std::time::Duration;

use crate::engine::{Change, ServerRef, Weight};
use crate::snapshot::{AdminState, Snapshot};

pub use native::Native;

/// One command, understood. Where HAProxy looks for the server before it looks at the rest, the complaint about the
/// rest is kept here and given in that order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    SetServer {
        server: String,
        setting: Result<Setting, String>,
    },
    GetWeight {
        server: String,
    },
    ShowStat(stat::Selection),
    ShowServersState {
        service: Option<String>,
    },
    ShowInfo {
        typed: bool,
    },
    ShowVersion,
    ShowBackend,
    ShowErrors,
    Help(Vec<String>),
    Prompt,
    Quit,
    Timeout(Duration),
    Native(Native),
    /// To be answered with this text.
    Refused(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    State(AdminState),
    Weight(Weight),
}

/// What the connection has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send this; empty, or whole lines.
    Text(String),
    /// Ask the engine; no text when it is done, the text of the refusal when not.
    Change(Change),
    /// Turn the prompt on or off.
    Prompt,
    /// Close without a word.
    Quit,
    /// Wait this long for the next command from now on.
    Timeout(Duration),
    Native(Native),
}

const STATE_EXPECTS: &str = "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n";
const SET_SERVER_USAGE: &str = "usage: set server <backend>/<server> state | weight\n";

/// Understands the words of one command. `payload` is what followed a `<<`.
pub fn parse(words: &[String], payload: Option<String>) -> Command {
    if words.len() > line::MAX_WORDS {
        return Command::Refused(format!(
            "Too many words: {}, at most {} are allowed.\n",
            words.len(),
            line::MAX_WORDS
        ));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let word = |index: usize| words.get(index).copied().unwrap_or_default();
    let server = || word(2).to_owned();
    match words.as_slice() {
        ["set", "server", ..] => Command::SetServer {
            server: server(),
            setting: match word(3) {
                "state" => parse_state(word(4)),
                "weight" => weight::parse(word(4)).map(Setting::Weight),
                _ => Err(SET_SERVER_USAGE.to_owned()),
            },
        },
        ["set", "weight", ..] => Command::SetServer {
            server: server(),
            setting: weight::parse(word(3)).map(Setting::Weight),
        },
        ["enable", "server", ..] => Command::SetServer {
            server: server(),
            setting: Ok(Setting::State(AdminState::Ready)),
        },
        ["disable", "server", ..] => Command::SetServer {
            server: server(),
            setting: Ok(Setting::State(AdminState::Maint)),
        },
        ["get", "weight", ..] => Command::GetWeight { server: server() },
        ["set", "timeout", ..] => parse_timeout(word(2), word(3)),
        ["show", "stat", rest @ ..] => match stat::Selection::parse(rest) {
            Ok(selection) => Command::ShowStat(selection),
            Err(text) => Command::Refused(text),
        },
        ["show", "servers", "state", ..] => Command::ShowServersState {
            service: words.get(3).map(|name| (*name).to_owned()),
        },
        ["show", "info", "json", ..] => Command::Refused(
            "'show info json' is not supported: use 'show info typed', or 'mb-lb snapshot' for JSON.\n"
                .to_owned(),
        ),
        ["show", "info", rest @ ..] => Command::ShowInfo {
            typed: rest.contains(&"typed"),
        },
        ["show", "version", ..] => Command::ShowVersion,
        ["show", "backend", ..] => Command::ShowBackend,
        ["show", "errors", ..] => Command::ShowErrors,
        ["help", rest @ ..] => Command::Help(rest.iter().map(|word| (*word).to_owned()).collect()),
        ["prompt", ..] => Command::Prompt,
        ["quit", ..] => Command::Quit,
        ["mb-lb", rest @ ..] => Command::Native(Native::parse(rest, payload)),
        _ => Command::Refused(help::unknown(&words)),
    }
}

/// Answers from the snapshot, or says what else has to be done. `now_ms` is Unix time in milliseconds.
pub fn answer(command: Command, snapshot: &Snapshot, now_ms: u64) -> Answer {
    Answer::Text(match command {
        Command::SetServer { server, setting } => {
            let server = match find(snapshot, &server) {
                Ok((service, server)) => ServerRef {
                    service: snapshot.services[service].name.clone(),
                    server: snapshot.services[service].servers[server].name.clone(),
                },
                Err(text) => return Answer::Text(text.to_owned()),
            };
            match setting {
                Ok(Setting::State(state)) => {
                    return Answer::Change(Change::Admin {
                        server,
                        state,
                        reason: String::new(),
                    });
                }
                Ok(Setting::Weight(weight)) => {
                    return Answer::Change(Change::Weight { server, weight });
                }
                Err(text) => text,
            }
        }
        Command::GetWeight { server } => match find(snapshot, &server) {
            Ok((service, server)) => {
                let server = &snapshot.services[service].servers[server];
                format!("{} (initial {})\n", server.weight, server.initial_weight)
            }
            Err(text) => text.to_owned(),
        },
        Command::ShowStat(selection) => stat::render(snapshot, &selection),
        Command::ShowServersState { service } => servers::render(snapshot, service.as_deref()),
        Command::ShowInfo { typed } => info::render(snapshot, typed, now_ms),
        Command::ShowVersion => format!("{}\n", info::version(snapshot)),
        Command::ShowBackend => std::iter::once("# name\n".to_owned())
            .chain(
                snapshot
                    .services
                    .iter()
                    .map(|service| format!("{}\n", service.name)),
            )
            .collect(),
        // The data plane does not look into mail, so it never has a protocol error to show.
        Command::ShowErrors => {
            format!(
                "Total events captured on [{}] : 0\n",
                info::log_date(now_ms)
            )
        }
        Command::Help(words) => help::matching(&words),
        Command::Prompt => return Answer::Prompt,
        Command::Quit => return Answer::Quit,
        Command::Timeout(timeout) => return Answer::Timeout(timeout),
        Command::Native(native) => return Answer::Native(native),
        Command::Refused(text) => text,
    })
}

/// HAProxy's number of a service: 1 is its own GLOBAL section.
pub fn proxy_id(service: &crate::snapshot::ServiceView) -> u32 {
    service.id + 2
}

/// Positions of service and server named `name/name` or `#id/#id`, or HAProxy's complaint.
pub fn find(snapshot: &Snapshot, name: &str) -> Result<(usize, usize), &'static str> {
    let (service, server) = match name.split_once('/') {
        Some((service, server)) if !service.is_empty() && !server.is_empty() => (service, server),
        _ => return Err("Require 'backend/server'.\n"),
    };
    let service = find_service(snapshot, service).ok_or("No such backend.\n")?;
    let id = number(server);
    let server = snapshot.services[service]
        .servers
        .iter()
        .position(|view| view.name == server || id == Some(view.position))
        .ok_or("No such server.\n")?;
    Ok((service, server))
}

/// Position of the service named so, or numbered so (`#2`).
pub fn find_service(snapshot: &Snapshot, name: &str) -> Option<usize> {
    let id = number(name);
    snapshot
        .services
        .iter()
        .position(|view| view.name == name || id == Some(proxy_id(view)))
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix('#')?.parse().ok()
}

fn parse_state(word: &str) -> Result<Setting, String> {
    parse_admin_state(word)
        .map(Setting::State)
        .ok_or_else(|| STATE_EXPECTS.to_owned())
}

/// The three words of both dialects.
pub fn parse_admin_state(word: &str) -> Option<AdminState> {
    match word {
        "ready" => Some(AdminState::Ready),
        "drain" => Some(AdminState::Drain),
        "maint" => Some(AdminState::Maint),
        _ => None,
    }
}

fn parse_timeout(what: &str, value: &str) -> Command {
    if what != "cli" {
        return Command::Refused("'set timeout' only supports 'cli'.\n".to_owned());
    }
    if value.is_empty() {
        return Command::Refused("Expects an integer value.\n".to_owned());
    }
    let digits = value
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let micros = match unit {
        "us" => 1,
        "ms" => 1_000,
        "" | "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => 0,
    };
    // HAProxy counts milliseconds in 31 bits: 24 days.
    let longest = Duration::from_secs(24 * 86_400);
    match number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(micros))
    {
        Some(micros) if micros >= 1_000 && Duration::from_micros(micros) <= longest => {
            Command::Timeout(Duration::from_micros(micros))
        }
        _ => Command::Refused("Invalid timeout value.\n".to_owned()),
    }
}
