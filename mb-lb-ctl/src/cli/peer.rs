//! `peer diff` and `peer push`: the configuration on both directors.

use crate::cli::args::{Global, Peer, PeerCommand};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{emit, say};
use crate::engine::advice;

pub fn run(global: &Global, args: &Peer) -> Result<Exit, Failure> {
    match args.what {
        PeerCommand::Diff => diff(global),
        PeerCommand::Push => push(global),
    }
}

fn diff(global: &Global) -> Result<Exit, Failure> {
    let (exit, lines): (Exit, Vec<String>) = Client::new(global)
        .ask("mb-lb peer diff")
        .map_err(|failure| with_next(failure, "mb-lb-ctl status"))?;
    if lines.is_empty() {
        say("both directors have the same configuration, but for what is their own");
    } else {
        say("what peer push would change here, were it said on the peer:");
    }
    emit(&lines_of(&lines))?;
    Ok(exit)
}

fn push(global: &Global) -> Result<Exit, Failure> {
    let (_, lines): (Exit, Vec<String>) = Client::changing(global)
        .ask("mb-lb peer push")
        .map_err(|failure| with_next(failure, "mb-lb-ctl peer diff"))?;
    if lines != [advice::SAME_FILE] {
        say(
            "the peer has taken the configuration and put it in force; its file before is beside it (.toml.before-push)",
        );
    }
    emit(&lines_of(&lines))?;
    Ok(Exit::Ok)
}

fn lines_of(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The step that fits the reason, or `otherwise`. Nobody to ask has a next step of its own.
fn with_next(failure: Failure, otherwise: &str) -> Failure {
    if !failure.next.is_empty() {
        return failure;
    }
    let step = advice::push(&failure.message).unwrap_or(otherwise);
    failure.next(step)
}
