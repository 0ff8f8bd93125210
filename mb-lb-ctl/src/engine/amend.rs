//! Servers that operators add, take out or move at run time, without the file: amendments to it.
//!
//! The configuration in force is the file with its amendments, put in force by the same code as a reload, so that nothing is
//! cut that a reload would not cut. An amendment outlives the process, and is shown until it is undone: by its contrary, or by a
//! file that says something new of that server.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::change::set_admin;
use super::core::Engine;
use super::{Action, Now, Refusal, ServerRef};
use crate::config::{Config, ProxyServer, Server};
use crate::snapshot::AdminState;

/// Most of them: beyond that the file is the place.
const MOST: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amendment {
    pub by: String,
    /// What the file said of the server then; `None`: nothing.
    #[serde(default)]
    file: Option<String>,
    what: Amended,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Amended {
    Added(Added),
    Removed,
    Moved { address: IpAddr, port: Option<u16> },
}

/// A server that is in no file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    pub address: IpAddr,
    /// `None`: the one that clients connect to. A server of a proxy needs one.
    pub port: Option<u16>,
    pub weight: u16,
    pub max_connections: Option<u32>,
    pub backup: bool,
}

impl Amendment {
    /// A stable word.
    pub const fn word(&self) -> &'static str {
        match &self.what {
            Amended::Added(_) => "added",
            Amended::Removed => "removed",
            Amended::Moved { .. } => "moved",
        }
    }

    /// In words, for people.
    pub fn words(&self) -> String {
        match &self.what {
            Amended::Added(_) => format!("was added by {}, and is in no file", self.by),
            Amended::Removed => format!("was taken out by {}, and is in the file", self.by),
            Amended::Moved { address, port } => {
                let port = port.map_or_else(String::new, |port| format!(" port {port}"));
                format!("was moved to {address}{port} by {}", self.by)
            }
        }
    }
}

/// What the configuration has of a server.
enum Known<'c> {
    Service(&'c Server),
    Proxy(&'c ProxyServer),
}

impl Known<'_> {
    fn text(&self) -> String {
        let text = match self {
            Self::Service(server) => serde_json::to_string(server),
            Self::Proxy(server) => serde_json::to_string(server),
        };
        text.expect("a server is plain data")
    }
}

fn find<'c>(config: &'c Config, target: &ServerRef) -> Option<Known<'c>> {
    let services = config.services.iter();
    let mut services = services.filter(|service| service.name == target.service);
    let mut proxies = config
        .proxies
        .iter()
        .filter(|proxy| proxy.name == target.service);
    if let Some(service) = services.next() {
        let mut servers = service.servers.iter();
        return servers
            .find(|server| server.name == target.server)
            .map(Known::Service);
    }
    let mut servers = proxies.next()?.servers.iter();
    servers
        .find(|server| server.name == target.server)
        .map(Known::Proxy)
}

fn apply(config: &mut Config, target: &ServerRef, what: &Amended) {
    let mut services = config.services.iter_mut();
    if let Some(service) = services.find(|service| service.name == target.service) {
        let at = service
            .servers
            .iter()
            .position(|server| server.name == target.server);
        match (what, at) {
            (Amended::Added(added), at) => {
                let server = Server {
                    name: target.server.clone(),
                    address: added.address,
                    weight: added.weight,
                    max_connections: added.max_connections,
                    backup: added.backup,
                    port: added.port,
                    send_proxy: None,
                };
                match at {
                    Some(at) => service.servers[at] = server,
                    None => service.servers.push(server),
                }
            }
            (Amended::Removed, Some(at)) => {
                service.servers.remove(at);
            }
            (Amended::Moved { address, port }, Some(at)) => {
                service.servers[at].address = *address;
                service.servers[at].port = port.or(service.servers[at].port);
            }
            _ => {}
        }
        return;
    }
    let mut proxies = config.proxies.iter_mut();
    let Some(proxy) = proxies.find(|proxy| proxy.name == target.service) else {
        return;
    };
    let at = proxy
        .servers
        .iter()
        .position(|server| server.name == target.server);
    match (what, at) {
        (Amended::Added(added), at) => {
            // As the file has it, or as the others are spoken to.
            let Some(like) = proxy.servers.get(at.unwrap_or(0)).cloned() else {
                return;
            };
            let server = ProxyServer {
                name: target.server.clone(),
                address: (added.address, added.port.unwrap_or(like.address.port())).into(),
                cookie: like.cookie.as_ref().map(|_| target.server.clone()),
                weight: added.weight,
                max_connections: added.max_connections,
                backup: added.backup,
                ..like
            };
            match at {
                Some(at) => proxy.servers[at] = server,
                None => proxy.servers.push(server),
            }
        }
        (Amended::Removed, Some(at)) => {
            proxy.servers.remove(at);
        }
        (Amended::Moved { address, port }, Some(at)) => {
            let server = &mut proxy.servers[at];
            let port = port.unwrap_or(server.address.port());
            server.address = (*address, port).into();
        }
        _ => {}
    }
}

