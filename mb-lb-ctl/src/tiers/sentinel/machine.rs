//! What is made of rounds. Pure.
//!
//! The master is the server that a majority of the configured Sentinels names and that says so itself, in the same round.
//! Nobody else has the clients, with these exceptions for the one that has them already:
//!
//! - Without a majority it keeps them while it says that it is the master, and no Sentinel names another one with a higher
//!   epoch. If it was gone meanwhile, it gets them back when a Sentinel names it, none another, and no other server says
//!   that it is a master.
//! - A director that has just begun takes what the other one has chosen for one that was gone.
//! - It keeps them for two rounds in which its answer does not come, for one that was lost must not end every session.
//!   That nobody listens, or that it closes the connection, counts at once.
//! - It keeps them while its answer is that it is busy or full, for it lives; and while a majority names it and this
//!   director's password is not right, which is no matter of the clients'.
//! - What a Sentinel in tilt says may be old: it counts for the one that has the clients, not for another.

mod alarms;
mod tell;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{Named, Round, Says, Tally, Trouble};
use crate::config::{self, TierServer};
use crate::engine::Now;
use crate::tiers::{Told, Verdict, Wishes};

/// Rounds in a row whose answer may be missing.
const PATIENCE: u32 = 2;

/// One `[sentinel.NAME]`.
#[derive(Clone, Debug)]
pub struct Machine {
    config: config::Sentinel,
    /// `None`: nobody was asked yet.
    round: Option<Round>,
    wishes: Wishes,
    present: Option<Present>,
    /// Unix time in milliseconds since which servers say that they are masters, by name.
    masters: BTreeMap<String, u64>,
    /// Which one has the clients, and since when, in the same unit.
    since: Option<(String, u64)>,
    election: Election,
    told: Known,
    /// Rounds in a row with another number of Sentinels that answer than was told.
    otherwise: u32,
    verdict: Verdict,
}

/// The server that has the clients, or had them last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Present {
    name: String,
    /// The highest with which it was named.
    epoch: u64,
    /// Rounds in a row whose answer is missing.
    silent: u32,
    /// It has them no more.
    lost: bool,
}

/// What was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    elected: Option<String>,
    no_master: bool,
    two_masters: bool,
    sentinels: Quorum,
    refusing: BTreeSet<SocketAddr>,
}

/// How many of the Sentinels answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Quorum {
    #[default]
    All,
    Majority,
    Minority,
}

/// Who has the clients.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Election {
    Elected { name: String, by: By },
    Nobody(Why),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Majority,
    /// It was the master, and no majority says otherwise.
    Held,
    /// So many of its answers are missing.
    Silent(u32),
    /// It says nothing of its role.
    Occupied,
}

/// Why nobody has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// This one is named by a majority and is no master.
    NotMaster(String),
    /// What a majority names is not configured.
    NotConfigured(SocketAddr),
    /// It is a name.
    Host(String),
    /// A Sentinel names this with a higher epoch than the present one has, but no majority does.
    Outvoted(Named),
    /// No majority names anything, and the present one, if there is one, is no master or is not trusted any more.
    NoMajority,
    /// Operators do not want this one to have clients.
    Withheld(String),
}

impl Machine {
    /// `chosen`: the server that had the clients before this process began.
    pub fn new(config: config::Sentinel, chosen: Option<String>) -> Self {
        let is_there = |name: &String| config.servers.iter().any(|server| server.name == *name);
        let present = chosen.filter(is_there).map(|name| Present {
            name,
            epoch: 0,
            silent: 0,
            lost: false,
        });
        let told = Known {
            elected: present.as_ref().map(|present| present.name.clone()),
            ..Known::default()
        };
        Self {
            config,
            round: None,
            wishes: Wishes::default(),
            present,
            masters: BTreeMap::new(),
            since: None,
            election: Election::Nobody(Why::NoMajority),
            told,
            otherwise: 0,
            verdict: Verdict::default(),
        }
    }

    pub const fn config(&self) -> &config::Sentinel {
        &self.config
    }

