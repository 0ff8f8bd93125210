use proptest::prelude::*;

use super::*;
use crate::config::CheckKind;
use HealthState::{Down, Unknown, Up};
use Outcome::{Failure, Refused, Success};

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A server with rise 2 and fall 3 (levels 0 to 4) in the given state.
fn health(state: HealthState, level: u32) -> Health {
    let mut health = Health::new(2, 3, at(0));
    health.state = state;
    health.level = level;
    health
}

fn check() -> Check {
    Check {
        via: crate::config::Via::Server,
        kind: CheckKind::Tcp,
        port: Some(25),
        interval: at(10),
        fast_interval: at(1),
        down_interval: at(5),
        timeout: at(1),
        rise: 2,
        fall: 3,
    }
}

#[test]
fn every_state_and_result() {
    let table = [
        (Unknown, 0, Success, Up, 4),
        (Unknown, 0, Failure, Down, 0),
        (Up, 4, Success, Up, 4),
        (Up, 4, Failure, Up, 3),
        (Up, 3, Success, Up, 4),
        (Up, 3, Failure, Up, 2),
        (Up, 2, Success, Up, 4),
        (Up, 2, Failure, Down, 0),
        (Down, 0, Success, Down, 1),
        (Down, 0, Failure, Down, 0),
        (Down, 1, Success, Up, 4),
        (Down, 1, Failure, Down, 0),
        (Unknown, 0, Refused, Down, 0),
        (Up, 4, Refused, Up, 2),
        (Up, 3, Refused, Down, 0),
        (Up, 2, Refused, Down, 0),
        (Down, 0, Refused, Down, 0),
        (Down, 1, Refused, Down, 0),
    ];
    for (state, level, outcome, to, level_after) in table {
        let mut health = health(state, level);
        let transition = health.on_result(outcome, at(7));
        let case = format!("{state:?} {level} {outcome:?}");
        assert_eq!(
            (health.state(), health.level()),
            (to, level_after),
            "{case}"
        );
        let expected = (state != to).then_some(Transition { from: state, to });
        assert_eq!(transition, expected, "{case}");
        assert_eq!(
            health.since(),
            if state == to { at(0) } else { at(7) },
            "{case}"
        );
        assert_eq!(
            health.failures(),
            u64::from(state == Up && outcome != Success),
            "{case}"
        );
        assert_eq!(
            health.falls(),
            u64::from(state == Up && to == Down),
            "{case}"
        );
    }
}

#[test]
fn interval_follows_the_certainty_of_the_state() {
    let table = [
        (Unknown, 0, 1),
        (Up, 4, 10),
        (Up, 3, 1),
        (Up, 2, 1),
        (Down, 0, 5),
        (Down, 1, 1),
    ];
    for (state, level, seconds) in table {
        assert_eq!(
            health(state, level).interval(&check()),
            at(seconds),
            "{state:?} {level}"
        );
    }
}

#[test]
fn new_limits_keep_the_state() {
    // (state, level) under rise 2 and fall 3, new limits, level after.
    let table = [
        (Unknown, 0, 5, 5, 0),
        (Up, 4, 1, 1, 1),
        (Up, 4, 3, 5, 7),
        (Up, 3, 3, 5, 6),
        (Up, 2, 2, 2, 2),
        (Up, 2, 255, 255, 507),
        (Down, 0, 1, 1, 0),
        (Down, 1, 1, 3, 0),
        (Down, 1, 3, 3, 1),
    ];
    for (state, level, rise, fall, after) in table {
        let mut health = health(state, level);
        health.set_limits(rise, fall);
        assert_eq!(
            (health.state(), health.level()),
            (state, after),
            "{state:?} {level} {rise}/{fall}"
        );
    }
}

