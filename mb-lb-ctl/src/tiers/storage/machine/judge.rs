//! What one round says.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::seen::{Backlog, Kind, Part, Role, Round, Seen, Space, Trouble};
use super::{Memory, advice};
use crate::command::info::civil_date;
use crate::config;
use crate::snapshot::{Alarm, HealthState, Severity};
use crate::tiers::Node;

/// Growing over so many answers is an alarm.
const GROWING: usize = 3;

/// Why a storage does not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) text: String,
    pub(super) next: String,
    /// Nothing is gained by looking again.
    pub(super) at_once: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Judged {
    pub(super) nodes: Vec<Node>,
    pub(super) fault: Option<Fault>,
    /// Something of it was seen.
    pub(super) tested: bool,
    /// What works, in words.
    pub(super) phrase: String,
    pub(super) alarms: Vec<Alarm>,
    pub(super) facts: BTreeMap<String, String>,
    pub(super) split_brain: bool,
}

impl Memory {
    pub(super) fn take_in(&mut self, round: &Round) {
        let hung = round.parts.iter().find_map(|part| match &part.seen {
            Err(Trouble {
                kind: Kind::Hung { since_ms },
                ..
            }) => Some(*since_ms),
            _ => None,
        });
        let untested = |part: &super::super::seen::Part| matches!(&part.seen, Err(trouble) if trouble.kind == Kind::Untested);
        self.hung_since = match hung {
            Some(since) => Some(self.hung_since.map_or(since, |known| known.min(since))),
            // That it could not be looked at does not say that it is over.
            None if round.parts.iter().any(untested) => self.hung_since,
            None => None,
        };
        for part in &round.parts {
            if let Ok(Seen::Heals { backlog, number }) = &part.seen
                && self.number != Some(*number)
            {
                self.number = Some(*number);
                self.pending.push(backlog.pending);
                if self.pending.len() > GROWING + 1 {
                    self.pending.remove(0);
                }
            }
        }
    }

    fn is_growing(&self) -> bool {
        self.pending.len() > GROWING && self.pending.windows(2).all(|two| two[0] < two[1])
    }
}

pub(super) fn judge(config: &config::Storage, round: &Round, memory: &Memory) -> Judged {
    let mut judged = Judged::default();
    let seen = |role| round.parts.iter().filter(move |part| part.role == role);
    for part in &round.parts {
        let node = node(config, part, memory);
        judged.tested |= node.health == HealthState::Up && part.role != Role::Heal;
        judged.nodes.push(node);
    }
    space_and_latency(config, round, &mut judged);
    bricks(config, round, &mut judged);
    heal(round, memory, &mut judged);

    // Whoever has written and read back knows more than whoever asked the servers.
    let proven = seen(Role::Mount).any(|part| {
        let works = matches!(part.seen, Ok(Seen::Works { wrote: true, .. }));
        works
    });
    let mut found: Option<Fault> = judged.fault.take();
    for role in [
        Role::Mount,
        Role::Nfs,
        Role::Mountd,
        Role::Export,
        Role::Glusterd,
    ] {
        for part in seen(role) {
            let Err(trouble) = &part.seen else {
                continue;
            };
            let fault = fault(config, part, trouble, memory);
            let decides = match role {
                _ if trouble.kind == Kind::Untested => false,
                Role::Mount => true,
                // One of them is enough to find the bricks.
                Role::Glusterd => !proven && no_bricks_known(round),
                _ => !proven,
            };
            match decides {
                true => found = found.or(Some(fault)),
                false => judged.alarms.push(Alarm {
                    severity: Severity::Warning,
                    text: fault.text,
                    next: fault.next,
                }),
            }
        }
    }
    if !round.sets.is_empty() {
        let there =
            |name: &str| seen(Role::Brick).any(|part| part.name == name && part.seen.is_ok());
        let lost = round.sets.iter().find(|set| !set.writable(there));
        if let (Some(lost), false) = (lost, proven) {
            let count = lost.bricks.iter().filter(|name| there(name)).count();
            let fault = Fault {
                text: format!(
                    "{count} of {} bricks answer, {} are needed to write",
                    lost.bricks.len(),
                    lost.needed
                ),
                next: advice::for_kind(config, Role::Brick, Kind::NoQuorum),
                at_once: false,
            };
            found = found.or(Some(fault));
        }
    }
    judged.fault = found;
    judged.phrase = phrase(round);
    judged
}

/// No brick was asked, as nobody could say where they are.
fn no_bricks_known(round: &Round) -> bool {
    let none_is_fine = round
        .parts
        .iter()
        .filter(|part| part.role == Role::Glusterd)
        .all(|part| part.seen.is_err());
    round.sets.is_empty() && none_is_fine
}

