use super::*;
use proptest::prelude::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const SECOND: Duration = ms(1000);
const OWN: u8 = 100;
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

fn settings() -> Settings {
    Settings {
        version: Version::V2,
        interval: SECOND,
        preempt: true,
        preempt_delay: Duration::ZERO,
        source: "192.0.2.1".parse().expect("an address"),
    }
}

fn heard(priority: u8) -> Heard {
    Heard {
        source: PEER,
        priority,
        interval: SECOND,
    }
}

/// In backup since 0.
fn backup(settings: Settings) -> Machine {
    let mut machine = Machine::new(settings, OWN);
    assert_eq!(
        machine.start(Duration::ZERO),
        [turned(Role::Init, Role::Backup, Cause::Started)]
    );
    machine
}

/// Active since 10 s.
fn active() -> Machine {
    active_since(ms(10_000))
}

fn active_since(now: Duration) -> Machine {
    let mut machine = Machine::new(settings(), OWN);
    machine.resume(now);
    machine
}

fn turned(from: Role, to: Role, cause: Cause) -> Action {
    Action::Turned { from, to, cause }
}

fn taken_over(from: Role, priority: u8, cause: Cause) -> Vec<Action> {
    vec![
        Action::Advertise { priority },
        Action::Hold,
        Action::Announce { times: 5 },
        turned(from, Role::Active, cause),
    ]
}

#[test]
fn timers_are_those_of_the_rfcs() {
    // Version 2: Skew_Time is (256 - priority) / 256 seconds, whatever the interval.
    for (priority, expected) in [
        (100, 3_609_375),
        (101, 3_605_468),
        (254, 3_007_812),
        (1, 3_996_093),
    ] {
        let machine = Machine::new(settings(), priority);
        assert_eq!(
            machine.down_interval().as_micros(),
            expected,
            "priority {priority}"
        );
    }
    let slow = Settings {
        interval: SECOND * 5,
        ..settings()
    };
    assert_eq!(
        Machine::new(slow, 100).down_interval().as_micros(),
        15_609_375
    );
    // Version 3: of the interval.
    let fast = Settings {
        version: Version::V3,
        interval: ms(100),
        ..settings()
    };
    assert_eq!(
        Machine::new(fast.clone(), 100).down_interval().as_micros(),
        360_937
    );
    assert_eq!(Machine::new(fast, 254).down_interval().as_micros(), 300_781);
    let fastest = Settings {
        version: Version::V3,
        interval: ms(10),
        ..settings()
    };
    assert_eq!(
        Machine::new(fastest.clone(), 100)
            .down_interval()
            .as_micros(),
        36_093
    );
    assert_eq!(
        Machine::new(fastest, 254).down_interval().as_nanos(),
        30_078_125
    );
}

#[test]
fn leases_end_before_the_strongest_peer_takes_over() {
    for (interval, expected) in [
        (ms(10), 2),
        (ms(100), 2),
        (SECOND, 2),
        (SECOND * 2, 5),
        (SECOND * 5, 14),
    ] {
        assert_eq!(lease(interval), SECOND * expected, "{interval:?}");
    }
}

#[test]
fn the_owner_of_the_addresses_is_active_at_once() {
    let mut machine = Machine::new(settings(), OWNER);
    assert_eq!(
        machine.start(Duration::ZERO),
        taken_over(Role::Init, OWNER, Cause::Owner)
    );
}

#[test]
fn the_owner_that_lacks_sessions_listens_first() {
    let mut machine = Machine::new(settings(), OWNER);
    machine.set_may_preempt(false);
    assert_eq!(
        machine.start(Duration::ZERO),
        [turned(Role::Init, Role::Backup, Cause::Started)]
    );
    // The active one is left alone while it lives.
    for second in 0..10 {
        assert_eq!(machine.on_advert(&heard(OWN), SECOND * second), []);
        assert_eq!(machine.on_deadline(SECOND * second + ms(900)), []);
    }
    machine.set_may_preempt(true);
    assert_eq!(machine.on_advert(&heard(OWN), SECOND * 10), []);
    let due = machine.next_deadline().expect("one");
    assert!(machine.on_deadline(due).contains(&Action::Hold));
}

