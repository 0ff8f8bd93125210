//! What needs root says so before it does anything.

use crate::cli::exit::{Exit, Failure};

/// `CAP_BPF` and `CAP_NET_ADMIN`, or `CAP_SYS_ADMIN` and `CAP_NET_ADMIN` (linux/capability.h).
const NET_ADMIN: u64 = 1 << 12;
const SYS_ADMIN: u64 = 1 << 21;
const BPF: u64 = 1 << 39;

/// Whether this process may load programs and attach them.
pub fn enough() -> bool {
    // Where it cannot be known, the kernel will say.
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| effective(&status))
        .is_none_or(suffices)
}

const fn suffices(capabilities: u64) -> bool {
    capabilities & NET_ADMIN != 0 && capabilities & (SYS_ADMIN | BPF) != 0
}

fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// `what` did not happen, because `command` needs more.
pub fn refused(what: &str, command: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("{what}: permission denied, `{command}` changes the kernel and needs root"),
    )
    .next(format!("sudo mb-lb-ctl {command}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities() {
        let status =
            |capabilities: &str| format!("Name:\tx\nCapPrm:\t0\nCapEff:\t{capabilities}\n");
        for (capabilities, expected) in [
            ("000001ffffffffff", Some(true)),
            ("0000000000000000", Some(false)),
            ("0000008000001000", Some(true)),
            ("0000000000001000", Some(false)),
            ("x", None),
        ] {
            let found = effective(&status(capabilities)).map(suffices);
            assert_eq!(found, expected, "{capabilities}");
        }
    }
}
