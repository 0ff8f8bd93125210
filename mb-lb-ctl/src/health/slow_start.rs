//! Slow start: a server that comes back gets its weight in steps, so that a cold mail server is not handed
//! the share of new flows that its idleness would earn it under least-connections.

use std::time::Duration;

use super::Transition;

/// Share of the weight that a server starts with, in percent.
const FIRST_PERCENT: u32 = 10;

/// Steps of a ramp. Each costs one write to the kernel, so they are few.
const STEPS: u32 = 20;

/// Percent of the weight, 10 to 100, for a server that has been up for `since_up`. Rises linearly, in steps
/// of one twentieth of `slow_start`; 100 where `slow_start` is zero.
pub fn ramp_percent(since_up: Duration, slow_start: Duration) -> u8 {
    let percent = match steps_done(since_up, slow_start) {
        Some(step) => FIRST_PERCENT + (100 - FIRST_PERCENT) * step / STEPS,
        None => 100,
    };
    u8::try_from(percent).expect("it is at most 100")
}

/// When, counted from the moment the server came up, [`ramp_percent`] changes next; `None` once it is 100.
pub fn next_step(since_up: Duration, slow_start: Duration) -> Option<Duration> {
    let step = steps_done(since_up, slow_start)? + 1;
    let nanos = (slow_start.as_nanos() * u128::from(step)).div_ceil(u128::from(STEPS));
    Some(from_nanos(nanos))
}

/// `None`: the ramp is over.
fn steps_done(since_up: Duration, slow_start: Duration) -> Option<u32> {
    let done = (since_up.as_nanos() * u128::from(STEPS)).checked_div(slow_start.as_nanos())?;
    u32::try_from(done).ok().filter(|step| *step < STEPS)
}

fn from_nanos(nanos: u128) -> Duration {
    let seconds = nanos / 1_000_000_000;
    let rest = nanos % 1_000_000_000;
    Duration::new(
        u64::try_from(seconds).expect("a part of a Duration fits a Duration"),
        u32::try_from(rest).expect("it is below 1e9"),
    )
}

/// The ramp of one server: runs after a recovery, not when the server is seen for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowStart {
    up_at: Option<Duration>,
}

impl SlowStart {
    /// Starts the ramp at a recovery and forgets it at any other change.
    pub fn on_transition(&mut self, transition: Transition, now: Duration) {
        self.up_at = transition.is_recovery().then_some(now);
    }

    /// Starts the ramp for another reason than a recovery, such as the end of a maintenance.
    pub fn start(&mut self, now: Duration) {
        self.up_at = Some(now);
    }

    /// Percent of the weight at `now`.
    pub fn percent(&self, slow_start: Duration, now: Duration) -> u8 {
        match self.up_at {
            Some(up_at) => ramp_percent(now.saturating_sub(up_at), slow_start),
            None => 100,
        }
    }

    /// When [`SlowStart::percent`] changes next; `None` where no ramp is under way at `now`.
    pub fn next_deadline(&self, slow_start: Duration, now: Duration) -> Option<Duration> {
        let up_at = self.up_at?;
        Some(up_at + next_step(now.saturating_sub(up_at), slow_start)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::HealthState::{Down, Unknown, Up};

    const RAMP: Duration = Duration::from_secs(30);

    #[test]
    fn weight_rises_linearly_from_10_to_100_percent() {
        let table = [
            (0, 10),
            (1_499, 10),
            (1_500, 14),
            (3_000, 19),
            (15_000, 55),
            (28_499, 91),
            (28_500, 95),
            (29_999, 95),
            (30_000, 100),
            (3_600_000, 100),
        ];
        for (millis, percent) in table {
            assert_eq!(
                ramp_percent(Duration::from_millis(millis), RAMP),
                percent,
                "after {millis} ms"
            );
        }
    }

    #[test]
    fn without_a_slow_start_there_is_no_ramp() {
        assert_eq!(ramp_percent(Duration::ZERO, Duration::ZERO), 100);
        assert_eq!(next_step(Duration::ZERO, Duration::ZERO), None);
    }

    #[test]
    fn only_a_recovery_starts_the_ramp() {
        let now = Duration::from_secs(100);
        for (from, to, percent) in [
            (Unknown, Up, 100),
            (Unknown, Down, 100),
            (Down, Up, 10),
            (Up, Down, 100),
        ] {
            let mut ramp = SlowStart::default();
            ramp.on_transition(Transition { from, to }, now);
            assert_eq!(ramp.percent(RAMP, now), percent, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn a_fall_ends_the_ramp() {
        let mut ramp = SlowStart::default();
        ramp.start(Duration::from_secs(1));
        assert_eq!(
            ramp.next_deadline(RAMP, Duration::from_secs(1)),
            Some(Duration::from_millis(2_500))
        );
        ramp.on_transition(Transition { from: Up, to: Down }, Duration::from_secs(2));
        assert_eq!(ramp.next_deadline(RAMP, Duration::from_secs(2)), None);
    }

    proptest! {
        #[test]
        fn a_ramp_takes_at_most_twenty_steps_and_each_shows(nanos in 1u64..=u64::MAX) {
            let slow_start = Duration::from_nanos(nanos);
            let (mut now, mut steps, mut percent) = (Duration::ZERO, 0, ramp_percent(Duration::ZERO, slow_start));
            while let Some(next) = next_step(now, slow_start) {
                prop_assert!(next > now);
                prop_assert_eq!(ramp_percent(next - Duration::from_nanos(1), slow_start), percent);
                let after = ramp_percent(next, slow_start);
                prop_assert!(after > percent);
                (now, percent, steps) = (next, after, steps + 1);
            }
            prop_assert!(steps <= 20);
            prop_assert_eq!(percent, 100);
        }

        #[test]
        fn any_durations_are_safe(since in any::<Duration>(), ramp in any::<Duration>()) {
            prop_assert!((10..=100).contains(&ramp_percent(since, ramp)));
            prop_assert!(next_step(since, ramp).is_none_or(|next| next > since));
        }
    }
}