#[test]
fn silence_makes_a_backup_active() {
    let mut machine = backup(settings());
    let due = machine.next_deadline().expect("one");
    assert_eq!(due.as_micros(), 3_609_375);
    assert_eq!(machine.on_deadline(due - ms(1)), []);
    assert_eq!(
        machine.on_deadline(due),
        taken_over(Role::Backup, OWN, Cause::Silence(due))
    );
    // An advert each second, the lease with it; bursts of announcements after one and five seconds, and
    // never more than a second and a half without one.
    let mut seen = Vec::new();
    while let Some(at) = machine.next_deadline().filter(|at| *at <= due + ms(12_000)) {
        for action in machine.on_deadline(at) {
            seen.push(((at - due).as_millis(), action));
        }
    }
    let times = |wanted: &Action| -> Vec<u128> {
        seen.iter()
            .filter(|(_, action)| action == wanted)
            .map(|(at, _)| *at)
            .collect()
    };
    let each_second: Vec<u128> = (1..=12).map(|second| second * 1000).collect();
    assert_eq!(times(&Action::Advertise { priority: OWN }), each_second);
    assert_eq!(times(&Action::Hold), each_second);
    assert_eq!(times(&Action::Announce { times: 5 }), [1000, 5000]);
    assert_eq!(
        times(&Action::Announce { times: 1 }),
        [2500, 4000, 6500, 8000, 9500, 11_000]
    );
}

#[test]
fn adverts_every_ten_milliseconds_renew_the_lease_twice_a_second() {
    let mut machine = Machine::new(
        Settings {
            version: Version::V3,
            interval: ms(10),
            ..settings()
        },
        OWN,
    );
    machine.resume(Duration::ZERO);
    let (mut adverts, mut holds) = (0, 0);
    while let Some(at) = machine.next_deadline().filter(|at| *at <= ms(10_000)) {
        for action in machine.on_deadline(at) {
            adverts += u32::from(matches!(action, Action::Advertise { .. }));
            holds += u32::from(action == Action::Hold);
        }
    }
    assert_eq!((adverts, holds), (1000, 20));
}

#[test]
fn a_backup_hears() {
    let down = |now: u64, machine: &Machine| {
        machine.next_deadline().expect("one").as_micros() - u128::from(now) * 1000
    };
    // Stronger, equal: the timer starts anew.
    for priority in [254, 101, 100] {
        let mut machine = backup(settings());
        assert_eq!(machine.on_advert(&heard(priority), ms(2000)), []);
        assert_eq!(down(2000, &machine), 3_609_375, "priority {priority}");
    }
    // Weaker: it runs on, and preempts.
    let mut machine = backup(settings());
    machine.on_advert(&heard(99), ms(3000));
    assert_eq!(down(0, &machine), 3_609_375);
    assert_eq!(
        machine.on_deadline(ms(3610)),
        taken_over(
            Role::Backup,
            OWN,
            Cause::Weaker {
                source: PEER,
                priority: 99
            }
        )
    );
    // The active one goes: Skew_Time; of several last words the first counts.
    let mut machine = backup(settings());
    machine.on_advert(&heard(0), ms(1000));
    machine.on_advert(&heard(0), ms(1040));
    assert_eq!(down(1000, &machine), 609_375);
    assert_eq!(
        machine.on_deadline(ms(1610)),
        taken_over(Role::Backup, OWN, Cause::PeerLeft(PEER))
    );
}

#[test]
fn without_preemption_a_weaker_one_is_left_alone_while_it_lives() {
    let mut nopreempt = backup(Settings {
        preempt: false,
        ..settings()
    });
    let mut unready = backup(settings());
    unready.set_may_preempt(false);
    for machine in [&mut nopreempt, &mut unready] {
        for second in 1..100 {
            machine.on_advert(&heard(99), ms(second * 1000));
            assert_eq!(machine.on_deadline(ms(second * 1000)), []);
        }
        let due = machine.next_deadline().expect("one");
        assert_eq!(
            machine.on_deadline(due),
            taken_over(Role::Backup, OWN, Cause::Silence(due - ms(99_000)))
        );
    }
    // Ready at last: it preempts, after its timer.
    let mut late = backup(settings());
    late.set_may_preempt(false);
    late.on_advert(&heard(99), ms(1000));
    late.set_may_preempt(true);
    late.on_advert(&heard(99), ms(2000));
    assert_eq!(late.next_deadline(), Some(ms(1000) + late.down_interval()));
}

