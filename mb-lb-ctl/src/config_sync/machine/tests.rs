use super::*;

fn config(keys: &str) -> ConfigSync {
    let text = format!(
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = {{ a = \"192.0.2.1\", b = \"192.0.2.2\" }}\n[config_sync.etc]\n{keys}"
    );
    let config = crate::config::parse(&text, "lb1").config.expect("valid");
    config.config_syncs.into_iter().next().expect("one")
}

const TWO: &str =
    "source = \"/etc/x\"\ntargets = [\"mb2\", \"mb3\"]\nreload = \"x\"\ninterval = \"1m\"\n";

fn at(seconds: u64) -> Now {
    Now {
        since_start: Duration::from_secs(seconds),
        wall_ms: 1_000_000 + seconds * 1000,
    }
}

fn changes(count: u64) -> Changes {
    Changes {
        count,
        listed: (0..count).map(|number| format!("~ f{number}")).collect(),
        commits: None,
    }
}

fn done(count: u64, reloaded: bool) -> Result<Done, Failure> {
    Ok(Done {
        changes: changes(count),
        reloaded,
    })
}

fn failed(why: &str) -> Result<Done, Failure> {
    Err(Failure::new(Kind::Unreachable, why))
}

/// A machine with its counter of runs.
struct Rig {
    machine: Machine,
    number: u64,
}

impl Rig {
    fn new(keys: &str) -> Self {
        Self {
            machine: Machine::new(config(keys), |_| None),
            number: 0,
        }
    }

    fn start(&mut self, now: Now) -> Vec<Run> {
        let number = &mut self.number;
        let orders = self.machine.start(now, || {
            *number += 1;
            *number
        });
        orders
            .into_iter()
            .map(|order| match order {
                Order::Run(run) => *run,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn ids(&mut self, now: Now) -> Vec<u64> {
        self.start(now).iter().map(|run| run.id).collect()
    }

    fn end(&mut self, id: u64, result: Result<Done, Failure>, now: Now) -> Option<String> {
        let told = self.machine.on_ended(id, result, Duration::ZERO, now)?;
        Some(format!("{} {}: {}", told.kind, told.subject, told.text))
    }

    fn due(&self) -> Option<u64> {
        self.machine.next_deadline().map(|due| due.as_secs())
    }
}

/// Active, and the source has been looked at.
fn active(keys: &str) -> Rig {
    let mut rig = Rig::new(keys);
    assert_eq!(rig.machine.set_active(true, at(0)), []);
    assert_eq!(rig.machine.on_source(Ok(()), at(0)), None);
    rig
}

#[test]
fn nothing_runs_before_this_director_is_active_and_the_source_was_looked_at() {
    let mut rig = Rig::new(TWO);
    assert_eq!((rig.due(), rig.machine.watch()), (None, None));
    rig.machine.force(at(1));
    assert_eq!(rig.machine.on_source(Ok(()), at(1)), None);
    assert_eq!(rig.ids(at(1)), [] as [u64; 0]);
    rig.machine.set_active(true, at(2));
    assert!(rig.machine.watch().is_some());
    assert_eq!(rig.ids(at(2)), [] as [u64; 0]);
    // The first look may never come, where the file system hangs.
    assert_eq!(rig.due(), Some(62));
    rig.machine.on_source(Ok(()), at(3));
    assert_eq!(rig.ids(at(3)), [1, 2]);
    assert_eq!(rig.due(), None, "one run at a time for each target");
}

#[test]
fn without_a_watch_it_runs_at_once() {
    let mut rig = Rig::new(&format!("{TWO}on_change = false\n"));
    rig.machine.set_active(true, at(5));
    assert_eq!(rig.machine.watch(), None);
    assert_eq!(rig.ids(at(5)), [1, 2]);
}

#[test]
fn runs_follow_the_interval_and_failures_follow_faster() {
    let mut rig = active(&TWO.replace("[\"mb2\", \"mb3\"]", "\"mb2\""));
    let mut now = 0;
    let mut waits = Vec::new();
    for good in [true, false, false, false, false, false, true, false] {
        let id = rig.ids(at(now))[0];
        let result = match good {
            true => done(0, false),
            false => failed("refused"),
        };
        rig.end(id, result, at(now));
        let due = rig.due().expect("another run");
        waits.push(due - now);
        now = due;
    }
    // Twice as long each time, never later than the interval.
    assert_eq!(waits, [60, 10, 20, 40, 60, 60, 60, 10]);
}

#[test]
fn a_change_of_state_is_told_once() {
    let mut rig = active(TWO);
    let mut round = |result: Result<Done, Failure>, now: u64| {
        rig.machine.force(at(now));
        let ids = rig.ids(at(now));
        rig.end(ids[1], done(0, false), at(now));
        rig.end(ids[0], result, at(now))
    };
    assert_eq!(
        round(done(0, false), 0).as_deref(),
        Some("sync etc/mb2: nothing differed")
    );
    assert_eq!(round(done(0, false), 1), None);
    assert_eq!(
        round(done(2, true), 2).as_deref(),
        Some("sync etc/mb2: 2 files: ~ f0, ~ f1; reloaded")
    );
    assert_eq!(
        round(failed("refused"), 3).as_deref(),
        Some("sync-failed etc/mb2: refused")
    );
    assert_eq!(round(failed("refused"), 4), None);
    assert_eq!(
        round(failed("timed out"), 5).as_deref(),
        Some("sync-failed etc/mb2: timed out")
    );
    assert_eq!(
        round(done(0, false), 6).as_deref(),
        Some("sync etc/mb2: works again: nothing differed")
    );
    assert_eq!(round(done(0, false), 7), None);
}

#[test]
fn a_reload_is_owed_until_it_succeeds_and_over_a_restart() {
    let mut rig = active(TWO);
    let first = rig.start(at(0)).remove(0);
    assert!(!first.reload_owed);
    rig.machine.on_transferred(first.id, changes(1), at(1));
    let kept: Vec<_> = rig.machine.kept().collect();
    assert_eq!(kept.len(), 1);
    let (key, owed) = kept[0].clone();
    assert_eq!(key, "etc mb2:22:/etc/x");
    assert!(owed.reload_owed);

    // The next controller.
    let mut rig = Rig {
        machine: Machine::new(config(TWO), |wanted| (wanted == key).then(|| owed.clone())),
        number: 10,
    };
    rig.machine.set_active(true, at(0));
    rig.machine.on_source(Ok(()), at(0));
    let owed: Vec<_> = rig.start(at(0)).iter().map(|run| run.reload_owed).collect();
    assert_eq!(owed, [true, false]);
    assert_eq!(
        rig.end(11, done(0, true), at(1)).as_deref(),
        Some("sync etc/mb2: nothing differed, but a reload was owed; reloaded")
    );
    rig.machine.force(at(2));
    assert!(rig.start(at(2)).iter().all(|run| !run.reload_owed));
    assert_eq!(
        rig.machine.kept().next().map(|(_, kept)| kept.last_success),
        Some(Some(1_001_000))
    );

    let mut rig = active(&TWO.replace("reload = \"x\"\n", ""));
    let run = rig.start(at(0)).remove(0);
    rig.machine.on_transferred(run.id, changes(1), at(1));
    assert_eq!(rig.machine.kept().count(), 0, "nobody asked for a reload");
}

#[test]
fn a_change_during_a_run_gives_another_one() {
    let mut rig = active(TWO);
    assert_eq!(rig.ids(at(0)), [1, 2]);
    rig.machine.on_source(Ok(()), at(1));
    assert_eq!(rig.ids(at(1)), [] as [u64; 0]);
    rig.end(1, done(1, true), at(2));
    assert_eq!(rig.ids(at(2)), [3]);
    rig.end(3, done(0, false), at(3));
    assert_eq!(rig.due(), Some(63));
}

#[test]
fn a_director_that_is_active_no_more_stops_at_once_and_takes_no_late_result() {
    let mut rig = active(TWO);
    assert_eq!(rig.ids(at(0)), [1, 2]);
    rig.end(1, done(0, false), at(0));
    assert_eq!(rig.machine.set_active(false, at(1)), [Order::Stop(vec![2])]);
    assert_eq!((rig.due(), rig.machine.watch()), (None, None));
    assert_eq!(rig.end(2, done(1, true), at(1)), None);
    rig.machine.on_transferred(2, changes(1), at(1));
    assert!(
        rig.machine
            .targets()
            .all(|(_, target)| !target.kept.reload_owed)
    );
}

#[test]
fn a_source_that_is_not_there_is_told_once_for_all_targets() {
    let mut rig = active(TWO);
    let gone = || Err(Failure::new(Kind::Source, "/etc/x is empty"));
    assert_eq!(rig.ids(at(0)), [1, 2]);
    assert_eq!(
        rig.end(1, gone(), at(1)).as_deref(),
        Some("sync-failed etc: nothing is sent: /etc/x is empty")
    );
    assert_eq!(rig.end(2, gone(), at(1)), None);
    assert_eq!(rig.machine.source_error(), Some("/etc/x is empty"));
    assert!(
        rig.machine
            .targets()
            .all(|(_, target)| target.state == State::Unknown)
    );
    rig.machine.on_source(Ok(()), at(2));
    let ids = rig.ids(at(2));
    rig.end(ids[0], done(0, false), at(3));
    assert_eq!(rig.machine.source_error(), None);
}

#[test]
fn a_new_configuration_keeps_what_is_known_of_targets_that_stay() {
    let mut rig = active(TWO);
    assert_eq!(rig.ids(at(0)), [1, 2]);
    rig.end(1, failed("refused"), at(1));
    assert_eq!(rig.machine.reconfigure(config(TWO), |_| None, at(2)), []);
    let other = TWO.replace("[\"mb2\", \"mb3\"]", "[\"mb4\", \"mb2\"]");
    let orders = rig.machine.reconfigure(config(&other), |_| None, at(2));
    assert_eq!(orders, [Order::Stop(vec![2])]);
    let known: Vec<_> = rig
        .machine
        .targets()
        .map(|(label, target)| (label, target.failures))
        .collect();
    assert_eq!(known, [("mb4".to_owned(), 0), ("mb2".to_owned(), 1)]);
    assert_eq!(rig.ids(at(2)), [3, 4]);
}

#[test]
fn targets_of_one_host_are_told_apart_by_their_paths() {
    let rig = Rig::new("source = \"/etc/x\"\ntargets = [\"mb2\", \"mb2:/srv/x\", \"mb3\"]\n");
    let labels: Vec<_> = rig.machine.targets().map(|(label, _)| label).collect();
    assert_eq!(labels, ["mb2:/etc/x", "mb2:/srv/x", "mb3"]);
}
