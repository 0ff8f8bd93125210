//! Addresses from text: of a VIP with its port, and of a server. Names are not resolved: a fault of DNS must not
//! move a VIP.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::diagnostic::{Code, quote};
use super::values::Fault;

/// Where a service listens: address and port.
pub(super) fn listen(text: &str) -> Result<SocketAddr, Fault> {
    match text.parse::<SocketAddr>() {
        Ok(SocketAddr::V6(v6)) if v6.scope_id() != 0 => Err(scoped(text)),
        Ok(address) if address.port() == 0 => Err(Fault::new(
            Code::BadAddress,
            format!("has port 0: {}", quote(text)),
        )
        .help("ports are 1 to 65535")),
        Ok(address) => usable(address.ip(), "listen").map(|()| address),
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
    if let Ok(address) = text.parse::<IpAddr>() {
        return usable(address, "server").map(|()| address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Err(
            Fault::new(Code::BadAddress, format!("has a port: {}", quote(text))).help(format!(
                "write \"{}\"; with forward = \"dsr\" a server is reached at the port of `listen`",
                address.ip()
            )),
        );
    }
    if let Some(fault) = prefix(text, None) {
        return Err(fault);
    }
    if text.contains('%') {
        return Err(scoped(text));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        let phrase = format!("has brackets: {}", quote(text));
        return Err(Fault::new(Code::BadAddress, phrase).help(format!("write \"{address}\"")));
    }
    let generic = || {
        let phrase = format!("is not an IP address: {}", quote(text));
        Fault::new(Code::BadAddress, phrase)
    };
    Err(unresolved(text)
        .unwrap_or_else(generic)
        .help("write an address such as \"192.168.1.101\" or \"2001:db8::101\""))
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
fn usable(address: IpAddr, what: &str) -> Result<(), Fault> {
    let fault = |kind: &str, help: String| {
        let phrase = format!("is {kind}: `{address}`");
        Err(Fault::new(Code::BadAddress, phrase).help(help))
    };
    let one = match what {
        "listen" => "write the VIP that clients connect to",
        _ => "write the server's address on the segment that it shares with the director",
    };
    match address {
        _ if address.is_unspecified() => fault("the unspecified address", one.to_owned()),
        _ if address.is_multicast() => fault("a multicast address", one.to_owned()),
        _ if address.is_loopback() => fault("a loopback address", one.to_owned()),
        IpAddr::V4(v4) if v4.is_broadcast() => fault("the broadcast address", one.to_owned()),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => fault(
            "a link-local address",
            "use an address that is the same on every interface".to_owned(),
        ),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => fault("an IPv4 address in IPv6 form", format!("write {v4}")),
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
        insta::assert_snapshot!("refused_addresses", text);
    }
}
