//! Snapshots to render: from a quiet day to a bad one.

use std::collections::BTreeMap;

use mb_lb_ctl::snapshot::{
    ActiveView, AdminState, Alarm, CheckView, DataplaneView, EventView, FlowView, HealthState,
    InterfaceView, PeerRoleView, PeerView, RemovedView, ServerView, ServiceView, Severity,
    Snapshot, SyncState, SyncTargetView, SyncView, TakeoverView, TierNodeView, TierView, TrackView,
    VrrpView,
};

/// 2026-11-23 12:17:37.358 UTC.
pub const NOW_MS: u64 = 1_795_436_257_358;

pub fn check() -> CheckView {
    CheckView {
        kind: "smtp".into(),
        port: 10025,
        code: "L7OK".into(),
        reply: Some(220),
        detail: "220 banner, EHLO accepted".into(),
        duration_ms: 3,
        rise: 2,
        fall: 3,
        streak: 812,
        level: 4,
        failures: 1,
        falls: 0,
        history: vec![false, true, true, true],
        interval_ms: 2000,
        certificate_not_after: Some(1_772_337_906),
    }
}

pub fn server(position: u32, weight: u16, active: i64) -> ServerView {
    ServerView {
        name: format!("mb{position}"),
        id: 10 + position,
        position,
        address: Some(
            format!("192.168.1.{}", 100 + position % 100)
                .parse()
                .unwrap(),
        ),
        port: 25,
        initial_weight: weight,
        weight,
        ramp_percent: 100,
        health: HealthState::Up,
        health_reason: "220 banner, EHLO accepted".into(),
        usable: true,
        since: 7260,
        check: Some(check()),
        mac: Some(format!("52:54:00:00:00:{:02x}", 100 + position % 100)),
        interface: Some("eth0".into()),
        active,
        pending: 1,
        active_max: active + 5,
        opened: 12_034,
        closed: 12_000,
        expired: 14,
        audited: u64::try_from(active).unwrap(),
        packets: 1_203_400,
        bytes: 1_234_567_890,
        rate: 4,
        rate_max: 31,
        last_flow: Some(0),
        ..ServerView::default()
    }
}

/// Everything works.
pub fn well() -> Snapshot {
    Snapshot {
        tiers: Vec::new(),
        version: 1,
        director: "lb1".into(),
        build: "0.1.0".into(),
        pid: 4711,
        uptime: 12 * 86_400 + 4 * 3600,
        started_ms: NOW_MS - (12 * 86_400 + 4 * 3600) * 1000,
        config_hash: "7f3a9c".into(),
        config_path: "/etc/mb-lb/mb-lb.toml".into(),
        reload_error: None,
        vrrp: Vec::new(),
        peer: None,
        dataplane: DataplaneView {
            interfaces: vec![InterfaceView {
                name: "eth0".into(),
                mode: "native".into(),
            }],
            pinned_at: "/sys/fs/bpf/mb-lb/v2".into(),
            flows: 1052,
            active: 1050,
            max_flows: 262_144,
            sweeps: 1000,
            sweep_micros: 420,
            ..DataplaneView::default()
        },
        services: vec![ServiceView {
            min_up: 2,
            paused_by: None,
            shut_down: false,
            most_clients: None,
            most_clients_by: None,
            layer: 4,
            clients: None,
            certificates: Vec::new(),
            name: "smtp_backend".into(),
            id: 0,
            listen: vec!["192.168.1.100:25".parse().unwrap()],
            forward: "dsr".into(),
            scheduler: "leastconn".into(),
            on_down: "reset".into(),
            no_server: Some("421 4.3.2 Service not available, try again later".into()),
            no_server_does: "reply".into(),
            since: 86_400,
            downs: 0,
            servers: vec![server(1, 10, 420), server(2, 10, 420), server(3, 5, 210)],
        }],
        removed: vec![],
        syncs: vec![],
        alarms: vec![],
    }
}

fn node(role: &str, name: &str, address: &str, word: &str, reason: &str) -> TierNodeView {
    TierNodeView {
        name: name.into(),
        role: role.into(),
        address: address.into(),
        health: match word {
            "not_answering" | "hung" | "non_primary" => HealthState::Down,
            _ => HealthState::Up,
        },
        word: word.into(),
        reason: reason.into(),
        elected: false,
        took_us: Some(3_240),
        fields: BTreeMap::new(),
    }
}

