//! The gate on a connection: what hyper reads is what the gate lets through.
//!
//! One read never holds bytes of two requests. hyper reads while a response is under way, to find out whether the client is
//! still there, and takes an end of the input for a reason to break off. So the end that stands for a refusal is held back
//! until [`Handle::serving`] says that the response is complete.
//!
//! Where a head is refused, hyper sees the end of the input, writes nothing, and shuts down; that is when the refusal is
//! written. Where a body is refused, hyper tells the exchange that the body is broken, which may answer itself with
//! [`Handle::violation`]; the refusal is written only where nothing was.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::{Gate, Limits, Next, Place, Progress, Violation};

/// Bytes read at a time where a head comes in pieces.
const PIECE: usize = 4096;
/// After a refusal, or an answer before the end of a body, what the client sends is read and thrown away, so that the
/// kernel does not reset the connection before the client has read the answer (RFC 9112 section 9.6): until it is silent
/// for so long.
const LINGER: Duration = Duration::from_secs(1);
/// And so many bytes of it: where it was refused, and where it was only answered early.
const LINGER_BYTES: [usize; 2] = [1 << 20, 256 << 20];
/// And for so long in all.
const LINGER_WHOLE: Duration = Duration::from_secs(10);

/// What a refusal shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub content_type: &'static str,
    pub body: Bytes,
}

/// Makes the page of a refusal.
pub type Pages = Arc<dyn Fn(&Violation) -> Page + Send + Sync>;

/// A client's connection behind the gate.
pub struct GateStream<S> {
    inner: S,
    gate: Gate,
    /// Read, but not taken by hyper yet.
    held: BytesMut,
    /// So many of them may pass.
    allowed: usize,
    /// The others were not given to the gate yet: a request ended before them.
    is_unseen: bool,
    /// The client sends no more.
    is_at_end: bool,
    /// hyper wrote something since the last head passed.
    has_written: bool,
    closing: Closing,
    pages: Pages,
    shared: Arc<Shared>,
}

enum Closing {
    Open,
    Writing(Bytes),
    Flushing,
    ShuttingDown {
        lingers: bool,
    },
    Lingering {
        timer: Pin<Box<Sleep>>,
        until: tokio::time::Instant,
        left: usize,
    },
    Closed,
}

/// For the connection's owner.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    is_transparent: AtomicBool,
    violation: OnceLock<Violation>,
    /// Of the connection; times are nanoseconds since then, plus one. Zero: none.
    start: Instant,
    head_under_way: AtomicU64,
    last_head: AtomicU64,
    is_serving: AtomicBool,
    /// Waits for the end of the response that is under way.
    reader: Mutex<Option<Waker>>,
}

impl Handle {
    /// A response is under way, or is complete.
    pub fn serving(&self, is_serving: bool) {
        self.0.is_serving.store(is_serving, Ordering::Release);
        if !is_serving
            && self.violation().is_some()
            && let Some(reader) = self.0.reader().take()
        {
            reader.wake();
        }
    }

    /// The server has answered 101, and its response will be given to hyper next: all that follows the request passes
    /// unseen.
    pub fn make_transparent(&self) {
        self.0.is_transparent.store(true, Ordering::Release);
    }

    /// Why nothing passes any more.
    pub fn violation(&self) -> Option<Violation> {
        self.0.violation.get().copied()
    }

    /// When the first byte came of a head that is not complete yet.
    pub fn head_under_way(&self) -> Option<Instant> {
        self.0.time(&self.0.head_under_way)
    }

    /// When the first byte came of the last request that passed.
    pub fn request_began(&self) -> Option<Instant> {
        self.0.time(&self.0.last_head)
    }
}

impl Shared {
    fn time(&self, field: &AtomicU64) -> Option<Instant> {
        let nanos = field.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.start + Duration::from_nanos(nanos))
    }

    fn reader(&self) -> MutexGuard<'_, Option<Waker>> {
        // A waker is whole at any time.
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
        self.head_under_way.store(nanos + 1, Ordering::Release);
    }

    fn pass(&self) {
        let began = self.head_under_way.swap(0, Ordering::AcqRel);
        self.last_head.store(began, Ordering::Release);
    }
}

impl<S> GateStream<S> {
    pub fn new(inner: S, limits: Limits, pages: Pages) -> Self {
        Self {
            inner,
            gate: Gate::new(limits),
            held: BytesMut::new(),
            allowed: 0,
            is_unseen: false,
            is_at_end: false,
            has_written: false,
            closing: Closing::Open,
            pages,
            shared: Arc::new(Shared {
                is_transparent: AtomicBool::new(false),
                violation: OnceLock::new(),
                start: Instant::now(),
                head_under_way: AtomicU64::new(0),
                last_head: AtomicU64::new(0),
                is_serving: AtomicBool::new(false),
                reader: Mutex::new(None),
            }),
        }
    }

    /// Bytes that were read from the connection before, to find out what it speaks: they come first.
    pub fn with_start(mut self, bytes: &[u8]) -> Self {
        self.held.extend_from_slice(bytes);
        self.is_unseen = !bytes.is_empty();
        self
    }

    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// Asks the gate, and notes what it says.
    fn ask(&mut self, fresh: Option<&[u8]>) -> Progress {
        if self.gate.is_between_requests() {
            self.shared.begin();
        }
        let progress = self.gate.feed(fresh.unwrap_or(&self.held));
        if progress.has_head {
            self.shared.pass();
            self.has_written = false;
        }
        if let Next::Refused(violation) = progress.next {
            // The first one stays; there is no second.
            let _ = self.shared.violation.set(violation);
        }
        progress
    }

