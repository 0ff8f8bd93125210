//! What is made of rounds. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::node::{Watched, judge};
use super::report::{self, Seen};
use super::view::{View, views};
use super::{Round, node};
use crate::config::{self, GaleraMode};
use crate::engine::Now;
use crate::tiers::{Told, Verdict, Wishes};

/// Rounds for which the present writer stays while no view of the cluster can be trusted.
pub(super) const HOLD: u32 = 3;
/// And at least for so long: survivors learn half a second apart who is left.
const HOLD_TIME: Duration = Duration::from_secs(3);

/// One `[galera.NAME]`.
///
/// Sides of a split brain stay apart: until all servers of both sides are in one view again, or operators withhold those
/// that are not, clients stay where they were or are refused. With [`GaleraMode::Any`] the side that has more of those
/// servers that had clients goes on, with these and no others; at a draw the one with the server of the highest priority
/// (then of the first name). Never are both sides written to.
#[derive(Clone, Debug)]
pub struct Machine {
    config: config::Galera,
    nodes: BTreeMap<String, Watched>,
    /// Of the last round.
    views: Vec<View>,
    /// Rounds so far.
    rounds: u64,
    writer: Option<String>,
    elected: BTreeSet<String>,
    /// Of `elected`, in Unix milliseconds.
    since: u64,
    /// Rounds in a row that had views and none to trust, and when the first of them was.
    changing: u32,
    changing_since: Duration,
    /// There were too many of them.
    hold_is_over: bool,
    split: Option<Split>,
    told: Tellings,
    verdict: Verdict,
}

/// A cluster that was seen in two.
#[derive(Clone, Debug)]
pub(super) struct Split {
    /// Servers of each side, as last seen.
    pub(super) sides: Vec<BTreeSet<String>>,
    /// All that were ever on one.
    pub(super) involved: BTreeSet<String>,
}

/// What is not told a second time.
#[derive(Clone, Debug, Default)]
struct Tellings {
    holds: bool,
    size: Option<u32>,
    passwords: bool,
}

/// What the views of the last round come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Situation<'a> {
    /// No node says that it is in a primary component.
    None,
    /// Some do, and contradict each other.
    Changing,
    One(&'a View),
    Split,
}

impl Machine {
    /// `chosen`: the server that had the clients before this process began.
    pub fn new(config: config::Galera, chosen: Option<String>) -> Self {
        let mut machine = Self {
            nodes: BTreeMap::new(),
            views: Vec::new(),
            rounds: 0,
            writer: None,
            elected: BTreeSet::new(),
            since: 0,
            changing: 0,
            changing_since: Duration::ZERO,
            hold_is_over: false,
            split: None,
            told: Tellings::default(),
            verdict: Verdict::default(),
            config,
        };
        machine.fit_nodes();
        if let Some(chosen) = chosen
            && let Some(node) = machine.nodes.get_mut(&chosen)
        {
            *node = Watched::trusted_before();
            machine.writer = Some(chosen);
        }
        machine.judge_all();
        machine
    }

    /// A split brain that was not over when the process before this one ended: all servers that were on one of its sides.
    pub fn restore_split(&mut self, involved: BTreeSet<String>) {
        self.split = Some(Split {
            sides: Vec::new(),
            involved,
        });
    }

    /// What [`Machine::restore_split`] takes.
    pub fn involved(&self) -> Option<&BTreeSet<String>> {
        self.split.as_ref().map(|split| &split.involved)
    }

    pub const fn config(&self) -> &config::Galera {
        &self.config
    }

    /// What is known of nodes that stay is kept.
    pub fn reconfigure(&mut self, config: config::Galera, now: Now) {
        self.rename(&config);
        let moved: BTreeSet<_> =
            self.config
                .servers
                .iter()
                .filter(|before| {
                    !config.servers.iter().any(|server| {
                        server.name == before.name && server.address == before.address
                    })
                })
                .map(|server| server.name.clone())
                .collect();
        self.config = config;
        self.nodes.retain(|name, _| !moved.contains(name));
        self.fit_nodes();
        let here = |name: &String| self.nodes.contains_key(name) && !moved.contains(name);
        if self.elected.iter().any(|name| !here(name)) {
            self.since = now.wall_ms;
        }
        self.elected.retain(here);
        self.writer = self.writer.take().filter(here);
        // Members were named by the servers that were configured then.
        if !moved.is_empty() {
            self.views.clear();
        }
        self.judge_all();
    }

