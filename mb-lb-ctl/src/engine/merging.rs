//! A configuration that takes the place of another: what is known of servers that stay is kept.

use std::collections::HashMap;

use super::core::{Engine, ServiceState};
use super::frontend::most_clients;
use super::server::{ServerState, full_name, name_hash};
use super::{Action, Now};
use crate::config::{self, Config};
use crate::snapshot::AdminState;

impl Engine {
    pub(super) fn on_config(&mut self, file: Config, now: Now, actions: &mut Vec<Action>) {
        // Nothing to tell, unless it ends a refusal. Still worth the rest: it has everything looked at again.
        let unchanged =
            file == self.file && !self.config_hash.is_empty() && self.reload_error.is_none();
        self.drop_amendments(&file, now, actions);
        self.config_hash = file.hash();
        self.reload_error = None;
        if !unchanged {
            let text = format!("configuration {} in force", self.config_hash);
            self.record(now, "", "config", text, actions);
        }
        self.file = file;
        self.put_in_force(now, actions);
    }

    /// Makes the state that of the file with its amendments.
    pub(super) fn put_in_force(&mut self, now: Now, actions: &mut Vec<Action>) {
        let config = self.amended(&self.file);
        let mut old = std::mem::take(&mut self.services);
        // Indices of what goes are set free first, so that a server that only changed its place keeps its own.
        for service in &config.balanced() {
            let known = old.iter().position(|state| {
                // What the kernel had goes on there, and is no more of the service that has left it.
                state.config.name == service.name
                    && state.config.forward.is_in_kernel() == service.forward.is_in_kernel()
            });
            let mut state = match known {
                Some(at) => old.remove(at),
                None => ServiceState {
                    id: u32::MAX,
                    servers: Vec::new(),
                    usable: None,
                    since: now.since_start,
                    downs: 0,
                    relayed: None,
                    paused: self
                        .sent
                        .saved
                        .as_ref()
                        .and_then(|saved| saved.paused.get(&service.name).cloned()),
                    shut: false,
                    cap: self
                        .sent
                        .saved
                        .as_ref()
                        .and_then(|saved| saved.client_caps.get(&service.name).cloned()),
                    config: service.clone(),
                },
            };
            // One that the operator set stays, unless the file says something new.
            let most = most_clients(&config, &service.name);
            let in_kernel = service.forward.is_in_kernel();
            state.cap = state.cap.filter(|cap| !in_kernel && cap.file == most);
            self.merge_servers(&mut state, service, now, actions);
            state.config = service.clone();
            self.services.push(state);
        }
        for gone in old {
            for server in &gone.servers {
                let record = self.last_record(&gone, server);
                self.indices.retire(server.slot.index, record);
            }
        }
        self.places = self.find_places();
        self.configure_tiers(&config, now);
        self.give_service_ids();
        let held = self.held();
        self.full_names.retain(|hash, _| held.contains(hash));
        self.shared_hash = config.shared_hash();
        self.on_routers_config(&config.vrrps, now, actions);
        self.configure_syncs(&config, now, actions);
        actions.push(Action::Attach(Box::new(config.clone())));
        self.config = config;
    }

    /// Makes the servers of a service those of its new configuration; what is known of those that stay is kept.
    fn merge_servers(
        &mut self,
        state: &mut ServiceState,
        service: &config::Service,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let key = |server: &config::Server| (server.name.clone(), server.address, server.port);
        let mut old: Vec<_> = std::mem::take(&mut state.servers)
            .into_iter()
            .map(Some)
            .collect();
        // A thousand servers are looked for among a thousand.
        let places: HashMap<_, _> = old
            .iter()
            .flatten()
            .enumerate()
            .map(|(at, known)| (key(&known.config), at))
            .collect();
        for server in &service.servers {
            let at = places.get(&key(server));
            if let Some(mut known) = at.and_then(|&at| old[at].take()) {
                // A weight that the operator set stays, unless the file says something new.
                if known.config.weight != server.weight {
                    known.weight = server.weight;
                }
                if let Some(check) = &service.check {
                    known.health.set_limits(check.rise, check.fall);
                    if state.config.check.is_none() {
                        known.begin_checks();
                    }
                }
                known.config = server.clone();
                known.drop_what_has_no_object(service);
                state.servers.push(known);
                continue;
            }
            let full_name = full_name(service, server);
            let hash = name_hash(&full_name);
            self.full_names.insert(hash, full_name.clone());
            let Some((slot, earlier)) = self.indices.take(hash) else {
                let text = format!(
                    "no room in the kernel for server {}: too many removed servers still have flows",
                    server.name
                );
                self.record(now, &service.name, "no-room", text, actions);
                continue;
            };
            let mut new = ServerState::new(service, server, slot, earlier, now);
            if let Some(saved) = self.sent.saved.as_ref().and_then(|saved| {
                saved
                    .servers
                    .get(&format!("{}/{}", service.name, server.name))
            }) {
                new.restore(saved);
                new.drop_what_has_no_object(service);
            }
            let changed = self.sent.saved.as_ref().and_then(|saved| {
                let name = format!("{}/{}", service.name, server.name);
                saved.changed.get(&name).copied()
            });
            new.changed_ms = changed.unwrap_or_default();
            let saved = self.sent.saved.as_ref();
            if let Some(last) = saved.and_then(|saved| saved.health.get(&full_name))
                && service.check.is_some()
                && new.admin != AdminState::Maint
            {
                new.begin_as(last, earlier.is_some(), now);
            }
            if let Some(neighbour) = self.neighbours.get(&server.address) {
                new.on_neighbour(neighbour.clone());
            }
            state.servers.push(new);
        }
        for gone in old.into_iter().flatten() {
            let record = self.last_record(state, &gone);
            self.indices.retire(gone.slot.index, record);
        }
    }

    /// The record of a server that leaves the configuration: as `on_down` has it now, so that flows of a server that
    /// is down are still reset.
    pub(super) fn last_record(
        &self,
        service: &ServiceState,
        server: &ServerState,
    ) -> mb_lb_common::Server {
        let standing = self.standing(service, server);
        server.record(service.id, &standing, service.config.on_down)
    }

    /// New services get the index that an earlier controller had given them, else a free one.
    fn give_service_ids(&mut self) {
        let mut used: Vec<u32> = self
            .services
            .iter()
            .map(|s| s.id)
            .filter(|&id| id != u32::MAX)
            .collect();
        for service in self
            .services
            .iter_mut()
            .filter(|service| service.id == u32::MAX)
        {
            let earlier = self
                .adopted_services
                .get(&super::desired::service_hash(&service.config.name));
            let id = earlier
                .copied()
                .filter(|id| !used.contains(id))
                .or_else(|| {
                    let taken = |id: &u32| {
                        used.contains(id) || self.adopted_services.values().any(|a| a == id)
                    };
                    (0..mb_lb_common::MAX_SERVICES).find(|id| !taken(id))
                })
                .or_else(|| (0..mb_lb_common::MAX_SERVICES).find(|id| !used.contains(id)))
                .expect("the configuration has at most MAX_SERVICES services");
            used.push(id);
            service.id = id;
        }
        // From now on the services that are there are all that count.
        self.adopted_services.clear();
    }
}
