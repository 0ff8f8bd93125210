//! What is known of each followed address, and what follows from it. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::engine::Neighbour;
use crate::net::kernel::{Address, Entry, EntryState, Links, Route};

/// Failed attempts after which a neighbour that was known counts as gone. After the first the kernel has
/// only asked the old MAC address; the second asked everybody, which finds a server that changed its card.
const ATTEMPTS: u8 = 2;

/// All that the kernel says at one moment.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) links: Links,
    pub(super) addresses: Vec<Address>,
    /// For each followed address.
    pub(super) routes: BTreeMap<IpAddr, Route>,
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Report(IpAddr, Neighbour),
    /// Have the kernel ask for the address on the interface.
    Resolve(IpAddr, u32),
    /// Have the kernel verify what it has.
    Verify(IpAddr, u32),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    followed: BTreeMap<IpAddr, Followed>,
}

#[derive(Clone, Debug, Default)]
struct Followed {
    /// The segment that the address is on; `None` where it is on none of ours.
    segment: Option<Segment>,
    entry: Option<EntryState>,
    failed: u8,
    reported: Option<Neighbour>,
}

/// The segment that an address is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub ifindex: u32,
    pub interface: String,
}

impl Table {
    /// Follows exactly these addresses; [`Table::on_facts`] has to come next for those that are new.
    pub(super) fn follow(&mut self, addresses: &[IpAddr]) {
        self.followed
            .retain(|address, _| addresses.contains(address));
        for address in addresses {
            self.followed.entry(*address).or_default();
        }
    }

    pub(super) fn followed(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.followed.keys().copied()
    }

    /// Takes in a reading of everything.
    pub(super) fn on_facts(&mut self, facts: Facts) -> Vec<Action> {
        let mut actions = Vec::new();
        let entries: BTreeMap<(IpAddr, u32), EntryState> = facts
            .entries
            .iter()
            .map(|entry| ((entry.address, entry.ifindex), entry.state))
            .collect();
        for (address, followed) in &mut self.followed {
            let Some(route) = facts.routes.get(address) else {
                continue;
            };
            match segment(*address, *route, &facts) {
                Err(reason) => followed.cut_off(*address, reason, &mut actions),
                Ok(segment) => {
                    let ifindex = segment.ifindex;
                    if followed.segment.as_ref().map(|segment| segment.ifindex) != Some(ifindex) {
                        followed.failed = 0;
                        followed.entry = None;
                    }
                    followed.segment = Some(segment);
                    match entries.get(&(*address, ifindex)) {
                        Some(state) if followed.entry == Some(*state) => {
                            followed.refresh_name(*address, &mut actions);
                        }
                        Some(state) => followed.on_state(*address, *state, true, &mut actions),
                        None => followed.on_gone(*address, &mut actions),
                    }
                }
            }
        }
        actions
    }

    /// Takes in a change of one entry of the neighbour table.
    pub(super) fn on_entry(&mut self, entry: Entry) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(followed) = self.on_segment(entry.address, entry.ifindex) {
            followed.on_state(entry.address, entry.state, false, &mut actions);
        }
        actions
    }

    /// Takes in the removal of an entry.
    pub(super) fn on_entry_gone(&mut self, address: IpAddr, ifindex: u32) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(followed) = self.on_segment(address, ifindex) {
            followed.on_gone(address, &mut actions);
        }
        actions
    }

    /// Takes in that a link went down; the next reading tells what became of the routes. Without waiting for
    /// it, because until then the silence of the servers behind the link would be taken for theirs.
    pub(super) fn on_link_down(&mut self, ifindex: u32) -> Vec<Action> {
        let mut actions = Vec::new();
        for (address, followed) in &mut self.followed {
            if let Some(segment) = followed
                .segment
                .take_if(|segment| segment.ifindex == ifindex)
            {
                let reason = is_down(*address, &segment.interface);
                followed.cut_off(*address, reason, &mut actions);
            }
        }
        actions
    }

    /// Has unresolved addresses tried again, and with `verify` those that are resolved verified.
    pub(super) fn on_tick(&self, verify: bool) -> Vec<Action> {
        let followed = self.followed.iter();
        let actions = followed.filter_map(|(address, followed)| {
            let ifindex = followed.segment.as_ref()?.ifindex;
            match followed.entry {
                Some(EntryState::Fixed(_)) => None,
                Some(EntryState::Valid(_)) => verify.then_some(Action::Verify(*address, ifindex)),
                Some(EntryState::Open | EntryState::Failed) | None => {
                    Some(Action::Resolve(*address, ifindex))
                }
            }
        });
        actions.collect()
    }

    fn on_segment(&mut self, address: IpAddr, ifindex: u32) -> Option<&mut Followed> {
        let followed = self.followed.get_mut(&address)?;
        let segment = followed.segment.as_ref()?;
        (segment.ifindex == ifindex).then_some(followed)
    }
}

