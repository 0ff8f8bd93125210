//! What a check of type `http` asks, and what has to come back.

use std::net::IpAddr;

use regex::Regex;
use toml::de::DeValue;

use crate::config::diagnostic::{Code, Reporter, quote};
use crate::config::fields::{Field, Fields};
use crate::config::values::Fault;
use crate::config::{BodyMatch, HttpCheck, ServerTls, Verify, follows, tls};

/// Keys of a check that only this type has.
pub(super) const KEYS: &[&str] = &[
    "method",
    "path",
    "host",
    "expect",
    "body",
    "body_regex",
    "tls",
    "verify",
    "members",
];

const STATUS: &str = "a status such as 200, \"2xx\" or \"200-399\", or a list of them";

pub(super) fn http(fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> HttpCheck {
    let mut text = |key, expected, parse: fn(&str) -> Result<String, Fault>| {
        let field = fields.get(key)?;
        field.parsed(expected, parse, reporter)
    };
    let method = text("method", "a method such as \"GET\"", method);
    let path = text("path", "a path such as \"/health\"", path);
    let host = text("host", "a host name", host);
    let expect = match fields.get("expect") {
        Some(field) => expect(&field, reporter),
        None => vec![(200, 399)],
    };
    let body = body(fields, method.as_deref(), reporter);
    let members = fields.get("members");
    if let (Some(field), Some("HEAD")) = (&members, method.as_deref()) {
        let help = "an answer to HEAD has no body; write method = \"GET\"";
        field.no_effect("with method = \"HEAD\"", help, reporter);
    }
    HttpCheck {
        members: members.map_or_else(Vec::new, |field| follows::members(&field, reporter)),
        method: method.unwrap_or_else(|| "GET".to_owned()),
        path: path.unwrap_or_else(|| "/".to_owned()),
        host,
        expect,
        body,
        tls: tls(fields, reporter),
        min_certificate: None,
    }
}

/// A token (RFC 9110 section 9.1).
fn method(text: &str) -> Result<String, Fault> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || text.len() > 32 || !text.bytes().all(token) {
        let phrase = format!("is not a method: {}", quote(text));
        return Err(Fault::new(Code::BadText, phrase).help("write one such as \"GET\" or \"HEAD\""));
    }
    if text.eq_ignore_ascii_case("connect") {
        let phrase = "is `CONNECT`, which asks for a tunnel".to_owned();
        return Err(Fault::new(Code::BadText, phrase).help("write one such as \"GET\" or \"HEAD\""));
    }
    let upper = text.to_ascii_uppercase();
    if upper != text && ["GET", "HEAD", "OPTIONS", "POST"].contains(&upper.as_str()) {
        let phrase = format!("is {}: methods are in capitals", quote(text));
        return Err(Fault::new(Code::BadText, phrase).help(format!("write \"{upper}\"")));
    }
    Ok(text.to_owned())
}

/// Path and query, as they go into the line of a request.
fn path(text: &str) -> Result<String, Fault> {
    let fault = |phrase: String| Fault::new(Code::BadPath, phrase);
    if !text.starts_with('/') {
        let help = match text.split_once("://") {
            Some((_, rest)) => match rest.find('/') {
                Some(at) => format!("write \"{}\"; `host` is the name", &rest[at..]),
                None => "write \"/\"; `host` is the name".to_owned(),
            },
            None => format!("write \"/{}\"", quote(text).trim_matches('`')),
        };
        return Err(fault(format!("does not begin with a slash: {}", quote(text))).help(help));
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        let phrase = format!(
            "has a character that a request cannot have: {}",
            quote(&c.to_string())
        );
        return Err(fault(phrase).help("write it as a browser sends it: a space is %20"));
    }
    if text.len() > 1024 {
        return Err(fault(format!("has {} bytes, the most is 1024", text.len())));
    }
    Ok(text.to_owned())
}

/// A name or an address, with a port or without.
fn host(text: &str) -> Result<String, Fault> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let bracketed = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let known = match bracketed {
        Some(inside) => matches!(inside.parse(), Ok(IpAddr::V6(_))),
        None => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            (1..=253).contains(&name.len()) && name.bytes().all(plain)
        }
    };
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let numbered = port.is_none_or(|port| digits(port) && port.parse::<u16>().is_ok_and(|p| p > 0));
    if known && numbered {
        return Ok(text.to_owned());
    }
    let phrase = format!("is not a host name: {}", quote(text));
    Err(Fault::new(Code::BadText, phrase)
        .help("write a name such as \"mail.example.org\", as it stands in the field Host"))
}

/// Ranges in order, with none that touch another.
fn expect(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Vec<(u16, u16)> {
    let elements = match field.value {
        DeValue::Integer(_) => vec![field.alone()],
        _ => field.elements(STATUS, "write 200", reporter),
    };
    let mut ranges: Vec<_> = elements
        .iter()
        .filter_map(|element| status(element, reporter))
        .collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let touch = next.0 <= kept.1 + 1;
        if touch {
            kept.1 = kept.1.max(next.1);
        }
        touch
    });
    ranges
}

