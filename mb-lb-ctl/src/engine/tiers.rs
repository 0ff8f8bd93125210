//! Databases, session stores and storage: the machines of all tiers, and which servers their clients are brought to.

mod follows;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::core::Engine;
use super::server::ServerState;
use super::{Action, Now};
use crate::config::Config;
use crate::health::HISTORY;
use crate::peer::{Message, TIERS};
use crate::snapshot::{AdminState, CheckView, HealthState};
use crate::tiers::{Node, Round, State, Task, Told, Verdict, Wishes, galera, sentinel, storage};

/// What was chosen is said again so often: words can get lost.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// What the engine holds of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tiers {
    tiers: Vec<Tier>,
    /// As last ordered.
    followed: Vec<Task>,
    /// Servers that had the clients before this process, by tier; until its machine has it.
    saved: BTreeMap<String, String>,
    /// Servers of split brains, in the same way.
    splits: BTreeMap<String, BTreeSet<String>>,
    /// What the peer was told last, and when.
    said: Option<(BTreeMap<String, String>, Duration)>,
}

#[derive(Clone, Debug)]
struct Tier {
    machine: Machine,
    /// What its machine was last asked with.
    wishes: Option<Wishes>,
    /// What the other director has chosen.
    told: Option<String>,
    state: State,
    /// Since when `state` is so.
    since: Duration,
    rounds: u64,
    /// When the last one came.
    asked: Duration,
}

#[derive(Clone, Debug)]
enum Machine {
    Galera(Box<galera::Machine>),
    Sentinel(Box<sentinel::Machine>),
    Storage(Box<storage::Machine>),
}

impl Machine {
    fn name(&self) -> &str {
        match self {
            Self::Galera(machine) => &machine.config().name,
            Self::Sentinel(machine) => &machine.config().name,
            Self::Storage(machine) => &machine.config().name,
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Galera(_) => "galera",
            Self::Sentinel(_) => "sentinel",
            Self::Storage(_) => "storage",
        }
    }

    fn verdict(&self) -> &Verdict {
        match self {
            Self::Galera(machine) => machine.verdict(),
            Self::Sentinel(machine) => machine.verdict(),
            Self::Storage(machine) => machine.verdict(),
        }
    }

    fn chosen(&self) -> Option<&str> {
        match self {
            Self::Galera(machine) => machine.chosen(),
            Self::Sentinel(machine) => machine.chosen(),
            Self::Storage(machine) => machine.chosen(),
        }
    }

    fn on_round(&mut self, round: &Round, wishes: &Wishes, now: Now) -> Vec<Told> {
        match (self, round) {
            (Self::Galera(machine), Round::Galera(round)) => machine.on_round(round, wishes, now),
            (Self::Sentinel(machine), Round::Sentinel(round)) => {
                machine.on_round(round, wishes, now)
            }
            (Self::Storage(machine), Round::Storage(round)) => machine.on_round(round, wishes, now),
            // Of a tier that had this name before.
            _ => Vec::new(),
        }
    }

    fn reconsider(&mut self, wishes: &Wishes, now: Now) -> Vec<Told> {
        match self {
            Self::Galera(machine) => machine.reconsider(wishes, now),
            Self::Sentinel(machine) => machine.reconsider(wishes, now),
            Self::Storage(machine) => machine.reconsider(wishes, now),
        }
    }

    /// From one round to the next, at the most.
    fn round_time(&self) -> Duration {
        match self {
            Self::Galera(machine) => machine.config().interval.max(machine.config().timeout),
            Self::Sentinel(machine) => {
                // Several questions one after the other, and a connection before them.
                machine.config().interval + machine.config().timeout * 6
            }
            Self::Storage(machine) => machine.config().interval + machine.config().timeout * 6,
        }
    }

    fn listen(&self) -> Option<IpAddr> {
        let listen = match self {
            Self::Galera(machine) => machine.config().listen.first(),
            Self::Sentinel(machine) => machine.config().listen.first(),
            Self::Storage(_) => None,
        };
        listen.map(std::net::SocketAddr::ip)
    }
}

/// What a tier makes of one server.
#[derive(Clone, Debug)]
pub struct Judged {
    pub node: Node,
    /// Good or not, newest last.
    history: VecDeque<bool>,
    /// Rounds in which it was not good.
    failures: u64,
    /// From good to not good.
    falls: u64,
    /// A round has spoken of it.
    pub is_asked: bool,
}

