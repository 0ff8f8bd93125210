//! Whether a received advert counts, and if not, why: a peer that lives but is configured otherwise is the commonest cause
//! of two owners of one address. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::Instance;
use super::machine::Heard;
use super::packet::{Advert, Auth, Coverage, Ends, Kind, Malformed, TTL};

/// Why an advert of our VRID was refused, or what is wrong with one that was heard all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    Malformed(Malformed),
    Ttl,
    Version,
    AuthType,
    Password,
    /// It is from our own address: the link throws our adverts back, or another host has the address too. Whoever
    /// answered that would answer for ever.
    OwnAddress,
    /// It came to our own address, but adverts are expected from the group.
    Unicast,
    /// `unicast_peers` is set, and it is from none of them.
    NotAPeer,
    /// Heard all the same: the sender is alive.
    Interval,
    /// Heard all the same: the sender is alive.
    Addresses,
}

impl Rejection {
    /// Stable name, as in JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed(Malformed::Length) => "length",
            Self::Malformed(Malformed::Version) => "unknown_version",
            Self::Malformed(Malformed::Type) => "type",
            Self::Malformed(Malformed::Checksum) => "checksum",
            Self::Malformed(Malformed::Value) => "value",
            Self::Malformed(Malformed::NotLinkLocal) => "not_link_local",
            Self::Ttl => "ttl",
            Self::Version => "version",
            Self::AuthType => "auth_type",
            Self::Password => "password",
            Self::OwnAddress => "own_address",
            Self::Unicast => "unicast",
            Self::NotAPeer => "not_a_peer",
            Self::Interval => "interval",
            Self::Addresses => "addresses",
        }
    }

    /// The election goes by it all the same.
    pub const fn is_heard(self) -> bool {
        matches!(self, Self::Interval | Self::Addresses)
    }

    /// For the alarm: what to compare on the two directors.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Malformed(_) => {
                "another program sends on this VRID: choose another virtual_router_id"
            }
            Self::Ttl => "a router is between the two: use unicast_peers, or one segment",
            Self::Version => "version must be the same on both",
            Self::AuthType => "auth_pass must be set on both or on none",
            Self::Password => "auth_pass must be the same on both (8 bytes count)",
            Self::OwnAddress => {
                "the network returns our adverts, or another host has our address: look for a loop and for the address"
            }
            Self::Unicast => "unicast_peers must be set on both or on none",
            Self::NotAPeer => {
                "list its address in unicast_peers, or choose another virtual_router_id"
            }
            Self::Interval => "advert_interval must be the same on both",
            Self::Addresses => "addresses must be the same on both",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(Malformed::Length) => "wrong length",
            Self::Malformed(Malformed::Version) => "unknown version",
            Self::Malformed(Malformed::Type) => "unknown type",
            Self::Malformed(Malformed::Checksum) => "wrong checksum",
            Self::Malformed(Malformed::Value) => "impossible values",
            Self::Malformed(Malformed::NotLinkLocal) => "first address not link-local",
            Self::Ttl => "TTL not 255",
            Self::Version => "another version",
            Self::AuthType => "another type of authentication",
            Self::Password => "another password",
            Self::OwnAddress => "sent from our own address",
            Self::Unicast => "sent by unicast",
            Self::NotAPeer => "not from a unicast peer",
            Self::Interval => "another interval",
            Self::Addresses => "another list of addresses",
        })
    }
}

/// What was made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// For the machine; `None` where it does not count.
    pub heard: Option<Heard>,
    pub rejection: Option<Rejection>,
    /// Form of the checksum, where there was a right one.
    pub coverage: Option<Coverage>,
}

/// Judges a message that came to `ends.destination`; our own come from `own`. `None`: it is of another virtual router.
pub fn judge(
    instance: &Instance,
    own: IpAddr,
    message: &[u8],
    ends: Ends,
    ttl: u8,
) -> Option<Judgement> {
    if message.get(1).copied() != Some(instance.vrid.get()) {
        return None;
    }
    let refused = |rejection, coverage| {
        Some(Judgement {
            heard: None,
            rejection: Some(rejection),
            coverage,
        })
    };
    let (advert, coverage) = match Advert::decode(message, ends) {
        Ok(read) => read,
        Err(malformed) => return refused(Rejection::Malformed(malformed), None),
    };
    if ends.source == own {
        return refused(Rejection::OwnAddress, Some(coverage));
    }
    if let Some(rejection) = refusal(instance, &advert, ends, ttl) {
        return refused(rejection, Some(coverage));
    }
    let rejection = if matches!(advert.kind, Kind::V2(_)) && advert.interval != instance.interval {
        Some(Rejection::Interval)
    } else if !same(&advert.addresses, instance) {
        Some(Rejection::Addresses)
    } else {
        None
    };
    Some(Judgement {
        heard: Some(Heard {
            source: ends.source,
            priority: advert.priority,
            interval: advert.interval,
        }),
        rejection,
        coverage: Some(coverage),
    })
}

