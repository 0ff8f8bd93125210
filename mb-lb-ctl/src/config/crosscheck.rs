//! What can only be seen across services, proxies, servers, VRRP instances and the peer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use mb_lb_common::{MAX_LISTENS, MAX_SERVERS, MAX_SERVERS_PER_SERVICE, MAX_SERVICES};

use super::diagnostic::{Code, Finding, Reporter, quote};
use super::service::Draft;
use super::{admin_http, follows, peer, proxy, tiers, vrrp};

/// All that was read.
pub(super) struct Drafts<'d> {
    pub services: &'d [Draft],
    pub proxies: &'d [proxy::Draft],
    pub tiers: &'d tiers::Drafts,
    pub vrrps: &'d [vrrp::Draft],
    pub peer: Option<&'d peer::Draft>,
    pub http: Option<&'d admin_http::Draft>,
}

/// What has a name that commands use, and may have servers that clients are brought to.
struct Named<'d> {
    what: &'static str,
    name: &'d str,
    span: &'d Range<usize>,
    /// Places of what is listened on.
    listen: Vec<(SocketAddr, &'d Range<usize>)>,
    /// How many, where all could be read.
    servers: Option<usize>,
    /// In the order of the file.
    server_spans: &'d [Range<usize>],
    server_names: Vec<&'d str>,
}

impl<'d> Drafts<'d> {
    /// Services and proxies, then tiers.
    fn named(&self) -> Vec<Named<'d>> {
        let mut named = Vec::new();
        for draft in self.services {
            let service = &draft.service;
            named.push(Named {
                what: "service",
                name: &service.name,
                span: &draft.name,
                listen: service.listen.iter().copied().zip(&draft.listen).collect(),
                servers: draft.complete.then_some(service.servers.len()),
                server_spans: &draft.servers,
                server_names: service.servers.iter().map(|s| s.name.as_str()).collect(),
            });
        }
        for draft in self.proxies {
            let proxy = &draft.proxy;
            let listen = proxy.listen.iter().copied().zip(&draft.listen);
            let redirect = proxy.redirect_http.iter().copied();
            named.push(Named {
                what: "proxy",
                name: &proxy.name,
                span: &draft.name,
                listen: listen.chain(redirect.zip(&draft.redirect_http)).collect(),
                servers: draft.complete.then_some(proxy.servers.len()),
                server_spans: &draft.servers,
                server_names: proxy.servers.iter().map(|s| s.name.as_str()).collect(),
            });
        }
        for draft in &self.tiers.galeras {
            let tier = &draft.tier;
            named.push(Named::tier(
                "galera",
                draft,
                &tier.name,
                &tier.listen,
                &tier.servers,
            ));
        }
        for draft in &self.tiers.sentinels {
            let tier = &draft.tier;
            named.push(Named::tier(
                "sentinel",
                draft,
                &tier.name,
                &tier.listen,
                &tier.servers,
            ));
        }
        for draft in &self.tiers.storages {
            named.push(Named::tier("storage", draft, &draft.tier.name, &[], &[]));
        }
        named
    }
}

impl<'d> Named<'d> {
    fn tier<T>(
        what: &'static str,
        draft: &'d tiers::Draft<T>,
        name: &'d str,
        listen: &'d [SocketAddr],
        servers: &'d [super::TierServer],
    ) -> Self {
        Self {
            what,
            name,
            span: &draft.name,
            listen: listen.iter().copied().zip(&draft.listen).collect(),
            // Storage has none, and needs none to be tracked.
            servers: (draft.complete && what != "storage").then_some(servers.len()),
            server_spans: &draft.servers,
            server_names: servers.iter().map(|server| server.name.as_str()).collect(),
        }
    }
}

pub(super) fn crosscheck(all: &Drafts<'_>, reporter: &mut Reporter<'_>) {
    let named = all.named();
    limits(&named, reporter);
    names(&named, reporter);
    let listens = listens(&named, reporter);
    if let Some(http) = all.http {
        admin_http::crosscheck(http, &listens, reporter);
    }
    // Loopback is no VIP: a proxy may listen there, beside servers of its own machine.
    let mut vips = BTreeMap::new();
    for (at, span) in listens.iter().filter(|(at, _)| !at.ip().is_loopback()) {
        let first = vips.entry(at.ip()).or_insert_with(|| span.clone());
        if span.start < first.start {
            first.clone_from(span);
        }
    }
    for draft in all.vrrps {
        for (given, span) in draft.vrrp.addresses.iter().zip(&draft.addresses) {
            vips.entry(given.address).or_insert_with(|| span.clone());
        }
    }
    for draft in all.services {
        addresses(draft, &vips, reporter);
        if draft.complete {
            usefulness(&draft.usefulness(), reporter);
        }
    }
    for draft in all.proxies {
        proxy::together(draft, &vips, &listens, reporter);
        if draft.complete {
            usefulness(&draft.usefulness(), reporter);
        }
    }
    let services = all.services.iter().map(|draft| follows::Follower {
        what: "service",
        name: &draft.service.name,
        follows: &draft.service.follows,
        spans: &draft.follows,
        check: draft.service.check.as_ref(),
        servers: draft
            .service
            .servers
            .iter()
            .map(|s| s.name.as_str())
            .collect(),
        complete: draft.complete,
    });
    let proxies = all.proxies.iter().map(|draft| follows::Follower {
        what: "proxy",
        name: &draft.proxy.name,
        follows: &draft.proxy.follows,
        spans: &draft.follows,
        check: draft.proxy.check.as_ref(),
        servers: draft
            .proxy
            .servers
            .iter()
            .map(|s| s.name.as_str())
            .collect(),
        complete: draft.complete,
    });
    follows::together(&services.chain(proxies).collect::<Vec<_>>(), reporter);
    let served: Vec<_> = named
        .iter()
        .filter(|named| matches!(named.what, "service" | "proxy"))
        .map(|named| tiers::Served {
            name: named.name,
            servers: named.servers.map(|_| named.server_names.clone()),
        })
        .collect();
    let mut dsr = BTreeMap::new();
    for draft in all
        .services
        .iter()
        .filter(|draft| draft.service.forward.is_in_kernel())
    {
        for (at, span) in draft.service.listen.iter().zip(&draft.listen) {
            let first = (draft.service.name.as_str(), span.clone());
            dsr.entry(at.ip()).or_insert(first);
        }
    }
    tiers::together(all.tiers, &vips, &dsr, &served, reporter);
    let tracked: Vec<_> = named
        .iter()
        .map(|named| vrrp::Trackable {
            name: named.name,
            span: named.span,
            servers: named.servers,
            what: named.what,
        })
        .collect();
    vrrp::together(all.vrrps, &tracked, reporter);
    if let Some(peer) = all.peer {
        peer::crosscheck(peer, &vips, reporter);
    }
}

