//! What agents of servers ask for (HAProxy's agent protocol): a third voice beside the operator's and that of the checks.
//!
//! Each voice can only take away: a server takes new flows when the operator, the checks and the agent all let it. An agent
//! cannot end a maintenance that an operator began, nor raise a weight of 0 that an operator set. What it said holds until it
//! says something else; that it does not answer changes nothing, as in HAProxy, for whether the server answers is for the
//! checks to say.

use std::time::Duration;

use super::change::admin_word;
use super::core::Engine;
use super::server::ServerState;
use super::{Action, AgentReply, CheckResult, Now, Weight, Which};
use crate::config::CheckKind;
use crate::snapshot::{AdminState, AgentView, HealthState};

/// What the agent of one server asked for last.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    pub admin: AdminState,
    weight: Option<Weight>,
    /// 0: no cap.
    max_connections: Option<u32>,
    /// Why it says that the server is down.
    pub down: Option<String>,
    /// What its last check found.
    result: Option<CheckResult>,
}

impl Agent {
    /// What it changed, in words; empty where it says what it said before.
    fn hear(&mut self, reply: &AgentReply, judges_health: bool) -> Vec<String> {
        let mut told = Vec::new();
        if let Some(admin) = reply.admin.filter(|admin| *admin != self.admin) {
            told.push(format!(
                "{} -> {}",
                admin_word(self.admin),
                admin_word(admin)
            ));
            self.admin = admin;
        }
        if reply.weight.is_some() && reply.weight != self.weight {
            self.weight = reply.weight;
            told.push(format!(
                "weight {}",
                reply.weight.map_or_else(String::new, weight_text)
            ));
        }
        if reply.max_connections.is_some() && reply.max_connections != self.max_connections {
            self.max_connections = reply.max_connections;
            told.push(match reply.max_connections {
                Some(0) | None => "no cap of connections".to_owned(),
                Some(most) => format!("at most {most} connections"),
            });
        }
        if let Some(up) = reply.up.filter(|_| judges_health) {
            let why = reply.reason.as_deref();
            self.down = match (up, why) {
                (true, _) => None,
                (false, Some(why)) => Some(format!("its agent says down: {why}")),
                (false, None) => Some("its agent says down".to_owned()),
            };
        }
        told
    }

    /// It is not asked any more: what it said is no wish of anybody.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// An operator says in its place whether the server is up; what it says next holds again.
    pub fn set_up(&mut self, up: bool, by: &str) {
        if up {
            self.forget();
        } else {
            self.down = Some(format!("its agent was set down by {by}"));
        }
    }

    pub fn view(&self, port: u16, is_off: bool) -> AgentView {
        let result = self.result.as_ref();
        AgentView {
            port,
            off: is_off,
            code: result.map_or("INI", |result| result.code).to_owned(),
            detail: result.map_or_else(String::new, |result| result.detail.clone()),
            duration_ms: result.map_or(0, |result| {
                u64::try_from(result.duration.as_millis()).unwrap_or(u64::MAX)
            }),
            admin: self.admin,
            weight: self.weight.map(weight_text),
            max_connections: self.max_connections,
            up: self.down.is_none(),
        }
    }
}

fn weight_text(weight: Weight) -> String {
    match weight {
        Weight::Absolute(weight) => weight.to_string(),
        Weight::Percent(percent) => format!("{percent}%"),
    }
}

impl ServerState {
    /// Nothing is set of, or said by, what the service does not have any more.
    pub(super) fn drop_what_has_no_object(&mut self, service: &crate::config::Service) {
        let check = service.check.as_ref();
        let is_agent = check.is_some_and(|check| matches!(check.kind, CheckKind::Agent { .. }));
        if service.agent.is_none() && !is_agent {
            self.agent.forget();
        }
        self.by_hand.drop_what_has_no_object(
            check.is_some(),
            service.agent.is_some(),
            self.config.max_connections,
            service
                .agent
                .as_ref()
                .and_then(|agent| agent.send.as_deref()),
        );
    }

