//! One line from a client, cut into commands and words.
//!
//! A backslash takes the special meaning from the character after it: `\;` does not end a command, `\ ` does not
//! end a word, `\\` is a backslash.

/// Words of one command; HAProxy's limit.
pub const MAX_WORDS: usize = 64;
/// Longest pattern that ends a payload.
pub const MAX_PATTERN: usize = 64;

/// What one line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// At least one; a command without words stands for an empty line.
    pub commands: Vec<Vec<String>>,
    /// The last command takes the lines that follow, up to one that equals this (`<<` alone: an empty line).
    pub payload_until: Option<String>,
}

/// Cuts `text` (without its line end) into commands.
pub fn split(text: &str) -> Line {
    let mut line = Line::default();
    let mut words: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    let mut characters = text.trim_end_matches('\r').chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                let word = word.get_or_insert_default();
                word.escaped = true;
                word.text.extend(characters.next());
            }
            ' ' | '\t' => words.extend(word.take()),
            ';' => {
                words.extend(word.take());
                line.commands
                    .push(words.drain(..).map(|word| word.text).collect());
            }
            other => word.get_or_insert_default().text.push(other),
        }
    }
    words.extend(word);
    if words.last().is_some_and(Word::opens_payload) {
        line.payload_until = words.pop().map(|word| word.text[2..].to_owned());
    }
    line.commands
        .push(words.into_iter().map(|word| word.text).collect());
    // `show info;` asks for one command, not for one and an empty one.
    if line.commands.iter().any(|words| !words.is_empty()) {
        line.commands.retain(|words| !words.is_empty());
    } else {
        line.commands.truncate(1);
    }
    line
}

/// `text` as one word of a line: what [`split`] turns back into `text`. Control characters, which a line cannot
/// hold, become spaces.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ';' | '\\' | ' ' | '<' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.push_str("\\ "),
            other => quoted.push(other),
        }
    }
    quoted
}

#[derive(Default)]
struct Word {
    text: String,
    escaped: bool,
}

impl Word {
    fn opens_payload(&self) -> bool {
        !self.escaped && self.text.starts_with("<<")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        split(text).commands
    }

    #[test]
    fn lines_are_cut_at_semicolons_and_spaces() {
        let cases: &[(&str, &[&[&str]])] = &[
            ("show info", &[&["show", "info"]]),
            ("  show\t info  \r", &[&["show", "info"]]),
            (
                "show info;show stat",
                &[&["show", "info"], &["show", "stat"]],
            ),
            (
                "show info ; show stat ;",
                &[&["show", "info"], &["show", "stat"]],
            ),
            ("", &[&[]]),
            (" ; ;", &[&[]]),
            (r"a\;b c\ d e\\f", &[&["a;b", "c d", r"e\f"]]),
            (r"end\", &[&["end"]]),
            (r"\<<", &[&["<<"]]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text), *expected, "{text:?}");
            assert_eq!(split(text).payload_until, None, "{text:?}");
        }
    }

    #[test]
    fn a_last_word_of_two_angles_opens_a_payload() {
        let line = split("mb-lb diff <<");
        assert_eq!(line.commands, [["mb-lb", "diff"]]);
        assert_eq!(line.payload_until.as_deref(), Some(""));
        let line = split("show info; mb-lb diff <<END");
        assert_eq!(line.commands.len(), 2);
        assert_eq!(line.payload_until.as_deref(), Some("END"));
        assert_eq!(split("a << b").payload_until, None);
    }

    #[test]
    fn quoted_text_is_one_word_again() {
        for text in ["kernel upgrade", r"a;b\c", "<<", "<<EOF", "tab\tand\nline"] {
            let line = split(&format!("x {}", quote(text)));
            assert_eq!(line.commands.len(), 1, "{text:?}");
            assert_eq!(line.commands[0][1], text.replace(['\t', '\n'], " "));
            assert_eq!(line.payload_until, None);
        }
    }
}
