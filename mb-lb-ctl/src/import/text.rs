//! The report for people.

use std::fmt::Write as _;

use super::report::{Report, Row, Verdict};
use super::server_setup;

/// Lines longer than this push the verdict out of sight.
const WIDE: usize = 60;

/// Without what would steer a terminal.
pub(super) fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}

impl Report {
    /// One row for each line of the files, a sum, and what is to be done on servers.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            let _ = writeln!(text, "{} ({})", plain(&file.name), file.kind.name());
            for row in &file.rows {
                line(row, &mut text);
            }
            text.push('\n');
        }
        let _ = writeln!(text, "{}", self.sum());
        for notice in &self.notices {
            let _ = writeln!(text, "note: {notice}");
        }
        text.push_str(&server_setup::text(&self.setups));
        text
    }

    /// `57 lines: 30 mapped, ...`
    pub fn sum(&self) -> String {
        let all: usize = self.files.iter().map(|file| file.rows.len()).sum();
        let counts = Verdict::ALL.iter();
        let counts = counts.map(|verdict| format!("{} {}", self.count(*verdict), verdict.name()));
        let lines = if all == 1 { "line" } else { "lines" };
        format!("{all} {lines}: {}", counts.collect::<Vec<_>>().join(", "))
    }

    /// Lines with one of these verdicts, each with its file. Lines that the same is said of come before it.
    pub fn lines(&self, verdicts: &[Verdict]) -> String {
        let mut text = String::new();
        for file in &self.files {
            let rows = file.rows.iter();
            let rows = rows.filter(|row| verdicts.contains(&row.verdict));
            let mut rows = rows.peekable();
            while let Some(row) = rows.next() {
                let (name, Row { line, .. }) = (plain(&file.name), row);
                let (what, verdict) = (shortened(&row.text), row.verdict.name());
                let _ = writeln!(text, "{name}:{line}: {verdict}: {what}");
                if rows.peek().is_none_or(|next| next.note != row.note) {
                    let _ = writeln!(text, "  {}", plain(&row.note));
                }
            }
        }
        text
    }
}

/// Lines of one file that the same is said of.
struct Said<'r> {
    reason: &'r str,
    lines: Vec<String>,
}

impl Report {
    /// What is not wholly as it was: each difference once, with its lines.
    pub fn approximations(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            let mut all: Vec<Said<'_>> = Vec::new();
            let rows = file.rows.iter();
            for row in rows.filter(|row| row.verdict == Verdict::Approximated) {
                let line = row.line.to_string();
                for reason in &row.reasons {
                    match all.iter_mut().find(|said| said.reason == reason) {
                        Some(said) => said.lines.push(line.clone()),
                        None => all.push(Said {
                            reason,
                            lines: vec![line.clone()],
                        }),
                    }
                }
            }
            for Said { reason, lines } in all {
                let (name, lines) = (plain(&file.name), lines.join(", "));
                let verdict = Verdict::Approximated.name();
                let _ = writeln!(text, "{name}:{lines}: {verdict}: {}", plain(reason));
            }
        }
        text
    }
}

fn line(row: &Row, text: &mut String) {
    let (number, what) = (row.line, shortened(&row.text));
    let (verdict, note) = (row.verdict.name(), plain(&row.note));
    let line = format!("{number:>5}  {verdict:<12}  {what:<WIDE$}  {note}");
    let _ = writeln!(text, "{}", line.trim_end());
}

fn shortened(text: &str) -> String {
    let text = plain(text);
    // Tabs and runs of blanks between words say nothing.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(WIDE) {
        Some(_) => text.chars().take(WIDE - 3).chain("...".chars()).collect(),
        None => text,
    }
}
