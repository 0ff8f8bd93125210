//! What only this process can say of itself, for `show info`.

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

use crate::command::info::Process;

/// `uptime` in seconds.
pub fn facts(uptime: u64) -> Process {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let worked = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| {
        usage.user_time().tv_sec() + usage.system_time().tv_sec()
    });
    let worked = u64::try_from(worked).unwrap_or(0);
    // As HAProxy counts it: of all the time that all threads had.
    let had = uptime.max(1).saturating_mul(threads as u64);
    let busy = (worked.saturating_mul(100) / had).min(100);
    Process {
        threads: u32::try_from(threads).unwrap_or(u32::MAX),
        files: u32::try_from(files).unwrap_or(u32::MAX),
        idle: 100 - u32::try_from(busy).unwrap_or(100),
    }
}
