//! The interfaces that packets come in on and go out of.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Command, Output};

use super::finding::Finding;
use crate::cli::check::facts;
use crate::config::{Config, XdpMode};
use crate::net::{self, Interface};
use crate::snapshot::Snapshot;

const GROUP: &str = "interfaces";

/// What Ethernet carries everywhere.
const ETHERNET: u32 = 1500;

/// What one interface carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    pub interface: String,
    /// Pinned by mb-lb.
    pub ours: bool,
    /// The program's number, with its name where that could be asked.
    pub program: Option<(u32, String)>,
}

pub async fn look(
    config: &Config,
    interfaces: &[Interface],
    snapshot: Option<&Snapshot>,
    bpf_root: &Path,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in interfaces {
        findings.push(link(&interface.name, Path::new("/sys/class/net")));
    }
    findings.extend(mtu(interfaces));
    if let Some(snapshot) = snapshot {
        let modes = snapshot.dataplane.interfaces.iter();
        findings.extend(modes.map(|view| {
            let driver = driver(&view.name, Path::new("/sys/class/net"));
            mode(
                &view.name,
                &view.mode,
                config.director.xdp,
                driver.as_deref(),
            )
        }));
    }
    match carried(interfaces, bpf_root).await {
        Ok(carried) => findings.extend(carried.iter().map(program)),
        Err(why) => {
            let why = format!("which XDP programs are on the interfaces: {why}");
            findings.push(Finding::not_known(GROUP, &why, "run this as root"));
        }
    }
    findings.extend(interfaces.iter().map(|interface| {
        let printed = Command::new("ethtool")
            .arg("-k")
            .arg(&interface.name)
            .output();
        asked(&interface.name, printed)
    }));
    findings
}

fn link(name: &str, class: &Path) -> Finding {
    if let Err(error) = std::fs::read_to_string(class.join(name).join("operstate")) {
        let why = format!("whether {name} is up: {error}");
        return Finding::not_known(GROUP, &why, &format!("ip -br link show {name}"));
    }
    match facts::interface(name, class) {
        Some(fact) => Finding::problem(GROUP, &fact.text, "nothing comes in on it", &fact.next),
        None => Finding::ok(GROUP, &format!("{name} is up")),
    }
}

fn mtu(interfaces: &[Interface]) -> Vec<Finding> {
    let Some(largest) = interfaces.iter().max_by_key(|interface| interface.mtu) else {
        return Vec::new();
    };
    let most = largest.mtu;
    interfaces
        .iter()
        .map(|interface| {
            let Interface { name, mtu, .. } = interface;
            if *mtu < most {
                return Finding::problem(
                    GROUP,
                    &format!("{name} has an MTU of {mtu}, and {} one of {most}", largest.name),
                    "full packets that come in on the one do not fit out of the other: connections open, and hang at the \
                     first large message",
                    &format!("ip link set dev {name} mtu {most}, where its segment carries that; else make the other smaller"),
                );
            }
            if *mtu < ETHERNET {
                return Finding::problem(
                    GROUP,
                    &format!("{name} has an MTU of {mtu}, less than the {ETHERNET} of Ethernet"),
                    "the servers answer clients past the director and promise them packets of their own size, which are lost \
                     here: connections open, and hang at the first large message",
                    &format!("ip link set dev {name} mtu {ETHERNET}; where the segment carries less, the same MTU on all servers"),
                );
            }
            Finding::ok(GROUP, &format!("{name} has an MTU of {mtu}"))
        })
        .collect()
}

