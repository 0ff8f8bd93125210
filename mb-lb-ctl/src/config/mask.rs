//! Passwords are not shown with the line that they stand in: what is printed about a file goes to terminals, the
//! journal and tickets.

use std::ops::Range;

use super::schema;

/// Keys whose values are passwords, and what is near them.
const SECRET: [&str; 5] = [
    "auth_pass",
    "password",
    "key",
    "dynamic_key",
    "sentinel_password",
];
/// What others call them. `socket` is near to one, so only these words themselves.
const FOREIGN: [&str; 3] = ["psk", "secret", "dynamic_cookie_key"];

/// The text with asterisks in place of passwords, byte for byte, so that every place stays where it was. It need not
/// be TOML, and the keys need not be spelled right.
pub(super) fn mask(source: &str) -> String {
    let mut masked = String::with_capacity(source.len());
    let mut done = 0;
    for span in secrets(source) {
        if span.start < done {
            continue;
        }
        masked.push_str(&source[done..span.start]);
        // Line ends stay.
        let stars = source[span.clone()].bytes().map(|b| match b {
            b'\r' | b'\n' => char::from(b),
            _ => '*',
        });
        masked.extend(stars);
        done = span.end;
    }
    masked.push_str(&source[done..]);
    masked
}

/// Whether the value that starts at `start` is that of a secret key.
pub(super) fn is_secret(source: &str, start: usize) -> bool {
    let line = source[..start].rfind('\n').map_or(0, |at| at + 1);
    let before = source[line..start].trim_end();
    let Some(key) = before.strip_suffix('=') else {
        return false;
    };
    let key = key.trim_end().trim_end_matches(['"', '\'']);
    key.rsplit(|c: char| !bare(c)).next().is_some_and(secret)
}

const fn bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn secret(key: &str) -> bool {
    let key = schema::folded(key);
    FOREIGN.contains(&key.as_str()) || schema::nearest(&key, SECRET.into_iter()).is_some()
}

/// The values of secret keys, without their quotes.
fn secrets(source: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + source[at..].find(bare)?;
            let end = source[start..].find(|c| !bare(c));
            at = end.map_or(source.len(), |end| start + end);
            if secret(&source[start..at])
                && let Some(value) = value(source, start, at)
            {
                return Some(value);
            }
        }
    })
}

/// What stands behind the key at `start..end`: after an equals sign, in quotes, or, as keepalived has it, after a key
/// that begins its line.
fn value(source: &str, start: usize, end: usize) -> Option<Range<usize>> {
    let line = source[..start].rfind('\n').map_or(0, |at| at + 1);
    let first = source[line..start]
        .trim_matches(['"', '\''])
        .trim()
        .is_empty();
    let rest = source[end..].trim_start_matches(['"', '\'']);
    let rest = rest.trim_start_matches([' ', '\t']);
    let (rest, equals) = match rest.strip_prefix('=') {
        Some(rest) => (rest.trim_start_matches([' ', '\t']), true),
        None => (rest, false),
    };
    let quotes = ["\"\"\"", "'''", "\"", "'"];
    let quote = quotes.into_iter().find(|quote| rest.starts_with(quote));
    if !equals && !first && quote.is_none() {
        return None;
    }
    let rest = &rest[quote.map_or(0, str::len)..];
    let begin = source.len() - rest.len();
    let line_end = rest.find('\n').unwrap_or(rest.len());
    let length = match quote {
        Some(quote) if quote.len() == 3 => rest.find(quote).unwrap_or(rest.len()),
        Some(quote) => closing(&rest[..line_end], quote).unwrap_or(line_end),
        None => line_end,
    };
    Some(begin..begin + length)
}

/// Where a string ends: an escaped quote does not end it.
fn closing(line: &str, quote: &str) -> Option<usize> {
    let mut escaped = false;
    line.char_indices().find_map(|(at, c)| {
        if escaped || c == '\\' && quote == "\"" {
            escaped = !escaped;
            return None;
        }
        line[at..].starts_with(quote).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_and_nothing_else_is() {
        for (source, expected) in [
            ("auth_pass = \"secret\" # x", "auth_pass = \"******\" # x"),
            ("auth_pass='sec\"ret'\nx = 1", "auth_pass='*******'\nx = 1"),
            ("auth_pass = \"a\\\"b\"", "auth_pass = \"****\""),
            ("auth_pass = \"ä\"", "auth_pass = \"**\""),
            ("auth_pass = \"secret\nx = 1", "auth_pass = \"******\nx = 1"),
            ("\"auth_pass\" = \"secret\"", "\"auth_pass\" = \"******\""),
            (
                "vrrp.a.auth_pass = \"secret\"",
                "vrrp.a.auth_pass = \"******\"",
            ),
            (
                "{ priority = 1, auth_pass = \"secret\", preempt = 1 }",
                "{ priority = 1, auth_pass = \"******\", preempt = 1 }",
            ),
            (
                "auth_pass = \"\"\"se\ncret\"\"\"\nx",
                "auth_pass = \"\"\"**\n****\"\"\"\nx",
            ),
            ("auth_pass = secret\r\nx", "auth_pass = ******\r\nx"),
            ("  auth_pass secret\n", "  auth_pass ******\n"),
            ("authpass = \"secret\"", "authpass = \"******\""),
            ("# auth_pas = \"secret\"", "# auth_pas = \"******\""),
            ("password = \"secret\"", "password = \"******\""),
            ("key = \"secret\"", "key = \"******\""),
            ("peer.key = \"secret\"", "peer.key = \"******\""),
            (
                "cookie = { name = \"S\", dynamic_key = \"secret\" }",
                "cookie = { name = \"S\", dynamic_key = \"******\" }",
            ),
            ("dynamic-cookie-key secret", "dynamic-cookie-key ******"),
            ("psk = \"secret\"", "psk = \"******\""),
            ("auth_pass =", "auth_pass ="),
            ("auth_pass", "auth_pass"),
        ] {
            assert_eq!(mask(source), expected, "{source}");
        }
        for source in [
            "",
            "auth_pass_file = \"/etc/secret\"",
            "password_file = \"/etc/secret\"",
            "key_file = \"/etc/secret\"",
            "socket = \"/run/mb-lb/admin.sock\"",
            "auth_type = \"PASS\"",
            "[service.password]\nlisten = 1",
            "# the auth_pass that we use",
            "no_server = \"421 later\"",
        ] {
            assert_eq!(mask(source), source);
        }
    }

    #[test]
    fn values_of_secret_keys_are_known() {
        for (source, expected) in [
            ("auth_pass = x", true),
            ("a.\"auth_pass\"=x", true),
            ("{ y = 1, auth_pass = x", true),
            ("auth_pass_file = x", false),
            ("auth_pass = 1\nname = x", false),
            ("x", false),
        ] {
            assert_eq!(is_secret(source, source.len() - 1), expected, "{source}");
        }
    }
}
