//! Metrics, word for word: their names are an interface.

use std::collections::BTreeSet;

use mb_lb_ctl::admin::http::metrics::{self, Kind};

use super::page::everything;
use crate::fixtures;

#[test]
fn metrics_of_everything() {
    insta::assert_snapshot!("metrics_everything", metrics::render(&everything()));
}

/// An alert compares it with how many are usable.
#[test]
fn what_a_service_wants_is_said_of_those_that_want_something() {
    let mut snapshot = fixtures::well();
    let name = snapshot.services[0].name.clone();
    for (min_up, sample) in [(0, None), (1, Some("1")), (3, Some("3"))] {
        snapshot.services[0].min_up = min_up;
        let text = metrics::render(&snapshot);
        let start = format!("mb_lb_service_min_up{{service=\"{name}\"}} ");
        let mut lines = text.lines();
        assert_eq!(lines.find_map(|line| line.strip_prefix(&start)), sample);
    }
}

/// Names, types and labels, apart from numbers.
#[test]
fn names_are_frozen() {
    let text: String = metrics::families()
        .map(|family| {
            let labels = family.labels.join(",");
            format!("{} {} {{{labels}}}\n", family.kind.name(), family.name)
        })
        .collect();
    insta::assert_snapshot!("metrics_names", text);
}

#[test]
fn the_text_has_every_family_once_and_in_order() {
    for snapshot in [fixtures::empty(), fixtures::well(), everything()] {
        let text = metrics::render(&snapshot);
        let names: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next())
            .collect();
        let families: Vec<_> = metrics::families().map(|family| family.name).collect();
        assert_eq!(names, families);
        assert_eq!(BTreeSet::from_iter(&names).len(), names.len());
    }
}

/// No family that stays empty whatever the snapshot has: it would be a name for nothing.
#[test]
fn every_family_has_a_sample_somewhere() {
    let text = metrics::render(&everything());
    for family in metrics::families() {
        let samples = text.lines().filter(|line| {
            let name = line.split(['{', ' ']).next();
            name == Some(family.name)
        });
        assert!(samples.count() > 0, "{}", family.name);
    }
}

#[test]
fn names_are_as_prometheus_wants_them() {
    for family in metrics::families() {
        assert!(family.name.starts_with("mb_lb_"), "{}", family.name);
        let is_total = family.name.ends_with("_total");
        assert_eq!(is_total, family.kind == Kind::Counter, "{}", family.name);
        assert!(family.help.ends_with('.'), "{}", family.name);
    }
}