fn fault(config: &config::Storage, part: &Part, trouble: &Trouble, memory: &Memory) -> Fault {
    let mut text = trouble.text.clone();
    if let (Kind::Hung { .. }, Some(since)) = (trouble.kind, memory.hung_since) {
        text += &format!(", since {}", utc(since));
    }
    Fault {
        text,
        next: advice::for_trouble(config, part, trouble),
        at_once: trouble.kind.is_definite(),
    }
}

fn node(config: &config::Storage, part: &Part, memory: &Memory) -> Node {
    let (health, word, reason) = match &part.seen {
        Ok(Seen::Answers(text)) => (HealthState::Up, "ok", text.clone()),
        Ok(Seen::NotNeeded(text)) => (HealthState::Unknown, "not_needed", text.clone()),
        Ok(Seen::Unknown(text)) => (HealthState::Unknown, "unknown", text.clone()),
        Ok(Seen::Works { space, note, .. }) => {
            let (health, word) = match lowest(space) {
                Some((free, _)) if free < config.min_free => (HealthState::Down, "full"),
                Some((free, _)) if soon(config, free) => (HealthState::Up, "no_space_soon"),
                _ if part.took > config.max_latency => (HealthState::Up, "slow"),
                _ => (HealthState::Up, "ok"),
            };
            let note = match note.is_empty() {
                true => String::new(),
                false => format!("; {note}"),
            };
            (health, word, works(part).unwrap_or_default() + &note)
        }
        Ok(Seen::Heals { backlog, .. }) => heal_node(backlog, memory),
        Err(trouble) => {
            let health = match trouble.kind {
                Kind::Untested => HealthState::Unknown,
                _ => HealthState::Down,
            };
            (
                health,
                trouble.kind.word(),
                fault(config, part, trouble, memory).text,
            )
        }
    };
    let mut fields = BTreeMap::new();
    if let Ok(Seen::Works { space, wrote, .. }) = &part.seen {
        let (blocks, files) = space.free();
        let mut field = |name: &str, value: Option<u8>| {
            fields.extend(value.map(|value| (name.to_owned(), value.to_string())));
        };
        field("free_percent", blocks);
        field("free_inodes_percent", files);
        fields.insert("wrote".to_owned(), wrote.to_string());
    }
    if let Ok(Seen::Heals { backlog, .. }) = &part.seen {
        fields.insert("pending".to_owned(), backlog.pending.to_string());
        fields.insert("split_brain".to_owned(), backlog.split_brain.to_string());
    }
    Node {
        name: part.name.clone(),
        role: part.role.name(),
        address: part.address.clone(),
        health,
        word,
        reason,
        elected: false,
        took: part.seen.is_ok().then_some(part.took),
        fields,
    }
}

fn heal_node(backlog: &Backlog, memory: &Memory) -> (HealthState, &'static str, String) {
    let unknown = match backlog.unknown {
        0 => String::new(),
        bricks => format!("; bricks not counted: {bricks}"),
    };
    match (backlog.split_brain, backlog.pending) {
        (0, 0) => (HealthState::Up, "ok", format!("nothing to heal{unknown}")),
        (0, pending) => {
            let word = if memory.is_growing() {
                "growing"
            } else {
                "healing"
            };
            (
                HealthState::Up,
                word,
                format!("entries to heal: {pending}{unknown}"),
            )
        }
        (split, _) => (
            HealthState::Down,
            "split_brain",
            format!("entries in split brain: {split}{unknown}"),
        ),
    }
}

/// Of blocks and inodes the scarcer one, in percent.
fn lowest(space: &Space) -> Option<(u8, &'static str)> {
    let (blocks, files) = space.free();
    let named = |free: Option<u8>, what| free.map(|free| (free, what));
    [named(blocks, "space"), named(files, "inodes")]
        .into_iter()
        .flatten()
        .min_by_key(|(free, _)| *free)
}

fn soon(config: &config::Storage, free: u8) -> bool {
    u16::from(free) < u16::from(config.min_free) * 3
}

fn space_and_latency(config: &config::Storage, round: &Round, judged: &mut Judged) {
    for part in &round.parts {
        let Ok(seen) = &part.seen else {
            continue;
        };
        if let Seen::Works { space, .. } = seen
            && let Some((free, what)) = lowest(space)
        {
            let name = &part.name;
            let next = advice::for_kind(config, part.role, Kind::Full);
            judged.facts.insert("free".to_owned(), format!("{free} %"));
            if free < config.min_free {
                judged.fault.get_or_insert(Fault {
                    text: format!(
                        "{name}: {free} % of its {what} free, less than {} %",
                        config.min_free
                    ),
                    next,
                    at_once: false,
                });
            } else if soon(config, free) {
                judged.alarms.push(Alarm {
                    severity: Severity::Warning,
                    text: format!(
                        "{free} % of the {what} of {name} free; below {} % it counts as failed",
                        config.min_free
                    ),
                    next,
                });
            }
        }
        if part.role != Role::Heal && part.took > config.max_latency {
            judged.alarms.push(Alarm {
                severity: Severity::Warning,
                text: format!(
                    "{} took {}, more than {:?}",
                    part.name,
                    time(part.took),
                    config.max_latency
                ),
                next: advice::slow(part),
            });
        }
    }
}

