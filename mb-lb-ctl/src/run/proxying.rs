//! Proxies and services in user mode: their configuration, their certificates, and what goes to and from the engine.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::server::ProducesTickets;
use tokio::sync::mpsc;

use super::certificates::{Looked, Reader, Wanted, When, no_answer};
use crate::config::{self, Config};
use crate::proxy::log::Writer;
use crate::proxy::server_config;
use crate::proxy::{
    Info, Keeper, Log, OpenSession, Plan, Proxies, Readings, Resolver, Steering, Trouble,
};

/// Clients that are served when the process is to end have so long.
const DRAIN: Duration = Duration::from_secs(5);
/// And those who came meanwhile so long.
const LAST: Duration = Duration::from_secs(1);
/// Connections in the pools of databases' clients may be silent for so long: longer than `wait_timeout` of MariaDB, which
/// is 8 hours. Whether somebody is there is seen by TCP keep-alive.
const POOLED: Duration = Duration::from_secs(24 * 3600);
/// To reset sessions.
const RESET: Duration = Duration::from_millis(50);
/// A look at files that takes longer is told of.
const SLOW: Duration = Duration::from_secs(5);

pub struct Proxying {
    proxies: Proxies,
    steering: Vec<Steering>,
    /// One for all, and for as long as the process lives: clients resume whatever was reloaded.
    ticketer: Arc<dyn ProducesTickets>,
    /// What is configured, in force or not.
    wanted: Vec<config::Proxy>,
    relays: Vec<Plan>,
    tls: BTreeMap<String, Tls>,
    /// By file; `None` is standard output.
    logs: BTreeMap<Option<PathBuf>, Arc<Writer>>,
    /// What could not be set up, by what it is.
    failed: BTreeMap<String, Trouble>,
    reader: Reader,
    /// What was read for the configuration that comes next.
    fresh: Vec<Looked>,
    look: Look,
}

/// The look at all files that is under way; there is one at a time.
struct Look {
    since: Option<Instant>,
    /// It began before something newer was read: what it finds is not taken.
    outdated: bool,
    answers: (mpsc::Sender<Vec<Looked>>, mpsc::Receiver<Vec<Looked>>),
}

/// TLS of one proxy.
struct Tls {
    files: Vec<PathBuf>,
    /// `None`: nothing good has been read yet.
    resolver: Option<Arc<Resolver>>,
    /// Stamp of what is in force.
    read: Option<u64>,
    /// Stamp of the last look.
    seen: u64,
    /// Why what the files say is not in force.
    why: Option<String>,
}

impl Tls {
    const fn new(files: Vec<PathBuf>) -> Self {
        Self {
            files,
            resolver: None,
            read: None,
            seen: 0,
            why: None,
        }
    }

