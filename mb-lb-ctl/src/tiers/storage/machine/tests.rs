use std::time::Duration;

use proptest::prelude::*;

use super::super::seen::{Backlog, Kind, Part, Role, Seen, Set, Space, Trouble};
use super::*;
use crate::config::{NfsVersion, Storage, StorageKind};
use crate::snapshot::HealthState;

fn config(kind: StorageKind, mount: bool) -> Storage {
    Storage {
        name: "q".to_owned(),
        kind,
        mount: mount.then(|| "/srv/q".into()),
        write_probe: true,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        rise: 2,
        fall: 3,
        min_free: 5,
        max_latency: Duration::from_millis(250),
        takes_out: Vec::new(),
    }
}

fn nfs(mount: bool) -> Storage {
    let kind = StorageKind::Nfs {
        server: [10, 0, 0, 1].into(),
        export: Some("/export/q".to_owned()),
        port: 2049,
        version: NfsVersion::Any,
        export_probe: false,
    };
    config(kind, mount)
}

fn gluster(mount: bool) -> Storage {
    let kind = StorageKind::Glusterfs {
        servers: vec![
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
            [10, 0, 0, 3].into(),
        ],
        volume: "qvol".to_owned(),
        port: 24_007,
        heal_command: vec!["gluster".to_owned()],
        heal_interval: Duration::from_secs(60),
    };
    config(kind, mount)
}

fn part(role: Role, name: &str, seen: Result<Seen, Trouble>) -> Part {
    Part {
        role,
        name: name.to_owned(),
        address: name.to_owned(),
        seen,
        took: Duration::from_millis(3),
    }
}

fn answers(role: Role, name: &str) -> Part {
    part(
        role,
        name,
        Ok(Seen::Answers("answers, versions 3 and 4".to_owned())),
    )
}

fn trouble(role: Role, name: &str, kind: Kind) -> Part {
    part(
        role,
        name,
        Err(Trouble::new(kind, format!("{name}: {}", kind.word()))),
    )
}

fn works(free: u64, wrote: bool) -> Part {
    let space = Space {
        blocks: 1000,
        blocks_free: free,
        files: 1000,
        files_free: 900,
    };
    part(
        Role::Mount,
        "/srv/q",
        Ok(Seen::Works {
            space,
            wrote,
            note: String::new(),
        }),
    )
}

fn round(parts: &[Part]) -> Round {
    Round {
        parts: parts.to_vec(),
        sets: Vec::new(),
    }
}

fn told(machine: &mut Machine, round: &Round) -> Vec<&'static str> {
    machine
        .on_round(round, &Wishes::default(), Now::default())
        .into_iter()
        .map(|told| told.kind)
        .collect()
}

fn verdict(config: Storage, round: &Round) -> Verdict {
    let mut machine = Machine::new(config, None);
    told(&mut machine, round);
    machine.verdict().clone()
}

#[test]
fn the_first_round_decides_at_once() {
    let mut machine = Machine::new(nfs(true), None);
    assert_eq!(machine.verdict().state, State::Unknown);
    assert_eq!(told(&mut machine, &round(&[works(640, true)])), [""; 0]);
    assert_eq!(machine.verdict().state, State::Ok);
    assert_eq!(
        machine.verdict().summary,
        "write and read back in 3 ms, 64 % free"
    );
    assert_eq!(machine.failed(), None);

    let mut machine = Machine::new(nfs(true), None);
    let gone = round(&[trouble(Role::Nfs, "nfs", Kind::Refused)]);
    assert_eq!(told(&mut machine, &gone), ["storage-failed"]);
    assert_eq!(machine.verdict().summary, "nfs: refused");
    assert_eq!(machine.failed(), Some("nfs: refused"));
}

#[test]
fn rounds_are_counted_both_ways() {
    let good = round(&[answers(Role::Nfs, "nfs")]);
    let bad = round(&[trouble(Role::Nfs, "nfs", Kind::NotAnswering)]);
    let mut machine = Machine::new(nfs(false), None);
    for (round, expected, state, summary) in [
        (&good, "", State::Ok, "nfs answers, versions 3 and 4"),
        (
            &bad,
            "",
            State::Degraded,
            "nfs: not_answering (1 of 3 rounds until it counts as failed)",
        ),
        (
            &bad,
            "",
            State::Degraded,
            "nfs: not_answering (2 of 3 rounds until it counts as failed)",
        ),
        (&good, "", State::Ok, "nfs answers, versions 3 and 4"),
        (
            &bad,
            "",
            State::Degraded,
            "nfs: not_answering (1 of 3 rounds until it counts as failed)",
        ),
        (
            &bad,
            "",
            State::Degraded,
            "nfs: not_answering (2 of 3 rounds until it counts as failed)",
        ),
        (&bad, "storage-failed", State::Failed, "nfs: not_answering"),
        (
            &good,
            "",
            State::Failed,
            "nfs: not_answering; good again for 1 of 2 rounds",
        ),
        (&bad, "", State::Failed, "nfs: not_answering"),
        (
            &good,
            "",
            State::Failed,
            "nfs: not_answering; good again for 1 of 2 rounds",
        ),
        (
            &good,
            "storage-ok",
            State::Ok,
            "nfs answers, versions 3 and 4",
        ),
    ] {
        assert_eq!(told(&mut machine, round).concat(), expected);
        assert_eq!(machine.verdict().state, state);
        assert_eq!(machine.verdict().summary, summary);
        assert_eq!(machine.failed().is_some(), state == State::Failed);
    }
}

