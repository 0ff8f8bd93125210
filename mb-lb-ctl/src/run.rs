//! The daemon. Every task is spawned here.
//!
//! ```text
//!   prober tasks ----Checked----.                        .--Apply, Attach, Tick--> dataplane thread
//!   neighbours task -Neighbour--+--> events (mpsc 1024) --> ENGINE TASK            (blocking system calls)
//!   dataplane thread -Counted,--'        ^                | | | '--watch<Arc<Snapshot>>--> admin connections
//!                     Applied,           |                | | '-----Follow: broadcast----> admin connections
//!                     Interfaces         |                | '-------Save-------> state file
//!   admin tasks ----- requests (mpsc 64) '                '---------Checks, Neighbours, Replies (handles)
//!   address task ----Addresses: which VIPs this host has
//!   interface watch - asks for Attach again when a MAC address or an index changes
//!   vrrp thread ----- Router, RouterView, Links; takes orders (routers.rs, vrrp/router.rs)
//!   peer thread ----- Peer: flow sync and the link (peering.rs, peer/sync.rs); takes messages
//!   script tasks ---- Script                     '---------Hook--> hooks task, one program after the other
//!   config_sync tasks - Report <---- Order: sources to look at, targets to bring in step (config_sync.rs)
//!   tier tasks ------ Tier <-------- Tiers: databases, session stores and storage to follow (tiers.rs)
//!   logger task ----- lines of the XDP program -> tracing
//!   page task ------- requests, as admin tasks do; one task for each connection (admin/http.rs)
//!   certificates thread - what it read of files <---- looks at them (certificates.rs), once a second and at a reload
//! ```
//!
//! The engine task itself tells the service manager how it is (`notify.rs`).
//!
//! The engine task never waits for the others: it drains its queue, takes its turns, hands actions out. It reads and
//! writes small files itself: the configuration and the key of the peer at a reload, and the state at a change. For
//! certificates, which may be on another disk, a reload waits for three seconds at most. Checks and
//! neighbours wait when the event queue is full; the packet path waits for nobody. When the process ends, in
//! whatever way, the kernel goes on with what it has.

mod answer;
mod certificates;
mod ending;
mod hooks;
mod inherited;
mod log;
mod notify;
mod owed;
mod pace;
mod peer_config;
mod peering;
mod proxying;
mod resume;
mod routers;
mod scripts;
mod shadow;
mod signals;
mod state;
mod tickets;
mod worker;

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::admin::http::{self, Web};
use crate::admin::{self, AdminHandle, AdminSocket, Reloaded, Request};
use crate::cli::{Exit, Failure, config_source};
use crate::config::{self, Config};
use crate::config_sync::Runner;
use crate::dataplane::{self, Dataplane, Leases};
use crate::engine::{Action, Change, Engine, Event, Identity, Now, Order, Refusal};
use crate::net::{self, AddressBook, Neighbours, Replies};
use crate::peer::{Hello, TICKET_KEYS, TIERS};
use crate::prober::Prober;
use crate::snapshot::{EventView, Snapshot};
use crate::tiers::Watchers;
use ending::{Ending, Step};
use hooks::Hooks;
use notify::Manager;
use owed::Owed;
use pace::Pace;
use peer_config::Asked;
use peering::{KeyState, PeerLink};
use proxying::Proxying;
use routers::Routers;
use scripts::Scripts;
use signals::Signals;
use tickets::Keys;
use worker::{Job, Worker};

/// Events that may wait for the engine.
const EVENTS: usize = 1024;
/// Requests of admin connections that may wait.
const REQUESTS: usize = 64;
/// Lines of `events` that are kept.
const KEPT_EVENTS: usize = 1000;
/// Events taken before others have a turn, when they come thick.
const EVENTS_AT_ONCE: usize = 256;
/// Distance of sweeps and readings.
const TICK: Duration = Duration::from_secs(1);

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

/// Runs until SIGTERM, SIGINT or SIGUSR1.
///
/// # Errors
/// Why it cannot run. A [`crate::cli::Failure`] in the chain decides the exit code; everything else exits with 1.
pub fn run(options: RunOptions) -> anyhow::Result<()> {
    log::start()?;
    let config = read_config(&options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(options, config))
}

