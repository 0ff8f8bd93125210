//! The HTTPS proxy against Debian's HAProxy: the same requests, by turns, and what each takes of a CPU.

mod client;
mod h2load;
mod handshakes;
mod idle;
mod latency;
mod rig;

use std::time::Duration;

use anyhow::{Context as _, Result};
use mb_lb_tests::Lab;
use rustls::HandshakeKind;

use crate::Effort;
use crate::report::{Report, Spread};
use client::Group;
use h2load::Speech;
use rig::{Front, Rig, SIDES, Side};

const REQUESTS: &str = "HTTPS proxy: requests over open connections, per CPU second of the process";
const HANDSHAKES: &str =
    "HTTPS proxy: connections of one request, TLS 1.3, per CPU second of the process";
const LATENCY: &str =
    "HTTPS proxy: time of a request at a fixed rate, HTTP/1.1 with TLS, 100 B, 32 connections";
const IDLENESS: &str = "HTTPS proxy: without clients";
const MEMORY: &str =
    "HTTPS proxy: memory of an idle TLS connection, of 5,000 after one request each";

/// A kind of request.
struct Load {
    name: &'static str,
    front: Front,
    speech: Speech,
    path: &'static str,
    /// In a round.
    requests: u32,
}

const fn load(
    name: &'static str,
    front: Front,
    speech: Speech,
    path: &'static str,
    requests: u32,
) -> Load {
    Load {
        name,
        front,
        speech,
        path,
        requests,
    }
}

const LOADS: [Load; 8] = [
    load(
        "HTTP/1.1 in clear, 100 B",
        Front::Clear,
        Speech::Http1,
        "/small",
        20_000,
    ),
    load(
        "HTTP/1.1 in clear, 64 kB",
        Front::Clear,
        Speech::Http1,
        "/64k",
        6_000,
    ),
    load(
        "HTTP/1.1 with TLS, 100 B",
        Front::Ecdsa,
        Speech::Http1,
        "/small",
        20_000,
    ),
    load(
        "HTTP/1.1 with TLS, 64 kB",
        Front::Ecdsa,
        Speech::Http1,
        "/64k",
        4_000,
    ),
    load(
        "HTTP/2, 100 B",
        Front::Ecdsa,
        Speech::Http2,
        "/small",
        20_000,
    ),
    load("HTTP/2, 64 kB", Front::Ecdsa, Speech::Http2, "/64k", 4_000),
    load(
        "HTTP/1.1, TLS to the server too, 100 B",
        Front::TlsServer,
        Speech::Http1,
        "/small",
        16_000,
    ),
    load(
        "HTTP/1.1, TLS to the server too, 64 kB",
        Front::TlsServer,
        Speech::Http1,
        "/64k",
        3_000,
    ),
];

/// A kind of connection.
struct Greeting {
    name: &'static str,
    front: Front,
    group: Group,
    kind: HandshakeKind,
    /// In a round.
    count: u32,
    aim: &'static str,
}

const GREETINGS: [Greeting; 4] = [
    Greeting {
        name: "full, ECDSA P-256, X25519",
        front: Front::Ecdsa,
        group: Group::X25519,
        kind: HandshakeKind::Full,
        count: 3_000,
        aim: "at least 2",
    },
    Greeting {
        name: "full, RSA 2048, X25519",
        front: Front::Rsa,
        group: Group::X25519,
        kind: HandshakeKind::Full,
        count: 1_200,
        aim: "at least 2",
    },
    Greeting {
        name: "resumed, ECDSA P-256, X25519",
        front: Front::Ecdsa,
        group: Group::X25519,
        kind: HandshakeKind::Resumed,
        count: 3_000,
        aim: "",
    },
    Greeting {
        name: "resumed, RSA 2048, X25519",
        front: Front::Rsa,
        group: Group::X25519,
        kind: HandshakeKind::Resumed,
        count: 3_000,
        aim: "",
    },
];

/// Requests per second.
const RATES: [u32; 2] = [1_000, 4_000];
/// What both sides do once a second is in each.
const SLICE: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(2);
/// Name, share, aim of the ratio.
const PERCENTILES: [(&str, f64, &str); 3] = [
    ("p50", 0.5, ""),
    ("p99", 0.99, "at most 1"),
    ("p99.9", 0.999, ""),
];

pub fn measure(report: &mut Report, lab: &Lab, effort: Effort) -> Result<()> {
    // Thousands of connections between the same addresses.
    for name in ["client", "lb1"] {
        lab.machine(name).sysctl("ipv4.tcp_tw_reuse", "1")?;
    }
    idle::make_room()?;
    let mut rig = Rig::start(lab)?;
    requests(report, &mut rig, effort)?;
    handshakes(report, &mut rig, effort)?;
    latencies(report, &mut rig, effort)?;
    nothing(report, &mut rig, effort)?;
    memory(report, &mut rig, effort)?;
    rig.stop()
}

/// Values of both sides, and of each round how many times ours is theirs.
#[derive(Default)]
struct Pairs {
    values: [Vec<f64>; SIDES.len()],
}

impl Pairs {
    /// One after the other in each round: what else the machine does hits both alike.
    fn take(rounds: u32, mut once: impl FnMut(Side) -> Result<f64>) -> Result<Self> {
        let mut pairs = Self::default();
        for _ in 0..rounds {
            for (side, values) in SIDES.iter().zip(&mut pairs.values) {
                values.push(once(*side).with_context(|| side.name())?);
            }
        }
        Ok(pairs)
    }

