//! `[peer]`: what its keys become, what they are called elsewhere, and that the key is not shown.

use super::{PEER, SERVICE, accept, codes, diagnose, shown};
use crate::config::{Peer, Secret, parse};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn with(key: &str) -> String {
    let peer = PEER.replace("key_file = \"/etc/mb-lb/peer.key\"", key);
    format!("{SERVICE}{peer}")
}

fn one(source: &str) -> Peer {
    assert_eq!(codes(source), []);
    accept(source).peer.expect("given")
}

#[test]
fn every_key_arrives_in_the_model() {
    let expected = |key: Secret| Peer {
        listen: "192.168.1.10:8405".parse().expect("valid"),
        address: "192.168.1.11:8405".parse().expect("valid"),
        key,
    };
    for (text, key) in [
        (
            "key_file = \"/etc/mb-lb/peer.key\"".to_owned(),
            Secret::File("/etc/mb-lb/peer.key".into()),
        ),
        (
            "key_file = \"peer.key\"".to_owned(),
            Secret::File("peer.key".into()),
        ),
        (format!("key = \"{KEY}\""), Secret::Text(KEY.to_owned())),
        (
            format!("key = \"{}\"", KEY.to_uppercase()),
            Secret::Text(KEY.to_owned()),
        ),
    ] {
        assert_eq!(one(&with(&text)), expected(key), "{text}");
    }
    let six = with("key_file = \"k\"")
        .replace("192.168.1.10:", "[2001:db8::10]:")
        .replace("192.168.1.11:", "[2001:db8::11]:");
    assert!(one(&six).address.is_ipv6());
    assert_eq!(accept(SERVICE).peer, None);
}

#[test]
fn words_of_others() {
    let source = format!(
        "{SERVICE}{}",
        r#"
[peer]
lisen = "192.168.1.10:8405"
remote = "192.168.1.11:8405"
port = 8405
name = "lb2"
keyfile = "/etc/mb-lb/peer.key"
secret = "hunter2"
weather = "fine"
"#
    );
    insta::assert_snapshot!("words_of_others", shown(&source));
}

/// A VIP of VRRP is one as well.
#[test]
fn no_end_is_a_vip() {
    let vrrp = super::VRRP.replace("192.168.1.100", "192.168.1.11");
    let source = format!("{}{vrrp}", with("key_file = \"k\""));
    assert_eq!(
        diagnose(&source)[0].message,
        "`peer.address` has a VIP, `192.168.1.11`"
    );
}

#[test]
fn the_key_is_not_shown() {
    let mut said = String::new();
    let wrong = KEY.replace('0', "x");
    for text in [
        format!("key = \"{KEY}\""),
        format!("key = \"{KEY}00\""),
        format!("key = \"{wrong}\""),
        format!("key = \"{KEY}"),
        format!("key = {KEY}"),
        format!("key \"{KEY}\""),
        format!("key = [\"{KEY}\"]"),
        format!("key = \"{KEY}\"\nkey = \"{KEY}\""),
        format!("key = \"{KEY}\"\nkey_file = \"x\""),
        format!("psk = \"{KEY}\""),
        format!("secret = \"{KEY}\""),
        format!("ky = \"{KEY}\""),
    ] {
        let source = with(&text);
        let parsed = parse(&source, "lb1");
        said += &shown(&source);
        said += &format!("{parsed:?}\n");
        said += &serde_json::to_string(&parsed.diagnostics).expect("serializable");
        if let Some(config) = parsed.config {
            said += &serde_json::to_string(&config).expect("serializable");
        }
    }
    assert!(!said.contains("0b0c0d"), "{said}");
    assert!(!said.contains("xbxcxd"), "{said}");
}

#[test]
fn the_key_is_part_of_the_hash() {
    let hash = |key: &str| accept(&with(key)).hash();
    let other = KEY.replace("00", "ff");
    let hashes = [
        accept(SERVICE).hash(),
        hash("key_file = \"a\""),
        hash("key_file = \"b\""),
        hash(&format!("key = \"{KEY}\"")),
        hash(&format!("key = \"{other}\"")),
    ];
    for (at, one) in hashes.iter().enumerate() {
        assert!(hashes[at + 1..].iter().all(|other| other != one), "{at}");
    }
}
