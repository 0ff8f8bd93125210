//! HAProxy and keepalived that were forgotten when mb-lb took over.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::config::Config;

const GROUP: &str = "leftovers";
const PROGRAMS: [&str; 2] = ["haproxy", "keepalived"];

/// One that runs in this network namespace; in another one it is in nobody's way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    pub name: String,
    pub pid: u32,
    /// `None`: its descriptors could not be read.
    pub listens: Option<BTreeSet<SocketAddr>>,
    /// Of keepalived's virtual routers; `None`: its configuration could not be read.
    pub router_ids: Option<BTreeSet<u8>>,
}

pub fn look(config: &Config) -> Vec<Finding> {
    let proc = Path::new("/proc");
    let (running, sees_all) = (running(proc), sees_all(proc));
    let wants = Path::new("/etc/systemd/system/multi-user.target.wants");
    let mut findings = Vec::new();
    for name in PROGRAMS {
        let programs: Vec<_> = running
            .iter()
            .filter(|program| program.name == name)
            .collect();
        let enabled = wants.join(format!("{name}.service")).exists();
        if programs.is_empty() && !sees_all {
            findings.push(unseen(name));
            continue;
        }
        findings.push(judge(name, &programs, enabled, config));
    }
    findings
}

/// Whether processes of others can be seen: the first of all belongs to root. Where /proc is mounted with `hidepid`, others
/// than root see their own.
fn sees_all(proc: &Path) -> bool {
    fs::read_to_string(proc.join("1/comm")).is_ok()
}

fn unseen(name: &str) -> Finding {
    Finding::not_known(
        GROUP,
        &format!("whether {name} runs here: /proc shows no processes of others"),
        "run doctor as root",
    )
}

fn judge(name: &str, running: &[&Program], enabled: bool, config: &Config) -> Finding {
    let stop = format!("systemctl disable --now {name}");
    let Some(first) = running.first() else {
        return match enabled {
            true => Finding::warning(
                GROUP,
                &format!("{name} does not run, and is enabled"),
                "it comes back at the next boot, and is in the way then",
                &format!("systemctl disable {name}, unless it serves something else"),
            ),
            false => Finding::ok(GROUP, &format!("{name} does not run here")),
        };
    };
    let what = format!("{name} runs here (pid {})", first.pid);
    let same = listened(running, config);
    let ids = routers(running, config);
    if !same.is_empty() {
        return Finding::problem(
            GROUP,
            &format!(
                "{what} and listens on {}, which mb-lb serves",
                same.join(", ")
            ),
            "proxies, and what is said where no server is up, cannot listen there; what the XDP program passes on goes to the other one",
            &stop,
        );
    }
    if name == "keepalived" && !config.vrrps.is_empty() {
        if ids.is_empty() && running.iter().any(|program| program.router_ids.is_none()) {
            return Finding::not_known(
                GROUP,
                &format!("{what}, and its configuration cannot be read"),
                "run doctor as root, and compare its virtual_router_id with those of [vrrp.NAME]",
            );
        }
        return match ids.is_empty() {
            false => Finding::problem(
                GROUP,
                &format!(
                    "{what} with virtual_router_id {}, which a [vrrp.NAME] has as well",
                    ids.join(", ")
                ),
                "two programs of this machine speak for the same virtual router: both want the VIPs, or both wait for the other",
                &stop,
            ),
            true => Finding::warning(
                GROUP,
                &format!("{what}, and mb-lb moves VIPs by VRRP"),
                "one of the two is enough; with the same VIPs they take them from each other",
                &format!("{stop}, unless it moves other addresses"),
            ),
        };
    }
    if running.iter().any(|program| program.listens.is_none()) {
        return Finding::not_known(
            GROUP,
            &format!("{what}; what it listens on cannot be read"),
            "run doctor as root",
        );
    }
    Finding::warning(
        GROUP,
        &what,
        "it is not in the way as it is configured now",
        &format!("{stop}, unless it serves something else"),
    )
}

