//! What directors tell each other besides flows, and what they decide by it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use mb_lb_tests::cluster::expect_all_alive;
use mb_lb_tests::pair::{KEY, NAMES, SOON};
use mb_lb_tests::{Machine, Pair, PairSetup, Wire, try_wait_until};

const ADVERTS: &str = "ip protocol 112";
const PEER_LINK: &str = "tcp dport 8405";
/// Adverts after which whoever was to take over has done so.
const MANY: u32 = 8;

/// What an expression of nft(8) says does not get into this machine, or does again; all else does.
fn lose(machine: &Machine, what: &str, lost: bool) -> Result<()> {
    let rules = if lost {
        format!(
            "add table netdev lab\nadd chain netdev lab in {{ type filter hook ingress device eth0 priority 0; }}\n\
             add rule netdev lab in {what} drop\n"
        )
    } else {
        "delete table netdev lab\n".to_owned()
    };
    let path = machine.directory().join("lab.nft");
    fs::write(&path, rules)?;
    machine
        .run("nft", &["-f", path.to_str().context("a path of text")?])
        .map(drop)
}

fn wait_server(pair: &Pair, at: usize, name: &str, says: &str) -> Result<()> {
    try_wait_until(
        &format!("{name} to be {says} on {}", NAMES[at]),
        SOON,
        || {
            let shown = pair.directors[at].expect(&["describe", &format!("smtp/{name}")])?;
            ensure!(shown.contains(says), "{shown}");
            Ok(())
        },
    )
}

#[test]
fn what_is_set_on_one_director_holds_on_both_and_after_restarts() -> Result<()> {
    let mut pair = PairSetup::default().start("pairadmin")?;
    pair.directors[0].expect(&["drain", "smtp/mb2", "--reason", "kernel upgrade"])?;
    wait_server(&pair, 1, "mb2", "kernel upgrade")?;
    pair.directors[1].expect(&["weight", "smtp/mb3", "3"])?;
    wait_server(&pair, 0, "mb3", "weight")?;
    let weights = |pair: &Pair| -> Result<Vec<(String, u16)>> {
        let mut weights = Vec::new();
        for director in &pair.directors {
            let status = director.status()?;
            let servers = status
                .services
                .into_iter()
                .flat_map(|service| service.servers);
            weights.extend(
                servers
                    .filter(|s| s.name == "mb3")
                    .map(|s| (s.name, s.weight)),
            );
        }
        Ok(weights)
    };
    try_wait_until("weight 3 on both", SOON, || {
        let found = weights(&pair)?;
        ensure!(
            found.len() == 2 && found.iter().all(|(_, weight)| *weight == 3),
            "{found:?}"
        );
        Ok(())
    })?;

    // The later word holds, although one of them did not hear it.
    pair.directors[1].stop()?;
    pair.directors[0].expect(&["ready", "smtp/mb2"])?;
    pair.directors[0].expect(&["maint", "smtp/mb1", "--reason", "disk"])?;
    pair.directors[1].run()?;
    pair.wait_in_sync()?;
    wait_server(&pair, 1, "mb1", "disk")?;
    try_wait_until("mb2 to be ready on lb2", SOON, || {
        let status = pair.directors[1].status()?;
        let server = status.services[0].servers.iter().find(|s| s.name == "mb2");
        let admin = server.context("mb2")?.admin;
        ensure!(admin == mb_lb_ctl::snapshot::AdminState::Ready, "{admin:?}");
        Ok(())
    })
}

#[test]
fn configurations_are_compared_and_one_is_sent_to_the_other() -> Result<()> {
    let setup = PairSetup::default();
    let pair = setup.start("pairpush")?;
    let mut sessions = pair.open(12)?;
    ensure!(
        pair.directors[0].ctl(&["peer", "diff"])?.code == 0,
        "they differ"
    );

    let changed = PairSetup {
        service: "check = { type = \"none\" }\nscheduler = \"roundrobin\"\n# Chosen by the postmaster.",
        ..setup
    };
    pair.directors[0].write_config(&changed.config(&pair.lab, 0))?;
    pair.directors[0].expect(&["reload"])?;
    pair.wait_alarm(0, "the peer has another configuration")?;
    pair.wait_alarm(1, "the peer has another configuration")?;
    let answer = pair.directors[1].ctl(&["peer", "diff"])?;
    ensure!(
        answer.code == 9 && answer.stdout.contains("leastconn -> roundrobin"),
        "{answer:?}"
    );

    let pushed = pair.directors[0].expect(&["peer", "push"])?;
    ensure!(pushed.contains("leastconn -> roundrobin"), "{pushed}");
    let text = fs::read_to_string(pair.directors[1].config_path())?;
    ensure!(
        text.contains("priority = 100") && text.contains("\"lb2\"") && text.contains("postmaster"),
        "{text}"
    );
    try_wait_until("no difference", SOON, || {
        let answer = pair.directors[0].ctl(&["peer", "diff"])?;
        ensure!(answer.code == 0, "{answer:?}");
        let alarms = pair.directors[1].status()?.alarms;
        ensure!(alarms.is_empty(), "{alarms:?}");
        Ok(())
    })?;
    expect_all_alive(&mut sessions)?;

    // What somebody works on there, and has not put in force, is not replaced.
    let in_force = fs::read_to_string(pair.directors[1].config_path())?;
    let edited = in_force.replace("roundrobin", "source");
    fs::write(pair.directors[1].config_path(), &edited)?;
    let answer = pair.directors[0].ctl(&["peer", "push"])?;
    ensure!(
        answer.code == 1
            && answer.stderr.contains("lb2 has not taken it")
            && answer
                .stderr
                .contains("was edited there and is not in force"),
        "{answer:?}"
    );
    ensure!(
        fs::read_to_string(pair.directors[1].config_path())? == edited,
        "it was replaced"
    );
    fs::write(pair.directors[1].config_path(), in_force)?;

    // What the other side cannot use, it does not take.
    let text = fs::read_to_string(pair.directors[0].config_path())?;
    let before = fs::read_to_string(pair.directors[1].config_path())?;
    fs::write(
        pair.directors[0].config_path(),
        format!("{text}\n[service.smtp2]\nlisten = 5\n"),
    )?;
    let answer = pair.directors[0].ctl(&["peer", "push"])?;
    ensure!(
        answer.code == 1 && answer.stderr.contains("not sent"),
        "{answer:?}"
    );
    ensure!(
        fs::read_to_string(pair.directors[1].config_path())? == before,
        "it was changed"
    );
    Ok(())
}

