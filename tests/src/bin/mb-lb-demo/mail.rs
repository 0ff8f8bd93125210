//! Mail clients that do what an MTA does: a message whose session fails is tried again on a new one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow, bail};
use mb_lb_tests::{Machine, Session};

/// Tries for one message. A frozen server costs one; more than a few would hide a fault of the director.
const TRIES: u32 = 5;

#[derive(Default)]
struct Counters {
    stop: AtomicBool,
    delivered: AtomicU64,
    again: AtomicU64,
}

/// Clients at work in the background, one message after another each.
pub struct Load {
    counters: Arc<Counters>,
    clients: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    pub fn start(machine: &Machine, to: SocketAddr, clients: usize) -> Self {
        let counters = Arc::new(Counters::default());
        let clients = (0..clients)
            .map(|_| {
                let (machine, counters) = (machine.clone(), Arc::clone(&counters));
                std::thread::spawn(move || work(&machine, to, &counters))
            })
            .collect();
        Self { counters, clients }
    }

    /// Messages accepted so far.
    pub fn delivered(&self) -> u64 {
        self.counters.delivered.load(Ordering::Relaxed)
    }

    /// Lets every client finish its message. Returns messages delivered, and sessions that failed on the way.
    ///
    /// # Errors
    /// A message could not be delivered in [`TRIES`] sessions.
    pub fn finish(self) -> Result<(u64, u64)> {
        self.counters.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        let again = self.counters.again.load(Ordering::Relaxed);
        Ok((self.counters.delivered.load(Ordering::Relaxed), again))
    }
}

fn work(machine: &Machine, to: SocketAddr, counters: &Counters) -> Result<()> {
    while !counters.stop.load(Ordering::Relaxed) {
        let mut tries = 0;
        while let Err(error) = deliver(machine, to) {
            tries += 1;
            if tries == TRIES {
                bail!("a message was not delivered in {TRIES} tries, the last: {error:#}");
            }
            counters.again.fetch_add(1, Ordering::Relaxed);
        }
        counters.delivered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// One message in a session of its own.
pub fn deliver(machine: &Machine, to: SocketAddr) -> Result<()> {
    let mut session = Session::open(machine, to)?;
    session.send_message()?;
    session.quit()
}

/// The director, or somebody, has answered with RST.
pub fn is_reset(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::ConnectionReset)
}
