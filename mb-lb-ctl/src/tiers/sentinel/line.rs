//! One connection to a Sentinel or a server, kept from one question to the next.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, Value};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::Trouble;
use super::trouble::quoted;
use crate::config::{Secret, ServerTls};
use crate::tiers::secret;
use crate::upstream_tls;

/// Longest reply to all that is asked at once. `INFO` and `SENTINEL MASTER` have some kilobytes.
pub(super) const LONGEST: usize = 64 * 1024;

/// Finds connections that nobody is at the other end of any more, where nothing is asked.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// How one gets in.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) tls: Option<ServerTls>,
}

/// TCP, or TLS over it.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    access: Access,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    budget: Budget,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Line {
    pub(super) const fn new(address: SocketAddr, access: Access) -> Self {
        Self {
            address,
            access,
            open: None,
        }
    }

    /// Asks everything at once. An error reply is a value like others. Whoever drops this before it is done drops the
    /// connection as well.
    ///
    /// # Errors
    /// There is no connection, or it broke.
    pub(super) async fn ask(&mut self, commands: &[Cmd]) -> Result<Vec<Value>, Trouble> {
        if let Some(open) = self.open.take() {
            match self.ask_on(open, commands).await {
                // It had gone since the last question; what is so now, a new one tells.
                Err(Trouble::Closed) => {}
                other => return other,
            }
        }
        let open = self.connect().await?;
        self.ask_on(open, commands).await
    }

    async fn ask_on(&mut self, open: Open, commands: &[Cmd]) -> Result<Vec<Value>, Trouble> {
        let values = open.ask(commands).await?;
        self.open = Some(open);
        Ok(values)
    }

    async fn connect(&self) -> Result<Open, Trouble> {
        let (stream, budget) = connect(self.address, self.access.tls.as_ref()).await?;
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| explain(&error, &budget))?;
        let open = Open {
            connection,
            driver: tokio::spawn(driver),
            budget,
        };
        if let Some(auth) = auth(&self.access)? {
            let answers = open.ask(&[auth]).await?;
            if let Some(Value::ServerError(error)) = answers.first() {
                let detail = error.details().unwrap_or_default();
                // Whoever wants no password lets everybody in.
                if !detail.contains("without any password configured") {
                    return Err(Trouble::from_login(error.code(), detail));
                }
            }
        }
        Ok(open)
    }
}

impl Open {
    async fn ask(&self, commands: &[Cmd]) -> Result<Vec<Value>, Trouble> {
        self.budget.renew();
        let asked = commands.iter().map(|command| {
            let mut connection = self.connection.clone();
            async move { connection.send_packed_command(command).await }
        });
        let mut values = Vec::new();
        for answer in futures_util::future::join_all(asked).await {
            match (answer, values.last()) {
                (Ok(value), _) => values.push(value),
                // Why it ended the conversation.
                (Err(_), Some(Value::ServerError(error))) => {
                    let detail = error.details().unwrap_or_default();
                    return Err(Trouble::from_reply(error.code(), detail));
                }
                (Err(error), _) => return Err(explain(&error, &self.budget)),
            }
        }
        Ok(values)
    }
}

/// A connection that takes in no more than its budget.
pub(super) async fn connect(
    address: SocketAddr,
    tls: Option<&ServerTls>,
) -> Result<(Bounded, Budget), Trouble> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| refused(&error))?;
    let prepared = stream.set_nodelay(true).and_then(|()| {
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE)
            .with_retries(2);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)
    });
    prepared.map_err(|error| Trouble::Own(error.to_string()))?;
    let stream: Box<dyn Duplex> = match tls {
        None => Box::new(stream),
        Some(tls) => {
            let own = |error: upstream_tls::Error| Trouble::Own(error.to_string());
            let config = upstream_tls::client_config(tls).map_err(own)?;
            let name = upstream_tls::server_name(tls, address.ip()).map_err(own)?;
            let secured = TlsConnector::from(config).connect(name, stream).await;
            Box::new(secured.map_err(|error| insecure(&error))?)
        }
    };
    let budget = Budget::default();
    budget.renew();
    let stream = Bounded {
        stream,
        budget: budget.clone(),
        has_spoken: false,
        reader: None,
    };
    Ok((stream, budget))
}

/// What comes first on a connection.
///
/// # Errors
/// The password cannot be read.
pub(super) fn auth(access: &Access) -> Result<Option<Cmd>, Trouble> {
    let Some(password) = &access.password else {
        return Ok(None);
    };
    let password = secret::read(password).map_err(|error| Trouble::Secret(error.to_string()))?;
    let mut command = redis::cmd("AUTH");
    if let Some(user) = &access.user {
        command.arg(user);
    }
    command.arg(password);
    Ok(Some(command))
}

/// Why a conversation ended.
pub(super) fn explain(error: &RedisError, budget: &Budget) -> Trouble {
    if budget.is_used_up() {
        return Trouble::Garbage(format!("its reply has more than {LONGEST} bytes"));
    }
    if error.is_timeout() {
        return Trouble::NotAnswering;
    }
    match error.kind() {
        ErrorKind::Parse => Trouble::Garbage("no reply in Redis' protocol".to_owned()),
        ErrorKind::Io => Trouble::Closed,
        _ if error.is_connection_dropped() => Trouble::Closed,
        _ => Trouble::Error(quoted(&error.to_string())),
    }
}

fn refused(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Trouble::Refused,
        io::ErrorKind::ConnectionReset => Trouble::Closed,
        io::ErrorKind::TimedOut => Trouble::NotAnswering,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Trouble::Unreachable(error.to_string())
        }
        _ => Trouble::Own(error.to_string()),
    }
}

fn insecure(error: &io::Error) -> Trouble {
    match upstream_tls::tls_error(error) {
        Some(error) => Trouble::Tls(upstream_tls::explain(error)),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Trouble::Tls("it closed the connection when TLS was begun".to_owned())
        }
        None => Trouble::Closed,
    }
}

/// Bytes that may still come in. Shared by who reads and who asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub(super) fn renew(&self) {
        self.0.store(LONGEST, Ordering::Relaxed);
    }

    fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// Is heard after it has spoken, and fails when its budget is used up: who parses replies keeps all of one that is not whole.
pub(super) struct Bounded {
    stream: Box<dyn Duplex>,
    budget: Budget,
    has_spoken: bool,
    reader: Option<Waker>,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // What a server says of its own accord, before it closes, would be no answer to anything.
        if !self.has_spoken {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        if self.budget.is_used_up() {
            return Poll::Ready(Err(io::Error::other("too long a reply")));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len().saturating_sub(before);
        let take = |left: usize| Some(left.saturating_sub(read));
        // It always succeeds, for `take` never refuses.
        let _ = self
            .budget
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        polled
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_spoken = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            // A server that closes has often said why, and that is still to be read.
            Poll::Ready(Err(error)) if is_gone(&error) => Poll::Ready(Ok(bytes.len())),
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(Err(error)) if is_gone(&error) => Poll::Ready(Ok(())),
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
