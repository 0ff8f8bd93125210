//! What a check of type `smtp` says, and what the server has to offer.

use std::time::Duration;

use crate::config::diagnostic::{Code, Reporter, quote};
use crate::config::fields::{Field, Fields};
use crate::config::values::{self, Fault};
use crate::config::{Capability, SmtpCheck, Verify, tls};

/// Keys of a check that only this type has.
pub(super) const KEYS: &[&str] = &["helo", "capabilities", "starttls"];

const CAPABILITY: &str = "an EHLO keyword such as \"8BITMIME\", or a list of them";

const LEAST: Duration = Duration::from_secs(3600);
const MOST: Duration = Duration::from_secs(3650 * DAY);
const DAY: u64 = 86_400;

/// `director` is the default of `helo`.
pub(super) fn smtp(fields: &Fields<'_>, director: &str, reporter: &mut Reporter<'_>) -> SmtpCheck {
    let helo = match fields.get("helo") {
        Some(field) => {
            let parse = |text: &str| values::helo(text).map(|()| text.to_owned());
            let helo = field.parsed("a domain", parse, reporter);
            helo.unwrap_or_default()
        }
        None => director.to_owned(),
    };
    let starttls = fields.get("starttls");
    // Between mail servers hardly a certificate stands up to more (RFC 7435).
    let starttls = starttls.and_then(|field| tls::server_tls(&field, Verify::None, reporter));
    SmtpCheck {
        helo,
        capabilities: capabilities(fields, reporter),
        starttls: starttls.flatten(),
        min_certificate: None,
    }
}

fn capabilities(fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> Vec<Capability> {
    let Some(field) = fields.get("capabilities") else {
        return Vec::new();
    };
    let elements = field.elements(CAPABILITY, "remove the key", reporter);
    let elements = elements.iter();
    elements
        .filter_map(|element| element.parsed("an EHLO keyword", capability, reporter))
        .collect()
}

/// `ehlo-line` of RFC 5321 section 4.1.1.1.
fn capability(text: &str) -> Result<Capability, Fault> {
    let fault = |phrase: String| {
        let help = "write it as servers list it, such as \"8BITMIME\" or \"AUTH PLAIN\"";
        Err(Fault::new(Code::BadText, phrase).help(help))
    };
    if text.len() > 512 {
        return fault(format!("has {} bytes, the most is 512", text.len()));
    }
    let mut words = text.split_ascii_whitespace().map(str::to_ascii_uppercase);
    let Some(keyword) = words.next() else {
        return fault("is empty".to_owned());
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if !keyword.bytes().all(plain) || keyword.starts_with('-') {
        return fault(format!("is not an EHLO keyword: {}", quote(text)));
    }
    let parameters: Vec<_> = words.collect();
    if !parameters
        .iter()
        .all(|word| word.bytes().all(|b| b.is_ascii_graphic()))
    {
        return fault(format!(
            "has a parameter that EHLO cannot have: {}",
            quote(text)
        ));
    }
    Ok(Capability {
        keyword,
        parameters,
    })
}

/// `min_certificate`. `has_tls`: the check sees a certificate.
pub(super) fn min_certificate(
    fields: &Fields<'_>,
    has_tls: bool,
    reporter: &mut Reporter<'_>,
) -> Option<Duration> {
    let field = fields.get("min_certificate")?;
    if !has_tls {
        let help = "add starttls = true to a check of type = \"smtp\", or tls = true to one of type = \"http\"";
        field.no_effect("without TLS", help, reporter);
    }
    duration(&field, reporter)
}

/// Certificates live for days, which no other duration of the file is long enough for.
fn duration(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<Duration> {
    let parse = |text: &str| {
        let days = text
            .strip_suffix('d')
            .filter(|days| !days.is_empty() && days.bytes().all(|b| b.is_ascii_digit()));
        let value = match days {
            Some(days) => {
                let days: u64 = days.parse().unwrap_or(u64::MAX);
                Duration::from_secs(days.saturating_mul(DAY))
            }
            None => values::duration(text).map_err(|fault| match fault.code {
                Code::BadDuration => {
                    fault.help("write days, such as \"7d\", or hours, such as \"36h\"")
                }
                _ => fault,
            })?,
        };
        match (LEAST..=MOST).contains(&value) {
            true => Ok(value),
            false => {
                let phrase = format!("is {}, allowed are 1h to 3650d", quote(text));
                Err(Fault::new(Code::OutOfRange, phrase))
            }
        }
    };
    field.parsed("a duration such as \"7d\"", parse, reporter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_known_in_any_spelling() {
        for (text, keyword, parameters) in [
            ("STARTTLS", "STARTTLS", &[][..]),
            ("8bitmime", "8BITMIME", &[]),
            ("Size 10240000", "SIZE", &["10240000"]),
            (" auth  plain\tlogin ", "AUTH", &["PLAIN", "LOGIN"]),
            ("X-ANONYMOUSTLS", "X-ANONYMOUSTLS", &[]),
        ] {
            let expected = Capability {
                keyword: keyword.to_owned(),
                parameters: parameters.iter().map(|word| (*word).to_owned()).collect(),
            };
            assert_eq!(capability(text), Ok(expected), "{text:?}");
        }
        for text in [
            "",
            " ",
            "-X",
            "AUTH=PLAIN",
            "SIZE ä",
            "A\u{7f}",
            &"X".repeat(513),
        ] {
            capability(text).expect_err(text);
        }
    }
}