fn driver(name: &str, class: &Path) -> Option<String> {
    let target = std::fs::read_link(class.join(name).join("device/driver")).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

fn mode(name: &str, mode: &str, wanted: XdpMode, driver: Option<&str>) -> Finding {
    if mode == "native" {
        return Finding::ok(GROUP, &format!("XDP is native on {name}"));
    }
    let text = format!("XDP is {mode} on {name}");
    let means = "it works, but the kernel makes a socket buffer for each packet first: a fraction of the packets per second";
    if wanted == XdpMode::Generic {
        let next =
            "director.xdp = \"auto\", then in a maintenance window stop, mb-lb-ctl detach, start";
        return Finding::warning(
            GROUP,
            &format!("{text}, as director.xdp wants it"),
            means,
            next,
        );
    }
    let why = match driver {
        Some(driver) => format!("{text}: its driver, {driver}, did not take the program"),
        None => format!("{text}: its driver did not take the program"),
    };
    let next = format!(
        "an MTU of {ETHERNET} and fewer queues (ethtool -L {name}) help with some drivers; then in a maintenance window stop, \
         mb-lb-ctl detach, start"
    );
    Finding::warning(GROUP, &why, means, &next)
}

async fn carried(interfaces: &[Interface], bpf_root: &Path) -> Result<Vec<Carried>, String> {
    let ours = crate::dataplane::interfaces(bpf_root).map_err(|error| error.to_string())?;
    let programs = net::xdp::xdp_programs()
        .await
        .map_err(|error| error.to_string())?;
    let names = names(&programs);
    Ok(interfaces
        .iter()
        .map(|interface| Carried {
            interface: interface.name.clone(),
            ours: ours.contains(&interface.name),
            program: programs
                .get(&interface.name)
                .map(|number| (*number, names.get(number).cloned().unwrap_or_default())),
        })
        .collect())
}

/// Only root may ask for them, and nothing hangs on them.
fn names(wanted: &BTreeMap<String, u32>) -> BTreeMap<u32, String> {
    aya::programs::loaded_programs()
        .flatten()
        .filter(|info| wanted.values().any(|number| *number == info.id()))
        .filter_map(|info| Some((info.id(), info.name_as_str()?.to_owned())))
        .collect()
}

fn program(carried: &Carried) -> Finding {
    let name = &carried.interface;
    match (&carried.program, carried.ours) {
        (Some(_), true) => Finding::ok(GROUP, &format!("{name} carries the program of mb-lb")),
        (Some((number, program)), false) => {
            let called = match program.is_empty() {
                true => String::new(),
                false => format!(" {program}"),
            };
            Finding::problem(
                GROUP,
                &format!("{name} carries another XDP program:{called} (number {number})"),
                "there is room for one: that of mb-lb cannot be attached, and nothing that comes in on it is balanced",
                &format!(
                    "find who needs it (bpftool net show dev {name}; bpftool prog show id {number}); if nobody does, \
                     ip link set dev {name} xdp off: mb-lb attaches within seconds"
                ),
            )
        }
        (None, true) => Finding::problem(
            GROUP,
            &format!("a link to {name} is pinned, and no XDP program is on it"),
            "nothing that comes in on it is balanced",
            "systemctl restart mb-lb",
        ),
        (None, false) => Finding::problem(
            GROUP,
            &format!("no XDP program is on {name}"),
            "nothing that comes in on it is balanced",
            "systemctl start mb-lb; where it runs, mb-lb-ctl status says why",
        ),
    }
}

/// What came of `ethtool -k`.
fn asked(name: &str, printed: io::Result<Output>) -> Finding {
    match printed {
        Ok(output) if output.status.success() => {
            offloads(name, &String::from_utf8_lossy(&output.stdout))
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let why = format!("offloads of {name}: ethtool says {}", said.trim());
            Finding::not_known(GROUP, &why, "run this as root")
        }
        Err(error) => {
            let why = format!("offloads of {name}: ethtool: {error}");
            Finding::not_known(GROUP, &why, "apt-get install ethtool")
        }
    }
}

/// `printed` by `ethtool -k`.
fn offloads(name: &str, printed: &str) -> Finding {
    let says = |feature: &str| {
        let mut lines = printed
            .lines()
            .filter_map(|line| line.trim().split_once(": "));
        let line = lines.find(|(key, _)| *key == feature);
        line.and_then(|(_, value)| value.split(' ').next())
    };
    let on = |feature: &str| says(feature) == Some("on");
    let features = [("large-receive-offload", "lro"), ("rx-gro-hw", "rx-gro-hw")];
    let disturbing: Vec<(&str, &str)> = features
        .into_iter()
        .filter(|(feature, _)| on(feature))
        .collect();
    if disturbing.is_empty() && features.iter().any(|(feature, _)| says(feature).is_none()) {
        let why = format!("offloads of {name}: ethtool -k does not list them");
        return Finding::not_known(GROUP, &why, &format!("ethtool -k {name}"));
    }
    if disturbing.is_empty() {
        return Finding::ok(
            GROUP,
            &format!("{name} merges no packets before XDP (LRO, GRO-HW)"),
        );
    }
    let features: Vec<_> = disturbing.iter().map(|(feature, _)| *feature).collect();
    let switches: Vec<_> = disturbing
        .iter()
        .map(|(_, switch)| format!("{switch} off"))
        .collect();
    Finding::problem(
        GROUP,
        &format!(
            "{name} merges packets before XDP sees them: {} is on",
            features.join(", ")
        ),
        "merged packets are larger than the MTU, and cannot be sent on: large messages hang",
        &format!(
            "ethtool -K {name} {}, and the same where the network is configured",
            switches.join(" ")
        ),
    )
}

#[cfg(test)]
mod tests;
