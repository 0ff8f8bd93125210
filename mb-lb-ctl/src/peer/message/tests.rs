use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn flow() -> impl Strategy<Value = FlowChange> {
    let kind = prop_oneof![
        Just(FlowKind::Open),
        Just(FlowKind::Close),
        Just(FlowKind::Reset),
        Just(FlowKind::Gone),
    ];
    let rest = any::<(SocketAddr, SocketAddr, IpAddr, u32, u32)>();
    (kind, rest).prop_map(
        |(kind, (client, vip, server, idle_ms, age_ms))| FlowChange {
            kind,
            client: plain(client),
            vip: plain(vip),
            server,
            idle_ms,
            age_ms,
        },
    )
}

/// Flow label and scope are not part of what is told.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

fn role() -> impl Strategy<Value = RoleOf> {
    let role = prop_oneof![
        Just(Role::Init),
        Just(Role::Backup),
        Just(Role::Active),
        Just(Role::Fault),
    ];
    let rest = any::<(u8, bool, String, String, u8, IpAddr, bool)>();
    (role, rest).prop_map(
        |(role, (vrid, ipv6, interface, name, priority, address, leaving))| RoleOf {
            vrid,
            ipv6,
            interface,
            name,
            role,
            priority,
            address,
            leaving,
        },
    )
}

fn entry() -> impl Strategy<Value = AdminEntry> {
    let admin = prop_oneof![
        Just(AdminState::Ready),
        Just(AdminState::Drain),
        Just(AdminState::Maint),
    ];
    let weights = (option::of(any::<u16>()), option::of(any::<u16>()));
    let rest = any::<(String, String, String, String, u64)>();
    (admin, weights, rest).prop_map(
        |(admin, (weight, configured), (service, server, by, reason, since_ms))| AdminEntry {
            service,
            server,
            admin,
            by,
            reason,
            weight,
            configured,
            since_ms,
        },
    )
}

fn ticket_key() -> impl Strategy<Value = TicketKey> {
    any::<(u64, [u8; 16], [u8; 32])>().prop_map(|key| {
        let bytes = postcard::to_stdvec(&key).expect("encoded");
        postcard::from_bytes(&bytes).expect("its fields in their order")
    })
}

