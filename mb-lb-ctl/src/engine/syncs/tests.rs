use std::net::IpAddr;

use super::super::{Event, Identity, SavedState};
use super::*;
use crate::config_sync::{Changes, Done, Failure, Kind, Run};
use crate::dataplane::Adopted;

fn parse(syncs: &str) -> Config {
    let text = format!(
        "[service.smtp]\nlisten = [\"192.0.2.100:25\", \"[2001:db8::100]:25\"]\n\
         servers = {{ a = \"192.0.2.1\", b = \"192.0.2.2\" }}\n{syncs}"
    );
    crate::config::parse(&text, "lb1").config.expect("valid")
}

const ETC: &str =
    "[config_sync.etc]\nsource = \"/etc/x\"\ntargets = [\"mb2\", \"mb3\"]\nreload = \"x\"\n";

fn at(seconds: u64) -> Now {
    Now {
        since_start: Duration::from_secs(seconds),
        wall_ms: 1_000_000 + seconds * 1000,
    }
}

fn engine(config: &Config, saved: SavedState) -> (Engine, Vec<Action>) {
    let mut engine = Engine::new(
        Identity::default(),
        &Adopted::default(),
        saved,
        config.clone(),
    );
    let actions = engine.handle(Event::Config(Box::new(config.clone())), at(0));
    (engine, actions)
}

fn addresses(list: &[&str]) -> Event {
    let parsed = list
        .iter()
        .map(|text| text.parse::<IpAddr>().expect("valid"));
    Event::Addresses(parsed.collect())
}

const BOTH: &[&str] = &["192.0.2.9", "192.0.2.100", "2001:db8::100"];

fn orders(actions: Vec<Action>) -> Vec<Order> {
    actions
        .into_iter()
        .filter_map(|action| match action {
            Action::ConfigSync(order) => Some(order),
            _ => None,
        })
        .collect()
}

fn runs(actions: Vec<Action>) -> Vec<Run> {
    orders(actions)
        .into_iter()
        .filter_map(|order| match order {
            Order::Run(run) => Some(*run),
            _ => None,
        })
        .collect()
}

fn looked(name: &str) -> Event {
    Event::ConfigSync(Report::Source {
        name: name.to_owned(),
        state: Ok(()),
    })
}

fn ended(id: u64, result: Result<Done, Failure>) -> Event {
    Event::ConfigSync(Report::Ended {
        id,
        result,
        took: Duration::from_millis(5),
    })
}

fn refused() -> Result<Done, Failure> {
    Err(Failure {
        kind: Kind::Unreachable,
        why: "connection refused".to_owned(),
    })
}

#[test]
fn a_director_runs_syncs_while_it_has_all_vips() {
    let (mut engine, actions) = engine(&parse(ETC), SavedState::default());
    assert_eq!(
        orders(actions),
        [],
        "what addresses there are is not known yet"
    );
    assert!(!engine.is_active());
    assert_eq!(engine.can_sync("etc"), Err(SyncRefusal::NotActive));
    assert_eq!(orders(engine.handle(addresses(&BOTH[..2]), at(1))), []);
    assert!(!engine.is_active(), "one VIP of two");

    let watched = orders(engine.handle(addresses(BOTH), at(2)));
    assert!(engine.is_active());
    assert!(matches!(watched.as_slice(), [Order::Watch(watches)] if watches.len() == 1));
    assert_eq!(engine.can_sync("etc"), Ok(()));
    assert_eq!(
        engine.can_sync("x"),
        Err(SyncRefusal::Unknown("x".to_owned()))
    );
    let begun = runs(engine.handle(looked("etc"), at(3)));
    assert_eq!(begun.len(), 2);

    let over = orders(engine.handle(addresses(&BOTH[..1]), at(4)));
    assert_eq!(over, [Order::Stop(vec![1, 2]), Order::Watch(Vec::new())]);
    assert!(
        engine.snapshot(at(4)).syncs[0]
            .targets
            .iter()
            .all(|t| t.state == SyncState::Standby)
    );
    assert_eq!(engine.next_deadline(at(4)), None);
}

#[test]
fn what_fails_is_an_alarm_with_its_next_step_and_a_deadline() {
    let (mut engine, _) = engine(&parse(ETC), SavedState::default());
    engine.handle(addresses(BOTH), at(1));
    engine.handle(looked("etc"), at(1));
    engine.handle(ended(1, refused()), at(2));
    engine.handle(ended(2, Ok(Done::default())), at(2));
    let snapshot = engine.snapshot(at(2));
    let alarm = snapshot
        .alarms
        .iter()
        .find(|alarm| alarm.text.contains("config_sync"));
    let alarm = alarm.expect("an alarm");
    assert_eq!(
        alarm.text,
        "config_sync etc to mb2 fails: connection refused"
    );
    assert!(alarm.next.starts_with("is mb2 on"), "{}", alarm.next);
    assert_eq!(engine.next_deadline(at(2)), Some(Duration::from_secs(12)));
    let again = runs(engine.handle(Event::Deadline, at(12)));
    assert_eq!(again.iter().map(|run| run.id).collect::<Vec<_>>(), [3]);
    engine.handle(ended(3, Ok(Done::default())), at(13));
    let alarms = engine.snapshot(at(13)).alarms;
    assert!(
        !alarms
            .iter()
            .any(|alarm| alarm.text.contains("config_sync")),
        "{alarms:?}"
    );
}

#[test]
fn what_is_owed_is_saved_at_once_and_a_success_not_every_second() {
    let (mut engine, _) = engine(&parse(ETC), SavedState::default());
    let saved = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Save(saved) => Some(saved.clone()),
            _ => None,
        })
    };
    engine.handle(addresses(BOTH), at(1));
    engine.handle(looked("etc"), at(1));
    let changes = Changes {
        count: 1,
        ..Changes::default()
    };
    let transferred = Event::ConfigSync(Report::Transferred { id: 1, changes });
    let state = saved(&engine.handle(transferred, at(2))).expect("saved");
    assert!(state.syncs["etc mb2:22:/etc/x"].reload_owed);
    let done = saved(&engine.handle(ended(1, Ok(Done::default())), at(3))).expect("saved");
    assert_eq!(
        done.syncs["etc mb2:22:/etc/x"].last_success,
        Some(1_003_000)
    );

    let mut force = |seconds: u64| {
        let wanted = Event::ConfigSync(Report::Wanted {
            name: "etc".to_owned(),
        });
        let id = runs(engine.handle(wanted, at(seconds)))[0].id;
        saved(&engine.handle(ended(id, Ok(Done::default())), at(seconds)))
    };
    assert_eq!(force(10), None);
    assert!(force(100).is_some());

    let owed: BTreeMap<_, _> = state.syncs.clone();
    let (mut next, _) = self::engine(&parse(ETC), state);
    next.handle(addresses(BOTH), at(1));
    let runs = runs(next.handle(looked("etc"), at(1)));
    assert!(runs[0].reload_owed, "{owed:?}");
}

#[test]
fn a_section_that_goes_ends_its_runs() {
    let (mut engine, _) = engine(&parse(ETC), SavedState::default());
    engine.handle(addresses(BOTH), at(1));
    engine.handle(looked("etc"), at(1));
    let gone = orders(engine.handle(Event::Config(Box::new(parse(""))), at(2)));
    assert_eq!(gone, [Order::Stop(vec![1, 2]), Order::Watch(Vec::new())]);
    // The last words of a run that was stopped.
    engine.handle(ended(1, refused()), at(3));
    assert_eq!(engine.snapshot(at(3)).syncs, []);
}
