//! What tiers need of this machine: passwords (and that of the page), and mounts.

use std::path::Path;

use super::{Fact, fact};
use crate::config::Config;

pub(super) fn missing(config: &Config, mounts: &str) -> Vec<Fact> {
    let password = password(config);
    password
        .into_iter()
        .chain(unmounted(config, mounts))
        .collect()
}

/// Only what the kernel lists is looked at: to touch the path itself could hang.
fn unmounted(config: &Config, mounts: &str) -> Vec<Fact> {
    let is_mounted = |path: &Path| {
        let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        points.any(|point| point != "/" && path.starts_with(point))
    };
    let storages = config.storages.iter();
    storages
        .filter_map(|storage| {
            let path = storage.mount.as_deref().filter(|path| !is_mounted(path))?;
            let out = match storage.takes_out.is_empty() {
                true => String::new(),
                false => {
                    let out: Vec<_> = storage.takes_out.iter().map(ToString::to_string).collect();
                    format!("; {} would take no new clients", out.join(", "))
                }
            };
            let (name, path) = (&storage.name, path.display());
            fact(
                format!("storage {name}: nothing is mounted at {path}{out}"),
                &format!("mount {path}, or correct `mount`"),
            )
        })
        .collect()
}

fn password(config: &Config) -> Option<Fact> {
    let page = || crate::admin::http::check(config);
    let why = crate::tiers::check(config).and_then(|()| page()).err()?;
    fact(
        format!("{why}; a reload would be refused"),
        "write the password into the file, for root only: install -m 600 /dev/stdin FILE",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "/dev/vda / ext4 rw 0 0\n192.0.2.9:/q /srv/q nfs4 rw 0 0\n";

    fn facts(text: &str) -> Vec<String> {
        let service = "[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = { mb1 = \"192.0.2.1\", mb2 = \"192.0.2.2\" }\n";
        let parsed = crate::config::parse(&format!("{service}{text}"), "lb1");
        let config = parsed
            .config
            .unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
        missing(&config, MOUNTS)
            .into_iter()
            .map(|fact| fact.text)
            .collect()
    }

    #[test]
    fn what_is_not_mounted_is_told_with_what_follows() {
        let at = |path: &str, more: &str| {
            facts(&format!(
                "[storage.q]\ntype = \"mount\"\nmount = \"{path}\"\n{more}"
            ))
        };
        assert!(at("/srv/q", "").is_empty());
        assert!(at("/srv/q/mail", "").is_empty());
        assert_eq!(
            at("/srv/qq", ""),
            ["storage q: nothing is mounted at /srv/qq"]
        );
        assert_eq!(
            at("/srv", "takes_out = \"smtp\"\n"),
            ["storage q: nothing is mounted at /srv; smtp would take no new clients"]
        );
    }

    #[test]
    fn a_password_that_cannot_be_read_is_told() {
        let text = "[galera.db]\nlisten = \"192.0.2.99:3306\"\nuser = \"x\"\npassword_file = \"/nowhere/password\"\n\
                    servers = { a = \"192.0.2.1:3306\" }\n";
        let said = facts(text).concat();
        assert!(
            said.starts_with("galera db: the password cannot be read: /nowhere/password: "),
            "{said}"
        );
        assert!(said.ends_with("a reload would be refused"), "{said}");
    }
}
