//! `[vrrp.NAME]`. Its addresses are in [`mod@addresses`], what it tracks is in [`track`], and what shows only across
//! instances in [`mod@together`].

use std::num::NonZeroU8;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::{Code, Finding, Reporter, quote};
use super::fields::{Field, Fields, Words, in_order, refuse_name};
use super::values::{self, Fault};
use super::{Secret, Vrrp, schema};
use crate::vrrp::machine::{OWNER, Version};
use crate::vrrp::packet::{Coverage, PASSWORD};

mod addresses;
mod together;
mod track;

pub(super) use together::{Trackable, together};

use addresses::{Family, addresses, family, needs_version_3, peers, source};
use track::{Place, Tracked};

const CHECKSUM: Words<Coverage> = Words {
    known: &[
        ("pseudo-header", Coverage::PseudoHeader),
        ("message", Coverage::Message),
    ],
    later: &[],
    foreign: &[
        ("pseudo_header", "pseudo-header"),
        ("pseudo", "pseudo-header"),
        ("v2", "message"),
        ("rfc9568", "message"),
    ],
};

/// What one of the versions can say (RFC 3768 section 5.3.7, RFC 9568 section 5.2.7).
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(255);
const INTERVAL_2: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(255);
const INTERVAL_3: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_millis(40_950);
const PREEMPT_DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1000);

/// An instance with the places of what is compared across the file.
pub(super) struct Draft {
    /// Holds defaults where the file was refused; then there is no `Config` to hold it.
    pub vrrp: Vrrp,
    /// The key `virtual_router_id`, where that, the interface and the family could be read.
    router: Option<Range<usize>>,
    /// As many as `vrrp.addresses`.
    pub addresses: Vec<Range<usize>>,
    /// As many as `vrrp.unicast_peers`.
    peers: Vec<Range<usize>>,
    source: Option<Range<usize>>,
    sync_group: Option<Range<usize>>,
    /// As many as `vrrp.track_services`.
    services: Vec<Place>,
}

/// All instances in the order of the file.
pub(super) fn vrrps(section: Option<&Field<'_>>, reporter: &mut Reporter<'_>) -> Vec<Draft> {
    let Some(section) = section else {
        return Vec::new();
    };
    let Some(table) = section.table("tables [vrrp.NAME]", reporter) else {
        return Vec::new();
    };
    let mut drafts = Vec::new();
    for (name, field) in in_order(&section.path, table) {
        let DeValue::Table(_) = field.value else {
            let finding = field.wrong_type("a table");
            reporter.push(finding.help("every instance has a name: [vrrp.NAME]"));
            continue;
        };
        refuse_name(name, &field, &section.path, reporter);
        drafts.extend(vrrp(name, &field, reporter));
    }
    drafts
}

