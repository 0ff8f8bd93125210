//! haproxy.cfg, keepalived.conf and mailborder.conf: a row for each line, and a result that our own parser takes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::config::{Forward, parse};
use mb_lb_ctl::import::{Error, Input, Options, import};

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, bytes)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    let options = Options {
        forward: if how & 1 == 0 { Forward::Dsr } else { Forward::Proxy },
        vips: "192.0.2.1".parse().into_iter().filter(|_| how & 2 == 0).collect(),
        name: "lb1".to_owned(),
        ..Options::default()
    };
    let input = Input {
        name: "file",
        text: &text,
    };
    let imported = match import(&[input], &options) {
        Ok(imported) => imported,
        Err(error) => {
            assert!(!matches!(error, Error::Fault { .. }), "{error}");
            return;
        }
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    assert_eq!(imported.report.files[0].rows.len(), lines.count());
    if let Some(config) = imported.config {
        assert_eq!(parse(&config, "lb1").errors(), 0, "{config}");
    }
});
