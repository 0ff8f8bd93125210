//! Values from text, one at a time: durations, addresses, names. What is wrong comes back as a phrase that follows
//! the name of the key.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::diagnostic::{Code, quote};

/// Why a value is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub code: Code,
    /// Follows the key: `is not a duration`.
    pub phrase: String,
    pub help: Option<String>,
}

impl Fault {
    pub fn new(code: Code, phrase: impl Into<String>) -> Self {
        Self {
            code,
            phrase: phrase.into(),
            help: None,
        }
    }
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Units with their length in milliseconds.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// `2s`, `500ms`, `15m`, `24h`: a whole number and its unit.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds = |(_, length): &(&str, u64)| number.parse::<u64>().ok()?.checked_mul(*length);
    if let Some(entry) = UNITS.iter().find(|(name, _)| *name == unit)
        && !number.is_empty()
    {
        let value = milliseconds(entry).ok_or_else(|| {
            Fault::new(
                Code::OutOfRange,
                format!("is out of range: {}", quote(text)),
            )
        })?;
        return Ok(Duration::from_millis(value));
    }
    let fault = |why: &str| {
        Fault::new(
            Code::BadDuration,
            format!("is not a duration: {} {why}", quote(text)),
        )
    };
    let units = "a duration is a whole number and one of the units `ms`, `s`, `m`, `h`";
    if number.is_empty() {
        return Err(fault("does not start with a number").help(format!("{units}, such as \"2s\"")));
    }
    if unit.is_empty() {
        return Err(fault("has no unit").help(format!("write \"{number}s\" for seconds")));
    }
    let plain = unit.trim().to_ascii_lowercase();
    if let Some((name, _)) = UNITS.iter().find(|(name, _)| *name == plain) {
        return Err(
            fault("has a unit in another spelling").help(format!("write \"{number}{name}\""))
        );
    }
    let (why, help) = match plain.as_str() {
        "us" | "µs" | "ns" => ("is finer than a millisecond", units.to_owned()),
        "d" | "day" | "days" => ("has an unknown unit", format!("{units}; a day is \"24h\"")),
        _ if unit.starts_with('.') => (
            "has a fraction",
            format!("{units}; one and a half seconds are \"1500ms\""),
        ),
        _ => ("has an unknown unit", units.to_owned()),
    };
    Err(fault(why).help(help))
}

/// A duration as the file would say it, in the largest unit that leaves no rest.
pub(super) fn show(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    UNITS
        .iter()
        .rev()
        .find(|(_, length)| milliseconds != 0 && milliseconds.is_multiple_of(u128::from(*length)))
        .map_or_else(
            || "0s".to_owned(),
            |(unit, length)| format!("{}{unit}", milliseconds / u128::from(*length)),
        )
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
        Ok(address) => usable(address.ip(), "listen").map(|()| address),
        Err(_) => Err(bad_listen(text)),
    }
}

