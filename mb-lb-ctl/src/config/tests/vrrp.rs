//! `[vrrp.NAME]`: what its keys become, what other programs call them, what shows only together, and that
//! passwords are not shown.

use std::path::PathBuf;
use std::time::Duration;

use super::{SERVICE, VRRP, accept, codes, diagnose, shown};
use crate::config::{
    Code, Secret, TrackInterface, TrackScript, TrackService, VirtualAddress, Vrrp, parse,
};
use crate::vrrp::machine::Version;
use crate::vrrp::packet::Coverage;

fn address(address: &str, prefix: u8) -> VirtualAddress {
    let address = address.parse().expect("valid");
    VirtualAddress { address, prefix }
}

fn defaults() -> Vrrp {
    Vrrp {
        name: "VI_1".to_owned(),
        interface: "eth0".to_owned(),
        virtual_router_id: 51.try_into().expect("not 0"),
        priority: 100,
        advert_interval: Duration::from_secs(1),
        version: Version::V2,
        auth_pass: None,
        addresses: vec![address("192.168.1.100", 24)],
        preempt: true,
        preempt_delay: Duration::ZERO,
        unicast_peers: Vec::new(),
        source: None,
        checksum: Coverage::PseudoHeader,
        sync_group: None,
        lease: true,
        track_interfaces: vec![TrackInterface {
            interface: "eth0".to_owned(),
            weight: 0,
        }],
        track_services: Vec::new(),
        track_scripts: Vec::new(),
        notify: None,
    }
}

/// The file with one instance, and more of its keys.
fn with(text: &str) -> String {
    format!("{SERVICE}{VRRP}{text}\n")
}

fn one(source: &str) -> Vrrp {
    accept(source).vrrps.remove(0)
}

const FULL: &str = r#"
[service.smtp]
listen = ["192.168.1.100:25", "[2001:db8::100]:25"]
servers = { mb1 = "192.168.1.101", mb2 = "192.168.1.102" }

[vrrp.VI_6]
interface = "eth0"
virtual_router_id = 51
priority = 254
advert_interval = "40950ms"
version = 3
addresses = ["fe80::100/64", "2001:db8::100/64", "2001:db8::99"]
preempt = false
unicast_peers = ["2001:db8::11", "fe80::11"]
source_address = "2001:db8::10"
sync_group = "mail"

[vrrp.VI_4]
interface = "eth0"
virtual_router_id = 51
priority = 1
advert_interval = "10ms"
version = 3
addresses = ["192.168.1.100/24", "192.168.1.99"]
preempt_delay = "1000s"
unicast_peers = []
source_address = "192.168.1.10"
checksum = "message"
sync_group = "mail"
lease = false
track_interfaces = { eth1 = { weight = -20 }, eth0 = {} }
notify = "/etc/mb-lb/notify.sh"
[vrrp.VI_4.track_services]
smtp = { min_up = 2, weight = -253 }
[vrrp.VI_4.track_scripts]
x = { command = " /usr/local/bin/x  -v ", interval = "2s", timeout = "1s", rise = 2, fall = 3, weight = 253 }
"a.b" = { command = "/usr/local/bin/y", interval = "500ms" }

[vrrp.other]
interface = "eth1"
virtual_router_id = 255
priority = 255
advert_interval = "255s"
version = 2
auth_pass_file = "vrrp.password"
addresses = "192.168.2.100/24"
track_interfaces = ["eth1", "eth2"]
track_services = { smtp = {} }
"#;

#[test]
fn three_keys_suffice() {
    assert_eq!(one(&with("")), defaults());
    assert_eq!(codes(&with("")), []);
}

