//! Session tickets: their keys, which both directors have, so that a client resumes at either.
//!
//! ```text
//! ticket   name of the key (16), nonce (12), state sealed by AES-256-GCM with the name as associated data, tag (16)
//! ```
//!
//! A key seals from `created` until a newer one does, [`ROTATION`] later, and opens until [`KEPT`] after `created`. Then it is
//! wiped, and what was sealed by it is lost for everybody. The newest that is not from the future seals, by the same
//! rule on both directors: whichever of them makes a key, both hold the same ring as soon as it was told. A key is made
//! [`EARLY`] before its time, so that the other director has it when its first ticket comes. Should both make one at once,
//! both open, and the rule picks the one that seals.
//!
//! Keys are in memory and on the peer link and nowhere else. A new process makes one, and gets the others from the peer.
//!
//! Nonces are random: NIST SP 800-38D section 8.3 allows 2^32 of them for a key, which is 99,000 tickets a second of each of
//! two directors for the six hours.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

/// All times are in seconds. A key seals for so long.
pub const ROTATION: u64 = 6 * 3600;
/// After its `created` a key opens for so long: two rotations. RFC 8446 section 4.6.1 allows a week.
pub const KEPT: u64 = 2 * ROTATION;
/// A key is made so long before it seals.
pub const EARLY: u64 = 60;
/// Keys whose time is further ahead come from a clock that is wrong.
pub const AHEAD: u64 = ROTATION;
/// Keys in a ring. The oldest go first: with more, somebody restarts all the time.
pub const MOST: usize = 16;

const NAME: usize = 16;
const SECRET: usize = 32;
/// Bytes of the longest ticket: no state is longer than a server name (255) and some secrets.
const MAX_TICKET: usize = 4096;

/// One key, as directors tell it to each other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TicketKey {
    /// Unix time from which it seals.
    pub created: u64,
    /// Random. In each ticket, in clear.
    pub name: [u8; NAME],
    secret: Secret,
}

/// Wiped when it is dropped, never shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Secret([u8; SECRET]);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: String = self.name.iter().map(|byte| format!("{byte:02x}")).collect();
        f.debug_struct("TicketKey")
            .field("created", &self.created)
            .field("name", &name)
            .finish_non_exhaustive()
    }
}

impl TicketKey {
    /// # Errors
    /// The system has no random bytes.
    pub fn generate(created: u64) -> Result<Self, getrandom::Error> {
        let mut name = [0; NAME];
        let mut secret = Secret([0; SECRET]);
        getrandom::fill(&mut name)?;
        getrandom::fill(&mut secret.0)?;
        Ok(Self {
            created,
            name,
            secret,
        })
    }

    /// Whether it opens at this time.
    const fn lives(&self, now: u64) -> bool {
        now < self.created.saturating_add(KEPT) && self.created <= now.saturating_add(AHEAD)
    }
}

/// A key ready to be used. The library wipes its own copy of the secret.
struct Ready {
    key: TicketKey,
    aead: RandomizedNonceKey,
}

impl From<TicketKey> for Ready {
    fn from(key: TicketKey) -> Self {
        let aead = RandomizedNonceKey::new(&AES_256_GCM, &key.secret.0)
            .expect("AES-256-GCM takes a key of 32 bytes");
        Self { key, aead }
    }
}

/// The keys of one director.
#[derive(Clone, Default)]
pub struct Ring {
    /// The newest first, each name once, at most [`MOST`].
    keys: Vec<Arc<Ready>>,
}

/// What became of keys that came from the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    pub added: usize,
    /// Too old, or of a time that is too far ahead.
    pub refused: usize,
}

impl Ring {
    /// Takes in what the peer has. In whatever order, and how often, two directors tell each other, they get the same ring.
    pub fn merge(&mut self, theirs: Vec<TicketKey>, now: u64) -> Merged {
        let mut merged = Merged::default();
        for key in theirs {
            if !key.lives(now) {
                merged.refused += 1;
                continue;
            }
            let known = self.keys.iter().position(|own| own.key.name == key.name);
            match known {
                // The same one; only who chooses names badly has two.
                Some(at) if self.keys[at].key >= key => continue,
                Some(at) => drop(self.keys.remove(at)),
                None => {}
            }
            self.keys.push(Arc::new(key.into()));
            merged.added += 1;
        }
        self.tidy(now);
        merged
    }

