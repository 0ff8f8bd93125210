//! What answers may take of the memory, whoever asks for however many of them and reads none.

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

/// Bytes of a unit of [`LARGE`].
const UNIT: usize = 1024;
/// For all answers that are being sent, in units: 32 MiB. A list of 5,000 servers takes about 2 MiB.
const LARGE: u32 = 32 * 1024;
/// Shorter answers are not counted: there are no more of them than connections.
const SMALL: usize = 64 * 1024;
/// Texts that are made at once. Making one takes a processor, and its memory is not counted yet.
const MAKERS: usize = 2;

static SENDING: Semaphore = Semaphore::const_new(LARGE as usize);
/// Who does not read lists does not make the monitoring blind.
static METRICS: Semaphore = Semaphore::const_new(LARGE as usize);
static MAKING: Semaphore = Semaphore::const_new(MAKERS);

/// Waits until a text may be made.
pub async fn turn() -> Option<SemaphorePermit<'static>> {
    // It is never closed.
    MAKING.acquire().await.ok()
}

/// The same text, which has its place until it is dropped; none where clients have not read what they asked for before.
pub fn place(text: Bytes) -> Option<Bytes> {
    place_in(&SENDING, text)
}

/// As [`place`], of places that only metrics have.
pub fn place_of_metrics(text: Bytes) -> Option<Bytes> {
    place_in(&METRICS, text)
}

fn place_in(sending: &'static Semaphore, text: Bytes) -> Option<Bytes> {
    if text.len() <= SMALL {
        return Some(text);
    }
    // The largest ones have half of it, so that one of them does not shut out all others.
    let units = u32::try_from(text.len().div_ceil(UNIT)).unwrap_or(LARGE);
    match sending.try_acquire_many(units.min(LARGE / 2)) {
        Ok(permit) => Some(Bytes::from_owner(Placed {
            text,
            _permit: permit,
        })),
        Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => None,
    }
}

struct Placed {
    text: Bytes,
    _permit: SemaphorePermit<'static>,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SENDING: Semaphore = Semaphore::const_new(LARGE as usize);

    fn text(length: usize) -> Bytes {
        Bytes::from(vec![b'x'; length])
    }

    #[test]
    fn large_texts_have_so_many_places_and_small_ones_are_not_counted() {
        let quarter = LARGE as usize / 4 * UNIT;
        let mut sent: Vec<_> = (0..4)
            .map(|_| place_in(&SENDING, text(quarter)).expect("there is room"))
            .collect();
        assert_eq!(sent[0].len(), quarter);
        assert!(place_in(&SENDING, text(SMALL + 1)).is_none());
        assert_eq!(
            place_in(&SENDING, text(SMALL)).map(|text| text.len()),
            Some(SMALL)
        );
        // Parts of it are still it.
        let part = sent.pop().expect("four").slice(1..3);
        assert!(place_in(&SENDING, text(quarter)).is_none());
        drop(part);
        sent.extend(place_in(&SENDING, text(quarter)));
        assert_eq!(sent.len(), 4);
        sent.clear();
        let huge = || place_in(&SENDING, text(LARGE as usize * UNIT + 1));
        let both = (huge().expect("the first"), huge().expect("the second"));
        assert!(huge().is_none() && place_in(&SENDING, text(SMALL + 1)).is_none());
        drop(both);
        assert_eq!(SENDING.available_permits(), LARGE as usize);
    }
}
