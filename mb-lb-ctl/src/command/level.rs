//! Who may say what: the level that a command needs, by its words, as HAProxy has it.
//!
//! It is looked at before anything else, so that who may not do a thing does not learn by its errors what there is.

use crate::config::SocketLevel;
use SocketLevel::{Admin, Operator};

/// What who may not do it gets.
pub const DENIED: &str = "Permission denied\n";

/// Beginnings of commands that need more than [`SocketLevel::User`]; the first that fits counts.
const NEEDED: &[(&[&str], SocketLevel)] = &[
    (&["set", "server"], Admin),
    (&["set", "weight"], Admin),
    (&["set", "maxconn"], Admin),
    (&["set", "rate-limit"], Admin),
    (&["set", "ssl", "cert"], Admin),
    (&["enable"], Admin),
    (&["disable"], Admin),
    (&["shutdown"], Admin),
    (&["add", "server"], Admin),
    (&["del", "server"], Admin),
    (&["commit", "ssl", "cert"], Admin),
    (&["abort", "ssl", "cert"], Admin),
    (&["new", "ssl", "cert"], Admin),
    (&["del", "ssl"], Admin),
    (&["add", "ssl"], Admin),
    (&["clear", "counters", "all"], Admin),
    (&["clear", "counters"], Operator),
    (&["show", "sess"], Operator),
    (&["show", "errors"], Operator),
    (&["show", "env"], Operator),
    (&["show", "startup-logs"], Operator),
    (&["show", "ssl"], Operator),
    (&["operator"], Operator),
    // They name clients, or what the kernel holds.
    (&["mb-lb", "flows"], Operator),
    (&["mb-lb", "record"], Operator),
    (&["mb-lb", "set"], Admin),
    (&["mb-lb", "weight"], Admin),
    (&["mb-lb", "failover"], Admin),
    (&["mb-lb", "reload"], Admin),
    // A configuration names files that are read.
    (&["mb-lb", "diff"], Admin),
    (&["mb-lb", "peer"], Admin),
    (&["mb-lb", "sync"], Admin),
];

/// The least level that may say these words.
pub fn needed(words: &[&str]) -> SocketLevel {
    NEEDED
        .iter()
        .find(|(beginning, _)| words.starts_with(beginning))
        .map_or(SocketLevel::User, |(_, level)| *level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_needs_more_than_what_shows() {
        let cases = [
            ("show stat", SocketLevel::User),
            ("show stat typed", SocketLevel::User),
            ("get weight smtp/mb1", SocketLevel::User),
            ("show cli level", SocketLevel::User),
            ("user", SocketLevel::User),
            ("operator", SocketLevel::Operator),
            ("show sess 0x12", SocketLevel::Operator),
            ("clear counters", SocketLevel::Operator),
            ("clear counters all", SocketLevel::Admin),
            ("set server smtp/mb1 state maint", SocketLevel::Admin),
            ("enable frontend smtp", SocketLevel::Admin),
            ("mb-lb snapshot", SocketLevel::User),
            ("mb-lb flows", SocketLevel::Operator),
            ("mb-lb reload", SocketLevel::Admin),
            ("", SocketLevel::User),
        ];
        for (text, level) in cases {
            let words: Vec<_> = text.split_whitespace().collect();
            assert_eq!(needed(&words), level, "{text}");
        }
    }
}