fn refusal(instance: &Instance, advert: &Advert, ends: Ends, ttl: u8) -> Option<Rejection> {
    let unicast = !instance.unicast_peers.is_empty();
    if !unicast && ttl != TTL {
        return Some(Rejection::Ttl);
    }
    match (advert.kind, instance.kind) {
        (Kind::V3, Kind::V3) | (Kind::V2(Auth::None), Kind::V2(Auth::None)) => {}
        (Kind::V2(Auth::Password(theirs)), Kind::V2(Auth::Password(ours))) => {
            // In constant time, though the password travels in plain text.
            let differing = theirs.iter().zip(ours).fold(0, |all, (a, b)| all | (a ^ b));
            if differing != 0 {
                return Some(Rejection::Password);
            }
        }
        (Kind::V2(_), Kind::V2(_)) => return Some(Rejection::AuthType),
        (Kind::V2(_), Kind::V3) | (Kind::V3, Kind::V2(_)) => return Some(Rejection::Version),
    }
    let is_multicast = ends.destination.is_multicast();
    match (unicast, is_multicast) {
        (false, false) => Some(Rejection::Unicast),
        (true, _) if !instance.unicast_peers.contains(&ends.source) => Some(Rejection::NotAPeer),
        _ => None,
    }
}

/// In whatever order.
fn same(theirs: &[IpAddr], instance: &Instance) -> bool {
    let mut theirs = theirs.to_vec();
    let mut ours: Vec<IpAddr> = instance
        .addresses
        .iter()
        .map(|&(address, _)| address)
        .collect();
    theirs.sort();
    ours.sort();
    theirs == ours
}

/// Adverts of our VRID that were not as they should be, of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub rejection: Rejection,
    pub count: u64,
    /// From whom the last one was, and when it came.
    pub source: IpAddr,
    pub at: Duration,
}

/// All adverts of our VRID that were not as they should be.
#[derive(Clone, Debug, Default)]
pub struct Rejections(BTreeMap<Rejection, Rejected>);

impl Rejections {
    pub fn count(&mut self, rejection: Rejection, source: IpAddr, at: Duration) {
        let before = self.0.get(&rejection).map_or(0, |rejected| rejected.count);
        let rejected = Rejected {
            rejection,
            count: before + 1,
            source,
            at,
        };
        self.0.insert(rejection, rejected);
    }

    /// In a fixed order.
    pub fn all(&self) -> impl Iterator<Item = Rejected> + '_ {
        self.0.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU8;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn instance() -> Instance {
        Instance {
            name: "VI_1".to_owned(),
            interface: "eth0".to_owned(),
            vrid: NonZeroU8::new(51).expect("not 0"),
            priority: 100,
            kind: Kind::V2(Auth::password("secret")),
            interval: Duration::from_secs(1),
            addresses: vec![(ip("192.0.2.100"), 24), (ip("192.0.2.101"), 32)],
            preempt: true,
            preempt_delay: Duration::ZERO,
            unicast_peers: Vec::new(),
            source: None,
            coverage: Coverage::PseudoHeader,
            lease: true,
            sync_group: None,
        }
    }

    fn advert() -> Advert {
        Advert {
            kind: instance().kind,
            vrid: instance().vrid,
            priority: 90,
            interval: Duration::from_secs(1),
            addresses: vec![ip("192.0.2.101"), ip("192.0.2.100")],
        }
    }

    fn own() -> IpAddr {
        ip("192.0.2.1")
    }

    fn ends() -> Ends {
        Ends {
            source: ip("192.0.2.2"),
            destination: super::super::packet::GROUP4.into(),
        }
    }

    fn judged(
        instance: &Instance,
        advert: &Advert,
        ends: Ends,
        ttl: u8,
    ) -> (bool, Option<Rejection>) {
        let message = advert.encode(ends, Coverage::PseudoHeader);
        let judgement = judge(instance, own(), &message, ends, ttl).expect("of our VRID");
        (judgement.heard.is_some(), judgement.rejection)
    }

