//! Mail that does not stop: one `smtp-source` after another for as long as a test does something else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::machine::Machine;
use crate::source::Source;
use crate::wait::try_wait_until;

/// Messages of one `smtp-source`, and sessions at the same time.
const MESSAGES: u32 = 120;
const SESSIONS: u32 = 30;
const SOON: Duration = Duration::from_secs(60);

/// Running traffic; every message has a connection of its own. Dropping it lets the `smtp-source` at work be the last.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    delivered: AtomicU64,
}

impl Traffic {
    /// Starts it from `machine`.
    pub fn start(machine: &Machine, to: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let (machine, there) = (machine.clone(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || send(&machine, to, &there));
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// Messages delivered so far.
    pub fn delivered(&self) -> u64 {
        self.shared.delivered.load(Ordering::Relaxed)
    }

    /// Waits until so many more are delivered: connections were opened and closed meanwhile.
    ///
    /// # Errors
    /// It has ended, with its reason, or nothing is delivered any more.
    pub fn expect_more(&mut self, messages: u64) -> Result<()> {
        let until = self.delivered() + messages;
        let ended = try_wait_until("more mail to be delivered", SOON, || {
            let delivered = self.delivered();
            if delivered >= until {
                return Ok(false);
            }
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return Ok(true);
            }
            Err(anyhow!("{delivered} of {until} messages"))
        })?;
        match ended {
            false => Ok(()),
            true => self.join().and_then(|()| bail!("the traffic has ended")),
        }
    }

    /// Ends it, and says how many messages it has delivered.
    ///
    /// # Errors
    /// A message was not delivered, or a session was cut.
    pub fn finish(mut self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.join()?;
        Ok(self.delivered())
    }

    fn join(&mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => bail!("the thread of the traffic panicked"),
            None => Ok(()),
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn send(machine: &Machine, to: SocketAddr, shared: &Shared) -> Result<()> {
    let source = Source::new(to)
        .messages(MESSAGES)
        .sessions(SESSIONS)
        // Up to one second between the messages of a session: steady rather than much.
        .argument("-R")
        .argument("1");
    while !shared.stop.load(Ordering::Relaxed) {
        let before = shared.delivered.load(Ordering::Relaxed);
        let mut sending = source.start(machine, "traffic")?;
        try_wait_until("smtp-source to end", SOON, || {
            let delivered = sending.delivered()?;
            shared
                .delivered
                .store(before + delivered, Ordering::Relaxed);
            match sending.process().exited()? {
                Some(_) => Ok(()),
                None => Err(anyhow!("{delivered} of {MESSAGES} messages")),
            }
        })?;
        sending.finish()?.expect_all(MESSAGES.into())?;
        shared
            .delivered
            .store(before + u64::from(MESSAGES), Ordering::Relaxed);
    }
    Ok(())
}
