//! What agents ask for, and what operators set at run time besides admin state and weight.

use super::*;

fn with_agent() -> Config {
    three("agent = { port = 9707 }")
}

fn server(bench: &Bench, name: &str) -> crate::snapshot::ServerView {
    let snapshot = bench.snapshot();
    let servers = &snapshot.services[0].servers;
    let view = servers.iter().find(|view| view.name == name);
    view.expect("it is there").clone()
}

fn tasks(bench: &Bench, which: Which) -> Vec<(String, SocketAddr)> {
    let tasks = bench.checks.iter().filter(|task| task.which == which);
    tasks
        .map(|task| (task.server.server.clone(), task.address))
        .collect()
}

/// Last octets of the servers in the pool, with their weights as the file has them.
pub(super) fn weights(bench: &Bench) -> Vec<(u8, u32)> {
    let scaled = bench.pool().into_iter();
    let weight = |(last, weight)| (last, weight / crate::schedule::WEIGHT_SCALE);
    scaled.map(weight).collect()
}

/// The agent of a server says something.
fn hear(bench: &mut Bench, name: &str, reply: AgentReply) {
    let task = bench
        .checks
        .iter()
        .find(|task| task.which == Which::Agent && task.server.server == name);
    let address = task.expect("it is asked").address;
    let result = CheckResult {
        outcome: Outcome::Success,
        code: "L7OK",
        reply: None,
        detail: "said".to_owned(),
        duration: Duration::from_millis(1),
        page: None,
        certificate: None,
        agent: Some(reply),
    };
    bench.handle(Event::Checked {
        server: target(name),
        which: Which::Agent,
        address,
        result,
    });
}

fn set(bench: &mut Bench, name: &str, setting: Setting) -> Result<String, Refusal> {
    bench.change(Change::Set {
        server: target(name),
        setting,
    })
}

#[test]
fn an_agent_can_take_away_and_not_give() {
    let mut bench = Bench::up(&with_agent());
    assert_eq!(weights(&bench), [(1, 10), (2, 10), (3, 5)]);
    let half = AgentReply {
        weight: Some(Weight::Percent(50)),
        ..AgentReply::default()
    };
    hear(&mut bench, "mb1", half);
    assert_eq!(weights(&bench), [(1, 5), (2, 10), (3, 5)]);
    let seven = AgentReply {
        weight: Some(Weight::Absolute(7)),
        max_connections: Some(30),
        ..AgentReply::default()
    };
    hear(&mut bench, "mb1", seven);
    assert_eq!(weights(&bench), [(1, 7), (2, 10), (3, 5)]);
    assert_eq!(server(&bench, "mb1").max_connections, Some(30));

    // What it says nothing of stays.
    hear(&mut bench, "mb1", AgentReply::default());
    assert_eq!(weights(&bench), [(1, 7), (2, 10), (3, 5)]);

    // A weight of 0 is the operator's.
    let weight = Weight::Absolute(0);
    bench
        .change(Change::Weight {
            server: target("mb1"),
            weight,
        })
        .expect("it is there");
    assert_eq!(weights(&bench), [(2, 10), (3, 5)]);

    let ready = AgentReply {
        admin: Some(AdminState::Ready),
        ..AgentReply::default()
    };
    bench.admin("mb2", AdminState::Drain).expect("it is there");
    hear(&mut bench, "mb2", ready);
    assert_eq!(
        weights(&bench),
        [(3, 5)],
        "nor can it end what an operator began"
    );
}

#[test]
fn what_an_agent_wants_is_told_apart_from_what_the_operator_wants() {
    let mut bench = Bench::up(&with_agent());
    let drain = AgentReply {
        admin: Some(AdminState::Drain),
        reason: Some("queue too long".to_owned()),
        ..AgentReply::default()
    };
    hear(&mut bench, "mb1", drain.clone());
    let mb1 = server(&bench, "mb1");
    assert_eq!(
        (mb1.admin, mb1.wish()),
        (AdminState::Ready, AdminState::Drain)
    );
    assert!(!mb1.usable);
    assert_eq!(bench.flags(1) & SERVER_RESET, 0, "its flows go on");
    let told = bench.records.last().expect("it is told");
    assert_eq!(
        (told.kind.as_str(), told.text.as_str()),
        ("agent", "ready -> drain by its agent: queue too long")
    );
    let lines = bench.records.len();
    hear(&mut bench, "mb1", drain);
    assert_eq!(bench.records.len(), lines, "once");
    // It is no operator's wish: nothing of it is kept.
    assert!(
        bench
            .saved
            .as_ref()
            .is_none_or(|saved| saved.servers.is_empty())
    );
}

