use super::*;
use proptest::prelude::*;

#[test]
fn lifetimes_are_whole_seconds_rounded_up() {
    for (lifetime, expected) in [
        (Duration::ZERO, 1),
        (Duration::from_nanos(1), 1),
        (Duration::from_secs(3), 3),
        (Duration::from_millis(3001), 4),
        (Duration::from_secs(u32::MAX.into()), u32::MAX - 1),
        (Duration::MAX, u32::MAX - 1),
    ] {
        assert_eq!(seconds(lifetime), expected, "{lifetime:?}");
    }
}

proptest! {
    #[test]
    fn any_datagram_can_be_read(bytes: Vec<u8>) {
        changes(&bytes);
    }
}

#[test]
fn each_message_of_a_datagram_counts_and_a_damaged_one_asks_for_a_resync() {
    let vip = |address: &str, prefix| Vip {
        address: address.parse().unwrap(),
        prefix,
        ifindex: 7,
    };
    let (four, six) = (vip("192.0.2.1", 32), vip("2001:db8::1", 128));
    let mut bytes = Vec::new();
    for message in [
        RouteNetlinkMessage::NewAddress(wanted(&four, None)),
        RouteNetlinkMessage::DelAddress(plain(&six)),
    ] {
        let mut message = NetlinkMessage::from(message);
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..start + message.buffer_len()]);
    }
    let both = [AddressChange::Added(four), AddressChange::Removed(six)];
    assert_eq!(changes(&bytes), both);
    bytes.truncate(bytes.len() - 8);
    assert_eq!(changes(&bytes), [both[0], AddressChange::Resync]);
}
