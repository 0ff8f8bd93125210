//! `doctor`: looks at everything round the director that has to be right, and says of each what it means and what to do.
//!
//! Modules below have functions that judge, which are pure, and beside them `look` and the like, which fetch what is judged.
//! What could not be looked at, without root or without a daemon, is `not known`; it is never taken for good.

mod certificates;
mod clock;
mod daemon;
pub mod finding;
mod interfaces;
mod kernel;
mod leftovers;
mod servers;

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::cli::args::{self, Global, TextOrJson};
use crate::cli::check::facts::{self, Fact};
use crate::cli::client::Client;
use crate::cli::config_source::read;
use crate::cli::exit::{Exit, Failure};
use crate::cli::format::count;
use crate::cli::output::{emit, json as document, style_of_stdout};
use crate::cli::style::Style;
use crate::config::Config;
use crate::engine::ServerRef;
use crate::net::{self, AddressBook, Held, Interface};
use crate::snapshot::{JSON_VERSION, Snapshot};

use finding::{Finding, Level};
use servers::Segment;

const CONFIGURATION: &str = "configuration";

pub fn run(global: &Global, args: &args::Doctor) -> Result<Exit, Failure> {
    let asked = Client::new(global).snapshot();
    let (mut findings, config) = configuration(global);
    if let Some(wanted) = &args.server {
        known(wanted, config.as_ref(), asked.as_ref().ok())?;
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    findings.extend(kernel::look(config.as_ref(), &global.bpf_root, &mounts));
    findings.extend(daemon::look(&asked, &global.state_dir));
    let snapshot = asked.ok();
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let unix = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    if let Some(config) = &config {
        let files = facts::files(config, &mounts);
        findings.extend(files.iter().map(|fact| of_fact(fact, Level::Warning)));
        let facts = facts::network(config);
        findings.extend(
            facts
                .iter()
                .filter_map(|fact| of_path(fact, snapshot.is_some())),
        );
        findings.extend(network(config, snapshot.as_ref(), global));
        findings.extend(servers::set_up(config, snapshot.as_ref()));
        findings.extend(leftovers::look(config));
    }
    findings.extend(certificates::look(config.as_ref(), snapshot.as_ref(), unix));
    findings.push(clock::look());
    let has_peer = config.as_ref().is_some_and(|config| config.peer.is_some());
    findings.extend(clock::peer(has_peer, snapshot.as_ref()));
    if let Some(wanted) = &args.server {
        findings.retain(|found| found.server.as_deref().is_some_and(|name| is(wanted, name)));
    }
    findings.sort_by_key(|found| place(found.group));
    let problems = number(&findings, Level::Problem);
    emit(&match args.output {
        TextOrJson::Text => render(&findings, style_of_stdout(global.color)),
        TextOrJson::Json => document(&json!({
            "version": JSON_VERSION,
            "problems": problems,
            "warnings": number(&findings, Level::Warning),
            "not_known": number(&findings, Level::NotKnown),
            "findings": findings,
        }))?,
    })?;
    Ok(match problems {
        0 => Exit::Ok,
        _ => Exit::Degraded,
    })
}

/// Groups in the order in which they are shown.
const GROUPS: [&str; 11] = [
    "status",
    "daemon",
    CONFIGURATION,
    "kernel",
    "interfaces",
    "neighbours",
    "vips",
    "servers",
    "leftovers",
    "certificates",
    "clock",
];

fn place(group: &str) -> usize {
    let place = GROUPS.iter().position(|known| *known == group);
    place.unwrap_or(GROUPS.len())
}

fn number(findings: &[Finding], level: Level) -> u64 {
    findings.iter().filter(|found| found.level == level).count() as u64
}

/// For people.
pub fn render(findings: &[Finding], style: Style) -> String {
    let mut text = String::new();
    let mut group = "";
    for found in findings {
        if found.group != group {
            group = found.group;
            let _ = writeln!(text, "{}", style.strong(group));
        }
        let word = format!("{:<9}", found.level.word());
        let word = match found.level {
            Level::Ok => style.good(&word),
            Level::Warning => style.odd(&word),
            Level::Problem => style.bad(&word),
            Level::NotKnown => style.calm(&word),
        };
        let _ = writeln!(text, "  {word}  {}", found.text);
        for (title, what) in [("means:", &found.means), ("next: ", &found.next)] {
            if !what.is_empty() {
                let _ = writeln!(text, "             {title} {what}");
            }
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "{}, {}, {} not known, {} ok",
        count(number(findings, Level::Problem), "problem"),
        count(number(findings, Level::Warning), "warning"),
        number(findings, Level::NotKnown),
        number(findings, Level::Ok),
    );
    text
}

/// What the file itself has, and the configuration in it where it has one.
fn configuration(global: &Global) -> (Vec<Finding>, Option<Config>) {
    let path = global.config_path().display().to_string();
    let source = match read(global.config_path()) {
        Ok(source) => source,
        Err(failure) if failure.message.contains("permission denied") => {
            return (
                vec![Finding::not_known(
                    CONFIGURATION,
                    &failure.message,
                    &failure.next,
                )],
                None,
            );
        }
        Err(failure) => {
            let means = "the daemon cannot start with it, and most of what is looked at here follows from it";
            return (
                vec![Finding::problem(
                    CONFIGURATION,
                    &failure.message,
                    means,
                    &failure.next,
                )],
                None,
            );
        }
    };
    let parsed = crate::config::parse(&source, "director");
    let (errors, warnings) = (parsed.errors() as u64, parsed.warnings() as u64);
    let found = match (errors, warnings) {
        (0, 0) => Finding::ok(CONFIGURATION, &format!("{path} has no errors")),
        (0, some) => {
            let text = format!("{path} has {}", count(some, "warning"));
            Finding::warning(
                CONFIGURATION,
                &text,
                "it can be put in force, and may not do what is meant",
                "mb-lb-ctl check",
            )
        }
        (some, _) => {
            let text = format!("{path} has {}", count(some, "error"));
            let means = "it cannot be put in force, and a restart would fail; what follows from it was not looked at";
            Finding::problem(CONFIGURATION, &text, means, "mb-lb-ctl check")
        }
    };
    (vec![found], parsed.config)
}

fn of_fact(fact: &Fact, level: Level) -> Finding {
    match level {
        Level::Problem => Finding::problem(CONFIGURATION, &fact.text, "", &fact.next),
        _ => Finding::warning(CONFIGURATION, &fact.text, "", &fact.next),
    }
}

/// Of the way of packets. What a running daemon says of its servers is said elsewhere.
fn of_path(fact: &Fact, has_daemon: bool) -> Option<Finding> {
    let found = of_fact(fact, Level::Problem);
    match fact.text.split_once(" would be down: ") {
        None => Some(found),
        Some(_) if has_daemon => None,
        Some((server, _)) => Some(found.of(server)),
    }
}

/// Everything that asks the kernel or the segment.
fn network(config: &Config, snapshot: Option<&Snapshot>, global: &Global) -> Vec<Finding> {
    let mut findings = snapshot.map(servers::neighbours).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let why = format!("the network could not be looked at: {error}");
            findings.push(Finding::not_known("interfaces", &why, "try again"));
            return findings;
        }
    };
    runtime.block_on(async {
        // Those that are missing are facts of the configuration.
        let (wanted, _missing) = net::wanted_interfaces(config).await;
        findings.extend(interfaces::look(config, &wanted, snapshot, &global.bpf_root).await);
        match held().await {
            Ok(held) => {
                let addresses = held.iter().map(|held| held.vip.address).collect();
                let segment = Segment::new(snapshot, addresses);
                let segments = segments(config, wanted).await;
                findings.extend(servers::asked(config, &segments, &held, segment).await);
            }
            Err(error) => {
                let why = format!("which VIPs are here: {error}");
                findings.push(Finding::not_known("vips", &why, "try again"));
            }
        }
    });
    findings
}