impl Followed {
    /// `first`: it was found by reading, so how old it is, is not known.
    fn on_state(
        &mut self,
        address: IpAddr,
        state: EntryState,
        first: bool,
        actions: &mut Vec<Action>,
    ) {
        let Some(segment) = self.segment.clone() else {
            return;
        };
        self.entry = Some(state);
        match state {
            EntryState::Valid(mac) | EntryState::Fixed(mac) => {
                self.failed = 0;
                let neighbour = Neighbour::Resolved {
                    mac,
                    ifindex: segment.ifindex,
                    interface: segment.interface,
                };
                self.report(address, neighbour, actions);
                if first && matches!(state, EntryState::Valid(_)) {
                    actions.push(Action::Verify(address, segment.ifindex));
                }
            }
            // A failure found by reading may be long past.
            EntryState::Open | EntryState::Failed if first => {
                actions.push(Action::Resolve(address, segment.ifindex))
            }
            // Somebody is asking; the answer, or its absence, will be a change.
            EntryState::Open => {}
            EntryState::Failed => {
                self.failed = self.failed.saturating_add(1);
                let known = matches!(self.reported, Some(Neighbour::Resolved { .. }));
                if known && self.failed < ATTEMPTS {
                    actions.push(Action::Resolve(address, segment.ifindex));
                } else {
                    let reason = no_answer(address, &segment.interface);
                    self.report(address, Neighbour::Unresolved(reason), actions);
                }
            }
        }
    }

    /// The kernel dropped the entry: for want of room, or because the link went down, of which the next
    /// reading will tell. What was reported stays until the address has been asked for again.
    fn on_gone(&mut self, address: IpAddr, actions: &mut Vec<Action>) {
        self.entry = None;
        if let Some(segment) = &self.segment {
            actions.push(Action::Resolve(address, segment.ifindex));
        }
    }

    /// The address is on no segment of ours.
    fn cut_off(&mut self, address: IpAddr, reason: String, actions: &mut Vec<Action>) {
        *self = Self {
            reported: self.reported.take(),
            ..Self::default()
        };
        self.report(address, Neighbour::Unreachable(reason), actions);
    }

    /// The interface may have been renamed.
    fn refresh_name(&mut self, address: IpAddr, actions: &mut Vec<Action>) {
        if let (Some(Neighbour::Resolved { mac, .. }), Some(segment)) =
            (&self.reported, &self.segment)
        {
            let neighbour = Neighbour::Resolved {
                mac: *mac,
                ifindex: segment.ifindex,
                interface: segment.interface.clone(),
            };
            self.report(address, neighbour, actions);
        }
    }

    fn report(&mut self, address: IpAddr, neighbour: Neighbour, actions: &mut Vec<Action>) {
        if self.reported.as_ref() != Some(&neighbour) {
            self.reported = Some(neighbour.clone());
            actions.push(Action::Report(address, neighbour));
        }
    }
}

fn no_answer(address: IpAddr, interface: &str) -> String {
    match address {
        IpAddr::V4(_) => format!("no answer to ARP for {address} on {interface}"),
        IpAddr::V6(_) => {
            format!("no answer to neighbour solicitation for {address} on {interface}")
        }
    }
}

/// The segment that an address is on, or why it is on none of ours.
pub(super) fn segment(address: IpAddr, route: Route, facts: &Facts) -> Result<Segment, String> {
    let ifindex = match route {
        Route::Direct { ifindex } => ifindex,
        Route::Local => {
            return Err(format!("{address} is an address of this director itself"));
        }
        Route::Via { router, .. } => {
            let router = router
                .map(|router| format!(" {router}"))
                .unwrap_or_default();
            return Err(format!(
                "{address} is reached through the router{router}, but dsr needs it on the same segment"
            ));
        }
        Route::None => return Err(no_route(address, facts)),
    };
    let Some(link) = facts.links.get(&ifindex) else {
        return Err(format!("no route to {address}"));
    };
    if !link.up {
        return Err(is_down(address, &link.name));
    }
    if link.mac.is_none() {
        return Err(format!(
            "{address} is reached through {}, which has no MAC addresses, but dsr needs Ethernet",
            link.name
        ));
    }
    Ok(Segment {
        ifindex,
        interface: link.name.clone(),
    })
}

/// The route of a subnet goes when its interface is taken down, the address stays: so the cause can be told.
fn no_route(address: IpAddr, facts: &Facts) -> String {
    let down = facts.addresses.iter().find_map(|own| {
        let link = facts.links.get(&own.ifindex)?;
        (own.covers(address) && !link.up).then_some(link)
    });
    match down {
        Some(link) => is_down(address, &link.name),
        None => format!("no route to {address}"),
    }
}

fn is_down(address: IpAddr, interface: &str) -> String {
    format!("{interface} is down, so {address} cannot be reached")
}

#[cfg(test)]
mod tests;
