use std::convert::Infallible;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Some time.
const T: u64 = 1_800_000_000;

/// A key that is told by its number.
fn key(number: u8, created: u64) -> TicketKey {
    TicketKey {
        created,
        name: [number; NAME],
        secret: Secret([number; SECRET]),
    }
}

fn ring(keys: &[TicketKey], now: u64) -> Ring {
    let mut ring = Ring::default();
    ring.merge(keys.to_vec(), now);
    ring
}

/// Makes keys with these numbers, as time goes on.
fn rotate(ring: &mut Ring, number: u8, now: u64) -> bool {
    let made: Result<_, Infallible> = ring.rotate(now, |created| Ok(key(number, created)));
    made.expect("it cannot fail")
}

fn numbers(ring: &Ring) -> Vec<u8> {
    ring.keys().iter().map(|key| key.name[0]).collect()
}

fn sealing(ring: &Ring, now: u64) -> Option<u8> {
    ring.current(now).map(|ready| ready.key.name[0])
}

#[test]
fn keys_rotate_every_six_hours_and_are_gone_after_twelve() {
    let mut ring = Ring::default();
    assert!(rotate(&mut ring, 1, T));
    assert_eq!(sealing(&ring, T), Some(1));
    let next = T + ROTATION;
    assert!(!rotate(&mut ring, 2, next - EARLY - 1));
    // Before its time, which it waits for.
    assert!(rotate(&mut ring, 2, next - EARLY));
    assert!(!rotate(&mut ring, 3, next - EARLY + 1));
    assert_eq!(sealing(&ring, next - 1), Some(1));
    assert_eq!(sealing(&ring, next), Some(2));
    assert_eq!(numbers(&ring), [2, 1]);
    let old = ring.seal(b"state", next - 1).expect("sealed");
    assert!(rotate(&mut ring, 3, T + KEPT - EARLY));
    assert_eq!(numbers(&ring), [3, 2, 1]);
    assert_eq!(
        ring.open(&old, T + KEPT - 1).as_deref(),
        Some(&b"state"[..])
    );
    // Too old, whether it was dropped already or not.
    assert_eq!(ring.open(&old, T + KEPT), None);
    assert!(!rotate(&mut ring, 4, T + KEPT));
    assert_eq!(numbers(&ring), [3, 2]);
    assert_eq!(ring.open(&old, T), None);
}

#[test]
fn a_key_is_made_whatever_the_clock_did() {
    let mut asleep = ring(&[key(1, T)], T);
    // The machine slept for two days.
    assert!(rotate(&mut asleep, 2, T + 48 * 3600));
    assert_eq!(numbers(&asleep), [2]);
    assert_eq!(sealing(&asleep, T + 48 * 3600), Some(2));
    // It slept for seven hours: the new one seals now, not at some time in the past.
    let mut dozed = ring(&[key(1, T)], T);
    assert!(rotate(&mut dozed, 2, T + 7 * 3600));
    assert_eq!(dozed.keys()[0].created, T + 7 * 3600);
    // The clock was an hour ahead, and a year ahead.
    for ahead in [3600, 365 * 86_400] {
        let mut back = ring(&[key(1, T + ahead)], T + ahead);
        assert!(rotate(&mut back, 2, T));
        assert_eq!(sealing(&back, T), Some(2));
        assert_eq!(back.keys().len(), if ahead == 3600 { 2 } else { 1 });
    }
}

#[test]
fn no_random_bytes_leave_the_old_key_in_force() {
    let mut ring = ring(&[key(1, T)], T);
    let late = T + ROTATION;
    assert_eq!(ring.rotate(late, |_| Err("none")), Err("none"));
    assert_eq!(sealing(&ring, late), Some(1));
    assert!(rotate(&mut ring, 2, late + 1));
}

