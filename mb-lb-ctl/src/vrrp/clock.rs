//! The clock of virtual routers.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time since the host was started, with the time that it slept (`CLOCK_BOOTTIME`, clock_gettime(2)): what the peers
/// count goes on meanwhile. The same in all processes, so that one can tell the next when it was last active.
pub fn clock() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .expect("Linux has this clock since 2.6.39")
        .into()
}
