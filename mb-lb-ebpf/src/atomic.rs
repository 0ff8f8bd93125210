//! Atomics on map memory.
//!
//! `core::sync::atomic` has neither fetch-add nor compare-exchange on bpfel (Rust 1.95), so the intrinsics stand in.
//! Always `SeqCst`: with `Relaxed`, LLVM drops BPF_FETCH and `atomic_xadd` returns the addend instead of the old value.

#[cfg(target_arch = "bpf")]
use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

/// Adds and returns the old value.
///
/// # Safety
/// `p` points into a map value that lives for the whole call (the program runs under RCU).
#[inline(always)]
pub unsafe fn add_i64(p: *mut i64, n: i64) -> i64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        atomic_xadd::<i64, i64, { AtomicOrdering::SeqCst }>(p, n)
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's; map values are 8-byte aligned.
    unsafe {
        core::sync::atomic::AtomicI64::from_ptr(p)
            .fetch_add(n, core::sync::atomic::Ordering::SeqCst)
    }
}

/// Adds and returns the old value.
///
/// # Safety
/// As [`add_i64`].
#[inline(always)]
pub unsafe fn add_u64(p: *mut u64, n: u64) -> u64 {
    // SAFETY: the caller's; wrapping addition is the same for both signs.
    unsafe { add_i64(p.cast(), n as i64) as u64 }
}

/// Stores `new` if the value is `old`; whether it did.
///
/// # Safety
/// As [`add_i64`].
#[inline(always)]
pub unsafe fn compare_and_swap(p: *mut u64, old: u64, new: u64) -> bool {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(p, old, new).1
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's.
    unsafe {
        use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
        AtomicU64::from_ptr(p)
            .compare_exchange(old, new, SeqCst, SeqCst)
            .is_ok()
    }
}

/// One 8-byte load that the compiler neither splits nor repeats.
///
/// # Safety
/// As [`add_i64`].
#[inline(always)]
pub unsafe fn load(p: *const u64) -> u64 {
    // SAFETY: the caller's.
    unsafe { p.read_volatile() }
}
