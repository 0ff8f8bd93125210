//! Addresses from text: of a VIP with its port or its prefix, of a server and of a director. Names are not resolved: a
//! fault of DNS must not move a VIP.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::VirtualAddress;
use super::diagnostic::{Code, quote};
use super::values::Fault;

/// Whose address it is, for the words of a refusal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Listen,
    Server,
    /// A VIP of `[vrrp.NAME]`. Its link-local addresses belong to the instance's interface.
    Virtual,
    /// One end of adverts. Link-local as well.
    Director,
    /// One end of the link between directors.
    End,
    /// Where a proxy listens: a process, so loopback will do.
    Proxy,
    /// A server behind a proxy, which is connected to as by any other client.
    Upstream,
}

impl Whose {
    /// What to write instead of an address that cannot be meant.
    const fn meant(self) -> &'static str {
        match self {
            Self::Listen | Self::Virtual | Self::Proxy => "write the VIP that clients connect to",
            Self::Upstream => "write the server's own address",
            Self::Server => {
                "write the server's address on the segment that it shares with the director"
            }
            Self::Director | Self::End => "write an address of the director itself",
        }
    }
}

/// Where a service listens: address and port.
pub(super) fn listen(text: &str) -> Result<SocketAddr, Fault> {
    match text.parse::<SocketAddr>() {
        Ok(SocketAddr::V6(v6)) if v6.scope_id() != 0 => Err(scoped(text)),
        Ok(address) if address.port() == 0 => Err(Fault::new(
            Code::BadAddress,
            format!("has port 0: {}", quote(text)),
        )
        .help("ports are 1 to 65535")),
        Ok(address) => usable(address.ip(), Whose::Listen).map(|()| address),
        Err(_) => Err(bad_listen(text)),
    }
}

fn bad_listen(text: &str) -> Fault {
    let fault = |phrase: String| Fault::new(Code::BadAddress, phrase);
    let shape = "write address and port: \"192.168.1.100:25\", or \"[2001:db8::100]:25\" for IPv6";
    if let Some((scheme, rest)) = text.split_once("://") {
        let help = match listen(rest) {
            Ok(address) => format!("a service is TCP; write \"{address}\""),
            Err(_) => format!("a service is TCP; {shape}"),
        };
        return fault(format!("has a scheme: {}", quote(&format!("{scheme}://")))).help(help);
    }
    if let Some(fault) = prefix(text, Some(":25")) {
        return fault;
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && let (Ok(host), Ok(port), Ok(whole)) = (
            host.parse::<Ipv6Addr>(),
            port.parse::<u16>(),
            text.parse::<Ipv6Addr>(),
        )
        && port != 0
    {
        // It is an address without a port, and an address with one; most likely the second was meant.
        return fault(format!(
            "needs brackets round its IPv6 address: {}",
            quote(text)
        ))
        .help(format!(
            "write \"[{host}]:{port}\", or \"[{whole}]:25\" if all of it is the address"
        ));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        let whole = SocketAddr::new(address, 25);
        return fault(format!("has no port: {}", quote(text)))
            .help(format!("write the port too, such as \"{whole}\""));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return unresolved(text)
            .unwrap_or_else(|| fault(format!("is not an address and port: {}", quote(text))))
            .help(shape);
    };
    if host.is_empty() || host == "*" {
        return fault(format!("has no address: {}", quote(text)))
            .help("the director takes packets for one VIP, not for every address; write the VIP");
    }
    let known = host.trim_start_matches('[').trim_end_matches(']');
    if known.parse::<IpAddr>().is_ok() {
        if host.contains(':') && !host.starts_with('[') {
            return fault(format!(
                "needs brackets round its IPv6 address: {}",
                quote(text)
            ))
            .help(format!("write \"[{known}]:{port}\""));
        }
        let phrase = if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() {
            format!("has port {}, ports are 1 to 65535", quote(port))
        } else {
            format!("has a port that is not a number: {}", quote(port))
        };
        let number = match port {
            "smtp" => Some(25),
            "submissions" | "smtps" => Some(465),
            "submission" => Some(587),
            _ => None,
        };
        let help = number.map_or(shape.to_owned(), |number| {
            format!("write \"{host}:{number}\"")
        });
        return fault(phrase).help(help);
    }
    unresolved(host)
        .unwrap_or_else(|| fault(format!("is not an address and port: {}", quote(text))))
        .help(shape)
}

/// Address of a server.
pub(super) fn server_address(text: &str) -> Result<IpAddr, Fault> {
    let port = "; with forward = \"dsr\" a server is reached at the port of `listen`";
    server(text, Whose::Server, port)
}

/// Address of a server that the director connects to.
pub(super) fn relayed(text: &str) -> Result<IpAddr, Fault> {
    let port = "; the port has a key of its own: { address = \"ADDRESS\", port = PORT }";
    server(text, Whose::Upstream, port)
}

/// `port` is said where one stands behind the address.
fn server(text: &str, whose: Whose, port: &str) -> Result<IpAddr, Fault> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return usable(address, whose).map(|()| address);
    }
    if let Some(fault) = prefix(text, None) {
        return Err(fault);
    }
    if text.contains('%') {
        return Err(scoped(text));
    }
    let shape = "write an address such as \"192.168.1.101\" or \"2001:db8::101\"";
    Err(bad_address(text, port).unwrap_or_else(|fault| fault.help(shape)))
}

