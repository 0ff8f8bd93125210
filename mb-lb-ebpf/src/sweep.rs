//! Expiry and audit in one pass over the flow tables.
//!
//! Runs as a program of type SYSCALL: an XDP program run from user space would keep its CPU from receiving for the
//! whole pass. Its section name is one that loaders know; the controller loads it by `bpf(2)` with the right type.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_for_each_map_elem, bpf_jiffies64, bpf_ktime_get_ns};
use mb_lb_common::{
    EVENT_EXPIRED, Flow, FlowKey4, FlowKey6, FlowState, FlowWord, HalfKind, HalfWord, SKIP4, SKIP6,
    SweepArgs,
};

use crate::{
    atomic, events,
    family::Key,
    maps::{AUDIT, COUNTS, FLOWS4, FLOWS6},
    pending, select, steer,
};

/// What the callback carries from flow to flow.
#[repr(C)]
struct Walk {
    pass: u64,
    now: u64,
    established: u32,
    half_closed: u32,
    closing: u32,
    reset: u32,
    flows: u32,
    removed: u32,
}

/// One pass. `args` is the context of `BPF_PROG_RUN`, copied in and out.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe.s/sweep")]
pub extern "C" fn sweep(args: *mut SweepArgs) -> i64 {
    // SAFETY: helpers without arguments; the kernel checks the context's size when the program is run.
    let mut walk = unsafe {
        let now = bpf_jiffies64();
        (&raw mut (*args).jiffies).write_volatile(now);
        (&raw mut (*args).nanoseconds).write_volatile(bpf_ktime_get_ns());
        Walk {
            pass: (&raw const (*args).pass).read_volatile(),
            now,
            established: (&raw const (*args).established).read_volatile(),
            half_closed: (&raw const (*args).half_closed).read_volatile(),
            closing: (&raw const (*args).closing).read_volatile(),
            reset: (&raw const (*args).reset).read_volatile(),
            flows: 0,
            removed: 0,
        }
    };
    if walk.pass == 0 {
        // SAFETY: the context.
        let (server, correction) = unsafe {
            (
                (&raw const (*args).server).read_volatile(),
                (&raw const (*args).correction).read_volatile(),
            )
        };
        if correction != 0
            && let Some(count) = COUNTS.get_ptr_mut(server)
        {
            // SAFETY: inside the map value.
            unsafe { atomic::add_i64(&raw mut (*count).active, i64::from(correction)) };
        }
        return 0;
    }
    let context = (&raw mut walk).cast::<c_void>();
    // SAFETY: the maps are hash maps, the callbacks have their key and value types, and `walk` outlives the calls.
    unsafe {
        let skip = (&raw const (*args).skip).read_volatile();
        if skip & SKIP4 == 0 {
            bpf_for_each_map_elem(
                (&raw const FLOWS4).cast_mut().cast(),
                visit4 as *mut c_void,
                context,
                0,
            );
        }
        let flows4 = (&raw const walk.flows).read_volatile();
        if skip & SKIP6 == 0 {
            bpf_for_each_map_elem(
                (&raw const FLOWS6).cast_mut().cast(),
                visit6 as *mut c_void,
                context,
                0,
            );
        }
        (&raw mut (*args).flows6).write_volatile(walk.flows - flows4);
        (&raw mut (*args).flows).write_volatile(walk.flows);
        (&raw mut (*args).removed).write_volatile(walk.removed);
    }
    0
}

extern "C" fn visit4(
    _map: *mut c_void,
    key: *const FlowKey4,
    flow: *mut Flow,
    walk: *mut Walk,
) -> i64 {
    // SAFETY: the kernel calls with an element of FLOWS4 and the context of `sweep`.
    unsafe { visit(&*key, flow, walk) }
}

extern "C" fn visit6(
    _map: *mut c_void,
    key: *const FlowKey6,
    flow: *mut Flow,
    walk: *mut Walk,
) -> i64 {
    // SAFETY: the kernel calls with an element of FLOWS6 and the context of `sweep`.
    unsafe { visit(&*key, flow, walk) }
}

