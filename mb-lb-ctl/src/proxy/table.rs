//! What is in force: proxies by name, each with its configuration, its servers and what the engine says of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::Target;
use super::balance::Balance;
use super::cookie::Stickiness;
use super::stats::{self, Queue};
use crate::config;

/// A server for as long as its address and the way to speak to it stay.
#[derive(Debug)]
pub struct Server {
    /// Never given twice: connections in pools belong to it.
    pub id: u64,
    pub config: config::ProxyServer,
    pub stats: Arc<stats::Server>,
}

static IDS: AtomicU64 = AtomicU64::new(1);

/// One configuration of one proxy. A request ends under the one that it began with.
#[derive(Debug)]
pub struct InForce {
    pub config: config::Proxy,
    pub servers: Vec<Arc<Server>>,
    pub stickiness: Option<Stickiness>,
    /// `None`: in clear.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Numbers that hold of it are kept beside; the engine says new things of its servers.
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
}

impl InForce {
    fn new(
        config: config::Proxy,
        tls: Option<Arc<rustls::ServerConfig>>,
        before: Option<&Self>,
        targets: &[Target],
    ) -> Self {
        let known = |server: &config::ProxyServer| {
            let before = before.into_iter().flat_map(|before| &before.servers);
            before
                .filter(|known| known.config.name == server.name)
                .find(|known| known.config.address == server.address)
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
            config,
        }
    }
}

impl Proxy {
    pub fn new(config: config::Proxy, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self {
            name: config.name.clone(),
            in_force: ArcSwap::from_pointee(InForce::new(config, tls, None, &[])),
            queue: Arc::default(),
            stats: stats::Proxy::default(),
            targets: ArcSwap::default(),
        }
    }

    /// Puts a configuration in force.
    pub fn configure(&self, config: config::Proxy, tls: Option<Arc<rustls::ServerConfig>>) {
        let before = self.in_force.load_full();
        let targets = self.targets.load();
        let next = InForce::new(config, tls, Some(&before), &targets);
        self.in_force.store(Arc::new(next));
        self.look_again();
    }

    /// What the engine says of the servers.
    pub fn steer(&self, targets: Vec<Target>) {
        let in_force = self.in_force.load();
        let config = &in_force.config;
        let balance = Balance::new(config.scheduler, &config.servers, &targets);
        in_force.balance.store(Arc::new(balance));
        self.targets.store(Arc::new(targets));
        self.look_again();
    }

    fn look_again(&self) {
        self.queue.look_again();
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
