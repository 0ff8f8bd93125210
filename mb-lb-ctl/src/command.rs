//! The language of the admin socket: words to [`Command`], and [`Command`] to an answer.
//!
//! Two dialects share one grammar. HAProxy's runtime commands are answered as HAProxy 2.6 answers them, down to the
//! text of the errors, so that the scripts and tools written for it work; what mb-lb adds begins with `mb-lb` and is
//! answered by one line of JSON ([`native`]). What HAProxy can do and mb-lb cannot is answered by a line that begins with
//! `Not done:` and says what to do instead.

pub mod cleared;
pub mod dynamic;
pub mod help;
pub mod info;
pub mod level;
mod limits;
pub mod line;
pub mod native;
mod none;
pub mod servers;
pub mod sessions;
pub mod setting;
pub mod ssl;
pub mod stat;
pub mod weight;

use std::time::Duration;

use crate::config::SocketLevel;
use crate::engine::{Change, ServerRef};
use crate::snapshot::{AdminState, ServerView, Snapshot};

pub use cleared::Cleared;
pub use native::Native;
pub use setting::Setting;
pub use ssl::Ssl;

/// One command, understood. Where HAProxy looks for the server before it looks at the rest, the complaint about the
/// rest is kept here and given in that order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    OfServer {
        server: String,
        setting: Result<Setting, String>,
    },
    OfFrontend {
        name: String,
        order: FrontendOrder,
    },
    AddServer {
        server: String,
        /// Address and keywords.
        words: Vec<String>,
    },
    DeleteServer {
        server: String,
    },
    GetWeight {
        server: String,
    },
    ShowStat(stat::Selection),
    ShowServersState {
        service: Option<String>,
    },
    ShowServersConn {
        service: Option<String>,
    },
    ShowInfo(info::Request),
    ShowVersion,
    ShowBackend,
    ShowErrors {
        service: Option<String>,
    },
    /// `None`: all of them.
    ShowSessions(Option<u64>),
    CutSession(u64),
    ShowEnvironment(Option<String>),
    ShowLevel,
    ShowSockets,
    /// Only maxima, or all counters.
    Clear {
        all: bool,
    },
    Ssl(Ssl),
    Lower(SocketLevel),
    Help(Vec<String>),
    Prompt,
    Quit,
    Timeout(Duration),
    Native(Native),
    /// To be answered with this text.
    Refused(String),
}

/// What is to become of the addresses of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrontendOrder {
    Enable,
    Disable,
    Shutdown,
    /// As it was written.
    MaxConnections(String),
}

/// What the connection has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Send this; empty, or whole lines, but for some of HAProxy's.
    Text(String),
    /// Ask the engine; the text of the refusal when it is not done.
    Change {
        change: Change,
        /// What to send when it is done; mostly nothing.
        done: String,
    },
    /// List flows, or describe one of them.
    Sessions(Option<u64>),
    /// End the one with this id, if there is such a one.
    CutSession(u64),
    Ssl(Ssl),
    Environment(Option<String>),
    Clear {
        all: bool,
    },
    /// May do no more than this from now on.
    Level(SocketLevel),
    /// Turn the prompt on or off.
    Prompt,
    /// Close without a word.
    Quit,
    /// Wait this long for the next command from now on.
    Timeout(Duration),
    Native(Native),
}

/// What an answer depends on besides the command.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// With counters since the last `clear counters`.
    pub snapshot: &'c Snapshot,
    /// Unix time in milliseconds.
    pub now_ms: u64,
    /// Of this connection.
    pub level: SocketLevel,
    /// Path of the socket, and the level that its connections begin with.
    pub socket: (&'c str, SocketLevel),
    pub process: info::Process,
}

