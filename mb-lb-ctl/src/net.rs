//! The network round the director: next hops of servers, interfaces, and the listener that speaks where no
//! server can.
//!
//! ```text
//!   Neighbours::set --watch--> neighbours task ---Event::Neighbour---> engine
//!                                ^        |
//!              notifications ----+        +--> requests (read tables, have addresses resolved)
//!   watch_interfaces task: link notifications --watch--> data plane
//!   Replies::set --> one task per listener --> one task per connection (256 at a time)
//! ```

use std::net::IpAddr;

pub mod interfaces;
mod kernel;
pub mod neighbours;
pub mod replies;

pub use interfaces::{Interface, interface, interfaces_for, wanted_interfaces, watch_interfaces};
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
