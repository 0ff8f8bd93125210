//! What clients see while the VIP moves: how long no new connection is greeted, and how many open sessions live on.
//! Two directors of ours, and keepalived with HAProxy in their place, with the same priorities and intervals.

mod delay;
mod prober;
mod rival;
mod sessions;

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mb_lb_tests::{Lab, Machine, Pair, PairSetup};

use crate::Effort;
use crate::report::{Report, Row, Spread};
use prober::{EVERY, Prober};
use rival::Rival;
use sessions::Sessions;

/// Open sessions while the VIP moves.
const SESSIONS: usize = 200;
/// A planned one is to take no longer.
const PLANNED: Duration = Duration::from_millis(20);
/// The prober goes on for so long after what is to be over.
const AFTERWARDS: Duration = Duration::from_millis(400);
/// The longest lease of a VIP, with the kernel's slack: what a dead controller leaves is gone by then.
const LEASE: Duration = Duration::from_millis(3_500);
/// A director needs so long until it takes part in the election.
const START: Duration = Duration::from_millis(1_500);
/// As many connections as there can be: those of directors that are cut off stay open for a while.
const SINK: [&str; 2] = ["-m", "8000"];

/// How often the active director speaks, in the words of both programs.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    gaps: &'static str,
    survivors: &'static str,
    interval: Duration,
    /// Skew_Time of the standby (RFC 9568 section 6.1, RFC 3768 section 6.1).
    skew: Duration,
    mb_lb: &'static str,
    pub keepalived: &'static str,
}

const TIMINGS: [Timing; 2] = [
    Timing {
        gaps: "failover, adverts of 1 s (version 2): longest time without a greeting",
        survivors: "failover, adverts of 1 s (version 2): open sessions that live on",
        interval: Duration::from_secs(1),
        skew: Duration::from_micros(609_375),
        mb_lb: "version = 2\nadvert_interval = \"1s\"",
        keepalived: "version 2\n advert_int 1",
    },
    Timing {
        gaps: "failover, adverts of 10 cs (version 3): longest time without a greeting",
        survivors: "failover, adverts of 10 cs (version 3): open sessions that live on",
        interval: Duration::from_millis(100),
        skew: Duration::from_nanos(60_937_500),
        mb_lb: "version = 3\nadvert_interval = \"100ms\"",
        keepalived: "version 3\n advert_int 0.1",
    },
];

impl Timing {
    /// Master_Down_Interval of the standby: after so long without an advert it takes over.
    fn down_interval(&self) -> Duration {
        self.interval * 3 + self.skew
    }

    const fn is_slow(&self) -> bool {
        self.interval.as_secs() >= 1
    }

    /// `at_least`: what comes after the take-over takes so long.
    fn unplanned(&self, name: &'static str, at_least: Duration) -> Event {
        let limit = self.down_interval();
        Event {
            name,
            limit: Some(limit),
            over: limit.max(at_least),
        }
    }

    /// The stronger one starts and preempts.
    fn back(&self, name: &'static str, limit: Option<Duration>) -> Event {
        Event {
            name,
            limit,
            over: self.down_interval() + START,
        }
    }

    /// Two were active.
    fn healed(&self, name: &'static str) -> Event {
        Event {
            name,
            limit: None,
            over: self.interval * 2,
        }
    }
}

pub fn measure(report: &mut Report, effort: Effort) -> Result<()> {
    for timing in TIMINGS {
        let mut taken = Taken::default();
        ours(report, &mut taken, timing, effort).context("two directors of mb-lb")?;
        rivals(&mut taken, timing, effort).context("keepalived with HAProxy")?;
        taken.tell(report, timing);
    }
    Ok(())
}

/// What happens to the active director.
#[derive(Clone, Copy, Debug)]
struct Event {
    name: &'static str,
    /// How long a gap may be.
    limit: Option<Duration>,
    /// After so long, it is over.
    over: Duration,
}

/// What was measured at one interval, in the order in which it was begun.
#[derive(Default)]
struct Taken(Vec<Rounds>);

struct Rounds {
    event: Event,
    gaps: Vec<Duration>,
    late: Duration,
    survivors: Vec<usize>,
}

