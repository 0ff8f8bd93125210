//! One writer.

use super::*;

#[test]
fn the_first_round_decides() {
    let mut bench = Bench::new();
    assert_eq!(bench.state(), State::Unknown);
    assert_eq!(bench.elected(), Vec::<&str>::new());
    assert_eq!(bench.round(WELL), ["writer"]);
    assert_eq!(bench.elected(), ["db1"]);
    assert_eq!(bench.state(), State::Ok);
    assert_eq!(bench.machine.verdict().summary, "writer db1, 3 of 3 synced");
    assert_eq!(bench.machine.chosen(), Some("db1"));
}

#[test]
fn by_priority_then_by_name() {
    let mut config = config();
    config.servers[2].priority = 200;
    let mut bench = Bench::with(config.clone(), None);
    bench.round(WELL);
    assert_eq!(bench.elected(), ["db3"]);
    // Its place in the file does not count.
    config.servers[2].priority = 100;
    config.servers.reverse();
    let mut bench = Bench::with(config.clone(), None);
    bench.round(WELL);
    assert_eq!(bench.elected(), ["db1"]);
    for server in &mut config.servers {
        server.weight = u16::from(server.name != "db1");
    }
    let mut bench = Bench::with(config, None);
    bench.round(WELL);
    assert_eq!(bench.elected(), ["db2"]);
}

/// Fact of real clusters: a node that dies makes all others stall for seconds, with all of their states green.
#[test]
fn another_node_dies_and_nothing_moves() {
    let mut bench = Bench::new();
    bench.round(WELL);
    let mut told = bench.rounds(5, ["123", "123", "silent"]);
    told.extend(bench.round(["12", "123", "refused"]));
    told.extend(bench.rounds(10, ["12", "12", "refused"]));
    assert_eq!(told, ["hold", "size"]);
    assert_eq!(bench.elected(), ["db1"]);
    assert_eq!(bench.state(), State::Degraded);
    let alarms = bench.alarms("the cluster has 2 of 3 nodes");
    assert_eq!(alarms, [Severity::Warning]);
}

#[test]
fn the_writer_dies_and_comes_back() {
    let mut bench = Bench::new();
    bench.round(WELL);
    assert!(bench.rounds(2, ["silent", "123", "123"]).is_empty());
    assert_eq!(bench.elected(), ["db1"]);
    assert_eq!(bench.round(["silent", "123", "123"]), ["switch"]);
    assert_eq!(bench.elected(), ["db2"]);
    assert_eq!(bench.rounds(5, ["silent", "23", "23"]), ["size"]);
    // Thawed: it claims to be well for some seconds.
    assert!(bench.rounds(5, ["123", "23", "23"]).is_empty());
    assert_eq!(bench.word("db1"), "contradicted");
    assert_eq!(bench.elected(), ["db2"]);
    assert!(bench.rounds(2, ["alone", "23", "23"]).is_empty());
    // No way back without a cause.
    assert_eq!(bench.rounds(20, WELL), ["size"]);
    assert_eq!(bench.elected(), ["db2"]);
    assert_eq!(bench.state(), State::Ok);
}

#[test]
fn what_a_writer_says_of_itself_counts_at_once_or_soon() {
    for (word, rounds) in [
        ("123 readonly", 1),
        ("123 reject", 1),
        ("123 desync", 2),
        ("123 donor", 2),
        ("refused", 2),
        ("silent", 3),
    ] {
        let mut bench = Bench::new();
        bench.round(WELL);
        for at in 1..rounds {
            assert!(bench.round([word, "123", "123"]).is_empty(), "{word} {at}");
            assert_eq!(bench.elected(), ["db1"]);
        }
        assert_eq!(bench.round([word, "123", "123"]), ["switch"], "{word}");
        assert_eq!(bench.elected(), ["db2"]);
        assert!(bench.rounds(10, WELL).is_empty());
        assert_eq!(bench.elected(), ["db2"], "{word}");
    }
}

