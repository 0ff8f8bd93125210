//! `run --shadow`: the checks of a configuration beside the HAProxy that serves, and where the two see servers otherwise.
//!
//! The engine is the daemon's, and so are checks and the neighbour table. What would change anything is not performed: no
//! program is loaded or attached, no address is set, no advert sent, nothing listened on, no state saved, no lock taken. So
//! it may run beside a daemon, too. Databases and storage are not asked: HAProxy knows nothing to compare with.

mod compare;

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};

use super::{EVENTS, RunOptions, log, now, sleep_until};
use crate::config::Config;
use crate::dataplane::Adopted;
use crate::engine::{Action, Engine, Event, Identity, SavedState};
use crate::net::{self, Neighbours};
use crate::prober::Prober;
use compare::{Comparison, parse};

/// Distance of comparisons.
const COMPARE_EVERY: Duration = Duration::from_secs(2);
/// HAProxy answers at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(2);
/// Some thousand servers.
const LONGEST: u64 = 8 << 20;

pub(super) async fn watch(
    options: &RunOptions,
    config: Config,
    haproxy: &Path,
) -> anyhow::Result<()> {
    // Before anything is said: who reads the first line may end it then.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let (events, mut queue) = mpsc::channel(EVENTS);
    let start = Instant::now();
    let identity = Identity {
        build: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms: now(start).wall_ms,
        pid: std::process::id(),
        config_path: options.config.display().to_string(),
        pinned_at: String::new(),
        adopted: false,
        max_flows: config.director.max_flows,
    };
    let engine = Engine::new(
        identity,
        &Adopted::default(),
        SavedState::default(),
        config.clone(),
    );
    let (neighbours, _following) =
        net::spawn(events.clone()).context("cannot follow the neighbour table")?;
    let mut shadow = Shadow {
        engine,
        start,
        prober: Prober::new(events),
        neighbours,
        comparison: Comparison::default(),
        silent: None,
    };
    shadow.turn(Event::Config(Box::new(config)));
    let begun = format!(
        "shadow: nothing is attached, announced or listened on; health is compared with {} every {} s",
        haproxy.display(),
        COMPARE_EVERY.as_secs()
    );
    if !print(&[begun]) {
        return Ok(());
    }
    let mut tick = tokio::time::interval(COMPARE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let deadline = shadow.engine.next_deadline(now(start));
        let deadline = deadline.map(|at| tokio::time::Instant::from_std(start + at));
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            Some(event) = queue.recv() => shadow.turn(event),
            () = sleep_until(deadline) => shadow.turn(Event::Deadline),
            _ = tick.tick() => {
                // Checks wait for as long, which is no more than they are late anyway.
                let answer = ask(haproxy).await;
                if !print(&shadow.compare(answer, haproxy)) {
                    return Ok(());
                }
            }
        }
    }
}

struct Shadow {
    engine: Engine,
    start: Instant,
    prober: Prober,
    neighbours: Neighbours,
    comparison: Comparison,
    /// Why HAProxy does not answer, when it was said.
    silent: Option<String>,
}

impl Shadow {
    fn turn(&mut self, event: Event) {
        for action in self.engine.handle(event, now(self.start)) {
            match action {
                Action::Checks(tasks) => self.prober.set(tasks),
                Action::Neighbours(addresses) => self.neighbours.set(addresses),
                Action::Record(event) => log::event(&event),
                // Whatever else it would do is left to HAProxy and keepalived.
                _ => {}
            }
        }
    }

    /// Lines for people, one for each change.
    fn compare(&mut self, answer: anyhow::Result<String>, haproxy: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        let told = answer.and_then(|text| parse(&text).context("its answer is not understood"));
        match told {
            Ok(theirs) => {
                if self.silent.take().is_some() {
                    lines.push("HAProxy answers again".to_owned());
                }
                let snapshot = self.engine.snapshot(now(self.start));
                lines.extend(self.comparison.round(&snapshot.services, &theirs));
            }
            Err(error) => {
                let why = format!("{error:#}");
                if self.silent.as_ref() != Some(&why) {
                    lines.push(format!(
                        "HAProxy does not answer at {}: {why}; name its `stats socket` with --haproxy-socket",
                        haproxy.display()
                    ));
                    self.silent = Some(why);
                }
            }
        }
        lines
    }
}

/// Whether anybody reads it.
fn print(lines: &[String]) -> bool {
    let mut stdout = std::io::stdout().lock();
    let mut written = lines.iter().map(|line| writeln!(stdout, "{line}"));
    let failed = written.any(|written| written.is_err());
    !failed && stdout.flush().is_ok()
}

/// `show stat`
async fn ask(path: &Path) -> anyhow::Result<String> {
    let exchange = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(b"show stat\n").await?;
        let mut text = String::new();
        stream.take(LONGEST).read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    let answered = timeout(PATIENCE, exchange).await;
    Ok(answered.context("no answer in time")??)
}
