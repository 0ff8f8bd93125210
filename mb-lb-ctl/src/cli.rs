//! The command line: parses arguments, talks to the daemon's admin socket, prints.
//!
//! Results go to stdout, narration and progress to stderr. What is printed is made by functions from a snapshot to a
//! `String`; only the thin layer round them does I/O.

mod args;
mod change;
mod check;
mod client;
mod completions;
pub(crate) mod config_source;
pub mod describe;
mod detach;
pub mod doctor;
pub mod events;
mod exit;
mod failover;
pub mod format;
mod import;
pub mod list;
pub mod man;
mod output;
mod peer;
mod peer_key;
mod privilege;
mod reload;
mod run;
pub mod server_setup;
pub(crate) mod state;
pub mod status;
pub mod style;
mod sync;
pub mod top;
mod trace;
mod wait;

use std::process::ExitCode;

use clap::Parser as _;

use crate::snapshot::AdminState;

pub use args::{Cli, Command};
pub use exit::{Exit, Failure};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    completions::answer();
    let cli = Cli::parse();
    let ended = match &cli.command {
        Command::Run(args) => run::run(&cli.global, args),
        Command::Check(args) => check::run(&cli.global, args),
        Command::Import(args) => import::run(args),
        Command::Diff(args) => reload::diff(&cli.global, args),
        Command::Reload => reload::reload(&cli.global),
        Command::Status(args) => status::run(&cli.global, args),
        Command::List(args) => list::run(&cli.global, args),
        Command::Describe(args) => describe::run(&cli.global, args),
        Command::Drain(args) => change::admin(
            &cli.global,
            (&args.server, args.all),
            AdminState::Drain,
            (&args.reason, args.force),
            args.wait,
        ),
        Command::Maint(args) => change::admin(
            &cli.global,
            (&args.server, args.all),
            AdminState::Maint,
            (&args.reason, args.force),
            args.wait,
        ),
        Command::Ready(args) => change::admin(
            &cli.global,
            (&args.server, args.all),
            AdminState::Ready,
            (&args.reason, false),
            args.wait,
        ),
        Command::Weight(args) => change::weight(&cli.global, args),
        Command::Failover(args) => failover::run(&cli.global, args),
        Command::Peer(args) => peer::run(&cli.global, args),
        Command::Sync(args) => sync::run(&cli.global, args),
        Command::Trace(args) => trace::run(&cli.global, args),
        Command::Events(args) => events::run(&cli.global, args),
        Command::Top(args) => top::run(&cli.global, args),
        Command::PeerKey(args) => peer_key::run(args),
        Command::Doctor(args) => doctor::run(&cli.global, args),
        Command::ServerSetup(args) => server_setup::run(&cli.global, args),
        Command::Detach(args) => detach::run(&cli.global, args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    };
    exit::code(ended, output::style_of_stderr(cli.global.color))
}
