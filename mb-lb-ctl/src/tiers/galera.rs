//! Galera: which nodes can be trusted with clients.
//!
//! ```text
//!   follow -> ask (one node: connect, TLS, log in, two statements) -> wire (packets), auth (passwords)
//!          -> Status::parse -> Round -> Machine: view (who stands with whom), node (thresholds), report (words)
//! ```

mod ask;
mod auth;
mod machine;
mod node;
mod report;
mod status;
mod view;
mod wire;

pub use machine::Machine;
pub use status::{Status, parse};
pub use wire::{Greeting, read_error, read_greeting, read_row};

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::config;
use crate::tiers::{Reports, secret};

/// What all nodes said when they were asked once, by the names of the servers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    pub nodes: BTreeMap<String, Answer>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub took: Duration,
    pub said: Result<Status, Trouble>,
}

/// Why it is not known what a node is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("no answer to a connection within {0:?}")]
    NoConnection(Duration),
    #[error("takes connections and says nothing within {0:?}: frozen, or its disk hangs")]
    NoGreeting(Duration),
    #[error("began to answer and was not done within {0:?}")]
    Slow(Duration),
    #[error("refuses connections: MariaDB does not run, or waits for its cluster")]
    Refused,
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("has no connection left (error 1040): {0}")]
    TooManyConnections(String),
    #[error("does not know user and password (error {code}): {text}")]
    WrongPassword { code: u16, text: String },
    #[error("the password cannot be read: {0}")]
    NoPassword(String),
    #[error("wants a password by {0}, which is not spoken here without TLS, or not at all")]
    Authentication(String),
    #[error("blocks this host after too many broken connections (error 1129): {0}")]
    HostBlocked(String),
    #[error("error {code}: {text}")]
    Server { code: u16, text: String },
    #[error("TLS: {0}")]
    Tls(String),
    #[error("does not speak MariaDB's protocol: {0}")]
    Garbage(&'static str),
    #[error("has no Galera: its wsrep variables are not there")]
    NoGalera,
    #[error("says nothing that makes sense about {name}: {value:?}")]
    Malformed { name: &'static str, value: String },
}

/// Asks once per interval, until it is aborted. Rounds never overlap: one that takes longer leaves out the next.
pub async fn follow(config: config::Galera, reports: Reports) {
    let mut ticks = tokio::time::interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        if !reports
            .send(super::Round::Galera(round(&config).await))
            .await
        {
            return;
        }
    }
}

async fn round(config: &config::Galera) -> Round {
    let password = config.password.as_ref().map(secret::read).transpose();
    let password = password.map_err(|error| Trouble::NoPassword(error.to_string()));
    let mut asked = JoinSet::new();
    for server in &config.servers {
        let question = ask::Question {
            address: server.address,
            user: config.user.clone(),
            tls: config.tls.clone(),
            timeout: config.timeout,
        };
        let password = password.clone();
        let name = server.name.clone();
        asked.spawn(async move {
            let answer = match password {
                Ok(password) => ask::ask(question, password.as_deref()).await,
                Err(trouble) => Answer {
                    took: Duration::ZERO,
                    said: Err(trouble),
                },
            };
            (name, answer)
        });
    }
    let mut nodes = BTreeMap::new();
    while let Some(asked) = asked.join_next().await {
        // One that ended badly is missing, and found below.
        if let Ok((name, answer)) = asked {
            nodes.insert(name, answer);
        }
    }
    for server in &config.servers {
        nodes.entry(server.name.clone()).or_insert(Answer {
            took: Duration::ZERO,
            said: Err(Trouble::Garbage("it could not be asked to the end")),
        });
    }
    Round { nodes }
}
