//! The kernel, the BPF file system, and what is pinned in it.

use std::fs;
use std::io;
use std::path::Path;

use aya::util::KernelVersion;
use mb_lb_common::LAYOUT_VERSION;

use super::finding::Finding;
use crate::cli::check::facts;
use crate::config::{Config, Via};

const GROUP: &str = "kernel";

pub fn look(config: Option<&Config>, bpf_root: &Path, mounts: &str) -> Vec<Finding> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut findings = vec![
        version(release),
        btf(Path::new("/sys/kernel/btf/vmlinux").exists()),
    ];
    let through_vips = config.is_some_and(|config| {
        let checks = config
            .services
            .iter()
            .filter_map(|service| service.check.as_ref());
        checks.into_iter().any(|check| check.via == Via::Vip)
    });
    if through_vips && !has_tcx() {
        let modules = fs::read_to_string(format!("/lib/modules/{release}/modules.dep"));
        let builtin = fs::read_to_string(format!("/lib/modules/{release}/modules.builtin"));
        findings.push(hooks(
            &modules.unwrap_or_default(),
            &builtin.unwrap_or_default(),
        ));
    }
    findings.push(file_system(mounts, bpf_root));
    findings.extend(layouts(pinned(bpf_root)));
    findings
}

/// From 6.6 on programs are at these hooks without modules.
fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

fn version(release: &str) -> Finding {
    if release.is_empty() {
        let why = "the kernel's version: /proc/sys/kernel/osrelease cannot be read";
        return Finding::not_known(GROUP, why, "uname -r: 5.15 or newer is needed");
    }
    match facts::kernel(release) {
        Some(fact) => Finding::problem(
            GROUP,
            &fact.text,
            "the kernel refuses the program, and nothing is balanced",
            &fact.next,
        ),
        None => Finding::ok(GROUP, &format!("kernel {release}: 5.15 or newer is needed")),
    }
}

fn btf(is_there: bool) -> Finding {
    match is_there {
        true => Finding::ok(GROUP, "the kernel describes its types (BTF)"),
        false => Finding::warning(
            GROUP,
            "the kernel does not describe its types (BTF): there is no /sys/kernel/btf/vmlinux",
            "kernels of Debian and Ubuntu do; on another one the program may be refused, and then the journal says why",
            "boot a kernel of the distribution, or one built with CONFIG_DEBUG_INFO_BTF",
        ),
    }
}

/// `modules` and `builtin` as depmod(8) writes them.
fn hooks(modules: &str, builtin: &str) -> Finding {
    if modules.is_empty() && builtin.is_empty() {
        return Finding::not_known(
            GROUP,
            "whether this kernel has sch_ingress and cls_bpf, which checks with via = \"vip\" need: its modules are not listed",
            "modprobe -a sch_ingress cls_bpf",
        );
    }
    let has = |name: &str| {
        let file = format!("/{name}.ko");
        modules.contains(&file) || builtin.contains(&file)
    };
    let missing: Vec<_> = ["sch_ingress", "cls_bpf"]
        .into_iter()
        .filter(|name| !has(name))
        .collect();
    match missing.is_empty() {
        true => Finding::ok(
            GROUP,
            "checks with via = \"vip\" have what they need of traffic control",
        ),
        false => Finding::problem(
            GROUP,
            &format!("this kernel has no {}", missing.join(" and no ")),
            "checks with via = \"vip\" cannot run",
            "boot a kernel of the distribution, or take `via` out of the checks, then mb-lb-ctl reload",
        ),
    }
}

fn file_system(mounts: &str, bpf_root: &Path) -> Finding {
    match facts::bpffs(mounts, bpf_root) {
        Some(fact) => Finding::problem(
            GROUP,
            &fact.text,
            "program, maps and flows live in pins: without a place for them nothing is attached",
            &fact.next,
        ),
        None => Finding::ok(
            GROUP,
            &format!("a BPF file system is mounted for {}", bpf_root.display()),
        ),
    }
}

