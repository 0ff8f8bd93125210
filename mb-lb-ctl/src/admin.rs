//! The admin socket: who may connect, how lines are framed, and who answers them.
//!
//! ```text
//!   serve() --accept--> connection task (one each, at most MAX_CONNECTIONS)
//!                          |  reads snapshots from the watch
//!                          |  everything else: Request --mpsc--> the controller's task --oneshot--> answer
//!             '---------> refusal task (one each, at most MAX_REFUSALS), where there are too many of the former
//! ```
//!
//! The tasks live in sets that [`serve`] owns; when it ends, they end. A client that does not read holds
//! up its own task only. When the queue of requests is full, the client waits, at most [`ANSWER_TIMEOUT`].

mod certificates;
mod connection;
pub mod http;
mod process;
mod socket;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use crate::command::Cleared;
use crate::command::sessions::Sessions;
use crate::config::SocketLevel;
use crate::engine::{self, ServerRef};
use crate::snapshot::{EventView, FlowView, Snapshot};

pub use socket::{AdminSocket, BindError};

/// Longest line, in bytes, with its line end.
pub const MAX_LINE: usize = 16 * 1024;
/// Longest payload, in bytes.
pub const MAX_PAYLOAD: usize = 1024 * 1024;
/// Connections served at once.
pub const MAX_CONNECTIONS: usize = 64;
/// Served besides, where they are root's or of the daemon's own user.
pub const RESERVED: usize = 8;
/// Clients told at once that there are too many; the next ones wait to be accepted until one of these has gone.
const MAX_REFUSALS: usize = 64;
/// A connection that says nothing for so long is closed; HAProxy's default. One that is refused has as long to go.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that does not take its answer within this time is left.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The controller answers within this time, or the client is told that it did not.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The way from the socket to the controller.
#[derive(Clone, Debug)]
pub struct AdminHandle {
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    pub requests: mpsc::Sender<Request>,
    /// What connections begin with.
    pub level: SocketLevel,
}

/// What all connections have in common.
#[derive(Debug)]
struct Shared {
    handle: AdminHandle,
    /// Path of the socket.
    path: String,
    /// Locked for as long as it takes to read or to write it.
    cleared: Mutex<Cleared>,
    certificates: certificates::Certificates,
}

impl Shared {
    /// Of every snapshot.
    fn observe(&self, snapshot: &Snapshot) {
        self.cleared().observe(snapshot);
        self.certificates.observe(snapshot);
    }

    fn cleared(&self) -> std::sync::MutexGuard<'_, Cleared> {
        self.cleared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AdminHandle {
    /// Asks the controller; the error is what to tell the client.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.requests.send(request(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err("The controller is stopping; nothing was done.".to_owned()),
            Err(_) => Err(format!(
                "The controller did not answer within {} seconds; it may still do what was asked.",
                ANSWER_TIMEOUT.as_secs()
            )),
        }
    }
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// A line each.
    pub changes: Vec<String>,
    /// What is odd about the file, for people; empty where nothing is.
    pub warnings: String,
}

/// What only the controller can do or knows.
#[derive(Debug)]
pub enum Request {
    Change {
        change: engine::Change,
        /// Name of the user at the other end of the socket, or `uid N`.
        by: String,
        /// One line for people: what is so now.
        reply: oneshot::Sender<Result<String, engine::Refusal>>,
    },
    Reload {
        /// What changed; or why nothing did.
        reply: oneshot::Sender<Result<Reloaded, String>>,
    },
    Diff {
        text: String,
        /// What to call it in messages.
        name: String,
        /// What would change, a line each; or what is wrong with the text.
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    PeerDiff {
        /// How the peer's configuration differs, a line each.
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    PeerPush {
        by: String,
        /// What has changed on the peer, a line each.
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    Events {
        /// Only those with a higher number.
        after: u64,
        reply: oneshot::Sender<Vec<EventView>>,
    },
    Follow {
        reply: oneshot::Sender<broadcast::Receiver<EventView>>,
    },
    Flows {
        service: Option<String>,
        limit: usize,
        reply: oneshot::Sender<Result<Vec<FlowView>, String>>,
    },
    /// Flows and connections for `show sess`, at most so many as it shows; with `id`, that one.
    Sessions {
        id: Option<u64>,
        reply: oneshot::Sender<Result<Sessions, String>>,
    },
    /// End a connection of a client of a proxy, or of a service in user mode. True: there was such a one.
    CutSession {
        id: u64,
        by: String,
        reply: oneshot::Sender<bool>,
    },
    /// Files and directories that the configuration has certificates in.
    CertificatePaths {
        reply: oneshot::Sender<Vec<PathBuf>>,
    },
    /// One of them is a new file.
    LookAtCertificates,
    /// To bring the targets of a `config_sync` in step now.
    Sync {
        name: String,
        /// One line for people: what is done now.
        reply: oneshot::Sender<Result<String, engine::SyncRefusal>>,
    },
    /// What the kernel holds of a server: field and value.
    Record {
        server: ServerRef,
        reply: oneshot::Sender<Result<BTreeMap<String, String>, String>>,
    },
}

/// Serves the socket until `shutdown` is ready; then the socket's file is removed and every connection is closed.
pub async fn serve(socket: AdminSocket, handle: AdminHandle, shutdown: impl Future<Output = ()>) {
    let mut snapshots = handle.snapshot.clone();
    let shared = Arc::new(Shared {
        handle,
        path: socket.path().display().to_string(),
        cleared: Mutex::default(),
        certificates: certificates::Certificates::default(),
    });
    let mut connections = JoinSet::new();
    // A set of its own: who is being refused takes no place from those who are served.
    let mut refusals = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Ok(()) = snapshots.changed() => {
                let snapshot = Arc::clone(&snapshots.borrow_and_update());
                shared.observe(&snapshot);
            }
            Some(ended) = connections.join_next() => told(ended),
            Some(ended) = refusals.join_next() => told(ended),
            accepted = socket.accept(), if refusals.len() < MAX_REFUSALS => match accepted {
                Ok(stream) if connections.len() < room_for(&stream) => {
                    connections.spawn(connection::serve(stream, Arc::clone(&shared)));
                }
                Ok(stream) => {
                    refusals.spawn(refuse(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin socket cannot accept a connection");
                    // Out of descriptors, most likely: trying again at once would only burn the processor.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    connections.shutdown().await;
    refusals.shutdown().await;
}

/// Whoever may do everything on this machine has some places more, so that nobody else can lock the operator out.
fn room_for(stream: &UnixStream) -> usize {
    let own = nix::unistd::geteuid().as_raw();
    room(stream.peer_cred().ok().map(|peer| peer.uid()), own)
}

fn room(peer: Option<u32>, own: u32) -> usize {
    match peer {
        Some(uid) if uid == 0 || uid == own => MAX_CONNECTIONS + RESERVED,
        _ => MAX_CONNECTIONS,
    }
}

fn told(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection of the admin socket ended badly");
    }
}

async fn refuse(stream: UnixStream) {
    let text = format!(
        "Too many connections to the admin socket: {MAX_CONNECTIONS} are open. Close one and try again.\n\n"
    );
    // The client may be gone already, and then nobody misses the text.
    let _ = tokio::time::timeout(IDLE_TIMEOUT, connection::farewell(stream, &text)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_can_take_the_operators_places() {
        let own = 990;
        // Numbers, not the constants: without any places kept, those would agree as well.
        assert_eq!(room(Some(1000), own), 64);
        assert_eq!(room(None, own), 64);
        assert_eq!(room(Some(0), own), 72);
        assert_eq!(room(Some(own), own), 72);
    }
}