/// Understands the words of one command and answers it. `payload` is what followed a `<<`.
pub fn respond(words: &[String], payload: Option<String>, context: &Context<'_>) -> Answer {
    let plain: Vec<&str> = words.iter().map(String::as_str).collect();
    let needed = level::needed(&plain);
    if context.level < needed {
        let why = format!(
            "Permission denied: it takes the level {}, and that of this connection is {} (`socket_level` in [admin])",
            needed.name(),
            context.level.name()
        );
        return Answer::Text(match plain.first() {
            Some(&"mb-lb") => native::complaint(native::Code::Refused, &why),
            _ => level::DENIED.to_owned(),
        });
    }
    answer(parse(words, payload), context)
}

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
    let optional = |index: usize| words.get(index).map(|word| (*word).to_owned());
    let of_server = |setting| Command::OfServer {
        server: word(2).to_owned(),
        setting,
    };
    let of_frontend = |order| Command::OfFrontend {
        name: word(2).to_owned(),
        order,
    };
    if let Some(ssl) = Ssl::parse(&words, payload.as_deref()) {
        return ssl.map_or_else(Command::Refused, Command::Ssl);
    }
    match words.as_slice() {
        ["set", "server", ..] => of_server(Setting::parse(words.get(3..).unwrap_or_default())),
        ["set", "weight", ..] => of_server(weight::parse(word(3)).map(Setting::Weight)),
        ["enable", "server", ..] => of_server(Ok(Setting::State(AdminState::Ready))),
        ["disable", "server", ..] => of_server(Ok(Setting::State(AdminState::Maint))),
        ["enable", "health", ..] => of_server(Ok(Setting::Checks(true))),
        ["disable", "health", ..] => of_server(Ok(Setting::Checks(false))),
        ["enable", "agent", ..] => of_server(Ok(Setting::AgentChecks(true))),
        ["disable", "agent", ..] => of_server(Ok(Setting::AgentChecks(false))),
        ["set", "maxconn", "server", ..] => Command::OfServer {
            server: word(3).to_owned(),
            setting: limits::server(word(4)).map(Setting::MaxConnections),
        },
        ["shutdown", "sessions", "server", ..] => Command::OfServer {
            server: word(3).to_owned(),
            setting: Ok(Setting::CutOff),
        },
        ["enable", "frontend", ..] => of_frontend(FrontendOrder::Enable),
        ["disable", "frontend", ..] => of_frontend(FrontendOrder::Disable),
        ["shutdown", "frontend", ..] => of_frontend(FrontendOrder::Shutdown),
        ["set", "maxconn", "frontend", ..] => Command::OfFrontend {
            name: word(3).to_owned(),
            order: FrontendOrder::MaxConnections(word(4).to_owned()),
        },
        ["set", "maxconn", "global", ..] => Command::Refused(limits::global(word(3))),
        ["set", "rate-limit", rest @ ..] => Command::Refused(limits::rate(rest)),
        ["add", "server", ..] => Command::AddServer {
            server: word(2).to_owned(),
            words: words
                .iter()
                .skip(3)
                .map(|word| (*word).to_owned())
                .collect(),
        },
        ["del", "server", ..] => Command::DeleteServer {
            server: word(2).to_owned(),
        },
        ["shutdown", "session", ..] => match sessions::parse_id(word(2)) {
            Some(id) => Command::CutSession(id),
            None => Command::Refused("Session pointer expected (use 'show sess').\n".to_owned()),
        },
        ["get", "weight", ..] => Command::GetWeight {
            server: word(2).to_owned(),
        },
        ["set", "timeout", ..] => parse_timeout(word(2), word(3)),
        ["show", "stat", rest @ ..] => match stat::Selection::parse(rest) {
            Ok(selection) => Command::ShowStat(selection),
            Err(text) => Command::Refused(text),
        },
        ["show", "servers", "state", ..] => Command::ShowServersState {
            service: optional(3),
        },
        ["show", "servers", "conn", ..] => Command::ShowServersConn {
            service: optional(3),
        },
        ["show", "info", rest @ ..] => Command::ShowInfo(info::Request::parse(rest)),
        ["show", "version", ..] => Command::ShowVersion,
        ["show", "backend", ..] => Command::ShowBackend,
        ["show", "errors", ..] => Command::ShowErrors {
            service: optional(2),
        },
        // What is no id is no filter either, as in HAProxy.
        ["show", "sess", ..] => Command::ShowSessions(sessions::parse_id(word(2))),
        ["show", "env", ..] => Command::ShowEnvironment(optional(2)),
        ["show", "cli", "level", ..] => Command::ShowLevel,
        ["show", "cli", "sockets", ..] => Command::ShowSockets,
        ["clear", "counters", ..] => Command::Clear {
            all: word(2) == "all",
        },
        ["user", ..] => Command::Lower(SocketLevel::User),
        ["operator", ..] => Command::Lower(SocketLevel::Operator),
        ["help", rest @ ..] => Command::Help(rest.iter().map(|word| (*word).to_owned()).collect()),
        ["prompt", ..] => Command::Prompt,
        ["quit", ..] => Command::Quit,
        ["mb-lb", rest @ ..] => Command::Native(Native::parse(rest, payload)),
        _ => Command::Refused(none::answer(&words).unwrap_or_else(|| help::unknown(&words))),
    }
}