#[test]
fn preemption_waits_for_its_delay() {
    let mut machine = backup(Settings {
        preempt_delay: SECOND * 60,
        ..settings()
    });
    let mut now = 0;
    // Counted from the first weaker advert, at 1 s; accepted until 61 s.
    while machine.role() == Role::Backup {
        now += 1000;
        machine.on_advert(&heard(99), ms(now));
        machine.on_deadline(ms(now));
        assert!(now < 100_000);
    }
    // The last accepted was that of 60 s, the timer ran 3.6 s from there.
    assert_eq!(now, 64_000);
    // Where nobody is active, it does not wait.
    let mut alone = backup(Settings {
        preempt_delay: SECOND * 60,
        ..settings()
    });
    assert_eq!(alone.on_deadline(ms(3610)).len(), 4);
    // A stronger one in between starts the delay anew.
    let mut machine = backup(Settings {
        preempt_delay: SECOND * 3,
        ..settings()
    });
    machine.on_advert(&heard(99), ms(1000));
    machine.on_advert(&heard(101), ms(2000));
    machine.on_advert(&heard(99), ms(4500));
    assert_eq!(
        machine.next_deadline(),
        Some(ms(4500) + machine.down_interval())
    );
}

#[test]
fn version_3_takes_the_interval_of_the_active_one() {
    let mut machine = backup(Settings {
        version: Version::V3,
        interval: ms(300),
        ..settings()
    });
    let slow = heard(200);
    machine.on_advert(&slow, ms(100));
    assert_eq!(machine.down_interval().as_micros(), 3_609_375);
    // Once active, its own counts.
    machine.on_deadline(ms(3710));
    assert_eq!(machine.role(), Role::Active);
    assert_eq!(machine.next_deadline(), Some(ms(4010)));
}

#[test]
fn an_active_one_hears() {
    // Stronger, and the higher address of two equals: gives way, and lets the other know that there were two.
    for priority in [254, 101, 100] {
        let mut machine = active();
        let cause = Cause::Stronger {
            source: PEER,
            priority,
        };
        assert_eq!(
            machine.on_advert(&heard(priority), ms(10_500)),
            [
                Action::Release,
                turned(Role::Active, Role::Backup, cause),
                // The stronger one may not know that there were two.
                Action::Advertise { priority: OWN }
            ]
        );
        assert_eq!(
            machine.next_deadline(),
            Some(ms(10_500) + machine.down_interval())
        );
    }
    // The lower address of two equals, and the weaker: is answered, and the link told; the latter once a second.
    for (source, priority) in [("192.0.2.0", 100), ("192.0.2.9", 99)] {
        let mut machine = active();
        let weaker = Heard {
            source: source.parse().expect("an address"),
            ..heard(priority)
        };
        let answer = Action::Advertise { priority: OWN };
        let rebuke = Action::Announce { times: 5 };
        assert_eq!(
            machine.on_advert(&weaker, ms(10_100)),
            [answer.clone(), rebuke.clone()]
        );
        assert_eq!(
            machine.on_advert(&weaker, ms(10_200)),
            std::slice::from_ref(&answer)
        );
        assert_eq!(machine.on_advert(&weaker, ms(11_100)), [answer, rebuke]);
    }
    // It may have got another address since.
    let mut machine = active();
    machine.set_source("192.0.2.3".parse().expect("an address"));
    machine.on_advert(&heard(OWN), ms(10_100));
    assert_eq!(machine.role(), Role::Active);
    // Priority 0 is answered at once.
    let mut machine = active();
    assert_eq!(
        machine.on_advert(&heard(0), ms(10_100)),
        [Action::Advertise { priority: OWN }]
    );
    assert_eq!(machine.role(), Role::Active);
}

