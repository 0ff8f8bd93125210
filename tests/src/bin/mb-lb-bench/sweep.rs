//! What a full flow table costs: a sweep over it, its memory, and taking it over by the next controller.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mb_lb_common::maps;
use mb_lb_ctl::config::XdpMode;
use mb_lb_tests::wait::try_wait_until;
use mb_lb_tests::{Director, Lab};

use crate::Effort;
use crate::bpf;
use crate::directors::{Checks, config};
use crate::generator::Generator;
use crate::packets::{self, Subject};
use crate::report::{Report, Spread};

pub const GROUP: &str = "flow table, load and restart";

/// `max_flows`; the table is filled to the last entry.
const ROOM: u32 = 1 << 20;
const NEXT_SWEEP: Duration = Duration::from_secs(60);

/// Measures into `report` on the director `lb1`, whose only interface is not in use.
pub fn measure(report: &mut Report, lab: &Lab, effort: Effort) -> Result<()> {
    let root = lab.bpf_root("lb1");
    lab.machine("lb1")
        .enter(|| full_table(report, &root, effort))?;
    mb_lb_ctl::dataplane::detach(&root)?;
    restart(report, lab, effort)
}

fn full_table(report: &mut Report, root: &Path, effort: Effort) -> Result<()> {
    let flows = if effort.quick { 1 << 16 } else { ROOM };
    let name = if effort.quick {
        "64k flows"
    } else {
        "1M flows"
    };
    let interface = "eth0";
    let ifindex = nix::net::if_::if_nametoindex(interface).context("no interface eth0")?;

    let start = Instant::now();
    let mut subject = Subject::open(root, ROOM, 3)?;
    let opened = start.elapsed();
    let start = Instant::now();
    subject
        .dataplane()
        .attach(interface, ifindex, XdpMode::Native)?;
    let attached = start.elapsed();
    report.row(
        GROUP,
        "load: program and maps with room for 1M flows",
        "ms",
        once(opened),
        "0.2 s of it measure how long a jiffy is",
    );
    report.row(GROUP, "attach", "ms", once(attached), "");

    let generator = Generator::new().context("cannot load the packet generator")?;
    packets::fill(&generator, subject.program()?, flows)?;
    let mut held = 0;
    let mut passes = subject.dataplane().tick().sweeps;
    let swept = effort.rounds(|| {
        // After a long pass the next ones are put off.
        let swept = try_wait_until("the next sweep", NEXT_SWEEP, || {
            let swept = subject.dataplane().tick();
            if swept.sweeps == passes {
                return Err("it is not due");
            }
            Ok(swept)
        })?;
        passes = swept.sweeps;
        held = swept.flows;
        Ok(milliseconds(swept.sweep_took))
    })?;
    ensure!(
        held == u64::from(flows),
        "{held} flows are in the table instead of {flows}"
    );
    report.row(
        GROUP,
        format!("sweep: expiry and audit of {name}"),
        "ms",
        swept,
        "runs beside the packets, not before them",
    );
    memory(report, root)?;

    // What the next controller does, in the same process.
    drop(subject);
    let adopted = effort.rounds(|| {
        let start = Instant::now();
        let mut subject = Subject::open(root, ROOM, 3)?;
        subject
            .dataplane()
            .attach(interface, ifindex, XdpMode::Native)?;
        ensure!(subject.dataplane().adopted(), "the maps were made anew");
        Ok(milliseconds(start.elapsed()))
    })?;
    report.row(
        GROUP,
        format!("adopt: maps with {name}, program replaced in its link"),
        "ms",
        adopted,
        "packets go on meanwhile",
    );
    Ok(())
}

fn memory(report: &mut Report, root: &Path) -> Result<()> {
    let pins = mb_lb_ctl::dataplane::pin_dir(root);
    let of = |name: &str| -> Result<f64> {
        let map = bpf::open_pinned(&pins.join(name))
            .with_context(|| format!("cannot open the map {name}"))?;
        Ok(bpf::memory(bpf::fd(&map))? as f64)
    };
    for (name, family) in [(maps::FLOWS4, "IPv4"), (maps::FLOWS6, "IPv6")] {
        report.row(
            GROUP,
            format!("memory per {family} flow that there is room for"),
            "bytes",
            Spread::of([of(name)? / f64::from(ROOM)]),
            "",
        );
    }
    let mut rest = 0.0;
    for name in maps::ALL {
        if name != maps::FLOWS4 && name != maps::FLOWS6 {
            rest += of(name)?;
        }
    }
    report.row(
        GROUP,
        "memory of all other maps",
        "MiB",
        Spread::of([rest / f64::from(1 << 20)]),
        "",
    );
    Ok(())
}

/// The whole controller, from its start to its first answer.
fn restart(report: &mut Report, lab: &Lab, effort: Effort) -> Result<()> {
    let config = config(lab, Checks::On);
    let start = Instant::now();
    let mut director = Director::start(lab, "lb1", &config)?;
    report.row(
        GROUP,
        "controller: start to first answer",
        "ms",
        once(start.elapsed()),
        "checks have begun by then",
    );
    let restarted = effort.rounds(|| {
        director.kill()?;
        let start = Instant::now();
        director.run()?;
        Ok(milliseconds(start.elapsed()))
    })?;
    report.row(
        GROUP,
        "controller: start after kill -9 to first answer",
        "ms",
        restarted,
        "packets go on meanwhile",
    );
    director.stop()?;
    director.expect(&["detach"])?;
    Ok(())
}

fn once(took: Duration) -> Spread {
    Spread::of([milliseconds(took)])
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
