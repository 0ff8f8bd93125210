//! The daemon: whether it answers, what it may do, what it complains of, and whether it comes back after a boot.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output};

use super::finding::Finding;
use crate::cli::exit::Failure;
use crate::snapshot::{Severity, Snapshot};

const GROUP: &str = "daemon";

/// What the unit gives it.
const FILES: u64 = 262_144;
/// Checks of many servers at once, and two for each client of a proxy.
const FEW_FILES: u64 = 65_536;

/// Numbers as in linux/capability.h, and what each is for.
const CAPABILITIES: [(u32, &str, &str); 3] = [
    (
        12,
        "CAP_NET_ADMIN",
        "it cannot attach the program, nor put VIPs on interfaces",
    ),
    (13, "CAP_NET_RAW", "it cannot speak VRRP, nor announce VIPs"),
    (
        10,
        "CAP_NET_BIND_SERVICE",
        "proxies cannot listen on ports below 1024, and nothing is said where no server is up",
    ),
];
const SYS_ADMIN: u32 = 21;
const BPF: u32 = 39;

pub fn look(asked: &Result<Snapshot, Failure>, state_dir: &Path) -> Vec<Finding> {
    let mut findings = vec![answers(asked)];
    if let Ok(snapshot) = asked {
        let process = Path::new("/proc").join(snapshot.pid.to_string());
        let read = |name: &str| fs::read_to_string(process.join(name)).unwrap_or_default();
        findings.extend(capabilities(&read("status")));
        findings.push(files(&read("limits")));
        findings.extend(alarms(snapshot));
    }
    let path = state_dir.join("state.json");
    findings.push(state(&path, fs::read_to_string(&path)));
    findings.push(unit());
    findings
}

fn answers(asked: &Result<Snapshot, Failure>) -> Finding {
    match asked {
        Ok(snapshot) => Finding::ok(
            GROUP,
            &format!(
                "the daemon answers (pid {}, mb-lb {})",
                snapshot.pid, snapshot.build
            ),
        ),
        Err(failure) if failure.message.starts_with("not allowed") => {
            Finding::not_known(GROUP, &failure.message, &failure.next)
        }
        Err(failure) => {
            let mut lines = failure.message.lines();
            let text = lines.next().unwrap_or_default();
            let means = lines.collect::<Vec<_>>().join(" ");
            Finding::problem(GROUP, text, &means, &failure.next)
        }
    }
}

/// `status` of its process.
fn capabilities(status: &str) -> Vec<Finding> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(has) = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()) else {
        return vec![Finding::not_known(
            GROUP,
            "what the daemon may do: its process cannot be looked at",
            "run this on its machine, as root",
        )];
    };
    let may = |number: u32| has & 1 << number != 0;
    let next = "systemctl cat mb-lb: its CapabilityBoundingSet is to be that of the package";
    let mut missing: Vec<Finding> = CAPABILITIES
        .iter()
        .filter(|(number, ..)| !may(*number))
        .map(|(_, name, means)| {
            Finding::problem(
                GROUP,
                &format!("the daemon runs without {name}"),
                means,
                next,
            )
        })
        .collect();
    if !may(BPF) && !may(SYS_ADMIN) {
        let means = "it cannot load the XDP program";
        missing.push(Finding::problem(
            GROUP,
            "the daemon runs without CAP_BPF",
            means,
            next,
        ));
    }
    match missing.is_empty() {
        true => vec![Finding::ok(
            GROUP,
            "the daemon has the capabilities that it needs",
        )],
        false => missing,
    }
}

/// `limits` of its process (proc(5)).
fn files(limits: &str) -> Finding {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    match soft.map(str::parse::<u64>) {
        Some(Ok(few)) if few < FEW_FILES => Finding::warning(
            GROUP,
            &format!("the daemon may have {few} files open"),
            "each check takes one while it runs, and each client of a proxy two: more wait, or are refused",
            &format!(
                "LimitNOFILE={FILES} in the unit (systemctl edit mb-lb), as the package has it"
            ),
        ),
        Some(Ok(enough)) => Finding::ok(GROUP, &format!("the daemon may have {enough} files open")),
        _ if soft == Some("unlimited") => {
            Finding::ok(GROUP, "the daemon may have any number of files open")
        }
        _ => Finding::not_known(
            GROUP,
            "how many files the daemon may have open: its process cannot be looked at",
            "run this on its machine, as root",
        ),
    }
}

