//! What a health page says in JSON: `{"status": "ok", "checks": {"database": "ok", "redis": {"status": "fail", "error":
//! "timeout"}}}`, and what others make of that form. What it does not know, it passes over.

use std::fmt;

use serde_json::{Map, Value};

use crate::prober::finding::quote;

/// Words that say that all is well.
const GOOD: [&str; 11] = [
    "ok", "okay", "up", "pass", "passed", "healthy", "success", "true", "running", "ready", "green",
];
/// Words that say neither.
const NEUTRAL: [&str; 8] = [
    "", "warn", "warning", "skip", "skipped", "disabled", "unknown", "unused",
];
/// Under which members are found, by the names of drafts and of frameworks.
const MEMBERS: [&str; 2] = ["checks", "components"];
/// Where a member says why.
const REASONS: [&str; 6] = [
    "error",
    "reason",
    "message",
    "output",
    "detail",
    "description",
];
/// So many members are named.
const NAMED: usize = 4;
/// Longest name and longest reason, in characters.
const SHORT: usize = 40;

/// What could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The word for the whole, fit to be shown.
    pub status: Option<String>,
    /// Names and reasons of the members that failed.
    pub failed: Vec<(String, String)>,
    /// Of all members.
    pub names: Vec<String>,
}

impl Health {
    /// Nothing speaks against it.
    pub fn is_good(&self) -> bool {
        let bad = |status: &String| !is_good(status);
        self.failed.is_empty() && !self.status.as_ref().is_some_and(bad)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, why)) in self.failed.iter().take(NAMED).enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{name}: {why}")?;
        }
        match self.failed.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "; {more} more"),
        }
    }
}

/// `None` where it is no such page.
pub fn read(body: &[u8]) -> Option<Health> {
    let Value::Object(page) = serde_json::from_slice(body).ok()? else {
        return None;
    };
    let status = page.get("status").and_then(word);
    let (mut failed, mut names) = (Vec::new(), Vec::new());
    for members in MEMBERS.iter().filter_map(|key| page.get(*key)) {
        match members {
            Value::Object(members) => {
                names.extend(members.keys().map(|name| short(name)));
                let members = members.iter();
                failed.extend(members.filter_map(|(name, member)| failure(name, member)));
            }
            Value::Array(members) => failed.extend(members.iter().filter_map(|member| {
                let name = member.get("name").or_else(|| member.get("id"))?.as_str()?;
                names.push(short(name));
                failure(name, member)
            })),
            _ => {}
        }
    }
    let says = status.is_some() || !names.is_empty();
    says.then_some(Health {
        status,
        failed,
        names,
    })
}

fn failure(name: &str, member: &Value) -> Option<(String, String)> {
    let why = match member {
        Value::Object(fields) => why(fields)?,
        // A list of measurements of one member: the first that failed stands for it.
        Value::Array(parts) => parts.iter().find_map(|part| why(part.as_object()?))?,
        plain => word(plain).filter(|word| is_bad(word))?,
    };
    Some((short(name), short(&why)))
}

/// Why it failed; `None` where it did not.
fn why(fields: &Map<String, Value>) -> Option<String> {
    let keys = ["status", "state", "ok", "healthy"];
    let status = keys
        .iter()
        .find_map(|key| fields.get(*key).and_then(word))?;
    if !is_bad(&status) {
        return None;
    }
    let details = fields.get("details").and_then(Value::as_object);
    let said = std::iter::once(fields).chain(details).find_map(|fields| {
        let texts = REASONS.iter().filter_map(|key| fields.get(*key)?.as_str());
        texts.map(str::trim).find(|text| !text.is_empty())
    });
    Some(said.map_or(status, str::to_owned))
}

/// A status in words; of other shapes nothing is known.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(short(text)),
        Value::Bool(good) => Some(if *good { "ok" } else { "failed" }.to_owned()),
        _ => None,
    }
}

fn is_good(status: &str) -> bool {
    GOOD.contains(&status.to_ascii_lowercase().as_str())
}

fn is_bad(status: &str) -> bool {
    let lower = status.to_ascii_lowercase();
    !GOOD.contains(&lower.as_str()) && !NEUTRAL.contains(&lower.as_str())
}

fn short(text: &str) -> String {
    let mut text = quote(text.as_bytes());
    if text.len() > SHORT {
        text.truncate(SHORT - 3);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(body: &str) -> (bool, String) {
        let health = read(body.as_bytes()).expect(body);
        (health.is_good(), health.to_string())
    }

    #[test]
    fn failed_members_are_named() {
        for (body, good, text) in [
            (r#"{"status": "ok"}"#, true, ""),
            (r#"{"checks": {"mb-milter": "ok"}}"#, true, ""),
            (
                r#"{"status": "UP", "components": {"db": {"status": "UP"}}}"#,
                true,
                "",
            ),
            (r#"{"status": "degraded"}"#, false, ""),
            (r#"{"status": false}"#, false, ""),
            (
                r#"{"status": "fail", "checks": {"database": "ok", "redis": {"status": "fail", "error": "timeout"}}}"#,
                false,
                "redis: timeout",
            ),
            (
                r#"{"checks": {"redis": "down", "db": false, "x": true}}"#,
                false,
                "db: failed; redis: down",
            ),
            (
                r#"{"status": "ok", "checks": {"a": {"ok": false, "message": " "}}}"#,
                false,
                "a: failed",
            ),
            (
                r#"{"status": "DOWN", "components": {"db": {"status": "DOWN", "details": {"error": "no route"}}}}"#,
                false,
                "db: no route",
            ),
            (
                r#"{"status": "fail", "checks": {"db:time": [{"status": "pass"}, {"status": "fail", "output": "slow"}]}}"#,
                false,
                "db:time: slow",
            ),
            (
                r#"{"checks": [{"name": "a", "status": "ok"}, {"name": "b", "status": "bad"}, 1, {}]}"#,
                false,
                "b: bad",
            ),
            (
                r#"{"checks": {"a": "x", "b": "x", "c": "x", "d": "x", "e": "x", "f": "x"}}"#,
                false,
                "a: x; b: x; c: x; d: x; 2 more",
            ),
            (
                r#"{"status": "ok", "checks": {"a": null, "b": 3, "c": [], "d": {}, "e": "warn"}}"#,
                true,
                "",
            ),
            (
                r#"{"checks": {"a\u001b[2J": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}}"#,
                false,
                "a?[2J: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...",
            ),
        ] {
            assert_eq!(said(body), (good, text.to_owned()), "{body}");
        }
    }

    #[test]
    fn other_pages_say_nothing() {
        let deep = "[".repeat(10_000);
        let within = format!("{{\"checks\":{deep}");
        for body in [
            "",
            "ok",
            "{}",
            "[]",
            "{\"status\": 3}",
            "{\"checks\": 1}",
            "{\"status\": ",
            &deep,
            &within,
            "\u{0}",
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body:.20}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
        }

        #[test]
        fn any_pieces(pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"status\"", "\"checks\"", "\"ok\"", "\"fail\"", "\"error\"", "null", "1", "true", "\"ä\"",
        ]), 0..30)) {
            if let Some(health) = read(pieces.concat().as_bytes()) {
                let text = health.to_string();
                prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
                prop_assert!(text.len() < 500);
            }
        }
    }
}
