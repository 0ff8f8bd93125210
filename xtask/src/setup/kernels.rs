//! Debian kernels for the virtual machines of the test `kernels`. They are unpacked under `target/kernels`, never
//! installed: this machine does not boot them.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::progress::{quietly, step};

/// Debian 12's own, and that of its backports and of Debian 13.
const SERIES: [&str; 2] = ["6.1", "6.12"];

/// Small (few drivers), and with everything that the program needs.
const FLAVOUR: &str = "-cloud-amd64";

/// A kernel of each series. One that is there stays, also when Debian has a newer one: remove `target/kernels`
/// for that.
///
/// # Errors
/// Debian's archive cannot be asked or has no such kernel; the message says what to do.
pub fn kernels(root: &Path) -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        // The machines run this machine's own programs, and the flavour is that of x86-64.
        return Ok(());
    }
    let directory = root.join("target/kernels");
    for series in SERIES {
        if !is_there(&directory, series) {
            step(
                &format!("setup: Debian's Linux {series} into target/kernels"),
                || get(&directory, series),
            )
            .with_context(|| {
                format!(
                    "no Linux {series} for the test `kernels`: put a Debian vmlinuz-{series}.*{FLAVOUR} into {} by hand",
                    directory.display()
                )
            })?;
        }
    }
    Ok(())
}

fn is_there(directory: &Path, series: &str) -> bool {
    let wanted = format!("vmlinuz-{series}.");
    fs::read_dir(directory).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(&wanted))
    })
}

fn get(directory: &Path, series: &str) -> Result<()> {
    match newest(series).and_then(|names| first(directory, &names)) {
        Ok(()) => Ok(()),
        Err(error) => {
            // Old lists name what security updates have since removed from the archive.
            if !nix::unistd::geteuid().is_root() {
                return Err(error.context("run `sudo apt-get update` and try again"));
            }
            eprintln!("setup: {error:#}; asking again with fresh package lists");
            quietly(
                Command::new("apt-get").args(["update", "-q"]),
                "are the sources of apt reachable?",
            )?;
            first(directory, &newest(series)?)
        }
    }
}

/// The newest package of a series: signed for Secure Boot, and not signed.
fn newest(series: &str) -> Result<Vec<String>> {
    let pattern = format!("^linux-image-{}\\..*{FLAVOUR}", series.replace('.', "\\."));
    let output = Command::new("apt-cache")
        .args(["search", "--names-only", &pattern])
        .output()
        .context("cannot start apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let newest = newest_of(names);
    if newest.is_empty() {
        bail!("apt knows no package linux-image-{series}.*{FLAVOUR}");
    }
    Ok(newest)
}

fn newest_of<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let is_kernel = |name: &&str| {
        let name = name.strip_suffix("-unsigned").unwrap_or(name);
        name.ends_with(FLAVOUR)
    };
    let mut names: Vec<&str> = names.filter(is_kernel).collect();
    names.sort_by_key(|name| (Reverse(version(name)), name.ends_with("-unsigned")));
    let newest = names.first().map(|name| version(name));
    names
        .into_iter()
        .filter(|name| Some(version(name)) == newest)
        .map(str::to_owned)
        .collect()
}

/// The numbers in a package's version: 6.12.9 comes before 6.12.111.
fn version(name: &str) -> Vec<u32> {
    let version = name.split(FLAVOUR).next().unwrap_or(name);
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Unpacks the first of `names` that can be had.
fn first(directory: &Path, names: &[String]) -> Result<()> {
    let mut result = Err(anyhow!("no package to try"));
    for name in names {
        result = download(directory, name);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn download(directory: &Path, name: &str) -> Result<()> {
    let work = directory.join(format!("download.{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let done = unpack(directory, &work, name);
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    done
}

fn unpack(directory: &Path, work: &Path, name: &str) -> Result<()> {
    let next = format!("run `apt-get download {name}` by hand to see why");
    quietly(
        Command::new("apt-get")
            .current_dir(work)
            .args(["download", "-q", name]),
        &next,
    )?;
    let package = only(work, |file| file.ends_with(".deb"))?;
    let tree = work.join("tree");
    quietly(
        Command::new("dpkg-deb").arg("-x").arg(&package).arg(&tree),
        "is the disk full?",
    )?;
    let kernel = only(&tree.join("boot"), |file| file.starts_with("vmlinuz-"))?;
    let file = kernel.file_name().context("a file has a name")?;
    let to = directory.join(file);
    fs::rename(&kernel, &to).with_context(|| format!("cannot write {}", to.display()))
}

fn only(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    entries
        .flatten()
        .find(|entry| entry.file_name().to_str().is_some_and(&wanted))
        .map(|entry| entry.path())
        .with_context(|| format!("nothing of the kind in {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_by_number_and_signed_first() {
        let names = [
            "linux-image-6.12.9+deb12-cloud-amd64",
            "linux-image-6.12.111+deb12-cloud-amd64-dbg",
            "linux-image-6.12.111+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.111+deb12-cloud-amd64",
            "linux-image-6.12.73+deb12-cloud-amd64",
        ];
        let expected = [
            "linux-image-6.12.111+deb12-cloud-amd64",
            "linux-image-6.12.111+deb12-cloud-amd64-unsigned",
        ];
        assert_eq!(newest_of(names.into_iter()), expected);
    }

    #[test]
    fn an_update_within_a_release_is_newer() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64-unsigned",
        ];
        let expected = ["linux-image-6.1.0-50-cloud-amd64-unsigned"];
        assert_eq!(newest_of(names.into_iter()), expected);
    }
}
