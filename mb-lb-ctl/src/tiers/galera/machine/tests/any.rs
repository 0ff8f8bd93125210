//! Clients at all usable nodes.

use super::*;

fn bench() -> Bench {
    let mut config = config();
    config.mode = GaleraMode::Any;
    Bench::with(config, None)
}

#[test]
fn all_that_are_usable() {
    let mut bench = bench();
    assert_eq!(bench.round(WELL), ["writer"]);
    assert_eq!(bench.elected(), ["db1", "db2", "db3"]);
    assert_eq!(bench.machine.chosen(), None);
    bench.rounds(2, ["123", "123", "silent"]);
    assert_eq!(bench.elected(), ["db1", "db2", "db3"]);
    bench.rounds(1, ["123", "123", "silent"]);
    assert_eq!(bench.elected(), ["db1", "db2"]);
    bench.round(["123", "123 readonly", "123"]);
    assert_eq!(bench.elected(), ["db1"]);
    bench.rounds(3, WELL);
    assert_eq!(bench.elected(), ["db1", "db2", "db3"]);
    // The engine withholds them itself.
    bench.wishes.withheld.insert("db2".to_owned());
    bench.round(WELL);
    assert_eq!(bench.elected(), ["db1", "db2", "db3"]);
    bench.round(["12", "12", "123"]);
    assert_eq!(bench.elected(), ["db1", "db2"]);
}

#[test]
fn never_both_sides() {
    let mut bench = bench();
    bench.round(WELL);
    bench.rounds(5, ["1", "23", "23"]);
    assert_eq!(bench.elected(), ["db2", "db3"]);
    // Its side is gone: the other one has not what was written there.
    bench.rounds(10, ["1", "refused", "refused"]);
    assert_eq!(bench.elected(), Vec::<&str>::new());
    bench.rounds(10, WELL);
    assert_eq!(bench.elected(), ["db1", "db2", "db3"]);
}

#[test]
fn a_draw_goes_to_the_higher_priority() {
    let mut config = config();
    config.mode = GaleraMode::Any;
    config.servers[2].priority = 200;
    let mut bench = Bench::with(config, None);
    bench.round(["123", "silent", "123"]);
    assert_eq!(bench.elected(), ["db1", "db3"]);
    bench.rounds(4, ["1", "silent", "3"]);
    assert_eq!(bench.elected(), ["db3"]);
}

#[test]
fn views_that_never_agree() {
    let mut bench = bench();
    bench.round(WELL);
    let quarrel = ["12", "123", "silent"];
    assert_eq!(bench.rounds(3, quarrel), ["hold"]);
    assert_eq!(bench.elected(), ["db1", "db2"]);
    assert_eq!(bench.rounds(3, quarrel), ["no-writer"]);
    assert_eq!(bench.elected(), Vec::<&str>::new());
}
