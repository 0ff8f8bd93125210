//! VIPs as addresses of this host: held on a lease, tagged, watched.
//!
//! An address with a lifetime is taken away by the kernel when nobody refreshes it, so a controller that was
//! killed or hangs cannot keep a VIP from the other director. Connections over the address survive refreshes.
//!
//! A VIP must not become the source of the director's own connections: they would break when it moves, and
//! until then the answers belong to whoever holds it. What keeps the kernel from choosing it:
//!
//! - IPv4 with prefix 32: scope host. Source selection skips it for all that leaves this host; answering ARP
//!   and connections to it works as with any other (but not under `arp_ignore` 2, 3 and 8, ip-sysctl).
//! - IPv4 with a shorter prefix: the kernel wants the scope of the other addresses of that subnet, and makes
//!   an address that comes after another one of its subnet *secondary*, which is never a source. The first
//!   address of a subnet, though, is its source; so the director's own must be there before the VIP. And where
//!   `promote_secondaries` is off, removing the director's own takes the secondary VIP away too; where it is
//!   on, the VIP becomes the source. [`AddressChange::Removed`] tells of the former. Prefix 32 has none of
//!   these troubles and is what one should configure.
//! - IPv6: a preferred lifetime of 0, so that the address is deprecated (RFC 4862 section 5.5.4).
//!
//! IPv6 addresses make no route to their prefix (`IFA_F_NOPREFIXROUTE`): it would be one route with that of the
//! director's own address, which must not depend on a lease. They are not tested for duplicates
//! (`IFA_F_NODAD`), which would delay taking over by a second and refuse it while the other director lives.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::TryStreamExt;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::Error;
use super::kernel::{self, Kernel};

/// Tag of the addresses that mb-lb holds (`IFA_PROTO`), by which a restarted controller finds what it left
/// behind. Kernels before 5.18 ignore it, and [`Held::tagged`] is then always false: there the caller has to
/// go by the VIPs that it is configured to own.
pub const PROTOCOL: u8 = 0x77;

/// `INFINITY_LIFE_TIME` in the kernel's `net/addrconf.h`.
const FOREVER: u32 = u32::MAX;

/// A virtual address in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vip {
    pub address: IpAddr,
    /// Bits.
    pub prefix: u8,
    pub ifindex: u32,
}

impl From<kernel::Address> for Vip {
    fn from(address: kernel::Address) -> Self {
        Self {
            address: address.address,
            prefix: address.prefix,
            ifindex: address.ifindex,
        }
    }
}

/// An address that this host has, a VIP or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub vip: Vip,
    /// Has [`PROTOCOL`]: was held by mb-lb, in this life or an earlier one.
    pub tagged: bool,
    /// What is left of its lifetime, in whole seconds; `None` is without end.
    pub valid: Option<Duration>,
}

/// The addresses of a network namespace.
pub struct AddressBook {
    kernel: Kernel,
}

