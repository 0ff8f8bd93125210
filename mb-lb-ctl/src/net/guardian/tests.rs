use super::super::announce::{arp_frame, na_frame};
use super::*;
use proptest::prelude::*;

const MAC: Mac = [2, 0, 0, 0, 0, 1];
const OTHER: Mac = [2, 0, 0, 0, 0, 2];
const FOUR: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 100);
const SIX: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100);
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);

/// Neighbour discovery of that type, from `source` and MAC address `OTHER`.
fn discovery(kind: u8, source: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    let destination: Ipv6Addr = "ff02::1".parse().unwrap();
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend(options);
    let checksum = packet::icmpv6_checksum(source, destination, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1];
    frame.extend(OTHER);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, message.len() as u8, 58, 255]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(message);
    frame
}

#[test]
fn both_announcements_claim_their_address() {
    let four = arp_frame(FOUR, MAC);
    assert_eq!(decode(&four), Some((FOUR.into(), MAC)));
    let six = na_frame(SIX, MAC);
    assert_eq!(decode(&six), Some((SIX.into(), MAC)));
}

#[test]
fn arp_claims_by_its_sender_only() {
    let mut frame = arp_frame(FOUR, MAC);
    frame[21] = 2;
    assert_eq!(decode(&frame), Some((FOUR.into(), MAC)), "a reply");
    frame[38..].copy_from_slice(&[192, 168, 1, 7]);
    assert_eq!(decode(&frame), Some((FOUR.into(), MAC)), "another target");
    frame[6..12].copy_from_slice(&OTHER);
    assert_eq!(decode(&frame), Some((FOUR.into(), MAC)), "another frame");
    frame[28..32].copy_from_slice(&[0; 4]);
    assert_eq!(decode(&frame), None, "a probe");
    for (at, byte) in [(14, 1), (15, 6), (16, 0x86), (18, 8), (19, 16), (21, 8)] {
        let mut frame = arp_frame(FOUR, MAC);
        frame[at] = byte;
        assert_eq!(decode(&frame), None, "byte {at}");
    }
}

#[test]
fn discovery_claims_what_its_kind_says() {
    let none = Ipv6Addr::UNSPECIFIED;
    let source = [1, 1, 2, 0, 0, 0, 0, 1];
    let target = [2, 1, 2, 0, 0, 0, 0, 1];
    let nonce = [14, 1, 9, 9, 9, 9, 9, 9];
    let mut second = nonce.to_vec();
    second.extend(target);
    let (at_option, at_frame) = (Some((SIX.into(), MAC)), Some((SIX.into(), OTHER)));
    for (what, frame, claim) in [
        ("NA", discovery(136, ELSEWHERE, SIX, &target), at_option),
        (
            "NA, later option",
            discovery(136, ELSEWHERE, SIX, &second),
            at_option,
        ),
        (
            "NA, no option",
            discovery(136, ELSEWHERE, SIX, &[]),
            at_frame,
        ),
        (
            "NA, option of the source",
            discovery(136, ELSEWHERE, SIX, &source),
            at_frame,
        ),
        ("DAD", discovery(135, none, SIX, &nonce), at_frame),
        ("NS", discovery(135, SIX, ELSEWHERE, &source), at_option),
        (
            "NS, no option",
            discovery(135, SIX, ELSEWHERE, &[]),
            at_frame,
        ),
        ("redirect", discovery(137, SIX, SIX, &[]), None),
        (
            "option of length 0",
            discovery(136, SIX, SIX, &[14, 0, 0, 0, 0, 0, 0, 0]),
            None,
        ),
        (
            "option cut off",
            discovery(136, SIX, SIX, &[2, 2, 0, 0, 0, 0, 0, 0]),
            None,
        ),
        ("half an option", discovery(136, SIX, SIX, &[2]), None),
        (
            "multicast target",
            discovery(136, SIX, "ff02::1".parse().unwrap(), &target),
            None,
        ),
    ] {
        assert_eq!(decode(&frame), claim, "{what}");
    }
}

#[test]
fn what_no_host_believes_is_no_claim() {
    for (what, at, byte) in [
        ("version", 14, 0x40),
        ("next header", 20, 6),
        ("hop limit", 21, 254),
        ("code", 55, 1),
        ("checksum", 56, 0xff),
        ("length beyond the frame", 19, 33),
        ("length before the target", 19, 8),
        ("VLAN tag", 12, 0x81),
    ] {
        let mut frame = na_frame(SIX, MAC);
        assert_ne!(frame[at], byte);
        frame[at] = byte;
        assert_eq!(decode(&frame), None, "{what}");
    }
    for frame in [&arp_frame(FOUR, MAC)[..], &na_frame(SIX, MAC)] {
        for length in 0..frame.len() {
            assert_eq!(decode(&frame[..length]), None, "{length} bytes");
        }
        let mut tagged = frame.to_vec();
        tagged.splice(12..12, [0x81, 0, 0, 100]);
        assert_eq!(decode(&tagged), None);
        // The padding of Ethernet.
        let mut padded = frame.to_vec();
        padded.resize(100, 0);
        assert!(decode(&padded).is_some());
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_decoded(bytes: Vec<u8>) {
        decode(&bytes);
    }

    #[test]
    fn any_discovery_can_be_decoded(
        kind in 134u8..138,
        length: u8,
        options in proptest::collection::vec(any::<u8>(), 0..64),
        cut in 0usize..120,
    ) {
        let mut frame = discovery(kind, ELSEWHERE, SIX, &options);
        decode(&frame);
        frame[19] = length;
        decode(&frame);
        frame.truncate(cut);
        decode(&frame);
    }

    #[test]
    fn any_announcement_is_a_claim(four: [u8; 4], six: [u8; 16], mac: Mac) {
        prop_assume!(four != [0; 4] && six[0] != 0xff);
        let (four, six) = (Ipv4Addr::from(four), Ipv6Addr::from(six));
        prop_assert_eq!(decode(&arp_frame(four, mac)), Some((four.into(), mac)));
        prop_assert_eq!(decode(&na_frame(six, mac)), Some((six.into(), mac)));
    }
}

#[test]
fn equal_claims_are_told_ten_times_a_second() {
    let mut limiter = Limiter::default();
    let start = Instant::now();
    let mut told = |mac: Mac, at: u64| {
        let now = start + Duration::from_millis(at);
        (0..1000)
            .filter(|_| limiter.admits((FOUR.into(), mac), now))
            .count()
    };
    assert_eq!(told(MAC, 0), 10);
    assert_eq!(told(MAC, 999), 0);
    assert_eq!(told(OTHER, 999), 10);
    assert_eq!(told(MAC, 1000), 10);
}

#[test]
fn invented_claims_do_not_fill_the_memory() {
    let mut limiter = Limiter::default();
    let start = Instant::now();
    let made_up = |number: u32| {
        let mut mac = MAC;
        mac[2..].copy_from_slice(&number.to_be_bytes());
        (IpAddr::from(FOUR), mac)
    };
    let told = (0..100_000).filter(|number| limiter.admits(made_up(*number), start));
    assert_eq!(told.count(), DIFFERENT);
    assert_eq!(limiter.seen.len(), DIFFERENT);
    // Those that came first are still told.
    assert!(limiter.admits(made_up(0), start));
}
