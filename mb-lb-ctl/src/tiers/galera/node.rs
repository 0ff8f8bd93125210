//! One node over time: what it is now, and whether it may have clients.

use std::time::Duration;

use super::{Answer, Status, Trouble};
use crate::config;
use crate::snapshot::HealthState;

/// Rounds in a row in which a node answers and is not fit, until it is not usable.
const UNFIT: u8 = 2;

/// What one round says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Stable word.
    pub(super) word: &'static str,
    /// One line for people.
    pub(super) reason: String,
    pub(super) weight: Weight,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Usable,
    /// Nothing is known of it: what was, stays.
    Nothing,
    /// No answer: after `fall` rounds it is not usable.
    Silent,
    /// Nobody listens, which is no passing weakness: one of these weighs as two.
    Refused,
    /// After [`UNFIT`] rounds.
    Unfit,
    /// At once.
    Definite,
}

/// What is known of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    pub(super) health: HealthState,
    pub(super) finding: Option<Finding>,
    pub(super) took: Option<Duration>,
    pub(super) status: Option<Status>,
    /// Share of the time between the last two rounds that flow control stopped it, in percent.
    pub(super) paused: Option<u8>,
    /// When it was asked, and `wsrep_flow_control_paused_ns`.
    sample: Option<(Duration, u64)>,
    good: u8,
    bad: u8,
}

impl Watched {
    /// Had the clients when this process began: counts as usable until it is known not to be.
    pub(super) fn trusted_before() -> Self {
        Self {
            health: HealthState::Up,
            ..Self::default()
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.health == HealthState::Up
    }

    /// It said of itself in the last round that it may have clients.
    pub(super) fn says_usable(&self) -> bool {
        self.finding
            .as_ref()
            .is_some_and(|finding| finding.weight == Weight::Usable)
    }

    /// Good rounds in a row.
    pub(super) const fn good(&self) -> u8 {
        self.good
    }

    pub(super) fn word(&self) -> &'static str {
        self.finding
            .as_ref()
            .map_or("unknown", |finding| finding.word)
    }

    pub(super) fn reason(&self) -> &str {
        self.finding
            .as_ref()
            .map_or("not asked yet", |finding| &finding.reason)
    }

    /// `first`: of the machine; it decides at once.
    pub(super) fn take(
        &mut self,
        answer: &Answer,
        finding: Finding,
        config: &config::Galera,
        first: bool,
        at: Duration,
    ) {
        let (rise, fall) = match first && self.health == HealthState::Unknown {
            true => (1, 1),
            false => (config.rise, config.fall),
        };
        let unfit = UNFIT.min(fall.max(1));
        match finding.weight {
            Weight::Usable => {
                self.good = self.good.saturating_add(1);
                self.bad = 0;
                if self.good >= rise {
                    self.health = HealthState::Up;
                }
            }
            Weight::Nothing => {
                self.good = 0;
                self.bad = 0;
            }
            Weight::Silent => self.worse(fall),
            Weight::Refused => {
                self.worse(fall);
                self.worse(fall);
            }
            Weight::Unfit => self.worse(unfit),
            Weight::Definite => self.worse(1),
        }
        self.finding = Some(finding);
        self.took = answer.said.is_ok().then_some(answer.took);
        self.status = answer.said.as_ref().ok().cloned();
        self.flow(at);
    }

    fn worse(&mut self, enough: u8) {
        self.good = 0;
        self.bad = self.bad.saturating_add(1);
        if self.bad >= enough {
            self.health = HealthState::Down;
        }
    }

    fn flow(&mut self, at: Duration) {
        let now = self
            .status
            .as_ref()
            .and_then(|status| Some((at, status.paused_ns?)));
        self.paused = match (self.sample, now) {
            (Some((before, then)), Some((at, now))) if at > before && now >= then => {
                let share = u128::from(now - then) * 100 / (at - before).as_nanos();
                Some(u8::try_from(share.min(100)).unwrap_or(100))
            }
            _ => None,
        };
        self.sample = now;
    }
}

/// `excluded`: there is one trusted view, and this node reports another.
pub(super) fn judge(answer: &Answer, excluded: bool, config: &config::Galera) -> Finding {
    let status = match &answer.said {
        Ok(status) => status,
        Err(trouble) => return of_trouble(trouble),
    };
    let (word, reason, weight) = of_status(status, excluded, config);
    Finding {
        word,
        reason,
        weight,
    }
}