#[test]
fn another_key_in_its_file_is_put_in_force_by_a_reload() -> Result<()> {
    let setup = PairSetup::default();
    let pair = setup.start("pairkey")?;
    let mut sessions = pair.open(6)?;
    let file = |at: usize| pair.directors[at].config_path().with_file_name("peer.key");
    for at in 0..2 {
        fs::write(file(at), KEY)?;
        let old = format!("key = \"{KEY}\"");
        let new = format!("key_file = \"{}\"", file(at).display());
        let text = setup.config(&pair.lab, at).replace(&old, &new);
        pair.directors[at].write_config(&text)?;
        pair.directors[at].expect(&["reload"])?;
    }
    pair.wait_in_sync()?;

    for at in 0..2 {
        fs::write(file(at), KEY.replace("00", "ff"))?;
        let answer = pair.directors[at].ctl(&["diff"])?;
        ensure!(answer.stdout.contains("peer key changed"), "{answer:?}");
        let said = pair.directors[at].expect(&["reload"])?;
        ensure!(said.contains("peer key changed"), "{said}");
        if at == 0 {
            pair.wait_alarm(0, "it has another key")?;
        }
    }
    pair.wait_in_sync()?;
    let answer = pair.directors[0].ctl(&["reload"])?;
    ensure!(answer.stdout.is_empty(), "{answer:?}");
    expect_all_alive(&mut sessions)
}

#[test]
fn two_active_directors_are_seen_over_the_peer_link_and_the_weaker_gives_way() -> Result<()> {
    let pair = PairSetup::default().start("pairsplit")?;
    let mut sessions = pair.open(30)?;
    let shares = pair.shares(&sessions);
    // Only one direction: lb2 hears nothing, and takes over.
    lose(&pair.lab.directors()[1], ADVERTS, true)?;
    try_wait_until(
        "lb2 to have been active and to have given way",
        SOON,
        || {
            let (first, second) = (pair.router(0)?, pair.router(1)?);
            ensure!(
                second.turns >= 3 && second.role == "backup" && first.role == "active",
                "{first:?} {second:?}"
            );
            Ok(())
        },
    )?;
    pair.wait_alarm(1, "both directors were active at once")?;
    let events = pair.directors[1].expect(&["events"])?;
    ensure!(events.contains("split brain"), "{events}");
    // And it stays so, for as many timers as it takes for lb1 to have advertised 8 times.
    let turns = pair.router(1)?.turns;
    let adverts = || -> Result<u64> {
        let listed = pair.lab.directors()[0].run("nstat", &["-asz", "IpOutRequests"])?;
        let number = listed.split_whitespace().rev().nth(1).context("a number")?;
        Ok(number.parse::<f64>()? as u64)
    };
    let begin = adverts()?;
    try_wait_until("time to pass for lb1", SOON, || {
        let now = adverts()?;
        ensure!(now >= begin + 8, "{now}, {begin} before");
        Ok(())
    })?;
    ensure!(pair.router(1)?.turns == turns, "lb2 took over again");
    pair.wait_active(0)?;
    expect_all_alive(&mut sessions)?;
    pair.wait_counts(0, &shares)?;

    lose(&pair.lab.directors()[1], ADVERTS, false)?;
    try_wait_until("no alarm", SOON, || {
        let alarms = pair.directors[1].status()?.alarms;
        ensure!(alarms.is_empty(), "{alarms:?}");
        Ok(())
    })?;
    expect_all_alive(&mut sessions)
}

