use super::*;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex"))
        .collect()
}

fn v4(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

const PASS: &str = "2133650101010e0dc0a801647365637572655f70";
const PASS_0: &str = "213300010101730dc0a801647365637572655f70";
const V3: &str = "31336501000a0572c0a80164";
const V3_IPV6: &str =
    "3133650200646eb4fe800000000000000000000000000100fd000001000000000000000000000100";

fn to_group() -> Ends {
    Ends {
        source: v4("192.168.1.11"),
        destination: GROUP4.into(),
    }
}

fn advert(kind: Kind, priority: u8, interval: Duration) -> Advert {
    Advert {
        kind,
        vrid: NonZeroU8::new(51).expect("not 0"),
        priority,
        interval,
        addresses: vec![v4("192.168.1.100")],
    }
}

fn secure(priority: u8) -> Advert {
    // Longer than what counts.
    advert(
        Kind::V2(Auth::password("secure_password")),
        priority,
        Duration::from_secs(1),
    )
}

#[test]
fn version_2_is_byte_for_byte_what_keepalived_sends() {
    assert_eq!(
        secure(101).encode(to_group(), Coverage::PseudoHeader),
        bytes(PASS)
    );
    assert_eq!(
        secure(0).encode(to_group(), Coverage::PseudoHeader),
        bytes(PASS_0)
    );
    assert_eq!(
        secure(100).encode(to_group(), Coverage::Message)[6..8],
        [0x0f, 0x0d]
    );
    let read = Advert::decode(&bytes(PASS), to_group());
    assert_eq!(read, Ok((secure(101), Coverage::Message)));
}

#[test]
fn a_whole_packet_is_read_without_its_padding() {
    let mut packet = bytes("45c0002800030000ff7018ddc0a8010be0000012");
    packet.extend(bytes(PASS));
    packet.extend([0; 6]);
    let (header, message) = ipv4(&packet).expect("a packet");
    assert_eq!(
        header,
        Header4 {
            ends: to_group(),
            ttl: 255
        }
    );
    assert_eq!(message, bytes(PASS));
    // With options.
    let mut packet = bytes("46c0002c00030000ff700000c0a8010be000001294040000");
    packet.extend(bytes(PASS));
    assert_eq!(ipv4(&packet).expect("a packet").1, bytes(PASS));
}

#[test]
fn version_3_knows_both_checksums() {
    let expected = advert(Kind::V3, 101, Duration::from_millis(100));
    assert_eq!(
        expected.encode(to_group(), Coverage::PseudoHeader),
        bytes(V3)
    );
    let message_only = expected.encode(to_group(), Coverage::Message);
    assert_eq!(message_only[6..8], [0xa7, 0xb4]);
    assert_eq!(
        Advert::decode(&bytes(V3), to_group()),
        Ok((expected.clone(), Coverage::PseudoHeader))
    );
    assert_eq!(
        Advert::decode(&message_only, to_group()),
        Ok((expected, Coverage::Message))
    );
}

#[test]
fn ipv6_has_a_pseudo_header_always() {
    let ends = Ends {
        source: v4("fe80::ff:fe00:1"),
        destination: GROUP6.into(),
    };
    let expected = Advert {
        addresses: vec![v4("fe80::100"), v4("fd00:1::100")],
        ..advert(Kind::V3, 101, Duration::from_secs(1))
    };
    assert_eq!(expected.encode(ends, Coverage::Message), bytes(V3_IPV6));
    assert_eq!(
        Advert::decode(&bytes(V3_IPV6), ends),
        Ok((expected, Coverage::PseudoHeader))
    );
}

/// `bytes` with one byte changed and the checksum of the message alone made right.
fn with(hex: &str, at: usize, value: u8) -> Vec<u8> {
    let mut changed = bytes(hex);
    changed[at] = value;
    changed[6..8].fill(0);
    let sum = checksum(&changed, None);
    changed[6..8].copy_from_slice(&sum.to_be_bytes());
    changed
}

#[test]
fn every_wrong_value_has_its_reason() {
    let cases = [
        (bytes(&PASS[..14]), Malformed::Length),
        (bytes(&PASS[..38]), Malformed::Length),
        (bytes(&format!("{PASS}00")), Malformed::Length),
        (with(PASS, 3, 2), Malformed::Length),
        (with(PASS, 3, 0), Malformed::Length),
        (with(PASS, 0, 0x41), Malformed::Version),
        (with(PASS, 0, 0x22), Malformed::Type),
        (bytes(&PASS.replace("0e0d", "0e0e")), Malformed::Checksum),
        (bytes(&V3.replace("0572", "0573")), Malformed::Checksum),
        (with(PASS, 1, 0), Malformed::Value),
        (with(PASS, 5, 0), Malformed::Value),
        (with(V3, 5, 0), Malformed::Value),
        (with("3133650000640000", 2, 101), Malformed::Value),
    ];
    for (message, expected) in cases {
        assert_eq!(
            Advert::decode(&message, to_group()),
            Err(expected),
            "{message:02x?}"
        );
    }
    // Reserved bits of version 3 are ignored.
    let (read, _) = Advert::decode(&with(V3, 4, 0xf0), to_group()).expect("an advert");
    assert_eq!(read.interval, Duration::from_millis(100));
    let ends = Ends {
        source: v4("fe80::1"),
        destination: GROUP6.into(),
    };
    let global = Advert {
        addresses: vec![v4("fd00:1::100")],
        ..advert(Kind::V3, 101, Duration::from_secs(1))
    };
    assert_eq!(
        Advert::decode(&global.encode(ends, Coverage::PseudoHeader), ends),
        Err(Malformed::NotLinkLocal)
    );
    assert_eq!(Advert::decode(&bytes(PASS), ends), Err(Malformed::Version));
    for length in 0..20 {
        assert_eq!(ipv4(&[0x45; 19][..length.min(19)]), Err(Malformed::Length));
    }
    let mut lies = [0; 40];
    lies[0] = 0x4f;
    lies[3] = 40;
    assert_eq!(ipv4(&lies), Err(Malformed::Length));
}

#[test]
fn a_password_is_never_printed() {
    assert!(!format!("{:?}", secure(100)).contains("secu"));
}

fn any_address() -> impl Strategy<Value = [u8; 4]> {
    any::<[u8; 4]>()
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        vrid in 1u8..,
        priority: u8,
        centiseconds in 1u16..0x1000,
        seconds in 1u8..,
        addresses in prop::collection::vec(any_address(), 1..20),
        password: [u8; 8],
        version_3: bool,
        with_password: bool,
        pseudo: bool,
    ) {
        let (kind, interval) = if version_3 {
            (Kind::V3, CENTISECOND * u32::from(centiseconds))
        } else {
            let auth = if with_password { Auth::Password(password) } else { Auth::None };
            (Kind::V2(auth), Duration::from_secs(seconds.into()))
        };
        let advert = Advert {
            kind,
            vrid: NonZeroU8::new(vrid).expect("not 0"),
            priority,
            interval,
            addresses: addresses.into_iter().map(IpAddr::from).collect(),
        };
        let coverage = if pseudo { Coverage::PseudoHeader } else { Coverage::Message };
        let read = Advert::decode(&advert.encode(to_group(), coverage), to_group());
        prop_assert_eq!(read.map(|(advert, _)| advert), Ok(advert));
    }

    #[test]
    fn no_bytes_are_too_strange(message: Vec<u8>, six: bool) {
        let ends = if six {
            Ends { source: v4("fe80::1"), destination: GROUP6.into() }
        } else {
            to_group()
        };
        if let Ok((advert, coverage)) = Advert::decode(&message, ends) {
            prop_assert_eq!(advert.encode(ends, coverage).len(), message.len());
        }
        if let Ok((_, payload)) = ipv4(&message) {
            prop_assert!(payload.len() + 20 <= message.len());
        }
    }
}