fn bad_listen(text: &str) -> Fault {
    let fault = |phrase: String| Fault::new(Code::BadAddress, phrase);
    let shape = "write address and port: \"192.168.1.100:25\", or \"[2001:db8::100]:25\" for IPv6";
    if let Some(fault) = prefix(text) {
        return fault;
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
    if let Some(fault) = prefix(text) {
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

fn prefix(text: &str) -> Option<Fault> {
    let (address, rest) = text.split_once('/')?;
    let fault = Fault::new(
        Code::BadAddress,
        format!("has a prefix length: {}", quote(text)),
    );
    let port = rest.split_once(':').map(|(_, port)| format!(":{port}"));
    let address = match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if port.is_some() => format!("[{v6}]"),
        Ok(ip) => ip.to_string(),
        Err(_) => return Some(fault.help("write one address, not a network")),
    };
    Some(fault.help(format!(
        "write one address, not a network: \"{address}{}\"",
        port.unwrap_or_default()
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

/// Names of services, servers and the director: what is safe in a command, a metric label and a file name.
pub(super) fn name(text: &str) -> Result<(), Fault> {
    let help = "names are 1 to 64 characters out of A-Z, a-z, 0-9, `_`, `.` and `-`";
    let fault = |phrase: String| Err(Fault::new(Code::BadName, phrase).help(help));
    if text.is_empty() {
        return fault("is empty".to_owned());
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || "_.-".contains(*c);
    if let Some(c) = text.chars().find(|c| !allowed(c)) {
        return fault(format!(
            "has a character that names cannot have: {}",
            quote(&c.to_string())
        ));
    }
    if text.len() > 64 {
        return fault(format!("has {} characters", text.len()));
    }
    Ok(())
}

/// What Linux takes as the name of an interface (`dev_valid_name`, and `IFNAMSIZ` of 16 with the final NUL).
pub(super) fn interface(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| {
        let phrase = format!("is not the name of an interface: {} {why}", quote(text));
        Err(Fault::new(Code::BadInterface, phrase)
            .help("`ip -brief link` lists the interfaces of this machine"))
    };
    if text.is_empty() {
        return fault("is empty");
    }
    if text.len() > 15 {
        return fault("is longer than 15 bytes");
    }
    if text == "." || text == ".." {
        return fault("is reserved");
    }
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.contains(bad) {
        return fault("has a slash, a colon, a space or a control character");
    }
    Ok(())
}

/// Argument of EHLO: a domain or an address literal (RFC 5321 section 4.1.1.1).
pub(super) fn helo(text: &str) -> Result<(), Fault> {
    let fault = |phrase: String| {
        Err(Fault::new(Code::BadText, phrase).help(
            "write a domain such as \"lb1.example.org\" or a literal such as \"[192.168.1.10]\"",
        ))
    };
    if text.is_empty() {
        return fault("is empty".to_owned());
    }
    if text.len() > 255 {
        return fault(format!("has {} bytes, more than 255", text.len()));
    }
    let literal = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let valid = match literal {
        Some(inside) => {
            let inside = inside.strip_prefix("IPv6:").map_or_else(
                || inside.parse::<std::net::Ipv4Addr>().is_ok(),
                |v6| v6.parse::<Ipv6Addr>().is_ok(),
            );
            return if inside {
                Ok(())
            } else {
                fault(format!("is not an address literal: {}", quote(text)))
            };
        }
        None => text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    if valid {
        Ok(())
    } else {
        fault(format!("is not a domain: {}", quote(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("500ms", 500),
            ("2s", 2000),
            ("15m", 900_000),
            ("24h", 86_400_000),
        ] {
            let value = duration(text).expect(text);
            assert_eq!(value, Duration::from_millis(milliseconds));
            assert_eq!(show(value), text);
        }
        for text in [
            "", "2", "s", "2d", "-1s", "1.5s", "2 s", "2S", "1m30s", "2sec", "٣s",
        ] {
            assert_eq!(
                duration(text).expect_err(text).code,
                Code::BadDuration,
                "{text}"
            );
        }
        for text in ["99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(
                duration(text).expect_err(text).code,
                Code::OutOfRange,
                "{text}"
            );
        }
    }

    #[test]
    fn shown_durations_are_read_back_the_same() {
        for milliseconds in (0..5000).chain([59_999, 60_000, 61_000, 3_599_000, 3_600_000]) {
            let value = Duration::from_millis(milliseconds);
            assert_eq!(duration(&show(value)), Ok(value));
        }
    }

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

    #[test]
    fn names() {
        for text in ["a", "smtp_backend", "mb-1.example", &"x".repeat(64)] {
            assert_eq!(name(text), Ok(()));
        }
        for text in ["", "a b", "a:b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert_eq!(name(text).expect_err(text).code, Code::BadName);
        }
    }

    #[test]
    fn interfaces() {
        for text in ["eth0", "enp0s31f6", "br-lan.100", "123456789012345"] {
            assert_eq!(interface(text), Ok(()));
        }
        for text in [
            "",
            ".",
            "..",
            "eth 0",
            "a/b",
            "eth0:1",
            "1234567890123456",
            "a\u{0}",
        ] {
            assert_eq!(interface(text).expect_err(text).code, Code::BadInterface);
        }
    }

    #[test]
    fn helo_arguments() {
        for text in [
            "lb1.example.org",
            "lb1",
            "[192.168.1.10]",
            "[IPv6:2001:db8::1]",
        ] {
            assert_eq!(helo(text), Ok(()));
        }
        for text in [
            "",
            "a b",
            "a\r\nQUIT",
            "[lb1]",
            "[2001:db8::1]",
            "ä",
            &"x".repeat(256),
        ] {
            assert_eq!(helo(text).expect_err(text).code, Code::BadText);
        }
    }
}
