//! `check = { ... }` of a service or a proxy.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::diagnostic::{Code, Reporter};
use super::fields::{Field, Fields, Words};
use super::{Check, CheckKind, schema, values};

mod agent;
mod exec;
mod http;
mod smtp;

pub(super) use agent::agent;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Tcp,
    Smtp,
    Http,
    Agent,
    Exec,
    None,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Smtp => "smtp",
            Self::Http => "http",
            Self::Agent => "agent",
            Self::Exec => "exec",
            Self::None => "none",
        }
    }
}

const TYPES: Words<Type> = Words {
    known: &[
        ("tcp", Type::Tcp),
        ("smtp", Type::Smtp),
        ("http", Type::Http),
        ("agent", Type::Agent),
        ("exec", Type::Exec),
        ("none", Type::None),
    ],
    later: &["mysql", "redis", "nfs", "gluster", "mount"],
    foreign: &[
        ("tcp_check", "tcp"),
        ("tcp-check", "tcp"),
        ("smtpchk", "smtp"),
        ("smtp_check", "smtp"),
        ("https", "http"),
        ("httpchk", "http"),
        ("http-check", "http"),
        ("http_get", "http"),
        ("ssl_get", "http"),
        ("agent-check", "agent"),
        ("agent_check", "agent"),
        ("external-check", "exec"),
        ("external", "exec"),
        ("misc_check", "exec"),
        ("script", "exec"),
        ("off", "none"),
    ],
};

/// Checks that come faster than this measure the director rather than the server.
pub(super) const INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(3600);
pub(super) const TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(60);
/// A failed server that takes clients for longer than this deserves a word.
const SLOW: Duration = Duration::from_secs(30);

/// What is checked where the file says nothing.
pub(super) fn default_check(port: Option<u16>) -> Check {
    let interval = Duration::from_secs(2);
    Check {
        kind: CheckKind::Tcp,
        port,
        interval,
        fast_interval: interval,
        down_interval: interval,
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
    }
}

/// `port` is the default, `helo` the director's name.
pub(super) fn check(
    field: &Field<'_>,
    port: Option<u16>,
    helo: &str,
    reporter: &mut Reporter<'_>,
) -> Option<Check> {
    let mut check = default_check(port);
    let table = field.table("a table such as { type = \"tcp\" }", reporter)?;
    let fields = Fields::open(&schema::CHECK, field.path.clone(), table, reporter);
    let kind = match &fields.get("type") {
        Some(field) => field.word(&TYPES, reporter),
        None => Some(Type::Tcp),
    };
    if kind == Some(Type::None) {
        for field in schema::CHECK.keys.iter().filter_map(|key| fields.get(key)) {
            if !field.path.ends_with(".type") {
                let help = "remove it, or choose another type";
                field.no_effect("with type = \"none\"", help, reporter);
            }
        }
        return None;
    }
    let says = "only a check of type = \"smtp\" says EHLO and STARTTLS";
    let asks = "only a check of type = \"http\" makes a request";
    let tells =
        "only an agent is told something: a check of type = \"agent\", or `agent` beside `check`";
    let runs = "only a check of type = \"exec\" runs a program";
    for (owner, keys, help) in [
        (Type::Smtp, smtp::KEYS, says),
        (Type::Http, http::KEYS, asks),
        (Type::Agent, &["send"], tells),
        (Type::Exec, &["command"], runs),
    ] {
        let Some(other) = kind.filter(|kind| *kind != owner) else {
            continue;
        };
        for field in keys.iter().filter_map(|key| fields.get(key)) {
            let beside = format!("with type = \"{}\"", other.name());
            field.no_effect(&beside, help, reporter);
        }
    }
    check.kind = match kind {
        Some(Type::Smtp) => CheckKind::Smtp(smtp::smtp(&fields, helo, reporter)),
        Some(Type::Http) => CheckKind::Http(http::http(&fields, reporter)),
        Some(Type::Agent) => {
            agent::require_port(field, &fields, reporter);
            CheckKind::Agent {
                send: agent::send(&fields, reporter),
            }
        }
        Some(Type::Exec) => CheckKind::Exec {
            command: exec::command(field, &fields, reporter),
        },
        Some(Type::Tcp | Type::None) | None => CheckKind::Tcp,
    };
    let has_tls = match &check.kind {
        CheckKind::Smtp(smtp) => smtp.starttls.is_some(),
        CheckKind::Http(http) => http.tls.is_some(),
        _ => false,
    };
    let min_certificate = smtp::min_certificate(&fields, has_tls, reporter);
    match &mut check.kind {
        CheckKind::Smtp(smtp) => smtp.min_certificate = min_certificate,
        CheckKind::Http(http) => http.min_certificate = min_certificate,
        _ => {}
    }
    if let Some(port) = fields
        .get("port")
        .and_then(|f| f.integer(1..=65535, reporter))
    {
        check.port = Some(port);
    }
    let interval = fields.get("interval");
    if let Some(value) = interval
        .as_ref()
        .and_then(|f| f.duration(INTERVAL, reporter))
    {
        check.interval = value;
    }
    check.fast_interval = check.interval;
    check.down_interval = check.interval;
    for (key, distance) in [
        ("fast_interval", &mut check.fast_interval),
        ("down_interval", &mut check.down_interval),
    ] {
        let value = fields.get(key).and_then(|f| f.duration(INTERVAL, reporter));
        *distance = value.unwrap_or(*distance);
    }
    let timeout = fields.get("timeout");
    if let Some(value) = timeout.as_ref().and_then(|f| f.duration(TIMEOUT, reporter)) {
        check.timeout = value;
    }
    for (key, count) in [("rise", &mut check.rise), ("fall", &mut check.fall)] {
        let value = fields.get(key).and_then(|f| f.integer(1..=255, reporter));
        *count = value.unwrap_or(*count);
    }

    // The first failure comes up to `interval` after the fault; the others follow at `fast_interval`. No check starts
    // before the one before it has ended.
    let late = check.interval.max(check.timeout)
        + check.fast_interval.max(check.timeout) * u32::from(check.fall - 1);
    if check.timeout > check.interval
        && let Some(culprit) = timeout.or(interval)
    {
        let message = format!(
            "is {}, less than the timeout of {}: checks of a server that does not answer follow each other every {}, \
             and it is down only after about {}",
            values::show(check.interval),
            values::show(check.timeout),
            values::show(check.timeout),
            values::show(late)
        );
        let mut finding = field.finding(Code::TimeoutOverInterval, &message);
        finding.message = format!("`{}.interval` {message}", field.path);
        finding.span = culprit.span;
        reporter.push(finding.help("raise `interval` to the timeout, or lower `timeout`"));
    }
    if late > SLOW {
        let phrase = format!(
            "finds a failed server down only after up to {}",
            values::show(late)
        );
        reporter.push(
            field
                .finding(Code::SlowToNotice, &phrase)
                .help("lower `interval`, `timeout` or `fall`, or give a short `fast_interval`"),
        );
    }
    Some(check)
}
