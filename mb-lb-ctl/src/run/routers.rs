//! The virtual routers on a thread of their own, so that nothing else that the controller does delays an advert.
//!
//! ```text
//!   engine --Told (unbounded, few)--> manager task --Command--> router tasks (vrrp/router.rs)
//!   engine <------------- Event::{Router, RouterView, RouterFailed, Links} <---'
//! ```
//!
//! A router that ends (netlink was lost) is started anew. When the thread ends without [`Routers::leave`], the addresses
//! stay until their lease ends: the next process finds them, or the peer takes over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::MissedTickBehavior;

use super::resume;
use crate::config::{Secret, Vrrp};
use crate::dataplane::Leases;
use crate::engine::{Event, Order};
use crate::net::{self, AddressBook, Vip};
use crate::vrrp::Instance;
use crate::vrrp::clock::clock;
use crate::vrrp::machine::{Role, Version};
use crate::vrrp::packet::{Auth, Kind};
use crate::vrrp::resume::Resume;
use crate::vrrp::router::{self, Command, Report};
use crate::vrrp::view::RouterView;

/// Orders that a router may have waiting; it takes them in microseconds.
const ORDERS: usize = 64;
/// Reports that may wait; a reader that does not keep up misses some.
const REPORTS: usize = 256;
/// A router that ended is started anew after so long.
const AGAIN: Duration = Duration::from_secs(1);
/// Counts and times in views are this old at most.
const LOOK: Duration = Duration::from_secs(1);
/// The engine says this often that it lives, or what it decides is not believed any more.
const ENGINE_SILENT: Duration = Duration::from_secs(10);

enum Told {
    Set(Vec<Vrrp>),
    Order(String, Order),
    Links(Vec<String>),
    Alive,
    Leave(String, oneshot::Sender<()>),
    /// What is active now, for the next process.
    Active(oneshot::Sender<Vec<String>>),
}

/// Handle of the thread.
pub struct Routers {
    told: mpsc::UnboundedSender<Told>,
}

impl Routers {
    /// Starts the thread. `earlier`: which instances the process before this one had active, and how long ago.
    pub fn spawn(
        events: mpsc::Sender<Event>,
        earlier: BTreeMap<String, Resume>,
        leases: Arc<OnceLock<Leases>>,
    ) -> anyhow::Result<Self> {
        let (told, queue) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("vrrp".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => LocalSet::new().block_on(&runtime, async {
                        Manager::new(events, earlier, leases).live(queue).await;
                    }),
                    Err(error) => tracing::error!(%error, "no virtual router runs"),
                }
            })
            .context("cannot start the thread of the virtual routers")?;
        Ok(Self { told })
    }

    /// Runs exactly these.
    pub fn set(&self, wanted: Vec<Vrrp>) {
        self.tell(Told::Set(wanted));
    }

    pub fn order(&self, name: String, order: Order) {
        self.tell(Told::Order(name, order));
    }

    pub fn links(&self, names: Vec<String>) {
        self.tell(Told::Links(names));
    }

    /// The engine lives.
    pub fn alive(&self) {
        self.tell(Told::Alive);
    }

    /// Hands all addresses over; ready when that is done, whether a peer took them or not.
    pub fn leave(&self, why: &str) -> oneshot::Receiver<()> {
        let (done, ready) = oneshot::channel();
        self.tell(Told::Leave(why.to_owned(), done));
        ready
    }

    /// The instances that are active now.
    pub async fn active(&self) -> Vec<String> {
        let (reply, answer) = oneshot::channel();
        self.tell(Told::Active(reply));
        answer.await.unwrap_or_default()
    }

    fn tell(&self, told: Told) {
        // The thread ends with the process only.
        if self.told.send(told).is_err() {
            tracing::error!("the thread of the virtual routers has ended");
        }
    }
}

/// Name of an instance whose predecessor has handed over, and whether a peer took over.
type Moved = (String, bool);

/// A router that runs.
struct Running {
    number: u64,
    instance: Instance,
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<RouterView>,
    /// None: somebody waits for its end.
    task: Option<JoinHandle<()>>,
}

struct Manager {
    events: mpsc::Sender<Event>,
    earlier: BTreeMap<String, Resume>,
    leases: Arc<OnceLock<Leases>>,
    wanted: Vec<Vrrp>,
    running: BTreeMap<String, Running>,
    /// The last of each, for a router that is started anew.
    policies: BTreeMap<String, Order>,
    /// Those whose predecessors hand over, before they begin elsewhere.
    moving: BTreeSet<String>,
    /// Those that may begin.
    moved: (mpsc::UnboundedSender<Moved>, mpsc::UnboundedReceiver<Moved>),
    /// Numbers of those that ended.
    ended: (mpsc::UnboundedSender<u64>, mpsc::UnboundedReceiver<u64>),
    started: u64,
    links: Option<JoinHandle<()>>,
    engine_at: Duration,
    engine_silent: bool,
}

