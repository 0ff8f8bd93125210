//! `add server` and `del server`: what HAProxy says of them before it does them. Not all of its texts end a line.

use std::net::{IpAddr, SocketAddr};

use crate::config::check_name;
use crate::engine::{Added, Change, ServerRef};
use crate::snapshot::{AdminState, Snapshot};

use super::{find_service, not_done, split_name};

/// What follows `add server BACKEND/SERVER`.
///
/// # Errors
/// What to say instead.
pub fn add(snapshot: &Snapshot, name: &str, words: &[String]) -> Result<Change, String> {
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
    if let Err(fault) = check_name(server) {
        return Err(format!(
            "'server {}/{server}' : the name {fault}\n",
            service.name
        ));
    }
    let mut added = Added {
        address,
        port,
        weight: 1,
        max_connections: None,
        backup: false,
    };
    keywords(&mut added, options)?;
    if service.forward == "dsr" {
        // That which clients connect to: it may be written, and nothing else.
        added.port = port.filter(|port| service.listen.iter().all(|listen| listen.port() != *port));
        if added.port.is_some() {
            return Err(not_done(
                "with dsr the port of a server is the one that clients connect to",
            ));
        }
    }
    Ok(Change::Add {
        server: ServerRef {
            service: service.name.clone(),
            server: server.to_owned(),
        },
        added,
    })
}

/// What HAProxy's `server` line can say and a server at run time can have.
fn keywords(added: &mut Added, words: &[String]) -> Result<(), String> {
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let mut number = |most: u32| {
            let value = words.next().and_then(|value| value.parse::<u32>().ok());
            value
                .filter(|value| *value <= most)
                .ok_or_else(|| format!("'server' : '{word}' expects an integer from 0 to {most}\n"))
        };
        match word {
            "weight" => added.weight = u16::try_from(number(256)?).unwrap_or(256),
            "maxconn" => added.max_connections = Some(number(1_000_000)?).filter(|most| *most != 0),
            "backup" => added.backup = true,
            // The service says whether servers are checked, and how.
            "check" | "enabled" | "disabled" => {}
            other => {
                let why = format!("'{other}' of a server belongs into the configuration file");
                return Err(not_done(&why));
            }
        }
    }
    Ok(())
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