fn message() -> impl Strategy<Value = Message> {
    let result = prop_oneof![any::<String>().prop_map(Ok), any::<String>().prop_map(Err)];
    prop_oneof![
        any::<(String, String, u64, String, u64)>().prop_map(
            |(name, build, boot, knows, started_ms)| Message::Hello(Hello {
                name,
                build,
                boot,
                knows,
                started_ms
            })
        ),
        (
            any::<(String, bool, u64)>(),
            vec(role(), 0..4),
            vec(any::<IpAddr>(), 0..4)
        )
            .prop_map(
                |((config_hash, in_sync, sent_at_ms), roles, owned)| Message::Status(Status {
                    config_hash,
                    roles,
                    owned,
                    in_sync,
                    sent_at_ms
                })
            ),
        vec(flow(), 0..20).prop_map(Message::Flows),
        (any::<u64>(), vec(any::<IpAddr>(), 0..4))
            .prop_map(|(number, vips)| Message::SnapshotBegin { number, vips }),
        (any::<u64>(), vec(flow(), 0..20))
            .prop_map(|(number, flows)| Message::SnapshotFlows { number, flows }),
        any::<(u64, u64, bool)>().prop_map(|(number, flows, complete)| Message::SnapshotEnd {
            number,
            flows,
            complete
        }),
        any::<(u64, u64, u64)>().prop_map(|(number, unplaced, kept)| Message::SnapshotDone {
            number,
            unplaced,
            kept
        }),
        vec(entry(), 0..4).prop_map(Message::Admin),
        any::<(u8, bool, String, String)>().prop_map(|(vrid, ipv6, interface, why)| {
            Message::TakeOver {
                vrid,
                ipv6,
                interface,
                why,
            }
        }),
        Just(Message::ConfigAsk),
        any::<(String, String)>().prop_map(|(text, hash)| Message::Config { text, hash }),
        any::<(u64, String, String)>().prop_map(|(id, text, by)| Message::ConfigPush {
            id,
            text,
            by
        }),
        (any::<u64>(), result).prop_map(|(id, result)| Message::ConfigPushed { id, result }),
        Just(Message::Ping),
        Just(Message::Pong),
        vec(ticket_key(), 0..=MOST_TICKET_KEYS).prop_map(Message::TicketKeys),
        vec((".{0,64}", ".{0,64}"), 0..5).prop_map(Message::Tiers),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_is_what_it_was(message in message()) {
        let bytes = message.encode().expect("short");
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn a_message_cut_off_or_with_more_behind_it_is_none(message in message(), at in any::<prop::sample::Index>()) {
        let mut bytes = message.encode().expect("short");
        prop_assert!(Message::decode(&bytes[..at.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert_eq!(Message::decode(&bytes), Err(CodecError::Trailing(1)));
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn a_good_message_with_bytes_changed(
        message in message(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = message.encode().expect("short");
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = Message::decode(&bytes);
    }
}

#[test]
fn a_length_that_is_not_there_takes_no_memory() {
    // Flows, of which there are 2^63.
    let bytes = [
        2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01,
    ];
    assert!(matches!(
        Message::decode(&bytes),
        Err(CodecError::Postcard(_))
    ));
}

#[test]
fn what_is_over_a_limit_is_neither_made_nor_taken() {
    let flow = FlowChange {
        kind: FlowKind::Open,
        client: ([192, 0, 2, 1], 1).into(),
        vip: ([192, 0, 2, 2], 25).into(),
        server: [192, 0, 2, 3].into(),
        idle_ms: 0,
        age_ms: 0,
    };
    let flows = Message::Flows(vec![flow; MAX_FLOWS + 1]);
    let many = Err(CodecError::TooManyFlows(MAX_FLOWS + 1));
    assert_eq!(flows.encode(), many);
    let bytes = postcard::to_stdvec(&flows).expect("encoded");
    assert_eq!(Message::decode(&bytes).map(|_| vec![]), many);
    let key = TicketKey::generate(0).expect("random bytes");
    let keys = Message::TicketKeys(vec![key; MOST_TICKET_KEYS + 1]);
    let many = Err(CodecError::TooManyKeys(MOST_TICKET_KEYS + 1));
    assert_eq!(keys.encode(), many);
    let bytes = postcard::to_stdvec(&keys).expect("encoded");
    assert_eq!(Message::decode(&bytes).map(|_| vec![]), many);
    let tiers = Message::Tiers(vec![Default::default(); MAX_TIERS + 1]);
    let many = Err(CodecError::TooManyTiers(MAX_TIERS + 1));
    assert_eq!(tiers.encode(), many);
    let bytes = postcard::to_stdvec(&tiers).expect("encoded");
    assert_eq!(Message::decode(&bytes).map(|_| vec![]), many);
    let long = Message::Config {
        text: "x".repeat(MAX_MESSAGE),
        hash: String::new(),
    };
    assert!(matches!(long.encode(), Err(CodecError::TooLong(_))));
    assert!(matches!(
        Message::decode(&vec![0; MAX_MESSAGE + 1]),
        Err(CodecError::TooLong(_))
    ));
}

/// What is on the wire is what two builds agree on: a change of it is a new version.
#[test]
fn variants_have_the_numbers_that_they_had() {
    let number = |message: Message| message.encode().expect("short")[0];
    assert_eq!(number(Message::Flows(vec![])), 2);
    assert_eq!(number(Message::Admin(vec![])), 7);
    assert_eq!(number(Message::ConfigAsk), 9);
    assert_eq!(number(Message::Ping), 13);
    assert_eq!(number(Message::Pong), 14);
    assert_eq!(number(Message::TicketKeys(vec![])), 15);
    assert_eq!(number(Message::Tiers(vec![])), 16);
}

#[test]
fn what_a_peer_knows_is_in_whole_words() {
    let hello = |knows: &str| Hello {
        name: String::new(),
        build: String::new(),
        boot: 0,
        knows: knows.to_owned(),
        started_ms: 0,
    };
    for (said, knows) in [
        ("", false),
        ("ticket-keys", true),
        ("more ticket-keys", true),
        ("ticket-keys-2", false),
    ] {
        assert_eq!(hello(said).knows(TICKET_KEYS), knows, "{said:?}");
    }
}

/// The keys are in memory that does not grow while they are put into it.
#[test]
fn the_longest_message_of_keys_has_room() {
    let key = TicketKey::generate(u64::MAX).expect("random bytes");
    let bytes = Message::TicketKeys(vec![key; MOST_TICKET_KEYS])
        .encode()
        .expect("short");
    assert!(bytes.len() <= KEYS, "{}", bytes.len());
    assert_eq!(bytes.capacity(), KEYS);
}