impl Manager {
    fn new(
        events: mpsc::Sender<Event>,
        earlier: BTreeMap<String, Resume>,
        leases: Arc<OnceLock<Leases>>,
    ) -> Self {
        Self {
            events,
            earlier,
            leases,
            wanted: Vec::new(),
            running: BTreeMap::new(),
            policies: BTreeMap::new(),
            moving: BTreeSet::new(),
            moved: mpsc::unbounded_channel(),
            ended: mpsc::unbounded_channel(),
            started: 0,
            links: None,
            engine_at: clock(),
            engine_silent: false,
        }
    }

    async fn live(mut self, mut queue: mpsc::UnboundedReceiver<Told>) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                told = queue.recv() => match told {
                    None => return,
                    Some(Told::Set(wanted)) => {
                        self.wanted = wanted;
                        self.settle().await;
                    }
                    Some(Told::Order(name, order)) => self.order(name, order).await,
                    Some(Told::Links(names)) => self.follow_links(names),
                    Some(Told::Alive) => {
                        self.engine_at = clock();
                        self.watch_engine().await;
                    }
                    Some(Told::Leave(why, done)) => self.leave(&why, done),
                    Some(Told::Active(reply)) => {
                        let active = self.running.iter().filter(|(_, running)| {
                            running.view.borrow().role == Role::Active
                        });
                        // Who asked may have gone.
                        let _sent = reply.send(active.map(|(name, _)| name.clone()).collect());
                    }
                },
                Some(number) = self.ended.1.recv() => {
                    let before = self.running.len();
                    self.running.retain(|_, running| running.number != number);
                    if self.running.len() < before && !self.wanted.is_empty() {
                        self.settle().await;
                    }
                }
                Some((name, taken)) = self.moved.1.recv() => {
                    self.moving.remove(&name);
                    if !taken {
                        // Nobody else is there: no need to listen first.
                        self.earlier.insert(name, Resume { ago: Duration::ZERO, alone: true });
                    }
                    self.settle().await;
                }
                _ = tick.tick() => {
                    self.watch_engine().await;
                    for (name, running) in &self.running {
                        let view = running.view.borrow().clone();
                        // Full: the next one will do.
                        let _queued = self.events.try_send(Event::RouterView {
                            name: name.clone(),
                            view: Box::new(view),
                            at: clock(),
                        });
                    }
                }
            }
        }
    }

    /// Starts and ends routers until those that are wanted run.
    async fn settle(&mut self) {
        let mut wanted = BTreeMap::new();
        let mut unreadable = BTreeSet::new();
        for vrrp in &self.wanted {
            match instance(vrrp) {
                Ok(instance) => {
                    wanted.insert(vrrp.name.clone(), instance);
                }
                Err(why) => {
                    let name = vrrp.name.clone();
                    // One that runs goes on with what it has read.
                    unreadable.insert(name.clone());
                    if !self.running.contains_key(&name) {
                        // The engine has ended, and the process is about to.
                        let _sent = self.events.send(Event::RouterFailed { name, why }).await;
                    } else {
                        tracing::error!(instance = name, why, "goes on as it is");
                    }
                }
            }
        }
        // Addresses of routers that are replaced: nobody else gives them up.
        let mut before = Vec::new();
        for (name, running) in std::mem::take(&mut self.running) {
            let successor = match wanted.get(&name) {
                Some(instance) if same(instance, &running.instance) => {
                    self.running.insert(name, running);
                    continue;
                }
                Some(_) => Some(name.clone()),
                None if unreadable.contains(&name) => {
                    self.running.insert(name, running);
                    continue;
                }
                // Under another name it is still the same virtual router.
                None => wanted
                    .values()
                    .find(|instance| {
                        instance.vrid == running.instance.vrid
                            && instance.is_ipv6() == running.instance.is_ipv6()
                            && instance.interface == running.instance.interface
                    })
                    .map(|instance| instance.name.clone()),
            };
            let Some(successor) = successor else {
                self.policies.remove(&name);
                // Detached: it ends when it has handed over.
                let why = "removed from the configuration";
                tokio::task::spawn_local(hand_over(running, why.to_owned()));
                continue;
            };
            let active = running.view.borrow().role == Role::Active;
            let moves = wanted
                .get(&successor)
                .is_some_and(|instance| instance.interface != running.instance.interface);
            if active && moves {
                // A peer that hears this director on the old interface only is not to wait until its timer ends.
                self.moving.insert(successor.clone());
                let moved = self.moved.0.clone();
                tokio::task::spawn_local(async move {
                    let taken = hand_over(running, "moves to another interface".to_owned()).await;
                    // The manager ends with the process only.
                    let _told = moved.send((successor, taken));
                });
                continue;
            }
            // Its successor goes on with the role, as after a restart.
            if let Some(task) = &running.task {
                task.abort();
            }
            if active {
                let ago = Duration::ZERO;
                self.earlier.insert(successor, Resume { ago, alone: false });
                let interface = running.instance.interface;
                let addresses = running.instance.addresses.into_iter();
                before.extend(
                    addresses.map(|(address, prefix)| (interface.clone(), address, prefix)),
                );
            }
        }
        release_others(before, &wanted).await;
        for (name, instance) in wanted {
            if !self.running.contains_key(&name) && !self.moving.contains(&name) {
                let earlier = self.earlier.remove(&name);
                let running = self.start(instance, earlier);
                if let Some(policy) = self.policies.get(&name).cloned() {
                    // An empty queue has room.
                    let _sent = running.commands.try_send(command(policy));
                }
                self.running.insert(name, running);
            }
        }
    }

    fn start(&mut self, instance: Instance, earlier: Option<Resume>) -> Running {
        self.started += 1;
        let number = self.started;
        let (commands, orders) = mpsc::channel(ORDERS);
        let (reports, mut reported) = mpsc::channel::<Report>(REPORTS);
        let (publish, view) = watch::channel(RouterView::new(&instance));
        let (events, ended) = (self.events.clone(), self.ended.0.clone());
        let leases = Arc::clone(&self.leases);
        let name = instance.name.clone();
        let task = tokio::task::spawn_local({
            let (instance, mut changes) = (instance.clone(), view.clone());
            async move {
                let _ended = Ended(number, ended);
                let forward = async {
                    loop {
                        let event = tokio::select! {
                            biased;
                            report = reported.recv() => match report {
                                Some(report) => Event::Router { name: name.clone(), report },
                                None => return,
                            },
                            changed = changes.changed() => match changed {
                                Ok(()) => Event::RouterView {
                                    name: name.clone(),
                                    view: Box::new(changes.borrow_and_update().clone()),
                                    at: clock(),
                                },
                                Err(_) => std::future::pending().await,
                            },
                        };
                        if events.send(event).await.is_err() {
                            return;
                        }
                    }
                };
                let run = router::run(instance, earlier, leases, orders, reports, publish);
                // The forwarding goes on until the last report is read.
                let (ended_with, ()) = tokio::join!(run, forward);
                if let Err(error) = ended_with {
                    let why = error.to_string();
                    let name = name.clone();
                    let _sent = events.send(Event::RouterFailed { name, why }).await;
                    tokio::time::sleep(AGAIN).await;
                }
            }
        });
        Running {
            number,
            instance,
            commands,
            view,
            task: Some(task),
        }
    }

    async fn order(&mut self, name: String, order: Order) {
        if let Order::Policy { .. } = order {
            self.policies.insert(name.clone(), order.clone());
        }
        if let Some(running) = self.running.get(&name) {
            // A router that has ended is told when it is started anew.
            let _sent = running.commands.send(command(order)).await;
        }
    }

    /// What an engine that hangs has decided is not believed for ever: its checks and its view of the data plane may be
    /// wrong by now.
    async fn watch_engine(&mut self) {
        let silent = clock().saturating_sub(self.engine_at) >= ENGINE_SILENT;
        if silent == self.engine_silent {
            return;
        }
        self.engine_silent = silent;
        tracing::error!(silent, "the engine does not answer, or answers again");
        for (name, running) in &self.running {
            let Some(Order::Policy {
                priority,
                fault,
                may_preempt,
                withheld,
            }) = self.policies.get(name).cloned()
            else {
                continue;
            };
            let why = || "the engine of this director does not answer".to_owned();
            let policy = Command::Policy {
                priority,
                fault: if silent { Some(why()) } else { fault },
                may_preempt,
                withheld,
            };
            let _sent = running.commands.send(policy).await;
        }
    }

    fn leave(&mut self, why: &str, done: oneshot::Sender<()>) {
        let mut leaving = Vec::new();
        for running in self.running.values_mut() {
            let (left, ready) = oneshot::channel();
            let why = why.to_owned();
            if running
                .commands
                .try_send(Command::Leave { why, done: left })
                .is_ok()
            {
                leaving.push((ready, running.task.take()));
            }
        }
        self.wanted.clear();
        tokio::task::spawn_local(async move {
            for (ready, task) in leaving {
                let _left = ready.await;
                // What it had to report has then been told, and nobody misses the end of a role.
                if let Some(task) = task
                    && let Err(error) = task.await
                {
                    tracing::warn!(%error, "a virtual router ended badly");
                }
            }
            let _told = done.send(());
        });
    }

    fn follow_links(&mut self, names: Vec<String>) {
        if let Some(task) = self.links.take() {
            task.abort();
        }
        if names.is_empty() {
            return;
        }
        let events = self.events.clone();
        self.links = Some(tokio::task::spawn_local(async move {
            loop {
                let followed = async {
                    let (mut links, _task) = net::watch_interfaces(names.clone()).await?;
                    loop {
                        let known = links.borrow_and_update().clone();
                        let up = |name: &String| known.get(name).is_some_and(|link| link.up);
                        let state = names.iter().map(|name| (name.clone(), up(name))).collect();
                        if events.send(Event::Links(state)).await.is_err()
                            || links.changed().await.is_err()
                        {
                            return Err(net::Error::Ended);
                        }
                    }
                };
                let ended: Result<(), net::Error> = followed.await;
                if let Err(error) = ended {
                    tracing::debug!(%error, "tracked interfaces are looked at anew");
                }
                tokio::time::sleep(AGAIN).await;
            }
        }));
    }
}

