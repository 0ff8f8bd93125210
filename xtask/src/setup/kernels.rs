//! Debian kernels for the virtual machines of the test `kernels`. They are unpacked under `target/kernels`, never
//! installed: this machine does not boot them. Modules are beside their kernel, in `modules-VERSION`.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::progress::{quietly, step};

struct Series {
    name: &'static str,
    /// What the test inserts. None of them needs another one.
    modules: &'static [&'static str],
}

/// Debian 12's own, and that of its backports and of Debian 13. Before 6.6 programs at the traffic control hooks are
/// filters of a queueing discipline, and Debian has both as modules.
const SERIES: [Series; 2] = [
    Series {
        name: "6.1",
        modules: &["sch_ingress", "cls_bpf"],
    },
    Series {
        name: "6.12",
        modules: &[],
    },
];

/// Small (few drivers), and with everything that the program needs.
const FLAVOUR: &str = "-cloud-amd64";

/// Names of what is kept, before the version.
const KERNEL: &str = "vmlinuz-";
const MODULES: &str = "modules-";

/// A kernel of each series, with its modules. One that is there stays, also when Debian has a newer one: remove
/// `target/kernels` for that.
///
/// # Errors
/// Debian's archive cannot be asked or has no such kernel; the message says what to do.
pub fn kernels(root: &Path) -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        // The machines run this machine's own programs, and the flavour is that of x86-64.
        return Ok(());
    }
    let directory = root.join("target/kernels");
    for series in &SERIES {
        let found = versions(&directory, series.name);
        let is_whole = |version: &String| lacks(&directory, version, series.modules).is_none();
        // The test takes any of them.
        if !found.is_empty() && found.iter().all(is_whole) {
            continue;
        }
        step(&heading(&directory, series, &found), || {
            get(&directory, series, &found)
        })
        .with_context(|| by_hand(&directory, series))?;
    }
    Ok(())
}

/// Says what is done, and why where a kernel is there already.
fn heading(directory: &Path, series: &Series, found: &[String]) -> String {
    let name = series.name;
    let lacking = found.iter().find_map(|version| {
        lacks(directory, version, series.modules).map(|module| (version, module))
    });
    match lacking {
        Some((version, module)) => {
            format!(
                "setup: Debian's Linux {name} into target/kernels, as {version} there lacks {module}.ko"
            )
        }
        None => format!("setup: Debian's Linux {name} into target/kernels"),
    }
}

fn by_hand(directory: &Path, series: &Series) -> String {
    let name = series.name;
    let mut text = format!(
        "no Linux {name} for the test `kernels`: put a Debian vmlinuz-{name}.*{FLAVOUR} into {} by hand",
        directory.display()
    );
    if !series.modules.is_empty() {
        let files: Vec<_> = series
            .modules
            .iter()
            .map(|name| format!("{name}.ko"))
            .collect();
        text.push_str(&format!(
            ", and {} of its package into modules-{name}.*{FLAVOUR} beside it",
            files.join(" and ")
        ));
    }
    text
}

/// The versions of a series whose kernels are there, as in the names of their files.
fn versions(directory: &Path, series: &str) -> Vec<String> {
    of_series(directory, KERNEL, series)
}

/// What follows `kind` in the names of what is there of a series.
fn of_series(directory: &Path, kind: &str, series: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let wanted = format!("{series}.");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| name.strip_prefix(kind).map(str::to_owned))
        .filter(|version| version.starts_with(&wanted))
        .collect()
}

/// The first of `modules` that is not there.
fn lacks<'m>(directory: &Path, version: &str, modules: &[&'m str]) -> Option<&'m str> {
    let modules_of = directory.join(format!("{MODULES}{version}"));
    let is_missing = |name: &&&str| !modules_of.join(format!("{name}.ko")).is_file();
    modules.iter().find(is_missing).copied()
}

