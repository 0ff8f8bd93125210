//! Situations, as rounds; and what holds in all of them.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Seen, Vote};
use super::words::utc;
use super::*;
use crate::snapshot::Severity;
use crate::tiers::State;

const SERVERS: [&str; 3] = ["r1", "r2", "r3"];

fn server(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 77, 2, 11 + u8::try_from(index).expect("few")], 6379))
}

fn sentinel(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 77, 2, 11 + u8::try_from(index).expect("few")], 26379))
}

fn config() -> config::Sentinel {
    config::Sentinel {
        name: "redis".into(),
        listen: vec!["10.77.2.1:6379".parse().expect("valid")],
        master: "mymaster".into(),
        sentinels: (0..3).map(sentinel).collect(),
        servers: (0..3)
            .map(|index| TierServer {
                name: SERVERS[index].into(),
                address: server(index),
                weight: 1,
                priority: 100,
                max_connections: None,
            })
            .collect(),
        user: None,
        password: None,
        tls: None,
        sentinel_user: None,
        sentinel_password: None,
        sentinel_tls: None,
        interval: Duration::from_millis(500),
        timeout: Duration::from_millis(400),
    }
}

fn vote(index: usize, epoch: u64) -> Result<Vote, Trouble> {
    Ok(Vote {
        names: Named::Address(server(index)),
        epoch,
        flags: vec!["master".into()],
        others: 2,
        quorum: 2,
        tilt: Some(false),
        can_fail_over: Some(Ok(())),
    })
}

fn tilted(index: usize, epoch: u64) -> Result<Vote, Trouble> {
    vote(index, epoch).map(|vote| Vote {
        tilt: Some(true),
        ..vote
    })
}

const MASTER: Result<Says, Trouble> = Ok(Says::Master {
    replicas: 2,
    offset: 1000,
});

fn replica() -> Result<Says, Trouble> {
    Ok(Says::Replica {
        of: server(0).to_string(),
        link: "connected".into(),
        offset: 1000,
    })
}

fn seen<T>(answer: Result<T, Trouble>) -> Seen<T> {
    Seen {
        answer,
        took: Duration::from_millis(1),
    }
}

fn round(votes: [Result<Vote, Trouble>; 3], says: [Result<Says, Trouble>; 3]) -> Round {
    let votes = votes.into_iter().enumerate();
    let says = says.into_iter().enumerate();
    Round {
        sentinels: votes
            .map(|(index, vote)| (sentinel(index), seen(vote)))
            .collect(),
        servers: says
            .map(|(index, says)| (server(index), seen(says)))
            .collect(),
    }
}

fn healthy() -> Round {
    round(
        [vote(0, 1), vote(0, 1), vote(0, 1)],
        [MASTER, replica(), replica()],
    )
}

/// A machine with a clock: a round each half second.
struct Bench {
    machine: Machine,
    wishes: Wishes,
    now: Now,
}

impl Bench {
    fn new(chosen: Option<&str>) -> Self {
        Self {
            machine: Machine::new(config(), chosen.map(ToOwned::to_owned)),
            wishes: Wishes::default(),
            now: Now {
                since_start: Duration::ZERO,
                wall_ms: 1_772_337_906_000,
            },
        }
    }

    /// After a round in which r1 was the master of all.
    fn settled() -> Self {
        let mut bench = Self::new(None);
        bench.see(&healthy());
        assert_eq!(bench.elected(), Some("r1"));
        bench
    }

    /// The kinds of what is told.
    fn see(&mut self, round: &Round) -> Vec<&'static str> {
        self.now.since_start += Duration::from_millis(500);
        self.now.wall_ms += 500;
        let told = self.machine.on_round(round, &self.wishes, self.now);
        told.iter().map(|told| told.kind).collect()
    }

    fn elected(&self) -> Option<&str> {
        let nodes = &self.machine.verdict().nodes;
        let mut elected = nodes.iter().filter(|node| node.elected);
        let first = elected.next();
        assert_eq!(elected.next(), None, "two are elected");
        first.map(|node| node.name.as_str())
    }

    fn word(&self, name: &str) -> &'static str {
        let nodes = &self.machine.verdict().nodes;
        let node = nodes.iter().find(|node| node.name == name);
        node.expect("there").word
    }

    fn summary(&self) -> &str {
        &self.machine.verdict().summary
    }

    /// Severity and text of an alarm with these words.
    fn alarm(&self, words: &str) -> Severity {
        let alarms = &self.machine.verdict().alarms;
        let found = alarms.iter().find(|alarm| alarm.text.contains(words));
        found
            .unwrap_or_else(|| panic!("no alarm with {words}: {alarms:#?}"))
            .severity
    }
}

