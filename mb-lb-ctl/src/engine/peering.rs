//! The other director, as far as policy goes: what it says of itself, what operators want on both, two that are active at
//! once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::core::Engine;
use super::routers::RouterState;
use super::{Action, Now, Order, ServerRef};
use crate::config;
use crate::peer::{
    AdminEntry, Carried, Hello, Message, PeerClock, PeerEvent, RoleOf, Status, SyncReport,
};
use crate::snapshot::AdminState;
use crate::vrrp::machine::Role;

/// What the peer says of itself is believed for so long.
const FRESH: Duration = Duration::from_secs(3);
/// Own state is said again so often.
const SAY_AGAIN: Duration = Duration::from_millis(900);
/// All admin states are said again so often.
const SAY_ALL_AGAIN: Duration = Duration::from_secs(30);
/// Words about more servers than there can be are not listened to.
const MAX_ENTRIES: usize = mb_lb_common::MAX_SERVERS as usize;
/// A clock that is ahead by more is wrong, and what it dates is not believed.
const AHEAD_MS: u64 = 24 * 3600 * 1000;
/// Two are active at once in every hand-over, for some milliseconds.
const SPLIT: Duration = Duration::from_millis(300);

/// What is known of the peer.
#[derive(Clone, Debug, Default)]
pub struct PeerState {
    /// Of the present connection.
    pub hello: Option<Hello>,
    /// When the connection began, or ended.
    pub since: Duration,
    /// Why there is none.
    pub why: Option<String>,
    pub trouble: Option<(String, Duration)>,
    /// What it said last, and when.
    pub status: Option<(Status, Duration)>,
    pub report: SyncReport,
    pub clock: PeerClock,
    said: Option<(Status, Duration)>,
    carried: Option<Carried>,
    /// When all admin states were said last, and to which configuration.
    entries_said: Option<(String, Duration)>,
}

impl PeerState {
    fn said_since(&self, time: Duration) -> bool {
        self.status.as_ref().is_some_and(|(_, at)| *at > time)
    }

    fn fresh(&self, now: Duration) -> Option<&Status> {
        let (status, at) = self.status.as_ref()?;
        (self.hello.is_some() && now.saturating_sub(*at) < FRESH).then_some(status)
    }
}

impl Engine {
    pub(super) fn on_peer(&mut self, event: PeerEvent, now: Now, actions: &mut Vec<Action>) {
        match event {
            PeerEvent::Connected { hello } => {
                let text = format!("connected to {} (mb-lb {})", hello.name, hello.build);
                self.peer = PeerState {
                    hello: Some(hello),
                    since: now.since_start,
                    report: std::mem::take(&mut self.peer.report),
                    carried: self.peer.carried.take(),
                    ..PeerState::default()
                };
                self.forget_said_tiers();
                self.record(now, "peer", "peer-up", text, actions);
            }
            PeerEvent::Disconnected { why } => {
                let was = self.peer.hello.take().is_some();
                self.forget_said_tiers();
                self.peer.status = None;
                self.peer.since = now.since_start;
                self.peer.why = Some(why.clone());
                if was {
                    self.record(now, "peer", "peer-down", why, actions);
                }
            }
            PeerEvent::Trouble(text) => {
                let known = self
                    .peer
                    .trouble
                    .as_ref()
                    .is_some_and(|(old, _)| *old == text);
                self.peer.trouble = Some((text.clone(), now.since_start));
                if !known {
                    self.record(now, "peer", "peer-trouble", text, actions);
                }
            }
            PeerEvent::Report(report) => {
                let was = self.peer.report.in_sync;
                self.peer.report = *report;
                if self.peer.report.in_sync && !was {
                    let text = "all flows of the peer are held here too".to_owned();
                    self.record(now, "peer", "in-sync", text, actions);
                }
            }
            PeerEvent::Message(message) => self.on_peer_message(*message, now, actions),
        }
    }

    /// The link is made anew with the configuration, which comes next.
    pub(super) fn on_peer_key(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.sent.peer = None;
        let text = "its key is another one now: the link is made anew".to_owned();
        self.record(now, "peer", "peer-key", text, actions);
    }

