//! TOML to a table with spans, going on after errors, and which later findings are only echoes of such errors.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use super::diagnostic::{Code, Finding, Reporter, Severity, quote};
use super::mask::is_secret;

/// What syntax errors have made unreadable.
#[derive(Default)]
pub(super) struct Damage {
    spans: Vec<Range<usize>>,
    /// Keys may have been lost, so that nothing can be said to be missing.
    lossy: bool,
}

impl Damage {
    /// Whether a finding may be there only because of a syntax error.
    pub fn explains(&self, finding: &Finding) -> bool {
        let absent = [
            Code::MissingKey,
            Code::NoService,
            Code::NeedsVersion3,
            Code::UnknownService,
            Code::TooFewServers,
        ];
        let absence =
            absent.contains(&finding.code) || finding.code.severity() == Severity::Warning;
        match finding.code {
            Code::Syntax | Code::DuplicateKey => false,
            _ if absence && self.lossy => true,
            _ => touching(&self.spans, &finding.span).is_some(),
        }
    }

    /// Sorts, and joins what overlaps.
    fn settle(&mut self) {
        self.spans.sort_by_key(|span| span.start);
        self.spans.dedup_by(|next, kept| {
            let overlap = next.start <= kept.end;
            if overlap {
                kept.end = kept.end.max(next.end);
            }
            overlap
        });
    }
}

/// The first of sorted spans that do not overlap which shares a byte or a border with `span`.
fn touching<'a>(sorted: &'a [Range<usize>], span: &Range<usize>) -> Option<&'a Range<usize>> {
    let index = sorted.partition_point(|candidate| candidate.end < span.start);
    sorted.get(index).filter(|found| found.start <= span.end)
}

/// Reads as much of the file as is TOML.
pub(super) fn read<'s>(source: &'s str, reporter: &mut Reporter<'s>) -> (DeTable<'s>, Damage) {
    let (table, errors) = DeTable::parse_recoverable(source);
    let table = table.into_inner();
    let mut damage = Damage::default();
    if errors.is_empty() {
        return (table, damage);
    }
    let seen = Seen::new(&table, source);
    let end = unclosed(source, &errors, &seen, &mut damage, reporter);
    let mut lines = BTreeSet::new();
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        if span.start >= end {
            continue;
        }
        if error.message() == "duplicate key" {
            reporter.push(duplicate(source, span, &seen));
            continue;
        }
        // The crate reports what follows from an error too; the first of a line is the cause.
        if !lines.insert(reporter.line_index(span.start)) {
            continue;
        }
        if let Some(scalar) = touching(&seen.scalars, &span) {
            damage.spans.push(scalar.clone());
            damage.lossy |= source[scalar.clone()].contains('\n');
            reporter.push(bad_value(source, scalar, error));
        } else {
            damage.spans.push(lost(source, &span, error, reporter));
            damage.lossy = true;
            reporter.push(Finding::new(Code::Syntax, span, plain(error)));
        }
    }
    damage.settle();
    (table, damage)
}

/// After a bracket that is never closed, the rest of the file is read as its inside: one error says it all.
/// Gives the place from which on nothing else is worth saying.
fn unclosed(
    source: &str,
    errors: &[Error],
    seen: &Seen<'_>,
    damage: &mut Damage,
    reporter: &mut Reporter<'_>,
) -> usize {
    let said = errors.iter().any(|e| e.message().starts_with("unclosed"));
    let first = seen.open.iter().min_by_key(|open| open.start);
    let Some(open) = first.filter(|_| said) else {
        return usize::MAX;
    };
    let bracket = &source[open.clone()];
    let message = format!("{} is not closed", quote(bracket));
    let closing = if bracket == "[" { "]" } else { "}" };
    let finding = Finding::new(Code::Syntax, open.clone(), message);
    reporter.push(finding.help(format!("close it with `{closing}`")));
    damage.spans.push(open.start..source.len());
    damage.lossy = true;
    open.start
}

/// The line of an error that is not inside a value; of a table's header that cannot be read, the whole table.
fn lost(source: &str, span: &Range<usize>, error: &Error, reporter: &Reporter<'_>) -> Range<usize> {
    let line = reporter.lines_of(span);
    let length = source[line.clone()].trim_end().len();
    if !error.message().starts_with("unclosed") {
        return line.start..line.start + length;
    }
    let next = source[line.end..]
        .split_inclusive('\n')
        .scan(line.end, |at, text| {
            let start = *at;
            *at += text.len();
            Some((start, text))
        });
    let header = next
        .into_iter()
        .find(|(_, text)| text.trim_start().starts_with('['));
    // Without the line feed, which touches the next table.
    let end = header.map_or(source.len(), |(start, _)| start.saturating_sub(1));
    line.start..end.max(line.start + length)
}

/// The crate's message without its empty list of expectations.
fn plain(error: &Error) -> String {
    error.message().replace(", expected nothing", "")
}