#[test]
fn a_hand_over_serves_until_the_peer_is_heard() {
    let mut machine = active_since(ms(19_500));
    assert_eq!(
        machine.resign("maintenance", true, ms(20_000)),
        [Action::Advertise { priority: 0 }, Action::Hold]
    );
    assert!(machine.is_leaving());
    assert_eq!(machine.resign("again", true, ms(20_001)), []);
    let mut said = Vec::new();
    while let Some(at) = machine.next_deadline().filter(|at| *at < ms(20_600)) {
        said.push((at.as_millis(), machine.on_deadline(at)));
    }
    let last = || vec![Action::Advertise { priority: 0 }];
    assert_eq!(said, [(20_020, last()), (20_040, last())]);
    // What the peer said before it knew.
    assert_eq!(machine.on_advert(&heard(0), ms(20_100)), []);
    assert_eq!(machine.role(), Role::Active);
    let cause = Cause::HandedOver {
        to: PEER,
        why: "maintenance".to_owned(),
    };
    assert_eq!(
        machine.on_advert(&heard(50), ms(20_610)),
        [Action::Release, turned(Role::Active, Role::Backup, cause)]
    );
    // Weaker, but it is to keep them.
    assert!(machine.stands_aside());
    for second in 21..60 {
        machine.on_advert(&heard(50), ms(second * 1000));
        assert_eq!(machine.on_deadline(ms(second * 1000)), []);
    }
    // Until it goes.
    machine.on_advert(&heard(0), ms(60_000));
    assert_eq!(
        machine.on_deadline(ms(60_610)),
        taken_over(Role::Backup, OWN, Cause::PeerLeft(PEER))
    );
    assert!(!machine.stands_aside());
}

#[test]
fn a_hand_over_to_nobody_comes_to_nothing() {
    let mut machine = active_since(ms(19_500));
    machine.resign("maintenance", true, ms(20_000));
    let (mut holds, mut words) = (0, 0);
    loop {
        let at = machine.next_deadline().expect("one");
        let actions = machine.on_deadline(at);
        holds += u32::from(actions.contains(&Action::Hold));
        words += u32::from(actions.contains(&Action::Advertise { priority: 0 }));
        if actions.contains(&Action::Stayed) {
            assert_eq!(at, ms(23_000));
            assert!(actions.contains(&Action::Advertise { priority: OWN }));
            break;
        }
    }
    assert!(!machine.is_leaving());
    assert_eq!(machine.role(), Role::Active);
    // The lease did not run out meanwhile, and a lost last word was repeated after the longest Skew_Time.
    assert!(holds >= 3, "{holds}");
    assert_eq!(words, 4);
}

#[test]
fn a_process_that_ends_leaves_either_way() {
    let mut machine = active_since(ms(19_500));
    machine.leave("stopping", ms(20_000));
    let cause = Cause::HandedOver {
        to: PEER,
        why: "stopping".to_owned(),
    };
    assert_eq!(
        machine.on_advert(&heard(50), ms(20_600)),
        [Action::Release, turned(Role::Active, Role::Init, cause)]
    );
    let mut alone = active_since(ms(19_500));
    alone.leave("stopping", ms(20_000));
    let mut last = Vec::new();
    while let Some(at) = alone.next_deadline() {
        last = alone.on_deadline(at);
    }
    assert_eq!(
        last,
        [
            Action::Release,
            turned(Role::Active, Role::Init, Cause::Left)
        ]
    );
    let mut idle = backup(settings());
    assert_eq!(
        idle.leave("stopping", ms(1)),
        [turned(Role::Backup, Role::Init, Cause::Left)]
    );
    assert_eq!(idle.leave("stopping", ms(2)), []);
    // A hand-over that was for a moment becomes one for good.
    let mut twice = active_since(ms(19_500));
    twice.resign("rehearsal", true, ms(20_000));
    assert_eq!(twice.leave("stopping", ms(20_100)), []);
    twice.on_advert(&heard(50), ms(20_600));
    assert_eq!(twice.role(), Role::Init);
}

#[test]
fn who_was_frozen_listens_first() {
    let mut machine = active();
    // Late, but not for so long that anybody could have taken over.
    assert_eq!(
        machine.on_deadline(ms(12_900))[0],
        Action::Advertise { priority: OWN }
    );
    let mut machine = active();
    let actions = machine.on_deadline(ms(17_000));
    let cause = Cause::Frozen(ms(7_000));
    assert_eq!(
        actions,
        [Action::Release, turned(Role::Active, Role::Backup, cause)]
    );
    // Somebody is there: it stays backup. Nobody is: it goes on after an interval and its Skew_Time.
    let mut alone = machine.clone();
    machine.on_advert(&heard(101), ms(17_500));
    assert_eq!(machine.on_deadline(ms(18_700)), []);
    assert_eq!(alone.next_deadline().expect("one").as_micros(), 18_609_375);
    assert_eq!(alone.on_deadline(ms(18_610)).len(), 4);
}

