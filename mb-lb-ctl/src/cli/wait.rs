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
use crate::snapshot::{AdminState, ServerView, ServiceView, Snapshot};

const POLL: Duration = Duration::from_millis(250);
/// The data plane is counted once a second, so a count says something about now only after so many seconds.
const FRESH: u64 = 2;
/// After so long a verdict is given on whatever counts there are.
const JUDGED: Duration = Duration::from_secs(FRESH + 2);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// No flow, neither active nor pending, while it is drained.
    Drained,
    /// The same in maint, where `on_down` has flows reset at their next packet.
    Reset,
    /// The same in maint, where `on_down` has flows go on.
    Kept,
    /// Takes new flows.
    Usable,
}

impl Goal {
    /// The admin state that has to stay in force; `None`: it is no matter of flows.
    const fn state(self) -> Option<AdminState> {
        match self {
            Self::Drained => Some(AdminState::Drain),
            Self::Reset | Self::Kept => Some(AdminState::Maint),
            Self::Usable => None,
        }
    }
}

/// Waits for `goal`, at most `limit`. Counts that are younger than the change are awaited even where `limit` is
/// shorter: a server without flows is found to be so.
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
    let mut seen_fresh = false;
    let mut last = String::from("the daemon did not answer");
    let mut kind = Kind::Kernel;
    loop {
        match client.snapshot() {
            Ok(snapshot) => {
                let (service, view) = find(&snapshot, server)?;
                kind = Kind::of(service);
                last = describe(view, goal);
                if let Some(state) = goal.state()
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
                seen_fresh |= fresh;
                progress.show(view, started.elapsed());
                if fresh && reached(view, goal) {
                    progress.end();
                    say(&format!(
                        "{name}: {} after {}",
                        match goal {
                            Goal::Usable if kind == Kind::Proxy => "takes new users",
                            Goal::Usable => "takes new flows",
                            _ if kind == Kind::Proxy => "no request is under way",
                            _ => "no flow left",
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
        let left = limit.saturating_sub(started.elapsed());
        let judged = seen_fresh || started.elapsed() > JUDGED;
        if left.is_zero() && judged {
            progress.end();
            return Err(timed_out(&name, goal, kind, &last, limit));
        }
        std::thread::sleep(if judged { POLL.min(left) } else { POLL });
    }
}

/// Where the connections are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kernel,
    UserMode,
    Proxy,
}

impl Kind {
    fn of(service: &ServiceView) -> Self {
        match (service.layer, &service.clients) {
            (7, _) => Self::Proxy,
            (_, Some(_)) => Self::UserMode,
            (_, None) => Self::Kernel,
        }
    }
}

fn timed_out(name: &str, goal: Goal, kind: Kind, last: &str, limit: Duration) -> Failure {
    // What the rest of the line took is no matter.
    let limit = match limit.subsec_millis() {
        0 => span(limit.as_secs()),
        _ => format!("{}ms", limit.as_millis()),
    };
    if kind != Kind::Kernel && goal != Goal::Usable {
        let state = match goal {
            Goal::Drained => "drained",
            _ => "in maint",
        };
        let next = match (kind, goal) {
            (Kind::Proxy, Goal::Drained) => {
                format!("mb-lb-ctl maint {name} sends users who have its cookie elsewhere")
            }
            _ => format!("mb-lb-ctl describe {name} shows how many are left"),
        };
        let message = format!(
            "{name} is not empty after {limit}: {last}. It stays {state}, and what is under way goes on"
        );
        return Failure::new(Exit::TimedOut, message).next(next);
    }
    let list = format!("mb-lb-ctl list flows {}", service_of(name));
    let (message, next) = match goal {
        Goal::Drained => (
            format!(
                "{name} is not empty after {limit}: {last}. It stays drained, and its flows go on"
            ),
            format!("{list} shows them; mb-lb-ctl maint {name} treats them as on_down says"),
        ),
        Goal::Reset => (
            format!(
                "{name} is not empty after {limit}: {last}. It stays in maint; each is reset at its next packet, and \
                 silent ones are forgotten after director.flow_timeouts"
            ),
            list,
        ),
        Goal::Kept => (
            format!(
                "{name} is not empty after {limit}: {last}. It stays in maint; on_down = \"keep\" lets them go on"
            ),
            list,
        ),
        Goal::Usable => (
            format!("{name} takes no new flows after {limit}: {last}. It stays ready"),
            format!("mb-lb-ctl describe {name}"),
        ),
    };
    Failure::new(Exit::TimedOut, message).next(next)
}

fn service_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(service, _)| service)
}

fn reached(server: &ServerView, goal: Goal) -> bool {
    match goal {
        Goal::Usable => server.usable,
        _ => flows(server) == 0,
    }
}

fn describe(server: &ServerView, goal: Goal) -> String {
    match goal {
        Goal::Drained | Goal::Reset | Goal::Kept => {
            format!("{} left", count(flows(server), "flow"))
        }
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
        let empty = goal != Goal::Usable;
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
