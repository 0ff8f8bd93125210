//! `[config_sync.NAME]`. Its targets are in [`mod@targets`], the texts that end up on command lines in [`text`].

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::{Code, Finding, Reporter, quote};
use super::fields::{Field, Fields, Words, in_order, refuse_name};
use super::{ConfigSync, SyncMethod, SyncTarget, schema};

mod targets;
mod text;

const METHOD: Words<Method> = Words {
    known: &[("rsync", Method::Rsync), ("git", Method::Git)],
    later: &[],
    foreign: &[
        ("ssh", "rsync"),
        ("scp", "rsync"),
        ("pull", "git"),
        ("git-pull", "git"),
    ],
};

const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Rsync,
    Git,
}

/// All of them in the order of the file.
pub(super) fn config_syncs(
    section: Option<&Field<'_>>,
    reporter: &mut Reporter<'_>,
) -> Vec<ConfigSync> {
    let Some(section) = section else {
        return Vec::new();
    };
    let Some(table) = section.table("tables [config_sync.NAME]", reporter) else {
        return Vec::new();
    };
    let mut syncs = Vec::new();
    for (name, field) in in_order(&section.path, table) {
        let DeValue::Table(_) = field.value else {
            let finding = field.wrong_type("a table");
            reporter.push(finding.help("every config_sync has a name: [config_sync.NAME]"));
            continue;
        };
        refuse_name(name, &field, &section.path, reporter);
        syncs.extend(config_sync(name, &field, reporter));
    }
    syncs
}

fn config_sync(name: &str, field: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<ConfigSync> {
    let table = field.table("a table", reporter)?;
    let fields = Fields::open(&schema::CONFIG_SYNC, field.path.clone(), table, reporter);
    let missing = |key: &str, help: &str| {
        let message = format!("config_sync {} has no `{key}`", quote(name));
        Finding::new(Code::MissingKey, field.key_span.clone(), message).help(help)
    };

    // `None` where it was refused: nothing is concluded from the default then.
    let method = match fields.get("method") {
        Some(field) => field.word(&METHOD, reporter),
        None => Some(Method::Rsync),
    };
    let source_field = fields.get("source");
    let source: Option<PathBuf> = source_field
        .as_ref()
        .and_then(|field| field.parsed("the path of a directory", text::directory, reporter));
    if source_field.is_none() && method == Some(Method::Rsync) {
        let help = "add the directory to send, e.g. source = \"/etc/mailborder\"";
        reporter.push(missing("source", help));
    }
    let targets = match fields.get("targets") {
        Some(field) => {
            let path = source.as_deref().and_then(|path| path.to_str());
            // Where the source itself is what is missing or wrong, that is told already.
            let needed = source_field.is_none() && method == Some(Method::Git);
            targets::targets(&field, path, needed, reporter)
        }
        None => {
            let help = "add targets = [\"192.168.1.102\", \"192.168.1.103\"]";
            reporter.push(missing("targets", help));
            Vec::new()
        }
    };
    let of_the_other = |key: &'static str, method: &str, reporter: &mut Reporter<'_>| {
        if let Some(field) = fields.get(key) {
            let phrase = format!("has no effect with method = \"{method}\"");
            let mut finding = field.finding(Code::NoEffect, &phrase);
            finding.span = field.key_span;
            reporter.push(finding.help("remove one of the two"));
        }
    };
    match method {
        Some(Method::Rsync) => of_the_other("branch", "rsync", reporter),
        Some(Method::Git) => {
            of_the_other("exclude", "git", reporter);
            of_the_other("delete", "git", reporter);
        }
        None => {}
    }
    let exclude = fields
        .get("exclude")
        .map_or_else(Vec::new, |field| exclude(&field, reporter));
    let delete = fields.get("delete").and_then(|f| f.boolean(reporter));
    let branch = fields
        .get("branch")
        .and_then(|field| field.parsed("the name of a branch", text::branch, reporter));
    let on_change = fields.get("on_change").and_then(|field| {
        let on_change = field.boolean(reporter)?;
        if on_change && method == Some(Method::Git) && source_field.is_none() {
            let phrase = "has no effect without `source`: there is nothing to look at here";
            let mut finding = field.finding(Code::NoEffect, phrase);
            finding.span = field.key_span.clone();
            reporter.push(finding.help("remove one of the two, or name a repository as `source`"));
        }
        Some(on_change)
    });
    let mut span = |key, range| fields.get(key).and_then(|f| f.duration(range, reporter));
    let interval = span("interval", INTERVAL);
    let timeout = span("timeout", TIMEOUT);
    let reload = fields
        .get("reload")
        .and_then(|field| field.parsed("a command", text::line, reporter));
    let mut file = |key| {
        let field = fields.get(key)?;
        field.parsed("the path of a file", text::file, reporter)
    };
    let identity_file = file("identity_file");
    let known_hosts = file("known_hosts");

    let has_source = source.is_some();
    Some(ConfigSync {
        name: name.to_owned(),
        method: match method {
            Some(Method::Git) => SyncMethod::Git { source, branch },
            Some(Method::Rsync) | None => SyncMethod::Rsync {
                source: source.unwrap_or_default(),
                exclude,
                delete: delete.unwrap_or(false),
            },
        },
        targets,
        interval: interval.unwrap_or(Duration::from_secs(300)),
        on_change: on_change.unwrap_or(has_source),
        reload,
        identity_file,
        known_hosts,
        timeout: timeout.unwrap_or(Duration::from_secs(60)),
    })
}

fn exclude(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Vec<String> {
    let expected = "a pattern of rsync, or a list of them";
    field
        .elements(expected, "remove the key", reporter)
        .iter()
        .filter_map(|element| element.parsed(expected, text::line, reporter))
        .collect()
}
