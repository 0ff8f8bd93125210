//! Servers that come, go and move at run time.

use std::collections::BTreeMap;

use super::by_hand::weights;
use super::*;

fn added(last: u8) -> Added {
    Added {
        address: [192, 0, 2, last].into(),
        port: None,
        weight: 7,
        max_connections: None,
        backup: false,
    }
}

fn add(bench: &mut Bench, name: &str, last: u8) -> Result<String, Refusal> {
    bench.change(Change::Add {
        server: target(name),
        added: added(last),
    })
}

fn move_to(bench: &mut Bench, name: &str, last: u8) -> Result<String, Refusal> {
    bench.change(Change::Move {
        server: target(name),
        address: Some([192, 0, 2, last].into()),
        port: None,
    })
}

fn remove(bench: &mut Bench, name: &str) -> Result<String, Refusal> {
    bench.change(Change::Remove {
        server: target(name),
    })
}

fn names(bench: &Bench) -> Vec<String> {
    let snapshot = bench.snapshot();
    let servers = snapshot.services[0].servers.iter();
    servers.map(|server| server.name.clone()).collect()
}

fn address(bench: &Bench, name: &str) -> Option<IpAddr> {
    let snapshot = bench.snapshot();
    let mut servers = snapshot.services[0].servers.iter();
    servers.find(|server| server.name == name)?.address
}

fn reload(bench: &mut Bench, config: &Config) {
    bench.handle(Event::Config(Box::new(config.clone())));
}

#[test]
fn a_server_that_is_added_waits_in_maintenance_and_serves_when_it_is_made_ready() {
    let config = three("");
    let mut bench = Bench::up(&config);
    assert_eq!(
        add(&mut bench, "mb4", 4),
        Ok("smtp/mb4: added at 192.0.2.4 by alice, in maintenance".to_owned())
    );
    assert_eq!(bench.pool().len(), 3);
    bench.resolve(4);
    bench.admin("mb4", AdminState::Ready).expect("it is there");
    bench.check("mb4", Outcome::Success);
    assert_eq!(weights(&bench), [(1, 10), (2, 10), (3, 5), (4, 7)]);
    assert_eq!(add(&mut bench, "mb4", 5), Err(Refusal::Exists));
    for (last, why) in [
        (1, "192.0.2.1 is that of mb1"),
        (100, "192.0.2.100 is a VIP"),
    ] {
        let refused = Err(Refusal::BadAddress(why.to_owned()));
        assert_eq!(add(&mut bench, "mb5", last), refused);
        assert_eq!(move_to(&mut bench, "mb4", last), refused);
    }
    let alarms = bench.snapshot().alarms;
    assert_eq!(
        alarms[0].text,
        "smtp/mb4 was added by alice, and is in no file"
    );

    // It outlives a reload of the same file, and the process.
    reload(&mut bench, &config);
    assert_eq!(bench.pool().len(), 4);
    let saved = bench.saved.clone().expect("it is kept");
    let mut again = Bench::new(&Adopted::default(), saved, &config);
    reload(&mut again, &config);
    assert_eq!(names(&again), ["mb1", "mb2", "mb3", "mb4"]);
}

#[test]
fn a_file_that_names_the_server_ends_the_amendment() {
    let mut bench = Bench::up(&three(""));
    add(&mut bench, "mb4", 4).expect("there is room");
    let text = "[service.smtp]\nlisten = \"192.0.2.100:25\"\n[service.smtp.servers]\n\
                mb1 = { address = \"192.0.2.1\", weight = 10 }\nmb4 = { address = \"192.0.2.5\", weight = 1 }\n";
    reload(&mut bench, &parse(text));
    assert_eq!(names(&bench), ["mb1", "mb4"]);
    assert_eq!(address(&bench, "mb4"), Some([192, 0, 2, 5].into()));
    let told = bench
        .records
        .iter()
        .find(|event| event.text.contains("says something new"));
    assert_eq!(told.map(|event| event.subject.as_str()), Some("smtp/mb4"));
    let amended = bench.snapshot().alarms;
    assert!(
        amended.iter().all(|alarm| !alarm.text.contains("added")),
        "{amended:?}"
    );
}

