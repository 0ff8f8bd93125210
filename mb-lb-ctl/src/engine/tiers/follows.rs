//! Who is taken out for what somebody else says: storage that has failed, and members of another service's health pages.

use std::collections::{BTreeMap, BTreeSet};

use super::super::core::{Engine, ServiceState};
use super::super::server::{Member, ServerState};
use super::super::{Action, HealthPage, Now};
use super::Machine;
use crate::config;
use crate::snapshot::AdminState;

impl Engine {
    /// Takes in what a health page says of members that others follow. True: one of them is another than before.
    pub(in crate::engine) fn on_page(
        &mut self,
        service: usize,
        server: usize,
        page: Option<&HealthPage>,
    ) -> bool {
        let name = &self.services[service].config.name;
        let followed: BTreeSet<String> = self
            .services
            .iter()
            .flat_map(|service| &service.config.follows)
            .filter(|follows| follows.service == *name)
            .flat_map(|follows| follows.members.iter().cloned())
            .collect();
        let Some(check) = self.services[service].config.check.as_ref() else {
            return false;
        };
        let (rise, fall) = (check.rise, check.fall);
        let state = &mut self.services[service].servers[server];
        let before = state.members.clone();
        let Some(page) = page else {
            // What it said is no word about now.
            state.pageless = state.pageless.saturating_add(1);
            if state.pageless >= fall {
                state.members.clear();
            }
            return before != state.members;
        };
        state.pageless = 0;
        state.members.retain(|member, _| followed.contains(member));
        for member in followed {
            let why = page.failed.iter().find(|(name, _)| *name == member);
            let why = why.map(|(_, why)| why.as_str());
            let is_named = page.names.contains(&member);
            let member = state.members.entry(member).or_default();
            member.is_named = is_named;
            member.on_page(why, rise, fall);
        }
        let failed = |members: &BTreeMap<String, Member>| {
            let members = members.iter().filter(|(_, member)| member.failed.is_some());
            members.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        failed(&before) != failed(&state.members)
    }

    /// Why a server takes nobody for what the health page of another one of its name says.
    fn followed(&self, service: &ServiceState, server: &str) -> Option<String> {
        service.config.follows.iter().find_map(|follows| {
            let mut services = self.services.iter();
            let other = services.find(|other| other.config.name == follows.service)?;
            let mut servers = other.servers.iter();
            let page = servers.find(|other| other.config.name == server)?;
            // Nobody looks at it.
            if page.admin == AdminState::Maint {
                return None;
            }
            follows.members.iter().find_map(|member| {
                let why = page.members.get(member)?.failed.as_ref()?;
                Some(format!(
                    "{}/{server} says: {member}: {why}",
                    follows.service
                ))
            })
        })
    }

    /// Members that a service follows and that no page which was read names: a typing error, most likely.
    pub(in crate::engine) fn unnamed_members(
        &self,
        service: &ServiceState,
    ) -> Vec<(String, String)> {
        let mut unnamed = Vec::new();
        for follows in &service.config.follows {
            let mut services = self.services.iter();
            let Some(other) = services.find(|other| other.config.name == follows.service) else {
                continue;
            };
            for name in &follows.members {
                let pages = || {
                    other
                        .servers
                        .iter()
                        .filter_map(|server| server.members.get(name))
                };
                if pages().next().is_some() && pages().all(|member| !member.is_named) {
                    unnamed.push((follows.service.clone(), name.clone()));
                }
            }
        }
        unnamed
    }

    /// Why servers are to take nobody, by service and server, for storage that has failed, or for health pages.
    fn wanted_out(&self) -> Vec<Vec<Option<String>>> {
        let tiers = self.tiers.tiers.iter();
        let failed: Vec<(&config::TakesOut, String)> = tiers
            .filter_map(|tier| match &tier.machine {
                Machine::Storage(machine) => Some((machine, machine.failed()?)),
                _ => None,
            })
            .flat_map(|(machine, why)| {
                let config = machine.config();
                let why = format!("storage {} has failed: {why}", config.name);
                config.takes_out.iter().map(move |out| (out, why.clone()))
            })
            .collect();
        let out = |service: &ServiceState, server: &ServerState| {
            let is_meant = |(out, _): &&(&config::TakesOut, String)| {
                let one = out.server.as_ref();
                out.service == service.config.name
                    && one.is_none_or(|one| *one == server.config.name)
            };
            let why = failed.iter().find(is_meant).map(|(_, why)| why.clone());
            why.or_else(|| self.followed(service, &server.config.name))
        };
        let services = self.services.iter();
        services
            .map(|service| {
                let servers = service.servers.iter();
                servers.map(|server| out(service, server)).collect()
            })
            .collect()
    }

    /// Takes servers out, and back in, where the configuration says so.
    pub(super) fn take_out(&mut self, now: Now, actions: &mut Vec<Action>) {
        let wanted = self.wanted_out();
        let is_so = self.services.iter().zip(&wanted).all(|(service, wanted)| {
            let servers = service.servers.iter().zip(wanted);
            servers
                .into_iter()
                .all(|(server, why)| server.taken_out == *why)
        });
        if is_so {
            return;
        }
        let before = self.standings();
        for (service, wanted) in self.services.iter_mut().zip(wanted) {
            for (server, why) in service.servers.iter_mut().zip(wanted) {
                server.taken_out = why;
            }
        }
        self.tell_changes(&before, false, now, actions);
    }
}