#[test]
fn who_was_frozen_listens_first_whatever_wakes_it() {
    let turn = || {
        let cause = Cause::Frozen(ms(7_000));
        vec![Action::Release, turned(Role::Active, Role::Backup, cause)]
    };
    let at = ms(17_000);
    // The peer that has taken over is weaker.
    let mut machine = active();
    assert_eq!(machine.on_advert(&heard(50), at), turn());
    assert_eq!(machine.wake(at), []);
    assert_eq!(active().on_claim(at), turn());
    assert_eq!(active().set_priority(80, at), turn());
    assert_eq!(active().resign("maintenance", true, at), turn());
    assert_eq!(active().wake(at), turn());
    assert_eq!(active().wake(ms(12_900)), []);
    // In the middle of a hand-over: nobody was heard, but nobody could be.
    let mut machine = active();
    machine.resign("maintenance", true, ms(11_000));
    assert_eq!(machine.clone().on_deadline(ms(14_500)).len(), 3);
    let cause = Cause::Frozen(ms(4_000));
    assert_eq!(
        machine.on_deadline(ms(17_000)),
        [Action::Release, turned(Role::Active, Role::Backup, cause)]
    );
}

#[test]
fn a_frozen_process_that_is_to_end_ends() {
    let mut machine = active();
    let actions = machine.leave("stopping", ms(17_000));
    assert_eq!(actions.len(), 3);
    assert_eq!(actions[2], turned(Role::Backup, Role::Init, Cause::Left));
}

/// Whoever has asked it to end waits for that.
#[test]
fn a_process_that_is_to_end_ends_whatever_comes_in_between() {
    let leaving = || {
        let mut machine = active();
        machine.leave("stopping", ms(10_500));
        machine
    };
    for (mut machine, fault) in [(leaving(), true), (leaving(), false)] {
        let actions = if fault {
            machine.set_fault(Some("eth0 is down"), ms(10_600))
        } else {
            machine.step_down("the sync group goes", ms(10_600))
        };
        assert_eq!(
            actions[..2],
            [Action::Advertise { priority: 0 }, Action::Release]
        );
        assert_eq!(machine.role(), Role::Init);
    }
}

#[test]
fn silence_is_no_reason_while_the_peer_says_that_it_is_active() {
    let mut machine = backup(settings());
    machine.set_withheld(true);
    for _ in 0..5 {
        let due = machine.next_deadline().expect("one");
        assert_eq!(machine.on_deadline(due), []);
        assert_eq!(machine.next_deadline(), Some(due + machine.down_interval()));
    }
    // Its last word was heard, so it cannot be active any more.
    machine.on_advert(&heard(0), ms(30_000));
    let due = machine.next_deadline().expect("one");
    assert_eq!(
        machine.on_deadline(due),
        taken_over(Role::Backup, OWN, Cause::PeerLeft(PEER))
    );
}

#[test]
fn as_long_as_there_is_a_rival_the_link_is_told() {
    let announced = |machine: &mut Machine, until: Duration| {
        let mut seen = Vec::new();
        while let Some(at) = machine.next_deadline().filter(|at| *at <= until) {
            for action in machine.on_deadline(at) {
                if let Action::Announce { times } = action {
                    seen.push((at.as_millis(), times));
                }
            }
        }
        seen
    };
    let mut machine = active();
    assert_eq!(
        announced(&mut machine, ms(17_000)),
        [
            (11_000, 5),
            (12_500, 1),
            (14_000, 1),
            (15_000, 5),
            (16_500, 1)
        ]
    );
    // Heard once: until two more of its adverts, and a second, would have come; after that as before.
    machine.on_advert(&heard(50), ms(17_100));
    let mut insisted: Vec<_> = (0..6).map(|n| (17_600 + n * 500, 1)).collect();
    insisted.push((21_600, 1));
    insisted.push((23_100, 1));
    assert_eq!(announced(&mut machine, ms(23_500)), insisted);
    // The same for a claim; bursts keep their times.
    let mut machine = active();
    assert_eq!(
        machine.on_claim(ms(10_200)),
        [Action::Announce { times: 1 }]
    );
    assert_eq!(
        announced(&mut machine, ms(12_000)),
        [(10_700, 1), (11_000, 5), (11_500, 1), (12_000, 1)]
    );
    // During a hand-over the peer is right.
    machine.resign("maintenance", true, ms(12_100));
    assert_eq!(machine.on_claim(ms(12_700)), []);
    assert_eq!(backup(settings()).on_claim(ms(100)), []);
}

/// Erratum 8298: of two that say the addresses are their own, one gives way all the same.
#[test]
fn two_owners_elect() {
    let mut link = Link::new(&[OWNER, OWNER], &settings());
    link.run(SECOND * 10);
    assert_eq!(link.holders(), [1]);
}

