//! Tells the neighbours that an address is at a MAC address from now on: gratuitous ARP, and unsolicited
//! neighbour advertisements.
//!
//! ARP announcements are requests, as RFC 5227 section 3 wants them and keepalived sends them. There is no
//! second one as reply: whoever takes mappings from announcements does so without looking at the operation
//! (RFC 826), and Linux takes a reply for gratuitous only where it names the sender as target too, so a
//! reply of this form would change nothing within a second of another change.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use socket2::Socket;

use super::packet;

const BROADCAST: [u8; 6] = [0xff; 6];

/// The link-layer address of [`ALL_NODES`] (RFC 2464 section 7).
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Length of an ARP frame. The hardware pads it to the 60 bytes of Ethernet.
pub const ARP_FRAME: usize = 14 + 28;

/// Length of a neighbour advertisement with a link-layer option: Ethernet, IPv6, ICMPv6.
pub const NA_FRAME: usize = 14 + 40 + 24 + 8;

/// Sends announcements on one interface. To be opened once and kept: closing such a socket takes milliseconds,
/// for which nothing else happens on the calling thread.
pub struct Announcer {
    socket: Socket,
}

impl Announcer {
    /// In the network namespace of the calling thread. An interface that was removed and made anew has
    /// another index and needs another announcer.
    ///
    /// # Errors
    /// No such interface (ENODEV), no CAP_NET_RAW (EPERM).
    pub fn open(ifindex: u32) -> io::Result<Self> {
        let socket = packet::sender(ifindex)?;
        Ok(Self { socket })
    }

    /// Announces once that `address` is at `mac`. Never waits; how often and when is up to the caller.
    ///
    /// # Errors
    /// The interface is down (ENETDOWN), is gone (ENXIO), or its queue is full (ENOBUFS, EAGAIN).
    pub fn announce(&self, address: IpAddr, mac: [u8; 6]) -> io::Result<()> {
        // A packet socket sends all of a frame or nothing.
        match address {
            IpAddr::V4(address) => self.socket.send(&arp_frame(address, mac))?,
            IpAddr::V6(address) => self.socket.send(&na_frame(address, mac))?,
        };
        Ok(())
    }
}

/// A gratuitous ARP request (RFC 826, RFC 5227 section 3). The target's MAC address, which nobody reads, is
/// that of keepalived.
pub fn arp_frame(address: Ipv4Addr, mac: [u8; 6]) -> [u8; ARP_FRAME] {
    let mut frame = [0; ARP_FRAME];
    frame[..6].copy_from_slice(&BROADCAST);
    frame[6..12].copy_from_slice(&mac);
    // ARP; Ethernet, IPv4, their lengths; request.
    frame[12..22].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&address.octets());
    frame[32..38].copy_from_slice(&BROADCAST);
    frame[38..].copy_from_slice(&address.octets());
    frame
}

/// An unsolicited neighbour advertisement to all nodes (RFC 4861 sections 4.4 and 7.2.6): override, not a
/// router. A host that has the VIP as its router would drop that route (section 7.2.5).
pub fn na_frame(address: Ipv6Addr, mac: [u8; 6]) -> [u8; NA_FRAME] {
    let mut frame = [0; NA_FRAME];
    let (headers, message) = frame.split_at_mut(54);
    headers[..6].copy_from_slice(&ALL_NODES_MAC);
    headers[6..12].copy_from_slice(&mac);
    // IPv6; version, traffic class, flow label; payload length, ICMPv6, hop limit.
    headers[12..22].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
    headers[22..38].copy_from_slice(&address.octets());
    headers[38..].copy_from_slice(&ALL_NODES.octets());
    message[0] = 136;
    message[4] = 0x20;
    message[8..24].copy_from_slice(&address.octets());
    // The option: target link-layer address, 8 bytes.
    message[24..26].copy_from_slice(&[2, 1]);
    message[26..].copy_from_slice(&mac);
    let checksum = packet::icmpv6_checksum(address, ALL_NODES, message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .chars()
            .filter_map(|digit| digit.to_digit(16))
            .map(|digit| digit as u8)
            .collect();
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }

    #[test]
    fn arp_announcement_is_that_of_keepalived() {
        let frame = arp_frame(Ipv4Addr::new(192, 168, 1, 100), MAC);
        let expected = "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 \
                        020000000001 c0a80164 ffffffffffff c0a80164";
        assert_eq!(frame[..], hex(expected));
    }

    #[test]
    fn neighbour_advertisement_to_the_byte() {
        let frame = na_frame("fd77::100".parse().unwrap(), MAC);
        let expected = "333300000001 020000000001 86dd 60000000 0020 3a ff \
                        fd770000000000000000000000000100 ff020000000000000000000000000001 \
                        88 00 57af 20000000 fd770000000000000000000000000100 02 01 020000000001";
        assert_eq!(frame[..], hex(expected));
    }
}