#[test]
fn all_is_well() {
    let mut bench = Bench::new(None);
    assert_eq!(bench.machine.verdict().state, State::Unknown);
    assert_eq!(bench.see(&healthy()), ["switch"]);
    let verdict = bench.machine.verdict().clone();
    assert_eq!(verdict.state, State::Ok);
    assert_eq!(verdict.summary, "master r1, named by 3 of 3 Sentinels");
    assert_eq!(verdict.alarms, []);
    assert_eq!(verdict.facts["epoch"], "1");
    assert_eq!(verdict.facts["votes"], "r1 3");
    assert_eq!(verdict.facts["since"], "2026-03-01 04:05:06 UTC");
    assert_eq!(verdict.nodes.len(), 6);
    assert_eq!(bench.machine.chosen(), Some("r1"));
    assert_eq!(bench.see(&healthy()), [""; 0]);
    assert_eq!(bench.machine.verdict(), &verdict);
}

#[test]
fn one_that_had_the_clients_before_is_no_news() {
    let mut bench = Bench::new(Some("r1"));
    assert_eq!(bench.machine.chosen(), Some("r1"));
    assert_eq!(bench.elected(), None);
    assert_eq!(bench.see(&healthy()), [""; 0]);
    assert_eq!(bench.elected(), Some("r1"));
    assert_eq!(Bench::new(Some("gone")).machine.chosen(), None);
}

#[test]
fn a_killed_master() {
    let mut bench = Bench::settled();
    let down = || Err(Trouble::Refused);
    let told = bench.see(&round(
        [vote(0, 1), vote(0, 1), vote(0, 1)],
        [down(), replica(), replica()],
    ));
    assert_eq!((told, bench.elected()), (vec!["no-master"], None));
    assert_eq!(
        bench.summary(),
        "no master: r1, named by 3 of 3 Sentinels, has not said that it is one: it refuses connections: no process listens"
    );
    assert_eq!(bench.machine.verdict().state, State::Failed);
    assert_eq!(
        bench.alarm("no master, clients are refused"),
        Severity::Critical
    );
    // r2 is promoted before anybody says so.
    let told = bench.see(&round(
        [vote(0, 1), vote(0, 1), vote(0, 1)],
        [down(), MASTER, replica()],
    ));
    assert_eq!((told, bench.elected()), (vec![], None));
    assert_eq!(bench.word("r2"), "demoted");
    // The leader says so.
    let told = bench.see(&round(
        [vote(1, 2), vote(0, 1), vote(0, 1)],
        [down(), MASTER, replica()],
    ));
    assert_eq!((told, bench.elected()), (vec![], None));
    let moved = || [vote(1, 2), vote(1, 2), vote(0, 1)];
    let told = bench.see(&round(moved(), [down(), MASTER, replica()]));
    assert_eq!((told, bench.elected()), (vec!["switch"], Some("r2")));
    // The old one comes back, and says that it is a master.
    let told = bench.see(&round(moved(), [MASTER, MASTER, replica()]));
    assert_eq!((told, bench.elected()), (vec!["two-masters"], Some("r2")));
    assert_eq!(bench.word("r1"), "demoted");
    assert_eq!(
        bench.alarm("2 servers say that they are the master: r1 (since"),
        Severity::Warning
    );
    bench.alarm("r2 (elected, since");
    let told = bench.see(&round(moved(), [MASTER, MASTER, replica()]));
    assert_eq!(told, [""; 0]);
    bench.see(&round(moved(), [replica(), MASTER, replica()]));
    let told = bench.see(&round(moved(), [MASTER, MASTER, replica()]));
    assert_eq!(told, ["two-masters"]);
}

