//! Half-open connections in the load metric: a window of one second, and the one before it.
//!
//! A SYN is counted in the present window and its ACK takes it out again. What is never taken out (a lost or
//! forged SYN) vanishes with its window. Nothing has to be cleaned up, so nothing can leak.

use mb_lb_common::{PendingWindow, ServerCount};

use crate::atomic;

/// Attempts of a compare-and-swap. Losing all of them leaves one SYN uncounted for at most two windows.
const ATTEMPTS: usize = 4;

/// Marks an entry that is in no window. Real epochs are never 0: jiffies start far above.
pub const UNCOUNTED: u32 = 0;

/// Counts a SYN. Returns the epoch to remember for [`take_out`].
///
/// # Safety
/// `count` points into the map of counts.
#[inline(always)]
pub unsafe fn put_in(count: *mut ServerCount, epoch: u32) -> u32 {
    // SAFETY: the caller's; the index is 0 or 1.
    let window = unsafe {
        (&raw mut (*count).pending)
            .cast::<u64>()
            .add((epoch & 1) as usize)
    };
    for _ in 0..ATTEMPTS {
        // SAFETY: inside the map value.
        let old = unsafe { atomic::load(window) };
        let present = PendingWindow(old);
        let new = if present.epoch() == epoch {
            old + 1
        } else {
            PendingWindow::new(epoch, 1).0
        };
        // SAFETY: inside the map value.
        if unsafe { atomic::compare_and_swap(window, old, new) } {
            return epoch;
        }
    }
    UNCOUNTED
}

/// Takes a SYN out of the window that it was counted in, if that window still is.
///
/// # Safety
/// As [`put_in`].
#[inline(always)]
pub unsafe fn take_out(count: *mut ServerCount, epoch: u32) {
    if epoch == UNCOUNTED {
        return;
    }
    // SAFETY: the caller's; the index is 0 or 1.
    let window = unsafe {
        (&raw mut (*count).pending)
            .cast::<u64>()
            .add((epoch & 1) as usize)
    };
    for _ in 0..ATTEMPTS {
        // SAFETY: inside the map value.
        let old = unsafe { atomic::load(window) };
        let present = PendingWindow(old);
        if present.epoch() != epoch || present.count() == 0 {
            return;
        }
        // SAFETY: inside the map value.
        if unsafe { atomic::compare_and_swap(window, old, old - 1) } {
            return;
        }
    }
}

/// All ones where `a` and `b` are equal, else 0, without a branch.
#[inline(always)]
const fn equal_mask(a: u32, b: u32) -> u64 {
    (((a ^ b) as u64).wrapping_sub(1) as i64 >> 63) as u64
}

/// SYNs of the present and the last window.
///
/// Branchless: it stands in the scan of `select`, where a branch per server would multiply the verifier's paths.
///
/// # Safety
/// As [`put_in`].
#[inline(always)]
pub unsafe fn present(count: *const ServerCount, epoch: u32) -> u64 {
    // SAFETY: inside the map value.
    let (even, odd) = unsafe {
        (
            PendingWindow(atomic::load(&raw const (*count).pending[0])),
            PendingWindow(atomic::load(&raw const (*count).pending[1])),
        )
    };
    let last = epoch.wrapping_sub(1);
    let counts = |w: PendingWindow| {
        w.count() as u64 & (equal_mask(w.epoch(), epoch) | equal_mask(w.epoch(), last))
    };
    counts(even) + counts(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(count: &mut ServerCount, epoch: u32) -> u32 {
        // SAFETY: a live, exclusive reference.
        unsafe { put_in(count, epoch) }
    }
    fn take(count: &mut ServerCount, epoch: u32) {
        // SAFETY: a live, exclusive reference.
        unsafe { take_out(count, epoch) }
    }
    fn seen(count: &ServerCount, epoch: u32) -> u64 {
        // SAFETY: a live reference.
        unsafe { present(count, epoch) }
    }

    #[test]
    fn a_window_counts_in_its_second_and_the_next_and_then_is_gone() {
        let mut count = ServerCount::default();
        for _ in 0..5 {
            assert_eq!(put(&mut count, 100), 100);
        }
        put(&mut count, 101);
        assert_eq!(seen(&count, 100), 5);
        assert_eq!(seen(&count, 101), 6);
        assert_eq!(seen(&count, 102), 1);
        assert_eq!(seen(&count, 103), 0);
        // The slot of epoch 100 is taken over without being cleaned.
        put(&mut count, 102);
        assert_eq!(seen(&count, 102), 2);
    }

    #[test]
    fn what_is_taken_out_is_what_was_put_in() {
        let mut count = ServerCount::default();
        put(&mut count, 7);
        take(&mut count, 7);
        assert_eq!(seen(&count, 7), 0);
        // Never below zero, never from another window, never for an entry that was not counted.
        take(&mut count, 7);
        put(&mut count, 9);
        take(&mut count, 7);
        take(&mut count, UNCOUNTED);
        assert_eq!(seen(&count, 9), 1);
    }
}