fn vrrp(name: &str, field: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<Draft> {
    let table = field.table("a table", reporter)?;
    let fields = Fields::open(&schema::VRRP, field.path.clone(), table, reporter);
    let missing = |key: &str, example: &str| {
        let message = format!("VRRP instance {} has no `{key}`", quote(name));
        Finding::new(Code::MissingKey, field.key_span.clone(), message)
            .help(format!("add {example}"))
    };

    let interface = match fields.get("interface") {
        Some(field) => {
            let check = |text: &str| values::interface(text).map(|()| text.to_owned());
            field.parsed("the name of an interface", check, reporter)
        }
        None => {
            reporter.push(missing("interface", "interface = \"eth0\""));
            None
        }
    };
    let router_field = fields.get("virtual_router_id");
    let router_id: Option<u8> = match &router_field {
        Some(field) => field.integer(1..=255, reporter),
        None => {
            let example = "virtual_router_id = 51, the same number on both directors";
            reporter.push(missing("virtual_router_id", example));
            None
        }
    };
    let router_id = router_id.and_then(NonZeroU8::new);
    // `None` where it was refused: nothing is concluded from the default then.
    let version = match fields.get("version") {
        Some(field) => version(&field, reporter),
        None => Some(Version::V2),
    };
    let given = match fields.get("addresses") {
        Some(field) => addresses(&field, reporter),
        None => {
            reporter.push(missing("addresses", "addresses = [\"192.168.1.100/24\"]"));
            Vec::new()
        }
    };
    let family = family(&given, reporter);
    needs_version_3(&given, version, reporter);
    let (addresses, address_spans): (Vec<_>, Vec<_>) = given
        .into_iter()
        .map(|(address, element)| (address, element.span))
        .unzip();

    let interval = match fields.get("advert_interval") {
        Some(field) => advert_interval(&field, version, reporter),
        None => None,
    };
    let auth_pass = auth_pass(&fields, version, reporter);
    let peers = match fields.get("unicast_peers") {
        Some(field) => peers(&field, family, reporter),
        None => Vec::new(),
    };
    let (unicast_peers, peer_spans): (Vec<_>, Vec<_>) = peers.into_iter().unzip();
    let source = fields
        .get("source_address")
        .and_then(|field| source(&field, family, unicast_peers.is_empty(), reporter));
    let (source, source_span) = source.unzip();
    let checksum = fields
        .get("checksum")
        .and_then(|field| checksum(&field, version, family, reporter));

    let priority_field = fields.get("priority");
    let priority = match &priority_field {
        Some(field) => field.integer(1..=255, reporter),
        None => Some(100),
    };
    let preempt = fields.get("preempt").map(|f| f.boolean(reporter));
    let preempt_delay = fields.get("preempt_delay").and_then(|field| {
        let delay = field.duration(PREEMPT_DELAY, reporter)?;
        if preempt == Some(Some(false)) && !delay.is_zero() {
            let mut finding = field.finding(Code::NoEffect, "has no effect with preempt = false");
            finding.span = field.key_span.clone();
            reporter.push(finding.help("remove one of the two"));
        }
        Some(delay)
    });
    let sync_group = fields.get("sync_group").and_then(|field| {
        let check = |text: &str| values::name(text).map(|()| text.to_owned());
        let group = field.parsed("a name", check, reporter)?;
        Some((group, field.span))
    });
    let (sync_group, group_span) = sync_group.unzip();
    let lease = fields.get("lease").and_then(|f| f.boolean(reporter));
    let notify = fields
        .get("notify")
        .and_then(|field| field.parsed("the path of a program", values::file, reporter));

    let tracked = track::tracked(&fields, interface.as_deref(), reporter);
    if let Some(weight) = &tracked.weight {
        idle_weight(&field.path, weight, priority, preempt.flatten(), reporter);
    }
    let Tracked {
        interfaces,
        services,
        scripts,
        ..
    } = tracked;
    let (track_services, service_spans) = services.into_iter().unzip();

    let comparable = interface.is_some() && router_id.is_some() && family.is_some();
    Some(Draft {
        vrrp: Vrrp {
            name: name.to_owned(),
            interface: interface.unwrap_or_default(),
            virtual_router_id: router_id.unwrap_or(NonZeroU8::MIN),
            priority: priority.unwrap_or_default(),
            advert_interval: interval.unwrap_or(Duration::from_secs(1)),
            version: version.unwrap_or(Version::V2),
            auth_pass,
            addresses,
            preempt: preempt.flatten().unwrap_or(true),
            preempt_delay: preempt_delay.unwrap_or_default(),
            unicast_peers,
            source,
            checksum: checksum.unwrap_or(Coverage::PseudoHeader),
            sync_group,
            lease: lease.unwrap_or(true),
            track_interfaces: interfaces,
            track_services,
            track_scripts: scripts,
            notify,
        },
        router: router_field
            .filter(|_| comparable)
            .map(|field| field.key_span),
        addresses: address_spans,
        peers: peer_spans,
        source: source_span,
        sync_group: group_span,
        services: service_spans,
    })
}

fn version(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<Version> {
    match field.integer(2..=3, reporter)? {
        2u8 => Some(Version::V2),
        _ => Some(Version::V3),
    }
}

fn advert_interval(
    field: &Field<'_>,
    version: Option<Version>,
    reporter: &mut Reporter<'_>,
) -> Option<Duration> {
    let interval = field.duration(INTERVAL, reporter)?;
    let shown = values::show(interval);
    let most = values::show(*INTERVAL_3.end());
    let fault = match version? {
        Version::V2 if interval.subsec_nanos() == 0 && INTERVAL_2.contains(&interval) => None,
        Version::V2 => Some(
            Fault::new(
                Code::NeedsVersion3,
                format!("is `{shown}`, version 2 counts in whole seconds"),
            )
            .help("write a whole number of seconds, or version = 3 on both directors"),
        ),
        Version::V3 if !INTERVAL_3.contains(&interval) => Some(Fault::new(
            Code::OutOfRange,
            format!("is `{shown}`, the most of version 3 is {most}"),
        )),
        Version::V3 if !interval.as_millis().is_multiple_of(10) => Some(Fault::new(
            Code::OutOfRange,
            format!("is `{shown}`, version 3 counts in steps of 10ms"),
        )),
        Version::V3 => None,
    };
    match fault {
        Some(fault) => {
            field.refuse(fault, reporter);
            None
        }
        None => Some(interval),
    }
}

/// The value never gets into a message.
fn auth_pass(
    fields: &Fields<'_>,
    version: Option<Version>,
    reporter: &mut Reporter<'_>,
) -> Option<Secret> {
    let text = fields.get("auth_pass");
    let file = fields.get("auth_pass_file");
    if version == Some(Version::V3) {
        for field in text.iter().chain(&file) {
            let mut finding = field.finding(Code::NoEffect, "has no effect with version = 3");
            finding.span = field.key_span.clone();
            reporter.push(finding.help("remove it: version 3 has no authentication (RFC 5798)"));
        }
    }
    if let (Some(text), Some(file)) = (&text, &file) {
        reporter.push(file.second(text, "password"));
    }
    let file =
        file.and_then(|field| field.parsed("the path of a file", values::secret_file, reporter));
    let text = text.and_then(|field| {
        let text = field.parsed("a password in quotes", password, reporter)?;
        if text.len() > PASSWORD {
            let phrase = format!(
                "has {} bytes: only the first {PASSWORD} bytes count, as in keepalived",
                text.len()
            );
            let mut finding = field.finding(Code::LongPassword, &phrase);
            finding.span = field.key_span;
            reporter.push(finding.help("write those only"));
        }
        Some(text.to_owned())
    });
    text.map(Secret::Text).or(file.map(Secret::File))
}

fn password(text: &str) -> Result<&str, Fault> {
    if text.is_empty() {
        return Err(Fault::new(Code::Empty, "is empty").help("remove the key for no password"));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::new(Code::BadText, "has a control character"));
    }
    Ok(text)
}

fn checksum(
    field: &Field<'_>,
    version: Option<Version>,
    family: Option<Family>,
    reporter: &mut Reporter<'_>,
) -> Option<Coverage> {
    let checksum = field.word(&CHECKSUM, reporter)?;
    let beside = match (version, family) {
        (_, Some(Family::V6)) => Some("IPv6 addresses"),
        (Some(Version::V2), _) => Some("version = 2"),
        _ => None,
    };
    if let Some(beside) = beside {
        let phrase = format!("has no effect with {beside}");
        let mut finding = field.finding(Code::NoEffect, &phrase);
        finding.span = field.key_span.clone();
        reporter.push(finding.help("only version 3 over IPv4 has two forms of it; remove it"));
    }
    Some(checksum)
}

/// Warns of a weight that never moves the addresses.
fn idle_weight(
    path: &str,
    weight: &Range<usize>,
    priority: Option<u8>,
    preempt: Option<bool>,
    reporter: &mut Reporter<'_>,
) {
    if priority == Some(OWNER) {
        let message = format!("`{path}` tracks by weight, but priority = 255 is never changed");
        let finding = Finding::new(Code::WeightOfOwner, weight.clone(), message);
        reporter.push(finding.help("write a `priority` of at most 254, or weight = 0"));
    }
    if preempt == Some(false) {
        let message = format!(
            "`{path}` tracks by weight, but with preempt = false a lower priority moves nothing"
        );
        let finding = Finding::new(Code::WeightWithoutPreempt, weight.clone(), message);
        reporter.push(finding.help(
            "write weight = 0 (failure is a fault), or remove preempt = false on both directors",
        ));
    }
}
