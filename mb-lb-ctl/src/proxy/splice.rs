//! From one socket to another. What is long goes by splice(2) through a pipe, and is not copied to this process and back; for
//! what is short two descriptors more and four calls for them would cost more than they save.

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::unistd::pipe2;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::admitted::Descriptors;
use super::worker::Worker;

const BUFFER: usize = 16 * 1024;
/// Bytes after which a pipe is made.
const LONG: u64 = 256 * 1024;
/// Bytes that a pipe holds (pipe(7)).
const PIPE: usize = 64 * 1024;

/// Carries what comes until its end, and then ends the other side's input.
///
/// # Errors
/// Those of the sockets.
pub async fn copy(
    from: &TcpStream,
    to: &TcpStream,
    moved: &Cell<u64>,
    worker: &Rc<Worker>,
) -> io::Result<()> {
    let mut pipe = None;
    let mut tries_pipe = true;
    let mut buffer = Vec::new();
    loop {
        if moved.get() >= LONG && std::mem::take(&mut tries_pipe) {
            // Without descriptors it goes on as it began.
            let held = Descriptors::take(worker, 2);
            pipe = held.and_then(|held| {
                let ends = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).ok()?;
                Some((ends, held))
            });
            if pipe.is_some() {
                buffer = Vec::new();
            }
        }
        let length = match &pipe {
            Some((pipe, _)) => through(from, to, pipe).await?,
            None => by_hand(from, to, &mut buffer).await?,
        };
        if length == 0 {
            // The other way may go on.
            return socket2::SockRef::from(to).shutdown(Shutdown::Write);
        }
        moved.set(moved.get() + length as u64);
    }
}

async fn by_hand(from: &TcpStream, to: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    // A connection that says nothing has no memory.
    from.readable().await?;
    buffer.resize(BUFFER, 0);
    let length = from
        .async_io(Interest::READABLE, || from.try_read(buffer))
        .await?;
    let mut left = &buffer[..length];
    while !left.is_empty() {
        let written = to
            .async_io(Interest::WRITABLE, || to.try_write(left))
            .await?;
        left = &left[written..];
    }
    if length < BUFFER {
        *buffer = Vec::new();
    }
    Ok(length)
}

async fn through(
    from: &TcpStream,
    to: &TcpStream,
    (reader, writer): &(OwnedFd, OwnedFd),
) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    let fill = || Ok(splice(from, None, writer, None, PIPE, flags)?);
    let length = from.async_io(Interest::READABLE, fill).await?;
    let mut left = length;
    while left > 0 {
        let empty = || Ok(splice(reader, None, to, None, left, flags)?);
        left -= to.async_io(Interest::WRITABLE, empty).await?;
    }
    Ok(length)
}
