//! The turns: what each event does to the policy state, and what follows from it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mb_lb_common::{SERVER_ACCEPT, Server as Record};

use super::frontend::ClientCap;
use super::indices::Indices;
use super::peering::PeerState;
use super::routers::{RouterState, Scripts};
use super::server::{ServerState, Standing, Way, name_hash, parse_full_name};
use super::syncs::Syncs;
use super::tiers::Tiers;
use super::via::Vias;
use super::{
    Action, Amendment, Attached, Change, CheckResult, CheckTask, Event, Neighbour, Now, Outcome,
    Refusal, SavedState, ServerRef, Which,
};
use crate::config::{self, Config};
use crate::dataplane::{Adopted, Report};
use crate::plan::Desired;
use crate::snapshot::{AdminState, HealthState};

/// What checks say is written at most so often: a network that goes takes all servers with it, one after the other.
pub(super) const SAVE_HEALTH: Duration = Duration::from_secs(1);

/// Who this director is; does not change while the controller runs.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub build: String,
    /// Unix time in milliseconds.
    pub started_ms: u64,
    pub pid: u32,
    pub config_path: String,
    pub pinned_at: String,
    /// Maps of an earlier controller were adopted.
    pub adopted: bool,
    /// Room for flows in the kernel's tables, per family.
    pub max_flows: u32,
}

/// By `SERVICE/SERVER`; names have no slash.
fn parse_amendments(saved: &BTreeMap<String, Amendment>) -> BTreeMap<ServerRef, Amendment> {
    let parse = |(name, amendment): (&String, &Amendment)| {
        let (service, server) = name.split_once('/')?;
        let target = ServerRef {
            service: service.to_owned(),
            server: server.to_owned(),
        };
        Some((target, amendment.clone()))
    };
    saved.iter().filter_map(parse).collect()
}

/// One service.
#[derive(Clone, Debug)]
pub struct ServiceState {
    pub config: config::Service,
    pub id: u32,
    pub servers: Vec<ServerState>,
    /// A server takes new flows; `None` before that was ever judged.
    pub usable: Option<bool>,
    pub since: Duration,
    pub downs: u64,
    /// In user mode: what was counted last.
    pub relayed: Option<crate::proxy::Reading>,
    /// Takes no new client, because this operator wants that.
    pub paused: Option<String>,
    /// And nobody can have it take one while this process lives.
    pub shut: bool,
    pub cap: Option<ClientCap>,
}

