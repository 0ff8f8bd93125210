//! Tiers through the engine: which server of theirs has clients, and who is told.

use std::collections::BTreeMap;

use super::*;
use crate::peer::{Hello, Message, PeerEvent};
use crate::proxy::Steering;
use crate::tiers::galera;
use crate::tiers::sentinel::{self, Named, Says, Seen, Trouble, Vote};
use crate::tiers::{Round, Task};

const SENTINEL: &str = "[sentinel.sessions]\nlisten = \"192.0.2.100:6379\"\n\
    sentinels = [\"192.0.2.1:26379\", \"192.0.2.2:26379\", \"192.0.2.3:26379\"]\n\
    servers = { r1 = \"192.0.2.1:6379\", r2 = \"192.0.2.2:6379\", r3 = \"192.0.2.3:6379\" }\n";

fn seen<T>(answer: Result<T, Trouble>) -> Seen<T> {
    let took = Duration::from_millis(1);
    Seen { answer, took }
}

/// All Sentinels name the server with this last octet, and only it says that it is the master.
fn round(master: u8, epoch: u64) -> Event {
    let at = |last: u8, port: u16| SocketAddr::new(IpAddr::from([192, 0, 2, last]), port);
    let vote = || Vote {
        names: Named::Address(at(master, 6379)),
        epoch,
        flags: vec!["master".to_owned()],
        others: 2,
        quorum: 2,
        tilt: Some(false),
        can_fail_over: None,
    };
    let says = |last: u8| match last == master {
        true => Says::Master {
            replicas: 2,
            offset: 1,
        },
        false => Says::Replica {
            of: at(master, 6379).to_string(),
            link: "connected".to_owned(),
            offset: 1,
        },
    };
    Event::Tier {
        name: "sessions".to_owned(),
        round: Box::new(Round::Sentinel(sentinel::Round {
            sentinels: (1..=3)
                .map(|last| (at(last, 26379), seen(Ok(vote()))))
                .collect(),
            servers: (1..=3)
                .map(|last| (at(last, 6379), seen(Ok(says(last)))))
                .collect(),
        })),
    }
}

/// Servers that take clients, and those whose connections go on, as the process was told last.
fn steered(actions: &[Action]) -> Option<(Vec<String>, Vec<String>)> {
    let steering = actions.iter().rev().find_map(|action| match action {
        Action::Steer(steering) => Some(steering),
        _ => None,
    })?;
    let Steering { targets, .. } = steering.iter().find(|one| one.proxy == "sessions")?;
    let names = |so: &dyn Fn(&crate::proxy::Target) -> bool| {
        let targets = targets.iter().filter(|target| so(target));
        targets.map(|target| target.name.clone()).collect()
    };
    let takes = names(&crate::proxy::Target::takes_users);
    let lives =
        names(&|target| target.health == HealthState::Up && target.admin != AdminState::Maint);
    Some((takes, lives))
}

fn only(name: &str) -> Option<(Vec<String>, Vec<String>)> {
    Some((vec![name.to_owned()], vec![name.to_owned()]))
}

fn none() -> Option<(Vec<String>, Vec<String>)> {
    Some((Vec::new(), Vec::new()))
}

fn bench(config: &Config) -> (Bench, Vec<Action>) {
    let mut bench = Bench::new(&Adopted::default(), SavedState::default(), config);
    let actions = bench.handle(Event::Config(Box::new(config.clone())));
    (bench, actions)
}

fn admin(bench: &mut Bench, server: &str, state: AdminState) -> Vec<Action> {
    bench.handle(Event::Change {
        id: 7,
        change: Change::Admin {
            server: ServerRef {
                service: "sessions".to_owned(),
                server: server.to_owned(),
            },
            state,
            reason: String::new(),
            guarded: false,
        },
        by: "alice".to_owned(),
    })
}

