//! `clear counters`: what the counters were at that time, so that the socket can show what came since.
//!
//! Nothing is cleared where it is counted. The kernel's counts are what the balance goes by, and `status`, metrics and the
//! other clients of the snapshot see them as they are; only HAProxy's commands show less.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::snapshot::{RelayedView, ServerView, ServiceView, Snapshot};

/// Service and server.
type Key = (String, String);

/// What was there at the last `clear counters`, and the highest values since.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cleared {
    /// `None`: nothing was cleared.
    maxima: Option<BTreeMap<Key, Maxima>>,
    /// Of `clear counters all`.
    servers: BTreeMap<Key, ServerView>,
    services: BTreeMap<String, ServiceView>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Maxima {
    active: i64,
    rate: u64,
}

impl Cleared {
    /// Maxima begin anew; with `all`, so does everything else that only grows.
    pub fn clear(&mut self, snapshot: &Snapshot, all: bool) {
        self.maxima = Some(BTreeMap::new());
        self.observe(snapshot);
        if all {
            let servers = each_server(snapshot);
            self.servers = servers.map(|(key, server)| (key, server.clone())).collect();
            let services = snapshot.services.iter();
            self.services = services
                .map(|service| (service.name.clone(), service.clone()))
                .collect();
        }
    }

    /// Of every snapshot, so that no maximum is missed that the engine has seen.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        let Some(maxima) = &mut self.maxima else {
            return;
        };
        for (key, server) in each_server(snapshot) {
            let known = maxima.entry(key).or_default();
            known.active = known.active.max(server.active);
            known.rate = known.rate.max(server.rate);
        }
    }

    /// The snapshot with what came since.
    pub fn since<'s>(&self, snapshot: &'s Snapshot) -> Cow<'s, Snapshot> {
        let Some(maxima) = &self.maxima else {
            return Cow::Borrowed(snapshot);
        };
        let mut snapshot = snapshot.clone();
        for service in &mut snapshot.services {
            for server in &mut service.servers {
                let key = (service.name.clone(), server.name.clone());
                let highest = maxima.get(&key).copied().unwrap_or_default();
                server.active_max = highest.active.max(server.active);
                server.rate_max = highest.rate.max(server.rate);
                if let Some(then) = self.servers.get(&key) {
                    subtract(server, then);
                }
            }
            if let Some(then) = self.services.get(&service.name) {
                service.downs = since(service.downs, then.downs);
                if let (Some(clients), Some(then)) = (&mut service.clients, &then.clients) {
                    clients.connections = since(clients.connections, then.connections);
                    clients.requests = since(clients.requests, then.requests);
                    for (now, then) in clients.handshakes.iter_mut().zip(then.handshakes) {
                        *now = since(*now, then);
                    }
                }
            }
        }
        Cow::Owned(snapshot)
    }
}

fn each_server(snapshot: &Snapshot) -> impl Iterator<Item = (Key, &ServerView)> {
    snapshot.services.iter().flat_map(|service| {
        let servers = service.servers.iter();
        servers.map(|server| ((service.name.clone(), server.name.clone()), server))
    })
}

fn subtract(server: &mut ServerView, then: &ServerView) {
    server.opened = since(server.opened, then.opened);
    server.bytes = since(server.bytes, then.bytes);
    server.packets = since(server.packets, then.packets);
    if let (Some(check), Some(then)) = (&mut server.check, &then.check) {
        check.failures = since(check.failures, then.failures);
        check.falls = since(check.falls, then.falls);
    }
    if let (Some(now), Some(then)) = (&mut server.relayed, then.relayed) {
        *now = RelayedView {
            connect_errors: since(now.connect_errors, then.connect_errors),
            response_errors: since(now.response_errors, then.response_errors),
            retries: since(now.retries, then.retries),
            redispatches: since(now.redispatches, then.redispatches),
            statuses: std::array::from_fn(|class| since(now.statuses[class], then.statuses[class])),
        };
    }
}

/// A counter that is lower than it was began anew, as that of a server that was removed and came back.
const fn since(now: u64, then: u64) -> u64 {
    match now.checked_sub(then) {
        Some(difference) => difference,
        None => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(active: i64, opened: u64) -> Snapshot {
        Snapshot {
            services: vec![ServiceView {
                name: "smtp".into(),
                servers: vec![ServerView {
                    name: "mb1".into(),
                    active,
                    active_max: 90,
                    opened,
                    rate_max: 80,
                    ..ServerView::default()
                }],
                ..ServiceView::default()
            }],
            ..Snapshot::default()
        }
    }

    fn server(cleared: &Cleared, snapshot: &Snapshot) -> (i64, u64, u64) {
        let shown = cleared.since(snapshot);
        let server = &shown.services[0].servers[0];
        (server.active_max, server.rate_max, server.opened)
    }

    #[test]
    fn maxima_begin_anew_and_counters_only_with_all() {
        let mut cleared = Cleared::default();
        assert_eq!(server(&cleared, &snapshot(5, 100)), (90, 80, 100));
        cleared.clear(&snapshot(5, 100), false);
        assert_eq!(server(&cleared, &snapshot(4, 101)), (5, 0, 101));
        cleared.observe(&snapshot(7, 102));
        assert_eq!(server(&cleared, &snapshot(4, 103)), (7, 0, 103));
        cleared.clear(&snapshot(4, 103), true);
        assert_eq!(server(&cleared, &snapshot(3, 110)), (4, 0, 7));
        // A server that came back counts from nothing.
        assert_eq!(server(&cleared, &snapshot(3, 2)), (4, 0, 2));
        // A later clear of maxima leaves the counters as they were shown.
        cleared.clear(&snapshot(3, 110), false);
        assert_eq!(server(&cleared, &snapshot(3, 110)), (3, 0, 7));
    }
}
