//! The snapshot: policy state and last counts, as plain values.

mod pair;

use std::net::Ipv6Addr;

use mb_lb_common::Reason;

use super::core::{Engine, ServiceState};
use super::frontend::most_clients;
use super::server::{ServerState, Standing};
use super::{Neighbour, Now, ServerRef};
use crate::config::OnDown;
use crate::snapshot::{
    CertificateView, CheckView, ClientsView, DataplaneView, HandView, InterfaceView, JSON_VERSION,
    ReasonCount, RelayedView, RemovedView, ServerView, ServiceView, Snapshot,
};

impl Engine {
    /// What is so now.
    pub fn snapshot(&self, now: Now) -> Snapshot {
        Snapshot {
            version: JSON_VERSION,
            director: self.config.director.name.clone(),
            build: self.identity.build.clone(),
            pid: self.identity.pid,
            uptime: now.since_start.as_secs(),
            started_ms: self.identity.started_ms,
            config_hash: self.config_hash.clone(),
            config_path: self.identity.config_path.clone(),
            reload_error: self.reload_error.clone(),
            dataplane: self.dataplane_view(),
            services: self
                .services
                .iter()
                .map(|service| self.service_view(service, now))
                .collect(),
            removed: self.removed(),
            vrrp: self.vrrp_views(now),
            peer: self.peer_view(now),
            alarms: self.alarms(now),
            syncs: self.sync_views(now),
            tiers: self.tier_views(now),
        }
    }

    /// Servers that are in the file no more and still in the kernel.
    fn removed(&self) -> Vec<RemovedView> {
        let mut removed: Vec<_> = self
            .indices
            .retired()
            .map(|(index, record)| {
                let name = self.name_of(record);
                let reading = self.report.servers.get(&index);
                RemovedView {
                    service: name
                        .as_ref()
                        .map_or_else(String::new, |name| name.service.clone()),
                    server: name.map_or_else(|| format!("#{index}"), |name| name.server),
                    id: index,
                    address: Some(Ipv6Addr::from(record.address).to_canonical()),
                    flows: reading.map_or(0, |reading| {
                        reading.active.max(0).unsigned_abs() + reading.pending
                    }),
                }
            })
            .collect();
        removed.sort_by(|a, b| (&a.service, &a.server, a.id).cmp(&(&b.service, &b.server, b.id)));
        removed
    }

    fn dataplane_view(&self) -> DataplaneView {
        let servers = || self.services.iter().flat_map(|service| &service.servers);
        DataplaneView {
            interfaces: self
                .attached
                .iter()
                .map(|interface| InterfaceView {
                    name: interface.name.clone(),
                    mode: interface.mode.to_owned(),
                })
                .collect(),
            pinned_at: self.identity.pinned_at.clone(),
            adopted: self.identity.adopted,
            flows: self.report.flows,
            active: servers()
                .map(|server| server.reading.active.max(0).unsigned_abs())
                .sum(),
            max_flows: u64::from(self.identity.max_flows),
            table_full: self.report.table_full,
            reasons: Reason::ALL
                .iter()
                .enumerate()
                .map(|(index, reason)| ReasonCount {
                    name: reason.name().to_owned(),
                    verdict: reason.verdict().name().to_owned(),
                    text: reason.text().to_owned(),
                    packets: self.report.reasons.get(index).copied().unwrap_or(0),
                })
                .collect(),
            repairs: self.report.repairs,
            sweeps: self.report.sweeps,
            sweep_micros: u64::try_from(self.report.sweep_took.as_micros()).unwrap_or(u64::MAX),
            error: self
                .attach_error
                .clone()
                .or_else(|| self.apply_error.clone())
                .or_else(|| self.report.error.clone()),
        }
    }

