//! What the machine is.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::report::Facts;

/// How long the machine is watched before anything is measured.
const WATCHED: Duration = Duration::from_secs(1);

pub fn gather() -> Result<Facts> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let cpu = read("/proc/cpuinfo")?
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or_else(
            || std::env::consts::ARCH.to_owned(),
            |(_, name)| name.trim().to_owned(),
        );
    let before = Times::now()?;
    std::thread::sleep(WATCHED);
    let passed = Times::now()?.since(&before);
    Ok(Facts {
        kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        cpu,
        cores: std::thread::available_parallelism()
            .context("cannot count the CPUs")?
            .get(),
        jit: read("/proc/sys/net/core/bpf_jit_enable")?.trim() != "0",
        busy_before: passed.busy / (passed.busy + passed.idle),
        mb_lb: env!("CARGO_PKG_VERSION"),
    })
}

/// CPU time of the whole machine, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// User, system, interrupts.
    pub busy: f64,
    /// Of it, interrupts.
    pub interrupts: f64,
    /// Idle, or waiting for a disk.
    pub idle: f64,
}

impl Times {
    /// Since the machine started.
    pub fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let fields: Vec<f64> = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|field| field.parse::<f64>().ok())
            .map(|ticks| ticks / ticks_per_second())
            .collect();
        // proc(5): user, nice, system, idle, iowait, irq, softirq; what a hypervisor steals is nobody's.
        let [user, nice, system, idle, iowait, irq, softirq, ..] = fields[..] else {
            anyhow::bail!("cannot understand /proc/stat");
        };
        Ok(Self {
            busy: user + nice + system + irq + softirq,
            interrupts: irq + softirq,
            idle: idle + iowait,
        })
    }

    pub fn since(&self, before: &Self) -> Self {
        Self {
            busy: self.busy - before.busy,
            interrupts: self.interrupts - before.interrupts,
            idle: self.idle - before.idle,
        }
    }
}

/// Of the counters in /proc.
pub fn ticks_per_second() -> f64 {
    // SAFETY: a call without pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ticks as f64
}

/// User and system time of a process, in seconds.
pub fn process_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // proc(5): the name, in parentheses, may hold anything; utime and stime are the 12th and 13th field after it.
    let ticks: f64 = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks / ticks_per_second())
}

/// As [`process_seconds`], of the kernel's own clock of the process: not in ticks.
pub fn process_clock(pid: u32) -> Result<f64> {
    let pid = libc::pid_t::try_from(pid).context("a pid beyond the kernel's")?;
    let mut clock = 0;
    // SAFETY: the clock's number is written to a variable that outlives the call.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(std::io::Error::from_raw_os_error(error)).context("no clock of a process");
    }
    let time = nix::time::clock_gettime(nix::time::ClockId::from_raw(clock))
        .context("cannot read the clock of a process")?;
    Ok(Duration::from(time).as_secs_f64())
}
