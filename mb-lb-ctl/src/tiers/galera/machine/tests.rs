use std::time::Duration;

use super::*;
use crate::config::TierServer;
use crate::snapshot::Severity;
use crate::tiers::State;
use crate::tiers::galera::status::tests::pairs;
use crate::tiers::galera::{Answer, Trouble, parse};

mod any;
mod properties;
mod single;
mod split;

pub(in crate::tiers::galera) fn config() -> config::Galera {
    let server = |number: u8| TierServer {
        name: format!("db{number}"),
        address: format!("10.77.0.2{number}:3306")
            .parse()
            .expect("an address"),
        weight: 1,
        priority: 100,
        max_connections: None,
    };
    config::Galera {
        name: "mail".to_owned(),
        listen: vec!["10.77.0.100:3306".parse().expect("an address")],
        mode: GaleraMode::SingleWriter,
        user: "mb-lb".to_owned(),
        password: None,
        tls: None,
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(800),
        rise: 3,
        fall: 3,
        allow_donor: false,
        expected_size: 3,
        max_receive_queue: 100,
        max_flow_control: 10,
        servers: (1..=3).map(server).collect(),
    }
}

/// What one node says, as a word: `123` and the like is a synced node in a component of these; further words below.
pub(super) fn said(number: usize, word: &str) -> Answer {
    let own = number.to_string();
    let mut parts = word.split(' ');
    let members = parts.next().expect("a word");
    let state = parts.next().unwrap_or("");
    let addresses: Vec<_> = members
        .chars()
        .map(|member| format!("10.77.0.2{member}:3306"))
        .collect();
    let addresses = addresses.join(",");
    let size = members.len().to_string();
    let view = [
        ("wsrep_incoming_addresses", addresses.as_str()),
        ("wsrep_cluster_size", size.as_str()),
    ];
    let with = |more: &[(&str, &str)]| parse(pairs(&[&view, more].concat()));
    let said = match (members, state) {
        ("silent", _) => Err(Trouble::NoGreeting(Duration::from_millis(800))),
        ("refused", _) => Err(Trouble::Refused),
        ("full", _) => Err(Trouble::TooManyConnections("Too many connections".into())),
        ("password", _) => Err(Trouble::WrongPassword {
            code: 1045,
            text: "Access denied for user 'mb-lb'".into(),
        }),
        ("alone", _) => parse(pairs(&[
            ("wsrep_ready", "OFF"),
            ("wsrep_cluster_status", "non-Primary"),
            ("wsrep_cluster_conf_id", "18446744073709551615"),
            ("wsrep_local_state", "0"),
            ("wsrep_incoming_addresses", &format!("10.77.0.2{own}:3306")),
        ])),
        ("nil", _) => parse(pairs(&[(
            "wsrep_cluster_state_uuid",
            "00000000-0000-0000-0000-000000000000",
        )])),
        (_, "") => with(&[]),
        (_, "desync") => with(&[("wsrep_local_state", "2"), ("wsrep_desync", "ON")]),
        (_, "donor") => with(&[("wsrep_local_state", "2")]),
        (_, "readonly") => with(&[("read_only", "ON")]),
        (_, "reject") => with(&[("wsrep_reject_queries", "ALL")]),
        (_, "queue") => with(&[("wsrep_local_recv_queue", "5000")]),
        other => panic!("no such state: {other:?}"),
    };
    Answer {
        took: Duration::from_millis(3),
        said,
    }
}

/// A machine with its clock.
pub(in crate::tiers::galera) struct Bench {
    pub(in crate::tiers::galera) machine: Machine,
    pub(super) wishes: Wishes,
    seconds: u64,
}

impl Bench {
    pub(in crate::tiers::galera) fn new() -> Self {
        Self::with(config(), None)
    }

    pub(in crate::tiers::galera) fn with(config: config::Galera, chosen: Option<&str>) -> Self {
        Self {
            machine: Machine::new(config, chosen.map(str::to_owned)),
            wishes: Wishes {
                leads: true,
                ..Wishes::default()
            },
            seconds: 0,
        }
    }

    pub(in crate::tiers::galera) fn now(&mut self) -> Now {
        self.seconds += 1;
        Now {
            since_start: Duration::from_secs(self.seconds),
            wall_ms: 1_790_000_000_000 + self.seconds * 1000,
        }
    }

    /// One round; the kinds of what was told.
    pub(in crate::tiers::galera) fn round(&mut self, words: [&str; 3]) -> Vec<&'static str> {
        let nodes = (1..).zip(words);
        let nodes = nodes.map(|(number, word)| (format!("db{number}"), said(number, word)));
        let round = Round {
            nodes: nodes.collect(),
        };
        let now = self.now();
        let told = self.machine.on_round(&round, &self.wishes, now);
        told.into_iter().map(|told| told.kind).collect()
    }

    pub(in crate::tiers::galera) fn rounds(
        &mut self,
        count: usize,
        words: [&str; 3],
    ) -> Vec<&'static str> {
        (0..count).flat_map(|_| self.round(words)).collect()
    }

    pub(in crate::tiers::galera) fn reconsider(&mut self) -> Vec<&'static str> {
        let now = self.now();
        let told = self.machine.reconsider(&self.wishes, now);
        told.into_iter().map(|told| told.kind).collect()
    }

    pub(in crate::tiers::galera) fn elected(&self) -> Vec<&str> {
        let nodes = self.machine.verdict().nodes.iter();
        nodes
            .filter(|node| node.elected)
            .map(|node| node.name.as_str())
            .collect()
    }

    pub(in crate::tiers::galera) fn state(&self) -> State {
        self.machine.verdict().state
    }

    pub(in crate::tiers::galera) fn word(&self, name: &str) -> &'static str {
        let mut nodes = self.machine.verdict().nodes.iter();
        let node = nodes.find(|node| node.name == name);
        node.expect("configured").word
    }

    /// Alarms that say this.
    pub(in crate::tiers::galera) fn alarms(&self, text: &str) -> Vec<Severity> {
        let alarms = self.machine.verdict().alarms.iter();
        alarms
            .filter(|alarm| alarm.text.contains(text))
            .inspect(|alarm| assert!(!alarm.next.is_empty()))
            .map(|alarm| alarm.severity)
            .collect()
    }
}

pub(in crate::tiers::galera) const WELL: [&str; 3] = ["123", "123", "123"];
