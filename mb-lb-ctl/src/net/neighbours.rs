//! Follows the next hop of each server: its MAC address, the interface that leads there, or why there is none.
//!
//! Subscribe first, read everything, take in changes, read everything again every 30 s: what a lost
//! notification hid is found then. Nothing here depends on traffic: the director sends a server in `dsr` its
//! packets past the kernel, so the kernel would never notice by itself that a neighbour entry has aged. The
//! entries of servers are therefore verified every 15 s.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};

use super::Error;
use super::kernel::{Change, Changes, Kernel};
use crate::engine::Event;

mod table;

pub use table::Segment;
use table::{Action, Facts, Table, segment};

/// From one reading of everything to the next.
const READ_EVERY: Duration = Duration::from_secs(30);

/// After a change of links, addresses or routes, further ones are awaited this long: they come in swarms.
const SETTLE: Duration = Duration::from_millis(50);

/// Least distance of two readings, so that a flapping route does not keep the controller busy.
const READ_AT_MOST_EVERY: Duration = Duration::from_millis(500);

/// Distance of attempts to reach a kernel that broke off.
const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// Distance of attempts to resolve what is not resolved.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

/// Valid entries are verified at every third such attempt.
const VERIFY_TICKS: u32 = 3;

/// Handle of the task; the task ends when it is dropped.
pub struct Neighbours {
    wanted: watch::Sender<Vec<IpAddr>>,
}

impl Neighbours {
    /// Follows exactly these addresses from now on. One that is new is reported as soon as something is known
    /// of it; one that was taken away and comes back counts as new.
    pub fn set(&self, addresses: Vec<IpAddr>) {
        self.wanted.send_replace(addresses);
    }
}

/// Starts the task in the network namespace of the calling thread. It reports changes as
/// [`Event::Neighbour`], and waits where the channel is full. Where the kernel's end breaks off, it begins anew and
/// reports all that it finds.
///
/// # Errors
/// The kernel could not be asked.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn(events: mpsc::Sender<Event>) -> Result<(Neighbours, JoinHandle<()>), Error> {
    let (wanted, receiver) = watch::channel(Vec::new());
    let follower = Follower::open(events)?;
    let task = tokio::spawn(follow(follower, receiver));
    Ok((Neighbours { wanted }, task))
}

/// Until nobody listens any more.
async fn follow(mut follower: Follower, mut wanted: watch::Receiver<Vec<IpAddr>>) {
    while let Err(error) = follower.run(&mut wanted).await {
        tracing::warn!(%error, "next hops are followed anew");
        follower = loop {
            sleep(REOPEN_EVERY).await;
            if wanted.has_changed().is_err() {
                return;
            }
            match Follower::open(follower.events.clone()) {
                Ok(follower) => break follower,
                Err(error) => tracing::warn!(%error, "next hops are not followed"),
            }
        };
    }
}

/// The segment that each address is on now, or in the words of an alarm why it is on none. Asks nobody but the kernel.
///
/// # Errors
/// The kernel could not be asked.
pub async fn segments(
    addresses: &[IpAddr],
) -> Result<BTreeMap<IpAddr, Result<Segment, String>>, Error> {
    let kernel = Kernel::open()?;
    let mut table = Table::default();
    table.follow(addresses);
    let facts = read(&kernel, &table).await?;
    let routes = facts.routes.iter();
    Ok(routes
        .map(|(address, route)| (*address, segment(*address, *route, &facts)))
        .collect())
}

struct Follower {
    changes: Changes,
    kernel: Kernel,
    table: Table,
    events: mpsc::Sender<Event>,
}

impl Follower {
    fn open(events: mpsc::Sender<Event>) -> Result<Self, Error> {
        Ok(Self {
            changes: Changes::of_next_hops()?,
            kernel: Kernel::open()?,
            table: Table::default(),
            events,
        })
    }

    /// An error is the end of a connection to the kernel.
    async fn run(&mut self, wanted: &mut watch::Receiver<Vec<IpAddr>>) -> Result<(), Error> {
        self.table.follow(&wanted.borrow_and_update());
        let mut read_at = Instant::now();
        let mut earliest = read_at;
        let mut ticks = interval_at(Instant::now() + RESOLVE_EVERY, RESOLVE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tick = 0u32;
        loop {
            let actions = tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.table.follow(&wanted.borrow_and_update());
                    read_at = Instant::now();
                    Vec::new()
                }
                change = self.changes.next() => match change? {
                    Change::Entry(entry) => self.table.on_entry(entry),
                    Change::EntryGone { address, ifindex } => self.table.on_entry_gone(address, ifindex),
                    Change::Link { ifindex, up } => {
                        read_at = read_at.min(earliest.max(Instant::now() + SETTLE));
                        if up { Vec::new() } else { self.table.on_link_down(ifindex) }
                    }
                    Change::Path | Change::Unknown => {
                        read_at = read_at.min(earliest.max(Instant::now() + SETTLE));
                        Vec::new()
                    }
                },
                () = sleep_until(read_at) => {
                    let now = Instant::now();
                    (read_at, earliest) = (now + READ_EVERY, now + READ_AT_MOST_EVERY);
                    match read(&self.kernel, &self.table).await {
                        Ok(facts) => self.table.on_facts(facts),
                        Err(error @ Error::Ended) => return Err(error),
                        Err(error) => {
                            tracing::warn!(%error, "next hops not read, what was known stays");
                            Vec::new()
                        }
                    }
                }
                _ = ticks.tick() => {
                    tick = (tick + 1) % VERIFY_TICKS;
                    self.table.on_tick(tick == 0)
                }
            };
            for action in actions {
                if !self.perform(action).await {
                    return Ok(());
                }
            }
        }
    }

    /// False: nobody listens any more.
    async fn perform(&mut self, action: Action) -> bool {
        let asked = match action {
            Action::Report(address, neighbour) => {
                let event = Event::Neighbour { address, neighbour };
                return self.events.send(event).await.is_ok();
            }
            Action::Resolve(address, ifindex) => self.kernel.resolve(address, ifindex).await,
            Action::Verify(address, ifindex) => self.kernel.verify(address, ifindex).await,
        };
        if let Err(error) = asked {
            // An entry or link that vanished in between; its notification is on the way.
            tracing::debug!(%error, "a neighbour could not be provoked");
        }
        true
    }
}

async fn read(kernel: &Kernel, table: &Table) -> Result<Facts, Error> {
    let links = kernel.links().await?;
    let addresses = kernel.addresses().await?;
    let mut routes = BTreeMap::new();
    for address in table.followed() {
        routes.insert(address, kernel.route(address).await?);
    }
    let entries = kernel.neighbours().await?;
    Ok(Facts {
        links,
        addresses,
        routes,
        entries,
    })
}
