//! What the engine knows of one server.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mb_lb_common::{SERVER_ACCEPT, SERVER_PRESENT, SERVER_RESET, Server as Record};

use super::agent::Agent;
use super::by_hand::ByHand;
use super::indices::Slot;
use super::suspect::Suspect;
use super::tiers::Judged;
use super::{Attached, CheckResult, Neighbour, Now, Outcome, SavedHealth, SavedServer, ServerRef};
use crate::config;
use crate::dataplane::ServerReading;
use crate::health::{Health, SlowStart};
use crate::plan::mapped;
use crate::schedule::stable_hash;
use crate::snapshot::{AdminState, HealthState};

/// One server of one service.
#[derive(Clone, Debug)]
pub struct ServerState {
    pub config: config::Server,
    pub slot: Slot,
    pub name_hash: u64,
    pub admin: AdminState,
    pub by: String,
    pub reason: String,
    /// When an operator last changed it, on either director: Unix time in milliseconds, 0 is never.
    pub changed_ms: u64,
    /// As set now; equal to the configured one unless an operator changed it.
    pub weight: u16,
    pub health: Health,
    pub suspect: Suspect,
    pub agent: Agent,
    pub by_hand: ByHand,
    /// How often an operator ended its sessions.
    pub ended: u64,
    pub ramp: SlowStart,
    pub result: Option<CheckResult>,
    /// The last check that counted as good, and the last that counted as failed: why it is up, and why down.
    pub good: Option<CheckResult>,
    pub bad: Option<CheckResult>,
    /// Why it was down before this controller started.
    pub was: Option<String>,
    /// What the kernel's neighbour table says; `None`: not known yet.
    pub neighbour: Option<Neighbour>,
    /// Next hop that was used last, which outlives the knowledge of it.
    pub mac: [u8; 6],
    pub ifindex: u32,
    /// An earlier controller, or a configuration without checks, had it take new flows: it goes on until the first
    /// check says otherwise.
    pub trusted: bool,
    /// An earlier controller had its flows go on, whether it took new ones or not: its first failure is one of `fall`.
    pub was_alive: bool,
    /// An earlier controller had its flows reset: that goes on until the first check.
    pub was_reset: bool,
    /// When admin state or health last changed.
    pub since: Duration,
    pub reading: ServerReading,
    /// In user mode: all that is counted there.
    pub relayed: Option<crate::proxy::Counted>,
    /// A reading has come: the next one differs from it by what happened between the two.
    pub counted: bool,
    pub active_max: i64,
    pub rate: u64,
    pub rate_max: u64,
    pub last_flow: Option<Duration>,
    /// All drift that audits have proven.
    pub drift: i64,
    /// Where a tier says how it is, instead of checks.
    pub judged: Option<Judged>,
    /// Why it takes no new client, whatever its checks say.
    pub taken_out: Option<String>,
    /// Members of its health page that others follow.
    pub members: BTreeMap<String, Member>,
    /// Checks in a row that found no health page.
    pub pageless: u8,
}

/// A member of a health page, judged as checks are: by rise and fall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Why it has failed, if it has.
    pub failed: Option<String>,
    /// The newest page speaks of it.
    pub is_named: bool,
    /// Pages in a row that said otherwise than is held.
    against: u8,
}

impl Member {
    /// `why`: it has failed, as the newest page says.
    pub fn on_page(&mut self, why: Option<&str>, rise: u8, fall: u8) {
        if why.is_some() == self.failed.is_some() {
            self.against = 0;
            return;
        }
        self.against = self.against.saturating_add(1);
        let needed = if why.is_some() { fall } else { rise };
        if self.against >= needed {
            self.failed = why.map(str::to_owned);
            self.against = 0;
        }
    }
}

/// Why a server takes no new flow, or that it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Usable,
    /// The operator's wish, or weight 0.
    Withheld,
    /// Its tier brings clients to another server.
    StandsBy,
    /// Not known yet.
    Unknown(String),
    Down(String),
    /// Through no fault of the server: the director cannot reach it, or it was taken out. No new flow, but no flow is ended
    /// for it.
    CutOff(String),
}

