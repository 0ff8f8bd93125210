//! Connections to servers.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::admitted::Descriptors;
use super::body::RequestBody;
use super::local::Local;
use super::worker::Worker;
use crate::config::{ProxyServer, Upstream};
use crate::upstream_tls;

/// Why there is no connection, for people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there are no descriptors left for connections to servers")]
    Full,
    #[error("{0}")]
    Tcp(io::Error),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("HTTP: {0}")]
    Http(hyper::Error),
}

/// The near end of a connection to a server.
#[derive(Debug)]
pub enum Sender {
    Http1(Single),
    Http2(Shared),
}

/// One request at a time. The connection ends with this, whatever it is about: hyper would go on with a body that the server
/// does not take.
#[derive(Debug)]
pub struct Single {
    sender: http1::SendRequest<RequestBody>,
    task: AbortHandle,
    /// After a switch of protocols the connection outlives its task.
    _held: Rc<Descriptors>,
}

impl Drop for Single {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One of many near ends of a connection of HTTP/2: as many streams, and one more where it is in a pool.
#[derive(Clone, Debug)]
pub struct Shared {
    sender: http2::SendRequest<RequestBody>,
    /// Whether it is forsaken.
    all: Rc<Cell<bool>>,
}

/// Streams at a time: RFC 9113 section 6.5.2 advises servers to take no less, and hyper would let the others wait.
const STREAMS: usize = 100;
/// Bytes that a client may leave unread before its server has to wait.
const WINDOW: u32 = 64 * 1024;
/// A connection that does not answer is closed after two of these.
const PING: Duration = Duration::from_secs(10);
/// The end of the response before takes no longer.
const BUSY: Duration = Duration::from_millis(500);
/// Bytes read at a time from a server of HTTP/1.1, and its longest head.
const BUFFER: usize = 64 * 1024;

impl Sender {
    /// Or no other request is to go there.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Http1(single) => single.sender.is_closed(),
            Self::Http2(shared) => shared.sender.is_closed() || shared.all.get(),
        }
    }

    /// No other request is to go there; those that are there go on.
    pub fn forsake(&self) {
        if let Self::Http2(shared) = self {
            shared.all.set(true);
        }
    }

    /// Whether another request may go there while this one is in a pool.
    pub fn has_room(&self) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(shared) => Rc::strong_count(&shared.all) <= STREAMS,
        }
    }

    /// Whether requests are under way while this one is in a pool.
    pub fn is_used(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(shared) => Rc::strong_count(&shared.all) > 1,
        }
    }

    /// For another stream on the same connection. `None`: one request at a time.
    pub fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(shared) => Some(Self::Http2(shared.clone())),
        }
    }

    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http2(one), Self::Http2(other)) => Rc::ptr_eq(&one.all, &other.all),
            _ => false,
        }
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// # Errors
    /// The request where nothing of it was sent, and `None` where it was.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Option<Request<RequestBody>>> {
        let answer = match self {
            Self::Http1(single) => {
                // It may be busy for a moment with the end of the response before.
                match timeout(BUSY, single.sender.ready()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return Err(Some(request)),
                }
                single.sender.try_send_request(request).await
            }
            Self::Http2(shared) => {
                if shared.sender.ready().await.is_err() {
                    return Err(Some(request));
                }
                shared.sender.try_send_request(request).await
            }
        };
        answer.map_err(|mut error| error.take_message())
    }
}

/// Connects to speak this version of HTTP, with the client's address in front where the server wants it. What reads and writes the connection runs as a
/// task of this thread.
pub async fn connect(
    worker: &Rc<Worker>,
    server: &ProxyServer,
    http: Upstream,
    proxy_header: Option<&[u8]>,
) -> Result<Sender, Error> {
    let held = Descriptors::take(worker, 1).ok_or(Error::Full)?;
    let mut stream = TcpStream::connect(server.address)
        .await
        .map_err(Error::Tcp)?;
    stream.set_nodelay(true).map_err(Error::Tcp)?;
    if let Some(header) = proxy_header {
        stream.write_all(header).await.map_err(Error::Tcp)?;
    }
    let Some(tls) = &server.tls else {
        return speak(stream, http, held).await;
    };
    let setup = |error: upstream_tls::Error| Error::Tls(error.to_string());
    let config = upstream_tls::client_config(tls).map_err(setup)?;
    let name = upstream_tls::server_name(tls, server.address.ip()).map_err(setup)?;
    let stream = handshake(config, name, stream, http)
        .await
        .map_err(|error| Error::Tls(explain(&error, server.address)))?;
    speak(stream, http, held).await
}

async fn handshake(
    config: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
    stream: TcpStream,
    http: Upstream,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let config = match http {
        Upstream::Http1 => config,
        Upstream::Http2 => {
            let mut config = (*config).clone();
            config.alpn_protocols = vec![b"h2".to_vec()];
            Arc::new(config)
        }
    };
    TlsConnector::from(config).connect(name, stream).await
}

fn explain(error: &io::Error, address: SocketAddr) -> String {
    let inner = error.get_ref().and_then(|error| error.downcast_ref());
    match inner {
        Some(tls) => upstream_tls::explain(tls),
        None => format!("{address}: {error}"),
    }
}

async fn speak<S>(stream: S, http: Upstream, held: Descriptors) -> Result<Sender, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    Ok(match http {
        Upstream::Http1 => {
            let (sender, connection) = http1::Builder::new()
                .max_buf_size(BUFFER)
                .handshake(io)
                .await
                .map_err(Error::Http)?;
            let held = Rc::new(held);
            let of_task = Rc::clone(&held);
            let task = tokio::task::spawn_local(async move {
                // How it ended is told to whoever waits for a response.
                let _ended = connection.with_upgrades().await;
                drop(of_task);
            });
            Sender::Http1(Single {
                sender,
                task: task.abort_handle(),
                _held: held,
            })
        }
        Upstream::Http2 => {
            let (sender, connection) = http2::Builder::new(Local)
                .timer(hyper_util::rt::TokioTimer::new())
                .initial_stream_window_size(WINDOW)
                // So that clients who read slowly do not hold up the others.
                .initial_connection_window_size(WINDOW * STREAMS as u32)
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING)
                .handshake(io)
                .await
                .map_err(Error::Http)?;
            tokio::task::spawn_local(async move {
                let _ended = connection.await;
                drop(held);
            });
            Sender::Http2(Shared {
                sender,
                all: Rc::default(),
            })
        }
    })
}
