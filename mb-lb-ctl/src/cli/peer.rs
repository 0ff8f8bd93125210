//! `peer diff` and `peer push`: the configuration on both directors.

use crate::cli::args::{Global, Peer};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{emit, say};

pub fn run(global: &Global, args: &Peer) -> Result<Exit, Failure> {
    match args.what {
        super::args::PeerCommand::Diff => diff(global),
        super::args::PeerCommand::Push => push(global),
    }
}

fn diff(global: &Global) -> Result<Exit, Failure> {
    let (exit, lines): (Exit, Vec<String>) = Client::new(global).ask("mb-lb peer diff")?;
    if lines.is_empty() {
        say("both directors have the same configuration, but for what is their own");
    } else {
        say("what peer push would change here, were it said on the peer:");
    }
    emit(
        &lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    )?;
    Ok(exit)
}

fn push(global: &Global) -> Result<Exit, Failure> {
    let (_, lines): (Exit, Vec<String>) =
        Client::changing(global)
            .ask("mb-lb peer push")
            .map_err(|failure| match failure.next.is_empty() {
                true => failure.next("mb-lb-ctl peer diff"),
                // Nobody to ask has a next step of its own.
                false => failure,
            })?;
    say(
        "the peer has taken the configuration and put it in force; its file before is beside it (.toml.before-push)",
    );
    emit(
        &lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    )?;
    Ok(Exit::Ok)
}
