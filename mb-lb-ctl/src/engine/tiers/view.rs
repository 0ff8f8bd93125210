//! What is shown of tiers: alarms, checks and views.

use std::time::Duration;

use super::super::Now;
use super::super::core::{Engine, ServiceState};
use super::super::server::ServerState;
use super::{Machine, Tier};
use crate::snapshot::{
    AdminState, Alarm, CheckView, HealthState, Severity, TierNodeView, TierView,
};
use crate::tiers::{Node, State};

impl Engine {
    pub(in crate::engine) fn tier_alarms(&self, now: Now, alarms: &mut Vec<Alarm>) {
        for tier in &self.tiers.tiers {
            let (kind, name) = (tier.machine.kind(), tier.machine.name());
            let silent = now.since_start.saturating_sub(tier.asked);
            if silent > tier.machine.round_time() * 3 + Duration::from_secs(5) {
                let seconds = silent.as_secs();
                alarms.push(Alarm {
                    severity: Severity::Critical,
                    text: format!(
                        "{kind} {name}: nobody has looked at it for {seconds} s: what is shown of it is old"
                    ),
                    next: "journalctl -u mb-lb -n 50".to_owned(),
                });
            }
            alarms.extend(tier.machine.verdict().alarms.iter().map(|alarm| Alarm {
                severity: alarm.severity,
                text: format!("{kind} {name}: {}", alarm.text),
                next: alarm.next.clone(),
            }));
            self.node_alarms(tier, alarms);
        }
    }

    /// Of nodes that are not well, where the machine has not named them: the next failure would find them missing.
    fn node_alarms(&self, tier: &Tier, alarms: &mut Vec<Alarm>) {
        let (kind, name) = (tier.machine.kind(), tier.machine.name());
        let service = match kind {
            "galera" => "mariadb",
            "sentinel" => "redis-server",
            // Its machine speaks of each part.
            _ => return,
        };
        let in_maint = |node: &Node| {
            let services = self
                .services
                .iter()
                .filter(|service| service.config.name == name);
            let mut servers = services.flat_map(|service| &service.servers);
            servers
                .any(|server| server.config.name == node.name && server.admin == AdminState::Maint)
        };
        let verdict = tier.machine.verdict();
        for node in &verdict.nodes {
            let host = node.address.rsplit_once(':').map_or("", |(host, _)| host);
            let is_named = verdict.alarms.iter().any(|alarm| {
                let said = |word: &str| names(&alarm.text, word) || names(&alarm.next, word);
                said(&node.name) || said(&node.address) || said(host)
            });
            if node.role != "server"
                || node.health != HealthState::Down
                || is_named
                || in_maint(node)
            {
                continue;
            }
            alarms.push(Alarm {
                severity: Severity::Warning,
                text: format!(
                    "{kind} {name}: {} is {}: {}",
                    node.name, node.word, node.reason
                ),
                next: match node.word {
                    "refused" | "not_answering" | "unreachable" | "closed" => {
                        format!("on {host}: systemctl status {service}")
                    }
                    _ => format!("mb-lb-ctl describe {name}"),
                },
            });
        }
    }

    /// What a tier asks of its server, as checks are shown.
    pub(in crate::engine) fn judged_check(
        &self,
        service: &ServiceState,
        server: &ServerState,
    ) -> Option<CheckView> {
        let judged = server.judged.as_ref()?;
        let (kind, interval) = match &self.tiers.find(&service.config.name)?.machine {
            Machine::Galera(machine) => ("mysql", machine.config().interval),
            Machine::Sentinel(machine) => ("redis", machine.config().interval),
            Machine::Storage(_) => return None,
        };
        Some(judged.check(kind, server.config.port.unwrap_or_default(), interval))
    }

    pub(in crate::engine) fn tier_views(&self, now: Now) -> Vec<TierView> {
        let tiers = self.tiers.tiers.iter();
        tiers.map(|tier| view(tier, now)).collect()
    }
}

fn is_lost(node: &Node) -> bool {
    node.role == "server" && node.health == HealthState::Down
}

fn view(tier: &Tier, now: Now) -> TierView {
    let verdict = tier.machine.verdict();
    let (mode, takes_out) = match &tier.machine {
        Machine::Galera(machine) => (machine.config().mode.name(), Vec::new()),
        Machine::Sentinel(_) => ("master", Vec::new()),
        Machine::Storage(machine) => {
            let config = machine.config();
            let out = config.takes_out.iter().map(ToString::to_string).collect();
            (config.kind.name(), out)
        }
    };
    let node = |node: &Node| TierNodeView {
        name: node.name.clone(),
        role: node.role.to_owned(),
        address: node.address.clone(),
        health: node.health,
        word: node.word.to_owned(),
        reason: node.reason.clone(),
        elected: node.elected,
        took_us: node
            .took
            .map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        fields: node.fields.clone(),
    };
    TierView {
        name: tier.machine.name().to_owned(),
        kind: tier.machine.kind().to_owned(),
        mode: mode.to_owned(),
        state: match verdict.state {
            // It does its work, and would not after the next failure.
            State::Ok if verdict.nodes.iter().any(is_lost) => State::Degraded,
            state => state,
        }
        .name()
        .to_owned(),
        since: now.since_start.saturating_sub(tier.since).as_secs(),
        summary: match verdict.summary.as_str() {
            "" => "first round under way".to_owned(),
            summary => summary.to_owned(),
        },
        chosen: tier.machine.chosen().map(str::to_owned),
        takes_out,
        rounds: tier.rounds,
        facts: verdict.facts.clone(),
        nodes: verdict.nodes.iter().map(node).collect(),
    }
}

/// Whether the text has this name or address, and not only as a part of a longer one.
fn names(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let goes_on = |rest: &str| {
        let mut rest = rest.chars();
        match rest.next() {
            Some('.') => rest.next().is_some_and(is_part),
            next => next.is_some_and(is_part),
        }
    };
    !name.is_empty()
        && text.match_indices(name).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            !before.is_some_and(|c| is_part(c) || c == '.') && !goes_on(&text[at + name.len()..])
        })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_name_is_not_a_part_of_another() {
        for (text, name) in [
            ("mb1 is frozen", "mb1"),
            ("on mb1: systemctl start mariadb", "mb1"),
            ("nobody answers but mb1.", "mb1"),
            ("mb10 and mb1", "mb1"),
            ("192.0.2.1:3306 is refused", "192.0.2.1"),
            ("of 192.0.2.1, 192.0.2.2", "192.0.2.1"),
            ("[2001:db8::1]:3306", "[2001:db8::1]"),
        ] {
            assert!(names(text, name), "{name} in {text}");
        }
        for (text, name) in [
            ("mb10 is frozen", "mb1"),
            ("old-mb1 is frozen", "mb1"),
            ("mb1-old is frozen", "mb1"),
            ("mb1.example.org", "mb1"),
            ("192.0.2.10:3306 is refused", "192.0.2.1"),
            ("2.192.0.2.1", "192.0.2.1"),
            ("anything", ""),
        ] {
            assert!(!names(text, name), "{name} in {text}");
        }
    }
}
