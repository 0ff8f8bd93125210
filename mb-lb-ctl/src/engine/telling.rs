//! What is recorded of changes: which servers came up or went down, and which services have none left.

use std::collections::BTreeMap;

use super::core::Engine;
use super::server::Standing;
use super::{Action, Now};
use crate::snapshot::{EventView, HealthState};

impl Engine {
    /// Records which servers came up or went down in this turn. `before` is of the same servers in the same order.
    /// `opened`: it is the way to the servers that has changed.
    pub(super) fn tell_changes(
        &mut self,
        before: &[HealthState],
        opened: bool,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let mut at = 0;
        for service in 0..self.services.len() {
            for server in 0..self.services[service].servers.len() {
                let after = self.seen(
                    &self.services[service],
                    &self.services[service].servers[server],
                );
                if before[at] != after.0 {
                    let by_way = self.services[service].servers[server].judged.is_none()
                        && self.services[service].config.forward.is_in_kernel();
                    let after = match (before[at], after) {
                        // No check has said so: the way to it is open again.
                        (HealthState::Down, (HealthState::Up, _)) if by_way && opened => (
                            HealthState::Up,
                            self.services[service].servers[server].way_open(),
                        ),
                        (_, after) => after,
                    };
                    self.tell_change(service, server, &after, now, actions);
                }
                at += 1;
            }
        }
        self.tell_usable(now, actions);
    }

    pub(super) fn tell_change(
        &mut self,
        service: usize,
        server: usize,
        (state, why): &(HealthState, String),
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let service = &mut self.services[service];
        let server = &mut service.servers[server];
        server.since = now.since_start;
        let subject = format!("{}/{}", service.config.name, server.config.name);
        let word = health_word(*state);
        let text = match state {
            HealthState::Down => why.clone(),
            _ if why.is_empty() => word.to_owned(),
            _ => format!("{word}: {why}"),
        };
        self.record(now, &subject, word, text, actions);
    }

    /// Records which services lost their last server, or have one again.
    pub(super) fn tell_usable(&mut self, now: Now, actions: &mut Vec<Action>) {
        let usable: Vec<bool> = self
            .services
            .iter()
            .map(|service| {
                service
                    .servers
                    .iter()
                    .any(|server| self.standing(service, server) == Standing::Usable)
            })
            .collect();
        let mut told = Vec::new();
        for (service, usable) in self.services.iter_mut().zip(usable) {
            if service.usable == Some(usable) {
                continue;
            }
            let never_judged = service.usable.is_none();
            // Before the first checks are in, nothing is lost yet.
            if never_judged && !usable {
                continue;
            }
            service.usable = Some(usable);
            service.since = now.since_start;
            if usable {
                told.push((
                    service.config.name.clone(),
                    "service-up",
                    "a server takes new flows".to_owned(),
                ));
            } else {
                service.downs += 1;
                told.push((
                    service.config.name.clone(),
                    "service-down",
                    "no server takes new flows".to_owned(),
                ));
            }
        }
        for (subject, kind, text) in told {
            self.record(now, &subject, kind, text, actions);
        }
    }

    pub(super) fn record(
        &mut self,
        now: Now,
        subject: &str,
        kind: &str,
        text: String,
        actions: &mut Vec<Action>,
    ) {
        self.seq += 1;
        actions.push(Action::Record(EventView {
            seq: self.seq,
            time_ms: now.wall_ms,
            subject: subject.to_owned(),
            kind: kind.to_owned(),
            text,
            fields: BTreeMap::new(),
        }));
    }
}

const fn health_word(state: HealthState) -> &'static str {
    match state {
        HealthState::Unknown => "unknown",
        HealthState::Up => "up",
        HealthState::Down => "down",
    }
}
