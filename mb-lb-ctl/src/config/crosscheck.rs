//! What can only be seen across services, proxies, servers, VRRP instances and the peer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use mb_lb_common::{MAX_LISTENS, MAX_SERVERS, MAX_SERVERS_PER_SERVICE, MAX_SERVICES};

use super::diagnostic::{Code, Finding, Reporter, quote};
use super::service::Draft;
use super::{peer, proxy, vrrp};

pub(super) fn crosscheck(
    drafts: &[Draft],
    proxies: &[proxy::Draft],
    vrrps: &[vrrp::Draft],
    peer: Option<&peer::Draft>,
    reporter: &mut Reporter<'_>,
) {
    limits(drafts, reporter);
    names(drafts, proxies, reporter);
    let listens = listens(drafts, proxies, reporter);
    // Loopback is no VIP: a proxy may listen there, beside servers of its own machine.
    let mut vips = BTreeMap::new();
    for (at, span) in listens.iter().filter(|(at, _)| !at.ip().is_loopback()) {
        let first = vips.entry(at.ip()).or_insert_with(|| span.clone());
        if span.start < first.start {
            first.clone_from(span);
        }
    }
    for draft in vrrps {
        for (given, span) in draft.vrrp.addresses.iter().zip(&draft.addresses) {
            vips.entry(given.address).or_insert_with(|| span.clone());
        }
    }
    for draft in drafts {
        addresses(draft, &vips, reporter);
        if draft.complete {
            usefulness(&draft.usefulness(), reporter);
        }
    }
    for draft in proxies {
        proxy::together(draft, &vips, &listens, reporter);
        if draft.complete {
            usefulness(&draft.usefulness(), reporter);
        }
    }
    let tracked: Vec<_> = drafts
        .iter()
        .map(|draft| vrrp::Trackable {
            name: &draft.service.name,
            span: &draft.name,
            servers: draft.complete.then_some(draft.service.servers.len()),
            what: "service",
        })
        .chain(proxies.iter().map(|draft| vrrp::Trackable {
            name: &draft.proxy.name,
            span: &draft.name,
            servers: draft.complete.then_some(draft.proxy.servers.len()),
            what: "proxy",
        }))
        .collect();
    vrrp::together(vrrps, &tracked, reporter);
    if let Some(peer) = peer {
        peer::crosscheck(peer, &vips, reporter);
    }
}

/// `drain NAME/SERVER` has to know which is meant.
fn names(drafts: &[Draft], proxies: &[proxy::Draft], reporter: &mut Reporter<'_>) {
    for proxy in proxies {
        let same = |draft: &&Draft| draft.service.name == proxy.proxy.name;
        if let Some(service) = drafts.iter().find(same) {
            let message = format!(
                "a service has the name of proxy {}",
                quote(&proxy.proxy.name)
            );
            reporter.push(
                Finding::new(Code::DuplicateName, proxy.name.clone(), message)
                    .related(service.name.clone(), "the service")
                    .help("commands name both as NAME/SERVER; give one of them another name"),
            );
        }
    }
}

fn limits(drafts: &[Draft], reporter: &mut Reporter<'_>) {
    let mut refuse = |span: Option<&Range<usize>>, what: &str, number: usize, most: u32| {
        if let Some(span) = span {
            let message = format!("{number} {what}, the most is {most}");
            reporter.push(Finding::new(Code::TooMany, span.clone(), message));
        }
    };
    let first_over = |most: u32, spans: &mut dyn Iterator<Item = &Range<usize>>| {
        spans.nth(most as usize).cloned()
    };
    let services = first_over(MAX_SERVICES, &mut drafts.iter().map(|d| &d.name));
    refuse(services.as_ref(), "services", drafts.len(), MAX_SERVICES);

    let listens = drafts.iter().map(|d| d.listen.len()).sum();
    let span = first_over(MAX_LISTENS, &mut drafts.iter().flat_map(|d| &d.listen));
    let what = "`listen` addresses in all services";
    refuse(span.as_ref(), what, listens, MAX_LISTENS);

    for draft in drafts {
        let what = format!("servers in service {}", quote(&draft.service.name));
        let span = first_over(MAX_SERVERS_PER_SERVICE, &mut draft.servers.iter());
        refuse(
            span.as_ref(),
            &what,
            draft.servers.len(),
            MAX_SERVERS_PER_SERVICE,
        );
    }
    let servers = drafts.iter().map(|d| d.servers.len()).sum();
    let span = first_over(MAX_SERVERS, &mut drafts.iter().flat_map(|d| &d.servers));
    refuse(
        span.as_ref(),
        "servers in all services",
        servers,
        MAX_SERVERS,
    );
}

