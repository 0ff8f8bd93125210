//! `add server` and `del server`: what HAProxy says of them before it does them. Not all of its texts end a line.

use std::net::{IpAddr, SocketAddr};

use crate::engine::ServerRef;
use crate::snapshot::{AdminState, Snapshot};

use super::{find_service, split_name};

/// A server that is to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewServer {
    pub server: ServerRef,
    pub address: IpAddr,
    /// `None`: that of the service.
    pub port: Option<u16>,
    /// Keywords with their values, as they were written.
    pub options: Vec<String>,
}

/// What follows `add server BACKEND/SERVER`.
pub fn add(snapshot: &Snapshot, name: &str, words: &[String]) -> Result<NewServer, String> {
    let (service, server) = split_name(name).ok_or("Require 'backend/server'.")?;
    let service = find_service(snapshot, service).ok_or("No such backend.")?;
    let service = &snapshot.services[service];
    let Some((address, options)) = words.split_first() else {
        return Err("'server' expects <name> and <addr>[:<port>] as arguments.\n".to_owned());
    };
    let (address, port) = parse_address(address).ok_or_else(|| {
        format!(
            "'server {}/{server}' : invalid address: '{address}'\n",
            service.name
        )
    })?;
    if service.servers.iter().any(|known| known.name == server) {
        return Err("Already exists a server with the same name in backend.\n".to_owned());
    }
    Ok(NewServer {
        server: ServerRef {
            service: service.name.clone(),
            server: server.to_owned(),
        },
        address,
        port,
        options: options.to_vec(),
    })
}

/// The server that `del server` names, where it may be deleted.
pub fn delete(snapshot: &Snapshot, name: &str) -> Result<ServerRef, String> {
    let (service, server) = split_name(name).ok_or("Require 'backend/server'.")?;
    let service = find_service(snapshot, service).ok_or("No such backend.")?;
    let service = &snapshot.services[service];
    let known = service.servers.iter().find(|known| known.name == server);
    let known = known.ok_or("No such server.")?;
    if known.admin != AdminState::Maint {
        return Err("Only servers in maintenance mode can be deleted.".to_owned());
    }
    Ok(ServerRef {
        service: service.name.clone(),
        server: known.name.clone(),
    })
}

/// `192.0.2.1`, `192.0.2.1:25`, `[2001:db8::1]:25`, `2001:db8::1`.
fn parse_address(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address, None));
    }
    let address: SocketAddr = text.parse().ok()?;
    Some((address.ip(), Some(address.port())))
}
