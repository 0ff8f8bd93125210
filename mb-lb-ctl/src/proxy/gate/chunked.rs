//! Chunked content (RFC 9112 section 7.1). Sizes, extensions and data pass as they come; trailers only all together.

use super::lines::{Lines, is_value};
use super::{Fault, Limits};

/// Bytes of all the extensions of a body.
const EXTENSIONS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of content so far, with those of the chunk under way.
    total: u64,
    /// Bytes of extensions so far.
    extensions: usize,
}

#[derive(Debug)]
enum State {
    /// Digits of the size so far, and their value.
    Size(u8, u64),
    Extension(u64),
    /// CR of the size's line was there.
    SizeEnd(u64),
    /// Bytes to come; at least one.
    Data(u64),
    DataCr,
    DataLf,
    Trailers(Lines),
}

impl Default for State {
    fn default() -> Self {
        Self::Size(0, 0)
    }
}

impl Chunked {
    /// How many bytes may pass, and whether the content is complete.
    pub(super) fn feed(&mut self, bytes: &[u8], limits: &Limits) -> (usize, Result<bool, Fault>) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let state = match &mut self.state {
                State::Data(left) => {
                    let rest = bytes.len() - at;
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(rest);
                    *left -= length as u64;
                    at += length;
                    if *left == 0 {
                        self.state = State::DataCr;
                    }
                    continue;
                }
                State::Trailers(lines) => {
                    return match trailers(lines, &bytes[at..], limits) {
                        Ok(None) => (at, Ok(false)),
                        Ok(Some(length)) => (at + length, Ok(true)),
                        Err(fault) => (at, Err(fault)),
                    };
                }
                &mut State::Size(digits, value) => size(byte, digits, value),
                &mut State::Extension(size) => match byte {
                    b'\r' => Ok(State::SizeEnd(size)),
                    _ if !is_value(byte) || self.extensions >= EXTENSIONS => {
                        Err(Fault::ChunkExtension)
                    }
                    _ => {
                        self.extensions += 1;
                        at += 1;
                        continue;
                    }
                },
                &mut State::SizeEnd(size) => self.size_end(byte, size, limits),
                State::DataCr if byte == b'\r' => Ok(State::DataLf),
                State::DataLf if byte == b'\n' => Ok(State::Size(0, 0)),
                State::DataCr | State::DataLf => Err(Fault::ChunkEnd),
            };
            match state {
                Ok(state) => self.state = state,
                Err(fault) => return (at, Err(fault)),
            }
            at += 1;
        }
        (at, Ok(false))
    }

    fn size_end(&mut self, byte: u8, size: u64, limits: &Limits) -> Result<State, Fault> {
        if byte != b'\n' {
            return Err(Fault::LineEnd);
        }
        if size == 0 {
            return Ok(State::Trailers(Lines::default()));
        }
        self.total = self.total.saturating_add(size);
        if limits.body.is_some_and(|limit| self.total > limit) {
            return Err(Fault::BodySize);
        }
        Ok(State::Data(size))
    }
}

fn size(byte: u8, digits: u8, value: u64) -> Result<State, Fault> {
    match (byte, (byte as char).to_digit(16)) {
        // 15 digits: no room for an overflow, here or anywhere behind.
        (_, Some(digit)) if digits < 15 => {
            Ok(State::Size(digits + 1, value << 4 | u64::from(digit)))
        }
        (b'\r', _) if digits > 0 => Ok(State::SizeEnd(value)),
        (b';', _) if digits > 0 => Ok(State::Extension(value)),
        _ => Err(Fault::ChunkSize),
    }
}

/// Length of the trailers with the line that ends them, once all are there.
fn trailers(lines: &mut Lines, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Fault> {
    while let Some(line) = lines.next(bytes, limits)? {
        if line.is_empty() {
            return Ok(Some(lines.length()));
        }
        let (name, _) = lines.field(line, limits)?;
        // RFC 9110 section 6.5.1: what frames or routes a message.
        const HEAD_ONLY: [&[u8]; 7] = [
            b"content-length",
            b"transfer-encoding",
            b"host",
            b"connection",
            b"trailer",
            b"upgrade",
            b"te",
        ];
        if HEAD_ONLY.iter().any(|word| name.eq_ignore_ascii_case(word)) {
            return Err(Fault::Trailer);
        }
    }
    Ok(None)
}
