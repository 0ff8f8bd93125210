//! Lines of a head or of trailers, and the syntax of a field (RFC 9110 section 5, RFC 9112 section 5).

use super::{Fault, Limits};

/// Cuts a section into lines. The bytes are given anew each time, from the section's first one on.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Start of the line under way.
    start: usize,
    /// Up to here there is no end of it.
    searched: usize,
    fields: usize,
}

impl Lines {
    /// Nothing was looked at yet.
    pub(super) fn is_empty(&self) -> bool {
        self.searched == 0
    }

    /// Bytes of the lines that were given out.
    pub(super) fn length(&self) -> usize {
        self.start
    }

    /// The next whole line, without its end.
    pub(super) fn next<'a>(
        &mut self,
        bytes: &'a [u8],
        limits: &Limits,
    ) -> Result<Option<&'a [u8]>, Fault> {
        let unseen = bytes.get(self.searched..).unwrap_or_default();
        let Some(length) = memchr::memchr(b'\n', unseen) else {
            self.searched = bytes.len();
            return if bytes.len() >= limits.header {
                Err(Fault::HeaderSize)
            } else {
                Ok(None)
            };
        };
        let end = self.searched + length;
        if end >= limits.header {
            return Err(Fault::HeaderSize);
        }
        let line = &bytes[self.start..end];
        self.start = end + 1;
        self.searched = self.start;
        line.strip_suffix(b"\r").map(Some).ok_or(Fault::LineEnd)
    }

    /// Name and value of a line; blanks around the value are off.
    pub(super) fn field<'a>(
        &mut self,
        line: &'a [u8],
        limits: &Limits,
    ) -> Result<(&'a [u8], &'a [u8]), Fault> {
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Fault::FieldCount);
        }
        let length = line.iter().position(|&byte| !is_token(byte));
        let length = length.ok_or(Fault::FieldName)?;
        match (length, line[length]) {
            (0, b' ' | b'\t') => return Err(Fault::Fold),
            (1.., b':') => {}
            _ => return Err(Fault::FieldName),
        }
        let value = &line[length + 1..];
        if !value.iter().all(|&byte| is_value(byte)) {
            return Err(Fault::FieldValue);
        }
        Ok((&line[..length], value))
    }
}

const TOKEN: u8 = 1;
const VALUE: u8 = 2;
const TARGET: u8 = 4;
const HOST: u8 = 8;

/// Which byte may stand where.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let is_alphanumeric = b.is_ascii_alphanumeric();
        if is_alphanumeric
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            classes[byte] |= TOKEN;
        }
        if b == b'\t' || b >= b' ' && b != 0x7f {
            classes[byte] |= VALUE;
        }
        // Of what RFC 3986 does not allow, what browsers send nevertheless.
        if b > b' ' && b < 0x7f && !matches!(b, b'#' | b'<' | b'>' | b'`') {
            classes[byte] |= TARGET;
        }
        // unreserved, sub-delims without the comma, percent.
        if is_alphanumeric
            || matches!(
                b,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
            )
        {
            classes[byte] |= HOST;
        }
        byte += 1;
    }
    classes
};

const fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

pub(super) fn is_token(byte: u8) -> bool {
    is(byte, TOKEN)
}

pub(super) fn is_value(byte: u8) -> bool {
    is(byte, VALUE)
}

/// As hyper reads it: a quote may stand in the path only, a backquote in the query only.
pub(super) fn is_target(text: &[u8]) -> bool {
    let mut is_query = false;
    text.iter().all(|&byte| {
        is_query |= byte == b'?';
        match byte {
            b'"' => !is_query,
            b'`' => is_query,
            _ => is(byte, TARGET),
        }
    })
}

/// `host [":" port]` without user information (RFC 3986 section 3.2).
pub(super) fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else {
                return false;
            };
            let is_address = std::str::from_utf8(&rest[..end])
                .is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
            if !is_address {
                return false;
            }
            (&b"x"[..], &rest[end + 1..])
        }
        _ => {
            let end = text.iter().position(|&byte| byte == b':');
            text.split_at(end.unwrap_or(text.len()))
        }
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && std::str::from_utf8(digits)
                    .is_ok_and(|text| text.is_empty() || text.parse::<u16>().is_ok())
        }
        _ => false,
    };
    is_port && !host.is_empty() && host.iter().all(|&byte| is(byte, HOST))
}
