//! Changes of flows, told to the controller for its peer. Only while somebody wants them (`Settings::events`), and only
//! when a flow changes its state: an established packet never comes here.

use mb_lb_common::{EVENT_EXPIRED, EVENT_OPENED, FlowEvent, FlowWord};

use crate::{
    atomic,
    family::Key,
    maps::{EVENTS, SETTINGS, TABLE},
};

/// Puts a change into the ring buffer, and wakes its reader. Where there is no room it is counted: the reader then
/// sends all flows anew.
///
/// A function of its own, for its stack.
#[inline(never)]
pub fn tell<K: Key>(key: &K, kind: u32, word: FlowWord) -> u32 {
    let Some(settings) = SETTINGS.get_ptr(0) else {
        return 0;
    };
    // SAFETY: inside the map value.
    if unsafe { (&raw const (*settings).events).read_volatile() } == 0 {
        return 0;
    }
    // What the verifier knows of an argument ends at the call: a kind out of range would be nobody's event.
    if !(EVENT_OPENED..=EVENT_EXPIRED).contains(&kind) {
        return 0;
    }
    let Some(mut entry) = EVENTS.reserve::<FlowEvent>(0) else {
        if let Some(table) = TABLE.get_ptr_mut(0) {
            // SAFETY: inside the map value.
            unsafe { atomic::add_u64(&raw mut (*table).events_lost, 1) };
        }
        return 0;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: the memory was reserved for it, and every byte of it is written.
    unsafe {
        (&raw mut (*event).kind).write_volatile(kind);
        (&raw mut (*event).server).write_volatile(word.server());
        (&raw mut (*event).generation).write_volatile(word.generation() as u32);
        (&raw mut (*event).reserved).write_volatile(0);
        key.write_ends(&raw mut (*event).client);
        (&raw mut (*event).reserved_end).write_volatile(0);
    }
    entry.submit(0);
    0
}
