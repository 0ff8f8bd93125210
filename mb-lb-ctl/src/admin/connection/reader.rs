//! Lines from a stream, bounded in length and in time.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

/// What came.
pub enum Read {
    /// A line without its `\n`; what is not UTF-8 is replaced.
    Line(String),
    /// The client closed. An unfinished line is thrown away: half a command must not run.
    Closed,
    /// Nothing came for too long.
    Idle,
    /// More than allowed came without a line end.
    TooLong,
}

pub struct Reader {
    pub stream: UnixStream,
    buffer: Vec<u8>,
    /// So much of the buffer is known to hold no line end.
    searched: usize,
}

impl Reader {
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            searched: 0,
        }
    }

    /// The next line, of at most `limit` bytes; each silence may last `idle`.
    pub async fn line(&mut self, limit: usize, idle: Duration) -> io::Result<Read> {
        loop {
            if let Some(at) = self.buffer[self.searched..]
                .iter()
                .position(|b| *b == b'\n')
            {
                let rest = self.buffer.split_off(self.searched + at + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                if line.len() > limit {
                    return Ok(Read::TooLong);
                }
                let text = String::from_utf8_lossy(&line[..line.len() - 1]);
                return Ok(Read::Line(text.into_owned()));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() >= limit {
                return Ok(Read::TooLong);
            }
            self.buffer.reserve(4096);
            let read = self.stream.read_buf(&mut self.buffer);
            match tokio::time::timeout(idle, read).await {
                Err(_) => return Ok(Read::Idle),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(0)) => return Ok(Read::Closed),
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Whether more was sent than has been read, without waiting for it.
    pub fn has_more(&mut self) -> io::Result<bool> {
        if self.buffer.is_empty() {
            self.buffer.reserve(4096);
            match self.stream.try_read_buf(&mut self.buffer) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(!self.buffer.is_empty())
    }

    /// Returns when the client has closed; what it says until then is ignored.
    pub async fn gone(&mut self) -> io::Result<()> {
        let mut ignored = [0; 1024];
        while self.stream.read(&mut ignored).await? > 0 {}
        Ok(())
    }

    /// Reads what is on its way, for a short while and not for ever.
    pub async fn discard(&mut self) -> io::Result<()> {
        match tokio::time::timeout(Duration::from_secs(1), self.gone()).await {
            Ok(gone) => gone,
            Err(_) => Ok(()),
        }
    }
}
