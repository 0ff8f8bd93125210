//! The command lines in blocks, run one after the other on a pair of directors whose configuration is the manual's own
//! example, each with the exit code that the manual claims.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use mb_lb_tests::site::{document, package, readdress};
use mb_lb_tests::{Guest, Lab, Sink, Topology, try_wait_until};

use crate::lines;

const SOON: Duration = Duration::from_secs(60);

/// One command, on one of the two.
struct Run {
    on: &'static str,
    /// Lines of shell that make it so as the manual has it there.
    before: &'static str,
    command: &'static str,
    code: i32,
    /// In what it prints.
    says: &'static str,
}

const fn run(
    on: &'static str,
    before: &'static str,
    command: &'static str,
    code: i32,
    says: &'static str,
) -> Run {
    Run {
        on,
        before,
        command,
        code,
        says,
    }
}

/// Before there is a daemon.
#[rustfmt::skip]
const BEFORE: &[Run] = &[
    run("lb1", "", "mb-lb-ctl peer-key -o /etc/mb-lb/peer.key", 0, "has a new key"),
    run("lb1", "", "mb-lb-ctl import /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf --report", 0, "0 dead"),
    run("lb1", "", "mb-lb-ctl import /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf -o /etc/mb-lb/new.toml", 0, "is written"),
    run("lb1", "", "mb-lb-ctl check /etc/mb-lb/new.toml", 0, "0 errors"),
    run("lb1", "cp /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf .", "mb-lb-ctl import haproxy.cfg keepalived.conf -o mb-lb.toml", 0, "only its owner can read it"),
    run("lb1", "", "mb-lb-ctl import /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf -o /etc/mb-lb/mb-lb.toml --force --report", 0, "is written"),
    run("lb1", "", "mb-lb-ctl server-setup smtp_backend/mb1", 0, "192.168.1.101"),
    run("lb1", "", "mb-lb-ctl server-setup smtp_backend/mb2", 0, "192.168.1.102"),
    run("lb1", "", "mb-lb-ctl server-setup smtp_backend/mb3", 0, "192.168.1.103"),
    run("lb1", "", "mb-lb-ctl server-setup smtp_backend/mb1 --undo", 0, "192.168.1.101"),
    run("lb1", "", "mb-lb-ctl server-setup smtp_backend/mb2 --undo", 0, "192.168.1.102"),
    run("lb1", "", "mb-lb-ctl server-setup smtp_backend/mb3 --undo", 0, "192.168.1.103"),
    run("lb1", "", "mb-lb-ctl man --dir /usr/local/share/man/man8", 0, "manual pages written"),
    run("lb1", "", "mb-lb-ctl completions bash", 0, "mb-lb-ctl"),
];

/// With both at work, lb1 active.
#[rustfmt::skip]
const AT_WORK: &[Run] = &[
    run("lb1", "", "mb-lb-ctl check", 0, "/etc/mb-lb/mb-lb.toml: 0 errors, 0 warnings"),
    run("lb1", "", "mb-lb-ctl status", 0, "ACTIVE"),
    run("lb1", "", "mb-lb-ctl status", 0, "in sync"),
    // One runs already.
    run("lb1", "", "mb-lb-ctl run", 8, "not started: another mb-lb-ctl run has"),
    run("lb1", "", "mb-lb-ctl list servers", 0, "smtp_backend/mb3"),
    run("lb1", "", "mb-lb-ctl list checks", 0, "220 mb1 ESMTP"),
    run("lb1", "", "mb-lb-ctl list flows", 0, "CLIENT"),
    run("lb1", "", "mb-lb-ctl list flows --limit 1", 0, "CLIENT"),
    run("lb1", "", "mb-lb-ctl list syncs", 0, "SYNC"),
    run("lb1", "", "mb-lb-ctl describe smtp_backend/mb1", 0, "history"),
    // The example is of another network.
    run("lb1", "", "mb-lb-ctl trace 203.0.113.9:40000 10.77.0.100:25", 0, "none listens there"),
    run("lb1", "", "mb-lb-ctl drain smtp_backend/mb1 --reason \"kernel upgrade\" --wait 20s", 0, "no flow left"),
    run("lb1", "", "mb-lb-ctl ready smtp_backend/mb1", 0, "drain -> ready"),
    run("lb1", "", "mb-lb-ctl maint smtp_backend/mb2 --reason disk", 0, "Undo: mb-lb-ctl ready smtp_backend/mb2"),
    run("lb1", "", "mb-lb-ctl status", 0, "Next: mb-lb-ctl ready smtp_backend/mb2"),
    run("lb1", "", "mb-lb-ctl ready smtp_backend/mb2", 0, "maint -> ready"),
    run("lb1", "", "mb-lb-ctl weight smtp_backend/mb3 7", 0, "weight 5 -> 7 by root"),
    run("lb1", "", "mb-lb-ctl weight smtp_backend/mb3 5", 0, "weight 7 -> 5"),
    run("lb1", "", "mb-lb-ctl events", 0, "configuration"),
    run("lb1", "", "mb-lb-ctl doctor", 0, "0 problems"),
    run("lb1", "sed -i 's/weight = 5/weight = 8/' /etc/mb-lb/mb-lb.toml", "mb-lb-ctl diff", 9, "~ smtp_backend/mb3 weight 5 -> 8"),
    run("lb1", "", "mb-lb-ctl reload", 0, "reloaded; this has changed:"),
    run("lb1", "", "mb-lb-ctl status", 10, "configurations differ"),
    run("lb2", "", "mb-lb-ctl peer diff", 9, "smtp_backend/mb3 weight"),
    run("lb1", "", "mb-lb-ctl peer push", 0, "the peer has taken the configuration and put it in force"),
    run("lb1", "", "mb-lb-ctl peer diff", 0, "both directors have the same configuration"),
    run("lb2", "", "mb-lb-ctl failover", 8, "VI_1 is backup here"),
    run("lb1", "", "mb-lb-ctl failover", 0, "192.168.1.11 is active (after "),
    run("lb2", "", "mb-lb-ctl failover", 0, "192.168.1.10 is active (after "),
];

