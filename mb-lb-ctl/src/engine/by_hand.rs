//! What operators set at run time besides admin state and weight: checks that rest, where they go, a health that is taken for
//! granted, a service that takes nobody. It outlives the process, and is shown until it is undone.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::core::Engine;
use super::server::ServerState;
use super::{Action, CheckResult, Now, Outcome, Refusal, ServerRef, Which};
use crate::snapshot::HealthState;

/// Of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    /// Who set the last of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Its check rests, and what it said last holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check_off: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub agent_off: bool,
    /// Takes no new flow until a check succeeds, or somebody says otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
    /// Without checks: it is down because somebody said so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub down: bool,
    /// Where its check goes, instead of where the configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<Cap>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_send: Option<Told>,
}

/// What an agent is told first, in place of what the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Empty: nothing.
    pub text: String,
    /// What the file said when this was set: it holds until the file says something else.
    #[serde(default)]
    pub file: Option<String>,
}

impl Told {
    fn beside(text: &str, file: Option<String>) -> Option<Self> {
        (text != file.as_deref().unwrap_or("")).then(|| Self {
            text: text.to_owned(),
            file,
        })
    }

    fn words(&self) -> String {
        let file = told_words(self.file.as_deref().unwrap_or(""));
        format!(
            "its agent is told {} (file: {file})",
            told_words(&self.text)
        )
    }
}

/// On one line.
fn told_words(text: &str) -> String {
    match text {
        "" => "nothing".to_owned(),
        text => format!("\"{}\"", text.escape_debug()),
    }
}

/// At most so many connections at a time, in place of what the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// 0: as many as come.
    pub most: u32,
    /// What the file said when this was set: it holds until the file says something else.
    #[serde(default)]
    pub file: Option<u32>,
}

impl Cap {
    /// `None`: it is what the file says.
    fn beside(most: u32, file: Option<u32>) -> Option<Self> {
        (most != file.unwrap_or(0)).then_some(Self { most, file })
    }

    fn words(self) -> String {
        let file = self
            .file
            .map_or("no cap".to_owned(), |file| file.to_string());
        format!("{} (file: {file})", cap_words(self.most))
    }
}

/// As one word of the admin socket's language.
fn written(text: &str) -> String {
    let plain = text.replace('\n', "\\n").replace('\r', "\\r");
    crate::command::line::quote(&plain)
}

fn cap_words(most: u32) -> String {
    match most {
        0 => "no cap of connections".to_owned(),
        most => format!("at most {most} connections"),
    }
}

impl ByHand {
    pub fn is_nothing(&self) -> bool {
        let nobody = Self {
            by: self.by.clone(),
            ..Self::default()
        };
        *self == nobody
    }

    /// Forgets what is set of a check, or an agent, that is not there, and in place of a cap that is another one now.
    pub fn drop_what_has_no_object(
        &mut self,
        has_check: bool,
        has_agent: bool,
        file: Option<u32>,
        send: Option<&str>,
    ) {
        self.cap = self.cap.filter(|cap| cap.file == file);
        let holds = |told: &Told| has_agent && told.file.as_deref() == send;
        self.agent_send = self.agent_send.take().filter(holds);
        if has_check {
            self.down = false;
        } else {
            self.check_off = false;
            (self.check_address, self.check_port) = (None, None);
        }
        if !has_agent {
            self.agent_off = false;
            (self.agent_address, self.agent_port) = (None, None);
        }
    }

