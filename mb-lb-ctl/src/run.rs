//! The daemon. Every task is spawned here.

use std::path::PathBuf;

/// What the command line says about the daemon.
#[derive(Clone, Debug)]
pub struct RunOptions {
    pub config: PathBuf,
    /// Instead of `admin.socket` of the configuration.
    pub socket: Option<PathBuf>,
    /// Pin directory, without the layout version.
    pub bpf_root: PathBuf,
    pub state_dir: PathBuf,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Why it cannot run. A [`crate::cli::Failure`] in the chain decides the exit code; everything else exits with 1.
pub fn run(options: RunOptions) -> anyhow::Result<()> {
    anyhow::bail!(
        "the daemon is not part of this build; {} was not read",
        options.config.display()
    )
}
