//! `mode tcp`: `[service.NAME]`.

use std::net::SocketAddr;

use super::bind::is_local;
use super::checks::check;
use super::sections::Config;
use super::server::{Server, servers};
use super::units::Unit;
use crate::config::{Forward, schema};
use crate::import::block::Block;
use crate::import::report::{At, Verdict};
use crate::import::server_setup::ServerSetup;
use crate::import::value::{duration, key, list, name, quote, renamed, table};
use crate::import::{Import, Options};

const HOUR: u64 = 3_600_000;

/// # Errors
/// Why there is none; its lines have no verdict then.
pub(super) fn service(
    config: &Config,
    unit: &Unit<'_>,
    import: &mut Import<'_>,
) -> Result<(), String> {
    let title = name(&unit.back.section.name);
    let servers = servers(config, &unit.back, &mut import.ledger);
    if servers.is_empty() {
        return Err(format!(
            "`{}` has no server that can be imported",
            unit.back.section.name
        ));
    }
    if let Some(server) = servers.iter().find(|server| server.set.tls) {
        return Err(format!(
            "server `{}` is spoken to in TLS, and a [service.NAME] passes on what it gets: have the servers take clear text, or clients speak TLS with them",
            server.name
        ));
    }
    let listen = listen(unit, import)?;
    let (forward, why) = forward(import.options, &listen, &servers);

    let mut block = Block::new(format!("service.{}", key(&title)), &unit.titles());
    let mut at: Vec<At> = unit.binds().flat_map(|bind| &bind.at).copied().collect();
    at.extend(unit.leads());
    block.key("listen", list(&listen), &at);
    let other = renamed(&unit.back.section.name, &title);
    block.claim_some(unit.back.section.at, Verdict::Approximated, other);
    for view in unit.views() {
        block.claim_all(
            &view.mode(),
            Verdict::Mapped,
            &format!("[service.{title}], as it is TCP"),
        );
    }
    let forward_why = why.as_deref().unwrap_or(match forward {
        Forward::Proxy => "in user mode, as HAProxy; no server is touched",
        Forward::Dsr => "servers answer clients themselves, and need the VIP on lo",
    });
    block.key_because("forward", quote(forward.name()), &[], forward_why);
    if let Some(why) = &why {
        for server in &servers {
            block.claim_all(&server.at[..1], Verdict::Approximated, why);
        }
    }
    scheduler(unit, &mut block);
    let port = listen.first().map(SocketAddr::port);
    let port = port.filter(|_| forward.is_in_kernel());
    check(&unit.back, &servers, port, &mut block);
    agent(&servers, &schema::SERVICE, &mut block);
    on_down(&servers, &mut block);
    slow_start(&servers, &mut block);
    backups(unit, &title, &servers, &mut block);
    timeouts(unit, &mut block);

    block.table(format!("service.{}.servers", key(&title)), &[]);
    for server in &servers {
        write(server, forward, &listen, &mut block);
    }
    for bind in unit.binds() {
        for note in &bind.notes {
            block.claim_all(&bind.at[..1], Verdict::Approximated, note);
        }
        if bind.accept_proxy {
            let note = "`accept-proxy`: a service passes the PROXY header on, and its servers have to read it";
            block.claim_all(&bind.at[..1], Verdict::Approximated, note);
        }
    }
    if import.output.offer(&block, &mut import.ledger) && forward.is_in_kernel() {
        for server in &servers {
            let vips = listen.iter().map(SocketAddr::ip);
            import
                .setups
                .push(ServerSetup::new(&server.name, server.address, vips));
        }
    }
    Ok(())
}

/// Where it listens; lines that are of no use have their verdict then.
fn listen(unit: &Unit<'_>, import: &mut Import<'_>) -> Result<Vec<SocketAddr>, String> {
    let mut listen = Vec::new();
    let mut first = None;
    for bind in unit.binds() {
        let why = bind.unusable(false);
        if let Some(why) = why {
            import
                .ledger
                .say(bind.at[0], Verdict::Unsupported, why.as_str());
            first.get_or_insert(why);
            continue;
        }
        let vips = bind
            .addresses
            .iter()
            .copied()
            .filter(|at| !is_local(at.ip()));
        for address in vips {
            if !listen.contains(&address) {
                listen.push(address);
            }
        }
    }
    if listen.is_empty() {
        let why = first.unwrap_or_else(|| "it has no `bind`".to_owned());
        return Err(format!(
            "`{}` has no address to listen on: {why}",
            unit.back.section.name
        ));
    }
    Ok(listen)
}