#[test]
fn what_does_not_pass_by_itself_is_not_waited_for() {
    for (kind, at_once) in [
        (Kind::StaleHandle, true),
        (Kind::ReadOnly, true),
        (Kind::NotMounted, true),
        (Kind::WrongMount, true),
        (Kind::StaleMount, true),
        (Kind::Hung { since_ms: 0 }, false),
        (Kind::Full, false),
        (Kind::Permission, false),
        (Kind::IoError, false),
        (Kind::NoQuorum, false),
        (Kind::NotAnswering, false),
    ] {
        let mut machine = Machine::new(nfs(true), None);
        told(&mut machine, &round(&[works(500, true)]));
        let bad = round(&[
            trouble(Role::Mount, "/srv/q", kind),
            answers(Role::Nfs, "nfs"),
        ]);
        told(&mut machine, &bad);
        assert_eq!(machine.failed().is_some(), at_once, "{kind:?}");
        assert_eq!(machine.verdict().nodes[0].word, kind.word());
        assert_eq!(machine.verdict().nodes[0].health, HealthState::Down);
    }
}

#[test]
fn an_administrator_is_told_what_to_type() {
    for (kind, command) in [
        (Kind::StaleHandle, "umount -l /srv/q && mount /srv/q"),
        (Kind::StaleMount, "umount -l /srv/q && mount /srv/q"),
        (Kind::NotMounted, "mount /srv/q"),
        (Kind::ReadOnly, "mount -o remount,rw /srv/q"),
        (Kind::Full, "df -h /srv/q; df -i /srv/q"),
        (
            Kind::Permission,
            "install -d -m 700 -o root /srv/q/.mb-lb-probe",
        ),
        (Kind::Hung { since_ms: 0 }, "umount -f -l /srv/q"),
        (Kind::WrongMount, "findmnt -T /srv/q"),
    ] {
        let verdict = verdict(nfs(true), &round(&[trouble(Role::Mount, "/srv/q", kind)]));
        assert_eq!(verdict.alarms.len(), 1);
        let alarm = &verdict.alarms[0];
        assert_eq!(alarm.severity, Severity::Critical);
        assert!(alarm.text.starts_with("it has failed: "), "{}", alarm.text);
        assert!(alarm.next.contains(command), "{kind:?}: {}", alarm.next);
    }
    let text = "/srv/q: it is read-only for mb-lb, though not of itself (mkdir)";
    let sandbox = part(
        Role::Mount,
        "/srv/q",
        Err(Trouble::new(Kind::ReadOnly, text)),
    );
    let verdict = verdict(nfs(true), &round(&[sandbox]));
    assert!(
        verdict.alarms[0].next.contains("ReadWritePaths=/srv/q"),
        "{}",
        verdict.alarms[0].next
    );
}

#[test]
fn who_has_written_knows_more_than_who_has_asked() {
    let gone = trouble(Role::Nfs, "nfs", Kind::NotAnswering);
    let seen = verdict(nfs(true), &round(&[gone.clone(), works(500, true)]));
    assert_eq!(seen.state, State::Degraded);
    assert_eq!(seen.alarms[0].severity, Severity::Warning);
    // Asking for the free space does not prove that anything can be written.
    let seen = verdict(nfs(true), &round(&[gone, works(500, false)]));
    assert_eq!(seen.state, State::Failed);
}

#[test]
fn space_is_judged_by_the_scarcer_of_two() {
    for (free, state, word) in [
        (640, State::Ok, "ok"),
        (150, State::Ok, "ok"),
        (149, State::Degraded, "no_space_soon"),
        (50, State::Degraded, "no_space_soon"),
        (49, State::Failed, "full"),
        (0, State::Failed, "full"),
    ] {
        let seen = verdict(nfs(true), &round(&[works(free, true)]));
        assert_eq!((seen.state, seen.nodes[0].word), (state, word), "{free}");
        assert_eq!(seen.alarms.len(), usize::from(state != State::Ok));
    }
    let inodes = |files, files_free| {
        let space = Space {
            blocks: 1000,
            blocks_free: 900,
            files,
            files_free,
        };
        let part = part(
            Role::Mount,
            "/srv/q",
            Ok(Seen::Works {
                space,
                wrote: true,
                note: String::new(),
            }),
        );
        verdict(nfs(true), &round(&[part]))
    };
    assert_eq!(
        inodes(1000, 10).summary,
        "/srv/q: 1 % of its inodes free, less than 5 %"
    );
    // Some file systems do not count them.
    assert_eq!(inodes(0, 0).state, State::Ok);
}

