use std::time::Duration;

use super::*;
use crate::tiers::galera::status::tests::pairs;
use crate::tiers::galera::{Answer, Trouble, parse};

const UUID: &str = "5b2c4f0a-cb5c-11f0-a6e0-1f3c1b6d9a11";

fn servers() -> Vec<TierServer> {
    (1..=3)
        .map(|number| TierServer {
            name: format!("db{number}"),
            address: format!("10.77.0.2{number}:3306")
                .parse()
                .expect("an address"),
            weight: 1,
            priority: 100,
            max_connections: None,
        })
        .collect()
}

/// Members by comma; empty: does not answer.
fn round(members: [&str; 3]) -> Round {
    let nodes = (1..).zip(members).map(|(number, members)| {
        let full: Vec<_> = members
            .split(',')
            .map(|member| match member.len() {
                1 => format!("10.77.0.2{member}:3306"),
                _ => member.to_owned(),
            })
            .collect();
        let full = full.join(",");
        let said = match members {
            "" => Err(Trouble::Refused),
            _ => parse(pairs(&[("wsrep_incoming_addresses", &full)])),
        };
        let took = Duration::ZERO;
        (format!("db{number}"), Answer { took, said })
    });
    Round {
        nodes: nodes.collect(),
    }
}

/// Reporters of the views that are trusted, and of those that are not.
fn sorted(round: &Round) -> (Vec<String>, Vec<String>) {
    let views = views(round, &servers());
    let of = |trusted| {
        let views = views.iter().filter(|view| view.trusted == trusted);
        let names = |view: &View| view.reporters.iter().cloned().collect::<Vec<_>>().join(" ");
        let mut reporters: Vec<_> = views.map(names).collect();
        reporters.sort();
        reporters
    };
    (of(true), of(false))
}

#[test]
fn who_is_trusted() {
    let cases: [([&str; 3], &[&str], &[&str]); 15] = [
        (["1,2,3", "1,2,3", "1,2,3"], &["db1 db2 db3"], &[]),
        // Killed, and not yet left out; then left out.
        (["1,2,3", "1,2,3", ""], &["db1 db2"], &[]),
        (["1,2", "1,2", ""], &["db1 db2"], &[]),
        // One survivor is ahead of the other.
        (["1,2", "1,2,3", ""], &[], &["db1", "db2"]),
        // Thawed, and not aware that it was left out.
        (["1,2", "1,2", "1,2,3"], &["db1 db2"], &["db3"]),
        // The same, with one of the two that left it out not answering.
        (["", "1,2", "1,2,3"], &["db2"], &["db3"]),
        // Split brain.
        (["1,2", "1,2", "3"], &["db1 db2", "db3"], &[]),
        (["1", "2", "3"], &["db1", "db2", "db3"], &[]),
        // A view without the one that reports it.
        (["1,2", "1,2", "1,2"], &["db1 db2"], &[]),
        // Names that nobody here knows: compared as they are.
        (
            ["a:0,b:0,c:0", "a:0,b:0,c:0", "a:0,b:0,c:0"],
            &["db1 db2 db3"],
            &[],
        ),
        (
            ["a:0,b:0", "a:0,b:0", "a:0,b:0,c:0"],
            &["db1 db2"],
            &["db3"],
        ),
        (["a:0,b:0", "a:0,b:0", "c:0"], &["db1 db2", "db3"], &[]),
        // With nobody to say which of the two is out of date.
        (["a:0,b:0", "", "a:0,b:0,c:0"], &[], &["db1", "db3"]),
        (["1,3", "2,3", ""], &[], &["db1", "db2"]),
        (["", "", ""], &[], &[]),
    ];
    for (members, trusted, others) in cases {
        let (seen, doubted) = sorted(&round(members));
        assert_eq!(
            (seen.as_slice(), doubted.as_slice()),
            (
                trusted
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>()
                    .as_slice(),
                others
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>()
                    .as_slice(),
            ),
            "{members:?}"
        );
    }
}

#[test]
fn a_node_outside_of_the_component_contradicts_it() {
    let mut round = round(["1,2,3", "1,2,3", "1,2,3"]);
    let cut_off = crate::tiers::galera::status::tests::cut_off();
    round.nodes.get_mut("db3").expect("there").said = parse(cut_off);
    assert_eq!(sorted(&round).0, Vec::<String>::new());
}

#[test]
fn another_state_is_another_component() {
    let mut round = round(["1,2", "1,2", "1,2"]);
    let other = pairs(&[
        (
            "wsrep_cluster_state_uuid",
            "aaaaaaaa-cb5c-11f0-a6e0-1f3c1b6d9a11",
        ),
        ("wsrep_incoming_addresses", "10.77.0.23:3306"),
    ]);
    assert!(!other.iter().any(|(_, value)| value == UUID));
    round.nodes.get_mut("db3").expect("there").said = parse(other);
    assert_eq!(sorted(&round).0, ["db1 db2", "db3"]);
}

#[test]
fn members_are_found_by_what_they_say_of_themselves() {
    let servers = servers();
    for (text, expected) in [
        ("10.77.0.21:3306", Some("db1")),
        ("10.77.0.22:0", Some("db2")),
        ("10.77.0.23", Some("db3")),
        ("10.77.0.21:3307", None),
        ("10.77.0.24:3306", None),
        ("db1:3306", None),
        ("AUTO", None),
        (":", None),
    ] {
        let expected = match expected {
            Some(name) => Member::Server(name.to_owned()),
            None => Member::Other(text.to_ascii_lowercase()),
        };
        assert_eq!(member(text, &servers), expected, "{text}");
    }
    // Two servers at one address: which is meant cannot be known.
    let mut twice = servers;
    twice[1].address = "10.77.0.21:3307".parse().expect("an address");
    assert_eq!(
        member("10.77.0.21:0", &twice),
        Member::Other("10.77.0.21:0".to_owned())
    );
}