/// The one owner of policy state.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) identity: Identity,
    /// As the file has it, and as it is in force: with what operators have amended.
    pub(super) file: Config,
    pub(super) config: Config,
    pub(super) amendments: BTreeMap<ServerRef, Amendment>,
    pub(super) config_hash: String,
    pub(super) services: Vec<ServiceState>,
    /// Where each server is in `services`: results of checks come by the thousand.
    pub(super) places: HashMap<ServerRef, (usize, usize)>,
    pub(super) indices: Indices,
    /// Full names by the hash that the kernel has of them, those of removed servers among them.
    pub(super) full_names: BTreeMap<u64, String>,
    /// Indices of services in what an earlier controller left, by hash of the name.
    pub(super) adopted_services: BTreeMap<u32, u32>,
    /// What was last told of each next hop that is followed: only changes are, and a new server may share one.
    pub(super) neighbours: BTreeMap<IpAddr, Neighbour>,
    pub(super) attached: Vec<Attached>,
    /// The first [`Event::Interfaces`] has come.
    pub(super) attach_known: bool,
    pub(super) attach_error: Option<String>,
    pub(super) apply_error: Option<String>,
    pub(super) reload_error: Option<String>,
    /// Addresses on which the `no_server` text cannot be said.
    pub(super) mute: BTreeMap<SocketAddr, String>,
    /// Of this host; `None` before that is known.
    pub(super) addresses: Option<BTreeSet<IpAddr>>,
    pub(super) report: Report,
    pub(super) counted_at: Option<Duration>,
    pub(super) relayed_at: Option<Duration>,
    /// What user mode cannot do, by what it is, and why.
    pub(super) unserved: BTreeMap<String, crate::proxy::Trouble>,
    /// By name of the proxy.
    pub(super) certificates: BTreeMap<String, Vec<crate::proxy::Info>>,
    pub(super) table_full_at: Option<Duration>,
    pub(super) syncs: Syncs,
    pub(super) tiers: Tiers,
    pub(super) vias: Vias,
    pub(super) seq: u64,
    /// Since when what checks say is in the state file as it was then.
    pub(super) health_saved_at: Duration,
    /// What was last sent out, so that only changes are.
    pub(super) sent: Sent,
    /// Servers of the plans that are on their way to the kernel, oldest first.
    in_flight: VecDeque<BTreeMap<u32, Record>>,
    /// Servers as the kernel has them, as far as it has said so.
    in_kernel: BTreeMap<u32, Record>,
    /// A plan was applied as a whole.
    pub(super) applied_once: bool,
    /// Hand-overs that are asked for and not done: what became of the instances so far.
    pub(super) failovers: BTreeMap<u64, Result<Vec<String>, Refusal>>,
    /// Until then this director may lack flows that the peer has.
    pub(super) incomplete_until: Option<Duration>,
    pub(super) routers: Vec<RouterState>,
    /// Tracked interfaces that are there: up or down.
    pub(super) links: BTreeMap<String, bool>,
    pub(super) scripts: Scripts,
    pub(super) peer: PeerState,
    /// Of what both directors ought to have alike.
    pub(super) shared_hash: String,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    pub(super) desired: Option<Desired>,
    pub(super) checks: Option<Vec<CheckTask>>,
    pub(super) neighbours: Option<Vec<IpAddr>>,
    pub(super) replies: Option<Vec<(SocketAddr, String)>>,
    pub(super) steering: Option<Vec<crate::proxy::Steering>>,
    pub(super) saved: Option<SavedState>,
    pub(super) routers: Option<Vec<config::Vrrp>>,
    pub(super) peer: Option<(config::Peer, Duration)>,
}

impl Engine {
    /// An engine without a configuration: the first [`Event::Config`] gives it one.
    pub fn new(identity: Identity, adopted: &Adopted, saved: SavedState, empty: Config) -> Self {
        Self {
            identity,
            config_hash: String::new(),
            file: empty.clone(),
            config: empty,
            amendments: parse_amendments(&saved.amendments),
            services: Vec::new(),
            places: HashMap::new(),
            health_saved_at: Duration::ZERO,
            indices: Indices::adopt(&adopted.image.servers, &adopted.generations),
            adopted_services: adopted
                .image
                .listens
                .values()
                .map(|service| (service.name_hash, service.id))
                .collect(),
            full_names: saved
                .known
                .iter()
                .map(|name| (name_hash(name), name.clone()))
                .collect(),
            syncs: Syncs::new(saved.syncs.clone()),
            tiers: Tiers::new(saved.chosen.clone(), saved.splits.clone()),
            sent: Sent {
                saved: Some(saved),
                ..Sent::default()
            },
            neighbours: BTreeMap::new(),
            attached: adopted
                .image
                .ports
                .values()
                .map(|port| Attached {
                    name: format!("interface {}", port.ifindex),
                    ifindex: port.ifindex,
                    mac: port.mac,
                    mode: "native",
                })
                .collect(),
            attach_known: false,
            attach_error: None,
            apply_error: None,
            reload_error: None,
            mute: BTreeMap::new(),
            addresses: None,
            in_flight: VecDeque::new(),
            in_kernel: adopted.image.servers.clone(),
            report: Report::default(),
            counted_at: None,
            relayed_at: None,
            unserved: BTreeMap::new(),
            certificates: BTreeMap::new(),
            table_full_at: None,
            vias: Vias::default(),
            seq: 0,
            applied_once: false,
            failovers: BTreeMap::new(),
            incomplete_until: None,
            routers: Vec::new(),
            links: BTreeMap::new(),
            scripts: Scripts::new(),
            peer: PeerState::default(),
            shared_hash: String::new(),
        }
    }

    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn director_name(&self) -> &str {
        &self.config.director.name
    }

    /// Whether this is what is in force.
    pub fn runs(&self, config: &Config) -> bool {
        self.config_hash == config.hash()
    }

    pub const fn is_paired(&self) -> bool {
        self.config.peer.is_some()
    }

