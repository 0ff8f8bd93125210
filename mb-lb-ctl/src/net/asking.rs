//! Asks who has an address. IPv4: ARP probes (RFC 5227), as a host sends them before it takes an address; they claim nothing
//! and so are no news to anybody's table. IPv6: neighbour solicitations from an address of this host's own, which claim no
//! more than that one. The probe of a host that is to take an address (RFC 4862) would do as well, but whoever guards the
//! address has to take it for a claim.
//!
//! A server answers neither for what is on its `lo`: ARP with `arp_ignore`, neighbour discovery always.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::announce::{ARP_FRAME, NA_FRAME};
use super::packet;
use super::{Claim, Guardian, Held, Interface};

/// Frames get lost.
const ROUNDS: u32 = 3;
/// A segment answers within milliseconds, a guest that sleeps within tens of them.
const ROUND: Duration = Duration::from_millis(300);
/// Whoever answers more is a flood.
const ANSWERS: usize = 256;

/// Everybody but this interface who says on its segment that one of these addresses is theirs. Those of IPv6 are asked for
/// from `source` only.
///
/// # Errors
/// No CAP_NET_RAW (EPERM), or the interface is down or gone.
pub async fn who_has(
    interface: &Interface,
    addresses: &[IpAddr],
    source: Option<Ipv6Addr>,
) -> io::Result<BTreeSet<Claim>> {
    let (sender, mut claims) = mpsc::channel(ANSWERS);
    let (guardian, _task) = Guardian::open(interface.index, sender)?;
    guardian.set(interface.mac, addresses.iter().copied().collect());
    let socket = packet::sender(interface.index)?;
    let mut found = BTreeSet::new();
    for _ in 0..ROUNDS {
        for address in addresses {
            match (*address, source) {
                (IpAddr::V4(address), _) => socket.send(&probe(address, interface.mac))?,
                (IpAddr::V6(address), Some(source)) => {
                    socket.send(&solicitation(address, source, interface.mac))?
                }
                (IpAddr::V6(_), None) => continue,
            };
        }
        let round = async {
            while let Some(claim) = claims.recv().await {
                found.insert(claim);
            }
        };
        // Its end is the rule: that nobody else speaks is found by waiting only.
        let _waited = timeout(ROUND, round).await;
    }
    Ok(found)
}

/// The address of an interface that neighbours can be asked from: link-local, which is answered on the link, or another one
/// that is not a VIP, whose answers may go elsewhere.
pub fn source(held: &[Held], interface: &Interface, vips: &BTreeSet<IpAddr>) -> Option<Ipv6Addr> {
    let own = held
        .iter()
        .map(|held| held.vip)
        .filter(|own| own.ifindex == interface.index && !vips.contains(&own.address));
    let own = own.filter_map(|own| match own.address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    });
    own.max_by_key(Ipv6Addr::is_unicast_link_local)
}

/// An ARP request whose sender has no address yet.
fn probe(address: Ipv4Addr, mac: [u8; 6]) -> [u8; ARP_FRAME] {
    let mut frame = super::announce::arp_frame(address, mac);
    // The sender's address, and the target's MAC address, which is what is asked for.
    frame[28..38].fill(0);
    frame
}

/// A neighbour solicitation with the link-layer address of its source (RFC 4861 section 4.3), to the target's solicited-node
/// address (RFC 4291 section 2.7.1). As long as the advertisement that answers it.
fn solicitation(target: Ipv6Addr, source: Ipv6Addr, mac: [u8; 6]) -> [u8; NA_FRAME] {
    let [.., x, y, z] = target.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z]);
    let mut frame = super::announce::na_frame(target, mac);
    let (headers, message) = frame.split_at_mut(54);
    // RFC 2464 section 7.
    headers[..6].copy_from_slice(&[0x33, 0x33, 0xff, x, y, z]);
    headers[22..38].copy_from_slice(&source.octets());
    headers[38..].copy_from_slice(&group.octets());
    message[0] = 135;
    // No flags, and the checksum anew; the option is that of the source.
    message[2..8].fill(0);
    message[24] = 1;
    let checksum = packet::icmpv6_checksum(source, group, message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_to_the_byte_claims_nothing() {
        let frame = probe(Ipv4Addr::new(192, 0, 2, 100), [2, 0, 0, 0, 0, 1]);
        let mut expected = vec![0xff; 6];
        expected.extend([2, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
        expected.extend([2, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 0, 0, 0, 192, 0, 2, 100]);
        assert_eq!(frame[..], expected);
        assert_eq!(super::super::guardian::decode(&frame), None);
    }

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    #[test]
    fn a_solicitation_to_the_byte_claims_only_where_it_comes_from() {
        let (target, source) = ("fd77::100", "fe80::1");
        let frame = solicitation(target.parse().unwrap(), source.parse().unwrap(), MAC);
        let mut expected = vec![0x33, 0x33, 0xff, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
        expected.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
        expected.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        expected.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 1, 0]);
        // The sum is of the headers above and the message below: checked by what decodes it.
        expected.extend([135, 0, frame[56], frame[57], 0, 0, 0, 0]);
        expected.extend([0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        expected.extend([1, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(frame[..], expected);
        let claimed = super::super::guardian::decode(&frame);
        assert_eq!(claimed, Some((source.parse().unwrap(), MAC)));
    }

    #[test]
    fn asked_from_a_link_local_address_or_from_another_but_not_from_a_vip() {
        let held = |address: &str, ifindex| Held {
            vip: crate::net::Vip {
                address: address.parse().unwrap(),
                prefix: 64,
                ifindex,
            },
            tagged: false,
            valid: None,
        };
        let interface = Interface {
            name: "eth0".to_owned(),
            index: 2,
            mac: MAC,
            mtu: 1500,
            up: true,
        };
        let vips = BTreeSet::from(["fd77::100".parse().unwrap()]);
        let mut all = vec![
            held("192.0.2.1", 2),
            held("fd77::100", 2),
            held("fe80::9", 1),
        ];
        assert_eq!(source(&all, &interface, &vips), None);
        all.push(held("fd77::2", 2));
        assert_eq!(source(&all, &interface, &vips), "fd77::2".parse().ok());
        all.push(held("fe80::2", 2));
        all.push(held("fd77::3", 2));
        assert_eq!(source(&all, &interface, &vips), "fe80::2".parse().ok());
    }
}