/// Address of this director or of another one, where adverts come from or go to.
pub(super) fn director_address(text: &str) -> Result<IpAddr, Fault> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return usable(address, Whose::Director).map(|()| address);
    }
    if let Some(fault) = prefix(text, None).or_else(|| on_interface(text, "")) {
        return Err(fault);
    }
    let shape = "write an address such as \"192.168.1.11\" or \"fe80::11\"";
    Err(bad_address(text, "; VRRP has no ports").unwrap_or_else(|fault| fault.help(shape)))
}

/// One end of the link between two directors: address and port.
pub(super) fn director_end(text: &str) -> Result<SocketAddr, Fault> {
    end(text, &DIRECTOR_END)
}

/// Where a proxy listens.
pub(super) fn proxy_listen(text: &str) -> Result<SocketAddr, Fault> {
    end(text, &PROXY_LISTEN)
}

/// Where a proxy answers HTTP in clear by sending clients elsewhere.
pub(super) fn redirect_listen(text: &str) -> Result<SocketAddr, Fault> {
    end(text, &REDIRECT_LISTEN)
}

/// Where a server of a proxy listens.
pub(super) fn upstream(text: &str) -> Result<SocketAddr, Fault> {
    end(text, &UPSTREAM)
}

/// Where a database or a session store is listened for. `port` is the usual one.
pub(super) fn tier_listen(text: &str, port: u16) -> Result<SocketAddr, Fault> {
    let kind = End {
        port,
        ..PROXY_LISTEN
    };
    end(text, &kind)
}

/// Where a node of one listens. `port` is the usual one.
pub(super) fn tier_server(text: &str, port: u16) -> Result<SocketAddr, Fault> {
    let kind = End {
        whose: Whose::Upstream,
        port,
        v4: "192.168.1.111",
        v6: "2001:db8::111",
    };
    end(text, &kind)
}

/// An address with its port, and what one looks like.
struct End {
    whose: Whose,
    port: u16,
    v4: &'static str,
    v6: &'static str,
}

const DIRECTOR_END: End = End {
    whose: Whose::End,
    port: 8405,
    v4: "192.168.1.10",
    v6: "2001:db8::10",
};
const PROXY_LISTEN: End = End {
    whose: Whose::Proxy,
    port: 443,
    v4: "192.168.1.100",
    v6: "2001:db8::100",
};
const REDIRECT_LISTEN: End = End {
    port: 80,
    ..PROXY_LISTEN
};
const UPSTREAM: End = End {
    whose: Whose::Upstream,
    port: 80,
    v4: "192.168.1.101",
    v6: "2001:db8::101",
};

fn end(text: &str, kind: &End) -> Result<SocketAddr, Fault> {
    match text.parse::<SocketAddr>() {
        Ok(SocketAddr::V6(v6)) if v6.scope_id() != 0 => Err(scoped(text)),
        Ok(end) if end.port() == 0 => Err(Fault::new(
            Code::BadAddress,
            format!("has port 0: {}", quote(text)),
        )
        .help("ports are 1 to 65535")),
        Ok(end) => usable(end.ip(), kind.whose).map(|()| end),
        Err(_) => Err(bad_end(text, kind)),
    }
}

