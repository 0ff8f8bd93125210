//! Lists of mounts, what the child that touches mounts says, and what the program for heal counts prints.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::tiers::storage::child::Answer;
use mb_lb_ctl::tiers::storage::{parse_heal, parse_mountinfo};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let path = Path::new("/srv/quarantine");
    if let Some(mounted) = parse_mountinfo(&text, path) {
        assert!(path.starts_with(mounted.point));
    }
    if let Some(answer @ Answer::Works(_)) = Answer::parse(&text) {
        assert_eq!(Answer::parse(&answer.to_line()), Some(answer));
    }
    let _ = parse_heal(&text);
});
