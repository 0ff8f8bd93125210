//! One node is asked, over a connection of its own: a pool would not see that new connections are refused.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::wire::{self, Greeting};
use super::{Answer, Trouble, auth, status};
use crate::config::ServerTls;
use crate::upstream_tls;

/// Packets of one answer, and of one login. What is asked has about twenty rows.
const PACKETS: usize = 128;

#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) address: SocketAddr,
    pub(super) user: String,
    pub(super) tls: Option<ServerTls>,
    /// Of all of it.
    pub(super) timeout: Duration,
}

pub(super) async fn ask(question: Question, password: Option<&str>) -> Answer {
    let began = Instant::now();
    let mut phase = Phase::Connecting;
    let talk = talk(&question, password.unwrap_or_default(), &mut phase);
    let said = match timeout(question.timeout, talk).await {
        Ok(said) => said,
        Err(_) => Err(match phase {
            Phase::Connecting => Trouble::NoConnection(question.timeout),
            Phase::Connected => Trouble::NoGreeting(question.timeout),
            Phase::Greeted => Trouble::Slow(question.timeout),
        }),
    };
    Answer {
        took: began.elapsed(),
        said,
    }
}

/// How far it got.
#[derive(Clone, Copy)]
enum Phase {
    Connecting,
    Connected,
    Greeted,
}

async fn talk(
    question: &Question,
    password: &str,
    phase: &mut Phase,
) -> Result<status::Status, Trouble> {
    let stream = TcpStream::connect(question.address)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Trouble::Refused,
            _ => Trouble::Unreachable(error.to_string()),
        })?;
    *phase = Phase::Connected;
    stream.set_nodelay(true).map_err(broken)?;
    let mut channel = Channel::new(stream);
    let greeting = wire::read_greeting(&channel.read().await?)?;
    *phase = Phase::Greeted;
    let Some(tls) = &question.tls else {
        return converse(channel, &greeting, question, password, false).await;
    };
    if !greeting.tls() {
        return Err(Trouble::Tls("the server offers none".to_owned()));
    }
    channel.write(&wire::tls_request(&greeting)).await?;
    let refused = |error: upstream_tls::Error| Trouble::Tls(error.to_string());
    let config = upstream_tls::client_config(tls).map_err(refused)?;
    let name = upstream_tls::server_name(tls, question.address.ip()).map_err(refused)?;
    // What was said in clear after the greeting must not be taken for something said in TLS.
    if !channel.stream.buffer().is_empty() {
        return Err(Trouble::Garbage("it goes on in clear before TLS"));
    }
    let stream = TlsConnector::from(config)
        .connect(name, channel.stream.into_inner())
        .await
        .map_err(not_secured)?;
    let channel = Channel {
        stream: BufReader::new(stream),
        next: channel.next,
    };
    converse(channel, &greeting, question, password, true).await
}

fn not_secured(error: io::Error) -> Trouble {
    match upstream_tls::tls_error(&error) {
        Some(tls) => Trouble::Tls(upstream_tls::explain(tls)),
        None => broken(error),
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut channel: Channel<S>,
    greeting: &Greeting,
    question: &Question,
    password: &str,
    tls: bool,
) -> Result<status::Status, Trouble> {
    log_in(&mut channel, greeting, &question.user, password, tls).await?;
    let mut pairs = channel.query(status::STATUS).await?;
    pairs.extend(channel.query(status::VARIABLES).await?);
    // Who goes without a word is counted as an aborted client. What was asked is known in any case.
    channel.next = 0;
    if let Err(error) = channel.write(&[1]).await {
        tracing::debug!(address = %question.address, %error, "galera: a node did not let us say goodbye");
    }
    status::parse(pairs)
}

async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    channel: &mut Channel<S>,
    greeting: &Greeting,
    user: &str,
    password: &str,
    tls: bool,
) -> Result<(), Trouble> {
    // The server says which plugin the user has, if that is another one than it greets with.
    let (mut plugin, proof) = match auth::proof(&greeting.plugin, password, &greeting.scramble) {
        Some(proof) => (greeting.plugin.clone(), proof),
        None => (auth::NATIVE.to_owned(), Vec::new()),
    };
    channel
        .write(&wire::login(greeting, tls, user, &plugin, &proof))
        .await?;
    for _ in 0..PACKETS {
        let packet = channel.read().await?;
        match packet.as_slice() {
            [wire::OK, ..] => return Ok(()),
            [wire::ERROR, ..] => return Err(wire::read_error(&packet)),
            [wire::EOF, ..] => {
                let (name, scramble) = wire::read_switch(&packet)?;
                let proof = auth::proof(&name, password, &scramble)
                    .ok_or_else(|| Trouble::Authentication(name.clone()))?;
                plugin = name;
                channel.write(&proof).await?;
            }
            // Known to the server's cache: OK follows.
            [wire::MORE, 3] if plugin == auth::CACHING => {}
            // Not in the cache: it wants the password itself.
            [wire::MORE, 4] if plugin == auth::CACHING && tls => {
                let mut clear = password.as_bytes().to_vec();
                clear.push(0);
                channel.write(&clear).await?;
            }
            [wire::MORE, ..] => return Err(Trouble::Authentication(plugin)),
            _ => return Err(Trouble::Garbage("an unknown answer to the login")),
        }
    }
    Err(Trouble::Garbage("a login without an end"))
}

/// Packets over a stream.
struct Channel<S> {
    stream: BufReader<S>,
    /// Number of the next packet.
    next: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    fn new(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
            next: 0,
        }
    }

    async fn read(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await.map_err(broken)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        if length > wire::LIMIT {
            return Err(Trouble::Garbage("a packet of more than 64 KiB"));
        }
        // An error that comes before the login, for instance when there is no thread for it, may have any number.
        if head[3] != self.next && self.next > 0 {
            return Err(Trouble::Garbage("packets out of order"));
        }
        self.next = head[3].wrapping_add(1);
        let mut packet = vec![0; length];
        self.stream.read_exact(&mut packet).await.map_err(broken)?;
        Ok(packet)
    }

    async fn write(&mut self, payload: &[u8]) -> Result<(), Trouble> {
        // What is said here is far shorter than what a packet can hold.
        let length = u32::try_from(payload.len())
            .unwrap_or_default()
            .to_le_bytes();
        let mut packet = vec![length[0], length[1], length[2], self.next];
        packet.extend(payload);
        self.next = self.next.wrapping_add(1);
        self.stream.write_all(&packet).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)
    }

    async fn query(&mut self, statement: &str) -> Result<Vec<(String, String)>, Trouble> {
        self.next = 0;
        self.write(&[&[3], statement.as_bytes()].concat()).await?;
        if wire::read_columns(&self.read().await?)? != 2 {
            return Err(Trouble::Garbage("an answer without name and value"));
        }
        for _ in 0..2 {
            self.read().await?;
        }
        if !wire::is_end(&self.read().await?) {
            return Err(Trouble::Garbage("columns without an end"));
        }
        let mut rows = Vec::new();
        for _ in 0..PACKETS {
            let packet = self.read().await?;
            match packet.first() {
                Some(&wire::ERROR) => return Err(wire::read_error(&packet)),
                _ if wire::is_end(&packet) => return Ok(rows),
                _ => rows.push(wire::read_row(&packet)?),
            }
        }
        Err(Trouble::Garbage("rows without an end"))
    }
}

fn broken(error: io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            Trouble::Broken("it was closed before all was said".to_owned())
        }
        _ => Trouble::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
