//! Mail that goes on all the while, from senders that try a message again until it is accepted, as mail servers do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use mb_lb_tests::{Machine, Session, try_wait_until};

use crate::SOON;

const SENDERS: usize = 4;
/// Steady rather than much: what is looked at is that it goes on.
const PACE: Duration = Duration::from_millis(50);

/// What senders have seen so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub accepted: u64,
    /// No connection, or no greeting.
    pub refused: u64,
    /// The session ended after the greeting.
    pub cut: u64,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    accepted: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
}

pub struct Mail {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<Result<()>>>,
}

impl Mail {
    pub fn start(machine: &Machine, to: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let senders = (0..SENDERS)
            .map(|_| {
                let (machine, shared) = (machine.clone(), Arc::clone(&shared));
                std::thread::spawn(move || send(&machine, to, &shared))
            })
            .collect();
        Self { shared, senders }
    }

    pub fn seen(&self) -> Seen {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Seen {
            accepted: read(&self.shared.accepted),
            refused: read(&self.shared.refused),
            cut: read(&self.shared.cut),
        }
    }

    /// Waits until so many more messages are accepted.
    ///
    /// # Errors
    /// They are not, or a sender has given up.
    pub fn expect_more(&self, messages: u64) -> Result<()> {
        let until = self.seen().accepted + messages;
        try_wait_until("more mail to be accepted", SOON, || {
            let seen = self.seen();
            ensure!(seen.accepted >= until, "{seen:?}, {until} were expected");
            Ok(())
        })
    }

    /// Ends it.
    ///
    /// # Errors
    /// A message was not accepted in the end.
    pub fn finish(self) -> Result<Seen> {
        let Self { shared, senders } = self;
        shared.stop.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().map_err(|_| anyhow!("a sender panicked"))??;
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Seen {
            accepted: read(&shared.accepted),
            refused: read(&shared.refused),
            cut: read(&shared.cut),
        })
    }
}

/// Sessions that were open before a step, and send one message after another over the connection that they began with.
pub struct Held {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Held {
    pub fn start(machine: &Machine, to: SocketAddr, count: usize) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let sessions = Session::open_many(machine, to, count)?;
        let threads = sessions
            .into_iter()
            .map(|session| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || hold(session, &stop))
            })
            .collect();
        Ok(Self { stop, threads })
    }

    /// # Errors
    /// One of them does not deliver a message that is begun after now.
    pub fn expect_all_go_on(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread
                .join()
                .map_err(|_| anyhow!("a session's thread panicked"))??;
        }
        Ok(())
    }

    /// # Errors
    /// One of them goes on.
    pub fn expect_all_cut(self) -> Result<()> {
        try_wait_until("every session to be cut", SOON, || {
            let left = self.threads.iter().filter(|thread| !thread.is_finished());
            let left = left.count();
            ensure!(left == 0, "{left} go on");
            Ok(())
        })?;
        for thread in self.threads {
            let ended = thread
                .join()
                .map_err(|_| anyhow!("a session's thread panicked"))?;
            ensure!(ended.is_err(), "a session has not been cut");
        }
        Ok(())
    }
}

fn hold(mut session: Session, stop: &AtomicBool) -> Result<()> {
    loop {
        let is_last = stop.load(Ordering::Relaxed);
        session.send_message()?;
        if is_last {
            return Ok(());
        }
        std::thread::sleep(PACE);
    }
}

fn send(machine: &Machine, to: SocketAddr, shared: &Shared) -> Result<()> {
    while !shared.stop.load(Ordering::Relaxed) {
        let deadline = Instant::now() + SOON;
        loop {
            let began = Instant::now();
            let (counter, error) = match Session::open(machine, to) {
                Err(error) => (&shared.refused, error),
                Ok(mut session) => match session.send_message().and_then(|()| session.quit()) {
                    Err(error) => (&shared.cut, error),
                    Ok(()) => break,
                },
            };
            counter.fetch_add(1, Ordering::Relaxed);
            eprintln!("  tried again after {:.0?}: {error:#}", began.elapsed());
            ensure!(
                Instant::now() < deadline,
                "a message is not accepted: {error:#}"
            );
            std::thread::sleep(PACE);
        }
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PACE);
    }
    Ok(())
}