/// Addresses of ours that one of them listens on.
fn listened(running: &[&Program], config: &Config) -> Vec<String> {
    let taken: BTreeSet<SocketAddr> = running
        .iter()
        .filter_map(|program| program.listens.as_ref())
        .flatten()
        .copied()
        .collect();
    let services = config
        .services
        .iter()
        .flat_map(|service| service.listen.iter().copied());
    let steered = config
        .steered()
        .flat_map(|service| service.listen.clone())
        .collect::<Vec<_>>();
    let proxies = config
        .proxies
        .iter()
        .flat_map(|proxy| proxy.listen.iter().copied());
    let ours: BTreeSet<SocketAddr> = services.chain(steered).chain(proxies).collect();
    ours.into_iter()
        .filter(|own| {
            taken.iter().any(|other| {
                own.port() == other.port()
                    && (own.ip() == other.ip() || other.ip().is_unspecified())
            })
        })
        .map(|own| own.to_string())
        .collect()
}

fn routers(running: &[&Program], config: &Config) -> Vec<String> {
    let theirs = running
        .iter()
        .filter_map(|program| program.router_ids.as_ref());
    let theirs: BTreeSet<u8> = theirs.flatten().copied().collect();
    let ours = config.vrrps.iter().map(|vrrp| vrrp.virtual_router_id.get());
    ours.filter(|own| theirs.contains(own))
        .map(|own| own.to_string())
        .collect()
}

fn running(proc: &Path) -> Vec<Program> {
    let namespace = |process: &Path| fs::read_link(process.join("ns/net")).ok();
    let own = namespace(&proc.join("self"));
    let listeners = ["tcp", "tcp6"]
        .map(|name| fs::read_to_string(proc.join("self/net").join(name)).unwrap_or_default());
    let listeners: Vec<_> = listeners
        .iter()
        .flat_map(|table| table.lines().filter_map(listener))
        .collect();
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let mut found: Vec<Program> = entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let path = entry.path();
            let name = fs::read_to_string(path.join("comm")).ok()?;
            let name = name.trim();
            // Of another user it cannot be told, and then it is better to say too much.
            let here = namespace(&path).is_none_or(|other| own.as_ref() == Some(&other));
            if !PROGRAMS.contains(&name) || !here {
                return None;
            }
            Some(Program {
                name: name.to_owned(),
                pid,
                listens: sockets(&path, &listeners),
                router_ids: (name == "keepalived").then(|| configured(&path)).flatten(),
            })
        })
        .collect();
    found.sort_by_key(|program| program.pid);
    found
}

fn sockets(process: &Path, listeners: &[(SocketAddr, u64)]) -> Option<BTreeSet<SocketAddr>> {
    let descriptors = fs::read_dir(process.join("fd")).ok()?.flatten();
    let inodes: BTreeSet<u64> = descriptors
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|target| {
            target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        })
        .collect();
    let own = listeners.iter().filter(|(_, inode)| inodes.contains(inode));
    Some(own.map(|(address, _)| *address).collect())
}

/// Address and inode of a line of /proc/net/tcp (proc(5)) that is of a listening socket.
fn listener(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    if fields.nth(1)? != "0A" {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits in the machine's own order.
    let words: Option<Vec<u8>> = (0..address.len() / 8)
        .map(|at| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok())
        .map(|word| word.map(u32::to_ne_bytes))
        .collect::<Option<Vec<_>>>()
        .map(|words| words.concat());
    let words = words?;
    let ip: IpAddr = match words.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(words).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?).into(),
        _ => return None,
    };
    Some((SocketAddr::new(ip, port), inode))
}

/// The ids in the file that a keepalived was started with.
fn configured(process: &Path) -> Option<BTreeSet<u8>> {
    let line = fs::read(process.join("cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let words: Vec<&str> = line.split('\0').collect();
    let given = words.iter().enumerate().find_map(|(at, word)| match *word {
        "-f" | "--use-file" => words.get(at + 1).copied(),
        other => other.strip_prefix("--use-file="),
    });
    let path = PathBuf::from(given.unwrap_or("/etc/keepalived/keepalived.conf"));
    Some(ids(&fs::read_to_string(path).ok()?))
}

fn ids(text: &str) -> BTreeSet<u8> {
    let lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("virtual_router_id "));
    lines
        .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests;
