//! Sessions that send one message after another over the connection that they began with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::session::Session;
use crate::wait::try_wait_until;

/// Threads that share the sessions.
const THREADS: usize = 20;
/// An outage of some seconds, and TCP's retransmission timer after it.
const SOON: Duration = Duration::from_secs(60);

/// Mail over open sessions until [`Busy::finish`].
#[derive(Debug)]
pub struct Busy {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<Vec<Session>>>>,
    sessions: u64,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    delivered: AtomicU64,
    /// Rounds in which every session of a thread has delivered one.
    rounds: AtomicU64,
}

impl Busy {
    pub fn start(mut sessions: Vec<Session>) -> Self {
        let shared = Arc::new(Shared::default());
        let count = sessions.len() as u64;
        let each = sessions.len().div_ceil(THREADS).max(1);
        let mut threads = Vec::new();
        while !sessions.is_empty() {
            let own = sessions.split_off(sessions.len().saturating_sub(each));
            let shared = Arc::clone(&shared);
            threads.push(std::thread::spawn(move || work(own, &shared)));
        }
        Self {
            shared,
            threads,
            sessions: count,
        }
    }

    pub fn delivered(&self) -> u64 {
        self.shared.delivered.load(Ordering::Relaxed)
    }

    /// Waits until every session has delivered a message that was begun after now.
    ///
    /// # Errors
    /// A session was cut, or nothing is delivered any more.
    pub fn expect_all_deliver(&mut self) -> Result<()> {
        // The round under way may have been delivered before, so two.
        let rounds = self.shared.rounds.load(Ordering::Relaxed);
        let until = rounds + 2 * self.threads.len() as u64;
        try_wait_until("every session to deliver", SOON, || {
            if self.threads.iter().any(JoinHandle::is_finished) {
                return Ok(());
            }
            let now = self.shared.rounds.load(Ordering::Relaxed);
            ensure!(now >= until, "{now} of {until} rounds");
            Ok(())
        })?;
        match self.threads.iter().position(JoinHandle::is_finished) {
            None => Ok(()),
            Some(at) => {
                let ended = self.threads.swap_remove(at).join();
                ended
                    .map_err(|_| anyhow!("a thread panicked"))?
                    .map(drop)
                    .context("busy sessions")
            }
        }
    }

    /// Ends it; the sessions are still open.
    ///
    /// # Errors
    /// A message was not delivered, or a session was cut.
    pub fn finish(self) -> Result<(u64, Vec<Session>)> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut sessions = Vec::new();
        for thread in self.threads {
            let ended = thread.join().map_err(|_| anyhow!("a thread panicked"))?;
            sessions.extend(ended.context("busy sessions")?);
        }
        let left = sessions.len() as u64;
        ensure!(
            left == self.sessions,
            "{left} of {} are left",
            self.sessions
        );
        Ok((self.shared.delivered.load(Ordering::Relaxed), sessions))
    }
}

fn work(mut sessions: Vec<Session>, shared: &Shared) -> Result<Vec<Session>> {
    while !shared.stop.load(Ordering::Relaxed) {
        for session in &mut sessions {
            session.send_message()?;
            shared.delivered.fetch_add(1, Ordering::Relaxed);
        }
        shared.rounds.fetch_add(1, Ordering::Relaxed);
    }
    Ok(sessions)
}
