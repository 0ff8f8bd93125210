//! What operators set of a service as a whole: that it takes nobody, and how many clients it has at most.

use serde::{Deserialize, Serialize};

use super::core::{Engine, ServiceState};
use super::{Action, Now, Refusal};
use crate::config::{Config, ProxyLimits};

/// At most so many clients at a time, in place of what the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCap {
    pub by: String,
    /// 0: as many as come.
    pub most: u32,
    /// What the file said when this was set: it holds until the file says something else.
    pub file: u32,
}

impl ClientCap {
    pub fn words(&self) -> String {
        let most = match self.most {
            0 => "any number of clients".to_owned(),
            most => format!("at most {most} clients"),
        };
        format!("{most} (file: {})", self.file)
    }
}

/// How many clients a service in user mode has at most, as the file says.
pub(super) fn most_clients(config: &Config, service: &str) -> u32 {
    let mut proxies = config.proxies.iter();
    let proxy = proxies.find(|proxy| proxy.name == service);
    let limits = proxy.map_or_else(ProxyLimits::default, |proxy| proxy.limits);
    limits.connections
}

impl Engine {
    /// Has a service in user mode have at most so many clients. Those that it has go on.
    ///
    /// # Errors
    /// There is no such service, or it is in the kernel, which has no such limit.
    pub(super) fn cap_clients(
        &mut self,
        service: &str,
        most: u32,
        by: &str,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<String, Refusal> {
        let file = most_clients(&self.config, service);
        let known = self.service_mut(service)?;
        if known.config.forward.is_in_kernel() {
            return Err(Refusal::NoClientCap);
        }
        let cap = ClientCap {
            by: by.to_owned(),
            most,
            file,
        };
        let text = format!("{}, by {by}", cap.words());
        known.cap = Some(cap).filter(|cap| cap.most != file);
        self.record(now, service, "set", text.clone(), actions);
        Ok(format!("{service}: {text}"))
    }

    fn service_mut(&mut self, name: &str) -> Result<&mut ServiceState, Refusal> {
        let mut services = self.services.iter_mut();
        let known = services.find(|known| known.config.name == name);
        known.ok_or(Refusal::NoSuchService)
    }

    /// Has a service take new clients, or nobody. Those that it has go on.
    ///
    /// # Errors
    /// There is no such service.
    pub(super) fn pause(
        &mut self,
        service: &str,
        takes: bool,
        by: &str,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<String, Refusal> {
        let known = self.service_mut(service)?;
        if known.shut {
            return Err(Refusal::Shut(takes));
        }
        if known.paused.is_none() == takes {
            return Err(Refusal::PausedAlready(!takes));
        }
        known.paused = (!takes).then(|| by.to_owned());
        let text = match takes {
            true => format!("takes new clients again, by {by}"),
            false => format!("takes no new clients, by {by}"),
        };
        let kind = if takes { "enabled" } else { "disabled" };
        self.record(now, service, kind, text.clone(), actions);
        self.tell_usable(now, actions);
        Ok(format!("{service}: {text}"))
    }

    /// As [`Engine::pause`], and not to be undone before the next start. What outlives that is that it takes nobody: nothing
    /// comes back by itself.
    ///
    /// # Errors
    /// There is no such service, or it is shut down.
    pub(super) fn shut(
        &mut self,
        service: &str,
        by: &str,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<String, Refusal> {
        let known = self.service_mut(service)?;
        if std::mem::replace(&mut known.shut, true) {
            return Err(Refusal::ShutAlready);
        }
        known.paused = Some(by.to_owned());
        let text = format!("shut down by {by}: takes no new clients");
        self.record(now, service, "disabled", text.clone(), actions);
        self.tell_usable(now, actions);
        Ok(format!("{service}: {text}"))
    }
}