    fn on_peer_message(&mut self, message: Message, now: Now, actions: &mut Vec<Action>) {
        match message {
            Message::Status(status) => {
                self.peer.clock.heard(status.sent_at_ms, now.wall_ms);
                self.peer.status = Some((status, now.since_start));
            }
            Message::Admin(entries) => self.on_admin_entries(&entries, now, actions),
            Message::Tiers(chosen) => self.on_peer_tiers(&chosen),
            Message::TakeOver {
                vrid, ipv6, why, ..
            } => {
                let ours = self
                    .routers
                    .iter()
                    .find(|router| router.vrid() == vrid && router.is_ipv6() == ipv6);
                if let Some(router) = ours.filter(|router| router.role == Role::Backup) {
                    actions.push(Action::Router {
                        name: router.config.name.clone(),
                        order: Order::TakeOver { why },
                    });
                }
            }
            // The link's, flow sync's, and those of the configuration, which is a file.
            _ => {}
        }
    }

    /// # Errors
    /// Why nothing can be asked of the peer.
    pub fn has_peer(&self) -> Result<(), String> {
        match (&self.config.peer, &self.peer.hello) {
            (None, _) => Err("no [peer] is configured".to_owned()),
            (Some(peer), None) => Err(format!("no connection to the peer {}", peer.address)),
            (Some(_), Some(_)) => Ok(()),
        }
    }

    pub const fn peer(&self) -> Option<&config::Peer> {
        self.config.peer.as_ref()
    }

    /// Whether the peer may put a configuration in the place of this one.
    pub fn accepts_push(&self) -> bool {
        let peer = self.config.peer.as_ref();
        peer.is_some_and(|peer| peer.accept_push)
    }

    /// A director that has not taken in the flows of the active one would lose them all by taking over.
    pub(super) fn may_preempt(&self) -> bool {
        self.config.peer.is_none() || self.in_sync()
    }

    /// A snapshot of the peer's flows was taken in, and each flow has its place. With the same configuration on both, those
    /// that have none are of servers which are removed on both: they would be lost whoever is active.
    pub(super) fn in_sync(&self) -> bool {
        let report = &self.peer.report;
        let same = || {
            self.peer
                .status
                .as_ref()
                .is_some_and(|(status, _)| status.config_hash == self.shared_hash)
        };
        report.in_sync && (report.missing == 0 || same())
    }

    /// What the peer says of the same virtual router.
    pub(super) fn peer_role(&self, router: &RouterState) -> Option<&RoleOf> {
        let (status, _) = self.peer.status.as_ref()?;
        self.peer.hello.as_ref()?;
        status
            .roles
            .iter()
            .find(|role| role.vrid == router.vrid() && role.ipv6 == router.is_ipv6())
    }

    /// Why the peer ought not to get the addresses; `None` where it may, or nothing is known of it.
    pub(super) fn unfit_peer(&self, router: &RouterState) -> Option<String> {
        let role = self.peer_role(router)?;
        let (status, _) = self.peer.status.as_ref()?;
        let name = &router.config.name;
        match role.role {
            Role::Fault => Some(format!("{name} is at fault on the peer")),
            Role::Init => Some(format!("{name} does not run on the peer")),
            Role::Backup if !status.in_sync => Some(format!(
                "the peer has not taken in all flows yet: sessions would be lost with {name}"
            )),
            Role::Backup | Role::Active => None,
        }
    }

    /// Tells the peer to take over, which is faster than its timer.
    pub(super) fn ask_peer(&self, name: &str, why: &str, actions: &mut Vec<Action>) {
        let router = self
            .routers
            .iter()
            .find(|router| router.config.name == name);
        actions.extend(router.and_then(|router| self.asks_peer(router, why)));
    }

    fn asks_peer(&self, router: &RouterState, why: &str) -> Option<Action> {
        let role = self.peer_role(router)?;
        (role.role == Role::Backup && self.unfit_peer(router).is_none()).then(|| {
            Action::PeerSend(Message::TakeOver {
                vrid: role.vrid,
                ipv6: role.ipv6,
                interface: role.interface.clone(),
                why: why.to_owned(),
            })
        })
    }