#[test]
fn faults_end_all_roles() {
    let fault = |from| turned(from, Role::Fault, Cause::Fault("eth0 is down".to_owned()));
    let mut machine = active();
    assert_eq!(
        machine.set_fault(Some("eth0 is down"), ms(11_000)),
        [
            Action::Advertise { priority: 0 },
            Action::Release,
            fault(Role::Active)
        ]
    );
    assert_eq!(machine.next_deadline(), None);
    assert_eq!(machine.on_advert(&heard(0), ms(12_000)), []);
    assert_eq!(machine.on_deadline(ms(12_000)), []);
    assert_eq!(machine.set_fault(Some("still"), ms(12_000)), []);
    assert_eq!(machine.take_over("told", ms(12_000)), []);
    assert_eq!(
        machine.set_fault(None, ms(13_000)),
        [turned(Role::Fault, Role::Backup, Cause::Recovered)]
    );
    assert_eq!(
        machine.next_deadline(),
        Some(ms(13_000) + machine.down_interval())
    );
    assert_eq!(
        machine.set_fault(Some("eth0 is down"), ms(14_000)),
        [fault(Role::Backup)]
    );
    assert_eq!(
        Machine::new(settings(), OWN).set_fault(Some("x"), ms(1)),
        []
    );
}

#[test]
fn priorities_and_orders() {
    let mut machine = active();
    assert_eq!(machine.set_priority(OWN, ms(10_100)), []);
    assert_eq!(
        machine.set_priority(80, ms(10_100)),
        [Action::Advertise { priority: 80 }]
    );
    assert_eq!(machine.priority(), 80);
    assert_eq!(machine.take_over("told", ms(10_200)), []);
    assert_eq!(
        machine.step_down("the sync group goes", ms(10_300)),
        [
            Action::Advertise { priority: 0 },
            Action::Release,
            turned(
                Role::Active,
                Role::Backup,
                Cause::Told("the sync group goes".to_owned())
            )
        ]
    );
    assert_eq!(machine.step_down("again", ms(10_300)), []);
    assert_eq!(machine.resign("not active", true, ms(10_300)), []);
    assert_eq!(machine.set_priority(100, ms(10_300)), []);
    assert_eq!(
        machine.take_over("the peer goes", ms(10_400)),
        taken_over(Role::Backup, 100, Cause::Told("the peer goes".to_owned()))
    );
    assert_eq!(machine.start(ms(11_000)), []);
    assert_eq!(machine.resume(ms(11_000)), []);
    // During a hand-over the priority is 0, whatever changes.
    machine.resign("maintenance", true, ms(10_500));
    assert_eq!(machine.set_priority(90, ms(10_600)), []);
}

#[test]
fn other_settings_keep_the_role() {
    let mut machine = active();
    let fast = Settings {
        version: Version::V3,
        interval: ms(100),
        ..settings()
    };
    machine.set_settings(fast.clone(), ms(10_200));
    assert_eq!(machine.role(), Role::Active);
    assert_eq!(machine.next_deadline(), Some(ms(10_200)));
    let mut idle = backup(settings());
    idle.set_settings(fast, ms(200));
    assert_eq!(idle.next_deadline().map(|at| at.as_micros()), Some(560_937));
}

