//! `cargo xtask lab`: set-up and build, then the program `mb-lb-lab` of the test crate, which does the work.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::setup::{self, Purpose};

#[derive(Subcommand)]
pub enum What {
    /// Make the network and start its mail servers; does nothing where it is up
    Up,
    /// Stop everything in the network and remove it
    Down,
    /// Run a command in a machine; on lb1, mb-lb-ctl is the one of this checkout
    #[command(
        after_help = "Examples:\n  cargo xtask lab exec lb1 mb-lb-ctl status\n  cargo xtask lab exec client smtp-source -c -m 100 -s 10 10.77.0.100:25\n  cargo xtask lab exec mb2 ip address"
    )]
    Exec {
        /// client, lb1, mb1, mb2 or mb3
        machine: String,
        /// What to run there, with its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Machines, addresses, and what runs where
    Status,
}

/// # Errors
/// Not root, or the set-up fails.
pub fn run(root: &Path, what: &What) -> Result<ExitCode> {
    crate::need_root("lab")?;
    let arguments: Vec<OsString> = match what {
        What::Up => vec!["up".into()],
        What::Down => vec!["down".into()],
        What::Status => vec!["status".into()],
        What::Exec { machine, command } => {
            let mut arguments = vec!["exec".into(), machine.into(), "--".into()];
            arguments.extend(command.iter().cloned());
            arguments
        }
    };
    run_program(root, &arguments)
}

/// Builds the binaries and runs `mb-lb-lab`.
fn run_program(root: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    setup::toolchain(root)?;
    setup::packages(Purpose::Lab)?;
    let built = crate::finish(crate::cargo(root).args([
        "build",
        "--quiet",
        "--release",
        "--workspace",
        "--bins",
    ]))?;
    if built != ExitCode::SUCCESS {
        return Ok(built);
    }
    let program = root.join("target/release/mb-lb-lab");
    crate::finish(std::process::Command::new(program).args(arguments))
}
