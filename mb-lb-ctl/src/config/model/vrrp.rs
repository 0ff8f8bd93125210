//! `[vrrp.NAME]` after parsing.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::Secret;

use crate::vrrp::machine::Version;
use crate::vrrp::packet::Coverage;

/// `[vrrp.NAME]`: one virtual router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vrrp {
    pub name: String,
    /// Where adverts are sent and heard, and where the addresses are put.
    pub interface: String,
    pub virtual_router_id: NonZeroU8,
    /// 1 to 255, default 100. 255 is not changed by tracking.
    pub priority: u8,
    /// Default 1s. Version 2: whole seconds, 1s to 255s. Version 3: 10ms to 40950ms in steps of 10ms.
    pub advert_interval: Duration,
    /// Default 2. IPv6 has version 3.
    pub version: Version,
    /// Version 2 only.
    pub auth_pass: Option<Secret>,
    /// 1 to 20, all of one family; the first of IPv6 is link-local.
    pub addresses: Vec<VirtualAddress>,
    /// Default true.
    pub preempt: bool,
    /// 0s to 1000s, default 0s.
    pub preempt_delay: Duration,
    /// Empty: adverts go to the multicast group. Else of the family of `addresses`.
    pub unicast_peers: Vec<IpAddr>,
    /// `source_address`: where adverts come from. `None`: the interface's own address. Of the family of `addresses`.
    pub source: Option<IpAddr>,
    /// Matters for version 3 over IPv4 only. Default [`Coverage::PseudoHeader`].
    pub checksum: Coverage,
    /// Instances with the same name move together.
    pub sync_group: Option<String>,
    /// The kernel takes the addresses away when they are not renewed. Default true.
    pub lease: bool,
    /// Default: `interface`, with weight 0.
    pub track_interfaces: Vec<TrackInterface>,
    pub track_services: Vec<TrackService>,
    pub track_scripts: Vec<TrackScript>,
    /// Absolute path of a program that is told of every change of role.
    pub notify: Option<PathBuf>,
}

/// A VIP with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct VirtualAddress {
    pub address: IpAddr,
    /// In bits, from 1. Default: all of the address.
    pub prefix: u8,
}

impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Weights are -253 to 253. Negative: subtracted from the priority on failure. Positive: added while there is none.
/// 0: failure is a fault, and the instance cannot have its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackInterface {
    pub interface: String,
    pub weight: i16,
}

/// Fails while fewer than `min_up` servers of the service are up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackService {
    /// One of `Config::services`.
    pub service: String,
    /// 1 to the number of its servers, default 1.
    pub min_up: u32,
    /// As in [`TrackInterface`].
    pub weight: i16,
}

/// Fails where the command does not exit with 0 in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackScript {
    pub name: String,
    /// Words with one space between them; the first is an absolute path. No shell reads them.
    pub command: String,
    /// 100ms to 1h, default 1s.
    pub interval: Duration,
    /// 100ms to 1h, default `interval`.
    pub timeout: Duration,
    /// Successes until good. 1 to 255, default 1.
    pub rise: u8,
    /// Failures until failed. 1 to 255, default 1.
    pub fall: u8,
    /// As in [`TrackInterface`].
    pub weight: i16,
}