/// How clients' data gets to a server.
#[derive(Clone, Copy, Debug)]
pub enum Way<'a> {
    /// By the XDP program, from these interfaces; `None` where they are not known yet.
    Frames(Option<&'a [Attached]>),
    /// By connections of this process.
    Sockets,
}

impl ServerState {
    pub fn new(
        service: &config::Service,
        server: &config::Server,
        slot: Slot,
        earlier: Option<Record>,
        now: Now,
    ) -> Self {
        let (rise, fall) = service
            .check
            .as_ref()
            .map_or((1, 1), |check| (check.rise, check.fall));
        Self {
            slot,
            name_hash: name_hash(&full_name(service, server)),
            admin: AdminState::Ready,
            by: String::new(),
            reason: String::new(),
            changed_ms: 0,
            weight: server.weight,
            health: Health::new(rise, fall, now.since_start),
            suspect: Suspect::default(),
            agent: Agent::default(),
            by_hand: ByHand::default(),
            ended: 0,
            ramp: SlowStart::default(),
            result: None,
            good: None,
            bad: None,
            was: None,
            neighbour: None,
            mac: earlier.map_or([0; 6], |record| Record::mac_of(record.link)),
            ifindex: earlier.map_or(0, |record| record.ifindex),
            trusted: earlier
                .is_some_and(|record| Record::flags_of(record.link) & SERVER_ACCEPT != 0),
            was_alive: earlier
                .is_some_and(|record| Record::flags_of(record.link) & SERVER_RESET == 0),
            was_reset: earlier
                .is_some_and(|record| Record::flags_of(record.link) & SERVER_RESET != 0),
            since: now.since_start,
            reading: ServerReading::default(),
            relayed: None,
            counted: false,
            active_max: 0,
            rate: 0,
            rate_max: 0,
            last_flow: None,
            drift: 0,
            judged: None,
            taken_out: None,
            members: BTreeMap::new(),
            pageless: 0,
            config: server.clone(),
        }
    }

    /// Begins with what checks said last, before a restart or a boot. What an earlier controller left in the kernel is as
    /// new, and says more of a server that was up; of one that was down it does not say since when, nor why.
    pub fn begin_as(&mut self, last: &SavedHealth, is_in_kernel: bool, now: Now) {
        if last.up {
            self.trusted |= !is_in_kernel;
            self.was_alive |= !is_in_kernel;
            return;
        }
        if self.trusted || (is_in_kernel && self.was_alive) {
            // It came up after that was written.
            return;
        }
        self.health.assume_down(now.since_start);
        self.was = Some(last.why.clone());
    }

    /// What checks say of it now, to begin with after a restart.
    pub fn last_health(&self) -> Option<SavedHealth> {
        let up = match self.health.state() {
            HealthState::Unknown => return None,
            HealthState::Up => true,
            HealthState::Down => false,
        };
        let why = match (&self.bad, &self.was) {
            _ if up => String::new(),
            (Some(bad), _) => bad.detail.clone(),
            (None, was) => was.clone().unwrap_or_default(),
        };
        Some(SavedHealth { up, why })
    }

    /// Takes over what an operator had set before a restart.
    pub fn restore(&mut self, saved: &SavedServer) {
        self.admin = saved.admin;
        self.by.clone_from(&saved.by);
        self.reason.clone_from(&saved.reason);
        self.by_hand.clone_from(&saved.by_hand);
        // The file says something new since: that holds, as with a reload.
        let unchanged = saved
            .configured
            .is_none_or(|weight| weight == self.config.weight);
        if let Some(weight) = saved.weight.filter(|_| unchanged) {
            self.weight = weight.min(256);
        }
    }

    /// What differs from the configuration and must outlive the process.
    pub fn saved(&self, wall_s: u64) -> Option<SavedServer> {
        let weight = (self.weight != self.config.weight).then_some(self.weight);
        let is_touched =
            self.admin != AdminState::Ready || weight.is_some() || !self.by_hand.is_nothing();
        is_touched.then(|| SavedServer {
            admin: self.admin,
            by: self.by.clone(),
            reason: self.reason.clone(),
            weight,
            configured: weight.map(|_| self.config.weight),
            by_hand: self.by_hand.clone(),
            since: wall_s,
        })
    }