fn bad_end(text: &str, kind: &End) -> Fault {
    let fault = |phrase: &str| {
        let phrase = format!("{phrase}: {}", quote(text));
        Fault::new(Code::BadAddress, phrase)
    };
    let End { port, v4, v6, .. } = kind;
    let shape = format!("write address and port: \"{v4}:{port}\", or \"[{v6}]:{port}\" for IPv6");
    if let Some((_, rest)) = text.split_once("://") {
        let help = rest
            .trim_end_matches('/')
            .parse::<SocketAddr>()
            .map_or_else(|_| shape.clone(), |end| format!("write \"{end}\""));
        return fault("has a scheme").help(help);
    }
    if let Some(fault) = prefix(text, Some(&format!(":{port}"))) {
        return fault;
    }
    let usual = *port;
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        let whole = SocketAddr::new(address, usual);
        if let (Ok(host), Ok(1..), true) = (
            host.parse::<Ipv6Addr>(),
            port.parse::<u16>(),
            port.len() == 4,
        ) {
            let help =
                format!("write \"[{host}]:{port}\", or \"{whole}\" if all of it is the address");
            return fault("needs brackets round its IPv6 address").help(help);
        }
        let help = format!("write the port too, such as \"{whole}\"");
        return fault("has no port").help(help);
    }
    let known = host.trim_start_matches('[').trim_end_matches(']');
    if known.parse::<IpAddr>().is_ok() && !port.is_empty() {
        return fault("has a port that is none").help("ports are 1 to 65535");
    }
    if !text.is_empty() && (host.is_empty() || host == "*") {
        return fault("has no address").help(kind.whose.meant());
    }
    unresolved(host)
        .unwrap_or_else(|| fault("is not an address and port"))
        .help(shape)
}

/// Address of `[vrrp.NAME]`, with the prefix of its network or without.
pub(super) fn virtual_address(text: &str) -> Result<VirtualAddress, Fault> {
    let at = text.find('/').unwrap_or(text.len());
    let (host, rest) = text.split_at(at);
    let Ok(address) = host.parse::<IpAddr>() else {
        if let Some(fault) = on_interface(host, rest) {
            return Err(fault);
        }
        let shape = "write an address such as \"192.168.1.100/24\" or \"2001:db8::100/64\"";
        return Err(bad_address(host, "; ports belong to services")
            .unwrap_or_else(|fault| fault.help(shape)));
    };
    usable(address, Whose::Virtual)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match rest.strip_prefix('/') {
        Some(length) => prefix_length(length, most).ok_or_else(|| {
            let phrase = format!(
                "has prefix length {}, allowed are 1 to {most}",
                quote(length)
            );
            let usual = if address.is_ipv4() { 24 } else { 64 };
            let first = length.split(' ').next().unwrap_or_default();
            let length = prefix_length(first, most).unwrap_or(usual);
            Fault::new(Code::BadAddress, phrase)
                .help(format!("write such as \"{address}/{length}\""))
        })?,
        None => most,
    };
    let of_network = |kind: &str| {
        let phrase = format!("is the {kind} of its network: {}", quote(text));
        Err(Fault::new(Code::BadAddress, phrase).help(Whose::Virtual.meant()))
    };
    match host_part(address, prefix) {
        Host::Zeros => of_network("address"),
        Host::Ones => of_network("broadcast address"),
        Host::Other => Ok(VirtualAddress { address, prefix }),
    }
}

/// 1 to `most`, in digits.
fn prefix_length(text: &str, most: u8) -> Option<u8> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let length = text.parse().ok().filter(|_| digits)?;
    (1..=most).contains(&length).then_some(length)
}

enum Host {
    Zeros,
    /// Of IPv4: IPv6 has no broadcast.
    Ones,
    Other,
}

/// What the bits after the prefix are. One bit or none is no network with an address of its own (RFC 3021, RFC 6164).
fn host_part(address: IpAddr, prefix: u8) -> Host {
    let (bits, width) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let host = width - u32::from(prefix);
    if host < 2 {
        return Host::Other;
    }
    // From 2 to 127 bits.
    let mask = (1 << host) - 1;
    match bits & mask {
        0 => Host::Zeros,
        ones if ones == mask && address.is_ipv4() => Host::Ones,
        _ => Host::Other,
    }
}

/// The fault of an address with its interface behind a `%`. `rest` is what follows.
fn on_interface(text: &str, rest: &str) -> Option<Fault> {
    let (address, _) = text.split_once('%')?;
    address.parse::<IpAddr>().ok()?;
    let phrase = format!("has an interface in its address: {}", quote(text));
    let help = format!("write \"{address}{rest}\"; `interface` says where it is");
    Some(Fault::new(Code::BadAddress, phrase).help(help))
}

