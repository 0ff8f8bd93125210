//! Keys of session tickets between the two directors: said when a connection begins, when there is a new one, and now and
//! then, because what is said can get lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustls::server::ProducesTickets;

use crate::engine::Event;
use crate::peer::{Message, PeerEvent, TICKET_KEYS};
use crate::proxy::{TicketKey, Tickets, unix_seconds};

const SAY_AGAIN: Duration = Duration::from_secs(30);

pub struct Keys {
    tickets: Tickets,
    /// When the peer was told last; `None`: it is not there, or does not take them.
    told: Option<Instant>,
    /// The peer's keys are of a time that cannot be, which is said once.
    refused: bool,
}

impl Keys {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            tickets: Tickets::new(unix_seconds()).context("no keys for TLS tickets")?,
            told: None,
            refused: false,
        })
    }

    pub fn ticketer(&self) -> Arc<dyn ProducesTickets> {
        self.tickets.ticketer()
    }

    /// Deals with what the peer says of keys. True: it is for nobody else. Then what is said to the peer.
    pub fn hear(&mut self, event: &Event) -> (bool, Option<Message>) {
        let Event::Peer(event) = event else {
            return (false, None);
        };
        match event {
            PeerEvent::Connected { hello } if hello.knows(TICKET_KEYS) => (false, Some(self.say())),
            PeerEvent::Connected { .. } => {
                tracing::info!(
                    "the build of the peer takes no keys of session tickets: TLS sessions are not resumed on the other director"
                );
                self.told = None;
                (false, None)
            }
            PeerEvent::Disconnected { .. } => {
                self.told = None;
                (false, None)
            }
            PeerEvent::Message(message) => match &**message {
                Message::TicketKeys(keys) => {
                    self.take(keys);
                    (true, None)
                }
                _ => (false, None),
            },
            _ => (false, None),
        }
    }

    fn take(&mut self, keys: &[TicketKey]) {
        let merged = self.tickets.merge(keys.to_vec(), unix_seconds());
        if merged.added > 0 {
            tracing::debug!(added = merged.added, "keys of session tickets of the peer");
        }
        let refused = merged.refused > 0;
        if refused && !self.refused {
            tracing::warn!(
                "keys of session tickets of the peer are of a time that cannot be: its clock or ours is wrong, and TLS sessions \
                 are not resumed on the other director"
            );
        }
        self.refused = refused;
    }

    /// Once a second: a new key when it is time to, and what the peer is to be told.
    pub fn look(&mut self) -> Option<Message> {
        let made = match self.tickets.rotate(unix_seconds()) {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(%error, "no new key for session tickets");
                false
            }
        };
        let due = self
            .told
            .is_some_and(|told| made || told.elapsed() >= SAY_AGAIN);
        due.then(|| self.say())
    }

    fn say(&mut self) -> Message {
        self.told = Some(Instant::now());
        Message::TicketKeys(self.tickets.keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Hello;

    fn connected(knows: &str) -> Event {
        Event::Peer(PeerEvent::Connected {
            hello: Hello {
                name: "lb2".to_owned(),
                build: "0.1.0".to_owned(),
                boot: 1,
                knows: knows.to_owned(),
                started_ms: 0,
            },
        })
    }

    fn message(message: Message) -> Event {
        Event::Peer(PeerEvent::Message(Box::new(message)))
    }

    #[test]
    fn keys_are_told_to_who_takes_them_only() {
        let mut keys = Keys::new().expect("random bytes");
        assert_eq!(keys.look(), None, "nobody is there");
        assert_eq!(keys.hear(&connected("")), (false, None));
        assert_eq!(keys.look(), None);
        let all = Message::TicketKeys(keys.tickets.keys());
        let (taken, said) = keys.hear(&connected(TICKET_KEYS));
        assert_eq!((taken, said), (false, Some(all.clone())));
        assert_eq!(keys.look(), None, "it was told a moment ago");
        keys.told = Instant::now().checked_sub(SAY_AGAIN);
        assert_eq!(keys.look(), Some(all));
        let gone = Event::Peer(PeerEvent::Disconnected { why: String::new() });
        assert_eq!(keys.hear(&gone), (false, None));
        assert_eq!(keys.told, None);
    }

    #[test]
    fn what_the_peer_says_is_taken_and_other_words_are_left_alone() {
        let mut keys = Keys::new().expect("random bytes");
        let other = Keys::new().expect("random bytes");
        let ticket = other.ticketer().encrypt(b"state").expect("sealed");
        assert_eq!(keys.ticketer().decrypt(&ticket), None);
        let theirs = message(Message::TicketKeys(other.tickets.keys()));
        assert_eq!(keys.hear(&theirs), (true, None));
        let state = keys.ticketer().decrypt(&ticket);
        assert_eq!(state.as_deref(), Some(&b"state"[..]));
        assert!(!keys.refused);
        let old = TicketKey::generate(1).expect("random bytes");
        let old = message(Message::TicketKeys(vec![old]));
        assert_eq!(keys.hear(&old), (true, None));
        assert!(keys.refused);
        assert_eq!(keys.hear(&message(Message::ConfigAsk)), (false, None));
        assert_eq!(keys.hear(&Event::Deadline), (false, None));
    }
}