#[test]
fn an_agents_maintenance_has_the_checks_rest_and_not_the_agent() {
    let mut bench = Bench::up(&with_agent());
    let admin = |admin| AgentReply {
        admin: Some(admin),
        ..AgentReply::default()
    };
    hear(&mut bench, "mb1", admin(AdminState::Maint));
    assert_eq!(tasks(&bench, Which::Health).len(), 2);
    assert_eq!(tasks(&bench, Which::Agent).len(), 3);
    assert_eq!(bench.flags(1) & SERVER_RESET, SERVER_RESET);
    hear(&mut bench, "mb1", admin(AdminState::Ready));
    assert_eq!(tasks(&bench, Which::Health).len(), 3);
    assert_eq!(
        server(&bench, "mb1").health,
        HealthState::Unknown,
        "nobody looked at it meanwhile"
    );
    bench.check("mb1", Outcome::Success);
    assert!(server(&bench, "mb1").usable);
}

#[test]
fn a_server_is_up_only_if_check_and_agent_agree() {
    let mut bench = Bench::up(&with_agent());
    let says = |up, reason: Option<&str>| AgentReply {
        up: Some(up),
        reason: reason.map(str::to_owned),
        ..AgentReply::default()
    };
    hear(&mut bench, "mb1", says(false, Some("disk full")));
    let mb1 = server(&bench, "mb1");
    assert_eq!(mb1.health, HealthState::Down);
    assert_eq!(mb1.health_reason, "its agent says down: disk full");
    bench.check("mb1", Outcome::Success);
    assert_eq!(server(&bench, "mb1").health, HealthState::Down);
    hear(&mut bench, "mb1", says(true, None));
    assert!(server(&bench, "mb1").usable);
    for _ in 0..3 {
        bench.check("mb1", Outcome::Failure);
    }
    hear(&mut bench, "mb1", says(true, None));
    assert_eq!(server(&bench, "mb1").health, HealthState::Down);
    assert_eq!(server(&bench, "mb1").health_reason, "connection refused");
}

#[test]
fn an_operator_speaks_for_an_agent_until_it_speaks() {
    let mut bench = Bench::up(&with_agent());
    set(&mut bench, "mb1", Setting::AgentSays(false)).expect("it has one");
    assert_eq!(
        server(&bench, "mb1").health_reason,
        "its agent was set down by alice"
    );
    let up = AgentReply {
        up: Some(true),
        ..AgentReply::default()
    };
    hear(&mut bench, "mb1", up);
    assert!(server(&bench, "mb1").usable);

    set(&mut bench, "mb1", Setting::Checks(Which::Agent, false)).expect("it has one");
    let asked: Vec<_> = tasks(&bench, Which::Agent)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(asked, ["mb2", "mb3"]);
    set(&mut bench, "mb2", Setting::AgentPort(Some(9))).expect("it has one");
    assert_eq!(
        tasks(&bench, Which::Agent)[0].1,
        "192.0.2.2:9".parse().expect("an address")
    );

    let mut without = Bench::up(&three(""));
    assert_eq!(
        set(&mut without, "mb1", Setting::Checks(Which::Agent, true)),
        Err(Refusal::NoAgent)
    );
    assert_eq!(
        set(&mut without, "mb1", Setting::AgentSays(true)),
        Err(Refusal::AgentNotEnabled)
    );
}