/// # Safety
/// `flow` points into a flow table, `walk` at the context of the pass.
#[inline(always)]
unsafe fn visit<K: Key>(key: &K, flow: *mut Flow, walk: *mut Walk) -> i64 {
    // SAFETY: the caller's.
    let (word, walk) = unsafe { (FlowWord(atomic::load(&raw const (*flow).word)), &mut *walk) };
    let state = word.state();
    let timeout = match state {
        FlowState::Established => walk.established,
        FlowState::HalfClosed => walk.half_closed,
        FlowState::Closing => walk.closing,
        FlowState::Reset => walk.reset,
        FlowState::Dead => {
            // SAFETY: the caller's.
            unsafe { bury(key, flow, word) };
            return 0;
        }
    };
    // SAFETY: inside the map value.
    let last_seen = unsafe { (&raw const (*flow).last_seen).read_volatile() };
    // Signed: a packet may have come after the pass began.
    let idle = (walk.now as u32).wrapping_sub(last_seen) as i32;
    if timeout != 0 && idle > timeout as i32 {
        // SAFETY: the caller's.
        if unsafe { expire(key, flow, word, walk.now) } {
            walk.removed += 1;
            return 0;
        }
    }
    walk.flows += 1;
    if select::count_of(word.server(), word.generation()).is_some()
        && let Some(cell) = AUDIT.get_ptr_mut(word.server())
    {
        // SAFETY: inside the map value; one sweep runs at a time, so plain stores do.
        unsafe {
            let cell = &mut *cell;
            if cell.pass != walk.pass {
                cell.pass = walk.pass;
                cell.counted = 0;
                cell.uncounted = 0;
            }
            if state.is_counted() {
                cell.counted += 1;
            } else {
                cell.uncounted += 1;
            }
        }
    }
    0
}

/// A dead flow. Its winner is about to remove it; if we did at once, the winner could remove a flow that was inserted
/// since. But its removal can fail (-EBUSY): what is still there a pass after it was marked has nobody else.
///
/// # Safety
/// As [`visit`].
#[inline(always)]
unsafe fn bury<K: Key>(key: &K, flow: *mut Flow, word: FlowWord) {
    if word.is_condemned() {
        let key = *key;
        key.remove_flow();
        return;
    }
    // SAFETY: inside the map value. Whoever was faster has removed it.
    let _marked =
        unsafe { atomic::compare_and_swap(&raw mut (*flow).word, word.0, word.condemned().0) };
}

/// Ends a silent flow: count down, remember the server for stragglers, remove. False: its state has just changed.
///
/// # Safety
/// As [`visit`].
#[inline(always)]
unsafe fn expire<K: Key>(key: &K, flow: *mut Flow, word: FlowWord, now: u64) -> bool {
    let dead = word.with_state(FlowState::Dead);
    // SAFETY: inside the map value.
    if !unsafe { atomic::compare_and_swap(&raw mut (*flow).word, word.0, dead.0) } {
        return false;
    }
    if word.state().is_counted()
        && let Some(count) = select::count_of(word.server(), word.generation())
    {
        // SAFETY: inside the map value.
        unsafe {
            atomic::add_i64(&raw mut (*count).active, -1);
            atomic::add_u64(&raw mut (*count).expired, 1);
        }
    }
    // A copy: the key in the callback is read-only memory of the map, which some kernels refuse as an argument.
    let key = *key;
    let kind = match word.state() {
        // The client is done, and has perhaps an ACK left.
        FlowState::Closing | FlowState::Dead => HalfKind::Remembered,
        // Should it speak again, it is still a connection of this server. After RST too: then it was not the
        // client's, and the server knows.
        FlowState::Established | FlowState::HalfClosed | FlowState::Reset => HalfKind::Recovered,
    };
    let seen = steer::Seen {
        since: now as u32,
        epoch: pending::UNCOUNTED,
        isn: 0,
    };
    // Through the map, not over an old entry: this program can lose its CPU between look-up and write.
    steer::remember(&key, None, HalfWord(word.0 & !0xf).with_kind(kind), seen);
    key.remove_flow();
    events::tell(&key, EVENT_EXPIRED, word);
    true
}
