#![no_main]

use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::tiers::galera::{parse, read_error, read_greeting, read_row};

// Packets of a server that lies, and variables that it makes up.
fuzz_target!(|bytes: &[u8]| {
    let _ = read_greeting(bytes);
    let _ = read_error(bytes);
    let _ = read_row(bytes);
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    if let Ok(status) = parse(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))) {
        assert!(status.members.len() <= 256);
        assert!(status.comment.chars().count() <= 256);
    }
});
