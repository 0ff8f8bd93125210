//! What people read of nodes, and of all together.

use std::collections::BTreeMap;

use super::{By, Election, Machine, Why};
use crate::config::TierServer;
use crate::snapshot::HealthState;
use crate::tiers::sentinel::{Named, Round, Says, Seen, Tally, Trouble, Vote};
use crate::tiers::{Node, State, Verdict};

impl Machine {
    pub(super) fn words(&self, round: &Round, tally: &Tally) -> Verdict {
        let servers = self.config.servers.iter().map(|server| {
            let seen = round.servers.get(&server.address);
            self.server(server, seen, tally)
        });
        let sentinels = self.config.sentinels.iter().map(|address| {
            let name = address.to_string();
            match round.sentinels.get(address) {
                Some(seen) => self.sentinel(name, seen),
                None => unasked(name.clone(), "sentinel", name),
            }
        });
        let nodes = servers.chain(sentinels).collect();
        let mut alarms = self.alarms(round, tally);
        alarms.sort_by_key(|alarm| alarm.severity);
        let state = match &self.election {
            Election::Nobody(_) => State::Failed,
            Election::Elected { .. } if alarms.is_empty() => State::Ok,
            Election::Elected { .. } => State::Degraded,
        };
        Verdict {
            state,
            summary: self.summary(round, tally),
            nodes,
            facts: self.facts(tally),
            alarms,
        }
    }

    pub(super) fn elected(&self) -> Option<&str> {
        match &self.election {
            Election::Elected { name, .. } => Some(name),
            Election::Nobody(_) => None,
        }
    }

    fn server(&self, server: &TierServer, seen: Option<&Seen<Says>>, tally: &Tally) -> Node {
        let address = server.address.to_string();
        let elected = self.elected() == Some(server.name.as_str());
        let Some(seen) = seen else {
            return Node {
                elected,
                ..unasked(server.name.clone(), "server", address)
            };
        };
        let own = Named::Address(server.address);
        let mut fields = BTreeMap::new();
        let (health, word, reason) = match &seen.answer {
            Ok(Says::Master { replicas, offset }) => {
                fields.insert("replicas".to_owned(), replicas.to_string());
                fields.insert("offset".to_owned(), offset.to_string());
                let (word, reason) = self.master(server, &own, tally);
                let health = match word {
                    "demoted" => HealthState::Down,
                    _ => HealthState::Up,
                };
                (health, word, reason)
            }
            Ok(Says::Replica { of, link, offset }) => {
                fields.insert("master".to_owned(), of.clone());
                fields.insert("link".to_owned(), link.clone());
                fields.insert("offset".to_owned(), offset.to_string());
                match link.as_str() {
                    "connected" => (HealthState::Up, "replica", format!("replica of {of}")),
                    _ => {
                        let reason = format!(
                            "replica of {of}, and its link is `{link}`: it gets nothing new"
                        );
                        (HealthState::Up, "replica_behind", reason)
                    }
                }
            }
            Err(trouble) => (HealthState::Down, trouble.word(), trouble.to_string()),
        };
        let reason = match (&self.election, elected) {
            (Election::Elected { by, .. }, true) if !matches!(by, By::Majority | By::Held) => {
                format!("{reason}; it keeps its clients for now")
            }
            _ => reason,
        };
        Node {
            name: server.name.clone(),
            role: "server",
            address,
            health,
            word,
            reason,
            elected,
            took: Some(seen.took),
            fields,
        }
    }

    /// Of one that says that it is a master.
    fn master(&self, server: &TierServer, own: &Named, tally: &Tally) -> (&'static str, String) {
        let votes = tally.votes(own);
        let of = tally.configured();
        if self.elected() == Some(server.name.as_str()) {
            return (
                "master",
                format!("master, named by {votes} of {of} Sentinels"),
            );
        }
        if self.election == Election::Nobody(Why::Withheld(server.name.clone())) {
            let reason = "master, and withheld: an operator does not want it to have clients";
            return ("withheld", reason.to_owned());
        }
        match tally.winner() {
            Some(named) if named != own => {
                let reason = format!(
                    "says that it is a master, but a majority of the Sentinels names {named}"
                );
                ("demoted", reason)
            }
            _ => {
                let reason = format!(
                    "says that it is a master; {votes} of {of} Sentinels name it, which is no majority"
                );
                ("unconfirmed", reason)
            }
        }
    }

    fn sentinel(&self, name: String, seen: &Seen<Vote>) -> Node {
        let mut fields = BTreeMap::new();
        let (health, word, reason) = match &seen.answer {
            Ok(vote) => {
                fields.insert("master".to_owned(), vote.names.to_string());
                fields.insert("epoch".to_owned(), vote.epoch.to_string());
                fields.insert("flags".to_owned(), vote.flags.join(","));
                fields.insert("others".to_owned(), vote.others.to_string());
                fields.insert("quorum".to_owned(), vote.quorum.to_string());
                let named = self.server_at(&vote.names).map(|server| &server.name);
                let named = named.map_or_else(|| vote.names.to_string(), Clone::clone);
                match vote.tilt {
                    Some(true) => {
                        let reason =
                            format!("names {named}, in tilt: it acts on nothing for 30 seconds");
                        (HealthState::Up, "tilt", reason)
                    }
                    _ => (HealthState::Up, "answering", format!("names {named}")),
                }
            }
            Err(trouble) => (HealthState::Down, trouble.word(), self.of_sentinel(trouble)),
        };
        Node {
            address: name.clone(),
            name,
            role: "sentinel",
            health,
            word,
            reason,
            elected: false,
            took: Some(seen.took),
            fields,
        }
    }