/// And mb2 answers ARP for the VIP, as in the example of the doctor.
#[rustfmt::skip]
const AT_LAST: &[Run] = &[
    run("lb1", "", "mb-lb-ctl doctor --server mb2", 10, "smtp_backend/mb2 answers ARP for 192.168.1.100"),
    run("lb1", "", "mb-lb-ctl detach", 8, "is running; nothing was detached"),
    run("lb1", "", "mb-lb-ctl detach --force", 0, "XDP program removed from eth0"),
];

/// What is not run here, and why.
const NOT_RUN: &[(&str, &str)] = &[
    (
        "mb-lb-ctl run --config new.toml --shadow",
        "it wants the HAProxy that serves: the test of the maintenance window runs a rehearsal",
    ),
    ("mb-lb-ctl run --shadow", "the same"),
    (
        "mb-lb-ctl sync mailborder --wait 1m",
        "it wants mail servers with sshd and rsync: tests of config_sync have them",
    ),
    (
        "mb-lb-ctl server-setup smtp/mb2",
        "printed in an example of another configuration, which has no smtp_backend",
    ),
    (
        "mb-lb-ctl drain smtp_backend/<Tab>",
        "a key is pressed: the tests of completions press it",
    ),
];

#[test]
fn every_command_of_a_block_is_run_or_has_its_reason() -> Result<()> {
    let documented: BTreeSet<String> = lines::all()?
        .into_iter()
        .filter(|found| found.in_block)
        .map(|found| found.command)
        .collect();
    let runs = BEFORE
        .iter()
        .chain(AT_WORK)
        .chain(AT_LAST)
        .map(|run| run.command);
    let known: BTreeSet<String> = runs
        .chain(NOT_RUN.iter().map(|(command, _)| *command))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = documented.difference(&known).collect();
    let gone: Vec<_> = known.difference(&documented).collect();
    ensure!(
        missing.is_empty() && gone.is_empty(),
        "not here: {missing:#?}; in no document: {gone:#?}"
    );
    Ok(())
}

/// The configuration of lb1 in the manual's "Setting up a pair".
fn example() -> Result<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/manual.md");
    let manual = fs::read_to_string(path)?;
    let (_, chapter) = manual
        .split_once("\n### Setting up a pair\n")
        .context("the manual has no such chapter")?;
    let (_, block) = chapter.split_once("```toml\n").context("no example")?;
    let (block, _) = block.split_once("```").context("no end")?;
    Ok(block
        .lines()
        .map(|line| format!("{}\n", line.trim_start()))
        .collect())
}