#[test]
fn slow_is_a_warning() {
    let mut slow = works(500, true);
    slow.took = Duration::from_millis(251);
    let seen = verdict(nfs(true), &round(&[slow]));
    assert_eq!((seen.state, seen.nodes[0].word), (State::Degraded, "slow"));
    assert!(
        seen.alarms[0].text.contains("took 251 ms"),
        "{}",
        seen.alarms[0].text
    );
}

#[test]
fn what_could_not_be_tested_changes_nothing() {
    let untested = round(&[trouble(Role::Mount, "/srv/q", Kind::Untested)]);
    let mut machine = Machine::new(nfs(true), None);
    assert_eq!(told(&mut machine, &untested), [""; 0]);
    assert_eq!(machine.verdict().state, State::Unknown);
    assert_eq!(machine.verdict().nodes[0].health, HealthState::Unknown);
    told(&mut machine, &round(&[works(500, true)]));
    for _ in 0..5 {
        assert_eq!(told(&mut machine, &untested), [""; 0]);
    }
    assert_eq!(machine.failed(), None);
    assert_eq!(machine.verdict().state, State::Degraded);
}

#[test]
fn since_when_it_hangs_outlives_children() {
    let hung = |since_ms| round(&[trouble(Role::Mount, "/srv/q", Kind::Hung { since_ms })]);
    let mut machine = Machine::new(nfs(true), None);
    told(&mut machine, &hung(1_700_000_000_000));
    told(&mut machine, &hung(1_700_000_060_000));
    assert_eq!(
        machine.failed(),
        Some("/srv/q: hung, since 2023-11-14 22:13:20 UTC")
    );
    told(&mut machine, &round(&[works(500, true)]));
    told(&mut machine, &hung(1_700_000_120_000));
    assert_eq!(
        machine.failed(),
        Some("/srv/q: hung, since 2023-11-14 22:15:20 UTC")
    );
}

fn bricks(there: usize, of: usize, extra: Option<Part>) -> Round {
    let names: Vec<String> = (0..of).map(|n| format!("10.0.0.{n}:/b")).collect();
    let mut parts: Vec<Part> = names
        .iter()
        .enumerate()
        .map(|(index, name)| match index < there {
            true => answers(Role::Brick, name),
            false => trouble(Role::Brick, name, Kind::Refused),
        })
        .collect();
    parts.extend(extra);
    Round {
        parts,
        sets: vec![Set {
            needed: of / 2 + 1,
            bricks: names,
            half_with_first: false,
        }],
    }
}

#[test]
fn bricks_decide_where_nothing_is_written() {
    for (there, written, state, at_risk) in [
        (3, None, State::Ok, false),
        (2, None, State::Degraded, true),
        (1, None, State::Failed, false),
        (0, None, State::Failed, false),
        (2, Some(works(500, true)), State::Degraded, true),
        // From here they cannot be reached, and from the mount they can.
        (1, Some(works(500, true)), State::Degraded, false),
        (1, Some(works(500, false)), State::Failed, false),
        (
            3,
            Some(trouble(Role::Mount, "/srv/q", Kind::NoQuorum)),
            State::Failed,
            false,
        ),
    ] {
        let seen = verdict(
            gluster(written.is_some()),
            &bricks(there, 3, written.clone()),
        );
        assert_eq!(seen.state, state, "{there} {written:?}");
        let warned = seen
            .alarms
            .iter()
            .any(|alarm| alarm.text.contains("quorum at risk"));
        assert_eq!(warned, at_risk, "{there} {written:?}");
        assert_eq!(seen.facts["bricks"], format!("{there} of 3"));
    }
}

#[test]
fn a_volume_that_nobody_knows_is_named() {
    let servers = ["10.0.0.1", "10.0.0.2"];
    let none = servers.map(|name| trouble(Role::Glusterd, name, Kind::NoVolume));
    let seen = verdict(gluster(false), &round(&none));
    assert_eq!(seen.summary, "10.0.0.1: no_volume");
    assert!(seen.alarms[0].next.contains("gluster volume info"));
}

fn heals(pending: u64, split_brain: u64, number: u64) -> Round {
    let backlog = Backlog {
        pending,
        split_brain,
        unknown: 0,
    };
    let heal = part(Role::Heal, "qvol", Ok(Seen::Heals { backlog, number }));
    bricks(3, 3, Some(heal))
}