    /// A server with another name at the same address is the same one.
    fn rename(&mut self, config: &config::Galera) {
        let mut names = BTreeMap::new();
        for before in &mut self.config.servers {
            let mut servers = config.servers.iter();
            let same = servers.find(|server| server.address == before.address);
            if let Some(same) = same.filter(|same| same.name != before.name) {
                names.insert(before.name.clone(), same.name.clone());
                before.name.clone_from(&same.name);
            }
        }
        if names.is_empty() {
            return;
        }
        let new = |name: String| names.get(&name).cloned().unwrap_or(name);
        self.nodes = std::mem::take(&mut self.nodes)
            .into_iter()
            .map(|(name, node)| (new(name), node))
            .collect();
        self.writer = self.writer.take().map(new);
        self.elected = std::mem::take(&mut self.elected)
            .into_iter()
            .map(new)
            .collect();
        if let Some(split) = &mut self.split {
            split.sides.clear();
            split.involved = std::mem::take(&mut split.involved)
                .into_iter()
                .map(new)
                .collect();
        }
        // Its members have the names that were.
        self.views.clear();
    }

    /// Takes in what was seen.
    pub fn on_round(&mut self, round: &Round, wishes: &Wishes, now: Now) -> Vec<Told> {
        let first = self.rounds == 0;
        self.rounds = self.rounds.saturating_add(1);
        self.views = views(round, &self.config.servers);
        let one = match situation(&self.views) {
            Situation::One(view) => Some(view),
            _ => None,
        };
        for (name, node) in &mut self.nodes {
            let Some(answer) = round.nodes.get(name) else {
                continue;
            };
            let excluded = one.is_some_and(|view| !view.reporters.contains(name));
            let finding = judge(answer, excluded, &self.config);
            node.take(answer, finding, &self.config, first, now.since_start);
        }
        self.changing = match situation(&self.views) {
            Situation::Changing => self.changing.saturating_add(1),
            _ => 0,
        };
        if self.changing <= 1 {
            self.changing_since = now.since_start;
        }
        let long = now.since_start.saturating_sub(self.changing_since) >= HOLD_TIME;
        self.hold_is_over = self.changing > HOLD && long;
        let mut told = self.decide(wishes, now, first);
        told.extend(self.tell_size());
        told.extend(self.tell_passwords());
        told
    }

    /// Judges anew what is known, because operators or the other director want something else.
    pub fn reconsider(&mut self, wishes: &Wishes, now: Now) -> Vec<Told> {
        self.decide(wishes, now, false)
    }

    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The server that has the clients, or had them last. `None` with [`GaleraMode::Any`].
    pub fn chosen(&self) -> Option<&str> {
        self.writer.as_deref()
    }

    fn fit_nodes(&mut self) {
        let mut before = std::mem::take(&mut self.nodes);
        for server in &self.config.servers {
            let node = before.remove(&server.name).unwrap_or_default();
            self.nodes.insert(server.name.clone(), node);
        }
    }

    fn decide(&mut self, wishes: &Wishes, now: Now, first: bool) -> Vec<Told> {
        let mut told = Vec::new();
        told.extend(self.follow_split(wishes));
        let before = self.elected.clone();
        let writer = self.writer.clone();
        let (next, elected) = match self.config.mode {
            GaleraMode::Any => (None, self.elect_any()),
            GaleraMode::SingleWriter => self.elect_one(wishes, first),
        };
        told.extend(self.tell_hold(&elected));
        if elected != before {
            self.since = now.wall_ms;
        }
        told.extend(self.tell_change(
            writer.as_deref(),
            next.as_deref(),
            &before,
            &elected,
            wishes,
        ));
        self.writer = next;
        self.elected = elected;
        self.judge_all();
        told
    }