impl Taken {
    fn rounds(&mut self, event: Event) -> &mut Rounds {
        let known = self
            .0
            .iter()
            .position(|rounds| rounds.event.name == event.name);
        let at = known.unwrap_or_else(|| {
            self.0.push(Rounds {
                event,
                gaps: Vec::new(),
                late: Duration::ZERO,
                survivors: Vec::new(),
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    fn tell(&self, report: &mut Report, timing: Timing) {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        for rounds in &self.0 {
            let limit = rounds.event.limit;
            let over: Vec<Duration> = rounds
                .gaps
                .iter()
                .filter_map(|gap| gap.checked_sub(limit?))
                .filter(|over| !over.is_zero())
                .collect();
            let mut notes = Vec::new();
            if let Some(most) = over.iter().max() {
                notes.push(format!(
                    "{} of {} over it, by up to {:.1} ms",
                    over.len(),
                    rounds.gaps.len(),
                    milliseconds(*most)
                ));
            }
            if rounds.late > EVERY {
                let late = milliseconds(rounds.late);
                notes.push(format!("the prober itself was up to {late:.0} ms late"));
            }
            report.add(Row {
                group: timing.gaps,
                what: rounds.event.name.to_owned(),
                unit: "ms",
                spread: Spread::of(rounds.gaps.iter().copied().map(milliseconds)),
                limit: limit.map(milliseconds),
                note: notes.join("; "),
            });
        }
        for rounds in &self.0 {
            report.row(
                timing.survivors,
                rounds.event.name,
                "of 200",
                Spread::of(rounds.survivors.iter().map(|&count| count as f64)),
                "",
            );
        }
    }
}

/// The client's side of one pair.
struct Client {
    machine: Machine,
    to: SocketAddr,
    sessions: Sessions,
    timing: Timing,
    /// Rounds so far.
    round: u32,
}

impl Client {
    fn new(lab: &Lab, timing: Timing) -> Self {
        Self {
            machine: lab.client().clone(),
            to: lab.smtp4(),
            sessions: Sessions::default(),
            timing,
            round: 0,
        }
    }

    /// The client believes whoever it heard last, for as long as that takes; between two rounds it is told better.
    fn forget(&self, vip: Ipv4Addr) -> Result<()> {
        self.machine
            .run("ip", &["neighbour", "flush", "to", &vip.to_string()])
            .map(drop)
    }

    /// Lets it happen, at some moment between two adverts, while the prober is at work.
    fn watch(
        &mut self,
        taken: &mut Taken,
        event: Event,
        happen: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.sessions
            .fill(&self.machine, self.to, SESSIONS)
            .context("cannot open the sessions")?;
        let prober = Prober::start(&self.machine, self.to)?;
        self.round += 1;
        // Multiples of the golden ratio spread the moments evenly over the interval.
        sleep(
            self.timing
                .interval
                .mul_f64((f64::from(self.round) * 0.618_034).fract()),
        );
        let from = Instant::now();
        happen().with_context(|| event.name)?;
        sleep((event.over + AFTERWARDS).saturating_sub(from.elapsed()));
        prober
            .wait_answered()
            .with_context(|| format!("after: {}", event.name))?;
        let outage = prober.outage(from, Instant::now())?;
        prober.stop()?;
        let survivors = self.sessions.survivors()?;
        eprintln!(
            "bench: {}: {:.1} ms, {survivors} of {SESSIONS} sessions, the prober {:.1} ms late",
            event.name,
            outage.gap.as_secs_f64() * 1e3,
            outage.late.as_secs_f64() * 1e3,
        );
        let rounds = taken.rounds(event);
        rounds.gaps.push(outage.gap);
        rounds.late = rounds.late.max(outage.late);
        rounds.survivors.push(survivors);
        Ok(())
    }
}

fn ours(report: &mut Report, taken: &mut Taken, timing: Timing, effort: Effort) -> Result<()> {
    let setup = PairSetup {
        interval: timing.mb_lb,
        sink: &SINK,
        ..PairSetup::default()
    };
    let mut pair = setup.start("failover")?;
    if timing.is_slow() {
        delay::measure(report, &pair, pair.lab.smtp4()).context("flow sync")?;
    }
    let mut client = Client::new(&pair.lab, timing);
    let rounds = effort.failovers(timing.is_slow());
    for _ in 0..rounds {
        client.watch(taken, nothing("mb-lb: nothing happens"), || Ok(()))?;
    }
    let event = planned("mb-lb: mb-lb-ctl failover");
    // There and back.
    for at in [0, 1].into_iter().cycle().take(rounds * 2) {
        client.watch(taken, event, || {
            pair.directors[at].expect(&["failover"]).map(drop)
        })?;
        settle(&pair, 1 - at)?;
    }
    let event = planned("mb-lb: SIGTERM");
    let back = timing.back("mb-lb: started again, takes the VIP back", Some(PLANNED));
    for _ in 0..rounds {
        client.watch(taken, event, || pair.directors[0].stop())?;
        client.watch(taken, back, || pair.directors[0].run())?;
        settle(&pair, 0)?;
    }
    let event = timing.unplanned("mb-lb: link cut at the switch", Duration::ZERO);
    let healed = timing.healed("mb-lb: link joined again");
    for _ in 0..rounds {
        client.watch(taken, event, || pair.lab.set_port("lb1", false))?;
        // So that some of them are known to one director only.
        client.sessions.close(SESSIONS / 4);
        client.watch(taken, healed, || pair.lab.set_port("lb1", true))?;
        settle(&pair, 0)?;
    }
    let event = timing.unplanned("mb-lb: kill -9", LEASE);
    for _ in 0..rounds {
        client.watch(taken, event, || pair.directors[0].kill())?;
        pair.directors[0].run()?;
        settle(&pair, 0)?;
    }
    let event = timing.unplanned("mb-lb: kill -9, and detach", LEASE);
    for _ in 0..rounds {
        client.watch(taken, event, || {
            pair.directors[0].kill()?;
            pair.directors[0].expect(&["detach"]).map(drop)
        })?;
        pair.directors[0].run()?;
        settle(&pair, 0)?;
    }
    let Pair { lab, .. } = pair;
    lab.down()
}

fn settle(pair: &Pair, active: usize) -> Result<()> {
    pair.wait_active(active)?;
    pair.wait_in_sync()
}

fn rivals(taken: &mut Taken, timing: Timing, effort: Effort) -> Result<()> {
    let mut rival = Rival::start(timing, &SINK)?;
    let mut client = Client::new(&rival.lab, timing);
    let rounds = effort.failovers(timing.is_slow());
    for _ in 0..rounds {
        let event = nothing("keepalived, HAProxy: nothing happens");
        client.watch(taken, event, || Ok(()))?;
    }
    let event = Event {
        name: "keepalived, HAProxy: SIGTERM of keepalived",
        limit: None,
        over: timing.skew,
    };
    let back = timing.back(
        "keepalived, HAProxy: started again, takes the VIP back",
        None,
    );
    for _ in 0..rounds {
        client.watch(taken, event, || rival.stop_keepalived(0))?;
        client.watch(taken, back, || rival.restart(0))?;
        rival.wait_active(0)?;
    }
    let event = timing.unplanned(
        "keepalived, HAProxy: link cut at the switch",
        Duration::ZERO,
    );
    let healed = timing.healed("keepalived, HAProxy: link joined again");
    for round in 0..rounds {
        client.watch(taken, event, || rival.lab.set_port("lb1", false))?;
        // Once, and not in a hurry: it may take most of a minute.
        if round == 0 && !effort.quick {
            client.watch(taken, healed, || rival.lab.set_port("lb1", true))?;
        } else {
            rival.lab.set_port("lb1", true)?;
        }
        rival.wait_active(0)?;
        client.forget(rival.lab.vip4())?;
    }
    let event = timing.unplanned("keepalived, HAProxy: kill -9 of both", Duration::ZERO);
    for _ in 0..rounds {
        client.watch(taken, event, || rival.kill(0))?;
        rival.restart(0)?;
        rival.wait_active(0)?;
    }
    rival.down()
}

/// What the way of measuring shows by itself.
const fn nothing(name: &'static str) -> Event {
    Event {
        name,
        limit: None,
        over: Duration::from_secs(1),
    }
}

const fn planned(name: &'static str) -> Event {
    Event {
        name,
        limit: Some(PLANNED),
        over: PLANNED,
    }
}
