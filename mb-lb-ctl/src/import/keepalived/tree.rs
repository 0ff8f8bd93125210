//! Lines to a tree of blocks.

use std::collections::BTreeMap;

use crate::import::report::{At, Ledger, Verdict};
use crate::import::{Error, Input};

/// keepalived's own blocks are five deep.
const DEEPEST: usize = 16;

/// A statement, with its block where it has one.
#[derive(Clone, Debug)]
pub(in crate::import) struct Node {
    pub at: At,
    pub words: Vec<String>,
    pub children: Vec<Node>,
}

impl Node {
    pub fn is(&self, key: &str) -> bool {
        self.word(0) == Some(key)
    }

    pub fn word(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(String::as_str)
    }

    /// The last one of this name, which counts.
    pub fn child(&self, key: &str) -> Option<&Self> {
        self.children.iter().rfind(|child| child.is(key))
    }

    pub fn all<'n>(&'n self, key: &'n str) -> impl Iterator<Item = &'n Self> {
        self.children.iter().filter(move |child| child.is(key))
    }

    /// Itself and all below it.
    pub fn each(&self, visit: &mut impl FnMut(&Self)) {
        visit(self);
        for child in &self.children {
            child.each(visit);
        }
    }
}

enum Token {
    Word(String),
    Open,
    Close,
}

struct Reader<'i> {
    file: &'i str,
    roots: Vec<Node>,
    /// Blocks that are open.
    open: Vec<Node>,
    variables: BTreeMap<String, String>,
}

pub(super) fn read(
    file: usize,
    input: &Input<'_>,
    id: &str,
    ledger: &mut Ledger,
) -> Result<Vec<Node>, Error> {
    let mut reader = Reader {
        file: input.name,
        roots: Vec::new(),
        open: Vec::new(),
        variables: BTreeMap::new(),
    };
    // A definition goes on where its line ends with a backslash.
    let mut continued = false;
    for (text, line) in input.text.lines().zip(1..) {
        let at = At { file, line };
        let text = text.trim();
        if continued {
            continued = text.ends_with('\\');
            ledger.say(
                at,
                Verdict::Unsupported,
                "goes on with a definition of several lines: write what it stands for",
            );
            continue;
        }
        if let Some(rest) = text.strip_prefix('$')
            && let Some((name, value)) = rest.split_once('=')
            && is_name(name)
        {
            continued = text.ends_with('\\');
            reader.define(name, value, continued, at, ledger);
            continue;
        }
        let Some(text) = conditional(text, id, at, ledger) else {
            continue;
        };
        reader.line(text, at, ledger)?;
    }
    Ok(reader.finish(ledger))
}