/// `drain NAME/SERVER` and `describe NAME` have to know which is meant.
fn names(all: &[Named<'_>], reporter: &mut Reporter<'_>) {
    let mut seen: BTreeMap<&str, &Named<'_>> = BTreeMap::new();
    for named in all {
        let Some(first) = seen.get(named.name) else {
            seen.insert(named.name, named);
            continue;
        };
        // Of the same kind it would be the same table.
        let (what, name) = (named.what, quote(named.name));
        let message = format!("a {} has the name of {what} {name}", first.what);
        reporter.push(
            Finding::new(Code::DuplicateName, named.span.clone(), message)
                .related(first.span.clone(), format!("the {}", first.what))
                .help("commands name both as NAME/SERVER; give one of them another name"),
        );
    }
}

fn limits(all: &[Named<'_>], reporter: &mut Reporter<'_>) {
    let mut refuse = |span: Option<&Range<usize>>, what: &str, number: usize, most: u32| {
        if let Some(span) = span {
            let message = format!("{number} {what}, the most is {most}");
            reporter.push(Finding::new(Code::TooMany, span.clone(), message));
        }
    };
    let first_over = |most: u32, spans: &mut dyn Iterator<Item = &Range<usize>>| {
        spans.nth(most as usize).cloned()
    };
    // Proxies and tiers have a number among services.
    let numbered: Vec<_> = all.iter().filter(|named| named.what != "storage").collect();
    let services = first_over(MAX_SERVICES, &mut numbered.iter().map(|named| named.span));
    let what = match numbered.iter().all(|named| named.what == "service") {
        true => "services",
        false => "services, proxies and tiers",
    };
    refuse(services.as_ref(), what, numbered.len(), MAX_SERVICES);

    let kernel: Vec<_> = all.iter().filter(|named| named.what == "service").collect();
    let listens = kernel.iter().map(|named| named.listen.len()).sum();
    let mut spans = kernel
        .iter()
        .flat_map(|named| named.listen.iter().map(|(_, span)| *span));
    let span = first_over(MAX_LISTENS, &mut spans);
    let what = "`listen` addresses in all services";
    refuse(span.as_ref(), what, listens, MAX_LISTENS);

    for named in &kernel {
        let what = format!("servers in service {}", quote(named.name));
        let span = first_over(MAX_SERVERS_PER_SERVICE, &mut named.server_spans.iter());
        let number = named.server_names.len();
        refuse(span.as_ref(), &what, number, MAX_SERVERS_PER_SERVICE);
    }
    let servers = numbered.iter().map(|named| named.server_names.len()).sum();
    let mut spans = numbered.iter().flat_map(|named| named.server_spans);
    let span = first_over(MAX_SERVERS, &mut spans);
    refuse(
        span.as_ref(),
        "servers in all services",
        servers,
        MAX_SERVERS,
    );
}

/// Refuses what is listened on twice; gives the first place of each.
fn listens(all: &[Named<'_>], reporter: &mut Reporter<'_>) -> BTreeMap<SocketAddr, Range<usize>> {
    let mut seen: BTreeMap<SocketAddr, (&Named<'_>, &Range<usize>)> = BTreeMap::new();
    for named in all {
        for (at, span) in &named.listen {
            let Some((first, first_span)) = seen.get(at) else {
                seen.insert(*at, (named, span));
                continue;
            };
            let what = named.what;
            let message = if (first.what, first.name) == (what, named.name) {
                format!("{what} {} listens on `{at}` twice", quote(named.name))
            } else {
                let name = quote(first.name);
                format!("`{at}` is listened on by {} {name} already", first.what)
            };
            reporter.push(
                Finding::new(Code::DuplicateListen, (*span).clone(), message)
                    .related((*first_span).clone(), "first here"),
            );
        }
    }
    let places = seen.into_iter();
    places.map(|(at, (_, span))| (at, span.clone())).collect()
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
