//! A small Debian or Ubuntu with systemd, of this machine's own release, so that what is built here runs in it. The lab's
//! guests use it as the file system that stays as it is.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::progress::{quietly, step};

/// What a server has that the smallest Debian has not.
const PACKAGES: &str = "--include=systemd,systemd-sysv,procps";

/// Makes `target/debian-root`, where it is not yet.
///
/// # Errors
/// Not root, or the archive cannot be reached; the message says what to do.
pub fn debian_root(root: &Path) -> Result<()> {
    let directory = root.join("target/debian-root");
    if directory.join("usr/lib/systemd/systemd").exists() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "there is no {} for the tests of the package: run `cargo xtask setup` as root",
            directory.display()
        );
    }
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release has no VERSION_CODENAME: is this Debian or Ubuntu?")?;
    // What an interrupted run has left is not taken for a whole one.
    let partial = root.join("target/debian-root.partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)
            .with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    let heading = format!("setup: a small {suite} with systemd into target/debian-root");
    step(&heading, || {
        quietly(
            Command::new("mmdebstrap")
                .args(["--quiet", "--variant=minbase", PACKAGES, suite])
                .arg(&partial),
            "the tests of the package need it: see the lines above",
        )
    })?;
    fs::rename(&partial, &directory).with_context(|| format!("cannot rename {}", partial.display()))
}
