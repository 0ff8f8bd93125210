//! What the process is told by signals.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Made before anything is begun: a signal that comes meanwhile is kept, and does not kill a director that has VIPs already.
pub(super) struct Signals {
    pub hangup: Signal,
    pub terminate: Signal,
    pub interrupt: Signal,
    pub replaced: Signal,
}

impl Signals {
    /// # Errors
    /// The kernel refuses. Needs a tokio runtime.
    pub fn hear() -> anyhow::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup()).context("SIGHUP")?,
            terminate: signal(SignalKind::terminate()).context("SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("SIGINT")?,
            replaced: signal(SignalKind::user_defined1()).context("SIGUSR1")?,
        })
    }
}
