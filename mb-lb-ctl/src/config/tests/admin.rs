//! `http` of `[admin]`, and who may use it.

use super::{SERVICE, accept, codes};
use crate::config::Code;

fn with(admin: &str) -> String {
    format!("[admin]\n{admin}\n{SERVICE}")
}

#[test]
fn a_page_without_a_password_is_for_loopback() {
    let login = "user = \"admin\"\npassword = \"s3cret\"";
    for (admin, expected) in [
        ("http = \"127.0.0.1:8404\"", None),
        ("http = \"127.9.9.9:8404\"", None),
        ("http = \"[::1]:8404\"", None),
        ("http = \"192.168.1.10:8404\"", Some(Code::OpenPage)),
        ("http = \"0.0.0.0:8404\"", Some(Code::OpenPage)),
        ("http = \"[::]:8404\"", Some(Code::OpenPage)),
    ] {
        let found = codes(&with(admin));
        assert_eq!(found.first().copied(), expected, "{admin}");
        assert!(found.len() < 2, "{admin}");
        assert_eq!(codes(&with(&format!("{admin}\n{login}"))), [], "{admin}");
    }
}

#[test]
fn the_page_is_a_directors_own_and_its_password_is_not_shown() {
    let password = |text: &str| {
        let login = format!("user = \"admin\"\npassword = \"{text}\"");
        accept(&with(&format!("http = \"192.168.1.10:8404\"\n{login}")))
    };
    let (one, other) = (password("correct horse"), password("battery staple"));
    assert_ne!(one.hash(), other.hash());
    assert_eq!(one.shared_hash(), accept(SERVICE).shared_hash());
    let shown = serde_json::to_string(&one).expect("JSON") + &format!("{one:?}");
    assert!(!shown.contains("horse"), "{shown}");
}

/// The hash of a file without a page stays what it was before there were pages.
#[test]
fn no_page_leaves_no_trace() {
    let json = serde_json::to_string(&accept(SERVICE)).expect("JSON");
    assert!(!json.contains("http"), "{json}");
}