#[test]
fn the_writer_is_cut_off() {
    let mut bench = Bench::new();
    bench.round(WELL);
    // The others have left it out before it knows.
    assert_eq!(bench.round(["123", "23", "23"]), ["switch", "size"]);
    assert_eq!(bench.elected(), ["db2"]);

    let mut bench = Bench::new();
    bench.round(WELL);
    // It knows before the others: the clients are refused until these have made up their mind.
    assert_eq!(bench.round(["alone", "123", "123"]), ["no-writer"]);
    assert_eq!(bench.round(["alone", "23", "23"]), ["switch", "size"]);
    assert_eq!(bench.elected(), ["db2"]);
}

#[test]
fn full_is_no_failure() {
    let mut bench = Bench::new();
    bench.round(WELL);
    assert!(bench.rounds(50, ["full", "123", "123"]).is_empty());
    assert_eq!(bench.elected(), ["db1"]);
    let alarms = bench.alarms("no connection left");
    assert_eq!(alarms, [Severity::Critical]);
    assert!(bench.rounds(50, ["full", "full", "full"]).is_empty());
    assert_eq!(bench.elected(), ["db1"]);
    // After a restart of the director too, which knows no more than who it was.
    let mut bench = Bench::with(config(), Some("db2"));
    bench.rounds(5, ["123", "full", "123"]);
    assert_eq!(bench.elected(), ["db2"]);
}

#[test]
fn slow_is_no_failure() {
    let mut bench = Bench::new();
    bench.round(WELL);
    assert!(bench.rounds(20, ["123 queue", "123", "123"]).is_empty());
    assert_eq!(bench.elected(), ["db1"]);
    assert_eq!(bench.alarms("lags behind"), [Severity::Warning]);
}

#[test]
fn a_wrong_password_moves_nothing_and_is_told_once() {
    let mut bench = Bench::new();
    bench.round(WELL);
    let told = bench.rounds(10, ["password", "password", "password"]);
    assert_eq!(told, ["password"]);
    assert_eq!(bench.elected(), ["db1"]);
    let alarms = bench.alarms("cannot be looked at");
    assert_eq!(alarms, [Severity::Critical]);
    bench.rounds(3, WELL);
    assert_eq!(bench.round(["password", "123", "123"]), ["password"]);
    // From the beginning: nothing is known of anybody.
    let mut bench = Bench::new();
    bench.rounds(5, ["password", "password", "password"]);
    assert_eq!(bench.elected(), Vec::<&str>::new());
    assert_eq!(bench.state(), State::Failed);
}

#[test]
fn views_that_never_agree() {
    let mut bench = Bench::new();
    bench.round(WELL);
    let quarrel = ["12", "123", "silent"];
    assert_eq!(bench.round(quarrel), ["hold"]);
    assert_eq!(bench.alarms("do not agree"), [Severity::Warning]);
    assert!(bench.rounds(2, quarrel).is_empty());
    assert_eq!(bench.elected(), ["db1"]);
    assert_eq!(bench.round(quarrel), ["no-writer"]);
    assert_eq!(bench.elected(), Vec::<&str>::new());
    let alarms = bench.alarms("contradict each other");
    assert_eq!(alarms, [Severity::Critical]);
    assert!(bench.rounds(5, quarrel).is_empty());
    assert_eq!(bench.round(["12", "12", "silent"]), ["writer", "size"]);
    assert_eq!(bench.elected(), ["db1"]);
}

#[test]
fn no_component_and_advice() {
    let mut bench = Bench::new();
    bench.round(WELL);
    assert_eq!(bench.round(["alone", "alone", "alone"]), ["no-writer"]);
    assert_eq!(bench.state(), State::Failed);
    let alarms = &bench.machine.verdict().alarms;
    assert!(alarms[0].text.contains("last committed 41"), "{alarms:?}");
    assert!(alarms[0].next.contains("pc.bootstrap=YES"), "{alarms:?}");

    bench.rounds(3, ["refused", "refused", "refused"]);
    let alarms = &bench.machine.verdict().alarms;
    assert_eq!(alarms[0].severity, Severity::Critical);
    for word in [
        "--wsrep-recover",
        "grastate.dat",
        "galera_new_cluster",
        "ALL of db1, db2 and db3",
    ] {
        assert!(alarms[0].next.contains(word), "{word}: {alarms:?}");
    }
    // Who had them last has them again.
    assert_eq!(bench.rounds(3, WELL), ["writer"]);
    assert_eq!(bench.elected(), ["db1"]);
}