    /// What is known of nodes that stay is kept.
    pub fn reconfigure(&mut self, config: config::Sentinel, now: Now) {
        // Another address is another server.
        let stays = |name: &String| {
            let find = |config: &config::Sentinel| {
                let found = config.servers.iter().find(|server| server.name == *name);
                found.map(|server| server.address)
            };
            find(&config).is_some() && find(&config) == find(&self.config)
        };
        self.present = self.present.take().filter(|present| stays(&present.name));
        self.masters.retain(|name, _| stays(name));
        let other_master = config.master != self.config.master;
        self.config = config;
        if let Some(round) = &mut self.round {
            if other_master {
                round.sentinels.clear();
            }
            let sentinels = &self.config.sentinels;
            round
                .sentinels
                .retain(|address, _| sentinels.contains(address));
            let servers = &self.config.servers;
            round
                .servers
                .retain(|address, _| servers.iter().any(|server| server.address == *address));
            self.judge(now);
        }
    }

    /// Takes in what was seen.
    pub fn on_round(&mut self, round: &Round, wishes: &Wishes, now: Now) -> Vec<Told> {
        self.round = Some(round.clone());
        self.wishes = wishes.clone();
        for server in &self.config.servers {
            let seen = round.servers.get(&server.address).map(|seen| &seen.answer);
            match seen {
                Some(Ok(Says::Master { .. })) => {
                    let since = self.masters.entry(server.name.clone());
                    since.or_insert(now.wall_ms);
                }
                // It may still be one.
                Some(Err(Trouble::NotAnswering | Trouble::Busy | Trouble::Full)) => {}
                _ => {
                    self.masters.remove(&server.name);
                }
            }
        }
        let silent = self
            .present_answer(round)
            .is_none_or(|answer| matches!(answer, Err(Trouble::NotAnswering | Trouble::Own(_))));
        if let Some(present) = &mut self.present {
            present.silent = match silent {
                true => present.silent.saturating_add(1),
                false => 0,
            };
        }
        self.judge(now);
        self.tell()
    }

    /// Judges anew what is known, because operators or the other director want something else.
    pub fn reconsider(&mut self, wishes: &Wishes, now: Now) -> Vec<Told> {
        self.wishes = wishes.clone();
        if self.round.is_none() {
            return Vec::new();
        }
        self.judge(now);
        self.tell()
    }

    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The server that has the clients, or had them last.
    pub fn chosen(&self) -> Option<&str> {
        self.present.as_ref().map(|present| present.name.as_str())
    }

    fn judge(&mut self, now: Now) {
        let Some(round) = self.round.take() else {
            return;
        };
        let tally = Tally::of(&round, &self.config.sentinels);
        self.ask_the_other();
        let election = self.elect(&round, &tally);
        self.since = match (&election, self.since.take()) {
            (Election::Elected { name, .. }, Some(since)) if since.0 == *name => Some(since),
            (Election::Elected { name, .. }, _) => Some((name.clone(), now.wall_ms)),
            (Election::Nobody(_), _) => None,
        };
        self.election = election;
        self.verdict = self.words(&round, &tally);
        self.round = Some(round);
    }

    /// A director that never had a master takes the other one's word for who it is, as one that has lost its clients.
    fn ask_the_other(&mut self) {
        let Some(told) = &self.wishes.told else {
            return;
        };
        let mut servers = self.config.servers.iter();
        if self.present.is_none() && servers.any(|server| server.name == *told) {
            self.present = Some(Present {
                name: told.clone(),
                epoch: 0,
                silent: 0,
                lost: true,
            });
        }
    }

    fn elect(&mut self, round: &Round, tally: &Tally) -> Election {
        let election = match self.winner(tally) {
            Some(named) => self.follow_majority(&named, round, tally),
            None => self.hold(round, tally),
        };
        match &election {
            Election::Elected { name, .. } => {
                if let Some(present) = &mut self.present {
                    present.lost = false;
                }
                if self.wishes.withheld.contains(name) {
                    return Election::Nobody(Why::Withheld(name.clone()));
                }
            }
            Election::Nobody(_) => {
                if let Some(present) = &mut self.present {
                    present.lost = true;
                }
            }
        }
        election
    }

    /// What a majority names, if it counts.
    fn winner(&self, tally: &Tally) -> Option<Named> {
        let named = tally.winner()?;
        let has_clients = match (&self.present, self.server_at(named)) {
            (Some(present), Some(server)) => present.name == server.name,
            (Some(_), None) => false,
            // There is nobody to stay with.
            (None, _) => true,
        };
        (has_clients || tally.is_fresh(named)).then(|| named.clone())
    }

