//! The kernel's view of links, addresses, routes and neighbours, by rtnetlink(7), in the few words that the
//! rest of this module needs.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::{MulticastGroup, new_connection, new_multicast_connection};
use tokio::task::JoinHandle;

use super::Error;

/// The kernel answers within microseconds; an answer that is lost must not stop everything.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) type Mac = [u8; 6];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// `None`: not Ethernet, or without address resolution.
    pub(super) mac: Option<Mac>,
    pub(super) mtu: u32,
    /// Administratively up and with a carrier.
    pub(super) up: bool,
    pub(super) loopback: bool,
}

pub(super) type Links = BTreeMap<u32, Link>;

/// An address of this host, with its subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
}

impl Address {
    pub(super) fn covers(&self, other: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= prefix
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= prefix
            }
            _ => false,
        }
    }
}

/// Where packets to an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To this host.
    Local,
    /// To a neighbour.
    Direct { ifindex: u32 },
    /// To a router; its address is not known where it is of another protocol than IP.
    Via {
        ifindex: u32,
        router: Option<IpAddr>,
    },
    /// Nowhere: no route, or one that forbids it.
    None,
}

/// State of an entry of the neighbour table (`NUD_*` in `linux/neighbour.h`), as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryState {
    /// Nothing known yet: none, incomplete.
    Open,
    /// Believed: reachable, stale, delay, probe.
    Valid(Mac),
    /// Set by an administrator or a routing daemon; the kernel does not verify it, and neither do we.
    Fixed(Mac),
    /// The neighbour did not answer.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) address: IpAddr,
    pub(super) ifindex: u32,
    pub(super) state: EntryState,
}

/// A connection for questions and requests. Notifications have their own, because a socket that overflows
/// with notifications loses answers too.
pub(super) struct Kernel {
    pub(super) handle: rtnetlink::Handle,
    driver: JoinHandle<()>,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Kernel {
    /// Opens a connection in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, Error> {
        let (connection, handle, _) = new_connection()?;
        let driver = tokio::spawn(connection);
        Ok(Self { handle, driver })
    }

    pub(super) async fn links(&self) -> Result<Links, Error> {
        let messages = self.handle.link().get().execute();
        let messages: Vec<_> = ask("the links", messages.try_collect()).await?;
        let links = messages.iter().map(link);
        Ok(links.map(|link| (link.index, link)).collect())
    }

    pub(super) async fn addresses(&self) -> Result<Vec<Address>, Error> {
        let messages = self.handle.address().get().execute();
        let messages: Vec<_> = ask("its addresses", messages.try_collect()).await?;
        let addresses = messages.iter().filter_map(address);
        Ok(addresses.collect())
    }

