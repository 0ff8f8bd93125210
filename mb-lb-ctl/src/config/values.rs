//! Values from text, one at a time: durations, names, words. What is wrong comes back as a phrase that follows
//! the name of the key.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::diagnostic::{Code, quote};

/// Why a value is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub code: Code,
    /// Follows the key: `is not a duration`.
    pub phrase: String,
    pub help: Option<String>,
}

impl Fault {
    pub fn new(code: Code, phrase: impl Into<String>) -> Self {
        Self {
            code,
            phrase: phrase.into(),
            help: None,
        }
    }
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Units with their length in milliseconds.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// `2s`, `500ms`, `15m`, `24h`: a whole number and its unit.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds = |(_, length): &(&str, u64)| number.parse::<u64>().ok()?.checked_mul(*length);
    if let Some(entry) = UNITS.iter().find(|(name, _)| *name == unit)
        && !number.is_empty()
    {
        let value = milliseconds(entry).ok_or_else(|| {
            Fault::new(
                Code::OutOfRange,
                format!("is out of range: {}", quote(text)),
            )
        })?;
        return Ok(Duration::from_millis(value));
    }
    let fault = |why: &str| {
        Fault::new(
            Code::BadDuration,
            format!("is not a duration: {} {why}", quote(text)),
        )
    };
    let units = "a duration is a whole number and one of the units `ms`, `s`, `m`, `h`";
    if number.is_empty() {
        return Err(fault("does not start with a number").help(format!("{units}, such as \"2s\"")));
    }
    if unit.is_empty() {
        return Err(fault("has no unit").help(format!("write \"{number}s\" for seconds")));
    }
    let plain = unit.trim().to_ascii_lowercase();
    if let Some((name, _)) = UNITS.iter().find(|(name, _)| *name == plain) {
        return Err(
            fault("has a unit in another spelling").help(format!("write \"{number}{name}\""))
        );
    }
    let (why, help) = match plain.as_str() {
        "us" | "µs" | "ns" => ("is finer than a millisecond", units.to_owned()),
        "d" | "day" | "days" => ("has an unknown unit", format!("{units}; a day is \"24h\"")),
        _ if unit.starts_with('.') => (
            "has a fraction",
            format!("{units}; one and a half seconds are \"1500ms\""),
        ),
        _ => ("has an unknown unit", units.to_owned()),
    };
    Err(fault(why).help(help))
}

/// A duration as the file would say it, in the largest unit that leaves no rest.
pub(super) fn show(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    UNITS
        .iter()
        .rev()
        .find(|(_, length)| milliseconds != 0 && milliseconds.is_multiple_of(u128::from(*length)))
        .map_or_else(
            || "0s".to_owned(),
            |(unit, length)| format!("{}{unit}", milliseconds / u128::from(*length)),
        )
}

