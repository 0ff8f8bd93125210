use super::*;
use crate::cli::doctor::finding::Level;
use crate::snapshot::{ServerView, ServiceView, VrrpView};

const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 7];
const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const THIRD: [u8; 6] = [2, 0, 0, 0, 0, 10];

fn vip() -> IpAddr {
    IpAddr::from([192, 0, 2, 100])
}

fn snapshot() -> Snapshot {
    let server = ServerView {
        name: "mb1".to_owned(),
        mac: Some(mac(SERVER)),
        address: Some(IpAddr::from([192, 0, 2, 1])),
        ..ServerView::default()
    };
    let service = ServiceView {
        name: "smtp".to_owned(),
        forward: "dsr".to_owned(),
        servers: vec![server],
        ..ServiceView::default()
    };
    let router = VrrpView {
        addresses: vec!["192.0.2.100/24".to_owned()],
        active: Some(crate::snapshot::ActiveView::default()),
        ..VrrpView::default()
    };
    Snapshot {
        services: vec![service],
        vrrp: vec![router],
        ..Snapshot::default()
    }
}

#[test]
fn who_may_answer_for_a_vip() {
    let claims = |macs: &[[u8; 6]]| {
        let claim = |mac| Claim {
            address: vip(),
            mac,
            ifindex: 2,
        };
        macs.iter().copied().map(claim).collect::<BTreeSet<_>>()
    };
    let held = |held: bool| held.then(vip).into_iter().collect();
    type Case = (bool, &'static [[u8; 6]], &'static [(Level, &'static str)]);
    let cases: &[Case] = &[
        (true, &[], &[(Level::Ok, "nobody but this director")]),
        (
            true,
            &[SERVER],
            &[(
                Level::Problem,
                "smtp/mb1 answers ARP for 192.0.2.100 (02:00:00:00:00:07)",
            )],
        ),
        (
            true,
            &[STRANGER],
            &[(
                Level::Problem,
                "02:00:00:00:00:09 answers ARP for 192.0.2.100 as well",
            )],
        ),
        (false, &[], &[(Level::Warning, "nobody answers ARP")]),
        (
            false,
            &[STRANGER],
            &[(Level::Ok, "the active director answers")],
        ),
        (
            false,
            &[SERVER, STRANGER],
            &[
                (Level::Problem, "smtp/mb1"),
                (Level::Ok, "the active director"),
            ],
        ),
        (
            false,
            &[STRANGER, THIRD],
            &[(Level::Problem, "more than one machine")],
        ),
    ];
    for (has, macs, expected) in cases {
        let segment = Segment::new(Some(&snapshot()), held(*has));
        let found = answers(vip(), &claims(macs), &segment);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, (level, says)) in found.iter().zip(*expected) {
            assert_eq!(found.level, *level, "{found:?}");
            assert!(found.text.contains(says), "{found:?}");
        }
    }
    // Without a daemon nobody knows the servers, nor who else is a director.
    let found = answers(vip(), &claims(&[SERVER]), &Segment::new(None, held(false)));
    assert!(
        found[0].text.contains("02:00:00:00:00:07 answers ARP"),
        "{found:?}"
    );
}

#[test]
fn another_vip_is_not_this_one() {
    let claim = Claim {
        address: IpAddr::from([192, 0, 2, 101]),
        mac: SERVER,
        ifindex: 2,
    };
    let segment = Segment::new(Some(&snapshot()), BTreeSet::from([vip()]));
    assert_eq!(
        answers(vip(), &BTreeSet::from([claim]), &segment)[0].level,
        Level::Ok
    );
}

#[test]
fn neighbours_of_servers() {
    let mut snapshot = snapshot();
    for (mac, reason, level, says) in [
        (
            Some("02:00:00:00:00:07"),
            "",
            Level::Ok,
            "smtp/mb1 is 192.0.2.1 at 02:00:00:00:00:07",
        ),
        (None, "", Level::Problem, "no MAC address for 192.0.2.1"),
        (
            None,
            "no answer to ARP for 192.0.2.1 on eth0",
            Level::Problem,
            "no answer to ARP",
        ),
    ] {
        let server = &mut snapshot.services[0].servers[0];
        server.mac = mac.map(str::to_owned);
        server.health_reason = reason.to_owned();
        let found = &neighbours(&snapshot)[0];
        assert_eq!(found.level, level);
        assert!(found.text.contains(says), "{found:?}");
        assert_eq!(found.next.is_empty(), level == Level::Ok);
        assert_eq!(found.server.as_deref(), Some("smtp/mb1"));
    }
    snapshot.services[0].forward = "proxy".to_owned();
    assert_eq!(neighbours(&snapshot), []);
}

#[test]
fn what_checks_through_the_vip_say() {
    let no_vip =
        "does not answer for 192.0.2.100 port 25, and accepts 192.0.2.1: the VIP is not on its lo";
    let unbound =
        "refuses 192.0.2.100 port 25 and accepts 192.0.2.1: its service is not bound to the VIP";
    for (seen, level, says) in [
        (Ok((HealthState::Up, "")), Level::Ok, ""),
        (
            Ok((HealthState::Down, no_vip)),
            Level::Problem,
            "mb-lb-ctl server-setup smtp/mb1",
        ),
        (
            Ok((HealthState::Down, unbound)),
            Level::Problem,
            "listen on all addresses",
        ),
        (
            Ok((HealthState::Down, "refused")),
            Level::NotKnown,
            "mb-lb-ctl describe",
        ),
        (Err(Unseen::NotAsked), Level::NotKnown, "via = \"vip\""),
        (
            Err(Unseen::NoDaemon),
            Level::NotKnown,
            "systemctl start mb-lb",
        ),
    ] {
        let found = one("smtp/mb1", "192.0.2.100", seen);
        assert_eq!(found.level, level, "{found:?}");
        assert!(found.next.contains(says), "{found:?}");
    }
}

#[test]
fn servers_that_answered_for_themselves_are_known_without_a_daemon() {
    let mut segment = Segment::new(None, BTreeSet::from([vip()]));
    segment.add(&[
        ("smtp/mb1".to_owned(), SERVER),
        ("imap/mb1".to_owned(), SERVER),
    ]);
    let claim = Claim {
        address: vip(),
        mac: SERVER,
        ifindex: 2,
    };
    let found = answers(vip(), &BTreeSet::from([claim]), &segment);
    let named: Vec<_> = found
        .iter()
        .filter_map(|found| found.server.as_deref())
        .collect();
    assert_eq!(named, ["imap/mb1", "smtp/mb1"]);
}

#[test]
fn of_ipv6_it_is_neighbour_discovery_and_a_server_has_the_vip_in_the_wrong_place() {
    let vip: IpAddr = "2001:db8::100".parse().expect("an address");
    let claim = |mac| Claim {
        address: vip,
        mac,
        ifindex: 2,
    };
    let segment = Segment::new(Some(&snapshot()), BTreeSet::from([vip]));
    for (claims, level, says, next) in [
        (
            BTreeSet::new(),
            Level::Ok,
            "nobody but this director answers neighbour discovery for 2001:db8::100",
            "",
        ),
        (
            BTreeSet::from([claim(SERVER)]),
            Level::Problem,
            "smtp/mb1 answers neighbour discovery for 2001:db8::100 (02:00:00:00:00:07): it has it on another interface",
            "ip address del 2001:db8::100/128",
        ),
        (
            BTreeSet::from([claim(STRANGER)]),
            Level::Problem,
            "02:00:00:00:00:09 answers neighbour discovery for 2001:db8::100 as well",
            "take the VIP from it",
        ),
    ] {
        let found = answers(vip, &claims, &segment);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].level, level, "{found:?}");
        assert!(found[0].text.contains(says), "{found:?}");
        assert!(found[0].next.contains(next), "{found:?}");
    }
}

#[tokio::test]
async fn without_an_interface_to_ask_on_nobody_knows() {
    let text = "[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = { mb1 = \"192.0.2.1\" }\n";
    let config = crate::config::parse(text, "lb1").config.expect("valid");
    let found = asked(&config, &[], &[], Segment::default()).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].level, Level::NotKnown, "{found:?}");
}