    pub const fn has_routers(&self) -> bool {
        !self.routers.is_empty()
    }

    /// One turn.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        self.handle_all([event], now)
    }

    /// One turn for several events, whose order is kept: what follows from all of them is sent out once. For results of
    /// checks, which come by the thousand; an answer to an operator has to have a turn of its own.
    pub fn handle_all(&mut self, events: impl IntoIterator<Item = Event>, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut unsettled = false;
        for event in events {
            unsettled |= self.take(event, now, &mut actions);
        }
        if unsettled {
            self.settle(now, &mut actions);
        }
        actions
    }

    /// Whether anything may follow from it.
    fn take(&mut self, event: Event, now: Now, actions: &mut Vec<Action>) -> bool {
        match event {
            Event::Config(config) => self.on_config(*config, now, actions),
            Event::ReloadFailed(why) => {
                self.record(
                    now,
                    "",
                    "reload-failed",
                    format!(
                        "configuration not applied, the old one is in force: {}",
                        super::alarms::summary(&why)
                    ),
                    actions,
                );
                self.reload_error = Some(why);
            }
            Event::Checked {
                server,
                which,
                address,
                result,
            } => {
                return self.on_checked(&server, which, address, result, now, actions);
            }
            Event::Neighbour { address, neighbour } => {
                self.on_neighbour(address, &neighbour, now, actions)
            }
            Event::Change {
                id,
                change: Change::Failover { instance },
                by,
            } => self.on_failover(id, instance.as_deref(), &by, now, actions),
            Event::Change { id, change, by } => {
                let result = self.on_change(&change, &by, now, actions);
                actions.push(Action::Reply { id, result });
            }
            Event::Certificates(certificates) => self.certificates = certificates,
            Event::SessionEnded { subject, by } => {
                self.on_session_ended(&subject, &by, now, actions);
            }
            Event::Unserved(unserved) => self.on_unserved(unserved, now, actions),
            Event::Relayed(readings) => self.on_relayed(&readings, now, actions),
            Event::Counted(report) => self.on_counted(*report, now, actions),
            Event::Applied(error) => {
                let servers = self.in_flight.pop_front();
                if let Some(servers) = servers.filter(|_| error.is_none()) {
                    self.in_kernel = servers;
                    self.applied_once = true;
                }
                if let Some(why) = error.as_ref().filter(|_| self.apply_error.is_none()) {
                    self.record(now, "", "apply-failed", why.clone(), actions);
                }
                self.apply_error = error;
            }
            Event::Interfaces {
                attached, error, ..
            } => self.on_interfaces(attached, error, now, actions),
            Event::RepliesFailed(failed) => self.mute = failed.into_iter().collect(),
            Event::Addresses(addresses) => self.addresses = Some(addresses),
            Event::Router { name, report } => self.on_report(&name, report, now, actions),
            Event::RouterView { name, view, at } => {
                self.on_router_view(&name, *view, at, now, actions);
            }
            Event::RouterFailed { name, why } => self.on_router_failed(&name, why, now, actions),
            Event::Links(links) => self.links = links,
            Event::Script {
                instance,
                script,
                failed,
            } => {
                self.scripts.insert((instance, script), failed);
            }
            Event::Peer(event) => self.on_peer(event, now, actions),
            Event::PeerKey => {
                self.on_peer_key(now, actions);
                return false;
            }
            Event::ConfigSync(report) => self.on_sync(report, now, actions),
            Event::Tier { name, round } => self.on_tier(&name, &round, now, actions),
            Event::Vias { vips, error } => self.on_vias(&vips, error, now, actions),
            Event::Deadline => {}
        }
        true
    }

    /// When a weight that is ramping up changes next, two active directors are looked at again, or a `config_sync` runs.
    pub fn next_deadline(&self, now: Now) -> Option<Duration> {
        self.services
            .iter()
            .flat_map(|service| {
                service.servers.iter().filter_map(|server| {
                    server
                        .ramp
                        .next_deadline(service.config.slow_start, now.since_start)
                })
            })
            .chain(self.split_deadline())
            .chain(self.sync_deadline())
            .min()
    }

    /// Whether anything may follow from it. Most results only confirm what was known, and cost next to nothing.
    fn on_checked(
        &mut self,
        target: &ServerRef,
        which: Which,
        address: SocketAddr,
        result: CheckResult,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some(&(service, server)) = self.places.get(target) else {
            // The last result of a check that was taken away.
            return false;
        };
        if !self.is_wanted((service, server), which, address) {
            return false;
        }
        let turned = self.on_agent((service, server), which, &result, now, actions);
        if which == Which::Agent {
            return turned;
        }
        let turned = self.on_page(service, server, result.page.as_ref()) || turned;
        let before = self
            .seen(
                &self.services[service],
                &self.services[service].servers[server],
            )
            .0;
        let way = self.way(&self.services[service]);
        let cut_off = self.services[service].servers[server].is_cut_off(way);
        let config = &self.services[service].config;
        let (check, slow_start) = (config.check.clone(), config.slow_start);
        let state = &mut self.services[service].servers[server];
        let Some(check) = check else {
            return turned;
        };
        let well = result.outcome == Outcome::Success;
        let resumed = well && std::mem::take(&mut state.by_hand.stopping);
        if result.outcome == Outcome::Inconclusive
            || (cut_off && result.outcome != Outcome::Success)
        {
            // Shown, but no verdict.
            state.result = Some(result);
            return state.suspect.clear() || turned;
        }
        // An earlier controller saw it up, or had its flows go on: its first failure here is one of `fall`, not the
        // first word about it.
        let spared =
            state.was_alive && (state.wish() == AdminState::Drain || state.weight_now() == 0);
        if (state.trusted || spared) && state.health.state() == HealthState::Unknown {
            state.health.assume_up(now.since_start);
        }
        let interval = state.suspect.interval(state.health.interval(&check));
        let transition = state.health.on_result(result.outcome, now.since_start);
        let told_other = state.trusted;
        state.trusted = false;
        state.was_alive = false;
        state.judge(result);
        state
            .suspect
            .on_checked(well, state.health.state(), &check, now.since_start);
        if let Some(transition) = transition.filter(|_| !slow_start.is_zero()) {
            state.ramp.on_transition(transition, now.since_start);
        }
        let same_rhythm = state.suspect.interval(state.health.interval(&check)) == interval;
        let after = self.seen(
            &self.services[service],
            &self.services[service].servers[server],
        );
        if after.0 != before {
            self.tell_change(service, server, &after, now, actions);
            self.tell_usable(now, actions);
        }
        turned || resumed || transition.is_some() || !same_rhythm || told_other || after.0 != before
    }

    /// The result is of a check that is wanted now: not the last one of a check that was taken away, or that went elsewhere.
    fn is_wanted(&self, (at, server): (usize, usize), which: Which, address: SocketAddr) -> bool {
        let service = &self.services[at];
        let server = &service.servers[server];
        let config = &service.config;
        match (which, &config.check, &config.agent) {
            (Which::Health, Some(check), _) => {
                !server.rests(&check.kind)
                    && !server.by_hand.check_off
                    && Self::checked_at(service, server, check) == address
            }
            (Which::Agent, _, Some(agent)) => {
                server.admin != AdminState::Maint
                    && !server.by_hand.agent_off
                    && Self::agent_at(server, agent) == address
            }
            (Which::Health, None, _) | (Which::Agent, _, None) => false,
        }
    }

    /// Sends out what differs from what was sent.
    fn settle(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.config_hash.is_empty() {
            return;
        }
        self.settle_tiers(now, actions);
        self.settle_vias(actions);
        let checks = self.wanted_checks();
        if self.sent.checks.as_ref() != Some(&checks) {
            actions.push(Action::Checks(checks.clone()));
            self.sent.checks = Some(checks);
        }
        let neighbours = self.wanted_neighbours();
        if self.sent.neighbours.as_ref() != Some(&neighbours) {
            self.neighbours
                .retain(|address, _| neighbours.binary_search(address).is_ok());
            actions.push(Action::Neighbours(neighbours.clone()));
            self.sent.neighbours = Some(neighbours);
        }
        let replies = self.wanted_replies();
        if self.sent.replies.as_ref() != Some(&replies) {
            actions.push(Action::Replies(replies.clone()));
            self.sent.replies = Some(replies);
        }
        let steering = self.steering(now);
        if self.sent.steering.as_ref() != Some(&steering) {
            actions.push(Action::Steer(steering.clone()));
            self.sent.steering = Some(steering);
        }
        self.settle_syncs(now, actions);
        let saved = self.to_save(now);
        if self.sent.saved.as_ref() != Some(&saved) && !self.waits(&saved, now) {
            self.health_saved_at = now.since_start;
            self.syncs_saved(&saved.syncs);
            actions.push(Action::Save(saved.clone()));
            self.sent.saved = Some(saved);
        }
        // First: it may take back, or end, what routers go by.
        self.settle_peer(now, actions);
        self.settle_routers(now, actions);
        // Before it is known where the program is attached, nothing is changed in the kernel: what an earlier
        // controller left there goes on as it is.
        if !self.attach_known {
            return;
        }
        let desired = self.desired(now);
        if self.sent.desired.as_ref() != Some(&desired) {
            self.in_flight.push_back(desired.servers.clone());
            actions.push(Action::Apply(Box::new(desired.clone())));
            self.sent.desired = Some(desired);
        }
    }

    pub(super) fn find_places(&self) -> HashMap<ServerRef, (usize, usize)> {
        let mut places = HashMap::new();
        for (at, service) in self.services.iter().enumerate() {
            for (position, server) in service.servers.iter().enumerate() {
                let target = ServerRef {
                    service: service.config.name.clone(),
                    server: server.config.name.clone(),
                };
                places.insert(target, (at, position));
            }
        }
        places
    }

    /// Hashes of the names of all servers that the kernel is to hold.
    pub(super) fn held(&self) -> BTreeSet<u64> {
        let servers = self.services.iter().flat_map(|service| &service.servers);
        let retired = self.indices.retired();
        servers
            .map(|server| server.name_hash)
            .chain(retired.map(|(_, record)| record.name_hash))
            .collect()
    }

    /// What a removed server was called, where that is known.
    pub(super) fn name_of(&self, record: &Record) -> Option<ServerRef> {
        parse_full_name(self.full_names.get(&record.name_hash)?)
    }

    pub(super) fn find_mut(
        &mut self,
        target: &ServerRef,
    ) -> Option<(config::Service, &mut ServerState)> {
        let service = self
            .services
            .iter_mut()
            .find(|service| service.config.name == target.service)?;
        let config = service.config.clone();
        let server = service
            .servers
            .iter_mut()
            .find(|server| server.config.name == target.server)?;
        Some((config, server))
    }

    pub(super) fn standing(&self, service: &ServiceState, server: &ServerState) -> Standing {
        let standing = server.standing(service.config.check.is_some(), self.way(service));
        match service.paused {
            Some(_) if standing == Standing::Usable => Standing::Withheld,
            _ => standing,
        }
    }

    /// It is given new flows. By the kernel, as far as that has said so: some milliseconds after its health has changed.
    pub(super) fn takes_flows(&self, service: &ServiceState, server: &ServerState) -> bool {
        if !service.config.forward.is_in_kernel() {
            return self.standing(service, server) == Standing::Usable;
        }
        let accepts = |record: &Record| {
            record.generation == server.slot.generation
                && Record::flags_of(record.link) & SERVER_ACCEPT != 0
        };
        !server.reading.full && self.in_kernel.get(&server.slot.index).is_some_and(accepts)
    }

    pub(super) fn seen(
        &self,
        service: &ServiceState,
        server: &ServerState,
    ) -> (HealthState, String) {
        server.seen(service.config.check.is_some(), self.way(service))
    }

    fn way(&self, service: &ServiceState) -> Way<'_> {
        match service.config.forward.is_in_kernel() {
            true => Way::Frames(self.attach_known.then_some(self.attached.as_slice())),
            false => Way::Sockets,
        }
    }

    /// Those whose flows the XDP program steers.
    pub(super) fn kernel_services(&self) -> impl Iterator<Item = &ServiceState> {
        let services = self.services.iter();
        services.filter(|service| service.config.forward.is_in_kernel())
    }

    pub(super) fn standings(&self) -> Vec<HealthState> {
        self.services
            .iter()
            .flat_map(|service| {
                service
                    .servers
                    .iter()
                    .map(|server| self.seen(service, server).0)
            })
            .collect()
    }
}