fn of_status(
    status: &Status,
    excluded: bool,
    config: &config::Galera,
) -> (&'static str, String, Weight) {
    use Weight::{Definite, Unfit, Usable};
    let donor = status.local_state == 2;
    let whole = status.ready && status.connected;
    let takes_clients_as_donor =
        config.allow_donor && status.sst_method.eq_ignore_ascii_case("mariabackup");
    if !status.on {
        return (
            "wsrep_off",
            "wsrep_on is OFF: what is written there stays there".to_owned(),
            Definite,
        );
    }
    if !status.primary() {
        let what = match status.cluster_status.is_empty() {
            true => "not part of a cluster",
            false => &status.cluster_status,
        };
        return (
            "non_primary",
            format!("{what}: cut off from most of the cluster, takes no statements"),
            Definite,
        );
    }
    if status.undefined() {
        return (
            "undefined",
            "the state UUID is nil: a cluster of nodes that did not know what they had; its data are in doubt".to_owned(),
            Definite,
        );
    }
    if excluded {
        return (
            "contradicted",
            "says it is part of a component that the others are not part of: they have left it out"
                .to_owned(),
            Definite,
        );
    }
    if status.rejects {
        return (
            "rejecting_queries",
            "wsrep_reject_queries is set".to_owned(),
            Definite,
        );
    }
    if status.read_only {
        return ("read_only", "read_only is set".to_owned(), Definite);
    }
    if status.maintenance {
        return ("maintenance", "pxc_maint_mode is set".to_owned(), Definite);
    }
    if donor && takes_clients_as_donor && !status.desync && !status.donor_rejects && whole {
        return (
            "donor",
            "gives its state to a node that joins, and goes on (mariabackup)".to_owned(),
            Usable,
        );
    }
    if status.desync && status.local_state >= 2 {
        return (
            "desynced",
            "desynchronised: may lag behind (wsrep_desync, a backup or FLUSH TABLES WITH READ LOCK)"
                .to_owned(),
            Unfit,
        );
    }
    match status.local_state {
        4 if whole => ("synced", "synced".to_owned(), Usable),
        4 => (
            "not_ready",
            "synced, and wsrep_ready or wsrep_connected is OFF".to_owned(),
            Unfit,
        ),
        2 => (
            "donor",
            "gives its state to a node that joins, or is desynchronised".to_owned(),
            Unfit,
        ),
        3 => ("joined", "has joined and catches up".to_owned(), Unfit),
        1 => (
            "joining",
            "gets its state from another node".to_owned(),
            Unfit,
        ),
        _ => (
            "initialized",
            format!(
                "wsrep_local_state is {} ({})",
                status.local_state, status.comment
            ),
            Unfit,
        ),
    }
}

/// The word is one of those that say that the configured login is not right.
pub(super) fn is_about_password(word: &str) -> bool {
    matches!(word, "wrong_password" | "no_password")
}

fn of_trouble(trouble: &Trouble) -> Finding {
    use Weight::{Definite, Nothing, Refused, Silent, Unfit};
    let (word, weight) = match trouble {
        Trouble::NoConnection(_)
        | Trouble::NoGreeting(_)
        | Trouble::Slow(_)
        | Trouble::Broken(_) => ("not_answering", Silent),
        Trouble::Refused => ("refused", Refused),
        Trouble::Unreachable(_) => ("unreachable", Silent),
        // Its clients are many, and would be as many at the next node.
        Trouble::TooManyConnections(_) => ("too_many_connections", Nothing),
        // That we may not look says nothing of the clients.
        Trouble::WrongPassword { .. } | Trouble::Authentication(_) => ("wrong_password", Nothing),
        Trouble::NoPassword(_) => ("no_password", Nothing),
        Trouble::Tls(_) => ("tls", Nothing),
        // It blocks the clients too: they come from this host.
        Trouble::HostBlocked(_) => ("host_blocked", Unfit),
        Trouble::Server { .. } => ("error", Unfit),
        Trouble::Garbage(_) => ("garbage", Unfit),
        Trouble::Malformed { .. } => ("malformed", Unfit),
        Trouble::NoGalera => ("no_galera", Definite),
    };
    Finding {
        word,
        reason: trouble.to_string(),
        weight,
    }
}

#[cfg(test)]
mod tests;
