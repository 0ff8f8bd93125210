//! `cookie` of a proxy.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use crate::config::diagnostic::{Code, Finding, Reporter, quote};
use crate::config::fields::{Field, Fields, Words};
use crate::config::values::Fault;
use crate::config::{Cookie, DynamicKey, SameSite, schema};

const MODE: Words<()> = Words {
    known: &[("insert", ())],
    later: &[],
    foreign: &[],
};

const SAME_SITE: Words<SameSite> = Words {
    known: &[
        ("strict", SameSite::Strict),
        ("lax", SameSite::Lax),
        ("none", SameSite::None),
    ],
    later: &[],
    foreign: &[],
};

/// The dates in a cookie are of seconds. A year of 366 days.
const IDLE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(366 * 86_400);

pub(super) fn cookie(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<Cookie> {
    let expected = "a name, or a table such as { name = \"SERVERID\" }";
    if let DeValue::String(_) = field.value {
        let cookie = new(field.parsed(expected, name, reporter)?);
        refused_by_browsers(&cookie, field, reporter);
        return Some(cookie);
    }
    let table = field.table(expected, reporter)?;
    let fields = Fields::open(&schema::COOKIE, field.path.clone(), table, reporter);
    let name = match fields.get("name") {
        Some(field) => field.parsed("the name of a cookie", name, reporter),
        None => {
            let message = format!("`{}` has no `name`", field.path);
            let finding = Finding::new(Code::MissingKey, field.key_span.clone(), message);
            reporter.push(finding.help("add name = \"SERVERID\""));
            None
        }
    };
    if let Some(field) = fields.get("mode") {
        field.word(&MODE, reporter);
    }
    let mut cookie = new(name.unwrap_or_default());
    for (key, flag) in [
        ("indirect", &mut cookie.indirect),
        ("nocache", &mut cookie.nocache),
        ("preserve", &mut cookie.preserve),
        ("http_only", &mut cookie.http_only),
        ("secure", &mut cookie.secure),
    ] {
        let given = fields.get(key).and_then(|field| field.boolean(reporter));
        *flag = given.unwrap_or(*flag);
    }
    cookie.same_site = fields.get("same_site").and_then(|field| {
        // As browsers and HAProxy's `attr` write it.
        match field.value {
            DeValue::String(text) => match text.as_ref() {
                "Strict" => Some(SameSite::Strict),
                "Lax" => Some(SameSite::Lax),
                "None" => Some(SameSite::None),
                _ => field.word(&SAME_SITE, reporter),
            },
            _ => field.word(&SAME_SITE, reporter),
        }
    });
    cookie.domain = fields
        .get("domain")
        .and_then(|field| field.parsed("a domain", domain, reporter));
    for (key, time) in [
        ("max_idle", &mut cookie.max_idle),
        ("max_life", &mut cookie.max_life),
    ] {
        *time = fields
            .get(key)
            .and_then(|field| field.duration(IDLE, reporter));
    }
    cookie.dynamic_key = fields
        .get("dynamic_key")
        .and_then(|field| field.parsed("text in quotes", key, reporter));
    refused_by_browsers(&cookie, field, reporter);
    Some(cookie)
}

fn new(name: String) -> Cookie {
    Cookie {
        name,
        indirect: true,
        nocache: true,
        preserve: false,
        http_only: false,
        secure: false,
        same_site: None,
        domain: None,
        max_idle: None,
        max_life: None,
        dynamic_key: None,
    }
}

/// What draft-ietf-httpbis-rfc6265bis sections 4.1.3 and 5.7 have browsers throw away.
fn refused_by_browsers(cookie: &Cookie, field: &Field<'_>, reporter: &mut Reporter<'_>) {
    let starts = |prefix: &str| {
        let start = cookie.name.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let (phrase, help) = if cookie.same_site == Some(SameSite::None) && !cookie.secure {
        (
            "has same_site = \"none\" and is not `secure`",
            "add secure = true",
        )
    } else if (starts("__Secure-") || starts("__Host-")) && !cookie.secure {
        (
            "has a name for a secure cookie and is not `secure`",
            "add secure = true",
        )
    } else if starts("__Host-") && cookie.domain.is_some() {
        (
            "has a name for a cookie of one host, and a `domain`",
            "remove `domain`",
        )
    } else {
        return;
    };
    let phrase = format!("{phrase}: browsers do not take it");
    let mut finding = field.finding(Code::RefusedCookie, &phrase);
    finding.span = field.key_span.clone();
    reporter.push(finding.help(help));
}

/// A token (RFC 6265 section 4.1.1, RFC 9110 section 5.6.2).
fn name(text: &str) -> Result<String, Fault> {
    let fault = |phrase: String| Fault::new(Code::BadName, phrase);
    let token = |c: &char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(*c);
    if text.is_empty() {
        return Err(fault("is empty".to_owned()).help("write a name such as \"SERVERID\""));
    }
    if let Some(c) = text.chars().find(|c| !token(c)) {
        return Err(fault(format!(
            "has a character that the name of a cookie cannot have: {}",
            quote(&c.to_string())
        )));
    }
    if text.len() > 64 {
        return Err(fault(format!(
            "has {} characters, the most is 64",
            text.len()
        )));
    }
    Ok(text.to_owned())
}

/// Value of a cookie (RFC 6265 section 4.1.1), but for the bar, which is before the dates of `max_idle`.
pub(super) fn value(text: &str) -> Result<String, Fault> {
    let fault = |phrase: String| Fault::new(Code::BadText, phrase);
    let octet = |c: &char| c.is_ascii_graphic() && !"\",;\\|".contains(*c);
    if text.is_empty() {
        let help = "remove the key: the server's name is the default";
        return Err(Fault::new(Code::Empty, "is empty").help(help));
    }
    if let Some(c) = text.chars().find(|c| !octet(c)) {
        return Err(fault(format!(
            "has a character that a cookie cannot have: {}",
            quote(&c.to_string())
        )));
    }
    if text.len() > 64 {
        return Err(fault(format!(
            "has {} characters, the most is 64",
            text.len()
        )));
    }
    Ok(text.to_owned())
}

fn domain(text: &str) -> Result<String, Fault> {
    let plain = text.strip_prefix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let address = plain.parse::<std::net::IpAddr>().is_ok();
    match !address && plain.len() <= 253 && plain.split('.').all(label) {
        true => Ok(plain.to_ascii_lowercase()),
        false => {
            let phrase = format!("is not a domain: {}", quote(text));
            Err(Fault::new(Code::BadText, phrase)
                .help("write one such as \"example.org\"; without it the cookie is for one host"))
        }
    }
}

/// The value never gets into a message.
fn key(text: &str) -> Result<DynamicKey, Fault> {
    if text.is_empty() {
        return Err(Fault::new(Code::Empty, "is empty").help("remove the key"));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::new(Code::BadText, "has a control character"));
    }
    if text.len() > 1024 {
        let phrase = format!("has {} bytes, the most is 1024", text.len());
        return Err(Fault::new(Code::BadText, phrase));
    }
    Ok(DynamicKey(text.to_owned()))
}
