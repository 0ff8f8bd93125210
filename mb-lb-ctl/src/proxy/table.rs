//! What is in force: proxies by name, each with its configuration, its servers and what the engine says of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Target;
use super::balance::Balance;
use super::cookie::Stickiness;
use super::journal::Log;
use super::queue::Queue;
use super::stats;
use crate::config;
use crate::snapshot::HealthState;

/// A server for as long as its address and the way to speak to it stay.
#[derive(Debug)]
pub struct Server {
    /// Never given twice: connections in pools belong to it.
    pub id: u64,
    pub config: config::ProxyServer,
    pub stats: Arc<stats::Server>,
}

static IDS: AtomicU64 = AtomicU64::new(1);

/// What is different with a service in user mode.
#[derive(Clone, Debug)]
pub struct Relay {
    pub on_down: config::OnDown,
    pub no_server: Option<String>,
    /// Both sides may be silent for so long.
    pub silence: std::time::Duration,
    /// Of a tier: connections go on only with a server that is in the configuration, and as long as the tier is.
    pub is_tier: bool,
}

/// What a proxy, or a service in user mode, is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    pub config: config::Proxy,
    /// `None`: in clear.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Of a service.
    pub relay: Option<Relay>,
    pub log: Option<Log>,
}

impl Plan {
    /// Of a service with [`config::Forward::Proxy`]. A server without a port has port 0: that of the client's connection.
    pub fn relay(service: &config::Service, silence: std::time::Duration) -> Self {
        Self::relayed(service, silence, false)
    }

    /// Of a database or a session store: two writers are worse than connections that are reset.
    pub fn tier(service: &config::Service, silence: std::time::Duration) -> Self {
        Self::relayed(service, silence, true)
    }

    fn relayed(service: &config::Service, silence: std::time::Duration, is_tier: bool) -> Self {
        let server = |server: &config::Server| config::ProxyServer {
            name: server.name.clone(),
            address: SocketAddr::new(server.address, server.port.unwrap_or(0)),
            tls: None,
            http: config::Upstream::Http1,
            cookie: None,
            weight: server.weight,
            max_connections: server.max_connections,
            backup: server.backup,
            send_proxy: server.send_proxy,
        };
        let scheduler = match service.scheduler {
            config::Scheduler::Leastconn => config::ProxyScheduler::Leastconn,
            config::Scheduler::Roundrobin => config::ProxyScheduler::Roundrobin,
            config::Scheduler::Source => config::ProxyScheduler::Source,
        };
        Self {
            config: config::Proxy {
                name: service.name.clone(),
                listen: service.listen.clone(),
                certificates: Vec::new(),
                tls_min_version: config::TlsVersion::Tls12,
                http2: false,
                scheduler,
                cookie: None,
                redirect_http: Vec::new(),
                hsts: None,
                check: None,
                agent: None,
                timeouts: config::ProxyTimeouts::default(),
                limits: config::ProxyLimits::default(),
                trusted_proxies: Vec::new(),
                forwarded: false,
                accept_proxy: Vec::new(),
                retries: 3,
                redispatch: true,
                slow_start: service.slow_start,
                min_up: 0,
                follows: Vec::new(),
                access_log: None,
                servers: service.servers.iter().map(server).collect(),
            },
            tls: None,
            relay: Some(Relay {
                on_down: service.on_down,
                no_server: service.no_server.clone(),
                silence,
                is_tier,
            }),
            log: None,
        }
    }
}

/// One configuration of one proxy. A request ends under the one that it began with.
#[derive(Debug)]
pub struct InForce {
    pub config: config::Proxy,
    pub servers: Vec<Arc<Server>>,
    pub stickiness: Option<Stickiness>,
    /// `None`: in clear.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Of a service in user mode.
    pub relay: Option<Relay>,
    pub log: Option<Log>,
    /// The engine says new things of the servers.
    pub balance: ArcSwap<Balance>,
}

/// A proxy, whatever its configuration.
#[derive(Debug)]
pub struct Proxy {
    pub name: String,
    pub in_force: ArcSwap<InForce>,
    pub queue: Arc<Queue>,
    pub stats: stats::Proxy,
    /// What the engine said last.
    targets: ArcSwap<Vec<Target>>,
    most_clients: ArcSwap<Option<u32>>,
    /// Configurations that are not in force any more, under which requests may still wait.
    before: Mutex<Vec<Weak<InForce>>>,
    /// Counts what the engine and the configuration say.
    turn: watch::Sender<u64>,
    /// It is in no configuration any more.
    is_retired: watch::Sender<bool>,
}

impl Server {
    /// Whether it is the same one, however it is spoken to.
    fn is_same(&self, config: &config::ProxyServer) -> bool {
        self.config.name == config.name && self.config.address == config.address
    }
}

impl InForce {
    fn new(plan: Plan, before: Option<&Self>, targets: &[Target]) -> Self {
        let Plan {
            config,
            tls,
            relay,
            log,
        } = plan;
        let known = |server: &config::ProxyServer| {
            let mut before = before.into_iter().flat_map(|before| &before.servers);
            before.find(|known| known.is_same(server))
        };
        let servers = config.servers.iter().map(|server| match known(server) {
            Some(known) if known.config == *server => Arc::clone(known),
            // The counts go on; connections that were made otherwise are not used any more.
            known => Arc::new(Server {
                id: IDS.fetch_add(1, Ordering::Relaxed),
                config: server.clone(),
                stats: known.map_or_else(Arc::default, |known| Arc::clone(&known.stats)),
            }),
        });
        let stickiness = config.cookie.as_ref();
        Self {
            servers: servers.collect(),
            stickiness: stickiness.map(|cookie| Stickiness::new(cookie, &config.servers)),
            balance: ArcSwap::from_pointee(Balance::new(
                config.scheduler,
                &config.servers,
                targets,
            )),
            tls,
            relay,
            log,
            config,
        }
    }

