//! After a switch of protocols: bytes both ways, until one side ends or both are silent.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

const BUFFER: usize = 16 * 1024;

/// Bytes that went to the server and to the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub to_server: u64,
    pub to_client: u64,
    /// It did not end by itself: one side still had something to say.
    pub is_cut: bool,
}

/// Carries until both sides have ended, an error, `silence` on both sides at once, or `stop`.
pub async fn carry(
    client: impl AsyncRead + AsyncWrite + Unpin,
    server: impl AsyncRead + AsyncWrite + Unpin,
    silence: Duration,
    stop: impl Future<Output = ()>,
) -> Carried {
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut server_read, mut server_write) = tokio::io::split(server);
    let moved = std::cell::Cell::new(Carried::default());
    let up = copy(&mut client_read, &mut server_write, |bytes| {
        let mut sum = moved.get();
        sum.to_server += bytes;
        moved.set(sum);
    });
    let down = copy(&mut server_read, &mut client_write, |bytes| {
        let mut sum = moved.get();
        sum.to_client += bytes;
        moved.set(sum);
    });
    let both = async { tokio::try_join!(up, down).is_err() };
    let watch = async {
        loop {
            let before = moved.get();
            tokio::time::sleep(silence).await;
            if moved.get() == before {
                return;
            }
        }
    };
    let is_cut = tokio::select! {
        is_cut = both => is_cut,
        () = watch => true,
        () = stop => true,
    };
    Carried {
        is_cut,
        ..moved.get()
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: impl Fn(u64),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            // The other way may go on.
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        count(length as u64);
    }
}

/// Closes politely, for so long at most.
pub async fn close(stream: &mut (impl AsyncWrite + Unpin), limit: Duration) {
    // Who does not take it in time does not get it.
    let _closed = timeout(limit, stream.shutdown()).await;
}