    /// Says what is new to the peer and to flow sync, and ends a split brain.
    pub(super) fn settle_peer(&mut self, now: Now, actions: &mut Vec<Action>) {
        let established = self.config.director.flow_timeouts.established;
        // What is done with a file that comes over it is no matter of the link.
        let linked = |peer| config::Peer {
            accept_push: true,
            ..peer
        };
        let wanted = self.config.peer.clone();
        let wanted = wanted.map(|peer| (linked(peer), established));
        // Only when the kernel has the servers: the peer's flows find their places by them.
        if self.sent.peer != wanted && self.applied_once {
            let peer = self.config.peer.clone().map(Box::new);
            actions.push(Action::PeerLink(peer, established));
            self.sent.peer = wanted;
            self.peer = PeerState {
                since: now.since_start,
                ..PeerState::default()
            };
        }
        if self.config.peer.is_none() {
            return;
        }
        let carried = self.carried();
        let complete = self
            .incomplete_until
            .is_none_or(|until| now.since_start >= until);
        let carries = Carried {
            vips: carried.clone(),
            complete,
        };
        if self.peer.carried.as_ref() != Some(&carries) {
            actions.push(Action::Carry(carries.clone()));
            self.peer.carried = Some(carries);
        }
        self.end_split(now, actions);
        if self.peer.hello.is_none() {
            return;
        }
        let status = Status {
            config_hash: self.shared_hash.clone(),
            roles: self.roles(),
            owned: carried.into_iter().collect(),
            in_sync: self.in_sync(),
            sent_at_ms: 0,
        };
        let is_news = match &self.peer.said {
            Some((said, at)) => *said != status || now.since_start.saturating_sub(*at) >= SAY_AGAIN,
            None => true,
        };
        // A peer that did not know a server may know it by now, and what is said can get lost on the way.
        let hash = self
            .peer
            .status
            .as_ref()
            .map(|(status, _)| status.config_hash.clone());
        let hash = hash.unwrap_or_default();
        let entries_are_due = match &self.peer.entries_said {
            Some((to, at)) => *to != hash || now.since_start.saturating_sub(*at) >= SAY_ALL_AGAIN,
            None => true,
        };
        if entries_are_due {
            self.peer.entries_said = Some((hash, now.since_start));
            let entries = self.admin_entries();
            if !entries.is_empty() {
                actions.push(Action::PeerSend(Message::Admin(entries)));
            }
        }
        if is_news {
            self.peer.said = Some((status.clone(), now.since_start));
            actions.push(Action::PeerSend(Message::Status(Status {
                sent_at_ms: now.wall_ms,
                ..status
            })));
        }
    }

    /// VIPs of services that are on this host.
    fn carried(&self) -> BTreeSet<IpAddr> {
        match &self.addresses {
            Some(addresses) => self.vips().filter(|vip| addresses.contains(vip)).collect(),
            None => BTreeSet::new(),
        }
    }

    /// Both directors say over the link that they are active: one of them does not get the other's adverts. The weaker
    /// one gives way, and stays away while the other says that it is active.
    fn end_split(&mut self, now: Now, actions: &mut Vec<Action>) {
        for at in 0..self.routers.len() {
            let router = &self.routers[at];
            let theirs = self
                .peer
                .fresh(now.since_start)
                // What it said before this one took over, it may have been wrong about since: that is why.
                .filter(|_| router.role != Role::Active || self.peer.said_since(router.since))
                .and_then(|_| self.peer_role(router))
                .filter(|role| role.role == Role::Active && !role.leaving);
            let Some(theirs) = theirs else {
                let router = &mut self.routers[at];
                (router.split_since, router.split_told) = (None, false);
                router.withheld = false;
                continue;
            };
            // Its adverts get here again.
            let is_heard = router.view.as_ref().is_some_and(|(view, at)| {
                view.master.is_some_and(|(_, heard_at)| {
                    at.saturating_sub(heard_at) < router.config.advert_interval * 2
                })
            });
            if router.withheld && router.role == Role::Backup && is_heard {
                self.routers[at].withheld = false;
                continue;
            }
            if router.role != Role::Active || router.is_leaving() {
                let router = &mut self.routers[at];
                (router.split_since, router.split_told) = (None, false);
                continue;
            }
            let (their_rank, peer) = ((theirs.priority, theirs.address), theirs.address);
            let own = router
                .view
                .as_ref()
                .and_then(|(view, _)| Some((view.priority, view.source?)));
            let name = router.config.name.clone();
            let since = match router.split_since {
                Some(since) => since,
                None => {
                    self.routers[at].split_since = Some(now.since_start);
                    continue;
                }
            };
            if now.since_start.saturating_sub(since) < SPLIT || self.routers[at].withheld {
                continue;
            }
            let text = format!(
                "split brain: {peer} is active too, as it says over the peer link, but its adverts do not get here, or ours \
                 not there"
            );
            if own < Some(their_rank) {
                self.routers[at].withheld = true;
                actions.push(Action::Router {
                    name: name.clone(),
                    order: Order::StepDown {
                        why: format!("two were active, and {peer} is the stronger"),
                    },
                });
                self.record(
                    now,
                    &name,
                    "split-brain",
                    format!("{text}: giving way"),
                    actions,
                );
            } else if !self.routers[at].split_told {
                self.routers[at].split_told = true;
                self.record(now, &name, "split-brain", text, actions);
            }
        }
    }

