//! What stands on the page.

use std::time::Duration;

use mb_lb_ctl::admin::http::page::{self, View};
use mb_lb_ctl::admin::http::{History, Outcome, STEP};
use mb_lb_ctl::snapshot::{
    AdminState, AgentView, CertificateView, ClientsView, EventView, HandView, ReasonCount,
    RejectionView, RelayedView, ServerView, ServiceView, Snapshot,
};

use crate::fixtures;

/// All kinds of things at once.
pub fn everything() -> Snapshot {
    let mut snapshot = fixtures::tiers();
    let (pair, syncing, odd) = (fixtures::active(), fixtures::syncing(), fixtures::none_up());
    snapshot.vrrp = pair.vrrp;
    snapshot.vrrp[0].rejections = [("checksum", 3), ("checksum", 4), ("password", 1)]
        .map(|(reason, count)| RejectionView {
            reason: reason.into(),
            count,
            ..RejectionView::default()
        })
        .into();
    snapshot.peer = pair.peer;
    if let Some(peer) = &mut snapshot.peer {
        peer.round_trip_us = Some(420);
        peer.sent = 100_000;
        peer.received = 7;
        peer.refused = [("key".to_owned(), 2)].into();
    }
    snapshot.syncs = syncing.syncs;
    snapshot.removed = odd.removed;
    let down = &mut snapshot.services[0].servers;
    down[1] = fixtures::drained().services[0].servers[1].clone();
    down[2] = fixtures::one_down().services[0].servers[2].clone();
    down[2].max_connections = Some(200);
    down[0].by_hand = Some(HandView {
        by: "alice".into(),
        words: vec!["at most 10 connections (file: no cap)".into()],
        what: vec!["max_connections".into()],
        max_connections: Some(10),
        ..HandView::default()
    });
    down[0].agent = Some(AgentView {
        port: 9707,
        code: "L7OK".into(),
        detail: "the agent says 50%".into(),
        weight: Some("50%".into()),
        up: true,
        ..AgentView::default()
    });
    snapshot.services[0].paused_by = Some("bob".into());
    snapshot.services.push(proxy());
    snapshot.dataplane.reasons = [
        (
            "established",
            "forward",
            "packet of an established flow",
            1_203_400,
        ),
        ("no_service", "pass", "no service listens there", 77),
        ("no_server_reset", "answer", "no server: RST", 5),
        (
            "rst_unplaced",
            "drop",
            "RST that belongs to nothing: never answered",
            3,
        ),
        ("fragment", "pass", "an IP fragment", 0),
    ]
    .map(|(name, verdict, text, packets)| ReasonCount {
        name: name.into(),
        verdict: verdict.into(),
        text: text.into(),
        packets,
    })
    .into();
    snapshot
}

fn proxy() -> ServiceView {
    let server = |position| ServerView {
        port: 443,
        mac: None,
        interface: None,
        relayed: Some(RelayedView {
            connect_errors: 2,
            response_errors: 1,
            retries: 3,
            redispatches: 4,
            statuses: [0, 1200, 30, 4, 2],
        }),
        ..fixtures::server(position, 1, 12)
    };
    let certificate = |file: &str, days: i64| CertificateView {
        file: format!("/etc/ssl/certs/{file}.pem"),
        names: vec![
            format!("{file}.example.com"),
            format!("www.{file}.example.com"),
        ],
        issuer: "Example CA".into(),
        not_before: 0,
        not_after: i64::try_from(fixtures::NOW_MS / 1000).unwrap() + days * 86_400,
        fingerprint: "ab".repeat(32),
    };
    ServiceView {
        name: "https_backend".into(),
        id: 2,
        listen: vec!["192.168.1.100:443".parse().unwrap()],
        forward: "proxy".into(),
        scheduler: "roundrobin".into(),
        on_down: "reset".into(),
        no_server_does: "503".into(),
        since: 86_400,
        servers: vec![server(1), server(2)],
        layer: 7,
        clients: Some(ClientsView {
            most: 20_000,
            open: 12,
            connections: 1234,
            requests: 56_789,
            handshakes: [1000, 230, 4],
            refused: [("bad_request".to_owned(), 7)].into(),
            unlogged: 3,
        }),
        certificates: vec![
            certificate("mail", 60),
            certificate("old", -3),
            certificate("soon", 9),
        ],
        ..ServiceView::default()
    }
}

/// Ten flows a second for a minute, then none, then many.
fn history(snapshot: &Snapshot) -> History {
    let mut history = History::default();
    let mut snapshot = snapshot.clone();
    for step in 0..40_u64 {
        for server in snapshot.services.iter_mut().flat_map(|s| &mut s.servers) {
            server.opened += match step {
                0..12 => 50,
                12..20 => 0,
                step => step * 5 % 170,
            };
        }
        history.sample(&snapshot, STEP);
    }
    history
}

fn render(snapshot: &Snapshot, events: &[EventView], outcome: Option<Outcome>) -> String {
    page::render(&View {
        snapshot,
        events,
        history: &history(snapshot),
        may_change: true,
        outcome,
        refresh: true,
        now_ms: fixtures::NOW_MS,
    })
}