/// Names of directories, and whether a program is attached from each.
fn pinned(bpf_root: &Path) -> io::Result<Vec<(String, bool)>> {
    let entries = match fs::read_dir(bpf_root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let is_layout = name
            .strip_prefix('v')
            .is_some_and(|rest| rest.parse::<u32>().is_ok());
        if is_layout && entry.path().is_dir() {
            let pins = fs::read_dir(entry.path())?.flatten();
            let attached = pins
                .into_iter()
                .any(|pin| pin.file_name().to_string_lossy().starts_with("link-"));
            found.push((name, attached));
        }
    }
    found.sort();
    Ok(found)
}

fn layouts(pinned: io::Result<Vec<(String, bool)>>) -> Vec<Finding> {
    let pinned = match pinned {
        Ok(pinned) => pinned,
        Err(error) => {
            let why = format!("what is pinned: {error}");
            return vec![Finding::not_known(GROUP, &why, "run this as root")];
        }
    };
    let own = format!("v{LAYOUT_VERSION}");
    let others = pinned.into_iter().filter(|(name, _)| *name != own);
    let found: Vec<Finding> = others
        .map(|(name, attached)| {
            let next = "in a maintenance window, for it ends all flows of this director: systemctl stop mb-lb; mb-lb-ctl detach; \
                        systemctl start mb-lb";
            match attached {
                true => Finding::problem(
                    GROUP,
                    &format!("a program of map layout {name} is attached, and this build has {own}"),
                    "this build cannot attach while the other's program is on the interface",
                    next,
                ),
                false => Finding::warning(
                    GROUP,
                    &format!("maps of layout {name} are pinned, and this build has {own}"),
                    "another build left them: they take memory, and serve nobody",
                    next,
                ),
            }
        })
        .collect();
    match found.is_empty() {
        true => vec![Finding::ok(GROUP, "no pins of another map layout")],
        false => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn versions_and_types() {
        for (release, level) in [
            ("6.1.0-30-amd64", Level::Ok),
            ("5.15.0-91-generic", Level::Ok),
            ("5.10.0-30-amd64", Level::Problem),
            ("", Level::NotKnown),
        ] {
            assert_eq!(version(release).level, level, "{release}");
        }
        assert_eq!(
            (btf(true).level, btf(false).level),
            (Level::Ok, Level::Warning)
        );
    }

    #[test]
    fn modules() {
        let one = "kernel/net/sched/sch_ingress.ko.xz:\n";
        let other = "kernel/net/sched/cls_bpf.ko\n";
        for (modules, builtin, level) in [
            ("", "", Level::NotKnown),
            (one, other, Level::Ok),
            (one, "", Level::Problem),
        ] {
            assert_eq!(hooks(modules, builtin).level, level, "{modules}{builtin}");
        }
        assert!(hooks(one, "").text.ends_with("no cls_bpf"));
    }

    #[test]
    fn pins_of_other_builds() {
        let own = (format!("v{LAYOUT_VERSION}"), true);
        let level = |pinned| layouts(Ok(pinned))[0].level;
        assert_eq!(level(vec![own.clone()]), Level::Ok);
        assert_eq!(level(vec![]), Level::Ok);
        assert_eq!(
            level(vec![own.clone(), ("v1".to_owned(), false)]),
            Level::Warning
        );
        assert_eq!(level(vec![own, ("v1".to_owned(), true)]), Level::Problem);
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(layouts(Err(error))[0].level, Level::NotKnown);
    }

    #[test]
    fn what_is_pinned() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["v1", "v2", "other"] {
            fs::create_dir(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join("v2/link-3-native"), "").unwrap();
        let found = pinned(dir.path()).unwrap();
        assert_eq!(found, [("v1".to_owned(), false), ("v2".to_owned(), true)]);
        assert_eq!(pinned(&dir.path().join("none")).unwrap(), []);
    }
}