    pub(super) fn of_sentinel(&self, trouble: &Trouble) -> String {
        match trouble {
            Trouble::UnknownMaster => format!("it watches no master `{}`", self.config.master),
            other => other.to_string(),
        }
    }

    fn summary(&self, round: &Round, tally: &Tally) -> String {
        match &self.election {
            Election::Elected { name, by } => {
                let votes = self.votes_for(name, tally);
                let tail = match by {
                    By::Majority => return format!("master {name}, {votes}"),
                    By::Held if !tally.has_majority() => {
                        format!(
                            "kept without a majority: {} of {} Sentinels answer",
                            tally.answered(),
                            tally.configured()
                        )
                    }
                    By::Held => "kept: no majority names another".to_owned(),
                    By::Silent(rounds) => format!("{votes}; no answer in {rounds} rounds"),
                    By::Occupied => format!("{votes}; it is too busy to say its role"),
                };
                format!("master {name}, {tail}")
            }
            Election::Nobody(why) => format!("no master: {}", self.why(why, round, tally)),
        }
    }

    fn votes_for(&self, name: &str, tally: &Tally) -> String {
        let mut servers = self.config.servers.iter();
        let server = servers.find(|server| server.name == name);
        let votes = server.map_or(0, |server| tally.votes(&Named::Address(server.address)));
        format!("named by {votes} of {} Sentinels", tally.configured())
    }

    /// Why nobody has the clients, as half a sentence.
    pub(super) fn why(&self, why: &Why, round: &Round, tally: &Tally) -> String {
        let configured = tally.configured();
        match why {
            Why::NotMaster(name) => {
                let votes = self.votes_for(name, tally);
                let mut servers = self.config.servers.iter();
                let seen = servers
                    .find(|server| server.name == *name)
                    .and_then(|server| round.servers.get(&server.address));
                let says = match seen.map(|seen| &seen.answer) {
                    Some(Ok(Says::Replica { of, .. })) => {
                        format!("says that it is a replica of {of}")
                    }
                    Some(Ok(Says::Master { .. })) => "is a master".to_owned(),
                    Some(Err(trouble)) => format!("has not said that it is one: {trouble}"),
                    None => "was not asked yet".to_owned(),
                };
                format!("{name}, {votes}, {says}")
            }
            Why::NotConfigured(address) => {
                format!("the Sentinels name {address}, which is none of `servers`")
            }
            Why::Host(host) => {
                format!("the Sentinels call it {host}, and mb-lb does not resolve names")
            }
            Why::Outvoted(named) => {
                let votes = tally.votes(named);
                format!(
                    "{votes} of {configured} Sentinels name {named}, later than the others; no majority yet"
                )
            }
            Why::Withheld(name) => {
                format!("{name} is, and an operator does not want it to have clients")
            }
            Why::NoMajority if !tally.has_majority() => {
                let answered = tally.answered();
                format!("{answered} of {configured} Sentinels answer, which is no majority")
            }
            Why::NoMajority => "the Sentinels are at odds: no majority names one server".to_owned(),
        }
    }

    fn facts(&self, tally: &Tally) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::new();
        facts.insert("master_name".to_owned(), self.config.master.clone());
        let names = |named: &Named| {
            let server = self.server_at(named).map(|server| server.name.clone());
            server.unwrap_or_else(|| named.to_string())
        };
        let votes = tally
            .named()
            .map(|(named, _)| format!("{} {}", names(named), tally.votes(named)));
        facts.insert("votes".to_owned(), votes.collect::<Vec<_>>().join(", "));
        if let Some(epoch) = tally.winner().and_then(|named| tally.epoch(named)) {
            facts.insert("epoch".to_owned(), epoch.to_string());
        }
        if let Some((name, since)) = &self.since {
            facts.insert("master".to_owned(), name.clone());
            facts.insert("since".to_owned(), utc(*since));
        }
        facts
    }
}

fn unasked(name: String, role: &'static str, address: String) -> Node {
    Node {
        name,
        role,
        address,
        health: HealthState::Unknown,
        word: "unknown",
        reason: "not asked yet".to_owned(),
        elected: false,
        took: None,
        fields: BTreeMap::new(),
    }
}

/// Unix time in milliseconds, for people: `2026-03-01 04:05:06 UTC`.
pub(super) fn utc(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March, in eras of 400 (Gregorian): the leap day is the last of a year.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = match month < 10 {
        true => (month + 3, 0),
        false => (month - 9, 1),
    };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}