#[test]
fn a_frozen_master() {
    let mut bench = Bench::settled();
    let frozen = || {
        round(
            [vote(0, 1), vote(0, 1), vote(0, 1)],
            [Err(Trouble::NotAnswering), replica(), replica()],
        )
    };
    for rounds in 1..=2 {
        assert_eq!(bench.see(&frozen()), [""; 0]);
        assert_eq!(bench.elected(), Some("r1"));
        assert_eq!(bench.word("r1"), "not_answering");
        assert_eq!(
            bench.summary(),
            format!("master r1, named by 3 of 3 Sentinels; no answer in {rounds} rounds")
        );
    }
    assert_eq!(bench.see(&frozen()), ["no-master"]);
    assert_eq!(bench.elected(), None);
    // What operators want is no round.
    for _ in 0..5 {
        assert_eq!(bench.machine.reconsider(&bench.wishes, bench.now), []);
        assert_eq!(bench.elected(), None);
    }
    // It thaws when another is master.
    bench.see(&round(
        [vote(1, 2), vote(1, 2), vote(1, 2)],
        [Err(Trouble::NotAnswering), MASTER, replica()],
    ));
    assert_eq!(bench.elected(), Some("r2"));
    bench.see(&round(
        [vote(1, 2), vote(1, 2), vote(1, 2)],
        [MASTER, MASTER, replica()],
    ));
    assert_eq!(bench.elected(), Some("r2"));
}

#[test]
fn lost_answers_are_no_failure() {
    let mut bench = Bench::settled();
    let lost = || Err(Trouble::NotAnswering);
    let none = || {
        let none = || Err(Trouble::NotAnswering);
        round([none(), none(), none()], [lost(), lost(), lost()])
    };
    for _ in 0..5 {
        bench.see(&none());
        bench.see(&none());
        assert_eq!(bench.elected(), Some("r1"));
        bench.see(&healthy());
        assert_eq!(bench.elected(), Some("r1"));
        assert_eq!(bench.machine.verdict().state, State::Ok);
    }
    // A director without a network.
    for elected in [Some("r1"), Some("r1"), None, None] {
        bench.see(&none());
        assert_eq!(bench.elected(), elected);
    }
    assert_eq!(bench.see(&healthy()), ["switch"]);
    assert_eq!(bench.elected(), Some("r1"));
    // That all answer again is told when it is so for a while.
    assert_eq!(bench.see(&healthy()), [""; 0]);
    assert_eq!(bench.see(&healthy()), ["sentinels"]);
    assert_eq!(bench.see(&healthy()), [""; 0]);
}

#[test]
fn silence_makes_nobody_master() {
    let mut bench = Bench::new(None);
    bench.see(&round(
        [vote(0, 1), vote(0, 1), vote(0, 1)],
        [Err(Trouble::NotAnswering), replica(), replica()],
    ));
    assert_eq!(bench.elected(), None);
}

#[test]
fn a_partition() {
    // r1 and its Sentinel are cut off from the others; this director sees all.
    let mut bench = Bench::settled();
    let told = bench.see(&round(
        [vote(0, 1), vote(1, 2), vote(1, 2)],
        [MASTER, MASTER, replica()],
    ));
    assert_eq!(told, ["switch", "two-masters"]);
    assert_eq!(bench.elected(), Some("r2"));
    assert_eq!(bench.machine.verdict().facts["votes"], "r1 1, r2 2");
}

#[test]
fn at_odds() {
    // One Sentinel is dead, the other two differ.
    let dead = || Err(Trouble::Refused);
    let mut bench = Bench::settled();
    bench.see(&round(
        [vote(0, 1), vote(1, 1), dead()],
        [MASTER, MASTER, replica()],
    ));
    assert_eq!(bench.elected(), Some("r1"), "the epoch is the same");
    bench.see(&round(
        [vote(0, 1), vote(1, 2), dead()],
        [MASTER, MASTER, replica()],
    ));
    assert_eq!(bench.elected(), None);
    assert_eq!(
        bench.summary(),
        "no master: 1 of 3 Sentinels name 10.77.2.12:6379, later than the others; no majority yet"
    );
    bench.see(&round(
        [vote(0, 1), dead(), dead()],
        [MASTER, MASTER, replica()],
    ));
    assert_eq!(bench.elected(), None, "it does not return beside another");
    bench.see(&round(
        [vote(1, 2), vote(1, 2), dead()],
        [MASTER, MASTER, replica()],
    ));
    assert_eq!(bench.elected(), Some("r2"));
}

