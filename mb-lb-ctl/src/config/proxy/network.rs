//! Networks in CIDR notation.

use std::net::IpAddr;

use crate::config::Network;
use crate::config::diagnostic::{Code, Reporter, quote};
use crate::config::fields::Field;
use crate::config::values::Fault;

pub(super) fn networks(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Vec<Network> {
    let expected = "a network such as \"10.0.0.0/8\", or a list of them";
    field
        .elements(expected, "remove the key for none", reporter)
        .iter()
        .filter_map(|element| element.parsed("a network such as \"10.0.0.0/8\"", network, reporter))
        .collect()
}

/// An address alone is a network of one.
fn network(text: &str) -> Result<Network, Fault> {
    let fault = |phrase: &str, help: String| {
        Err(Fault::new(Code::BadAddress, format!("{phrase}: {}", quote(text))).help(help))
    };
    let shape = "write one such as \"10.0.0.0/8\" or \"2001:db8::/32\"".to_owned();
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return fault("is not a network", shape);
    };
    if address != address.to_canonical() {
        let help = format!("write {}", address.to_canonical());
        return fault("is an IPv4 network in IPv6 form", help);
    }
    let most = if address.is_ipv4() { 32 } else { 128 };
    let digits = |length: &str| !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let prefix = match length {
        None => Some(most),
        Some(length) => length.parse().ok().filter(|_| digits(length)),
    };
    let Some(prefix) = prefix.filter(|prefix| *prefix <= most) else {
        let help = format!("the length of the prefix is 0 to {most}");
        return fault("has a prefix that is none", help);
    };
    let network = Network {
        address: masked(address, prefix),
        prefix,
    };
    if network.address != address {
        let help = format!("write \"{network}\", or \"{address}/{most}\" for the one address");
        return fault("has bits behind its prefix", help);
    }
    Ok(network)
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_what_is_none() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
        ] {
            let network = network(text).expect(text);
            assert_eq!(network.to_string(), shown);
            assert!(network.contains(network.address));
        }
        for text in [
            "",
            "x",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.1/8",
            "10.0.0/8",
            "::/129",
            "::ffff:10.0.0.0/104",
            "fe80::1%2",
            "10.0.0.0/8/8",
        ] {
            network(text).expect_err(text);
        }
    }
}