    fn follow_majority(&mut self, named: &Named, round: &Round, tally: &Tally) -> Election {
        let address = match named {
            Named::Host(host) => return Election::Nobody(Why::Host(host.clone())),
            Named::Address(address) => *address,
        };
        let Some(server) = self.server_at(named) else {
            return Election::Nobody(Why::NotConfigured(address));
        };
        let name = server.name.clone();
        let epoch = tally.epoch(named).unwrap_or_default();
        if is_master(round, address) {
            self.present = Some(Present {
                name: name.clone(),
                epoch,
                silent: 0,
                lost: false,
            });
            let by = By::Majority;
            return Election::Elected { name, by };
        }
        let present = self.present.as_mut().filter(|present| present.name == name);
        if let Some(present) = present {
            present.epoch = epoch;
        }
        match self.still(round).or_else(|| self.locked_out(round)) {
            Some(by) if self.chosen() == Some(&name) => Election::Elected { name, by },
            _ => Election::Nobody(Why::NotMaster(name)),
        }
    }

    /// Without a majority that counts.
    fn hold(&mut self, round: &Round, tally: &Tally) -> Election {
        let Some((present, server)) = self.present_server() else {
            return Election::Nobody(Why::NoMajority);
        };
        let own = Named::Address(server.address);
        let epoch = tally.epoch(&own).unwrap_or_default().max(present.epoch);
        let rival = tally
            .named()
            .filter(|(named, rival)| **named != own && *rival > epoch)
            .max_by_key(|(_, rival)| *rival);
        if let Some((named, _)) = rival {
            return Election::Nobody(Why::Outvoted(named.clone()));
        }
        let name = present.name.clone();
        let by = match (is_master(round, server.address), present.lost) {
            (true, false) => Some(By::Held),
            (true, true) => self.may_return(&own, round, tally).then_some(By::Held),
            (false, _) => self.still(round),
        };
        if let Some(present) = &mut self.present {
            present.epoch = epoch;
        }
        match by {
            Some(by) => Election::Elected { name, by },
            None => Election::Nobody(Why::NoMajority),
        }
    }

    /// Whether one that had lost its clients gets them back without a majority.
    fn may_return(&self, own: &Named, round: &Round, tally: &Tally) -> bool {
        let only_named = tally.answered() > 0 && tally.votes(own) == tally.answered();
        let masters = self.config.servers.iter();
        let masters = masters.filter(|server| is_master(round, server.address));
        only_named && masters.count() == 1
    }

    /// Why the present one keeps the clients, though it did not say that it is the master.
    fn still(&self, round: &Round) -> Option<By> {
        let present = self.present.as_ref().filter(|present| !present.lost)?;
        match self.present_answer(round) {
            Some(Err(trouble)) if trouble.says_nothing() => Some(By::Occupied),
            Some(Err(Trouble::NotAnswering | Trouble::Own(_))) | None => {
                (present.silent <= PATIENCE).then_some(By::Silent(present.silent))
            }
            _ => None,
        }
    }

    /// With a majority only: that this director may not ask says nothing of the clients.
    fn locked_out(&self, round: &Round) -> Option<By> {
        self.present.as_ref().filter(|present| !present.lost)?;
        match self.present_answer(round) {
            Some(Err(trouble)) if trouble.is_access() => Some(By::Occupied),
            _ => None,
        }
    }

    fn present_answer<'a>(&self, round: &'a Round) -> Option<&'a Result<Says, Trouble>> {
        let (_, server) = self.present_server()?;
        Some(&round.servers.get(&server.address)?.answer)
    }

    fn present_server(&self) -> Option<(&Present, &TierServer)> {
        let present = self.present.as_ref()?;
        let mut servers = self.config.servers.iter();
        Some((present, servers.find(|server| server.name == present.name)?))
    }

    fn server_at(&self, named: &Named) -> Option<&TierServer> {
        let Named::Address(address) = named else {
            return None;
        };
        let mut servers = self.config.servers.iter();
        servers.find(|server| server.address == *address)
    }
}

fn is_master(round: &Round, address: SocketAddr) -> bool {
    let seen = round.servers.get(&address).map(|seen| &seen.answer);
    matches!(seen, Some(Ok(Says::Master { .. })))
}

#[cfg(test)]
mod tests;
