//! What is wrong with a file, as data: code, severity, place, words, and what to write instead.

use std::ops::Range;

use serde::{Serialize, Serializer};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be put in force.
    Error,
    /// The file can be put in force, but probably does not say what was meant.
    Warning,
}

macro_rules! codes {
    ($($variant:ident = $id:literal, $severity:ident, $text:literal;)*) => {
        /// The kind of a diagnostic. Codes are stable: a code that is no longer used is not given to another kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $text] $variant),* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// As printed: `E012`, `W101`.
            pub const fn id(self) -> &'static str {
                match self { $(Code::$variant => $id),* }
            }
            pub const fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity),* }
            }
            /// One line for people.
            pub const fn text(self) -> &'static str {
                match self { $(Code::$variant => $text),* }
            }
        }
    };
}

codes! {
    Syntax = "E001", Error, "not TOML";
    DuplicateKey = "E002", Error, "a key or a table is given twice";
    UnknownKey = "E003", Error, "a key that does not exist";
    NotInThisBuild = "E004", Error, "a key, section or value that this build does not have yet";
    WrongType = "E005", Error, "a value of the wrong type";
    OutOfRange = "E006", Error, "a value outside its range";
    BadDuration = "E007", Error, "not a duration";
    BadAddress = "E008", Error, "not an address that can be used here";
    UnknownValue = "E009", Error, "not one of the words that are possible here";
    MissingKey = "E010", Error, "a key that is required";
    Empty = "E011", Error, "an empty list, table or string";
    BadName = "E012", Error, "not a name";
    BadInterface = "E013", Error, "not the name of a network interface";
    BadText = "E014", Error, "text that cannot be spoken as it stands";
    BadPath = "E015", Error, "not a path that can be used here";
    BadMode = "E016", Error, "not a file mode";
    NoEffect = "E017", Error, "a key that has no effect beside another one";
    DuplicateListen = "E018", Error, "one address and port is listened on twice";
    DuplicateInterface = "E019", Error, "an interface is listed twice";
    ServerIsVip = "E020", Error, "a server has the address of the service";
    TooMany = "E021", Error, "more than there is room for";
    NoService = "E022", Error, "no service";
    Exclusive = "E023", Error, "two keys that exclude each other";
    MixedFamilies = "E024", Error, "IPv4 and IPv6 in one VRRP instance";
    NeedsVersion3 = "E025", Error, "only version 3 of VRRP can say this";
    NotLinkLocal = "E026", Error, "the first IPv6 address of a VRRP instance is not link-local";
    DuplicateAddress = "E027", Error, "an address is given twice";
    BadEnd = "E028", Error, "an address that adverts cannot come from or go to";
    DuplicateRouter = "E029", Error, "two VRRP instances are one virtual router";
    UnknownService = "E030", Error, "a service that does not exist";
    TooFewServers = "E031", Error, "more servers are to be up than there are";
    BadKey = "E032", Error, "not a key of the link between directors";
    BadSize = "E033", Error, "not a size";
    BadRegex = "E034", Error, "not a regular expression";
    DuplicateName = "E035", Error, "a name is given to two things that commands could not tell apart";
    AllWeightsZero = "W101", Warning, "no server takes new flows";
    OnlyBackups = "W102", Warning, "all servers are backups";
    SingleServer = "W103", Warning, "one server only";
    SlowToNotice = "W104", Warning, "a failed server is noticed late";
    TimeoutOverInterval = "W105", Warning, "a check may take longer than the distance between two";
    DuplicateServer = "W106", Warning, "two servers of a service have one address";
    NoReplyCode = "W107", Warning, "a refusal without a refusing reply code";
    OpenSocket = "W108", Warning, "the admin socket is open to everybody on the machine";
    LongPassword = "W109", Warning, "a password of which only the first 8 bytes count";
    LonelyGroup = "W110", Warning, "a sync group with one member";
    WeightWithoutPreempt = "W111", Warning, "weights that cannot move the addresses, for nobody preempts";
    WeightOfOwner = "W112", Warning, "weights at priority 255, which nothing changes";
    NoShell = "W113", Warning, "a command with words that only a shell would understand";
    ClearText = "W114", Warning, "HTTP in clear where TLS is expected";
    RefusedCookie = "W115", Warning, "a cookie that browsers do not take";
    DuplicateCookie = "W116", Warning, "two servers of a proxy have one cookie";
    FewSentinels = "W117", Warning, "fewer than three Sentinels";
    NoMajority = "W118", Warning, "a cluster that cannot lose a node";
    OwnVip = "W119", Warning, "an address that mail servers have themselves";
    OpenPage = "W130", Warning, "the page is open to the network";
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// A place in the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Location {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Byte offset where it starts.
    pub start: usize,
    /// Byte offset after its end; equals `start` where something is missing.
    pub end: usize,
}