/// An address that is listened on.
struct Listen<'d> {
    at: SocketAddr,
    span: &'d Range<usize>,
    what: &'static str,
    name: &'d str,
}

/// Refuses what is listened on twice; gives the first place of each.
fn listens(
    drafts: &[Draft],
    proxies: &[proxy::Draft],
    reporter: &mut Reporter<'_>,
) -> BTreeMap<SocketAddr, Range<usize>> {
    let mut all = Vec::new();
    let mut add = |what, name, listen: &[SocketAddr], spans| {
        let places = listen.iter().zip::<&Vec<_>>(spans);
        all.extend(places.map(|(at, span)| Listen {
            at: *at,
            span,
            what,
            name,
        }));
    };
    for draft in drafts {
        let service = &draft.service;
        add("service", &service.name, &service.listen, &draft.listen);
    }
    for draft in proxies {
        let proxy = &draft.proxy;
        add("proxy", &proxy.name, &proxy.listen, &draft.listen);
        add(
            "proxy",
            &proxy.name,
            &proxy.redirect_http,
            &draft.redirect_http,
        );
    }
    let mut seen: BTreeMap<SocketAddr, &Listen<'_>> = BTreeMap::new();
    for listen in &all {
        let (at, what) = (listen.at, listen.what);
        let Some(first) = seen.get(&at) else {
            seen.insert(at, listen);
            continue;
        };
        let message = if (first.what, first.name) == (what, listen.name) {
            format!("{what} {} listens on `{at}` twice", quote(listen.name))
        } else {
            let name = quote(first.name);
            format!("`{at}` is listened on by {} {name} already", first.what)
        };
        reporter.push(
            Finding::new(Code::DuplicateListen, listen.span.clone(), message)
                .related(first.span.clone(), "first here"),
        );
    }
    let places = seen.into_iter();
    places
        .map(|(at, listen)| (at, listen.span.clone()))
        .collect()
}

fn addresses(draft: &Draft, vips: &BTreeMap<IpAddr, Range<usize>>, reporter: &mut Reporter<'_>) {
    let mut seen: BTreeMap<SocketAddr, (&str, &Range<usize>)> = BTreeMap::new();
    for (server, span) in draft.service.servers.iter().zip(&draft.servers) {
        let who = format!("server `{}/{}`", draft.service.name, server.name);
        if let Some(vip) = vips.get(&server.address) {
            let message = format!("{who} has the address of a VIP, `{}`", server.address);
            reporter.push(
                Finding::new(Code::ServerIsVip, span.clone(), message)
                    .related(vip.clone(), "the VIP")
                    .help(
                        "write the server's own address; packets to the VIP come to the director",
                    ),
            );
        }
        let address = draft.service.address_of(server);
        if let Some((first, first_span)) = seen.get(&address) {
            let message = format!("{who} has the same address as {}", quote(first));
            reporter.push(
                Finding::new(Code::DuplicateServer, span.clone(), message)
                    .related((*first_span).clone(), "first here")
                    .help("give one server a higher weight instead"),
            );
        } else {
            seen.insert(address, (&server.name, span));
        }
    }
}

/// What is to be known of servers to tell whether they take anybody.
pub(super) struct Usefulness<'d> {
    pub path: &'d str,
    /// The key `servers`.
    pub key: &'d Range<usize>,
    /// Weight, and whether it is a backup.
    pub servers: Vec<(u16, bool)>,
    pub what: &'static str,
}

impl Draft {
    fn usefulness(&self) -> Usefulness<'_> {
        let servers = self.service.servers.iter();
        Usefulness {
            path: &self.path,
            key: &self.servers_key,
            servers: servers
                .map(|server| (server.weight, server.backup))
                .collect(),
            what: "service",
        }
    }
}

fn usefulness(of: &Usefulness<'_>, reporter: &mut Reporter<'_>) {
    let mut warn = |code: Code, phrase: &str, help: &str| {
        let message = format!("`{}.servers` {phrase}", of.path);
        reporter.push(Finding::new(code, of.key.clone(), message).help(help));
    };
    if of.servers.iter().all(|(weight, _)| *weight == 0) {
        let takes = match of.what {
            "proxy" => "only users whose cookie names it",
            _ => "no new flow",
        };
        let help = format!("a server of weight 0 takes {takes}; give one a weight of 1 to 256");
        warn(Code::AllWeightsZero, "has only servers of weight 0", &help);
    }
    if of.servers.iter().all(|(_, backup)| *backup) {
        let help = "backups are used while no other server can be; remove `backup` from one";
        warn(Code::OnlyBackups, "has only backups", help);
    }
    if of.servers.len() == 1 {
        let help = format!("when it fails, the {} fails", of.what);
        warn(Code::SingleServer, "has one server only", &help);
    }
}
