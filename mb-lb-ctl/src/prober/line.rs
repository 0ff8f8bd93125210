//! One connection of a check: every wait on it ends at the check's deadline.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::Finding;
use super::reply::{self, LONGEST, Reply};
use crate::config::ServerTls;
use crate::upstream_tls;

/// Bytes that are read and thrown away at the end so that closing does not reset the connection.
const DRAIN: usize = 16 * 1024;

/// Longest wait for the peer's end of the connection, so that a peer without manners cannot hold a permit.
const FAREWELL: Duration = Duration::from_secs(1);

/// When a check is over, and how long that is for the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) deadline: Instant,
    pub(super) timeout: Duration,
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Lost {
    /// With `true` where part of a reply had come.
    Late(bool),
    Closed,
    Broken(io::Error),
    Garbage(String),
}

/// TCP, or TLS over it.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub(super) struct Line {
    stream: Box<dyn Duplex>,
    limit: Limit,
    /// Read but not yet consumed; shorter than [`LONGEST`] plus one read.
    buffer: Vec<u8>,
    /// Of the server, once TLS is set up: its own, in DER.
    certificate: Option<CertificateDer<'static>>,
    farewell: &'static [u8],
    /// Without a farewell it ends by RST.
    abrupt: bool,
}

impl Line {
    /// Connects, or finds why that failed.
    pub(super) async fn open(address: SocketAddr, limit: Limit) -> Result<Self, Finding> {
        Self::open_by(TcpStream::connect(address), limit, limit).await
    }

    /// As [`Line::open`], by another way to connect, which has a limit of its own.
    pub(super) async fn open_by(
        connecting: impl Future<Output = io::Result<TcpStream>>,
        to_connect: Limit,
        limit: Limit,
    ) -> Result<Self, Finding> {
        let Ok(connected) = timeout_at(to_connect.deadline, connecting).await else {
            let detail = format!(
                "no answer to the connection attempt within {:?}",
                to_connect.timeout
            );
            return Err(Finding::failure("L4TOUT", detail));
        };
        let stream = connected.map_err(|error| connect_failure(&error))?;
        Ok(Self {
            stream: Box::new(stream),
            limit,
            buffer: Vec::new(),
            certificate: None,
            farewell: b"",
            abrupt: false,
        })
    }

    /// Ends without a word where none is due: see [`super::via`].
    pub(super) fn end_abruptly(&mut self) {
        self.abrupt = true;
    }

    /// Goes on inside TLS, or finds why that failed, and then nothing more can be said. `address` is that of the server.
    pub(super) async fn secure(&mut self, tls: &ServerTls, address: IpAddr) -> Result<(), Finding> {
        let own = |error: upstream_tls::Error| {
            Finding::inconclusive("SOCKERR", format!("the director cannot use TLS: {error}"))
        };
        let mut config = (*upstream_tls::client_config(tls).map_err(own)?).clone();
        // A resumed session would show neither that the certificate was changed nor that it has expired.
        config.resumption = Resumption::disabled();
        let name = upstream_tls::server_name(tls, address).map_err(own)?;
        let stream = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        match timeout_at(self.limit.deadline, connecting).await {
            Err(_) => {
                let detail = format!("TLS was not set up within {:?}", self.limit.timeout);
                Err(Finding::failure("L6TOUT", detail))
            }
            Ok(Err(error)) => Err(Finding::failure("L6RSP", handshake_failure(&error))),
            Ok(Ok(stream)) => {
                let (_, session) = stream.get_ref();
                let shown = session.peer_certificates().and_then(<[_]>::first);
                self.certificate = shown.cloned().map(CertificateDer::into_owned);
                self.stream = Box::new(stream);
                Ok(())
            }
        }
    }

    /// Reads what comes next; 0 at the end.
    pub(super) async fn read(&mut self, piece: &mut [u8]) -> Result<usize, Lost> {
        match timeout_at(self.limit.deadline, self.stream.read(piece)).await {
            Err(_) => Err(Lost::Late(false)),
            // The end of a TLS connection that was not announced. What is missing shows in what came.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            Ok(Err(error)) => Err(Lost::Broken(error)),
            Ok(Ok(count)) => Ok(count),
        }
    }

    pub(super) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.limit.timeout
    }

    /// Says this before the connection is closed.
    pub(super) fn set_farewell(&mut self, farewell: &'static [u8]) {
        self.farewell = farewell;
    }

    /// Something came that was not asked for.
    pub(super) fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Sends a command. That it could not be sent shows in the reply: a server that closes has often said why.
    pub(super) async fn send(&mut self, command: &[u8]) -> Result<(), Lost> {
        let sending = async {
            self.stream.write_all(command).await?;
            self.stream.flush().await
        };
        match timeout_at(self.limit.deadline, sending).await {
            Err(_) => Err(Lost::Late(false)),
            Ok(Err(error)) => {
                tracing::trace!(%error, "command not sent");
                Ok(())
            }
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Reads one reply, of one line or many.
    pub(super) async fn reply(&mut self) -> Result<Reply, Lost> {
        loop {
            match reply::parse(&self.buffer) {
                Err(garbage) => return Err(Lost::Garbage(garbage.to_string())),
                Ok(Some((reply, length))) => {
                    self.buffer.drain(..length);
                    return Ok(reply);
                }
                Ok(None) => {}
            }
            let read = self.stream.read_buf(&mut self.buffer);
            match timeout_at(self.limit.deadline, read).await {
                Err(_) => return Err(Lost::Late(!self.buffer.is_empty())),
                Ok(Err(error)) => return Err(Lost::Broken(error)),
                Ok(Ok(0)) => return Err(Lost::Closed),
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Says farewell and closes so that the server sees an orderly end: what it still sends is read, because
    /// closing a socket with unread data resets the connection. The check is over, so nothing here can fail it.
    pub(super) async fn close(mut self) {
        let deadline = self.limit.deadline.min(Instant::now() + FAREWELL);
        let ended = timeout_at(deadline, async {
            self.stream.write_all(self.farewell).await?;
            if self.farewell.is_empty() {
                if self.abrupt {
                    return Ok(());
                }
                self.stream.shutdown().await?;
            }
            let mut scrap = [0; LONGEST];
            let mut total = 0;
            while total < DRAIN {
                match self.stream.read(&mut scrap).await? {
                    0 => break,
                    count => total += count,
                }
            }
            io::Result::Ok(())
        });
        match ended.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::trace!(%error, "check connection did not end politely"),
            Err(_) => tracing::trace!("check connection did not end in time"),
        }
    }
}

fn handshake_failure(error: &io::Error) -> String {
    match upstream_tls::tls_error(error) {
        Some(error) => upstream_tls::explain(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "connection closed while TLS was set up".to_owned()
        }
        None => format!("connection broke while TLS was set up: {}", error.kind()),
    }
}

fn connect_failure(error: &io::Error) -> Finding {
    use io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => Finding::refused("L4CON", "connection refused"),
        ErrorKind::ConnectionReset => Finding::failure("L4CON", "connection reset"),
        ErrorKind::HostUnreachable => Finding::failure("L4CON", "no route to host"),
        ErrorKind::NetworkUnreachable => Finding::inconclusive("SOCKERR", "network is unreachable"),
        ErrorKind::TimedOut => Finding::failure("L4TOUT", "no answer to the connection attempt"),
        // Anything else is the director's own trouble: no descriptors, no local port, no permission.
        _ => Finding::inconclusive("SOCKERR", format!("the director cannot connect: {error}")),
    }
}
