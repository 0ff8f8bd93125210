//! Scripts that virtual routers track: run again and again, and told of when the outcome changes.

use std::process::Stdio;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::TrackScript;
use crate::engine::Event;

/// Bytes of a script's output that are kept for people.
const OUTPUT: u64 = 512;

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
    let program = words.next().unwrap_or_default();
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // With all that it has started.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    let group = child.id();
    let mut stderr = child.stderr.take();
    let ended = async {
        let mut said = Vec::new();
        if let Some(stderr) = &mut stderr {
            // What it says is for people only. A child of it may hold the pipe: the end of the script counts.
            let read = async {
                let read = (&mut *stderr).take(OUTPUT).read_to_end(&mut said).await;
                // The rest goes nowhere, but it must go, or the script waits for ever.
                let dropped = tokio::io::copy(stderr, &mut tokio::io::sink()).await;
                (read, dropped)
            };
            tokio::select! {
                biased;
                _ = read => {}
                _ = child.wait() => {}
            }
        }
        (child.wait().await, said)
    };
    match tokio::time::timeout(script.timeout, ended).await {
        Ok((Ok(status), _)) if status.success() => Ok(()),
        Ok((Ok(status), said)) => {
            let said = String::from_utf8_lossy(&said);
            let said = said.lines().next().unwrap_or_default().trim().to_owned();
            let how = match status.code() {
                Some(code) => format!("exit code {code}"),
                None => status.to_string(),
            };
            Err(match said.as_str() {
                "" => how,
                said => format!("{how}: {said}"),
            })
        }
        Ok((Err(error), _)) => Err(error.to_string()),
        Err(_) => {
            kill(group);
            Err(format!("no end within {:?}", script.timeout))
        }
    }
}

fn kill(group: Option<u32>) {
    let Some(group) = group.and_then(|pid| i32::try_from(pid).ok()) else {
        return;
    };
    // It may just have ended.
    let _gone = nix::sys::signal::killpg(
        nix::unistd::Pid::from_raw(group),
        nix::sys::signal::Signal::SIGKILL,
    );
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
        assert!(killed.contains("signal: 9"), "{killed}");
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
