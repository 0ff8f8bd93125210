//! The client's stream: what was read too far in front, and an end to writes that nobody takes.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::Patience;
use super::gate::Handle;

/// A stream some bytes of which were read already.
#[derive(Debug)]
pub struct Prefixed<S> {
    stream: S,
    prefix: Vec<u8>,
    at: usize,
}

impl<S: AsyncRead + Unpin> Prefixed<S> {
    pub const fn new(stream: S) -> Self {
        Self {
            stream,
            prefix: Vec::new(),
            at: 0,
        }
    }

    pub const fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Reads until `decide` says something of what is there; that stays to be read, but for the bytes that `decide` takes
    /// from the front.
    ///
    /// # Errors
    /// The stream's, and [`io::ErrorKind::UnexpectedEof`] where it ends before.
    pub async fn look<T>(
        &mut self,
        mut decide: impl FnMut(&[u8]) -> Option<(T, usize)>,
    ) -> io::Result<T> {
        loop {
            if let Some((found, taken)) = decide(&self.prefix[self.at..]) {
                self.at += taken;
                return Ok(found);
            }
            let mut buffer = [0; 1024];
            let length = self.stream.read(&mut buffer).await?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.prefix.extend_from_slice(&buffer[..length]);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at < self.prefix.len() {
            let left = &self.prefix[self.at..];
            let length = left.len().min(buffer.remaining());
            buffer.put_slice(&left[..length]);
            self.at += length;
            if self.at == self.prefix.len() {
                (self.prefix, self.at) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What a connection is about, for whoever ends those that stand still.
#[derive(Debug)]
pub struct Activity {
    /// Requests under way.
    busy: Cell<u32>,
    idle_since: Cell<Instant>,
    /// Responses that the client takes nothing of, and has not given up.
    stalled: Cell<u32>,
    useless: Notify,
    has_begun: Cell<bool>,
    first: Notify,
}

impl Activity {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            busy: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            stalled: Cell::new(0),
            useless: Notify::new(),
            has_begun: Cell::new(false),
            first: Notify::new(),
        })
    }

    /// Ready when all that is left are responses that the client takes nothing of.
    pub async fn is_useless(&self) {
        while self.busy.get() > 0 || self.stalled.get() == 0 {
            self.useless.notified().await;
        }
    }

    /// Ready when a first request has begun.
    pub async fn has_begun(&self) {
        while !self.has_begun.get() {
            self.first.notified().await;
        }
    }

    /// `None` while a request is under way.
    pub fn idle_since(&self) -> Option<Instant> {
        (self.busy.get() == 0).then(|| self.idle_since.get())
    }
}

/// A request is under way until this is dropped.
#[derive(Debug)]
pub struct Busy {
    activity: Rc<Activity>,
    reading: Arc<Reading>,
    /// HTTP/1.1 only.
    gate: Option<Handle>,
}

impl Busy {
    pub fn new(activity: &Rc<Activity>, reading: &Arc<Reading>, gate: Option<&Handle>) -> Self {
        if let Some(gate) = gate {
            gate.serving(true);
        }
        activity.busy.set(activity.busy.get() + 1);
        activity.has_begun.set(true);
        activity.first.notify_one();
        reading.busy.store(true, Ordering::Relaxed);
        reading.begun.store(false, Ordering::Relaxed);
        Self {
            activity: Rc::clone(activity),
            reading: Arc::clone(reading),
            gate: gate.cloned(),
        }
    }
}

/// A response that the client takes nothing of, as long as it has not given that up.
#[derive(Debug)]
pub struct Stalled(Rc<Activity>);

impl Busy {
    /// The client takes nothing of the response.
    pub fn stalled(&self) -> Stalled {
        let stalled = &self.activity.stalled;
        stalled.set(stalled.get() + 1);
        Stalled(Rc::clone(&self.activity))
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        let stalled = &self.0.stalled;
        stalled.set(stalled.get() - 1);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let busy = self.activity.busy.get() - 1;
        self.activity.busy.set(busy);
        if busy == 0 {
            self.activity.idle_since.set(Instant::now());
            self.activity.useless.notify_one();
            self.reading.busy.store(false, Ordering::Relaxed);
            if let Some(gate) = &self.gate {
                gate.serving(false);
            }
        }
    }
}

/// Tells that a part of a request has come, and not the rest. Of one thread; hyper wants its streams [`Send`].
#[derive(Debug, Default)]
pub struct Reading {
    busy: AtomicBool,
    begun: AtomicBool,
    pub begins: Notify,
}

impl Reading {
    /// A part of a request is there.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }
}

/// Ends writes that stand still, and tells of requests that come in pieces.
#[derive(Debug)]
pub struct Watched<S> {
    stream: S,
    patience: Patience,
    reading: Arc<Reading>,
}

impl<S> Watched<S> {
    /// `silence`: the client may take nothing for so long.
    pub const fn new(stream: S, silence: Duration, reading: Arc<Reading>) -> Self {
        Self {
            stream,
            patience: Patience::new(silence),
            reading,
        }
    }

    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.patience.renew();
            return done;
        }
        ready!(self.patience.wait(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let reading = &self.reading;
        if !reading.busy.load(Ordering::Relaxed) {
            if read.is_ready() && buffer.filled().len() > before {
                reading.begun.store(true, Ordering::Relaxed);
            } else if read.is_pending() && reading.begun.load(Ordering::Relaxed) {
                reading.begins.notify_one();
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, done)
    }
}

/// Ends a connection with RST, so that nothing of it stays behind.
pub fn reset(stream: &TcpStream) {
    // What the kernel refuses here ends by FIN.
    let _set = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
