//! The `no_server` speaker: where no server is up, the director itself answers with one line, so that a
//! sending MTA learns at once that it should come back later.
//!
//! The listeners stand all the time; the XDP program lets a connection through to them only while no server
//! is usable. They are bound with `IP_FREEBIND`, because on the standby director the VIP is not there yet.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Connections that are answered at a time. Further ones wait in the kernel's queue.
const CONCURRENCY: usize = 256;
const BACKLOG: i32 = 1024;

/// For taking the text, and again for closing: what a client may cost.
const PATIENCE: Duration = Duration::from_secs(2);

/// Read and thrown away so that closing does not reset the connection before the client has read the text.
const DRAIN: usize = 4096;

/// After an error of accept, which mostly means too many open files, so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// An address that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} to say that no server is up: {source}")]
pub struct BindError {
    pub address: SocketAddr,
    pub source: io::Error,
}

/// The listeners. Dropping it closes them; connections under way are finished.
pub struct Replies {
    permits: Arc<Semaphore>,
    speakers: BTreeMap<SocketAddr, Speaker>,
}

struct Speaker {
    text: watch::Sender<Arc<str>>,
    task: JoinHandle<()>,
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Default for Replies {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(CONCURRENCY)),
            speakers: BTreeMap::new(),
        }
    }
}

impl Replies {
    /// Says exactly these texts on these addresses from now on; CR LF is added. A listener that stays keeps
    /// its queue, also where its text changes. Addresses that could not be had are returned, and tried again
    /// at the next call.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn set(&mut self, wanted: Vec<(SocketAddr, String)>) -> Vec<BindError> {
        let wanted: BTreeMap<SocketAddr, String> = wanted.into_iter().collect();
        self.speakers
            .retain(|address, _| wanted.contains_key(address));
        let mut failed = Vec::new();
        for (address, text) in wanted {
            let text: Arc<str> = format!("{text}\r\n").into();
            if let Some(speaker) = self.speakers.get(&address) {
                speaker.text.send_replace(text);
                continue;
            }
            match super::listen(address, BACKLOG, false).and_then(TcpListener::from_std) {
                Ok(listener) => {
                    let (sender, receiver) = watch::channel(text);
                    let permits = Arc::clone(&self.permits);
                    let task = tokio::spawn(serve(listener, receiver, permits));
                    self.speakers
                        .insert(address, Speaker { text: sender, task });
                }
                Err(source) => failed.push(BindError { address, source }),
            }
        }
        failed
    }
}

async fn serve(listener: TcpListener, text: watch::Receiver<Arc<str>>, permits: Arc<Semaphore>) {
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let permit = permit.expect("it is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let text = Arc::clone(&text.borrow());
                tokio::spawn(async move {
                    if let Err(error) = speak(stream, &text).await {
                        tracing::trace!(%error, "a client left before it was told");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "no_server connection not accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn speak(mut stream: TcpStream, text: &str) -> io::Result<()> {
    timeout(PATIENCE, stream.write_all(text.as_bytes())).await??;
    stream.shutdown().await?;
    let drained = timeout(PATIENCE, async {
        let mut scrap = [0; 512];
        let mut total = 0;
        while total < DRAIN {
            match stream.read(&mut scrap).await? {
                0 => break,
                count => total += count,
            }
        }
        io::Result::Ok(())
    });
    drained.await?
}

#[cfg(test)]
mod tests;