/// Another place that matters: where the first of two stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Related {
    #[serde(flatten)]
    pub location: Location,
    pub label: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    pub code: Code,
    #[serde(flatten)]
    pub location: Location,
    /// One line; understandable without seeing the file.
    pub message: String,
    /// What to write instead, or why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<Related>,
}

/// A diagnostic before its place is translated into line and column.
#[derive(Debug)]
pub(super) struct Finding {
    pub code: Code,
    pub span: Range<usize>,
    pub message: String,
    pub help: Option<String>,
    pub related: Option<(Range<usize>, String)>,
}

impl Finding {
    pub fn new(code: Code, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            code,
            span,
            message: message.into(),
            help: None,
            related: None,
        }
    }
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    pub fn related(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }
}

/// Gathers findings.
pub(super) struct Reporter<'s> {
    source: &'s str,
    /// Byte offset of the start of each line.
    lines: Vec<usize>,
    findings: Vec<Finding>,
}

impl<'s> Reporter<'s> {
    pub fn new(source: &'s str) -> Self {
        let starts = source.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            source,
            lines: std::iter::once(0).chain(starts).collect(),
            findings: Vec::new(),
        }
    }

    pub fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The whole lines that a span touches.
    pub fn lines_of(&self, span: &Range<usize>) -> Range<usize> {
        let first = self.line_index(span.start);
        let last = self.line_index(span.end.max(span.start));
        let end = self.lines.get(last + 1).copied();
        self.lines[first]..end.unwrap_or(self.source.len())
    }

    /// Index of the line that holds the byte.
    pub fn line_index(&self, byte: usize) -> usize {
        // The first line starts at 0, so at least one start is not after any byte.
        self.lines.partition_point(|start| *start <= byte) - 1
    }

    /// Keeps only findings that the caller wants.
    pub fn retain(&mut self, keep: impl FnMut(&Finding) -> bool) {
        self.findings.retain(keep);
    }

    pub fn has_errors(&self) -> bool {
        let mut severities = self.findings.iter().map(|f| f.code.severity());
        severities.any(|severity| severity == Severity::Error)
    }

    /// Everything found, in the order of the file.
    pub fn finish(self) -> Vec<Diagnostic> {
        let mut diagnostics: Vec<_> = self.findings.iter().map(|f| self.translate(f)).collect();
        diagnostics.sort_by(|a, b| {
            let key = |d: &Diagnostic| (d.location.start, d.location.end, d.code);
            key(a).cmp(&key(b))
        });
        diagnostics.dedup();
        diagnostics
    }

    fn translate(&self, finding: &Finding) -> Diagnostic {
        Diagnostic {
            severity: finding.code.severity(),
            code: finding.code,
            location: self.locate(&finding.span),
            message: finding.message.clone(),
            help: finding.help.clone(),
            related: finding.related.as_ref().map(|(span, label)| Related {
                location: self.locate(span),
                label: label.clone(),
            }),
        }
    }

    fn locate(&self, span: &Range<usize>) -> Location {
        let start = self.source.floor_char_boundary(span.start);
        let end = self.source.ceil_char_boundary(span.end.max(start));
        let line = self.line_index(start);
        let before = &self.source[self.lines[line]..start];
        Location {
            line: line + 1,
            column: before.chars().count() + 1,
            start,
            end,
        }
    }
}

/// Text of the file inside a message: in backquotes, on one line, control characters visible, not endless.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut quoted = String::from("`");
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST {
            quoted.push('…');
            break;
        }
        if c.is_control() {
            quoted.extend(c.escape_debug());
        } else {
            quoted.push(c);
        }
    }
    quoted.push('`');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_say_their_severity() {
        let mut ids: Vec<_> = Code::ALL.iter().map(|code| code.id()).collect();
        for code in Code::ALL {
            let letter = match code.severity() {
                Severity::Error => 'E',
                Severity::Warning => 'W',
            };
            assert!(code.id().starts_with(letter), "{}", code.id());
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Code::ALL.len());
    }

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let source = "a\nä = ö\n";
        let mut reporter = Reporter::new(source);
        for span in [0..1, 7..9, 10..10] {
            reporter.push(Finding::new(Code::Syntax, span, "x"));
        }
        let places: Vec<_> = reporter
            .finish()
            .into_iter()
            .map(|d| (d.location.line, d.location.column))
            .collect();
        assert_eq!(places, [(1, 1), (2, 5), (3, 1)]);
    }

    #[test]
    fn quoted_text_is_short_and_visible() {
        assert_eq!(quote("a\u{1b}[31m\n"), "`a\\u{1b}[31m\\n`");
        assert_eq!(quote(&"x".repeat(100)), format!("`{}…`", "x".repeat(60)));
    }
}