/// How packets get to servers, and why it is not as was wished.
fn forward(
    options: &Options,
    listen: &[SocketAddr],
    servers: &[Server],
) -> (Forward, Option<String>) {
    if options.forward == Forward::Proxy {
        return (Forward::Proxy, None);
    }
    let other = |server: &&Server| {
        let port = server.port;
        port.is_some_and(|port| listen.iter().any(|at| at.port() != port))
    };
    let why = if let Some(server) = servers.iter().find(other) {
        let port = server.port.unwrap_or_default();
        format!(
            "`{}` listens on port {port}, and dsr cannot change ports",
            server.name
        )
    } else if let Some(server) = servers
        .iter()
        .find(|server| server.set.send_proxy.is_some())
    {
        format!(
            "`{}` expects a PROXY header, and with dsr gets none: it sees clients themselves",
            server.name
        )
    } else if let Some(server) = servers.iter().find(|server| is_local(server.address)) {
        format!(
            "`{}` is on this machine, which dsr cannot reach",
            server.name
        )
    } else {
        return (Forward::Dsr, None);
    };
    (Forward::Proxy, Some(format!("in user mode: {why}")))
}

fn scheduler(unit: &Unit<'_>, block: &mut Block) {
    let Some(balance) = unit.back.last("balance") else {
        block.key_because("scheduler", quote("roundrobin"), &[], "HAProxy's default");
        return;
    };
    let word = balance.word(1).unwrap_or_default();
    let (ours, note) = match word {
        "roundrobin" | "leastconn" | "source" => (word, ""),
        "static-rr" => ("roundrobin", "weights can be changed at any time"),
        "random" => ("leastconn", "by least connections instead"),
        "first" => ("leastconn", "servers are not filled one after the other"),
        _ => ("source", "by the client's address instead"),
    };
    block.key("scheduler", quote(ours), &[balance.at]);
    if !note.is_empty() {
        block.claim(
            balance.at,
            Verdict::Approximated,
            format!("`{word}`: {note}"),
        );
    }
    for hash in unit.back.all("hash-type") {
        let note = "`source` is consistent always: few clients move when servers come and go";
        block.claim(hash.at, Verdict::Approximated, note);
    }
}

/// `agent-check`, where sections of this kind have it in this build.
pub(super) fn agent(servers: &[Server], section: &schema::Section, block: &mut Block) {
    let asked = |server: &&Server| server.set.agent;
    let known = section.keys.contains(&"agent");
    let first = servers
        .iter()
        .filter(asked)
        .find(|server| known && server.set.agent_port.is_some());
    let own = |server: &Server| {
        let set = &server.set;
        (
            set.agent,
            set.agent_port,
            set.agent_interval,
            set.agent_send.clone(),
        )
    };
    if let Some(first) = first {
        let set = &first.set;
        let mut entries = Vec::new();
        entries.extend(
            set.agent_port
                .map(|port| ("port".to_owned(), port.to_string())),
        );
        let interval = set
            .agent_interval
            .map(|time| duration(time.clamp(10, HOUR)));
        entries.extend(interval.map(|interval| ("interval".to_owned(), interval)));
        entries.extend(
            set.agent_send
                .as_ref()
                .map(|text| ("send".to_owned(), quote(text))),
        );
        block.key("agent", table(&entries), &first.at[..1]);
    }
    for server in servers
        .iter()
        .filter(|server| first.is_none_or(|first| own(server) != own(first)))
    {
        let note = match (first, server.set.agent) {
            (Some(first), _) => format!(
                "agents of all servers are asked alike, here as `{}`",
                first.name
            ),
            (None, true) => {
                "`agent-check`: there are no agents in such a section of this build".to_owned()
            }
            (None, false) => continue,
        };
        block.claim_all(&server.at[..1], Verdict::Approximated, &note);
    }
}

fn on_down(servers: &[Server], block: &mut Block) {
    if servers.iter().any(|server| server.set.resets) {
        let of: Vec<&Server> = servers.iter().filter(|server| server.set.resets).collect();
        let at: Vec<At> = of
            .iter()
            .filter_map(|server| server.at.first().copied())
            .collect();
        block.key_because(
            "on_down",
            quote("reset"),
            &at,
            "on-marked-down shutdown-sessions",
        );
        for server in servers.iter().filter(|server| !server.set.resets) {
            let note = "sessions of any server of it are reset when that fails or goes to maint";
            block.claim_all(&server.at[..1], Verdict::Approximated, note);
        }
    } else {
        let why = "as HAProxy does: maint leaves open sessions alone. \"reset\" ends those of a server that fails";
        block.key_because("on_down", quote("keep"), &[], why);
    }
}