/// `found` are the versions that are there without their modules: the same ones are tried first.
fn get(directory: &Path, series: &Series, found: &[String]) -> Result<()> {
    let same: Vec<String> = found.iter().flat_map(|version| packages(version)).collect();
    if !same.is_empty() {
        match first(directory, series, &same) {
            Ok(()) => return Ok(()),
            Err(error) => eprintln!("setup: {error:#}; taking Debian's newest instead"),
        }
    }
    match newest(series.name).and_then(|names| first(directory, series, &names)) {
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
            first(directory, series, &newest(series.name)?)
        }
    }
}

/// Packages that have a kernel: signed for Secure Boot, and not signed.
fn packages(version: &str) -> [String; 2] {
    ["", "-unsigned"].map(|suffix| format!("linux-image-{version}{suffix}"))
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
fn first(directory: &Path, series: &Series, names: &[String]) -> Result<()> {
    let mut result = Err(anyhow!("no package to try"));
    for name in names {
        result = download(directory, series, name);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn download(directory: &Path, series: &Series, name: &str) -> Result<()> {
    let work = directory.join(format!("download.{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let done = unpack(&work, name).and_then(|tree| keep(directory, series, &work, &tree));
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    done
}

/// The files of a package.
fn unpack(work: &Path, name: &str) -> Result<PathBuf> {
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
    Ok(tree)
}

/// Takes the kernel and its modules, in the place of what is there of the series. Both are of one package: a kernel refuses the
/// modules of another build. The kernel comes last, for without it all of this is done again.
fn keep(directory: &Path, series: &Series, work: &Path, tree: &Path) -> Result<()> {
    let kernel = only(&tree.join("boot"), |file| file.starts_with(KERNEL))?;
    let name = file_name(&kernel)?;
    let version = name.trim_start_matches(KERNEL);
    let modules = work.join("modules");
    fs::create_dir(&modules).with_context(|| format!("cannot make {}", modules.display()))?;
    let from = tree
        .join("lib/modules")
        .join(version)
        .join("kernel/net/sched");
    for module in series.modules {
        let file = format!("{module}.ko");
        move_to(&from.join(&file), &modules.join(&file))?;
    }
    for old in of_series(directory, KERNEL, series.name) {
        let old = directory.join(format!("{KERNEL}{old}"));
        fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    for old in of_series(directory, MODULES, series.name) {
        let old = directory.join(format!("{MODULES}{old}"));
        fs::remove_dir_all(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    if !series.modules.is_empty() {
        move_to(&modules, &directory.join(format!("{MODULES}{version}")))?;
    }
    move_to(&kernel, &directory.join(name))
}

fn move_to(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

fn file_name(path: &Path) -> Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.with_context(|| format!("the name of {}", path.display()))
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
    fn what_is_there_is_of_the_series_and_has_its_modules() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let modules = directory.join("modules-6.1.0-56-cloud-amd64");
        fs::create_dir_all(&modules).unwrap();
        for file in [
            "vmlinuz-6.1.0-56-cloud-amd64",
            "vmlinuz-6.12.9+deb12-cloud-amd64",
            "modules-6.1.0-56-cloud-amd64/sch_ingress.ko",
        ] {
            fs::write(directory.join(file), "").unwrap();
        }
        let found = ["6.1", "6.12", "6.6"].map(|series| versions(directory, series));
        let lacking = ["sch_ingress", "cls_bpf"]
            .map(|module| lacks(directory, "6.1.0-56-cloud-amd64", &["sch_ingress", module]));
        let none = lacks(directory, "6.12.9+deb12-cloud-amd64", &[]);
        assert_eq!(found[0], ["6.1.0-56-cloud-amd64"]);
        assert_eq!(found[1], ["6.12.9+deb12-cloud-amd64"]);
        assert!(found[2].is_empty());
        assert_eq!(lacking, [None, Some("cls_bpf")]);
        assert_eq!(none, None);
    }

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
