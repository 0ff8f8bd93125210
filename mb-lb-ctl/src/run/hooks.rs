//! Programs that are told of changes of role: one after the other, in the order of the changes.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::engine::HookCall;

/// A program that has not ended by then is killed: the next change must be told too.
const LONGEST: Duration = Duration::from_secs(30);
/// At the end of the process, those that wait get so long.
const AT_THE_END: Duration = Duration::from_secs(5);

/// Handle of the task.
pub struct Hooks {
    calls: mpsc::UnboundedSender<HookCall>,
    task: JoinHandle<()>,
}

impl Hooks {
    pub fn spawn() -> Self {
        let (calls, mut queue) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Some(call) = queue.recv().await {
                run(&call).await;
            }
        });
        Self { calls, task }
    }

    pub fn call(&self, call: HookCall) {
        // The task ends with the process only.
        let _queued = self.calls.send(call);
    }

    /// Waits for those that were called.
    pub async fn finish(self) {
        drop(self.calls);
        if tokio::time::timeout(AT_THE_END, self.task).await.is_err() {
            tracing::warn!("notify programs did not end in time");
        }
    }
}

async fn run(call: &HookCall) {
    let child = Command::new(&call.path)
        .args([&call.instance, call.from, call.to])
        .arg(call.priority.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let path = call.path.display();
    match child {
        Ok(mut child) => match tokio::time::timeout(LONGEST, child.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            Ok(Ok(status)) => tracing::warn!(%path, %status, instance = call.instance, "notify"),
            Ok(Err(error)) => tracing::warn!(%path, %error, "notify"),
            Err(_) => tracing::warn!(%path, "notify did not end within 30 s and is killed"),
        },
        Err(error) => tracing::warn!(%path, %error, "notify cannot be started"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test]
    async fn calls_come_one_after_the_other_with_what_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, told) = (dir.path().join("notify"), dir.path().join("told"));
        // The first is the slowest, and must be done first.
        let text = format!(
            "#!/bin/sh\ntest \"$2\" = init && sleep 0.3\necho \"$@\" >> {}\n",
            told.display()
        );
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
        let hooks = Hooks::spawn();
        for (from, to) in [
            ("init", "backup"),
            ("backup", "active"),
            ("active", "fault"),
        ] {
            hooks.call(HookCall {
                path: path.clone(),
                instance: "VI_1".to_owned(),
                from,
                to,
                priority: 101,
            });
        }
        hooks.finish().await;
        assert_eq!(
            std::fs::read_to_string(told).expect("told"),
            "VI_1 init backup 101\nVI_1 backup active 101\nVI_1 active fault 101\n"
        );
    }
}
