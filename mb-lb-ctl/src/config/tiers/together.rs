//! What can only be seen across tiers, and between them and services.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::{Draft, Drafts};
use crate::config::TierServer;
use crate::config::diagnostic::{Code, Finding, Reporter, quote};
use crate::config::schema;

/// A service or a proxy that storage may take out.
pub(in crate::config) struct Served<'d> {
    pub name: &'d str,
    /// Where all could be read.
    pub servers: Option<Vec<&'d str>>,
}

pub(in crate::config) fn together(
    drafts: &Drafts,
    vips: &BTreeMap<IpAddr, Range<usize>>,
    dsr: &BTreeMap<IpAddr, (&str, Range<usize>)>,
    served: &[Served<'_>],
    reporter: &mut Reporter<'_>,
) {
    for draft in &drafts.galeras {
        let (name, servers) = (&draft.tier.name, &draft.tier.servers);
        addresses("galera", name, servers, draft, vips, reporter);
        if draft.complete && servers.iter().all(|server| server.weight == 0) {
            let message = format!("galera {} has only servers of weight 0", quote(name));
            let help = "a server of weight 0 is never chosen; give one a weight of 1 to 256";
            reporter
                .push(Finding::new(Code::AllWeightsZero, draft.name.clone(), message).help(help));
        }
        if draft.complete && servers.len() == 2 {
            let message = format!("galera {} has two nodes", quote(name));
            let help = "when one of them dies hard, the other is no majority and stops: three, or two and an arbitrator, do not";
            reporter.push(Finding::new(Code::NoMajority, draft.name.clone(), message).help(help));
        }
    }
    for draft in &drafts.sentinels {
        let (name, servers) = (&draft.tier.name, &draft.tier.servers);
        addresses("sentinel", name, servers, draft, vips, reporter);
    }
    for draft in &drafts.galeras {
        own_vips(
            "galera",
            &draft.tier.name,
            &draft.tier.listen,
            &draft.listen,
            dsr,
            reporter,
        );
    }
    for draft in &drafts.sentinels {
        own_vips(
            "sentinel",
            &draft.tier.name,
            &draft.tier.listen,
            &draft.listen,
            dsr,
            reporter,
        );
    }
    for draft in &drafts.storages {
        takes_out(draft, served, reporter);
    }
}

/// With direct server return the mail servers have the VIP on their loopback interface: whatever they send there goes to
/// themselves. They are the ones that use the database.
fn own_vips(
    kind: &str,
    name: &str,
    listen: &[SocketAddr],
    spans: &[Range<usize>],
    dsr: &BTreeMap<IpAddr, (&str, Range<usize>)>,
    reporter: &mut Reporter<'_>,
) {
    for (at, span) in listen.iter().zip(spans) {
        let Some((service, first)) = dsr.get(&at.ip()) else {
            continue;
        };
        let message = format!(
            "{kind} {} listens on `{at}`, an address that the servers of {} have themselves: they do not get here",
            quote(name),
            quote(service)
        );
        reporter.push(
            Finding::new(Code::OwnVip, span.clone(), message)
                .related(first.clone(), "forward = \"dsr\": it is on their loopback interface")
                .help("give it a VIP of its own, beside the other one in [vrrp.NAME]; or forward = \"proxy\" for the service"),
        );
    }
}

fn addresses<T>(
    kind: &str,
    name: &str,
    servers: &[TierServer],
    draft: &Draft<T>,
    vips: &BTreeMap<IpAddr, Range<usize>>,
    reporter: &mut Reporter<'_>,
) {
    let mut seen: BTreeMap<SocketAddr, (&str, &Range<usize>)> = BTreeMap::new();
    for (server, span) in servers.iter().zip(&draft.servers) {
        let who = format!("server `{name}/{}`", server.name);
        if let Some(vip) = vips.get(&server.address.ip()) {
            let message = format!("{who} has the address of a VIP, `{}`", server.address.ip());
            reporter.push(
                Finding::new(Code::ServerIsVip, span.clone(), message)
                    .related(vip.clone(), "the VIP")
                    .help("write the server's own address; connections to the VIP come to the director"),
            );
        }
        match seen.get(&server.address) {
            Some((first, first_span)) => {
                let message = format!(
                    "{who} has the same address as {}: of one {kind} node there cannot be two",
                    quote(first)
                );
                reporter.push(
                    Finding::new(Code::DuplicateAddress, span.clone(), message)
                        .related((*first_span).clone(), "first here"),
                );
            }
            None => _ = seen.insert(server.address, (&server.name, span)),
        }
    }
}

fn takes_out(
    draft: &Draft<crate::config::Storage>,
    served: &[Served<'_>],
    reporter: &mut Reporter<'_>,
) {
    for (out, span) in draft.tier.takes_out.iter().zip(&draft.takes_out) {
        let known = served.iter().find(|served| served.name == out.service);
        let (what, near) = match (known, &out.server) {
            (None, _) => {
                let names = served.iter().map(|served| served.name);
                ("service", schema::nearest(&out.service, names))
            }
            (Some(known), Some(server)) => {
                let Some(servers) = &known.servers else {
                    continue;
                };
                if servers.contains(&server.as_str()) {
                    continue;
                }
                ("server", schema::nearest(server, servers.iter().copied()))
            }
            (Some(_), None) => continue,
        };
        let message = format!(
            "`takes_out` of storage {} has {}, which is no {what}",
            quote(&draft.tier.name),
            quote(&out.to_string())
        );
        let finding = Finding::new(Code::UnknownService, span.clone(), message);
        reporter.push(match near {
            Some(near) => finding.help(format!("did you mean {}?", quote(near))),
            None => finding,
        });
    }
}
