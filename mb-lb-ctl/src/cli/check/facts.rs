//! Facts of this machine that a configuration needs. All are warnings: the file may be meant for another machine.

use std::path::Path;

use serde::Serialize;

use crate::config::Config;

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
        .collect()
}

fn fact(text: String, next: &str) -> Option<Fact> {
    Some(Fact {
        text,
        next: next.to_owned(),
    })
}

fn kernel(release: &str) -> Option<Fact> {
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
fn bpffs(mounts: &str, bpf_root: &Path) -> Option<Fact> {
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

fn interface(name: &str, class: &Path) -> Option<Fact> {
    let state = std::fs::read_to_string(class.join(name).join("operstate"));
    match state.as_deref().map(str::trim) {
        // Tunnels and dummies do not know whether they are up.
        Ok("up" | "unknown") => None,
        Ok(state) => fact(
            format!("interface {name} is {state}"),
            &format!("ip link set {name} up"),
        ),
        Err(_) => fact(
            format!("there is no interface {name} on this machine"),
            "ip -br link shows those that are; correct director.interfaces",
        ),
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
        assert!(
            interface("eth9", class.path())
                .unwrap()
                .text
                .starts_with("there is no")
        );
    }
}
