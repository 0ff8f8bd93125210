//! Reading a table key by key: unknown keys, types, ranges and words, each refusal under the full name of its key.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Code, Finding, Reporter, quote};
use super::schema::{self, Section};
use super::values::{self, Fault};

/// A table whose keys were compared with what its section may hold.
pub(super) struct Fields<'t> {
    section: &'static Section,
    /// `service.smtp_backend`; empty for the file itself.
    path: String,
    table: &'t DeTable<'t>,
}

impl<'t> Fields<'t> {
    /// Refuses the keys that do not exist here.
    pub fn open(
        section: &'static Section,
        path: String,
        table: &'t DeTable<'t>,
        reporter: &mut Reporter<'_>,
    ) -> Self {
        let fields = Self {
            section,
            path,
            table,
        };
        for (key, _) in table.iter() {
            if !section.keys.contains(&key.get_ref().as_ref()) {
                reporter.push(fields.refuse(key.get_ref(), key.span()));
            }
        }
        fields
    }

    /// A key of the section, where the file has it.
    pub fn get(&self, key: &'static str) -> Option<Field<'t>> {
        debug_assert!(
            self.section.keys.contains(&key),
            "{key} is not in the schema"
        );
        let (key, value) = self.table.get_key_value(key)?;
        Some(Field {
            path: join(&self.path, key.get_ref()),
            key_span: key.span(),
            value: value.get_ref(),
            span: value.span(),
        })
    }

    fn refuse(&self, key: &str, span: Range<usize>) -> Finding {
        let path = join(&self.path, key);
        if self.section.later.contains(&key) {
            return Finding::new(
                Code::NotInThisBuild,
                span,
                format!("`{path}` is not in this build of mb-lb yet"),
            )
            .help("remove it; nothing in the file is ignored silently");
        }
        let kind = if self.path.is_empty() {
            "section"
        } else {
            "key"
        };
        let finding = Finding::new(
            Code::UnknownKey,
            span,
            format!("`{path}` is not a known {kind}"),
        );
        let elsewhere = schema::ALL.iter().find(|other| other.keys.contains(&key));
        let help = if let Some(advice) = self.section.advice(key) {
            advice.to_owned()
        } else if let Some(near) = self.section.nearest(key) {
            did_you_mean(&format!("`{near}`"), self.section.later.contains(&near))
        } else if let Some(other) = elsewhere {
            format!("`{key}` is a key of {}", other.title)
        } else {
            let keys: Vec<_> = self.section.keys.iter().map(|k| format!("`{k}`")).collect();
            format!("possible here: {}", keys.join(", "))
        };
        finding.help(help)
    }
}

fn did_you_mean(near: &str, later: bool) -> String {
    if later {
        format!("did you mean {near}? It is not in this build of mb-lb yet")
    } else {
        format!("did you mean {near}?")
    }
}

/// Names of the path as TOML writes them.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let key = if !key.is_empty() && key.bytes().all(bare) {
        key.to_owned()
    } else {
        format!("\"{}\"", quote(key).trim_matches('`'))
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// The words of a key that takes one of few.
pub(super) struct Words<T: 'static> {
    pub known: &'static [(&'static str, T)],
    /// Words with a meaning that this build does not implement.
    pub later: &'static [&'static str],
    /// Other programs' words for the same.
    pub foreign: &'static [(&'static str, &'static str)],
}

/// A key that the file has, or an element of its list.
pub(super) struct Field<'t> {
    pub path: String,
    pub key_span: Range<usize>,
    pub value: &'t DeValue<'t>,
    pub span: Range<usize>,
}

impl<'t> Field<'t> {
    pub fn finding(&self, code: Code, phrase: &str) -> Finding {
        Finding::new(code, self.span.clone(), format!("`{}` {phrase}", self.path))
    }

    pub fn refuse(&self, fault: Fault, reporter: &mut Reporter<'_>) {
        let mut finding = self.finding(fault.code, &fault.phrase);
        finding.help = fault.help;
        reporter.push(finding);
    }

    /// Both say the same thing, `what`, in two ways.
    pub fn second(&self, first: &Self, what: &str) -> Finding {
        let mut finding = self.finding(Code::Exclusive, &format!("is a second {what}"));
        finding.span = self.key_span.clone();
        finding
            .related(first.key_span.clone(), "the first")
            .help("keep one of the two")
    }

    /// `expected` completes "is an integer, expected ...".
    pub fn wrong_type(&self, expected: &str) -> Finding {
        let phrase = format!("is {}, expected {expected}", found(self.value));
        self.finding(Code::WrongType, &phrase)
    }

    pub fn string(&self, expected: &str, reporter: &mut Reporter<'_>) -> Option<&'t str> {
        if let DeValue::String(text) = self.value {
            return Some(text);
        }
        reporter.push(self.wrong_type(expected));
        None
    }

    /// A string that `parse` takes.
    pub fn parsed<T>(
        &self,
        expected: &str,
        parse: impl FnOnce(&'t str) -> Result<T, Fault>,
        reporter: &mut Reporter<'_>,
    ) -> Option<T> {
        match parse(self.string(expected, reporter)?) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.refuse(fault, reporter);
                None
            }
        }
    }

    pub fn boolean(&self, reporter: &mut Reporter<'_>) -> Option<bool> {
        if let DeValue::Boolean(value) = self.value {
            return Some(*value);
        }
        reporter.push(self.wrong_type("`true` or `false`"));
        None
    }

