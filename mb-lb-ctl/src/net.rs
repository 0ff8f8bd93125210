//! The network round the director: next hops of servers, interfaces, the listener that speaks where no
//! server can, and what owning a VIP takes: the address itself, telling the neighbours, and noticing who else
//! claims it.
//!
//! ```text
//!   Neighbours::set --watch--> neighbours task ---Event::Neighbour---> engine
//!                                ^        |
//!              notifications ----+        +--> requests (read tables, have addresses resolved)
//!   watch_interfaces task: link notifications --watch--> data plane
//!   Replies::set --> one task per listener --> one task per connection (256 at a time)
//!   AddressBook --requests--> addresses of this host --AddressChanges--> whoever holds VIPs
//!   Announcer --frames--> neighbours' tables
//!   Guardian::set --watch--> one task per interface ---Claim---> whoever holds VIPs (dropped and counted when full)
//! ```
//!
//! `asking` and `xdp` have no task: they look once, for the command line.

use std::net::IpAddr;

pub mod addresses;
pub mod announce;
pub mod asking;
pub mod guardian;
pub mod interfaces;
mod kernel;
mod listen;
pub mod neighbours;
mod packet;
pub mod replies;
pub mod xdp;

pub use addresses::{AddressBook, AddressChange, AddressChanges, Held, Vip, release_left};
pub use announce::Announcer;
pub use guardian::{Claim, Guardian};
pub use interfaces::{Interface, interface, interfaces_for, wanted_interfaces, watch_interfaces};
pub use listen::listen;
pub use neighbours::{Neighbours, spawn};
pub use replies::{BindError, Replies};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] std::io::Error),
    /// `what` as in "the routes".
    #[error("the kernel refused to tell {what}: {source}")]
    Refused {
        what: &'static str,
        source: rtnetlink::Error,
    },
    /// `what` as in "hold".
    #[error("the kernel refused to {what} the address {address}: {source}")]
    Address {
        what: &'static str,
        address: IpAddr,
        source: rtnetlink::Error,
    },
    #[error("the kernel did not tell {0} in time")]
    Late(&'static str),
    #[error("the netlink connection ended")]
    Ended,
    #[error("there is no interface {0}")]
    NoSuchInterface(String),
    #[error("{0} is not an Ethernet interface")]
    NotEthernet(String),
    #[error("{0} is on no segment of this host, so its interface does not follow")]
    NoRoute(IpAddr),
}
