//! Services that the director relays in user mode: checked and steered as others are, and none of the kernel's business.

use super::*;

fn relayed() -> Config {
    parse(
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\nforward = \"proxy\"\n[service.smtp.servers]\n\
         mb1 = { address = \"192.0.2.1\", port = 10025 }\nmb2 = { address = \"192.0.2.2\", port = 10025 }\n\
         mb3 = { address = \"192.0.2.3\", port = 10025 }\n",
    )
}

#[test]
fn the_kernel_hears_nothing_of_it() {
    let config = relayed();
    let mut bench = Bench::new(&Adopted::default(), SavedState::default(), &config);
    let actions = bench.handle(Event::Config(Box::new(config)));
    let neighbours = actions
        .iter()
        .any(|action| matches!(action, Action::Neighbours(addresses) if !addresses.is_empty()));
    assert!(!neighbours, "{actions:?}");
    let ports: Vec<_> = bench
        .checks
        .iter()
        .map(|task| task.address.port())
        .collect();
    assert_eq!(ports, [10025; 3]);

    // No interface, no MAC address: the checks alone decide.
    bench.check("mb1", Outcome::Success);
    bench.check("mb2", Outcome::Refused);
    let snapshot = bench.engine.snapshot(bench.now);
    let service = &snapshot.services[0];
    assert_eq!(service.forward, "proxy");
    let seen: Vec<_> = service
        .servers
        .iter()
        .map(|s| (s.health, s.usable))
        .collect();
    assert_eq!(
        seen,
        [
            (HealthState::Up, true),
            (HealthState::Down, false),
            (HealthState::Unknown, false)
        ]
    );
    let desired = bench.desired.as_ref();
    assert!(desired.is_none_or(|desired| {
        desired.services.is_empty() && desired.servers.is_empty() && desired.listens.is_empty()
    }));
    // Nothing is missing on the wire.
    let router = |alarm: &crate::snapshot::Alarm| alarm.text.contains("on no interface");
    bench.handle(Event::Interfaces {
        attached: Vec::new(),
        error: None,
        number: 1,
    });
    let alarms = bench.engine.snapshot(bench.now).alarms;
    assert!(!alarms.iter().any(router), "{alarms:?}");
}

/// The kernel's flows go on with the servers that they have, and new ones are taken in user mode.
#[test]
fn a_service_may_leave_the_kernel_and_come_back() {
    let kernel = three("");
    let mut bench = Bench::up(&kernel);
    let before = bench.desired.clone().expect("applied");
    assert_eq!((before.listens.len(), before.servers.len()), (1, 3));

    bench.handle(Event::Config(Box::new(relayed())));
    let away = bench.desired.clone().expect("applied");
    assert_eq!((away.listens.len(), away.services.len()), (0, 0));
    let kept: Vec<_> = away.servers.keys().collect();
    assert_eq!(kept, before.servers.keys().collect::<Vec<_>>());
    let takes_new = |desired: &Desired| {
        let records = desired.servers.values();
        records
            .filter(|record| Record::flags_of(record.link) & SERVER_ACCEPT != 0)
            .count()
    };
    assert_eq!(takes_new(&away), 0);

    bench.handle(Event::Config(Box::new(kernel)));
    for last in 1..=3 {
        bench.resolve(last);
    }
    for server in ["mb1", "mb2", "mb3"] {
        bench.check(server, Outcome::Success);
    }
    let back = bench.desired.clone().expect("applied");
    assert_eq!((back.listens.len(), back.services.len()), (1, 1));
    assert_eq!(takes_new(&back), 3);
}

/// A controller that starts with a service in user mode, and finds flows of it that the kernel still has.
#[test]
fn flows_in_the_kernel_outlive_a_restart() {
    let kernel = Bench::up(&three("")).desired.expect("applied");
    let adopted = Adopted {
        image: kernel.image(&mut TableCache::default()),
        ..Adopted::default()
    };
    let config = relayed();
    let mut bench = Bench::new(&adopted, SavedState::default(), &config);
    bench.handle(Event::Config(Box::new(config)));
    bench.attach();
    let kept = bench.desired.expect("applied").servers;
    assert_eq!(
        kept.keys().collect::<Vec<_>>(),
        kernel.servers.keys().collect::<Vec<_>>()
    );
}