    /// The writer, and whether it is elected.
    fn elect_one(&self, wishes: &Wishes, first: bool) -> (Option<String>, BTreeSet<String>) {
        let known = |name: &&String| self.nodes.contains_key(*name);
        if !wishes.leads
            && let Some(told) = wishes.told.as_ref().filter(known)
        {
            // Nobody comes here by this director's VIP; whoever comes otherwise is not brought to one that is not fit.
            let fit = self.nodes.get(told).is_some_and(Watched::is_up)
                && match situation(&self.views) {
                    Situation::One(view) => !view.lacks(told),
                    Situation::Changing => !self.hold_is_over,
                    Situation::None | Situation::Split => true,
                };
            let elected = fit.then(|| told.clone());
            return (Some(told.clone()), elected.into_iter().collect());
        }
        let withheld = |name: &str| self.is_withheld(name, wishes);
        let present = self.writer.as_deref();
        let up = |name: &&str| self.nodes.get(*name).is_some_and(Watched::is_up);
        let elected = first || !self.elected.is_empty();
        let stays = match situation(&self.views) {
            // Thresholds of the node alone: if nobody can be asked, nothing is better elsewhere.
            Situation::None => present.filter(up).filter(|_| elected),
            Situation::Changing => present.filter(up).filter(|_| elected && !self.hold_is_over),
            Situation::Split => present.filter(up),
            Situation::One(view) => {
                let stays = present.filter(up).filter(|name| !view.lacks(name));
                match self.split {
                    Some(_) => stays,
                    None => stays
                        .filter(|name| !withheld(name))
                        .or_else(|| self.best(view, withheld)),
                }
            }
        };
        match stays {
            Some(name) => (Some(name.to_owned()), BTreeSet::from([name.to_owned()])),
            None => (self.writer.clone(), BTreeSet::new()),
        }
    }

    /// Of those that may have clients the one with the highest priority, then with the first name.
    fn best(&self, view: &View, withheld: impl Fn(&str) -> bool) -> Option<&str> {
        let candidates = self.config.servers.iter().filter(|server| {
            let node = self.nodes.get(&server.name);
            node.is_some_and(|node| node.is_up() && node.says_usable())
                && view.reporters.contains(&server.name)
                && !withheld(&server.name)
        });
        candidates
            .min_by_key(|server| rank(server))
            .map(|server| server.name.as_str())
    }

    fn elect_any(&self) -> BTreeSet<String> {
        let up = |name: &String| self.nodes.get(name).is_some_and(Watched::is_up);
        let present = || self.elected.iter().filter(|name| up(name)).cloned();
        match situation(&self.views) {
            Situation::None => present().collect(),
            Situation::Changing if !self.hold_is_over => present().collect(),
            Situation::Changing => BTreeSet::new(),
            Situation::Split => {
                let trusted = self.views.iter().filter(|view| view.trusted);
                let share = |view: &View| present().filter(|name| view.has(name)).count();
                let first = |view: &View| {
                    let servers = self.config.servers.iter();
                    servers
                        .filter(|server| view.has(&server.name))
                        .map(rank)
                        .min()
                };
                let side = trusted.min_by_key(|view| (std::cmp::Reverse(share(view)), first(view)));
                side.map(|side| present().filter(|name| side.has(name)).collect())
                    .unwrap_or_default()
            }
            Situation::One(view) if self.split.is_some() => {
                present().filter(|name| !view.lacks(name)).collect()
            }
            Situation::One(view) => {
                let all = self.nodes.iter().filter(|(name, node)| {
                    let fit = node.says_usable() && view.reporters.contains(*name);
                    let stays = self.elected.contains(*name) && !view.lacks(name);
                    node.is_up() && (fit || stays)
                });
                all.map(|(name, _)| name.clone()).collect()
            }
        }
    }

    fn is_withheld(&self, name: &str, wishes: &Wishes) -> bool {
        let servers = &mut self.config.servers.iter();
        wishes.withheld.contains(name)
            || servers.any(|server| server.name == name && server.weight == 0)
    }

    /// Notices a split brain, and that it is over.
    fn follow_split(&mut self, wishes: &Wishes) -> Option<Told> {
        match situation(&self.views) {
            Situation::Split => {
                let trusted = self.views.iter().filter(|view| view.trusted);
                let sides: Vec<BTreeSet<_>> = trusted
                    .map(|view| view.servers().into_iter().map(str::to_owned).collect())
                    .collect();
                let new = self.split.is_none();
                let mut involved = self
                    .split
                    .take()
                    .map(|split| split.involved)
                    .unwrap_or_default();
                involved.extend(sides.iter().flatten().cloned());
                let text = format!("the cluster is in two: {}", report::sides(&sides));
                self.split = Some(Split { sides, involved });
                new.then_some(Told {
                    kind: "split-brain",
                    text,
                })
            }
            Situation::One(view) => {
                let split = self.split.as_ref()?;
                let back = |name: &String| {
                    !self.nodes.contains_key(name)
                        || view.has(name)
                        || self.is_withheld(name, wishes)
                };
                if !split.involved.iter().all(back) {
                    return None;
                }
                self.split = None;
                Some(Told {
                    kind: "split-brain-over",
                    text: "one component is left; clients may be moved again".to_owned(),
                })
            }
            Situation::None | Situation::Changing => None,
        }
    }

