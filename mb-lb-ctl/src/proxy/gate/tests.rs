mod differ;
mod refused;
mod served;
mod streamed;

use super::*;

fn limits() -> Limits {
    Limits {
        header: 1024,
        fields: 10,
        body: Some(100),
    }
}

/// What the gate makes of bytes that come in pieces: what passed, where requests ended, and why no more did.
fn run(limits: Limits, pieces: &[&[u8]]) -> (Vec<u8>, Vec<usize>, Option<Violation>) {
    let mut gate = Gate::new(limits);
    let (mut held, mut passed, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            let progress = gate.feed(&held);
            passed.extend(held.drain(..progress.passed));
            match progress.next {
                Next::More => break,
                Next::End => ends.push(passed.len()),
                Next::Refused(violation) => return (passed, ends, Some(violation)),
            }
        }
    }
    (passed, ends, None)
}

/// The same whole, split at every place, and byte by byte: the outcome is always the same.
fn run_split(limits: Limits, bytes: &[u8]) -> (Vec<u8>, Vec<usize>, Option<Violation>) {
    let whole = run(limits, &[bytes]);
    for at in 1..bytes.len() {
        assert_eq!(
            run(limits, &[&bytes[..at], &bytes[at..]]),
            whole,
            "split at {at}: {:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    let each: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(run(limits, &each), whole);
    whole
}
