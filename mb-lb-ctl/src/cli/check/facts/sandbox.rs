//! What the service could not read or run, though root can: its unit takes root's powers over other people's files away,
//! hides homes, and has a /tmp of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::thread::CapabilitySet;

use super::{Fact, fact};
use crate::config::{Check, CheckKind, Config, Secret, ServerTls, Verify};

/// Capabilities that pass over permissions.
const POWERS: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);
/// What `ProtectHome=` hides (systemd.exec(5)).
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// What `PrivateTmp=` hides.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];
/// What the service reads first.
const CONFIGURATION: &str = "/etc/mb-lb/mb-lb.toml";
const EDIT: &str = "in `systemctl edit mb-lb`, under [Service]";

/// Nothing where there is no such service, or this process has no powers to compare with.
pub(super) fn missing(config: &Config) -> Vec<Fact> {
    let limits = match rustix::thread::capabilities(None) {
        Ok(own) if own.effective.intersects(POWERS) => limits(),
        _ => None,
    };
    limits.map_or_else(Vec::new, |limits| judge(&limits, named(config)))
}

/// Of the unit, with whatever was added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    hides_homes: bool,
    hides_tmp: bool,
    may_read: bool,
    may_run: bool,
}

fn limits() -> Option<Limits> {
    let output = Command::new("systemctl")
        .args(["show", "mb-lb.service", "--property"])
        .arg("LoadState,ProtectHome,PrivateTmp,CapabilityBoundingSet")
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
    let has = |wanted: &str| capabilities.split(' ').any(|name| name == wanted);
    let passes_over = has("cap_dac_override");
    (value("LoadState") == Some("loaded")).then_some(Limits {
        hides_homes: matches!(value("ProtectHome"), Some("yes" | "tmpfs")),
        hides_tmp: value("PrivateTmp") == Some("yes"),
        may_read: passes_over || has("cap_dac_read_search"),
        may_run: passes_over,
    })
}

/// A file of this machine, or a directory of certificates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    path: PathBuf,
    is_program: bool,
}

/// What a configuration has the service read and run. Nothing that may lie on a mount that hangs.
fn named(config: &Config) -> BTreeSet<Named> {
    let mut read: Vec<&Path> = vec![Path::new(CONFIGURATION)];
    let mut run: Vec<&Path> = Vec::new();
    let mut secrets: Vec<&Secret> = Vec::new();
    let mut checks: Vec<&Check> = Vec::new();
    let mut tls: Vec<&ServerTls> = Vec::new();
    for service in &config.services {
        checks.extend(&service.check);
    }
    for proxy in &config.proxies {
        checks.extend(&proxy.check);
        read.extend(proxy.certificates.iter().map(PathBuf::as_path));
        tls.extend(
            proxy
                .servers
                .iter()
                .filter_map(|server| server.tls.as_ref()),
        );
    }
    for check in checks {
        match &check.kind {
            CheckKind::Exec { command } => run.extend(command.first().map(Path::new)),
            CheckKind::Smtp(smtp) => tls.extend(&smtp.starttls),
            CheckKind::Http(http) => tls.extend(&http.tls),
            CheckKind::Tcp | CheckKind::Agent { .. } => {}
        }
    }
    for vrrp in &config.vrrps {
        secrets.extend(&vrrp.auth_pass);
        run.extend(vrrp.notify.as_deref());
        let scripts = vrrp.track_scripts.iter();
        run.extend(scripts.filter_map(|script| script.command.split(' ').next().map(Path::new)));
    }
    secrets.extend(config.peer.as_ref().map(|peer| &peer.key));
    let http = config.admin.http.as_ref();
    let login = http.and_then(|http| http.login.as_ref());
    secrets.extend(login.map(|login| &login.password));
    for galera in &config.galeras {
        secrets.extend(&galera.password);
        tls.extend(&galera.tls);
    }
    for sentinel in &config.sentinels {
        secrets.extend(&sentinel.password);
        secrets.extend(&sentinel.sentinel_password);
        tls.extend(&sentinel.tls);
        tls.extend(&sentinel.sentinel_tls);
    }
    for sync in &config.config_syncs {
        read.extend(sync.identity_file.as_deref());
        read.extend(sync.known_hosts.as_deref());
    }
    read.extend(secrets.into_iter().filter_map(|secret| match secret {
        // The others are systemd's.
        Secret::File(path) if path.is_absolute() => Some(path.as_path()),
        _ => None,
    }));
    read.extend(tls.into_iter().filter_map(|tls| match &tls.verify {
        Verify::Ca(path) => Some(path.as_path()),
        _ => None,
    }));
    let named = |path: &Path, is_program| Named {
        path: path.to_owned(),
        is_program,
    };
    let read = read.into_iter().map(|path| named(path, false));
    read.chain(run.into_iter().map(|path| named(path, true)))
        .collect()
}

