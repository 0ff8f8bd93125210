//! From a TCP connection to one on which both sides know each other.
//!
//! ```text
//! dialer                         acceptor
//! hello                    ->    garbage, version?
//! version?                 <-    hello
//! Noise message 1          ->    key?                 a refusal is one byte in a frame: no Noise message is that short
//! key?                     <-    Noise message 2
//! Message::Hello           ->    is it alive, or a recording?
//! who is it?               <-    Message::Hello
//! ```
//!
//! The pattern is NNpsk0: no keys but the shared one and those made for this connection. Who recorded an
//! earlier one can repeat message 1, but not say its Hello, so nothing counts before that.

use std::io;

use snow::{Builder, HandshakeState, StatelessTransportState};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::frame::{self, Joiner, TAG};
use super::key::Key;
use super::message::{Hello, Message, wipe};
use super::stats::RefusedReason;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// With the version it makes the prologue: both sides have to mean the same by what they say.
const PROTOCOL: &[u8] = b"mb-lb peer link";
/// Both messages of NNpsk0: an ephemeral key, and the tag of an empty payload.
const NOISE: usize = 32 + TAG;
/// Names have at most 64 characters, so that much is enough for a [`Hello`].
const MAX_HELLO: usize = 4096;
/// The only thing that is refused in words: everything else the other side sees for itself.
const REFUSED_KEY: u8 = 1;

/// What a connection that is up is made of.
pub(super) struct Established<S> {
    pub stream: S,
    pub noise: StatelessTransportState,
    /// Frames sent with it, and taken.
    pub nonces: (u64, u64),
    pub hello: Hello,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("{0}")]
    Refused(RefusedReason),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<RefusedReason> for Failed {
    fn from(reason: RefusedReason) -> Self {
        Self::Refused(reason)
    }
}

/// The side that made the connection. The caller limits the time.
pub(super) async fn dial<S>(mut stream: S, key: &Key, own: Hello) -> Result<Established<S>, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&frame::hello()).await?;
    read_hello(&mut stream).await?;
    let mut noise = noise(key, true);
    write_noise(&mut stream, &mut noise).await?;
    let answer = read_frame(&mut stream, NOISE).await?;
    match answer.as_slice() {
        [REFUSED_KEY] => return Err(RefusedReason::WrongKey.into()),
        message => read_noise(&mut noise, message)?,
    }
    let noise = transport(noise);
    write_own(&mut stream, &noise, &own).await?;
    let hello = read_other(&mut stream, &noise, &own).await?;
    Ok(Established {
        stream,
        noise,
        nonces: (1, 1),
        hello,
    })
}

/// The side that was connected to. The caller limits the time.
pub(super) async fn accept<S>(
    mut stream: S,
    key: &Key,
    own: Hello,
) -> Result<Established<S>, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let heard = read_hello(&mut stream).await;
    // One of another version is told which this is; anything else gets no answer.
    if matches!(
        heard,
        Ok(()) | Err(Failed::Refused(RefusedReason::WrongVersion))
    ) {
        stream.write_all(&frame::hello()).await?;
    }
    heard?;
    let mut noise = noise(key, false);
    let message = read_frame(&mut stream, NOISE).await?;
    if let Err(refused) = read_noise(&mut noise, &message) {
        if refused == RefusedReason::WrongKey {
            stream.write_all(&frame::length(1)).await?;
            stream.write_all(&[REFUSED_KEY]).await?;
        }
        return Err(refused.into());
    }
    write_noise(&mut stream, &mut noise).await?;
    let noise = transport(noise);
    let hello = read_other(&mut stream, &noise, &own).await?;
    write_own(&mut stream, &noise, &own).await?;
    Ok(Established {
        stream,
        noise,
        nonces: (1, 1),
        hello,
    })
}

fn noise(key: &Key, initiator: bool) -> HandshakeState {
    let prologue = [PROTOCOL, &frame::VERSION.to_be_bytes()].concat();
    let pattern = PATTERN.parse().expect("a pattern that snow knows");
    Builder::new(pattern)
        .psk(0, key.bytes())
        .and_then(|builder| builder.prologue(&prologue))
        .and_then(|builder| match initiator {
            true => builder.build_initiator(),
            false => builder.build_responder(),
        })
        .expect("the pattern needs one shared key, and has it")
}