#[test]
fn health_that_is_set_holds_until_checks_say_otherwise() {
    let mut bench = Bench::up(&three(""));
    set(&mut bench, "mb1", Setting::Health(Forced::Down)).expect("it is there");
    assert_eq!(weights(&bench), [(2, 10), (3, 5)]);
    assert_eq!(server(&bench, "mb1").health_reason, "set down by alice");
    bench.check("mb1", Outcome::Success);
    assert_eq!(weights(&bench), [(2, 10), (3, 5)], "`rise` is 2");
    bench.check("mb1", Outcome::Success);
    assert_eq!(bench.pool().len(), 3);

    set(&mut bench, "mb1", Setting::Health(Forced::Stopping)).expect("it is there");
    assert_eq!(weights(&bench), [(2, 10), (3, 5)]);
    assert_eq!(bench.flags(1) & SERVER_RESET, 0, "its flows go on");
    assert_eq!(server(&bench, "mb1").health, HealthState::Up);
    bench.check("mb1", Outcome::Success);
    assert_eq!(bench.pool().len(), 3);

    set(&mut bench, "mb2", Setting::Health(Forced::Down)).expect("it is there");
    set(&mut bench, "mb2", Setting::Health(Forced::Up)).expect("it is there");
    assert_eq!(bench.pool().len(), 3);
}

