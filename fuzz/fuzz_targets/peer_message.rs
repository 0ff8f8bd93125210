//! What the other director says, once it is decrypted: no bytes do harm, and what is a message stays the same one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::peer::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Message::decode(bytes) {
        let encoded = message.encode().expect("it kept the limits");
        assert_eq!(Message::decode(&encoded), Ok(message));
    }
});
