use super::*;
use crate::config::Upstream;
use crate::snapshot::{AdminState, HealthState};

fn server(name: &str, backup: bool) -> ProxyServer {
    let last: u8 = name[2..].parse().expect("mbN");
    ProxyServer {
        name: name.to_owned(),
        address: ([192, 0, 2, last], 443).into(),
        tls: None,
        http: Upstream::Http1,
        cookie: Some(name.to_owned()),
        weight: 1,
        max_connections: None,
        backup,
        send_proxy: None,
    }
}

fn target(name: &str, weight: u16) -> Target {
    Target {
        name: name.to_owned(),
        admin: AdminState::Ready,
        health: HealthState::Up,
        weight,
        most: None,
        ended: 0,
        percent: 100,
    }
}

fn three(scheduler: ProxyScheduler, weights: [u16; 3]) -> Balance {
    let names = ["mb1", "mb2", "mb3"];
    let servers = names.map(|name| server(name, false));
    let targets: Vec<_> = names
        .into_iter()
        .zip(weights)
        .map(|(name, weight)| target(name, weight))
        .collect();
    Balance::new(scheduler, &servers, &targets)
}

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

fn choose(balance: &Balance, load: [u64; 3], may: [bool; 3]) -> Option<usize> {
    balance.choose(CLIENT, || 0, |at| load[at], |at| may[at])
}

const ALL: [bool; 3] = [true; 3];

#[test]
fn round_robin_is_smooth_and_weighted() {
    let balance = three(ProxyScheduler::Roundrobin, [2, 1, 1]);
    let seen: Vec<_> = (0..8)
        .filter_map(|_| choose(&balance, [0; 3], ALL))
        .collect();
    assert_eq!(seen, [0, 1, 2, 0, 0, 1, 2, 0]);
    // One that is full gives its turns to the others.
    let seen: Vec<_> = (0..4)
        .filter_map(|_| choose(&balance, [0; 3], [false, true, true]))
        .collect();
    assert_eq!(seen, [1, 2, 1, 2]);
    assert_eq!(choose(&balance, [0; 3], [false; 3]), None);
}

#[test]
fn least_connections_are_weighted_and_equals_take_turns() {
    let balance = three(ProxyScheduler::Leastconn, [1, 1, 1]);
    let seen: Vec<_> = (0..6)
        .filter_map(|_| choose(&balance, [0; 3], ALL))
        .collect();
    assert_eq!(seen, [0, 1, 2, 0, 1, 2]);
    assert_eq!(choose(&balance, [2, 1, 2], ALL), Some(1));
    let balance = three(ProxyScheduler::Leastconn, [4, 1, 1]);
    assert_eq!(choose(&balance, [2, 0, 0], ALL), Some(0));
    assert_eq!(choose(&balance, [4, 0, 1], ALL), Some(1));
    assert_eq!(choose(&balance, [0, 0, 1], [false, false, true]), Some(2));
}

#[test]
fn a_source_stays_with_its_server_whatever_the_order() {
    let names = ["mb1", "mb2", "mb3"];
    let one = three(ProxyScheduler::Source, [1, 1, 1]);
    let reversed: Vec<_> = names.iter().rev().map(|name| server(name, false)).collect();
    let targets = names.map(|name| target(name, 1));
    let other = Balance::new(ProxyScheduler::Source, &reversed, &targets);
    let mut counts = [0; 3];
    for n in 0..3000u32 {
        let client = IpAddr::from((0xc633_6400 + n).to_be_bytes());
        let a = one.choose(client, || 0, |_| 0, |_| true).expect("one");
        let b = other.choose(client, || 0, |_| 0, |_| true).expect("one");
        assert_eq!(a, 2 - b, "{client}");
        counts[a] += 1;
        // Where it cannot be, it is with another one, always the same.
        let elsewhere = one.choose(client, || 0, |_| 0, |at| at != a).expect("one");
        assert_ne!(elsewhere, a);
        assert_eq!(
            one.choose(client, || 0, |_| 0, |at| at != a),
            Some(elsewhere)
        );
    }
    assert!(counts.iter().all(|&count| count > 800), "{counts:?}");
}