/// Names of services, servers and the director: what is safe in a command, a metric label and a file name.
pub(super) fn name(text: &str) -> Result<(), Fault> {
    let help = "names are 1 to 64 characters out of A-Z, a-z, 0-9, `_`, `.` and `-`";
    let fault = |phrase: String| Err(Fault::new(Code::BadName, phrase).help(help));
    if text.is_empty() {
        return fault("is empty".to_owned());
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || "_.-".contains(*c);
    if let Some(c) = text.chars().find(|c| !allowed(c)) {
        return fault(format!(
            "has a character that names cannot have: {}",
            quote(&c.to_string())
        ));
    }
    if text.len() > 64 {
        return fault(format!("has {} characters", text.len()));
    }
    Ok(())
}

/// `"10%"`: a whole number, 0 to 100, and the sign.
pub(super) fn percent(text: &str) -> Result<u8, Fault> {
    let number = text.strip_suffix('%').map(str::trim_end);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match number.filter(|text| is_number(text)) {
        Some(number) => match number.parse::<u8>() {
            Ok(percent @ 0..=100) => Ok(percent),
            _ => Err(Fault::new(
                Code::OutOfRange,
                format!("is `{}`, allowed are 0% to 100%", number.to_owned() + "%"),
            )),
        },
        None => {
            let help = match is_number(text) {
                true => format!("write \"{text}%\""),
                false => "write a whole number and the sign, such as \"10%\"".to_owned(),
            };
            let phrase = format!("is not a share: {}", quote(text));
            Err(Fault::new(Code::BadSize, phrase).help(help))
        }
    }
}

/// What Linux takes as the name of an interface (`dev_valid_name`, and `IFNAMSIZ` of 16 with the final NUL).
pub(super) fn interface(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| {
        let phrase = format!("is not the name of an interface: {} {why}", quote(text));
        Err(Fault::new(Code::BadInterface, phrase)
            .help("`ip -brief link` lists the interfaces of this machine"))
    };
    if text.is_empty() {
        return fault("is empty");
    }
    if text.len() > 15 {
        return fault("is longer than 15 bytes");
    }
    if text == "." || text == ".." {
        return fault("is reserved");
    }
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.contains(bad) {
        return fault("has a slash, a colon, a space or a control character");
    }
    Ok(())
}

/// Argument of EHLO: a domain or an address literal (RFC 5321 section 4.1.1.1).
pub(super) fn helo(text: &str) -> Result<(), Fault> {
    let fault = |phrase: String| {
        Err(Fault::new(Code::BadText, phrase).help(
            "write a domain such as \"lb1.example.org\" or a literal such as \"[192.168.1.10]\"",
        ))
    };
    if text.is_empty() {
        return fault("is empty".to_owned());
    }
    if text.len() > 255 {
        return fault(format!("has {} bytes, more than 255", text.len()));
    }
    let literal = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let valid = match literal {
        Some(inside) => {
            let inside = inside.strip_prefix("IPv6:").map_or_else(
                || inside.parse::<Ipv4Addr>().is_ok(),
                |v6| v6.parse::<Ipv6Addr>().is_ok(),
            );
            return if inside {
                Ok(())
            } else {
                fault(format!("is not an address literal: {}", quote(text)))
            };
        }
        None => text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    if valid {
        Ok(())
    } else {
        fault(format!("is not a domain: {}", quote(text)))
    }
}

/// Absolute path of a file. `PATH_MAX` of Linux has 4,096 bytes, the last one for NUL.
pub(super) fn file(text: &str) -> Result<PathBuf, Fault> {
    let fault = |phrase: String| Err(Fault::new(Code::BadPath, phrase));
    if !text.starts_with('/') {
        return fault(format!("is not an absolute path: {}", quote(text)));
    }
    if text.ends_with('/') {
        return fault(format!("is a directory, not a file: {}", quote(text)));
    }
    if text.contains('\0') {
        return fault("has a NUL byte".to_owned());
    }
    if text.len() > 4095 {
        return fault(format!("has {} bytes, a path at most 4095", text.len()));
    }
    Ok(PathBuf::from(text))
}

/// File of a password: an absolute path, or a name in the credentials directory that systemd.exec(5) makes.
pub(super) fn secret_file(text: &str) -> Result<PathBuf, Fault> {
    if name(text).is_ok() && !text.starts_with('.') {
        return Ok(PathBuf::from(text));
    }
    file(text).map_err(|fault| {
        fault.help("write an absolute path, or the name of a file in $CREDENTIALS_DIRECTORY")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("500ms", 500),
            ("2s", 2000),
            ("15m", 900_000),
            ("24h", 86_400_000),
        ] {
            let value = duration(text).expect(text);
            assert_eq!(value, Duration::from_millis(milliseconds));
            assert_eq!(show(value), text);
        }
        for text in [
            "", "2", "s", "2d", "-1s", "1.5s", "2 s", "2S", "1m30s", "2sec", "٣s",
        ] {
            assert_eq!(
                duration(text).expect_err(text).code,
                Code::BadDuration,
                "{text}"
            );
        }
        for text in ["99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(
                duration(text).expect_err(text).code,
                Code::OutOfRange,
                "{text}"
            );
        }
    }

    #[test]
    fn shown_durations_are_read_back_the_same() {
        for milliseconds in (0..5000).chain([59_999, 60_000, 61_000, 3_599_000, 3_600_000]) {
            let value = Duration::from_millis(milliseconds);
            assert_eq!(duration(&show(value)), Ok(value));
        }
    }

    #[test]
    fn names() {
        for text in ["a", "smtp_backend", "mb-1.example", &"x".repeat(64)] {
            assert_eq!(name(text), Ok(()));
        }
        for text in ["", "a b", "a:b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert_eq!(name(text).expect_err(text).code, Code::BadName);
        }
    }

    #[test]
    fn interfaces() {
        for text in ["eth0", "enp0s31f6", "br-lan.100", "123456789012345"] {
            assert_eq!(interface(text), Ok(()));
        }
        for text in [
            "",
            ".",
            "..",
            "eth 0",
            "a/b",
            "eth0:1",
            "1234567890123456",
            "a\u{0}",
        ] {
            assert_eq!(interface(text).expect_err(text).code, Code::BadInterface);
        }
    }

    #[test]
    fn helo_arguments() {
        for text in [
            "lb1.example.org",
            "lb1",
            "[192.168.1.10]",
            "[IPv6:2001:db8::1]",
        ] {
            assert_eq!(helo(text), Ok(()));
        }
        for text in [
            "",
            "a b",
            "a\r\nQUIT",
            "[lb1]",
            "[2001:db8::1]",
            "ä",
            &"x".repeat(256),
        ] {
            assert_eq!(helo(text).expect_err(text).code, Code::BadText);
        }
    }

    #[test]
    fn files() {
        for text in ["/etc/mb-lb/notify.sh", "/x"] {
            assert_eq!(file(text), Ok(PathBuf::from(text)));
            assert_eq!(secret_file(text), Ok(PathBuf::from(text)));
        }
        assert_eq!(secret_file("vrrp.password"), Ok("vrrp.password".into()));
        let long = format!("/{}", "x".repeat(4095));
        for text in ["", "/", "/etc/", "./x", "a/b", "../x", "/a\0b", &long] {
            assert_eq!(file(text).expect_err(text).code, Code::BadPath);
            assert_eq!(secret_file(text).expect_err(text).code, Code::BadPath);
        }
        assert_eq!(file("vrrp.password").expect_err("x").code, Code::BadPath);
        assert_eq!(secret_file("..").expect_err("x").code, Code::BadPath);
    }
}
