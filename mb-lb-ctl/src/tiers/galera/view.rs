//! Who stands with whom: nodes grouped by the component that they say they are in.
//!
//! State UUID and number of the configuration are the same on both sides of a split brain; the list of members is what
//! differs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::{Round, Status};
use crate::config::TierServer;

/// One member, as far as it is known here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    Server(String),
    /// By what the node says of itself: a name, an address on another network.
    Other(String),
}

/// A primary component, as some nodes report it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) members: BTreeSet<Member>,
    pub(super) reporters: BTreeSet<String>,
    /// `wsrep_cluster_size`, which counts arbitrators too.
    pub(super) size: u32,
    /// Nobody that it names and that answers says anything else.
    pub(super) trusted: bool,
}

impl View {
    /// It reports this view, or is named by it.
    pub(super) fn has(&self, server: &str) -> bool {
        self.reporters.contains(server) || self.names(server)
    }

    /// It is not in it. False where that cannot be known, because members are named as nobody here is.
    pub(super) fn lacks(&self, server: &str) -> bool {
        !self.has(server) && self.is_known()
    }

    /// The servers of it, by name.
    pub(super) fn servers(&self) -> BTreeSet<&str> {
        let named = self.members.iter().filter_map(|member| match member {
            Member::Server(name) => Some(name.as_str()),
            Member::Other(_) => None,
        });
        named
            .chain(self.reporters.iter().map(String::as_str))
            .collect()
    }

    fn names(&self, server: &str) -> bool {
        self.members.contains(&Member::Server(server.to_owned()))
    }

    fn is_known(&self) -> bool {
        !self.members.is_empty()
            && self
                .members
                .iter()
                .all(|member| matches!(member, Member::Server(_)))
    }

    fn overlaps(&self, other: &Self) -> bool {
        !self.members.is_disjoint(&other.members)
    }
}

/// All primary components that somebody reports, in the order of their members.
pub(super) fn views(round: &Round, servers: &[TierServer]) -> Vec<View> {
    let mut groups: BTreeMap<(&str, BTreeSet<Member>), View> = BTreeMap::new();
    for (server, status) in answers(round, servers) {
        if !status.primary() {
            continue;
        }
        let members: BTreeSet<_> = status
            .members
            .iter()
            .map(|text| member(text, servers))
            .collect();
        let group = groups
            .entry((&status.state_uuid, members.clone()))
            .or_insert_with(|| View {
                members,
                reporters: BTreeSet::new(),
                size: 0,
                trusted: false,
            });
        group.reporters.insert(server.to_owned());
        group.size = group.size.max(status.size);
    }
    let mut views: Vec<_> = groups.into_values().collect();
    // A node that reports a component without itself is not part of it.
    for view in views.iter_mut().filter(|view| view.is_known()) {
        let View {
            members, reporters, ..
        } = view;
        reporters.retain(|server| members.contains(&Member::Server(server.clone())));
    }
    let sound = |view: &View| !view.reporters.is_empty() && !is_contradicted(view, round, servers);
    let sound: Vec<_> = views.iter().map(sound).collect();
    // A member is in one component only: of two views that share one, one is out of date. Which, nobody says who can be
    // asked by that name; one that all its members report is believed.
    let believed = |(at, view): (usize, &View)| {
        let mut others = views.iter().zip(&sound).enumerate();
        sound[at]
            && (view.reporters.len() == view.members.len()
                || !others
                    .any(|(other, (there, sound))| other != at && *sound && view.overlaps(there)))
    };
    let trusted: Vec<_> = views.iter().enumerate().map(believed).collect();
    for (view, trusted) in views.iter_mut().zip(trusted) {
        view.trusted = trusted;
    }
    views
}

/// A node that it names answers, and reports something else.
fn is_contradicted(view: &View, round: &Round, servers: &[TierServer]) -> bool {
    answers(round, servers)
        .any(|(server, _)| view.names(server) && !view.reporters.contains(server))
}

/// What configured servers that answered said.
fn answers<'a>(
    round: &'a Round,
    servers: &'a [TierServer],
) -> impl Iterator<Item = (&'a str, &'a Status)> {
    servers.iter().filter_map(|server| {
        let answer = round.nodes.get(&server.name)?;
        Some((server.name.as_str(), answer.said.as_ref().ok()?))
    })
}

fn member(text: &str, servers: &[TierServer]) -> Member {
    let other = || Member::Other(text.to_ascii_lowercase());
    if let Ok(address) = text.parse::<SocketAddr>()
        && let Some(server) = servers.iter().find(|server| server.address == address)
    {
        return Member::Server(server.name.clone());
    }
    // Port 0 or none: a server that was not told where it listens.
    let bare = match text.rsplit_once(':') {
        Some((bare, "0")) => bare,
        _ => text,
    };
    let Ok(ip) = bare
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
    else {
        return other();
    };
    let mut there = servers.iter().filter(|server| server.address.ip() == ip);
    match (there.next(), there.next()) {
        (Some(server), None) => Member::Server(server.name.clone()),
        _ => other(),
    }
}

#[cfg(test)]
mod tests;