/// Has a router hand over and end; whether a peer took over.
async fn hand_over(running: Running, why: String) -> bool {
    let (done, ready) = oneshot::channel();
    let leave = Command::Leave { why, done };
    running.commands.send(leave).await.is_ok() && ready.await.unwrap_or(false)
}

/// Gives up the addresses that a router held and that none has now, in that place and with that prefix.
async fn release_others(before: Vec<(String, IpAddr, u8)>, wanted: &BTreeMap<String, Instance>) {
    for (interface, address, prefix) in before {
        let is_kept = wanted.values().any(|instance| {
            instance.interface == interface && instance.addresses.contains(&(address, prefix))
        });
        if is_kept {
            continue;
        }
        let released = async {
            let ifindex = net::interface(&interface).await?.index;
            let vip = Vip {
                address,
                prefix,
                ifindex,
            };
            AddressBook::open()?.release(&vip).await
        };
        if let Err(error) = released.await {
            tracing::warn!(%error, "an address that was removed from the configuration");
        }
    }
}

/// Tells that a router has ended, however it did.
struct Ended(u64, mpsc::UnboundedSender<u64>);

impl Drop for Ended {
    fn drop(&mut self) {
        // The manager ends with the process only.
        let _told = self.1.send(self.0);
    }
}

/// Whether a router can go on with it: the priority and what is tracked come by order.
fn same(a: &Instance, b: &Instance) -> bool {
    Instance {
        priority: b.priority,
        ..a.clone()
    } == *b
}

