//! `targets`: where the files go.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::{SyncTarget, text};
use crate::config::diagnostic::{Code, Finding, Reporter, quote};
use crate::config::fields::{Field, Fields};
use crate::config::schema;
use crate::config::values::Fault;

/// More than any cluster has, and few enough for a screen.
const MOST: usize = 256;

const EXPECTED: &str = "a target such as \"192.168.1.102\" or { host = \"192.168.1.102\", path = \"/etc/mailborder\" }";

/// `path` is where files go that are not told otherwise; `needed`: without it, every target has to name one.
pub(super) fn targets(
    field: &Field<'_>,
    path: Option<&str>,
    needed: bool,
    reporter: &mut Reporter<'_>,
) -> Vec<SyncTarget> {
    let one = matches!(field.value, DeValue::Table(_));
    if one {
        let finding = field.wrong_type("a list of targets");
        reporter.push(finding.help("put it in brackets: targets = [{ host = \"192.168.1.102\" }]"));
        return Vec::new();
    }
    let expected = format!("{EXPECTED}, or a list of them");
    let elements = field.elements(&expected, "name a target, or remove the section", reporter);
    if let Some(first) = elements.get(MOST) {
        let message = format!(
            "{} targets in `{}`, the most is {MOST}",
            elements.len(),
            field.path
        );
        reporter.push(Finding::new(Code::TooMany, first.span.clone(), message));
    }
    let mut seen = BTreeMap::new();
    let mut targets = Vec::new();
    for element in elements {
        let Some(mut target) = target(&element, reporter) else {
            continue;
        };
        match path {
            _ if !target.path.is_empty() => {}
            Some(path) => {
                match text::path(path) {
                    Ok(path) => target.path = path,
                    Err(_) => {
                        let phrase = format!(
                            "has a target without a path, and the source's {} cannot be one",
                            quote(path)
                        );
                        let finding = element.finding(Code::BadPath, &phrase);
                        reporter.push(finding.help(
                            "give the target a `path` of letters, digits and _ . - + = @ , : /",
                        ));
                    }
                }
            }
            None if needed => {
                let phrase = format!(
                    "has a target without a path, and there is no `source` to take it from: {}",
                    quote(&target.host)
                );
                let finding = element.finding(Code::MissingKey, &phrase);
                reporter.push(
                    finding.help("write { host = \"192.168.1.102\", path = \"/etc/mailborder\" }"),
                );
            }
            None => {}
        }
        let place = (target.host.clone(), target.port, target.path.clone());
        if let Some(first) = seen.insert(place, element.span.clone()) {
            let phrase = format!("lists {} twice", quote(&target.host));
            let finding = element.finding(Code::DuplicateAddress, &phrase);
            reporter.push(finding.related(first, "first listed here"));
            continue;
        }
        targets.push(target);
    }
    targets
}

fn target(element: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<SyncTarget> {
    let DeValue::Table(table) = element.value else {
        return element.parsed(EXPECTED, short, reporter);
    };
    let fields = Fields::open(&schema::SYNC_TARGET, element.path.clone(), table, reporter);
    let host = match fields.get("host") {
        Some(field) => field.parsed("a host name or an address", text::host, reporter),
        None => {
            let phrase = "has a target without `host`";
            let finding = element.finding(Code::MissingKey, phrase);
            reporter.push(finding.help("add host = \"192.168.1.102\""));
            None
        }
    };
    let port = fields.get("port").map(|f| f.integer(1..=65535, reporter));
    let user = fields
        .get("user")
        .map(|f| f.parsed("the name of a user", text::user, reporter));
    let path = fields
        .get("path")
        .map(|f| f.parsed("the path of a directory", text::path, reporter));
    Some(SyncTarget {
        host: host?,
        port: port.unwrap_or(Some(22))?,
        user: user.unwrap_or_else(|| Some("root".to_owned()))?,
        path: path.unwrap_or_else(|| Some(String::new()))?,
    })
}

/// `[USER@]HOST[:PATH]`, as rsync and scp write it; an IPv6 address is in brackets where a path follows.
fn short(given: &str) -> Result<SyncTarget, Fault> {
    let (user, rest) = given.split_once('@').unwrap_or(("root", given));
    let bracketed = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, path) = match bracketed {
        Some((host, rest)) => (host, rest.strip_prefix(':').unwrap_or(rest)),
        // A bare IPv6 address has colons of its own.
        None if rest.parse::<std::net::Ipv6Addr>().is_ok() => (rest, ""),
        None => rest.split_once(':').unwrap_or((rest, "")),
    };
    Ok(SyncTarget {
        host: text::host(host)?,
        port: 22,
        user: text::user(user)?,
        path: match path {
            "" => String::new(),
            path => text::path(path).map_err(|fault| {
                match path.bytes().all(|b| b.is_ascii_digit()) {
                    true => fault.help(format!(
                        "a port has a key of its own: {{ host = \"{host}\", port = {path} }}"
                    )),
                    false => fault,
                }
            })?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        for (given, user, host, path) in [
            ("192.168.1.102", "root", "192.168.1.102", ""),
            ("sync@mb2.example.org", "sync", "mb2.example.org", ""),
            ("mb2:/etc/mailborder/", "root", "mb2", "/etc/mailborder"),
            ("fd77::102", "root", "fd77::102", ""),
            ("[fd77::102]", "root", "fd77::102", ""),
            ("u@[fd77::102]:/srv/x", "u", "fd77::102", "/srv/x"),
        ] {
            let target = short(given).expect(given);
            let found = (&*target.user, &*target.host, &*target.path, target.port);
            assert_eq!(found, (user, host, path, 22), "{given}");
        }
        for given in [
            "",
            "-oProxyCommand=x",
            "a b",
            "a;b",
            "mb2:etc",
            "mb2:22",
            "@mb2",
            "mb2:/",
        ] {
            short(given).expect_err(given);
        }
    }
}