#[test]
fn every_key_arrives_in_the_model() {
    assert_eq!(codes(FULL), []);
    let interface = |name: &str, weight| TrackInterface {
        interface: name.to_owned(),
        weight,
    };
    let service = |min_up, weight| TrackService {
        service: "smtp".to_owned(),
        min_up,
        weight,
    };
    let six = Vrrp {
        name: "VI_6".to_owned(),
        priority: 254,
        advert_interval: Duration::from_millis(40_950),
        version: Version::V3,
        addresses: vec![
            address("fe80::100", 64),
            address("2001:db8::100", 64),
            address("2001:db8::99", 128),
        ],
        preempt: false,
        unicast_peers: ["2001:db8::11", "fe80::11"]
            .map(|peer| peer.parse().expect("valid"))
            .to_vec(),
        source: Some("2001:db8::10".parse().expect("valid")),
        sync_group: Some("mail".to_owned()),
        ..defaults()
    };
    let four = Vrrp {
        name: "VI_4".to_owned(),
        priority: 1,
        advert_interval: Duration::from_millis(10),
        version: Version::V3,
        addresses: vec![address("192.168.1.100", 24), address("192.168.1.99", 32)],
        preempt_delay: Duration::from_secs(1000),
        source: Some("192.168.1.10".parse().expect("valid")),
        checksum: Coverage::Message,
        sync_group: Some("mail".to_owned()),
        lease: false,
        track_interfaces: vec![interface("eth1", -20), interface("eth0", 0)],
        track_services: vec![service(2, -253)],
        track_scripts: vec![
            TrackScript {
                name: "x".to_owned(),
                command: "/usr/local/bin/x -v".to_owned(),
                interval: Duration::from_secs(2),
                timeout: Duration::from_secs(1),
                rise: 2,
                fall: 3,
                weight: 253,
            },
            TrackScript {
                name: "a.b".to_owned(),
                command: "/usr/local/bin/y".to_owned(),
                interval: Duration::from_millis(500),
                timeout: Duration::from_millis(500),
                rise: 1,
                fall: 1,
                weight: 0,
            },
        ],
        notify: Some("/etc/mb-lb/notify.sh".into()),
        ..defaults()
    };
    let other = Vrrp {
        name: "other".to_owned(),
        interface: "eth1".to_owned(),
        virtual_router_id: 255.try_into().expect("not 0"),
        priority: 255,
        advert_interval: Duration::from_secs(255),
        auth_pass: Some(Secret::File("vrrp.password".into())),
        addresses: vec![address("192.168.2.100", 24)],
        track_interfaces: vec![interface("eth1", 0), interface("eth2", 0)],
        track_services: vec![service(1, 0)],
        ..defaults()
    };
    assert_eq!(accept(FULL).vrrps, [six, four, other]);
}

#[test]
fn a_password_is_text_or_a_file() {
    for (text, expected) in [
        ("auth_pass = \"1\"", Secret::Text("1".to_owned())),
        (
            "auth_pass = \"12345678\"",
            Secret::Text("12345678".to_owned()),
        ),
        (
            "auth_pass_file = \"/etc/mb-lb/vrrp.password\"",
            Secret::File(PathBuf::from("/etc/mb-lb/vrrp.password")),
        ),
    ] {
        assert_eq!(one(&with(text)).auth_pass, Some(expected));
        assert_eq!(codes(&with(text)), []);
    }
}

/// Intervals at the edges of each version.
#[test]
fn intervals_by_version() {
    for (version, interval, expected) in [
        (2, "1s", None),
        (2, "1000ms", None),
        (2, "255s", None),
        (2, "999ms", Some(Code::NeedsVersion3)),
        (2, "1001ms", Some(Code::NeedsVersion3)),
        (2, "5m", Some(Code::OutOfRange)),
        (3, "10ms", None),
        (3, "1s", None),
        (3, "40950ms", None),
        (3, "40960ms", Some(Code::OutOfRange)),
        (3, "11ms", Some(Code::OutOfRange)),
    ] {
        let text = format!("version = {version}\nadvert_interval = \"{interval}\"");
        assert_eq!(codes(&with(&text)), Vec::from_iter(expected), "{text}");
    }
}

#[test]
fn so_many_addresses_fit_an_advert() {
    let many = |count: u8| {
        let list: Vec<_> = (1..=count).map(|n| format!("\"10.0.0.{n}\"")).collect();
        with("").replace("\"192.168.1.100/24\"", &format!("[{}]", list.join(", ")))
    };
    assert_eq!(codes(&many(20)), []);
    assert_eq!(one(&many(20)).addresses.len(), 20);
    assert_eq!(codes(&many(21)), [Code::TooMany]);
    assert_eq!(
        diagnose(&many(21))[0].message,
        "`vrrp.VI_1.addresses` has 21 addresses, the most is 20: more do not fit an advert that every peer reads"
    );
}

/// An instance out of keepalived.conf, with its words.
#[test]
fn words_of_keepalived() {
    let source = format!(
        "{SERVICE}{}",
        r#"
[vrrp.VI_1]
interface = "eth0"
virtual_router_id = 51
state = "MASTER"
advert_int = 1
nopreempt = true
garp_master_delay = 5
garp_lower_prio_repeat = 1
auth_type = "PASS"
authentication = { auth_type = "PASS", auth_pass = "hunter2" }
virtual_ipaddress = ["192.168.1.100/24"]
unicast_src_ip = "192.168.1.10"
mcast_src_ip = "192.168.1.10"
unicast_peer = ["192.168.1.11"]
track_interface = ["eth0"]
track_script = ["check_x"]
notify_master = "/etc/keepalived/master.sh"
notify_backup = "/etc/keepalived/backup.sh"
dont_track_primary = true
weather = "fine"
[vrrp.VI_1.track_scripts.check_x]
script = "/usr/local/bin/x"
command = "/usr/local/bin/x"
[vrrp_instance.VI_2]
[vrrp_script.check_x]
[vrrp_sync_group.VG_1]
"#
    );
    insta::assert_snapshot!("words_of_keepalived", shown(&source));
}

