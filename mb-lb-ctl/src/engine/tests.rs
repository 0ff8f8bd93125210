mod amend;
mod batch;
mod by_hand;
mod certificates;
mod failover;
mod few;
mod follows;
mod groups;
mod pair;
mod peering;
mod relayed;
mod resign;
mod routers;
mod split;
mod suspect;
mod tiers;
mod via;

use std::collections::BTreeSet;

use mb_lb_common::{
    SERVER_ACCEPT, SERVER_PRESENT, SERVER_RESET, SERVICE_REPLY_LOCAL, Server as Record,
};
use proptest::prelude::*;

use super::*;
use crate::config;
use crate::dataplane::{Adopted, Report, ServerReading};
use crate::plan::{Desired, TableCache};
use crate::snapshot::{HealthState, Severity, Snapshot};

const ETH0: u32 = 2;

fn parse(text: &str) -> Config {
    config::parse(text, "lb1")
        .config
        .expect("a valid configuration")
}

/// Three servers, smtp checked with rise 2 and fall 3.
fn three(extra: &str) -> Config {
    parse(&format!(
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\ncheck = {{ type = \"smtp\", rise = 2, fall = 3 }}\n{extra}\n\
         [service.smtp.servers]\n\
         mb1 = {{ address = \"192.0.2.1\", weight = 10 }}\n\
         mb2 = {{ address = \"192.0.2.2\", weight = 10 }}\n\
         mb3 = {{ address = \"192.0.2.3\", weight = 5 }}\n"
    ))
}

/// The engine with a clock, and what it last sent out.
struct Bench {
    engine: Engine,
    now: Now,
    desired: Option<Desired>,
    checks: Vec<CheckTask>,
    saved: Option<SavedState>,
    records: Vec<EventView>,
    /// The kernel takes every plan at once.
    acknowledges: bool,
}

impl Bench {
    fn new(adopted: &Adopted, saved: SavedState, config: &Config) -> Self {
        Self {
            engine: Engine::new(Identity::default(), adopted, saved, config.clone()),
            now: Now {
                since_start: Duration::ZERO,
                wall_ms: 1_000_000,
            },
            desired: None,
            checks: Vec::new(),
            saved: None,
            records: Vec::new(),
            acknowledges: true,
        }
    }

    /// Configured, attached, all servers resolved, nothing checked yet.
    fn started(config: &Config) -> Self {
        let mut bench = Self::new(&Adopted::default(), SavedState::default(), config);
        bench.handle(Event::Config(Box::new(config.clone())));
        bench.attach();
        for last in 1..=3 {
            bench.resolve(last);
        }
        bench
    }

    /// And all up.
    fn up(config: &Config) -> Self {
        let mut bench = Self::started(config);
        for server in ["mb1", "mb2", "mb3"] {
            bench.check(server, Outcome::Success);
        }
        bench
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        let actions = self.engine.handle(event, self.now);
        for action in &actions {
            match action {
                Action::Apply(desired) => self.desired = Some(*desired.clone()),
                Action::Checks(tasks) => self.checks.clone_from(tasks),
                Action::Save(saved) => self.saved = Some(saved.clone()),
                Action::Record(event) => self.records.push(event.clone()),
                _ => {}
            }
        }
        let plans = actions
            .iter()
            .filter(|action| matches!(action, Action::Apply(_)));
        for _ in 0..plans.count() {
            if self.acknowledges {
                self.handle(Event::Applied(None));
            }
        }
        actions
    }

    fn attach(&mut self) -> Vec<Action> {
        self.handle(Event::Interfaces {
            attached: vec![Attached {
                name: "eth0".to_owned(),
                ifindex: ETH0,
                mac: [2, 0, 0, 0, 0, 0xfe],
                mode: "native",
            }],
            error: None,
            number: 1,
        })
    }

    fn resolve(&mut self, last: u8) {
        self.handle(Event::Neighbour {
            address: IpAddr::from([192, 0, 2, last]),
            neighbour: Neighbour::Resolved {
                mac: [2, 0, 0, 0, 0, last],
                ifindex: ETH0,
                interface: "eth0".to_owned(),
            },
        });
    }

    fn check(&mut self, server: &str, outcome: Outcome) -> Vec<Action> {
        let task = self
            .checks
            .iter()
            .find(|task| task.which == Which::Health && task.server.server == server);
        // One that was taken away may still send its last result.
        let address = task.map_or_else(|| IpAddr::from([192, 0, 2, 1]), |task| task.address.ip());
        self.check_of(server, address, outcome)
    }

    fn check_of(&mut self, server: &str, address: IpAddr, outcome: Outcome) -> Vec<Action> {
        let event = self.checked(server, address, outcome);
        self.handle(event)
    }

    fn checked(&self, server: &str, address: IpAddr, outcome: Outcome) -> Event {
        let mut checks = self.checks.iter();
        let task = checks.find(|task| task.which == Which::Health);
        let port = task.map_or(25, |task| task.address.port());
        Event::Checked {
            server: target(server),
            which: Which::Health,
            address: SocketAddr::new(address, port),
            result: CheckResult {
                page: None,
                certificate: None,
                agent: None,
                outcome,
                code: if outcome == Outcome::Success {
                    "L7OK"
                } else {
                    "L4CON"
                },
                reply: None,
                detail: if outcome == Outcome::Success {
                    "220 hello"
                } else {
                    "connection refused"
                }
                .to_owned(),
                duration: Duration::from_millis(1),
            },
        }
    }

    fn admin(&mut self, server: &str, state: AdminState) -> Result<String, Refusal> {
        let change = Change::Admin {
            server: target(server),
            state,
            reason: "test".to_owned(),
            guarded: true,
        };
        self.change(change)
    }

    fn change(&mut self, change: Change) -> Result<String, Refusal> {
        let actions = self.handle(Event::Change {
            id: 7,
            change,
            by: "alice".to_owned(),
        });
        actions
            .into_iter()
            .find_map(|action| match action {
                Action::Reply { id: 7, result } => Some(result),
                _ => None,
            })
            .expect("every change is answered")
    }

    fn desired(&self) -> &Desired {
        self.desired.as_ref().expect("applied")
    }

    /// Last octets of the servers in the pool, with their weights.
    fn pool(&self) -> Vec<(u8, u32)> {
        let desired = self.desired();
        let service = desired.services.values().next().expect("one service");
        service
            .pool
            .candidates
            .iter()
            .map(|candidate| {
                (
                    desired.servers[&candidate.server].address[15],
                    candidate.weight,
                )
            })
            .collect()
    }

    fn flags(&self, last: u8) -> u8 {
        let record = self
            .desired()
            .servers
            .values()
            .find(|record| record.address[15] == last)
            .expect("a record");
        Record::flags_of(record.link)
    }

    fn snapshot(&self) -> Snapshot {
        self.engine.snapshot(self.now)
    }

    fn count(&mut self, readings: &[(u32, ServerReading)]) -> Vec<Action> {
        let report = Report {
            swept: true,
            servers: readings.iter().copied().collect(),
            ..Report::default()
        };
        self.now.since_start += Duration::from_secs(1);
        self.handle(Event::Counted(Box::new(report)))
    }
}

fn target(server: &str) -> ServerRef {
    ServerRef {
        service: "smtp".to_owned(),
        server: server.to_owned(),
    }
}

#[test]
fn nothing_is_applied_before_the_interfaces_are_known() {
    let config = three("");
    let mut bench = Bench::new(&Adopted::default(), SavedState::default(), &config);
    let actions = bench.handle(Event::Config(Box::new(config)));
    assert!(actions.iter().any(|a| matches!(a, Action::Attach(_))));
    assert!(
        !actions.iter().any(|a| matches!(a, Action::Apply(_))),
        "{actions:?}"
    );
    assert_eq!(bench.checks.len(), 3);
    bench.attach();
    assert_eq!(bench.desired().ports[&ETH0], [2, 0, 0, 0, 0, 0xfe]);
    assert_eq!(bench.pool(), [], "nobody is up yet");
}

#[test]
fn the_first_check_decides_and_fall_checks_end_it() {
    let mut bench = Bench::started(&three(""));
    assert_eq!(bench.pool(), []);
    bench.check("mb1", Outcome::Success);
    assert_eq!(bench.pool(), [(1, 2560)]);
    bench.check("mb2", Outcome::Failure);
    assert_eq!(bench.flags(2), SERVER_PRESENT | SERVER_RESET);
    bench.check("mb3", Outcome::Success);
    assert_eq!(bench.pool(), [(1, 2560), (3, 1280)]);
    bench.check("mb1", Outcome::Failure);
    bench.check("mb1", Outcome::Failure);
    assert_eq!(
        bench.pool().len(),
        2,
        "two of three failures change nothing"
    );
    bench.check("mb1", Outcome::Failure);
    assert_eq!(bench.pool(), [(3, 1280)]);
    // Back after `rise`.
    bench.check("mb1", Outcome::Success);
    assert_eq!(bench.pool(), [(3, 1280)]);
    bench.check("mb1", Outcome::Success);
    assert_eq!(bench.pool(), [(1, 2560), (3, 1280)]);
    let kinds: Vec<_> = bench
        .records
        .iter()
        .filter(|event| event.subject == "smtp/mb1")
        .map(|event| event.kind.as_str())
        .collect();
    assert_eq!(kinds, ["up", "down", "up"]);
}

#[test]
fn a_result_that_changes_nothing_sends_nothing() {
    let mut bench = Bench::up(&three(""));
    assert_eq!(bench.check("mb1", Outcome::Success), []);
    assert_eq!(bench.handle(Event::Deadline), []);
}

#[test]
fn drain_keeps_flows_and_maint_does_as_on_down_says() {
    for (on_down, gone) in [
        ("reset", SERVER_PRESENT | SERVER_RESET),
        ("keep", SERVER_PRESENT),
    ] {
        let mut bench = Bench::up(&three(&format!("on_down = \"{on_down}\"")));
        bench.admin("mb2", AdminState::Drain).expect("known");
        assert_eq!(bench.pool(), [(1, 2560), (3, 1280)]);
        assert_eq!(bench.flags(2), SERVER_PRESENT, "drain leaves flows alone");
        bench.admin("mb2", AdminState::Maint).expect("known");
        assert_eq!(bench.flags(2), gone);
        assert_eq!(
            bench.checks.len(),
            2,
            "nobody checks a server in maintenance"
        );
        // Back: unknown until checked.
        bench.admin("mb2", AdminState::Ready).expect("known");
        assert_eq!(bench.pool().len(), 2);
        assert_eq!(bench.flags(2), SERVER_PRESENT);
        bench.check("mb2", Outcome::Success);
        assert_eq!(bench.pool().len(), 3);
        assert_eq!(bench.flags(1), SERVER_PRESENT | SERVER_ACCEPT);
    }
}

#[test]
fn what_an_operator_set_is_saved_and_holds_after_a_restart() {
    let config = three("");
    let mut bench = Bench::up(&config);
    bench.admin("mb1", AdminState::Drain).expect("known");
    bench
        .change(Change::Weight {
            server: target("mb3"),
            weight: Weight::Percent(40),
        })
        .expect("known");
    let saved = bench.saved.clone().expect("saved");
    assert_eq!(saved.servers["smtp/mb1"].admin, AdminState::Drain);
    assert_eq!(saved.servers["smtp/mb1"].by, "alice");
    assert_eq!(saved.servers["smtp/mb3"].weight, Some(2));

    let mut again = Bench::new(&Adopted::default(), saved, &config);
    again.handle(Event::Config(Box::new(config)));
    let view = again.snapshot();
    let servers = &view.services[0].servers;
    assert_eq!(
        (servers[0].admin, servers[0].admin_reason.as_str()),
        (AdminState::Drain, "test")
    );
    assert_eq!((servers[2].weight, servers[2].initial_weight), (2, 5));
    again.admin("mb1", AdminState::Ready).expect("known");
    let saved = again.saved.clone().expect("saved");
    assert_eq!(saved.servers.keys().collect::<Vec<_>>(), ["smtp/mb3"]);
}

#[test]
fn a_restart_trusts_what_was_up_and_nothing_else() {
    let config = three("");
    let mut before = Bench::up(&config);
    for _ in 0..3 {
        before.check("mb2", Outcome::Failure);
    }
    let image = before.desired().image(&mut TableCache::default());
    let adopted = Adopted {
        image,
        ..Adopted::default()
    };

    let mut after = Bench::new(&adopted, SavedState::default(), &config);
    after.handle(Event::Config(Box::new(config)));
    after.attach();
    // Not a check, not a neighbour yet: as it was.
    assert_eq!(after.pool(), before.pool());
    assert_eq!(
        after.desired().servers.keys().collect::<Vec<_>>(),
        before.desired().servers.keys().collect::<Vec<_>>()
    );
    assert_eq!(after.desired().listens, before.desired().listens);
    // One failure is one of three; for the server that was down, one success is enough as at any start.
    after.check("mb1", Outcome::Failure);
    assert_eq!(after.pool().len(), 2);
    after.check("mb1", Outcome::Failure);
    after.check("mb1", Outcome::Failure);
    assert_eq!(after.pool(), [(3, 1280)]);
    after.check("mb2", Outcome::Success);
    assert_eq!(after.pool(), [(2, 2560), (3, 1280)]);
}

#[test]
fn an_unresolvable_server_is_down_with_that_reason() {
    let mut bench = Bench::up(&three(""));
    let unresolved = |why: &str| Event::Neighbour {
        address: IpAddr::from([192, 0, 2, 1]),
        neighbour: Neighbour::Unresolved(why.to_owned()),
    };
    bench.handle(unresolved("no answer to ARP for 192.0.2.1 on eth0"));
    assert_eq!(bench.pool(), [(2, 2560), (3, 1280)]);
    let server = bench.snapshot().services[0].servers[0].clone();
    assert_eq!(server.health, HealthState::Down);
    assert_eq!(
        server.health_reason,
        "no answer to ARP for 192.0.2.1 on eth0"
    );
    let alarm = &bench.snapshot().alarms[0];
    assert!(
        alarm.text.contains("smtp/mb1 is down: no answer to ARP"),
        "{}",
        alarm.text
    );
    bench.resolve(1);
    assert_eq!(bench.pool().len(), 3);
}

#[test]
fn a_server_behind_an_interface_without_the_program_is_down() {
    let mut bench = Bench::up(&three(""));
    bench.handle(Event::Neighbour {
        address: IpAddr::from([192, 0, 2, 3]),
        neighbour: Neighbour::Resolved {
            mac: [2, 9, 9, 9, 9, 9],
            ifindex: 9,
            interface: "eth1".to_owned(),
        },
    });
    let server = bench.snapshot().services[0].servers[2].clone();
    assert_eq!(
        server.health_reason,
        "192.0.2.3 is reached through eth1, which the XDP program is not attached to"
    );
    assert!(!server.usable);
}

#[test]
fn backups_serve_only_while_nobody_else_can() {
    let config = parse(
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\ncheck = { type = \"none\" }\n[service.smtp.servers]\n\
         mb1 = \"192.0.2.1\"\nmb2 = { address = \"192.0.2.2\", backup = true }\nmb3 = { address = \"192.0.2.3\", backup = true }\n",
    );
    let mut bench = Bench::started(&config);
    assert_eq!(bench.pool(), [(1, 256)]);
    bench.admin("mb1", AdminState::Drain).expect("known");
    assert_eq!(bench.pool(), [(2, 256), (3, 256)]);
    bench.admin("mb1", AdminState::Ready).expect("known");
    assert_eq!(bench.pool(), [(1, 256)]);
}

#[test]
fn slow_start_ramps_after_a_recovery_and_not_at_the_first_start() {
    let mut bench = Bench::up(&three("slow_start = \"20s\""));
    assert_eq!(bench.pool()[0], (1, 2560));
    assert_eq!(bench.engine.next_deadline(bench.now), None);
    for _ in 0..3 {
        bench.check("mb1", Outcome::Failure);
    }
    bench.check("mb1", Outcome::Success);
    bench.check("mb1", Outcome::Success);
    let mut weights = vec![bench.pool()[0].1];
    while let Some(at) = bench.engine.next_deadline(bench.now) {
        assert!(at > bench.now.since_start, "time must go on");
        bench.now.since_start = at;
        bench.handle(Event::Deadline);
        weights.push(bench.pool()[0].1);
    }
    assert_eq!(weights[0], 256);
    assert_eq!(weights[weights.len() - 1], 2560);
    assert!(weights.is_sorted(), "{weights:?}");
    assert!(weights.len() <= 21, "{} steps", weights.len());
    assert_eq!(bench.now.since_start, Duration::from_secs(20));
}

#[test]
fn a_removed_server_keeps_its_record_until_its_flows_are_gone() {
    let mut bench = Bench::up(&three(""));
    let index = *bench
        .desired()
        .servers
        .iter()
        .find(|(_, record)| record.address[15] == 2)
        .expect("mb2")
        .0;
    let without = parse(
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\ncheck = { type = \"smtp\" }\n[service.smtp.servers]\n\
         mb3 = { address = \"192.0.2.3\", weight = 5 }\nmb1 = { address = \"192.0.2.1\", weight = 10 }\n",
    );
    bench.handle(Event::Config(Box::new(without.clone())));
    assert_eq!(bench.pool(), [(3, 1280), (1, 2560)]);
    assert_eq!(bench.flags(2), SERVER_PRESENT);
    let busy = ServerReading {
        active: 1,
        audited: 1,
        ..ServerReading::default()
    };
    bench.count(&[(index, busy)]);
    for _ in 0..59 {
        bench.count(&[(index, ServerReading::default())]);
        assert!(bench.desired().servers.contains_key(&index));
    }
    bench.count(&[(index, ServerReading::default())]);
    assert!(
        !bench.desired().servers.contains_key(&index),
        "a minute of sweeps without a flow"
    );
    // Should it come back now, the index is another life.
    let mut bench = Bench::up(&three(""));
    bench.handle(Event::Config(Box::new(without)));
    bench.handle(Event::Config(Box::new(three(""))));
    assert_eq!(
        bench.desired().servers[&index].generation,
        1,
        "with its flows: the same life"
    );
}

#[test]
fn a_reload_keeps_what_is_known() {
    let mut bench = Bench::up(&three(""));
    bench.admin("mb2", AdminState::Drain).expect("known");
    let before = bench.desired().clone();
    bench.handle(Event::Config(Box::new(three(""))));
    assert_eq!(*bench.desired(), before);
    assert_eq!(
        bench.engine.preview(&three(""), bench.now),
        Vec::<String>::new()
    );
    let lines = bench.engine.preview(
        &three("scheduler = \"source\"\non_down = \"keep\""),
        bench.now,
    );
    assert_eq!(lines[0], "~ smtp scheduler leastconn -> source");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("kernel: service #0")),
        "{lines:?}"
    );
    // A preview changes nothing.
    assert_eq!(bench.handle(Event::Deadline), []);
}

#[test]
fn the_way_of_a_check_is_a_change() {
    let file = |check: &str| {
        parse(&format!(
            "[service.smtp]\nlisten = \"192.0.2.100:25\"\ncheck = {{ type = \"tcp\"{check} }}\n[service.smtp.servers]\n\
             mb1 = \"192.0.2.1\"\nmb2 = \"192.0.2.2\"\n"
        ))
    };
    let (own, vip) = (file(""), file(", via = \"vip\""));
    let every = "every 2s, timeout 1s, rise 2, fall 3";
    assert_eq!(
        changes(&own, &vip),
        [format!(
            "~ smtp check tcp port 25 {every} -> tcp port 25 via vip {every}"
        )]
    );
    assert_eq!(changes(&vip, &vip), Vec::<String>::new());
}

/// Next hops are told once, when they change.
#[test]
fn a_check_that_a_reload_brings_empties_no_pool() {
    let text = |check: &str| {
        format!(
            "[service.smtp]\nlisten = \"192.0.2.100:25\"\ncheck = {{ {check} }}\n[service.smtp.servers]\n\
             mb1 = \"192.0.2.1\"\nmb2 = \"192.0.2.2\"\nmb3 = \"192.0.2.3\"\n"
        )
    };
    let mut bench = Bench::started(&parse(&text("type = \"none\"")));
    assert_eq!(bench.pool().len(), 3);
    bench.admin("mb3", AdminState::Maint).expect("known");
    let checked = parse(&text("type = \"smtp\", fall = 2"));
    bench.handle(Event::Config(Box::new(checked)));
    assert_eq!(bench.pool().len(), 2);
    // A failure is one of `fall`, not the first word about it.
    bench.check("mb1", Outcome::Failure);
    assert_eq!(bench.pool().len(), 2);
    bench.check("mb1", Outcome::Failure);
    assert_eq!(bench.pool().len(), 1);
    bench.check("mb2", Outcome::Success);
    assert_eq!(bench.pool().len(), 1);
    // Nobody looked at it.
    bench.admin("mb3", AdminState::Ready).expect("known");
    assert_eq!(bench.pool().len(), 1);
    bench.check("mb3", Outcome::Success);
    assert_eq!(bench.pool().len(), 2);
}

#[test]
fn a_server_that_comes_later_knows_the_next_hop_of_its_address() {
    let mut config = three("");
    let mut bench = Bench::up(&config);
    let mut second = config.services[0].clone();
    second.name = "submission".to_owned();
    second.listen[0].set_port(587);
    second.check = None;
    config.services.push(second);
    bench.handle(Event::Config(Box::new(config)));
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.services[1].servers.len(), 3);
    for server in &snapshot.services[1].servers {
        assert!(server.usable && server.mac.is_some(), "{server:?}");
    }
}

#[test]
fn a_look_that_fails_takes_no_interface_away() {
    let mut bench = Bench::up(&three(""));
    let before = bench.desired().clone();
    bench.handle(Event::Interfaces {
        attached: Vec::new(),
        error: Some("no route to 203.0.113.9".to_owned()),
        number: 2,
    });
    assert_eq!(*bench.desired(), before);
    assert_eq!(bench.pool().len(), 3);
    assert_eq!(bench.snapshot().alarms[0].text, "no route to 203.0.113.9");
    // The same at a restart, before any look succeeded.
    let image = before.image(&mut TableCache::default());
    let adopted = Adopted {
        image,
        ..Adopted::default()
    };
    let config = three("");
    let mut after = Bench::new(&adopted, SavedState::default(), &config);
    after.handle(Event::Config(Box::new(config)));
    after.handle(Event::Interfaces {
        attached: Vec::new(),
        error: Some("no memory".to_owned()),
        number: 1,
    });
    assert_eq!(after.desired().ports, before.ports);
    assert_eq!(after.pool(), bench.pool());
}

#[test]
fn what_status_calls_usable_the_kernel_has() {
    let config = three("");
    let mut bench = Bench::started(&config);
    let usable = |bench: &Bench| -> Vec<bool> {
        let snapshot = bench.snapshot();
        snapshot.services[0]
            .servers
            .iter()
            .map(|server| server.usable)
            .collect()
    };
    bench.acknowledges = false;
    bench.check("mb1", Outcome::Success);
    bench.check("mb2", Outcome::Success);
    assert_eq!(usable(&bench), [false; 3]);
    bench.handle(Event::Applied(None));
    assert_eq!(usable(&bench), [true, false, false]);
    // A plan that was refused says nothing new.
    bench.handle(Event::Applied(Some("no memory".to_owned())));
    assert_eq!(usable(&bench), [true, false, false]);
    bench.count(&[]);
    bench.handle(Event::Applied(None));
    assert_eq!(usable(&bench), [true, true, false]);
}

#[test]
fn a_vip_that_is_not_here_is_told() {
    let mut bench = Bench::up(&three(""));
    assert_eq!(bench.snapshot().alarms, []);
    bench.handle(Event::Addresses([IpAddr::from([192, 0, 2, 5])].into()));
    let alarm = bench.snapshot().alarms[0].clone();
    assert_eq!(
        alarm.text,
        "the VIP 192.0.2.100 is not on this director: who does not know its MAC address finds nobody there"
    );
    assert_eq!(alarm.next, "ip address add 192.0.2.100/32 dev eth0");
    bench.handle(Event::Addresses([IpAddr::from([192, 0, 2, 100])].into()));
    assert_eq!(bench.snapshot().alarms, []);
}

/// On both directors by hand, it would have two owners.
#[test]
fn a_vip_beside_virtual_routers_is_not_to_be_put_there_by_hand() {
    let other = "[service.imap]\nlisten = \"192.0.2.90:143\"\nservers = { a = \"192.0.2.1\", b = \"192.0.2.2\" }\n";
    let text = format!("{}{other}", pair::instance("VI_1", 51, ""));
    let mut bench = Bench::backup(&pair::with(&text));
    bench.handle(Event::Addresses([IpAddr::from([192, 0, 2, 5])].into()));
    let alarms = bench.snapshot().alarms;
    let alarm = alarms.iter().find(|alarm| alarm.text.contains("VIP"));
    let alarm = alarm.expect("the one of imap is nowhere");
    assert!(alarm.text.starts_with("the VIP 192.0.2.90 is not on"));
    assert_eq!(
        alarm.next,
        "add 192.0.2.90 to `addresses` of [vrrp.VI_1] on both directors, then mb-lb-ctl reload"
    );
}

#[test]
fn the_directors_own_trouble_ends_no_flow() {
    let mut bench = Bench::up(&three(""));
    bench.handle(Event::Neighbour {
        address: IpAddr::from([192, 0, 2, 2]),
        neighbour: Neighbour::Unreachable("eth0 is down".to_owned()),
    });
    assert_eq!(bench.flags(2), SERVER_PRESENT);
    assert_eq!(bench.pool().len(), 2);
    let server = bench.snapshot().services[0].servers[1].clone();
    assert_eq!(
        (server.health, server.health_reason.as_str()),
        (HealthState::Down, "eth0 is down")
    );
    assert_eq!(
        bench.snapshot().alarms[0].text,
        "smtp/mb2 is down: eth0 is down"
    );
    // What the checks make of it is no verdict on the server.
    for _ in 0..10 {
        assert_eq!(bench.check("mb2", Outcome::Failure), []);
    }
    bench.resolve(2);
    assert_eq!(bench.flags(2), SERVER_PRESENT | SERVER_ACCEPT);
    // Nor is a check that could not be made.
    for _ in 0..10 {
        bench.check("mb2", Outcome::Inconclusive);
    }
    assert_eq!(bench.flags(2), SERVER_PRESENT | SERVER_ACCEPT);
    // An interface without the program: the flows could not be reset there anyway.
    bench.handle(Event::Interfaces {
        attached: Vec::new(),
        error: None,
        number: 2,
    });
    assert_eq!(bench.flags(2), SERVER_PRESENT);
    bench.attach();
    // The silence of the server itself is one.
    bench.handle(Event::Neighbour {
        address: IpAddr::from([192, 0, 2, 2]),
        neighbour: Neighbour::Unresolved("no answer to ARP".to_owned()),
    });
    assert_eq!(bench.flags(2), SERVER_PRESENT | SERVER_RESET);
}

#[test]
fn after_a_restart_a_drained_server_may_fail_as_often_as_any() {
    let mut before = Bench::up(&three(""));
    before.admin("mb2", AdminState::Drain).expect("known");
    let saved = before.saved.clone().expect("saved");
    let adopted = Adopted {
        image: before.desired().image(&mut TableCache::default()),
        ..Adopted::default()
    };
    let config = three("");
    let mut after = Bench::new(&adopted, saved, &config);
    after.handle(Event::Config(Box::new(config)));
    after.attach();
    after.resolve(2);
    for _ in 0..2 {
        after.check("mb2", Outcome::Failure);
        assert_eq!(after.flags(2), SERVER_PRESENT);
    }
    after.check("mb2", Outcome::Failure);
    assert_eq!(after.flags(2), SERVER_PRESENT | SERVER_RESET);
}

#[test]
fn what_could_not_be_attached_is_tried_again() {
    let mut bench = Bench::up(&three(""));
    let attaches = |actions: &[Action]| {
        actions
            .iter()
            .any(|action| matches!(action, Action::Attach(_)))
    };
    assert!(!attaches(&bench.count(&[])));
    bench.handle(Event::Interfaces {
        attached: Vec::new(),
        error: Some("eth0 already carries another XDP program".to_owned()),
        number: 2,
    });
    assert!(attaches(&bench.count(&[])));
    bench.attach();
    assert!(!attaches(&bench.count(&[])));
}

#[test]
fn an_interface_that_the_kernel_could_not_tell_from_another_is_refused() {
    let mut bench = Bench::up(&three(""));
    let interface = |name: &str, ifindex| Attached {
        name: name.to_owned(),
        ifindex,
        mac: [2, 0, 0, 0, 0, 0xfd],
        mode: "native",
    };
    let ports = bench.desired().ports.clone();
    bench.handle(Event::Interfaces {
        attached: vec![interface("eth9", ETH0 + 256), interface("eth0", ETH0)],
        error: None,
        number: 2,
    });
    assert_eq!(
        bench.desired().ports.keys().collect::<Vec<_>>(),
        ports.keys().collect::<Vec<_>>()
    );
    let text = &bench.snapshot().alarms[0].text;
    assert!(
        text.contains("eth9") && text.contains("equal modulo 256"),
        "{text}"
    );
}

#[test]
fn a_weight_that_the_file_changed_meanwhile_holds() {
    let mut before = Bench::up(&three(""));
    let weight = Weight::Absolute(7);
    before
        .change(Change::Weight {
            server: target("mb3"),
            weight,
        })
        .expect("known");
    let saved = before.saved.clone().expect("saved");
    for (file, expected) in [(5, 7), (20, 20)] {
        let mut config = three("");
        config.services[0].servers[2].weight = file;
        let mut after = Bench::new(&Adopted::default(), saved.clone(), &config);
        after.handle(Event::Config(Box::new(config)));
        assert_eq!(after.snapshot().services[0].servers[2].weight, expected);
    }
}

#[test]
fn a_server_that_leaves_while_it_is_down_goes_on_to_reset_its_flows() {
    let mut bench = Bench::up(&three(""));
    for _ in 0..3 {
        bench.check("mb2", Outcome::Failure);
    }
    let mut without = three("");
    without.services[0]
        .servers
        .retain(|server| server.name != "mb2");
    bench.handle(Event::Config(Box::new(without)));
    assert_eq!(bench.flags(2), SERVER_PRESENT | SERVER_RESET);
    // And over a restart, until its first check, where it is still there.
    let image = bench.desired().image(&mut TableCache::default());
    let adopted = Adopted {
        image,
        ..Adopted::default()
    };
    let config = three("");
    let mut after = Bench::new(&adopted, SavedState::default(), &config);
    after.handle(Event::Config(Box::new(config)));
    after.attach();
    assert_eq!(after.flags(2), SERVER_PRESENT | SERVER_RESET);
    after.check("mb2", Outcome::Success);
    assert_eq!(after.flags(2), SERVER_PRESENT | SERVER_ACCEPT);
}

#[test]
fn an_operators_wish_holds_where_a_server_moves() {
    let mut bench = Bench::up(&three(""));
    bench.admin("mb2", AdminState::Maint).expect("known");
    let mut moved = three("");
    moved.services[0].servers[1].address = IpAddr::from([192, 0, 2, 9]);
    bench.handle(Event::Config(Box::new(moved)));
    assert_eq!(
        bench.snapshot().services[0].servers[1].admin,
        AdminState::Maint
    );
}

#[test]
fn a_result_of_the_address_that_a_server_had_is_not_believed() {
    let mut bench = Bench::up(&three(""));
    let old = IpAddr::from([192, 0, 2, 2]);
    let new = IpAddr::from([192, 0, 2, 9]);
    let mut moved = three("");
    moved.services[0].servers[1].address = new;
    bench.handle(Event::Config(Box::new(moved)));
    bench.resolve(9);
    let health = |bench: &Bench| bench.snapshot().services[0].servers[1].health;
    assert_eq!(health(&bench), HealthState::Unknown);
    // It was under way when the file was read again.
    assert_eq!(bench.check_of("mb2", old, Outcome::Success), []);
    assert_eq!(health(&bench), HealthState::Unknown);
    bench.check_of("mb2", new, Outcome::Success);
    assert_eq!(health(&bench), HealthState::Up);
}

#[test]
fn a_refused_reload_is_said_until_one_succeeds() {
    let mut bench = Bench::up(&three(""));
    bench.handle(Event::ReloadFailed("error[E012]: no".to_owned()));
    assert_eq!(
        bench.snapshot().reload_error.as_deref(),
        Some("error[E012]: no")
    );
    assert_eq!(bench.snapshot().alarms.len(), 1);
    // The journal gets one line, status all of them.
    let whole = "error[E003]: `x` is unknown\n --> a.toml:3:1\n  |\nerror[E001]: y\n --> a.toml:5:1\nwarning[W103]: z\n";
    bench.handle(Event::ReloadFailed(whole.to_owned()));
    assert_eq!(bench.snapshot().reload_error.as_deref(), Some(whole));
    let line = "error[E003]: `x` is unknown (a.toml:3:1), and 1 more error";
    let event = bench.records.last().expect("told");
    assert_eq!(
        (event.kind.as_str(), event.text.as_str()),
        (
            "reload-failed",
            format!("configuration not applied, the old one is in force: {line}").as_str()
        )
    );
    assert!(bench.snapshot().alarms[0].text.ends_with(line));
    bench.handle(Event::Config(Box::new(three(""))));
    assert_eq!(bench.snapshot().alarms, []);
}

#[test]
fn without_servers_the_text_is_said_or_a_reset_sent() {
    let mut bench = Bench::up(&three("no_server = \"421 4.3.2 later\""));
    let flags = |bench: &Bench| bench.desired().services.values().next().expect("one").flags;
    assert_eq!(flags(&bench), SERVICE_REPLY_LOCAL);
    let listen: SocketAddr = "192.0.2.100:25".parse().expect("an address");
    bench.handle(Event::RepliesFailed(vec![(
        listen,
        "address in use".to_owned(),
    )]));
    assert_eq!(
        flags(&bench),
        0,
        "nobody listens there: a reset is better than silence"
    );
    for server in ["mb1", "mb2", "mb3"] {
        bench.admin(server, AdminState::Drain).expect("known");
    }
    let snapshot = bench.snapshot();
    assert_eq!(snapshot.alarms[0].severity, Severity::Critical);
    assert_eq!(
        snapshot.alarms[0].text,
        "smtp has no server for new connections: clients get a reset"
    );
    assert_eq!(snapshot.alarms[0].next, "mb-lb-ctl ready smtp/mb1");
    assert_eq!(bench.records.last().expect("recorded").kind, "service-down");
}

#[test]
fn who_is_unknown_is_refused() {
    let mut bench = Bench::up(&three(""));
    let change = |service: &str, server: &str| Change::Weight {
        server: ServerRef {
            service: service.to_owned(),
            server: server.to_owned(),
        },
        weight: Weight::Absolute(1),
    };
    assert_eq!(
        bench.change(change("imap", "mb1")),
        Err(Refusal::NoSuchService)
    );
    assert_eq!(
        bench.change(change("smtp", "mb9")),
        Err(Refusal::NoSuchServer)
    );
    let answer = bench.change(change("smtp", "mb1")).expect("known");
    assert_eq!(answer, "smtp/mb1: weight 10 -> 1 by alice");
    // The result of a check that is no longer wanted is ignored.
    assert_eq!(bench.check("mb9", Outcome::Failure), []);
}

#[test]
fn a_plan_that_the_kernel_refused_is_sent_again_until_it_takes() {
    let mut bench = Bench::up(&three(""));
    let applies = |actions: &[Action]| {
        actions
            .iter()
            .any(|action| matches!(action, Action::Apply(_)))
    };
    for _ in 0..3 {
        let at_once = bench.handle(Event::Applied(Some("no memory".to_owned())));
        assert!(!applies(&at_once), "not in a tight loop");
        assert!(bench.snapshot().alarms[0].text.contains("no memory"));
        let later = bench.handle(Event::Counted(Box::default()));
        assert!(applies(&later));
    }
    bench.handle(Event::Applied(None));
    assert!(!applies(&bench.handle(Event::Counted(Box::default()))));
    assert_eq!(bench.snapshot().alarms, []);
}

#[test]
fn drift_is_told_and_stays_in_sight() {
    let mut bench = Bench::up(&three(""));
    bench.count(&[(
        0,
        ServerReading {
            drift: 2,
            ..ServerReading::default()
        },
    )]);
    bench.count(&[(0, ServerReading::default())]);
    assert_eq!(bench.snapshot().services[0].servers[0].drift, 2);
    assert!(bench.records.iter().any(|event| event.kind == "drift"));
    assert!(
        bench
            .snapshot()
            .alarms
            .iter()
            .any(|alarm| alarm.text.contains("off by 2"))
    );
    // Of a server that has left the file, too.
    let config = parse(
        "[service.smtp]\nlisten = \"192.0.2.100:25\"\n[service.smtp.servers]\nmb2 = \"192.0.2.2\"\n",
    );
    bench.handle(Event::Config(Box::new(config)));
    bench.records.clear();
    let reading = ServerReading {
        drift: -1,
        ..ServerReading::default()
    };
    bench.count(&[(0, reading)]);
    let told: Vec<_> = bench
        .records
        .iter()
        .map(|event| (event.kind.as_str(), event.subject.as_str()))
        .collect();
    assert_eq!(told, [("drift", "smtp/mb1")]);
}

#[test]
fn the_rate_is_of_the_last_second() {
    let mut bench = Bench::up(&three(""));
    let opened = |opened| ServerReading {
        opened,
        ..ServerReading::default()
    };
    bench.count(&[(0, opened(100))]);
    bench.count(&[(0, opened(130))]);
    let server = &bench.snapshot().services[0].servers[0];
    assert_eq!(
        (server.rate, server.last_flow),
        (30, Some(0)),
        "what was opened before is no rate"
    );
    bench.count(&[(0, opened(130))]);
    let server = &bench.snapshot().services[0].servers[0];
    assert_eq!(
        (server.rate, server.rate_max, server.last_flow),
        (0, 30, Some(1))
    );
}

#[test]
fn a_server_that_comes_back_into_the_file_opened_nothing_in_that_second() {
    let mut bench = Bench::up(&three(""));
    let opened = |opened| ServerReading {
        opened,
        ..ServerReading::default()
    };
    bench.count(&[(0, opened(100))]);
    let mut less = three("");
    less.services[0].servers.remove(0);
    bench.handle(Event::Config(Box::new(less)));
    bench.handle(Event::Config(Box::new(three(""))));
    bench.count(&[(0, opened(100))]);
    let server = &bench.snapshot().services[0].servers[0];
    assert_eq!(
        (server.rate, server.rate_max, server.last_flow),
        (0, 0, None)
    );
    bench.count(&[(0, opened(101))]);
    let server = &bench.snapshot().services[0].servers[0];
    assert_eq!((server.rate, server.last_flow), (1, Some(0)));
}

#[test]
fn what_is_so_already_is_not_done_again() {
    let mut bench = Bench::up(&three(""));
    let admin = |bench: &mut Bench, state, reason: &str| {
        let change = Change::Admin {
            server: target("mb1"),
            state,
            reason: reason.to_owned(),
            guarded: true,
        };
        bench.change(change).expect("known")
    };
    let weight = |bench: &mut Bench, weight| {
        let server = target("mb1");
        bench.change(Change::Weight { server, weight })
    };
    admin(&mut bench, AdminState::Drain, "kernel upgrade");
    let events = bench.records.len();
    let reason = |bench: &Bench| bench.snapshot().services[0].servers[0].admin_reason.clone();
    for reason in ["", "kernel upgrade"] {
        let said = admin(&mut bench, AdminState::Drain, reason);
        assert_eq!(said, "smtp/mb1: drain already");
    }
    assert_eq!(reason(&bench), "kernel upgrade");
    for same in [Weight::Absolute(10), Weight::Percent(100)] {
        let said = weight(&mut bench, same).expect("known");
        assert_eq!(said, "smtp/mb1: weight 10 already");
    }
    bench.handle(Event::Config(Box::new(three(""))));
    assert_eq!(bench.records.len(), events, "{:?}", bench.records);
    // A new reason is something new.
    admin(&mut bench, AdminState::Drain, "disk");
    assert_eq!(
        (reason(&bench).as_str(), bench.records.len()),
        ("disk", events + 1)
    );
    admin(&mut bench, AdminState::Ready, "");
    let said = admin(&mut bench, AdminState::Ready, "just so");
    assert_eq!(said, "smtp/mb1: ready already");
    assert_eq!(reason(&bench), "");
}

#[test]
fn a_removed_server_keeps_its_name_over_restarts() {
    let mut bench = Bench::up(&three(""));
    let mut less = three("");
    less.services[0].servers.remove(0);
    bench.handle(Event::Config(Box::new(less.clone())));
    bench.count(&[(
        0,
        ServerReading {
            active: 3,
            pending: 1,
            ..ServerReading::default()
        },
    )]);
    let removed = |bench: &Bench| -> Vec<(String, String, u64)> {
        let removed = bench.snapshot().removed.into_iter();
        removed
            .map(|server| (server.service, server.server, server.flows))
            .collect()
    };
    assert_eq!(removed(&bench), [("smtp".to_owned(), "mb1".to_owned(), 4)]);
    // The kernel has a hash of the name only.
    let restarted = |config: &Config| {
        let adopted = Adopted {
            image: bench.desired().image(&mut TableCache::default()),
            ..Adopted::default()
        };
        let saved = bench.saved.clone().expect("saved");
        let mut after = Bench::new(&adopted, saved, config);
        after.handle(Event::Config(Box::new(config.clone())));
        after
    };
    assert_eq!(removed(&restarted(&less))[0].1, "mb1");
    // One that leaves the file while nobody runs.
    less.services[0].servers.remove(0);
    let after = restarted(&less);
    let names: Vec<_> = removed(&after).into_iter().map(|server| server.1).collect();
    assert_eq!(names, ["mb1", "mb2"]);
    // And when it is back it is a server like others.
    assert_eq!(removed(&restarted(&three(""))), []);
}

#[test]
fn the_reason_of_a_state_is_what_made_it_so() {
    let mut bench = Bench::up(&three(""));
    let address = IpAddr::from([192, 0, 2, 1]);
    let reason = |bench: &Bench| {
        bench.snapshot().services[0].servers[0]
            .health_reason
            .clone()
    };
    // One failure of three changes nothing.
    bench.check("mb1", Outcome::Failure);
    assert_eq!(reason(&bench), "220 hello");
    bench.handle(Event::Neighbour {
        address,
        neighbour: Neighbour::Unreachable("eth0 is down".to_owned()),
    });
    assert_eq!(reason(&bench), "eth0 is down");
    // The director cannot even try.
    bench.check("mb1", Outcome::Inconclusive);
    bench.resolve(1);
    let event = bench.records.last().expect("told");
    assert_eq!(
        (event.kind.as_str(), event.text.as_str()),
        ("up", "up: 192.0.2.1 is reachable again through eth0")
    );
    assert_eq!(reason(&bench), "220 hello");
    // One success of two does not make a server that is down come up.
    for _ in 0..3 {
        bench.check("mb1", Outcome::Failure);
    }
    bench.check("mb1", Outcome::Success);
    assert_eq!(reason(&bench), "connection refused");
}

#[derive(Clone, Debug)]
enum Step {
    Check(u8, bool),
    Admin(u8, u8),
    Weight(u8, u16),
    Neighbour(u8, bool),
    Attach(bool),
    Reload(u8),
    Count,
    Time(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..=3, any::<bool>()).prop_map(|(s, ok)| Step::Check(s, ok)),
        2 => (1u8..=3, 0u8..3).prop_map(|(s, a)| Step::Admin(s, a)),
        1 => (1u8..=3, 0u16..=256).prop_map(|(s, w)| Step::Weight(s, w)),
        2 => (1u8..=3, any::<bool>()).prop_map(|(s, ok)| Step::Neighbour(s, ok)),
        1 => any::<bool>().prop_map(Step::Attach),
        1 => (1u8..8).prop_map(Step::Reload),
        1 => Just(Step::Count),
        1 => (0u16..5000).prop_map(Step::Time),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens in whatever order: the pool holds exactly what the snapshot calls usable (or backups), its
    /// servers accept and are not reset, indices are unique, and a second look finds nothing left to do.
    #[test]
    fn the_kernel_gets_what_the_snapshot_says(steps in prop::collection::vec(step(), 1..80)) {
        let mut bench = Bench::started(&three("slow_start = \"3s\""));
        for step in steps {
            match step {
                Step::Check(s, ok) => {
                    bench.check(&format!("mb{s}"), if ok { Outcome::Success } else { Outcome::Failure });
                }
                Step::Admin(s, a) => {
                    let state = [AdminState::Ready, AdminState::Drain, AdminState::Maint][usize::from(a)];
                    // A server that a reload took away is refused, which is right.
                    let _refused = bench.admin(&format!("mb{s}"), state);
                }
                Step::Weight(s, w) => {
                    let change = Change::Weight { server: target(&format!("mb{s}")), weight: Weight::Absolute(w) };
                    let _refused = bench.change(change);
                }
                Step::Neighbour(s, true) => bench.resolve(s),
                Step::Neighbour(s, false) => {
                    bench.handle(Event::Neighbour {
                        address: IpAddr::from([192, 0, 2, s]),
                        neighbour: Neighbour::Unresolved("gone".to_owned()),
                    });
                }
                Step::Attach(true) => drop(bench.attach()),
                Step::Attach(false) => {
                    bench.handle(Event::Interfaces { attached: Vec::new(), error: Some("gone".to_owned()), number: 1 });
                }
                Step::Reload(which) => {
                    let mut config = three("slow_start = \"3s\"");
                    let mut bit = 0;
                    config.services[0].servers.retain(|_| {
                        bit += 1;
                        which & (1 << (bit - 1)) != 0
                    });
                    bench.handle(Event::Config(Box::new(config)));
                }
                Step::Count => {
                    let quiet: Vec<_> = bench.desired().servers.keys().map(|&i| (i, ServerReading::default())).collect();
                    bench.count(&quiet);
                }
                Step::Time(ms) => {
                    bench.now.since_start += Duration::from_millis(u64::from(ms));
                    bench.handle(Event::Deadline);
                }
            }
            let snapshot = bench.snapshot();
            let servers = &snapshot.services[0].servers;
            let usable: Vec<u32> = servers.iter().filter(|s| s.usable).map(|s| s.id).collect();
            let desired = bench.desired();
            let pool: Vec<u32> = desired.services[&snapshot.services[0].id].pool.candidates.iter().map(|c| c.server).collect();
            prop_assert_eq!(&pool, &usable);
            for server in servers {
                let flags = Record::flags_of(desired.servers[&server.id].link);
                prop_assert_eq!(flags & SERVER_ACCEPT != 0, server.usable);
                prop_assert!(flags & SERVER_PRESENT != 0);
                if server.usable {
                    prop_assert_eq!(flags & SERVER_RESET, 0);
                    prop_assert_eq!(server.health, HealthState::Up);
                    prop_assert_eq!(server.admin, AdminState::Ready);
                }
                if server.admin == AdminState::Drain && server.health == HealthState::Up {
                    prop_assert_eq!(flags & SERVER_RESET, 0, "drain never resets");
                }
            }
            let ids: BTreeSet<u32> = servers.iter().map(|s| s.id).collect();
            prop_assert_eq!(ids.len(), servers.len());
            // What checks say may still have to be written: once.
            let late = bench.handle(Event::Deadline);
            prop_assert!(late.iter().all(|action| matches!(action, Action::Save(_))), "{:?}", late);
            prop_assert_eq!(bench.handle(Event::Deadline), vec![]);
        }
    }
}

/// Priority 100, of which the peer has 101; active since now.
fn active_beside_a_peer() -> Bench {
    use crate::vrrp::machine::{Cause, Role};
    use crate::vrrp::router::Report;
    use crate::vrrp::view::RouterView;
    let config = three(&format!(
        "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\npriority = 100\nversion = 3\n\
         advert_interval = \"100ms\"\naddresses = [\"192.0.2.100/32\"]\n\
         [peer]\nlisten = \"192.0.2.8:8405\"\naddress = \"192.0.2.9:8405\"\nkey = \"{}\"\n",
        "0f".repeat(32)
    ));
    let mut bench = Bench::up(&config);
    bench.handle(Event::Peer(crate::peer::PeerEvent::Connected {
        hello: crate::peer::Hello {
            name: "lb2".to_owned(),
            build: String::new(),
            boot: 1,
            knows: String::new(),
            started_ms: 0,
        },
    }));
    bench.say_active();
    bench.let_pass(Duration::from_millis(400));
    bench.handle(Event::RouterView {
        name: "VI_1".to_owned(),
        view: Box::new(RouterView {
            role: Role::Active,
            since: bench.now.since_start,
            priority: 100,
            source: Some("192.0.2.8".parse().expect("an address")),
            master: None,
            rejections: Vec::new(),
            is_leaving: false,
            stands_aside: false,
            fault: None,
        }),
        at: bench.now.since_start,
    });
    bench.handle(Event::Router {
        name: "VI_1".to_owned(),
        report: Report::Turned {
            from: Role::Backup,
            to: Role::Active,
            cause: Cause::Silence(Duration::from_millis(361)),
            silent: None,
        },
    });
    bench
}

impl Bench {
    fn let_pass(&mut self, time: Duration) {
        self.now.since_start += time;
    }

    /// The peer says over the link that it is active.
    fn say_active(&mut self) -> Vec<Action> {
        let status = crate::peer::Status {
            config_hash: String::new(),
            roles: vec![crate::peer::RoleOf {
                vrid: 51,
                ipv6: false,
                interface: "eth0".to_owned(),
                name: "VI_1".to_owned(),
                role: crate::vrrp::machine::Role::Active,
                priority: 101,
                address: "192.0.2.9".parse().expect("an address"),
                leaving: false,
            }],
            owned: Vec::new(),
            in_sync: true,
            sent_at_ms: 0,
        };
        let message = Box::new(crate::peer::Message::Status(status));
        self.handle(Event::Peer(crate::peer::PeerEvent::Message(message)))
    }
}

fn steps_down(actions: &[Action]) -> bool {
    let is_told = |action: &Action| {
        matches!(
            action,
            Action::Router {
                order: Order::StepDown { .. },
                ..
            }
        )
    };
    actions.iter().any(is_told)
}

#[test]
fn the_last_word_of_a_peer_that_was_cut_off_ends_no_take_over() {
    let mut bench = active_beside_a_peer();
    for _ in 0..30 {
        bench.let_pass(Duration::from_millis(100));
        assert!(!steps_down(&bench.handle(Event::Deadline)));
    }
}

#[test]
fn a_stronger_peer_that_says_that_it_is_active_too_gets_the_addresses() {
    let mut bench = active_beside_a_peer();
    bench.let_pass(Duration::from_millis(100));
    assert!(!steps_down(&bench.say_active()));
    bench.let_pass(Duration::from_millis(300));
    assert!(steps_down(&bench.handle(Event::Deadline)));
}
