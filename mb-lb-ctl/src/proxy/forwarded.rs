//! Fields that tell the server who asks, and fields that end at a hop.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::header::{
    CONNECTION, Entry, FORWARDED, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Sets X-Forwarded-For, -Proto and -Host, and Forwarded (RFC 7239) where `add_forwarded`.
///
/// What the client says of others is taken out, unless it is `trusted`: then X-Forwarded-For and Forwarded get one more,
/// -Proto and -Host stay as they are. `host`: the request's authority; empty where it has none. A mapped IPv4 address is
/// written as IPv4.
pub fn prepare_request(
    headers: &mut HeaderMap,
    client: SocketAddr,
    trusted: bool,
    tls: bool,
    host: &str,
    add_forwarded: bool,
) {
    remove_twins(headers);
    let address = client.ip().to_canonical();
    let proto = if tls { "https" } else { "http" };
    let forwarded = add_forwarded.then(|| element(address, proto, host));
    append(headers, FOR, address.to_string(), trusted);
    match forwarded {
        Some(element) => append(headers, FORWARDED, element, trusted),
        None if !trusted => {
            headers.remove(FORWARDED);
        }
        None => {}
    }
    if !(trusted && headers.contains_key(PROTO)) {
        headers.insert(PROTO, HeaderValue::from_static(proto));
    }
    if !(trusted && headers.contains_key(HOST)) {
        match HeaderValue::from_str(host) {
            Ok(host) if !host.is_empty() => headers.insert(HOST, host),
            _ => headers.remove(HOST),
        };
    }
}

/// Adds to the end of a list, or makes a new one. One field in any case, as some servers read the first only.
fn append(headers: &mut HeaderMap, name: HeaderName, own: String, trusted: bool) {
    let mut list = Vec::new();
    if trusted {
        for field in headers.get_all(&name) {
            let field = field.as_bytes().trim_ascii();
            if !field.is_empty() {
                list.extend_from_slice(field);
                list.extend_from_slice(b", ");
            }
        }
    }
    let list = if list.is_empty() {
        own.into_bytes()
    } else {
        list.extend_from_slice(own.as_bytes());
        list
    };
    match HeaderValue::from_maybe_shared(Bytes::from(list)) {
        Ok(list) => headers.insert(name, list),
        // An address is always good; better none than a client's own.
        Err(_) => headers.remove(name),
    };
}

/// A forwarded-element (RFC 7239 section 4).
fn element(address: IpAddr, proto: &str, host: &str) -> String {
    // "https", quotes, brackets and the longest address.
    let mut element = String::with_capacity(80 + host.len());
    element += "for=";
    match address {
        IpAddr::V4(address) => write!(element, "{address}"),
        // Section 6: in quotes, for the colons.
        IpAddr::V6(address) => write!(element, "\"[{address}]\""),
    }
    .expect("a String takes everything");
    element += ";proto=";
    element += proto;
    if !host.is_empty() && host.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        // A port, or an IPv6 address, is no token (RFC 9110 section 5.6.4).
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if host.bytes().all(token) {
            element += ";host=";
            element += host;
        } else {
            element += ";host=\"";
            for c in host.chars() {
                if matches!(c, '"' | '\\') {
                    element.push('\\');
                }
                element.push(c);
            }
            element.push('"');
        }
    }
    element
}

/// Takes out `x_forwarded_for` and the like: to programs behind CGI (RFC 3875 section 4.1.18) they are the same as those with
/// hyphens.
fn remove_twins(headers: &mut HeaderMap) {
    let twin = |name: &&HeaderName| {
        let name = name.as_str();
        name.contains('_')
            && [FOR, PROTO, HOST].iter().any(|other| {
                let other = other.as_str();
                name.len() == other.len()
                    && name
                        .bytes()
                        .zip(other.bytes())
                        .all(|(a, b)| a == b || (a == b'_' && b == b'-'))
            })
    };
    // More than one only where somebody tries.
    while let Some(name) = headers.keys().find(twin).cloned() {
        headers.remove(name);
    }
}

/// Takes out what is between two hops only (RFC 9110 section 7.6.1), in requests and in responses. Of TE `trailers` stays
/// (RFC 9110 section 10.1.4), which servers of HTTP/2 want to hear too. Upgrade goes as well: whoever switches protocols puts
/// it back.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // HTTP/2 and most of HTTP/1.1 have none.
    if headers.contains_key(CONNECTION)
        && let Entry::Occupied(entry) = headers.entry(CONNECTION)
    {
        let (_, mut fields) = entry.remove_entry_mult();
        let first = fields.next();
        // None as a rule, for which nothing is allocated.
        let more: Vec<HeaderValue> = fields.collect();
        for option in first.iter().chain(&more).flat_map(list) {
            if !essential(option)
                && let Ok(name) = HeaderName::from_bytes(option)
                && name != TE
            {
                headers.remove(name);
            }
        }
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, UPGRADE, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    if headers.get_all(TE).iter().any(|value| value != "trailers") {
        let trailers = headers.get_all(TE).iter().flat_map(list).any(|coding| {
            let name = coding.split(|&byte| byte == b';').next();
            name.is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"trailers"))
        });
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        } else {
            headers.remove(TE);
        }
    }
}

/// What Connection must not take away: length and destination of a message, who asks, and what is for all who see it.
fn essential(option: &[u8]) -> bool {
    const KEPT: [&[u8]; 7] = [
        b"host",
        b"content-length",
        b"cache-control",
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"forwarded",
    ];
    let forwarded = option.get(..12);
    forwarded.is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
        || KEPT.iter().any(|kept| option.eq_ignore_ascii_case(kept))
}

fn list(field: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let members = field.as_bytes().split(|&byte| byte == b',');
    members.map(<[u8]>::trim_ascii)
}