#[test]
fn a_director_whose_servers_are_gone_resigns_but_not_where_the_peer_is_worse() -> Result<()> {
    let setup = PairSetup {
        vrrp: "track_services = { smtp = { min_up = 2, weight = -20 } }",
        service: r#"check = { type = "tcp", port = 25, interval = "200ms", timeout = "5s", rise = 1, fall = 1 }"#,
        ..PairSetup::default()
    };
    let mut pair = setup.start("pairresign")?;
    let mut sessions = pair.open(9)?;
    // Only lb1 loses its way to two servers.
    let lb1 = pair.lab.directors()[0].clone();
    for server in pair.lab.servers()[..2]
        .iter()
        .map(|server| server.ipv4().to_string())
    {
        lb1.run("ip", &["route", "add", "blackhole", &server])?;
    }
    pair.wait_active(1)?;
    let router = pair.router(0)?;
    ensure!(
        router.priority == 81 && router.cause.contains("handed over"),
        "{router:?}"
    );
    expect_all_alive(&mut sessions)?;

    // Now both are as bad, and nobody moves.
    pair.sinks.truncate(1);
    try_wait_until("lb2 to be as bad", SOON, || {
        let router = pair.router(1)?;
        ensure!(router.priority == 80, "{router:?}");
        Ok(())
    })?;
    pair.wait_alarm(1, "lower priority")?;
    let role = pair.router(1)?.role;
    ensure!(
        role == "active" || pair.router(0)?.role == "active",
        "nobody is active: {role}"
    );
    Ok(())
}

#[test]
fn scripts_and_notify_programs_are_run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let script = |name: &str, text: &str| -> Result<String> {
        let path = dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path.display().to_string())
    };
    let (well, told) = (dir.path().join("well"), dir.path().join("told"));
    fs::write(&well, "")?;
    // Only lb1 looks at the file.
    let check = script(
        "check",
        &format!(
            "ip -4 -o address show dev eth0 | grep -q '10.77.0.2/' || exit 0\ntest -e {} || {{ echo no disk >&2; exit 3; }}",
            well.display()
        ),
    )?;
    let notify = script("notify", &format!("echo \"$@\" >> {}", told.display()))?;
    let vrrp = format!(
        "track_scripts = {{ disk = {{ command = \"{check}\", interval = \"200ms\", weight = -20, rise = 1, fall = 1 }} }}\nnotify = \"{notify}\""
    );
    let setup = PairSetup {
        vrrp: &vrrp,
        ..PairSetup::default()
    };
    let pair = setup.start("pairscript")?;
    fs::remove_file(&well)?;
    pair.wait_active(1)?;
    pair.wait_alarm(0, "script disk: exit code 3: no disk")?;
    fs::write(&well, "")?;
    // The preferred one is well again, and takes over by itself.
    pair.wait_active(0)?;
    try_wait_until("the notify program to have told of it", SOON, || {
        let lines = fs::read_to_string(&told)?;
        let wanted = [
            "VI_1 active backup 81",
            "VI_1 backup active 100",
            "VI_1 backup active 101",
        ];
        ensure!(wanted.iter().all(|line| lines.contains(line)), "{lines}");
        Ok(())
    })
}

/// The weaker one has the sessions: the stronger one, which does not know them, leaves it alone, until it knows them or is
/// the only one left.
#[test]
fn a_director_that_lacks_the_sessions_does_not_preempt() -> Result<()> {
    let mut pair = PairSetup::default().start("pairlacks")?;
    let mut sessions = pair.open(30)?;
    let shares = pair.shares(&sessions);
    pair.wait_counts(1, &shares)?;
    pair.directors[0].stop()?;
    // The link of the two is down, whichever of them calls.
    for machine in pair.lab.directors() {
        lose(machine, PEER_LINK, true)?;
    }
    let [stronger, weaker] = [0, 1].map(|at| &pair.lab.directors()[at]);
    let mac = weaker.mac();
    let wire = Wire::open(stronger)?;
    pair.directors[0].run()?;
    for _ in 0..MANY {
        wire.wait_for("an advert of lb2", |frame| {
            let is_advert = frame.get(6..12)? == mac && frame.get(23)? == &112;
            is_advert.then_some(())
        })?;
    }
    let roles = [pair.router(0)?.role, pair.router(1)?.role];
    ensure!(roles == ["backup", "active"], "{roles:?}");
    for machine in pair.lab.directors() {
        lose(machine, PEER_LINK, false)?;
    }
    pair.wait_active(0)?;
    pair.wait_counts(0, &shares)?;
    expect_all_alive(&mut sessions)?;

    // It lacks them again, and the other one is gone: better reset sessions than none.
    pair.directors[0].stop()?;
    for machine in pair.lab.directors() {
        lose(machine, PEER_LINK, true)?;
    }
    pair.directors[0].run()?;
    pair.directors[1].kill()?;
    pair.directors[1].expect(&["detach"])?;
    try_wait_until("lb1 to be active", SOON, || {
        let role = pair.router(0)?.role;
        ensure!(role == "active", "{role}");
        Ok(())
    })
}
