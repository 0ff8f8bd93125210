//! Adverts of VRRP, as any bytes from anybody on the link: nothing panics, what was read is written again as it was, and
//! only what was read is heard.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::vrrp::Instance;
use mb_lb_ctl::vrrp::judge::judge;
use mb_lb_ctl::vrrp::packet::{Advert, Auth, Coverage, Ends, GROUP4, GROUP6, Kind, ipv4};

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const SOURCE4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const SOURCE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2));

fn instance(kind: Kind, address: IpAddr, unicast_peers: Vec<IpAddr>) -> Instance {
    Instance {
        name: "VI_1".to_owned(),
        interface: "eth0".to_owned(),
        vrid: NonZeroU8::new(51).expect("not 0"),
        priority: 100,
        kind,
        interval: Duration::from_secs(1),
        addresses: vec![(address, 32)],
        preempt: true,
        preempt_delay: Duration::ZERO,
        unicast_peers,
        source: None,
        coverage: Coverage::PseudoHeader,
        lease: true,
        sync_group: None,
    }
}

fn check(instance: &Instance, message: &[u8], ends: Ends, ttl: u8) {
    let read = Advert::decode(message, ends);
    if let Ok((advert, coverage)) = &read {
        let written = advert.encode(ends, *coverage);
        // Not kept: the reserved bits of version 3, and what is where version 2 has its password, without one.
        assert_eq!(written.len(), message.len());
        let again = Advert::decode(&written, ends);
        assert_eq!(again.as_ref().map(|(advert, _)| advert), Ok(advert));
    }
    let judgement = judge(instance, OWN, message, ends, ttl);
    let is_ours = message.get(1).copied() == Some(instance.vrid.get());
    assert_eq!(judgement.is_some(), is_ours);
    let Some(judgement) = judgement else {
        return;
    };
    assert_eq!(judgement.coverage.is_some(), read.is_ok());
    assert!(judgement.heard.is_some() || judgement.rejection.is_some());
    if let Some(heard) = judgement.heard {
        let (advert, _) = read.expect("what is heard was read");
        assert_eq!(heard.source, ends.source);
        assert_ne!(heard.source, OWN);
        assert_eq!(heard.priority, advert.priority);
        assert!(!heard.interval.is_zero());
        assert_eq!(advert.kind, instance.kind);
        assert!(ttl == 255 || !instance.unicast_peers.is_empty());
    }
}

fuzz_target!(|input: (u8, u8, Vec<u8>)| {
    let (form, ttl, mut bytes) = input;
    let is_ipv6 = form & 1 != 0;
    let kind = match (is_ipv6, form >> 1 & 3) {
        (true, _) | (false, 0) => Kind::V3,
        (false, 1) => Kind::V2(Auth::None),
        (false, _) => Kind::V2(Auth::password("secret")),
    };
    let (source, group, vip) = if is_ipv6 {
        (SOURCE6, GROUP6.into(), "fe80::100")
    } else {
        (SOURCE4, GROUP4.into(), "192.0.2.100")
    };
    let vip = vip.parse().expect("an address");
    let peers = if form & 8 != 0 {
        vec![source]
    } else {
        Vec::new()
    };
    let instance = instance(kind, vip, peers);
    let ends = Ends {
        source,
        destination: group,
    };
    // Guessing two bytes of checksum by chance is slow.
    if form & 16 != 0
        && let Some(sum) = bytes.get_mut(6..8)
    {
        sum.fill(0);
        let sum = !ones_complement(&bytes);
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    }
    check(&instance, &bytes, ends, ttl);
    if let Ok((header, message)) = ipv4(&bytes) {
        check(&instance, message, header.ends, header.ttl);
    }
});

/// RFC 1071, without a pseudo-header.
fn ones_complement(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