/// Those that have no group of their own here.
fn alarms(snapshot: &Snapshot) -> Vec<Finding> {
    let alarms = snapshot.alarms.iter();
    alarms
        .filter(|alarm| !alarm.text.contains(": the certificate "))
        .map(|alarm| {
            let found = match alarm.severity {
                Severity::Critical => Finding::problem,
                Severity::Warning => Finding::warning,
            };
            let found = found("status", &alarm.text, "", &alarm.next);
            match named(snapshot, &alarm.text) {
                Some(name) => found.of(&name),
                None => found,
            }
        })
        .collect()
}

/// The server that an alarm begins with.
fn named(snapshot: &Snapshot, text: &str) -> Option<String> {
    let word = text.split([' ', ':']).next()?;
    let (service, server) = word.split_once('/')?;
    let view = snapshot.services.iter().find(|view| view.name == service)?;
    let known = view.servers.iter().any(|view| view.name == server);
    known.then(|| word.to_owned())
}

fn state(path: &Path, read: io::Result<String>) -> Finding {
    let shown = path.display();
    match read {
        Ok(text) => match serde_json::from_str::<crate::engine::SavedState>(&text) {
            Ok(_) => Finding::ok(GROUP, &format!("{shown} is readable")),
            Err(error) => Finding::problem(
                GROUP,
                &format!("{shown} is damaged: {error}"),
                "the next start sets it aside: who was drained or taken out is in service again then",
                "while the daemon runs it holds them: set one of them anew (mb-lb-ctl drain, maint, weight), which writes the file",
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::ok(GROUP, &format!("nothing has been saved yet at {shown}"))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Finding::not_known(GROUP, &format!("{shown}: {error}"), "run this as root")
        }
        Err(error) => Finding::problem(
            GROUP,
            &format!("{shown} cannot be read: {error}"),
            "the daemon does not start so: admin states would be lost",
            &format!("ls -l {shown}"),
        ),
    }
}

fn unit() -> Finding {
    // sd_booted(3)
    started(Path::new("/run/systemd/system").is_dir(), || {
        let mut command = Command::new("systemctl");
        command.args(["is-enabled", "mb-lb"]).output()
    })
}

fn started(is_systemd: bool, ask: impl FnOnce() -> io::Result<Output>) -> Finding {
    if !is_systemd {
        let next = "whatever starts programs here has to start `mb-lb-ctl run` at boot, and again when it ends";
        return Finding::not_known(
            GROUP,
            "whether mb-lb is started at boot: systemd does not run here",
            next,
        );
    }
    match ask() {
        Ok(output) => enabled(String::from_utf8_lossy(&output.stdout).trim()),
        Err(error) => Finding::not_known(
            GROUP,
            &format!("whether mb-lb is started at boot: systemctl: {error}"),
            "systemctl is-enabled mb-lb",
        ),
    }
}

/// `word` of `systemctl is-enabled`.
fn enabled(word: &str) -> Finding {
    let means = "after a reboot this director balances nothing";
    match word {
        "enabled" | "enabled-runtime" | "static" | "generated" | "alias" => {
            Finding::ok(GROUP, "mb-lb is started at boot")
        }
        "" | "not-found" => Finding::warning(
            GROUP,
            "there is no unit mb-lb",
            means,
            "install the package mb-lb, or write a unit for `mb-lb-ctl run`",
        ),
        "masked" | "masked-runtime" => Finding::warning(
            GROUP,
            "the unit mb-lb is masked",
            means,
            "systemctl unmask mb-lb; systemctl enable mb-lb",
        ),
        _ => Finding::warning(
            GROUP,
            &format!("mb-lb is not started at boot ({word})"),
            means,
            "systemctl enable mb-lb",
        ),
    }
}

#[cfg(test)]
mod tests;
