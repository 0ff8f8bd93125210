//! What can only be seen across instances, and between them and services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use super::Draft;
use super::addresses::Family;
use crate::config::diagnostic::{Code, Finding, Reporter, quote};
use crate::config::schema;

/// A service or a proxy, as far as `track_services` can be wrong about it.
pub(in crate::config) struct Trackable<'d> {
    pub name: &'d str,
    pub span: &'d Range<usize>,
    /// How many, where all could be read.
    pub servers: Option<usize>,
    pub what: &'static str,
}

pub(in crate::config) fn together(
    drafts: &[Draft],
    services: &[Trackable<'_>],
    reporter: &mut Reporter<'_>,
) {
    routers(drafts, reporter);
    let vips = vips(drafts, reporter);
    for draft in drafts {
        ends(draft, &vips, reporter);
        track_services(draft, services, reporter);
    }
    groups(drafts, reporter);
}

/// Two instances that answer to the same adverts.
fn routers(drafts: &[Draft], reporter: &mut Reporter<'_>) {
    let mut seen: BTreeMap<_, (&str, &Range<usize>)> = BTreeMap::new();
    for draft in drafts {
        let vrrp = &draft.vrrp;
        let (Some(span), Some(address)) = (&draft.router, vrrp.addresses.first()) else {
            continue;
        };
        let family = Family::of(address.address).name();
        let router = (&vrrp.interface, vrrp.virtual_router_id, family);
        if let Some((first, first_span)) = seen.get(&router) {
            let message = format!(
                "VRRP instance {} has `virtual_router_id` {} on {} for {family} already",
                quote(first),
                vrrp.virtual_router_id,
                quote(&vrrp.interface)
            );
            reporter.push(
                Finding::new(Code::DuplicateRouter, span.clone(), message)
                    .related((*first_span).clone(), "first here")
                    .help("give each its own number, or one instance all addresses"),
            );
        } else {
            seen.insert(router, (&vrrp.name, span));
        }
    }
}

/// Refuses addresses that are given twice; gives the first place of each.
fn vips(drafts: &[Draft], reporter: &mut Reporter<'_>) -> BTreeMap<IpAddr, Range<usize>> {
    let mut seen: BTreeMap<IpAddr, (&Draft, &Range<usize>)> = BTreeMap::new();
    for draft in drafts {
        for (given, span) in draft.vrrp.addresses.iter().zip(&draft.addresses) {
            // The same link-local address may be on two interfaces; then it is two addresses.
            let link_local = matches!(given.address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            let Some((first, first_span)) = seen.get(&given.address) else {
                seen.insert(given.address, (draft, span));
                continue;
            };
            if link_local && first.vrrp.interface != draft.vrrp.interface {
                continue;
            }
            let name = quote(&first.vrrp.name);
            let message = if first.vrrp.name == draft.vrrp.name {
                format!("VRRP instance {name} has `{}` twice", given.address)
            } else {
                format!("VRRP instance {name} has `{}` already", given.address)
            };
            reporter.push(
                Finding::new(Code::DuplicateAddress, span.clone(), message)
                    .related((*first_span).clone(), "first here"),
            );
        }
    }
    seen.into_iter()
        .map(|(address, (_, span))| (address, span.clone()))
        .collect()
}

/// Adverts come from an address of the director's own, and go to one of the peer's own.
fn ends(draft: &Draft, vips: &BTreeMap<IpAddr, Range<usize>>, reporter: &mut Reporter<'_>) {
    let vrrp = &draft.vrrp;
    let source = vrrp.source.iter().zip(&draft.source);
    let mut is_vip = |key: &str, address: &IpAddr, span: &Range<usize>, help: &str| {
        if let Some(vip) = vips.get(address) {
            let message = format!(
                "`{key}` of VRRP instance {} has a VIP, `{address}`",
                quote(&vrrp.name)
            );
            reporter.push(
                Finding::new(Code::BadEnd, span.clone(), message)
                    .related(vip.clone(), "the VIP")
                    .help(help),
            );
        }
    };
    for (address, span) in source.clone() {
        let help = "write an address that this director always has";
        is_vip("source_address", address, span, help);
    }
    for (peer, span) in vrrp.unicast_peers.iter().zip(&draft.peers) {
        let help = "write an address that the other director always has";
        is_vip("unicast_peers", peer, span, help);
    }
    for (source, source_span) in source {
        let own = vrrp.unicast_peers.iter().zip(&draft.peers);
        for (peer, span) in own.filter(|(peer, _)| *peer == source) {
            let message = format!(
                "`unicast_peers` of VRRP instance {} has its own `source_address`, `{peer}`",
                quote(&vrrp.name)
            );
            reporter.push(
                Finding::new(Code::BadEnd, span.clone(), message)
                    .related(source_span.clone(), "where adverts come from")
                    .help("write the addresses of the other directors only"),
            );
        }
    }
}

fn track_services(draft: &Draft, services: &[Trackable<'_>], reporter: &mut Reporter<'_>) {
    for (track, place) in draft.vrrp.track_services.iter().zip(&draft.services) {
        let find = |service: &&Trackable<'_>| service.name == track.service;
        let Some(service) = services.iter().find(find) else {
            let message = format!(
                "`track_services` of VRRP instance {} has {}, which is no service",
                quote(&draft.vrrp.name),
                quote(&track.service)
            );
            let finding = Finding::new(Code::UnknownService, place.key.clone(), message);
            let names = services.iter().map(|service| service.name);
            reporter.push(match schema::nearest(&track.service, names) {
                Some(near) => finding.help(format!("did you mean {}?", quote(near))),
                None => finding,
            });
            continue;
        };
        let wanted = usize::try_from(track.min_up).unwrap_or(usize::MAX);
        if let Some(servers) = service.servers.filter(|servers| wanted > *servers) {
            let message = format!(
                "`track_services` of VRRP instance {} has min_up = {wanted} for {}, which has {servers} servers",
                quote(&draft.vrrp.name),
                quote(&track.service)
            );
            reporter.push(
                Finding::new(Code::TooFewServers, place.min_up.clone(), message)
                    .related(service.span.clone(), format!("the {}", service.what)),
            );
        }
    }
}

fn groups(drafts: &[Draft], reporter: &mut Reporter<'_>) {
    let mut members: BTreeMap<&str, Vec<&Range<usize>>> = BTreeMap::new();
    for draft in drafts {
        if let (Some(group), Some(span)) = (&draft.vrrp.sync_group, &draft.sync_group) {
            members.entry(group).or_default().push(span);
        }
    }
    for (group, spans) in members {
        if let [only] = spans.as_slice() {
            let message = format!("`sync_group` {} has one member only", quote(group));
            reporter.push(
                Finding::new(Code::LonelyGroup, (*only).clone(), message)
                    .help("instances with the same `sync_group` move together; remove it, or correct the name"),
            );
        }
    }
}