    fn tell(
        self,
        report: &mut Report,
        group: &'static str,
        what: &str,
        unit: &'static str,
        aim: &str,
    ) {
        let [ours, theirs] = &self.values;
        let ratio = Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs));
        for (side, values) in SIDES.iter().zip(self.values) {
            report.row(
                group,
                format!("{what}, {}", side.name()),
                unit,
                Spread::of(values),
                "",
            );
        }
        report.ratio(format!("{what}: mb-lb to HAProxy"), ratio.median, aim);
    }
}

fn requests(report: &mut Report, rig: &mut Rig<'_>, effort: Effort) -> Result<()> {
    for load in LOADS {
        let Load {
            front,
            speech,
            path,
            requests,
            ..
        } = load;
        let send =
            |rig: &Rig<'_>, side, requests| h2load::send(rig, side, front, speech, path, requests);
        for side in SIDES {
            // Connections to the server are there, and memory is what it will be.
            send(rig, side, requests / 8)?;
        }
        let pairs = Pairs::take(effort.https_rounds(), |side| {
            let seconds = rig.seconds(side, |rig| send(rig, side, requests))?;
            Ok(f64::from(requests) / seconds)
        })
        .context(load.name)?;
        pairs.tell(report, REQUESTS, load.name, "/CPU s", "at least 1");
    }
    Ok(())
}

fn handshakes(report: &mut Report, rig: &mut Rig<'_>, effort: Effort) -> Result<()> {
    for greeting in GREETINGS {
        let Greeting {
            name,
            front,
            group,
            kind,
            count,
            aim,
        } = greeting;
        let pairs = Pairs::take(effort.https_rounds(), |side| {
            let seconds = handshakes::seconds(rig, side, front, group, kind, count)?;
            Ok(f64::from(count) / seconds)
        })
        .context(name)?;
        pairs.tell(report, HANDSHAKES, name, "/CPU s", aim);
    }
    let count = 1_600;
    for (front, name) in [(Front::Ecdsa, "ECDSA P-256"), (Front::Rsa, "RSA 2048")] {
        let values = (0..effort.https_rounds())
            .map(|_| {
                let kind = HandshakeKind::Full;
                let seconds =
                    handshakes::seconds(rig, Side::MbLb, front, Group::Hybrid, kind, count)?;
                Ok(f64::from(count) / seconds)
            })
            .collect::<Result<Vec<_>>>()?;
        report.row(
            HANDSHAKES,
            format!("full, {name}, X25519MLKEM768, mb-lb"),
            "/CPU s",
            Spread::of(values),
            "HAProxy's OpenSSL has no such group",
        );
    }
    Ok(())
}

fn latencies(report: &mut Report, rig: &mut Rig<'_>, effort: Effort) -> Result<()> {
    let slices = if effort.quick { 2 } else { 4 };
    for rate in RATES {
        let mut values: [[Vec<f64>; SIDES.len()]; PERCENTILES.len()] = Default::default();
        for _ in 0..effort.https_rounds() {
            let mut times: [Vec<Duration>; SIDES.len()] = Default::default();
            // Short ones by turns: what holds the machine up for a moment is to hit both.
            for _ in 0..slices {
                for (side, times) in SIDES.iter().zip(&mut times) {
                    let sent = rig.alone(*side, |rig| latency::send(rig, *side, rate, SLICE));
                    times.extend(sent.context(side.name())?);
                }
            }
            for (at, times) in times.iter_mut().enumerate() {
                times.sort_unstable();
                for (values, (_, share, _)) in values.iter_mut().zip(PERCENTILES) {
                    values[at].push(latency::percentile(times, share));
                }
            }
        }
        for (values, (name, _, aim)) in values.into_iter().zip(PERCENTILES) {
            let what = format!("{rate} requests per second, {name}");
            Pairs { values }.tell(report, LATENCY, &what, "ms", aim);
        }
    }
    Ok(())
}

/// What a process takes of a CPU by itself. It is in all the other figures.
fn nothing(report: &mut Report, rig: &mut Rig<'_>, effort: Effort) -> Result<()> {
    let pairs = Pairs::take(effort.https_rounds(), |side| {
        let seconds = rig.seconds(side, |_| {
            std::thread::sleep(IDLE);
            Ok(())
        })?;
        Ok(seconds / IDLE.as_secs_f64() * 1e3)
    })?;
    pairs.tell(report, IDLENESS, "CPU without requests", "ms/s", "");
    Ok(())
}

fn memory(report: &mut Report, rig: &mut Rig<'_>, effort: Effort) -> Result<()> {
    let (mut rss, mut pss) = (Pairs::default(), Pairs::default());
    for _ in 0..effort.https_rounds().min(3) {
        for (at, side) in SIDES.into_iter().enumerate() {
            let memory = idle::memory(rig, side).context(side.name())?;
            rss.values[at].push(memory.rss);
            pss.values[at].push(memory.pss);
        }
    }
    rss.tell(report, MEMORY, "RSS per connection", "kB", "");
    pss.tell(report, MEMORY, "PSS per connection", "kB", "");
    Ok(())
}
