//! Programs that the daemon is to run: whether they are there, and whether others could change what runs as root.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{Fact, fact};
use crate::config::{Check, CheckKind, Config};

/// Those of checks. `owner` is who ought to have them.
pub(super) fn missing(config: &Config, owner: u32) -> Vec<Fact> {
    let services = config.services.iter();
    let services = services.map(|service| ("service", &service.name, &service.check));
    let proxies = config.proxies.iter();
    let proxies = proxies.map(|proxy| ("proxy", &proxy.name, &proxy.check));
    services
        .chain(proxies)
        .filter_map(|(kind, name, check)| {
            let path = program_of(check.as_ref()?)?;
            program(path, &format!("the check of {kind} {name}")).or_else(|| {
                let metadata = std::fs::metadata(path).ok()?;
                let shown = path.display();
                let (why, next) = if metadata.uid() != owner {
                    ("it runs as root and belongs to somebody else", "chown root")
                } else if metadata.mode() & 0o020 != 0 {
                    ("a group can write it, and it runs as root", "chmod g-w")
                } else {
                    return None;
                };
                let text = format!("the check of {kind} {name}: {shown}: {why}");
                fact(text, &format!("{next} {shown}"))
            })
        })
        .collect()
}

fn program_of(check: &Check) -> Option<&Path> {
    match &check.kind {
        CheckKind::Exec { command } => command.first().map(Path::new),
        _ => None,
    }
}

/// What hinders one, or makes it dangerous. `whose` it is goes before it.
pub(super) fn program(path: &Path, whose: &str) -> Option<Fact> {
    let shown = path.display();
    let (why, next) = match std::fs::metadata(path) {
        Err(error) => (
            error.to_string(),
            "write it, or correct the path".to_owned(),
        ),
        Ok(file) if !file.is_file() => ("it is no file".to_owned(), "correct the path".to_owned()),
        Ok(file) if file.permissions().mode() & 0o111 == 0 => (
            "it is not executable".to_owned(),
            format!("chmod +x {shown}"),
        ),
        Ok(file) if file.mode() & 0o002 != 0 => (
            "everybody can write it, and it runs as root".to_owned(),
            format!("chmod o-w {shown}"),
        ),
        Ok(_) => return None,
    };
    fact(format!("{whose}: {shown}: {why}"), &next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};

    #[test]
    fn a_program_is_there_and_nobody_elses() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("check");
        let shown = path.display();
        let text = format!(
            "[service.smtp]\nlisten = \"192.0.2.100:25\"\ncheck = {{ type = \"exec\", command = [\"{shown}\", \"-v\"] }}\n\
             servers = {{ mb1 = \"192.0.2.1\", mb2 = \"192.0.2.2\" }}\n"
        );
        let config = crate::config::parse(&text, "lb1").config.expect("valid");
        let own = nix::unistd::geteuid().as_raw();
        let fact = |owner| {
            let facts = missing(&config, owner);
            assert!(facts.len() <= 1, "{facts:?}");
            let fact = facts.into_iter().next()?;
            let text = fact.text.strip_prefix("the check of service smtp: ")?;
            Some((text.replace(&shown.to_string(), "X"), fact.next))
        };
        let expected = |text: &str, next: &str| {
            let next = next.replace('X', &shown.to_string());
            Some((text.to_owned(), next))
        };
        let gone = expected(
            "X: No such file or directory (os error 2)",
            "write it, or correct the path",
        );
        assert_eq!(fact(own), gone);
        write(&path, "#!/bin/sh\n").expect("written");
        for (mode, owner, found) in [
            (0o755, own, None),
            (
                0o644,
                own,
                expected("X: it is not executable", "chmod +x X"),
            ),
            (
                0o757,
                own,
                expected(
                    "X: everybody can write it, and it runs as root",
                    "chmod o-w X",
                ),
            ),
            (
                0o775,
                own,
                expected(
                    "X: a group can write it, and it runs as root",
                    "chmod g-w X",
                ),
            ),
            (
                0o755,
                own + 1,
                expected(
                    "X: it runs as root and belongs to somebody else",
                    "chown root X",
                ),
            ),
        ] {
            set_permissions(&path, Permissions::from_mode(mode)).expect("set");
            assert_eq!(fact(owner), found, "{mode:o}");
        }
    }
}
