//! Asks who has an address, as a host does before it takes one: ARP probes (RFC 5227), which claim nothing and so are
//! no news to anybody's table. IPv4 only: a server answers no neighbour solicitation for what is on its `lo`.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::announce::ARP_FRAME;
use super::packet;
use super::{Claim, Guardian, Interface};

/// Frames get lost.
const ROUNDS: u32 = 3;
/// A segment answers within milliseconds, a guest that sleeps within tens of them.
const ROUND: Duration = Duration::from_millis(300);
/// Whoever answers more is a flood.
const ANSWERS: usize = 256;

/// Everybody but this interface who says on its segment that one of these addresses is theirs.
///
/// # Errors
/// No CAP_NET_RAW (EPERM), or the interface is down or gone.
pub async fn who_has(interface: &Interface, vips: &[Ipv4Addr]) -> io::Result<BTreeSet<Claim>> {
    let (sender, mut claims) = mpsc::channel(ANSWERS);
    let (guardian, _task) = Guardian::open(interface.index, sender)?;
    guardian.set(
        interface.mac,
        vips.iter().copied().map(IpAddr::V4).collect(),
    );
    let socket = packet::sender(interface.index)?;
    let mut found = BTreeSet::new();
    for _ in 0..ROUNDS {
        for vip in vips {
            socket.send(&probe(*vip, interface.mac))?;
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

/// An ARP request whose sender has no address yet.
fn probe(address: Ipv4Addr, mac: [u8; 6]) -> [u8; ARP_FRAME] {
    let mut frame = super::announce::arp_frame(address, mac);
    // The sender's address, and the target's MAC address, which is what is asked for.
    frame[28..38].fill(0);
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
}
