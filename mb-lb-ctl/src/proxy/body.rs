//! Bodies on their way: counted, limited, and given up when one side stands still.

use std::cell::Cell;
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

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
    /// Something of it was asked for: it cannot be sent a second time.
    pub begun: Cell<bool>,
    pub ended: Cell<bool>,
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
        inbound.progress.begun.set(true);
        let Inbound {
            incoming,
            patience,
            limit,
            progress,
        } = &mut **inbound;
        let fail = |fault| {
            progress.fault.set(Some(fault));
            Poll::Ready(Some(Err(fault)))
        };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Pending => {
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
    /// `bytes` of the body; the fault of the server's side, or `None` where the body came to its end.
    fn finish(&mut self, bytes: u64, fault: Option<Fault>);
}

/// Body of a response, from a server or from the proxy itself.
pub enum ResponseBody<F: Finish> {
    Own(Option<Bytes>),
    Stream(Box<Outbound<F>>),
}

pub struct Outbound<F: Finish> {
    incoming: Incoming,
    patience: Patience,
    bytes: u64,
    /// `None`: it was done.
    finish: Option<F>,
}

impl<F: Finish> ResponseBody<F> {
    pub fn own(text: impl Into<Bytes>) -> Self {
        Self::Own(Some(text.into()))
    }

    /// `silence` is how long the server may say nothing.
    pub fn stream(incoming: Incoming, silence: Duration, mut finish: F) -> Self {
        if incoming.is_end_stream() {
            finish.finish(0, None);
            return Self::Own(None);
        }
        Self::Stream(Box::new(Outbound {
            incoming,
            patience: Patience::new(silence),
            bytes: 0,
            finish: Some(finish),
        }))
    }
}

impl<F: Finish> Outbound<F> {
    fn done(&mut self, fault: Option<Fault>) {
        if let Some(mut finish) = self.finish.take() {
            finish.finish(self.bytes, fault);
        }
    }
}

impl<F: Finish> Drop for Outbound<F> {
    /// The client has gone, or wants no more.
    fn drop(&mut self) {
        self.done(Some(Fault::Gone));
    }
}

impl<F: Finish + Unpin> Body for ResponseBody<F> {
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
        match Pin::new(&mut outbound.incoming).poll_frame(cx) {
            Poll::Pending => {
                ready!(outbound.patience.wait(cx));
                outbound.done(Some(Fault::Silent));
                Poll::Ready(Some(Err(Fault::Silent)))
            }
            Poll::Ready(None) => {
                outbound.done(None);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                outbound.done(Some(Fault::Ended));
                Poll::Ready(Some(Err(Fault::Ended)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                outbound.patience.renew();
                outbound.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                // With a length, hyper asks no more after the last byte.
                if outbound.incoming.is_end_stream() {
                    outbound.done(None);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(text) => text.is_none(),
            Self::Stream(outbound) => outbound.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(outbound) => outbound.incoming.size_hint(),
        }
    }
}