#[test]
fn sentinels_that_die() {
    let dead = || Err(Trouble::Refused);
    let down = || Err(Trouble::Refused);
    let mut bench = Bench::settled();
    let told = bench.see(&round(
        [vote(0, 1), vote(0, 1), dead()],
        [MASTER, replica(), replica()],
    ));
    assert_eq!((told, bench.elected()), (vec![], Some("r1")));
    assert_eq!(bench.machine.verdict().state, State::Degraded);
    assert_eq!(bench.alarm("2 of 3 Sentinels answer"), Severity::Warning);
    let few = || [vote(0, 1), dead(), dead()];
    let mut told = Vec::new();
    for _ in 0..5 {
        told.extend(bench.see(&round(few(), [MASTER, replica(), replica()])));
    }
    assert_eq!((told, bench.elected()), (vec!["sentinels"], Some("r1")));
    assert_eq!(bench.alarm("no failover is possible"), Severity::Critical);
    assert_eq!(
        bench.summary(),
        "master r1, kept without a majority: 1 of 3 Sentinels answer"
    );
    // Now the master dies too, and comes back.
    let told = bench.see(&round(few(), [down(), replica(), replica()]));
    assert_eq!((told, bench.elected()), (vec!["no-master"], None));
    let told = bench.see(&round(few(), [MASTER, replica(), replica()]));
    assert_eq!((told, bench.elected()), (vec!["switch"], Some("r1")));
    // All are dead: the master stays, but does not return.
    let none = || [dead(), dead(), dead()];
    bench.see(&round(none(), [MASTER, replica(), replica()]));
    assert_eq!(bench.elected(), Some("r1"));
    bench.see(&round(none(), [down(), replica(), replica()]));
    bench.see(&round(none(), [MASTER, replica(), replica()]));
    assert_eq!(bench.elected(), None);
}

#[test]
fn a_majority_without_a_present_one() {
    let mut bench = Bench::new(None);
    let dead = || Err(Trouble::Refused);
    bench.see(&round(
        [vote(0, 1), dead(), dead()],
        [MASTER, replica(), replica()],
    ));
    assert_eq!(bench.elected(), None, "one of three is no majority");
    assert_eq!(bench.word("r1"), "unconfirmed");
    assert_eq!(
        bench.summary(),
        "no master: 1 of 3 Sentinels answer, which is no majority"
    );
}

#[test]
fn a_director_that_has_just_begun_asks_the_other() {
    let dead = || Err(Trouble::Refused);
    let few = || {
        let dead = || Err(Trouble::Refused);
        round([vote(0, 1), dead(), dead()], [MASTER, replica(), replica()])
    };
    let mut bench = Bench::new(None);
    bench.wishes.told = Some("r1".into());
    bench.see(&few());
    assert_eq!(bench.elected(), Some("r1"));
    for told in ["r2", "gone"] {
        let mut bench = Bench::new(None);
        bench.wishes.told = Some(told.into());
        bench.see(&few());
        assert_eq!(bench.elected(), None, "{told}");
    }
    // What it sees for itself counts more.
    let mut bench = Bench::settled();
    bench.wishes.told = Some("r2".into());
    bench.see(&few());
    assert_eq!(bench.elected(), Some("r1"));
    // Nobody but the other one says so.
    let mut bench = Bench::new(None);
    bench.wishes.told = Some("r1".into());
    bench.see(&round(
        [dead(), dead(), dead()],
        [MASTER, replica(), replica()],
    ));
    assert_eq!(bench.elected(), None);
}

