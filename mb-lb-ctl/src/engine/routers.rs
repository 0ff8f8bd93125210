//! The virtual routers, as far as policy goes: effective priority from what is tracked, faults, hand-overs, sync groups.
//!
//! Each router's own machine decides who is active (`vrrp/machine.rs`), in a task that nothing here can hold up. The engine
//! tells it what to go by, and remembers what it reports.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::core::Engine;
use super::tracking::{self, Track, Tracked};
use super::{Action, HookCall, Now, Order, Refusal};
use crate::config;
use crate::snapshot::{AdminState, HealthState, TakeoverView};
use crate::vrrp::machine::{Cause, Role};
use crate::vrrp::router::Report;
use crate::vrrp::view::RouterView;

/// Take-overs that are shown.
const KEPT: usize = 10;
/// A hand-over for the sake of health that came to nothing is tried again after so long.
const RESIGN_AGAIN: Duration = Duration::from_secs(10);
/// What others do to our addresses is an alarm for so long.
pub(super) const REMEMBERED: Duration = Duration::from_secs(60);

/// One virtual router.
#[derive(Clone, Debug)]
pub struct RouterState {
    pub config: config::Vrrp,
    /// As it was last told, with the time of its clock then.
    pub view: Option<(RouterView, Duration)>,
    pub role: Role,
    /// When the role began, and why.
    pub since: Duration,
    pub cause: String,
    /// Changes of role since the controller started.
    pub turns: u64,
    /// Newest first.
    pub takeovers: VecDeque<TakeoverView>,
    /// Why it does not run.
    pub problem: Option<String>,
    /// The last thing that the kernel refused it.
    pub trouble: Option<(String, Duration)>,
    /// The last claim of another to one of its addresses.
    pub claimed: Option<(IpAddr, [u8; 6], Duration)>,
    /// The last time that somebody took an address away.
    pub restored: Option<(IpAddr, Duration)>,
    /// Both directors were active when last looked at, since then.
    pub split_since: Option<Duration>,
    pub split_told: bool,
    /// It gave way to a peer whose adverts do not get here.
    pub withheld: bool,
    /// The last priority of another director in an advert.
    heard_priority: Option<u8>,
    sent: Option<Order>,
    resign_at: Duration,
    /// Requests that wait for the hand-over.
    waiting: Vec<u64>,
}

impl RouterState {
    fn new(config: config::Vrrp, now: Now) -> Self {
        Self {
            config,
            view: None,
            role: Role::Init,
            since: now.since_start,
            cause: "starting".to_owned(),
            turns: 0,
            takeovers: VecDeque::new(),
            problem: None,
            trouble: None,
            claimed: None,
            restored: None,
            split_since: None,
            split_told: false,
            withheld: false,
            heard_priority: None,
            sent: None,
            resign_at: Duration::ZERO,
            waiting: Vec::new(),
        }
    }

    pub const fn vrid(&self) -> u8 {
        self.config.virtual_router_id.get()
    }

    pub fn is_ipv6(&self) -> bool {
        let first = self.config.addresses.first();
        first.is_some_and(|vip| vip.address.is_ipv6())
    }

    pub fn is_leaving(&self) -> bool {
        self.view.as_ref().is_some_and(|(view, _)| view.is_leaving)
    }

    /// What is wrong with its interface.
    fn own_fault(&self) -> Option<String> {
        let (view, _) = self.view.as_ref()?;
        view.fault.clone()
    }
}

impl Engine {
    pub(super) fn on_routers_config(
        &mut self,
        wanted: &[config::Vrrp],
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        // Files that passwords are in may say something new.
        self.sent.routers = None;
        if self.peer.hello.is_none() {
            self.sent.peer = None;
        }
        let mut old = std::mem::take(&mut self.routers);
        for vrrp in wanted {
            let known = old.iter().position(|state| state.config.name == vrrp.name);
            let mut state = match known {
                Some(at) => old.remove(at),
                None => RouterState::new(vrrp.clone(), now),
            };
            state.config = vrrp.clone();
            self.routers.push(state);
        }
        for gone in old {
            let why = format!("{} is in the configuration no more", gone.config.name);
            for id in gone.waiting {
                self.handed_over(id, Err(Refusal::NotHandedOver(why.clone())), actions);
            }
        }
    }

