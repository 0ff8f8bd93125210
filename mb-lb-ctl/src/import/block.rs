//! Blocks of our file: written, tried by our own parser, and then accepted or refused as a whole.

use super::report::{At, Ledger, Verdict};
use super::text::plain;
use crate::config::{self, Code, Severity};

/// Comments stand below each other up to here.
const COMMENTS: usize = 56;

/// A table or several that belong together, with the lines that they come from.
#[derive(Debug)]
pub(super) struct Block {
    /// `service.smtp_backend`, for the report.
    path: String,
    entries: Vec<Entry>,
    claims: Vec<(At, Verdict, String)>,
    notices: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    text: String,
    at: Vec<At>,
    why: String,
}

impl Block {
    /// Begins with a table of this path, which is quoted already where that is needed.
    pub fn new(path: impl Into<String>, at: &[At]) -> Self {
        let path = path.into();
        let mut block = Self {
            path: String::new(),
            entries: Vec::new(),
            claims: Vec::new(),
            notices: Vec::new(),
        };
        block.table(path, at);
        block
    }

    /// Goes on with another table.
    pub fn table(&mut self, path: impl Into<String>, at: &[At]) {
        self.path = path.into();
        self.entry(format!("[{}]", self.path), at, "");
        for at in at {
            let note = format!("[{}]", self.path);
            self.claim(*at, Verdict::Mapped, note);
        }
    }

    /// A key; its lines are mapped. `value` is TOML, `key` quoted already where that is needed.
    pub fn key(&mut self, key: &str, value: impl AsRef<str>, at: &[At]) {
        self.key_because(key, value, at, "");
    }

    /// A key with a reason.
    pub fn key_because(&mut self, key: &str, value: impl AsRef<str>, at: &[At], why: &str) {
        self.entry(format!("{key} = {}", value.as_ref()), at, why);
        for at in at {
            let note = format!("{}.{key}", self.path);
            self.claim(*at, Verdict::Mapped, note);
        }
    }

    /// Said of a line where the block is accepted.
    pub fn claim(&mut self, at: At, verdict: Verdict, note: impl Into<String>) {
        self.claims.push((at, verdict, note.into()));
    }

    /// The same where there is something to say.
    pub fn claim_some(&mut self, at: At, verdict: Verdict, note: Option<String>) {
        if let Some(note) = note {
            self.claim(at, verdict, note);
        }
    }

    /// The same for several lines.
    pub fn claim_all(&mut self, at: &[At], verdict: Verdict, note: &str) {
        for at in at {
            self.claim(*at, verdict, note);
        }
    }

    /// To be known beside the lines, where the block is accepted.
    pub fn notice(&mut self, text: impl Into<String>) {
        self.notices.push(text.into());
    }

    fn entry(&mut self, text: String, at: &[At], why: &str) {
        let (at, why) = (at.to_vec(), why.to_owned());
        self.entries.push(Entry { text, at, why });
    }

    fn text(&self, ledger: &Ledger) -> String {
        let lengths = self.entries.iter().map(|entry| entry.text.chars().count());
        let width = lengths
            .filter(|length| *length <= COMMENTS)
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for (number, entry) in self.entries.iter().enumerate() {
            if number > 0 && entry.text.starts_with('[') {
                text.push('\n');
            }
            let mut comment: Vec<String> = Vec::new();
            for at in &entry.at {
                let place = ledger.place(*at);
                if !comment.contains(&place) {
                    comment.push(place);
                }
            }
            let mut comment = comment.join(", ");
            if !entry.why.is_empty() {
                let colon = if comment.is_empty() { "" } else { ": " };
                comment.push_str(colon);
                // A line break of theirs would begin a line of ours.
                comment.push_str(&plain(&entry.why));
            }
            match comment.is_empty() {
                true => text.push_str(&entry.text),
                false => text.push_str(&format!("{:<width$}  # {comment}", entry.text)),
            }
            text.push('\n');
        }
        text
    }
}

/// Our file, as far as it is written.
#[derive(Debug)]
pub(super) struct Output {
    text: String,
}

impl Output {
    pub fn new() -> Self {
        Self {
            text: String::new(),
        }
    }

    /// Takes the block if our parser takes it with all before it. Otherwise its lines are unsupported, for the parser's
    /// reason, unless they serve others as well.
    pub fn offer(&mut self, block: &Block, ledger: &mut Ledger) -> bool {
        match self.try_block(block, ledger) {
            Ok(()) => true,
            Err(why) => {
                for (at, ..) in &block.claims {
                    ledger.otherwise(*at, Verdict::Unsupported, format!("left out: {why}"));
                }
                false
            }
        }
    }

    /// As [`Output::offer`]; says nothing where it is refused.
    pub fn try_block(&mut self, block: &Block, ledger: &mut Ledger) -> Result<(), String> {
        let text = format!("{}\n{}", self.text, block.text(ledger));
        let parsed = config::parse(&text, "director");
        let error = parsed.diagnostics.iter().find(|diagnostic| {
            diagnostic.severity == Severity::Error && diagnostic.code != Code::NoService
        });
        if let Some(error) = error {
            return Err(match &error.help {
                Some(help) => format!("{}; {help}", error.message),
                None => error.message.clone(),
            });
        }
        self.text = text;
        for (at, verdict, note) in &block.claims {
            ledger.say(*at, *verdict, note.as_str());
        }
        for notice in &block.notices {
            ledger.notice(notice.as_str());
        }
        Ok(())
    }

    pub fn finish(self, files: &[String]) -> String {
        format!(
            "# Made by mb-lb-ctl import from {}. Comments name the lines that a value comes from.\n{}",
            files.join(", "),
            self.text
        )
    }
}