fn command(order: Order) -> Command {
    match order {
        Order::Policy {
            priority,
            fault,
            may_preempt,
            withheld,
        } => Command::Policy {
            priority,
            fault,
            may_preempt,
            withheld,
        },
        Order::Resign { why, aside } => Command::Resign { why, aside },
        Order::TakeOver { why } => Command::TakeOver { why },
        Order::StepDown { why } => Command::StepDown { why },
    }
}

/// With its password read.
fn instance(vrrp: &Vrrp) -> Result<Instance, String> {
    let kind = match (vrrp.version, &vrrp.auth_pass) {
        (Version::V3, _) => Kind::V3,
        (Version::V2, None) => Kind::V2(Auth::None),
        (Version::V2, Some(Secret::Text(text))) => Kind::V2(Auth::password(text)),
        (Version::V2, Some(Secret::File(path))) => {
            let text = read_secret(path).map_err(|error| {
                format!("the password in {} cannot be read: {error}", path.display())
            })?;
            Kind::V2(Auth::password(&text))
        }
    };
    Ok(Instance {
        name: vrrp.name.clone(),
        interface: vrrp.interface.clone(),
        vrid: vrrp.virtual_router_id,
        priority: vrrp.priority,
        kind,
        interval: vrrp.advert_interval,
        addresses: vrrp
            .addresses
            .iter()
            .map(|vip| (vip.address, vip.prefix))
            .collect(),
        preempt: vrrp.preempt,
        preempt_delay: vrrp.preempt_delay,
        unicast_peers: vrrp.unicast_peers.clone(),
        source: vrrp.source,
        coverage: vrrp.checksum,
        lease: vrrp.lease,
        sync_group: vrrp.sync_group.clone(),
    })
}

/// The first line of a file; a relative path is one of systemd's credentials.
fn read_secret(path: &Path) -> std::io::Result<String> {
    let path: PathBuf = match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(dir) => Path::new(&dir).join(path),
        None => path.to_owned(),
    };
    let text = std::fs::read_to_string(path)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(std::io::Error::other("the first line is empty"));
    }
    Ok(line.to_owned())
}

/// What the earlier process of this host left word of.
pub fn earlier(dir: &Path) -> BTreeMap<String, Resume> {
    resume::load(dir, clock())
        .into_iter()
        .map(|(name, ago)| (name, Resume { ago, alone: false }))
        .collect()
}