/// A database whose writer has moved, a session store that is well, and storage that hangs and has taken mail out.
pub fn tiers() -> Snapshot {
    let mut snapshot = well();
    let databases = |number: u32, active: i64| ServerView {
        name: format!("mb-db{number}"),
        address: Some(format!("192.168.1.11{number}").parse().unwrap()),
        port: 3306,
        usable: number == 2,
        stands_by: number == 3,
        health: match number {
            1 => HealthState::Down,
            _ => HealthState::Up,
        },
        check: Some(CheckView {
            kind: "mysql".into(),
            port: 3306,
            code: if number == 1 { "L7TOUT" } else { "L7OK" }.into(),
            rise: 0,
            fall: 0,
            ..check()
        }),
        mac: None,
        interface: None,
        ..server(number, 1, active)
    };
    snapshot.services.push(ServiceView {
        layer: 4,
        name: "mailborder_cluster".into(),
        id: 1,
        listen: vec!["192.168.1.100:3306".parse().unwrap()],
        forward: "proxy".into(),
        scheduler: "single-writer".into(),
        on_down: "reset".into(),
        no_server_does: "reset".into(),
        servers: vec![databases(1, 0), databases(2, 31), databases(3, 0)],
        ..ServiceView::default()
    });
    let mut writer = node("server", "mb-db2", "192.168.1.112:3306", "synced", "synced");
    writer.elected = true;
    writer.fields = BTreeMap::from([("size".into(), "2".into())]);
    let galera = TierView {
        name: "mailborder_cluster".into(),
        kind: "galera".into(),
        mode: "single-writer".into(),
        state: "degraded".into(),
        since: 75,
        summary: "writer mb-db2, 2 of 3 synced".into(),
        chosen: Some("mb-db2".into()),
        takes_out: vec![],
        rounds: 812,
        facts: BTreeMap::from([("size".into(), "2 of 3".into())]),
        nodes: vec![
            node(
                "server",
                "mb-db1",
                "192.168.1.111:3306",
                "not_answering",
                "no greeting within 800 ms: the process may be hung",
            ),
            writer,
            node("server", "mb-db3", "192.168.1.113:3306", "synced", "synced"),
        ],
    };
    let mut export = node(
        "export",
        "/export/q",
        "192.168.1.130:2049",
        "ok",
        "exported",
    );
    export.took_us = None;
    let storage = TierView {
        name: "quarantine".into(),
        kind: "storage".into(),
        mode: "nfs".into(),
        state: "failed".into(),
        since: 12,
        summary: "the mount hangs since 12:17:25".into(),
        takes_out: vec!["smtp_backend".into()],
        rounds: 99,
        nodes: vec![
            node(
                "nfs",
                "nfs",
                "192.168.1.130:2049",
                "ok",
                "v3 answers in 0.3 ms",
            ),
            export,
            node("mount", "/var/spool/q", "", "hung", "no answer for 12 s"),
        ],
        ..TierView::default()
    };
    snapshot.tiers = vec![galera, storage];
    snapshot.alarms = vec![
        Alarm {
            severity: Severity::Critical,
            text: "storage quarantine: /var/spool/q hangs for 12 s".into(),
            next: "on this director: grep /var/spool/q /proc/self/mountinfo".into(),
        },
        Alarm {
            severity: Severity::Warning,
            text: "galera mailborder_cluster: mb-db1 does not answer".into(),
            next: "on mb-db1: systemctl status mariadb".into(),
        },
    ];
    snapshot
}

