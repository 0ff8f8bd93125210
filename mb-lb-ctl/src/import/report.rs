//! What became of each line.

use serde::Serialize;

use super::detect::Kind;
use super::server_setup::ServerSetup;
use super::{Input, text};

/// A line of one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub file: usize,
    /// From 1.
    pub line: usize,
}

/// What became of a line. Of several things on one line the last of these counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// mb-lb does without.
    NotNeeded,
    /// It is in the result.
    Mapped,
    /// Something near to it is in the result.
    Approximated,
    /// It has no effect where it comes from.
    Dead,
    /// It is not in the result.
    Unsupported,
}

impl Verdict {
    pub const ALL: [Self; 5] = [
        Self::Mapped,
        Self::Approximated,
        Self::NotNeeded,
        Self::Dead,
        Self::Unsupported,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::NotNeeded => "not needed",
            Self::Mapped => "mapped",
            Self::Approximated => "approximated",
            Self::Dead => "dead",
            Self::Unsupported => "unsupported",
        }
    }
}

/// A line that is not blank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub line: usize,
    /// Without the blanks around it, and with passwords replaced by `***`.
    pub text: String,
    pub verdict: Verdict,
    /// What became of it, why, and what to do.
    pub note: String,
    /// What of the note is said for the verdict itself.
    #[serde(skip)]
    pub reasons: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileReport {
    pub name: String,
    pub kind: Kind,
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub files: Vec<FileReport>,
    /// What is to be known beside the lines.
    pub notices: Vec<String>,
    /// What is to be done on servers before the change-over, and how to undo it.
    #[serde(rename = "server_setup")]
    pub setups: Vec<ServerSetup>,
}

impl Report {
    pub fn count(&self, verdict: Verdict) -> usize {
        let rows = self.files.iter().flat_map(|file| &file.rows);
        rows.filter(|row| row.verdict == verdict).count()
    }
}

/// Gathers what is said of the lines.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    files: Vec<File>,
    notices: Vec<String>,
}

#[derive(Debug)]
struct File {
    name: String,
    kind: Kind,
    lines: Vec<Line>,
}

#[derive(Debug, Default)]
struct Line {
    text: String,
    said: Vec<(Verdict, String)>,
    otherwise: Option<(Verdict, String)>,
    secrets: Vec<String>,
}

impl Ledger {
    pub fn open(&mut self, input: &Input<'_>, kind: Kind) -> usize {
        let line = |text: &str| Line {
            text: text.trim().to_owned(),
            ..Line::default()
        };
        self.files.push(File {
            name: input.name.to_owned(),
            kind,
            lines: input.text.lines().map(line).collect(),
        });
        self.files.len() - 1
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// `haproxy.cfg:25`
    pub fn place(&self, at: At) -> String {
        let name = self.files.get(at.file).map_or("", |file| &file.name);
        format!("{}:{}", text::plain(name), at.line)
    }

    /// The same is said once.
    pub fn say(&mut self, at: At, verdict: Verdict, note: impl Into<String>) {
        let said = (verdict, note.into());
        if let Some(line) = self.line(at)
            && !line.said.contains(&said)
        {
            line.said.push(said);
        }
    }

    /// Said beside the lines, once.
    pub fn notice(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notices.contains(&text) {
            self.notices.push(text);
        }
    }

    /// Of a line that keeps somebody out, which mb-lb cannot: what it guards is left out.
    pub fn open_door(&mut self, at: At, why: &str) {
        self.say(at, Verdict::Unsupported, why);
        let place = self.place(at);
        self.notice(format!(
            "{place}: access control that mb-lb does not have; what it guards is left out: {why}"
        ));
    }

    /// Counts where nothing else is said.
    pub fn otherwise(&mut self, at: At, verdict: Verdict, note: impl Into<String>) {
        if let Some(line) = self.line(at) {
            line.otherwise = Some((verdict, note.into()));
        }
    }

    /// Nothing was said yet.
    pub fn is_open(&self, at: At) -> bool {
        let file = self.files.get(at.file);
        let line = file.and_then(|file| file.lines.get(at.line.wrapping_sub(1)));
        line.is_some_and(|line| line.said.is_empty())
    }

    /// Keeps a password out of the report.
    pub fn hide(&mut self, at: At, secret: &str) {
        if let Some(line) = self.line(at)
            && !secret.is_empty()
        {
            line.secrets.push(secret.to_owned());
        }
    }

    fn line(&mut self, at: At) -> Option<&mut Line> {
        let file = self.files.get_mut(at.file)?;
        file.lines.get_mut(at.line.wrapping_sub(1))
    }

    /// The files, and what is to be known beside their lines.
    pub fn finish(self) -> (Vec<FileReport>, Vec<String>) {
        let files = self.files.into_iter().map(File::finish);
        (files.collect(), self.notices)
    }
}

impl File {
    fn finish(self) -> FileReport {
        let lines = self.lines.into_iter().zip(1..);
        let rows = lines.filter(|(line, _)| !line.text.is_empty());
        FileReport {
            name: self.name,
            kind: self.kind,
            rows: rows.map(|(line, number)| line.finish(number)).collect(),
        }
    }
}

impl Line {
    fn finish(mut self, number: usize) -> Row {
        if self.said.is_empty() {
            let unknown = || (Verdict::Unsupported, "not known to the import".to_owned());
            self.said
                .push(self.otherwise.take().unwrap_or_else(unknown));
        }
        let verdict = self.said.iter().map(|(verdict, _)| *verdict).max();
        let verdict = verdict.unwrap_or(Verdict::Unsupported);
        // What is worst is read first.
        self.said
            .sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
        let (mut notes, mut reasons): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for (said, note) in self.said {
            if note.is_empty() || notes.contains(&note) {
                continue;
            }
            if said == verdict {
                reasons.push(note.clone());
            }
            notes.push(note);
        }
        // The longest first: one may be a part of another.
        self.secrets
            .sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in &self.secrets {
            match self.text.contains(secret.as_str()) {
                true => self.text = self.text.replace(secret.as_str(), "***"),
                // Written with quotes or escapes inside.
                false => {
                    let first = self.text.split_whitespace().next().unwrap_or_default();
                    self.text = format!("{first} ***");
                }
            }
        }
        Row {
            line: number,
            text: self.text,
            verdict,
            note: notes.join("; "),
            reasons,
        }
    }
}