fn transport(noise: HandshakeState) -> StatelessTransportState {
    noise
        .into_stateless_transport_mode()
        .expect("both messages were handled")
}

async fn read_hello<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), Failed> {
    let mut hello = [0; frame::HELLO];
    let mut have = 0;
    while !frame::check_hello(&hello[..have])? {
        match stream.read(&mut hello[have..]).await? {
            0 => return Err(RefusedReason::Closed.into()),
            more => have += more,
        }
    }
    Ok(())
}

async fn read_frame<S: AsyncRead + Unpin>(stream: &mut S, most: usize) -> Result<Vec<u8>, Failed> {
    let length = usize::from(stream.read_u16().await.map_err(ended)?);
    if length > most {
        return Err(RefusedReason::TooLarge.into());
    }
    let mut content = vec![0; length];
    stream.read_exact(&mut content).await.map_err(ended)?;
    Ok(content)
}

fn ended(error: io::Error) -> Failed {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => RefusedReason::Closed.into(),
        _ => Failed::Io(error),
    }
}

async fn write_noise<S: AsyncWrite + Unpin>(
    stream: &mut S,
    noise: &mut HandshakeState,
) -> Result<(), Failed> {
    let mut message = [0; NOISE];
    let length = noise
        .write_message(&[], &mut message)
        .map_err(|error| io::Error::other(format!("Noise: {error}")))?;
    let framed = [&frame::length(length)[..], &message[..length]].concat();
    Ok(stream.write_all(&framed).await?)
}

fn read_noise(noise: &mut HandshakeState, message: &[u8]) -> Result<(), RefusedReason> {
    if message.len() != NOISE {
        return Err(RefusedReason::Garbage);
    }
    match noise.read_message(message, &mut []) {
        Ok(_) => Ok(()),
        Err(_) => Err(RefusedReason::WrongKey),
    }
}

async fn write_own<S: AsyncWrite + Unpin>(
    stream: &mut S,
    noise: &StatelessTransportState,
    own: &Hello,
) -> Result<(), Failed> {
    let message = Message::Hello(own.clone())
        .encode()
        .map_err(io::Error::other)?;
    let mut wire = Vec::new();
    seal(noise, &mut 0, &message, &mut wire);
    Ok(stream.write_all(&wire).await?)
}

async fn read_other<S: AsyncRead + Unpin>(
    stream: &mut S,
    noise: &StatelessTransportState,
    own: &Hello,
) -> Result<Hello, Failed> {
    let frame = read_frame(stream, MAX_HELLO).await?;
    let mut content = vec![0; frame.len()];
    let length = noise
        .read_message(0, &frame, &mut content)
        .map_err(|_| RefusedReason::Tampered)?;
    let message = Joiner::default().push(&content[..length])?;
    let decoded = message.map(|message| Message::decode(&message));
    match decoded {
        Some(Ok(Message::Hello(hello))) if hello.boot == own.boot => {
            Err(RefusedReason::Myself.into())
        }
        Some(Ok(Message::Hello(hello))) => Ok(hello),
        _ => Err(RefusedReason::BadMessage.into()),
    }
}

/// Puts a message into frames at the end of `wire`, and counts them.
pub(super) fn seal(
    noise: &StatelessTransportState,
    nonce: &mut u64,
    message: &[u8],
    wire: &mut Vec<u8>,
) {
    let mut content = Vec::with_capacity(message.len().min(frame::CHUNK) + 1);
    for (kind, chunk) in frame::split(message) {
        content.clear();
        content.push(kind);
        content.extend_from_slice(chunk);
        let sealed = content.len() + TAG;
        wire.extend(frame::length(sealed));
        let at = wire.len();
        wire.resize(at + sealed, 0);
        noise
            .write_message(*nonce, &content, &mut wire[at..])
            .expect("a chunk fits into a Noise message");
        *nonce += 1;
    }
    wipe(&mut content);
}
