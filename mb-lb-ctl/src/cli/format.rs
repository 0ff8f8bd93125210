//! Numbers and times for people.

use std::time::Duration;

use crate::command::info::civil_date;

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As [`grouped`]; counts of the kernel are signed.
pub fn grouped_signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(number.unsigned_abs()))
}

/// The number and its noun: `1 flow`, `2 flows`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// Two units are enough: `12d 4h`, `4m 12s`, `9s`.
pub fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let Some(first) = units.iter().position(|(size, _)| seconds >= *size) else {
        return "0s".to_owned();
    };
    let (size, unit) = units[first];
    let rest = seconds % size;
    match units.get(first + 1) {
        Some((next, next_unit)) if rest / next > 0 => {
            format!("{}{unit} {}{next_unit}", seconds / size, rest / next)
        }
        _ => format!("{}{unit}", seconds / size),
    }
}

/// `2026-11-23 12:17:37Z`.
pub fn timestamp(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (year, month, day) = civil_date(seconds / 86_400);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `1.2 GB`; decimal units, as the field counts traffic.
pub fn bytes(number: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    // Tenths of the present unit, so that no floating point is needed.
    let mut tenths = u128::from(number) * 10;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < units.len() {
        tenths /= 1000;
        unit += 1;
    }
    if unit == 0 {
        format!("{number} B")
    } else {
        format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
    }
}

/// `500ms`, `30s`, `5m`, `1h`, `1d`: a whole number and its unit.
///
/// # Errors
/// What is wrong with the text, for people.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ if number.is_empty() => {
            return Err(
                "a time is a whole number and a unit, for example 30s, 5m or 1h".to_owned(),
            );
        }
        "" => return Err("a time needs a unit, for example 30s, 5m or 1h".to_owned()),
        _ => return Err("the unit is one of ms, s, m, h, d, for example 5m".to_owned()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(millis))
        .map(Duration::from_millis)
        .ok_or_else(|| "a time is a whole number and a unit, for example 5m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_034, "12,034"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(grouped_signed(-1234), "-1,234");
        assert_eq!(count(1, "flow"), "1 flow");
        assert_eq!(count(2000, "flow"), "2,000 flows");
    }

    #[test]
    fn times() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (252, "4m 12s"),
            (3600, "1h"),
            (3605, "1h"),
            (12 * 86_400 + 4 * 3600 + 59, "12d 4h"),
        ] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(timestamp(1_795_436_257_358), "2026-11-23 12:17:37Z");
    }

    #[test]
    fn sizes() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_250_000, "1.2 MB"),
            (999_999, "999.9 kB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn durations_carry_units() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("1d"), Ok(Duration::from_secs(86_400)));
        for bad in [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "1.5h",
            "5w",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }
}
