//! The clock of the other director beside this one's, from the times at which its messages were sent.

use std::collections::VecDeque;

/// At one message a second, a clock that was set is seen after as many seconds.
const KEPT: usize = 8;

/// What the last messages say. Pure: the times come from outside.
#[derive(Clone, Debug, Default)]
pub struct PeerClock {
    /// When each was sent by the peer's clock, less when it was heard by this one, in milliseconds.
    ahead: VecDeque<i64>,
}

impl PeerClock {
    /// Both are Unix times in milliseconds.
    pub fn heard(&mut self, sent_at_ms: u64, now_ms: u64) {
        if self.ahead.len() == KEPT {
            self.ahead.pop_front();
        }
        let ahead = i128::from(sent_at_ms) - i128::from(now_ms);
        let bound = |bound: i64| i128::from(bound);
        let ahead = ahead.clamp(bound(-i64::MAX), bound(i64::MAX));
        self.ahead
            .push_back(i64::try_from(ahead).unwrap_or_default());
    }

    /// By how much the peer's clock is ahead. What a message waits on its way makes it seem behind, so the one that waited
    /// least counts, and the way takes half of the round trip.
    pub fn ahead_ms(&self, round_trip_us: Option<u64>) -> Option<i64> {
        let least_delayed = self.ahead.iter().max()?;
        let way = round_trip_us.unwrap_or_default() / 2 / 1000;
        Some(least_delayed.saturating_add(i64::try_from(way).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn the_message_that_waited_least_counts_and_its_way_is_half_of_the_round_trip() {
        let mut clock = PeerClock::default();
        assert_eq!(clock.ahead_ms(Some(2_000)), None);
        for late in [40, 3, 9_000, 12] {
            clock.heard(NOW + 5_000, NOW + late);
        }
        assert_eq!(clock.ahead_ms(None), Some(4_997));
        assert_eq!(clock.ahead_ms(Some(6_900)), Some(5_000));
    }

    #[test]
    fn a_clock_that_is_set_back_is_seen_when_the_older_messages_are_forgotten() {
        let mut clock = PeerClock::default();
        clock.heard(NOW + 60_000, NOW);
        for second in 1..=KEPT as u64 {
            assert_eq!(clock.ahead_ms(None), Some(60_000));
            let now = NOW + second * 1_000;
            clock.heard(now, now);
        }
        assert_eq!(clock.ahead_ms(None), Some(0));
    }

    #[test]
    fn no_time_is_too_far_away() {
        let mut clock = PeerClock::default();
        clock.heard(u64::MAX, 0);
        assert_eq!(clock.ahead_ms(Some(u64::MAX)), Some(i64::MAX));
        let mut clock = PeerClock::default();
        clock.heard(0, u64::MAX);
        assert_eq!(clock.ahead_ms(None), Some(-i64::MAX));
    }
}
