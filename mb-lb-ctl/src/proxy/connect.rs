//! Connections to servers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::body::RequestBody;
use super::local::Local;
use crate::config::{ProxyServer, Upstream};
use crate::upstream_tls;

/// Why there is no connection, for people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

impl Sender {
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }
}

/// Connects to speak this version of HTTP, with the client's address in front where the server wants it. What reads and writes the connection runs as a
/// task of this thread.
pub async fn connect(
    server: &ProxyServer,
    http: Upstream,
    proxy_header: Option<&[u8]>,
) -> Result<Sender, Error> {
    let mut stream = TcpStream::connect(server.address)
        .await
        .map_err(Error::Tcp)?;
    stream.set_nodelay(true).map_err(Error::Tcp)?;
    if let Some(header) = proxy_header {
        stream.write_all(header).await.map_err(Error::Tcp)?;
    }
    let Some(tls) = &server.tls else {
        return speak(stream, http).await;
    };
    let setup = |error: upstream_tls::Error| Error::Tls(error.to_string());
    let config = upstream_tls::client_config(tls).map_err(setup)?;
    let name = upstream_tls::server_name(tls, server.address.ip()).map_err(setup)?;
    let stream = handshake(config, name, stream, http)
        .await
        .map_err(|error| Error::Tls(explain(&error, server.address)))?;
    speak(stream, http).await
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

async fn speak<S>(stream: S, http: Upstream) -> Result<Sender, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    Ok(match http {
        Upstream::Http1 => {
            let (sender, connection) = http1::Builder::new()
                .preserve_header_case(false)
                .handshake(io)
                .await
                .map_err(Error::Http)?;
            tokio::task::spawn_local(async move {
                // How it ended is told to whoever waits for a response.
                let _ended = connection.with_upgrades().await;
            });
            Sender::Http1(sender)
        }
        Upstream::Http2 => {
            let (sender, connection) = http2::Builder::new(Local)
                .timer(hyper_util::rt::TokioTimer::new())
                .handshake(io)
                .await
                .map_err(Error::Http)?;
            tokio::task::spawn_local(async move {
                let _ended = connection.await;
            });
            Sender::Http2(sender)
        }
    })
}
