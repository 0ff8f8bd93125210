//! The benchmark behind `cargo xtask bench`. docs/benchmarks.md says how each figure is taken.

mod bpf;
mod checks;
mod directors;
mod facts;
mod failover;
mod generator;
mod https;
mod packets;
mod punctual;
mod report;
mod smtp;
mod sweep;
mod tiers;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use mb_lb_tests::Lab;

use report::{Report, Spread};

#[derive(Parser)]
#[command(
    name = "mb-lb-bench",
    about = "Measures the director in the lab network"
)]
struct Arguments {
    /// Fewer rounds and no million flows: a few minutes, and figures that only show that it works
    #[arg(long)]
    quick: bool,
    /// Only a part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Also measure a pinned XDP program (of another project) with the same packets to 10.77.0.100:25
    #[arg(long, value_name = "PIN")]
    compare: Option<PathBuf>,
    /// Where to write the figures as JSON
    #[arg(long, value_name = "FILE", default_value = "bench.json")]
    json: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Nanoseconds per packet
    Packets,
    /// Packets per second over veth
    Wire,
    /// SMTP sessions per second and CPU, against HAProxy and nftables
    Smtp,
    /// Sweep, memory, load and adoption
    Sweep,
    /// Requests, handshakes, latency and memory of the HTTPS proxy, against HAProxy
    Https,
    /// What clients see of failovers, against keepalived with HAProxy
    Failover,
    /// What it costs to follow databases and session stores, and how long a switch takes, against HAProxy
    Tiers,
    /// What it costs to check 5,000 servers, against HAProxy
    Checks,
}

/// How much work a figure is worth.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub quick: bool,
}

impl Effort {
    /// Packets in one measurement.
    pub const fn packets(self) -> u32 {
        if self.quick { 60_000 } else { 600_000 }
    }

    /// SMTP sessions in one run.
    pub const fn sessions(self) -> u32 {
        if self.quick { 1_500 } else { 9_000 }
    }

    pub const fn smtp_rounds(self) -> u32 {
        if self.quick { 1 } else { 5 }
    }

    pub const fn wire_rounds(self) -> u32 {
        if self.quick { 1 } else { 5 }
    }

    /// How long the sender sends.
    pub const fn wire_time(self) -> Duration {
        Duration::from_millis(if self.quick { 300 } else { 1_500 })
    }

    pub const fn https_rounds(self) -> u32 {
        if self.quick { 1 } else { 5 }
    }

    /// Failovers of a kind; those that take seconds each are fewer.
    pub const fn failovers(self, slow: bool) -> usize {
        match (self.quick, slow) {
            (true, _) => 1,
            (false, true) => 5,
            (false, false) => 9,
        }
    }

    /// Repeats a measurement.
    ///
    /// # Errors
    /// Those of `once`.
    pub fn rounds(self, mut once: impl FnMut() -> Result<f64>) -> Result<Spread> {
        let rounds = if self.quick { 5 } else { 15 };
        let values = (0..rounds).map(|_| once()).collect::<Result<Vec<_>>>()?;
        Ok(Spread::of(values))
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let effort = Effort {
        quick: arguments.quick,
    };
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    let mut report = Report::new(facts::gather()?);
    eprintln!("bench: making the lab network");
    let lab = Lab::new("bench")?;
    let director = lab.machine("lb1");
    // Beside the director's own pins, which `lab.bpf_root` names.
    let root = lab.dir().join("bpf").join("packets");
    if wanted(Part::Packets) {
        eprintln!("bench: nanoseconds per packet");
        director.enter(|| packets::measure(&mut report, &root, effort))?;
        if let Some(pin) = &arguments.compare {
            director.enter(|| packets::compare(&mut report, pin, effort))?;
        }
    }
    if wanted(Part::Wire) {
        eprintln!("bench: packets per second");
        wire::measure(&mut report, &lab, effort)?;
    }
    if wanted(Part::Smtp) {
        eprintln!("bench: SMTP sessions");
        smtp::measure(&mut report, &lab, effort)?;
    }
    if wanted(Part::Sweep) {
        eprintln!("bench: flow table, load and restart");
        sweep::measure(&mut report, &lab, effort)?;
    }
    if wanted(Part::Https) {
        eprintln!("bench: HTTPS proxy");
        https::measure(&mut report, &lab, effort)?;
    }
    lab.down()?;
    if wanted(Part::Failover) {
        eprintln!("bench: failovers");
        failover::measure(&mut report, effort)?;
    }
    if wanted(Part::Tiers) {
        eprintln!("bench: tiers");
        tiers::measure(&mut report, effort)?;
    }
    if wanted(Part::Checks) {
        eprintln!("bench: checks");
        checks::measure(&mut report, effort)?;
    }
    print!("{report}");
    let json = serde_json::to_string_pretty(&report).context("cannot write as JSON")?;
    std::fs::write(&arguments.json, json + "\n")
        .with_context(|| format!("cannot write {}", arguments.json.display()))?;
    eprintln!("bench: figures are in {}", arguments.json.display());
    Ok(())
}
