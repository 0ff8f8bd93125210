//! Whatever nodes say.

use proptest::prelude::*;

use super::*;
use crate::snapshot::HealthState;

const WORDS: [&str; 18] = [
    "123",
    "123",
    "123",
    "12",
    "23",
    "13",
    "1",
    "2",
    "3",
    "silent",
    "refused",
    "full",
    "alone",
    "nil",
    "password",
    "123 desync",
    "123 readonly",
    "23 donor",
];

/// With these a node may not have clients of a director that leads.
const NEVER: [&str; 6] = [
    "non_primary",
    "undefined",
    "contradicted",
    "read_only",
    "rejecting_queries",
    "wsrep_off",
];

#[derive(Clone, Debug)]
enum Step {
    Round([&'static str; 3]),
    Withhold(u8),
    Release,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let word = || prop::sample::select(&WORDS[..]);
    let round = [word(), word(), word()].prop_map(Step::Round);
    let step = prop_oneof![
        8 => round,
        4 => Just(Step::Round(WELL)),
        1 => (1..=3_u8).prop_map(Step::Withhold),
        1 => Just(Step::Release),
    ];
    prop::collection::vec(step, 1..60)
}

fn mode() -> impl Strategy<Value = GaleraMode> {
    prop::sample::select(vec![GaleraMode::SingleWriter, GaleraMode::Any])
}

impl Bench {
    fn step(&mut self, step: &Step) -> Vec<&'static str> {
        match step {
            Step::Round(words) => self.round(*words),
            Step::Withhold(number) => {
                self.wishes.withheld.insert(format!("db{number}"));
                self.reconsider()
            }
            Step::Release => {
                self.wishes.withheld.clear();
                self.reconsider()
            }
        }
    }

    /// It may lose its clients now.
    fn has_cause(&self, name: &str) -> bool {
        let node = &self.machine.nodes[name];
        let left_out = match situation(&self.machine.views) {
            Situation::One(view) => view.lacks(name),
            _ => false,
        };
        node.health != HealthState::Up || left_out || self.wishes.withheld.contains(name)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn clients_are_where_they_may_be(steps in steps(), mode in mode()) {
        let mut config = config();
        config.mode = mode;
        let mut bench = Bench::with(config, None);
        for step in &steps {
            let before: Vec<_> = bench.elected().into_iter().map(str::to_owned).collect();
            let chosen = bench.machine.chosen().map(str::to_owned);
            let told = bench.step(step);
            let elected = bench.elected();
            let verdict = bench.machine.verdict();
            if mode == GaleraMode::SingleWriter {
                prop_assert!(elected.len() <= 1, "two writers: {elected:?}");
                let switched = chosen.is_some() && chosen.as_deref() != bench.machine.chosen();
                prop_assert_eq!(told.contains(&"switch"), switched);
                if let (Some(before), Some(now)) = (before.first(), elected.first()) {
                    prop_assert!(before == now || bench.has_cause(before), "moved without cause");
                }
            }
            for node in verdict.nodes.iter().filter(|node| node.elected) {
                prop_assert_eq!(node.health, HealthState::Up, "{:?}", node);
                prop_assert!(!NEVER.contains(&node.word), "{:?}", node);
            }
            let trusted = bench.machine.views.iter().filter(|view| view.trusted);
            let sides = trusted.filter(|view| elected.iter().any(|name| view.has(name)));
            prop_assert!(sides.count() <= 1, "both sides: {elected:?}");
            if situation(&bench.machine.views) == Situation::Split {
                prop_assert!(!told.contains(&"switch"));
                prop_assert_eq!(bench.alarms("SPLIT BRAIN"), [Severity::Critical]);
                let had = |name: &&str| before.iter().any(|old| old == name);
                prop_assert!(mode == GaleraMode::SingleWriter || elected.iter().all(had));
            }
            let refuses = matches!(verdict.state, State::Failed | State::Unknown);
            prop_assert_eq!(elected.is_empty(), refuses);
            let mut alarms = verdict.alarms.iter();
            let alarmed = alarms.any(|alarm| alarm.severity == Severity::Critical);
            prop_assert!(verdict.state != State::Failed || alarmed);
        }
    }

    /// As long as nothing happens to the writer, it stays, whatever the others do.
    #[test]
    fn no_move_without_cause(others in prop::collection::vec((0..6_usize, 0..6_usize), 1..40)) {
        let harmless = ["123", "silent", "refused", "full", "123 desync", "123 readonly"];
        let mut bench = Bench::with(config(), Some("db2"));
        for (one, three) in others {
            bench.round([harmless[one], "123", harmless[three]]);
            prop_assert_eq!(bench.elected(), ["db2"]);
        }
    }
}
