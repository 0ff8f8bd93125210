//! Lines of agents: nothing panics, what people are shown of them is short and printable, and what is asked for is in range.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::engine::Weight;
use mb_lb_ctl::prober::agent::reply;

fuzz_target!(|line: &[u8]| {
    let heard = reply::parse(line);
    let shown = heard.odd.iter().chain([&heard.said]);
    for text in shown.chain(&heard.reply.reason) {
        assert!(text.len() <= 120, "{text}");
        let mut bytes = text.bytes();
        assert!(bytes.all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
    }
    match heard.reply.weight {
        Some(Weight::Absolute(weight)) => assert!(weight <= 256),
        Some(Weight::Percent(percent)) => assert!(percent <= 25_600),
        None => {}
    }
    assert_eq!(heard.reply.up.is_some(), heard.health.is_some());
});