#[test]
fn only_servers_in_maintenance_are_taken_out_and_never_the_last() {
    let mut bench = Bench::up(&three(""));
    assert_eq!(remove(&mut bench, "mb1"), Err(Refusal::NotInMaintenance));
    assert_eq!(remove(&mut bench, "mb9"), Err(Refusal::NoSuchServer));
    for name in ["mb1", "mb2", "mb3"] {
        bench.admin(name, AdminState::Maint).expect("it is there");
    }
    remove(&mut bench, "mb1").expect("it is in maintenance");
    remove(&mut bench, "mb2").expect("it is in maintenance");
    assert_eq!(remove(&mut bench, "mb3"), Err(Refusal::LastServer));
    assert_eq!(names(&bench), ["mb3"]);
    let alarms = bench.snapshot().alarms;
    let said: Vec<_> = alarms
        .iter()
        .filter(|alarm| alarm.text.contains("taken out"))
        .collect();
    assert_eq!(said.len(), 2, "{alarms:?}");
    assert_eq!(
        said[0].text,
        "smtp/mb1 was taken out by alice, and is in the file"
    );
    // Back as the file has it: nothing is amended any more.
    let back = Added {
        weight: 10,
        ..added(1)
    };
    bench
        .change(Change::Add {
            server: target("mb1"),
            added: back,
        })
        .expect("there is room");
    assert_eq!(names(&bench), ["mb1", "mb3"]);
    let alarms = bench.snapshot().alarms;
    assert!(
        alarms.iter().all(|alarm| !alarm.text.contains("mb1 was")),
        "{alarms:?}"
    );
}

#[test]
fn a_server_that_moves_keeps_what_the_operator_wants_of_it_and_its_old_flows_end_where_they_are() {
    let config = three("");
    let mut bench = Bench::up(&config);
    bench.admin("mb1", AdminState::Drain).expect("it is there");
    let before = bench.snapshot().services[0].servers[0].id;
    move_to(&mut bench, "mb1", 9).expect("it is there");
    assert_eq!(address(&bench, "mb1"), Some([192, 0, 2, 9].into()));
    let after = bench.snapshot().services[0].servers[0].clone();
    assert_eq!(after.admin, AdminState::Drain);
    assert_ne!(after.id, before);
    assert!(
        bench.desired().servers.contains_key(&before),
        "its record stays with its flows"
    );
    let alarms = bench.snapshot().alarms;
    assert!(
        alarms
            .iter()
            .any(|alarm| alarm.text == "smtp/mb1 was moved to 192.0.2.9 by alice"),
        "{alarms:?}"
    );

    let port = Change::Move {
        server: target("mb1"),
        address: None,
        port: Some(2525),
    };
    assert_eq!(bench.change(port), Err(Refusal::NoPort));
    // And back.
    move_to(&mut bench, "mb1", 1).expect("it is there");
    assert_eq!(bench.snapshot().services[0].servers[0].id, before);
    let alarms = bench.snapshot().alarms;
    assert!(
        alarms.iter().all(|alarm| !alarm.text.contains("moved")),
        "{alarms:?}"
    );
}

#[test]
fn the_preview_of_a_file_does_not_show_what_is_amended_as_a_change() {
    let config = three("");
    let mut bench = Bench::up(&config);
    add(&mut bench, "mb4", 4).expect("there is room");
    move_to(&mut bench, "mb2", 8).expect("it is there");
    assert_eq!(
        bench.engine.preview(&config, bench.now),
        Vec::<String>::new()
    );
}

