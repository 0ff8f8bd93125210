//! Tiers through the engine: which server of theirs has clients, and who is told.

use std::collections::BTreeMap;

use super::*;
use crate::proxy::Steering;
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