#[test]
fn the_better_of_two_draws() {
    let balance = three(ProxyScheduler::Random, [2, 1, 1]);
    let scale = u64::from(WEIGHT_SCALE);
    let draw = |numbers: [u64; 2], load: [u64; 3]| {
        let mut numbers = numbers.into_iter();
        let random = || numbers.next().expect("two draws");
        balance.choose(CLIENT, random, |at| load[at], |_| true)
    };
    assert_eq!(draw([0, 3 * scale], [0, 0, 0]), Some(0));
    assert_eq!(draw([0, 3 * scale], [5, 0, 0]), Some(2));
    assert_eq!(draw([2 * scale, 3 * scale], [0, 1, 0]), Some(2));
    // Twice the weight bears twice the load.
    assert_eq!(draw([0, 2 * scale], [2, 1, 0]), Some(0));
    // Both are full: any other.
    let mut numbers = [0, 0].into_iter();
    let random = || numbers.next().expect("two draws");
    let found = balance.choose(CLIENT, random, |_| 0, |at| at == 2);
    assert_eq!(found, Some(2));
}

#[test]
fn states_decide_who_keeps_and_who_takes() {
    use AdminState::{Drain, Maint, Ready};
    use HealthState::{Down, Unknown, Up};
    let cases = [
        (Ready, Up, 1, true, true),
        (Ready, Up, 0, true, false),
        (Drain, Up, 1, true, false),
        (Maint, Up, 1, false, false),
        (Ready, Down, 1, false, false),
        (Ready, Unknown, 1, false, false),
        (Drain, Down, 1, false, false),
    ];
    for (admin, health, weight, keeps, takes) in cases {
        let target = Target {
            admin,
            health,
            ..target("mb1", weight)
        };
        let balance = Balance::new(
            ProxyScheduler::Roundrobin,
            &[server("mb1", false)],
            &[target],
        );
        let what = format!("{admin:?} {health:?} weight {weight}");
        assert_eq!(balance.keeps(0), keeps, "{what}");
        assert_eq!(!balance.is_empty(), takes, "{what}");
    }
    // One that the engine has said nothing of.
    let balance = Balance::new(ProxyScheduler::Roundrobin, &[server("mb1", false)], &[]);
    assert!(!balance.keeps(0) && balance.is_empty());
}

#[test]
fn backups_are_used_only_where_no_other_is() {
    let servers = [server("mb1", false), server("mb2", true)];
    let both = [target("mb1", 1), target("mb2", 1)];
    let balance = Balance::new(ProxyScheduler::Roundrobin, &servers, &both);
    for _ in 0..3 {
        assert_eq!(
            balance.choose(CLIENT, || 0, |_| 0, |_| true),
            Some(0),
            "not the backup"
        );
    }
    assert!(balance.keeps(1), "a cookie may name it");
    let balance = Balance::new(ProxyScheduler::Roundrobin, &servers, &both[1..]);
    assert_eq!(balance.choose(CLIENT, || 0, |_| 0, |_| true), Some(1));
}

#[test]
fn slow_start_is_a_share_of_the_weight() {
    let servers = [server("mb1", false), server("mb2", false)];
    let slow = Target {
        percent: 25,
        ..target("mb2", 4)
    };
    let balance = Balance::new(
        ProxyScheduler::Roundrobin,
        &servers,
        &[target("mb1", 3), slow],
    );
    let seen: Vec<_> = (0..8)
        .filter_map(|_| balance.choose(CLIENT, || 0, |_| 0, |_| true))
        .collect();
    assert_eq!(seen.iter().filter(|&&at| at == 1).count(), 2, "{seen:?}");
}
