//! The acts without a fault: set-up, balance, drain, and what the director has to tell at the end.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Result, anyhow, ensure};
use mb_lb_ctl::snapshot::HealthState;
use mb_lb_tests::{Session, Source, try_wait_until};

use crate::narrator::Narrator;
use crate::stage::{SOON, Stage, by_server, expect_alive, fair, listed, quit_all, server, service};

const MESSAGES: u32 = 2_000;
const SESSIONS: u32 = 100;
/// Percentage points by which a share may miss its weight: first and last sessions of a run are not of equal load.
const TOLERANCE: f64 = 3.0;

pub fn network(n: &mut Narrator) -> Result<Stage> {
    n.act("A mail cluster");
    n.say(
        "A client, a director and three mail servers, each a network namespace with its own interface on one switch. \
         The director owns the virtual address (VIP). The mail servers hold it too, on their loopback interface and \
         without answering ARP for it: that is direct server return (dsr). Mail goes through the director, replies go \
         straight to the client.",
    );
    let stage = Stage::set_up()?;
    let lab = &stage.lab;
    let mut rows = format!(
        "client  {}
lb1     {}    director, VIP {} and {}
",
        lab.client().ipv4(),
        lab.machine("lb1").ipv4(),
        lab.vip4(),
        lab.vip6(),
    );
    for machine in lab.servers() {
        rows += &format!(
            "{}     {}  postfix's smtp-sink on port 25\n",
            machine.name(),
            machine.ipv4()
        );
    }
    n.block(&rows);
    for sink in &stage.sinks {
        let address = (sink.machine().ipv4(), 25).into();
        let session = Session::open(lab.client(), address)?;
        ensure!(
            session.server() == sink.machine().name(),
            "{session} greets with another name"
        );
        session.quit()?;
    }
    n.proved("each mail server greets the client with its own name");
    Ok(stage)
}

pub fn configure(n: &mut Narrator, stage: &mut Stage) -> Result<()> {
    n.act("Ten lines of configuration");
    n.say("This is the whole file, but for the path of the admin socket, which the lab puts in front.");
    n.block(&stage.config());
    stage.director.write_config(&stage.config())?;
    let check = stage.director.ctl(&["check"])?;
    ensure!(
        check.code == 0,
        "check ends with {}: {}",
        check.code,
        check.stdout
    );
    ensure!(
        check.stderr.contains("0 errors, 0 warnings"),
        "check complains: {}{}",
        check.stdout,
        check.stderr
    );
    n.command("mb-lb-ctl check", &check.stderr);
    n.proved("the file has no errors, and this machine has what it needs");
    n.say(
        "Now the controller starts: it loads the XDP program, pins it with its maps, attaches it to eth0 and begins \
         to check the servers.",
    );
    stage.director.run()?;
    stage.wait_status("all servers to be up", SOON, |status| {
        for server in &service(status)?.servers {
            ensure!(
                server.usable,
                "{} is not usable: {}",
                server.name,
                server.health_reason
            );
        }
        Ok(())
    })?;
    let status = stage.director.ctl(&["status"])?;
    ensure!(status.code == 0, "status ends with {}", status.code);
    n.command("mb-lb-ctl status", &status.stdout);
    n.proved("three servers are up, and nothing is wrong (exit code 0)");
    Ok(())
}

