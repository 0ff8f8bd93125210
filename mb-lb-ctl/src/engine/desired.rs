//! From policy state to what the kernel should hold. No state of its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use mb_lb_common::{
    SERVER_PRESENT, SERVER_RESET, SERVICE_REPLY_LOCAL, Server as Record, Service as ListenValue,
};

use super::core::{Engine, ServiceState};
use super::server::{ServerState, Standing, identity};
use super::via::Way;
use super::{CheckTask, Now, ServerRef, Which};
use crate::config::{AgentCheck, Check};
use crate::plan::{Desired, DesiredService, service_key};
use crate::schedule::{Candidate, PoolSpec, WEIGHT_SCALE, stable_hash};
use crate::snapshot::AdminState;

impl Engine {
    pub(super) fn desired(&self, now: Now) -> Desired {
        let mut desired = Desired {
            timeouts: self.config.director.flow_timeouts,
            ports: self
                .attached
                .iter()
                .map(|interface| (interface.ifindex, interface.mac))
                .collect(),
            ..Desired::default()
        };
        for service in self.kernel_services() {
            for &listen in &service.config.listen {
                desired.listens.insert(
                    service_key(listen),
                    ListenValue {
                        id: service.id,
                        name_hash: service_hash(&service.config.name),
                    },
                );
            }
            for server in &service.servers {
                let standing = self.standing(service, server);
                let record = server.record(service.id, &standing, service.config.on_down);
                desired.servers.insert(server.slot.index, record);
            }
            desired.services.insert(
                service.id,
                DesiredService {
                    flags: self.service_flags(service),
                    pool: self.pool(service, now),
                },
            );
        }
        for (index, retired) in self.indices.retired() {
            let mut record = *retired;
            // Its flows go on, or are reset where they were; nothing new comes.
            let flags = Record::flags_of(record.link) & SERVER_RESET;
            record.link = Record::link(Record::mac_of(record.link), flags | SERVER_PRESENT);
            desired.servers.insert(index, record);
        }
        desired
    }

    /// The servers that may take new flows now; the backups where no other can.
    fn pool(&self, service: &ServiceState, now: Now) -> PoolSpec {
        let usable = |backup: bool| {
            service
                .servers
                .iter()
                .filter(move |server| server.config.backup == backup)
                .filter(|server| self.standing(service, server) == Standing::Usable)
                .map(|server| {
                    let percent = u32::from(
                        server
                            .ramp
                            .percent(service.config.slow_start, now.since_start),
                    );
                    Candidate {
                        server: server.slot.index,
                        weight: (u32::from(server.weight_now()) * WEIGHT_SCALE * percent / 100)
                            .max(1),
                        max_connections: server.most_connections(),
                        identity: identity(server.config.address),
                    }
                })
                .collect::<Vec<_>>()
        };
        let mut candidates = usable(false);
        if candidates.is_empty() {
            candidates = usable(true);
        }
        PoolSpec {
            scheduler: service.config.scheduler,
            candidates,
            configured: service.servers.len(),
        }
    }

    pub(super) fn service_flags(&self, service: &ServiceState) -> u32 {
        let can_speak = |listen: &SocketAddr| !self.mute.contains_key(listen);
        let is_paused = service.paused.is_some();
        if service.config.no_server.is_some()
            && !is_paused
            && service.config.listen.iter().all(can_speak)
        {
            SERVICE_REPLY_LOCAL
        } else {
            0
        }
    }

    pub(super) fn wanted_checks(&self) -> Vec<CheckTask> {
        let mut tasks = Vec::new();
        for service in &self.services {
            tasks.extend(self.wanted_agents(service));
            let Some(check) = &service.config.check else {
                continue;
            };
            for server in &service.servers {
                if server.rests(&check.kind) || server.by_hand.check_off {
                    continue;
                }
                let via = match self.way_of_check(service, server, check) {
                    Way::Direct => None,
                    Way::Through(via) => Some(via),
                    Way::NotYet => continue,
                };
                tasks.push(CheckTask {
                    server: ServerRef {
                        service: service.config.name.clone(),
                        server: server.config.name.clone(),
                    },
                    which: Which::Health,
                    address: Self::checked_at(service, server, check),
                    vip: service.config.listen.first().copied(),
                    via,
                    check: check.clone(),
                    interval: server.suspect.interval(server.health.interval(check)),
                });
            }
        }
        tasks
    }

    /// Where the check of a server goes.
    pub(super) fn checked_at(
        service: &ServiceState,
        server: &ServerState,
        check: &Check,
    ) -> SocketAddr {
        let mut at = check.address(service.config.address_of(&server.config));
        if let Some(address) = server.by_hand.check_address {
            at.set_ip(address);
        }
        if let Some(port) = server.by_hand.check_port {
            at.set_port(port);
        }
        at
    }

    /// Where the agent of a server is asked.
    pub(super) fn agent_at(server: &ServerState, agent: &AgentCheck) -> SocketAddr {
        let hand = &server.by_hand;
        let address = hand.agent_address.unwrap_or(server.config.address);
        (address, hand.agent_port.unwrap_or(agent.port)).into()
    }

    /// The agent with what it is told by hand.
    fn asked_of(server: &ServerState, agent: &AgentCheck) -> AgentCheck {
        let mut agent = agent.clone();
        if let Some(told) = &server.by_hand.agent_send {
            agent.send = Some(told.text.clone()).filter(|text| !text.is_empty());
        }
        agent
    }

    fn wanted_agents(&self, service: &ServiceState) -> Vec<CheckTask> {
        let Some(agent) = &service.config.agent else {
            return Vec::new();
        };
        let asked = service
            .servers
            .iter()
            .filter(|server| server.admin != AdminState::Maint && !server.by_hand.agent_off);
        asked
            .map(|server| CheckTask {
                server: ServerRef {
                    service: service.config.name.clone(),
                    server: server.config.name.clone(),
                },
                which: Which::Agent,
                address: Self::agent_at(server, agent),
                vip: service.config.listen.first().copied(),
                via: None,
                check: Self::asked_of(server, agent).check(),
                interval: agent.interval,
            })
            .collect()
    }

    /// Addresses whose next hop matters, those of removed servers with flows among them.
    pub(super) fn wanted_neighbours(&self) -> Vec<IpAddr> {
        let mut addresses: BTreeMap<IpAddr, ()> = BTreeMap::new();
        for server in self.kernel_services().flat_map(|service| &service.servers) {
            addresses.insert(server.config.address, ());
        }
        for (_, record) in self.indices.retired() {
            let address = std::net::Ipv6Addr::from(record.address).to_canonical();
            addresses.insert(address, ());
        }
        addresses.into_keys().collect()
    }

    pub(super) fn wanted_replies(&self) -> Vec<(SocketAddr, String)> {
        self.kernel_services()
            .filter_map(|service| Some((service, service.config.no_server.as_ref()?)))
            .flat_map(|(service, text)| {
                service
                    .config
                    .listen
                    .iter()
                    .map(move |&listen| (listen, text.clone()))
            })
            .collect()
    }
}

/// Finds a service again in what an earlier controller left.
pub fn service_hash(name: &str) -> u32 {
    let hash = stable_hash(name.as_bytes());
    (hash >> 32) as u32 ^ hash as u32
}
