//! Servers that are taken out for what the health page of another service says of them.

use super::*;

fn followed() -> Config {
    parse(
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\nfollows = { web = [\"mb-milter\"] }\n[service.smtp.servers]\n\
         mb1 = \"192.0.2.1\"\nmb2 = \"192.0.2.2\"\nmb3 = \"192.0.2.3\"\n\
         [proxy.web]\nlisten = \"192.0.2.100:80\"\n\
         check = { type = \"http\", path = \"/health\", members = \"database\", rise = 2, fall = 2 }\n\
         servers = { mb1 = \"192.0.2.1:80\", mb2 = \"192.0.2.2:80\" }\n",
    )
}

/// What the page of mb1 says; its check succeeds, for the milter is no matter of the web.
fn page(bench: &mut Bench, failed: &[(&str, &str)]) {
    let failed = failed.iter();
    let failed = failed.map(|(name, why)| ((*name).to_owned(), (*why).to_owned()));
    bench.handle(Event::Checked {
        server: ServerRef {
            service: "web".to_owned(),
            server: "mb1".to_owned(),
        },
        which: Which::Health,
        address: "192.0.2.1:80".parse().expect("an address"),
        result: CheckResult {
            outcome: Outcome::Success,
            code: "L7OK",
            reply: Some(503),
            detail: "503".to_owned(),
            duration: Duration::from_millis(1),
            page: Some(HealthPage {
                failed: failed.collect(),
                names: vec!["database".to_owned(), "mb-milter".to_owned()],
            }),
            certificate: None,
            agent: None,
        },
    });
}

fn seen(bench: &Bench, service: &str) -> (HealthState, String) {
    let snapshot = bench.engine.snapshot(bench.now);
    let service = snapshot.services.iter().find(|known| known.name == service);
    let server = &service.expect("configured").servers[0];
    (server.health, server.health_reason.clone())
}

#[test]
fn a_member_that_fails_takes_out_who_follows_it_and_nobody_else() {
    let mut bench = Bench::up(&followed());
    let milter = [("mb-milter", "failed"), ("unknown", "failed")];
    page(&mut bench, &milter);
    assert_eq!(seen(&bench, "smtp").0, HealthState::Up);
    page(&mut bench, &milter);
    let why = "web/mb1 says: mb-milter: failed".to_owned();
    assert_eq!(seen(&bench, "smtp"), (HealthState::Down, why.clone()));
    assert_eq!(seen(&bench, "web").0, HealthState::Up);
    assert_eq!(
        bench
            .pool()
            .iter()
            .map(|(last, _)| *last)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    assert!(
        bench
            .records
            .iter()
            .any(|event| event.subject == "smtp/mb1" && event.kind == "down")
    );
    // Its sessions are none the worse for that.
    let record = bench
        .desired()
        .servers
        .values()
        .find(|record| record.address[15] == 1)
        .expect("known to the kernel");
    assert_eq!(
        Record::flags_of(record.link) & (SERVER_RESET | SERVER_ACCEPT),
        0
    );

    // One page is not enough.
    page(&mut bench, &[]);
    page(&mut bench, &milter);
    page(&mut bench, &[]);
    assert_eq!(seen(&bench, "smtp").0, HealthState::Down);
    page(&mut bench, &[]);
    assert_eq!(seen(&bench, "smtp").0, HealthState::Up);
    assert_eq!(bench.pool().len(), 3);
}

#[test]
fn its_own_health_goes_on_beside() {
    let mut bench = Bench::up(&followed());
    for _ in 0..2 {
        page(&mut bench, &[("mb-milter", "failed")]);
    }
    for _ in 0..3 {
        bench.check("mb1", Outcome::Failure);
    }
    assert_eq!(seen(&bench, "smtp").1, "connection refused");
    for _ in 0..2 {
        page(&mut bench, &[]);
    }
    assert_eq!(seen(&bench, "smtp").1, "connection refused");
    for _ in 0..2 {
        bench.check("mb1", Outcome::Success);
    }
    assert_eq!(seen(&bench, "smtp").0, HealthState::Up);
}

#[test]
fn nobody_is_taken_out_for_a_page_that_is_not_read_any_more() {
    let mut bench = Bench::up(&followed());
    for _ in 0..2 {
        page(&mut bench, &[("mb-milter", "failed")]);
    }
    assert_eq!(seen(&bench, "smtp").0, HealthState::Down);
    let change = Change::Admin {
        server: ServerRef {
            service: "web".to_owned(),
            server: "mb1".to_owned(),
        },
        state: AdminState::Maint,
        reason: String::new(),
        guarded: false,
    };
    bench.change(change).expect("known");
    assert_eq!(seen(&bench, "smtp").0, HealthState::Up);
}

/// What it said once is no word about now.
#[test]
fn a_page_that_cannot_be_read_takes_nobody_out() {
    let mut bench = Bench::up(&followed());
    for _ in 0..2 {
        page(&mut bench, &[("mb-milter", "failed")]);
    }
    assert_eq!(seen(&bench, "smtp").0, HealthState::Down);
    for state in [HealthState::Down, HealthState::Up] {
        bench.handle(Event::Checked {
            server: ServerRef {
                service: "web".to_owned(),
                server: "mb1".to_owned(),
            },
            which: Which::Health,
            address: "192.0.2.1:80".parse().expect("an address"),
            result: CheckResult {
                outcome: Outcome::Failure,
                code: "L4TOUT",
                reply: None,
                detail: "no answer".to_owned(),
                duration: Duration::from_millis(1),
                page: None,
                certificate: None,
                agent: None,
            },
        });
        assert_eq!(seen(&bench, "smtp").0, state);
    }
}

#[test]
fn a_member_that_no_page_names_is_an_alarm() {
    let text = |bench: &Bench| {
        let alarms = bench.engine.snapshot(bench.now).alarms;
        let found = alarms
            .into_iter()
            .find(|alarm| alarm.text.contains("say nothing of it"));
        found.map(|alarm| alarm.text)
    };
    let mut bench = Bench::up(&followed());
    page(&mut bench, &[]);
    assert_eq!(text(&bench), None);
    let mut wrong = followed();
    wrong.services[0].follows[0].members = vec!["mb-mitler".to_owned()];
    bench.handle(Event::Config(Box::new(wrong)));
    assert_eq!(text(&bench), None);
    page(&mut bench, &[]);
    let said = "smtp follows mb-mitler of web, and the health pages there say nothing of it";
    assert_eq!(text(&bench).as_deref(), Some(said));
}
