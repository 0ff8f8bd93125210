//! Proxies and services in user mode: their configuration, their certificates, and what goes to and from the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::server::ProducesTickets;

use crate::config::{self, Config};
use crate::proxy::log::Writer;
use crate::proxy::{Certificates, Info, Log, Plan, Proxies, Readings, Resolver, Steering};
use crate::proxy::{server_config, stamp};

/// Clients that are served when the process is to end have so long.
const DRAIN: Duration = Duration::from_secs(5);

pub struct Proxying {
    proxies: Proxies,
    steering: Vec<Steering>,
    /// One for all, and for as long as the process lives: clients resume whatever was reloaded.
    ticketer: Arc<dyn ProducesTickets>,
    tls: BTreeMap<String, Tls>,
    /// By file; `None` is standard output.
    logs: BTreeMap<Option<PathBuf>, Arc<Writer>>,
    /// What is not in force, by what it is, and why.
    problems: BTreeMap<String, String>,
}

/// TLS of one proxy.
struct Tls {
    files: Vec<PathBuf>,
    resolver: Arc<Resolver>,
    /// Of the files when they were read, and when they were last looked at: what changes still is not read yet.
    read: u64,
    seen: u64,
}

impl Proxying {
    /// Starts a thread for each CPU.
    pub fn start(ticketer: Arc<dyn ProducesTickets>) -> anyhow::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            proxies: Proxies::start(threads).context("cannot start the threads of the proxy")?,
            steering: Vec::new(),
            ticketer,
            tls: BTreeMap::new(),
            logs: BTreeMap::new(),
            problems: BTreeMap::new(),
        })
    }

    /// Whether all that the proxies of a configuration need can be read.
    ///
    /// # Errors
    /// What is wrong, a line each.
    pub fn check(config: &Config) -> Result<(), String> {
        let mut wrong = Vec::new();
        for proxy in &config.proxies {
            if let Err(errors) = Certificates::load(&proxy.certificates) {
                let name = &proxy.name;
                wrong.extend(errors.iter().map(|error| format!("proxy {name}: {error}")));
            }
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(wrong.join("\n")),
        }
    }

    /// Puts a configuration in force. A proxy whose certificates cannot be read goes on as it was.
    pub fn configure(&mut self, config: &Config) {
        let silence = config.director.flow_timeouts.established;
        let services = config.services.iter();
        let mut plans: Vec<Plan> = services
            .filter(|service| !service.forward.is_in_kernel())
            .map(|service| Plan::relay(service, silence))
            .collect();
        let mut spared = Vec::new();
        self.problems.clear();
        for proxy in &config.proxies {
            match self.tls(proxy) {
                Ok(tls) => plans.push(Plan {
                    config: proxy.clone(),
                    tls,
                    relay: None,
                    log: self.log(proxy),
                }),
                Err(why) => {
                    spared.push(proxy.name.clone());
                    self.problems.insert(format!("proxy {}", proxy.name), why);
                }
            }
        }
        self.tls
            .retain(|name, _| config.proxies.iter().any(|proxy| proxy.name == *name));
        self.proxies.configure(plans, &spared);
        self.proxies.steer(&self.steering);
    }

    /// Where the proxy's access log goes. A file is opened anew, for whoever has renamed it.
    fn log(&mut self, proxy: &config::Proxy) -> Option<Log> {
        let wanted = proxy.access_log.as_ref()?;
        let writer = match self.logs.get(&wanted.file) {
            Some(known) => {
                known.reopen();
                Arc::clone(known)
            }
            None => match Writer::start(wanted.file.clone()) {
                Ok(new) => {
                    let new = Arc::new(new);
                    self.logs.insert(wanted.file.clone(), Arc::clone(&new));
                    new
                }
                Err(error) => {
                    let file = wanted.file.as_ref().map(|file| file.display().to_string());
                    let what = format!("access log of proxy {}", proxy.name);
                    let why = format!("{}: {error}", file.unwrap_or_default());
                    self.problems.insert(what, why);
                    return None;
                }
            },
        };
        Some(Log {
            format: wanted.format,
            writer,
        })
    }

    fn tls(&mut self, proxy: &config::Proxy) -> Result<Option<Arc<ServerConfig>>, String> {
        if proxy.certificates.is_empty() {
            self.tls.remove(&proxy.name);
            return Ok(None);
        }
        let files = proxy.certificates.clone();
        let seen = stamp(&files);
        let certificates = Certificates::load(&files).map_err(|errors| in_words(&errors))?;
        let tls = match self.tls.get_mut(&proxy.name) {
            Some(known) => {
                known.resolver.swap(certificates);
                (known.files, known.read, known.seen) = (files, seen, seen);
                known
            }
            None => {
                let new = Tls {
                    files,
                    resolver: Arc::new(Resolver::new(certificates)),
                    read: seen,
                    seen,
                };
                self.tls.entry(proxy.name.clone()).or_insert(new)
            }
        };
        let resolver = Arc::clone(&tls.resolver);
        server_config(proxy, resolver, Arc::clone(&self.ticketer))
            .map(Some)
            .map_err(|error| error.to_string())
    }

    /// Certificates whose files are others now, and were so a look ago, are read anew. Those that are no good are not taken.
    pub fn look(&mut self) {
        for (name, tls) in &mut self.tls {
            let before = tls.seen;
            tls.seen = stamp(&tls.files);
            if tls.seen == tls.read || tls.seen != before {
                continue;
            }
            tls.read = tls.seen;
            let what = format!("proxy {name}");
            match Certificates::load(&tls.files) {
                Ok(certificates) => {
                    tls.resolver.swap(certificates);
                    self.problems.remove(&what);
                    tracing::info!(proxy = name, "new certificates are in force");
                }
                Err(errors) => {
                    let why = format!(
                        "the new certificates are no good, the old ones are in force: {}",
                        in_words(&errors)
                    );
                    self.problems.insert(what, why);
                }
            }
        }
    }

    /// Of all proxies, by name.
    pub fn certificates(&self) -> BTreeMap<String, Vec<Info>> {
        let all = self.tls.iter();
        all.map(|(name, tls)| (name.clone(), tls.resolver.infos()))
            .collect()
    }

    pub fn steer(&mut self, steering: Vec<Steering>) {
        self.proxies.steer(&steering);
        self.steering = steering;
    }

    pub fn readings(&self) -> Readings {
        self.proxies.readings()
    }

    /// What does not work, by what it is.
    pub fn problems(&self) -> BTreeMap<String, String> {
        let unheard = self.proxies.unheard().into_iter();
        let mut problems = self.problems.clone();
        problems.extend(unheard.map(|(address, why)| (address.to_string(), why)));
        problems
    }

    /// Clients go before the process does.
    pub async fn drain(&self) {
        self.proxies.drain(DRAIN).await;
    }
}

fn in_words(errors: &[crate::proxy::CertificateError]) -> String {
    let words: Vec<_> = errors.iter().map(ToString::to_string).collect();
    words.join("; ")
}
