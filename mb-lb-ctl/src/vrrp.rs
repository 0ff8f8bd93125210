//! Who of the directors has the VIPs: the Virtual Router Redundancy Protocol, with what keepalived adds to it.

pub mod clock;
pub mod judge;
pub mod machine;
pub mod packet;
pub mod resume;
pub mod router;
pub mod socket;
pub mod view;

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use packet::{Coverage, Kind};

/// One virtual router as the configuration has it, with its secrets resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub name: String,
    pub interface: String,
    pub vrid: NonZeroU8,
    /// Before tracking; 1 to 255.
    pub priority: u8,
    /// Version, with the password of version 2.
    pub kind: Kind,
    pub interval: Duration,
    /// With prefix lengths; of one family, at least one.
    pub addresses: Vec<(IpAddr, u8)>,
    pub preempt: bool,
    pub preempt_delay: Duration,
    /// Empty: multicast.
    pub unicast_peers: Vec<IpAddr>,
    /// Where adverts come from; `None`: the interface's own address.
    pub source: Option<IpAddr>,
    /// Of the checksum that is sent, where version 3 leaves a choice.
    pub coverage: Coverage,
    /// The addresses are put on with a lifetime.
    pub lease: bool,
    pub sync_group: Option<String>,
}

impl Instance {
    pub fn is_ipv6(&self) -> bool {
        self.addresses
            .first()
            .is_some_and(|(address, _)| address.is_ipv6())
    }
}