/// Two configurations are brought to mail servers: one fails on one of them, the other has no source.
pub fn syncing() -> Snapshot {
    let target = |number: u8| SyncTargetView {
        target: format!("192.168.1.10{number}"),
        key: format!("etc 192.168.1.10{number}:22:/etc/mailborder"),
        user: "root".into(),
        host: format!("192.168.1.10{number}"),
        port: 22,
        path: "/etc/mailborder".into(),
        state: SyncState::InStep,
        last_success_ms: Some(NOW_MS - 60_000),
        changed_ms: Some(NOW_MS - 3_600_000),
        changed: 4,
        files: ["~ main.cf", "+ maps/a", "- maps/b", "~ maps/c"]
            .map(String::from)
            .into(),
        runs: 12,
        took_ms: 310,
        next_run: Some(240),
        ..SyncTargetView::default()
    };
    let etc = SyncView {
        name: "etc".into(),
        method: "rsync".into(),
        source: Some("/etc/mailborder".into()),
        active: true,
        source_error: None,
        reload: Some("systemctl reload mb-rpcd".into()),
        targets: vec![
            target(1),
            SyncTargetView {
                state: SyncState::Failed,
                error: Some("the reload command ended with 5: no such unit".into()),
                error_kind: Some("reload".into()),
                next: Some("run it by hand on 192.168.1.102: systemctl reload mb-rpcd; then mb-lb-ctl sync etc".into()),
                failures: 3,
                reload_owed: true,
                ..target(2)
            },
        ],
    };
    let rules = SyncView {
        name: "rules".into(),
        method: "git".into(),
        source: Some("/srv/rules".into()),
        source_error: Some("/srv/rules is not a git repository".into()),
        targets: vec![SyncTargetView {
            path: "/srv/rules".into(),
            state: SyncState::Waiting,
            last_success_ms: None,
            changed: 1,
            commits: Some("1 commit 1a2b3c4..5d6e7f8".into()),
            files: vec!["~ local.cf".into()],
            ..target(3)
        }],
        ..etc.clone()
    };
    let standby = SyncView {
        name: "other".into(),
        active: false,
        source: None,
        source_error: None,
        targets: vec![SyncTargetView {
            state: SyncState::Standby,
            next_run: None,
            ..target(4)
        }],
        ..rules.clone()
    };
    let mut snapshot = well();
    snapshot.syncs = vec![etc, rules, standby];
    snapshot.alarms = vec![
        Alarm {
            severity: Severity::Warning,
            text: "config_sync etc to 192.168.1.102 fails: the reload command ended with 5: no such unit".into(),
            next: "run it by hand on 192.168.1.102: systemctl reload mb-rpcd; then mb-lb-ctl sync etc".into(),
        },
        Alarm {
            severity: Severity::Warning,
            text: "config_sync rules sends nothing: /srv/rules is not a git repository".into(),
            next: "ls -la /srv/rules; then mb-lb-ctl sync rules".into(),
        },
    ];
    snapshot
}

/// One of two, with the VIPs.
pub fn active() -> Snapshot {
    let router = |name: &str, number, address: &str| VrrpView {
        name: name.into(),
        interface: "eth0".into(),
        virtual_router_id: number,
        version: 3,
        addresses: vec![address.into()],
        role: "active".into(),
        since: 3725,
        cause: "no advert for 3.609 s".into(),
        base_priority: 100,
        priority: 100,
        source: Some("192.168.1.10".parse().unwrap()),
        turns: 2,
        takeovers: vec![TakeoverView {
            time_ms: NOW_MS - 3_725_000,
            cause: "no advert for 3.609 s".into(),
            outage_ms: Some(3609),
        }],
        ..VrrpView::default()
    };
    let role = |name: &str| PeerRoleView {
        name: name.into(),
        role: "backup".into(),
        priority: 90,
    };
    let mut snapshot = well();
    snapshot.vrrp = vec![
        router("VI_1", 51, "192.168.1.100/24"),
        router("mail_v6", 52, "2001:db8::100/64"),
    ];
    let second = &mut snapshot.vrrp[1];
    second.cause = "VI_1 of the same sync group took over".into();
    second.takeovers[0].cause.clone_from(&second.cause);
    second.takeovers[0].time_ms += 20;
    second.takeovers[0].outage_ms = Some(3629);
    snapshot.peer = Some(PeerView {
        address: "192.168.1.11:8405".into(),
        connected: true,
        since: 3700,
        name: "lb2".into(),
        build: "0.1.0".into(),
        in_sync: true,
        peer_in_sync: true,
        config_hash: "0123456789ab".into(),
        peer_config_hash: Some("0123456789ab".into()),
        roles: vec![role("VI_1"), role("mail_v6")],
        ..PeerView::default()
    });
    snapshot
}