#[test]
fn a_tilt_does_not_move_the_master() {
    let mut bench = Bench::settled();
    bench.see(&round(
        [tilted(1, 1), tilted(1, 1), vote(0, 1)],
        [MASTER, MASTER, replica()],
    ));
    assert_eq!(bench.elected(), Some("r1"));
    assert_eq!(bench.alarm("in tilt"), Severity::Warning);
    bench.see(&round(
        [tilted(0, 1), tilted(0, 1), tilted(0, 1)],
        [MASTER, replica(), replica()],
    ));
    assert_eq!(bench.elected(), Some("r1"));
    let mut fresh = Bench::new(None);
    fresh.see(&round(
        [tilted(0, 1), tilted(0, 1), tilted(0, 1)],
        [MASTER, replica(), replica()],
    ));
    assert_eq!(fresh.elected(), Some("r1"));
}

#[test]
fn a_planned_failover_behind_a_withheld_master() {
    let mut bench = Bench::settled();
    bench.wishes.withheld.insert("r1".into());
    assert_eq!(bench.machine.reconsider(&bench.wishes, bench.now), []);
    assert_eq!(bench.elected(), None);
    assert_eq!(bench.word("r1"), "withheld");
    assert_eq!(
        bench.summary(),
        "no master: r1 is, and an operator does not want it to have clients"
    );
    assert_eq!(bench.alarm("an operator does not want"), Severity::Warning);
    assert_eq!(bench.machine.chosen(), Some("r1"));
    let told = bench.see(&round(
        [vote(1, 2), vote(1, 2), vote(1, 2)],
        [MASTER, MASTER, replica()],
    ));
    assert_eq!(told, ["switch", "two-masters"]);
    assert_eq!(bench.elected(), Some("r2"));
}

#[test]
fn a_withheld_master_comes_back_at_once() {
    let mut bench = Bench::settled();
    bench.wishes.withheld.insert("r1".into());
    bench.machine.reconsider(&bench.wishes, bench.now);
    bench.wishes.withheld.clear();
    bench.machine.reconsider(&bench.wishes, bench.now);
    assert_eq!(bench.elected(), Some("r1"));
}

#[test]
fn masters_that_cannot_be_had() {
    let named = |names: Named| {
        vote(0, 1).map(|vote| Vote {
            names: names.clone(),
            ..vote
        })
    };
    let mut bench = Bench::settled();
    let other = Named::Address("10.0.0.9:6379".parse().expect("valid"));
    bench.see(&round(
        [named(other.clone()), named(other.clone()), named(other)],
        [MASTER, replica(), replica()],
    ));
    assert_eq!(bench.elected(), None);
    assert_eq!(
        bench.summary(),
        "no master: the Sentinels name 10.0.0.9:6379, which is none of `servers`"
    );
    let host = Named::Host("mb1:6379".into());
    bench.see(&round(
        [named(host.clone()), named(host.clone()), named(host)],
        [MASTER, replica(), replica()],
    ));
    assert_eq!(bench.elected(), None);
    assert_eq!(
        bench.summary(),
        "no master: the Sentinels call it mb1:6379, and mb-lb does not resolve names"
    );
    let next = &bench.machine.verdict().alarms[0].next;
    assert!(next.contains("resolve-hostnames no"), "{next}");
}

#[test]
fn each_trouble_of_a_master_has_its_word() {
    for (trouble, word, stays) in [
        (Trouble::Refused, "refused", false),
        (Trouble::Closed, "closed", false),
        (Trouble::Loading, "loading", false),
        (Trouble::MasterDown, "master_down", false),
        (Trouble::NoAuth, "no_auth", true),
        (Trouble::WrongPassword, "wrong_password", true),
        (Trouble::NoPermission("x".into()), "no_permission", true),
        (Trouble::Tls("x".into()), "tls", false),
        (Trouble::Garbage("x".into()), "garbage", false),
        (Trouble::Error("x".into()), "error", false),
        (Trouble::NotAnswering, "not_answering", true),
        (Trouble::Busy, "busy", true),
        (Trouble::Full, "full", true),
    ] {
        let mut bench = Bench::settled();
        bench.see(&round(
            [vote(0, 1), vote(0, 1), vote(0, 1)],
            [Err(trouble), replica(), replica()],
        ));
        assert_eq!(bench.word("r1"), word);
        assert_eq!(bench.elected(), stays.then_some("r1"), "{word}");
    }
}

