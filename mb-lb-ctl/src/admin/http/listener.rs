//! Accepts, and sees to it that nobody takes a place for long.
//!
//! Who connects and says nothing has no right to a place: where all are taken, the one that has been silent for the
//! longest time loses it to the next who comes. Only where all places have said what they want is a client refused.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::{Context, Site, router};

/// Connections served at once.
pub const MAX_CONNECTIONS: usize = 64;
/// Clients told at once that there are too many; further ones are closed without a word.
const MAX_REFUSALS: usize = 64;
/// A request's head has come within this time, or the connection is closed.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest head of a request, in bytes.
pub const MAX_HEADER: usize = 16 * 1024;
const MAX_FIELDS: usize = 64;
/// From accept to the last byte of the answer. The controller may take 30 s of it for a change.
pub const DEADLINE: Duration = Duration::from_secs(45);
/// Between two attempts to listen.
const RETRY: Duration = Duration::from_secs(1);

const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
    cache-control: no-cache\r\nretry-after: 5\r\ncontent-length: 57\r\nconnection: close\r\n\r\n\
    Too many connections to the page are open: try it again.\n";

/// Serves what is wanted, until nobody can want anything any more. Says why it cannot.
pub(super) async fn serve(
    mut wanted: watch::Receiver<Option<Site>>,
    told: watch::Sender<Option<String>>,
    context: Context,
) {
    let mut connections = JoinSet::new();
    let mut places = Places::default();
    let mut refusals = JoinSet::new();
    loop {
        let Some(site) = wanted.borrow_and_update().clone() else {
            told.send_replace(None);
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        let listener = match bind(site.listen) {
            Ok(listener) => listener,
            Err(error) => {
                told.send_replace(Some(format!("cannot listen: {error}")));
                tokio::select! {
                    changed = wanted.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(RETRY) => {}
                }
                continue;
            }
        };
        told.send_replace(None);
        tracing::info!(address = %site.listen, "page, API and metrics are served");
        let mut context = Context {
            account: site.account.map(Arc::new),
            ..context.clone()
        };
        loop {
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Who may is asked at each connection; only for another address is there another listener.
                    let next = wanted.borrow_and_update().clone();
                    match next {
                        Some(next) if next.listen == site.listen => {
                            context.account = next.account.map(Arc::new);
                        }
                        // What it is now is looked at again there.
                        _ => break,
                    }
                }
                Some(ended) = connections.join_next() => ended_well(ended),
                Some(ended) = refusals.join_next() => ended_well(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if places.make_room() => {
                        let heard = Arc::new(AtomicBool::new(false));
                        let served = connection(stream, context.clone(), Arc::clone(&heard));
                        places.taken.push_back((connections.spawn(served), heard));
                    }
                    Ok((stream, _)) if refusals.len() < MAX_REFUSALS => {
                        refusals.spawn(refuse(stream));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, "the page's listener cannot accept a connection");
                        // Out of descriptors, most likely: trying again at once would only burn the processor.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

/// Connections that are served, the oldest first; and whether the head of their request has come.
#[derive(Default)]
struct Places {
    taken: VecDeque<(AbortHandle, Arc<AtomicBool>)>,
}

impl Places {
    /// Whether there is a place for one more; who is silent makes room.
    fn make_room(&mut self) -> bool {
        self.taken.retain(|(task, _)| !task.is_finished());
        if self.taken.len() < MAX_CONNECTIONS {
            return true;
        }
        let is_silent =
            |(_, heard): &(AbortHandle, Arc<AtomicBool>)| !heard.load(Ordering::Relaxed);
        let Some((task, _)) = self
            .taken
            .iter()
            .position(is_silent)
            .and_then(|at| self.taken.remove(at))
        else {
            return false;
        };
        task.abort();
        true
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn ended_well(ended: Result<(), JoinError>) {
    if let Err(error) = ended.or_else(|error| {
        if error.is_cancelled() {
            Ok(())
        } else {
            Err(error)
        }
    }) {
        tracing::error!(%error, "a connection to the page ended badly");
    }
}

async fn connection(stream: TcpStream, context: Context, heard: Arc<AtomicBool>) {
    let answer = service_fn(|request: Request<Incoming>| {
        heard.store(true, Ordering::Relaxed);
        let context = context.clone();
        async move { Ok::<_, Infallible>(router::answer(request, context).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER)
        .max_headers(MAX_FIELDS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    match tokio::time::timeout(DEADLINE, served).await {
        Ok(Ok(())) => {}
        // A client that goes away in the middle, or says nonsense, is its own business.
        Ok(Err(error)) => tracing::debug!(%error, "connection to the page closed"),
        Err(_) => tracing::debug!("a client of the page was too slow"),
    }
}

/// Says so, and waits until the client has gone: closing with unread input would reset the connection, and the client
/// would see that in the place of the text.
async fn refuse(mut stream: TcpStream) {
    let farewell = async {
        stream.write_all(REFUSAL).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // The client may be gone already, and then nobody misses the text.
    let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(REFUSAL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }
}