    /// Asks the gate about the bytes held.
    fn ask_held(&mut self) {
        let progress = self.ask(None);
        self.allowed = progress.passed;
        self.is_unseen = progress.next == Next::End && progress.passed < self.held.len();
        if let Next::Refused(_) = progress.next {
            self.held.truncate(self.allowed);
        }
    }

    /// Gives hyper what may pass of the bytes held.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.allowed.min(buf.remaining());
        buf.put_slice(&self.held[..length]);
        self.held.advance(length);
        self.allowed -= length;
        if self.held.is_empty() {
            // Idle connections hold no memory.
            self.held = BytesMut::new();
        }
    }

    /// The answer to what was refused, where one may be given.
    fn refusal(&self) -> Option<Bytes> {
        // Of a tunnel there is nothing to refuse: a client that spoke before the server's 101 has lost that.
        if self.shared.is_transparent.load(Ordering::Acquire) {
            return None;
        }
        let violation = self.shared.violation.get()?;
        match violation.place {
            Place::Head => {}
            Place::Body if !self.has_written => {}
            Place::Body | Place::After => return None,
        }
        let page = (self.pages)(violation);
        let status = violation.fault.status();
        let mut answer = format!(
            "HTTP/1.1 {} {}\r\ncontent-length: {}\r\ncontent-type: {}\r\ncache-control: no-cache\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or_default(),
            page.body.len(),
            page.content_type,
        )
        .into_bytes();
        if status == http::StatusCode::METHOD_NOT_ALLOWED {
            // RFC 9110 section 15.5.6: must be there, may be empty.
            answer.extend_from_slice(b"allow:\r\n");
        }
        answer.extend_from_slice(b"connection: close\r\n\r\n");
        answer.extend_from_slice(&page.body);
        Some(answer.into())
    }
}

impl<S: AsyncRead + Unpin> GateStream<S> {
    /// Straight into hyper's memory; what may not pass is moved out of it.
    fn poll_read_through(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let fresh = &buf.filled()[before..];
        if fresh.is_empty() {
            self.is_at_end = true;
            return Poll::Ready(Ok(()));
        }
        let progress = self.ask(Some(fresh));
        let rest = &fresh[progress.passed..];
        if !rest.is_empty() {
            if !matches!(progress.next, Next::Refused(_)) {
                self.held.extend_from_slice(rest);
                self.is_unseen = progress.next == Next::End;
            }
            buf.set_filled(before + progress.passed);
        }
        Poll::Ready(Ok(()))
    }

    /// Behind what is held.
    fn poll_read_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [0; PIECE];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece))?;
        if piece.filled().is_empty() {
            self.is_at_end = true;
        } else {
            self.held.extend_from_slice(piece.filled());
            self.ask_held();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Closing::Lingering { timer, until, left } = &mut self.closing else {
            return Poll::Ready(());
        };
        let mut piece = [0; PIECE];
        while *left > 0 && timer.as_mut().poll(cx).is_pending() {
            let mut piece = ReadBuf::new(&mut piece);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() => {
                    *left = left.saturating_sub(piece.filled().len());
                    let next = tokio::time::Instant::now() + LINGER;
                    timer.as_mut().reset(next.min(*until));
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GateStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.shared.is_transparent.load(Ordering::Acquire) {
            this.gate.open();
            if this.held.is_empty() {
                return Pin::new(&mut this.inner).poll_read(cx, buf);
            }
            this.allowed = this.held.len();
            this.give(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        loop {
            if this.allowed > 0 {
                this.give(buf);
            }
            let is_done = buf.filled().len() > before || this.is_at_end;
            if is_done {
                return Poll::Ready(Ok(()));
            }
            if let Some(violation) = this.shared.violation.get() {
                // Whoever reads the body must hear of it.
                if violation.place == Place::Body {
                    return Poll::Ready(Ok(()));
                }
                *this.shared.reader() = Some(cx.waker().clone());
                // Looked at last, so that an end meanwhile is not missed.
                return match this.shared.is_serving.load(Ordering::Acquire) {
                    true => Poll::Pending,
                    false => Poll::Ready(Ok(())),
                };
            }
            if this.is_unseen {
                this.ask_held();
            } else if this.held.is_empty() {
                ready!(this.poll_read_through(cx, buf))?;
            } else {
                ready!(this.poll_read_more(cx))?;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GateStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?;
        this.has_written |= length > 0;
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, bufs))?;
        this.has_written |= length > 0;
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.closing {
                Closing::Open => {
                    let lingers =
                        this.shared.violation.get().is_some() || this.gate.is_in_content();
                    this.closing = match this.refusal() {
                        Some(answer) => Closing::Writing(answer),
                        None => Closing::ShuttingDown { lingers },
                    };
                }
                Closing::Writing(answer) if answer.is_empty() => this.closing = Closing::Flushing,
                Closing::Writing(answer) => {
                    let length = ready!(Pin::new(&mut this.inner).poll_write(cx, answer))?;
                    if length == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    answer.advance(length);
                }
                Closing::Flushing => {
                    ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
                    this.closing = Closing::ShuttingDown { lingers: true };
                }
                &mut Closing::ShuttingDown { lingers } => {
                    ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
                    let is_early = this.shared.violation.get().is_none();
                    this.closing = if lingers && !this.is_at_end {
                        Closing::Lingering {
                            timer: Box::pin(sleep(LINGER)),
                            until: tokio::time::Instant::now() + LINGER_WHOLE,
                            left: LINGER_BYTES[usize::from(is_early)],
                        }
                    } else {
                        Closing::Closed
                    };
                }
                Closing::Lingering { .. } => {
                    ready!(this.poll_linger(cx));
                    this.closing = Closing::Closed;
                }
                Closing::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}