    /// What operator and agent together want: the stricter of the two.
    pub fn wish(&self) -> AdminState {
        self.admin.max(self.agent.admin)
    }

    /// The weight with what the agent asks for: a percentage of it, or another one in its place, unless it is 0.
    pub fn weight_now(&self) -> u16 {
        match self.agent.weight {
            _ if self.weight == 0 => 0,
            None => self.weight,
            Some(Weight::Absolute(weight)) => weight.min(256),
            Some(Weight::Percent(percent)) => {
                let weight = u64::from(self.weight) * u64::from(percent) / 100;
                u16::try_from(weight.min(256)).unwrap_or(256)
            }
        }
    }

    /// 0: no cap. What an agent asks for stands in place of what the file says, and only takes away from what an operator has
    /// set.
    pub fn most_connections(&self) -> u32 {
        let configured = self.config.max_connections.unwrap_or(0);
        match (self.by_hand.cap, self.agent.max_connections) {
            (None, asked) => asked.unwrap_or(configured),
            (Some(cap), None | Some(0)) => cap.most,
            (Some(cap), Some(asked)) if cap.most == 0 => asked,
            (Some(cap), Some(asked)) => cap.most.min(asked),
        }
    }

    /// An operator, or an agent beside the check, has put it into maintenance: the check rests. An agent that is the check
    /// goes on, or it could never end what it began.
    pub fn rests(&self, kind: &CheckKind) -> bool {
        let is_agent = matches!(kind, CheckKind::Agent { .. });
        self.admin == AdminState::Maint || (self.agent.admin == AdminState::Maint && !is_agent)
    }
}

impl Engine {
    /// What the agent of a server says. True: something follows from it.
    pub(super) fn on_agent(
        &mut self,
        (service, server): (usize, usize),
        which: Which,
        result: &CheckResult,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> bool {
        let slow_start = self.services[service].config.slow_start;
        let name = self.services[service].config.name.clone();
        let before = self.seen(
            &self.services[service],
            &self.services[service].servers[server],
        );
        let state = &mut self.services[service].servers[server];
        if which == Which::Agent {
            state.agent.result = Some(result.clone());
        }
        let Some(reply) = &result.agent else {
            return false;
        };
        let (wish, down) = (state.wish(), state.agent.down.clone());
        let told = state.agent.hear(reply, which == Which::Agent);
        let (wanted, subject) = (state.wish(), format!("{name}/{}", state.config.name));
        if wish != wanted {
            state.since = now.since_start;
        }
        if wish == AdminState::Maint && wanted != AdminState::Maint && which == Which::Agent {
            // Nobody looked at it meanwhile.
            state.forget(now);
        }
        let is_back = wish != AdminState::Ready && wanted == AdminState::Ready;
        let is_up_again = down.is_some() && state.agent.down.is_none();
        if (is_back || is_up_again) && slow_start != Duration::ZERO {
            state.ramp.start(now.since_start);
        }
        let turned = !told.is_empty() || down != state.agent.down;
        if !told.is_empty() {
            let why = reply
                .reason
                .as_ref()
                .map_or_else(String::new, |why| format!(": {why}"));
            let text = format!("{} by its agent{why}", told.join(", "));
            self.record(now, &subject, "agent", text, actions);
        }
        let after = self.seen(
            &self.services[service],
            &self.services[service].servers[server],
        );
        if which == Which::Agent && after.0 != before.0 {
            self.tell_change(service, server, &after, now, actions);
        }
        if turned {
            self.tell_usable(now, actions);
        }
        turned
    }
}

impl ServerState {
    /// What the checks say, with what the agent says.
    pub(super) fn with_agent(&self, seen: (HealthState, String)) -> (HealthState, String) {
        match (&seen, &self.agent.down) {
            ((HealthState::Up | HealthState::Unknown, _), Some(why)) => {
                (HealthState::Down, why.clone())
            }
            _ => seen,
        }
    }
}