#[test]
fn across_instances() {
    let source = r#"
[service.smtp]
listen = "192.168.1.100:25"
servers = { mb1 = "192.168.1.101", mb2 = "192.168.1.99" }
[vrrp.VI_1]
interface = "eth0"
virtual_router_id = 51
addresses = ["192.168.1.100/24", "192.168.1.99/24"]
unicast_peers = ["192.168.1.98"]
sync_group = "mail"
track_services = { smtp = { min_up = 3 }, smtps = {} }
[vrrp.VI_2]
interface = "eth0"
virtual_router_id = 51
version = 3
addresses = ["192.168.1.98/24", "192.168.1.100/32"]
source_address = "192.168.1.99"
sync_group = "mial"
track_services = { imap = {} }
"#;
    insta::assert_snapshot!("across_instances", shown(source));
}

#[test]
fn each_warning_and_what_is_just_short_of_it() {
    let weights = |weight: i16, more: &str| {
        with(&format!(
            "{more}\ntrack_interfaces = {{ eth0 = {{ weight = {weight} }} }}"
        ))
    };
    let script = |text: &str| with(&format!("track_scripts = {{ x = {{ {text} }} }}"));
    let second = "sync_group = \"g\"\n[vrrp.VI_2]\ninterface = \"eth0\"\nvirtual_router_id = 52\n\
                  addresses = \"192.168.1.99\"\n";
    for (source, expected) in [
        (with("auth_pass = \"12345678\""), None),
        (with("auth_pass = \"123456789\""), Some(Code::LongPassword)),
        (with("auth_pass = \"1234567ä\""), Some(Code::LongPassword)),
        (with("sync_group = \"g\""), Some(Code::LonelyGroup)),
        (with(&format!("{second}sync_group = \"g\"")), None),
        (weights(-20, ""), None),
        (weights(0, "preempt = false"), None),
        (weights(-20, "preempt = true"), None),
        (
            weights(-20, "preempt = false"),
            Some(Code::WeightWithoutPreempt),
        ),
        (weights(2, "priority = 254"), None),
        (weights(0, "priority = 255"), None),
        (weights(2, "priority = 255"), Some(Code::WeightOfOwner)),
        (with("preempt = false\npreempt_delay = \"0s\""), None),
        (
            script("command = \"/bin/x\", interval = \"2s\", timeout = \"2s\""),
            None,
        ),
        (
            script("command = \"/bin/x\", timeout = \"1001ms\""),
            Some(Code::TimeoutOverInterval),
        ),
        (script("command = \"/bin/x http://a/?b=1&c=2 a>b\""), None),
        (script("command = \"/bin/x | /bin/y\""), Some(Code::NoShell)),
        (script("command = \"/bin/x 'a b'\""), Some(Code::NoShell)),
        (script("command = \"/bin/x $HOME\""), Some(Code::NoShell)),
        (script("command = \"/bin/x; /bin/y\""), Some(Code::NoShell)),
    ] {
        accept(&source);
        assert_eq!(codes(&source), Vec::from_iter(expected), "{source}");
    }
}

/// The same number is another router on another interface, and in the other family.
#[test]
fn what_makes_a_router() {
    let second = |interface: &str, rest: &str| {
        with(&format!(
            "[vrrp.VI_2]\ninterface = \"{interface}\"\nvirtual_router_id = 51\n{rest}"
        ))
    };
    for (source, expected) in [
        (
            second("eth0", "addresses = \"192.168.1.99\""),
            Some(Code::DuplicateRouter),
        ),
        (
            second("eth0", "version = 3\naddresses = \"192.168.1.99\""),
            Some(Code::DuplicateRouter),
        ),
        (second("eth1", "addresses = \"192.168.1.99\""), None),
        (
            second("eth0", "version = 3\naddresses = \"fe80::100/64\""),
            None,
        ),
    ] {
        assert_eq!(codes(&source), Vec::from_iter(expected), "{source}");
    }
}