fn status(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<(u16, u16)> {
    if let DeValue::Integer(_) = field.value {
        let status = field.integer(100..=599, reporter)?;
        return Some((status, status));
    }
    field.parsed(STATUS, range, reporter)
}

fn range(text: &str) -> Result<(u16, u16), Fault> {
    let fault = || {
        let phrase = format!("is {}, expected {STATUS}", quote(text));
        Fault::new(Code::UnknownValue, phrase).help("statuses are 100 to 599")
    };
    let number = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.filter(|number| (100..600).contains(number))
    };
    if let [class @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] = text.as_bytes() {
        let first = u16::from(class - b'0') * 100;
        return Ok((first, first + 99));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(fault()),
    }
}

fn body(
    fields: &Fields<'_>,
    method: Option<&str>,
    reporter: &mut Reporter<'_>,
) -> Option<BodyMatch> {
    let text = fields.get("body");
    let regex = fields.get("body_regex");
    if let (Some(text), Some(regex)) = (&text, &regex) {
        let mut finding = regex.finding(Code::Exclusive, "stands beside `body`");
        finding.span = regex.key_span.clone();
        let finding = finding.related(text.key_span.clone(), "the other one");
        reporter.push(finding.help("keep one of the two"));
    }
    if method == Some("HEAD") {
        for field in text.iter().chain(&regex) {
            let phrase = "has no effect with method = \"HEAD\"";
            let mut finding = field.finding(Code::NoEffect, phrase);
            finding.span = field.key_span.clone();
            reporter.push(finding.help("an answer to HEAD has no body; write method = \"GET\""));
        }
    }
    let text = text.and_then(|field| field.parsed("text", something, reporter));
    let regex = regex.and_then(|field| field.parsed("a regular expression", expression, reporter));
    text.map(BodyMatch::Text).or(regex.map(BodyMatch::Regex))
}

fn something(text: &str) -> Result<String, Fault> {
    match text {
        "" => Err(Fault::new(Code::Empty, "is empty").help("remove the key")),
        _ if text.len() > 1024 => {
            let phrase = format!("has {} bytes, the most is 1024", text.len());
            Err(Fault::new(Code::BadText, phrase))
        }
        _ => Ok(text.to_owned()),
    }
}

fn expression(text: &str) -> Result<String, Fault> {
    let text = something(text)?;
    let Err(error) = Regex::new(&text) else {
        return Ok(text);
    };
    let said = error.to_string();
    // The crate draws the place on lines of its own; the reason is the last one.
    let why = said.lines().last().unwrap_or_default().trim();
    let why = why.strip_prefix("error: ").unwrap_or(why);
    let phrase = format!("is not a regular expression: {why}");
    Err(Fault::new(Code::BadRegex, phrase)
        .help("the syntax is that of https://docs.rs/regex; `body` looks for plain text"))
}

/// `tls`, with `verify` beside it for short.
fn tls(fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> Option<ServerTls> {
    let field = fields.get("tls");
    let tls = field
        .as_ref()
        .and_then(|field| tls::server_tls(field, Verify::System, reporter));
    let Some(short) = fields.get("verify") else {
        return tls.flatten();
    };
    let mut refuse = |code, phrase, help: &str| {
        let mut finding = short.finding(code, phrase);
        finding.span = short.key_span.clone();
        reporter.push(finding.help(help));
    };
    match field.map(|field| matches!(field.value, DeValue::Table(_))) {
        Some(true) => {
            let phrase = "stands beside a table `tls`";
            refuse(Code::Exclusive, phrase, "write it into the table");
        }
        Some(false) if tls == Some(None) => {
            let help = "write tls = true, or remove one of the two";
            refuse(Code::NoEffect, "has no effect with tls = false", help);
        }
        Some(false) => {}
        None => refuse(
            Code::NoEffect,
            "has no effect without `tls`",
            "add tls = true",
        ),
    }
    let verify = tls::verify(&short, reporter)?;
    tls.flatten().map(|tls| ServerTls { verify, ..tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        for (text, expected) in [
            ("200", (200, 200)),
            ("2xx", (200, 299)),
            ("5XX", (500, 599)),
            ("200-399", (200, 399)),
            ("204-204", (204, 204)),
        ] {
            assert_eq!(range(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "20",
            "99",
            "600",
            "6xx",
            "xxx",
            "2x",
            "399-200",
            "200-",
            "-200",
            "+20",
            "200,204",
            "200 - 299",
        ] {
            assert_eq!(range(text).expect_err(text).code, Code::UnknownValue);
        }
    }

    #[test]
    fn hosts() {
        for text in [
            "mail.example.org",
            "mail:8443",
            "192.0.2.1",
            "192.0.2.1:80",
            "[2001:db8::1]",
            "[::1]:443",
        ] {
            assert_eq!(host(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "a b",
            "a\r\nX: y",
            "a:0",
            "a:x",
            "a:",
            "::1",
            "[::1",
            "[a]",
            "a/b",
            "ä",
        ] {
            host(text).expect_err(text);
        }
    }

    #[test]
    fn paths() {
        for text in ["/", "/health?full=1", "/a%20b"] {
            assert_eq!(path(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "health",
            "/a b",
            "/a\r\nX: y",
            "/ä",
            "/a#b",
            "http://mb1/health",
        ] {
            assert_eq!(path(text).expect_err(text).code, Code::BadPath);
        }
    }
}