    fn scheduler_name(&self, service: &ServiceState) -> &'static str {
        let name = &service.config.name;
        let mut proxies = self.config.proxies.iter();
        let mut galeras = self.config.galeras.iter();
        let mut sentinels = self.config.sentinels.iter();
        if let Some(proxy) = proxies.find(|proxy| proxy.name == *name) {
            proxy.scheduler.name()
        } else if let Some(galera) = galeras.find(|galera| galera.name == *name) {
            galera.mode.name()
        } else if sentinels.any(|sentinel| sentinel.name == *name) {
            "master"
        } else {
            service.config.scheduler.name()
        }
    }

    fn service_view(&self, service: &ServiceState, now: Now) -> ServiceView {
        ServiceView {
            name: service.config.name.clone(),
            id: service.id,
            listen: service.config.listen.clone(),
            forward: service.config.forward.name().to_owned(),
            scheduler: self.scheduler_name(service).to_owned(),
            clients: service.relayed.as_ref().map(|reading| ClientsView {
                most: service.cap.as_ref().map_or_else(
                    || most_clients(&self.config, &service.config.name),
                    |cap| cap.most,
                ),
                open: reading.open,
                connections: reading.connections,
                requests: reading.requests,
                handshakes: [reading.full, reading.resumed, reading.failed],
                refused: reading
                    .refused
                    .iter()
                    .map(|(word, count)| ((*word).to_owned(), *count))
                    .collect(),
                unlogged: reading.unlogged,
            }),
            certificates: self
                .certificates
                .get(&service.config.name)
                .into_iter()
                .flatten()
                .map(|info| CertificateView {
                    file: info.file.display().to_string(),
                    names: info.names.clone(),
                    issuer: info.issuer.clone(),
                    not_before: info.not_before,
                    not_after: info.not_after,
                    fingerprint: info.fingerprint.clone(),
                })
                .collect(),
            min_up: service.config.min_up,
            paused_by: service.paused.clone(),
            shut_down: service.shut,
            most_clients: service.cap.as_ref().map(|cap| cap.most),
            most_clients_by: service.cap.as_ref().map(|cap| cap.by.clone()),
            layer: if self.is_proxy(service) { 7 } else { 4 },
            on_down: match service.config.on_down {
                OnDown::Reset => "reset".to_owned(),
                OnDown::Keep => "keep".to_owned(),
            },
            no_server: service.config.no_server.clone(),
            no_server_does: if self.is_proxy(service) {
                "503"
            } else if self.service_flags(service) == 0 {
                "reset"
            } else {
                "reply"
            }
            .to_owned(),
            since: now.since_start.saturating_sub(service.since).as_secs(),
            downs: service.downs,
            servers: service
                .servers
                .iter()
                .enumerate()
                .map(|(at, server)| self.server_view(service, server, at, now))
                .collect(),
        }
    }

    fn hand_view(&self, service: &ServiceState, server: &ServerState) -> Option<HandView> {
        let target = ServerRef {
            service: service.config.name.clone(),
            server: server.config.name.clone(),
        };
        let amended = self.amendments.get(&target);
        let hand = &server.by_hand;
        if hand.is_nothing() && amended.is_none() {
            return None;
        }
        let said = hand.said();
        let mut words: Vec<_> = said.iter().map(|said| said.words.clone()).collect();
        words.extend(amended.map(|amendment| amendment.words()));
        let mut what: Vec<_> = said.iter().map(|said| said.what.to_owned()).collect();
        what.extend(amended.map(|amendment| amendment.word().to_owned()));
        Some(HandView {
            by: match amended {
                Some(amendment) if hand.is_nothing() => amendment.by.clone(),
                _ => hand.by.clone(),
            },
            words,
            what,
            check_off: hand.check_off,
            agent_off: hand.agent_off,
            stopping: hand.stopping,
            check_address: hand.check_address,
            check_port: hand.check_port,
            max_connections: hand.cap.map(|cap| cap.most),
            agent_send: hand.agent_send.as_ref().map(|told| told.text.clone()),
        })
    }

    fn server_view(
        &self,
        service: &ServiceState,
        server: &ServerState,
        position: usize,
        now: Now,
    ) -> ServerView {
        let (health, health_reason) = self.seen(service, server);
        let reading = &server.reading;
        let at = service.config.address_of(&server.config);
        let elapsed = |from| now.since_start.saturating_sub(from).as_secs();
        ServerView {
            name: server.config.name.clone(),
            id: server.slot.index,
            position: position as u32 + 1,
            address: Some(server.config.address),
            port: at.port(),
            backup: server.config.backup,
            initial_weight: server.config.weight,
            weight: server.weight_now(),
            ramp_percent: server
                .ramp
                .percent(service.config.slow_start, now.since_start),
            max_connections: Some(server.most_connections()).filter(|most| *most != 0),
            admin: server.admin,
            admin_by: server.by.clone(),
            admin_reason: server.reason.clone(),
            agent: service
                .config
                .agent
                .as_ref()
                .map(|agent| server.agent.view(agent.port, server.by_hand.agent_off)),
            by_hand: self.hand_view(service, server),
            health,
            health_reason,
            usable: self.takes_flows(service, server),
            stands_by: self.standing(service, server) == Standing::StandsBy,
            since: elapsed(server.since),
            downtime: server.health.downtime(now.since_start).as_secs(),
            check: self.judged_check(service, server).or_else(|| {
                service.config.check.as_ref().map(|check| {
                    let result = server.result.as_ref();
                    CheckView {
                        kind: check.kind.name().to_owned(),
                        port: Self::checked_at(service, server, check).port(),
                        code: result.map_or("INI", |result| result.code).to_owned(),
                        reply: result.and_then(|result| result.reply),
                        detail: result.map_or_else(String::new, |result| result.detail.clone()),
                        duration_ms: result.map_or(0, |result| {
                            u64::try_from(result.duration.as_millis()).unwrap_or(u64::MAX)
                        }),
                        rise: check.rise,
                        fall: check.fall,
                        streak: server.health.streak(),
                        level: server.health.level(),
                        failures: server.health.failures(),
                        falls: server.health.falls(),
                        history: server.health.history().collect(),
                        interval_ms: u64::try_from(
                            server
                                .suspect
                                .interval(server.health.interval(check))
                                .as_millis(),
                        )
                        .unwrap_or(u64::MAX),
                        certificate_not_after: server.certificate(),
                    }
                })
            }),
            mac: (server.mac != [0; 6]).then(|| mac(server.mac)),
            interface: match &server.neighbour {
                Some(Neighbour::Resolved { interface, .. }) => Some(interface.clone()),
                _ => self
                    .attached
                    .iter()
                    .find(|interface| interface.ifindex == server.ifindex)
                    .map(|interface| interface.name.clone()),
            },
            active: reading.active,
            pending: reading.pending,
            active_max: server.active_max,
            opened: reading.opened,
            closed: reading.closed,
            expired: reading.expired,
            refused: reading.refused,
            audited: u64::from(reading.audited),
            drift: server.drift,
            packets: reading.packets,
            bytes: reading.bytes,
            rate: server.rate,
            rate_max: server.rate_max,
            last_flow: server.last_flow.map(elapsed),
            relayed: server.relayed.map(|counted| RelayedView {
                connect_errors: counted.connect_errors,
                response_errors: counted.response_errors,
                retries: counted.retries,
                redispatches: counted.redispatches,
                statuses: counted.statuses,
            }),
        }
    }
}

/// As `ip link` writes it.
pub fn mac(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