/// A value that is not one: most often it lacks quotes.
fn bad_value(source: &str, scalar: &Range<usize>, error: &Error) -> Finding {
    let raw = &source[scalar.clone()];
    let finding = |message: String| Finding::new(Code::Syntax, scalar.clone(), message);
    if raw.is_empty() {
        return finding("a value is missing".to_owned());
    }
    if error.message().starts_with("unexpected key or value") {
        return finding(plain(error)).help("a line holds one key and its value");
    }
    if is_secret(source, scalar.start) && !raw.starts_with(['"', '\'']) {
        return finding("a password is not in quotes".to_owned()).help("write quotes round it");
    }
    let triple = ["\"\"\"", "'''", "\"", "'"];
    if let Some(mark) = triple.iter().find(|mark| raw.starts_with(**mark)) {
        if error.span().is_some_and(|span| span.start >= scalar.end) {
            let first = raw.lines().next().map_or(0, str::len);
            let span = scalar.start..scalar.start + first;
            return Finding::new(Code::Syntax, span, "a string is not closed")
                .help(format!("end it with {mark}"));
        }
        return finding(plain(error));
    }
    if raw.len() > 1 && raw.starts_with('0') && raw.bytes().all(|b| b.is_ascii_digit()) {
        return finding(format!("a number has leading zeros: {}", quote(raw)));
    }
    if matches!(
        raw.to_ascii_lowercase().as_str(),
        "yes" | "no" | "on" | "off" | "true" | "false"
    ) {
        return finding(format!("{} is not a value", quote(raw))).help("write `true` or `false`");
    }
    let word = |b: u8| b.is_ascii_alphabetic() || b":/%*".contains(&b);
    if raw.bytes().any(word) || raw.matches('.').count() > 1 {
        let message = format!("a string is not in quotes: {}", quote(raw));
        return finding(message).help(format!("write \"{}\"", quote(raw).trim_matches('`')));
    }
    finding(plain(error))
}

fn duplicate(source: &str, span: Range<usize>, seen: &Seen<'_>) -> Finding {
    let line_start = source[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let line = source[line_start..].lines().next().unwrap_or_default();
    let (what, first) = match header(line) {
        Some(title) => (title, seen.headers.get(title)),
        None => {
            let name = &source[span.clone()];
            let before = seen.keys.get(name).map(|keys| {
                let earlier = keys.partition_point(|key| key.start < span.start);
                &keys[..earlier]
            });
            (name, before.and_then(<[_]>::last))
        }
    };
    let message = format!("{} is given twice", quote(what));
    let finding = Finding::new(Code::DuplicateKey, span.clone(), message);
    let finding = finding.help("keep one of the two");
    match first.filter(|first| first.start < line_start || !first.contains(&span.start)) {
        Some(first) => finding.related(first.clone(), "first given here"),
        None => finding,
    }
}

/// `[service.smtp]` out of a line that begins with it.
fn header(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let end = line.rfind(']').filter(|_| line.starts_with('['))?;
    Some(&line[..=end])
}

/// Where everything stands that was read.
#[derive(Default)]
struct Seen<'s> {
    /// By their text, in the order of the file.
    keys: BTreeMap<&'s str, Vec<Range<usize>>>,
    /// Headers of tables: the first of each.
    headers: BTreeMap<&'s str, Range<usize>>,
    /// Strings, numbers and the like, which have no inside; in the order of the file.
    scalars: Vec<Range<usize>>,
    /// Opening brackets of arrays and inline tables that do not end with the closing one.
    open: Vec<Range<usize>>,
}

impl<'s> Seen<'s> {
    fn new(table: &DeTable<'_>, source: &'s str) -> Self {
        let mut seen = Self::default();
        seen.table(table, source);
        for keys in seen.keys.values_mut() {
            keys.sort_by_key(|key| key.start);
        }
        seen.scalars.sort_by_key(|scalar| scalar.start);
        let mut start = 0;
        for line in source.split_inclusive('\n') {
            if let Some(title) = header(line) {
                let indent = line.len() - line.trim_start().len();
                let span = start + indent..start + indent + title.len();
                seen.headers.entry(title).or_insert(span);
            }
            start += line.len();
        }
        seen
    }

    fn table(&mut self, table: &DeTable<'_>, source: &'s str) {
        for (key, value) in table.iter() {
            let span = key.span();
            self.keys
                .entry(&source[span.clone()])
                .or_default()
                .push(span);
            self.value(value.get_ref(), value.span(), source);
        }
    }

    fn value(&mut self, value: &DeValue<'_>, span: Range<usize>, source: &'s str) {
        let text = &source[span.clone()];
        let unclosed = match value {
            DeValue::Array(array) => {
                for element in array.iter() {
                    self.value(element.get_ref(), element.span(), source);
                }
                text.starts_with('[') && (!text.ends_with(']') || text.len() == 1)
            }
            DeValue::Table(table) => {
                self.table(table, source);
                text.starts_with('{') && (!text.ends_with('}') || text.len() == 1)
            }
            // What could not be read at all has the span 0..0, which is nowhere.
            _ if span == (0..0) => false,
            _ => {
                self.scalars.push(span.clone());
                false
            }
        };
        if unclosed {
            self.open.push(span.start..span.start + 1);
        }
    }
}