/// A majority has to name it meanwhile.
#[test]
fn a_master_that_may_not_be_asked() {
    let locked = || Err(Trouble::WrongPassword);
    let mut bench = Bench::settled();
    for _ in 0..20 {
        let votes = [vote(0, 1), vote(0, 1), vote(0, 1)];
        bench.see(&round(votes, [locked(), replica(), replica()]));
        assert_eq!(bench.elected(), Some("r1"));
    }
    let votes = [vote(1, 2), vote(1, 2), vote(1, 2)];
    bench.see(&round(votes, [locked(), MASTER, replica()]));
    assert_eq!(bench.elected(), Some("r2"));
    let mut bench = Bench::settled();
    let dead = || Err(Trouble::Refused);
    bench.see(&round(
        [vote(0, 1), dead(), dead()],
        [locked(), replica(), replica()],
    ));
    assert_eq!(bench.elected(), None);
    // Nor does one get clients that nobody was ever allowed to ask.
    let mut bench = Bench::new(None);
    let votes = [vote(0, 1), vote(0, 1), vote(0, 1)];
    bench.see(&round(votes, [locked(), replica(), replica()]));
    assert_eq!(bench.elected(), None);
}

#[test]
fn busy_for_long() {
    let mut bench = Bench::settled();
    for _ in 0..20 {
        bench.see(&round(
            [vote(0, 1), vote(0, 1), vote(0, 1)],
            [Err(Trouble::Busy), replica(), replica()],
        ));
        assert_eq!(bench.elected(), Some("r1"));
    }
    bench.see(&round(
        [vote(1, 2), vote(1, 2), vote(1, 2)],
        [Err(Trouble::Busy), MASTER, replica()],
    ));
    assert_eq!(bench.elected(), Some("r2"));
}

#[test]
fn passwords_are_told_of_once() {
    let mut bench = Bench::settled();
    let locked = || {
        round(
            [Err(Trouble::NoAuth), vote(0, 1), vote(0, 1)],
            [
                MASTER,
                Err(Trouble::WrongPassword),
                Err(Trouble::WrongPassword),
            ],
        )
    };
    assert_eq!(bench.see(&locked()), ["password", "password", "password"]);
    assert_eq!(bench.see(&locked()), [""; 0]);
    assert_eq!(bench.see(&locked()), ["sentinels"]);
    // Silence in between makes it no news.
    let silent = || {
        let late = || Err(Trouble::NotAnswering);
        let replicas = [
            MASTER,
            Err(Trouble::NotAnswering),
            Err(Trouble::NotAnswering),
        ];
        round([late(), vote(0, 1), vote(0, 1)], replicas)
    };
    assert_eq!(bench.see(&silent()), [""; 0]);
    assert_eq!(bench.see(&locked()), [""; 0]);
    assert_eq!(bench.elected(), Some("r1"));
    let alarms = &bench.machine.verdict().alarms;
    let about = |words: &str| {
        let found = alarms.iter().find(|alarm| alarm.text.contains(words));
        found.unwrap_or_else(|| panic!("{words}: {alarms:#?}"))
    };
    let sentinel = about("Sentinel at 10.77.2.11:26379: it wants a password");
    assert!(
        sentinel
            .next
            .contains("`sentinel_password` in [sentinel.redis]")
    );
    let servers = about("Redis at 10.77.2.12:6379, 10.77.2.13:6379: it refuses the user");
    assert!(
        servers
            .next
            .contains("redis-cli -h 10.77.2.12 -p 6379 --askpass PING")
    );
}

