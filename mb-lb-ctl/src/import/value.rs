//! Values of our file, and times of others.

use std::net::{IpAddr, SocketAddr};

/// A string of TOML, on one line.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A key, or a part of one.
pub(super) fn key(text: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match !text.is_empty() && text.bytes().all(bare) {
        true => text.to_owned(),
        false => quote(text),
    }
}

pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items = items.into_iter().map(|item| quote(&item.to_string()));
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A table on one line.
pub(super) fn table(entries: &[(String, String)]) -> String {
    let entries = entries
        .iter()
        .map(|(name, value)| format!("{} = {value}", key(name)));
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}

/// A name as ours may be: other characters become `_`.
pub(super) fn name(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let one = |c: char| if allowed(c) { c } else { '_' };
    text.chars().map(one).collect()
}

/// Said where a name is not as it was.
pub(super) fn renamed(theirs: &str, ours: &str) -> Option<String> {
    (theirs != ours).then(|| {
        format!(
            "`{theirs}` is `{ours}` here, and scripts have to say so: names have letters, digits, `_`, `.` and `-`"
        )
    })
}

/// Milliseconds as a duration, in the largest unit that leaves no rest.
pub(super) fn duration(milliseconds: u64) -> String {
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let fits =
        |(_, length): &&(&str, u64)| milliseconds != 0 && milliseconds.is_multiple_of(*length);
    match units.iter().find(fits) {
        // Two minutes are said as such, and a minute and a half in seconds.
        Some((unit, length)) => format!("\"{}{unit}\"", milliseconds / length),
        None => format!("\"{milliseconds}ms\""),
    }
}

/// A time of HAProxy (its manual, section 2.5): a number with `us`, `ms`, `s`, `m`, `h` or `d`, in milliseconds without.
/// Microseconds are rounded up.
pub(super) fn haproxy_time(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "us" => Some(number.div_ceil(1000)),
        "" | "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    }
}

/// Seconds of keepalived, with a fraction or without, in milliseconds.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let thousandths = fraction.bytes().chain(*b"000").take(3);
    let thousandths = thousandths.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    whole.checked_mul(1000)?.checked_add(thousandths)
}

/// Address and port, or an address alone: `192.0.2.1:25`, `[2001:db8::1]:25`, and as HAProxy has it `2001:db8::1:25`.
pub(super) fn endpoint(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(whole) = text.parse::<SocketAddr>() {
        return Some((whole.ip(), Some(whole.port())));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    // The last colon is before the port, even where the rest is IPv6 without brackets.
    if bare.is_none()
        && let Some((host, port)) = text.rsplit_once(':')
    {
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        return match port {
            "" => Some((host.parse().ok()?, None)),
            port => Some((host.parse().ok()?, Some(digits(port)?))),
        };
    }
    Some((bare.unwrap_or(text).parse().ok()?, None))
}

/// A port without a sign.
fn digits(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected) in [
            ("5000", Some(5000)),
            ("5s", Some(5000)),
            ("1m", Some(60_000)),
            ("1d", Some(86_400_000)),
            ("1500us", Some(2)),
            ("", None),
            ("s", None),
            ("5 s", None),
            ("-1", None),
            ("99999999999999999999", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(haproxy_time(text), expected, "{text:?}");
        }
        for (text, expected) in [
            ("1", Some(1000)),
            ("0.92", Some(920)),
            (".5", Some(500)),
            ("2.71828", Some(2718)),
            ("", None),
            (".", None),
            ("1.x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(seconds(text), expected, "{text:?}");
        }
        for (milliseconds, expected) in [
            (0, "\"0ms\""),
            (1500, "\"1500ms\""),
            (90_000, "\"90s\""),
            (120_000, "\"2m\""),
        ] {
            assert_eq!(duration(milliseconds), expected);
        }
    }

    #[test]
    fn endpoints() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (text, expected) in [
            ("192.0.2.1:25", Some((ip("192.0.2.1"), Some(25)))),
            ("192.0.2.1", Some((ip("192.0.2.1"), None))),
            ("192.0.2.1:", Some((ip("192.0.2.1"), None))),
            ("[2001:db8::1]:25", Some((ip("2001:db8::1"), Some(25)))),
            ("2001:db8::1:25", Some((ip("2001:db8::1"), Some(25)))),
            ("[2001:db8::1]", Some((ip("2001:db8::1"), None))),
            ("mb1:25", None),
            ("", None),
            ("192.0.2.1:99999", None),
            ("192.0.2.1:+5", None),
        ] {
            assert_eq!(endpoint(text), expected, "{text:?}");
        }
    }

    #[test]
    fn strings_stay_on_their_line() {
        assert_eq!(quote("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000Ad\"");
        assert_eq!(key("a-b"), "a-b");
        assert_eq!(key("192.0.2.1"), "\"192.0.2.1\"");
        assert_eq!(name("a:b c"), "a_b_c");
    }
}
