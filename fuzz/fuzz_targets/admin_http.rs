#![no_main]

use http::HeaderMap;
use http::header::{HOST, HeaderValue, ORIGIN, REFERER};
use libfuzzer_sys::fuzz_target;
use mb_lb_ctl::admin::http::{Account, check_origin, read_form};
use mb_lb_ctl::engine::Change;
use mb_lb_ctl::snapshot::{ServerView, ServiceView, Snapshot};

// A form, the password, and where it says that it comes from.
fuzz_target!(|bytes: &[u8]| {
    let server = |name: &str| ServerView {
        name: name.to_owned(),
        ..ServerView::default()
    };
    let snapshot = Snapshot {
        services: vec![ServiceView {
            name: "smtp".to_owned(),
            servers: vec![server("mb1"), server("mb2")],
            ..ServiceView::default()
        }],
        ..Snapshot::default()
    };
    if let Ok(changes) = read_form(bytes, &snapshot) {
        assert!(!changes.is_empty());
        for change in changes {
            let Change::Admin { server, reason, .. } = change else {
                panic!("{change:?}");
            };
            assert_eq!(server.service, "smtp");
            assert!(["mb1", "mb2"].contains(&server.server.as_str()));
            assert!(reason.chars().count() <= 200);
            assert!(!reason.contains(char::is_control));
        }
    }
    assert!(!Account::new("admin", "0123456789abcdef0123456789").admits(Some(bytes)));
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        for field in [ORIGIN, REFERER] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("lb1:8404"));
            headers.insert(field, value.clone());
            if check_origin(&headers).is_ok() {
                let text = String::from_utf8_lossy(bytes);
                assert!(text.contains("://lb1:8404"), "{text}");
            }
        }
    }
});