/// What a director in each state makes of each event.
#[test]
fn every_state_and_event() {
    const NOW: Duration = ms(20_000);
    let aside = || {
        let mut machine = active_since(ms(18_000));
        machine.resign("maintenance", true, ms(18_100));
        machine.on_advert(&heard(50), ms(19_000));
        machine
    };
    let handing_over = |for_good: bool| {
        let mut machine = active_since(ms(19_500));
        if for_good {
            machine.leave("stopping", ms(19_900));
        } else {
            machine.resign("maintenance", true, ms(19_900));
        }
        machine
    };
    let mut fault = backup(settings());
    fault.set_fault(Some("eth0 is down"), ms(1));
    let mut fresh = Machine::new(settings(), OWN);
    fresh.start(ms(19_000));
    let states = [
        ("init", Machine::new(settings(), OWN)),
        ("fault", fault),
        ("backup", fresh),
        ("aside", aside()),
        ("active", active_since(ms(19_500))),
        ("handing over", handing_over(false)),
        ("leaving", handing_over(true)),
    ];
    type Event = fn(&mut Machine) -> Vec<Action>;
    let from = |last: u8, priority| Heard {
        source: IpAddr::from([192, 0, 2, last]),
        ..heard(priority)
    };
    let adverts = [
        ("advert 0", from(2, 0)),
        ("advert weaker", from(2, 50)),
        ("advert equal, lower", from(0, OWN)),
        ("advert equal, higher", from(2, OWN)),
        ("advert stronger", from(2, 150)),
    ];
    let events: [(&str, Event); 16] = [
        ("start", |m| m.start(NOW)),
        ("resume", |m| m.resume(NOW)),
        ("deadline, early", |m| m.on_deadline(NOW)),
        ("deadline, due", |m| {
            m.on_deadline(m.next_deadline().unwrap_or(NOW))
        }),
        ("wake", |m| m.wake(NOW)),
        ("wake, frozen", |m| m.wake(NOW + SECOND * 9)),
        ("claim", |m| m.on_claim(NOW)),
        ("resign", |m| m.resign("told", true, NOW)),
        ("leave", |m| m.leave("told", NOW)),
        ("take over", |m| m.take_over("told", NOW)),
        ("step down", |m| m.step_down("told", NOW)),
        ("fault", |m| m.set_fault(Some("told"), NOW)),
        ("no fault", |m| m.set_fault(None, NOW)),
        ("same priority", |m| m.set_priority(OWN, NOW)),
        ("other priority", |m| m.set_priority(80, NOW)),
        ("other interval", |m| {
            let interval = SECOND * 2;
            m.set_settings(
                Settings {
                    interval,
                    ..settings()
                },
                NOW,
            );
            Vec::new()
        }),
    ];
    let mut table = String::new();
    for (state, machine) in states {
        let mut row =
            |event: &str, mut machine: Machine, turn: &dyn Fn(&mut Machine) -> Vec<Action>| {
                let actions: Vec<_> = turn(&mut machine).iter().map(short).collect();
                let after = match (machine.is_leaving(), machine.stands_aside()) {
                    (true, _) => ", handing over",
                    (_, true) => ", aside",
                    _ => "",
                };
                table += &format!(
                    "{state:13}{event:21}{:47}{}{after}, due {}\n",
                    actions.join(" "),
                    machine.role().name(),
                    machine
                        .next_deadline()
                        .map_or("never".to_owned(), |at| at.as_millis().to_string()),
                );
            };
        for (event, heard) in &adverts {
            row(event, machine.clone(), &|m| m.on_advert(heard, NOW));
        }
        for (event, turn) in &events {
            row(event, machine.clone(), &|m| turn(m));
        }
    }
    insta::assert_snapshot!(table);
}

fn short(action: &Action) -> String {
    match action {
        Action::Advertise { priority } => format!("advertise({priority})"),
        Action::Hold => "hold".to_owned(),
        Action::Announce { times } => format!("announce({times})"),
        Action::Release => "release".to_owned(),
        Action::Turned { from, to, .. } => format!("{}>{}", from.name(), to.name()),
        Action::Stayed => "stayed".to_owned(),
    }
}

/// Directors on one link, in simulated time.
struct Link {
    now: Duration,
    machines: Vec<Machine>,
    /// Who holds the addresses, and until when the kernel lets them.
    leases: Vec<Option<Duration>>,
    /// Not running until then.
    frozen: Vec<Duration>,
    /// The directors that are cut off.
    cut: Vec<bool>,
}

impl Link {
    fn new(priorities: &[u8], settings: &Settings) -> Self {
        let machines = (1..).zip(priorities).map(|(last, &priority)| {
            let source = IpAddr::from([192, 0, 2, last]);
            Machine::new(
                Settings {
                    source,
                    ..settings.clone()
                },
                priority,
            )
        });
        let mut link = Self {
            now: Duration::ZERO,
            machines: machines.collect(),
            leases: vec![None; priorities.len()],
            frozen: vec![Duration::ZERO; priorities.len()],
            cut: vec![false; priorities.len()],
        };
        for at in 0..link.machines.len() {
            let actions = link.machines[at].start(Duration::ZERO);
            link.perform(at, actions);
        }
        link
    }

