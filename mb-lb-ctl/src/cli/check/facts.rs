//! Facts of this machine that a configuration needs. All are warnings: the file may be meant for another machine.

mod addresses;
mod certificates;
mod pair;
mod programs;
mod sandbox;
mod tiers;

use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use crate::config::Config;
use crate::engine::advice;
use crate::net;

/// Oldest kernel whose verifier accepts the program.
const KERNEL: (u32, u32) = (5, 15);

/// Something that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    pub text: String,
    /// What to do about it.
    pub next: String,
}

/// What `config` needs and this machine does not have.
pub fn missing(config: &Config, bpf_root: &Path) -> Vec<Fact> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let interfaces = config
        .director
        .interfaces
        .iter()
        .filter_map(|name| interface(name, Path::new("/sys/class/net")));
    kernel(release.trim())
        .into_iter()
        .chain(bpffs(&mounts, bpf_root))
        .chain(interfaces)
        .chain(network(config))
        .chain(files(config, &mounts))
        .collect()
}

/// Of these, what is to be read or run, or is a mount.
pub fn files(config: &Config, mounts: &str) -> Vec<Fact> {
    let pair = pair::missing(config, Path::new("/sys/class/net"));
    pair.into_iter()
        .chain(programs::missing(config, 0))
        .chain(certificates::missing(config))
        .chain(tiers::missing(config, mounts))
        .chain(sandbox::missing(config))
        .collect()
}

/// What the daemon would find in the way of packets, in its own words.
pub fn network(config: &Config) -> Vec<Fact> {
    let found = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(net::Error::from)
        .and_then(|runtime| runtime.block_on(paths(config)));
    found.unwrap_or_else(|error| {
        let text = format!("interfaces and routes could not be looked at: {error}");
        fact(text, "try again").into_iter().collect()
    })
}

async fn paths(config: &Config) -> Result<Vec<Fact>, net::Error> {
    let (interfaces, missing) = net::wanted_interfaces(config).await;
    let mut facts: Vec<Fact> = missing
        .into_iter()
        .filter_map(|why| fact(why.clone(), advice::attach(&why)))
        .collect();
    let servers = || {
        config
            .services
            .iter()
            .filter(|service| service.forward.is_in_kernel())
            .flat_map(|service| service.servers.iter().map(move |server| (service, server)))
    };
    let addresses: Vec<IpAddr> = servers().map(|(_, server)| server.address).collect();
    let segments = net::neighbours::segments(&addresses).await?;
    for (service, server) in servers() {
        let why = match segments.get(&server.address) {
            None => continue,
            Some(Err(why)) => why.clone(),
            // Where no interface could be had, that has been said.
            Some(Ok(segment))
                if interfaces.is_empty()
                    || interfaces
                        .iter()
                        .any(|interface| interface.index == segment.ifindex) =>
            {
                continue;
            }
            Some(Ok(segment)) => format!(
                "{} is reached through {}, which the XDP program is not attached to",
                server.address, segment.interface
            ),
        };
        let next = advice::path(&why).unwrap_or_default();
        facts.extend(fact(
            format!("{}/{} would be down: {why}", service.name, server.name),
            &next,
        ));
    }
    let held = net::AddressBook::open()?.list().await?;
    let held = held.iter().map(|held| held.vip.address).collect();
    facts.extend(addresses::missing(config, &held));
    Ok(facts)
}

fn fact(text: String, next: &str) -> Option<Fact> {
    Some(Fact {
        text,
        next: next.to_owned(),
    })
}

pub fn kernel(release: &str) -> Option<Fact> {
    let mut numbers = release.split(['.', '-', '+']).map(str::parse::<u32>);
    let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    if version >= KERNEL {
        return None;
    }
    fact(
        format!(
            "kernel {release} is older than {}.{}, which the XDP program needs",
            KERNEL.0, KERNEL.1
        ),
        "install a newer kernel",
    )
}

/// Pins live in the BPF file system only.
pub fn bpffs(mounts: &str, bpf_root: &Path) -> Option<Fact> {
    let mounted = mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next().unwrap_or_default();
        fields.next() == Some("bpf") && bpf_root.starts_with(point)
    });
    if mounted {
        return None;
    }
    fact(
        format!(
            "no BPF file system is mounted at or above {}",
            bpf_root.display()
        ),
        "mount -t bpf bpf /sys/fs/bpf",
    )
}

pub fn interface(name: &str, class: &Path) -> Option<Fact> {
    let state = std::fs::read_to_string(class.join(name).join("operstate"));
    match state.as_deref().map(str::trim) {
        // Tunnels and dummies do not know whether they are up.
        Ok("up" | "unknown") => None,
        Ok(state) => fact(
            format!("interface {name} is {state}"),
            &format!("ip link set {name} up"),
        ),
        // One that is not there is told by those who look for all of them.
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels() {
        for good in ["5.15.0-91-generic", "6.1.0-30-amd64", "6.12+deb13"] {
            assert_eq!(kernel(good), None, "{good}");
        }
        for bad in ["5.10.0-30-amd64", "4.19.1"] {
            assert!(kernel(bad).unwrap().text.contains("older than 5.15"));
        }
    }

    #[test]
    fn mounts() {
        let mounts = "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n";
        assert_eq!(bpffs(mounts, Path::new("/sys/fs/bpf/mb-lb")), None);
        assert!(bpffs(mounts, Path::new("/tmp/mb-lb")).is_some());
        assert!(bpffs("", Path::new("/sys/fs/bpf/mb-lb")).is_some());
    }

    #[test]
    fn interfaces() {
        let class = tempfile::tempdir().unwrap();
        for (name, state) in [
            ("eth0", "up\n"),
            ("dummy0", "unknown\n"),
            ("eth1", "down\n"),
        ] {
            let directory = class.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("operstate"), state).unwrap();
        }
        assert_eq!(interface("eth0", class.path()), None);
        assert_eq!(interface("dummy0", class.path()), None);
        assert_eq!(
            interface("eth1", class.path()).unwrap().text,
            "interface eth1 is down"
        );
        assert_eq!(interface("eth9", class.path()), None);
    }
}