    /// Each of it.
    pub fn said(&self) -> Vec<Said> {
        let say = |is: bool, what, words: &str, undo: &str| {
            is.then(|| Said {
                what,
                words: words.to_owned(),
                undo: Some(undo.to_owned()),
            })
        };
        let to = |what, verb: &str, address: Option<IpAddr>, port: Option<u16>| {
            let address = address.map(|address| address.to_string());
            let port = port.map(|port| format!("port {port}"));
            let to: Vec<_> = address.into_iter().chain(port).collect();
            (!to.is_empty()).then(|| Said {
                what,
                words: format!("{verb} {}", to.join(" ")),
                undo: None,
            })
        };
        let cap = self.cap.map(|cap| Said {
            what: "max_connections",
            words: cap.words(),
            undo: Some(format!("set maxconn server NAME {}", cap.file.unwrap_or(0))),
        });
        let told = self.agent_send.as_ref().map(|told| {
            let file = told.file.as_deref().unwrap_or("");
            let undo = format!("set server NAME agent-send {}", written(file));
            Said {
                what: "agent_send",
                words: told.words(),
                undo: Some(undo.trim_end().to_owned()),
            }
        });
        let up = "set server NAME health up";
        [
            say(
                self.check_off,
                "check_off",
                "its check rests",
                "enable health NAME",
            ),
            say(
                self.agent_off,
                "agent_off",
                "its agent is not asked",
                "enable agent NAME",
            ),
            say(self.stopping, "stopping", "stopping", up),
            say(self.down, "down", "set down", up),
            to(
                "check_to",
                "its check goes to",
                self.check_address,
                self.check_port,
            ),
            to(
                "agent_at",
                "its agent is asked at",
                self.agent_address,
                self.agent_port,
            ),
            cap,
            told,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// One thing that is set by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// A stable word.
    pub what: &'static str,
    /// For people.
    pub words: String,
    /// As the admin socket takes it, with `NAME` for the server. `None`: where it was before is in the file.
    undo: Option<String>,
}

impl Said {
    /// What undoes it of the server `name`.
    pub fn next(&self, name: &str) -> String {
        match &self.undo {
            Some(undo) => format!("{}, on the admin socket", undo.replace("NAME", name)),
            None => format!("mb-lb-ctl describe {name}"),
        }
    }
}

/// What `set server ... health` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    Up,
    /// No new flows; those that are go on.
    Stopping,
    Down,
}

impl Forced {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Stopping => "stopping",
            Self::Down => "down",
        }
    }
}

/// What is set by hand of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// What the next checks say holds again.
    Health(Forced),
    /// Its check, or the asking of its agent, goes on or rests.
    Checks(Which, bool),
    /// In place of what its agent said last.
    AgentSays(bool),
    /// `None`: as the configuration says.
    CheckAddress(Option<IpAddr>),
    CheckPort(Option<u16>),
    /// Both at once.
    CheckAt(IpAddr, u16),
    AgentAddress(Option<IpAddr>),
    AgentPort(Option<u16>),
    /// 0: as many as come.
    MaxConnections(u32),
    /// What its agent is told first; empty: nothing.
    AgentSend(String),
}

impl ServerState {
    /// What is known of its health by checks, or by hand where there are none.
    pub(super) fn unchecked(&self) -> (HealthState, String) {
        match self.by_hand.down {
            true => (
                HealthState::Down,
                format!("set down by {}", self.by_hand.by),
            ),
            false => (HealthState::Up, "not checked".to_owned()),
        }
    }
}