#[test]
fn sentinels_that_are_set_wrongly() {
    let odd = |index: usize| {
        vote(0, 1).map(|vote| Vote {
            others: 3,
            quorum: if index == 0 { 1 } else { 2 },
            can_fail_over: Some(Err("NOQUORUM 1 usable Sentinels".into())),
            ..vote
        })
    };
    let mut bench = Bench::settled();
    bench.see(&round(
        [odd(0), odd(1), odd(2)],
        [MASTER, replica(), replica()],
    ));
    assert_eq!(bench.elected(), Some("r1"));
    for words in [
        "could not fail over: 10.77.2.11:26379 (NOQUORUM",
        "3 Sentinels are configured here, but 10.77.2.11:26379 knows 4",
        "the quorum of the Sentinels is 1 and 2",
    ] {
        assert_eq!(bench.alarm(words), Severity::Warning);
    }
    let unknown = || Err(Trouble::UnknownMaster);
    bench.see(&round(
        [unknown(), unknown(), vote(0, 1)],
        [MASTER, replica(), replica()],
    ));
    let next = &bench.machine.verdict().alarms[0].next;
    assert!(next.contains("SENTINEL MASTERS"), "{next}");
}

#[test]
fn a_master_without_replicas() {
    let mut bench = Bench::settled();
    let alone = Ok(Says::Master {
        replicas: 0,
        offset: 1,
    });
    let down = || Err(Trouble::Refused);
    bench.see(&round(
        [vote(0, 1), vote(0, 1), vote(0, 1)],
        [alone, down(), down()],
    ));
    assert_eq!(bench.elected(), Some("r1"));
    assert_eq!(bench.alarm("has no replica"), Severity::Warning);
}

#[test]
fn another_configuration() {
    let mut bench = Bench::settled();
    let mut less = config();
    less.servers.remove(0);
    bench.machine.reconfigure(less, bench.now);
    assert_eq!((bench.elected(), bench.machine.chosen()), (None, None));
    assert_eq!(bench.machine.verdict().nodes.len(), 5);

    let mut bench = Bench::settled();
    let mut other = config();
    other.master = "another".into();
    bench.machine.reconfigure(other, bench.now);
    assert_eq!(bench.elected(), Some("r1"), "held until the first round");

    let mut bench = Bench::settled();
    let mut more = config();
    more.sentinels.extend([sentinel(3), sentinel(4)]);
    bench.machine.reconfigure(more, bench.now);
    assert_eq!(bench.elected(), Some("r1"));
    assert_eq!(bench.word("10.77.2.14:26379"), "unknown");

    let mut moved = config();
    moved.servers[0].address = server(7);
    let mut bench = Bench::settled();
    bench.machine.reconfigure(moved, bench.now);
    assert_eq!((bench.elected(), bench.machine.chosen()), (None, None));
}

#[test]
fn nobody_is_asked_of_a_machine_without_rounds() {
    let mut bench = Bench::new(Some("r1"));
    assert_eq!(bench.machine.reconsider(&bench.wishes, bench.now), []);
    bench.machine.reconfigure(config(), bench.now);
    assert_eq!(bench.machine.verdict().state, State::Unknown);
    // Not even those of another configuration.
    bench.see(&Round::default());
    assert_eq!(bench.elected(), Some("r1"));
    let (a, b) = (Round::default(), Round::default());
    bench.see(&a);
    bench.see(&b);
    assert_eq!(bench.elected(), None);
}

#[test]
fn times_for_people() {
    for (seconds, text) in [
        (0, "1970-01-01 00:00:00 UTC"),
        (951_782_399, "2000-02-28 23:59:59 UTC"),
        (951_782_400, "2000-02-29 00:00:00 UTC"),
        (1_772_337_906, "2026-03-01 04:05:06 UTC"),
        (4_107_542_399, "2100-02-28 23:59:59 UTC"),
        (4_107_542_400, "2100-03-01 00:00:00 UTC"),
    ] {
        assert_eq!(utc(seconds * 1000), text);
    }
    assert!(utc(u64::MAX).ends_with("UTC"));
}

fn any_vote() -> impl Strategy<Value = Result<Vote, Trouble>> {
    prop_oneof![
        6 => (0..4usize, 0..4u64, any::<bool>()).prop_map(|(index, epoch, tilt)| {
            vote(index, epoch).map(|vote| Vote { tilt: Some(tilt), ..vote })
        }),
        1 => Just(Err(Trouble::Refused)),
        1 => Just(Err(Trouble::NotAnswering)),
    ]
}