/// As the manual says it: another name, another priority, and the two addresses of `[peer]` in each other's place.
fn of_lb2(example: &str) -> Result<String> {
    let of_lb1 = [
        "\"lb1\"",
        "priority = 101",
        "192.168.1.10:",
        "192.168.1.11:",
        "#:",
    ];
    let of_lb2 = [
        "\"lb2\"",
        "priority = 100",
        "#:",
        "192.168.1.10:",
        "192.168.1.11:",
    ];
    let mut text = example.to_owned();
    for (from, to) in of_lb1.iter().zip(of_lb2) {
        ensure!(text.contains(from), "no {from:?} in the example");
        text = text.replace(from, to);
    }
    Ok(text)
}

#[test]
fn what_can_be_run_ends_as_the_manual_says() -> Result<()> {
    let topology = Topology {
        directors: 2,
        servers: 3,
    };
    let lab = Lab::with("commands", topology)?;
    readdress(&lab)?;
    let _sinks: Vec<Sink> = lab
        .servers()
        .iter()
        .map(Sink::start)
        .collect::<Result<_>>()?;
    let [lb1, lb2] = boot(&lab)?;
    for guest in [&lb1, &lb2] {
        // The example of the package gives way to that of the manual. HAProxy and keepalived have left their files only.
        guest.expect("systemctl", &["disable", "--now", "haproxy", "keepalived"])?;
        fs::copy(
            document("haproxy.cfg"),
            guest.path("/etc/haproxy/haproxy.cfg"),
        )?;
        fs::copy(
            document("keepalived.conf"),
            guest.path("/etc/keepalived/keepalived.conf"),
        )?;
        fs::copy(package()?, guest.path("/mb-lb.deb"))?;
        guest.expect("dpkg", &["--install", "/mb-lb.deb"])?;
        guest.expect(
            "install",
            &["-m", "600", "/dev/null", "/etc/mb-lb/vrrp.password"],
        )?;
        fs::write(guest.path("/etc/mb-lb/vrrp.password"), "secret\n")?;
    }
    for server in lab.servers() {
        server.sysctl("ipv4.conf.all.arp_ignore", "1")?;
        server.run("ip", &["address", "add", "192.168.1.100/32", "dev", "lo"])?;
    }
    let guests = [&lb1, &lb2];
    all(BEFORE, guests)?;
    let text = example()?;
    fs::write(lb1.path("/etc/mb-lb/mb-lb.toml"), &text)?;
    fs::write(lb2.path("/etc/mb-lb/mb-lb.toml"), of_lb2(&text)?)?;
    fs::copy(
        lb1.path("/etc/mb-lb/peer.key"),
        lb2.path("/etc/mb-lb/peer.key"),
    )?;
    for guest in guests {
        guest.expect("systemctl", &["enable", "--now", "mb-lb"])?;
    }
    all(AT_WORK, guests)?;
    lab.machine("mb2").sysctl("ipv4.conf.all.arp_ignore", "0")?;
    all(AT_LAST, guests)
}

fn boot(lab: &Lab) -> Result<[Guest; 2]> {
    let [first, second] = lab.directors() else {
        anyhow::bail!("there are not two directors");
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| Guest::boot_of_pair(second));
        let one = Guest::boot_of_pair(first);
        let other = other.join().map_err(|_| anyhow!("booting panicked"));
        Ok([one?, other??])
    })
}

fn all(runs: &[Run], guests: [&Guest; 2]) -> Result<()> {
    for run in runs {
        let guest = guests[usize::from(run.on == "lb2")];
        let what = format!("{}# {} to end with {}", run.on, run.command, run.code);
        if !run.before.is_empty() {
            let answer = guest.shell(run.before)?;
            ensure!(answer.code == 0, "{}: {answer:?}", run.before);
        }
        let once = || -> Result<()> {
            let answer = guest.shell(run.command)?;
            ensure!(answer.code == run.code, "{answer:#?}");
            let said = format!("{}{}", answer.stdout, answer.stderr);
            ensure!(said.contains(run.says), "no {:?} in {said}", run.says);
            Ok(())
        };
        // What changes something says by its code whether it did, and is not done twice; but right after a change the other
        // director, or a check, may not know of it yet.
        match is_a_question(run) {
            true => try_wait_until(&what, SOON, once)?,
            false => once().with_context(|| what)?,
        }
    }
    Ok(())
}

/// It changes nothing, or was refused.
fn is_a_question(run: &Run) -> bool {
    const QUESTIONS: [&str; 8] = [
        "check",
        "status",
        "list",
        "describe",
        "events",
        "doctor",
        "diff",
        "peer diff",
    ];
    let rest = run.command.strip_prefix("mb-lb-ctl ").unwrap_or_default();
    run.code == 8 || QUESTIONS.iter().any(|question| rest.starts_with(question))
}