    /// What the checks and, for the way of frames, the neighbour table together say.
    pub fn seen(&self, checked: bool, way: Way<'_>) -> (HealthState, String) {
        match (self.own(checked, way), &self.taken_out) {
            (own @ (HealthState::Down, _), _) | (own, None) => own,
            (_, Some(why)) => (HealthState::Down, why.clone()),
        }
    }

    /// Without what has nothing to do with the server itself.
    pub fn own(&self, checked: bool, way: Way<'_>) -> (HealthState, String) {
        match way {
            Way::Frames(attached) => self
                .no_way(attached)
                .unwrap_or_else(|| self.checked(checked)),
            Way::Sockets => self.checked(checked),
        }
    }

    /// Why frames cannot get there, if they cannot.
    fn no_way(&self, attached: Option<&[Attached]>) -> Option<(HealthState, String)> {
        if let Some(Neighbour::Unresolved(why) | Neighbour::Unreachable(why)) = &self.neighbour {
            return Some((HealthState::Down, why.clone()));
        }
        if self.neighbour.is_none() && self.mac == [0; 6] {
            let why = format!(
                "the MAC address of {} is not known yet",
                self.config.address
            );
            return Some((HealthState::Unknown, why));
        }
        if self.is_unattached(attached) {
            let interface = match &self.neighbour {
                Some(Neighbour::Resolved { interface, .. }) => interface.clone(),
                _ => format!("interface {}", self.ifindex),
            };
            let why = format!(
                "{} is reached through {interface}, which the XDP program is not attached to",
                self.config.address
            );
            return Some((HealthState::Down, why));
        }
        None
    }

    fn checked(&self, checked: bool) -> (HealthState, String) {
        if let Some(Judged { node, .. }) = &self.judged {
            let health = match node.elected {
                true => HealthState::Up,
                false => node.health,
            };
            return (health, node.reason.clone());
        }
        if !checked {
            return self.with_agent(self.unchecked());
        }
        let seen = match self.health.state() {
            // No check will come to say more.
            HealthState::Unknown if self.by_hand.check_off => {
                (HealthState::Up, "its check rests".to_owned())
            }
            HealthState::Unknown if self.trusted => (
                HealthState::Up,
                "as before; first check under way".to_owned(),
            ),
            HealthState::Unknown => (HealthState::Unknown, "first check under way".to_owned()),
            HealthState::Up => (
                HealthState::Up,
                self.good
                    .as_ref()
                    .map_or("as before", |good| good.detail.as_str())
                    .to_owned(),
            ),
            HealthState::Down => (
                HealthState::Down,
                match (&self.bad, &self.was) {
                    (Some(bad), _) => bad.detail.clone(),
                    (None, Some(was)) => format!("as before: {was}"),
                    (None, None) => String::new(),
                },
            ),
        };
        self.with_agent(seen)
    }

    /// What is so where the director could not reach it, and now can.
    pub fn way_open(&self) -> String {
        match &self.neighbour {
            Some(Neighbour::Resolved { interface, .. }) => {
                format!(
                    "{} is reachable again through {interface}",
                    self.config.address
                )
            }
            _ => format!("{} is reachable again", self.config.address),
        }
    }

    /// Takes in the result of a check that counts.
    pub fn judge(&mut self, result: CheckResult) {
        match result.outcome {
            Outcome::Success => self.good = Some(result.clone()),
            Outcome::Failure | Outcome::Refused => self.bad = Some(result.clone()),
            Outcome::Inconclusive => {}
        }
        self.result = Some(result);
    }

    /// When the certificate ends that it last showed to a check, in Unix seconds. A check that does not get as far as TLS
    /// leaves it known.
    pub fn certificate(&self) -> Option<i64> {
        let results = [&self.result, &self.good, &self.bad];
        let mut results = results.into_iter().flatten();
        results.find_map(|result| result.certificate)
    }

    /// It was never checked and now is: it goes on as it was until its first check says otherwise, as after a restart.
    pub fn begin_checks(&mut self) {
        if self.admin != AdminState::Maint && self.health.state() == HealthState::Unknown {
            self.trusted = true;
            self.was_alive = true;
        }
    }

