//! What waits for healing in a volume: a program of the operator's tells, seldom, and not knowing is no failure.

use std::io;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::seen::{Backlog, Part, Role, Seen};
use crate::config::{self, StorageKind};

/// With a server that is cut off it takes as long as clients wait for it (`network.ping-timeout`).
const LIMIT: Duration = Duration::from_secs(20);
const LONGEST: u64 = 1024 * 1024;
const MOST_NODES: u32 = 100_000;

/// Asks at its own pace until it is dropped.
#[derive(Debug)]
pub(super) struct Slow {
    task: JoinHandle<()>,
    last: watch::Receiver<Option<(Seen, Duration)>>,
    volume: String,
}

impl Slow {
    /// `None`: there is nothing to ask, or another director does.
    pub(super) fn start(config: &config::Storage, slowly_too: bool) -> Option<Self> {
        let StorageKind::Glusterfs {
            volume,
            heal_command,
            heal_interval,
            ..
        } = &config.kind
        else {
            return None;
        };
        let (program, arguments) = heal_command.split_first().filter(|_| slowly_too)?;
        let (program, arguments) = (program.clone(), arguments.to_vec());
        let (sender, last) = watch::channel(None);
        let mut ticks = interval(*heal_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let task = tokio::spawn(async move {
            for number in 0.. {
                ticks.tick().await;
                let begun = Instant::now();
                let seen = match run(&program, &arguments)
                    .await
                    .and_then(|text| parse(&text))
                {
                    Ok(backlog) => Seen::Heals { backlog, number },
                    Err(why) => Seen::Unknown(why),
                };
                if sender.send(Some((seen, begun.elapsed()))).is_err() {
                    return;
                }
            }
        });
        Some(Self {
            task,
            last,
            volume: volume.clone(),
        })
    }

    pub(super) fn part(&self) -> Option<Part> {
        let (seen, took) = self.last.borrow().clone()?;
        Some(Part {
            role: Role::Heal,
            name: self.volume.clone(),
            address: String::new(),
            seen: Ok(seen),
            took,
        })
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Kills a process group.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

async fn run(program: &str, arguments: &[String]) -> Result<String, String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    // SAFETY: prctl is async-signal-safe and touches no memory of ours.
    unsafe {
        command
            .pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from));
    }
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    // Its group has its own number, by `process_group(0)`.
    let leader = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(leader.map(Pid::from_raw));
    let stdout = child.stdout.take();
    let mut bytes = Vec::new();
    let work = async {
        if let Some(stdout) = stdout {
            stdout.take(LONGEST).read_to_end(&mut bytes).await?;
        }
        child.wait().await
    };
    let ended = timeout(LIMIT, work).await;
    let status = match ended {
        Ok(ended) => ended.map_err(|error| format!("{program}: {error}"))?,
        Err(_) => return Err(format!("{program} did not end within {LIMIT:?}")),
    };
    group.0 = None;
    match status.success() || !bytes.is_empty() {
        true => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        false => Err(format!("{program} failed ({status}) and printed nothing")),
    }
}

/// What `gluster volume heal VOLUME info summary --xml` printed.
///
/// # Errors
/// It is no such thing, or says that it could not be found out; in words.
pub fn parse(text: &str) -> Result<Backlog, String> {
    let options = roxmltree::ParsingOptions {
        nodes_limit: MOST_NODES,
        ..roxmltree::ParsingOptions::default()
    };
    let document = roxmltree::Document::parse_with_options(text, options)
        .map_err(|error| format!("what it printed is no XML: {error}"))?;
    let mut backlog = Backlog::default();
    let mut counted = 0_u32;
    let named = |name| move |node: &roxmltree::Node<'_, '_>| node.has_tag_name(name);
    for brick in document.descendants().filter(named("brick")) {
        counted += 1;
        let number = |name| {
            let text = brick.children().find(named(name))?.text()?;
            text.trim().parse::<u64>().ok()
        };
        match (
            number("numberOfEntriesInHealPending"),
            number("numberOfEntriesInSplitBrain"),
        ) {
            (Some(pending), Some(split_brain)) => {
                backlog.pending = backlog.pending.saturating_add(pending);
                backlog.split_brain = backlog.split_brain.saturating_add(split_brain);
            }
            _ => backlog.unknown += 1,
        }
    }
    if counted > 0 && backlog.unknown < counted {
        return Ok(backlog);
    }
    let said = document
        .descendants()
        .filter(|node| node.has_tag_name("opErrstr") || node.has_tag_name("status"))
        .filter_map(|node| node.text())
        .find(|text| !text.trim().is_empty());
    Err(match said {
        Some(text) => text.trim().chars().take(200).collect(),
        None => "no brick in what it printed".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn brick(status: &str, pending: &str, split: &str) -> String {
        format!(
            "<brick hostUuid=\"-\"><name>g1:/b</name><status>{status}</status><totalNumberOfEntries>{pending}\
             </totalNumberOfEntries><numberOfEntriesInHealPending>{pending}</numberOfEntriesInHealPending>\
             <numberOfEntriesInSplitBrain>{split}</numberOfEntriesInSplitBrain></brick>"
        )
    }

    fn output(bricks: &[String]) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<cliOutput><healInfo><bricks>{}</bricks></healInfo>\
             <opRet>0</opRet><opErrno>0</opErrno><opErrstr/></cliOutput>",
            bricks.concat()
        )
    }

    #[test]
    fn entries_are_counted_over_all_bricks() {
        let gone = "Transport endpoint is not connected";
        let text = output(&[
            brick("Connected", "6", "0"),
            brick("Connected", "6", "1"),
            brick(gone, "-", "-"),
        ]);
        let expected = Backlog {
            pending: 12,
            split_brain: 1,
            unknown: 1,
        };
        assert_eq!(parse(&text), Ok(expected));
        assert_eq!(
            parse(&output(&[brick(gone, "-", "-")])),
            Err(gone.to_owned())
        );
    }

    #[test]
    fn what_could_not_be_found_out_says_why() {
        let busy = "<cliOutput><opRet>-1</opRet><opErrstr>Another transaction is in progress for q</opErrstr></cliOutput>";
        assert_eq!(
            parse(busy),
            Err("Another transaction is in progress for q".to_owned())
        );
        assert_eq!(
            parse("<cliOutput/>"),
            Err("no brick in what it printed".to_owned())
        );
        assert!(
            parse("Connection failed")
                .expect_err("no XML")
                .starts_with("what it printed is no XML")
        );
        assert!(parse(&"<a>".repeat(200_000)).is_err());
        let laughs = "<!DOCTYPE a [<!ENTITY b \"x\"><!ENTITY c \"&b;&b;\">]><a>&c;</a>";
        assert!(parse(laughs).is_err());
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in "(<|>|/|brick|status|numberOfEntriesInHealPending|1|-|&| |\"){0,40}") {
            let _ = parse(&text);
        }
    }
}