/// Runs the checks only, beside the HAProxy that serves, and prints where it sees servers otherwise.
///
/// # Errors
/// As [`run`].
pub fn shadow(options: &RunOptions, haproxy: &std::path::Path) -> anyhow::Result<()> {
    log::start()?;
    let config = read_config(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(shadow::watch(options, config, haproxy))
}

/// Reads and checks the configuration file.
fn read_config(options: &RunOptions) -> anyhow::Result<Config> {
    let path = &options.config;
    let text = config_source::read(path).map_err(|failure| {
        let next = match path.exists() {
            true => failure.next.clone(),
            false => format!(
                "name it with --config, or write one, e.g.\n\n{}",
                config::example()
            ),
        };
        Failure::new(failure.exit, format!("not started: {failure}")).next(next)
    })?;
    let parsed = config::parse(&text, &state::host_name());
    let shown = config::render(
        &parsed.diagnostics,
        &text,
        &path.display().to_string(),
        false,
    );
    match parsed.config {
        Some(config) => {
            for line in shown.lines() {
                tracing::warn!("{line}");
            }
            Ok(config)
        }
        None => Err(Failure::new(
            Exit::ConfigErrors,
            format!("not started: {} has errors\n{shown}", path.display()),
        )
        .next("mb-lb-ctl check")
        .into()),
    }
}

async fn serve(options: RunOptions, config: Config) -> anyhow::Result<()> {
    let signals = Signals::hear()?;
    let _lock = state::lock(&options.state_dir)?;
    let _root = dataplane::lock_root(&options.bpf_root).context("not started")?;
    let saved = state::load(&options.state_dir)?;
    let (events, event_queue) = mpsc::channel(EVENTS);
    let (requests, request_queue) = mpsc::channel(REQUESTS);

    let leases: Arc<OnceLock<Leases>> = Arc::default();
    if let Ok(found) = Leases::open(&dataplane::pin_dir(&options.bpf_root)) {
        leases.get_or_init(|| found);
    }
    let earlier = routers::earlier(&options.state_dir);
    let routers = Routers::spawn(events.clone(), earlier, Arc::clone(&leases))?;
    if dataplane::is_attached(&options.bpf_root) {
        // The program is where the packets come in: an earlier process was active a moment ago, and peers do not wait
        // until everything is loaded.
        begin_early(&routers, &config);
    }
    let bpf_root = options.bpf_root.clone();
    let max_flows = config.director.max_flows;
    let mut dataplane = tokio::task::spawn_blocking(move || Dataplane::open(&bpf_root, max_flows))
        .await
        .context("loading the data plane")?
        .context("not started")?;
    let adopted = dataplane.adopt().context("not started")?;
    if leases.get().is_none() {
        let new = Leases::open(dataplane.pins()).context("not started: the map of leases")?;
        leases.get_or_init(|| new);
    }
    let moved = config.vrrps.iter().flat_map(|vrrp| &vrrp.addresses);
    let moved: BTreeSet<_> = moved.map(|vip| vip.address).collect();
    let kept = leases
        .get()
        .map(|leases| leases.keep(|address| moved.contains(&address)));
    if let Some(Err(error)) = kept {
        tracing::warn!(%error, "what an earlier process left of leases");
    }
    match aya_log::EbpfLogger::init(dataplane.ebpf()) {
        Ok(logger) => {
            tokio::spawn(follow_log(logger));
        }
        Err(error) => tracing::warn!(%error, "no log lines from the XDP program"),
    }
    let identity = Identity {
        build: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms: now(Instant::now()).wall_ms,
        pid: std::process::id(),
        config_path: options.config.display().to_string(),
        pinned_at: dataplane.pins().display().to_string(),
        adopted: dataplane.adopted(),
        max_flows: dataplane.max_flows(),
    };
    tracing::info!(
        adopted = identity.adopted,
        pinned_at = identity.pinned_at,
        "data plane loaded"
    );
    let worker = Worker::spawn(dataplane, events.clone())?;
    let (neighbours, _following) =
        net::spawn(events.clone()).context("cannot follow the neighbour table")?;

    tokio::spawn(follow_addresses(events.clone()));
    let socket_path = options
        .socket
        .clone()
        .unwrap_or_else(|| config.admin.socket.clone());
    let socket = AdminSocket::bind(&socket_path, config.admin.socket_mode)
        .with_context(|| format!("not started: cannot listen on {}", socket_path.display()))?;
    let engine = Engine::new(identity, &adopted, saved, config.clone());
    let start = Instant::now();
    let peering = PeerLink::spawn(Box::new(worker.flow_sync()), events.clone());
    let (published, snapshot) = watch::channel(Arc::new(engine.snapshot(now(start))));
    let (followers, _) = broadcast::channel(KEPT_EVENTS);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let handle = AdminHandle {
        snapshot,
        requests,
        level: config.admin.socket_level,
    };
    let manager = Manager::from_environment();
    let keys = Keys::new()?;
    let mut director = Director {
        web: Web::spawn(handle.clone()),
        engine,
        start,
        options,
        worker,
        prober: Prober::new(events.clone()),
        syncs: Runner::new(events.clone()),
        tiers: Watchers::new(events.clone()),
        neighbours,
        replies: Replies::default(),
        published,
        pace: Pace::default(),
        deadline: None,
        followers,
        kept: VecDeque::new(),
        waiting: Vec::new(),
        next_id: 0,
        owed: Owed::default(),
        routers,
        scripts: Scripts::new(events.clone()),
        hooks: Hooks::spawn(),
        peering,
        proxying: Proxying::start(
            inherited::sockets(),
            Arc::new(manager.clone()),
            keys.ticketer(),
        )?,
        manager,
        keys,
        asked: Asked::default(),
        boot: boot(),
        ending: Ending::default(),
        flow_timeouts: config.director.flow_timeouts,
    };
    let page = config.admin.http.clone();
    // Before anybody is answered: "no such service" would be wrong.
    director.turn(Event::Config(Box::new(config)));
    director.publish();
    director.web.configure(page);
    let admin = tokio::spawn(admin::serve(socket, handle, async {
        // An error is the sender gone, which is the same end.
        let _stopped = stopped.await;
    }));
    let result = director.live(event_queue, request_queue, signals).await;
    drop(stop);
    if let Err(error) = admin.await {
        tracing::warn!(%error, "the admin socket ended badly");
    }
    result
}

/// Has the virtual routers go on before the engine knows anything: with the configured priorities, which it corrects.
fn begin_early(routers: &Routers, config: &Config) {
    routers.set(config.vrrps.clone(), config.peer.is_some());
    for vrrp in &config.vrrps {
        routers.order(
            vrrp.name.clone(),
            Order::Policy {
                priority: vrrp.priority,
                fault: None,
                may_preempt: config.peer.is_none(),
                withheld: false,
            },
        );
    }
}

/// A number that no other process of this or another director has.
fn boot() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one((std::process::id(), SystemTime::now()))
}

