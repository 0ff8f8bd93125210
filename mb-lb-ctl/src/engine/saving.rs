//! What must outlive the process and is not in the kernel, and when it is written.

use std::collections::BTreeMap;

use super::core::{Engine, SAVE_HEALTH, ServiceState};
use super::server::{ServerState, full_name};
use super::{Now, SavedHealth, SavedServer, SavedState};
use crate::snapshot::AdminState;

impl Engine {
    /// Only what checks say differs from what is in the file, and that was written a moment ago. Readings come once a second,
    /// and with them the turn that writes it.
    pub(super) fn waits(&self, saved: &SavedState, now: Now) -> bool {
        let Some(before) = &self.sent.saved else {
            return false;
        };
        let is_early = now.since_start.saturating_sub(self.health_saved_at) < SAVE_HEALTH;
        is_early && before.health != saved.health && {
            let health = before.health.clone();
            let rest = SavedState {
                health,
                ..saved.clone()
            };
            rest == *before
        }
    }

    /// What checks last said; of servers that were not checked since the start, what was known before.
    fn health_to_save(&self) -> BTreeMap<String, SavedHealth> {
        let before = self.sent.saved.as_ref().map(|saved| &saved.health);
        let checked = self
            .services
            .iter()
            .filter(|service| service.config.check.is_some());
        checked
            .flat_map(|service| service.servers.iter().map(move |server| (service, server)))
            .filter(|(_, server)| server.judged.is_none() && server.wish() != AdminState::Maint)
            .filter_map(|(service, server)| {
                let name = full_name(&service.config, &server.config);
                let last = server.last_health();
                let last = last.or_else(|| before?.get(&name).cloned())?;
                Some((name, last))
            })
            .collect()
    }

    /// `since` of what was saved before stays, so that nothing is written without a change.
    pub(super) fn to_save(&self, now: Now) -> SavedState {
        let mut servers = BTreeMap::new();
        for service in &self.services {
            for server in &service.servers {
                let name = format!("{}/{}", service.config.name, server.config.name);
                let Some(mut saved) = server.saved(now.wall_ms / 1000) else {
                    continue;
                };
                let before = self
                    .sent
                    .saved
                    .as_ref()
                    .and_then(|saved| saved.servers.get(&name));
                if let Some(before) = before {
                    let same = SavedServer {
                        since: before.since,
                        ..saved.clone()
                    };
                    if same == *before {
                        saved = same;
                    }
                }
                servers.insert(name, saved);
            }
        }
        let held = self.held();
        let names = self.full_names.iter();
        SavedState {
            version: 1,
            servers,
            amendments: self
                .amendments
                .iter()
                .map(|(name, amendment)| {
                    (
                        format!("{}/{}", name.service, name.server),
                        amendment.clone(),
                    )
                })
                .collect(),
            paused: self
                .services
                .iter()
                .filter_map(|service| Some((service.config.name.clone(), service.paused.clone()?)))
                .collect(),
            client_caps: self
                .services
                .iter()
                .filter_map(|service| Some((service.config.name.clone(), service.cap.clone()?)))
                .collect(),
            known: names
                .filter(|(hash, _)| held.contains(hash))
                .map(|(_, name)| name.clone())
                .collect(),
            changed: self.changed(),
            syncs: self.syncs_to_save(),
            health: self.health_to_save(),
            chosen: self.chosen_to_save(),
            splits: self.splits_to_save(),
        }
    }

    /// When operators last changed servers; of no interest where nobody else has them.
    fn changed(&self) -> BTreeMap<String, u64> {
        if self.config.peer.is_none() {
            return BTreeMap::new();
        }
        let of = |service: &ServiceState, server: &ServerState| {
            let name = format!("{}/{}", service.config.name, server.config.name);
            (server.changed_ms != 0).then_some((name, server.changed_ms))
        };
        self.services
            .iter()
            .flat_map(|service| {
                let servers = service.servers.iter();
                servers.filter_map(move |server| of(service, server))
            })
            .collect()
    }
}
