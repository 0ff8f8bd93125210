use proptest::prelude::*;

use super::*;

#[test]
fn a_hello_is_told_from_garbage_at_its_first_wrong_byte() {
    let good = hello();
    assert_eq!(&good[..4], b"MBLB");
    for end in 0..HELLO {
        assert_eq!(check_hello(&good[..end]), Ok(false), "{end}");
    }
    assert_eq!(check_hello(&good), Ok(true));
    for at in 0..MAGIC.len() {
        let mut bad = good;
        bad[at] ^= 0x20;
        assert_eq!(check_hello(&bad[..=at]), Err(RefusedReason::Garbage));
    }
    for at in MAGIC.len()..HELLO {
        let mut other = good;
        other[at] ^= 0x20;
        assert_eq!(check_hello(&other), Err(RefusedReason::WrongVersion));
    }
    assert_eq!(check_hello(b"GET / HTTP/1.1"), Err(RefusedReason::Garbage));
}

fn joined(message: &[u8]) -> Vec<u8> {
    let mut joiner = Joiner::default();
    let mut whole = None;
    for (kind, chunk) in split(message) {
        assert_eq!(whole, None);
        let content = [&[kind], chunk].concat();
        assert!(content.len() + TAG <= MAX_FRAME);
        whole = joiner.push(&content).expect("within the limits");
    }
    whole.expect("the last frame ends it")
}

#[test]
fn messages_of_every_size_at_the_borders_of_frames() {
    let sizes = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, MAX_MESSAGE];
    for size in sizes {
        let message: Vec<u8> = (0..size).map(|at| at as u8).collect();
        assert!(joined(&message) == message, "{size}");
        assert_eq!(split(&message).count(), size.div_ceil(CHUNK).max(1));
    }
}

#[test]
fn a_message_over_the_limit_is_refused_before_it_is_held() {
    let mut joiner = Joiner::default();
    let full = [&[MORE][..], &vec![0; CHUNK]].concat();
    for _ in 0..MAX_MESSAGE / CHUNK {
        assert_eq!(joiner.push(&full), Ok(None));
    }
    assert_eq!(joiner.push(&full), Err(RefusedReason::TooLarge));
    assert!(joiner.begun.len() <= MAX_MESSAGE);
}

#[test]
fn frames_that_say_nothing_are_refused() {
    for content in [&[][..], &[2], &[255, 0], &[MORE]] {
        let refused = Joiner::default().push(content);
        assert_eq!(refused, Err(RefusedReason::BadMessage), "{content:?}");
    }
    for short in 0..=TAG {
        let mut deframer = Deframer::default();
        deframer.space()[..2].copy_from_slice(&length(short));
        deframer.filled(2);
        assert_eq!(deframer.frame(), Err(RefusedReason::BadMessage));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However the stream is cut.
    #[test]
    fn frames_come_out_as_they_went_in(
        sizes in proptest::collection::vec(TAG + 1..=MAX_FRAME, 1..6),
        reads in proptest::collection::vec(1usize..100_000, 1..50),
    ) {
        let frames: Vec<Vec<u8>> = sizes.iter().zip(0u8..).map(|(size, at)| vec![at; *size]).collect();
        let mut stream = Vec::new();
        for frame in &frames {
            stream.extend(length(frame.len()));
            stream.extend(frame);
        }
        let mut rest = stream.as_slice();
        let mut deframer = Deframer::default();
        let mut found = Vec::new();
        for read in reads.iter().cycle() {
            while let Some(frame) = deframer.frame().expect("good lengths") {
                found.push(frame.to_vec());
            }
            if rest.is_empty() {
                break;
            }
            let space = deframer.space();
            prop_assert!(!space.is_empty());
            let count = rest.len().min(space.len()).min(*read);
            space[..count].copy_from_slice(&rest[..count]);
            deframer.filled(count);
            rest = &rest[count..];
        }
        prop_assert!(found == frames);
    }
}
