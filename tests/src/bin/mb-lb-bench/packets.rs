//! Nanoseconds that the program adds to a packet, without any driver: BPF_PROG_TEST_RUN, less what an empty program
//! takes in the same place.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::Xdp;
use mb_lb_common::{Reason, SERVER_ACCEPT, SERVER_PRESENT, Server, Service};
use mb_lb_ctl::config::{FlowTimeouts, Scheduler};
use mb_lb_ctl::dataplane::{Dataplane, detach};
use mb_lb_ctl::plan::{self, Desired, DesiredService};
use mb_lb_ctl::schedule::{Candidate, PoolSpec, WEIGHT_SCALE, stable_hash};

use crate::Effort;
use crate::bpf;
use crate::generator::{ACK, FIN, FRAME, Generator, OWN_MAC, SYN, Traffic, VIP, VIP_PORT};
use crate::report::{Report, Spread};

/// Of the loopback interface, which packets of BPF_PROG_TEST_RUN come in on.
const LOOPBACK: u32 = 1;
const XDP_TX: u32 = 3;

pub const GROUP: &str = "ns per packet, net of an empty program (BPF_PROG_TEST_RUN)";

/// Flow counts with their names.
const FLOWS: [(u32, &str); 4] = [
    (1, "1 flow"),
    (1 << 10, "1k flows"),
    (1 << 16, "64k flows"),
    (1 << 20, "1M flows"),
];
/// Half as much again as flows, as for a table that is not to fill up: the kernel then makes two million buckets.
const ROOM: u32 = 3 << 19;
const SERVERS: [u32; 5] = [3, 16, 17, 64, 1000];

/// Segments of open connections.
pub const ESTABLISHED: Traffic = Traffic {
    flows: 1,
    packets: &[(ACK, 1)],
    step: 1448,
    scattered: true,
};
/// Opens connections.
pub const OPENING: Traffic = Traffic {
    flows: 1,
    packets: &[(SYN, 0), (ACK, 1)],
    step: 0,
    scattered: false,
};
/// What a director in front of a DSR service sees of a connection, at the least. Its flow is still closing when
/// its ports are used again, so removing it is part of the cycle.
const CYCLE: Traffic = Traffic {
    flows: 1 << 16,
    packets: &[(SYN, 0), (ACK, 1), (FIN | ACK, 1)],
    step: 7919,
    scattered: false,
};
/// New connections that are never completed: each is chosen a server anew.
const CHOICE: Traffic = Traffic {
    flows: 1 << 10,
    packets: &[(SYN, 0)],
    step: 7919,
    scattered: false,
};

/// Measures into `report`; the calling thread is in a network namespace of the lab.
pub fn measure(report: &mut Report, root: &Path, effort: Effort) -> Result<()> {
    let generator = Generator::new().context("cannot load the packet generator")?;
    established(report, &generator, root, effort)?;
    detach(root)?;
    for (traffic, what) in [
        (CYCLE, "SYN to close, per packet"),
        (CHOICE, "SYN, choosing"),
    ] {
        for servers in SERVERS {
            let mut subject = Subject::open(root, 1 << 18, servers)?;
            generator.set_program(subject.program()?)?;
            generator.set_traffic(traffic)?;
            // Every flow once, so that the table is as full as it will be.
            let round = traffic.flows * traffic.packets.len() as u32;
            generator.run(round)?;
            let reasons: &[Reason] = if traffic.packets.len() == 1 {
                &[Reason::Scheduled]
            } else {
                &[Reason::Scheduled, Reason::Promoted, Reason::FinSeen]
            };
            let spread = subject.net(&generator, traffic, effort, reasons)?;
            report.row(
                GROUP,
                format!("{what}, {servers} servers"),
                "ns",
                spread,
                "",
            );
            drop(subject);
            detach(root)?;
        }
    }
    for what in ["SYN, choosing", "SYN to close, per packet"] {
        let of = |n: u32| report.median(&format!("{what}, {n} servers"));
        if let (Some(many), Some(few)) = (of(1000), of(17)) {
            report.ratio(
                format!("{what}: 1,000 servers to 17"),
                many / few,
                "at most 1.3",
            );
        }
    }
    Ok(())
}

fn established(
    report: &mut Report,
    generator: &Generator,
    root: &Path,
    effort: Effort,
) -> Result<()> {
    let mut subject = Subject::open(root, ROOM, 3)?;
    let empty = effort.rounds(|| {
        generator.set_program(generator.empty())?;
        generator.set_traffic(ESTABLISHED)?;
        Ok(f64::from(generator.run(effort.packets())?.nanoseconds))
    })?;
    report.row(
        GROUP,
        "generator and empty program (what is taken off)",
        "ns",
        empty,
        "",
    );
    for (flows, name) in FLOWS {
        if flows > 1 << 16 && effort.quick {
            continue;
        }
        fill(generator, subject.program()?, flows)?;
        let traffic = Traffic {
            flows,
            ..ESTABLISHED
        };
        let spread = subject.net(generator, traffic, effort, &[Reason::Established])?;
        report.row(GROUP, format!("established, {name}"), "ns", spread, "");
    }
    Ok(())
}

/// Measures a pinned program in the same place.
pub fn compare(report: &mut Report, pin: &Path, effort: Effort) -> Result<()> {
    let program =
        bpf::open_pinned(pin).with_context(|| format!("cannot open {}", pin.display()))?;
    let generator = Generator::new().context("cannot load the packet generator")?;
    for (flows, name) in FLOWS {
        fill(&generator, bpf::fd(&program), flows)?;
        let traffic = Traffic {
            flows,
            ..ESTABLISHED
        };
        let spread = net(&generator, bpf::fd(&program), traffic, effort, &mut 0)?;
        let what = format!("{}, {name}", pin.display());
        report.row(GROUP, &what, "ns", spread, "");
        if let Some(own) = report.median(&format!("established, {name}")) {
            report.ratio(
                format!("established, {name}: mb-lb to {}", pin.display()),
                own / spread.median,
                "",
            );
        }
    }
    Ok(())
}