impl Engine {
    /// Sets it, and says what has changed.
    ///
    /// # Errors
    /// There is no such server, or nothing of it that this could be set of.
    pub(super) fn set_by_hand(
        &mut self,
        target: &ServerRef,
        setting: &Setting,
        by: &str,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<String, Refusal> {
        let before = self.standings();
        let (service, server) = self.find_mut(target).ok_or(Refusal::NoSuchServer)?;
        let own = server.config.address;
        let check_port = service.check.as_ref().and_then(|check| check.port);
        let agent_port = service.agent.as_ref().map(|agent| agent.port);
        let hand = &mut server.by_hand;
        let is_judged = server.judged.is_some();
        let has_check = service.check.is_some();
        let has_agent = service.agent.is_some();
        let text = match setting {
            Setting::Health(_) | Setting::Checks(Which::Health, _) if is_judged => {
                return Err(Refusal::OfTier);
            }
            Setting::Checks(Which::Health, on) => {
                if !has_check {
                    return Err(Refusal::NoCheck);
                }
                hand.check_off = !on;
                if *on {
                    "its check goes on"
                } else {
                    "its check rests"
                }
                .to_owned()
            }
            Setting::Checks(Which::Agent, on) => {
                if !has_agent {
                    return Err(Refusal::NoAgent);
                }
                hand.agent_off = !on;
                if !on {
                    server.agent.forget();
                }
                if *on {
                    "its agent is asked again"
                } else {
                    "its agent is not asked"
                }
                .to_owned()
            }
            Setting::AgentSays(up) => {
                if !has_agent {
                    return Err(Refusal::AgentNotEnabled);
                }
                server.agent.set_up(*up, by);
                format!("agent set {}", if *up { "up" } else { "down" })
            }
            Setting::CheckAddress(address) => {
                if !has_check {
                    return Err(Refusal::ChecksNotEnabled);
                }
                hand.check_address = address.filter(|address| *address != own);
                format!("its check goes to {}", shown(*address))
            }
            Setting::CheckPort(port) => {
                if !has_check {
                    return Err(Refusal::ChecksNotEnabled);
                }
                hand.check_port = port.filter(|port| Some(*port) != check_port);
                format!("its check goes to port {}", shown(*port))
            }
            Setting::CheckAt(address, port) => {
                if !has_check {
                    return Err(Refusal::ChecksNotEnabled);
                }
                hand.check_address = Some(*address).filter(|address| *address != own);
                hand.check_port = Some(*port).filter(|port| Some(*port) != check_port);
                format!("its check goes to {address} port {port}")
            }
            Setting::AgentAddress(address) => {
                if !has_agent {
                    return Err(Refusal::AgentNotEnabled);
                }
                hand.agent_address = address.filter(|address| *address != own);
                format!("its agent is asked at {}", shown(*address))
            }
            Setting::AgentPort(port) => {
                if !has_agent {
                    return Err(Refusal::AgentNotEnabled);
                }
                hand.agent_port = port.filter(|port| Some(*port) != agent_port);
                format!("its agent is asked at port {}", shown(*port))
            }
            Setting::AgentSend(text) => {
                let Some(agent) = &service.agent else {
                    return Err(Refusal::AgentNotEnabled);
                };
                hand.agent_send = Told::beside(text, agent.send.clone());
                format!("its agent is told {}", told_words(text))
            }
            Setting::MaxConnections(most) => {
                hand.cap = Cap::beside(*most, server.config.max_connections);
                cap_words(*most)
            }
            Setting::Health(forced) => {
                hand.stopping = *forced == Forced::Stopping;
                hand.down = !has_check && *forced == Forced::Down;
                if has_check {
                    server.force(*forced, by, &service, now);
                }
                format!("health {}", forced.word())
            }
        };
        by.clone_into(&mut server.by_hand.by);
        let subject = format!("{}/{}", target.service, target.server);
        let text = format!("{text}, by {by}");
        self.record(now, &subject, "set", text.clone(), actions);
        self.tell_changes(&before, false, now, actions);
        Ok(format!("{subject}: {text}"))
    }
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(
        || "as the configuration says".to_owned(),
        |value| value.to_string(),
    )
}

impl ServerState {
    fn force(&mut self, forced: Forced, by: &str, service: &crate::config::Service, now: Now) {
        let word = forced.word();
        let result = CheckResult {
            outcome: match forced {
                Forced::Down => Outcome::Failure,
                Forced::Up | Forced::Stopping => Outcome::Success,
            },
            code: "INI",
            reply: None,
            detail: format!("set {word} by {by}"),
            duration: std::time::Duration::ZERO,
            page: None,
            certificate: None,
            agent: None,
        };
        let to = match forced {
            Forced::Down => HealthState::Down,
            Forced::Up | Forced::Stopping => HealthState::Up,
        };
        let transition = self.health.force(to, now.since_start);
        if let Some(transition) = transition.filter(|_| !service.slow_start.is_zero()) {
            self.ramp.on_transition(transition, now.since_start);
        }
        (self.trusted, self.was_alive, self.was_reset) = (false, false, false);
        self.judge(result);
    }
}