    fn tell_hold(&mut self, elected: &BTreeSet<String>) -> Option<Told> {
        let holds = match situation(&self.views) {
            Situation::Changing => !elected.is_empty(),
            _ => false,
        };
        let new = holds && !self.told.holds;
        self.told.holds = holds;
        new.then(|| Told {
            kind: "hold",
            text: format!(
                "the nodes do not agree who is in the cluster; clients stay at {} for at most {HOLD} rounds",
                report::list(elected.iter().map(String::as_str))
            ),
        })
    }

    fn tell_change(
        &self,
        last: Option<&str>,
        next: Option<&str>,
        before: &BTreeSet<String>,
        elected: &BTreeSet<String>,
        wishes: &Wishes,
    ) -> Option<Told> {
        let told = |kind, text| Some(Told { kind, text });
        let single = self.config.mode == GaleraMode::SingleWriter;
        match (last, next) {
            (Some(last), Some(next)) if last != next => {
                let why = self.why_not(last, wishes);
                told("switch", format!("{last} -> {next}: {why}"))
            }
            _ if before.is_empty() == elected.is_empty() => None,
            (Some(last), _) if elected.is_empty() => {
                let why = self.why_not(last, wishes);
                told(
                    "no-writer",
                    format!("nobody has the clients: {last}: {why}"),
                )
            }
            (_, Some(next)) => told("writer", format!("{next} has the clients")),
            _ if elected.is_empty() => told(
                "no-writer",
                "nobody has the clients: no node is usable".to_owned(),
            ),
            _ if single => None,
            _ => {
                let names = report::list(elected.iter().map(String::as_str));
                told("writer", format!("the clients go to {names}"))
            }
        }
    }

    /// Why a server has no clients any more.
    fn why_not(&self, name: &str, wishes: &Wishes) -> String {
        let Some(node) = self.nodes.get(name) else {
            return "it is not configured any more".to_owned();
        };
        if !wishes.leads && wishes.told.as_deref().is_some_and(|told| told != name) {
            return "the other director, which leads, has chosen so".to_owned();
        }
        if !node.is_up() {
            return node.reason().to_owned();
        }
        match situation(&self.views) {
            Situation::One(view) if view.lacks(name) => {
                "the other nodes have left it out of the cluster".to_owned()
            }
            Situation::One(_) if self.is_withheld(name, wishes) => {
                "it is withheld (drain, maint or weight 0)".to_owned()
            }
            Situation::Changing => {
                format!("the nodes do not agree who is in the cluster for more than {HOLD} rounds")
            }
            Situation::None => "no node is part of a primary component".to_owned(),
            Situation::One(_) | Situation::Split => node.reason().to_owned(),
        }
    }

    fn tell_size(&mut self) -> Option<Told> {
        let Situation::One(view) = situation(&self.views) else {
            return None;
        };
        let (size, expected) = (view.size, self.config.expected_size);
        let before = self.told.size.replace(size).unwrap_or(expected);
        (before != size).then(|| Told {
            kind: "size",
            text: format!("the cluster has {size} of {expected} nodes"),
        })
    }

    fn tell_passwords(&mut self) -> Option<Told> {
        let wrong = |node: &&Watched| node::is_about_password(node.word());
        let node = self.nodes.values().find(wrong);
        let new = node.filter(|_| !self.told.passwords).map(|node| Told {
            kind: "password",
            text: node.reason().to_owned(),
        });
        self.told.passwords = node.is_some();
        new
    }

    fn judge_all(&mut self) {
        self.verdict = report::verdict(&Seen {
            config: &self.config,
            nodes: &self.nodes,
            situation: situation(&self.views),
            asked: self.rounds > 0,
            writer: self.writer.as_deref(),
            elected: &self.elected,
            since: self.since,
            changing: self.changing,
            split: self.split.as_ref(),
        });
    }
}

pub(super) fn situation(views: &[View]) -> Situation<'_> {
    let mut trusted = views.iter().filter(|view| view.trusted);
    match (trusted.next(), trusted.next()) {
        (Some(_), Some(_)) => Situation::Split,
        (Some(view), None) => Situation::One(view),
        (None, _) if views.is_empty() => Situation::None,
        (None, _) => Situation::Changing,
    }
}

/// Lower is better.
fn rank(server: &config::TierServer) -> (std::cmp::Reverse<u8>, &str) {
    (std::cmp::Reverse(server.priority), &server.name)
}

#[cfg(test)]
pub(in crate::tiers::galera) mod tests;
