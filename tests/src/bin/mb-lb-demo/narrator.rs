//! What the audience sees: headings, explanations, commands with their output, and claims that were checked.
//!
//! All of it goes to standard output, so that a redirected demo reads like the one on the screen.

use std::env;
use std::fmt::Display;
use std::io::IsTerminal as _;
use std::time::Instant;

/// Text is wrapped here; output of commands is not.
const WIDTH: usize = 100;

/// Prints. Colour on a terminal only, and not where `NO_COLOR` is set.
pub struct Narrator {
    colour: bool,
    act: u32,
    checked: u32,
    /// The last line is not empty, so another paragraph needs one that is.
    open: bool,
    started: Instant,
}

impl Narrator {
    pub fn new() -> Self {
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colour: wanted && std::io::stdout().is_terminal(),
            act: 0,
            checked: 0,
            open: false,
            started: Instant::now(),
        }
    }

    /// Begins a numbered act.
    pub fn act(&mut self, title: &str) {
        self.act += 1;
        let heading = format!("{}. {title}", self.act);
        self.gap();
        println!("{}", self.paint("1", &heading));
        println!("{}", self.paint("2", &"-".repeat(heading.len())));
        self.open = false;
    }

    /// What is happening, and why it matters.
    pub fn say(&mut self, text: &str) {
        self.gap();
        println!("{}", wrapped(text, "", ""));
        println!();
        self.open = false;
    }

    /// A command that was run, and what it printed.
    pub fn command(&mut self, line: &str, output: &str) {
        self.gap();
        println!("  {}", self.paint("36", &format!("$ {line}")));
        self.block(output);
    }

    /// As [`Narrator::block`], after a claim.
    pub fn table(&mut self, text: &str) {
        self.gap();
        self.block(text);
    }

    /// Lines as they are, e.g. a file.
    pub fn block(&mut self, text: &str) {
        for line in text.trim_end().lines() {
            println!("{}", format!("  {line}").trim_end());
        }
        println!();
        self.open = false;
    }

    /// Something that was checked just now. What is printed here has been looked at, not hoped for.
    pub fn proved(&mut self, claim: impl Display) {
        self.checked += 1;
        let text = wrapped(&claim.to_string(), "  ok  ", "      ");
        println!("{}", text.replacen("ok", &self.paint("1;32", "ok"), 1));
        self.open = true;
    }

    pub fn finish(&self) {
        println!(
            "\nAll {} claims above were checked while they were made; it took {} s.",
            self.checked,
            self.started.elapsed().as_secs()
        );
    }

    /// An empty line, unless there is one already.
    fn gap(&mut self) {
        if self.open {
            println!();
        }
        self.open = true;
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Breaks between words. `first` begins the first line, `rest` every other.
fn wrapped(text: &str, first: &str, rest: &str) -> String {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.len() + 1 + word.len() > WIDTH {
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words() {
        let text = "word ".repeat(50);
        let text = wrapped(&text, "  ok  ", "      ");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("  ok  word word") && lines[1].starts_with("      word"));
        assert!(
            lines
                .iter()
                .all(|line| line.len() <= WIDTH && !line.ends_with(' '))
        );
        assert_eq!(text.matches("word").count(), 50);
    }
}