fn any_says() -> impl Strategy<Value = Result<Says, Trouble>> {
    prop_oneof![
        4 => Just(MASTER),
        2 => Just(replica()),
        1 => Just(Err(Trouble::Refused)),
        2 => Just(Err(Trouble::NotAnswering)),
        1 => Just(Err(Trouble::Busy)),
    ]
}

fn any_round() -> impl Strategy<Value = Round> {
    (
        [any_vote(), any_vote(), any_vote()],
        [any_says(), any_says(), any_says()],
    )
        .prop_map(|(votes, says)| round(votes, says))
}

/// What the elected one had in this round, if it deserves its clients by what can be seen in it and before it.
fn deserves(name: &str, round: &Round, before: Option<&str>) -> bool {
    let index = SERVERS.iter().position(|server| *server == name);
    let own = server(index.expect("configured"));
    let votes = round.sentinels.values();
    let votes: Vec<_> = votes.filter_map(|seen| seen.answer.as_ref().ok()).collect();
    let for_own = |vote: &&&Vote| vote.names == Named::Address(own);
    let count = votes.iter().filter(for_own).count();
    let says = &round.servers[&own].answer;
    let other_majority = (0..4).map(server).any(|other| {
        let of_other =
            |vote: &&&Vote| vote.names == Named::Address(other) && vote.tilt != Some(true);
        other != own && votes.iter().filter(of_other).count() >= 2
    });
    match says {
        _ if other_majority => false,
        Ok(Says::Master { .. }) => count >= 2 || before == Some(name) || count > 0,
        Ok(Says::Replica { .. }) => false,
        Err(Trouble::NotAnswering | Trouble::Busy) => before == Some(name),
        Err(_) => false,
    }
}

proptest! {
    /// Never two; never one that says that it is a replica, or whom a majority has left; silence keeps, and makes nobody.
    #[test]
    fn whoever_is_elected_deserves_it(rounds in vec(any_round(), 1..12)) {
        let mut bench = Bench::new(None);
        let mut silent = 0;
        for round in &rounds {
            let before = bench.elected().map(ToOwned::to_owned);
            bench.see(round);
            let elected = bench.elected().map(ToOwned::to_owned);
            if let Some(name) = &elected {
                prop_assert!(deserves(name, round, before.as_deref()), "{name} after {before:?}");
                prop_assert_eq!(bench.machine.chosen(), Some(name.as_str()));
                let index = SERVERS.iter().position(|server| server == name).expect("configured");
                silent = match &round.servers[&server(index)].answer {
                    Err(Trouble::NotAnswering) => silent + 1,
                    _ => 0,
                };
                prop_assert!(silent <= 2);
            } else {
                silent = 0;
            }
            let failed = bench.machine.verdict().state == State::Failed;
            prop_assert_eq!(failed, elected.is_none());
        }
    }

    /// A fresh majority for a server that says that it is the master is all it takes.
    #[test]
    fn a_majority_and_the_role_are_enough(rounds in vec(any_round(), 0..6), index in 0..3usize) {
        let mut bench = Bench::new(None);
        for round in &rounds {
            bench.see(round);
        }
        let mut last = healthy();
        for vote in last.sentinels.values_mut().take(2) {
            vote.answer = super::tests::vote(index, 0);
        }
        last.servers.get_mut(&server(index)).expect("there").answer = MASTER;
        bench.see(&last);
        prop_assert_eq!(bench.elected(), Some(SERVERS[index]));
    }

    /// Thinking again about the same gives the same, and nothing to tell.
    #[test]
    fn judging_twice_changes_nothing(rounds in vec(any_round(), 1..8), withheld in any::<bool>()) {
        let mut bench = Bench::new(Some("r1"));
        if withheld {
            bench.wishes.withheld.insert("r2".into());
        }
        for round in &rounds {
            bench.see(round);
            let verdict = bench.machine.verdict().clone();
            prop_assert!(withheld.then_some("r2") != bench.elected() || !withheld);
            prop_assert_eq!(bench.machine.reconsider(&bench.wishes, bench.now), []);
            prop_assert_eq!(bench.machine.verdict(), &verdict);
        }
    }
}