    /// True: these are its first. What is no good is not taken, and read again until it is, whatever made it good.
    fn take(&mut self, looked: Looked) -> bool {
        self.seen = looked.seen;
        match looked.loaded {
            None => {
                if self.read == Some(self.seen) {
                    // As they were, for example when they can be reached again.
                    self.why = None;
                }
                false
            }
            Some(Err(errors)) => {
                self.why = Some(errors.join("; "));
                false
            }
            Some(Ok(certificates)) => {
                (self.read, self.why) = (Some(self.seen), None);
                match &self.resolver {
                    Some(resolver) => {
                        resolver.swap(certificates);
                        false
                    }
                    None => {
                        self.resolver = Some(Arc::new(Resolver::new(certificates)));
                        true
                    }
                }
            }
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        let why = self.why.as_ref()?;
        Some(match self.resolver {
            None => Trouble::Unserved(why.clone()),
            Some(_) => Trouble::Limited(format!(
                "the new certificates are no good, the old ones are in force: {why}"
            )),
        })
    }
}

impl Proxying {
    /// Starts a thread for each CPU, and one that reads certificates.
    pub fn start(
        inherited: Vec<TcpListener>,
        keeper: Arc<dyn Keeper>,
        ticketer: Arc<dyn ProducesTickets>,
    ) -> anyhow::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            proxies: Proxies::start(threads, inherited, keeper)
                .context("cannot start the threads of the proxy")?,
            steering: Vec::new(),
            ticketer,
            wanted: Vec::new(),
            relays: Vec::new(),
            tls: BTreeMap::new(),
            logs: BTreeMap::new(),
            failed: BTreeMap::new(),
            reader: Reader::start()?,
            fresh: Vec::new(),
            look: Look {
                since: None,
                outdated: false,
                // One that is under way, and some of those that were asked for meanwhile.
                answers: mpsc::channel(4),
            },
        })
    }

    /// Whether all that the proxies of a configuration need can be read; [`Proxying::configure`] takes it from there.
    ///
    /// # Errors
    /// What is wrong, a line each.
    pub fn check(&mut self, config: &Config) -> Result<(), String> {
        self.fresh.clear();
        let wanted: Vec<_> = with_tls(config).map(wanted_now).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let looked = self.reader.wait(wanted).ok_or_else(no_answer)?;
        let mut wrong = Vec::new();
        for Looked { proxy, loaded, .. } in &looked {
            if let Some(Err(errors)) = loaded {
                wrong.extend(errors.iter().map(|error| format!("proxy {proxy}: {error}")));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong.join("\n"));
        }
        self.fresh = looked;
        Ok(())
    }

    /// Puts a configuration in force. A proxy whose certificates cannot be read goes on as it was, and follows when they can.
    pub fn configure(&mut self, config: &Config) {
        let silence = config.director.flow_timeouts.established;
        let services = config.services.iter();
        self.relays = services
            .filter(|service| !service.forward.is_in_kernel())
            .map(|service| Plan::relay(service, silence))
            .chain(config.steered().map(|tier| Plan::tier(&tier, POOLED)))
            .collect();
        self.wanted.clone_from(&config.proxies);
        self.tls
            .retain(|name, _| with_tls(config).any(|proxy| proxy.name == *name));
        let mut fresh = std::mem::take(&mut self.fresh);
        let is_known = |proxy: &&config::Proxy| {
            let fresh = fresh.iter().any(|looked| looked.is_of(proxy));
            let known = self.tls.get(&proxy.name);
            fresh || known.is_some_and(|tls| tls.files == proxy.certificates)
        };
        let missing: Vec<_> = with_tls(config).filter(|proxy| !is_known(proxy)).collect();
        if !missing.is_empty() {
            let wanted = missing.into_iter().map(wanted_now).collect();
            fresh.extend(self.reader.wait(wanted).into_iter().flatten());
        }
        self.look.outdated |= self.look.since.is_some() && !fresh.is_empty();
        for proxy in with_tls(config) {
            let files = &proxy.certificates;
            let tls = self
                .tls
                .entry(proxy.name.clone())
                .or_insert_with(|| Tls::new(files.clone()));
            let at = fresh.iter().position(|looked| looked.is_of(proxy));
            if tls.files != *files {
                tls.files.clone_from(files);
                tls.read = None;
            }
            match at {
                Some(at) => _ = tls.take(fresh.swap_remove(at)),
                None if tls.read.is_none() && tls.why.is_none() => tls.why = Some(no_answer()),
                None => {}
            }
        }
        let logs = config
            .proxies
            .iter()
            .filter_map(|proxy| proxy.access_log.as_ref());
        let wanted: Vec<_> = logs.map(|log| &log.file).collect();
        // Requests that are under way still have theirs.
        self.logs.retain(|file, _| wanted.contains(&file));
        for log in self.logs.values() {
            // For whoever has renamed the file.
            log.reopen();
        }
        self.apply();
    }

    fn apply(&mut self) {
        let mut plans = self.relays.clone();
        let mut spared = Vec::new();
        self.failed.clear();
        for proxy in self.wanted.clone() {
            match self.tls_of(&proxy) {
                Ok(tls) => plans.push(Plan {
                    tls,
                    relay: None,
                    log: self.log(&proxy),
                    config: proxy,
                }),
                Err(NotReady) => spared.push(proxy),
            }
        }
        self.proxies.configure(plans, &spared);
        self.proxies.steer(&self.steering);
    }

    /// Where the proxy's access log goes.
    fn log(&mut self, proxy: &config::Proxy) -> Option<Log> {
        let wanted = proxy.access_log.as_ref()?;
        let writer = match self.logs.get(&wanted.file) {
            Some(known) => Arc::clone(known),
            None => match Writer::start(wanted.file.clone()) {
                Ok(new) => {
                    let new = Arc::new(new);
                    self.logs.insert(wanted.file.clone(), Arc::clone(&new));
                    new
                }
                Err(error) => {
                    let what = format!("access log of proxy {}", proxy.name);
                    let why = format!("cannot start its thread: {error}");
                    self.failed.insert(what, Trouble::Limited(why));
                    return None;
                }
            },
        };
        Some(Log {
            format: wanted.format,
            writer,
        })
    }

    fn tls_of(&mut self, proxy: &config::Proxy) -> Result<Option<Arc<ServerConfig>>, NotReady> {
        if proxy.certificates.is_empty() {
            return Ok(None);
        }
        let tls = self.tls.get(&proxy.name).ok_or(NotReady)?;
        let resolver = Arc::clone(tls.resolver.as_ref().ok_or(NotReady)?);
        let made = server_config(proxy, resolver, Arc::clone(&self.ticketer));
        made.map(Some).map_err(|error| {
            let what = format!("proxy {}", proxy.name);
            self.failed
                .insert(what, Trouble::Unserved(error.to_string()));
            NotReady
        })
    }

    /// Has the files of certificates looked at. Those that are others now, and were so a look ago, are read anew.
    pub fn look(&mut self) {
        if self.look.since.is_some() || self.tls.is_empty() {
            return;
        }
        let wanted = self.tls.iter().map(|(name, tls)| Wanted {
            proxy: name.clone(),
            files: tls.files.clone(),
            when: When::Changed {
                read: tls.read,
                seen: tls.seen,
            },
        });
        let answers = self.look.answers.0.clone();
        self.look.since = Some(Instant::now());
        self.reader.look(wanted.collect(), move |looked| {
            // There is room: only one is under way. Where nobody listens, the process ends.
            let _sent = answers.try_send(looked);
        });
    }

    /// As [`Proxying::look`], at once and whole: somebody says that there is a new file, and that it will not change.
    pub fn look_now(&mut self) {
        // What is under way may have begun before the file was there.
        self.look.outdated = self.look.since.is_some();
        let wanted = self.tls.iter().map(|(name, tls)| Wanted {
            proxy: name.clone(),
            files: tls.files.clone(),
            when: When::Now,
        });
        let answers = self.look.answers.0.clone();
        self.look.since = Some(Instant::now());
        self.reader.look(wanted.collect(), move |looked| {
            // Where there is no room, others have just been found, and the next look is a second away.
            let _sent = answers.try_send(looked);
        });
    }

    /// What the last look has found, when it has; for [`Proxying::take`]. Can be dropped at any time.
    pub async fn looked(&mut self) -> Vec<Looked> {
        match self.look.answers.1.recv().await {
            Some(looked) => looked,
            // A sender is kept beside.
            None => std::future::pending().await,
        }
    }

    pub fn take(&mut self, all: Vec<Looked>) {
        self.look.since = None;
        if std::mem::take(&mut self.look.outdated) {
            return;
        }
        let mut are_first = false;
        for looked in all {
            let name = looked.proxy.clone();
            let Some(tls) = self.tls.get_mut(&name) else {
                continue;
            };
            if tls.files != looked.files {
                continue;
            }
            let is_good = matches!(looked.loaded, Some(Ok(_)));
            are_first |= tls.take(looked);
            if is_good {
                tracing::info!(proxy = name, "new certificates are in force");
            }
        }
        if are_first {
            self.apply();
        }
    }

    /// Of all proxies, by name.
    pub fn certificates(&self) -> BTreeMap<String, Vec<Info>> {
        let all = self.tls.iter();
        all.filter_map(|(name, tls)| Some((name.clone(), tls.resolver.as_ref()?.infos())))
            .collect()
    }

    /// Where the configuration has certificates.
    pub fn certificate_paths(&self) -> Vec<PathBuf> {
        let wanted = self.wanted.iter();
        wanted
            .flat_map(|proxy| proxy.certificates.iter().cloned())
            .collect()
    }

    pub fn steer(&mut self, steering: Vec<Steering>) {
        self.proxies.steer(&steering);
        self.steering = steering;
    }

    pub fn readings(&self) -> Readings {
        self.proxies.readings()
    }

    /// Connections of clients that are open.
    pub fn sessions(&self) -> Vec<OpenSession> {
        self.proxies.sessions()
    }

    /// Ends one of them, and says which it was.
    pub fn cut(&self, id: u64) -> Option<OpenSession> {
        self.proxies.cut(id)
    }

    /// What does not work, by what it is.
    pub fn problems(&self) -> BTreeMap<String, Trouble> {
        let mut problems = self.failed.clone();
        for (name, tls) in &self.tls {
            let trouble = tls.trouble();
            problems.extend(trouble.map(|trouble| (format!("proxy {name}"), trouble)));
        }
        for (file, log) in &self.logs {
            let users = self.wanted.iter().filter(|proxy| {
                let log = proxy.access_log.as_ref();
                log.is_some_and(|log| log.file == *file)
            });
            let Some(why) = log.trouble() else { continue };
            problems.extend(users.map(|proxy| {
                let what = format!("access log of proxy {}", proxy.name);
                (what, Trouble::Limited(why.clone()))
            }));
        }
        let unreached = self.proxies.unreached().into_iter();
        problems.extend(unreached.map(|(server, why)| {
            let why = format!("its check passes, and connections for requests fail: {why}");
            (format!("server {server}"), Trouble::Limited(why))
        }));
        let unheard = self.proxies.unheard().into_iter();
        problems
            .extend(unheard.map(|(address, why)| (address.to_string(), Trouble::Unserved(why))));
        if self.look.since.is_some_and(|since| since.elapsed() >= SLOW) {
            let why = format!(
                "their files could not be looked at for {} seconds: the disk does not answer; those that were read stay in \
                 force",
                SLOW.as_secs()
            );
            problems.insert("certificates of proxies".to_owned(), Trouble::Limited(why));
        }
        problems
    }

    /// Asks clients to go; ready when they have gone, or have had their time.
    pub fn drain(&self) -> impl Future<Output = ()> + use<> {
        self.proxies.drain(DRAIN)
    }

    /// Before the process ends. `is_replaced`: those who came last have their time, for the addresses are still here.
    pub fn close(&self, is_replaced: bool) -> impl Future<Output = ()> + use<> {
        self.proxies.close(if is_replaced { LAST } else { RESET })
    }
}

/// No certificates to serve it with, or none that TLS takes.
struct NotReady;

fn with_tls(config: &Config) -> impl Iterator<Item = &config::Proxy> {
    let proxies = config.proxies.iter();
    proxies.filter(|proxy| !proxy.certificates.is_empty())
}

fn wanted_now(proxy: &config::Proxy) -> Wanted {
    Wanted {
        proxy: proxy.name.clone(),
        files: proxy.certificates.clone(),
        when: When::Now,
    }
}

#[cfg(test)]
mod tests;