/// Without style and script, and one element a line, so that a change can be read.
fn readable(page: &str) -> String {
    let mut text = String::new();
    for part in page.split_inclusive('>') {
        text.push_str(part);
        if part.starts_with("</") || part.ends_with("/>") || part.ends_with("\">") {
            text.push('\n');
        }
    }
    let style = text.find("<style>").unwrap()..text.find("</style>").unwrap();
    text.replace_range(style, "<style>...");
    let script = text.find("<script>").unwrap()..text.find("</script>").unwrap();
    text.replace_range(script, "<script>...");
    text
}

#[test]
fn pages_of_each_kind_of_day() {
    for (name, snapshot) in [
        ("well", fixtures::well()),
        ("empty", fixtures::empty()),
        ("at_fault", fixtures::at_fault()),
        ("everything", everything()),
    ] {
        let page = render(&snapshot, &fixtures::events(), None);
        insta::assert_snapshot!(format!("page_{name}"), readable(&page));
    }
}

/// HAProxy's page is read by regular expressions.
#[test]
fn tools_find_their_words() {
    let page = render(&fixtures::well(), &[], None);
    assert!(
        page.contains("HAProxy version 2.6.0-mb-lb-0.1.0, "),
        "Zabbix"
    );
    assert!(page.contains("uptime = 12d 4h00m00s"), "Datadog, Zabbix");
}

#[test]
fn nothing_gets_out_of_its_place() {
    const EVIL: &str = "\"'><script>alert(1)</script>";
    let mut snapshot = everything();
    let evil = || EVIL.to_owned();
    snapshot.director = evil();
    snapshot.config_hash = evil();
    snapshot.config_path = evil();
    snapshot.build = evil();
    for alarm in &mut snapshot.alarms {
        (alarm.text, alarm.next) = (evil(), evil());
    }
    for service in &mut snapshot.services {
        (service.name, service.scheduler, service.forward) = (evil(), evil(), evil());
        for server in &mut service.servers {
            server.name = evil();
            server.health_reason = evil();
            server.admin = AdminState::Drain;
            (server.admin_by, server.admin_reason) = (evil(), evil());
            if let Some(check) = &mut server.check {
                (check.detail, check.code) = (evil(), evil());
            }
        }
        for certificate in &mut service.certificates {
            certificate.names = vec![evil()];
            (certificate.file, certificate.issuer) = (evil(), evil());
        }
        if let Some(clients) = &mut service.clients {
            clients.refused = [(evil(), 1)].into();
        }
    }
    for removed in &mut snapshot.removed {
        (removed.service, removed.server) = (evil(), evil());
    }
    for router in &mut snapshot.vrrp {
        (router.name, router.cause, router.interface) = (evil(), evil(), evil());
        router.role = evil();
    }
    if let Some(peer) = &mut snapshot.peer {
        (peer.name, peer.address) = (evil(), evil());
    }
    for tier in &mut snapshot.tiers {
        (tier.name, tier.summary, tier.kind, tier.mode) = (evil(), evil(), evil(), evil());
        tier.takes_out = vec![evil()];
        for node in &mut tier.nodes {
            (node.name, node.reason, node.word, node.role) = (evil(), evil(), evil(), evil());
            node.address = evil();
        }
    }
    for sync in &mut snapshot.syncs {
        (sync.name, sync.method) = (evil(), evil());
        sync.source_error = Some(evil());
        for target in &mut sync.targets {
            (target.target, target.path) = (evil(), evil());
            (target.error, target.next) = (Some(evil()), Some(evil()));
        }
    }
    for reason in &mut snapshot.dataplane.reasons {
        (reason.name, reason.text) = (evil(), evil());
    }
    let events = [EventView {
        subject: evil(),
        kind: evil(),
        text: evil(),
        ..EventView::default()
    }];
    let page = render(&snapshot, &events, Some(Outcome::Done));
    // The page's own script is the only one, and no value ends an attribute: quotes are escaped.
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(!page.contains("alert(1)</script>"));
    assert!(!page.contains("\"\"'"), "an attribute was ended");
    assert!(
        page.matches("alert(1)").count() > 60,
        "{}",
        page.matches("alert(1)").count()
    );
}

/// The policy admits the style and the script of the page by their hashes, and nothing that stands in attributes.
#[test]
fn nothing_runs_but_what_the_policy_names() {
    let page = render(&everything(), &fixtures::events(), None);
    for forbidden in [
        " style=\"",
        " onclick",
        " onload",
        " onsubmit",
        "javascript:",
        "http://",
        "https://",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let policy = page::headers()[0].1.to_str().unwrap().to_owned();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[test]
fn buttons_are_for_those_who_may() {
    let snapshot = fixtures::well();
    let view = View {
        snapshot: &snapshot,
        events: &[],
        history: &History::default(),
        may_change: false,
        outcome: None,
        refresh: false,
        now_ms: fixtures::NOW_MS,
    };
    let page = page::render(&view);
    assert!(!page.contains("<form"), "read-only");
    assert!(!page.contains("http-equiv=\"refresh\""), "no refresh");
    let page = page::render(&View {
        may_change: true,
        refresh: true,
        ..view
    });
    assert_eq!(page.matches("<form").count(), 3);
    assert!(page.contains("http-equiv=\"refresh\""));
}

/// A page of a thousand servers is made in no time that anybody waits for, and is no megabyte.
#[test]
fn a_thousand_servers_are_still_a_page() {
    let page = render(&fixtures::thousand(), &[], None);
    assert!(
        page.contains("998 more servers are not shown"),
        "{}",
        page.len()
    );
    assert!(page.len() < 100_000, "{}", page.len());
    assert!(Duration::from_secs(5) == STEP);
}
