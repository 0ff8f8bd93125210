//! The import as a whole.

mod checks;
mod closed;
mod golden;
mod properties;
mod wholly;

use super::{Imported, Input, Options, Verdict, import};
use crate::config::parse;

fn imported(files: &[(&str, &str)], options: &Options) -> Imported {
    let inputs: Vec<_> = files
        .iter()
        .map(|(name, text)| Input { name, text })
        .collect();
    let imported = import(&inputs, options).expect("imported");
    if let Some(config) = &imported.config {
        let parsed = parse(config, "lb1");
        assert_eq!(parsed.errors(), 0, "{:?}", parsed.diagnostics);
    }
    imported
}

/// One file, with dsr.
fn single(text: &str) -> Imported {
    imported(&[("file", text)], &Options::default())
}

fn row(imported: &Imported, file: usize, line: usize) -> (Verdict, String) {
    let rows = &imported.report.files[file].rows;
    let row = rows.iter().find(|row| row.line == line).expect("a row");
    (row.verdict, row.note.clone())
}

/// Verdict and reasons of the line with this text, the reasons of its verdict only.
fn said(imported: &Imported, text: &str) -> (Verdict, String) {
    let mut rows = imported.report.files.iter().flat_map(|file| &file.rows);
    let row = rows.find(|row| row.text == text).expect(text);
    (row.verdict, row.reasons.join("; "))
}

/// The line of the result that begins so, without its comment.
fn written<'i>(imported: &'i Imported, start: &str) -> Option<&'i str> {
    let mut lines = imported.config.as_deref()?.lines();
    let line = lines.find(|line| line.starts_with(start))?;
    Some(line.split("  #").next().unwrap_or(line).trim_end())
}
