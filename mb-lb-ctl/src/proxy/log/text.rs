//! Text of clients in a line of the log.

use std::fmt::Write as _;

/// A JSON string (RFC 8259 section 7). Control characters of Unicode are escaped too, which terminals act upon.
pub fn json(text: &str, line: &mut String) {
    line.push('"');
    escaped(
        text,
        line,
        |c| c == '"' || c == '\\' || c.is_control(),
        |c, line| {
            let _ = match c {
                '"' | '\\' => write!(line, "\\{c}"),
                // All control characters are below U+10000.
                _ => write!(line, "\\u{:04x}", u32::from(c)),
            };
        },
    );
    line.push('"');
}

/// As HAProxy writes what clients sent: `#` and two hex digits for each byte of a quote, a hash, a control character or one
/// that is not ASCII.
pub fn hashed(text: &str, line: &mut String) {
    let unsafe_in_line = |c: char| matches!(c, '"' | '#') || c.is_ascii_control() || !c.is_ascii();
    escaped(text, line, unsafe_in_line, |c, line| {
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(line, "#{byte:02X}");
        }
    });
}

/// What needs no change is copied in one piece, as nearly all is.
fn escaped(
    text: &str,
    line: &mut String,
    which: impl Fn(char) -> bool,
    escape: impl Fn(char, &mut String),
) {
    let mut rest = text;
    while let Some(at) = rest.find(&which) {
        line.push_str(&rest[..at]);
        let mut chars = rest[at..].chars();
        if let Some(c) = chars.next() {
            escape(c, line);
        }
        rest = chars.as_str();
    }
    line.push_str(rest);
}
