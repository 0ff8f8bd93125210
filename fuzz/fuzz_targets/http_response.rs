//! Responses of servers to checks of type `http`: nothing panics, little is kept, and how the bytes are cut into packets
//! does not matter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::prober::http::health;
use mb_lb_ctl::prober::http::response::{Decoder, Garbage, LONGEST};

fuzz_target!(|input: (bool, u8, Vec<u8>)| {
    let (to_head, size, bytes) = input;
    let mut whole = Decoder::new(to_head);
    let at_once = whole.feed(&bytes).and_then(|_| whole.end());

    let mut pieces = Decoder::new(to_head);
    let mut fed = Ok(false);
    for piece in bytes.chunks(usize::from(size).max(1)) {
        fed = pieces.feed(piece);
        if fed != Ok(false) {
            break;
        }
    }
    let slowly = fed.and_then(|_| pieces.end());
    match (&slowly, &at_once) {
        // It is quoted as far as it had come.
        (Err(Garbage::NotHttp(_)), Err(Garbage::NotHttp(_))) => {}
        _ => assert_eq!(slowly, at_once),
    }
    if let Ok(response) = at_once {
        assert!(response.body.len() <= LONGEST);
        assert!((100..1000).contains(&response.status));
        if let Some(health) = health::read(&response.body) {
            assert!(health.to_string().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
    health::read(&bytes);
});
