//! `--wait`: until a server has no flow left, or until it takes new ones.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::change::find;
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::format::{count, grouped, span};
use crate::cli::output::say;
use crate::cli::state;
use crate::engine::ServerRef;
use crate::snapshot::{AdminState, ServerView, Snapshot};

const POLL: Duration = Duration::from_millis(250);
/// The data plane is counted once a second, so a count says something about now only after so many seconds.
const FRESH: u64 = 2;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// No flow, neither active nor pending, while this state is in force.
    Empty(AdminState),
    /// Takes new flows.
    Usable,
}

/// Waits for `goal`, at most `limit`.
pub fn wait(
    client: &Client,
    server: &ServerRef,
    goal: Goal,
    limit: Duration,
) -> Result<Exit, Failure> {
    let name = format!("{}/{}", server.service, server.server);
    let started = Instant::now();
    let mut progress = Progress::new(&name, goal);
    let mut freshness = Freshness::default();
    let mut last = String::from("the daemon did not answer");
    loop {
        match client.snapshot() {
            Ok(snapshot) => {
                let (_, view) = find(&snapshot, server)?;
                last = describe(view, goal);
                if let Goal::Empty(state) = goal
                    && view.admin != state
                {
                    progress.end();
                    return Err(Failure::failed(format!(
                        "{name} is {} now: somebody has changed it, so it will not become empty",
                        state::word(view)
                    ))
                    .next("mb-lb-ctl events"));
                }
                let fresh = freshness.see(&snapshot);
                progress.show(view, started.elapsed());
                if fresh && reached(view, goal) {
                    progress.end();
                    say(&format!(
                        "{name}: {} after {}",
                        match goal {
                            Goal::Empty(_) => "no flow left",
                            Goal::Usable => "takes new flows",
                        },
                        span(started.elapsed().as_secs())
                    ));
                    return Ok(Exit::Ok);
                }
            }
            // A restart of the daemon changes nothing in the kernel, so it is waited out.
            Err(failure) if failure.exit == Exit::Unreachable => {}
            Err(failure) => {
                progress.end();
                return Err(failure);
            }
        }
        let Some(left) = limit.checked_sub(started.elapsed()) else {
            progress.end();
            return Err(timed_out(&name, goal, &last, limit));
        };
        std::thread::sleep(POLL.min(left));
    }
}

fn timed_out(name: &str, goal: Goal, last: &str, limit: Duration) -> Failure {
    let limit = span(limit.as_secs());
    match goal {
        Goal::Empty(_) => Failure::new(
            Exit::TimedOut,
            format!("{name} is not empty after {limit}: {last}. The change stays in force and nothing was cut"),
        )
        .next(format!("wait longer, or mb-lb-ctl list flows {}", service_of(name))),
        Goal::Usable => Failure::new(
            Exit::TimedOut,
            format!("{name} takes no new flows after {limit}: {last}. It stays ready"),
        )
        .next(format!("mb-lb-ctl describe {name}")),
    }
}

fn service_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(service, _)| service)
}

fn reached(server: &ServerView, goal: Goal) -> bool {
    match goal {
        Goal::Empty(_) => flows(server) == 0,
        Goal::Usable => server.usable,
    }
}

fn describe(server: &ServerView, goal: Goal) -> String {
    match goal {
        Goal::Empty(_) => format!("{} left", count(flows(server), "flow")),
        Goal::Usable => match state::note(server) {
            note if note.is_empty() => format!("it is {}", state::word(server)),
            note => format!("it is {}, {note}", state::word(server)),
        },
    }
}

fn flows(server: &ServerView) -> u64 {
    u64::try_from(server.active).unwrap_or(0) + server.pending
}

/// Whether the counts were taken after the change.
#[derive(Default)]
struct Freshness {
    first_uptime: Option<u64>,
}

impl Freshness {
    fn see(&mut self, snapshot: &Snapshot) -> bool {
        // The daemon's own clock, which starts again when it does.
        let first = *self.first_uptime.get_or_insert(snapshot.uptime);
        if snapshot.uptime < first {
            self.first_uptime = Some(snapshot.uptime);
            return false;
        }
        snapshot.uptime - first >= FRESH
    }
}

/// A bar on a terminal, a line for each tenth elsewhere.
struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    /// Most flows seen so far.
    most: u64,
    /// Tenths that are gone already and were told.
    told: Option<u64>,
    empty: bool,
}

impl Progress {
    fn new(name: &str, goal: Goal) -> Self {
        let empty = matches!(goal, Goal::Empty(_));
        let terminal = std::io::stderr().is_terminal();
        if empty {
            say("waiting until no flow is left; Ctrl-C ends the waiting, not the change");
        }
        let bar = (empty && terminal).then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:24}] {elapsed}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Self {
            name: name.to_owned(),
            bar,
            most: 0,
            told: None,
            empty,
        }
    }

    fn show(&mut self, server: &ServerView, elapsed: Duration) {
        if !self.empty {
            return;
        }
        let left = flows(server);
        self.most = self.most.max(left);
        let text = format!(
            "{}: {} of {} left",
            self.name,
            grouped(left),
            count(self.most, "flow")
        );
        if let Some(bar) = &self.bar {
            bar.set_length(self.most);
            bar.set_position(self.most - left);
            bar.set_message(text);
            return;
        }
        let tenth = ((self.most - left) * 10)
            .checked_div(self.most)
            .unwrap_or(10);
        if self.told.is_none_or(|told| tenth > told) {
            self.told = Some(tenth);
            say(&format!("{text} after {}", span(elapsed.as_secs())));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(uptime: u64) -> Snapshot {
        Snapshot {
            uptime,
            ..Snapshot::default()
        }
    }

    #[test]
    fn counts_are_believed_only_when_they_are_younger_than_the_change() {
        let mut freshness = Freshness::default();
        assert!(!freshness.see(&at(100)));
        assert!(!freshness.see(&at(101)));
        assert!(freshness.see(&at(102)));
        assert!(!freshness.see(&at(0)), "the daemon has restarted");
        assert!(!freshness.see(&at(1)));
        assert!(freshness.see(&at(2)));
    }
}
