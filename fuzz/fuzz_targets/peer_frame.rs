//! The stream from the other director before it is decrypted, and what was in its frames: no bytes do harm, in whatever
//! pieces they come, and nothing is held beyond the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::peer::frame::{Deframer, HELLO, Joiner, MAX_FRAME, TAG, check_hello};
use mb_lb_ctl::peer::message::MAX_MESSAGE;

/// Frames of a stream that comes in pieces of that many bytes; `None` where one is refused.
fn frames(bytes: &[u8], piece: usize) -> Option<Vec<Vec<u8>>> {
    let mut deframer = Deframer::default();
    let mut frames = Vec::new();
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            let space = deframer.space();
            let taken = piece.len().min(space.len());
            assert!(taken > 0);
            space[..taken].copy_from_slice(&piece[..taken]);
            deframer.filled(taken);
            piece = &piece[taken..];
            while let Some(frame) = deframer.frame().ok()? {
                assert!(frame.len() > TAG && frame.len() <= MAX_FRAME);
                frames.push(frame.to_vec());
            }
        }
    }
    Some(frames)
}

fuzz_target!(|bytes: &[u8]| {
    // More cannot make a refused one good.
    let mut refused = None;
    for end in 0..=bytes.len().min(HELLO) {
        let heard = check_hello(&bytes[..end]);
        assert!(refused.is_none() || heard.err() == refused);
        refused = heard.err();
    }

    let Some((&piece, stream)) = bytes.split_first() else {
        return;
    };
    let whole = frames(stream, stream.len().max(1));
    assert_eq!(frames(stream, usize::from(piece) + 1), whole);

    let mut joiner = Joiner::default();
    for frame in whole.into_iter().flatten() {
        match joiner.push(&frame) {
            Ok(Some(message)) => assert!(message.len() <= MAX_MESSAGE),
            Ok(None) => {}
            Err(_) => break,
        }
    }
});