    /// This director carries everything that it is configured to carry with others: what only one of a pair may do is
    /// done here. Without VRRP, whoever has the VIPs.
    pub fn is_active(&self) -> bool {
        if !self.routers.is_empty() {
            return self
                .routers
                .iter()
                .all(|router| router.role == Role::Active);
        }
        let Some(addresses) = &self.addresses else {
            return false;
        };
        self.vips().all(|vip| addresses.contains(&vip))
    }

    pub(super) fn vips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.config.vips()
    }

    pub(super) fn router_mut(&mut self, name: &str) -> Option<&mut RouterState> {
        self.routers
            .iter_mut()
            .find(|router| router.config.name == name)
    }

    pub(super) fn on_router_view(
        &mut self,
        name: &str,
        view: RouterView,
        at: Duration,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(router) = self.router_mut(name) else {
            return;
        };
        // A router that was started anew and cannot begin has no turn to report.
        let never_began = view.role == Role::Fault && router.role == Role::Active;
        let begins_to_leave = view.is_leaving && !router.is_leaving();
        router.problem = None;
        if let Some((heard, _)) = view.master.filter(|(heard, _)| heard.priority != 0) {
            router.heard_priority = Some(heard.priority);
        }
        let why = view.fault.clone();
        router.view = Some((view, at));
        if never_began {
            let why = why.unwrap_or_else(|| "it cannot begin".to_owned());
            (router.role, router.since) = (Role::Fault, now.since_start);
            router.cause.clone_from(&why);
            self.record(
                now,
                name,
                "fault",
                format!("active -> fault: {why}"),
                actions,
            );
            self.ask_peer(name, "the other director cannot have it", actions);
        }
        if begins_to_leave {
            // Only now: a peer that was faster than the hand-over would be taken for a rival.
            self.ask_peer(name, "the other director hands over", actions);
        }
    }

    pub(super) fn on_router_failed(
        &mut self,
        name: &str,
        why: String,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(router) = self.router_mut(name) else {
            return;
        };
        router.sent = None;
        router.view = None;
        if router.problem.as_ref() == Some(&why) {
            return;
        }
        router.problem = Some(why.clone());
        if router.role != Role::Init {
            (router.role, router.since) = (Role::Init, now.since_start);
            router.cause.clone_from(&why);
        }
        for id in std::mem::take(&mut router.waiting) {
            self.handed_over(id, Err(Refusal::NotHandedOver(why.clone())), actions);
        }
        self.record(now, name, "vrrp-failed", why, actions);
    }

    pub(super) fn on_report(
        &mut self,
        name: &str,
        report: Report,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        match report {
            Report::Turned {
                from,
                to,
                cause,
                silent,
            } => {
                self.on_turned(name, from, to, &cause, silent, now, actions);
                if from == Role::Active && matches!(to, Role::Fault | Role::Init) {
                    self.ask_peer(name, "the other director cannot have it", actions);
                }
            }
            Report::Stayed => {
                let Some(router) = self.router_mut(name) else {
                    return;
                };
                router.resign_at = now.since_start + RESIGN_AGAIN;
                let waiting = std::mem::take(&mut router.waiting);
                let text = "nobody took over: the addresses stay here".to_owned();
                for id in waiting {
                    self.handed_over(id, Err(Refusal::Stayed(name.to_owned())), actions);
                }
                self.record(now, name, "stayed", text, actions);
            }
            Report::Claimed { address, mac } => {
                let Some(router) = self.router_mut(name) else {
                    return;
                };
                let quiet = |at: Duration| now.since_start.saturating_sub(at) < REMEMBERED;
                let known = router
                    .claimed
                    .is_some_and(|(a, m, at)| a == address && m == mac && quiet(at));
                router.claimed = Some((address, mac, now.since_start));
                if !known {
                    let mac = super::view::mac(mac);
                    let text = format!("{mac} claims {address}: contradicted");
                    self.record(now, name, "claimed", text, actions);
                }
            }
            Report::Restored(address) => {
                let Some(router) = self.router_mut(name) else {
                    return;
                };
                router.restored = Some((address, now.since_start));
                let text = format!("{address} was taken away by another program, and is back");
                self.record(now, name, "restored", text, actions);
            }
            Report::Rejected { rejection, source } => {
                let text = format!(
                    "adverts of {source} do not fit: {rejection}; {}",
                    rejection.remedy()
                );
                self.record(now, name, "rejected", text, actions);
            }
            Report::Trouble(text) => {
                let Some(router) = self.router_mut(name) else {
                    return;
                };
                let known = router.trouble.as_ref().is_some_and(|(old, _)| *old == text);
                router.trouble = Some((text.clone(), now.since_start));
                if !known {
                    self.record(now, name, "vrrp-trouble", text, actions);
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a report")]
    fn on_turned(
        &mut self,
        name: &str,
        from: Role,
        to: Role,
        cause: &Cause,
        silent: Option<Duration>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let priority = self
            .routers
            .iter()
            .find(|router| router.config.name == name)
            .map_or(0, |router| self.tracked(&router.config).priority);
        let Some(router) = self.router_mut(name) else {
            return;
        };
        if from == Role::Active {
            // Whoever has them now may.
            (router.claimed, router.restored) = (None, None);
        }
        router.role = to;
        router.since = now.since_start;
        router.cause = cause.to_string();
        router.turns += 1;
        (router.split_since, router.split_told) = (None, false);
        let mut text = format!("{} -> {}: {cause}", from.name(), to.name());
        if to == Role::Active {
            router.withheld = false;
            let outage_ms = silent.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            if let Some(ms) = outage_ms.filter(|ms| *ms > 0) {
                text.push_str(&format!("; nobody advertised for {ms} ms"));
            }
            router.takeovers.push_front(TakeoverView {
                time_ms: now.wall_ms,
                cause: cause.to_string(),
                outage_ms,
            });
            router.takeovers.truncate(KEPT);
        }
        let result = match cause {
            Cause::HandedOver { to: peer, .. } | Cause::Stronger { source: peer, .. } => {
                Ok(format!("{name}: {peer} is active"))
            }
            _ => Err(Refusal::NotHandedOver(text.clone())),
        };
        let waiting = std::mem::take(&mut router.waiting);
        let group = router.config.sync_group.clone();
        if let Some(path) = &router.config.notify {
            actions.push(Action::Hook(HookCall {
                path: path.clone(),
                instance: name.to_owned(),
                from: from.name(),
                to: to.name(),
                priority,
            }));
        }
        self.record(now, name, to.name(), text, actions);
        for id in waiting {
            self.handed_over(id, result.clone(), actions);
        }
        if to == Role::Active && silent.is_some() && !self.in_sync() && *cause != Cause::Resumed {
            // It lacks flows that the other one may have: what it says of all flows is not all.
            self.incomplete_until =
                Some(now.since_start + self.config.director.flow_timeouts.established);
        }
        if let Some(group) = group {
            self.move_group(name, &group, from, to, cause, actions);
        }
    }

    /// The others of a sync group go along.
    fn move_group(
        &mut self,
        name: &str,
        group: &str,
        from: Role,
        to: Role,
        cause: &Cause,
        actions: &mut Vec<Action>,
    ) {
        let members: Vec<usize> = (0..self.routers.len())
            .filter(|&at| {
                let other = &self.routers[at].config;
                other.name != name && other.sync_group.as_deref() == Some(group)
            })
            .collect();
        for at in members {
            let other = &self.routers[at];
            let is_rival = |role: &crate::peer::RoleOf| role.role == Role::Active;
            let withheld = self.peer_role(other).is_some_and(is_rival);
            let order = match (to, other.role) {
                (Role::Active, Role::Backup) => Order::TakeOver {
                    why: format!("{name} of the same sync group took over"),
                },
                // Or it goes somewhere else, and the peer has its addresses meanwhile.
                (Role::Init, Role::Active)
                    if from == Role::Active && matches!(cause, Cause::HandedOver { .. }) =>
                {
                    let why = format!("{name} of the same sync group went away");
                    Order::Resign { why, aside: false }
                }
                (Role::Backup, Role::Active) if from == Role::Active => {
                    let why = format!("{name} of the same sync group gave way");
                    match cause {
                        Cause::HandedOver { .. } => Order::Resign { why, aside: true },
                        _ => Order::StepDown { why },
                    }
                }
                _ => continue,
            };
            let steps_down = matches!(order, Order::StepDown { .. });
            actions.push(Action::Router {
                name: other.config.name.clone(),
                order,
            });
            if steps_down && withheld {
                // It was active by silence, while the peer says that it is: its adverts do not get here, and it would
                // take over again and again.
                self.routers[at].withheld = true;
            }
        }
    }

    /// What a router tracks, and how it is.
    pub(super) fn tracks(&self, vrrp: &config::Vrrp) -> Vec<Track> {
        let mut tracks = Vec::new();
        for track in &vrrp.track_interfaces {
            // The machine sees to its own interface.
            if track.interface == vrrp.interface && track.weight == 0 {
                continue;
            }
            tracks.push(Track {
                what: format!("interface {}", track.interface),
                weight: track.weight,
                failed: match self.links.get(&track.interface) {
                    Some(false) => Some("it is down".to_owned()),
                    Some(true) | None => None,
                },
            });
        }
        for track in &vrrp.track_services {
            if self.is_storage(&track.service) {
                tracks.push(Track {
                    what: format!("storage {}", track.service),
                    weight: track.weight,
                    failed: self.failed_storage(&track.service),
                });
                continue;
            }
            let service = self
                .services
                .iter()
                .find(|service| service.config.name == track.service);
            let up = service.map_or(0, |service| {
                let is_up = |server: &&super::server::ServerState| {
                    server.wish() != AdminState::Maint
                        && self.seen(service, server).0 != HealthState::Down
                };
                // Nodes of a tier that brings clients to none of them are of no use to anybody.
                let none = self.tier_was_asked(&track.service) && service.usable != Some(true);
                match none {
                    true => 0,
                    false => service.servers.iter().filter(is_up).count(),
                }
            });
            let wanted = track.min_up as usize;
            tracks.push(Track {
                what: format!("service {}", track.service),
                weight: track.weight,
                failed: (up < wanted).then(|| format!("{up} servers up, {wanted} wanted")),
            });
        }
        for script in &vrrp.track_scripts {
            let key = (vrrp.name.clone(), script.name.clone());
            tracks.push(Track {
                what: format!("script {}", script.name),
                weight: script.weight,
                failed: self.scripts.get(&key).cloned().flatten(),
            });
        }
        tracks
    }

    pub(super) fn tracked(&self, vrrp: &config::Vrrp) -> Tracked {
        tracking::judge(vrrp, &self.tracks(vrrp))
    }

    /// What keeps the addresses of this router away from this director, besides its interface.
    pub(super) fn fault(&self, router: &RouterState) -> Option<String> {
        if self.report.detached
            || (self.attached.is_empty() && self.kernel_services().next().is_some())
        {
            return Some("the XDP program is on no interface".to_owned());
        }
        if let Some(why) = self.tracked(&router.config).fault {
            return Some(why);
        }
        let group = router.config.sync_group.as_ref()?;
        self.routers
            .iter()
            .filter(|other| other.config.name != router.config.name)
            .filter(|other| other.config.sync_group.as_ref() == Some(group))
            .find_map(|other| {
                // Only what is wrong with it alone: two that wait for each other would wait for ever.
                // One that never began takes nothing away from those that serve.
                let problem = other
                    .problem
                    .clone()
                    .filter(|_| router.role != Role::Active);
                let why = problem.or_else(|| other.own_fault());
                let why = why.or_else(|| self.tracked(&other.config).fault)?;
                let name = &other.config.name;
                Some(format!("the sync group is at fault: {name}: {why}"))
            })
    }

    /// Why this director cannot have the addresses of this router now. Its role follows in a moment, or has not yet.
    pub(super) fn fault_now(&self, router: &RouterState) -> Option<String> {
        let told = || self.attach_known.then(|| self.fault(router)).flatten();
        let begun = || (router.role == Role::Fault).then(|| router.cause.clone());
        router.own_fault().or_else(told).or_else(begun)
    }

    /// Tells the routers what to go by, where that has changed.
    pub(super) fn settle_routers(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.settle_lists(actions);
        // Before it is known whether the program is there, nobody takes addresses: the director's own kernel would reset
        // what comes for them.
        if !self.attach_known {
            return;
        }
        for at in 0..self.routers.len() {
            let router = &self.routers[at];
            let tracked = self.tracked(&router.config);
            let policy = Order::Policy {
                priority: tracked.priority,
                fault: self.fault(router),
                may_preempt: self.may_preempt(),
                withheld: router.withheld,
            };
            let faults = matches!(&policy, Order::Policy { fault: Some(_), .. });
            let is_active = router.role == Role::Active && !router.is_leaving();
            let name = router.config.name.clone();
            let order = |order| Action::Router {
                name: name.clone(),
                order,
            };
            if router.sent.as_ref() != Some(&policy) {
                actions.push(order(policy.clone()));
                self.routers[at].sent = Some(policy);
            }
            let router = &self.routers[at];
            let stronger = self.stronger_peer(router, tracked.priority);
            if let (Some(why), Some(peer)) = (&tracked.failing, stronger)
                && is_active
                && !faults
                && router.config.preempt
                && self.unfit_peer(router).is_none()
                && now.since_start >= router.resign_at
            {
                let why = format!(
                    "{why}; the peer has priority {peer}, this one {}",
                    tracked.priority
                );
                actions.push(order(Order::Resign { why, aside: false }));
                self.routers[at].resign_at = now.since_start + RESIGN_AGAIN;
            }
        }
    }

    /// What runs: routers, scripts, looks at interfaces.
    fn settle_lists(&mut self, actions: &mut Vec<Action>) {
        let wanted: Vec<config::Vrrp> = self
            .routers
            .iter()
            .map(|router| router.config.clone())
            .collect();
        if self.sent.routers.as_ref() == Some(&wanted) {
            return;
        }
        actions.push(Action::Routers(wanted.clone()));
        let mut links: Vec<String> = wanted
            .iter()
            .flat_map(|vrrp| vrrp.track_interfaces.iter())
            .map(|track| track.interface.clone())
            .collect();
        links.sort();
        links.dedup();
        self.links.retain(|name, _| links.contains(name));
        actions.push(Action::Links(links));
        let scripts: Vec<(String, config::TrackScript)> = wanted
            .iter()
            .flat_map(|vrrp| {
                vrrp.track_scripts
                    .iter()
                    .map(|script| (vrrp.name.clone(), script.clone()))
            })
            .collect();
        self.scripts.retain(|(instance, name), _| {
            scripts
                .iter()
                .any(|(known, script)| known == instance && script.name == *name)
        });
        actions.push(Action::Scripts(scripts));
        self.sent.routers = Some(wanted);
    }

    /// The priority of another director that is fit to take over and has a higher one than `own`.
    fn stronger_peer(&self, router: &RouterState, own: u8) -> Option<u8> {
        let known = match &self.config.peer {
            Some(_) => self
                .peer_role(router)
                .filter(|role| role.role == Role::Backup)
                .map(|role| role.priority),
            // A backup is silent: what it said when it was last active is all that there is.
            None => router.heard_priority,
        };
        known.filter(|&priority| priority > own)
    }

    /// A planned hand-over; answered when the peer is active, or will not be.
    pub(super) fn on_failover(
        &mut self,
        id: u64,
        instance: Option<&str>,
        by: &str,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let mut refuse = |refusal| {
            actions.push(Action::Reply {
                id,
                result: Err(refusal),
            });
        };
        if self.routers.is_empty() {
            return refuse(Refusal::NoInstance(String::new()));
        }
        // Its sync group at the same time: the peer's would else hear the adverts of those that have not begun to leave.
        let group = self.routers.iter().find_map(|router| {
            let is_it = instance == Some(router.config.name.as_str());
            router.config.sync_group.as_ref().filter(|_| is_it)
        });
        let named = |router: &RouterState| {
            let in_group = group.is_some() && router.config.sync_group.as_ref() == group;
            instance.is_none_or(|name| router.config.name == name || in_group)
        };
        let chosen: Vec<usize> = (0..self.routers.len())
            .filter(|&at| named(&self.routers[at]))
            .collect();
        if chosen.is_empty() {
            return refuse(Refusal::NoInstance(instance.unwrap_or_default().to_owned()));
        }
        let active: Vec<usize> = chosen
            .iter()
            .copied()
            .filter(|&at| self.routers[at].role == Role::Active)
            .collect();
        if active.is_empty() {
            let router = &self.routers[chosen[0]];
            return refuse(Refusal::NotActive(format!(
                "{} is {} here",
                router.config.name,
                router.role.name()
            )));
        }
        if let Some(why) = active
            .iter()
            .find_map(|&at| self.unfit_peer(&self.routers[at]))
        {
            return refuse(Refusal::NotActive(why));
        }
        for at in active {
            let router = &self.routers[at];
            let name = router.config.name.clone();
            let why = format!("asked for by {by}");
            actions.push(Action::Router {
                name: name.clone(),
                order: Order::Resign { why, aside: true },
            });
            self.routers[at].waiting.push(id);
            self.record(
                now,
                &name,
                "failover",
                format!("asked for by {by}"),
                actions,
            );
        }
    }

    /// One of the instances of a `failover` is done; answered when all are, by the worst that became of one.
    fn handed_over(&mut self, id: u64, result: Result<String, Refusal>, actions: &mut Vec<Action>) {
        let so_far = self.failovers.entry(id).or_insert(Ok(Vec::new()));
        match (so_far.as_mut(), result) {
            (Ok(texts), Ok(text)) => texts.push(text),
            (Ok(_), Err(refusal)) => *so_far = Err(refusal),
            (Err(_), _) => {}
        }
        if self
            .routers
            .iter()
            .any(|router| router.waiting.contains(&id))
        {
            return;
        }
        if let Some(result) = self.failovers.remove(&id) {
            actions.push(Action::Reply {
                id,
                result: result.map(|texts| texts.join(", ")),
            });
        }
    }

    /// All roles by virtual router, for the peer.
    pub(super) fn roles(&self) -> Vec<crate::peer::RoleOf> {
        self.routers
            .iter()
            .filter_map(|router| {
                let (view, _) = router.view.as_ref()?;
                Some(crate::peer::RoleOf {
                    vrid: router.vrid(),
                    ipv6: router.is_ipv6(),
                    interface: router.config.interface.clone(),
                    name: router.config.name.clone(),
                    role: router.role,
                    priority: view.priority,
                    address: view.source?,
                    leaving: view.is_leaving,
                })
            })
            .collect()
    }
}

/// Why scripts have failed, by instance and script; `None`: it succeeds.
pub(super) type Scripts = BTreeMap<(String, String), Option<String>>;
