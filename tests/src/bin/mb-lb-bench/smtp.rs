//! Real SMTP sessions through each director, and what they cost the machine.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use mb_lb_tests::wait::try_wait_until;
use mb_lb_tests::{Lab, Sink, SinkOptions, Source};

use crate::Effort;
use crate::bpf;
use crate::directors::{Checks, Kind, Running};
use crate::facts::Times;
use crate::report::{Report, Spread};

pub const GROUP: &str =
    "SMTP through the VIP: one session per message of 4 KB, 60 at a time, three servers";

const KINDS: [Kind; 5] = [
    Kind::None,
    Kind::Relay,
    Kind::MbLb,
    Kind::Nftables,
    Kind::Haproxy,
];
/// Figures are for so many.
const PER: f64 = 10_000.0;
/// A machine of which others take more than this is waited for.
const QUIET: f64 = 0.05;
const PATIENCE: Duration = Duration::from_secs(10);
const GREETING: Duration = Duration::from_secs(10);

/// One run through one director.
#[derive(Clone, Copy, Debug)]
struct Run {
    sessions_per_second: f64,
    /// CPU of the whole machine, per [`PER`] sessions, in seconds.
    machine: f64,
    /// Of the director's own process.
    process: Option<f64>,
}

pub fn measure(report: &mut Report, lab: &Lab, effort: Effort) -> Result<()> {
    let options = SinkOptions {
        record: false,
        ..SinkOptions::default()
    };
    let _sinks = lab
        .servers()
        .iter()
        .map(|server| Sink::with(server, &options))
        .collect::<Result<Vec<_>>>()?;
    // Tens of thousands of connections between the same addresses.
    for name in ["client", "lb1"] {
        lab.machine(name).sysctl("ipv4.tcp_tw_reuse", "1")?;
    }
    let mut runs: [Vec<Run>; KINDS.len()] = Default::default();
    let mut unquiet = 0;
    for _ in 0..effort.smtp_rounds() {
        // One after the other in each round: what else the machine does hits all alike.
        for (kind, runs) in KINDS.iter().zip(&mut runs) {
            let running = Running::start(lab, *kind, Checks::On)
                .with_context(|| format!("cannot start {}", kind.name()))?;
            wait_for_greeting(lab, *kind)?;
            unquiet += u32::from(!wait_for_quiet()?);
            runs.push(run(lab, &running, effort).with_context(|| running.explain())?);
            running.stop()?;
        }
    }
    let program = program_seconds(lab, effort)?;
    if unquiet > 0 {
        eprintln!("bench: {unquiet} runs began while the machine was busy with other things");
    }
    tell(report, &runs, program);
    Ok(())
}

fn tell(report: &mut Report, runs: &[Vec<Run>; KINDS.len()], program: Spread) {
    let spread = |runs: &[Run], of: fn(&Run) -> f64| Spread::of(runs.iter().map(of));
    for (kind, runs) in KINDS.iter().zip(runs) {
        report.row(
            GROUP,
            format!("sessions per second, {}", kind.name()),
            "/s",
            spread(runs, |run| run.sessions_per_second),
            "",
        );
    }
    for (kind, runs) in KINDS.iter().zip(runs) {
        report.row(
            GROUP,
            format!("CPU of the whole machine, {}", kind.name()),
            "s/10,000",
            spread(runs, |run| run.machine),
            "",
        );
    }
    // What others take only ever adds, so the least is nearest to the truth.
    let least = |runs: &[Run]| spread(runs, |run| run.machine).least;
    let without = least(&runs[0]);
    let mut more = Vec::new();
    for (kind, runs) in KINDS.iter().zip(runs).skip(1) {
        let director = least(runs) - without;
        more.push(director);
        report.row(
            GROUP,
            format!("CPU of the director, {}", kind.name()),
            "s/10,000",
            Spread::of([director]),
            "least of the machine, less the least without a director",
        );
    }
    report.row(
        GROUP,
        "CPU of the XDP program alone",
        "s/10,000",
        program,
        "bpf_stats, which take part of it themselves",
    );
    let haproxy = Spread::of(runs[4].iter().filter_map(|run| run.process));
    report.row(
        GROUP,
        "CPU of the HAProxy process alone",
        "s/10,000",
        haproxy,
        "user and system; its interrupts are not in it",
    );
    let [_, mb_lb, nftables, haproxy_machine] = more[..] else {
        unreachable!("one figure for each director");
    };
    report.ratio(
        "director CPU: HAProxy to mb-lb, whole machine",
        haproxy_machine / mb_lb,
        "at least 10",
    );
    report.ratio(
        "director CPU: nftables to mb-lb, whole machine",
        nftables / mb_lb,
        "",
    );
    report.ratio(
        "director CPU: HAProxy's process to the XDP program",
        haproxy.median / program.median,
        "at least 10",
    );
}

