//! The link to the peer, as the configuration wants it: made, replaced and ended. Its own work is in `peer/sync.rs`.

use std::path::Path;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::Director;
use crate::config::{Config, Peer, Secret};
use crate::dataplane::FlowSync;
use crate::engine::Event;
use crate::peer::{Carried, Hello, Key, KeyError, Message, PeerEvent, Peering, Settings};

/// Gives flow sync its own handles on the kernel's flows; blocks for milliseconds.
pub type Opener = Box<dyn Fn() -> Result<FlowSync, String> + Send + Sync>;

/// The link that there is, if any.
pub struct PeerLink {
    wanted: watch::Sender<Option<Wanted>>,
    messages: mpsc::Sender<Message>,
    carried: watch::Sender<Carried>,
    /// Of the link that there is.
    key: watch::Receiver<Option<Key>>,
}

/// What the configured key is to the link that there is.
#[derive(Debug, PartialEq, Eq)]
pub enum KeyState {
    /// The one in use, or there is no link to have one.
    Known,
    /// Another one than is in use.
    New,
    Unreadable(String),
}

impl KeyState {
    fn of(secret: &Secret, used: Option<&Key>) -> Self {
        match (load(secret), used) {
            (Err(error), _) => Self::Unreadable(error.to_string()),
            (Ok(key), Some(used)) if key != *used => Self::New,
            (Ok(_), _) => Self::Known,
        }
    }
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
        let (used, key) = watch::channel(None);
        tokio::spawn(live(open, wants, carries, queue, events, used));
        Self {
            wanted,
            messages,
            carried,
            key,
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

impl Director {
    /// The file of the key may say another one, without any change of the configuration.
    pub(super) fn peer_key(&self, config: &Config) -> KeyState {
        let secret = |peer: &Peer| peer.key.clone();
        let wanted = config.peer.as_ref().map(secret);
        match wanted {
            Some(wanted) if self.engine.peer().map(secret).as_ref() == Some(&wanted) => {
                KeyState::of(&wanted, self.peering.key.borrow().as_ref())
            }
            _ => KeyState::Known,
        }
    }

    /// What putting it in force would change.
    pub(super) fn changes(&self, config: &Config) -> Vec<String> {
        let mut lines = self.engine.preview(config, self.now());
        if self.peer_key(config) == KeyState::New {
            tell_new_key(&mut lines);
        }
        lines
    }
}

/// After what the operator wrote, before what is done to the kernel.
fn tell_new_key(lines: &mut Vec<String>) {
    let kernel = lines.iter().position(|line| line.starts_with("kernel: "));
    let at = kernel.unwrap_or(lines.len());
    lines.insert(
        at,
        "~ peer key changed in its file (the link is made anew with it)".to_owned(),
    );
}

async fn live(
    open: Opener,
    mut wants: watch::Receiver<Option<Wanted>>,
    mut carries: watch::Receiver<Carried>,
    mut queue: mpsc::Receiver<Message>,
    events: mpsc::Sender<Event>,
    used: watch::Sender<Option<Key>>,
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
                used.send_replace(None);
                // The old one must have let go of its port and of the ring buffer.
                let made = tokio::task::spawn_blocking(move || {
                    if let Some(old) = old {
                        old.end();
                    }
                    wanted.map(|wanted| make(&open, wanted, for_events)).transpose()
                });
                match made.await {
                    Ok(Ok(None)) => {}
                    Ok(Ok(Some((made, key)))) => {
                        link = Some(made);
                        used.send_replace(Some(key));
                    }
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

fn make(
    open: &Opener,
    wanted: Wanted,
    events: mpsc::Sender<Event>,
) -> Result<(Peering, Key), String> {
    let key = load(&wanted.peer.key).map_err(|error| format!("no link to the peer: {error}"))?;
    let settings = Settings {
        listen: wanted.peer.listen,
        address: wanted.peer.address,
        key: key.clone(),
        timing: crate::peer::Timing::default(),
    };
    let flows = open()?;
    crate::peer::sync::spawn(settings, wanted.hello, flows, wanted.established, events)
        .map(|made| (made, key))
        .map_err(|error| format!("no link to the peer: {error}"))
}

fn load(secret: &Secret) -> Result<Key, KeyError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    Key::load(secret, credentials.as_ref().map(Path::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_replaced_in_its_file_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("peer.key");
        let secret = Secret::File(path.clone());
        let (old, new) = (
            Key::generate().expect("random"),
            Key::generate().expect("random"),
        );
        let write = |key: &Key| std::fs::write(&path, key.to_hex()).expect("written");
        write(&old);
        assert_eq!(KeyState::of(&secret, Some(&old)), KeyState::Known);
        write(&new);
        assert_eq!(KeyState::of(&secret, Some(&old)), KeyState::New);
        assert_eq!(KeyState::of(&secret, None), KeyState::Known, "none is used");
        std::fs::remove_file(&path).expect("removed");
        let gone = KeyState::of(&secret, Some(&old));
        assert!(matches!(gone, KeyState::Unreadable(_)), "{gone:?}");
    }

    #[test]
    fn a_new_key_is_told_before_the_kernel() {
        let told = |lines: &[&str]| {
            let mut lines = lines.iter().map(ToString::to_string).collect();
            tell_new_key(&mut lines);
            let place = |line: &String| line.starts_with("~ peer key changed");
            (lines.iter().position(place), lines.len())
        };
        assert_eq!(told(&[]), (Some(0), 1));
        assert_eq!(told(&["~ smtp x", "kernel: a", "kernel: b"]), (Some(1), 4));
    }
}
