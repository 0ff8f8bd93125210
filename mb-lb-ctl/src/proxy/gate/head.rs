//! The head of a request: its line and fields (RFC 9112 sections 3, 5 and 6).

use std::ops::Range;

use super::lines::{Lines, is_host, is_target, is_token};
use super::{Fault, Limits};

/// A head as far as it came. Ranges are places in the bytes since its first one.
#[derive(Debug, Default)]
pub(super) struct Head {
    lines: Lines,
    /// A line without anything before the request's line (RFC 9112 section 2.2).
    has_empty_line: bool,
    version: Option<Version>,
    /// Of an absolute target; with its scheme's default port.
    authority: Option<(Range<usize>, &'static [u8])>,
    host: Option<Range<usize>>,
    length: Option<u64>,
    is_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// How long the content is (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

impl Head {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn framing(&self) -> Framing {
        if self.is_chunked {
            Framing::Chunked
        } else {
            Framing::Length(self.length.unwrap_or(0))
        }
    }

    /// Whether no request may follow on this connection (RFC 9112 section 9.3).
    pub(super) fn is_last(&self) -> bool {
        self.says_close || self.version == Some(Version::Http10) && !self.says_keep_alive
    }

    /// The bytes since the head's first one. Its length, once it is complete.
    pub(super) fn feed(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Fault> {
        // What is not HTTP at all is seen at once.
        if self.is_empty()
            && !bytes
                .first()
                .is_some_and(|&byte| is_token(byte) || byte == b'\r')
        {
            return Err(match bytes.first() {
                Some(b'\n') => Fault::LineEnd,
                _ => Fault::Method,
            });
        }
        while let Some(line) = self.lines.next(bytes, limits)? {
            // Lines end at length() with two bytes.
            let at = self.lines.length() - 2 - line.len();
            if self.version.is_none() {
                if line.is_empty() && !self.has_empty_line {
                    self.has_empty_line = true;
                } else {
                    self.request_line(line, at)?;
                }
            } else if line.is_empty() {
                self.check(bytes, limits)?;
                return Ok(Some(self.lines.length()));
            } else {
                let (name, value) = self.lines.field(line, limits)?;
                self.field(name, value, at + name.len() + 1)?;
            }
        }
        Ok(None)
    }

    fn request_line(&mut self, line: &[u8], at: usize) -> Result<(), Fault> {
        if line.contains(&b'\r') {
            return Err(Fault::LineEnd);
        }
        let mut words = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Fault::RequestLine);
        };
        if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
            return Err(Fault::Method);
        }
        self.version = Some(match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(Fault::Version);
            }
            _ => return Err(Fault::VersionSyntax),
        });
        if method == b"CONNECT" {
            return Err(Fault::Connect);
        }
        if !is_target(target) {
            return Err(Fault::Target);
        }
        self.target(method, target, at + method.len() + 1)
    }

    /// RFC 9112 section 3.2: origin form, absolute form, and `*` for OPTIONS.
    fn target(&mut self, method: &[u8], target: &[u8], at: usize) -> Result<(), Fault> {
        match target {
            [b'/', ..] => return Ok(()),
            b"*" if method == b"OPTIONS" => return Ok(()),
            _ => {}
        }
        let has = |scheme: &[u8]| {
            target
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        let (start, port) = if has(b"http://") {
            (7, b":80".as_slice())
        } else if has(b"https://") {
            (8, b":443".as_slice())
        } else {
            return Err(Fault::Target);
        };
        let rest = &target[start..];
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
        let length = end.unwrap_or(rest.len());
        if !is_host(&rest[..length]) {
            return Err(Fault::Target);
        }
        self.authority = Some((at + start..at + start + length, port));
        Ok(())
    }

    /// `value` with what is around it; `at` is its place.
    fn field(&mut self, name: &[u8], value: &[u8], at: usize) -> Result<(), Fault> {
        let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
        match name.len() {
            4 if is(b"host") => {
                let host = value.trim_ascii();
                if self.host.is_some() {
                    return Err(Fault::HostTwice);
                }
                if !is_host(host) {
                    return Err(Fault::HostSyntax);
                }
                let start = at + value.len() - value.trim_ascii_start().len();
                self.host = Some(start..start + host.len());
            }
            10 if is(b"connection") => {
                for word in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    self.says_close |= word.eq_ignore_ascii_case(b"close");
                    self.says_keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is(b"content-length") => {
                if self.length.is_some() {
                    return Err(Fault::ContentLengthTwice);
                }
                self.length = Some(number(value.trim_ascii()).ok_or(Fault::ContentLength)?);
            }
            17 if is(b"transfer-encoding") => {
                if std::mem::replace(&mut self.is_chunked, true) {
                    return Err(Fault::TransferEncodingTwice);
                }
                transfer_encoding(value)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// What can be said only when all fields are there.
    fn check(&self, bytes: &[u8], limits: &Limits) -> Result<(), Fault> {
        if self.is_chunked && self.version == Some(Version::Http10) {
            return Err(Fault::TransferEncodingVersion);
        }
        if self.is_chunked && self.length.is_some() {
            return Err(Fault::TwoLengths);
        }
        match &self.host {
            None if self.version == Some(Version::Http11) => return Err(Fault::HostMissing),
            Some(host) => {
                if let Some((authority, port)) = &self.authority
                    && !is_same_host(&bytes[host.clone()], &bytes[authority.clone()], port)
                {
                    return Err(Fault::HostMismatch);
                }
            }
            None => {}
        }
        match (self.length, limits.body) {
            (Some(length), Some(limit)) if length > limit => Err(Fault::BodySize),
            _ => Ok(()),
        }
    }
}

/// Digits only; up to 2^63 - 1.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = text.iter().try_fold(0u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })?;
    i64::try_from(number).is_ok().then_some(number)
}

/// `chunked` and nothing else; blanks only before it.
fn transfer_encoding(value: &[u8]) -> Result<(), Fault> {
    let blanks = value.iter().take_while(|&&byte| byte == b' ').count();
    let value = &value[blanks..];
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    // Well-formed, but with codings that we do not take off (RFC 9112 section 6.1).
    let mut codings = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let is_last = codings.next_back().is_some_and(is_chunked);
    let are_others = codings.all(|coding| {
        !coding.is_empty()
            && coding.iter().all(|&byte| is_token(byte))
            && !is_chunked(coding)
            && !coding.eq_ignore_ascii_case(b"identity")
    });
    if is_last && are_others && value.contains(&b',') && !value.contains(&b'\t') {
        Err(Fault::TransferCoding)
    } else {
        Err(Fault::TransferEncoding)
    }
}

/// A default port may be there or not.
fn is_same_host(one: &[u8], other: &[u8], port: &[u8]) -> bool {
    let bare = |host: &[u8]| {
        let host = host.strip_suffix(port).unwrap_or(host);
        host.strip_suffix(b":").unwrap_or(host).to_ascii_lowercase()
    };
    bare(one) == bare(other)
}
