//! Threads that measure time, on a machine where others want the CPU too.

/// From now on this thread runs when it wants to. What it sleeps too long would look like what it measures.
pub fn be_punctual() {
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: the parameter is a struct that outlives the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const priority) };
    if result != 0 {
        eprintln!(
            "bench: there is no real-time priority ({}): figures contain what the measuring itself waits",
            std::io::Error::last_os_error()
        );
    }
}
