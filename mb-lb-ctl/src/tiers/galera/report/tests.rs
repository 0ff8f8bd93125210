use super::*;
use crate::tiers::galera::machine::tests::{Bench, WELL};

#[test]
fn lists_for_people() {
    assert_eq!(list([]), "none");
    assert_eq!(list(["a"]), "a");
    assert_eq!(list(["a", "b", "c"]), "a, b and c");
}

#[test]
fn one_line() {
    let mut bench = Bench::new();
    let mut seen = Vec::new();
    for words in [
        WELL,
        ["12", "123", "silent"],
        ["12", "12", "refused"],
        ["12", "12", "3"],
        ["12", "12", "refused"],
        ["alone", "alone", "alone"],
    ] {
        bench.round(words);
        seen.push(bench.machine.verdict().summary.clone());
    }
    assert_eq!(
        seen,
        [
            "writer db1, 3 of 3 synced",
            "writer db1, held: the nodes do not agree (round 1 of 3), 2 of 3 synced",
            "writer db1, 2 of 3 synced",
            "SPLIT BRAIN, writer db1, 3 of 3 synced",
            "after a split brain, writer db1, 2 of 3 synced",
            "no writer, no primary component, 0 of 3 synced",
        ]
    );
}

#[test]
fn facts_and_fields() {
    let mut bench = Bench::new();
    bench.round(WELL);
    let verdict = bench.machine.verdict();
    let fact = |name: &str| verdict.facts.get(name).map(String::as_str);
    assert_eq!(fact("writer"), Some("db1"));
    assert_eq!(fact("size_seen"), Some("3"));
    assert_eq!(fact("size_expected"), Some("3"));
    assert_eq!(fact("since"), Some("2026-09-21 14:13:21Z"));
    let field = |name: &str| verdict.nodes[0].fields.get(name).map(String::as_str);
    assert_eq!(field("cluster_status"), Some("Primary"));
    assert_eq!(field("state"), Some("Synced"));
    assert_eq!(field("last_committed"), Some("41"));
    assert_eq!(field("receive_queue"), Some("0"));
    bench.round(WELL);
    let flow = bench.machine.verdict().nodes[0].fields.get("flow_control");
    assert_eq!(flow.map(String::as_str), Some("0%"));
    bench.round(["alone", "23", "23"]);
    let node = &bench.machine.verdict().nodes[0];
    assert_eq!(node.fields.get("conf_id"), None);
    assert_eq!(node.word, "non_primary");
    bench.round(WELL);
    assert_eq!(
        bench.machine.verdict().nodes[0].reason,
        "synced, for 1 of 3 rounds"
    );
}
