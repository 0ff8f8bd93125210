//! `follows = { SERVICE = ["MEMBER", ...] }` of a service or a proxy.

use std::ops::Range;

use super::diagnostic::{Code, Finding, Reporter, quote};
use super::fields::{Field, in_order};
use super::values::Fault;
use super::{Check, CheckKind, Follows, schema};

/// With the place of each.
pub(super) fn follows(
    field: &Field<'_>,
    reporter: &mut Reporter<'_>,
) -> (Vec<Follows>, Vec<Range<usize>>) {
    let expected = "a table such as { https_backend = [\"mb-filter\", \"mb-milter\"] }";
    let Some(table) = field.table(expected, reporter) else {
        return (Vec::new(), Vec::new());
    };
    if table.is_empty() {
        reporter.push(
            field
                .finding(Code::Empty, "is empty")
                .help("remove the key"),
        );
    }
    let mut all = Vec::new();
    for (service, entry) in in_order(&field.path, table) {
        let members = members(&entry, reporter);
        if !members.is_empty() {
            let service = service.to_owned();
            all.push((Follows { service, members }, entry.key_span));
        }
    }
    all.into_iter().unzip()
}

/// Names of members of a health page.
pub(super) fn members(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Vec<String> {
    let one = "the name of a member such as \"mb-milter\"";
    let expected = format!("{one}, or a list of them");
    let elements = field.elements(&expected, "name at least one", reporter);
    let parsed = elements.iter();
    parsed
        .filter_map(|element| element.parsed(one, member, reporter))
        .collect()
}

/// As health pages are read: what is longer is never seen.
fn member(text: &str) -> Result<String, Fault> {
    if text.is_empty() {
        return Err(Fault::new(Code::Empty, "has an empty name"));
    }
    let fits = text.len() <= 37 && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    match fits {
        true => Ok(text.to_owned()),
        false => {
            let phrase = format!("has no name of a member: {}", quote(text));
            Err(Fault::new(Code::BadText, phrase).help("names are 1 to 37 characters of ASCII"))
        }
    }
}

/// What follows, and what may be followed.
pub(super) struct Follower<'d> {
    pub what: &'static str,
    pub name: &'d str,
    pub follows: &'d [Follows],
    /// As many.
    pub spans: &'d [Range<usize>],
    pub check: Option<&'d Check>,
    pub servers: Vec<&'d str>,
    /// All servers could be read.
    pub complete: bool,
}

pub(super) fn together(all: &[Follower<'_>], reporter: &mut Reporter<'_>) {
    for follower in all {
        for (follows, span) in follower.follows.iter().zip(follower.spans) {
            let who = format!("`follows` of {} {}", follower.what, quote(follower.name));
            let named = quote(&follows.service);
            let mut refuse = |code, message: String, help: Option<String>| {
                let mut finding = Finding::new(code, span.clone(), message);
                finding.help = help;
                reporter.push(finding);
            };
            let Some(other) = all.iter().find(|other| other.name == follows.service) else {
                let near = schema::nearest(&follows.service, all.iter().map(|other| other.name));
                let help = near.map(|near| format!("did you mean {}?", quote(near)));
                let message = format!("{who} has {named}, which is no service and no proxy");
                refuse(Code::UnknownService, message, help);
                continue;
            };
            let asks = |check: &Check| matches!(check.kind, CheckKind::Http(_));
            if !other.check.is_some_and(asks) {
                let help = "give it check = { type = \"http\", path = \"/health\" }".to_owned();
                let message = format!("{who} has {named}, whose check reads no health page");
                refuse(Code::NoEffect, message, Some(help));
            } else if follower.complete
                && other.complete
                && !follower
                    .servers
                    .iter()
                    .any(|name| other.servers.contains(name))
            {
                let help = "servers belong together by their names".to_owned();
                let message = format!("{who} has {named}, which has no server of the same name");
                refuse(Code::NoEffect, message, Some(help));
            }
        }
    }
}
