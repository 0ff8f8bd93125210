//! What the kernel should hold, what it does hold, and the ordered operations between the two.
//!
//! The order is the promise: add before you point, unpoint before you remove. A packet that comes between two
//! operations finds either the old world or the new one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use mb_lb_common::{MAX_PORTS, Port, SERVER_ACCEPT, Server, Service, ServiceKey, TCP};

use crate::config::FlowTimeouts;
use crate::schedule::{self, PoolSpec, Tables};

/// What the engine wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Interface index to MAC address.
    pub ports: BTreeMap<u32, [u8; 6]>,
    pub listens: BTreeMap<ServiceKey, Service>,
    pub services: BTreeMap<u32, DesiredService>,
    /// By index; servers that were removed stay here until their last flow is gone.
    pub servers: BTreeMap<u32, Server>,
    pub timeouts: FlowTimeouts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    /// `SERVICE_*` bits.
    pub flags: u32,
    pub pool: PoolSpec,
}

/// What the kernel holds, or would hold: plain values, comparable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// By slot, `ifindex % MAX_PORTS`.
    pub ports: BTreeMap<u32, Port>,
    pub listens: BTreeMap<ServiceKey, Service>,
    pub services: BTreeMap<u32, ServiceImage>,
    pub servers: BTreeMap<u32, Server>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceImage {
    pub flags: u32,
    pub tables: Tables,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    SetPort {
        slot: u32,
        port: Port,
    },
    /// An index that was free: its counts start at zero.
    ResetCounts {
        index: u32,
    },
    SetServer {
        index: u32,
        server: Server,
    },
    /// Writes the pool that is not active, then makes it the active one.
    SwapPool {
        service: u32,
        image: ServiceImage,
    },
    SetFlags {
        service: u32,
        flags: u32,
    },
    SetListen {
        key: ServiceKey,
        service: Service,
    },
    RemoveListen {
        key: ServiceKey,
    },
    ClearService {
        service: u32,
    },
    ClearServer {
        index: u32,
        generation: u32,
    },
    ClearPort {
        slot: u32,
    },
}

impl Desired {
    /// The tables that this asks for. `known` is what is there: tables whose spec did not change are not built again.
    pub fn image(&self, cache: &mut TableCache) -> Image {
        cache.0.retain(|id, _| self.services.contains_key(id));
        Image {
            ports: self
                .ports
                .iter()
                .map(|(&ifindex, &mac)| {
                    let port = Port {
                        ifindex,
                        mac,
                        reserved: [0; 6],
                    };
                    (ifindex % MAX_PORTS, port)
                })
                .collect(),
            listens: self.listens.clone(),
            services: self
                .services
                .iter()
                .map(|(&id, service)| {
                    let image = ServiceImage {
                        flags: service.flags,
                        tables: cache.tables(id, &service.pool),
                    };
                    (id, image)
                })
                .collect(),
            servers: self.servers.clone(),
        }
    }
}

/// Tables last built, by service.
#[derive(Debug, Default)]
pub struct TableCache(BTreeMap<u32, (PoolSpec, Tables)>);

impl TableCache {
    fn tables(&mut self, id: u32, spec: &PoolSpec) -> Tables {
        match self.0.get(&id) {
            Some((known, tables)) if known == spec => tables.clone(),
            _ => {
                let tables = schedule::build(spec);
                self.0.insert(id, (spec.clone(), tables.clone()));
                tables
            }
        }
    }
}