/// The other of the two, which began a moment ago.
pub fn backup() -> Snapshot {
    let mut snapshot = active();
    for router in &mut snapshot.vrrp {
        router.role = "backup".into();
        router.cause = "started".into();
        router.since = 2;
        router.priority = 80;
        router.active = Some(ActiveView {
            address: Some("192.168.1.11".parse().unwrap()),
            priority: 90,
            age_ms: 400,
        });
        router.takeovers.clear();
        router.tracks = vec![TrackView {
            what: "script x".into(),
            weight: -20,
            failed: Some("exit code 1".into()),
        }];
    }
    let peer = snapshot.peer.as_mut().unwrap();
    peer.since = 2;
    peer.in_sync = false;
    peer.unplaced = 3;
    for role in &mut peer.roles {
        role.role = "active".into();
    }
    snapshot
}

/// Without its interface, and without its peer.
pub fn at_fault() -> Snapshot {
    let mut snapshot = active();
    for router in &mut snapshot.vrrp {
        router.role = "fault".into();
        router.cause = "eth0 is down".into();
        router.fault = Some("eth0 is down".into());
        router.since = 40;
    }
    // Since then, the reason is another one.
    snapshot.vrrp[1].fault = Some("the sync group is at fault: VI_1: eth0 is down".into());
    let peer = snapshot.peer.as_mut().unwrap();
    peer.connected = false;
    peer.since = 39;
    peer.why = Some("nothing was heard for 3 s".into());
    snapshot.alarms.push(Alarm {
        severity: Severity::Warning,
        text: "VI_1 is at fault, this director cannot have its addresses: eth0 is down".into(),
        next: "correct that: the instance comes back by itself".into(),
    });
    snapshot
}

/// In the middle of a `failover`, to a peer that has another configuration.
pub fn handing_over() -> Snapshot {
    let mut snapshot = active();
    for router in &mut snapshot.vrrp {
        router.leaving = true;
        // It began with nobody there.
        router.takeovers[0].outage_ms = None;
    }
    let peer = snapshot.peer.as_mut().unwrap();
    peer.peer_in_sync = false;
    peer.peer_config_hash = Some("ba9876543210".into());
    snapshot
}

/// After a `failover`.
pub fn aside() -> Snapshot {
    let mut snapshot = backup();
    for router in &mut snapshot.vrrp {
        router.cause = "handed over to 192.168.1.11: asked for by alice".into();
        router.priority = router.base_priority;
        router.aside = true;
        router.tracks.clear();
    }
    let peer = snapshot.peer.as_mut().unwrap();
    peer.in_sync = true;
    peer.unplaced = 0;
    snapshot
}

/// mb3 refuses connections.
pub fn one_down() -> Snapshot {
    let mut snapshot = well();
    let server = &mut snapshot.services[0].servers[2];
    server.health = HealthState::Down;
    server.health_reason = "connection refused".into();
    server.usable = false;
    server.since = 125;
    server.downtime = 125;
    server.active = 0;
    server.check = Some(CheckView {
        code: "L4CON".into(),
        reply: None,
        detail: "connection refused".into(),
        duration_ms: 0,
        streak: 9,
        level: 0,
        failures: 3,
        falls: 1,
        history: vec![true, false, false, false],
        ..check()
    });
    snapshot.alarms.push(Alarm {
        severity: Severity::Warning,
        text: "1 of 3 servers of smtp_backend is down: mb3".into(),
        next: "mb-lb-ctl describe smtp_backend/mb3".into(),
    });
    snapshot
}

/// mb2 is drained by alice.
pub fn drained() -> Snapshot {
    let mut snapshot = well();
    let server = &mut snapshot.services[0].servers[1];
    server.admin = AdminState::Drain;
    server.admin_by = "alice".into();
    server.admin_reason = "kernel upgrade".into();
    server.since = 252;
    server.usable = false;
    server.active = 217;
    snapshot
}