pub fn balance(n: &mut Narrator, stage: &Stage) -> Result<()> {
    n.act("Real SMTP, balanced by weight");
    n.say(&format!(
        "postfix's smtp-source sends {MESSAGES} messages to the VIP in {SESSIONS} parallel sessions, each message over a \
         connection of its own. Each keeps its server busy for a second. The scheduler is leastconn: a new \
         connection goes to the server with the least connections for its weight. The weights are 10, 10 and 5.",
    ));
    let lab = &stage.lab;
    let sending = Source::new(lab.smtp4())
        .messages(MESSAGES)
        .sessions(SESSIONS)
        .start(lab.client(), "smtp-source-balance")?;
    try_wait_until("a third of the messages", SOON, || {
        let delivered = sending.delivered()?;
        ensure!(delivered >= u64::from(MESSAGES / 3), "{delivered} so far");
        Ok(())
    })?;
    n.command(
        "mb-lb-ctl list servers",
        &stage.director.expect(&["list", "servers"])?,
    );
    let sent = sending.finish()?;
    sent.expect_all(MESSAGES.into())?;
    n.proved(format!(
        "{} messages sent and accepted in {:.1} s, no error",
        sent.delivered,
        sent.took.as_secs_f64()
    ));
    let messages = try_wait_until("the servers to have counted all", SOON, || {
        let messages = stage.messages()?;
        let sum: u64 = messages.values().sum();
        ensure!(sum == u64::from(MESSAGES), "{sum} of {MESSAGES}");
        Ok(messages)
    })?;
    let wanted = fair(100);
    let mut rows = "server  messages   share  by weight\n".to_owned();
    for (name, count) in &messages {
        let share = *count as f64 * 100.0 / f64::from(MESSAGES);
        let fair = wanted[name];
        rows += &format!("{name:<6}  {count:>8}  {share:>5.1} %  {fair:>7} %\n");
        ensure!(
            (share - fair as f64).abs() <= TOLERANCE,
            "{name} has {share:.1} % of the messages, its weight gives {fair} %"
        );
    }
    n.table(&rows);
    n.proved(format!(
        "each server's share is within {TOLERANCE} points of its weight"
    ));

    let client = IpAddr::from(lab.client().ipv4());
    for sink in &stage.sinks {
        let name = sink.machine().name();
        let expected = BTreeMap::from([(client, messages[name])]);
        let seen = sink.clients()?;
        ensure!(
            seen == expected,
            "{name} saw {seen:?} instead of {expected:?}"
        );
    }
    n.proved(format!(
        "every server saw the client's own address, {client}, on every message: SPF, DNS block lists and rate limits \
         go on working"
    ));
    Ok(())
}

/// `sessions` are open over all servers.
pub fn drain(n: &mut Narrator, stage: &Stage, sessions: Vec<Session>) -> Result<()> {
    n.act("A server is drained for maintenance");
    n.say(
        "mb1 needs a new kernel. Draining keeps new connections away and lets those that are open finish: nobody \
         notices.",
    );
    let target = Stage::target("mb1");
    let line = [
        "drain",
        &target,
        "--reason",
        "kernel upgrade",
        "--wait",
        "20s",
    ];
    let (mut old, mut others): (Vec<_>, Vec<_>) = sessions
        .into_iter()
        .partition(|session| session.server() == "mb1");
    ensure!(!old.is_empty(), "there was no session on mb1");
    // The command returns when the last session has ended, so that happens beside it.
    let (said, new) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| stage.director.ctl(&line));
        let shown = (|| {
            stage.wait_avoided("mb1")?;
            let new = stage.open(15)?;
            let counts = by_server(&new);
            ensure!(
                counts["mb1"] == 0,
                "new sessions went to {}",
                listed(&counts)
            );
            n.proved(format!("15 new sessions avoid mb1: {}", listed(&counts)));
            expect_alive(&mut old)?;
            n.proved(format!(
                "the {} sessions that mb1 has go on; now they end one by one",
                old.len()
            ));
            quit_all(old)?;
            anyhow::Ok(new)
        })();
        let said = waiting
            .join()
            .map_err(|_| anyhow!("the command panicked"))??;
        anyhow::Ok((said, shown?))
    })?;
    ensure!(
        said.code == 0,
        "drain ends with {}: {}",
        said.code,
        said.stderr
    );
    n.command(
        &format!("mb-lb-ctl drain {target} --reason \"kernel upgrade\" --wait 20s"),
        &(said.stdout + &said.stderr),
    );
    let status = stage.director.status()?;
    ensure!(server(&status, "mb1")?.active == 0, "mb1 still has flows");
    n.proved("mb1 has no connection left: the command returned, and mb1 may be rebooted");
    stage
        .director
        .expect(&["ready", &target, "--wait", "20s"])?;
    n.proved("mb1 is ready again");
    expect_alive(&mut others)?;
    quit_all(others)?;
    quit_all(new)
}

pub fn events(n: &mut Narrator, stage: &Stage) -> Result<()> {
    n.act("What the director has to tell");
    n.command("mb-lb-ctl events", &stage.director.expect(&["events"])?);
    let status = stage.wait_idle()?;
    for server in &service(&status)?.servers {
        ensure!(
            server.health == HealthState::Up && server.usable,
            "{} is not up",
            server.name
        );
        ensure!(
            server.drift == 0,
            "{} has drifted by {}",
            server.name,
            server.drift
        );
        ensure!(
            server.audited == 0,
            "the table has {} flows of {}",
            server.audited,
            server.name
        );
    }
    n.proved(
        "after all that the count of connections is zero on every server, the table agrees, and audits (one a second) \
         found no drift",
    );
    Ok(())
}