/// Answers from what is known, or says what else has to be done.
pub fn answer(command: Command, context: &Context<'_>) -> Answer {
    let snapshot = context.snapshot;
    Answer::Text(match command {
        Command::OfServer { server, setting } => {
            let (server, view) = match find_server(snapshot, &server) {
                Ok(found) => found,
                Err(text) => return Answer::Text(text.to_owned()),
            };
            match setting.and_then(|setting| setting.change(server, view)) {
                Ok((change, done)) => return Answer::Change { change, done },
                Err(text) => text,
            }
        }
        Command::OfFrontend { name, order } => match of_frontend(snapshot, &name, &order) {
            Ok(change) => {
                let done = String::new();
                return Answer::Change { change, done };
            }
            Err(text) => text,
        },
        Command::AddServer { server, words } => match dynamic::add(snapshot, &server, &words) {
            Ok(change) => {
                let done = "New server registered.\n".to_owned();
                return Answer::Change { change, done };
            }
            Err(text) => text,
        },
        Command::DeleteServer { server } => match dynamic::delete(snapshot, &server) {
            Ok(server) => {
                let (change, done) = (Change::Remove { server }, "Server deleted.".to_owned());
                return Answer::Change { change, done };
            }
            Err(text) => text,
        },
        Command::GetWeight { server } => match find_server(snapshot, &server) {
            Ok((_, view)) => format!("{} (initial {})\n", view.weight, view.initial_weight),
            Err(text) => text.to_owned(),
        },
        Command::ShowStat(selection) => stat::render(snapshot, &selection),
        Command::ShowServersState { service } => servers::render(snapshot, service.as_deref()),
        Command::ShowServersConn { service } => servers::connections(snapshot, service.as_deref()),
        Command::ShowInfo(request) => {
            info::render(snapshot, request, context.process, context.now_ms)
        }
        Command::ShowVersion => format!("{}\n", info::version(snapshot)),
        Command::ShowBackend => std::iter::once("# name\n".to_owned())
            .chain(
                snapshot
                    .services
                    .iter()
                    .map(|service| format!("{}\n", service.name)),
            )
            .collect(),
        Command::ShowErrors { service } => {
            show_errors(snapshot, service.as_deref(), context.now_ms)
        }
        Command::ShowSessions(id) => return Answer::Sessions(id),
        Command::CutSession(id) => return Answer::CutSession(id),
        Command::ShowEnvironment(name) => return Answer::Environment(name),
        Command::ShowLevel => format!("{}\n", context.level.name()),
        Command::ShowSockets => {
            let (path, level) = context.socket;
            format!("# socket lvl processes\nunix@{path} {} all\n", level.name())
        }
        Command::Clear { all } => return Answer::Clear { all },
        Command::Ssl(ssl) => return Answer::Ssl(ssl),
        Command::Lower(level) => return Answer::Level(level),
        Command::Help(words) => help::matching(&words),
        Command::Prompt => return Answer::Prompt,
        Command::Quit => return Answer::Quit,
        Command::Timeout(timeout) => return Answer::Timeout(timeout),
        Command::Native(native) => return Answer::Native(native),
        Command::Refused(text) => text,
    })
}

/// What HAProxy can do and mb-lb cannot, and what to do instead.
fn not_done(why: &str) -> String {
    format!("Not done: {why}.\n")
}

fn of_frontend(snapshot: &Snapshot, name: &str, order: &FrontendOrder) -> Result<Change, String> {
    if name.is_empty() {
        return Err("A frontend name is expected.\n".to_owned());
    }
    let Some(at) = find_service(snapshot, name) else {
        return Err("No such frontend.\n".to_owned());
    };
    let frontend = |takes| Change::Frontend {
        service: snapshot.services[at].name.clone(),
        takes,
    };
    match order {
        FrontendOrder::Enable => Ok(frontend(true)),
        FrontendOrder::Disable => Ok(frontend(false)),
        FrontendOrder::Shutdown => Ok(Change::ShutFrontend {
            service: snapshot.services[at].name.clone(),
        }),
        FrontendOrder::MaxConnections(value) => Ok(Change::ClientCap {
            service: snapshot.services[at].name.clone(),
            most: limits::frontend(value)?,
        }),
    }
}

/// The data plane does not look into mail, and proxies log what they refuse: there is never an error to show.
fn show_errors(snapshot: &Snapshot, service: Option<&str>, now_ms: u64) -> String {
    let is_known = service
        .is_none_or(|name| name.parse::<i64>().is_ok() || find_service(snapshot, name).is_some());
    match is_known {
        true => format!(
            "Total events captured on [{}] : 0\n",
            info::log_date(now_ms)
        ),
        false => "No such proxy.\n".to_owned(),
    }
}

/// The server named `name/name` or `#id/#id`.
fn find_server<'s>(
    snapshot: &'s Snapshot,
    name: &str,
) -> Result<(ServerRef, &'s ServerView), &'static str> {
    let (service, server) = find(snapshot, name)?;
    let service = &snapshot.services[service];
    let view = &service.servers[server];
    let server = ServerRef {
        service: service.name.clone(),
        server: view.name.clone(),
    };
    Ok((server, view))
}

/// Both halves of `backend/server`.
fn split_name(name: &str) -> Option<(&str, &str)> {
    name.split_once('/')
        .filter(|(service, server)| !service.is_empty() && !server.is_empty())
}

/// HAProxy's number of a service: 1 is its own GLOBAL section.
pub fn proxy_id(service: &crate::snapshot::ServiceView) -> u32 {
    service.id + 2
}

/// Positions of service and server named `name/name` or `#id/#id`, or HAProxy's complaint.
pub fn find(snapshot: &Snapshot, name: &str) -> Result<(usize, usize), &'static str> {
    let (service, server) = split_name(name).ok_or("Require 'backend/server'.\n")?;
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
