//! Bytes both ways, until one side ends or both are silent: what follows a switch of protocols, and services in user mode.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::splice;
use super::websocket::{Frames, GOING_AWAY, masked_going_away};
use super::worker::Worker;

const BUFFER: usize = 16 * 1024;
/// For the last words of both sides.
const FAREWELL: Duration = Duration::from_secs(2);

/// Bytes that went to the server and to the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub to_server: u64,
    pub to_client: u64,
    /// It did not end by itself: one side still had something to say.
    pub is_cut: bool,
}

/// What was carried so far.
#[derive(Debug, Default)]
struct Moved {
    to_server: Cell<u64>,
    to_client: Cell<u64>,
}

impl Moved {
    fn sum(&self) -> u64 {
        self.to_server.get() + self.to_client.get()
    }

    fn carried(&self, is_cut: bool) -> Carried {
        Carried {
            to_server: self.to_server.get(),
            to_client: self.to_client.get(),
            is_cut,
        }
    }

    /// Ready when nothing has moved for so long.
    async fn stands_still(&self, silence: Duration) {
        loop {
            let before = self.sum();
            tokio::time::sleep(silence).await;
            if self.sum() == before {
                return;
            }
        }
    }
}

/// Carries a WebSocket until both sides have ended, an error, `silence` on both sides at once, or `stop`: then both are told
/// that it goes away (RFC 6455 section 7.4.1).
pub async fn carry_websocket(
    client: impl AsyncRead + AsyncWrite + Unpin,
    server: impl AsyncRead + AsyncWrite + Unpin,
    silence: Duration,
    stop: impl Future<Output = ()>,
) -> Carried {
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut server_read, mut server_write) = tokio::io::split(server);
    let moved = Moved::default();
    let (up_ends, down_ends) = (Ending::default(), Ending::default());
    let to_server = masked_going_away(fastrand::u32(..).to_be_bytes());
    let up = copy(
        &mut client_read,
        &mut server_write,
        &moved.to_server,
        &up_ends,
        &to_server,
    );
    let down = copy(
        &mut server_read,
        &mut client_write,
        &moved.to_client,
        &down_ends,
        &GOING_AWAY,
    );
    let is_cut = {
        let both = async { tokio::try_join!(up, down).is_err() };
        tokio::pin!(both);
        tokio::select! {
            is_cut = &mut both => return moved.carried(is_cut),
            () = moved.stands_still(silence) => return moved.carried(true),
            () = stop => {}
        }
        up_ends.begin();
        down_ends.begin();
        timeout(FAREWELL, both).await.unwrap_or(true)
    };
    // The client's own last word, for which nobody else waits.
    let rest = async { tokio::io::copy(&mut client_read, &mut tokio::io::sink()).await };
    let _said = timeout(FAREWELL, rest).await;
    moved.carried(is_cut)
}

/// One direction is to end between two frames.
#[derive(Debug, Default)]
struct Ending {
    is_near: Cell<bool>,
    begins: Notify,
}

impl Ending {
    fn begin(&self) {
        self.is_near.set(true);
        self.begins.notify_one();
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: &Cell<u64>,
    ending: &Ending,
    last_word: &[u8],
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut frames = Frames::default();
    loop {
        if ending.is_near.get() && frames.is_between() {
            to.write_all(last_word).await?;
            return to.shutdown().await;
        }
        let length = tokio::select! {
            length = from.read(&mut buffer) => length?,
            () = ending.begins.notified() => continue,
        };
        if length == 0 {
            // The other way may go on.
            return to.shutdown().await;
        }
        frames.follow(&buffer[..length]);
        to.write_all(&buffer[..length]).await?;
        moved.set(moved.get() + length as u64);
    }
}

/// Carries a connection of a service, until both sides have ended, an error, `silence` on both sides at once, or `stop`.
pub async fn carry(
    client: &TcpStream,
    server: &TcpStream,
    silence: Duration,
    worker: &Rc<Worker>,
    stop: impl Future<Output = ()>,
) -> Carried {
    let moved = Moved::default();
    let up = splice::copy(client, server, &moved.to_server, worker);
    let down = splice::copy(server, client, &moved.to_client, worker);
    let both = async { tokio::try_join!(up, down).is_err() };
    let is_cut = tokio::select! {
        is_cut = both => is_cut,
        () = moved.stands_still(silence) => true,
        () = stop => true,
    };
    moved.carried(is_cut)
}

/// Closes politely, for so long at most.
pub async fn close(stream: &mut (impl AsyncWrite + Unpin), limit: Duration) {
    // Who does not take it in time does not get it.
    let _closed = timeout(limit, stream.shutdown()).await;
}
