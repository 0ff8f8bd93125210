//! How often the snapshot that everybody reads is made anew: at once where that is cheap, and with thousands of servers so
//! seldom that most of the time is left for the work itself.

use std::time::Duration;

/// Between two snapshots passes so many times what the last one took.
const REST: u32 = 20;

/// When the next snapshot is due. Times are since the start of the process.
#[derive(Default)]
pub struct Pace {
    made_at: Duration,
    took: Duration,
    due: Option<Duration>,
}

impl Pace {
    /// Something may have changed. Whether the snapshot is to be made now; if not, [`Self::due`] says when.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let due = self.made_at + self.took * REST;
        if due <= now {
            return true;
        }
        self.due = Some(due);
        false
    }

    /// It was made, from `began` to `now`.
    pub const fn made(&mut self, began: Duration, now: Duration) {
        self.took = now.saturating_sub(began);
        self.made_at = now;
        self.due = None;
    }

    /// When what has changed is to be shown; nothing has: never.
    pub const fn due(&self) -> Option<Duration> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_cheap_snapshot_is_made_at_once_and_a_dear_one_after_a_rest() {
        let mut pace = Pace::default();
        assert!(pace.is_due(ms(0)));
        pace.made(ms(0), ms(0));
        assert!(pace.is_due(ms(1)));

        pace.made(ms(1), ms(6));
        assert_eq!(pace.due(), None);
        assert!(!pace.is_due(ms(105)));
        assert_eq!(pace.due(), Some(ms(106)));
        // More changes do not put it off.
        assert!(!pace.is_due(ms(105)));
        assert_eq!(pace.due(), Some(ms(106)));
        assert!(pace.is_due(ms(106)));
        pace.made(ms(106), ms(106));
        assert_eq!(pace.due(), None);
    }
}