#[test]
fn healing_that_falls_behind_is_an_alarm() {
    let mut machine = Machine::new(gluster(false), None);
    let mut alarms = Vec::new();
    for (pending, number) in [(0, 0), (4, 1), (4, 1), (4, 1), (5, 2), (6, 3), (6, 4)] {
        told(&mut machine, &heals(pending, 0, number));
        alarms.push(machine.verdict().alarms.len());
    }
    assert_eq!(alarms, [0, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn split_brain_is_told_once_and_fails_nothing() {
    let mut machine = Machine::new(gluster(false), None);
    assert_eq!(told(&mut machine, &heals(0, 2, 0)), ["split-brain"]);
    assert_eq!(told(&mut machine, &heals(0, 2, 1)), [""; 0]);
    assert_eq!(machine.failed(), None);
    assert_eq!(machine.verdict().alarms[0].severity, Severity::Critical);
    assert!(
        machine.verdict().alarms[0]
            .next
            .contains("gluster volume heal qvol info split-brain")
    );
    let unknown = part(
        Role::Heal,
        "qvol",
        Ok(Seen::Unknown(
            "Another transaction is in progress".to_owned(),
        )),
    );
    assert_eq!(told(&mut machine, &bricks(3, 3, Some(unknown))), [""; 0]);
    assert_eq!(machine.verdict().state, State::Ok);
}

#[test]
fn another_storage_begins_anew() {
    let mut machine = Machine::new(nfs(true), None);
    told(
        &mut machine,
        &round(&[trouble(Role::Mount, "/srv/q", Kind::NotMounted)]),
    );
    let mut slower = nfs(true);
    slower.interval = Duration::from_secs(9);
    machine.reconfigure(slower.clone(), Now::default());
    assert!(machine.failed().is_some());
    assert_eq!(machine.config(), &slower);
    let mut other = nfs(true);
    other.mount = Some("/srv/other".into());
    machine.reconfigure(other, Now::default());
    assert_eq!(machine.failed(), None);
    assert_eq!(machine.verdict().state, State::Unknown);
}

fn any_part() -> impl Strategy<Value = Part> {
    let role = prop::sample::select(vec![
        Role::Nfs,
        Role::Mountd,
        Role::Export,
        Role::Mount,
        Role::Glusterd,
        Role::Brick,
        Role::Heal,
    ]);
    let kind = prop::sample::select(vec![
        Kind::Refused,
        Kind::StaleHandle,
        Kind::Hung { since_ms: u64::MAX },
        Kind::Untested,
        Kind::Full,
    ]);
    let space = any::<(u64, u64, u64, u64, bool)>();
    (role, prop::option::of(kind), space, any::<u64>(), "[ab]").prop_map(
        |(role, kind, space, number, name)| {
            let (blocks, blocks_free, files, files_free, wrote) = space;
            let space = Space {
                blocks,
                blocks_free,
                files,
                files_free,
            };
            let backlog = Backlog {
                pending: number,
                split_brain: number % 2,
                unknown: 0,
            };
            let seen = match (kind, role) {
                (Some(kind), _) => Err(Trouble::new(kind, "x")),
                (None, Role::Heal) => Ok(Seen::Heals { backlog, number }),
                (None, Role::Mount | Role::Export) => Ok(Seen::Works {
                    space,
                    wrote,
                    note: String::new(),
                }),
                (None, _) => Ok(Seen::Answers("answers".to_owned())),
            };
            part(role, &name, seen)
        },
    )
}

proptest! {
    #[test]
    fn what_counts_as_failed_is_what_is_said(
        rounds in prop::collection::vec(prop::collection::vec(any_part(), 0..5), 1..12),
        mount: bool,
    ) {
        let mut machine = Machine::new(gluster(mount), None);
        let mut failed = false;
        for parts in rounds {
            let expected = parts.len();
            for told in told(&mut machine, &round(&parts)) {
                match told {
                    "storage-failed" => {
                        prop_assert!(!failed);
                        failed = true;
                    }
                    "storage-ok" => {
                        prop_assert!(failed);
                        failed = false;
                    }
                    other => prop_assert_eq!(other, "split-brain"),
                }
            }
            let verdict = machine.verdict();
            prop_assert_eq!(verdict.state == State::Failed, failed);
            prop_assert_eq!(machine.failed().is_some(), failed);
            prop_assert_eq!(verdict.nodes.len(), expected);
            prop_assert!(verdict.alarms.iter().all(|alarm| !alarm.next.is_empty()));
            prop_assert!(!verdict.summary.is_empty());
            let critical = verdict.alarms.iter().any(|alarm| alarm.text.contains("has failed"));
            prop_assert_eq!(critical, failed);
        }
    }
}