/// No server takes flows, and the reasons differ.
pub fn none_up() -> Snapshot {
    let mut snapshot = one_down();
    let gone = |service: &str, server: &str, flows| RemovedView {
        service: service.into(),
        server: server.into(),
        id: 77,
        address: Some("192.168.1.109".parse().unwrap()),
        flows,
    };
    snapshot.removed = vec![
        gone("", "#7", 1),
        gone("imap", "mb1", 1200),
        gone("smtp_backend", "mb8", 0),
        gone("smtp_backend", "mb9", 4),
    ];
    let service = &mut snapshot.services[0];
    service.servers[1].weight = 7;
    service.since = 31;
    service.downs = 1;
    let maint = &mut service.servers[0];
    maint.admin = AdminState::Maint;
    maint.admin_by = "alice".into();
    maint.since = 3600;
    maint.usable = false;
    maint.active = 0;
    let down = &mut service.servers[1];
    down.admin = AdminState::Drain;
    down.admin_by = "bob".into();
    down.health = HealthState::Down;
    down.health_reason = "no MAC address for 192.168.1.102 on eth0".into();
    down.usable = false;
    down.since = 31;
    snapshot.alarms.insert(
        0,
        Alarm {
            severity: Severity::Critical,
            text: "no server of smtp_backend takes new flows".into(),
            next: "mb-lb-ctl ready smtp_backend/mb1, or look at mb2 and mb3".into(),
        },
    );
    snapshot
}

/// Everything that the data plane can complain of, and every odd state that a server can be in.
pub fn degraded() -> Snapshot {
    let mut snapshot = well();
    snapshot.reload_error =
        Some("error[E003]: `x` is unknown\n --> a.toml:3:1\n  |\n3 | x = 1\n".into());
    snapshot.dataplane.interfaces.push(InterfaceView {
        name: "eth1".into(),
        mode: "generic".into(),
    });
    snapshot.dataplane.error = Some("map flows4: Operation not permitted".into());
    snapshot.dataplane.table_full = 1234;
    snapshot.dataplane.repairs = 2;
    let service = &mut snapshot.services[0];
    service.scheduler = "roundrobin".into();
    service.servers[0].ramp_percent = 40;
    service.servers[1].max_connections = Some(420);
    service.servers[1].usable = false;
    service.servers[2].health = HealthState::Unknown;
    service.servers[2].health_reason = String::new();
    service.servers[2].usable = false;
    service.servers[2].drift = 3;
    let mut backup = server(4, 0, 0);
    backup.backup = true;
    backup.usable = false;
    backup.check = None;
    service.servers.push(backup);
    snapshot.alarms.push(Alarm {
        severity: Severity::Critical,
        text: "the data plane cannot be written".into(),
        next: "journalctl -u mb-lb -n 50".into(),
    });
    snapshot.alarms.push(Alarm {
        severity: Severity::Warning,
        text: "eth1 has no native XDP".into(),
        next: "use a driver with XDP, or say xdp = \"generic\"".into(),
    });
    snapshot
}

/// 1,000 servers; two need attention.
pub fn thousand() -> Snapshot {
    let mut snapshot = one_down();
    let service = &mut snapshot.services[0];
    for position in 4..=1000 {
        let mut one = server(position, 1, i64::from(position));
        one.address = Some(
            format!("10.0.{}.{}", position / 250, position % 250)
                .parse()
                .unwrap(),
        );
        service.servers.push(one);
    }
    service.servers[499].admin = AdminState::Drain;
    service.servers[499].usable = false;
    snapshot
}

/// A daemon without a service.
pub fn empty() -> Snapshot {
    Snapshot {
        services: vec![],
        ..well()
    }
}

pub fn flows() -> Vec<FlowView> {
    let flow = |port: u16, server: &str, idle| FlowView {
        client: format!("203.0.113.7:{port}").parse().unwrap(),
        vip: "192.168.1.100:25".parse().unwrap(),
        service: "smtp_backend".into(),
        server: server.into(),
        removed: server == "mb9",
        state: "established".into(),
        idle_seconds: idle,
        age_seconds: idle + 60,
    };
    vec![
        flow(40_000, "mb1", 0),
        flow(40_001, "mb2", 252),
        flow(40_002, "mb9", 3),
    ]
}

pub fn event(seq: u64, kind: &str, text: &str) -> EventView {
    EventView {
        seq,
        time_ms: NOW_MS - 600_000 + seq * 1000,
        subject: "smtp_backend/mb3".into(),
        kind: kind.into(),
        text: text.into(),
        fields: BTreeMap::new(),
    }
}

pub fn events() -> Vec<EventView> {
    vec![
        EventView {
            subject: String::new(),
            ..event(1, "attach", "XDP native on eth0")
        },
        event(2, "up", "220 banner, EHLO accepted"),
        event(3, "down", "connection refused"),
    ]
}

pub fn record() -> BTreeMap<String, String> {
    [
        ("mac", "52:54:00:00:00:67"),
        ("state", "down"),
        ("weight", "5"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}