/// Sends the mail of one run. Without a director each server gets its third directly; with one, all go to the VIP.
fn send(lab: &Lab, kind: Kind, sessions: u32) -> Result<()> {
    let servers = lab.servers();
    let share = sessions / servers.len() as u32;
    let sending = servers
        .iter()
        .map(|server| {
            let to = match kind {
                Kind::None => (server.ipv4(), 25).into(),
                _ => lab.smtp4(),
            };
            Source::new(to)
                .messages(share)
                .sessions(20)
                .argument("-l")
                .argument("4096")
                .start(lab.client(), &format!("source-{}", server.name()))
        })
        .collect::<Result<Vec<_>>>()?;
    for sending in sending {
        sending.finish()?.expect_all(share.into())?;
    }
    Ok(())
}

fn run(lab: &Lab, running: &Running, effort: Effort) -> Result<Run> {
    let sessions = effort.sessions();
    let process = running.process_seconds()?;
    let before = Times::now()?;
    let start = Instant::now();
    send(lab, running.kind(), sessions)?;
    let took = start.elapsed().as_secs_f64();
    let machine = Times::now()?.since(&before).busy;
    let scale = PER / f64::from(sessions);
    let process = match (process, running.process_seconds()?) {
        (Some(before), Some(after)) => Some((after - before) * scale),
        _ => None,
    };
    Ok(Run {
        sessions_per_second: f64::from(sessions) / took,
        machine: machine * scale,
        process,
    })
}

/// Runs of their own: the statistics cost time too.
fn program_seconds(lab: &Lab, effort: Effort) -> Result<Spread> {
    let running = Running::start(lab, Kind::MbLb, Checks::On)?;
    wait_for_greeting(lab, Kind::MbLb)?;
    let _statistics = bpf::enable_stats().context("cannot switch BPF statistics on")?;
    let read = || -> Result<f64> {
        let time = running.program_time()?.context("mb-lb does not run")?;
        Ok(time.as_secs_f64())
    };
    let sessions = effort.sessions();
    let values = (0..effort.smtp_rounds())
        .map(|_| {
            let before = read()?;
            send(lab, Kind::MbLb, sessions)?;
            Ok((read()? - before) * PER / f64::from(sessions))
        })
        .collect::<Result<Vec<f64>>>()?;
    running.stop()?;
    Ok(Spread::of(values))
}

/// Waits until a mail server greets through the director: what has just been started may not be in the kernel yet.
fn wait_for_greeting(lab: &Lab, kind: Kind) -> Result<()> {
    if kind == Kind::None {
        return Ok(());
    }
    try_wait_until("a mail server's greeting through the VIP", GREETING, || {
        let greeting = lab.client().enter(|| -> std::io::Result<String> {
            let stream = TcpStream::connect_timeout(&lab.smtp4(), GREETING)?;
            stream.set_read_timeout(Some(GREETING))?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            Ok(line)
        })?;
        if !greeting.starts_with("220 ") {
            bail!("it says {:?}", greeting.trim_end());
        }
        Ok(())
    })
}

/// False: it did not get quiet.
fn wait_for_quiet() -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let before = Times::now()?;
        sleep(Duration::from_millis(500));
        let passed = Times::now()?.since(&before);
        if passed.busy / (passed.busy + passed.idle) < QUIET {
            return Ok(true);
        }
    }
    Ok(false)
}