#[test]
fn a_ticket_of_either_director_opens_at_the_other() {
    let now = T + 3600;
    let (mut a, mut b) = (ring(&[key(1, T)], now), ring(&[key(2, now)], now));
    let of_a = a.seal(b"of a", now).expect("sealed");
    let of_b = b.seal(b"of b", now).expect("sealed");
    assert_eq!((a.open(&of_b, now), b.open(&of_a, now)), (None, None));
    let (told_by_a, told_by_b) = (a.keys(), b.keys());
    let one = Merged {
        added: 1,
        refused: 0,
    };
    assert_eq!(a.merge(told_by_b, now), one);
    assert_eq!(b.merge(told_by_a, now), one);
    for ring in [&a, &b] {
        assert_eq!(ring.open(&of_a, now).as_deref(), Some(&b"of a"[..]));
        assert_eq!(ring.open(&of_b, now).as_deref(), Some(&b"of b"[..]));
        assert_eq!(sealing(ring, now), Some(2));
    }
    // Told again, nothing changes.
    assert_eq!(a.merge(b.keys(), now), Merged::default());
}

#[test]
fn two_that_rotate_at_once_agree() {
    let at = T + ROTATION - EARLY;
    let (mut a, mut b) = (ring(&[key(1, T)], at), ring(&[key(1, T)], at));
    assert!(rotate(&mut a, 2, at) && rotate(&mut b, 3, at));
    let (told_by_a, told_by_b) = (a.keys(), b.keys());
    a.merge(told_by_b, at);
    b.merge(told_by_a, at);
    assert_eq!(a.keys(), b.keys());
    assert_eq!(numbers(&a), [3, 2, 1]);
    assert_eq!(sealing(&a, T + ROTATION), Some(3));
    // The other way round one waits for the other's.
    let (mut a, mut b) = (ring(&[key(1, T)], at), ring(&[key(1, T)], at));
    assert!(rotate(&mut a, 2, at));
    b.merge(a.keys(), at);
    assert!(!rotate(&mut b, 3, at));
}

#[test]
fn a_peer_whose_clock_is_ahead_is_understood() {
    let ahead = 600;
    let mut ring = ring(&[key(1, T)], T);
    ring.merge(vec![key(2, T + ahead)], T);
    assert_eq!(sealing(&ring, T), Some(1));
    let theirs = self::ring(&[key(2, T + ahead)], T + ahead);
    let ticket = theirs.seal(b"state", T + ahead).expect("sealed");
    assert_eq!(ring.open(&ticket, T).as_deref(), Some(&b"state"[..]));
    assert_eq!(sealing(&ring, T + ahead), Some(2));
}

#[test]
fn keys_of_a_wrong_time_are_refused() {
    let mut ring = ring(&[key(1, T)], T);
    let theirs = vec![key(2, T - KEPT), key(3, T + AHEAD + 1), key(4, u64::MAX)];
    let none = Merged {
        added: 0,
        refused: 3,
    };
    assert_eq!(ring.merge(theirs, T), none);
    assert_eq!(numbers(&ring), [1]);
    let edges = vec![key(2, T - KEPT + 1), key(3, T + AHEAD)];
    assert_eq!(ring.merge(edges, T).refused, 0);
    assert_eq!(numbers(&ring), [3, 1, 2]);
}

#[test]
fn no_more_keys_are_held_than_there_may_be() {
    let many = (1..=40).map(|number| key(number, T + u64::from(number)));
    let mut ring = ring(&many.collect::<Vec<_>>(), T + 40);
    assert_eq!(numbers(&ring), (25..=40).rev().collect::<Vec<_>>());
    // The one that seals is never among those that go.
    assert!(rotate(&mut ring, 41, T + 40 + ROTATION));
    assert_eq!(ring.keys().len(), MOST);
    assert_eq!(sealing(&ring, T + 40 + ROTATION), Some(41));
}

#[test]
fn what_clients_bring_is_a_ticket_or_nothing() {
    let ring = ring(&[key(1, T), key(2, T + 1)], T + 1);
    let state = b"the state of a session".as_slice();
    let ticket = ring.seal(state, T + 1).expect("sealed");
    assert_eq!(ticket.len(), NAME + NONCE_LEN + state.len() + 16);
    assert_eq!(ticket[..NAME], [2; NAME]);
    assert_eq!(ring.open(&ticket, T + 1).as_deref(), Some(state));
    for end in 0..ticket.len() {
        assert_eq!(ring.open(&ticket[..end], T + 1), None, "the first {end}");
    }
    for at in 0..ticket.len() {
        let mut changed = ticket.clone();
        changed[at] ^= 1;
        assert_eq!(ring.open(&changed, T + 1), None, "byte {at}");
    }
    // The name of another key that is known.
    let mut renamed = ticket.clone();
    renamed[..NAME].fill(1);
    assert_eq!(ring.open(&renamed, T + 1), None);
    // The same name, another secret.
    let mut other = key(2, T + 1);
    other.secret.0[0] ^= 1;
    assert_eq!(self::ring(&[other], T + 1).open(&ticket, T + 1), None);
    assert_eq!(ring.open(&vec![2; MAX_TICKET + 1], T + 1), None);
    assert_eq!(ring.open(b"", T + 1), None);
    assert_eq!(Ring::default().open(&ticket, T + 1), None);
}

