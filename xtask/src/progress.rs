//! Says what is being done: a spinner with the time it has taken on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal, a step that takes longer says so this often: logs of a build that stand still for
/// minutes look hung.
const STILL: Duration = Duration::from_secs(30);
/// Lines of a failed command that are shown.
const TAIL: usize = 20;

/// Runs `work` under the heading `what`, and says how long it took if that was noticeable.
///
/// # Errors
/// Those of `work`.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let done = if std::io::stderr().is_terminal() {
        with_spinner(what, work)
    } else {
        with_lines(what, work)
    }?;
    let took = started.elapsed();
    if took >= Duration::from_secs(1) {
        eprintln!("{what}: done in {:.1} s", took.as_secs_f64());
    }
    Ok(done)
}

/// Runs a command quietly; its output is shown only where it fails.
///
/// # Errors
/// The command cannot be started or fails; `next` says what to do then.
pub fn quietly(command: &mut Command, next: &str) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .with_context(|| format!("cannot start {program}: {next}"))?;
    if output.status.success() {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(TAIL)..] {
        eprintln!("  {line}");
    }
    bail!("{program} failed ({}): {next}", output.status)
}

fn with_spinner<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")
        .context("the template of the spinner")?;
    let spinner = ProgressBar::new_spinner()
        .with_style(style)
        .with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    let done = work();
    spinner.finish_and_clear();
    done
}

fn with_lines<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("{what}");
    let started = Instant::now();
    let (finished, wait) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while wait.recv_timeout(STILL) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!(
                    "{what}: still at it after {} s",
                    started.elapsed().as_secs()
                );
            }
        });
        let done = work();
        drop(finished);
        done
    })
}
