//! The demo plays to its end, and leaves nothing behind, whether it ends or is interrupted.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::try_wait_until;
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;

const SOON: Duration = Duration::from_secs(60);
/// Of a demo that takes one minute on an idle machine.
const PLAY: Duration = Duration::from_secs(600);

struct Play {
    child: Child,
    output: PathBuf,
}

impl Play {
    fn start(name: &str) -> Result<Self> {
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let file = fs::File::create(&output)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_mb-lb-demo"));
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        // SAFETY: signal is async-signal-safe, and no handler is set.
        unsafe {
            command.pre_exec(|| {
                // As in a terminal: what a shell starts in the background ignores it, and so do its children.
                signal(Signal::SIGINT, SigHandler::SigDfl)?;
                Ok(())
            });
        }
        let child = command.spawn().context("cannot start mb-lb-demo")?;
        Ok(Self { child, output })
    }

    fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.output)?)
    }

    /// Namespaces, mounts and files of its lab, which are named after its process.
    fn remains(&self) -> Result<Vec<String>> {
        let name = format!("{}-0-demo", self.child.id());
        let mut found = Vec::new();
        for directory in ["/run/netns", "/run/mb-lb-lab"] {
            // Without any lab, the directories may be gone as well.
            for entry in fs::read_dir(directory).into_iter().flatten() {
                found.push(entry?.path().display().to_string());
            }
        }
        found.extend(
            fs::read_to_string("/proc/self/mounts")?
                .lines()
                .map(str::to_owned),
        );
        found.retain(|place| place.contains(&name));
        Ok(found)
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        // Its lab goes with it. An error means that it has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn the_demo_plays_to_its_end() -> Result<()> {
    let mut play = Play::start("demo-whole.txt")?;
    let status = try_wait_until("the end of the demo", PLAY, || {
        play.child.try_wait()?.context("it plays")
    })?;
    let said = play.said()?;
    assert!(status.success(), "{status}: {said}");
    for line in [
        "0 errors, 0 warnings",
        "three servers are up",
        "2000 messages sent and accepted",
        "every server saw the client's own address, 10.77.0.10",
        "mb2 was found down by 3 failed checks in a row",
        "Each got a RST",
        "mb1 20, mb2 20, mb3 10",
        "the controller is gone",
        "it adopted the data plane: the count is 75",
        "mb1 has no connection left",
        "found no drift",
        "namespaces, programs, maps and files are gone",
        "claims above were checked",
    ] {
        // Text is wrapped.
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(line), "{line:?} is missing in: {said}");
    }
    assert!(!said.contains('\u{1b}'), "colour without a terminal");
    assert_eq!(play.remains()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn an_interrupted_demo_leaves_nothing() -> Result<()> {
    let mut play = Play::start("demo-interrupted.txt")?;
    try_wait_until("the director to be up", SOON, || {
        let said = play.said()?;
        ensure!(
            said.contains("three servers are up"),
            "it has said: {said:?}"
        );
        Ok(())
    })?;
    assert!(!play.remains()?.is_empty());
    let pid = i32::try_from(play.child.id()).context("a pid beyond the kernel's")?;
    kill(Pid::from_raw(pid), Signal::SIGINT)?;
    let status = try_wait_until("the demo to end", SOON, || {
        play.child.try_wait()?.context("it plays")
    })?;
    assert!(!status.success());
    try_wait_until("all of it to be gone", SOON, || {
        let found = play.remains()?;
        ensure!(found.is_empty(), "left: {found:?}");
        Ok(())
    })
}
