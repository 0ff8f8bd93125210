//! The rate of a service over the last minutes, as far as this process has seen it.

use std::collections::VecDeque;

/// Five minutes, where the daemon is asked every second.
const KEPT: usize = 300;

#[derive(Clone, Debug, Default)]
pub struct History {
    samples: VecDeque<u64>,
    /// All that ever came. Cells begin at multiples of their width, so that they do not shimmer as time goes on.
    pushed: usize,
}

impl History {
    pub fn push(&mut self, rate: u64) {
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(rate);
        self.pushed += 1;
    }

    /// The highest rate in each of at most `width` equal parts of the time, oldest first.
    pub fn cells(&self, width: usize) -> Vec<u64> {
        if width == 0 {
            return Vec::new();
        }
        let per_cell = KEPT.div_ceil(width);
        let first = self.pushed - self.samples.len();
        let mut cells: Vec<u64> = Vec::new();
        for (index, rate) in self.samples.iter().enumerate() {
            match cells.last_mut() {
                Some(cell) if !(first + index).is_multiple_of(per_cell) => {
                    *cell = (*cell).max(*rate)
                }
                _ => cells.push(*rate),
            }
        }
        let surplus = cells.len().saturating_sub(width);
        cells.split_off(surplus)
    }

    /// [`Self::cells`] drawn as a line; the highest of them reaches the top.
    pub fn line(&self, width: usize, unicode: bool) -> String {
        const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const ASCII: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];
        let steps = if unicode { BLOCKS } else { ASCII };
        let cells = self.cells(width);
        let top = u128::from(cells.iter().copied().max().unwrap_or(0).max(1));
        cells
            .into_iter()
            .map(|rate| {
                // A rate above zero is seen, however high the highest is.
                let step = (u128::from(rate) * 7).div_ceil(top);
                steps[usize::try_from(step).unwrap_or(7).min(7)]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(rates: impl IntoIterator<Item = u64>) -> History {
        let mut history = History::default();
        rates.into_iter().for_each(|rate| history.push(rate));
        history
    }

    #[test]
    fn a_cell_is_the_highest_of_its_part_and_keeps_its_place() {
        // Thirty cells of ten.
        let mut rates = history((0..300).map(|second| u64::from(second == 25) * 9));
        assert_eq!(rates.cells(30)[2], 9);
        assert_eq!(rates.cells(30).iter().sum::<u64>(), 9);
        for _ in 0..10 {
            rates.push(0);
            assert!(rates.cells(30).len() <= 30);
        }
        assert_eq!(rates.cells(30)[1], 9, "moved by one cell in ten seconds");
        assert_eq!(history([]).cells(30), [0; 0]);
        assert_eq!(rates.cells(0), [0; 0]);
    }

    #[test]
    fn the_line_shows_any_rate_and_zero_only_for_none() {
        let rates = history((0..300).map(|second| [0, 1, 50, 100][second / 75]));
        assert_eq!(rates.line(4, true), "▁▂▅█");
        assert_eq!(rates.line(4, false), "_.=#");
        assert_eq!(history([0, 0]).line(300, true), "▁▁");
        assert_eq!(history([u64::MAX]).line(1, true), "█");
    }
}