/// The operations that make `actual` into `desired`.
pub fn diff(actual: &Image, desired: &Image) -> Vec<Op> {
    let mut ops = Vec::new();
    for (&slot, &port) in &desired.ports {
        if actual.ports.get(&slot) != Some(&port) {
            ops.push(Op::SetPort { slot, port });
        }
    }
    // A server that is to take new flows is there before a pool points at it; one that is not any more is in no pool
    // before its record says so: else its newest connections would be reset.
    let mut later = Vec::new();
    for (&index, &server) in &desired.servers {
        match actual.servers.get(&index) {
            Some(known) if *known == server => {}
            known => {
                let accepts = Server::flags_of(server.link) & SERVER_ACCEPT != 0;
                let ops = if accepts { &mut ops } else { &mut later };
                if known.is_none_or(|known| known.generation != server.generation) {
                    ops.push(Op::ResetCounts { index });
                }
                ops.push(Op::SetServer { index, server });
            }
        }
    }
    for (&service, image) in &desired.services {
        match actual.services.get(&service) {
            Some(known) if known == image => {}
            Some(known) if known.tables == image.tables => ops.push(Op::SetFlags {
                service,
                flags: image.flags,
            }),
            _ => ops.push(Op::SwapPool {
                service,
                image: image.clone(),
            }),
        }
    }
    for (&key, &service) in &desired.listens {
        if actual.listens.get(&key) != Some(&service) {
            ops.push(Op::SetListen { key, service });
        }
    }
    for &key in actual.listens.keys() {
        if !desired.listens.contains_key(&key) {
            ops.push(Op::RemoveListen { key });
        }
    }
    for &service in actual.services.keys() {
        if !desired.services.contains_key(&service) {
            ops.push(Op::ClearService { service });
        }
    }
    ops.append(&mut later);
    for (&index, server) in &actual.servers {
        if !desired.servers.contains_key(&index) {
            ops.push(Op::ClearServer {
                index,
                generation: server.generation,
            });
        }
    }
    for &slot in actual.ports.keys() {
        if !desired.ports.contains_key(&slot) {
            ops.push(Op::ClearPort { slot });
        }
    }
    ops
}

/// What an operation does to an image; the data plane does the same to the kernel.
pub fn apply(image: &mut Image, op: &Op) {
    match op {
        Op::SetPort { slot, port } => {
            image.ports.insert(*slot, *port);
        }
        Op::ResetCounts { .. } => {}
        Op::SetServer { index, server } => {
            image.servers.insert(*index, *server);
        }
        Op::SwapPool {
            service,
            image: new,
        } => {
            image.services.insert(*service, new.clone());
        }
        Op::SetFlags { service, flags } => {
            if let Some(service) = image.services.get_mut(service) {
                service.flags = *flags;
            }
        }
        Op::SetListen { key, service } => {
            image.listens.insert(*key, *service);
        }
        Op::RemoveListen { key } => {
            image.listens.remove(key);
        }
        Op::ClearService { service } => {
            image.services.remove(service);
        }
        Op::ClearServer { index, .. } => {
            image.servers.remove(index);
        }
        Op::ClearPort { slot } => {
            image.ports.remove(slot);
        }
    }
}

/// The key of a listening address.
pub fn service_key(listen: SocketAddr) -> ServiceKey {
    ServiceKey {
        address: mapped(listen.ip()),
        port: listen.port().to_be_bytes(),
        protocol: TCP,
        zero: 0,
    }
}

/// The listening address of a key.
pub fn listen_of(key: &ServiceKey) -> SocketAddr {
    let port = u16::from_be_bytes(key.port);
    SocketAddr::new(Ipv6Addr::from(key.address).to_canonical(), port)
}

/// IPv6, or v4-mapped.
pub fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = |bytes: &[u8; 16]| Ipv6Addr::from(*bytes).to_canonical();
        match self {
            Self::SetPort { port, .. } => write!(f, "port {}: own MAC address", port.ifindex),
            Self::ResetCounts { index } => write!(f, "server #{index}: counts from zero"),
            Self::SetServer { index, server } => {
                write!(f, "server #{index}: record of {}", address(&server.address))
            }
            Self::SwapPool { service, image } => {
                write!(
                    f,
                    "service #{service}: pool of {} servers",
                    image.tables.servers
                )
            }
            Self::SetFlags { service, .. } => write!(f, "service #{service}: flags"),
            Self::SetListen { key, service } => {
                write!(f, "listen {} -> service #{}", listen_of(key), service.id)
            }
            Self::RemoveListen { key } => write!(f, "listen {}: remove", listen_of(key)),
            Self::ClearService { service } => write!(f, "service #{service}: remove"),
            Self::ClearServer { index, .. } => write!(f, "server #{index}: free"),
            Self::ClearPort { slot } => write!(f, "port slot {slot}: free"),
        }
    }
}

#[cfg(test)]
mod tests;