/// `@lb1 TEXT` counts on lb1, `@^lb1 TEXT` everywhere else. `None`: not here.
fn conditional<'t>(text: &'t str, id: &str, at: At, ledger: &mut Ledger) -> Option<&'t str> {
    let Some(rest) = text.strip_prefix('@') else {
        return Some(text);
    };
    let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (name, elsewhere) = match name.strip_prefix('^') {
        Some(name) => (name, true),
        None => (name, false),
    };
    if (name == id) != elsewhere {
        return Some(rest.trim_start());
    }
    let note = match elsewhere {
        true => format!("not for `{name}`, which is this director (--name)"),
        false => format!("only for `{name}`; this director is `{id}` (--name)"),
    };
    ledger.say(at, Verdict::NotNeeded, note);
    None
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Reader<'_> {
    fn define(&mut self, name: &str, value: &str, continued: bool, at: At, ledger: &mut Ledger) {
        if continued {
            let note = "a definition of several lines: write what it stands for";
            return ledger.say(at, Verdict::Unsupported, note);
        }
        ledger.say(at, Verdict::Mapped, "put in where it is used");
        let value = self.filled(value.trim()).unwrap_or_default();
        // Longer than any line has a use for, it would only grow with each definition.
        if value.len() <= 4096 {
            self.variables.insert(name.to_owned(), value);
        }
    }

    /// With what variables stand for.
    ///
    /// # Errors
    /// Name of one that is not defined.
    fn filled(&self, text: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            filled.push_str(&rest[..dollar]);
            let after = &rest[dollar + 1..];
            let braced = after
                .strip_prefix('{')
                .and_then(|inside| inside.split_once('}'));
            let (name, end) = match braced {
                Some((name, end)) => (name, end),
                None => {
                    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    after.split_at(after.find(|c: char| !is_part(c)).unwrap_or(after.len()))
                }
            };
            if name.is_empty() {
                // A dollar, as passwords have them.
                filled.push('$');
                rest = after;
                continue;
            }
            let value = self.variables.get(name).ok_or_else(|| name.to_owned())?;
            filled.push_str(value);
            rest = end;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn line(&mut self, text: &str, at: At, ledger: &mut Ledger) -> Result<(), Error> {
        let error = |line: At, why: &str| Error::Syntax {
            file: self.file.to_owned(),
            line: line.line,
            why: why.to_owned(),
        };
        let raw = tokens(text).map_err(|why| error(at, &why))?;
        if raw.is_empty() {
            ledger.say(at, Verdict::NotNeeded, "comment");
            return Ok(());
        }
        let tokens = match self.filled(text) {
            Ok(filled) => tokens(&filled).map_err(|why| error(at, &why))?,
            Err(name) => {
                let note = format!(
                    "the variable {name} is not defined in this file: put in what it stands for, and import again"
                );
                ledger.say(at, Verdict::Unsupported, note);
                // Its braces count all the same.
                raw
            }
        };
        if let [Token::Word(word), ..] = tokens.as_slice()
            && matches!(
                word.as_str(),
                "include" | "includea" | "includeb" | "includem" | "includer" | "includew"
            )
        {
            ledger.say(
                at,
                Verdict::Unsupported,
                "other files are not followed: name it on the command line as well",
            );
            return Ok(());
        }
        if tokens.iter().all(|token| !matches!(token, Token::Word(_))) {
            ledger.say(at, Verdict::NotNeeded, "a brace of its block");
        }
        let mut words = Vec::new();
        for token in tokens {
            match token {
                Token::Word(word) => words.push(word),
                Token::Open => {
                    if self.open.len() >= DEEPEST {
                        return Err(error(
                            at,
                            "blocks are nested deeper than keepalived has any",
                        ));
                    }
                    self.begin(std::mem::take(&mut words), at, ledger);
                }
                Token::Close => {
                    self.statement(std::mem::take(&mut words), at);
                    match self.open.pop() {
                        Some(block) => self.add(block),
                        None => ledger.say(at, Verdict::Unsupported, "a brace that closes nothing"),
                    }
                }
            }
        }
        self.statement(words, at);
        Ok(())
    }

    /// A brace on a line of its own belongs to the statement before it.
    fn begin(&mut self, words: Vec<String>, at: At, ledger: &mut Ledger) {
        let mut node = Node {
            at,
            words,
            children: Vec::new(),
        };
        if node.words.is_empty() {
            let before = match self.open.last_mut() {
                Some(block) => block.children.pop(),
                None => self.roots.pop(),
            };
            match before {
                Some(before) => node = before,
                None => ledger.say(at, Verdict::Unsupported, "a block of nothing"),
            }
        }
        self.open.push(node);
    }

    fn statement(&mut self, words: Vec<String>, at: At) {
        if !words.is_empty() {
            self.add(Node {
                at,
                words,
                children: Vec::new(),
            });
        }
    }

    fn add(&mut self, node: Node) {
        match self.open.last_mut() {
            Some(block) => block.children.push(node),
            None => self.roots.push(node),
        }
    }

    fn finish(mut self, ledger: &mut Ledger) -> Vec<Node> {
        while let Some(block) = self.open.pop() {
            ledger.say(block.at, Verdict::Unsupported, "its block is not closed");
            self.add(block);
        }
        self.roots
    }
}

/// Words and braces up to a comment.
///
/// # Errors
/// A quote that is not closed.
fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), '\\') => word.get_or_insert_default().extend(rest.next()),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '#' | '!') => break,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => tokens.extend(word.take().map(Token::Word)),
            (None, '{' | '}') => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(if c == '{' { Token::Open } else { Token::Close });
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    tokens.extend(word.map(Token::Word));
    Ok(tokens)
}
