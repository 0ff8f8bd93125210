//! A response of HTTP/1.1 (RFC 9112), from bytes that anybody may have sent.

use crate::prober::finding::quote;

/// Bytes that are read, header and body together. What comes after is not waited for.
pub const LONGEST: usize = 64 * 1024;

/// Fields of a header.
const FIELDS: usize = 128;

/// Longest line between chunks.
const CHUNK_LINE: usize = 1024;

/// How much of the body there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Whole,
    /// The first [`LONGEST`] bytes of the response.
    Enough,
    /// The connection ended before it, or the caller did not wait for more.
    Part,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 100 to 999.
    pub status: u16,
    /// The phrase behind it, fit to be shown.
    pub phrase: String,
    /// Without the framing of its chunks.
    pub body: Vec<u8>,
    pub extent: Extent,
}

/// Bytes that no response consists of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Garbage {
    #[error("not HTTP: \"{0}\"")]
    NotHttp(String),
    #[error("the header is not one: {0}")]
    Header(&'static str),
    #[error("a header longer than {LONGEST} bytes")]
    TooLong,
    #[error("the chunks of the body are not well-formed")]
    Chunks,
    #[error("connection closed without an answer")]
    Silence,
    #[error("connection closed in the middle of the header")]
    Cut,
}

/// Takes the bytes as they come.
#[derive(Debug)]
pub struct Decoder {
    /// An answer to HEAD has no body.
    to_head: bool,
    /// All bytes but those of the body that were taken.
    buffer: Vec<u8>,
    /// Those of `buffer` that were looked at.
    at: usize,
    total: usize,
    head: Option<Head>,
    body: Vec<u8>,
}

#[derive(Debug)]
struct Head {
    status: u16,
    phrase: String,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    /// So many bytes of the body are to come.
    Length(u64),
    Chunked(Chunk),
    UntilClose,
}

#[derive(Clone, Copy, Debug)]
enum Chunk {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

impl Decoder {
    pub fn new(to_head: bool) -> Self {
        Self {
            to_head,
            buffer: Vec::new(),
            at: 0,
            total: 0,
            head: None,
            body: Vec::new(),
        }
    }

    /// Whether anything came.
    pub fn began(&self) -> bool {
        self.total > 0
    }

    /// The status, once the header is there.
    pub fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|head| head.status)
    }

    /// True: the response is there, as far as it is read.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<bool, Garbage> {
        let room = LONGEST - self.total;
        let taken = &bytes[..bytes.len().min(room)];
        self.total += taken.len();
        self.buffer.extend_from_slice(taken);
        while self.head.is_none() {
            let Some(end) = self.end_of_header()? else {
                return match self.is_full() {
                    true => Err(Garbage::TooLong),
                    false => Ok(false),
                };
            };
            let head = parse(&self.buffer[..end], self.to_head)?;
            self.buffer.drain(..end);
            self.at = 0;
            // Interim responses come before the final one (RFC 9110 section 15.2). After 101 it is not HTTP any more.
            if head.status >= 200 || head.status == 101 {
                self.head = Some(head);
            }
        }
        Ok(self.take_body()? || self.is_full())
    }

    /// What there is, at the end of the connection.
    pub fn end(self) -> Result<Response, Garbage> {
        let extent = match self.head.as_ref().map(|head| &head.framing) {
            None if self.total == 0 => return Err(Garbage::Silence),
            None => return Err(Garbage::Cut),
            Some(Framing::Length(0) | Framing::Chunked(Chunk::Done)) => Extent::Whole,
            Some(_) if self.is_full() => Extent::Enough,
            Some(Framing::UntilClose) => Extent::Whole,
            Some(_) => Extent::Part,
        };
        let Some(head) = self.head else {
            return Err(Garbage::Cut);
        };
        Ok(Response {
            status: head.status,
            phrase: head.phrase,
            body: self.body,
            extent,
        })
    }

    fn is_full(&self) -> bool {
        self.total == LONGEST
    }

    /// Length of the header with the empty line at its end. Lines may end in a bare LF (RFC 9112 section 2.2).
    fn end_of_header(&mut self) -> Result<Option<usize>, Garbage> {
        let start = &self.buffer[..self.buffer.len().min(7)];
        if !b"HTTP/1.".starts_with(start) {
            let line = self.buffer.split(|byte| *byte == b'\n').next();
            return Err(Garbage::NotHttp(quote(line.unwrap_or_default())));
        }
        while let Some(found) = self.buffer[self.at..].iter().position(|b| *b == b'\n') {
            let line_feed = self.at + found;
            let rest = &self.buffer[line_feed + 1..];
            let empty = match rest {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                // It is decided when more has come.
                [] | [b'\r'] => {
                    self.at = line_feed;
                    return Ok(None);
                }
                _ => 0,
            };
            if empty > 0 {
                return Ok(Some(line_feed + 1 + empty));
            }
            self.at = line_feed + 1;
        }
        self.at = self.buffer.len();
        Ok(None)
    }

    /// Moves what belongs to the body. True: it has ended.
    fn take_body(&mut self) -> Result<bool, Garbage> {
        let Some(head) = &mut self.head else {
            return Ok(false);
        };
        match &mut head.framing {
            Framing::UntilClose => {
                self.body.append(&mut self.buffer);
                Ok(false)
            }
            Framing::Length(left) => {
                *left -= take(&mut self.buffer, &mut self.body, *left);
                Ok(*left == 0)
            }
            Framing::Chunked(chunk) => loop {
                *chunk = match *chunk {
                    Chunk::Done => return Ok(true),
                    Chunk::Data(0) => Chunk::DataEnd,
                    Chunk::Data(left) => {
                        let taken = take(&mut self.buffer, &mut self.body, left);
                        if taken == 0 {
                            return Ok(false);
                        }
                        Chunk::Data(left - taken)
                    }
                    line => {
                        let Some(text) = take_line(&mut self.buffer)? else {
                            return Ok(false);
                        };
                        next(line, &text)?
                    }
                };
            },
        }
    }
}

