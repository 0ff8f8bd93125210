//! `server-setup`: what a mail server needs for direct server return, or what takes it back, as lines of shell.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, SocketAddr};

use crate::cli::args::{self, Global};
use crate::cli::config_source::read;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{emit, say};
use crate::config::{Config, Forward, Server, Service};
use crate::engine::ServerRef;
use crate::import::ServerSetup;

/// The file is read, not the daemon asked: servers are prepared before there is one.
pub fn run(global: &Global, args: &args::ServerSetup) -> Result<Exit, Failure> {
    let path = global.config_path();
    let parsed = crate::config::parse(&read(path)?, "director");
    let Some(config) = parsed.config else {
        let message = format!("{} has errors; nothing was printed", path.display());
        return Err(Failure::new(Exit::ConfigErrors, message).next("mb-lb-ctl check"));
    };
    let text = text(&config, &args.server, args.undo)?;
    // On its way to a shell nobody would see them.
    if !io::stdout().is_terminal() {
        let server = format!("{}/{}", args.server.service, args.server.server);
        notes(&text).for_each(|note| say(&format!("{server}: {note}")));
    }
    emit(&text)?;
    Ok(Exit::Ok)
}

/// Comments that are sentences: what people have to know or to do.
fn notes(text: &str) -> impl Iterator<Item = &str> {
    let comments = text.lines().filter_map(|line| line.strip_prefix("# "));
    comments.filter(|comment| comment.ends_with('.'))
}

/// What is printed. All of it can be given to a shell.
///
/// # Errors
/// There is no such server, or it was named without its service.
pub fn text(config: &Config, wanted: &ServerRef, undo: bool) -> Result<String, Failure> {
    if wanted.service.is_empty() {
        return Err(without_service(config, &wanted.server));
    }
    let name = format!("{}/{}", wanted.service, wanted.server);
    let services = config.services.iter();
    let service = services
        .clone()
        .find(|service| service.name == wanted.service);
    let Some(service) = service else {
        return in_user_mode(config, wanted, &name);
    };
    let server = named(service, &wanted.server)
        .ok_or_else(|| unknown(&name, service.servers.iter().map(|server| &*server.name)))?;
    if service.forward != Forward::Dsr {
        return Ok(nothing(&name, "forward = \"proxy\" of its service"));
    }
    let wanted = ServerSetup::new(&server.name, server.address, vips(service));
    // The unit that keeps the VIPs is one for all services of the server.
    let mut others = ServerSetup::new(&server.name, server.address, [].into_iter());
    for other in services.filter(|other| other.forward == Forward::Dsr) {
        let same = |found: &Server| found.address == server.address;
        if other.name != service.name && other.servers.iter().any(same) {
            others.add(vips(other));
        }
    }
    Ok(match undo {
        false => setup(&name, service, wanted, &others),
        true => taken_back(&name, wanted, &others),
    })
}

fn setup(name: &str, service: &Service, mut setup: ServerSetup, others: &ServerSetup) -> String {
    setup.add(others.vips.iter().copied());
    let ports: BTreeSet<u16> = service.listen.iter().map(SocketAddr::port).collect();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let mut text = title(name, &setup, "set-up for dsr", "");
    let _ = writeln!(
        text,
        "# Its mail daemon has to listen on all addresses, or on the VIP too: port {}.",
        ports.join(", ")
    );
    text.push_str(
        "# What it reaches at the VIP today, such as a database, it looks for on itself from then on.\n",
    );
    // A server that has the VIP and answers ARP for it would take it from everybody.
    text.push_str("(\nset -e\n");
    part(&mut text, "now:", &setup.now());
    let kept = "to keep it over a reboot (Debian, Ubuntu):";
    part(&mut text, kept, &setup.permanent());
    text.push_str(")\n");
    text
}