fn bricks(config: &config::Storage, round: &Round, judged: &mut Judged) {
    let all: Vec<_> = round
        .parts
        .iter()
        .filter(|part| part.role == Role::Brick)
        .collect();
    let gone: Vec<_> = all.iter().filter(|part| part.seen.is_err()).collect();
    let count = all.len() - gone.len();
    if all.is_empty() {
        return;
    }
    judged
        .facts
        .insert("bricks".to_owned(), format!("{count} of {}", all.len()));
    let Some(first) = gone.first() else {
        return;
    };
    let there = |name: &str| {
        all.iter()
            .any(|part| part.name == name && part.seen.is_ok())
    };
    // One more that goes, of those that are there.
    let at_risk = round
        .sets
        .iter()
        .filter(|set| set.writable(there))
        .any(|set| {
            set.bricks
                .iter()
                .any(|next| there(next) && !set.writable(|name| name != next && there(name)))
        });
    let risk = match at_risk {
        true => "; quorum at risk: if one more goes, nothing can be written",
        false => "",
    };
    let reason = match &first.seen {
        Err(trouble) => &trouble.text,
        Ok(_) => return,
    };
    judged.alarms.push(Alarm {
        severity: Severity::Warning,
        text: format!("{count} of {} bricks answer{risk} ({reason})", all.len()),
        next: advice::brick(config, &first.name),
    });
}

fn heal(round: &Round, memory: &Memory, judged: &mut Judged) {
    for part in &round.parts {
        let Ok(Seen::Heals { backlog, .. }) = &part.seen else {
            continue;
        };
        let volume = &part.name;
        if backlog.split_brain > 0 {
            judged.split_brain = true;
            judged.alarms.push(Alarm {
                severity: Severity::Critical,
                text: format!(
                    "{} entries of {volume} in split brain: their copies differ, and nobody can read them",
                    backlog.split_brain
                ),
                next: format!("on a server: gluster volume heal {volume} info split-brain"),
            });
        }
        if memory.is_growing() {
            judged.alarms.push(Alarm {
                severity: Severity::Warning,
                text: format!(
                    "{} entries of {volume} wait for healing, more each time",
                    backlog.pending
                ),
                next: format!("on a server: gluster volume heal {volume} info summary"),
            });
        }
    }
}

fn phrase(round: &Round) -> String {
    let of = |role| round.parts.iter().filter(move |part| part.role == role);
    let mut phrases: Vec<String> = of(Role::Mount)
        .chain(of(Role::Export))
        .filter_map(works)
        .take(1)
        .collect();
    let bricks = of(Role::Brick).count();
    if bricks > 0 {
        let there = of(Role::Brick).filter(|part| part.seen.is_ok()).count();
        phrases.push(format!("{there} of {bricks} bricks answer"));
    }
    if phrases.is_empty() {
        let answers = of(Role::Nfs).find_map(|part| match &part.seen {
            Ok(Seen::Answers(text)) => Some(format!("nfs {text}")),
            _ => None,
        });
        phrases.extend(answers);
    }
    if phrases.is_empty() {
        let why = round.parts.iter().find_map(|part| match &part.seen {
            Err(trouble) => Some(trouble.text.clone()),
            _ => None,
        });
        phrases.push(why.unwrap_or_else(|| "nothing was seen of it".to_owned()));
    }
    phrases.join(", ")
}

fn works(part: &Part) -> Option<String> {
    let Ok(Seen::Works { space, wrote, .. }) = &part.seen else {
        return None;
    };
    let did = match wrote {
        true => "write and read back in",
        false => "answers in",
    };
    let free = match lowest(space) {
        Some((free, "inodes")) => format!(", {free} % of the inodes free"),
        Some((free, _)) => format!(", {free} % free"),
        None => String::new(),
    };
    Some(format!("{did} {}{free}", time(part.took)))
}

fn time(took: Duration) -> String {
    match took.as_micros() {
        micros @ ..1000 => format!("0.{} ms", micros / 100),
        micros => format!("{} ms", micros / 1000),
    }
}

fn utc(ms: u64) -> String {
    let seconds = ms / 1000;
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}