    fn perform(&mut self, at: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Hold => {
                    self.leases[at] = Some(self.now + lease(self.machines[at].settings.interval))
                }
                Action::Release => self.leases[at] = None,
                Action::Advertise { priority } => self.broadcast(at, priority),
                Action::Announce { .. } | Action::Turned { .. } | Action::Stayed => {}
            }
        }
    }

    fn broadcast(&mut self, from: usize, priority: u8) {
        if self.cut[from] {
            return;
        }
        let settings = &self.machines[from].settings;
        let heard = Heard {
            source: settings.source,
            priority,
            interval: settings.interval,
        };
        for to in 0..self.machines.len() {
            if to != from && !self.cut[to] && self.frozen[to] <= self.now {
                let actions = self.machines[to].on_advert(&heard, self.now);
                self.perform(to, actions);
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = (0..self.machines.len())
                .filter_map(|at| {
                    Some((
                        self.machines[at]
                            .next_deadline()?
                            .max(self.frozen[at])
                            .max(self.now),
                        at,
                    ))
                })
                .min();
            let Some((due, at)) = due.filter(|(due, _)| *due <= end) else {
                self.now = end;
                return;
            };
            self.now = due;
            let actions = self.machines[at].on_deadline(due);
            self.perform(at, actions);
        }
    }

    fn holders(&self) -> Vec<usize> {
        (0..self.leases.len())
            .filter(|&at| self.leases[at].is_some_and(|until| until > self.now))
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Blow {
    Freeze(usize, u64),
    Cut(usize, bool),
    Resign(usize),
    Fault(usize, bool),
    Priority(usize, u8),
    Run(u64),
}

fn blow() -> impl Strategy<Value = Blow> {
    let who = 0usize..2;
    prop_oneof![
        (who.clone(), 1u64..20_000).prop_map(|(at, time)| Blow::Freeze(at, time)),
        (who.clone(), any::<bool>()).prop_map(|(at, cut)| Blow::Cut(at, cut)),
        who.clone().prop_map(Blow::Resign),
        (who.clone(), any::<bool>()).prop_map(|(at, fault)| Blow::Fault(at, fault)),
        (who, 1u8..=254).prop_map(|(at, priority)| Blow::Priority(at, priority)),
        (1u64..10_000).prop_map(Blow::Run),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happened: once all run and hear each other, exactly one has the addresses, and keeps them.
    #[test]
    fn after_any_blows_there_is_one(
        priorities: [u8; 2],
        blows in prop::collection::vec(blow(), 0..30),
        preempt: bool,
        fast: bool,
    ) {
        let settings = Settings {
            version: if fast { Version::V3 } else { Version::V2 },
            interval: if fast { ms(100) } else { SECOND },
            preempt,
            ..settings()
        };
        let mut link = Link::new(&priorities.map(|priority| priority.clamp(1, 254)), &settings);
        for blow in blows {
            match blow {
                Blow::Freeze(at, time) => link.frozen[at] = link.now + ms(time),
                Blow::Cut(at, cut) => link.cut[at] = cut,
                Blow::Resign(at) => {
                    let actions = link.machines[at].resign("blow", true, link.now);
                    link.perform(at, actions);
                }
                Blow::Fault(at, fault) => {
                    let actions = link.machines[at].set_fault(fault.then_some("blow"), link.now);
                    link.perform(at, actions);
                }
                Blow::Priority(at, priority) => {
                    let actions = link.machines[at].set_priority(priority, link.now);
                    link.perform(at, actions);
                }
                Blow::Run(time) => link.run(ms(time)),
            }
        }
        for at in 0..2 {
            link.cut[at] = false;
            link.frozen[at] = link.frozen[at].min(link.now);
            let actions = link.machines[at].set_fault(None, link.now);
            link.perform(at, actions);
        }
        link.run(SECOND * 12);
        let holder = link.holders();
        prop_assert_eq!(holder.len(), 1, "{:?}", link.machines);
        link.run(SECOND * 30);
        prop_assert_eq!(link.holders(), holder);
    }
}

#[test]
fn two_never_hold_for_longer_than_an_advert_takes_when_one_freezes() {
    for priorities in [[100, 101], [254, 1], [1, 254]] {
        let mut link = Link::new(&priorities, &settings());
        link.run(SECOND * 20);
        let holder = link.holders()[0];
        link.frozen[holder] = link.now + ms(10_300);
        for _ in 0..1200 {
            link.run(ms(10));
            assert!(
                link.holders().len() <= 1,
                "{priorities:?} at {:?}",
                link.now
            );
        }
        assert_eq!(link.holders().len(), 1);
    }
}