#[test]
fn a_cluster_that_knows_nothing_has_no_writer() {
    let mut bench = Bench::new();
    bench.round(WELL);
    assert_eq!(bench.round(["nil", "nil", "nil"]), ["no-writer"]);
    assert_eq!(bench.word("db1"), "undefined");
    assert_eq!(bench.alarms("state UUID is nil").len(), 3);
}

#[test]
fn half_of_the_nodes_is_a_warning() {
    let mut bench = Bench::new();
    bench.round(WELL);
    bench.rounds(4, ["refused", "refused", "3"]);
    assert_eq!(bench.elected(), ["db3"]);
    let alarms = bench.alarms("only 1 of 3 nodes");
    assert_eq!(alarms, [Severity::Warning]);
}

#[test]
fn planned_moves() {
    let mut bench = Bench::new();
    bench.round(WELL);
    bench.wishes.withheld.insert("db1".to_owned());
    assert_eq!(bench.reconsider(), ["switch"]);
    assert_eq!(bench.elected(), ["db2"]);
    let others = ["db2".to_owned(), "db3".to_owned()];
    bench.wishes.withheld.extend(others);
    assert_eq!(bench.reconsider(), ["no-writer"]);
    assert_eq!(bench.alarms("withheld"), [Severity::Critical]);
    bench.wishes.withheld.clear();
    assert_eq!(bench.reconsider(), ["writer"]);
    assert_eq!(bench.elected(), ["db2"]);
}

#[test]
fn the_other_director_decides() {
    let mut bench = Bench::new();
    bench.wishes.leads = false;
    bench.round(WELL);
    assert_eq!(bench.elected(), ["db1"]);
    bench.wishes.told = Some("db3".to_owned());
    assert_eq!(bench.reconsider(), ["switch"]);
    assert_eq!(bench.elected(), ["db3"]);
    // Here nothing is moved, but who comes here all the same is not brought to one that is not there.
    bench.rounds(5, ["123", "123", "silent"]);
    assert_eq!(bench.machine.chosen(), Some("db3"));
    assert!(bench.elected().is_empty());
    // A server that is not configured here cannot be.
    bench.wishes.told = Some("db4".to_owned());
    bench.rounds(1, ["123", "123", "silent"]);
    assert_eq!(bench.elected(), ["db1"]);
    // It takes over what was chosen.
    bench.wishes.told = Some("db2".to_owned());
    bench.round(WELL);
    bench.wishes.leads = true;
    assert!(bench.rounds(5, WELL).is_empty());
    assert_eq!(bench.elected(), ["db2"]);
}

#[test]
fn a_restart_of_the_director_moves_nothing() {
    let mut bench = Bench::with(config(), Some("db3"));
    assert_eq!(bench.machine.chosen(), Some("db3"));
    // One lost answer is not enough, even if it is the first.
    bench.rounds(2, ["123", "123", "silent"]);
    assert_eq!(bench.elected(), ["db3"]);
    assert_eq!(bench.round(["123", "123", "silent"]), ["switch"]);
    let bench = Bench::with(config(), Some("gone"));
    assert_eq!(bench.machine.chosen(), None);
}

#[test]
fn another_configuration() {
    let mut bench = Bench::new();
    bench.round(WELL);
    let now = bench.now();
    let mut other = config();
    other.servers[2].address = "10.77.0.29:3306".parse().expect("an address");
    bench.machine.reconfigure(other.clone(), now);
    assert_eq!(bench.elected(), ["db1"]);
    assert_eq!(bench.word("db3"), "unknown");
    other.servers.remove(0);
    let now = bench.now();
    bench.machine.reconfigure(other, now);
    assert_eq!(bench.elected(), Vec::<&str>::new());
    assert_eq!(bench.machine.chosen(), None);
    bench.round(["123", "123", "silent"]);
    assert_eq!(bench.elected(), ["db2"]);
}