fn now(start: Instant) -> Now {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        since_start: start.elapsed(),
        wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Tells the engine which addresses this host has, at the start and whenever that changes.
async fn follow_addresses(events: mpsc::Sender<Event>) {
    let mut known = None;
    loop {
        let followed = async {
            let book = AddressBook::open()?;
            let mut changes = book.watch()?;
            loop {
                let held = book.list().await?;
                let now: BTreeSet<_> = held.iter().map(|held| held.vip.address).collect();
                if known.as_ref() != Some(&now) {
                    known = Some(now.clone());
                    if events.send(Event::Addresses(now)).await.is_err() {
                        return Ok(());
                    }
                }
                changes.next().await?;
            }
        };
        match followed.await {
            Ok(()) => return,
            Err(error @ net::Error::Ended) => {
                tracing::debug!(%error, "addresses are asked for anew")
            }
            Err(error) => tracing::warn!(%error, "addresses of this host are not followed"),
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Lines that the XDP program logs, which are rare.
async fn follow_log(logger: aya_log::EbpfLogger<&'static dyn ::log::Log>) {
    // SAFETY: the logger owns its descriptor and keeps it open as long as it lives.
    let registered = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let Ok(mut logger) = registered else {
        tracing::warn!("no log lines from the XDP program");
        return;
    };
    while let Ok(mut ready) = logger.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}

/// The engine with its handles on the rest.
struct Director {
    engine: Engine,
    start: Instant,
    options: RunOptions,
    worker: Worker,
    prober: Prober,
    syncs: Runner,
    tiers: Watchers,
    neighbours: Neighbours,
    replies: Replies,
    published: watch::Sender<Arc<Snapshot>>,
    pace: Pace,
    /// Of the engine, as it was after the last turn that had a consequence.
    deadline: Option<Duration>,
    followers: broadcast::Sender<EventView>,
    kept: VecDeque<EventView>,
    /// Changes whose answer waits for this turn's actions.
    waiting: Vec<(u64, answer::ChangeReply)>,
    next_id: u64,
    owed: Owed,
    manager: Manager,
    routers: Routers,
    scripts: Scripts,
    hooks: Hooks,
    peering: PeerLink,
    proxying: Proxying,
    keys: Keys,
    asked: Asked,
    web: Web,
    boot: u64,
    ending: Ending,
    flow_timeouts: config::FlowTimeouts,
}

impl Director {
    async fn live(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut requests: mpsc::Receiver<Request>,
        mut signals: Signals,
    ) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // In this loop, so that an engine that hangs does not feed it.
        let mut watchdog = self.manager.feed_every().map(tokio::time::interval);
        self.owe_ready();
        loop {
            if self.pace.is_due(self.start.elapsed()) {
                self.publish();
            }
            let at = |at: Option<Duration>| at.map(|at| (self.start + at).into());
            let deadline = at(self.deadline);
            let show = at(self.pace.due());
            tokio::select! {
                _ = signals.terminate.recv() => if self.stop() { break },
                _ = signals.interrupt.recv() => if self.stop() { break },
                // Who was told to stop hands over, whatever else it is told.
                _ = signals.replaced.recv(), if !self.ending.has_begun() => self.replace(),
                step = self.ending.next() => match step {
                    Step::Drained => if self.drained() { break },
                    Step::Left => {
                        // The end of the roles, which notify programs are to be told of.
                        while let Ok(event) = events.try_recv() {
                            self.turn(event);
                        }
                        break;
                    }
                },
                _ = signals.hangup.recv() => {
                    // A refusal has been said by its event.
                    if let Ok(done) = self.reload() {
                        for line in done.warnings.lines() {
                            tracing::warn!("{line}");
                        }
                        tracing::info!(changes = done.changes.len(), "reloaded");
                    }
                }
                Some(event) = events.recv() => {
                    self.turns(event, &mut events);
                    self.answer_owed();
                }
                Some(request) = requests.recv() => self.answer(request),
                looked = self.proxying.looked() => {
                    self.proxying.take(looked);
                    // Whoever has put one there waits for the word that it is in force.
                    self.turn(Event::Certificates(self.proxying.certificates()));
                }
                _ = tick.tick() => {
                    self.routers.alive();
                    self.asked.give_up(peer_config::LATE, false);
                    self.worker.send(Job::Tick);
                    if let Some(message) = self.keys.look() {
                        self.peering.send(message);
                    }
                    self.proxying.look();
                    self.turn(Event::Certificates(self.proxying.certificates()));
                    self.turn(Event::Relayed(self.proxying.readings()));
                    let mut problems = self.proxying.problems();
                    problems.extend(self.web.problem());
                    self.turn(Event::Unserved(problems));
                }
                () = sleep_until(deadline) => self.turn(Event::Deadline),
                () = sleep_until(show) => {}
                () = next_tick(&mut watchdog) => self.manager.alive(),
            }
            if let Some(why) = self.worker.failed() {
                anyhow::bail!(
                    "the data plane's thread ended: {why}; what is in the kernel goes on"
                );
            }
        }
        self.end().await;
        Ok(())
    }

    fn hello(&self) -> Hello {
        let identity = self.engine.identity();
        Hello {
            name: self.engine.director_name().to_owned(),
            build: identity.build.clone(),
            boot: self.boot,
            knows: format!("{TICKET_KEYS} {TIERS}"),
            started_ms: identity.started_ms,
        }
    }

    fn now(&self) -> Now {
        now(self.start)
    }

    fn publish(&mut self) {
        let began = self.start.elapsed();
        let snapshot = Arc::new(self.engine.snapshot(self.now()));
        self.manager.status(&snapshot);
        self.published.send_replace(snapshot);
        self.pace.made(began, self.start.elapsed());
    }

    /// Has an answer given when the kernel has all that was sent to it by now.
    fn owe(&mut self, answer: impl FnOnce(Option<&str>) + Send + 'static) {
        self.owed.push(Box::new(answer));
        self.answer_owed();
    }

    /// Tells the service manager that all is in force, when the kernel has it.
    fn owe_ready(&mut self) {
        let manager = self.manager.clone();
        self.owe(move |_refused| manager.ready());
    }

    /// Gives the answers that are due. Whoever gets one may look at once whether it is so.
    fn answer_owed(&mut self) {
        if self.owed.is_due() {
            self.publish();
            self.owed.give();
        }
    }

    /// Turns for what is there by now. Results of checks in a row are one turn: thousands of servers that come up at once
    /// do not each have everything looked at again.
    fn turns(&mut self, first: Event, events: &mut mpsc::Receiver<Event>) {
        let mut results = Vec::new();
        let mut next = Some(first);
        for _ in 0..EVENTS_AT_ONCE {
            let Some(event) = next.or_else(|| events.try_recv().ok()) else {
                break;
            };
            next = None;
            if matches!(event, Event::Checked { .. }) {
                results.push(event);
                continue;
            }
            self.results(&mut results);
            self.turn(event);
        }
        self.results(&mut results);
    }

    fn results(&mut self, results: &mut Vec<Event>) {
        if !results.is_empty() {
            let actions = self.engine.handle_all(results.drain(..), self.now());
            // Most only confirm what was known: nothing follows, and to look at every server for the next step of a ramp
            // would cost more than the check.
            if !actions.is_empty() {
                self.act(actions, None);
            }
        }
    }

    /// One turn of the engine, and what follows from it.
    fn turn(&mut self, event: Event) {
        if self.on_peer_file(&event) {
            return;
        }
        let (taken, said) = self.keys.hear(&event);
        if let Some(message) = said {
            self.peering.send(message);
        }
        if taken {
            return;
        }
        if let Event::Applied(refused) = &event {
            self.owed.plan_done(refused.as_deref());
        }
        let attached = match &event {
            Event::Interfaces { number, .. } => Some(*number),
            _ => None,
        };
        let actions = self.engine.handle(event, self.now());
        self.act(actions, attached);
    }

    /// What the engine wants done. `attached`: number of the attachment that it has been told of.
    fn act(&mut self, actions: Vec<Action>, attached: Option<u64>) {
        self.deadline = self.engine.next_deadline(self.now());
        let mut replies = Vec::new();
        let mut answers = Vec::new();
        for action in actions {
            match action {
                Action::Apply(desired) => {
                    self.owed.plan_sent();
                    self.worker.send(Job::Apply(desired));
                }
                Action::Attach(config) => {
                    self.proxying.configure(&config);
                    self.flow_timeouts = config.director.flow_timeouts;
                    let number = self.owed.attach_sent();
                    self.worker.attach(number, *config);
                }
                Action::Steer(steering) => self.proxying.steer(steering),
                Action::Checks(tasks) => self.prober.set(tasks),
                Action::ConfigSync(order) => self.syncs.obey(order),
                Action::Tiers(tasks) => self.tiers.set(tasks),
                Action::Vias { vips, interfaces } => {
                    self.worker.send(Job::Vias { vips, interfaces })
                }
                Action::Neighbours(addresses) => self.neighbours.set(addresses),
                Action::Replies(texts) => replies.push(texts),
                Action::Reply { id, result } => answers.push((id, result)),
                Action::Record(event) => self.record(event),
                Action::Routers(wanted) => self.routers.set(wanted, self.engine.is_paired()),
                Action::Router { name, order } => self.routers.order(name, order),
                Action::Links(names) => self.routers.links(names),
                Action::Scripts(wanted) => self.scripts.set(wanted),
                Action::Hook(call) => self.hooks.call(call),
                Action::PeerLink(peer, established) => {
                    self.peering
                        .set(peer.map(|peer| *peer), self.hello(), established);
                }
                Action::PeerSend(message) => self.peering.send(message),
                Action::Carry(vips) => self.peering.carry(vips),
                Action::Save(saved) => {
                    if let Err(error) = state::save(&self.options.state_dir, &saved) {
                        tracing::error!(%error, "admin states and weights are not saved: a restart will forget them");
                    }
                }
            }
        }
        if let Some(number) = attached {
            self.owed.attach_done(number);
        }
        // Only when the rest is saved and queued: who is told that a server is drained may kill us the next moment.
        for (id, result) in answers {
            self.reply(id, result);
        }
        for texts in replies {
            let failed = self
                .replies
                .set(texts)
                .into_iter()
                .map(|error| (error.address, error.source.to_string()))
                .collect();
            self.turn(Event::RepliesFailed(failed));
        }
    }

    fn record(&mut self, event: EventView) {
        log::event(&event);
        if self.kept.len() == KEPT_EVENTS {
            self.kept.pop_front();
        }
        // No receiver is no error: nobody follows.
        let _followed = self.followers.send(event.clone());
        self.kept.push_back(event);
    }

    /// Reads the file again and puts it in force. A bad file changes nothing.
    fn reload(&mut self) -> Result<Reloaded, String> {
        self.manager.reloading();
        let result = self.reread();
        self.owe_ready();
        result
    }

    fn reread(&mut self) -> Result<Reloaded, String> {
        let read = || {
            let path = &self.options.config;
            let text = config_source::read(path).map_err(|failure| failure.message)?;
            parse(&text, &path.display().to_string())
        };
        match read() {
            Ok((config, warnings)) => {
                let readable = routers::check(&config.vrrps)
                    .and_then(|()| crate::tiers::check(&config))
                    .and_then(|()| http::check(&config))
                    .and_then(|()| self.proxying.check(&config));
                if let Err(why) = readable {
                    self.turn(Event::ReloadFailed(why.clone()));
                    return Err(why);
                }
                let changes = self.changes(&config);
                let mut warnings = warnings;
                match self.peer_key(&config) {
                    KeyState::Known => {}
                    // Before the configuration, with which the link is made.
                    KeyState::New => self.turn(Event::PeerKey),
                    KeyState::Unreadable(why) => warnings.push_str(&format!(
                        "warning: the key of [peer] is no good: {why}\n  a link that is up goes on with the key that it has\n"
                    )),
                }
                self.web.configure(config.admin.http.clone());
                self.turn(Event::Config(Box::new(config)));
                Ok(Reloaded { changes, warnings })
            }
            Err(why) => {
                self.turn(Event::ReloadFailed(why.clone()));
                Err(why)
            }
        }
    }

    fn reply(&mut self, id: u64, result: Result<String, Refusal>) {
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == id) {
            let (_, reply) = self.waiting.remove(at);
            self.owe(move |refused| {
                let result = match refused {
                    Some(why) => result.and(Err(Refusal::NotApplied(why.to_owned()))),
                    None => result,
                };
                // The client may have gone.
                let _sent = reply.send(result);
            });
        }
    }

    fn change(&mut self, change: Change, by: String, reply: answer::ChangeReply) {
        self.next_id += 1;
        let id = self.next_id;
        self.waiting.push((id, reply));
        self.turn(Event::Change { id, change, by });
    }
}

/// Text to configuration and warnings, or all that is wrong with it.
fn parse(text: &str, path: &str) -> Result<(Config, String), String> {
    let parsed = config::parse(text, &state::host_name());
    let shown = match parsed.diagnostics.is_empty() {
        true => String::new(),
        false => config::render(&parsed.diagnostics, text, path, false),
    };
    match parsed.config {
        Some(config) => Ok((config, shown)),
        None => Err(shown),
    }
}

async fn next_tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