/// Opens `flows` connections through the program.
pub fn fill(generator: &Generator, program: BorrowedFd<'_>, flows: u32) -> Result<()> {
    generator.set_program(program)?;
    generator.set_traffic(Traffic { flows, ..OPENING })?;
    // Not in one call: it would keep a CPU from its other work for seconds.
    let packets = 2 * flows;
    let mut left = packets;
    while left > 0 {
        let now = left.min(1 << 16);
        generator.run(now)?;
        left -= now;
    }
    Ok(())
}

/// The real program with one service, and what tells whether it did what was to be measured.
pub struct Subject {
    dataplane: Dataplane,
}

impl Subject {
    /// `servers` of weight 10 behind leastconn, on the loopback interface. Old flows stay for hours.
    pub fn open(root: &Path, max_flows: u32, servers: u32) -> Result<Self> {
        let mut dataplane = Dataplane::open(root, max_flows)?;
        dataplane.apply(&desired(servers))?;
        Ok(Self { dataplane })
    }

    pub const fn dataplane(&mut self) -> &mut Dataplane {
        &mut self.dataplane
    }

    /// The loaded program.
    pub fn program(&mut self) -> Result<BorrowedFd<'_>> {
        let program: &Xdp = self
            .dataplane
            .ebpf()
            .program("mb_lb")
            .context("the object has no program mb_lb")?
            .try_into()?;
        Ok(program.fd()?.as_fd())
    }

    /// What the program takes more than the empty one, with proof that every packet had one of `reasons`.
    fn net(
        &mut self,
        generator: &Generator,
        traffic: Traffic,
        effort: Effort,
        reasons: &[Reason],
    ) -> Result<Spread> {
        let before = self.counted(reasons)?;
        let program: OwnedFd = self.program()?.try_clone_to_owned()?;
        let mut packets = 0u64;
        let spread = net(generator, bpf::fd(&program), traffic, effort, &mut packets)?;
        let counted = self.counted(reasons)? - before;
        ensure!(
            counted == packets,
            "{counted} of {packets} packets were {reasons:?}: something else was measured"
        );
        Ok(spread)
    }

    fn counted(&mut self, reasons: &[Reason]) -> Result<u64> {
        let report = self.dataplane.tick();
        if let Some(error) = report.error {
            anyhow::bail!("{error}");
        }
        Ok(reasons
            .iter()
            .map(|&reason| report.reasons[reason as usize])
            .sum())
    }
}

/// Net nanoseconds of any program in the generator. `packets` is raised by what the program has seen.
pub fn net(
    generator: &Generator,
    program: BorrowedFd<'_>,
    traffic: Traffic,
    effort: Effort,
    packets: &mut u64,
) -> Result<Spread> {
    let whole_turns = effort.packets() / 6 * 6;
    let run = |program| -> Result<bpf::Ran> {
        generator.set_program(program)?;
        generator.set_traffic(traffic)?;
        Ok(generator.run(whole_turns)?)
    };
    effort.rounds(|| {
        let with = run(program)?;
        let without = run(generator.empty())?;
        ensure!(
            with.action == XDP_TX && without.action == XDP_TX,
            "the last packet was not sent: action {} and {}",
            with.action,
            without.action
        );
        *packets += u64::from(whole_turns);
        let mut net = f64::from(with.nanoseconds) - f64::from(without.nanoseconds);
        if with.length as usize > FRAME {
            // The generator has cut the frame back each time.
            let growing = run(generator.growing())?;
            net -= (f64::from(growing.nanoseconds) - f64::from(without.nanoseconds)) / 2.0;
        }
        Ok(net)
    })
}

/// As the engine would want it.
pub fn desired(servers: u32) -> Desired {
    let long = Duration::from_secs(24 * 3600);
    let address = |n: u32| [10, 77, 1 + (n / 250) as u8, 1 + (n % 250) as u8];
    let mut desired = Desired {
        timeouts: FlowTimeouts {
            established: long,
            half_closed: long,
            closing: long,
            reset: long,
        },
        ..Desired::default()
    };
    desired.ports.insert(LOOPBACK, OWN_MAC);
    desired.listens.insert(
        plan::service_key((VIP, VIP_PORT).into()),
        Service {
            id: 0,
            name_hash: 1,
        },
    );
    desired.services.insert(
        0,
        DesiredService {
            flags: 0,
            pool: PoolSpec {
                scheduler: Scheduler::Leastconn,
                configured: servers as usize,
                candidates: (0..servers)
                    .map(|server| Candidate {
                        server,
                        weight: 10 * WEIGHT_SCALE,
                        max_connections: 0,
                        identity: stable_hash(&address(server)),
                    })
                    .collect(),
            },
        },
    );
    for index in 0..servers {
        let [.., high, low] = address(index);
        desired.servers.insert(
            index,
            Server {
                link: Server::link(
                    [0x02, 0x77, 0, 0, high, low],
                    SERVER_PRESENT | SERVER_ACCEPT,
                ),
                generation: 1,
                ifindex: LOOPBACK,
                max_connections: 0,
                service: 0,
                address: plan::mapped(address(index).into()),
                name_hash: u64::from(index) + 1,
                reserved: [0; 16],
            },
        );
    }
    desired
}