/// What other services need of the server stays.
fn taken_back(name: &str, mut setup: ServerSetup, others: &ServerSetup) -> String {
    setup.vips.retain(|vip| !others.vips.contains(vip));
    let mut text = title(name, &setup, "undo of the set-up for dsr", " --undo");
    if setup.vips.is_empty() {
        text.push_str("# Nothing to be undone: other services need the same VIPs there.\n");
        return text;
    }
    let mut now = setup.undo();
    if others.vips.iter().any(IpAddr::is_ipv4) {
        text.push_str("# The settings of ARP stay: other services of this server need them.\n");
        now.retain(|line| !line.starts_with("sysctl "));
    }
    if others.vips.is_empty() {
        text.push_str("# The two settings of ARP become 0, the kernel's default, and the file that kept them goes.\n");
    }
    part(&mut text, "now:", &now);
    let (what, lines) = match others.vips.is_empty() {
        true => (
            "what was kept over a reboot (says so where nothing was kept):",
            setup.temporary(),
        ),
        false => (
            "what is kept over a reboot, for the other services:",
            others.permanent(),
        ),
    };
    part(&mut text, what, &lines);
    text
}

fn title(name: &str, setup: &ServerSetup, what: &str, option: &str) -> String {
    let address = setup.address;
    format!(
        "# {name} ({address}): {what}, to be run there as root. From here:\n\
         #   mb-lb-ctl server-setup {name}{option} | ssh root@{address} sh\n"
    )
}

fn part(text: &mut String, what: &str, lines: &[String]) {
    let _ = writeln!(text, "# {what}");
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
}

fn vips(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    service.listen.iter().map(SocketAddr::ip)
}

fn named<'c>(service: &'c Service, name: &str) -> Option<&'c Server> {
    service.servers.iter().find(|server| server.name == name)
}

/// A proxy, or a database: the director connects to the server's own address.
fn in_user_mode(config: &Config, wanted: &ServerRef, name: &str) -> Result<String, Failure> {
    let proxy = config
        .proxies
        .iter()
        .find(|proxy| proxy.name == wanted.service);
    if let Some(proxy) = proxy {
        let known = proxy
            .servers
            .iter()
            .any(|server| server.name == wanted.server);
        return match known {
            true => Ok(nothing(name, "a proxy")),
            false => Err(unknown(
                name,
                proxy.servers.iter().map(|server| &*server.name),
            )),
        };
    }
    let mut steered = config
        .steered()
        .filter(|service| service.name == wanted.service);
    match steered.any(|service| named(&service, &wanted.server).is_some()) {
        true => Ok(nothing(name, "a tier")),
        false => Err(unknown(name, std::iter::empty())),
    }
}

/// A comment, because it may be on its way to a shell.
fn nothing(name: &str, why: &str) -> String {
    format!(
        "# {name} needs no set-up ({why}): the director connects to the server's own address.\n"
    )
}

/// `others`: those that its service has. The daemon is not asked: there may be none yet.
fn unknown<'c>(name: &str, others: impl Iterator<Item = &'c str>) -> Failure {
    let others: Vec<&str> = others.collect();
    let next = match others.is_empty() {
        true => "see the services and their servers in the configuration".to_owned(),
        false => format!("its service has {}", others.join(", ")),
    };
    Failure::new(Exit::NotFound, format!("there is no server {name}")).next(&next)
}

fn without_service(config: &Config, name: &str) -> Failure {
    let services = config
        .services
        .iter()
        .filter(|service| named(service, name).is_some());
    let full: Vec<String> = services
        .map(|service| format!("{}/{name}", service.name))
        .collect();
    let meant = match full.is_empty() {
        true => "for example smtp_backend/mb1".to_owned(),
        false => format!("did you mean {}?", full.join(" or ")),
    };
    let message = format!("`{name}` names no service: a server is named SERVICE/SERVER; {meant}");
    Failure::new(Exit::Usage, message)
        .next("see the services and their servers in the configuration")
}

#[cfg(test)]
mod tests;
