//! Two components that both say that they are the primary one.

use super::*;

const SPLIT: [&str; 3] = ["12", "12", "3"];

#[test]
fn the_writer_stays_and_nothing_moves() {
    let mut bench = Bench::new();
    bench.round(WELL);
    assert_eq!(bench.round(SPLIT), ["split-brain"]);
    assert!(bench.rounds(10, SPLIT).is_empty());
    assert_eq!(bench.elected(), ["db1"]);
    let alarms = bench.alarms("SPLIT BRAIN: db1 and db2 against db3");
    assert_eq!(alarms, [Severity::Critical]);
    bench.wishes.withheld.insert("db1".to_owned());
    assert!(bench.reconsider().is_empty());
    assert_eq!(bench.elected(), ["db1"]);
    // It fails: nobody may be chosen, on neither side.
    let told = bench.rounds(10, ["silent", "12", "3"]);
    assert_eq!(told, ["no-writer"]);
    assert_eq!(bench.elected(), Vec::<&str>::new());
}

#[test]
fn a_side_that_is_gone_is_not_forgotten() {
    let mut bench = Bench::new();
    bench.round(WELL);
    bench.round(["1", "23", "23"]);
    let told = bench.rounds(20, ["refused", "23", "23"]);
    assert_eq!(told, ["no-writer", "size"]);
    assert_eq!(bench.elected(), Vec::<&str>::new());
    let alarms = bench.alarms("db1 is not back in it");
    assert_eq!(alarms, [Severity::Critical]);
    // Operators give its writes up.
    bench.wishes.withheld.insert("db1".to_owned());
    assert_eq!(bench.reconsider(), ["split-brain-over", "switch"]);
    assert_eq!(bench.elected(), ["db2"]);
}

#[test]
fn the_other_side_comes_back() {
    let mut bench = Bench::new();
    bench.round(WELL);
    bench.round(SPLIT);
    bench.rounds(5, ["12", "12", "refused"]);
    assert_eq!(bench.elected(), ["db1"]);
    assert_eq!(bench.state(), State::Degraded);
    let told = bench.rounds(5, WELL);
    assert_eq!(told, ["split-brain-over", "size"]);
    assert_eq!(bench.elected(), ["db1"]);
    assert_eq!(bench.state(), State::Ok);
    assert_eq!(bench.rounds(3, ["silent", "123", "123"]), ["switch"]);
}

/// A director that starts in the middle of it knows of no writer.
#[test]
fn nobody_is_chosen_in_a_split_brain() {
    let mut bench = Bench::new();
    bench.rounds(5, SPLIT);
    assert_eq!(bench.elected(), Vec::<&str>::new());
    assert_eq!(bench.state(), State::Failed);
    let mut bench = Bench::with(config(), Some("db3"));
    bench.rounds(5, SPLIT);
    assert_eq!(bench.elected(), ["db3"]);
}