impl AddressBook {
    /// Opens a connection in the network namespace of the calling thread, for requests only: on one that gets
    /// notifications too, those that one's own requests cause would pass for answers.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn open() -> Result<Self, Error> {
        let kernel = Kernel::open()?;
        Ok(Self { kernel })
    }

    /// Takes the address, or sets the rest of its lifetime where it is there already. `None` is without end;
    /// other lifetimes are rounded up to whole seconds, at least 1. The kernel lets them end up to 0.3 s late.
    ///
    /// An address that another program had put there is adopted: it gets the tag and the lifetime, but keeps
    /// its scope.
    ///
    /// # Errors
    /// [`Error::Address`] where the kernel refuses, as without CAP_NET_ADMIN or without the interface;
    /// [`Error::Late`] and [`Error::Ended`].
    pub async fn hold(&self, vip: &Vip, lifetime: Option<Duration>) -> Result<(), Error> {
        let add = self.kernel.handle.address();
        let mut request = add.add(vip.ifindex, vip.address, vip.prefix).replace();
        *request.message_mut() = wanted(vip, lifetime);
        let held = kernel::ask("whether it holds an address", request.execute()).await;
        held.map_err(|error| named(error, "hold", vip))
    }

    /// Gives the address up. Exactly this one, whoever put it there: the same address with another prefix or
    /// on another interface stays. That it is absent is no error.
    ///
    /// A VIP that has become the first address of its subnet takes the others of that subnet with it, where
    /// `promote_secondaries` is off (see the module).
    ///
    /// # Errors
    /// As with [`hold`](Self::hold).
    pub async fn release(&self, vip: &Vip) -> Result<(), Error> {
        let request = self.kernel.handle.address().del(plain(vip));
        let released = kernel::ask("whether it gave an address up", request.execute()).await;
        match released {
            Err(Error::Refused {
                source: rtnetlink::Error::NetlinkError(error),
                ..
            }) if absent(error.raw_code()) => Ok(()),
            released => released.map_err(|error| named(error, "give up", vip)),
        }
    }

    /// All addresses of this network namespace.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Late`] and [`Error::Ended`].
    pub async fn list(&self) -> Result<Vec<Held>, Error> {
        let messages = self.kernel.handle.address().get().execute();
        let messages: Vec<_> = kernel::ask("its addresses", messages.try_collect()).await?;
        Ok(messages.iter().filter_map(held).collect())
    }

    /// Subscribes to all changes of addresses from now on, in the network namespace of the calling thread.
    /// Subscribe, then [`list`](Self::list): what changes in between comes twice rather than never.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn watch(&self) -> Result<AddressChanges, Error> {
        // No `rtnetlink` connection: it reads without end into a queue without end. Here what is not fetched
        // stays in the kernel, whose queue has an end and says when it was reached.
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let inner = socket.socket_mut();
        inner.bind(&SocketAddr::new(0, 0))?;
        inner.add_membership(libc::RTNLGRP_IPV4_IFADDR)?;
        inner.add_membership(libc::RTNLGRP_IPV6_IFADDR)?;
        Ok(AddressChanges {
            socket,
            pending: VecDeque::new(),
        })
    }
}

/// Gives up what a process that has ended has left: every address with our tag, and those of `known`, for kernels that
/// keep no tags. In the network namespace of the calling thread; blocks.
///
/// # Errors
/// As [`AddressBook::list`] and [`AddressBook::release`], or no runtime can be had.
pub fn release_left(known: &[std::net::IpAddr]) -> Result<Vec<Vip>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let book = AddressBook::open()?;
        let mut released = Vec::new();
        for held in book.list().await? {
            // One that somebody has put there for good is not a router's.
            let leased = held.valid.is_some() && known.contains(&held.vip.address);
            if held.tagged || leased {
                book.release(&held.vip).await?;
                released.push(held.vip);
            }
        }
        Ok(released)
    })
}

/// What became of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressChange {
    /// It came, or something about it changed; a refresh of its lifetime counts.
    Added(Vip),
    /// Released, removed by somebody else, taken along with the first address of its subnet, or run out.
    Removed(Vip),
    /// Changes were lost: [`AddressBook::list`] tells what is there now.
    Resync,
}

/// Changes of the addresses of a network namespace, one's own and those by others.
pub struct AddressChanges {
    socket: TokioSocket,
    pending: VecDeque<AddressChange>,
}