/// A link-local address is one of its link.
#[test]
fn link_local_addresses_belong_to_an_interface() {
    let instance = |name: &str, interface: &str, number: u8| {
        format!(
            "[vrrp.{name}]\ninterface = \"{interface}\"\nvirtual_router_id = {number}\nversion = 3\n\
             addresses = \"fe80::100/64\"\n"
        )
    };
    let two = |interface: &str| {
        format!(
            "{SERVICE}{}{}",
            instance("a", "eth0", 1),
            instance("b", interface, 2)
        )
    };
    assert_eq!(codes(&two("eth0")), [Code::DuplicateAddress]);
    assert_eq!(codes(&two("eth1")), []);
}

/// What is lost by a syntax error is not said to be missing.
#[test]
fn a_syntax_error_has_no_echo() {
    let lost = with("priority 101\nversion 3\naddresses = [\"fe80::100/64\"]").replacen(
        "addresses = \"192.168.1.100/24\"\n",
        "",
        1,
    );
    assert_eq!(codes(&lost), [Code::Syntax, Code::Syntax]);
    let service = format!("[service.smtp\nlisten = 1\n{VRRP}track_services = {{ smtp = {{}} }}\n");
    assert_eq!(codes(&service), [Code::Syntax]);
}

/// Nothing that is made of a file shows a password, whatever is wrong with the line that it stands in.
#[test]
fn passwords_are_not_shown() {
    let mut said = String::new();
    for text in [
        "auth_pass = \"hunter2\"",
        "auth_pass = \"hunter2-is-long\"",
        "auth_pass = \"hunter2\\n\"",
        "auth_pass = \"hunter2",
        "auth_pass = hunter2",
        "auth_pass hunter2",
        "auth_pass \"hunter2\"",
        "auth_pass = [\"hunter2\"]",
        "auth_pass = { hunter = \"hunter2\" }",
        "auth_pass = \"hunter2\"\nauth_pass = \"hunter2\"",
        "auth_pass = \"hunter2\"\nauth_pass_file = \"x\"",
        "auth_pas = \"hunter2\"",
        "password = \"hunter2\"",
        "version = 3\nauth_pass = \"hunter2\"",
        "auth_pass = \"hunter2\" preempt = true",
    ] {
        let source = with(text);
        let parsed = parse(&source, "lb1");
        said += &shown(&source);
        said += &format!("{parsed:?}\n");
        said += &serde_json::to_string(&parsed.diagnostics).expect("serializable");
        if let Some(config) = parsed.config {
            assert!(config.vrrps[0].auth_pass.is_some());
            said += &serde_json::to_string(&config).expect("serializable");
        }
    }
    // One key that is called so.
    let said = said
        .replace("auth_pass.hunter", "")
        .replace("{ hunter = ", "");
    assert!(!said.contains("hunter"), "{said}");
}

#[test]
fn the_hash_is_of_what_is_meant() {
    let hash = |source: &str| accept(source).hash();
    let plain = hash(&with(""));
    assert_ne!(plain, hash(SERVICE));
    let written_out = "priority = 100\nadvert_interval = \"1000ms\"\nversion = 2\npreempt = true\n\
                       preempt_delay = \"0s\"\nunicast_peers = []\nlease = true\ntrack_interfaces = [\"eth0\"]";
    assert_eq!(hash(&with(written_out)), plain);
    let auth = |text: &str| hash(&with(&format!("auth_pass = \"{text}\"")));
    // Eight bytes count.
    assert_eq!(auth("secure_password"), auth("secure_p"));
    let file = hash(&with("auth_pass_file = \"secure_p\""));
    let hashes = [
        plain,
        auth("secure_p"),
        auth("secure_q"),
        auth("secure"),
        file,
    ];
    for (at, one) in hashes.iter().enumerate() {
        assert!(hashes[at + 1..].iter().all(|other| other != one), "{at}");
    }
    let mut turned = accept(FULL);
    turned.vrrps.reverse();
    for vrrp in &mut turned.vrrps {
        vrrp.unicast_peers.reverse();
        vrrp.track_interfaces.reverse();
        vrrp.track_scripts.reverse();
    }
    assert_eq!(turned.hash(), hash(FULL));
    // The first address is the one that adverts of IPv6 need, and ip(8) makes it the primary one.
    turned.vrrps[1].addresses.reverse();
    assert_ne!(turned.hash(), hash(FULL));
}

/// Two directors compare it, so it must not change from build to build.
#[test]
fn the_hash_is_stable() {
    insta::assert_snapshot!(accept(FULL).hash(), @"6321d1066c39");
}