#[test]
fn clients_are_at_the_master_and_follow_it() {
    let config = parse(SENTINEL);
    let (mut bench, actions) = bench(&config);
    let followed = actions.iter().any(|action| {
        matches!(action, Action::Tiers(tasks) if tasks == &[Task::Sentinel(config.sentinels[0].clone())])
    });
    assert!(followed, "{actions:?}");
    assert_eq!(steered(&actions), none());
    let status = bench.engine.snapshot(bench.now);
    assert_eq!(status.tiers[0].state, "unknown");

    let actions = bench.handle(round(1, 0));
    assert_eq!(steered(&actions), only("r1"));
    let saved = bench.saved.as_ref().expect("saved");
    assert_eq!(
        saved.chosen,
        BTreeMap::from([("sessions".to_owned(), "r1".to_owned())])
    );
    let status = bench.engine.snapshot(bench.now);
    let servers = &status.services[0].servers;
    let shown: Vec<_> = servers.iter().map(|s| (s.usable, s.stands_by)).collect();
    assert_eq!(shown, [(true, false), (false, true), (false, true)]);
    assert_eq!(status.services[0].scheduler, "master");
    let check = servers[1].check.as_ref().expect("as checks are shown");
    assert_eq!(
        (check.kind.as_str(), check.port, check.code.as_str()),
        ("redis", 6379, "L7OK")
    );
    assert_eq!(check.history, [true]);
    assert_eq!(status.tiers[0].state, "ok");
    assert_eq!(status.tiers[0].chosen.as_deref(), Some("r1"));
    assert!(
        status.tiers[0]
            .nodes
            .iter()
            .any(|node| node.elected && node.name == "r1")
    );

    // The same again is no news.
    assert_eq!(steered(&bench.handle(round(1, 0))), None);
    let actions = bench.handle(round(2, 1));
    assert_eq!(steered(&actions), only("r2"));
    let told: Vec<_> = bench
        .records
        .iter()
        .map(|event| (event.subject.as_str(), event.kind.as_str()))
        .collect();
    assert!(told.contains(&("sessions", "switch")), "{told:?}");
}

#[test]
fn what_an_operator_takes_out_has_no_clients() {
    let (mut bench, _) = bench(&parse(SENTINEL));
    bench.handle(round(1, 0));
    assert_eq!(steered(&admin(&mut bench, "r1", AdminState::Drain)), none());
    assert_eq!(steered(&bench.handle(round(1, 0))), None);
    assert_eq!(
        steered(&admin(&mut bench, "r1", AdminState::Ready)),
        only("r1")
    );
    // A replica is none of their business.
    let actions = admin(&mut bench, "r2", AdminState::Maint);
    assert!(steered(&actions).is_none_or(|steered| Some(steered) == only("r1")));
}

#[test]
fn a_reload_changes_nothing_for_those_who_stay() {
    let (mut bench, _) = bench(&parse(SENTINEL));
    bench.handle(round(1, 0));
    let more = SENTINEL.replace("192.0.2.100:6379", "192.0.2.100:6380");
    let actions = bench.handle(Event::Config(Box::new(parse(&more))));
    assert!(steered(&actions).is_none_or(|steered| Some(steered) == only("r1")));
    assert!(bench.engine.snapshot(bench.now).services[0].servers[0].usable);
    // Without it, nobody asks for it any more.
    let rest = "[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = { mb1 = \"192.0.2.1\", mb2 = \"192.0.2.2\" }\n";
    let actions = bench.handle(Event::Config(Box::new(parse(rest))));
    let gone = actions
        .iter()
        .any(|action| matches!(action, Action::Tiers(tasks) if tasks.is_empty()));
    assert!(gone, "{actions:?}");
    assert!(bench.engine.snapshot(bench.now).tiers.is_empty());
    // A late round of it does no harm.
    bench.handle(round(2, 1));
}

#[test]
fn a_tier_without_a_master_is_of_no_use_to_who_tracks_it() {
    let vrrp = "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\npriority = 101\naddresses = \"192.0.2.100/32\"\n\
                track_services = { sessions = { weight = -20 } }\n";
    let (mut bench, _) = bench(&parse(&format!("{SENTINEL}{vrrp}")));
    bench.handle(round(1, 0));
    let failed = |bench: &Bench| {
        let tracks = &bench.engine.snapshot(bench.now).vrrp[0].tracks;
        tracks[0].failed.clone()
    };
    assert_eq!(failed(&bench), None);
    // The master is a machine that is not configured.
    bench.handle(round(9, 5));
    assert_eq!(failed(&bench).as_deref(), Some("0 servers up, 1 wanted"));
    bench.handle(round(2, 6));
    assert_eq!(failed(&bench), None);
}