#[test]
fn servers_of_a_proxy_come_and_go_as_its_others_are_spoken_to() {
    let text = "[proxy.web]\nlisten = \"192.0.2.100:80\"\ncookie = { name = \"SERVERID\" }\n[proxy.web.servers]\n\
                mb1 = { address = \"192.0.2.1:8080\", cookie = \"one\" }\n";
    let config = parse(text);
    let mut bench = Bench::started(&config);
    let web = |name: &str| ServerRef {
        service: "web".to_owned(),
        server: name.to_owned(),
    };
    let change = Change::Add {
        server: web("mb2"),
        added: added(2),
    };
    let actions = bench.handle(Event::Change {
        id: 1,
        change,
        by: "alice".to_owned(),
    });
    let attached = actions.iter().find_map(|action| match action {
        Action::Attach(config) => Some(config),
        _ => None,
    });
    let proxy = &attached.expect("the proxies are told").proxies[0];
    assert_eq!(
        proxy.servers[1].address,
        "192.0.2.2:8080".parse().expect("an address")
    );
    assert_eq!(proxy.servers[1].cookie.as_deref(), Some("mb2"));
    let port = Change::Move {
        server: web("mb1"),
        address: None,
        port: Some(81),
    };
    bench
        .change(port)
        .expect("with a proxy a port is the server's own");
    let ended = Change::EndSessions { server: web("mb1") };
    assert_eq!(
        bench.change(ended).as_deref(),
        Ok("web/mb1: 0 requests ended by alice")
    );
    let steering = bench.engine.steering(bench.now);
    let mb1 = &steering[0].targets[0];
    assert_eq!((mb1.name.as_str(), mb1.ended), ("mb1", 1));
}

/// A reload that gives a thousand servers other places, takes some out, moves some and adds some.
#[test]
fn servers_are_the_same_ones_wherever_the_file_has_them() {
    let config = |servers: &mut dyn Iterator<Item = (u16, u8)>| {
        let mut text =
            "[service.smtp]\nlisten = \"192.0.2.100:25\"\n[service.smtp.servers]\n".to_owned();
        for (number, net) in servers {
            let [high, low] = number.to_be_bytes();
            text += &format!("s{number} = \"10.{net}.{high}.{low}\"\n");
        }
        parse(&text)
    };
    let mut bench = Bench::started(&config(&mut (1..=1000).map(|number| (number, 0))));
    let weight = |number: u16| number % 200 + 2;
    for number in (1..=1000).step_by(101) {
        bench
            .change(Change::Weight {
                server: target(&format!("s{number}")),
                weight: Weight::Absolute(weight(number)),
            })
            .expect("it is there");
    }
    let known = |bench: &Bench| {
        let servers = &bench.engine.services[0].servers;
        let known = servers.iter().map(|server| {
            let slot = (server.slot.index, server.slot.generation, server.weight);
            (server.config.name.clone(), slot)
        });
        known.collect::<Vec<_>>()
    };
    let before: BTreeMap<_, _> = known(&bench).into_iter().collect();
    // Backwards; each tenth is gone, each seventh of the rest has another address.
    let stays = |number: &u16| !number.is_multiple_of(10);
    let net = |number: u16| u8::from(number.is_multiple_of(7));
    let mut after = (1..=1010)
        .rev()
        .filter(|number| stays(number) || *number > 1000)
        .map(|number| (number, net(number)));
    bench.handle(Event::Config(Box::new(config(&mut after))));
    let after = known(&bench);
    let names: Vec<_> = after.iter().map(|(name, _)| name.clone()).collect();
    let expected = (1..=1010_u16).rev();
    let expected = expected.filter(|number| stays(number) || *number > 1000);
    let expected: Vec<_> = expected.map(|number| format!("s{number}")).collect();
    assert_eq!(names, expected, "in the order of the file");
    for (name, slot) in &after {
        let number: u16 = name[1..].parse().expect("a number");
        let is_same = number <= 1000 && net(number) == 0;
        assert_eq!(before.get(name) == Some(slot), is_same, "{name}");
    }
    let retired: BTreeSet<_> = bench
        .engine
        .indices
        .retired()
        .map(|(index, _)| index)
        .collect();
    let gone = (1..=1000_u16).filter(|number| !stays(number) || net(*number) == 1);
    let gone: BTreeSet<_> = gone.map(|number| before[&format!("s{number}")].0).collect();
    assert_eq!(retired, gone);
}
