//! Bodies on their way: counted, limited, and given up when one side stands still.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Why a body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the body is larger than it may be")]
    TooLarge,
    #[error("nothing came for too long")]
    Silent,
    #[error("the connection ended before the body did")]
    Ended,
    #[error("the client wants no more of it")]
    Gone,
    #[error("the client takes nothing of it")]
    Stalled,
}

/// Ends a wait that takes too long. A timer is made only where there is a wait at all.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) const fn new(limit: Duration) -> Self {
        Self { limit, sleep: None }
    }

    /// To be called when something came.
    pub(super) fn renew(&mut self) {
        self.sleep = None;
    }

    /// To be called when nothing is there; ready when that has lasted too long.
    pub(super) fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
        sleep.as_mut().poll(cx)
    }
}

/// What a request's body came to, for whoever sent the request on.
#[derive(Debug, Default)]
pub struct Progress {
    pub bytes: Cell<u64>,
    pub fault: Cell<Option<Fault>>,
    /// The server could take more, and the client has sent no more yet.
    pub is_awaited: Cell<bool>,
    pub ended: Cell<bool>,
    /// Nobody will ask for more of it.
    pub is_dropped: Cell<bool>,
}

impl Progress {
    /// What the server has taken, where it is its turn; `None`: the client is to send more.
    pub fn turn(&self) -> Option<u64> {
        let is_over = self.ended.get() || self.is_dropped.get() || self.fault.get().is_some();
        (is_over || !self.is_awaited.get()).then_some(self.bytes.get())
    }
}

/// Body of a request, from the client to a server.
#[derive(Debug)]
pub enum RequestBody {
    Empty,
    Stream(Box<Inbound>),
}

#[derive(Debug)]
pub struct Inbound {
    incoming: Incoming,
    patience: Patience,
    limit: u64,
    progress: Rc<Progress>,
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.progress.is_dropped.set(true);
    }
}

impl RequestBody {
    /// `limit` in bytes; `silence` is how long the client may say nothing.
    pub fn new(incoming: Incoming, limit: Option<u64>, silence: Duration) -> (Self, Rc<Progress>) {
        let progress = Rc::new(Progress::default());
        if incoming.is_end_stream() {
            progress.ended.set(true);
            return (Self::Empty, progress);
        }
        let body = Self::Stream(Box::new(Inbound {
            incoming,
            patience: Patience::new(silence),
            limit: limit.unwrap_or(u64::MAX),
            progress: Rc::clone(&progress),
        }));
        (body, progress)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let Self::Stream(inbound) = &mut *self else {
            return Poll::Ready(None);
        };
        let Inbound {
            incoming,
            patience,
            limit,
            progress,
        } = &mut **inbound;
        progress.is_awaited.set(false);
        let fail = |fault| {
            progress.fault.set(Some(fault));
            Poll::Ready(Some(Err(fault)))
        };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Pending => {
                progress.is_awaited.set(true);
                ready!(patience.wait(cx));
                fail(Fault::Silent)
            }
            Poll::Ready(None) => {
                progress.ended.set(true);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => fail(Fault::Ended),
            Poll::Ready(Some(Ok(frame))) => {
                patience.renew();
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                progress.bytes.set(progress.bytes.get() + length);
                if progress.bytes.get() > *limit {
                    return fail(Fault::TooLarge);
                }
                // With a length, hyper asks no more after the last byte.
                if inbound.incoming.is_end_stream() {
                    inbound.progress.ended.set(true);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(inbound) => inbound.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(inbound) => inbound.incoming.size_hint(),
        }
    }
}

/// What is done when a response is out, or has come to nothing.
pub trait Finish {
    /// What there is as long as the client has a response that was given up.
    type Stalled;

    /// The client takes nothing of it: [`Finish::finish`] with [`Fault::Stalled`].
    fn give_up(&mut self, bytes: u64) -> Self::Stalled;

    /// `bytes` of the body; the fault of the server's side, or `None` where the body came to its end.
    fn finish(&mut self, bytes: u64, fault: Option<Fault>);
}

/// Body of a response, from a server or from the proxy itself.
pub enum ResponseBody<F: Finish> {
    Own(Option<Bytes>),
    Stream(Outbound<F>),
}

pub struct Outbound<F: Finish> {
    flow: Rc<RefCell<Flow<F>>>,
    /// The client's, where nothing but this tells of a client that takes nothing.
    patience: Option<Duration>,
    watch: Option<AbortHandle>,
}

struct Flow<F: Finish> {
    /// `None`: it was given up.
    incoming: Option<Incoming>,
    /// With the server.
    patience: Patience,
    bytes: u64,
    /// What did not fit into a piece.
    rest: Bytes,
    /// At most so large; `None`: as it comes.
    piece: Option<usize>,
    /// When the client was given a piece, and has not come back for more since.
    given: Option<Instant>,
    /// `None`: it was done.
    finish: Option<F>,
    stalled: Option<F::Stalled>,
}

/// A frame of HTTP/2 (RFC 9113 section 6.5.2): a client that takes one within its patience takes enough.
const PIECE: usize = 16 * 1024;

impl<F: Finish> ResponseBody<F> {
    pub fn own(text: impl Into<Bytes>) -> Self {
        Self::Own(Some(text.into()))
    }

    /// `silence` is how long the server may say nothing. `patience` is how long the client may take nothing: of a stream of
    /// HTTP/2 whose window is closed, where others on the connection go on. `None`: the writes see to that.
    pub fn stream(
        incoming: Incoming,
        silence: Duration,
        patience: Option<Duration>,
        mut finish: F,
    ) -> Self {
        if incoming.is_end_stream() {
            finish.finish(0, None);
            return Self::Own(None);
        }
        let flow = Flow {
            incoming: Some(incoming),
            patience: Patience::new(silence),
            bytes: 0,
            rest: Bytes::new(),
            piece: patience.map(|_| PIECE),
            given: None,
            finish: Some(finish),
            stalled: None,
        };
        Self::Stream(Outbound {
            flow: Rc::new(RefCell::new(flow)),
            patience,
            watch: None,
        })
    }
}

impl<F: Finish> Flow<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.given = None;
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.give())));
        }
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(Some(Err(Fault::Stalled)));
        };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Pending => {
                ready!(self.patience.wait(cx));
                self.done(Some(Fault::Silent));
                Poll::Ready(Some(Err(Fault::Silent)))
            }
            Poll::Ready(None) => {
                self.done(None);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                self.done(Some(Fault::Ended));
                Poll::Ready(Some(Err(Fault::Ended)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.patience.renew();
                self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                match frame.into_data() {
                    Ok(data) => {
                        self.rest = data;
                        Poll::Ready(Some(Ok(self.give())))
                    }
                    Err(trailers) => {
                        self.after_piece();
                        Poll::Ready(Some(Ok(trailers)))
                    }
                }
            }
        }
    }

    fn give(&mut self) -> Frame<Bytes> {
        let length = self.rest.len().min(self.piece.unwrap_or(usize::MAX));
        let piece = self.rest.split_to(length);
        self.after_piece();
        Frame::data(piece)
    }

    fn after_piece(&mut self) {
        // With a length, hyper asks no more after the last byte.
        match self.is_end_stream() {
            true => self.done(None),
            false => self.given = Some(Instant::now()),
        }
    }

    fn is_end_stream(&self) -> bool {
        let incoming = self.incoming.as_ref();
        self.rest.is_empty() && incoming.is_some_and(|incoming| incoming.is_end_stream())
    }

    fn done(&mut self, fault: Option<Fault>) {
        if let Some(mut finish) = self.finish.take() {
            finish.finish(self.bytes, fault);
        }
    }
}

