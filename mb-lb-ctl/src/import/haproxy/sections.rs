//! Lines to sections with statements.

use super::words::{Word, words};
use crate::import::report::{At, Ledger, Verdict};
use crate::import::{Error, Input};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::import) enum Kind {
    Global,
    Defaults,
    Frontend,
    Backend,
    Listen,
    /// With what is said of all its lines.
    Other(&'static str),
}

const KINDS: [(&str, Kind); 15] = [
    ("global", Kind::Global),
    ("defaults", Kind::Defaults),
    ("frontend", Kind::Frontend),
    ("backend", Kind::Backend),
    ("listen", Kind::Listen),
    (
        "peers",
        Kind::Other(
            "stick tables are not shared; [peer] syncs flows between two directors instead",
        ),
    ),
    (
        "resolvers",
        Kind::Other("names are not looked up: give servers by their addresses"),
    ),
    (
        "mailers",
        Kind::Other(
            "no mail is sent; `notify` of [vrrp.NAME] and `mb-lb-ctl events` tell of changes",
        ),
    ),
    (
        "userlist",
        Kind::Other("there is no authentication of users; the servers have to do it"),
    ),
    (
        "program",
        Kind::Other("no programs are run beside; let systemd do it"),
    ),
    ("cache", Kind::Other("nothing is cached")),
    ("ring", Kind::Other("logs go to a file or to the journal")),
    ("http-errors", Kind::Other("error pages are mb-lb's own")),
    ("fcgi-app", Kind::Other("servers speak HTTP, not FastCGI")),
    ("log-forward", Kind::Other("mb-lb is no log server")),
];

/// A line with words.
#[derive(Clone, Debug)]
pub(in crate::import) struct Statement {
    pub at: At,
    /// Without a leading `no` or `default`.
    pub words: Vec<String>,
    /// It began with `no` or `default`: takes back what the same without it says.
    pub negated: bool,
}

impl Statement {
    /// It begins with these words: `timeout client`.
    pub fn is(&self, key: &str) -> bool {
        let mut own = self.words.iter();
        key.split(' ')
            .all(|word| own.next().is_some_and(|own| own == word))
    }

    /// The word at this place, counted from 0.
    pub fn word(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(String::as_str)
    }
}

#[derive(Clone, Debug)]
pub(in crate::import) struct Section {
    pub kind: Kind,
    pub name: String,
    /// Index of the `defaults` that it takes its values from.
    pub defaults: Option<usize>,
    pub at: At,
    pub statements: Vec<Statement>,
}

impl Section {
    pub fn is_front(&self) -> bool {
        matches!(self.kind, Kind::Frontend | Kind::Listen)
    }
    pub fn is_back(&self) -> bool {
        matches!(self.kind, Kind::Backend | Kind::Listen)
    }

    /// Said of each of its lines of which nothing else is.
    pub fn otherwise(&self, verdict: Verdict, note: &str, ledger: &mut Ledger) {
        ledger.otherwise(self.at, verdict, note);
        for statement in &self.statements {
            ledger.otherwise(statement.at, verdict, note);
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(in crate::import) struct Config {
    pub sections: Vec<Section>,
}

impl Config {
    pub fn backend(&self, name: &str) -> Option<&Section> {
        let mut sections = self.sections.iter();
        sections.find(|section| section.is_back() && section.name == name)
    }
}

pub(super) fn read(file: usize, input: &Input<'_>, ledger: &mut Ledger) -> Result<Config, Error> {
    let mut config = Config::default();
    let mut conditions = Conditions::default();
    for (text, line) in input.text.lines().zip(1..) {
        let at = At { file, line };
        let found = words(text).map_err(|why| Error::Syntax {
            file: input.name.to_owned(),
            line,
            why,
        })?;
        if found.is_empty() {
            ledger.say(at, Verdict::NotNeeded, "comment");
            continue;
        }
        if conditions.take(&found, at, ledger) {
            continue;
        }
        if let Some(name) = found.iter().find_map(|word| word.variable.as_deref()) {
            let note = format!(
                "the environment variable {name} is not known here: put its value in its place, and import again"
            );
            ledger.say(at, Verdict::Unsupported, note);
            continue;
        }
        let mut words: Vec<String> = found.into_iter().map(|word| word.text).collect();
        let known = KINDS
            .iter()
            .find(|(name, _)| words.first().is_some_and(|word| word == name));
        if let Some((_, kind)) = known {
            config.begin(*kind, &words, at, ledger);
            continue;
        }
        let negated = words.len() > 1 && matches!(words[0].as_str(), "no" | "default");
        if negated {
            words.remove(0);
        }
        hide(&words, at, ledger);
        match config.sections.last_mut() {
            Some(section) => section.statements.push(Statement { at, words, negated }),
            None => ledger.say(at, Verdict::Unsupported, "stands before any section"),
        }
    }
    conditions.finish(ledger);
    Ok(config)
}

impl Config {
    fn begin(&mut self, kind: Kind, words: &[String], at: At, ledger: &mut Ledger) {
        let word = |at: usize| words.get(at).map(String::as_str);
        let name = match (kind, word(1)) {
            (Kind::Defaults, Some("from")) => "",
            (_, name) => name.unwrap_or_default(),
        };
        let from = words.windows(2).rev().find(|pair| pair[0] == "from");
        let is_defaults = |section: &&Section| section.kind == Kind::Defaults;
        let defaults = match from {
            Some(pair) => {
                let mut named = self.sections.iter();
                let found = named.rposition(|s| is_defaults(&s) && s.name == pair[1]);
                if found.is_none() {
                    let note = format!("there is no section `defaults {}`", pair[1]);
                    ledger.say(at, Verdict::Unsupported, note);
                }
                found
            }
            None if kind == Kind::Defaults => None,
            None => self
                .sections
                .iter()
                .rposition(|section| is_defaults(&section)),
        };
        match kind {
            Kind::Other(why) => ledger.say(at, Verdict::Unsupported, why),
            Kind::Global => ledger.otherwise(at, Verdict::NotNeeded, "settings of the process"),
            Kind::Defaults => {
                let note = "its lines are with the services and proxies that they hold for";
                ledger.otherwise(at, Verdict::NotNeeded, note);
            }
            _ => {}
        }
        self.sections.push(Section {
            kind,
            name: name.to_owned(),
            defaults,
            at,
            statements: Vec::new(),
        });
    }
}

/// Passwords that a line has, whatever becomes of it.
fn hide(words: &[String], at: At, ledger: &mut Ledger) {
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let secret = match word {
            "auth" => words
                .next()
                .and_then(|login| login.split_once(':'))
                .map(|(_, secret)| secret),
            "password" | "insecure-password" | "dynamic-cookie-key" | "ca-sign-pass" => {
                words.next()
            }
            _ => None,
        };
        if let Some(secret) = secret {
            ledger.hide(at, secret);
        }
    }
}

/// `.if` and its kind: which branch HAProxy takes depends on where it runs. The first one is imported.
#[derive(Default)]
struct Conditions {
    /// Whether the branch is imported, for each that is open.
    open: Vec<(bool, At)>,
}

impl Conditions {
    /// Whether the line has its verdict.
    fn take(&mut self, words: &[Word], at: At, ledger: &mut Ledger) -> bool {
        let skipped = self.open.iter().any(|(taken, _)| !taken);
        let first = words.first().map_or("", |word| word.text.as_str());
        let note = match first {
            ".if" => {
                self.open.push((true, at));
                "conditions are not evaluated: what follows is imported as if it were true"
            }
            ".elif" | ".else" => {
                if let Some((taken, _)) = self.open.last_mut() {
                    *taken = false;
                }
                "conditions are not evaluated: what follows is not imported"
            }
            ".endif" => {
                self.open.pop();
                ledger.say(at, Verdict::NotNeeded, "end of .if");
                return true;
            }
            ".diag" | ".notice" | ".warning" | ".alert" => {
                ledger.say(
                    at,
                    Verdict::NotNeeded,
                    "a message for whoever starts HAProxy",
                );
                return true;
            }
            _ if skipped => "stands in a branch that is not imported",
            _ => return false,
        };
        ledger.say(at, Verdict::Unsupported, note);
        true
    }

    fn finish(self, ledger: &mut Ledger) {
        for (_, at) in self.open {
            ledger.say(
                at,
                Verdict::Unsupported,
                "has no .endif: HAProxy does not start with it",
            );
        }
    }
}
