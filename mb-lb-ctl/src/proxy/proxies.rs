//! All proxies: what is in force, and the threads that serve them.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::admitted::Census;
use super::limits::Limits;
use super::listening::{Keeper, Listening};
use super::sessions::{OpenSession, Sessions};
use super::table::{Listen, Plan, Proxy};
use super::worker::{self, Shared, Stage};
use super::{Reading, Readings, Steering};
use crate::config;

/// The owner of all proxies. They go on when it is dropped, until the process ends.
pub struct Proxies {
    shared: Arc<Shared>,
    threads: usize,
    known: Mutex<BTreeMap<String, Arc<Proxy>>>,
}

impl Proxies {
    /// Starts `threads` threads, which wait for a configuration. `inherited` are listening sockets that the process before
    /// had.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        threads: usize,
        inherited: Vec<TcpListener>,
        keeper: Arc<dyn Keeper>,
    ) -> io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            listens: watch::Sender::new(Vec::new()),
            stage: watch::Sender::new(Stage::Serving),
            limits: Arc::new(Limits::default()),
            census: Census::of_this_process(),
            sessions: Sessions::default(),
            listening: Listening::new(inherited, keeper),
        });
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("proxy-{number}"))
                .spawn(move || {
                    if let Err(error) = worker::run(shared) {
                        tracing::error!(%error, "a thread of the proxy does not run");
                    }
                })?;
        }
        Ok(Self {
            shared,
            threads,
            known: Mutex::default(),
        })
    }

    /// Puts exactly these in force. Requests that are under way end as they began, and sockets that stay are not touched.
    /// Of `spared` nothing is changed: their new configuration is no good yet. Sockets of the process before are kept for
    /// them.
    pub fn configure(&self, plans: Vec<Plan>, spared: &[config::Proxy]) {
        let mut known = self.known();
        known.retain(|name, proxy| {
            let stays = spared.iter().any(|spared| spared.name == *name)
                || plans.iter().any(|plan| plan.config.name == *name);
            if !stays {
                proxy.retire();
            }
            stays
        });
        for plan in plans {
            match known.get(&plan.config.name) {
                Some(known) => known.configure(plan),
                None => {
                    known.insert(plan.config.name.clone(), Arc::new(Proxy::new(plan)));
                }
            }
        }
        let mut listens = Vec::new();
        for proxy in known.values() {
            let in_force = proxy.in_force.load();
            let config = &in_force.config;
            let https = config.listen.first().map(SocketAddr::port);
            let listen = |address: &SocketAddr, redirect_to| Listen {
                address: *address,
                proxy: Arc::clone(proxy),
                redirect_to,
            };
            listens.extend(config.listen.iter().map(|address| listen(address, None)));
            let redirects = config.redirect_http.iter();
            listens.extend(redirects.map(|address| listen(address, https)));
        }
        let mut wanted: Vec<_> = listens.iter().map(|listen| listen.address).collect();
        let spared = spared.iter();
        wanted.extend(spared.flat_map(|proxy| proxy.listen.iter().chain(&proxy.redirect_http)));
        self.shared.listening.settle(&wanted, self.threads);
        self.shared.listens.send_replace(listens);
    }

    /// What the engine says of the servers. Of proxies that are not known yet it has to be said again.
    pub fn steer(&self, steering: &[Steering]) {
        let known = self.known();
        for steering in steering {
            if let Some(proxy) = known.get(&steering.proxy) {
                for server in proxy.ended(&steering.targets) {
                    self.shared.sessions.cut_at(&proxy.name, server);
                }
                proxy.steer(steering.most_clients, steering.targets.clone());
            }
        }
    }

    pub fn readings(&self) -> Readings {
        let known = self.known();
        let of = |proxy: &Arc<Proxy>| {
            let in_force = proxy.in_force.load();
            let (stats, servers) = (&proxy.stats, in_force.servers.iter());
            let (connections, closed) = (stats.connections.get(), stats.closed.get());
            Reading {
                open: connections.saturating_sub(closed),
                connections,
                requests: stats.requests.get(),
                full: stats.handshakes_full.get(),
                resumed: stats.handshakes_resumed.get(),
                failed: stats.handshakes_failed.get(),
                refused: stats.refused(),
                unlogged: in_force.log.as_ref().map_or(0, |log| log.writer.dropped()),
                servers: servers
                    .map(|server| (server.config.name.clone(), server.stats.counted()))
                    .collect(),
            }
        };
        known
            .iter()
            .map(|(name, proxy)| (name.clone(), of(proxy)))
            .collect()
    }

    /// Connections of clients that are open.
    pub fn sessions(&self) -> Vec<OpenSession> {
        self.shared.sessions.list()
    }

    /// Ends one of them, and says which it was. `None`: there is no such one.
    pub fn cut(&self, id: u64) -> Option<OpenSession> {
        self.shared.sessions.cut(id)
    }

    /// Servers of proxies that are up, and to which connections cannot be made all the same, and why.
    pub fn unreached(&self) -> BTreeMap<String, String> {
        let known = self.known();
        let mut unreached = BTreeMap::new();
        for proxy in known.values() {
            let in_force = proxy.in_force.load();
            let balance = in_force.balance.load();
            for (at, server) in in_force.servers.iter().enumerate() {
                if let Some(why) = server.stats.trouble().filter(|_| balance.keeps(at)) {
                    unreached.insert(format!("{}/{}", proxy.name, server.config.name), why);
                }
            }
        }
        unreached
    }

    /// Addresses that are not listened on, and why.
    pub fn unheard(&self) -> BTreeMap<SocketAddr, String> {
        self.shared.listening.unheard()
    }

    /// Asks clients to go, and is ready when those who are there now have gone, or after `limit`. Who comes meanwhile is
    /// served, and asked to go as well.
    pub fn drain(&self, limit: Duration) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.shared);
        shared.census.leave();
        shared.rise(Stage::Leaving);
        // Who is still there at the end is cut off by the end of the process.
        async move { _ = timeout(limit, gone(|| shared.census.left_over())).await }
    }

    /// Who comes from now on waits for the next process. Sessions of services in user mode
    /// are reset. Ready when all have gone, or after `limit`.
    pub fn close(&self, limit: Duration) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.shared);
        shared.rise(Stage::Closed);
        async move { _ = timeout(limit, gone(|| shared.census.all())).await }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Proxy>>> {
        // What is in it is whole at any time.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ready when `count` is zero.
async fn gone(count: impl Fn() -> u64) {
    const LOOK: Duration = Duration::from_millis(10);
    while count() > 0 {
        tokio::time::sleep(LOOK).await;
    }
}