pub(super) fn slow_start(servers: &[Server], block: &mut Block) {
    let Some((time, first)) = servers.iter().find_map(|s| Some((s.set.slow_start?, s))) else {
        return;
    };
    block.key("slow_start", duration(time.min(HOUR)), &first.at[..1]);
    for server in servers
        .iter()
        .filter(|server| server.set.slow_start != Some(time))
    {
        let note = format!("all servers of it start as slowly as `{}`", first.name);
        block.claim_all(&server.at[..1], Verdict::Approximated, &note);
    }
}

/// HAProxy uses the first `backup` alone, unless `option allbackups` says otherwise.
pub(super) fn backups(unit: &Unit<'_>, title: &str, servers: &[Server], block: &mut Block) {
    let all: Vec<&Server> = servers.iter().filter(|server| server.set.backup).collect();
    if all.len() < 2 || unit.back.option("allbackups").is_some() {
        return;
    }
    let note = format!(
        "`backup`: HAProxy uses the first of them that is up, `{}`; here all that are up share the clients while no other server can take any",
        all[0].name
    );
    for server in &all {
        block.claim_all(&server.at[..1], Verdict::Approximated, &note);
    }
    block.notice(format!(
        "{title} has {} backups without `option allbackups`. {note}. Where only one may be in use, as with databases, leave one in the file",
        all.len()
    ));
}

fn timeouts(unit: &Unit<'_>, block: &mut Block) {
    let note = "a service does not end sessions that are silent; director.flow_timeouts says when one is forgotten";
    for key in [
        "timeout client",
        "timeout server",
        "timeout tunnel",
        "timeout client-fin",
        "timeout server-fin",
    ] {
        for view in unit.views() {
            block.claim_all(
                &view.last(key).map(|s| s.at).into_iter().collect::<Vec<_>>(),
                Verdict::NotNeeded,
                note,
            );
        }
    }
    let note = "clients connect to the servers themselves, or within 5 seconds";
    for key in ["timeout connect", "timeout queue"] {
        let at: Vec<At> = unit.back.last(key).map(|s| s.at).into_iter().collect();
        block.claim_all(&at, Verdict::NotNeeded, note);
    }
}

fn write(server: &Server, forward: Forward, listen: &[SocketAddr], block: &mut Block) {
    let set = &server.set;
    let mut entries = vec![("address".to_owned(), quote(&server.address.to_string()))];
    if forward == Forward::Proxy {
        let same = |port: u16| listen.iter().all(|at| at.port() == port);
        let port = server.port.filter(|port| !same(*port));
        entries.extend(port.map(|port| ("port".to_owned(), port.to_string())));
        entries.extend(
            set.send_proxy
                .map(|version| ("send_proxy".to_owned(), quote(version))),
        );
    }
    common(server, &mut entries);
    block.key(&key(&server.name), table(&entries), &server.at);
    let own = &server.at[..1];
    if set.max_connections.is_some_and(|most| most > 0) {
        let note = "`maxconn`: nobody waits; at so many sessions new ones go to other servers";
        block.claim_all(own, Verdict::Approximated, note);
    }
    notes(server, block);
    if set.cookie.is_some() {
        block.claim_all(
            own,
            Verdict::Mapped,
            "`cookie`: HAProxy ignores it without `mode http`",
        );
    }
}

/// Keys that servers of services and proxies have alike.
pub(super) fn common(server: &Server, entries: &mut Vec<(String, String)>) {
    let set = &server.set;
    let weight = if set.disabled { Some(0) } else { set.weight };
    entries.extend(weight.map(|weight| ("weight".to_owned(), weight.to_string())));
    let most = set.max_connections.filter(|most| *most > 0);
    entries.extend(most.map(|most| {
        (
            "max_connections".to_owned(),
            most.min(1_000_000).to_string(),
        )
    }));
    if set.backup {
        entries.push(("backup".to_owned(), "true".to_owned()));
    }
}

pub(super) fn notes(server: &Server, block: &mut Block) {
    let own = &server.at[..1];
    if server.set.disabled {
        let note = "`disabled`: weight 0, until `mb-lb-ctl weight` gives it another; `mb-lb-ctl maint` ends its checks too";
        block.claim_all(own, Verdict::Approximated, note);
    }
    if !server.set.check
        && (server.set.interval.is_some() || server.set.rise.is_some() || server.set.fall.is_some())
    {
        block.claim_all(
            own,
            Verdict::Mapped,
            "`inter`, `rise` and `fall` have no effect without `check`",
        );
    }
    for note in &server.set.notes {
        block.claim_all(own, Verdict::Approximated, note);
    }
}
