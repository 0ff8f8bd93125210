//! `set maxconn` and `set rate-limit`: HAProxy's complaints, and what mb-lb has instead.

/// What `set rate-limit` says of anything else.
const RATES: &str = "'set rate-limit' only supports :\n   \
     - 'connections global' to set the per-process maximum connection rate\n   \
     - 'sessions global' to set the per-process maximum session rate\n   \
     - 'ssl-sessions global' to set the per-process maximum SSL session rate\n   \
     - 'http-compression global' to set the per-process maximum compression speed in kB/s\n";
const INTEGER: &str = "Expects an integer value.\n";
const OUT_OF_RANGE: &str = "Value out of range.\n";
/// As in the configuration.
const MOST: u32 = 1_000_000;

/// What follows `set rate-limit`.
pub fn rate(words: &[&str]) -> String {
    match words {
        [
            "connections" | "sessions" | "ssl-sessions" | "http-compression",
            "global",
        ] => INTEGER.to_owned(),
        ["http-compression", "global", ..] => {
            super::not_done("mb-lb compresses nothing, so there is nothing to limit")
        }
        ["connections" | "sessions" | "ssl-sessions", "global", ..] => super::not_done(
            "mb-lb has no limit on rates for the whole director; proxies have `limits` in the configuration file",
        ),
        _ => RATES.to_owned(),
    }
}

/// What follows `set maxconn global`.
pub fn global(value: &str) -> String {
    match value {
        "" => INTEGER.to_owned(),
        value if value.parse::<u32>().is_err() => INTEGER.to_owned(),
        _ => super::not_done(
            "the room for flows is made at the start: set `max_flows` of [director] in the configuration file",
        ),
    }
}

/// The limit of `set maxconn frontend`, of a service that exists, or HAProxy's complaint. 0: as many as come.
pub fn frontend(value: &str) -> Result<u32, String> {
    let number = value.parse::<i64>();
    let number = number.map_err(|_| "Integer value expected.\n".to_owned())?;
    let most = u32::try_from(number).ok().filter(|most| *most <= MOST);
    most.ok_or_else(|| OUT_OF_RANGE.to_owned())
}

/// The limit of `set maxconn server`, or HAProxy's complaint, which does not always end its line. 0: as many as come.
pub fn server(value: &str) -> Result<u32, String> {
    if value.is_empty() {
        return Err("Require <maxconn>.\n".to_owned());
    }
    let value = value.strip_prefix('+').unwrap_or(value);
    let digits = value
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(value.len());
    match value.split_at(digits) {
        ("", _) => Err("maxconn string empty or preceded by garbage".to_owned()),
        (number, "") => {
            let most = number.parse().ok().filter(|most| *most <= MOST);
            most.ok_or_else(|| OUT_OF_RANGE.to_owned())
        }
        _ => Err("Trailing garbage in maxconn string".to_owned()),
    }
}
