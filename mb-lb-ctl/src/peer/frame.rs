//! Bytes on the wire: the plain hello, frames, and messages that take more than one. No I/O.
//!
//! ```text
//! hello    "MBLB", version (u16)
//! frame    length (u16), so many bytes of a Noise message
//! inside   0: the message ends here, 1: it goes on in the next frame; then bytes of the message
//! ```
//!
//! Numbers are big-endian.

use super::message::MAX_MESSAGE;
use super::stats::RefusedReason;

/// Raised when bytes change their meaning. Two directors speak only the same version.
pub const VERSION: u16 = 1;
pub const MAGIC: [u8; 4] = *b"MBLB";
pub const HELLO: usize = MAGIC.len() + 2;

/// Of ChaCha20-Poly1305.
pub const TAG: usize = 16;
/// The longest Noise message.
pub const MAX_FRAME: usize = u16::MAX as usize;
/// Bytes of a message that one frame takes.
pub const CHUNK: usize = MAX_FRAME - TAG - 1;

const LENGTH: usize = 2;
const LAST: u8 = 0;
const MORE: u8 = 1;

pub fn hello() -> [u8; HELLO] {
    let [a, b, c, d] = MAGIC;
    let [high, low] = VERSION.to_be_bytes();
    [a, b, c, d, high, low]
}

/// Looks at as much of a hello as has come. `Ok(false)`: more is needed. The first byte that is wrong decides, so that who
/// sends something else and waits is not waited for.
pub fn check_hello(bytes: &[u8]) -> Result<bool, RefusedReason> {
    if bytes.iter().zip(MAGIC).any(|(got, want)| *got != want) {
        return Err(RefusedReason::Garbage);
    }
    match bytes.get(MAGIC.len()..HELLO) {
        None => Ok(false),
        Some(version) if version == VERSION.to_be_bytes() => Ok(true),
        Some(_) => Err(RefusedReason::WrongVersion),
    }
}

/// A frame's header. `content` is at most [`MAX_FRAME`].
pub fn length(content: usize) -> [u8; LENGTH] {
    u16::try_from(content)
        .expect("no Noise message is longer than a u16 says")
        .to_be_bytes()
}

/// What goes into frames, one after the other.
pub fn split(message: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = Some(message);
    std::iter::from_fn(move || {
        let now = rest?;
        Some(match now.split_at_checked(CHUNK) {
            Some((chunk, after)) if !after.is_empty() => {
                rest = Some(after);
                (MORE, chunk)
            }
            _ => {
                rest = None;
                (LAST, now)
            }
        })
    })
}

/// Frames out of a stream.
#[derive(Debug)]
pub struct Deframer {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Deframer {
    fn default() -> Self {
        Self {
            buffer: vec![0; 2 * (LENGTH + MAX_FRAME)].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }
}

impl Deframer {
    /// Where the next bytes of the stream go: never empty after [`Deframer::frame`] gave `None`.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes were put into [`Deframer::space`].
    pub fn filled(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.buffer.len());
    }

    /// The next whole frame.
    pub fn frame(&mut self) -> Result<Option<&[u8]>, RefusedReason> {
        let held = &self.buffer[self.start..self.end];
        let Some((header, rest)) = held.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*header));
        // A frame without a byte of content would cost work and say nothing.
        if length <= TAG {
            return Err(RefusedReason::BadMessage);
        }
        if rest.len() < length {
            return Ok(None);
        }
        let begin = self.start + LENGTH;
        self.start = begin + length;
        Ok(Some(&self.buffer[begin..begin + length]))
    }
}

/// Messages out of what was in frames.
#[derive(Debug, Default)]
pub struct Joiner {
    begun: Vec<u8>,
}

impl Joiner {
    /// The message that ends with this frame. Memory grows with what has come, never with what was announced.
    pub fn push(&mut self, content: &[u8]) -> Result<Option<Vec<u8>>, RefusedReason> {
        let (kind, chunk) = match content.split_first() {
            Some((&kind @ (LAST | MORE), chunk)) => (kind, chunk),
            _ => return Err(RefusedReason::BadMessage),
        };
        if self.begun.len() + chunk.len() > MAX_MESSAGE {
            return Err(RefusedReason::TooLarge);
        }
        if kind == MORE && chunk.is_empty() {
            return Err(RefusedReason::BadMessage);
        }
        self.begun.extend_from_slice(chunk);
        Ok((kind == LAST).then(|| std::mem::take(&mut self.begun)))
    }
}

#[cfg(test)]
mod tests;
