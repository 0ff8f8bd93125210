//! The syntax of Cookie and Set-Cookie as HAProxy reads it: `,` parts cookies as `;` does, a value may be in quotes,
//! blanks may be anywhere, `$Path` and the like (RFC 2109 section 4.4) belong to the cookie before them.

/// One piece of a Cookie line. It begins with the delimiter before it, but for the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crumb<'a> {
    Pair {
        name: &'a [u8],
        value: &'a [u8],
        piece: &'a [u8],
    },
    /// `$...`: goes with what is before it.
    Attribute,
    /// Without a `=`.
    Other { piece: &'a [u8] },
}

pub(super) struct Crumbs<'a> {
    line: &'a [u8],
    at: usize,
    is_first: bool,
}

impl<'a> Crumbs<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self {
            line,
            at: 0,
            is_first: true,
        }
    }
}

const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn skip_blanks(line: &[u8], mut at: usize) -> usize {
    while line.get(at).copied().is_some_and(is_blank) {
        at += 1;
    }
    at
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().rev().take_while(|&&byte| is_blank(byte));
    &bytes[..bytes.len() - blanks.count()]
}

/// Where the value that begins at `at` ends: at a delimiter outside quotes.
fn value_end(line: &[u8], mut at: usize) -> usize {
    let mut is_quoted = false;
    while let Some(&byte) = line.get(at) {
        match byte {
            b'\\' if is_quoted => at += 1,
            b'"' => is_quoted = !is_quoted,
            b',' | b';' if !is_quoted => return at,
            _ => {}
        }
        at += 1;
    }
    line.len()
}

impl<'a> Iterator for Crumbs<'a> {
    type Item = Crumb<'a>;

    fn next(&mut self) -> Option<Crumb<'a>> {
        let line = self.line;
        let start = self.at;
        if start >= line.len() {
            return None;
        }
        let begin = skip_blanks(line, start + usize::from(!self.is_first));
        self.is_first = false;
        let equal = line[begin..]
            .iter()
            .position(|byte| matches!(byte, b'=' | b',' | b';'))
            .map_or(line.len(), |length| begin + length);
        let pair = (line.get(equal) == Some(&b'=')).then(|| {
            let value = skip_blanks(line, equal + 1);
            (value, value_end(line, value))
        });
        self.at = pair.map_or(equal, |(_, end)| end);
        let piece = &line[start..self.at];
        Some(match pair {
            _ if line.get(begin) == Some(&b'$') => Crumb::Attribute,
            Some((value, end)) => Crumb::Pair {
                name: trim_end(&line[begin..equal]),
                value: trim_end(&line[value..end]),
                piece,
            },
            None => Crumb::Other { piece },
        })
    }
}

/// The line without the cookies of this name; `None` where nothing is left.
pub(super) fn without(line: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut rest = Vec::with_capacity(line.len());
    // Whether the piece before is to go.
    let mut cut = false;
    // Attributes alone are not worth a line.
    let mut is_needed = false;
    let mut before = 0;
    let mut crumbs = Crumbs::new(line);
    while let Some(crumb) = crumbs.next() {
        let end = crumbs.at;
        match crumb {
            Crumb::Pair { name: found, .. } if found == name => cut = true,
            Crumb::Attribute if cut => {}
            Crumb::Attribute => rest.extend_from_slice(&line[before..end]),
            Crumb::Pair { piece, .. } | Crumb::Other { piece } => {
                is_needed = true;
                if std::mem::take(&mut cut) {
                    let text = skip_blanks(piece, 1);
                    if !rest.is_empty() {
                        rest.truncate(trim_end(&rest).len());
                        rest.push(piece[0]);
                        rest.push(b' ');
                    }
                    rest.extend_from_slice(&piece[text.min(piece.len())..]);
                } else {
                    rest.extend_from_slice(piece);
                }
            }
        }
        before = end;
    }
    (is_needed && !rest.is_empty()).then_some(rest)
}

/// Name of the cookie that a Set-Cookie line sets.
pub(super) fn set_cookie_name(line: &[u8]) -> Option<&[u8]> {
    let begin = skip_blanks(line, 0);
    let end = line.iter().position(|byte| matches!(byte, b'=' | b';'))?;
    (line[end] == b'=' && begin <= end).then(|| trim_end(&line[begin..end]))
}