/// The fault of what is no address. `Err` where the caller is to say what one looks like; `port` is why none is needed.
fn bad_address(text: &str, port: &str) -> Result<Fault, Fault> {
    let fault = |phrase: String| Fault::new(Code::BadAddress, phrase);
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(fault(format!("has a port: {}", quote(text)))
            .help(format!("write \"{}\"{port}", address.ip())));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(
            fault(format!("has brackets: {}", quote(text))).help(format!("write \"{address}\""))
        );
    }
    Err(unresolved(text).unwrap_or_else(|| fault(format!("is not an IP address: {}", quote(text)))))
}

/// `port` is proposed where one is needed and none is given.
fn prefix(text: &str, port: Option<&str>) -> Option<Fault> {
    let (address, rest) = text.split_once('/')?;
    let fault = Fault::new(
        Code::BadAddress,
        format!("has a prefix length: {}", quote(text)),
    );
    let port = match (port, rest.split_once(':')) {
        (Some(_), Some((_, given))) => format!(":{given}"),
        (port, _) => port.unwrap_or_default().to_owned(),
    };
    let address = match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if !port.is_empty() => format!("[{v6}]"),
        Ok(ip) => ip.to_string(),
        Err(_) => return Some(fault.help("write one address, not a network")),
    };
    Some(fault.help(format!(
        "write one address, not a network: \"{address}{port}\""
    )))
}

fn scoped(text: &str) -> Fault {
    let phrase = format!("has an interface in its address: {}", quote(text));
    Fault::new(Code::BadAddress, phrase)
        .help("use an address that is the same on every interface, not a link-local one")
}

/// The fault of something that looks like a host name; `None` where it does not.
fn unresolved(text: &str) -> Option<Fault> {
    let name = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let letters = text.bytes().any(|b| b.is_ascii_alphabetic());
    (name && letters).then(|| {
        Fault::new(
            Code::BadAddress,
            format!("is a host name, not an address: {}", quote(text)),
        )
    })
}