const PAIR: &str = "[galera.db]\nlisten = \"192.0.2.99:3306\"\nuser = \"look\"\n\
    servers = { d1 = \"192.0.2.1:3306\", d2 = \"192.0.2.2:3306\", d3 = \"192.0.2.3:3306\" }\n\
    [peer]\nlisten = \"192.0.2.10:8405\"\naddress = \"192.0.2.11:8405\"\n\
    key = \"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\"\n";

/// The nodes with these last octets are synced in one component; the others do not answer.
fn component(members: &[u8]) -> Event {
    let addresses: Vec<_> = members
        .iter()
        .map(|last| format!("192.0.2.{last}:3306"))
        .collect();
    let status = || {
        let pairs = [
            ("wsrep_ready", "ON"),
            ("wsrep_connected", "ON"),
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_cluster_size", &members.len().to_string()),
            ("wsrep_cluster_conf_id", "3"),
            (
                "wsrep_cluster_state_uuid",
                "5b2c4f0a-cb5c-11f0-a6e0-1f3c1b6d9a11",
            ),
            ("wsrep_local_state", "4"),
            ("wsrep_local_state_comment", "Synced"),
            ("wsrep_local_recv_queue", "0"),
            ("wsrep_desync_count", "0"),
            ("wsrep_incoming_addresses", &addresses.join(",")),
            ("wsrep_on", "ON"),
            ("wsrep_desync", "OFF"),
            ("wsrep_reject_queries", "NONE"),
            ("wsrep_sst_donor_rejects_queries", "OFF"),
            ("wsrep_sst_method", "rsync"),
            ("read_only", "OFF"),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        galera::parse(pairs).expect("well")
    };
    let answer = |last: u8| galera::Answer {
        took: Duration::from_millis(1),
        said: match members.contains(&last) {
            true => Ok(status()),
            false => Err(galera::Trouble::NoGreeting(Duration::from_millis(800))),
        },
    };
    Event::Tier {
        name: "db".to_owned(),
        round: Box::new(Round::Galera(galera::Round {
            nodes: (1..=3)
                .map(|last| (format!("d{last}"), answer(last)))
                .collect(),
        })),
    }
}

/// What the peer is told of tiers, in the order of time.
fn said(actions: &[Action]) -> Vec<Vec<(String, String)>> {
    let said = actions.iter().filter_map(|action| match action {
        Action::PeerSend(Message::Tiers(chosen)) => Some(chosen.clone()),
        _ => None,
    });
    said.collect()
}

fn connected(knows: &str) -> Event {
    Event::Peer(PeerEvent::Connected {
        hello: Hello {
            name: "lb2".to_owned(),
            build: "1".to_owned(),
            boot: 1,
            knows: knows.to_owned(),
            started_ms: 0,
        },
    })
}

fn has_vip(has: bool) -> Event {
    let own = "192.0.2.10".parse().expect("an address");
    let vip = "192.0.2.99".parse().expect("an address");
    Event::Addresses([own].into_iter().chain(has.then_some(vip)).collect())
}

fn chosen(bench: &Bench) -> Option<String> {
    bench.engine.snapshot(bench.now).tiers[0].chosen.clone()
}

fn db(server: &str) -> Vec<(String, String)> {
    vec![("db".to_owned(), server.to_owned())]
}

#[test]
fn the_director_with_the_vip_says_which_node_has_the_clients() {
    let (mut bench, _) = bench(&parse(PAIR));
    bench.handle(has_vip(true));
    bench.handle(component(&[1, 2, 3]));
    assert_eq!(chosen(&bench).as_deref(), Some("d1"));
    assert_eq!(
        said(&bench.handle(connected("ticket-keys tiers"))),
        [db("d1")]
    );
    // What the other one says counts for nothing here.
    let other = Event::Peer(PeerEvent::Message(Box::new(Message::Tiers(db("d3")))));
    bench.handle(other);
    assert_eq!(chosen(&bench).as_deref(), Some("d1"));
    // The writer hangs, and the others leave it out.
    let told: Vec<_> = (0..3)
        .flat_map(|_| said(&bench.handle(component(&[2, 3]))))
        .collect();
    assert_eq!(
        (chosen(&bench).as_deref(), told),
        (Some("d2"), vec![db("d2")])
    );
    // Again now and then, for what is said can get lost; and to each new connection.
    bench.now.since_start += Duration::from_secs(11);
    assert_eq!(said(&bench.handle(component(&[2, 3]))), [db("d2")]);
    bench.handle(Event::Peer(PeerEvent::Disconnected { why: String::new() }));
    assert_eq!(said(&bench.handle(connected("tiers"))), [db("d2")]);
}

#[test]
fn a_peer_that_does_not_know_the_message_does_not_get_it() {
    let (mut bench, _) = bench(&parse(PAIR));
    bench.handle(has_vip(true));
    bench.handle(component(&[1, 2, 3]));
    assert!(said(&bench.handle(connected("ticket-keys"))).is_empty());
    assert!(said(&bench.handle(component(&[1, 2, 3]))).is_empty());
}

#[test]
fn the_other_director_follows_and_goes_on_with_it() {
    let (mut bench, _) = bench(&parse(PAIR));
    bench.handle(has_vip(false));
    bench.handle(connected("tiers"));
    let other =
        |server: &str| Event::Peer(PeerEvent::Message(Box::new(Message::Tiers(db(server)))));
    bench.handle(other("d3"));
    bench.handle(component(&[1, 2, 3]));
    assert_eq!(chosen(&bench).as_deref(), Some("d3"));
    // It has seen a failure that the other one has not: that decides nothing.
    for _ in 0..5 {
        bench.handle(component(&[1, 2]));
    }
    assert_eq!(chosen(&bench).as_deref(), Some("d3"));
    bench.handle(component(&[1, 2, 3]));
    bench.handle(component(&[1, 2, 3]));
    bench.handle(component(&[1, 2, 3]));
    // It gets the VIP: nothing moves without a cause, and from now on it decides.
    bench.handle(Event::Peer(PeerEvent::Disconnected { why: String::new() }));
    bench.handle(has_vip(true));
    bench.handle(component(&[1, 2, 3]));
    assert_eq!(chosen(&bench).as_deref(), Some("d3"));
    for _ in 0..3 {
        bench.handle(component(&[1, 2]));
    }
    assert_eq!(chosen(&bench).as_deref(), Some("d1"));
    // And a process that follows this one.
    let saved = bench.saved.clone().expect("saved");
    assert_eq!(saved.chosen["db"], "d1");
    let mut next = Bench::new(&Adopted::default(), saved, &parse(PAIR));
    next.handle(Event::Config(Box::new(parse(PAIR))));
    next.handle(has_vip(true));
    next.handle(component(&[1, 2, 3]));
    assert_eq!(chosen(&next).as_deref(), Some("d1"));
}

/// An unneeded way back, when the VIP leaves for a moment: what the other director said once is of the past.
#[test]
fn an_old_word_of_the_other_director_moves_nothing() {
    let (mut bench, _) = bench(&parse(PAIR));
    bench.handle(has_vip(false));
    bench.handle(connected("tiers"));
    bench.handle(Event::Peer(PeerEvent::Message(Box::new(Message::Tiers(
        db("d3"),
    )))));
    bench.handle(component(&[1, 2, 3]));
    bench.handle(has_vip(true));
    for _ in 0..3 {
        bench.handle(component(&[1, 2]));
    }
    assert_eq!(chosen(&bench).as_deref(), Some("d1"));
    for _ in 0..3 {
        bench.handle(component(&[1, 2, 3]));
    }
    bench.handle(has_vip(false));
    bench.handle(component(&[1, 2, 3]));
    assert_eq!(chosen(&bench).as_deref(), Some("d1"));
}

/// What is in two stays so over a restart, also where only one half can be seen.
#[test]
fn a_split_brain_outlives_the_process() {
    let sides = |at: &[&[u8]]| {
        let mut nodes = std::collections::BTreeMap::new();
        for members in at {
            let Event::Tier { round, .. } = component(members) else {
                panic!("a round");
            };
            let Round::Galera(round) = *round else {
                panic!("of Galera");
            };
            let fit = round
                .nodes
                .into_iter()
                .filter(|(_, answer)| answer.said.is_ok());
            nodes.extend(fit);
        }
        for name in ["d1", "d2", "d3"] {
            let silent = galera::Trouble::NoGreeting(Duration::from_millis(800));
            nodes.entry(name.to_owned()).or_insert(galera::Answer {
                took: Duration::from_millis(1),
                said: Err(silent),
            });
        }
        Event::Tier {
            name: "db".to_owned(),
            round: Box::new(Round::Galera(galera::Round { nodes })),
        }
    };
    let (mut bench, _) = bench(&parse(PAIR));
    bench.handle(has_vip(true));
    bench.handle(component(&[1, 2, 3]));
    bench.handle(sides(&[&[1, 2], &[3]]));
    assert!(
        bench
            .records
            .iter()
            .any(|event| event.kind == "split-brain")
    );
    let saved = bench.saved.clone().expect("saved");
    assert_eq!(saved.splits["db"].len(), 3);

    let mut next = Bench::new(&Adopted::default(), saved, &parse(PAIR));
    next.handle(Event::Config(Box::new(parse(PAIR))));
    next.handle(has_vip(true));
    for _ in 0..10 {
        next.handle(sides(&[&[3]]));
    }
    assert_eq!(chosen(&next).as_deref(), Some("d1"));
    assert!(
        next.engine.snapshot(next.now).tiers[0]
            .nodes
            .iter()
            .all(|node| !node.elected)
    );
    // Whole again.
    next.handle(component(&[1, 2, 3]));
    assert!(
        next.saved
            .as_ref()
            .is_some_and(|saved| saved.splits.is_empty())
    );
}

#[test]
fn who_is_not_looked_at_any_more_is_an_alarm() {
    let (mut bench, _) = bench(&parse(PAIR));
    bench.handle(component(&[1, 2, 3]));
    let says = |bench: &Bench| {
        let alarms = bench.engine.snapshot(bench.now).alarms;
        alarms
            .iter()
            .any(|alarm| alarm.text.contains("nobody has looked at it for 60 s"))
    };
    assert!(!says(&bench));
    bench.now.since_start += Duration::from_secs(60);
    assert!(says(&bench));
}

/// The next failure would find it missing.
#[test]
fn a_node_that_is_lost_is_an_alarm_and_its_maintenance_is_not() {
    let (mut bench, _) = bench(&parse(SENTINEL));
    bench.handle(round(1, 0));
    let alarms = |bench: &Bench| bench.engine.snapshot(bench.now).alarms;
    assert!(alarms(&bench).is_empty(), "{:?}", alarms(&bench));
    let Event::Tier {
        name,
        round: seen_now,
    } = round(1, 0)
    else {
        panic!("a round");
    };
    let Round::Sentinel(mut lost) = *seen_now else {
        panic!("of Sentinels");
    };
    let r3 = "192.0.2.3:6379".parse().expect("an address");
    lost.servers.insert(r3, seen(Err(Trouble::Refused)));
    bench.handle(Event::Tier {
        name,
        round: Box::new(Round::Sentinel(lost)),
    });
    let found = alarms(&bench);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0]
            .text
            .starts_with("sentinel sessions: r3 is refused: "),
        "{found:?}"
    );
    assert_eq!(found[0].next, "on 192.0.2.3: systemctl status redis-server");
    assert_eq!(bench.engine.snapshot(bench.now).tiers[0].state, "degraded");
    admin(&mut bench, "r3", AdminState::Maint);
    assert!(alarms(&bench).is_empty(), "{:?}", alarms(&bench));
}

/// The way to it was never closed.
#[test]
fn who_is_up_again_says_why() {
    let (mut bench, _) = bench(&parse(PAIR));
    bench.handle(component(&[1, 2, 3]));
    for _ in 0..4 {
        bench.handle(component(&[1, 2]));
    }
    for _ in 0..4 {
        bench.handle(component(&[1, 2, 3]));
    }
    let up = bench
        .records
        .iter()
        .rev()
        .find(|event| event.subject == "db/d3" && event.kind == "up");
    assert_eq!(up.expect("told").text, "up: synced");
}

/// Another node has the clients in the same moment.
#[test]
fn a_drained_writer_is_no_outage() {
    let (mut bench, _) = bench(&parse(PAIR));
    bench.handle(component(&[1, 2, 3]));
    bench.handle(Event::Change {
        id: 7,
        change: Change::Admin {
            server: ServerRef {
                service: "db".to_owned(),
                server: "d1".to_owned(),
            },
            state: AdminState::Drain,
            reason: String::new(),
            guarded: false,
        },
        by: "alice".to_owned(),
    });
    assert_eq!(chosen(&bench).as_deref(), Some("d2"));
    assert!(
        bench
            .records
            .iter()
            .all(|event| event.kind != "service-down")
    );
}