#[test]
fn a_ticket_is_sealed_anew_each_time_and_not_without_a_key() {
    let ring = ring(&[key(1, T)], T);
    assert_ne!(ring.seal(b"state", T), ring.seal(b"state", T));
    assert_eq!(ring.seal(b"state", T + KEPT), None);
    assert_eq!(Ring::default().seal(b"state", T), None);
    let longest = MAX_TICKET - NAME - NONCE_LEN - 16;
    let ticket = ring.seal(&vec![7; longest], T).expect("sealed");
    assert_eq!(ring.open(&ticket, T), Some(vec![7; longest]));
    assert_eq!(ring.seal(&vec![7; longest + 1], T), None);
}

#[test]
fn secrets_are_not_shown() {
    let key = key(0xab, T);
    let shown = format!("{key:?}");
    assert_eq!(
        shown,
        "TicketKey { created: 1800000000, name: \"abababababababababababababababab\", .. }"
    );
    assert_eq!(format!("{:?}", ring(&[key], T)), format!("[{shown}]"));
}

#[test]
fn what_is_made_is_random_and_in_force() {
    let now = unix_seconds();
    let mut tickets = Tickets::new(now).expect("random bytes");
    let ticketer = tickets.ticketer();
    let ticket = ticketer.encrypt(b"state").expect("sealed");
    assert_eq!(ticketer.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
    assert_eq!(ticketer.lifetime(), 43_200);
    assert!(ticketer.enabled());
    let mut other = Tickets::new(now).expect("random bytes");
    let theirs = other.ticketer();
    assert_eq!(theirs.decrypt(&ticket), None);
    other.merge(tickets.keys(), now);
    assert_eq!(theirs.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
    assert_eq!(other.keys().len(), 2);
    assert_eq!(tickets.rotate(now), Ok(false));
    assert_eq!(tickets.rotate(now + ROTATION), Ok(true));
    assert_eq!(tickets.keys().len(), 2);
}

fn keys() -> impl Strategy<Value = Vec<TicketKey>> {
    // Few numbers and times, so that names and times meet. A name has one secret, as chance would have it.
    let one = (0..24_u8, 0..8_u64).prop_map(|(number, step)| {
        let created = T + (u64::from(number) % 9 + step) * 3600;
        key(number, created)
    });
    vec(one, 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_merge_has_no_order_and_no_count(a in keys(), b in keys(), c in keys(), late in 0..24_u64) {
        let now = T + late * 3600;
        let together = |parts: &[&[TicketKey]]| {
            let mut ring = Ring::default();
            for part in parts {
                ring.merge(part.to_vec(), now);
            }
            ring.keys()
        };
        let first = together(&[&a, &b, &c]);
        prop_assert_eq!(&first, &together(&[&c, &b, &a]));
        prop_assert_eq!(&first, &together(&[&b, &a, &c, &a, &b, &b]));
        let mut of_both = together(&[&b]);
        of_both.extend(together(&[&a]));
        of_both.extend(together(&[&c]));
        prop_assert_eq!(&first, &together(&[&of_both]));
        prop_assert!(first.len() <= MOST);
        prop_assert!(first.iter().all(|key| key.lives(now)));
    }

    #[test]
    fn any_bytes_of_a_client(bytes in vec(any::<u8>(), 0..300)) {
        let ring = ring(&[key(1, T)], T);
        prop_assert_eq!(ring.open(&bytes, T), None);
        let named = [&[1; NAME], bytes.as_slice()].concat();
        prop_assert_eq!(ring.open(&named, T), None);
    }
}