#[test]
fn without_checks_what_is_set_holds_until_it_is_undone() {
    let config = parse(
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\ncheck = { type = \"none\" }\n[service.smtp.servers]\n\
         mb1 = \"192.0.2.1\"\nmb2 = \"192.0.2.2\"\nmb3 = \"192.0.2.3\"\n",
    );
    let mut bench = Bench::started(&config);
    set(&mut bench, "mb1", Setting::Health(Forced::Down)).expect("it is there");
    assert_eq!(bench.pool().len(), 2);
    let saved = bench.saved.clone().expect("it is kept");
    let mut again = Bench::new(&Adopted::default(), saved, &config);
    again.handle(Event::Config(Box::new(config.clone())));
    again.attach();
    for last in 1..=3 {
        again.resolve(last);
    }
    assert_eq!(again.pool().len(), 2, "over a restart");
    assert_eq!(server(&again, "mb1").health_reason, "set down by alice");
    set(&mut again, "mb1", Setting::Health(Forced::Up)).expect("it is there");
    assert_eq!(again.pool().len(), 3);
    assert_eq!(
        set(&mut again, "mb1", Setting::Checks(Which::Health, true)),
        Err(Refusal::NoCheck)
    );
    assert_eq!(
        set(&mut again, "mb1", Setting::CheckPort(Some(1))),
        Err(Refusal::ChecksNotEnabled)
    );
    assert_eq!(
        set(&mut again, "mb9", Setting::CheckPort(Some(1))),
        Err(Refusal::NoSuchServer)
    );
}

#[test]
fn a_check_that_rests_leaves_the_server_as_it_is_and_is_said() {
    let mut bench = Bench::up(&three(""));
    set(&mut bench, "mb1", Setting::Checks(Which::Health, false)).expect("it is checked");
    assert_eq!(tasks(&bench, Which::Health).len(), 2);
    assert_eq!(bench.pool().len(), 3);
    bench.check_of("mb1", [192, 0, 2, 1].into(), Outcome::Failure);
    bench.check_of("mb1", [192, 0, 2, 1].into(), Outcome::Failure);
    bench.check_of("mb1", [192, 0, 2, 1].into(), Outcome::Failure);
    assert_eq!(
        bench.pool().len(),
        3,
        "results that were under way say nothing any more"
    );
    let alarms = bench.snapshot().alarms;
    let said = alarms
        .iter()
        .find(|alarm| alarm.text.contains("its check rests"));
    let said = said.expect("it is an alarm");
    assert_eq!(said.text, "smtp/mb1: its check rests, set by alice");
    assert_eq!(said.next, "enable health smtp/mb1, on the admin socket");
    set(&mut bench, "mb1", Setting::Checks(Which::Health, true)).expect("it is checked");
    assert_eq!(tasks(&bench, Which::Health).len(), 3);
    assert!(bench.snapshot().alarms.is_empty());
}

#[test]
fn a_check_goes_where_it_is_sent() {
    let mut bench = Bench::up(&three(""));
    set(
        &mut bench,
        "mb1",
        Setting::CheckAddress(Some([192, 0, 2, 77].into())),
    )
    .expect("it is checked");
    set(&mut bench, "mb1", Setting::CheckPort(Some(2525))).expect("it is checked");
    let to = "192.0.2.77:2525".parse().expect("an address");
    assert_eq!(tasks(&bench, Which::Health)[0], ("mb1".to_owned(), to));
    set(&mut bench, "mb1", Setting::CheckAddress(None)).expect("it is checked");
    set(&mut bench, "mb1", Setting::CheckPort(None)).expect("it is checked");
    let to = "192.0.2.1:25".parse().expect("an address");
    assert_eq!(tasks(&bench, Which::Health)[0], ("mb1".to_owned(), to));
}

#[test]
fn a_service_that_is_disabled_takes_nobody_and_loses_nobody() {
    let config = three("no_server = \"421 later\"");
    let mut bench = Bench::up(&config);
    let frontend = |service: &str, takes| Change::Frontend {
        service: service.to_owned(),
        takes,
    };
    bench
        .change(frontend("smtp", false))
        .expect("it takes clients");
    assert!(bench.pool().is_empty());
    for last in 1..=3 {
        assert_eq!(bench.flags(last), SERVER_PRESENT, "flows go on");
    }
    let service = bench.snapshot().services[0].id;
    assert_eq!(
        bench.desired().services[&service].flags & SERVICE_REPLY_LOCAL,
        0,
        "clients are refused"
    );
    let alarms = bench.snapshot().alarms;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(
        alarms[0].text,
        "smtp takes no new clients: alice disabled it"
    );
    assert_eq!(
        bench.change(frontend("smtp", false)),
        Err(Refusal::PausedAlready(true))
    );
    assert_eq!(
        bench.change(frontend("web", false)),
        Err(Refusal::NoSuchService)
    );

    let saved = bench.saved.clone().expect("it is kept");
    let mut again = Bench::new(&Adopted::default(), saved, &config);
    again.handle(Event::Config(Box::new(config.clone())));
    assert_eq!(
        again.snapshot().services[0].paused_by.as_deref(),
        Some("alice"),
        "over a restart"
    );
    bench
        .change(frontend("smtp", true))
        .expect("it takes nobody");
    assert_eq!(bench.pool().len(), 3);
    assert_eq!(
        bench.change(frontend("smtp", true)),
        Err(Refusal::PausedAlready(false))
    );
}

#[test]
fn sessions_that_are_ended_leave_with_their_index() {
    let config = three("");
    let mut bench = Bench::up(&config);
    let before = server(&bench, "mb1").id;
    let reading = ServerReading {
        active: 4,
        opened: 9,
        ..ServerReading::default()
    };
    bench.count(&[(before, reading)]);
    let end = Change::EndSessions {
        server: target("mb1"),
    };
    let said = bench.change(end).expect("it is there");
    assert_eq!(said, "smtp/mb1: 4 sessions ended by alice");
    let after = server(&bench, "mb1");
    assert_ne!(after.id, before);
    assert!(after.usable, "new sessions come as before");
    assert_eq!(bench.pool().len(), 3);
    let old = bench.desired().servers[&before];
    assert_eq!(Record::flags_of(old.link), SERVER_PRESENT | SERVER_RESET);

    // The next process finds the server by its name, and what is left of its sessions under another one.
    let adopted = Adopted {
        image: bench.desired().image(&mut TableCache::default()),
        ..Adopted::default()
    };
    let saved = bench.saved.clone().expect("names are kept");
    let mut again = Bench::new(&adopted, saved, &config);
    again.handle(Event::Config(Box::new(config.clone())));
    again.attach();
    assert_eq!(server(&again, "mb1").id, after.id);
    let old = again.desired().servers[&before];
    assert_eq!(Record::flags_of(old.link), SERVER_PRESENT | SERVER_RESET);
    let removed = again.snapshot().removed;
    assert_eq!(
        (removed[0].service.as_str(), removed[0].server.as_str()),
        ("smtp", "mb1")
    );
}

#[test]
fn what_an_agent_said_ends_with_the_agent() {
    let drain = AgentReply {
        admin: Some(AdminState::Drain),
        weight: Some(Weight::Percent(0)),
        ..AgentReply::default()
    };
    let mut bench = Bench::up(&with_agent());
    hear(&mut bench, "mb1", drain.clone());
    assert_eq!(bench.pool().len(), 2);
    set(&mut bench, "mb1", Setting::Checks(Which::Agent, false)).expect("it has one");
    assert_eq!(bench.pool().len(), 3, "nobody speaks for it any more");
    set(&mut bench, "mb1", Setting::Checks(Which::Agent, true)).expect("it has one");
    hear(&mut bench, "mb1", drain.clone());
    set(&mut bench, "mb1", Setting::AgentSays(true)).expect("it has one");
    assert_eq!(bench.pool().len(), 3, "an operator speaks for it");
    hear(&mut bench, "mb1", drain);
    set(&mut bench, "mb2", Setting::Checks(Which::Agent, false)).expect("it has one");
    bench.handle(Event::Config(Box::new(three(""))));
    assert_eq!(bench.pool().len(), 3, "the file has no agent any more");
    assert!(
        bench.snapshot().alarms.is_empty(),
        "{:?}",
        bench.snapshot().alarms
    );
}

#[test]
fn a_server_whose_check_rests_is_taken_as_up_where_nothing_is_known() {
    let mut bench = Bench::up(&three(""));
    set(&mut bench, "mb1", Setting::Checks(Which::Health, false)).expect("it is checked");
    bench.admin("mb1", AdminState::Maint).expect("it is there");
    bench.admin("mb1", AdminState::Ready).expect("it is there");
    assert_eq!(bench.pool().len(), 3);
    assert_eq!(server(&bench, "mb1").health_reason, "its check rests");
    // To what the file says, by its own value.
    set(&mut bench, "mb2", Setting::CheckPort(Some(26))).expect("it is checked");
    set(&mut bench, "mb2", Setting::CheckPort(Some(25))).expect("it is checked");
    assert!(server(&bench, "mb2").by_hand.is_none());
}

/// The cap in the kernel's record.
fn kernel_cap(bench: &Bench, name: &str) -> u32 {
    let index = server(bench, name).id;
    bench.desired().servers[&index].max_connections
}

/// A restart of the controller with what it had kept.
fn restarted(bench: &Bench, config: &Config) -> Bench {
    let saved = bench.saved.clone().expect("it is kept");
    let mut again = Bench::new(&Adopted::default(), saved, config);
    again.handle(Event::Config(Box::new(config.clone())));
    again.attach();
    for last in 1..=3 {
        again.resolve(last);
    }
    again
}

fn capped(most: &str) -> Config {
    parse(&format!(
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\nagent = {{ port = 9707 }}\n[service.smtp.servers]\n\
         mb1 = {{ address = \"192.0.2.1\"{most} }}\nmb2 = \"192.0.2.2\"\nmb3 = \"192.0.2.3\"\n"
    ))
}

#[test]
fn a_cap_of_connections_holds_until_it_is_undone_or_the_file_says_something_new() {
    let config = capped(", max_connections = 200");
    let mut bench = Bench::up(&config);
    let said = set(&mut bench, "mb1", Setting::MaxConnections(10)).expect("it is there");
    assert_eq!(said, "smtp/mb1: at most 10 connections, by alice");
    assert_eq!(kernel_cap(&bench, "mb1"), 10);
    let view = server(&bench, "mb1");
    assert_eq!(view.max_connections, Some(10));
    let hand = view.by_hand.expect("it is shown");
    assert_eq!(hand.words, ["at most 10 connections (file: 200)"]);
    assert_eq!(
        (hand.by.as_str(), hand.max_connections),
        ("alice", Some(10))
    );
    let alarms = bench.snapshot().alarms;
    let said = alarms
        .iter()
        .find(|alarm| alarm.text.contains("at most 10"));
    let said = said.expect("it is an alarm");
    assert_eq!(
        said.next,
        "set maxconn server smtp/mb1 200, on the admin socket"
    );

    // Over a reload that says nothing new, and over a restart.
    bench.handle(Event::Config(Box::new(config.clone())));
    assert_eq!(kernel_cap(&bench, "mb1"), 10);
    let mut again = restarted(&bench, &config);
    assert_eq!(kernel_cap(&again, "mb1"), 10);

    set(&mut again, "mb1", Setting::MaxConnections(0)).expect("it is there");
    assert_eq!(kernel_cap(&again, "mb1"), 0, "0 is none");
    set(&mut again, "mb1", Setting::MaxConnections(200)).expect("it is there");
    assert!(server(&again, "mb1").by_hand.is_none(), "as the file says");

    set(&mut again, "mb1", Setting::MaxConnections(10)).expect("it is there");
    let new = capped(", max_connections = 300");
    let after = restarted(&again, &new);
    assert_eq!(kernel_cap(&after, "mb1"), 300);
    again.handle(Event::Config(Box::new(new)));
    assert_eq!(kernel_cap(&again, "mb1"), 300);
    assert!(server(&again, "mb1").by_hand.is_none());
}

#[test]
fn an_agent_can_lower_a_cap_that_an_operator_has_set_and_not_raise_it() {
    let mut bench = Bench::up(&capped(""));
    let asks = |most| AgentReply {
        max_connections: Some(most),
        ..AgentReply::default()
    };
    set(&mut bench, "mb1", Setting::MaxConnections(10)).expect("it is there");
    for (asked, is) in [(30, 10), (5, 5), (0, 10)] {
        hear(&mut bench, "mb1", asks(asked));
        assert_eq!(kernel_cap(&bench, "mb1"), is, "{asked}");
    }
    // The file's cap is none: that is what undoes it.
    set(&mut bench, "mb1", Setting::MaxConnections(0)).expect("it is there");
    hear(&mut bench, "mb1", asks(30));
    assert_eq!(kernel_cap(&bench, "mb1"), 30);
    assert!(server(&bench, "mb1").by_hand.is_none());
}

#[test]
fn a_service_in_user_mode_has_as_many_clients_as_an_operator_says() {
    let config = parse(
        "[proxy.web]\nlisten = \"192.0.2.100:443\"\ncertificate = \"/x.pem\"\nlimits = { connections = 500 }\n\
         [proxy.web.servers]\nmb1 = \"192.0.2.1:80\"\n\
         [service.smtp]\nlisten = \"192.0.2.100:25\"\n[service.smtp.servers]\nmb1 = \"192.0.2.1\"\n",
    );
    let mut bench = Bench::started(&config);
    let cap = |service: &str, most| Change::ClientCap {
        service: service.to_owned(),
        most,
    };
    let steered = |bench: &Bench| {
        let mut steering = bench.engine.steering(bench.now).into_iter();
        let web = steering.find(|steering| steering.proxy == "web");
        web.expect("it is steered").most_clients
    };
    assert_eq!(steered(&bench), None);
    let said = bench.change(cap("web", 20)).expect("it is there");
    assert_eq!(said, "web: at most 20 clients (file: 500), by alice");
    assert_eq!(steered(&bench), Some(20));
    let alarms = bench.snapshot().alarms;
    let said = alarms
        .iter()
        .find(|alarm| alarm.next == "set maxconn frontend web 500, on the admin socket");
    assert_eq!(
        said.expect("it is an alarm").text,
        "web: at most 20 clients (file: 500), set by alice"
    );
    assert_eq!(bench.change(cap("smtp", 20)), Err(Refusal::NoClientCap));
    assert_eq!(bench.change(cap("nope", 20)), Err(Refusal::NoSuchService));

    let mut again = restarted(&bench, &config);
    assert_eq!(steered(&again), Some(20));
    let view = again.snapshot().services;
    let web = view.iter().find(|service| service.name == "web");
    let web = web.expect("it is there");
    assert_eq!(
        (web.most_clients, web.most_clients_by.as_deref()),
        (Some(20), Some("alice"))
    );
    again.change(cap("web", 500)).expect("it is there");
    assert_eq!(steered(&again), None);
    bench.handle(Event::Config(Box::new(parse(
        "[proxy.web]\nlisten = \"192.0.2.100:443\"\ncertificate = \"/x.pem\"\nlimits = { connections = 600 }\n\
         [proxy.web.servers]\nmb1 = \"192.0.2.1:80\"\n",
    ))));
    assert_eq!(steered(&bench), None, "the file says something new");
}

#[test]
fn a_service_that_is_shut_down_takes_nobody_until_the_next_start_and_until_it_is_enabled() {
    let config = three("");
    let mut bench = Bench::up(&config);
    let shut = Change::ShutFrontend {
        service: "smtp".to_owned(),
    };
    let frontend = |takes| Change::Frontend {
        service: "smtp".to_owned(),
        takes,
    };
    let said = bench.change(shut.clone()).expect("it takes clients");
    assert_eq!(said, "smtp: shut down by alice: takes no new clients");
    assert!(bench.pool().is_empty());
    assert_eq!(bench.change(shut), Err(Refusal::ShutAlready));
    assert_eq!(bench.change(frontend(true)), Err(Refusal::Shut(true)));
    assert_eq!(bench.change(frontend(false)), Err(Refusal::Shut(false)));
    bench.handle(Event::Config(Box::new(config.clone())));
    assert_eq!(
        bench.change(frontend(true)),
        Err(Refusal::Shut(true)),
        "a reload is no restart"
    );
    let alarms = bench.snapshot().alarms;
    assert_eq!(
        (alarms[0].text.as_str(), alarms[0].next.as_str()),
        (
            "smtp takes no new clients: alice shut it down",
            "restart mb-lb, then enable frontend smtp, on the admin socket"
        )
    );

    let mut again = restarted(&bench, &config);
    let service = &again.snapshot().services[0];
    assert_eq!(service.paused_by.as_deref(), Some("alice"));
    assert!(!service.shut_down);
    again.change(frontend(true)).expect("it takes nobody");
    assert_eq!(again.snapshot().services[0].paused_by, None);
}

#[test]
fn an_agent_is_told_what_an_operator_says() {
    let config = three("agent = { port = 9707, send = \"state\\n\" }");
    let mut bench = Bench::up(&config);
    let told = |bench: &Bench| {
        let tasks = bench.checks.iter();
        let mut tasks = tasks.filter(|task| task.which == Which::Agent);
        let task = tasks.next().expect("it is asked");
        match &task.check.kind {
            config::CheckKind::Agent { send } => send.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told(&bench).as_deref(), Some("state\n"));
    let say = |text: &str| Setting::AgentSend(text.to_owned());
    let said = set(&mut bench, "mb1", say("how are you\n")).expect("it has one");
    assert_eq!(
        said,
        "smtp/mb1: its agent is told \"how are you\\n\", by alice"
    );
    assert_eq!(told(&bench).as_deref(), Some("how are you\n"));
    let view = server(&bench, "mb1").by_hand.expect("it is shown");
    assert_eq!(
        view.words,
        ["its agent is told \"how are you\\n\" (file: \"state\\n\")"]
    );
    let alarms = bench.snapshot().alarms;
    let alarm = alarms.iter().find(|alarm| alarm.text.contains("is told"));
    assert_eq!(
        alarm.expect("it is an alarm").next,
        "set server smtp/mb1 agent-send state\\\\n, on the admin socket"
    );

    let mut again = restarted(&bench, &config);
    assert_eq!(told(&again).as_deref(), Some("how are you\n"));
    set(&mut again, "mb1", say("")).expect("it has one");
    assert_eq!(told(&again), None, "nothing is said");
    set(&mut again, "mb1", say("state\n")).expect("it has one");
    assert!(server(&again, "mb1").by_hand.is_none(), "as the file says");

    let new = three("agent = { port = 9707, send = \"other\" }");
    bench.handle(Event::Config(Box::new(new)));
    assert_eq!(told(&bench).as_deref(), Some("other"));
    let mut without = Bench::up(&three(""));
    assert_eq!(
        set(&mut without, "mb1", say("x")),
        Err(Refusal::AgentNotEnabled)
    );
}