    /// Drops what is too old, and makes a key when it is time to. Whether it has made one, which the peer is to be told.
    ///
    /// # Errors
    /// Of `make`, which gets the time from which the key seals. The old ones go on sealing.
    pub fn rotate<E>(
        &mut self,
        now: u64,
        make: impl FnOnce(u64) -> Result<TicketKey, E>,
    ) -> Result<bool, E> {
        self.tidy(now);
        let newest = self.keys.first().map_or(0, |ready| ready.key.created);
        let next = newest.saturating_add(ROTATION);
        let created = match self.current(now) {
            None => now,
            Some(_) if next <= now.saturating_add(EARLY) => next.max(now),
            Some(_) => return Ok(false),
        };
        self.keys.push(Arc::new(make(created)?.into()));
        self.tidy(now);
        Ok(true)
    }

    fn tidy(&mut self, now: u64) {
        self.keys.retain(|ready| ready.key.lives(now));
        self.keys
            .sort_by(|a, b| Reverse(&a.key).cmp(&Reverse(&b.key)));
        self.keys.truncate(MOST);
    }

    /// What is told to the peer.
    pub fn keys(&self) -> Vec<TicketKey> {
        self.keys.iter().map(|ready| ready.key.clone()).collect()
    }

    /// The key that seals.
    fn current(&self, now: u64) -> Option<&Ready> {
        let sealing = |ready: &&Arc<Ready>| ready.key.created <= now && ready.key.lives(now);
        self.keys.iter().find(sealing).map(Arc::as_ref)
    }

    pub fn seal(&self, state: &[u8], now: u64) -> Option<Vec<u8>> {
        let Ready { key, aead } = self.current(now)?;
        let tag = AES_256_GCM.tag_len();
        if NAME + NONCE_LEN + state.len() + tag > MAX_TICKET {
            return None;
        }
        // It does not grow, so nothing of the state is left behind where it was.
        let mut sealed = Vec::with_capacity(state.len() + tag);
        sealed.extend_from_slice(state);
        let nonce = aead
            .seal_in_place_append_tag(Aad::from(key.name), &mut sealed)
            .ok()?;
        Some([&key.name, nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// `None` is a full handshake: a client may bring anything.
    pub fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let ready = self.keys.iter().find(|ready| ready.key.name == *name)?;
        if !ready.key.lives(now) {
            return None;
        }
        let mut state = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::from(nonce);
        let opened = ready
            .aead
            .open_in_place(nonce, Aad::from(name), &mut state)
            .ok()?;
        Some(opened.to_vec())
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(|ready| &ready.key);
        f.debug_list().entries(keys).finish()
    }
}

/// The owner of the ring.
#[derive(Debug)]
pub struct Tickets {
    ring: Ring,
    ticketer: Arc<Ticketer>,
}

impl Tickets {
    /// With a key of its own.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn new(now: u64) -> Result<Self, getrandom::Error> {
        let mut ring = Ring::default();
        ring.rotate(now, TicketKey::generate)?;
        let ticketer = Arc::new(Ticketer(ArcSwap::from_pointee(ring.clone())));
        Ok(Self { ring, ticketer })
    }

    /// For all proxies, and for as long as the process lives.
    pub fn ticketer(&self) -> Arc<Ticketer> {
        Arc::clone(&self.ticketer)
    }

    /// [`Ring::merge`], in force at once.
    pub fn merge(&mut self, theirs: Vec<TicketKey>, now: u64) -> Merged {
        let merged = self.ring.merge(theirs, now);
        self.publish();
        merged
    }

    /// [`Ring::rotate`], in force at once.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn rotate(&mut self, now: u64) -> Result<bool, getrandom::Error> {
        let before = self.ring.keys.len();
        let made = self.ring.rotate(now, TicketKey::generate);
        if self.ring.keys.len() != before || !matches!(made, Ok(false)) {
            self.publish();
        }
        made
    }

    pub fn keys(&self) -> Vec<TicketKey> {
        self.ring.keys()
    }

    fn publish(&self) {
        self.ticketer.0.store(Arc::new(self.ring.clone()));
    }
}

/// What rustls asks; keys come and go while it does.
#[derive(Debug)]
pub struct Ticketer(ArcSwap<Ring>);

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        KEPT as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.load().seal(plain, unix_seconds())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.load().open(cipher, unix_seconds())
    }
}

pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests;
