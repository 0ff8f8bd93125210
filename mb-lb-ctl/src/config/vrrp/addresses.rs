//! Addresses of an instance: its VIPs, and the ends of its adverts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use toml::de::DeValue;

use crate::config::diagnostic::{Code, Reporter};
use crate::config::fields::Field;
use crate::config::{VirtualAddress, address};
use crate::vrrp::machine::Version;

/// So many addresses fit an advert that every peer reads: keepalived refuses longer ones.
const MOST_ADDRESSES: usize = 20;

/// IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// What could be read.
pub(super) fn addresses<'t>(
    field: &Field<'t>,
    reporter: &mut Reporter<'_>,
) -> Vec<(VirtualAddress, Field<'t>)> {
    let expected = "an address such as \"192.168.1.100/24\", or a list of them";
    let elements = field.elements(expected, "add \"VIP/PREFIX\"", reporter);
    if elements.len() > MOST_ADDRESSES {
        let phrase = format!(
            "has {} addresses, the most is {MOST_ADDRESSES}: more do not fit an advert that every peer reads",
            elements.len()
        );
        let finding = field.finding(Code::TooMany, &phrase);
        reporter.push(finding.help("write two instances, with one `sync_group`"));
    }
    let mut addresses = Vec::new();
    for (at, element) in elements.into_iter().enumerate() {
        let expected = "an address such as \"192.168.1.100/24\"";
        let Some(given) = element.parsed(expected, address::virtual_address, reporter) else {
            continue;
        };
        if let (0, IpAddr::V6(first)) = (at, given.address)
            && !first.is_unicast_link_local()
        {
            let phrase = format!("does not begin with a link-local address: `{given}`");
            let finding = element.finding(Code::NotLinkLocal, &phrase);
            reporter.push(finding.help(
                "put one such as \"fe80::100/64\" first (RFC 9568 section 5.2.9), the same on both directors",
            ));
        }
        addresses.push((given, element));
    }
    addresses
}

/// `None` where there is none, or two.
pub(super) fn family(
    given: &[(VirtualAddress, Field<'_>)],
    reporter: &mut Reporter<'_>,
) -> Option<Family> {
    let (first, first_field) = given.first()?;
    let family = Family::of(first.address);
    let other = given
        .iter()
        .find(|(given, _)| Family::of(given.address) != family);
    let Some((other, field)) = other else {
        return Some(family);
    };
    let phrase = format!(
        "has {} after {}: `{other}`",
        Family::of(other.address).name(),
        family.name()
    );
    let finding = field.finding(Code::MixedFamilies, &phrase);
    reporter.push(
        finding
            .related(first_field.span.clone(), "the first address")
            .help("write two instances, one for each family; `sync_group` moves them together"),
    );
    None
}

pub(super) fn needs_version_3(
    given: &[(VirtualAddress, Field<'_>)],
    version: Option<Version>,
    reporter: &mut Reporter<'_>,
) {
    let v6 = given.iter().find(|(given, _)| given.address.is_ipv6());
    if let (Some((address, field)), Some(Version::V2)) = (v6, version) {
        let phrase = format!("has an IPv6 address, which version 2 cannot say: `{address}`");
        let finding = field.finding(Code::NeedsVersion3, &phrase);
        reporter.push(finding.help("write version = 3"));
    }
}

/// Refuses an end of adverts that is of another family than what they are about.
fn same_family(
    given: IpAddr,
    field: &Field<'_>,
    family: Option<Family>,
    reporter: &mut Reporter<'_>,
) {
    if let Some(family) = family.filter(|family| *family != Family::of(given)) {
        let phrase = format!(
            "is an {} address beside {} in `addresses`: `{given}`",
            Family::of(given).name(),
            family.name()
        );
        reporter.push(field.finding(Code::MixedFamilies, &phrase));
    }
}

pub(super) fn peers(
    field: &Field<'_>,
    family: Option<Family>,
    reporter: &mut Reporter<'_>,
) -> Vec<(IpAddr, Range<usize>)> {
    // Multicast, said aloud.
    if matches!(field.value, DeValue::Array(array) if array.is_empty()) {
        return Vec::new();
    }
    let mut seen = BTreeMap::new();
    let mut peers = Vec::new();
    let expected = "an address such as \"192.168.1.11\", or a list of them";
    for element in field.elements(expected, "", reporter) {
        let expected = "an address such as \"192.168.1.11\"";
        let Some(peer) = element.parsed(expected, address::director_address, reporter) else {
            continue;
        };
        same_family(peer, &element, family, reporter);
        if let Some(first) = seen.insert(peer, element.span.clone()) {
            let phrase = format!("lists `{peer}` twice");
            let finding = element.finding(Code::DuplicateAddress, &phrase);
            reporter.push(finding.related(first, "first listed here"));
            continue;
        }
        peers.push((peer, element.span));
    }
    peers
}

pub(super) fn source(
    field: &Field<'_>,
    family: Option<Family>,
    multicast: bool,
    reporter: &mut Reporter<'_>,
) -> Option<(IpAddr, Range<usize>)> {
    let expected = "an address such as \"192.168.1.10\"";
    let source = field.parsed(expected, address::director_address, reporter)?;
    same_family(source, field, family, reporter);
    if let IpAddr::V6(v6) = source
        && multicast
        && !v6.is_unicast_link_local()
    {
        let phrase = format!("is not a link-local address: `{source}`");
        let finding = field.finding(Code::BadEnd, &phrase);
        reporter.push(finding.help(
            "IPv6 adverts come from one (RFC 9568 section 5.1.2.1), but for those to `unicast_peers`",
        ));
    }
    Some((source, field.span.clone()))
}
