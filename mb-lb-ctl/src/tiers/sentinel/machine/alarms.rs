//! What is wrong now, and what to do.

use std::net::SocketAddr;

use super::words::utc;
use super::{Election, Machine, Quorum, Why};
use crate::snapshot::{Alarm, Severity};
use crate::tiers::sentinel::{Round, Says, Tally, Trouble, majority};

/// Rights of a Sentinel's user that is only to be asked here.
const SENTINEL_RIGHTS: &str = "allchannels -@all +auth +ping +psubscribe +info +sentinel|get-master-addr-by-name \
     +sentinel|master +sentinel|ckquorum";

/// Rights of a server's user that is only to be asked here.
const SERVER_RIGHTS: &str = "-@all +auth +ping +role +info";

impl Machine {
    pub(super) fn alarms(&self, round: &Round, tally: &Tally) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        if let Election::Nobody(why) = &self.election {
            alarms.push(self.no_master(why, round, tally));
        }
        alarms.extend(self.two_masters(round));
        alarms.extend(self.few_sentinels(round, tally));
        alarms.extend(self.access(round));
        self.sentinels(round, &mut alarms);
        self.replicas(round, &mut alarms);
        alarms
    }

    fn no_master(&self, why: &Why, round: &Round, tally: &Tally) -> Alarm {
        let name = &self.config.name;
        let text = format!(
            "no master, clients are refused: {}",
            self.why(why, round, tally)
        );
        let master = &self.config.master;
        let ask = self.ask_sentinel(&format!("SENTINEL MASTER {master}"));
        let (severity, next) = match why {
            Why::Withheld(server) => (
                Severity::Warning,
                format!("`mb-lb-ctl ready {name}/{server}` gives it back"),
            ),
            Why::NotMaster(_) | Why::Outvoted(_) => (
                Severity::Critical,
                format!(
                    "a failover takes some seconds; if it goes on, see what a Sentinel does: `{ask}`, and the log of \
                     the Redis that is down: `journalctl -u redis-server`"
                ),
            ),
            Why::NotConfigured(address) => (
                Severity::Critical,
                format!(
                    "add {address} to `servers` of [sentinel.{name}], or see why the Sentinels name it: `{ask}`"
                ),
            ),
            Why::Host(_) => (
                Severity::Critical,
                "let the Sentinels announce addresses: `sentinel resolve-hostnames no` and `sentinel \
                 announce-hostnames no` in sentinel.conf, an address in `sentinel monitor`, and `replica-announce-ip` \
                 in redis.conf"
                    .to_owned(),
            ),
            Why::NoMajority => (
                Severity::Critical,
                format!(
                    "start the Sentinels that do not answer: `systemctl start redis-sentinel` on their machines; what \
                     one of them sees: `{ask}`"
                ),
            ),
        };
        alarm(severity, text, next)
    }

    fn two_masters(&self, round: &Round) -> Option<Alarm> {
        let masters = self.masters_now(round);
        if masters.len() < 2 {
            return None;
        }
        let text = self.masters_in_words(&masters);
        let find = |name: &str| {
            let found = self
                .config
                .servers
                .iter()
                .find(|server| server.name == name);
            found.map(|server| server.address)
        };
        let elected = self.elected();
        let other = masters.iter().find(|(name, _)| elected != Some(*name));
        let other = other.and_then(|(name, _)| find(name));
        let next = match (elected.and_then(find), other) {
            (Some(elected), Some(other)) => format!(
                "clients of `listen` reach the elected one only. A Sentinel makes the other a replica within some 10 \
                 seconds, and what was written to it meanwhile is lost (`min-replicas-to-write 1` in redis.conf keeps it \
                 from that). If it stays a master: `{} REPLICAOF {} {}`",
                redis_cli(other, self.config.tls.is_some()),
                elected.ip(),
                elected.port()
            ),
            _ => format!(
                "see which of them the Sentinels want: `{}`",
                self.ask_sentinel(&format!("SENTINEL MASTER {}", self.config.master))
            ),
        };
        Some(alarm(Severity::Warning, text, next))
    }

    /// Servers that said in this round that they are masters, with since when.
    pub(super) fn masters_now(&self, round: &Round) -> Vec<(&str, u64)> {
        let servers = self.config.servers.iter().filter(|server| {
            let seen = round.servers.get(&server.address).map(|seen| &seen.answer);
            matches!(seen, Some(Ok(Says::Master { .. })))
        });
        let since = |name: &str| self.masters.get(name).copied();
        servers
            .filter_map(|server| Some((server.name.as_str(), since(&server.name)?)))
            .collect()
    }

    pub(super) fn masters_in_words(&self, masters: &[(&str, u64)]) -> String {
        let each = masters.iter().map(|(name, since)| {
            let elected = match self.elected() == Some(name) {
                true => "elected, ",
                false => "",
            };
            format!("{name} ({elected}since {})", utc(*since))
        });
        let each: Vec<_> = each.collect();
        format!(
            "{} servers say that they are the master: {}",
            each.len(),
            each.join(" and ")
        )
    }

    /// How many Sentinels answer.
    pub(super) fn quorum(&self, tally: &Tally) -> Quorum {
        match tally.answered() {
            answered if answered == tally.configured() => Quorum::All,
            _ if tally.has_majority() => Quorum::Majority,
            _ => Quorum::Minority,
        }
    }

    pub(super) fn few_sentinels_in_words(&self, round: &Round, tally: &Tally) -> String {
        let (answered, configured) = (tally.answered(), tally.configured());
        let means = match self.quorum(tally) {
            Quorum::Minority => format!(
                "{answered} of {configured} Sentinels answer: no failover is possible until there are {}",
                majority(configured)
            ),
            Quorum::Majority | Quorum::All => {
                format!("{answered} of {configured} Sentinels answer")
            }
        };
        let missing: Vec<_> = self
            .config
            .sentinels
            .iter()
            .filter_map(|address| {
                let seen = round.sentinels.get(address)?;
                let trouble = seen.answer.as_ref().err()?;
                Some(format!("{address} ({})", self.of_sentinel(trouble)))
            })
            .collect();
        match missing.is_empty() {
            true => means,
            false => format!("{means}; missing: {}", missing.join(", ")),
        }
    }

    fn few_sentinels(&self, round: &Round, tally: &Tally) -> Option<Alarm> {
        let severity = match self.quorum(tally) {
            Quorum::All => return None,
            Quorum::Majority => Severity::Warning,
            Quorum::Minority => Severity::Critical,
        };
        let text = self.few_sentinels_in_words(round, tally);
        let unknown = self.config.sentinels.iter().any(|address| {
            let seen = round.sentinels.get(address).map(|seen| &seen.answer);
            matches!(seen, Some(Err(Trouble::UnknownMaster)))
        });
        let next = match unknown {
            true => "what masters they watch: `redis-cli -h ADDRESS -p 26379 SENTINEL MASTERS`; that name is `master` \
                     of the section"
                .to_owned(),
            false => "on the machine: `systemctl start redis-sentinel`, and `journalctl -u redis-sentinel` for why it \
                      ended"
                .to_owned(),
        };
        Some(alarm(severity, text, next))
    }

    /// Nodes that do not let this director in.
    pub(super) fn refusing(&self, round: &Round) -> Vec<(SocketAddr, &'static str, Trouble)> {
        let sentinels = self.config.sentinels.iter().filter_map(|address| {
            let trouble = round.sentinels.get(address)?.answer.as_ref().err()?;
            Some((*address, "Sentinel", trouble.clone()))
        });
        let servers = self.config.servers.iter().filter_map(|server| {
            let trouble = round.servers.get(&server.address)?.answer.as_ref().err()?;
            Some((server.address, "Redis", trouble.clone()))
        });
        sentinels
            .chain(servers)
            .filter(|(_, _, trouble)| trouble.is_access())
            .collect()
    }

    /// One alarm for each kind of trouble, since it is the same setting for all.
    fn access(&self, round: &Round) -> Vec<Alarm> {
        let mut alarms: Vec<Alarm> = Vec::new();
        let refusing = self.refusing(round);
        for kind in ["Sentinel", "Redis"] {
            let of_kind: Vec<_> = refusing.iter().filter(|(_, of, _)| *of == kind).collect();
            let Some((address, _, trouble)) = of_kind.first() else {
                continue;
            };
            let which: Vec<_> = of_kind
                .iter()
                .map(|(address, _, _)| address.to_string())
                .collect();
            let text = format!("{kind} at {}: {trouble}", which.join(", "));
            alarms.push(alarm(
                Severity::Critical,
                text,
                self.advice(kind, *address, trouble),
            ));
        }
        alarms
    }

    pub(super) fn advice(&self, kind: &str, address: SocketAddr, trouble: &Trouble) -> String {
        let (key, user, rights) = match kind {
            "Sentinel" => ("sentinel_", &self.config.sentinel_user, SENTINEL_RIGHTS),
            _ => ("", &self.config.user, SERVER_RIGHTS),
        };
        let section = &self.config.name;
        let tls = match kind {
            "Sentinel" => self.config.sentinel_tls.is_some(),
            _ => self.config.tls.is_some(),
        };
        let cli = redis_cli(address, tls);
        match trouble {
            Trouble::NoAuth => format!(
                "set `{key}password` in [sentinel.{section}] to `requirepass` of its configuration, and `mb-lb-ctl \
                 reload`"
            ),
            Trouble::NoPermission(_) => {
                let user = user.as_deref().unwrap_or("default");
                format!(
                    "give the user the rights: `{cli} ACL SETUSER {user} {rights}`, then `ACL SAVE`"
                )
            }
            Trouble::Secret(_) => {
                format!(
                    "see `{key}password` in [sentinel.{section}]: the file must be readable, with one line"
                )
            }
            _ => {
                let user = match user {
                    Some(user) => format!(" --user {user}"),
                    None => String::new(),
                };
                format!("try the password of `{key}password` by hand: `{cli}{user} --askpass PING`")
            }
        }
    }

    /// What Sentinels that answer say of themselves.
    fn sentinels(&self, round: &Round, alarms: &mut Vec<Alarm>) {
        let configured = u64::try_from(self.config.sentinels.len()).unwrap_or(u64::MAX);
        let (name, master) = (&self.config.name, &self.config.master);
        let mut quorums = Vec::new();
        let (mut tilted, mut unable, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for address in &self.config.sentinels {
            let seen = round.sentinels.get(address).map(|seen| &seen.answer);
            let Some(Ok(vote)) = seen else {
                continue;
            };
            quorums.push(vote.quorum);
            if vote.tilt == Some(true) {
                tilted.push(address.to_string());
            }
            if let Some(Err(why)) = &vote.can_fail_over {
                unable.push(format!("{address} ({why})"));
            }
            if vote.others.saturating_add(1) != configured {
                others.push(format!("{address} knows {}", vote.others.saturating_add(1)));
            }
        }
        let mut warn =
            |text: String, next: String| alarms.push(alarm(Severity::Warning, text, next));
        if !tilted.is_empty() {
            warn(
                format!("in tilt, and acting on nothing: Sentinel {}", tilted.join(", ")),
                "it ends by itself after 30 seconds; if it comes again, the machine's clock jumps or the machine was \
                 stopped: `chronyc tracking`, `journalctl -u redis-sentinel`"
                    .to_owned(),
            );
        }
        if !unable.is_empty() {
            warn(
                format!("Sentinels that could not fail over: {}", unable.join(", ")),
                format!(
                    "`{}`",
                    self.ask_sentinel(&format!("SENTINEL CKQUORUM {master}"))
                ),
            );
        }
        if !others.is_empty() {
            warn(
                format!(
                    "{configured} Sentinels are configured here, but {}",
                    others.join(", ")
                ),
                format!(
                    "name all of them in `sentinels` of [sentinel.{name}]; if one is gone for good, let the others \
                     forget it, one after the other, 30 seconds apart: `redis-cli -h ADDRESS -p 26379 SENTINEL RESET \
                     {master}`"
                ),
            );
        }
        quorums.sort_unstable();
        quorums.dedup();
        let wrong = quorums.len() > 1
            || quorums
                .iter()
                .any(|quorum| *quorum > configured || *quorum == 0);
        if wrong {
            let each: Vec<_> = quorums.iter().map(ToString::to_string).collect();
            warn(
                format!("the quorum of the Sentinels is {}", each.join(" and ")),
                format!(
                    "set it alike on all of them: `redis-cli -h ADDRESS -p 26379 SENTINEL SET {master} quorum {}`",
                    majority(self.config.sentinels.len())
                ),
            );
        }
    }

    fn replicas(&self, round: &Round, alarms: &mut Vec<Alarm>) {
        let Some(elected) = self.elected() else {
            return;
        };
        let mut servers = self.config.servers.iter();
        let Some(server) = servers.find(|server| server.name == elected) else {
            return;
        };
        let seen = round.servers.get(&server.address).map(|seen| &seen.answer);
        if let Some(Ok(Says::Master { replicas: 0, .. })) = seen
            && self.config.servers.len() > 1
        {
            alarms.push(alarm(
                Severity::Warning,
                format!(
                    "the master {elected} has no replica: if it dies now, its data are gone or old"
),
                "start the others: `systemctl start redis-server` on their machines; then `redis-cli -h ADDRESS ROLE` \
                 says `connected`"
                    .to_owned(),
            ));
        }
    }

    fn ask_sentinel(&self, command: &str) -> String {
        match self.config.sentinels.first() {
            Some(address) => {
                let cli = redis_cli(*address, self.config.sentinel_tls.is_some());
                format!("{cli} {command}")
            }
            None => format!("redis-cli -p 26379 {command}"),
        }
    }
}

fn redis_cli(address: SocketAddr, tls: bool) -> String {
    let tls = if tls { " --tls" } else { "" };
    format!("redis-cli -h {} -p {}{tls}", address.ip(), address.port())
}

fn alarm(severity: Severity, text: String, next: String) -> Alarm {
    Alarm {
        severity,
        text,
        next,
    }
}
