//! `[galera.NAME]`, `[sentinel.NAME]` and `[storage.NAME]` as they are meant.

use std::net::SocketAddr;
use std::time::Duration;

use super::{GALERA, SENTINEL, STORAGE, accept, codes};
use crate::config::{
    Code, Galera, GaleraMode, NfsVersion, Secret, Sentinel, ServerTls, Storage, StorageKind,
    TakesOut, TierServer, Verify,
};

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

fn server(name: &str, address: &str) -> TierServer {
    TierServer {
        name: name.to_owned(),
        address: at(address),
        weight: 1,
        priority: 100,
        max_connections: None,
    }
}

#[test]
fn the_smallest_have_all_defaults() {
    let config = accept(&format!("{GALERA}{SENTINEL}{STORAGE}"));
    assert_eq!(
        config.galeras,
        [Galera {
            name: "db".to_owned(),
            listen: vec![at("192.168.1.98:3306")],
            mode: GaleraMode::SingleWriter,
            user: "mb_monitor".to_owned(),
            password: None,
            tls: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(800),
            rise: 3,
            fall: 3,
            allow_donor: false,
            expected_size: 3,
            max_receive_queue: 100,
            max_flow_control: 10,
            servers: vec![
                server("db1", "192.168.1.111:3306"),
                server("db2", "192.168.1.112:3306"),
                server("db3", "192.168.1.113:3306"),
            ],
        }]
    );
    // Redis runs beside each Sentinel.
    assert_eq!(
        config.sentinels,
        [Sentinel {
            name: "sessions".to_owned(),
            listen: vec![at("192.168.1.98:6379")],
            master: "sessions".to_owned(),
            sentinels: vec![
                at("192.168.1.121:26379"),
                at("192.168.1.122:26379"),
                at("192.168.1.123:26379"),
            ],
            servers: vec![
                server("192.168.1.121", "192.168.1.121:6379"),
                server("192.168.1.122", "192.168.1.122:6379"),
                server("192.168.1.123", "192.168.1.123:6379"),
            ],
            user: None,
            password: None,
            tls: None,
            sentinel_user: None,
            sentinel_password: None,
            sentinel_tls: None,
            interval: Duration::from_millis(500),
            timeout: Duration::from_millis(400),
        }]
    );
    assert_eq!(
        config.storages,
        [Storage {
            name: "quarantine".to_owned(),
            kind: StorageKind::Nfs {
                server: "192.168.1.130".parse().expect("an address"),
                export: None,
                port: 2049,
                version: NfsVersion::Any,
                export_probe: false,
            },
            mount: None,
            write_probe: true,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 2,
            min_free: 5,
            max_latency: Duration::from_millis(250),
            takes_out: Vec::new(),
        }]
    );
}

#[test]
fn all_that_can_be_said_of_a_galera() {
    let config = accept(
        r#"[galera.db]
        listen = ["192.168.1.98:3306", "[2001:db8::98]:3306"]
        mode = "any"
        user = "mb_monitor"
        password = "s3cret"
        tls = { verify = "/etc/ssl/galera-ca.pem" }
        interval = "2s"
        timeout = "1s"
        rise = 1
        fall = 2
        allow_donor = true
        expected_size = 4
        max_receive_queue = 50
        max_flow_control = "20%"
        [galera.db.servers]
        db1 = { address = "192.168.1.111:3306", weight = 2, priority = 110, max_connections = 140 }
        "#,
    );
    let galera = &config.galeras[0];
    assert_eq!(galera.mode, GaleraMode::Any);
    assert_eq!(galera.password, Some(Secret::Text("s3cret".to_owned())));
    let tls = ServerTls {
        verify: Verify::Ca("/etc/ssl/galera-ca.pem".into()),
        sni: None,
    };
    assert_eq!(galera.tls, Some(tls));
    assert_eq!((galera.rise, galera.fall, galera.allow_donor), (1, 2, true));
    assert_eq!((galera.expected_size, galera.max_receive_queue), (4, 50));
    assert_eq!(galera.max_flow_control, 20);
    let db1 = &galera.servers[0];
    assert_eq!(
        (db1.weight, db1.priority, db1.max_connections),
        (2, 110, Some(140))
    );
    assert_eq!(galera.listen.len(), 2);
}

#[test]
fn all_that_can_be_said_of_storage() {
    let config = accept(
        r#"[service.smtp]
        listen = "192.168.1.100:25"
        servers = { mb1 = "192.168.1.101", mb2 = "192.168.1.102" }
        [storage.bricks]
        type = "glusterfs"
        servers = ["192.168.1.130", "192.168.1.131"]
        volume = "mailborder-quarantine"
        port = 24107
        heal_command = "/usr/bin/ssh root@192.168.1.130 gluster volume heal mailborder-quarantine info summary --xml"
        heal_interval = "5m"
        mount = "/var/spool/mailborder/quarantine/"
        write_probe = false
        min_free = "10%"
        max_latency = "1s"
        takes_out = ["smtp/mb1", "smtp"]
        [storage.local]
        type = "mount"
        mount = "/var/spool/mailborder/quarantine"
        "#,
    );
    let bricks = &config.storages[0];
    let StorageKind::Glusterfs {
        servers,
        volume,
        port,
        heal_command,
        heal_interval,
    } = &bricks.kind
    else {
        panic!("{:?}", bricks.kind);
    };
    assert_eq!(
        (servers.len(), volume.as_str(), *port),
        (2, "mailborder-quarantine", 24107)
    );
    assert_eq!(heal_command.len(), 9);
    assert_eq!(*heal_interval, Duration::from_secs(300));
    let mount = bricks.mount.as_deref().and_then(|path| path.to_str());
    assert_eq!(mount, Some("/var/spool/mailborder/quarantine"));
    assert_eq!((bricks.write_probe, bricks.min_free), (false, 10));
    let out = |server: Option<&str>| TakesOut {
        service: "smtp".to_owned(),
        server: server.map(str::to_owned),
    };
    assert_eq!(bricks.takes_out, [out(Some("mb1")), out(None)]);
    assert_eq!(config.storages[1].kind, StorageKind::Mount);
}

#[test]
fn storage_alone_is_no_service() {
    assert_eq!(codes(STORAGE), [Code::NoService]);
}

#[test]
fn tiers_can_be_tracked() {
    let vrrp = "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\naddresses = \"192.168.1.98/24\"\n\
                track_services = { db = { min_up = 2, weight = -5 }, sessions = { weight = -5 }, quarantine = { weight = -20 } }\n";
    let config = accept(&format!("{GALERA}{SENTINEL}{STORAGE}{vrrp}"));
    assert_eq!(config.vrrps[0].track_services.len(), 3);
}

#[test]
fn passwords_count_for_the_hash_and_are_not_shown() {
    let with = |password: &str| {
        let text =
            format!("{GALERA}password = \"{password}\"\n{SENTINEL}password = \"{password}\"\n");
        accept(&text)
    };
    let (one, other) = (with("correct horse"), with("battery staple"));
    assert_ne!(one.hash(), other.hash());
    let shown = serde_json::to_string(&one).expect("JSON") + &format!("{one:?}");
    assert!(!shown.contains("horse"), "{shown}");
}
