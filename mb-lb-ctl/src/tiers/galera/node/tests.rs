use super::*;
use crate::tiers::galera::machine::tests::config;
use crate::tiers::galera::parse;
use crate::tiers::galera::status::tests::{cut_off, pairs};

fn answer(said: Result<Status, Trouble>) -> Answer {
    Answer {
        took: Duration::from_millis(3),
        said,
    }
}

fn with(changed: &[(&str, &str)]) -> Answer {
    answer(parse(pairs(changed)))
}

/// Every situation that was seen on real clusters.
#[test]
fn what_a_node_is() {
    use Weight::{Definite, Nothing, Refused, Silent, Unfit, Usable};
    let donor = [
        ("wsrep_local_state", "2"),
        ("wsrep_local_state_comment", "Donor/Desynced"),
    ];
    let nil = "00000000-0000-0000-0000-000000000000";
    let second = Duration::from_secs(1);
    let wrong = Trouble::WrongPassword {
        code: 1045,
        text: "Access denied".to_owned(),
    };
    let server = Trouble::Server {
        code: 1130,
        text: "not allowed".to_owned(),
    };
    let cases = [
        (with(&[]), "synced", Usable),
        (answer(parse(cut_off())), "non_primary", Definite),
        (with(&donor), "donor", Unfit),
        (
            with(&[
                donor[0],
                ("wsrep_desync", "ON"),
                ("wsrep_desync_count", "1"),
            ]),
            "desynced",
            Unfit,
        ),
        (
            with(&[donor[0], ("wsrep_desync_count", "1")]),
            "desynced",
            Unfit,
        ),
        (with(&[("wsrep_local_state", "1")]), "joining", Unfit),
        (with(&[("wsrep_local_state", "3")]), "joined", Unfit),
        (with(&[("wsrep_local_state", "0")]), "initialized", Unfit),
        (with(&[("wsrep_local_state", "9")]), "initialized", Unfit),
        (with(&[("wsrep_ready", "OFF")]), "not_ready", Unfit),
        (with(&[("wsrep_connected", "OFF")]), "not_ready", Unfit),
        (with(&[("read_only", "ON")]), "read_only", Definite),
        (
            with(&[("wsrep_reject_queries", "ALL")]),
            "rejecting_queries",
            Definite,
        ),
        (
            with(&[("wsrep_reject_queries", "ALL_KILL")]),
            "rejecting_queries",
            Definite,
        ),
        (
            with(&[("pxc_maint_mode", "MAINTENANCE")]),
            "maintenance",
            Definite,
        ),
        (
            with(&[("wsrep_cluster_state_uuid", nil)]),
            "undefined",
            Definite,
        ),
        (with(&[("wsrep_on", "OFF")]), "wsrep_off", Definite),
        (answer(Err(Trouble::NoGalera)), "no_galera", Definite),
        (
            answer(Err(Trouble::NoConnection(second))),
            "not_answering",
            Silent,
        ),
        (
            answer(Err(Trouble::NoGreeting(second))),
            "not_answering",
            Silent,
        ),
        (answer(Err(Trouble::Slow(second))), "not_answering", Silent),
        (
            answer(Err(Trouble::Broken("closed".into()))),
            "not_answering",
            Silent,
        ),
        (answer(Err(Trouble::Refused)), "refused", Refused),
        (
            answer(Err(Trouble::Unreachable("no route".into()))),
            "unreachable",
            Silent,
        ),
        (
            answer(Err(Trouble::TooManyConnections("full".into()))),
            "too_many_connections",
            Nothing,
        ),
        (answer(Err(wrong)), "wrong_password", Nothing),
        (
            answer(Err(Trouble::NoPassword("no file".into()))),
            "no_password",
            Nothing,
        ),
        (answer(Err(Trouble::Tls("expired".into()))), "tls", Nothing),
        (
            answer(Err(Trouble::HostBlocked("blocked".into()))),
            "host_blocked",
            Unfit,
        ),
        (answer(Err(server)), "error", Unfit),
        (answer(Err(Trouble::Garbage("SSH"))), "garbage", Unfit),
    ];
    for (answer, word, weight) in cases {
        let finding = judge(&answer, false, &config());
        assert_eq!((finding.word, finding.weight), (word, weight), "{answer:?}");
        assert!(!finding.reason.is_empty());
    }
    let finding = judge(&with(&[]), true, &config());
    assert_eq!((finding.word, finding.weight), ("contradicted", Definite));
}