fn judge(limits: &Limits, named: BTreeSet<Named>) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut open = Vec::new();
    // What is not there is told by others.
    for named in named.into_iter().filter(|named| named.path.exists()) {
        let shown = named.path.display();
        let hidden = if limits.hides_homes && is_below(&named.path, &HOMES) {
            Some(("its unit hides homes", "ProtectHome=read-only"))
        } else if limits.hides_tmp && is_below(&named.path, &TEMPORARY) {
            Some(("its unit has a /tmp of its own", "PrivateTmp=no"))
        } else {
            None
        };
        match hidden {
            Some((why, setting)) => facts.extend(fact(
                format!("the service does not see {shown}: {why}"),
                &format!("put it into /etc/mb-lb; or {setting} {EDIT}"),
            )),
            None => open.push(named),
        }
    }
    for named in refused(open) {
        let shown = named.path.display();
        let (may, what, capability) = match named.is_program {
            true => (limits.may_run, "run", "CAP_DAC_OVERRIDE"),
            false => (limits.may_read, "read", "CAP_DAC_READ_SEARCH"),
        };
        if may {
            continue;
        }
        facts.extend(fact(
            format!("the service could not {what} {shown}: it is root without root's powers over other people's files"),
            &format!("CapabilityBoundingSet={capability} {EDIT}; or have root own it, and the directories above it"),
        ));
    }
    facts
}

/// By its name, or where links lead.
fn is_below(path: &Path, directories: &[&str]) -> bool {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let is_in = |directory: &&str| path.starts_with(directory) || real.starts_with(directory);
    directories.iter().any(is_in)
}

/// What root can read or run by nothing but its powers. The kernel is asked, by a thread that has given them up.
fn refused(named: Vec<Named>) -> Vec<Named> {
    let every = named.into_iter().flat_map(with_certificates);
    let mut able: Vec<Named> = every.filter(may).collect();
    let ask = || {
        let mut sets = rustix::thread::capabilities(None)?;
        sets.effective.remove(POWERS);
        rustix::thread::set_capabilities(None, sets)?;
        able.retain(|named| !may(named));
        Ok::<_, rustix::io::Errno>(())
    };
    let asked = std::thread::scope(|scope| scope.spawn(ask).join());
    match asked {
        Ok(Ok(())) => able,
        // Nothing is known then.
        _ => Vec::new(),
    }
}

fn may(named: &Named) -> bool {
    let access = match named.is_program {
        true => Access::EXEC_OK,
        false => Access::READ_OK,
    };
    rustix::fs::accessat(CWD, &named.path, access, AtFlags::EACCESS).is_ok()
}

/// A directory, and what in it are certificates.
fn with_certificates(named: Named) -> Vec<Named> {
    let entries = fs::read_dir(&named.path).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let inside = files.filter(|file| {
        let ending = file.extension().and_then(|ending| ending.to_str());
        matches!(ending, Some("pem" | "crt" | "cer"))
    });
    let inside = inside.map(|path| Named {
        path,
        is_program: false,
    });
    let inside: Vec<_> = inside.collect();
    std::iter::once(named).chain(inside).collect()
}

#[cfg(test)]
mod tests;
