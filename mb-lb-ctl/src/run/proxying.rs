//! Proxies: their configuration, their certificates, and what goes to and from the engine.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::Config;
use crate::proxy::{Plan, Proxies, Readings, Steering};

/// Clients that are served when the process is to end have so long.
const DRAIN: Duration = Duration::from_secs(5);

pub struct Proxying {
    proxies: Proxies,
    steering: Vec<Steering>,
    /// Of the last configuration: why a proxy is not as it should be.
    problems: BTreeMap<String, String>,
}

impl Proxying {
    /// Starts a thread for each CPU.
    pub fn start() -> anyhow::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            proxies: Proxies::start(threads).context("cannot start the threads of the proxy")?,
            steering: Vec::new(),
            problems: BTreeMap::new(),
        })
    }

    /// Puts a configuration in force, as far as it can be.
    pub fn configure(&mut self, config: &Config) {
        let silence = config.director.flow_timeouts.established;
        let services = config.services.iter();
        let mut plans: Vec<Plan> = services
            .filter(|service| !service.forward.is_in_kernel())
            .map(|service| Plan::relay(service, silence))
            .collect();
        plans.extend(config.proxies.iter().map(|proxy| Plan {
            config: proxy.clone(),
            tls: None,
            relay: None,
        }));
        self.proxies.configure(plans, &[]);
        self.proxies.steer(&self.steering);
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
