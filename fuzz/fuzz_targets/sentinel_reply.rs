//! Replies of Redis and of Sentinels: nothing panics, and what people are shown of them is short and printable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::tiers::sentinel::reply;
use mb_lb_ctl::tiers::sentinel::{Says, Trouble};

/// Of all that is quoted, with the words around it.
const LONGEST: usize = 200;

fn shown(text: &str) {
    assert!(text.len() <= LONGEST, "{text}");
    assert!(
        text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{text}"
    );
}

fn trouble<T>(answer: Result<T, Trouble>) -> Option<T> {
    answer.map_err(|trouble| shown(&trouble.to_string())).ok()
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = redis::parse_redis_value(bytes) else {
        return;
    };
    if let Some(named) = trouble(reply::named(&value)) {
        shown(&named.to_string());
    }
    if let Some(master) = trouble(reply::master(&value)) {
        assert!(master.flags.len() <= 16);
        master.flags.iter().for_each(|flag| shown(flag));
    }
    for says in [reply::role(&value), reply::info_replication(&value)] {
        if let Some(Says::Replica { of, link, .. }) = trouble(says) {
            shown(&of);
            shown(&link);
        }
    }
    if let Some(Err(why)) = reply::quorum(&value) {
        shown(&why);
    }
    trouble(reply::pong(&value));
    reply::tilt(&value);
});
