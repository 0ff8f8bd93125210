//! One run of a program of the operator's: without a shell, in a process group of its own, with a time limit. What it says is
//! for people, so only the beginning is kept; the rest is read all the same, or the program would wait for ever.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

/// Bytes that are kept of what it says.
const KEPT: usize = 512;

/// Longest wait for a process to go that was killed: the kernel may hold it.
const FAREWELL: Duration = Duration::from_secs(1);

/// What of its output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Errors,
    All,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// `None`: time was up, and it was killed together with all that it had started.
    pub status: Option<ExitStatus>,
    said: Vec<u8>,
}

impl Ended {
    /// The first line that it said, as it was.
    pub fn first_line(&self) -> &[u8] {
        let mut lines = self.said.split(|byte| *byte == b'\n');
        lines.next().unwrap_or_default().trim_ascii()
    }

    /// `None` for exit code 0.
    pub fn failure(&self) -> Option<String> {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.status.filter(|status| !status.success())?;
        let signal = status
            .signal()
            .and_then(|number| Signal::try_from(number).ok());
        Some(match (status.code(), signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by {signal}"),
            (None, None) => status.to_string(),
        })
    }
}

/// Runs it to its end, at most `limit`. Dropping the future kills it, with its group.
///
/// # Errors
/// It cannot be started.
pub async fn run(mut command: Command, keep: Keep, limit: Duration) -> io::Result<Ended> {
    let (reader, writer) = io::pipe()?;
    let mut pipe = receiver(reader)?;
    command.stdout(match keep {
        Keep::Errors => Stdio::null(),
        Keep::All => writer.try_clone()?.into(),
    });
    let child = command
        .stdin(Stdio::null())
        .stderr(writer)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    // It has an end of the pipe for writing, which would never be at its end.
    drop(command);
    let mut group = Group(child);
    let mut said = Vec::new();
    let ended = async {
        // A child of it may hold the pipe: the end of the program counts.
        tokio::select! {
            biased;
            () = listen(&mut pipe, &mut said) => {}
            _ = group.0.wait() => {}
        }
        group.0.wait().await
    };
    let status = match tokio::time::timeout(limit, ended).await {
        Ok(status) => Some(status?),
        Err(_) => {
            group.kill();
            let _reaped = tokio::time::timeout(FAREWELL, group.0.wait()).await;
            None
        }
    };
    rest(&pipe, &mut said);
    Ok(Ended { status, said })
}

fn receiver(reader: PipeReader) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(OwnedFd::from(reader))
}

fn keep(said: &mut Vec<u8>, piece: &[u8]) {
    let room = KEPT.saturating_sub(said.len());
    said.extend_from_slice(&piece[..piece.len().min(room)]);
}

async fn listen(pipe: &mut pipe::Receiver, said: &mut Vec<u8>) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut piece).await {
        keep(said, &piece[..count]);
    }
}

/// Its end may be known before its last words were read.
fn rest(pipe: &pipe::Receiver, said: &mut Vec<u8>) {
    let mut piece = [0; KEPT];
    while said.len() < KEPT
        && let Ok(count @ 1..) = nix::unistd::read(pipe.as_fd(), &mut piece)
    {
        keep(said, &piece[..count]);
    }
}

/// It and all that it has started. They are killed when this goes, if it has not ended by then.
struct Group(Child);

impl Group {
    fn kill(&self) {
        // Once it was waited for, there is no number any more, and the group may be somebody else's.
        let leader = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(leader) = leader {
            // Nobody left to kill is what was wanted.
            let _killed = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
