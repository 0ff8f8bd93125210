//! What an operator asks for at run time.

use super::core::{Engine, ServiceState};
use super::server::{ServerState, Standing};
use super::{Action, Change, Now, Refusal, ServerRef, Weight};
use crate::config;
use crate::snapshot::AdminState;

impl Engine {
    pub(super) fn on_change(
        &mut self,
        change: &Change,
        by: &str,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<String, Refusal> {
        let target = match change {
            Change::Admin { server, .. }
            | Change::Weight { server, .. }
            | Change::Set { server, .. }
            | Change::Move { server, .. }
            | Change::Add { server, .. }
            | Change::Remove { server }
            | Change::EndSessions { server } => server,
            Change::Frontend { service, takes } => {
                return self.pause(service, *takes, by, now, actions);
            }
            Change::ShutFrontend { service } => return self.shut(service, by, now, actions),
            Change::ClientCap { service, most } => {
                return self.cap_clients(service, *most, by, now, actions);
            }
            // It has no answer of this turn.
            Change::Failover { .. } => return Err(Refusal::NoInstance(String::new())),
        };
        if !self
            .services
            .iter()
            .any(|service| service.config.name == target.service)
        {
            return Err(Refusal::NoSuchService);
        }
        match change {
            Change::Set { setting, .. } => {
                return self.set_by_hand(target, setting, by, now, actions);
            }
            Change::Move { address, port, .. } => {
                return self.move_server(target, *address, *port, by, now, actions);
            }
            Change::Add { added, .. } => return self.add_server(target, added, by, now, actions),
            Change::Remove { .. } => return self.remove_server(target, by, now, actions),
            Change::EndSessions { .. } => return self.end_sessions(target, by, now, actions),
            _ => {}
        }
        if let Change::Admin {
            state,
            guarded: true,
            ..
        } = change
            && *state != AdminState::Ready
        {
            self.guard(target)?;
        }
        let subject = format!("{}/{}", target.service, target.server);
        let (service, server) = self.find_mut(target).ok_or(Refusal::NoSuchServer)?;
        let text = match change {
            Change::Admin { state, reason, .. } => {
                let from = server.admin;
                let same_reason = reason.is_empty() || *reason == server.reason;
                if from == *state && (same_reason || from == AdminState::Ready) {
                    return Ok(format!("{subject}: {} already", admin_word(from)));
                }
                set_admin(server, &service, *state, by, reason, now);
                let why = if reason.is_empty() {
                    String::new()
                } else {
                    format!(": {reason}")
                };
                format!(
                    "{} -> {} by {by}{why}",
                    admin_word(from),
                    admin_word(*state)
                )
            }
            Change::Weight { weight, .. } => {
                let from = server.weight;
                let to = match weight {
                    Weight::Absolute(weight) => (*weight).min(256),
                    Weight::Percent(percent) => {
                        let weight = u64::from(server.config.weight) * u64::from(*percent) / 100;
                        u16::try_from(weight.min(256)).unwrap_or(256)
                    }
                };
                if to == from {
                    return Ok(format!("{subject}: weight {from} already"));
                }
                server.weight = to;
                format!("weight {from} -> {to} by {by}")
            }
            _ => return Err(Refusal::NoInstance(String::new())),
        };
        let kind = match change {
            Change::Admin { state, .. } => admin_word(*state),
            _ => "weight",
        };
        self.tell_peer_of(target, now, actions);
        self.record(now, &subject, kind, text.clone(), actions);
        // A tier may have another server for its clients in the same turn.
        self.settle_tiers(now, actions);
        self.tell_usable(now, actions);
        Ok(format!("{subject}: {text}"))
    }
}

impl Engine {
    /// Servers that take new clients, or would if one were wanted.
    pub(super) fn takers<'a>(
        &'a self,
        service: &'a ServiceState,
    ) -> impl Iterator<Item = &'a ServerState> {
        service.servers.iter().filter(|server| {
            self.standing(service, server) == Standing::Usable && server.weight_now() > 0
        })
    }

    /// Whether the service can do without this server. One that takes nobody is not missed.
    fn guard(&self, target: &ServerRef) -> Result<(), Refusal> {
        let mut services = self.services.iter();
        let Some(service) = services.find(|service| service.config.name == target.service) else {
            return Ok(());
        };
        let takers: Vec<_> = self.takers(service).map(|s| &s.config.name).collect();
        let min_up = service.config.min_up;
        let left = takers.len().saturating_sub(1);
        if !takers.contains(&&target.server) || left >= min_up as usize {
            return Ok(());
        }
        Err(Refusal::TooFewLeft {
            service: target.service.clone(),
            left,
            servers: service.servers.len(),
            min_up,
        })
    }
}

/// Gives a server the state that an operator wants, with all that follows.
pub(super) fn set_admin(
    server: &mut ServerState,
    service: &config::Service,
    state: AdminState,
    by: &str,
    reason: &str,
    now: Now,
) {
    let from = server.admin;
    if from != state {
        server.since = now.since_start;
    }
    server.admin = state;
    by.clone_into(&mut server.by);
    reason.clone_into(&mut server.reason);
    if state == AdminState::Ready {
        server.by.clear();
        server.reason.clear();
    }
    if from == AdminState::Maint && state != AdminState::Maint {
        // Nobody looked at it meanwhile.
        server.forget(now);
    }
    if from != AdminState::Ready && state == AdminState::Ready && !service.slow_start.is_zero() {
        server.ramp.start(now.since_start);
    }
}

pub(super) const fn admin_word(state: AdminState) -> &'static str {
    match state {
        AdminState::Ready => "ready",
        AdminState::Drain => "drain",
        AdminState::Maint => "maint",
    }
}
