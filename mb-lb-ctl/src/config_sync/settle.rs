//! When a source that changes is worth a run: when it has stood still from one look to the next, so that files are not
//! sent half written; but one that never stands still does not wait for ever.

use std::time::Duration;

/// A source that never stands still is sent after so long all the same.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen of one source.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// As last reported.
    told: Option<Result<u64, String>>,
    last: Option<u64>,
    /// The first look at which it differed from what was told.
    since: Option<Duration>,
}

impl Settling {
    /// Takes a look (a fingerprint, or why there is none) and gives what is to be reported, if anything is. The
    /// first look always is: whoever runs after it misses no change.
    pub(super) fn look(
        &mut self,
        seen: Result<u64, String>,
        now: Duration,
    ) -> Option<Result<(), String>> {
        if self.told.as_ref() == Some(&seen) {
            self.since = None;
            self.last = None;
            return None;
        }
        if let (Ok(seen), Some(_)) = (&seen, &self.told) {
            let still = self.last == Some(*seen);
            let since = *self.since.get_or_insert(now);
            self.last = Some(*seen);
            if !still && now.saturating_sub(since) < PATIENCE {
                return None;
            }
        }
        self.since = None;
        self.last = None;
        self.told = Some(seen.clone());
        Some(seen.map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_change_is_told_once_when_it_stands_still() {
        let mut settling = Settling::default();
        assert_eq!(settling.look(Ok(1), at(0)), Some(Ok(())));
        assert_eq!(settling.look(Ok(1), at(1)), None);
        assert_eq!(settling.look(Ok(2), at(2)), None);
        assert_eq!(settling.look(Ok(3), at(3)), None);
        assert_eq!(settling.look(Ok(3), at(4)), Some(Ok(())));
        assert_eq!(settling.look(Ok(3), at(5)), None);
        // There and back again between two looks: as it was.
        assert_eq!(settling.look(Ok(4), at(6)), None);
        assert_eq!(settling.look(Ok(3), at(7)), None);
        assert_eq!(settling.look(Ok(4), at(8)), None);
        assert_eq!(settling.look(Ok(4), at(9)), Some(Ok(())));
    }

    #[test]
    fn what_never_stands_still_is_told_after_a_while() {
        let mut settling = Settling::default();
        settling.look(Ok(0), at(0));
        let told: Vec<u64> = (1..=30)
            .filter(|&second| settling.look(Ok(second), at(second)).is_some())
            .collect();
        assert_eq!(told, [11, 22]);
    }

    #[test]
    fn a_source_that_cannot_be_looked_at_is_told_at_once_and_once() {
        let mut settling = Settling::default();
        let gone = || Err("gone".to_owned());
        assert_eq!(settling.look(gone(), at(0)), Some(gone().map(|_: u64| ())));
        assert_eq!(settling.look(gone(), at(1)), None);
        assert_eq!(settling.look(Ok(1), at(2)), None);
        assert_eq!(settling.look(Ok(1), at(3)), Some(Ok(())));
        assert_eq!(settling.look(gone(), at(4)), Some(gone().map(|_: u64| ())));
    }
}
