//! `[peer]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::diagnostic::{Code, Finding, Reporter};
use super::fields::{Field, Fields};
use super::values::{self, Fault};
use super::{Peer, Secret, address, schema};
use crate::peer::Key;

/// The section with the places of what is compared across the file. What was refused is `None`.
#[derive(Default)]
pub(super) struct Draft {
    listen: Option<(SocketAddr, Range<usize>)>,
    address: Option<(SocketAddr, Range<usize>)>,
    key: Option<Secret>,
    accept_push: Option<bool>,
}

impl Draft {
    /// `None` only where something was refused.
    pub fn peer(self) -> Option<Peer> {
        Some(Peer {
            listen: self.listen?.0,
            address: self.address?.0,
            key: self.key?,
            accept_push: self.accept_push?,
        })
    }
}

pub(super) fn peer(section: Option<&Field<'_>>, reporter: &mut Reporter<'_>) -> Option<Draft> {
    let section = section?;
    let Some(table) = section.table("a table", reporter) else {
        return Some(Draft::default());
    };
    let fields = Fields::open(&schema::PEER, section.path.clone(), table, reporter);
    let mut end = |key: &'static str, example: &str| {
        let Some(field) = fields.get(key) else {
            reporter.push(missing(section, key, example));
            return None;
        };
        let expected = "an address and port in quotes";
        let end = field.parsed(expected, address::director_end, reporter)?;
        Some((end, field.span))
    };
    let listen = end(
        "listen",
        "listen = \"192.168.1.10:8405\", with this director's own address",
    );
    let address = end(
        "address",
        "address = \"192.168.1.11:8405\", which the other director has as `listen`",
    );
    let key = key(section, &fields, reporter);
    let accept_push = match fields.get("accept_push") {
        Some(field) => field.boolean(reporter),
        None => Some(true),
    };
    if let (Some((listen, first)), Some((address, span))) = (&listen, &address) {
        two_ends(listen, first, address, span, reporter);
    }
    Some(Draft {
        listen,
        address,
        key,
        accept_push,
    })
}

fn missing(section: &Field<'_>, key: &str, example: &str) -> Finding {
    let message = format!("`{}` has no `{key}`", section.path);
    Finding::new(Code::MissingKey, section.key_span.clone(), message).help(format!("add {example}"))
}

fn two_ends(
    listen: &SocketAddr,
    first: &Range<usize>,
    address: &SocketAddr,
    span: &Range<usize>,
    reporter: &mut Reporter<'_>,
) {
    let (message, help) = if listen.ip() == address.ip() {
        (
            format!("`peer.address` is this director's own, `{}`", address.ip()),
            "write the address of the other director",
        )
    } else if listen.is_ipv4() != address.is_ipv4() {
        (
            "`peer.address` is not of the family of `peer.listen`".to_owned(),
            "write both as IPv4 or both as IPv6: one end connects to the other",
        )
    } else {
        return;
    };
    reporter.push(
        Finding::new(Code::BadAddress, span.clone(), message)
            .related(first.clone(), "this director")
            .help(help),
    );
}

/// The value never gets into a message.
fn key(section: &Field<'_>, fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> Option<Secret> {
    let text = fields.get("key");
    let file = fields.get("key_file");
    match (&text, &file) {
        (Some(text), Some(file)) => {
            reporter.push(file.second(text, "key"));
        }
        (None, None) => {
            let example =
                "key_file = \"/etc/mb-lb/peer.key\"; `mb-lb-ctl peer-key -o FILE` makes one";
            reporter.push(missing(section, "key_file", example));
        }
        _ => {}
    }
    let file =
        file.and_then(|field| field.parsed("the path of a file", values::secret_file, reporter));
    let text = text.and_then(|field| field.parsed("64 hex digits in quotes", digits, reporter));
    text.map(Secret::Text).or(file.map(Secret::File))
}

fn digits(text: &str) -> Result<String, Fault> {
    match Key::parse(text) {
        Ok(key) => Ok(key.to_hex()),
        Err(error) => Err(Fault::new(Code::BadKey, format!("is not a key: {error}"))
            .help("`mb-lb-ctl peer-key` makes one; both directors have the same")),
    }
}

/// Neither end can be a VIP: that is now here, now there.
pub(super) fn crosscheck(
    draft: &Draft,
    vips: &BTreeMap<IpAddr, Range<usize>>,
    reporter: &mut Reporter<'_>,
) {
    for (key, end, whose) in [
        ("listen", &draft.listen, "this director"),
        ("address", &draft.address, "the other director"),
    ] {
        if let Some((end, span)) = end
            && let Some(vip) = vips.get(&end.ip())
        {
            let message = format!("`peer.{key}` has a VIP, `{}`", end.ip());
            reporter.push(
                Finding::new(Code::BadAddress, span.clone(), message)
                    .related(vip.clone(), "the VIP")
                    .help(format!("write an address that {whose} always has")),
            );
        }
    }
}