impl Engine {
    /// The file with what operators have amended.
    pub(super) fn amended(&self, file: &Config) -> Config {
        let mut config = file.clone();
        for (name, amendment) in &self.amendments {
            apply(&mut config, name, &amendment.what);
        }
        config
    }

    /// Drops amendments of servers of which the file says something new.
    pub(super) fn drop_amendments(&mut self, file: &Config, now: Now, actions: &mut Vec<Action>) {
        let holds = |name: &ServerRef, amendment: &Amendment| {
            let known = find(file, name).map(|known| known.text());
            let is_there = file
                .services
                .iter()
                .any(|service| service.name == name.service)
                || file.proxies.iter().any(|proxy| proxy.name == name.service);
            is_there && known == amendment.file
        };
        let dropped: Vec<_> = self
            .amendments
            .iter()
            .filter(|(name, amendment)| !holds(name, amendment))
            .map(|(name, amendment)| (name.clone(), amendment.words()))
            .collect();
        for (name, words) in dropped {
            self.amendments.remove(&name);
            let subject = format!("{}/{}", name.service, name.server);
            let text = format!("it {words}: over, the file says something new of it");
            self.record(now, &subject, "amended", text, actions);
        }
    }

    /// Adds a server, in maintenance.
    ///
    /// # Errors
    /// There is one, or no such service, or no room.
    pub(super) fn add_server(
        &mut self,
        target: &ServerRef,
        added: &Added,
        by: &str,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<String, Refusal> {
        self.amendable(target)?;
        if find(&self.config, target).is_some() {
            return Err(Refusal::Exists);
        }
        let servers = self
            .services
            .iter()
            .find(|service| service.config.name == target.service);
        let count = servers.map_or(0, |service| service.servers.len());
        if count >= mb_lb_common::MAX_SERVERS_PER_SERVICE as usize || self.amendments.len() >= MOST
        {
            return Err(Refusal::NoRoom);
        }
        self.may_have(target, added.address, added.port)?;
        self.amend(target, Amended::Added(added.clone()), by, now, actions);
        let text = format!("added at {} by {by}, in maintenance", added.address);
        if let Some((service, server)) = self.find_mut(target) {
            set_admin(
                server,
                &service,
                AdminState::Maint,
                by,
                "added at run time",
                now,
            );
        }
        self.tell_peer_of(target, now, actions);
        self.tell_amended(target, text, now, actions)
    }

    /// Takes a server out that is in maintenance.
    ///
    /// # Errors
    /// It is not in maintenance, or the last one, or there is none.
    pub(super) fn remove_server(
        &mut self,
        target: &ServerRef,
        by: &str,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<String, Refusal> {
        self.amendable(target)?;
        let (_, server) = self.find_mut(target).ok_or(Refusal::NoSuchServer)?;
        if server.admin != AdminState::Maint {
            return Err(Refusal::NotInMaintenance);
        }
        let services = self.services.iter();
        let mut services = services.filter(|service| service.config.name == target.service);
        if services
            .next()
            .is_none_or(|service| service.servers.len() < 2)
        {
            return Err(Refusal::LastServer);
        }
        match find(&self.file, target).is_some() {
            true => self.amend(target, Amended::Removed, by, now, actions),
            false => {
                self.amendments.remove(target);
                self.put_in_force(now, actions);
            }
        }
        self.tell_amended(target, format!("taken out by {by}"), now, actions)
    }

    /// Gives a server another address, or another port.
    ///
    /// # Errors
    /// There is no such server, or its address is not its own.
    pub(super) fn move_server(
        &mut self,
        target: &ServerRef,
        address: Option<IpAddr>,
        port: Option<u16>,
        by: &str,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<String, Refusal> {
        self.amendable(target)?;
        let (service, server) = self.find_mut(target).ok_or(Refusal::NoSuchServer)?;
        if port.is_some() && service.forward.is_in_kernel() {
            return Err(Refusal::NoPort);
        }
        let from = service.address_of(&server.config);
        let address = address.unwrap_or(from.ip());
        self.may_have(target, address, port)?;
        let (service, server) = self.find_mut(target).ok_or(Refusal::NoSuchServer)?;
        let kept = (
            server.admin,
            server.by.clone(),
            server.reason.clone(),
            server.weight,
        );
        let before = self.amendments.get(target).cloned();
        let what = match before.map(|before| before.what) {
            Some(Amended::Added(added)) => Amended::Added(Added {
                address,
                port: port.or(added.port),
                ..added
            }),
            _ => Amended::Moved {
                address,
                port: port.or((!service.forward.is_in_kernel()).then_some(from.port())),
            },
        };
        self.amend(target, what, by, now, actions);
        if let Some((service, server)) = self.find_mut(target) {
            // To the engine it is another server; to the operator it is not.
            let (admin, by, reason, weight) = kept;
            set_admin(server, &service, admin, &by, &reason, now);
            server.weight = weight;
        }
        let port = port.map_or_else(String::new, |port| format!(" port {port}"));
        let text = format!("moved from {} to {address}{port} by {by}", from.ip());
        self.tell_amended(target, text, now, actions)
    }

    /// What the configuration would refuse.
    fn may_have(
        &self,
        target: &ServerRef,
        address: IpAddr,
        port: Option<u16>,
    ) -> Result<(), Refusal> {
        let bad = |why: String| Err(Refusal::BadAddress(why));
        if address.is_unspecified() || address.is_multicast() {
            return bad(format!("{address} is not the address of one machine"));
        }
        if self.config.vips().any(|vip| vip == address) {
            return bad(format!("{address} is a VIP"));
        }
        let mut services = self.services.iter();
        let service = services.find(|service| service.config.name == target.service);
        let service = service.ok_or(Refusal::NoSuchService)?;
        let mut others = service
            .servers
            .iter()
            .filter(|server| server.config.name != target.server);
        let other = others.find(|server| {
            let at = service.config.address_of(&server.config);
            at.ip() == address && port.is_none_or(|port| port == at.port())
        });
        match other {
            Some(other) => bad(format!("{address} is that of {}", other.config.name)),
            None => Ok(()),
        }
    }

    fn amendable(&self, target: &ServerRef) -> Result<(), Refusal> {
        let is_tier = self.is_tier(&target.service);
        let mut services = self.services.iter();
        match services.any(|service| service.config.name == target.service) {
            false => Err(Refusal::NoSuchService),
            true if is_tier => Err(Refusal::OfTier),
            true => Ok(()),
        }
    }

    fn amend(
        &mut self,
        target: &ServerRef,
        what: Amended,
        by: &str,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let file = find(&self.file, target).map(|known| known.text());
        let amendment = Amendment {
            by: by.to_owned(),
            file,
            what,
        };
        self.amendments.insert(target.clone(), amendment);
        // Back to what the file says is no amendment.
        let amended = self.amended(&self.file);
        let now_said = find(&amended, target).map(|known| known.text());
        if now_said == find(&self.file, target).map(|known| known.text()) {
            self.amendments.remove(target);
        }
        self.put_in_force(now, actions);
    }

    fn tell_amended(
        &mut self,
        target: &ServerRef,
        text: String,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<String, Refusal> {
        let subject = format!("{}/{}", target.service, target.server);
        self.record(now, &subject, "amended", text.clone(), actions);
        self.tell_usable(now, actions);
        Ok(format!("{subject}: {text}"))
    }
}