#[test]
fn forgetting_lets_the_next_check_decide() {
    let mut health = health(Up, 4);
    assert_eq!(
        health.forget(at(1)),
        Some(Transition {
            from: Up,
            to: Unknown
        })
    );
    assert_eq!(health.forget(at(2)), None);
    assert_eq!((health.level(), health.streak(), health.falls()), (0, 0, 0));
    assert_eq!(
        health.on_result(Failure, at(3)),
        Some(Transition {
            from: Unknown,
            to: Down
        })
    );
    assert_eq!(health.falls(), 0, "it did not fall from up");
}

#[test]
fn history_keeps_the_last_twenty() {
    let mut health = Health::new(1, 1, at(0));
    for n in 0..30 {
        health.on_result(if n % 3 == 0 { Failure } else { Success }, at(n));
    }
    let expected: Vec<bool> = (10..30).map(|n| n % 3 != 0).collect();
    assert_eq!(health.history().collect::<Vec<_>>(), expected);
    assert_eq!(health.streak(), 2);
}

#[test]
fn downtime_adds_up() {
    let mut health = Health::new(1, 1, at(0));
    health.on_result(Failure, at(10));
    assert_eq!(health.downtime(at(15)), at(5));
    health.on_result(Success, at(20));
    assert_eq!(health.downtime(at(99)), at(10));
    health.on_result(Failure, at(100));
    assert_eq!(health.downtime(at(101)), at(11));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Result(bool),
    Limits(u8, u8),
    Forget,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        prop_oneof![
            20 => any::<bool>().prop_map(Step::Result),
            1 => (1u8..8, 1u8..8).prop_map(|(rise, fall)| Step::Limits(rise, fall)),
            1 => Just(Step::Forget),
        ],
        0..200,
    )
}

proptest! {
    /// Between changes of the limits, health is: `fall` failures in a row bring a server down, `rise`
    /// successes in a row bring it up, the first result of all decides.
    #[test]
    fn agrees_with_counting_runs(rise in 1u8..8, fall in 1u8..8, results in prop::collection::vec(any::<bool>(), 0..200)) {
        let mut health = Health::new(rise, fall, at(0));
        let (mut state, mut run, mut falls) = (Unknown, 0u8, 0);
        for (n, success) in results.into_iter().enumerate() {
            let before = state;
            match (state, success) {
                (Unknown, _) => { state = if success { Up } else { Down }; run = 0; }
                (Up, true) | (Down, false) => run = 0,
                (Up, false) => { run += 1; if run == fall { (state, run) = (Down, 0); falls += 1; } }
                (Down, true) => { run += 1; if run == rise { (state, run) = (Up, 0); } }
            }
            let outcome = if success { Success } else { Failure };
            let transition = health.on_result(outcome, at(n as u64));
            prop_assert_eq!(health.state(), state);
            prop_assert_eq!(transition.is_some(), before != state);
            prop_assert_eq!(health.falls(), falls);
            prop_assert_eq!(health.interval(&check()), match (state, run) {
                (Up, 0) => at(10), (Down, 0) => at(5), _ => at(1),
            });
        }
    }

    #[test]
    fn level_and_state_never_contradict(first in (1u8..8, 1u8..8), steps in steps()) {
        let (mut rise, mut fall) = first;
        let mut health = Health::new(rise, fall, at(0));
        for (n, step) in steps.into_iter().enumerate() {
            let now = at(n as u64);
            let before = health.state();
            match step {
                Step::Result(success) => {
                    health.on_result(if success { Success } else { Failure }, now);
                }
                Step::Limits(new_rise, new_fall) => {
                    (rise, fall) = (new_rise, new_fall);
                    health.set_limits(rise, fall);
                    prop_assert_eq!(health.state(), before);
                }
                Step::Forget => { health.forget(now); }
            }
            let (level, rise, full) = (health.level(), u32::from(rise), u32::from(rise) + u32::from(fall) - 1);
            match health.state() {
                Unknown => prop_assert_eq!(level, 0),
                Up => prop_assert!((rise..=full).contains(&level)),
                Down => prop_assert!(level < rise),
            }
            prop_assert!(health.history().len() <= HISTORY);
        }
    }
}
