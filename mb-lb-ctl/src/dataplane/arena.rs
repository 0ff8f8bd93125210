//! Who has which part of an arena map. First fit; regions are few and live long.

use std::collections::BTreeMap;

/// Free space of `0..size`.
#[derive(Debug)]
pub struct Arena {
    size: u32,
    /// Start to length.
    used: BTreeMap<u32, u32>,
}

impl Arena {
    pub const fn new(size: u32) -> Self {
        Self {
            size,
            used: BTreeMap::new(),
        }
    }

    /// Marks what an earlier controller allocated. False: it overlaps something, or lies outside.
    pub fn claim(&mut self, start: u32, len: u32) -> bool {
        if len == 0 {
            return true;
        }
        let free = self.gap_before(start).is_some_and(|(from, to)| {
            from <= start && start.checked_add(len).is_some_and(|end| end <= to)
        });
        if free {
            self.used.insert(start, len);
        }
        free
    }

    /// `None`: no room.
    pub fn allocate(&mut self, len: u32) -> Option<u32> {
        if len == 0 {
            return Some(0);
        }
        let mut from = 0;
        for (&start, &used) in &self.used {
            if start - from >= len {
                break;
            }
            from = start + used;
        }
        if self.size - from < len {
            return None;
        }
        self.used.insert(from, len);
        Some(from)
    }

    pub fn free(&mut self, start: u32, len: u32) {
        if len != 0 {
            self.used.remove(&start);
        }
    }

    /// The free stretch that contains `at`.
    fn gap_before(&self, at: u32) -> Option<(u32, u32)> {
        let from = self
            .used
            .range(..=at)
            .next_back()
            .map_or(0, |(start, len)| start + len);
        let to = self
            .used
            .range(at..)
            .next()
            .map_or(self.size, |(start, _)| *start);
        (from <= at && at < to).then_some((from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn regions_never_overlap(steps in prop::collection::vec((any::<bool>(), 1u32..40), 1..200)) {
            let mut arena = Arena::new(500);
            let mut held: Vec<(u32, u32)> = Vec::new();
            for (allocate, n) in steps {
                if allocate {
                    if let Some(start) = arena.allocate(n) {
                        prop_assert!(start + n <= 500);
                        for &(s, l) in &held {
                            prop_assert!(start + n <= s || s + l <= start);
                        }
                        held.push((start, n));
                    }
                } else if !held.is_empty() {
                    let (start, len) = held.remove(n as usize % held.len());
                    arena.free(start, len);
                }
            }
            // Another controller learns the same from what it reads back.
            let mut other = Arena::new(500);
            for &(start, len) in &held {
                prop_assert!(other.claim(start, len));
                prop_assert!(!other.claim(start, len));
            }
        }
    }

    #[test]
    fn full_is_said() {
        let mut arena = Arena::new(10);
        assert_eq!(arena.allocate(6), Some(0));
        assert_eq!(arena.allocate(5), None);
        assert_eq!(arena.allocate(4), Some(6));
        arena.free(0, 6);
        assert_eq!(arena.allocate(5), Some(0));
        assert!(!arena.claim(9, 2));
    }
}