    /// Nothing is known of its health any more.
    pub fn forget(&mut self, now: Now) {
        self.health.forget(now.since_start);
        (self.trusted, self.was_alive) = (false, false);
        (self.result, self.good, self.bad, self.was) = (None, None, None, None);
        self.suspect.clear();
    }

    /// The interface that leads to it does not carry the program.
    fn is_unattached(&self, attached: Option<&[Attached]>) -> bool {
        let on = |interface: &Attached| interface.ifindex == self.ifindex;
        self.mac != [0; 6] && attached.is_some_and(|attached| !attached.iter().any(on))
    }

    /// The director itself cannot reach it.
    pub fn is_cut_off(&self, way: Way<'_>) -> bool {
        let Way::Frames(attached) = way else {
            return false;
        };
        matches!(self.neighbour, Some(Neighbour::Unreachable(_))) || self.is_unattached(attached)
    }

    pub fn standing(&self, checked: bool, way: Way<'_>) -> Standing {
        match self.seen(checked, way) {
            (HealthState::Down, why)
                if self.is_cut_off(way) || self.own(checked, way).0 != HealthState::Down =>
            {
                Standing::CutOff(why)
            }
            (HealthState::Down, why) => Standing::Down(why),
            (HealthState::Unknown, why) => Standing::Unknown(why),
            (HealthState::Up, _)
                if self.wish() != AdminState::Ready
                    || self.weight_now() == 0
                    || self.by_hand.stopping =>
            {
                Standing::Withheld
            }
            (HealthState::Up, _) if self.stands_by() => Standing::StandsBy,
            (HealthState::Up, _) => Standing::Usable,
        }
    }

    /// Well, and its tier brings clients elsewhere.
    fn stands_by(&self) -> bool {
        let judged = self.judged.as_ref();
        judged.is_some_and(|judged| !judged.node.elected)
    }

    /// The server's record in the kernel.
    pub fn record(&self, service_id: u32, standing: &Standing, on_down: config::OnDown) -> Record {
        let mut flags = SERVER_PRESENT;
        if *standing == Standing::Usable {
            flags |= SERVER_ACCEPT;
        }
        let gone = self.wish() == AdminState::Maint
            || matches!(standing, Standing::Down(_))
            || (self.was_reset && matches!(standing, Standing::Unknown(_)));
        if gone && on_down == config::OnDown::Reset {
            flags |= SERVER_RESET;
        }
        Record {
            link: Record::link(self.mac, flags),
            generation: self.slot.generation,
            ifindex: self.ifindex,
            max_connections: self.most_connections(),
            service: service_id,
            address: mapped(self.config.address),
            name_hash: self.name_hash,
            reserved: [0; 16],
        }
    }

    pub fn on_neighbour(&mut self, neighbour: Neighbour) {
        if let Neighbour::Resolved { mac, ifindex, .. } = neighbour {
            self.mac = mac;
            self.ifindex = ifindex;
        }
        self.neighbour = Some(neighbour);
    }
}

/// A server is the same one as long as its service, name and address are. One in user mode is none that the kernel may
/// still have flows of: it must not take that one's place.
pub fn full_name(service: &config::Service, server: &config::Server) -> String {
    let name = format!("{}/{}@{}", service.name, server.name, server.address);
    match service.forward.is_in_kernel() {
        true => name,
        false => format!("{name}@{}", service.forward.name()),
    }
}

/// What the kernel's record has of the [`full_name`].
pub fn name_hash(full_name: &str) -> u64 {
    stable_hash(full_name.as_bytes())
}

/// Service and server of a [`full_name`]. Names have neither of the two signs.
pub fn parse_full_name(full_name: &str) -> Option<ServerRef> {
    let (service, rest) = full_name.split_once('/')?;
    let (server, _) = rest.split_once('@')?;
    Some(ServerRef {
        service: service.to_owned(),
        server: server.to_owned(),
    })
}

/// What Maglev tables are built from: the address alone.
pub fn identity(address: IpAddr) -> u64 {
    stable_hash(address.to_string().as_bytes())
}
