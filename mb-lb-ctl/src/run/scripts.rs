//! Scripts that virtual routers track: run again and again, and told of when the outcome changes.

use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::TrackScript;
use crate::engine::Event;
use crate::script::{self, Keep};

/// Handle of the tasks, one for each script.
pub struct Scripts {
    events: mpsc::Sender<Event>,
    running: Vec<(String, TrackScript, JoinHandle<()>)>,
}

impl Scripts {
    pub const fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            running: Vec::new(),
        }
    }

    /// Runs exactly these; those that did not change go on.
    pub fn set(&mut self, wanted: Vec<(String, TrackScript)>) {
        let mut old = std::mem::take(&mut self.running);
        for (instance, script) in wanted {
            let known = old
                .iter()
                .position(|(name, known, _)| *name == instance && *known == script);
            match known {
                Some(at) => self.running.push(old.swap_remove(at)),
                None => {
                    let task = follow(instance.clone(), script.clone(), self.events.clone());
                    self.running.push((instance, script, tokio::spawn(task)));
                }
            }
        }
        for (_, _, task) in old {
            task.abort();
        }
    }
}

async fn follow(instance: String, script: TrackScript, events: mpsc::Sender<Event>) {
    let mut count = Count::default();
    loop {
        let failed = run(&script).await.err();
        if let Some(failed) = count.judge(failed, script.rise, script.fall) {
            let event = Event::Script {
                instance: instance.clone(),
                script: script.name.clone(),
                failed,
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(script.interval).await;
    }
}

/// Rise and fall.
#[derive(Debug, Default)]
struct Count {
    /// As last told: `Some(true)` is good.
    good: Option<bool>,
    streak: u8,
}

impl Count {
    /// What is to be told. The first outcome is, however it is.
    fn judge(&mut self, failed: Option<String>, rise: u8, fall: u8) -> Option<Option<String>> {
        let good = failed.is_none();
        if self.good == Some(good) {
            self.streak = 0;
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        let enough = if good { rise } else { fall };
        if self.good.is_some() && self.streak < enough {
            return None;
        }
        self.good = Some(good);
        self.streak = 0;
        Some(failed)
    }
}

/// One run. The error says how it failed.
async fn run(script: &TrackScript) -> Result<(), String> {
    let mut words = script.command.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    let ended = script::run(command, Keep::Errors, script.timeout)
        .await
        .map_err(|error| format!("cannot be started: {error}"))?;
    if ended.status.is_none() {
        return Err(format!("no end within {:?}", script.timeout));
    }
    let Some(how) = ended.failure() else {
        return Ok(());
    };
    let said = String::from_utf8_lossy(ended.first_line());
    Err(match &*said {
        "" => how,
        said => format!("{how}: {said}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn script(command: &str) -> TrackScript {
        TrackScript {
            name: "x".to_owned(),
            command: command.to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            rise: 1,
            fall: 1,
            weight: 0,
        }
    }

    #[tokio::test]
    async fn outcomes_are_told_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("check");
        let write = |text: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
        };
        let command = format!("{} one two", path.display());
        write("test \"$1 $2\" = 'one two'");
        assert_eq!(run(&script(&command)).await, Ok(()));
        write("echo 'no disk' >&2; exit 3");
        assert_eq!(
            run(&script(&command)).await,
            Err("exit code 3: no disk".to_owned())
        );
        write("head -c 300000 /dev/zero >&2; exit 4");
        let loud = run(&script(&command)).await.expect_err("failed");
        assert!(loud.starts_with("exit code 4"), "{loud:?}");
        write("kill -9 $$");
        let killed = run(&script(&command)).await.expect_err("killed");
        assert_eq!(killed, "killed by SIGKILL");
        write("sleep 100 & sleep 100");
        assert_eq!(
            run(&script(&command)).await,
            Err("no end within 500ms".to_owned())
        );
        let missing = run(&script("/nowhere/x")).await.expect_err("not there");
        assert!(missing.starts_with("cannot be started"), "{missing}");
    }

    #[test]
    fn rise_and_fall_count_in_a_row() {
        let bad = || Some("bad".to_owned());
        let mut count = Count::default();
        assert_eq!(count.judge(bad(), 2, 3), Some(bad()));
        assert_eq!(count.judge(None, 2, 3), None);
        assert_eq!(count.judge(bad(), 2, 3), None);
        assert_eq!(count.judge(None, 2, 3), None);
        assert_eq!(count.judge(None, 2, 3), Some(None));
        assert_eq!(count.judge(bad(), 2, 3), None);
        assert_eq!(count.judge(bad(), 2, 3), None);
        assert_eq!(count.judge(bad(), 2, 3), Some(bad()));
        let mut good = Count::default();
        assert_eq!(good.judge(None, 2, 3), Some(None));
        assert_eq!(good.judge(None, 2, 3), None);
    }
}
