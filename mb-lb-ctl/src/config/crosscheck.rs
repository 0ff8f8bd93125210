//! What can only be seen across services, servers, VRRP instances and the peer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use mb_lb_common::{MAX_LISTENS, MAX_SERVERS, MAX_SERVERS_PER_SERVICE, MAX_SERVICES};

use super::diagnostic::{Code, Finding, Reporter, quote};
use super::service::Draft;
use super::{peer, vrrp};

pub(super) fn crosscheck(
    drafts: &[Draft],
    vrrps: &[vrrp::Draft],
    peer: Option<&peer::Draft>,
    reporter: &mut Reporter<'_>,
) {
    limits(drafts, reporter);
    let mut vips = listens(drafts, reporter);
    for draft in vrrps {
        for (given, span) in draft.vrrp.addresses.iter().zip(&draft.addresses) {
            vips.entry(given.address).or_insert_with(|| span.clone());
        }
    }
    for draft in drafts {
        addresses(draft, &vips, reporter);
        if draft.complete {
            usefulness(draft, reporter);
        }
    }
    vrrp::together(vrrps, drafts, reporter);
    if let Some(peer) = peer {
        peer::crosscheck(peer, &vips, reporter);
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

/// Refuses what is listened on twice; gives the first place of each VIP.
fn listens(drafts: &[Draft], reporter: &mut Reporter<'_>) -> BTreeMap<IpAddr, Range<usize>> {
    let mut seen: BTreeMap<SocketAddr, (&Draft, &Range<usize>)> = BTreeMap::new();
    let mut vips = BTreeMap::new();
    for draft in drafts {
        for (at, span) in draft.service.listen.iter().zip(&draft.listen) {
            vips.entry(at.ip()).or_insert_with(|| span.clone());
            if let Some((first, first_span)) = seen.get(at) {
                let name = quote(&first.service.name);
                let message = if first.service.name == draft.service.name {
                    format!("service {name} listens on `{at}` twice")
                } else {
                    format!("`{at}` is listened on by service {name} already")
                };
                reporter.push(
                    Finding::new(Code::DuplicateListen, span.clone(), message)
                        .related((*first_span).clone(), "first here"),
                );
            } else {
                seen.insert(*at, (draft, span));
            }
        }
    }
    vips
}

fn addresses(draft: &Draft, vips: &BTreeMap<IpAddr, Range<usize>>, reporter: &mut Reporter<'_>) {
    let mut seen: BTreeMap<IpAddr, (&str, &Range<usize>)> = BTreeMap::new();
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
        if let Some((first, first_span)) = seen.get(&server.address) {
            let message = format!("{who} has the same address as {}", quote(first));
            reporter.push(
                Finding::new(Code::DuplicateServer, span.clone(), message)
                    .related((*first_span).clone(), "first here")
                    .help("give one server a higher weight instead"),
            );
        } else {
            seen.insert(server.address, (&server.name, span));
        }
    }
}

fn usefulness(draft: &Draft, reporter: &mut Reporter<'_>) {
    let servers = &draft.service.servers;
    let mut warn = |code: Code, phrase: &str, help: &str| {
        let message = format!("`{}.servers` {phrase}", draft.path);
        reporter.push(Finding::new(code, draft.servers_key.clone(), message).help(help));
    };
    if servers.iter().all(|server| server.weight == 0) {
        let help = "a server of weight 0 takes no new flow; give one a weight of 1 to 256";
        warn(Code::AllWeightsZero, "has only servers of weight 0", help);
    }
    if servers.iter().all(|server| server.backup) {
        let help = "backups are used while no other server can be; remove `backup` from one";
        warn(Code::OnlyBackups, "has only backups", help);
    }
    if servers.len() == 1 {
        let help = "when it fails, the service fails";
        warn(Code::SingleServer, "has one server only", help);
    }
}
