use super::*;

/// Of a healthy node of three, as MariaDB 10.11 says it; `changed` replaces or adds.
pub(in crate::tiers::galera) fn pairs(changed: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut values: BTreeMap<_, _> = [
        ("wsrep_ready", "ON"),
        ("wsrep_connected", "ON"),
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_cluster_size", "3"),
        ("wsrep_cluster_conf_id", "3"),
        (
            "wsrep_cluster_state_uuid",
            "5b2c4f0a-cb5c-11f0-a6e0-1f3c1b6d9a11",
        ),
        ("wsrep_local_state", "4"),
        ("wsrep_local_state_comment", "Synced"),
        ("wsrep_last_committed", "41"),
        ("wsrep_local_recv_queue", "0"),
        ("wsrep_flow_control_paused_ns", "0"),
        ("wsrep_desync_count", "0"),
        (
            "wsrep_incoming_addresses",
            "10.77.0.21:3306,10.77.0.22:3306,10.77.0.23:3306",
        ),
        ("wsrep_on", "ON"),
        ("wsrep_desync", "OFF"),
        ("wsrep_reject_queries", "NONE"),
        ("wsrep_sst_donor_rejects_queries", "OFF"),
        ("wsrep_sst_method", "rsync"),
        ("read_only", "OFF"),
    ]
    .into();
    values.extend(changed.iter().copied());
    values
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// As [`pairs`], of a node outside of a primary component.
pub(in crate::tiers::galera) fn cut_off() -> Vec<(String, String)> {
    pairs(&[
        ("wsrep_ready", "OFF"),
        ("wsrep_cluster_status", "non-Primary"),
        ("wsrep_cluster_size", "1"),
        ("wsrep_cluster_conf_id", "18446744073709551615"),
        ("wsrep_local_state", "0"),
        ("wsrep_local_state_comment", "Initialized"),
        ("wsrep_incoming_addresses", "10.77.0.23:3306"),
    ])
}

#[test]
fn a_healthy_node() {
    let status = parse(pairs(&[])).expect("healthy");
    assert!(status.primary() && status.on && status.ready && status.connected);
    assert!(!status.desync && !status.rejects && !status.read_only && !status.maintenance);
    assert!(!status.undefined());
    assert_eq!((status.size, status.conf_id, status.local_state), (3, 3, 4));
    assert_eq!(status.last_committed, Some(41));
    let members: Vec<_> = status.members.iter().map(String::as_str).collect();
    assert_eq!(
        members,
        ["10.77.0.21:3306", "10.77.0.22:3306", "10.77.0.23:3306"]
    );
}

#[test]
fn the_largest_conf_id_is_a_number() {
    let status = parse(cut_off()).expect("cut off");
    assert!(!status.primary());
    assert_eq!(status.conf_id, u64::MAX);
}

#[test]
fn each_way_to_be_unfit() {
    type Is = fn(&Status) -> bool;
    let cases: [(&str, &str, Is); 10] = [
        ("wsrep_on", "OFF", |status| !status.on),
        ("wsrep_desync", "ON", |status| status.desync),
        ("wsrep_desync_count", "1", |status| status.desync),
        ("wsrep_reject_queries", "ALL", |status| status.rejects),
        ("wsrep_reject_queries", "ALL_KILL", |status| status.rejects),
        ("read_only", "ON", |status| status.read_only),
        // MariaDB 12 has more words for it.
        ("read_only", "NO_LOCK_NO_ADMIN", |status| status.read_only),
        ("pxc_maint_mode", "SHUTDOWN", |status| status.maintenance),
        (
            "wsrep_cluster_state_uuid",
            "00000000-0000-0000-0000-000000000000",
            Status::undefined,
        ),
        ("wsrep_sst_donor_rejects_queries", "ON", |status| {
            status.donor_rejects
        }),
    ];
    for (name, value, is) in cases {
        let status = parse(pairs(&[(name, value)])).expect("parses");
        assert!(is(&status), "{name} = {value}");
    }
    let status = parse(pairs(&[("pxc_maint_mode", "DISABLED")])).expect("parses");
    assert!(!status.maintenance);
}

#[test]
fn without_galera() {
    assert_eq!(parse(Vec::new()), Err(Trouble::NoGalera));
    let plain = [("read_only".to_owned(), "OFF".to_owned())];
    assert_eq!(parse(plain), Err(Trouble::NoGalera));
}

/// Each of these has a meaning on which clients depend: a server that does not say it is not fit.
#[test]
fn what_is_missing_is_named() {
    let needed = [
        "wsrep_ready",
        "wsrep_connected",
        "wsrep_cluster_size",
        "wsrep_cluster_conf_id",
        "wsrep_cluster_state_uuid",
        "wsrep_local_state",
        "wsrep_incoming_addresses",
        "wsrep_desync",
        "wsrep_reject_queries",
        "read_only",
    ];
    for missing in needed {
        let pairs = pairs(&[]).into_iter().filter(|(name, _)| name != missing);
        let trouble = parse(pairs).expect_err(missing);
        assert!(
            matches!(trouble, Trouble::Malformed { name, .. } if name == missing),
            "{missing}: {trouble}"
        );
        let cut_off = cut_off().into_iter().filter(|(name, _)| name != missing);
        assert!(
            parse(cut_off).is_ok_and(|status| !status.primary()),
            "{missing} of a node that is cut off"
        );
    }
}

#[test]
fn nonsense_is_shown_and_bounded() {
    let long = "x".repeat(60_000);
    let many = "10.0.0.1:3306,".repeat(3000) + "end:1";
    let cases = [
        ("wsrep_ready", "maybe"),
        ("wsrep_cluster_size", "-1"),
        ("wsrep_cluster_size", "4294967296"),
        ("wsrep_cluster_conf_id", "18446744073709551616"),
        ("wsrep_cluster_state_uuid", "not a uuid"),
        ("wsrep_local_state", long.as_str()),
        ("wsrep_incoming_addresses", many.as_str()),
        ("wsrep_desync_count", "\u{1b}[2J"),
    ];
    for (name, value) in cases {
        match parse(pairs(&[(name, value)])) {
            Err(Trouble::Malformed { name: said, value }) => {
                assert_eq!(said, name);
                assert!(value.chars().count() <= TEXT, "{name}: {}", value.len());
                assert!(!value.contains('\u{1b}'));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn members_that_take_no_clients_are_left_out() {
    let addresses = "10.77.0.21:3306,,host:0, 10.77.0.22:3306 ,";
    let status = parse(pairs(&[("wsrep_incoming_addresses", addresses)])).expect("parses");
    let members: Vec<_> = status.members.iter().map(String::as_str).collect();
    assert_eq!(members, ["10.77.0.21:3306", "10.77.0.22:3306", "host:0"]);
}