impl Judged {
    pub fn new() -> Self {
        Self {
            node: Node {
                name: String::new(),
                role: "server",
                address: String::new(),
                health: HealthState::Unknown,
                word: "unknown",
                reason: "first check under way".to_owned(),
                elected: false,
                took: None,
                fields: BTreeMap::new(),
            },
            history: VecDeque::with_capacity(HISTORY),
            failures: 0,
            falls: 0,
            is_asked: false,
        }
    }

    /// `is_new`: nodes were asked since the last word.
    fn take(&mut self, node: &Node, is_new: bool) {
        let before = std::mem::replace(&mut self.node, node.clone());
        if before.health == HealthState::Up && node.health == HealthState::Down {
            self.falls += 1;
        }
        self.is_asked |= is_new;
        if !is_new || node.health == HealthState::Unknown {
            return;
        }
        let is_good = node.health == HealthState::Up;
        self.failures += u64::from(!is_good);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(is_good);
    }

    fn check(&self, kind: &str, port: u16, interval: Duration) -> CheckView {
        let node = &self.node;
        let code = match (node.health, node.word) {
            (HealthState::Unknown, _) => "INI",
            (HealthState::Up, _) => "L7OK",
            (HealthState::Down, "not_answering" | "hung") => "L7TOUT",
            (HealthState::Down, "refused" | "unreachable") => "L4CON",
            (HealthState::Down, _) => "L7STS",
        };
        let last = self.history.back().copied();
        let streak = self.history.iter().rev();
        let streak = streak.take_while(|good| Some(**good) == last).count();
        CheckView {
            kind: kind.to_owned(),
            port,
            code: code.to_owned(),
            reply: None,
            detail: node.reason.clone(),
            duration_ms: node.took.map_or(0, milliseconds),
            rise: 0,
            fall: 0,
            streak: u32::try_from(streak).unwrap_or(u32::MAX),
            level: 0,
            failures: self.failures,
            falls: self.falls,
            history: self.history.iter().copied().collect(),
            interval_ms: milliseconds(interval),
            certificate_not_after: None,
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Tiers {
    pub(super) fn new(
        saved: BTreeMap<String, String>,
        splits: BTreeMap<String, BTreeSet<String>>,
    ) -> Self {
        Self {
            saved,
            splits,
            ..Self::default()
        }
    }

    fn find(&self, name: &str) -> Option<&Tier> {
        self.tiers.iter().find(|tier| tier.machine.name() == name)
    }
}

impl Engine {
    /// The sections of a new configuration, when its services have their servers.
    pub(super) fn configure_tiers(&mut self, config: &Config, now: Now) {
        let mut old = std::mem::take(&mut self.tiers.tiers);
        let mut take = |name: &str, kind: &str| {
            let same = |tier: &Tier| tier.machine.name() == name && tier.machine.kind() == kind;
            let at = old.iter().position(same)?;
            Some(old.swap_remove(at))
        };
        let mut saved = std::mem::take(&mut self.tiers.saved);
        let mut splits = std::mem::take(&mut self.tiers.splits);
        let new = |machine: Machine| Tier {
            machine,
            wishes: None,
            told: None,
            state: State::Unknown,
            since: now.since_start,
            rounds: 0,
            asked: now.since_start,
        };
        let mut tiers = Vec::new();
        for galera in &config.galeras {
            let known = take(&galera.name, "galera");
            tiers.push(match known {
                Some(mut tier) => {
                    if let Machine::Galera(machine) = &mut tier.machine {
                        machine.reconfigure(galera.clone(), now);
                    }
                    tier
                }
                None => {
                    let chosen = saved.remove(&galera.name);
                    let mut machine = galera::Machine::new(galera.clone(), chosen);
                    if let Some(involved) = splits.remove(&galera.name) {
                        machine.restore_split(involved);
                    }
                    new(Machine::Galera(Box::new(machine)))
                }
            });
        }
        for sentinel in &config.sentinels {
            let known = take(&sentinel.name, "sentinel");
            tiers.push(match known {
                Some(mut tier) => {
                    if let Machine::Sentinel(machine) = &mut tier.machine {
                        machine.reconfigure(sentinel.clone(), now);
                    }
                    tier
                }
                None => {
                    let chosen = saved.remove(&sentinel.name);
                    let machine = sentinel::Machine::new(sentinel.clone(), chosen);
                    new(Machine::Sentinel(Box::new(machine)))
                }
            });
        }
        for storage in &config.storages {
            let known = take(&storage.name, "storage");
            tiers.push(match known {
                Some(mut tier) => {
                    if let Machine::Storage(machine) = &mut tier.machine {
                        machine.reconfigure(storage.clone(), now);
                    }
                    tier
                }
                None => new(Machine::Storage(Box::new(storage::Machine::new(
                    storage.clone(),
                    None,
                )))),
            });
        }
        for tier in &mut tiers {
            // Judged anew when it is settled.
            tier.wishes = None;
        }
        self.tiers.tiers = tiers;
        let steered: BTreeSet<_> = config.steered().map(|service| service.name).collect();
        for service in &mut self.services {
            let is_tier = steered.contains(&service.config.name);
            for server in &mut service.servers {
                match is_tier {
                    true => _ = server.judged.get_or_insert_with(Judged::new),
                    false => server.judged = None,
                }
            }
        }
    }

    /// Whether any server's health comes from a tier of this name.
    pub(super) fn is_tier(&self, name: &str) -> bool {
        let galeras = self.config.galeras.iter().map(|galera| &galera.name);
        let sentinels = self.config.sentinels.iter().map(|sentinel| &sentinel.name);
        galeras.chain(sentinels).any(|known| known == name)
    }

    /// Whether there is a tier of this name that has been looked at.
    pub(super) fn tier_was_asked(&self, name: &str) -> bool {
        self.is_tier(name) && self.tiers.find(name).is_some_and(|tier| tier.rounds > 0)
    }

    pub(super) fn on_tier(
        &mut self,
        name: &str,
        round: &Round,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(at) = self
            .tiers
            .tiers
            .iter()
            .position(|tier| tier.machine.name() == name)
        else {
            // The last round of one that was taken away.
            return;
        };
        let wishes = self.wishes(at);
        let tier = &mut self.tiers.tiers[at];
        let told = tier.machine.on_round(round, &wishes, now);
        tier.wishes = Some(wishes);
        tier.rounds += 1;
        tier.asked = now.since_start;
        self.judge(at, true, told, now, actions);
    }

    /// Has the machines follow what operators and the other director want, and says what is followed.
    pub(super) fn settle_tiers(&mut self, now: Now, actions: &mut Vec<Action>) {
        for at in 0..self.tiers.tiers.len() {
            let wishes = self.wishes(at);
            let tier = &mut self.tiers.tiers[at];
            if tier.wishes.as_ref() == Some(&wishes) {
                continue;
            }
            let told = tier.machine.reconsider(&wishes, now);
            tier.wishes = Some(wishes);
            self.judge(at, false, told, now, actions);
        }
        self.take_out(now, actions);
        let slowly_too = self.asks_slowly();
        let tasks = self.tiers.tiers.iter().map(|tier| match &tier.machine {
            Machine::Galera(machine) => Task::Galera(machine.config().clone()),
            Machine::Sentinel(machine) => Task::Sentinel(machine.config().clone()),
            Machine::Storage(machine) => Task::Storage {
                config: machine.config().clone(),
                slowly_too,
            },
        });
        let tasks: Vec<_> = tasks.collect();
        if tasks != self.tiers.followed {
            actions.push(Action::Tiers(tasks.clone()));
            self.tiers.followed = tasks;
        }
        self.tell_peer_of_tiers(now, actions);
    }

    /// What else decides than what was seen. A director that decides forgets what another one has: it may decide no more
    /// when the other one is long gone.
    fn wishes(&mut self, at: usize) -> Wishes {
        if self.leads(&self.tiers.tiers[at].machine) {
            self.tiers.tiers[at].told = None;
        }
        let tier = &self.tiers.tiers[at];
        let name = tier.machine.name();
        let services = self.services.iter();
        let servers = services
            .filter(|service| service.config.name == name)
            .flat_map(|service| &service.servers);
        let withheld = servers
            .filter(|server| server.admin != AdminState::Ready || server.weight == 0)
            .map(|server| server.config.name.clone());
        Wishes {
            withheld: withheld.collect(),
            leads: self.leads(&tier.machine),
            told: tier.told.clone(),
        }
    }

    /// One of a pair asks what is dear to answer: the one that is active in the first of the virtual routers.
    fn asks_slowly(&self) -> bool {
        match self.routers.first() {
            Some(router) => router.role == crate::vrrp::machine::Role::Active,
            None => self.config.peer.is_none() || self.is_active(),
        }
    }

    /// The director that clients of the tier come to decides.
    fn leads(&self, machine: &Machine) -> bool {
        let Some(listen) = machine.listen() else {
            return true;
        };
        let has = |addresses: &BTreeSet<IpAddr>| addresses.contains(&listen);
        self.config.peer.is_none()
            || listen.is_loopback()
            || self.addresses.as_ref().is_some_and(has)
    }

    /// Takes over what a machine has concluded.
    fn judge(
        &mut self,
        at: usize,
        is_new: bool,
        told: Vec<Told>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let before = self.standings();
        let tier = &mut self.tiers.tiers[at];
        let name = tier.machine.name().to_owned();
        let verdict = tier.machine.verdict();
        if verdict.state != tier.state {
            (tier.state, tier.since) = (verdict.state, now.since_start);
        }
        let nodes = verdict.nodes.clone();
        for Told { kind, text } in told {
            self.record(now, &name, kind, text, actions);
        }
        let services = self.services.iter_mut();
        for service in services.filter(|service| service.config.name == name) {
            for server in &mut service.servers {
                let is_it = |node: &&Node| node.role == "server" && node.name == server.config.name;
                if let (Some(judged), Some(node)) = (&mut server.judged, nodes.iter().find(is_it)) {
                    judged.take(node, is_new);
                }
            }
        }
        self.tell_changes(&before, false, now, actions);
    }

    /// Why a storage counts as failed; `None` where it does not, or there is none of that name.
    pub(super) fn failed_storage(&self, name: &str) -> Option<String> {
        match &self.tiers.find(name)?.machine {
            Machine::Storage(machine) => machine.failed().map(str::to_owned),
            _ => None,
        }
    }

    pub(super) fn is_storage(&self, name: &str) -> bool {
        let mut storages = self.config.storages.iter();
        storages.any(|storage| storage.name == name)
    }

    /// Whether clients are brought to the server. True where no tier says so.
    pub(super) fn is_elected(server: &ServerState) -> bool {
        let judged = server.judged.as_ref();
        judged.is_none_or(|judged| judged.node.elected)
    }

    /// What must survive a restart.
    pub(super) fn chosen_to_save(&self) -> BTreeMap<String, String> {
        let tiers = self.tiers.tiers.iter();
        tiers
            .filter_map(|tier| {
                let chosen = tier.machine.chosen()?;
                Some((tier.machine.name().to_owned(), chosen.to_owned()))
            })
            .collect()
    }

    /// As [`Engine::chosen_to_save`]: servers of split brains that are not over.
    pub(super) fn splits_to_save(&self) -> BTreeMap<String, BTreeSet<String>> {
        let tiers = self.tiers.tiers.iter();
        tiers
            .filter_map(|tier| match &tier.machine {
                Machine::Galera(machine) => {
                    Some((machine.config().name.clone(), machine.involved()?.clone()))
                }
                _ => None,
            })
            .collect()
    }

    /// Says what this director has chosen for the tiers whose clients come here.
    fn tell_peer_of_tiers(&mut self, now: Now, actions: &mut Vec<Action>) {
        let knows = |hello: &crate::peer::Hello| hello.knows(TIERS);
        if !self.peer.hello.as_ref().is_some_and(knows) {
            self.tiers.said = None;
            return;
        }
        let tiers = self.tiers.tiers.iter();
        let chosen: BTreeMap<_, _> = tiers
            .filter(|tier| self.leads(&tier.machine))
            .filter_map(|tier| {
                let chosen = tier.machine.chosen()?;
                Some((tier.machine.name().to_owned(), chosen.to_owned()))
            })
            .collect();
        let is_known = self.tiers.said.as_ref().is_some_and(|(said, at)| {
            *said == chosen && now.since_start.saturating_sub(*at) < SAY_AGAIN
        });
        if chosen.is_empty() || is_known {
            return;
        }
        self.tiers.said = Some((chosen.clone(), now.since_start));
        actions.push(Action::PeerSend(Message::Tiers(
            chosen.into_iter().collect(),
        )));
    }

    /// A new connection has been told nothing, and one that ended says nothing any more.
    pub(super) fn forget_said_tiers(&mut self) {
        self.tiers.said = None;
        for tier in &mut self.tiers.tiers {
            tier.told = None;
        }
    }

    /// What the peer has chosen, where this director does not choose.
    pub(super) fn on_peer_tiers(&mut self, chosen: &[(String, String)]) {
        for (name, server) in chosen {
            let tiers = self.tiers.tiers.iter();
            let Some(at) = tiers.clone().position(|tier| tier.machine.name() == name) else {
                continue;
            };
            if !self.leads(&self.tiers.tiers[at].machine) {
                self.tiers.tiers[at].told = Some(server.clone());
            }
        }
    }
}