    #[test]
    fn a_good_advert_is_heard() {
        let message = advert().encode(ends(), Coverage::PseudoHeader);
        let expected = Judgement {
            heard: Some(Heard {
                source: ip("192.0.2.2"),
                priority: 90,
                interval: Duration::from_secs(1),
            }),
            rejection: None,
            coverage: Some(Coverage::Message),
        };
        assert_eq!(
            judge(&instance(), own(), &message, ends(), 255),
            Some(expected)
        );
    }

    #[test]
    fn another_virtual_router_is_nobodys_business() {
        let mut other = advert();
        other.vrid = NonZeroU8::new(52).expect("not 0");
        assert_eq!(
            judge(
                &instance(),
                own(),
                &other.encode(ends(), Coverage::Message),
                ends(),
                255
            ),
            None
        );
        assert_eq!(judge(&instance(), own(), &[], ends(), 255), None);
    }

    #[test]
    fn every_mismatch_has_its_name() {
        let of = |change: fn(&mut Advert)| {
            let mut changed = advert();
            change(&mut changed);
            judged(&instance(), &changed, ends(), 255)
        };
        assert_eq!(
            of(|a| a.kind = Kind::V2(Auth::password("other"))),
            (false, Some(Rejection::Password))
        );
        assert_eq!(
            of(|a| a.kind = Kind::V2(Auth::None)),
            (false, Some(Rejection::AuthType))
        );
        assert_eq!(
            of(|a| a.kind = Kind::V2(Auth::Other(2))),
            (false, Some(Rejection::AuthType))
        );
        assert_eq!(of(|a| a.kind = Kind::V3), (false, Some(Rejection::Version)));
        assert_eq!(
            of(|a| a.interval = Duration::from_secs(2)),
            (true, Some(Rejection::Interval))
        );
        assert_eq!(
            of(|a| a.addresses.truncate(1)),
            (true, Some(Rejection::Addresses))
        );
        assert_eq!(
            judged(&instance(), &advert(), ends(), 254),
            (false, Some(Rejection::Ttl))
        );
        let returned = Ends {
            source: own(),
            ..ends()
        };
        assert_eq!(
            judged(&instance(), &advert(), returned, 255),
            (false, Some(Rejection::OwnAddress))
        );
        let unicast = Ends {
            destination: own(),
            ..ends()
        };
        assert_eq!(
            judged(&instance(), &advert(), unicast, 255),
            (false, Some(Rejection::Unicast))
        );
        let damaged = {
            let mut message = advert().encode(ends(), Coverage::Message);
            message[2] ^= 1;
            judge(&instance(), own(), &message, ends(), 255).expect("of our VRID")
        };
        assert_eq!(
            damaged.rejection,
            Some(Rejection::Malformed(Malformed::Checksum))
        );
    }

    #[test]
    fn unicast_peers_are_heard_through_routers_and_nobody_else_is() {
        let mut instance = instance();
        instance.unicast_peers = vec![ip("192.0.2.2")];
        let unicast = Ends {
            destination: ip("192.0.2.1"),
            ..ends()
        };
        assert_eq!(judged(&instance, &advert(), unicast, 250), (true, None));
        let stranger = Ends {
            source: ip("192.0.2.3"),
            ..unicast
        };
        assert_eq!(
            judged(&instance, &advert(), stranger, 255),
            (false, Some(Rejection::NotAPeer))
        );
    }

    #[test]
    fn version_3_adopts_intervals() {
        let mut instance = instance();
        instance.kind = Kind::V3;
        let mut advert = advert();
        advert.kind = Kind::V3;
        advert.interval = Duration::from_millis(300);
        assert_eq!(judged(&instance, &advert, ends(), 255), (true, None));
        advert.kind = Kind::V2(Auth::None);
        advert.interval = Duration::from_secs(1);
        assert_eq!(
            judged(&instance, &advert, ends(), 255),
            (false, Some(Rejection::Version))
        );
    }

    #[test]
    fn rejections_are_counted_by_reason() {
        let mut rejections = Rejections::default();
        let (first, second) = (ip("192.0.2.2"), ip("192.0.2.3"));
        let at = Duration::from_secs;
        rejections.count(Rejection::Password, first, at(1));
        rejections.count(Rejection::Ttl, first, at(2));
        rejections.count(Rejection::Password, second, at(3));
        let all: Vec<_> = rejections.all().collect();
        let of = |rejection, count, source, at| Rejected {
            rejection,
            count,
            source,
            at,
        };
        assert_eq!(
            all,
            [
                of(Rejection::Ttl, 1, first, at(2)),
                of(Rejection::Password, 2, second, at(3))
            ]
        );
    }
}
