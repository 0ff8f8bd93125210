//! What the service could not read, though root can: its unit takes root's powers over other people's files away, and
//! hides homes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::thread::CapabilitySet;
use serde_json::Value;

use super::{Fact, fact};
use crate::config::Config;

/// Capabilities that pass over permissions.
const POWERS: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);
/// What `ProtectHome=` hides (systemd.exec(5)).
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
const EDIT: &str = "in `systemctl edit mb-lb`, under [Service]";

/// Nothing where there is no such service, or this process is it.
pub(super) fn missing(config: &Config) -> Vec<Fact> {
    let limits = match rustix::thread::capabilities(None) {
        Ok(own) if own.effective.intersects(POWERS) => limits(),
        _ => None,
    };
    limits.map_or_else(Vec::new, |limits| unreadable(&limits, named(config)))
}

/// Of the unit, with whatever was added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    hides_homes: bool,
    has_powers: bool,
}

fn limits() -> Option<Limits> {
    let output = Command::new("systemctl")
        .args(["show", "mb-lb.service", "--property"])
        .arg("LoadState,ProtectHome,CapabilityBoundingSet")
        .output()
        .ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// What `systemctl show` says; nothing of a unit that is not there.
fn parse(shown: &str) -> Option<Limits> {
    let value = |key: &str| {
        let mut lines = shown.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    let capabilities = value("CapabilityBoundingSet")?;
    (value("LoadState") == Some("loaded")).then_some(Limits {
        hides_homes: matches!(value("ProtectHome"), Some("yes" | "tmpfs")),
        has_powers: capabilities
            .split(' ')
            .any(|name| matches!(name, "cap_dac_override" | "cap_dac_read_search")),
    })
}

/// Files, and directories of certificates, and what is to be done with each.
type Named = BTreeMap<PathBuf, Access>;

/// Everything in a configuration that is a path of this machine, but mounts: to touch those could hang.
fn named(config: &Config) -> Named {
    let config = Config {
        storages: Vec::new(),
        ..config.clone()
    };
    let mut found = Named::new();
    // No map in it has keys other than strings.
    if let Ok(value) = serde_json::to_value(&config) {
        walk(&value, Access::READ_OK, &mut found);
    }
    found
}

fn walk(value: &Value, access: Access, found: &mut Named) {
    match value {
        Value::String(text) if text.starts_with('/') => {
            let path = match access {
                // With arguments.
                Access::EXEC_OK => text.split(' ').next().unwrap_or_default(),
                _ => text,
            };
            found.insert(PathBuf::from(path), access);
        }
        Value::Array(values) => values.iter().for_each(|value| walk(value, access, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                let access = match key.as_str() {
                    "command" | "notify" => Access::EXEC_OK,
                    // What is sent to servers, or written.
                    "path" | "socket" | "targets" | "reload" => continue,
                    _ => access,
                };
                walk(value, access, found);
            }
        }
        _ => {}
    }
}

fn unreadable(limits: &Limits, named: Named) -> Vec<Fact> {
    let (hidden, open): (Vec<_>, Vec<_>) = named
        .into_iter()
        // What is not there is told by others.
        .filter(|(path, _)| path.exists())
        .partition(|(path, _)| limits.hides_homes && is_in_home(path));
    let hidden = hidden.into_iter().filter_map(|(path, _)| {
        fact(
            format!(
                "the service does not see {}: its unit hides homes",
                path.display()
            ),
            &format!("put it into /etc/mb-lb; or ProtectHome=read-only {EDIT}"),
        )
    });
    let refused = match limits.has_powers {
        true => Vec::new(),
        false => refused(open),
    };
    let refused = refused.into_iter().filter_map(|path| {
        let path = path.display();
        fact(
            format!("the service could not read {path}: it is root without root's powers over other people's files"),
            &format!("chown root {path}, or a directory above it; or CapabilityBoundingSet=CAP_DAC_READ_SEARCH {EDIT}"),
        )
    });
    hidden.chain(refused).collect()
}

/// By its name, or where links lead.
fn is_in_home(path: &Path) -> bool {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let is_below = |home: &&str| path.starts_with(home) || real.starts_with(home);
    HOMES.iter().any(|home| is_below(&home))
}

/// Asks the kernel, from a thread that has given those powers up.
fn refused(named: Vec<(PathBuf, Access)>) -> Vec<PathBuf> {
    let ask = || {
        let Ok(mut sets) = rustix::thread::capabilities(None) else {
            return Vec::new();
        };
        sets.effective.remove(POWERS);
        if rustix::thread::set_capabilities(None, sets).is_err() {
            return Vec::new();
        }
        let mut refused = Vec::new();
        for (path, access) in named {
            let may = |path: &Path, access| {
                rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
            };
            if !may(&path, access) {
                refused.push(path);
            } else if let Ok(entries) = fs::read_dir(&path) {
                let files = entries.flatten().map(|entry| entry.path());
                let files = files.filter(|file| is_certificate(file));
                refused.extend(files.filter(|file| !may(file, Access::READ_OK)));
            }
        }
        refused
    };
    std::thread::scope(|scope| scope.spawn(ask).join().unwrap_or_default())
}

fn is_certificate(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("pem" | "crt" | "cer"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_unit_that_is_there_says_what_it_takes_away() {
        let shown = |load: &str, home: &str, capabilities: &str| {
            parse(&format!(
                "LoadState={load}\nProtectHome={home}\nCapabilityBoundingSet={capabilities}\n"
            ))
        };
        let limits = |hides_homes, has_powers| {
            Some(Limits {
                hides_homes,
                has_powers,
            })
        };
        let few = "cap_net_raw cap_bpf";
        assert_eq!(shown("not-found", "no", few), None);
        assert_eq!(parse(""), None);
        assert_eq!(shown("loaded", "yes", few), limits(true, false));
        assert_eq!(shown("loaded", "tmpfs", few), limits(true, false));
        assert_eq!(shown("loaded", "read-only", few), limits(false, false));
        let more = "cap_dac_read_search cap_bpf";
        assert_eq!(shown("loaded", "no", more), limits(false, true));
    }

    #[test]
    fn paths_of_this_machine_are_found_and_no_others() {
        let text = "[director]\nname = \"lb1\"\n\
             [vrrp.v]\ninterface = \"eth0\"\nvirtual_router_id = 5\npriority = 100\naddresses = \"192.0.2.100\"\n\
             auth_pass_file = \"/etc/v.password\"\nnotify = \"/usr/bin/told\"\n\
             [service.smtp]\nlisten = \"192.0.2.100:25\"\ncheck = { type = \"http\", path = \"/health\" }\nservers = { m = \"192.0.2.1\" }\n\
             [proxy.web]\nlisten = \"192.0.2.100:443\"\ncertificate = [\"/etc/certs\"]\nservers = { m = \"192.0.2.1:80\" }\n\
             [storage.q]\ntype = \"mount\"\nmount = \"/srv/q\"\n";
        let config = crate::config::parse(text, "lb1").config.expect("valid");
        let found = named(&config).into_iter();
        let found: Vec<_> = found
            .map(|(path, access)| (path.display().to_string(), access == Access::EXEC_OK))
            .collect();
        let expected = [
            ("/etc/certs", false),
            ("/etc/v.password", false),
            ("/usr/bin/told", true),
        ];
        assert_eq!(
            found,
            expected.map(|(path, is_program)| (path.to_owned(), is_program))
        );
    }

    #[test]
    fn what_only_roots_powers_open_is_told() {
        if !nix::unistd::geteuid().is_root() {
            // Nobody else has powers to give up; `cargo xtask test` runs as root.
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, owner: u32, mode: u32| {
            let path = directory.path().join(name);
            fs::write(&path, "x").expect("written");
            std::os::unix::fs::chown(&path, Some(owner), Some(owner)).expect("root may");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("root may");
            path
        };
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let own = file("own.pem", 0, 0o600);
        let all = file("all.pem", 1, 0o644);
        let others = file("others.pem", 1, 0o600);
        let program = file("program", 1, 0o711);
        let read = |path: &Path| (path.to_owned(), Access::READ_OK);
        let every = Named::from([
            read(&own),
            read(&all),
            read(&others),
            (program, Access::EXEC_OK),
            read(&directory.path().join("none")),
        ]);
        let limits = Limits {
            hides_homes: true,
            has_powers: false,
        };
        let texts = |limits: Limits, named: Named| -> Vec<String> {
            let facts = unreadable(&limits, named).into_iter();
            facts.map(|fact| fact.text).collect()
        };
        let expected = format!("the service could not read {}: ", others.display());
        let said = texts(limits, every.clone());
        assert!(
            said.len() == 1 && said[0].starts_with(&expected),
            "{said:?}"
        );
        // In a directory of certificates too.
        assert_eq!(texts(limits, Named::from([read(directory.path())])), said);
        let powerful = Limits {
            has_powers: true,
            ..limits
        };
        assert!(texts(powerful, every).is_empty());
        // This thread still can.
        assert!(fs::read(&others).is_ok());
        let homes = Named::from([read(Path::new("/root"))]);
        assert_eq!(
            texts(powerful, homes),
            ["the service does not see /root: its unit hides homes"]
        );
    }
}