#[test]
fn donors_are_usable_where_that_is_allowed_and_does_not_block() {
    let donor = ("wsrep_local_state", "2");
    let mariabackup = ("wsrep_sst_method", "mariabackup");
    let mut allowing = config();
    allowing.allow_donor = true;
    let usable = |config: &config::Galera, changed: &[_]| {
        judge(&with(changed), false, config).weight == Weight::Usable
    };
    assert!(usable(&allowing, &[donor, mariabackup]));
    assert!(!usable(&config(), &[donor, mariabackup]));
    assert!(!usable(&allowing, &[donor]));
    assert!(!usable(
        &allowing,
        &[donor, mariabackup, ("wsrep_desync", "ON")]
    ));
    assert!(!usable(
        &allowing,
        &[donor, mariabackup, ("read_only", "ON")]
    ));
    let rejecting = ("wsrep_sst_donor_rejects_queries", "ON");
    assert!(!usable(&allowing, &[donor, mariabackup, rejecting]));
}

fn take(node: &mut Watched, answer: &Answer, second: u64) -> HealthState {
    let config = config();
    let finding = judge(answer, false, &config);
    node.take(
        answer,
        finding,
        &config,
        second == 0,
        Duration::from_secs(second),
    );
    node.health
}

#[test]
fn thresholds() {
    let silent = answer(Err(Trouble::NoGreeting(Duration::from_millis(800))));
    let refused = answer(Err(Trouble::Refused));
    let full = answer(Err(Trouble::TooManyConnections(String::new())));
    let desynced = with(&[("wsrep_local_state", "2"), ("wsrep_desync", "ON")]);
    let read_only = with(&[("read_only", "ON")]);
    let good = with(&[]);
    use HealthState::{Down, Up};
    // The first round decides at once, then each answer of a row with the health after it.
    let rows: [&[(&Answer, HealthState)]; 8] = [
        &[(&good, Up), (&refused, Up), (&refused, Down)],
        &[(&good, Up), (&silent, Up), (&silent, Up), (&silent, Down)],
        &[(&good, Up), (&desynced, Up), (&desynced, Down)],
        &[
            (&good, Up),
            (&read_only, Down),
            (&good, Down),
            (&good, Down),
            (&good, Up),
        ],
        &[(&silent, Down), (&good, Down), (&good, Down), (&good, Up)],
        // A good round in between begins the count anew.
        &[
            (&good, Up),
            (&silent, Up),
            (&silent, Up),
            (&good, Up),
            (&silent, Up),
            (&silent, Up),
        ],
        // Full is no failure, for however long.
        &[
            (&good, Up),
            (&full, Up),
            (&full, Up),
            (&full, Up),
            (&full, Up),
            (&full, Up),
        ],
        // And no recovery.
        &[
            (&silent, Down),
            (&good, Down),
            (&good, Down),
            (&full, Down),
            (&good, Down),
        ],
    ];
    for row in rows {
        let mut node = Watched::default();
        for (second, (answer, health)) in (0..).zip(row) {
            assert_eq!(
                take(&mut node, answer, second),
                *health,
                "{row:?} at {second}"
            );
        }
    }
}

#[test]
fn flow_control_is_of_the_time_between_two_rounds() {
    let mut node = Watched::default();
    let paused = |ns: &str| with(&[("wsrep_flow_control_paused_ns", ns)]);
    take(&mut node, &paused("5000000000"), 0);
    assert_eq!(node.paused, None);
    take(&mut node, &paused("5250000000"), 1);
    assert_eq!(node.paused, Some(25));
    // More than all of it cannot be.
    take(&mut node, &paused("99000000000"), 2);
    assert_eq!(node.paused, Some(100));
    // Restarted.
    take(&mut node, &paused("0"), 3);
    assert_eq!(node.paused, None);
    take(&mut node, &answer(Err(Trouble::Refused)), 4);
    take(&mut node, &paused("0"), 5);
    assert_eq!(node.paused, None);
}
