//! Frames read by a parser that is neither the program's nor the builder's: lengths and checksums must be right.

use etherparse::{LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};

use crate::frame::{ACK, DESTINATION_OPTIONS, Frame, HOP_BY_HOP, QINQ, ROUTING, SYN, VLAN};
use crate::rig::Family;

/// Checks a frame with a TCP segment that the program let out, or that a test lets in.
#[track_caller]
pub fn sound(frame: &[u8]) {
    let packet = SlicedPacket::from_ethernet(frame)
        .unwrap_or_else(|error| panic!("{error} in {frame:02x?}"));
    for tag in &packet.link_exts {
        assert!(matches!(tag, LinkExtSlice::Vlan(_)));
    }
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        panic!("no TCP in {frame:02x?}");
    };
    let expected = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            assert_eq!(
                header.header_checksum(),
                header.to_header().calc_header_checksum(),
                "IPv4 header checksum in {frame:02x?}"
            );
            tcp.calc_checksum_ipv4(header.source(), header.destination())
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header();
            tcp.calc_checksum_ipv6(header.source(), header.destination())
        }
        _ => panic!("no IP in {frame:02x?}"),
    }
    .expect("a segment of less than 64 KiB");
    assert_eq!(tcp.checksum(), expected, "TCP checksum in {frame:02x?}");
}

#[test]
fn the_builder_makes_sound_frames() {
    for tags in [&[][..], &[VLAN], &[QINQ, VLAN], &[QINQ, QINQ, VLAN]] {
        for length in [0, 1, 2, 100, 1000] {
            let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
            for options in (0..=40).step_by(4) {
                let frame = Frame::new(Family::V4, 40000, 25, SYN)
                    .tags(tags)
                    .options(options)
                    .tcp_options(40 - options)
                    .payload(&payload);
                sound(&frame.bytes());
            }
            for extensions in [
                &[][..],
                &[(HOP_BY_HOP, 1)],
                &[(HOP_BY_HOP, 2), (DESTINATION_OPTIONS, 3), (ROUTING, 1)],
            ] {
                let frame = Frame::new(Family::V6, 40000, 25, ACK)
                    .tags(tags)
                    .extensions(extensions)
                    .payload(&payload);
                sound(&frame.bytes());
            }
        }
    }
}
