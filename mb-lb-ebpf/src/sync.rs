//! Flows of the other director: put into the table by the same rules as our own, so that their counts are as right.
//!
//! A program of type SYSCALL, as the sweep is; one run is one change.

use mb_lb_common::{
    Flow, FlowKey4, FlowKey6, FlowState, FlowWord, SYNC_ADD, SYNC_BUSY, SYNC_CLOSE, SYNC_FULL,
    SYNC_OPEN, SYNC_RESET, SYNC_STALE, SYNC_UNCHANGED, SYNCED, SyncArgs, generation_bits,
};

use aya_ebpf::helpers::generated::bpf_jiffies64;

use crate::{
    atomic,
    family::{E2BIG, Key},
    maps::COUNTS,
    select, steer,
};

/// One change. `args` is the context of `BPF_PROG_RUN`, copied in and out.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe.s/sync")]
pub extern "C" fn sync(args: *mut SyncArgs) -> i64 {
    // SAFETY: a field of the context.
    if unsafe { (&raw const (*args).operation).read_volatile() } == 0 {
        // SAFETY: a helper without arguments, and a field of the context.
        unsafe { (&raw mut (*args).result).write_volatile(bpf_jiffies64() as u32) };
        return 0;
    }
    // SAFETY: the kernel checks the context's size when the program is run.
    let result = unsafe {
        let client = (&raw const (*args).client).cast::<u32>();
        let vip = (&raw const (*args).vip).cast::<u32>();
        let ports = (&raw const (*args).client_port).cast::<u32>().read();
        if (&raw const (*args).family).read_volatile() == 4 {
            // A v4-mapped address ends in the IPv4 one.
            let words = [client.add(3).read(), vip.add(3).read(), ports];
            change(&core::mem::transmute::<[u32; 3], FlowKey4>(words), args)
        } else {
            let words = [
                client.read(),
                client.add(1).read(),
                client.add(2).read(),
                client.add(3).read(),
                vip.read(),
                vip.add(1).read(),
                vip.add(2).read(),
                vip.add(3).read(),
                ports,
            ];
            change(&core::mem::transmute::<[u32; 9], FlowKey6>(words), args)
        }
    };
    // SAFETY: as above.
    unsafe { (&raw mut (*args).result).write_volatile(result) };
    0
}

/// # Safety
/// `args` is the context of the program.
#[inline(always)]
unsafe fn change<K: Key>(key: &K, args: *mut SyncArgs) -> u32 {
    // SAFETY: the caller's.
    let (operation, server, generation, idle, age) = unsafe {
        (
            (&raw const (*args).operation).read_volatile(),
            (&raw const (*args).server).read_volatile(),
            (&raw const (*args).generation).read_volatile(),
            (&raw const (*args).idle).read_volatile(),
            (&raw const (*args).age).read_volatile(),
        )
    };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_jiffies64() };
    let bits = generation_bits(generation);
    if select::owner(server, bits).is_none() {
        return SYNC_STALE;
    }
    let last_seen = (now as u32).wrapping_sub(idle as u32);
    if let Some(flow) = key.flow() {
        // SAFETY: inside the map value.
        let word = FlowWord(unsafe { atomic::load(&raw const (*flow).word) });
        let state = word.state();
        let same = word.server() == server && word.generation() == bits;
        if let FlowState::Dead = state {
            // Whoever made it so is about to remove it.
            return if operation == SYNC_OPEN || operation == SYNC_ADD {
                SYNC_BUSY
            } else {
                SYNC_UNCHANGED
            };
        }
        if operation == SYNC_ADD && !(same && state.is_counted()) {
            return SYNC_UNCHANGED;
        }
        if operation != SYNC_OPEN && operation != SYNC_ADD {
            // By address: a server that was renamed has another index for new flows.
            if !same && !select::same_address(word.server(), server) {
                return SYNC_UNCHANGED;
            }
            // SAFETY: a pointer that the map has just given.
            return unsafe { end(key, flow, word, operation, now) };
        }
        if same && state.is_counted() {
            // SAFETY: inside the map value.
            unsafe {
                let seen = &raw mut (*flow).last_seen;
                if (last_seen.wrapping_sub(seen.read_volatile()) as i32) > 0 {
                    seen.write_volatile(last_seen);
                }
            }
            return SYNC_UNCHANGED;
        }
        // An earlier connection on the same ports.
        // SAFETY: a pointer that the map has just given.
        unsafe { steer::give_up_quietly(key, flow, word) };
    } else if operation != SYNC_OPEN && operation != SYNC_ADD {
        return SYNC_UNCHANGED;
    }
    let word = FlowWord::new(
        FlowState::Established,
        server,
        generation,
        (key.hash() ^ now) as u32,
    );
    let flow = Flow {
        word: word.0,
        last_seen,
        client_next: 0,
        created: now - age as u64,
        synced: Flow::from_peer(0),
        reserved: [0; 4],
    };
    match key.insert_flow(&flow) {
        Ok(()) => {
            if let Some(count) = COUNTS.get_ptr_mut(server) {
                // SAFETY: inside the map value.
                unsafe {
                    atomic::add_i64(&raw mut (*count).active, 1);
                    atomic::add_u64(&raw mut (*count).opened, 1);
                }
            }
            SYNCED
        }
        Err(E2BIG) => SYNC_FULL,
        Err(_) => SYNC_BUSY,
    }
}

/// # Safety
/// `flow` points into the flow table.
#[inline(always)]
unsafe fn end<K: Key>(key: &K, flow: *mut Flow, word: FlowWord, operation: u32, now: u64) -> u32 {
    // SAFETY: the caller's.
    let won = unsafe {
        match operation {
            SYNC_CLOSE | SYNC_RESET if !word.state().is_counted() => return SYNC_UNCHANGED,
            SYNC_CLOSE => {
                steer::touch(flow, now);
                steer::leave_quietly(flow, word, FlowState::Closing)
            }
            SYNC_RESET => {
                steer::touch(flow, now);
                steer::leave_quietly(flow, word, FlowState::Reset)
            }
            _ => steer::give_up_quietly(key, flow, word),
        }
    };
    if won { SYNCED } else { SYNC_BUSY }
}