/// Refuses addresses that no packet on a wire can have as its destination, or that mean two things.
fn usable(address: IpAddr, whose: Whose) -> Result<(), Fault> {
    let fault = |kind: &str, help: &str| {
        let phrase = format!("is {kind}: `{address}`");
        Err(Fault::new(Code::BadAddress, phrase).help(help))
    };
    let one = whose.meant();
    let anywhere = !matches!(whose, Whose::Virtual | Whose::Director);
    let local = matches!(whose, Whose::Proxy | Whose::Upstream);
    match address {
        _ if address.is_unspecified() => fault("the unspecified address", one),
        _ if address.is_multicast() => fault("a multicast address", one),
        _ if address.is_loopback() && !local => fault("a loopback address", one),
        IpAddr::V4(v4) if v4.is_broadcast() => fault("the broadcast address", one),
        IpAddr::V6(v6) if v6.is_unicast_link_local() && anywhere => fault(
            "a link-local address",
            "use an address that is the same on every interface",
        ),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => fault("an IPv4 address in IPv6 form", &format!("write {v4}")),
            None => Ok(()),
        },
        IpAddr::V4(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_used() {
        for text in ["192.168.1.100:25", "[2001:db8::1]:65535", "10.0.0.1:1"] {
            assert_eq!(listen(text), Ok(text.parse().expect("valid")));
        }
        for text in ["192.168.1.101", "2001:db8::1", "169.254.1.1"] {
            assert_eq!(server_address(text), Ok(text.parse().expect("valid")));
        }
        for text in ["192.168.1.11", "2001:db8::11", "fe80::11"] {
            assert_eq!(director_address(text), Ok(text.parse().expect("valid")));
        }
        for (text, address, prefix) in [
            ("192.168.1.100", "192.168.1.100", 32),
            ("192.168.1.100/32", "192.168.1.100", 32),
            ("192.168.1.100/24", "192.168.1.100", 24),
            ("192.168.1.0/31", "192.168.1.0", 31),
            ("192.168.1.1/31", "192.168.1.1", 31),
            ("192.168.1.0/16", "192.168.1.0", 16),
            ("192.168.1.255/1", "192.168.1.255", 1),
            ("2001:db8::100", "2001:db8::100", 128),
            ("2001:db8::/127", "2001:db8::", 127),
            ("2001:db8::ffff/112", "2001:db8::ffff", 112),
            ("fe80::100/64", "fe80::100", 64),
        ] {
            let address = address.parse().expect("valid");
            assert_eq!(
                virtual_address(text),
                Ok(VirtualAddress { address, prefix }),
                "{text}"
            );
        }
    }

    /// Each refusal with the help that goes with it.
    #[test]
    fn addresses_that_are_refused() {
        let said = |fault: Fault| format!("{} | {}", fault.phrase, fault.help.unwrap_or_default());
        let mut text = String::new();
        for case in [
            "",
            ":25",
            "*:25",
            "25",
            "mail.example.org",
            "mail.example.org:25",
            "192.168.1.100",
            "192.168.1.100:0",
            "192.168.1.100:65536",
            "192.168.1.100:smtp",
            "192.168.1.100:",
            "192.168.1.100/24",
            "192.168.1.100/24:25",
            "2001:db8::1",
            "[2001:db8::1]",
            "fe80:0:0:0:1:2:3:4:25",
            "[fe80::1%2]:25",
            "[fe80::1]:25",
            "[::ffff:10.0.0.1]:25",
            "0.0.0.0:25",
            "[::]:25",
            "224.0.0.1:25",
            "127.0.0.1:25",
            "255.255.255.255:25",
            "300.1.1.1:25",
            "192.168.1.100:25 ",
            "net/24",
            "udp://10.0.0.100:25",
            "smtp://mail",
            "2001:db8::100:25",
        ] {
            text += &format!("listen {case:?} {}\n", said(listen(case).expect_err(case)));
        }
        for case in [
            "",
            "mb1",
            "mb1.example.org",
            "192.168.1.101:25",
            "[2001:db8::1]:25",
            "192.168.1.101/24",
            "[2001:db8::1]",
            "fe80::1%eth0",
            "fe80::1",
            "0.0.0.0",
            "127.0.0.1",
            "::ffff:10.0.0.1",
            "1.2.3",
            "1.2.3.4.5",
        ] {
            text += &format!(
                "server {case:?} {}\n",
                said(server_address(case).expect_err(case))
            );
        }
        for case in [
            "",
            "lb2",
            "192.168.1.11:112",
            "192.168.1.11/24",
            "fe80::11%eth0",
            "[fe80::11]",
            "224.0.0.18",
            "127.0.0.1",
            "::",
        ] {
            text += &format!(
                "director {case:?} {}\n",
                said(director_address(case).expect_err(case))
            );
        }
        for case in [
            "",
            ":8405",
            "*:8405",
            "8405",
            "lb2",
            "lb2:8405",
            "192.168.1.11",
            "192.168.1.11:0",
            "192.168.1.11:65536",
            "192.168.1.11/24",
            "2001:db8::11",
            "[2001:db8::11]",
            "2001:db8::11:8405",
            "[fe80::11%2]:8405",
            "[fe80::11]:8405",
            "[::ffff:10.0.0.1]:8405",
            "0.0.0.0:8405",
            "[::]:8405",
            "127.0.0.1:8405",
            "tcp://192.168.1.11:8405",
        ] {
            text += &format!(
                "end {case:?} {}\n",
                said(director_end(case).expect_err(case))
            );
        }
        for case in [
            "",
            "/",
            "/24",
            "vip",
            "vip/24",
            "192.168.1.100/",
            "192.168.1.100/0",
            "192.168.1.100/33",
            "192.168.1.100/+24",
            "192.168.1.100/255.255.255.0",
            "192.168.1.100/24 dev eth0",
            "192.168.1.100/24/24",
            "192.168.1.100:25",
            "192.168.1.0/24",
            "192.168.1.255/24",
            "192.168.1.3/30",
            "2001:db8::100/0",
            "2001:db8::100/129",
            "2001:db8::/64",
            "[2001:db8::100]/64",
            "fe80::100%eth0/64",
            "0.0.0.0/24",
            "224.0.0.18/24",
            "127.0.0.1/8",
            "255.255.255.255",
            "::/64",
            "ff02::12/64",
            "::1",
            "::ffff:10.0.0.1",
        ] {
            text += &format!(
                "virtual {case:?} {}\n",
                said(virtual_address(case).expect_err(case))
            );
        }
        insta::assert_snapshot!("refused_addresses", text);
    }
}