impl AddressChanges {
    /// The next change. Can be cancelled without loss.
    ///
    /// # Errors
    /// [`Error::Socket`]: no more changes come from here.
    pub async fn next(&mut self) -> Result<AddressChange, Error> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Ok(change);
            }
            match self.socket.recv_from_full().await {
                // Port 0 is the kernel; a privileged process may send to the group as well.
                Ok((bytes, from)) if from.port_number() == 0 => {
                    self.pending.extend(changes(&bytes));
                }
                Ok(_) => {}
                Err(error) if overflowed(&error) => {
                    self.discard()?;
                    return Ok(AddressChange::Resync);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Empties the queue. Until it is empty the kernel keeps nothing new, and does not say so again: what
    /// happened after a resync would be lost in silence.
    fn discard(&self) -> io::Result<()> {
        // What is longer than that is cut off, and goes as well.
        let mut scrap = [0; 1];
        loop {
            match self.socket.socket_ref().recv(&mut &mut scrap[..], 0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if !overflowed(&error) => return Err(error),
                _ => {}
            }
        }
    }
}

/// Changes found the kernel's queue full (netlink(7)).
fn overflowed(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

/// A datagram holds one message or several, each padded to four bytes.
fn changes(mut bytes: &[u8]) -> Vec<AddressChange> {
    use RouteNetlinkMessage as Message;
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let Ok(message) = NetlinkMessage::<Message>::deserialize(bytes) else {
            // Something changed that cannot be read.
            changes.push(AddressChange::Resync);
            break;
        };
        let (message, length) = (message.payload, message.header.length as usize);
        let change = match message {
            NetlinkPayload::InnerMessage(Message::NewAddress(message)) => {
                kernel::address(&message).map(|address| AddressChange::Added(address.into()))
            }
            NetlinkPayload::InnerMessage(Message::DelAddress(message)) => {
                kernel::address(&message).map(|address| AddressChange::Removed(address.into()))
            }
            _ => None,
        };
        changes.extend(change);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    changes
}

/// The address and nothing else of it.
fn plain(vip: &Vip) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = kernel::family(vip.address);
    message.header.prefix_len = vip.prefix;
    message.header.index = vip.ifindex;
    message.attributes = vec![
        AddressAttribute::Local(vip.address),
        AddressAttribute::Address(vip.address),
    ];
    message
}

fn wanted(vip: &Vip, lifetime: Option<Duration>) -> AddressMessage {
    let mut message = plain(vip);
    let mut times = CacheInfo::default();
    times.ifa_valid = lifetime.map_or(FOREVER, seconds);
    match vip.address {
        IpAddr::V4(_) => {
            times.ifa_preferred = times.ifa_valid;
            if vip.prefix == 32 {
                message.header.scope = AddressScope::Host;
            }
        }
        IpAddr::V6(_) => {
            times.ifa_preferred = 0;
            let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
            message.attributes.push(AddressAttribute::Flags(flags));
        }
    }
    let protocol = AddressProtocol::from(PROTOCOL);
    message.attributes.extend([
        AddressAttribute::CacheInfo(times),
        AddressAttribute::Protocol(protocol),
    ]);
    message
}

/// Rounded up, at least 1 because the kernel refuses 0, and less than [`FOREVER`].
fn seconds(lifetime: Duration) -> u32 {
    let begun = u64::from(lifetime.subsec_nanos() > 0);
    let seconds = lifetime.as_secs().saturating_add(begun).max(1);
    u32::try_from(seconds).map_or(FOREVER - 1, |seconds| seconds.min(FOREVER - 1))
}

fn held(message: &AddressMessage) -> Option<Held> {
    let mut held = Held {
        vip: kernel::address(message)?.into(),
        tagged: false,
        valid: None,
    };
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Protocol(protocol) => held.tagged = u8::from(*protocol) == PROTOCOL,
            AddressAttribute::CacheInfo(times) if times.ifa_valid != FOREVER => {
                held.valid = Some(Duration::from_secs(times.ifa_valid.into()));
            }
            _ => {}
        }
    }
    Some(held)
}

/// The address is not there, or its interface is not.
fn absent(code: i32) -> bool {
    matches!(-code, libc::EADDRNOTAVAIL | libc::ENODEV)
}

fn named(error: Error, what: &'static str, vip: &Vip) -> Error {
    match error {
        Error::Refused { source, .. } => Error::Address {
            what,
            address: vip.address,
            source,
        },
        error => error,
    }
}

#[cfg(test)]
mod tests;
