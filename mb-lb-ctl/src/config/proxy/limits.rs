//! `timeouts` and `limits` of a proxy.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use crate::config::diagnostic::{Code, Reporter, quote};
use crate::config::fields::{Field, Fields};
use crate::config::values::Fault;
use crate::config::{ProxyLimits, ProxyTimeouts, schema};

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(86_400);

/// Units of a size in bytes. A number without one is of bytes.
const UNITS: [(&str, u64); 3] = [("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30)];
const HEADER: RangeInclusive<u64> = 1 << 10..=256 << 10;
const BODY: RangeInclusive<u64> = 1..=1024 << 30;

pub(super) fn timeouts(field: Option<&Field<'_>>, reporter: &mut Reporter<'_>) -> ProxyTimeouts {
    let mut timeouts = ProxyTimeouts::default();
    let Some(field) = field else {
        return timeouts;
    };
    let Some(table) = field.table("a table such as { server = \"50s\" }", reporter) else {
        return timeouts;
    };
    let fields = Fields::open(&schema::TIMEOUTS, field.path.clone(), table, reporter);
    let mut queue = None;
    for (key, time) in [
        ("handshake", &mut timeouts.handshake),
        ("request", &mut timeouts.request),
        ("keep_alive", &mut timeouts.keep_alive),
        ("client", &mut timeouts.client),
        ("server", &mut timeouts.server),
        ("connect", &mut timeouts.connect),
        ("tunnel", &mut timeouts.tunnel),
    ] {
        let given = fields.get(key).and_then(|f| f.duration(TIMEOUT, reporter));
        *time = given.unwrap_or(*time);
    }
    if let Some(field) = fields.get("queue") {
        queue = field.duration(TIMEOUT, reporter);
    }
    timeouts.queue = queue.unwrap_or(timeouts.connect);
    timeouts
}

pub(super) fn limits(field: Option<&Field<'_>>, reporter: &mut Reporter<'_>) -> ProxyLimits {
    let mut limits = ProxyLimits::default();
    let Some(field) = field else {
        return limits;
    };
    let Some(table) = field.table("a table such as { body = \"10m\" }", reporter) else {
        return limits;
    };
    let fields = Fields::open(&schema::LIMITS, field.path.clone(), table, reporter);
    let mut number = |key, most| {
        let field = fields.get(key)?;
        field.integer::<u32>(1..=most, reporter)
    };
    let connections = number("connections", 1_000_000);
    limits.connections_per_source = number("connections_per_source", 1_000_000);
    limits.requests_per_source = number("requests_per_source", 1_000_000);
    limits.connections = connections.unwrap_or(limits.connections);
    for (key, number) in [
        ("fields", &mut limits.fields),
        ("streams", &mut limits.streams),
    ] {
        let given = fields.get(key).and_then(|f| f.integer(1..=1000, reporter));
        *number = given.unwrap_or(*number);
    }
    let header = fields
        .get("header")
        .and_then(|f| size(&f, HEADER, reporter));
    if let Some(header) = header.and_then(|header| u32::try_from(header).ok()) {
        limits.header = header;
    }
    limits.body = fields.get("body").and_then(|f| size(&f, BODY, reporter));
    limits
}

/// Bytes.
fn size(field: &Field<'_>, range: RangeInclusive<u64>, reporter: &mut Reporter<'_>) -> Option<u64> {
    let allowed = format!(
        "allowed are {} to {}",
        show(*range.start()),
        show(*range.end())
    );
    let bytes = match field.value {
        DeValue::Integer(number) => {
            let number = i128::from_str_radix(number.as_str(), number.radix());
            let bytes = number.ok().and_then(|number| u64::try_from(number).ok());
            bytes.ok_or_else(String::new)
        }
        _ => field
            .parsed(
                "a size such as \"32k\" or a number of bytes",
                parse,
                reporter,
            )
            .map(Ok)?,
    };
    match bytes {
        Ok(bytes) if range.contains(&bytes) => Some(bytes),
        bytes => {
            let phrase = match bytes {
                Ok(bytes) => format!("is `{}`, {allowed}", show(bytes)),
                Err(_) => format!("is out of range, {allowed}"),
            };
            reporter.push(field.finding(Code::OutOfRange, &phrase));
            None
        }
    }
}

fn parse(text: &str) -> Result<u64, Fault> {
    let fault = |code, phrase: &str, help: String| {
        Err(Fault::new(code, format!("{phrase}: {}", quote(text))).help(help))
    };
    let units = "a size is a whole number and one of the units `k`, `m`, `g`, such as \"32k\"";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return fault(Code::BadSize, "is not a size", units.to_owned());
    }
    let lower = unit.trim().to_ascii_lowercase();
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let meant = ["b", "ib"].iter().find_map(|end| lower.strip_suffix(end));
        let meant = meant.unwrap_or(&lower);
        let help = match UNITS.iter().find(|(name, _)| *name == meant) {
            Some((name, _)) => format!("write \"{number}{name}\""),
            None if lower.is_empty() => format!("write {number} without quotes for bytes"),
            None => units.to_owned(),
        };
        return fault(Code::BadSize, "is not a size", help);
    };
    match number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(*factor))
    {
        Some(bytes) => Ok(bytes),
        None => fault(Code::OutOfRange, "is out of range", units.to_owned()),
    }
}

/// As the file would say it, in the largest unit that leaves no rest.
fn show(bytes: u64) -> String {
    let unit = UNITS.iter().rev();
    unit.filter(|_| bytes > 0)
        .find(|(_, length)| bytes.is_multiple_of(*length))
        .map_or_else(
            || bytes.to_string(),
            |(unit, length)| format!("{}{unit}", bytes / length),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1k", 1024),
            ("32k", 32_768),
            ("10m", 10 << 20),
            ("1024g", 1 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for bytes in [1, 1023, 1024, 1025, 1 << 20, 3 << 30] {
            let text = show(bytes);
            assert!(text == bytes.to_string() || parse(&text) == Ok(bytes));
        }
        for text in ["", "k", "1", "1K", "1kb", "1 k", "1.5m", "-1k", "1t"] {
            assert_eq!(parse(text).expect_err(text).code, Code::BadSize, "{text}");
        }
        for text in ["99999999999999999999k", "18446744073709551615g"] {
            assert_eq!(parse(text).expect_err(text).code, Code::OutOfRange);
        }
    }
}
