//! One program, with a time limit: what it says is kept up to a limit, and when time is up it is killed together with all
//! that it has started.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::command::Invocation;
use super::output::Captured;

async fn fill(captured: &mut Captured, mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => captured.add(&buffer[..length]),
        }
    }
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Finished {
    /// `None`: it was killed, because time was up.
    pub status: Option<ExitStatus>,
    pub stdout: Captured,
    pub stderr: Captured,
}

/// The processes that a program has started, and itself. Killed when this goes.
struct Group(Option<Pid>);

impl Group {
    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // Nobody left to kill is what was wanted.
            let _killed = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program to its end, at most `limit`. Dropping the future kills it.
///
/// # Errors
/// It cannot be started, or not be read.
pub(super) async fn run(invocation: &Invocation, limit: Duration) -> io::Result<Finished> {
    let mut command = Command::new(invocation.program);
    command
        .args(&invocation.arguments)
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("SSH_ASKPASS")
        .envs(
            invocation
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    // SAFETY: prctl is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            // A controller that is killed must not go on writing to targets: another director may have taken over.
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)
        });
    }
    let mut child = command.spawn()?;
    // Its group has its own number, by `process_group(0)`.
    let leader = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(leader.map(Pid::from_raw));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Captured::default(), Captured::default());
    let work = async {
        let read_out = async {
            match stdout {
                Some(stream) => fill(&mut out, stream).await,
                None => Ok(()),
            }
        };
        let read_err = async {
            match stderr {
                Some(stream) => fill(&mut err, stream).await,
                None => Ok(()),
            }
        };
        let (status, read_out, read_err) = tokio::join!(child.wait(), read_out, read_err);
        read_out.and(read_err)?;
        status
    };
    let status = match tokio::time::timeout(limit, work).await {
        Ok(status) => {
            let status = status?;
            // All have ended, or have nothing more to do with us; the number may be somebody else's soon.
            group.0 = None;
            Some(status)
        }
        Err(_) => {
            group.kill();
            // At once now; whoever stays is reaped by the runtime.
            let _reaped = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
            None
        }
    };
    Ok(Finished {
        status,
        stdout: out,
        stderr: err,
    })
}

#[cfg(test)]
mod tests {
    use super::super::output::KEPT;
    use super::*;

    fn sh(script: &str) -> Invocation {
        Invocation {
            program: "sh",
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: vec![("WORD", "hello".to_owned())],
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_is_said_is_kept_and_more_is_counted() {
        let ended = run(&sh("echo $WORD; echo oops >&2; exit 3"), LONG)
            .await
            .expect("ran");
        assert_eq!(ended.status.and_then(|status| status.code()), Some(3));
        assert_eq!(
            (&*ended.stdout.text(), &*ended.stderr.text()),
            ("hello\n", "oops\n")
        );
        let ended = run(&sh("yes x | head -n 1000000"), LONG)
            .await
            .expect("ran");
        assert_eq!(ended.stdout.head.len(), KEPT);
        assert_eq!(ended.stdout.lines_left_out, 1_000_000 - KEPT as u64 / 2);
        let missing = Invocation {
            program: "no-such-program",
            ..sh("")
        };
        let error = run(&missing, LONG).await.expect_err("missing");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    /// The grandchild holds the pipe and a file lock; both are free only when it is gone.
    #[tokio::test]
    async fn all_of_the_group_is_killed_when_time_is_up_and_when_nobody_waits_any_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let lock = directory.path().join("lock");
        let script = format!(
            "(exec flock {0} sh -c 'echo locked; sleep 600') & wait",
            lock.display()
        );
        let free = || async {
            let free = sh(&format!("exec flock {} true", lock.display()));
            run(&free, LONG).await.expect("ran").status
        };
        let ended = run(&sh(&script), Duration::from_secs(2))
            .await
            .expect("ran");
        assert_eq!(ended.status, None);
        assert_eq!(ended.stdout.text(), "locked\n");
        assert!(free().await.is_some_and(|status| status.success()));

        let invocation = sh(&script);
        let started = run(&invocation, LONG);
        assert!(
            tokio::time::timeout(Duration::from_secs(2), started)
                .await
                .is_err()
        );
        assert!(free().await.is_some_and(|status| status.success()));
    }
}