    pub(super) async fn route(&self, to: IpAddr) -> Result<Route, Error> {
        let mut question = RouteMessage::default();
        question.header.address_family = family(to);
        question.header.destination_prefix_length = if to.is_ipv4() { 32 } else { 128 };
        question.attributes = vec![RouteAttribute::Destination(RouteAddress::from(to))];
        let mut answers = Box::pin(self.handle.route().get(question).execute());
        match ask("a route", answers.try_next()).await {
            Ok(Some(answer)) => Ok(route(&answer)),
            Ok(None) => Ok(Route::None),
            // "No such route" comes as an error; which one depends on the kind of the route.
            Err(Error::Refused {
                source: rtnetlink::Error::NetlinkError(error),
                ..
            }) if no_route(error.raw_code()) => Ok(Route::None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn neighbours(&self) -> Result<Vec<Entry>, Error> {
        let messages = self.handle.neighbours().get().execute();
        let messages: Vec<_> = ask("its neighbours", messages.try_collect()).await?;
        Ok(messages.iter().filter_map(entry).collect())
    }

    /// Has the kernel resolve an address as if a packet were to be sent there; the entry is made if need be.
    pub(super) async fn resolve(&self, address: IpAddr, ifindex: u32) -> Result<(), Error> {
        let mut message = neighbour(address, ifindex);
        message.header.flags = NeighbourFlags::Use;
        self.change(message, NLM_F_CREATE).await
    }

    /// Has the kernel verify a valid entry now instead of when its reachable time is over. The MAC address is
    /// left out of the request, so an answer that comes meanwhile is not overwritten.
    pub(super) async fn verify(&self, address: IpAddr, ifindex: u32) -> Result<(), Error> {
        let mut message = neighbour(address, ifindex);
        message.header.state = NeighbourState::Probe;
        self.change(message, 0).await
    }

    async fn change(&self, message: NeighbourMessage, flags: u16) -> Result<(), Error> {
        const WHAT: &str = "whether it resolves an address";
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut handle = self.handle.clone();
        let mut answers = handle
            .request(request)
            .map_err(|source| Error::Refused { what: WHAT, source })?;
        let refusal = async {
            while let Some(answer) = answers.next().await {
                if let NetlinkPayload::Error(error) = answer.payload {
                    return Err(rtnetlink::Error::NetlinkError(error));
                }
            }
            Ok(())
        };
        ask(WHAT, refusal).await
    }
}

pub(super) async fn ask<T>(
    what: &'static str,
    answer: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Err(_) => Err(Error::Late(what)),
        Ok(Err(rtnetlink::Error::RequestFailed)) => Err(Error::Ended),
        Ok(Err(source)) => Err(Error::Refused { what, source }),
        Ok(Ok(value)) => Ok(value),
    }
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Entry(Entry),
    EntryGone {
        address: IpAddr,
        ifindex: u32,
    },
    Link {
        ifindex: u32,
        up: bool,
    },
    /// Routes, addresses, the set of links.
    Path,
    /// Notifications were lost: anything may have changed.
    Unknown,
}

/// Notifications of the kernel.
pub(super) struct Changes {
    messages:
        Box<dyn futures_util::Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Send + Unpin>,
    /// The connection ends with its last handle.
    _handle: rtnetlink::Handle,
    driver: JoinHandle<()>,
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Changes {
    /// Subscribes to changes of links only.
    pub(super) fn of_links() -> Result<Self, Error> {
        Self::subscribe(&[MulticastGroup::Link])
    }

    /// Subscribes to all that can change the next hop of an address.
    pub(super) fn of_next_hops() -> Result<Self, Error> {
        Self::subscribe(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ])
    }

    fn subscribe(groups: &[MulticastGroup]) -> Result<Self, Error> {
        let (connection, handle, messages) = new_multicast_connection(groups)?;
        Ok(Self {
            messages: Box::new(messages.map(|(message, _)| message)),
            _handle: handle,
            driver: tokio::spawn(connection),
        })
    }

    /// The next change. Can be cancelled without loss.
    pub(super) async fn next(&mut self) -> Result<Change, Error> {
        while let Some(message) = self.messages.next().await {
            if let Some(change) = change(message.payload) {
                return Ok(change);
            }
        }
        Err(Error::Ended)
    }
}

fn change(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Change> {
    use RouteNetlinkMessage as Message;
    let message = match payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Overrun(_) => return Some(Change::Unknown),
        _ => return None,
    };
    match message {
        Message::NewNeighbour(message) => entry(&message).map(Change::Entry),
        Message::DelNeighbour(message) => entry(&message).map(|entry| Change::EntryGone {
            address: entry.address,
            ifindex: entry.ifindex,
        }),
        // Bridges tell about their ports by messages of their own family, which lack most of the link.
        Message::NewLink(message) if message.header.interface_family == AddressFamily::Unspec => {
            let Link { index, up, .. } = link(&message);
            Some(Change::Link { ifindex: index, up })
        }
        Message::DelLink(_)
        | Message::NewAddress(_)
        | Message::DelAddress(_)
        | Message::NewRoute(_)
        | Message::DelRoute(_)
        | Message::NewRule(_)
        | Message::DelRule(_) => Some(Change::Path),
        _ => None,
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn neighbour(address: IpAddr, ifindex: u32) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = ifindex;
    message.attributes = vec![NeighbourAttribute::Destination(match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    })];
    message
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let resolves = message.header.link_layer_type == LinkLayerType::Ether
        && !flags.intersects(LinkFlags::Noarp | LinkFlags::Loopback);
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up | LinkFlags::Running),
        loopback: flags.contains(LinkFlags::Loopback),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) if resolves => link.mac = mac(bytes),
            _ => {}
        }
    }
    link
}

/// A unicast MAC address, or nothing.
fn mac(bytes: &[u8]) -> Option<Mac> {
    let mac: Mac = bytes.try_into().ok()?;
    let multicast = mac[0] & 1 != 0;
    (!multicast && mac != [0; 6]).then_some(mac)
}

/// `None`: a message without an address, as for a multicast membership.
pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    // On a point-to-point link `Address` is the far end; `Local` is ours wherever it is given.
    let own = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    };
    let any = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    };
    let attributes = &message.attributes;
    let address = attributes.iter().find_map(own);
    Some(Address {
        ifindex: message.header.index,
        address: address.or_else(|| attributes.iter().find_map(any))?,
        prefix: message.header.prefix_len,
    })
}

fn route(message: &RouteMessage) -> Route {
    let (mut out, mut router) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => out = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => {
                router = Some(Some(IpAddr::V4(*address)));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => {
                router = Some(Some(IpAddr::V6(*address)));
            }
            RouteAttribute::Via(via) => {
                router = Some(match via {
                    RouteVia::Inet(address) => Some(IpAddr::V4(*address)),
                    RouteVia::Inet6(address) => Some(IpAddr::V6(*address)),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    match (message.header.kind, out, router) {
        (RouteType::Local | RouteType::Anycast, ..) => Route::Local,
        (RouteType::Unicast, Some(ifindex), None) => Route::Direct { ifindex },
        (RouteType::Unicast, Some(ifindex), Some(router)) => Route::Via { ifindex, router },
        _ => Route::None,
    }
}

/// Errors by which the kernel says that packets to an address go nowhere: no route, and the route types
/// unreachable, prohibit and blackhole (ip-route(8)).
fn no_route(code: i32) -> bool {
    matches!(
        -code,
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL
    )
}

fn entry(message: &NeighbourMessage) -> Option<Entry> {
    let (mut address, mut link_layer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                address = Some(IpAddr::V4(*ip));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                address = Some(IpAddr::V6(*ip));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => link_layer = mac(bytes),
            _ => {}
        }
    }
    let learned = message.header.flags.contains(NeighbourFlags::ExtLearned);
    let state = match (message.header.state, link_layer) {
        (NeighbourState::Failed, _) => EntryState::Failed,
        (NeighbourState::Permanent, Some(mac)) => EntryState::Fixed(mac),
        (
            NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe,
            Some(mac),
        ) if learned => EntryState::Fixed(mac),
        (
            NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe,
            Some(mac),
        ) => EntryState::Valid(mac),
        _ => EntryState::Open,
    };
    Some(Entry {
        address: address?,
        ifindex: message.header.ifindex,
        state,
    })
}
