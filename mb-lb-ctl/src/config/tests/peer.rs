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
        accept_push: true,
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

#[test]
fn a_push_is_accepted_unless_the_file_says_otherwise() {
    let source = |more: &str| with(&format!("key_file = \"k\"\n{more}"));
    assert!(one(&source("")).accept_push);
    assert!(one(&source("accept_push = true")).accept_push);
    assert!(!one(&source("accept_push = false")).accept_push);
    let hash = |more: &str| accept(&source(more)).hash();
    assert_eq!(hash("accept_push = true"), hash(""));
    assert_ne!(hash("accept_push = false"), hash(""));
}

/// One of a pair, with what is its own.
fn director(own: &str, other: &str, priority: u8) -> String {
    format!(
        "[director]\nname = \"lb-{own}\"\ninterfaces = [\"eth{priority}\"]\n\
         [admin]\nsocket = \"/run/{own}.sock\"\n\
         [peer]\nlisten = \"192.168.1.{own}:8405\"\naddress = \"192.168.1.{other}:8405\"\nkey_file = \"/k/{own}\"\n\
         [vrrp.VI_1]\ninterface = \"eth{priority}\"\nvirtual_router_id = 51\npriority = {priority}\n\
         addresses = \"192.168.1.100/24\"\nsource_address = \"192.168.1.{own}\"\nunicast_peers = [\"192.168.1.{other}\"]\n\
         track_services = {{ smtp = {{ weight = -20 }} }}\n\
         [service.smtp]\nlisten = \"192.168.1.100:25\"\ncheck = {{ type = \"smtp\" }}\n\
         [service.smtp.servers]\nmb1 = {{ address = \"192.168.1.101\", weight = 10 }}\nmb2 = \"192.168.1.102\"\n"
    )
}

#[test]
fn the_two_of_a_pair_have_the_same_shared_hash() {
    let one = director("10", "11", 150);
    let shared = |source: &str| accept(source).shared_hash();
    assert_ne!(
        accept(&one).hash(),
        accept(&director("11", "10", 100)).hash()
    );
    assert_eq!(shared(&one), shared(&director("11", "10", 100)));
    let differing = [
        ("weight = 10", "weight = 11"),
        ("service.smtp", "service.mail"),
        (
            "listen = \"192.168.1.100:25\"",
            "listen = \"192.168.1.100:26\"",
        ),
        ("192.168.1.102", "192.168.1.103"),
        ("virtual_router_id = 51", "virtual_router_id = 52"),
        ("192.168.1.100/24", "192.168.1.100/23"),
        ("weight = -20", "weight = -21"),
        ("type = \"smtp\"", "type = \"smtp\", fall = 9"),
    ];
    for (from, to) in differing {
        assert!(one.contains(from), "{from}");
        let mut changed = one.replace(from, to);
        if to.starts_with("service.") {
            changed = changed.replace("{ smtp = {", "{ mail = {");
        }
        assert_ne!(shared(&changed), shared(&one), "{to}");
    }
}

#[test]
fn a_name_in_checks_is_shared_where_the_file_gives_it() {
    let helo = |of: &str, name: &str| {
        let other = if of == "10" { "11" } else { "10" };
        let check = format!("type = \"smtp\", helo = \"{name}\"");
        accept(&director(of, other, 100).replace("type = \"smtp\"", &check)).shared_hash()
    };
    assert_eq!(helo("10", "mx.example.org"), helo("11", "mx.example.org"));
    assert_ne!(helo("10", "mx.example.org"), helo("11", "mx.example.net"));
}