    pub fn integer<T: TryFrom<i128>>(
        &self,
        range: RangeInclusive<i128>,
        reporter: &mut Reporter<'_>,
    ) -> Option<T> {
        let allowed = format!("{} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = self.value else {
            let finding = self.wrong_type(&format!("an integer, {allowed}"));
            let unquoted = match self.value {
                DeValue::String(text) => text.parse::<i128>().ok(),
                _ => None,
            };
            reporter.push(match unquoted {
                Some(number) => finding.help(format!("write {number} without quotes")),
                None => finding,
            });
            return None;
        };
        let value = i128::from_str_radix(integer.as_str(), integer.radix());
        let value = value.ok().filter(|value| range.contains(value));
        let value = value.and_then(|value| T::try_from(value).ok());
        if value.is_none() {
            let phrase = format!("is {}, allowed are {allowed}", quote(&integer.to_string()));
            reporter.push(self.finding(Code::OutOfRange, &phrase));
        }
        value
    }

    pub fn duration(
        &self,
        range: RangeInclusive<Duration>,
        reporter: &mut Reporter<'_>,
    ) -> Option<Duration> {
        if let DeValue::Integer(number) = self.value {
            let help = format!("write \"{number}s\" for seconds");
            reporter.push(self.wrong_type("a duration with its unit").help(help));
            return None;
        }
        let expected = "a duration such as \"2s\"";
        let value = self.parsed(expected, values::duration, reporter)?;
        if range.contains(&value) {
            return Some(value);
        }
        let phrase = format!(
            "is `{}`, allowed are {} to {}",
            values::show(value),
            values::show(*range.start()),
            values::show(*range.end())
        );
        reporter.push(self.finding(Code::OutOfRange, &phrase));
        None
    }

    pub fn word<T: Copy>(&self, words: &Words<T>, reporter: &mut Reporter<'_>) -> Option<T> {
        let known: Vec<_> = words
            .known
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        let expected = match known.as_slice() {
            [only] => only.clone(),
            [most @ .., last] => format!("{} or {last}", most.join(", ")),
            [] => String::new(),
        };
        let text = self.string(&expected, reporter)?;
        if let Some((_, value)) = words.known.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        if words.later.contains(&text) {
            let phrase = format!("= \"{text}\" is not in this build of mb-lb yet");
            let help = format!("this build has {expected}");
            reporter.push(self.finding(Code::NotInThisBuild, &phrase).help(help));
            return None;
        }
        let lower = text.to_ascii_lowercase();
        let foreign = words.foreign.iter().find(|(word, _)| *word == lower);
        let near = foreign.map(|(_, word)| *word).or_else(|| {
            let all = words.known.iter().map(|(word, _)| *word);
            schema::nearest(&lower, all.chain(words.later.iter().copied()))
        });
        let phrase = format!("is {}, expected {expected}", quote(text));
        let finding = self.finding(Code::UnknownValue, &phrase);
        reporter.push(match near {
            Some(near) => finding.help(did_you_mean(
                &format!("\"{near}\""),
                words.later.contains(&near),
            )),
            None => finding,
        });
        None
    }

    pub fn table(&self, expected: &str, reporter: &mut Reporter<'_>) -> Option<&'t DeTable<'t>> {
        if let DeValue::Table(table) = self.value {
            return Some(table);
        }
        reporter.push(self.wrong_type(expected));
        None
    }

    /// The value as the one element of a list.
    pub fn alone(&self) -> Self {
        Self {
            path: self.path.clone(),
            key_span: self.key_span.clone(),
            value: self.value,
            span: self.span.clone(),
        }
    }

    /// Says that the key does nothing beside another one.
    pub fn no_effect(&self, beside: &str, help: &str, reporter: &mut Reporter<'_>) {
        let phrase = format!("has no effect {beside}");
        let mut finding = self.finding(Code::NoEffect, &phrase);
        finding.span = self.key_span.clone();
        reporter.push(finding.help(help));
    }

    /// The elements of a list, or the value itself where a list of one may be written without brackets.
    /// `empty` says what to do about a list without any.
    pub fn elements(
        &self,
        expected: &str,
        empty: &str,
        reporter: &mut Reporter<'_>,
    ) -> Vec<Field<'t>> {
        let element = |value, span| Field {
            path: self.path.clone(),
            key_span: self.key_span.clone(),
            value,
            span,
        };
        match self.value {
            DeValue::Array(array) if array.is_empty() => {
                reporter.push(self.finding(Code::Empty, "is an empty list").help(empty));
                Vec::new()
            }
            DeValue::Array(array) => array
                .iter()
                .map(|value| element(value.get_ref(), value.span()))
                .collect(),
            DeValue::String(_) => vec![self.alone()],
            _ => {
                reporter.push(self.wrong_type(expected));
                Vec::new()
            }
        }
    }
}

/// Tables are sorted by name; this is the order of the file.
pub(super) fn in_order<'t>(path: &str, table: &'t DeTable<'t>) -> Vec<(&'t str, Field<'t>)> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            let field = Field {
                path: join(path, key.get_ref()),
                key_span: key.span(),
                value: value.get_ref(),
                span: value.span(),
            };
            (key.get_ref().as_ref(), field)
        })
        .collect();
    entries.sort_by_key(|(_, field)| field.key_span.start);
    entries
}

/// Refuses what is no [`values::name`] as the name of `field`, a table in `parent`.
pub(super) fn refuse_name(
    name: &str,
    field: &Field<'_>,
    parent: &str,
    reporter: &mut Reporter<'_>,
) {
    if let Err(fault) = values::name(name) {
        let message = if name.is_empty() {
            format!("a name in `{parent}` is empty")
        } else {
            format!("the name {} in `{parent}` {}", quote(name), fault.phrase)
        };
        let mut finding = Finding::new(fault.code, field.key_span.clone(), message);
        finding.help = fault.help;
        reporter.push(finding);
    }
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a floating-point number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
