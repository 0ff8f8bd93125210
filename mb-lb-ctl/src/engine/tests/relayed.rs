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

fn alarms(bench: &Bench) -> Vec<(Severity, String, String)> {
    let alarms = bench.engine.snapshot(bench.now).alarms.into_iter();
    alarms
        .map(|alarm| (alarm.severity, alarm.text, alarm.next))
        .filter(|(_, text, _)| text.contains("proxy"))
        .collect()
}

#[test]
fn certificates_that_end_soon_or_have_are_alarms() {
    const DAY: i64 = 86_400;
    let config = relayed();
    let mut bench = Bench::new(&Adopted::default(), SavedState::default(), &config);
    let now = i64::try_from(bench.now.wall_ms / 1000).expect("small");
    let mut said = |not_before: i64, not_after: i64| {
        let info = crate::proxy::Info {
            file: "/etc/ssl/web.pem".into(),
            names: vec!["a.example".to_owned()],
            issuer: String::new(),
            not_before,
            not_after,
            fingerprint: String::new(),
        };
        let all = [("web".to_owned(), vec![info])];
        bench.handle(Event::Certificates(all.into()));
        let next = "renew it: a new file is taken within seconds";
        alarms(&bench)
            .into_iter()
            .map(move |(severity, text, told)| {
                assert_eq!(told, next);
                (severity, text)
            })
            .next()
    };
    let alarm = |severity, text: &str| {
        let text = format!("proxy web: the certificate in /etc/ssl/web.pem {text}");
        Some((severity, text))
    };
    assert_eq!(said(now - DAY, now + 14 * DAY), None);
    for (left, text) in [
        (14 * DAY - 1, "expires in 13 days"),
        (2 * DAY, "expires in 2 days"),
        (2 * DAY - 1, "expires in 1 day"),
        (DAY - 1, "expires within a day"),
        (1, "expires within a day"),
    ] {
        assert_eq!(said(now - DAY, now + left), alarm(Severity::Warning, text));
    }
    for (ago, text) in [
        (0, "has expired within the last day"),
        (DAY - 1, "has expired within the last day"),
        (DAY, "has expired 1 day ago"),
        (3 * DAY - 1, "has expired 2 days ago"),
    ] {
        assert_eq!(
            said(now - 90 * DAY, now - ago),
            alarm(Severity::Critical, text)
        );
    }
    let early = alarm(Severity::Critical, "is not valid yet");
    assert_eq!(said(now + 1, now + 90 * DAY), early);
}

#[test]
fn what_is_not_served_is_worse_than_what_is_limited() {
    use crate::proxy::Trouble;
    let config = relayed();
    let mut bench = Bench::new(&Adopted::default(), SavedState::default(), &config);
    let trouble = [
        (
            "proxy a",
            Trouble::Unserved("/a.pem: no certificate in it".to_owned()),
        ),
        (
            "proxy b",
            Trouble::Limited("the old ones are in force".to_owned()),
        ),
    ];
    let trouble = trouble.map(|(what, trouble)| (what.to_owned(), trouble));
    bench.handle(Event::Unserved(trouble.into()));
    let next = "correct that: it is tried again every few seconds".to_owned();
    assert_eq!(
        alarms(&bench),
        [
            (
                Severity::Critical,
                "proxy a is not served: /a.pem: no certificate in it".to_owned(),
                next.clone()
            ),
            (
                Severity::Warning,
                "proxy b: the old ones are in force".to_owned(),
                next
            ),
        ]
    );
    bench.handle(Event::Unserved(std::collections::BTreeMap::new()));
    assert_eq!(alarms(&bench), []);
}
