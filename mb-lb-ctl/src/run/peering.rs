//! The link to the peer, as the configuration wants it: made, replaced and ended. Its own work is in `peer/sync.rs`.

use std::path::Path;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::config::Peer;
use crate::dataplane::FlowSync;
use crate::engine::Event;
use crate::peer::{Carried, Hello, Key, Message, PeerEvent, Peering, Settings};

/// Gives flow sync its own handles on the kernel's flows; blocks for milliseconds.
pub type Opener = Box<dyn Fn() -> Result<FlowSync, String> + Send + Sync>;

/// The link that there is, if any.
pub struct PeerLink {
    wanted: watch::Sender<Option<Wanted>>,
    messages: mpsc::Sender<Message>,
    carried: watch::Sender<Carried>,
}

#[derive(Clone)]
struct Wanted {
    peer: Peer,
    hello: Hello,
    established: Duration,
}

/// Messages that may wait while the link is made; all of them are said again.
const WAITING: usize = 256;

impl PeerLink {
    pub fn spawn(open: Opener, events: mpsc::Sender<Event>) -> Self {
        let (wanted, wants) = watch::channel(None);
        let (messages, queue) = mpsc::channel(WAITING);
        let (carried, carries) = watch::channel(Carried::default());
        tokio::spawn(live(open, wants, carries, queue, events));
        Self {
            wanted,
            messages,
            carried,
        }
    }

    /// Keeps this link from now on, or none.
    pub fn set(&self, peer: Option<Peer>, hello: Hello, established: Duration) {
        self.wanted.send_replace(peer.map(|peer| Wanted {
            peer,
            hello,
            established,
        }));
    }

    pub fn send(&self, message: Message) {
        let _queued = self.messages.try_send(message);
    }

    /// For what is answered later.
    pub fn sender(&self) -> mpsc::Sender<Message> {
        self.messages.clone()
    }

    pub fn carry(&self, carried: Carried) {
        self.carried.send_replace(carried);
    }
}

async fn live(
    open: Opener,
    mut wants: watch::Receiver<Option<Wanted>>,
    mut carries: watch::Receiver<Carried>,
    mut queue: mpsc::Receiver<Message>,
    events: mpsc::Sender<Event>,
) {
    let open = std::sync::Arc::new(open);
    let mut link: Option<Peering> = None;
    loop {
        tokio::select! {
            biased;
            changed = wants.changed() => {
                if changed.is_err() {
                    return;
                }
                let wanted = wants.borrow_and_update().clone();
                let (open, old, for_events) = (std::sync::Arc::clone(&open), link.take(), events.clone());
                // The old one must have let go of its port and of the ring buffer.
                let made = tokio::task::spawn_blocking(move || {
                    if let Some(old) = old {
                        old.end();
                    }
                    wanted.map(|wanted| make(&open, wanted, for_events)).transpose()
                });
                match made.await {
                    Ok(Ok(made)) => link = made,
                    Ok(Err(why)) => {
                        if events.send(Event::Peer(PeerEvent::Trouble(why))).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::error!(%error, "no link to the peer"),
                }
                if let Some(link) = &link {
                    link.carry(carries.borrow_and_update().clone());
                }
            }
            changed = carries.changed() => {
                if changed.is_err() {
                    return;
                }
                if let Some(link) = &link {
                    link.carry(carries.borrow_and_update().clone());
                }
            }
            message = queue.recv() => match message {
                None => return,
                Some(message) => {
                    if let Some(link) = &link {
                        link.send(message);
                    }
                }
            }
        }
    }
}

fn make(open: &Opener, wanted: Wanted, events: mpsc::Sender<Event>) -> Result<Peering, String> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let key = Key::load(&wanted.peer.key, credentials.as_ref().map(Path::new))
        .map_err(|error| format!("no link to the peer: {error}"))?;
    let settings = Settings {
        listen: wanted.peer.listen,
        address: wanted.peer.address,
        key,
        timing: crate::peer::Timing::default(),
    };
    let flows = open()?;
    crate::peer::sync::spawn(settings, wanted.hello, flows, wanted.established, events)
        .map_err(|error| format!("no link to the peer: {error}"))
}
