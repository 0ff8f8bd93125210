//! Small Debians or Ubuntus with systemd, of this machine's own release, so that what is built here runs in them. The lab's
//! guests use them as file systems that stay as they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::progress::{quietly, step};

/// Each with what its machines have that the smallest Debian has not.
const ROOTS: [(&str, &str); 2] = [
    ("debian-root", "systemd,systemd-sysv,procps"),
    // A site that HAProxy and keepalived serve.
    (
        "debian-pair",
        "systemd,systemd-sysv,procps,iproute2,haproxy,keepalived,psmisc,openssh-server,openssh-client,\
         curl,ethtool,man-db,nftables,rsync,socat,tcpdump",
    ),
];

/// Makes those in `target` that are not there yet, or have not all the packages that they should have.
///
/// # Errors
/// Not root, or the archive cannot be reached; the message says what to do.
pub fn debian_roots(root: &Path) -> Result<()> {
    ROOTS
        .iter()
        .try_for_each(|(name, packages)| debian_root(root, name, packages))
}

fn debian_root(root: &Path, name: &str, packages: &str) -> Result<()> {
    let directory = root.join("target").join(name);
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release has no VERSION_CODENAME: is this Debian or Ubuntu?")?;
    let made_of = format!("{suite} {packages}\n");
    // Beside it: it is the guests' file system, and has nothing that a Debian has not.
    let list = directory.with_extension("packages");
    let is_whole = directory.join("usr/lib/systemd/systemd").exists();
    if is_whole && fs::read_to_string(&list).is_ok_and(|list| list == made_of) {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "{} for the tests of the package is not there or lacks something: run `cargo xtask setup` as root",
            directory.display()
        );
    }
    // What an interrupted run has left is not taken for a whole one.
    let partial = directory.with_extension("partial");
    if partial.exists() {
        // mmdebstrap has /proc and /sys of this machine in there while it runs, and if it was killed, after that too.
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
        let inside = format!(" {}/", partial.display());
        if mounts.lines().any(|mount| mount.contains(&inside)) {
            bail!(
                "something is mounted in {}: is mmdebstrap at work there? If not, unmount it",
                partial.display()
            );
        }
        fs::remove_dir_all(&partial)
            .with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    let heading = format!("setup: a small {suite} with systemd into target/{name}");
    step(&heading, || {
        quietly(
            Command::new("mmdebstrap")
                .args(["--quiet", "--variant=minbase"])
                .args([&format!("--include={packages}"), suite])
                .arg(&partial),
            "the tests of the package need it: see the lines above",
        )
    })?;
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::rename(&partial, &directory)
        .with_context(|| format!("cannot rename {}", partial.display()))?;
    fs::write(&list, made_of).with_context(|| format!("cannot write {}", list.display()))
}