/// Where VIPs are: on the interfaces of the XDP program, and where a virtual router puts them, which may be for proxies only.
async fn segments(config: &Config, mut interfaces: Vec<Interface>) -> Vec<Interface> {
    for vrrp in &config.vrrps {
        if interfaces.iter().all(|known| known.name != vrrp.interface) {
            // One that is not there is a fact of the configuration.
            interfaces.extend(net::interface(&vrrp.interface).await.ok());
        }
    }
    interfaces
}

async fn held() -> Result<Vec<Held>, net::Error> {
    AddressBook::open()?.list().await
}

/// Whether `wanted` means the server of this full name.
fn is(wanted: &ServerRef, name: &str) -> bool {
    name.split_once('/').is_some_and(|(service, server)| {
        server == wanted.server && (wanted.service.is_empty() || service == wanted.service)
    })
}

/// Of the file or of the daemon: where neither can be asked, nothing would be found of it either.
fn known(
    wanted: &ServerRef,
    config: Option<&Config>,
    snapshot: Option<&Snapshot>,
) -> Result<(), Failure> {
    let mut names: Vec<String> = Vec::new();
    if let Some(config) = config {
        for service in config.services.iter().cloned().chain(config.steered()) {
            names.extend(
                service
                    .servers
                    .iter()
                    .map(|server| format!("{}/{}", service.name, server.name)),
            );
        }
        for proxy in &config.proxies {
            names.extend(
                proxy
                    .servers
                    .iter()
                    .map(|server| format!("{}/{}", proxy.name, server.name)),
            );
        }
    }
    for service in snapshot
        .map(|snapshot| &snapshot.services)
        .into_iter()
        .flatten()
    {
        names.extend(
            service
                .servers
                .iter()
                .map(|server| format!("{}/{}", service.name, server.name)),
        );
    }
    if names.iter().any(|name| is(wanted, name)) {
        return Ok(());
    }
    let name = match wanted.service.is_empty() {
        true => wanted.server.clone(),
        false => format!("{}/{}", wanted.service, wanted.server),
    };
    Err(
        Failure::new(Exit::NotFound, format!("there is no server {name}"))
            .next("mb-lb-ctl list servers"),
    )
}

#[cfg(test)]
mod tests;
