//! Servers whose clients come through this process: what it is told of them, and what it counts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::core::{Engine, ServiceState};
use super::server::{ServerState, Standing};
use super::suspect::is_refusing;
use super::{Action, Now};
use crate::proxy::{Counted, Readings, Steering, Target, Trouble};
use crate::snapshot::{AdminState, HealthState};

impl Engine {
    pub(super) fn is_proxy(&self, service: &ServiceState) -> bool {
        let mut proxies = self.config.proxies.iter();
        proxies.any(|proxy| proxy.name == service.config.name)
    }

    pub(super) fn steering(&self, now: Now) -> Vec<Steering> {
        let services = self.services.iter();
        services
            .filter(|service| !service.config.forward.is_in_kernel())
            .map(|service| Steering {
                proxy: service.config.name.clone(),
                most_clients: service.cap.as_ref().map(|cap| cap.most),
                targets: service
                    .servers
                    .iter()
                    .map(|server| (server, self.steered(service, server)))
                    .map(|(server, (admin, health))| Target {
                        name: server.config.name.clone(),
                        admin,
                        health,
                        weight: server.weight_now(),
                        most: Some(server.most_connections()).filter(|most| *most != 0),
                        ended: server.ended,
                        percent: server
                            .ramp
                            .percent(service.config.slow_start, now.since_start),
                    })
                    .collect(),
            })
            .collect()
    }

    /// As the process is to think of it.
    fn steered(&self, service: &ServiceState, server: &ServerState) -> (AdminState, HealthState) {
        let health = self.seen(service, server).0;
        let is_relay = !self.is_proxy(service);
        match self.standing(service, server) {
            // A server that its tier does not bring clients to loses those that it has: two writers are worse.
            Standing::StandsBy => (server.wish(), HealthState::Down),
            Standing::Withheld if !Self::is_elected(server) => (server.wish(), HealthState::Down),
            // It is well, and is to get nobody new.
            Standing::Withheld if service.paused.is_some() || server.by_hand.stopping => {
                (server.wish().max(AdminState::Drain), health)
            }
            // It was looked at, and nothing is known: as if it were down.
            Standing::Unknown(_)
                if server.judged.as_ref().is_some_and(|judged| judged.is_asked) =>
            {
                (server.wish(), HealthState::Down)
            }
            // No request is tied to the server, but what a connection is in the middle of is.
            Standing::CutOff(_) if is_relay && server.wish() == AdminState::Ready => {
                (AdminState::Drain, HealthState::Up)
            }
            _ => (server.wish(), health),
        }
    }

    pub(super) fn on_unserved(
        &mut self,
        unserved: BTreeMap<String, Trouble>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        for (what, trouble) in &unserved {
            if self.unserved.get(what) != Some(trouble) {
                let text = format!("{what}: {}", trouble.why());
                self.record(now, "", "unserved", text, actions);
            }
        }
        self.unserved = unserved;
    }

    pub(super) fn on_relayed(&mut self, readings: &Readings, now: Now, actions: &mut Vec<Action>) {
        let mut suspects = Vec::new();
        let seconds = self
            .relayed_at
            .map_or(0.0, |at| now.since_start.saturating_sub(at).as_secs_f64());
        let services = self.services.iter_mut();
        for service in services.filter(|service| !service.config.forward.is_in_kernel()) {
            let Some(reading) = readings.get(&service.config.name) else {
                continue;
            };
            service.relayed = Some(reading.clone());
            let is_checked = service.config.check.is_some();
            for server in &mut service.servers {
                if let Some(counted) = reading.servers.get(&server.config.name) {
                    if is_refusing(server.relayed.as_ref(), counted)
                        && server.suspect(is_checked, now.since_start)
                    {
                        suspects.push(format!("{}/{}", service.config.name, server.config.name));
                    }
                    take_in(server, counted, seconds, now.since_start);
                }
            }
        }
        self.tell_suspects(suspects, now, actions);
        self.relayed_at = Some(now.since_start);
    }
}

fn take_in(server: &mut ServerState, counted: &Counted, seconds: f64, now: Duration) {
    let opened = counted.opened.saturating_sub(server.reading.opened);
    if std::mem::replace(&mut server.counted, true) && seconds > 0.0 {
        server.rate = (opened as f64 / seconds).round() as u64;
        server.rate_max = server.rate_max.max(server.rate);
        if opened > 0 {
            server.last_flow = Some(now);
        }
    }
    let active = i64::try_from(counted.active).unwrap_or(i64::MAX);
    server.active_max = server.active_max.max(active);
    server.reading.active = active;
    server.reading.pending = counted.queued;
    server.reading.opened = counted.opened;
    server.reading.closed = counted.closed;
    server.reading.bytes = counted.bytes;
    server.relayed = Some(*counted);
}
