//! What a check of type `exec` runs.

use toml::de::DeValue;

use crate::config::diagnostic::{Code, Finding, Reporter, quote};
use crate::config::fields::{Field, Fields};
use crate::config::values::{self, Fault};

const EXPECTED: &str =
    "a program such as \"/usr/local/bin/check\", or a list of it and its arguments";

/// The program and its arguments. Empty where it was refused.
pub(super) fn command(
    check: &Field<'_>,
    fields: &Fields<'_>,
    reporter: &mut Reporter<'_>,
) -> Vec<String> {
    let Some(field) = fields.get("command") else {
        let message = format!("{} has no `command`", quote(&check.path));
        let finding = Finding::new(Code::MissingKey, check.key_span.clone(), message);
        reporter.push(finding.help("add command = \"/path/of/a/program\""));
        return Vec::new();
    };
    let alone = matches!(field.value, DeValue::String(_));
    let words = field.elements(EXPECTED, "write [\"/path/of/a/program\"]", reporter);
    let words = words.iter().enumerate().map(|(at, word)| match at {
        0 => word.parsed("a program", |text| program(text, alone), reporter),
        _ => word.parsed("an argument", argument, reporter),
    });
    words.collect::<Option<_>>().unwrap_or_default()
}

fn program(text: &str, alone: bool) -> Result<String, Fault> {
    let words: Vec<_> = text.split_whitespace().collect();
    if alone && words.len() > 1 {
        let list: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let phrase = "is a program and its arguments in one text".to_owned();
        let help = format!("no shell reads it: write command = [{}]", list.join(", "));
        return Err(Fault::new(Code::BadPath, phrase).help(help));
    }
    values::file(text).map_err(|fault| {
        fault.help("the program is given by its absolute path; no shell looks for it")
    })?;
    argument(text)
}

fn argument(text: &str) -> Result<String, Fault> {
    match text.contains('\0') {
        true => Err(Fault::new(Code::BadText, "has a NUL byte")),
        false => Ok(text.to_owned()),
    }
}
