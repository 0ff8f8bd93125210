//! Servers that clients get no answer from, and what was known before a restart.

use super::*;

fn slow() -> Config {
    three("slow_start = \"0s\"")
}

fn interval(bench: &Bench, server: &str) -> Duration {
    let task = bench
        .checks
        .iter()
        .find(|task| task.server.server == server);
    task.expect("it is checked").interval
}

fn index(bench: &Bench, server: &str) -> u32 {
    let snapshot = bench.snapshot();
    let servers = &snapshot.services[0].servers;
    let view = servers.iter().find(|view| view.name == server);
    view.expect("it is there").id
}

/// Half-open and opened flows of a server, a second later.
fn counts(bench: &mut Bench, server: &str, pending: u64, opened: u64) {
    let reading = ServerReading {
        pending,
        opened,
        ..ServerReading::default()
    };
    let index = index(bench, server);
    bench.count(&[(index, reading)]);
}

fn told(bench: &Bench) -> Vec<&str> {
    let suspects = bench.records.iter().filter(|event| event.kind == "suspect");
    suspects.map(|event| event.subject.as_str()).collect()
}

#[test]
fn syns_that_nobody_answers_bring_the_checks_forward_until_one_succeeds() {
    let mut bench = Bench::up(&slow());
    let regular = interval(&bench, "mb1");
    counts(&mut bench, "mb1", 3, 10);
    assert_eq!(interval(&bench, "mb1"), regular, "they may be answered yet");
    counts(&mut bench, "mb1", 3, 10);
    assert_eq!(interval(&bench, "mb1"), Duration::from_millis(100));
    assert_eq!(interval(&bench, "mb2"), regular, "only that one");
    assert_eq!(told(&bench), ["smtp/mb1"]);

    bench.check("mb1", Outcome::Success);
    assert_eq!(interval(&bench, "mb1"), regular);
    counts(&mut bench, "mb1", 3, 10);
    assert_eq!(
        interval(&bench, "mb1"),
        regular,
        "a flood costs one check in an interval"
    );
    counts(&mut bench, "mb1", 3, 10);
    assert_eq!(interval(&bench, "mb1"), Duration::from_millis(100));
    assert_eq!(told(&bench), ["smtp/mb1"], "and one line in a minute");
    assert_eq!(
        bench.pool().len(),
        3,
        "nobody is taken out for what clients do"
    );
}

#[test]
fn answered_syns_are_no_reason_to_look() {
    let mut bench = Bench::up(&slow());
    let regular = interval(&bench, "mb1");
    for opened in 1..5 {
        counts(&mut bench, "mb1", 3, opened);
        assert_eq!(interval(&bench, "mb1"), regular);
    }
    assert!(told(&bench).is_empty());
}

#[test]
fn a_suspected_server_is_down_after_as_many_failures_as_any_and_then_checked_as_any() {
    let mut bench = Bench::up(&slow());
    let regular = interval(&bench, "mb1");
    counts(&mut bench, "mb1", 1, 0);
    counts(&mut bench, "mb1", 1, 0);
    for _ in 0..2 {
        bench.check("mb1", Outcome::Failure);
        assert_eq!(interval(&bench, "mb1"), Duration::from_millis(100));
        assert_eq!(bench.pool().len(), 3);
    }
    bench.check("mb1", Outcome::Failure);
    assert_eq!(bench.pool().len(), 2);
    assert_eq!(interval(&bench, "mb1"), regular);
    counts(&mut bench, "mb1", 1, 0);
    assert_eq!(interval(&bench, "mb1"), regular, "it is known to be down");
}

#[test]
fn the_directors_own_trouble_ends_the_suspicion() {
    let mut bench = Bench::up(&slow());
    let regular = interval(&bench, "mb1");
    counts(&mut bench, "mb1", 1, 0);
    counts(&mut bench, "mb1", 1, 0);
    bench.check("mb1", Outcome::Inconclusive);
    assert_eq!(interval(&bench, "mb1"), regular);
    assert_eq!(bench.pool().len(), 3);
}

#[test]
fn after_a_boot_each_server_begins_as_it_was_last_seen() {
    let config = slow();
    let mut bench = Bench::up(&config);
    for _ in 0..3 {
        bench.check("mb2", Outcome::Failure);
    }
    bench.now.since_start += Duration::from_secs(2);
    bench.count(&[]);
    let saved = bench.saved.clone().expect("it was saved");

    let mut booted = Bench::new(&Adopted::default(), saved, &config);
    booted.handle(Event::Config(Box::new(config.clone())));
    booted.attach();
    for last in 1..=3 {
        booted.resolve(last);
    }
    let states = |bench: &Bench| {
        let snapshot = bench.snapshot();
        let servers = snapshot.services[0].servers.iter();
        servers
            .map(|server| (server.health, server.health_reason.clone()))
            .collect::<Vec<_>>()
    };
    let before = (
        HealthState::Up,
        "as before; first check under way".to_owned(),
    );
    let down = (
        HealthState::Down,
        "as before: connection refused".to_owned(),
    );
    assert_eq!(
        states(&booted),
        [before.clone(), down.clone(), before.clone()]
    );
    assert_eq!(booted.pool().len(), 2);

    // One success is not enough for the one that was down: `rise` is.
    booted.check("mb2", Outcome::Success);
    assert_eq!(states(&booted)[1], down);
    booted.check("mb2", Outcome::Success);
    assert_eq!(booted.pool().len(), 3);
}

#[test]
fn what_was_seen_of_another_address_is_not_believed() {
    let config = slow();
    let mut bench = Bench::up(&config);
    bench.now.since_start += Duration::from_secs(2);
    bench.count(&[]);
    let saved = bench.saved.clone().expect("it was saved");
    assert_eq!(saved.health.len(), 3);

    let text = "[service.smtp]\nlisten = \"192.0.2.100:25\"\n[service.smtp.servers]\nmb1 = \"192.0.2.2\"\nmb2 = \"192.0.2.1\"\n";
    let swapped = parse(text);
    let mut booted = Bench::new(&Adopted::default(), saved, &swapped);
    booted.handle(Event::Config(Box::new(swapped.clone())));
    booted.attach();
    for last in 1..=2 {
        booted.resolve(last);
    }
    assert!(booted.pool().is_empty());
    let health = booted.snapshot().services[0].servers[0].health;
    assert_eq!(health, HealthState::Unknown);
}

#[test]
fn what_checks_say_is_written_once_a_second_and_what_operators_say_at_once() {
    let mut bench = Bench::up(&slow());
    bench.now.since_start += Duration::from_secs(5);
    bench.count(&[]);
    bench.now.since_start += Duration::from_secs(1);
    let saves = |actions: &[Action]| {
        let saves = actions
            .iter()
            .filter(|action| matches!(action, Action::Save(_)));
        saves.count()
    };
    let mut written = 0;
    for server in ["mb1", "mb2", "mb3"] {
        for _ in 0..3 {
            written += saves(&bench.check(server, Outcome::Failure));
        }
    }
    assert_eq!(written, 1, "the first at once, the others together");
    bench.admin("mb1", AdminState::Drain).expect("it is there");
    let saved = bench.saved.clone().expect("it was saved");
    assert_eq!(saved.servers["smtp/mb1"].admin, AdminState::Drain);
    assert_eq!(saved.health.values().filter(|last| last.up).count(), 0);
}
