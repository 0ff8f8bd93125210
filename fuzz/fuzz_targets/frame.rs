//! The XDP program's parser, built for the host, on any frame: it reads nothing outside, and says what the model of
//! the packet tests says.
//!
//! An address sanitizer, which `cargo fuzz` switches on, sees a read past the end.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/tests/packets/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../../mb-lb-ebpf/src/packet.rs"]
mod packet;

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use mb_lb_common::Reason;
use packet::{Frame, Network, Segment, Tcp};

const OWN: [u8; 6] = [0x02, 0, 0x5e, 0, 0, 0x01];

/// As the program puts the parts together, without its maps.
fn parse(bytes: &[u8]) -> Result<(SocketAddr, SocketAddr, Tcp, usize), Reason> {
    let start = bytes.as_ptr() as usize;
    let frame = Frame::new(start, start + bytes.len());
    let link = packet::link(frame)?;
    let network = packet::network(&link)?;
    if link.destination != OWN {
        return Err(Reason::NotForUs);
    }
    let port = u16::from_be_bytes;
    Ok(match network {
        Network::V4 => {
            let Segment { key, tcp, l3 } = packet::ipv4(frame, link.l3)?;
            let from = SocketAddr::new(key.client.into(), port(key.client_port));
            let to = SocketAddr::new(key.vip.into(), port(key.vip_port));
            (from, to, tcp, l3)
        }
        Network::V6 => {
            let Segment { key, tcp, l3 } = packet::ipv6(frame, link.l3)?;
            let from = SocketAddr::new(key.client.into(), port(key.client_port));
            let to = SocketAddr::new(key.vip.into(), port(key.vip_port));
            (from, to, tcp, l3)
        }
    })
}

fuzz_target!(|bytes: &[u8]| {
    // No driver hands up less than an Ethernet header.
    if bytes.len() < packet::ETH_LEN {
        return;
    }
    let expected = model::parse(bytes, OWN);
    match (parse(bytes), expected) {
        (Err(reason), Err(expected)) => assert_eq!(reason, expected),
        (Ok((from, to, tcp, l3)), Ok(expected)) => {
            assert_eq!((from, to, l3), (expected.from, expected.to, expected.l3));
            assert_eq!(
                (tcp.flags, tcp.seq, tcp.ack),
                (expected.flags, expected.seq, expected.ack)
            );
            assert_eq!(tcp.segment_len, expected.length);
        }
        (got, expected) => panic!("{got:?} instead of {expected:?}"),
    }
});