/// Lets go of the server when the client has taken nothing for `limit`.
async fn give_up<F: Finish>(flow: Weak<RefCell<Flow<F>>>, limit: Duration) {
    loop {
        let since = match flow.upgrade() {
            Some(flow) => flow.borrow().given.unwrap_or_else(Instant::now),
            None => return,
        };
        sleep_until(since + limit).await;
        let Some(flow) = flow.upgrade() else {
            return;
        };
        let mut flow = flow.borrow_mut();
        if flow.given.is_some_and(|since| since.elapsed() >= limit) {
            (flow.incoming, flow.rest) = (None, Bytes::new());
            let bytes = flow.bytes;
            flow.stalled = flow.finish.take().map(|mut finish| finish.give_up(bytes));
            return;
        }
    }
}

impl<F: Finish> Drop for Outbound<F> {
    /// The client has gone, or wants no more.
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
        let mut flow = self.flow.borrow_mut();
        (flow.incoming, flow.stalled) = (None, None);
        flow.done(Some(Fault::Gone));
    }
}

impl<F: Finish + Unpin + 'static> Body for ResponseBody<F> {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let outbound = match &mut *self {
            Self::Own(text) => {
                let text = text.take().filter(|text| !text.is_empty());
                return Poll::Ready(text.map(|text| Ok(Frame::data(text))));
            }
            Self::Stream(outbound) => outbound,
        };
        let mut flow = outbound.flow.borrow_mut();
        let polled = flow.poll(cx);
        if let Some(limit) = outbound.patience
            && flow.given.is_some()
            && outbound.watch.is_none()
        {
            let watch = give_up(Rc::downgrade(&outbound.flow), limit);
            outbound.watch = Some(tokio::task::spawn_local(watch).abort_handle());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(text) => text.is_none(),
            Self::Stream(outbound) => outbound.flow.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(outbound) => {
                let flow = outbound.flow.borrow();
                let Some(incoming) = &flow.incoming else {
                    return SizeHint::default();
                };
                let (hint, rest) = (incoming.size_hint(), flow.rest.len() as u64);
                let mut with_rest = SizeHint::new();
                if let Some(upper) = hint.upper() {
                    with_rest.set_upper(upper + rest);
                }
                with_rest.set_lower(hint.lower() + rest);
                with_rest
            }
        }
    }
}