    /// When a split brain is looked at again.
    pub(super) fn split_deadline(&self) -> Option<Duration> {
        self.routers
            .iter()
            .filter(|router| !router.withheld && !router.split_told)
            .filter_map(|router| Some(router.split_since? + SPLIT))
            .min()
    }

    /// What operators have set here, and when; of servers that nobody touched nothing is said.
    fn admin_entries(&self) -> Vec<AdminEntry> {
        let mut entries = Vec::new();
        for service in &self.services {
            for server in &service.servers {
                if server.changed_ms == 0 {
                    continue;
                }
                entries.push(AdminEntry {
                    service: service.config.name.clone(),
                    server: server.config.name.clone(),
                    admin: server.admin,
                    by: server.by.clone(),
                    reason: server.reason.clone(),
                    weight: (server.weight != server.config.weight).then_some(server.weight),
                    configured: Some(server.config.weight),
                    since_ms: server.changed_ms,
                });
            }
        }
        entries
    }

    /// An operator has changed this server here.
    pub(super) fn tell_peer_of(&mut self, target: &ServerRef, now: Now, actions: &mut Vec<Action>) {
        if let Some((_, server)) = self.find_mut(target) {
            // Later than what it was, whatever the clock says: what is done last, holds.
            server.changed_ms = now.wall_ms.max(server.changed_ms.saturating_add(1));
        }
        if self.config.peer.is_some() {
            let entry = self
                .admin_entries()
                .into_iter()
                .find(|entry| entry.service == target.service && entry.server == target.server);
            actions.push(Action::PeerSend(Message::Admin(
                entry.into_iter().collect(),
            )));
        }
    }

    /// What was set on the peer later than here holds here too.
    fn on_admin_entries(&mut self, entries: &[AdminEntry], now: Now, actions: &mut Vec<Action>) {
        let peer = match &self.peer.hello {
            Some(hello) => hello.name.clone(),
            None => "the peer".to_owned(),
        };
        for entry in entries.iter().take(MAX_ENTRIES) {
            if entry.since_ms > now.wall_ms.saturating_add(AHEAD_MS) {
                continue;
            }
            let target = ServerRef {
                service: entry.service.clone(),
                server: entry.server.clone(),
            };
            let Some((service, server)) = self.find_mut(&target) else {
                continue;
            };
            if entry.since_ms <= server.changed_ms {
                continue;
            }
            server.changed_ms = entry.since_ms;
            // A weight that was set against another one in the file means nothing here.
            let comparable = entry
                .configured
                .is_none_or(|weight| weight == server.config.weight);
            let weight = match entry.weight {
                Some(weight) if comparable => weight.min(256),
                Some(_) => server.weight,
                None => server.config.weight,
            };
            let mut told = Vec::new();
            if server.admin != entry.admin {
                told.push(format!(
                    "{} -> {}",
                    super::change::admin_word(server.admin),
                    super::change::admin_word(entry.admin)
                ));
            }
            if server.weight != weight {
                told.push(format!("weight {} -> {weight}", server.weight));
            }
            super::change::set_admin(server, &service, entry.admin, &entry.by, &entry.reason, now);
            server.weight = weight;
            if told.is_empty() {
                continue;
            }
            let by = match entry.by.as_str() {
                "" => format!(" on {peer}"),
                by => format!(" by {by} on {peer}"),
            };
            let why = match entry.reason.as_str() {
                "" => String::new(),
                reason if entry.admin != AdminState::Ready => format!(": {reason}"),
                _ => String::new(),
            };
            let subject = format!("{}/{}", target.service, target.server);
            let text = format!("{}{by}{why}", told.join(", "));
            self.record(now, &subject, "admin", text, actions);
        }
        self.settle_tiers(now, actions);
        self.tell_usable(now, actions);
    }
}
