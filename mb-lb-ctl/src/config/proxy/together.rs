//! What can only be seen across the servers of a proxy.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use mb_lb_common::MAX_SERVERS_PER_SERVICE;

use super::Draft;
use crate::config::CheckKind;
use crate::config::diagnostic::{Code, Finding, Reporter, quote};

/// `vips` and `listens` are those of the whole file.
pub(in crate::config) fn together(
    draft: &Draft,
    vips: &BTreeMap<IpAddr, Range<usize>>,
    listens: &BTreeMap<SocketAddr, Range<usize>>,
    reporter: &mut Reporter<'_>,
) {
    let proxy = &draft.proxy;
    if let Some(span) = draft.servers.get(MAX_SERVERS_PER_SERVICE as usize) {
        let message = format!(
            "{} servers in proxy {}, the most is {MAX_SERVERS_PER_SERVICE}",
            draft.servers.len(),
            quote(&proxy.name)
        );
        reporter.push(Finding::new(Code::TooMany, span.clone(), message));
    }
    addresses(draft, vips, listens, reporter);
    cookies(draft, reporter);
    clear_check(draft, reporter);
}

fn addresses(
    draft: &Draft,
    vips: &BTreeMap<IpAddr, Range<usize>>,
    listens: &BTreeMap<SocketAddr, Range<usize>>,
    reporter: &mut Reporter<'_>,
) {
    let mut seen: BTreeMap<SocketAddr, (&str, &Range<usize>)> = BTreeMap::new();
    for (server, span) in draft.proxy.servers.iter().zip(&draft.servers) {
        let who = format!("server `{}/{}`", draft.proxy.name, server.name);
        let address = server.address;
        // A process on loopback may be anywhere but where the director itself listens.
        let vip = match address.ip().is_loopback() {
            true => listens.get(&address),
            false => vips.get(&address.ip()),
        };
        if let Some(vip) = vip {
            let message = format!("{who} has the address of a VIP, `{}`", address.ip());
            reporter.push(
                Finding::new(Code::ServerIsVip, span.clone(), message)
                    .related(vip.clone(), "the VIP")
                    .help("write the server's own address; connections to the VIP come to the director"),
            );
        }
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

fn cookies(draft: &Draft, reporter: &mut Reporter<'_>) {
    let mut seen: BTreeMap<&str, (&str, Range<usize>)> = BTreeMap::new();
    let places = draft.cookies.iter().zip(&draft.servers);
    for (server, (cookie, address)) in draft.proxy.servers.iter().zip(places) {
        let Some(value) = &server.cookie else {
            continue;
        };
        let span = cookie.clone().unwrap_or_else(|| address.clone());
        if let Some((first, first_span)) = seen.get(value.as_str()) {
            let message = format!(
                "server `{}/{}` has the same cookie as {}, {}",
                draft.proxy.name,
                server.name,
                quote(first),
                quote(value)
            );
            reporter.push(
                Finding::new(Code::DuplicateCookie, span, message)
                    .related(first_span.clone(), "first here")
                    .help("users of the one go to the other; give each its own value"),
            );
        } else {
            seen.insert(value, (&server.name, span));
        }
    }
}

/// A server that speaks TLS answers a request in clear with an error.
fn clear_check(draft: &Draft, reporter: &mut Reporter<'_>) {
    let Some(check) = &draft.proxy.check else {
        return;
    };
    let CheckKind::Http(http) = &check.kind else {
        return;
    };
    let first = draft
        .proxy
        .servers
        .iter()
        .find(|server| server.tls.is_some());
    if let (None, None, Some(server)) = (&http.tls, check.port, first) {
        let message = format!(
            "`{}.check` asks in clear, and server {} speaks TLS",
            draft.path,
            quote(&server.name)
        );
        reporter.push(
            Finding::new(Code::ClearText, draft.check.clone(), message)
                .help("add tls = true and `verify` to it, as the servers have them"),
        );
    }
}

/// Whether the proxy's servers could take anybody, in the terms of [`Usefulness`].
impl Draft {
    pub(in crate::config) fn usefulness(&self) -> crate::config::crosscheck::Usefulness<'_> {
        let servers = self.proxy.servers.iter();
        crate::config::crosscheck::Usefulness {
            path: &self.path,
            key: &self.servers_key,
            servers: servers
                .map(|server| (server.weight, server.backup))
                .collect(),
            what: "proxy",
        }
    }
}