    /// A server that is not among `targets` counts as down.
    fn steer(&self, targets: &[Target]) {
        let config = &self.config;
        let balance = Balance::new(config.scheduler, &config.servers, targets);
        self.balance.store(Arc::new(balance));
    }
}

impl Proxy {
    pub fn new(plan: Plan) -> Self {
        Self {
            name: plan.config.name.clone(),
            in_force: ArcSwap::from_pointee(InForce::new(plan, None, &[])),
            before: Mutex::default(),
            turn: watch::Sender::new(0),
            is_retired: watch::Sender::new(false),
            queue: Arc::default(),
            stats: stats::Proxy::default(),
            targets: ArcSwap::default(),
            most_clients: ArcSwap::default(),
        }
    }

    /// Puts a configuration in force.
    pub fn configure(&self, plan: Plan) {
        let before = self.in_force.load_full();
        let targets = self.targets.load();
        let next = InForce::new(plan, Some(&before), &targets);
        self.in_force.store(Arc::new(next));
        before.steer(&targets);
        let mut all = self.before();
        all.retain(|before| before.strong_count() > 0);
        all.push(Arc::downgrade(&before));
        drop(all);
        self.look_again();
    }

    /// What the engine says of the servers.
    pub fn steer(&self, most_clients: Option<u32>, targets: Vec<Target>) {
        self.most_clients.store(Arc::new(most_clients));
        self.in_force.load().steer(&targets);
        for before in self.before().iter().filter_map(Weak::upgrade) {
            before.steer(&targets);
        }
        self.targets.store(Arc::new(targets));
        self.look_again();
    }

    /// Whether `open` clients are as many as there may be at a time.
    pub fn is_full(&self, open: u64) -> bool {
        let most = match **self.most_clients.load() {
            None => self.in_force.load().config.limits.connections,
            Some(0) => return false,
            Some(most) => most,
        };
        open >= u64::from(most)
    }

    fn before(&self) -> std::sync::MutexGuard<'_, Vec<Weak<InForce>>> {
        // What is in it is whole at any time.
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its clients are to go: nobody says any more what its servers are worth.
    pub fn retire(&self) {
        self.is_retired.send_replace(true);
    }

    /// Ready when it is in no configuration any more.
    pub async fn retired(&self) {
        let mut is_retired = self.is_retired.subscribe();
        // The sender is ours, and lives as long as this.
        let _seen = is_retired.wait_for(|is_retired| *is_retired).await;
    }

    fn look_again(&self) {
        self.queue.look_again();
        self.turn.send_modify(|turn| *turn += 1);
    }

    /// Ready when it is known of all servers whether they are up; where that takes long, when one is. At a start nobody is to
    /// be turned away, or moved to another server, for want of a first check.
    pub async fn is_known(&self) {
        const ALL: Duration = Duration::from_secs(1);
        const ONE: Duration = Duration::from_secs(2);
        let all = |targets: &[Target]| {
            let mut targets = targets.iter();
            targets.all(|target| target.health != HealthState::Unknown)
        };
        let one = |targets: &[Target]| targets.iter().any(Target::takes_users);
        if timeout(ALL, self.targets_are(all)).await.is_err() {
            // Then it is said that there is none.
            let _known = timeout(ONE, self.targets_are(one)).await;
        }
    }

    async fn targets_are(&self, so: impl Fn(&[Target]) -> bool) {
        let mut turns = self.turns();
        loop {
            turns.mark_unchanged();
            let targets = self.targets.load_full();
            if !targets.is_empty() && so(&targets) {
                return;
            }
            // The sender is ours, and lives as long as this.
            let _turned = turns.changed().await;
        }
    }

    /// Changes when the engine or the configuration has said something new.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turn.subscribe()
    }

    /// Whether connections of a server that is not in maintenance or down go on: those of one that was removed do, unless it
    /// was one of a tier.
    pub fn serves(&self, server: &Server) -> bool {
        let in_force = self.in_force.load();
        let is_it = |known: &Arc<Server>| known.is_same(&server.config);
        let at = in_force.servers.iter().position(is_it);
        let is_tier = in_force.relay.as_ref().is_some_and(|relay| relay.is_tier);
        at.map_or(!is_tier, |at| in_force.balance.load().lives(at))
    }

    /// Servers whose sessions an operator has ended since `targets` were told before.
    pub fn ended<'t>(&self, targets: &'t [Target]) -> Vec<&'t str> {
        let before = self.targets.load();
        let ended = targets.iter().filter(|target| {
            let mut before = before.iter();
            let known = before.find(|known| known.name == target.name);
            known.is_some_and(|known| known.ended < target.ended)
        });
        ended.map(|target| target.name.as_str()).collect()
    }

    /// Whether the connections to a server are still of use.
    pub fn keeps(&self, id: u64) -> bool {
        let in_force = self.in_force.load();
        let at = in_force.servers.iter().position(|server| server.id == id);
        at.is_some_and(|at| in_force.balance.load().keeps(at))
    }
}

/// What listens where.
#[derive(Clone, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    pub proxy: Arc<Proxy>,
    /// Requests are sent to HTTPS at this port.
    pub redirect_to: Option<u16>,
}
