//! Strict framing of HTTP/1.1 requests (RFC 9112), before the HTTP library sees a byte.
//!
//! Two programs that read the same bytes as different requests let a client smuggle one. So what could be read in two
//! ways is refused here: of a request's head nothing passes before all of it is checked; of a body, each byte passes only
//! where its frame is in order.
//!
//! ```text
//!          feed
//!   Head --------> Length --------> Head of the next request
//!     |               ^                ^
//!     +---------------|--> Chunked ----+      after `Connection: close`: Last, where nothing passes
//!     |
//!     +--> Refused: for ever                  open(): Tunnel, where all passes; only after the server's 101
//! ```

mod chunked;
mod fault;
mod head;
mod lines;
mod stream;
#[cfg(test)]
mod tests;

pub use fault::{Fault, Place, Violation};
pub use stream::{GateStream, Handle, Page, Pages};

use crate::config::ProxyLimits;
use chunked::Chunked;
use head::Head;

/// What a request may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request's line and fields, and of the trailers.
    pub header: usize,
    /// Number of fields, and of trailers.
    pub fields: usize,
    /// Bytes of content.
    pub body: Option<u64>,
}

impl From<&ProxyLimits> for Limits {
    fn from(limits: &ProxyLimits) -> Self {
        Self {
            header: limits.header as usize,
            fields: limits.fields.into(),
            body: limits.body,
        }
    }
}

/// The machine of one connection.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    state: State,
    /// Whether the request under way is the last one of the connection.
    is_last: bool,
}

#[derive(Debug)]
enum State {
    Head(Head),
    /// Bytes of content that are still to come; at least one.
    Length(u64),
    Chunked(Chunked),
    /// The client said that the request before was its last one.
    Last,
    Tunnel,
    Refused(Violation),
}

/// What became of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// So many of them may go on. The others must be given again, with what follows them.
    pub passed: usize,
    /// Whether the head of a request is among those.
    pub has_head: bool,
    pub next: Next,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Bytes that follow are needed.
    More,
    /// A request ends after the bytes that passed. What was given beyond is not looked at yet.
    End,
    /// Nothing passes any more.
    Refused(Violation),
}

impl Gate {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Head(Head::default()),
            is_last: false,
        }
    }

    /// The connection was switched to another protocol: all passes from now on. Only after the server's 101 (RFC 9110
    /// section 15.2.2).
    pub fn open(&mut self) {
        if !matches!(self.state, State::Refused(_)) {
            self.state = State::Tunnel;
        }
    }

    /// Whether the next byte is the first one of a request's head.
    pub fn is_between_requests(&self) -> bool {
        matches!(&self.state, State::Head(head) if head.is_empty())
    }

    /// Whether a part of a request's content is still to come.
    pub fn is_in_content(&self) -> bool {
        matches!(&self.state, State::Length(_) | State::Chunked(_))
    }

    /// Looks at bytes: those that did not pass before, and what came after them. Stops at the end of a request.
    pub fn feed(&mut self, bytes: &[u8]) -> Progress {
        let mut progress = Progress {
            passed: 0,
            has_head: false,
            next: Next::More,
        };
        // A head and the content after it: two rounds.
        while matches!(progress.next, Next::More) && progress.passed < bytes.len() {
            let rest = &bytes[progress.passed..];
            let (passed, place, outcome) = match &mut self.state {
                State::Head(head) => match head.feed(rest, &self.limits) {
                    Ok(None) => return progress,
                    Ok(Some(length)) => {
                        progress.has_head = true;
                        (length, Place::Head, Ok(self.after_head()))
                    }
                    Err(fault) => (0, Place::Head, Err(fault)),
                },
                State::Length(left) => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= length as u64;
                    (length, Place::Body, Ok(*left == 0))
                }
                State::Chunked(chunked) => {
                    let (passed, outcome) = chunked.feed(rest, &self.limits);
                    if let Ok(false) = outcome {
                        progress.passed += passed;
                        return progress;
                    }
                    (passed, Place::Body, outcome)
                }
                State::Last => (0, Place::After, Err(Fault::AfterLast)),
                State::Tunnel => (rest.len(), Place::Body, Ok(false)),
                State::Refused(violation) => {
                    progress.next = Next::Refused(*violation);
                    return progress;
                }
            };
            progress.passed += passed;
            match outcome {
                Ok(false) => {}
                Ok(true) => {
                    progress.next = Next::End;
                    self.state = if self.is_last {
                        State::Last
                    } else {
                        State::Head(Head::default())
                    };
                }
                Err(fault) => {
                    let violation = Violation { fault, place };
                    progress.next = Next::Refused(violation);
                    self.state = State::Refused(violation);
                }
            }
        }
        progress
    }

    /// Whether the request has no content, and so is complete.
    fn after_head(&mut self) -> bool {
        let State::Head(head) = &self.state else {
            return false;
        };
        self.is_last = head.is_last();
        let state = match head.framing() {
            head::Framing::Length(0) => return true,
            head::Framing::Length(length) => State::Length(length),
            head::Framing::Chunked => State::Chunked(Chunked::default()),
        };
        self.state = state;
        false
    }
}
