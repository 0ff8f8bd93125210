//! `timeout` of frontends and backends: `timeouts` of a proxy.

use super::DAY;
use crate::import::block::Block;
use crate::import::haproxy::units::Unit;
use crate::import::report::{At, Verdict};
use crate::import::value::{duration, table};

/// HAProxy's word, ours, and whether HAProxy goes by the frontend.
const TIMES: [(&str, &str, bool); 7] = [
    ("connect", "connect", false),
    ("client", "client", true),
    ("server", "server", false),
    ("queue", "queue", false),
    ("tunnel", "tunnel", false),
    ("http-request", "request", true),
    ("http-keep-alive", "keep_alive", true),
];

pub(super) fn write(unit: &Unit<'_>, block: &mut Block) {
    let mut entries = Vec::new();
    let mut at: Vec<At> = Vec::new();
    for (theirs, ours, of_front) in TIMES {
        let fronts = unit.fronts.iter().map(|front| &front.view);
        let found: Vec<(u64, At)> = match of_front {
            true => fronts.filter_map(|view| view.timeout(theirs)).collect(),
            false => unit.back.timeout(theirs).into_iter().collect(),
        };
        if of_front {
            overridden(unit, theirs, block);
        }
        let Some(&(time, line)) = found.first() else {
            continue;
        };
        entries.push((ours.to_owned(), duration(time.clamp(10, DAY))));
        at.push(line);
        if !(10..=DAY).contains(&time) {
            block.claim(line, Verdict::Approximated, "10ms to 24h can be said");
        }
        for (other, own) in found.into_iter().filter(|(_, own)| *own != line) {
            if other == time {
                at.push(own);
                continue;
            }
            let note = format!(
                "all frontends of a proxy wait as long as line {} says",
                line.line
            );
            block.claim(own, Verdict::Approximated, note);
        }
    }
    if !entries.is_empty() {
        block.key("timeouts", table(&entries), &at);
    }
    for key in ["client-fin", "server-fin"] {
        for view in unit.views() {
            if let Some((_, line)) = view.timeout(key) {
                block.claim(
                    line,
                    Verdict::NotNeeded,
                    "`client` and `server` of `timeouts` say it",
                );
            }
        }
    }
}

/// What a backend says of frontends has no effect.
fn overridden(unit: &Unit<'_>, name: &str, block: &mut Block) {
    let section = unit.back.section;
    if section.is_front() {
        return;
    }
    let key = format!("timeout {name}");
    for line in section.statements.iter().filter(|line| line.is(&key)) {
        let note = "HAProxy goes by that of the frontend";
        block.claim(line.at, Verdict::Dead, note);
    }
}
