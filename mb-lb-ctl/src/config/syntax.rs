//! TOML to a table with spans, going on after errors, and which later findings are only echoes of such errors.

use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use super::diagnostic::{Code, Finding, Reporter, Severity, quote};

/// What syntax errors have made unreadable.
pub(super) struct Damage {
    spans: Vec<Range<usize>>,
    /// Keys may have been lost, so that nothing can be said to be missing.
    lossy: bool,
}

impl Damage {
    /// Whether a finding may be there only because of a syntax error.
    pub fn explains(&self, finding: &Finding) -> bool {
        let absence = matches!(finding.code, Code::MissingKey | Code::NoService)
            || finding.code.severity() == Severity::Warning;
        match finding.code {
            Code::Syntax | Code::DuplicateKey => false,
            _ if absence && self.lossy => true,
            _ => self.spans.iter().any(|span| touches(span, &finding.span)),
        }
    }
}

fn touches(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start <= b.end && b.start <= a.end
}

/// Reads as much of the file as is TOML.
pub(super) fn read<'s>(source: &'s str, reporter: &mut Reporter<'s>) -> (DeTable<'s>, Damage) {
    let (table, errors) = DeTable::parse_recoverable(source);
    let table = table.into_inner();
    let mut damage = Damage {
        spans: Vec::new(),
        lossy: false,
    };
    if errors.is_empty() {
        return (table, damage);
    }
    let mut seen = Seen::default();
    seen.table(&table, source);

    // After a bracket that is never closed, the rest of the file is read as its inside: one error says it all.
    let unclosed = errors.iter().any(|e| e.message().starts_with("unclosed"));
    let open = seen.open.iter().min_by_key(|open| open.start);
    let end = match open.filter(|_| unclosed) {
        Some(open) => {
            let message = format!("{} is not closed", quote(&source[open.clone()]));
            reporter.push(Finding::new(Code::Syntax, open.clone(), message));
            damage.spans.push(open.start..source.len());
            damage.lossy = true;
            open.start
        }
        None => source.len() + 1,
    };

    let mut lines = Vec::new();
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        if span.start >= end {
            continue;
        }
        if error.message() == "duplicate key" {
            reporter.push(duplicate(source, span, &seen));
            continue;
        }
        let line = reporter.line_index(span.start);
        if lines.contains(&line) {
            continue;
        }
        lines.push(line);
        let covering = seen.scalars.iter().find(|scalar| touches(scalar, &span));
        if let Some(scalar) = covering {
            damage.spans.push(scalar.clone());
            damage.lossy |= source[scalar.clone()].contains('\n');
            reporter.push(bad_value(source, scalar, error));
        } else {
            let whole = reporter.lines_of(&span);
            let length = source[whole.clone()].trim_end().len();
            damage.spans.push(whole.start..whole.start + length);
            damage.lossy = true;
            reporter.push(Finding::new(Code::Syntax, span, plain(error)));
        }
    }
    (table, damage)
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
    if let Some(mark) = raw.chars().next().filter(|c| "\"'".contains(*c)) {
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
        return finding(message).help(format!("write \"{}\"", raw.escape_debug()));
    }
    finding(plain(error))
}

fn duplicate(source: &str, span: Range<usize>, seen: &Seen) -> Finding {
    let name = &source[span.clone()];
    let finding = Finding::new(
        Code::DuplicateKey,
        span.clone(),
        format!("{} is given twice", quote(name)),
    )
    .help("keep one of the two");
    let line_start = source[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let header = source[line_start..].lines().next().unwrap_or_default();
    let first = if header.trim_start().starts_with('[') {
        first_header(&source[..line_start], header)
    } else {
        let same = |key: &&Range<usize>| key.start < span.start && source[(*key).clone()] == *name;
        seen.keys
            .iter()
            .filter(same)
            .max_by_key(|key| key.start)
            .cloned()
    };
    match first {
        Some(first) => finding.related(first, "first given here"),
        None => finding,
    }
}

/// The same table header in an earlier line.
fn first_header(before: &str, header: &str) -> Option<Range<usize>> {
    let title = |line: &str| {
        line.split_once(']')
            .map(|(title, _)| title.trim().to_owned())
    };
    let wanted = title(header)?;
    let mut start = 0;
    for line in before.split_inclusive('\n') {
        if title(line).is_some_and(|title| title == wanted) {
            let indent = line.len() - line.trim_start().len();
            return Some(start + indent..start + line.trim_end().len());
        }
        start += line.len();
    }
    None
}

/// Spans of everything that was read.
#[derive(Default)]
struct Seen {
    keys: Vec<Range<usize>>,
    /// Strings, numbers and the like: what has no inside.
    scalars: Vec<Range<usize>>,
    /// Opening brackets of arrays and inline tables that do not end with the closing one.
    open: Vec<Range<usize>>,
}

impl Seen {
    fn table(&mut self, table: &DeTable<'_>, source: &str) {
        for (key, value) in table.iter() {
            self.keys.push(key.span());
            self.value(value.get_ref(), value.span(), source);
        }
    }

    fn value(&mut self, value: &DeValue<'_>, span: Range<usize>, source: &str) {
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
            _ => {
                // What could not be read at all has the span 0..0, which is nowhere.
                if span != (0..0) {
                    self.scalars.push(span.clone());
                }
                false
            }
        };
        if unclosed {
            self.open.push(span.start..span.start + 1);
        }
    }
}