/// Moves at most `most` bytes, and says how many.
fn take(from: &mut Vec<u8>, to: &mut Vec<u8>, most: u64) -> u64 {
    let count = usize::try_from(most).unwrap_or(usize::MAX).min(from.len());
    to.extend(from.drain(..count));
    count as u64
}

/// A line without its end.
fn take_line(from: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Garbage> {
    let Some(end) = from.iter().take(CHUNK_LINE).position(|b| *b == b'\n') else {
        return match from.len() < CHUNK_LINE {
            true => Ok(None),
            false => Err(Garbage::Chunks),
        };
    };
    let mut line: Vec<u8> = from.drain(..=end).collect();
    line.pop();
    line.pop_if(|byte| *byte == b'\r');
    Ok(Some(line))
}

/// What follows a line between chunks (RFC 9112 section 7.1).
fn next(chunk: Chunk, line: &[u8]) -> Result<Chunk, Garbage> {
    match chunk {
        Chunk::DataEnd if line.is_empty() => Ok(Chunk::Size),
        Chunk::Trailer if line.is_empty() => Ok(Chunk::Done),
        Chunk::Trailer => Ok(Chunk::Trailer),
        Chunk::Size => {
            let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let size = str::from_utf8(size.trim_ascii()).map_err(|_| Garbage::Chunks)?;
            if !size.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(Garbage::Chunks);
            }
            match u64::from_str_radix(size, 16) {
                Ok(0) => Ok(Chunk::Trailer),
                Ok(size) => Ok(Chunk::Data(size)),
                Err(_) => Err(Garbage::Chunks),
            }
        }
        Chunk::DataEnd | Chunk::Data(_) | Chunk::Done => Err(Garbage::Chunks),
    }
}

fn parse(header: &[u8], to_head: bool) -> Result<Head, Garbage> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(header).map_err(|error| match error {
        httparse::Error::Status => Garbage::Header("a status that is none"),
        httparse::Error::TooManyHeaders => Garbage::Header("more than 128 fields"),
        httparse::Error::HeaderName => Garbage::Header("a name of a field that is none"),
        httparse::Error::HeaderValue => Garbage::Header("a value of a field that is none"),
        _ => Garbage::Header("a line that is none"),
    })?;
    let (httparse::Status::Complete(_), Some(status)) = (parsed, response.code) else {
        return Err(Garbage::Header("a line that is none"));
    };
    let values = |name: &'static str| {
        let fields = response.headers.iter();
        fields
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    };
    let chunked = values("transfer-encoding")
        .next_back()
        .is_some_and(|value| {
            let last = value.split(|byte| *byte == b',').next_back();
            last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"))
        });
    let mut length = None;
    for value in values("content-length") {
        let text = str::from_utf8(value.trim_ascii()).unwrap_or_default();
        let digits = text.bytes().all(|digit| digit.is_ascii_digit());
        let value = text.parse::<u64>().ok().filter(|_| digits);
        let value = value.ok_or(Garbage::Header("a length that is none"))?;
        if length.is_some_and(|length| length != value) {
            return Err(Garbage::Header("two lengths"));
        }
        length = Some(value);
    }
    // RFC 9112 section 6.3.
    let framing = if to_head || matches!(status, 101 | 204 | 304) {
        Framing::Length(0)
    } else if chunked {
        Framing::Chunked(Chunk::Size)
    } else if values("transfer-encoding").next().is_some() {
        Framing::UntilClose
    } else {
        length.map_or(Framing::UntilClose, Framing::Length)
    };
    Ok(Head {
        status,
        phrase: quote(response.reason.unwrap_or_default().as_bytes()),
        framing,
    })
}

#[cfg(test)]
mod tests;
