//! Changes of `[config_sync.NAME]`.

use super::span;
use crate::config::{ConfigSync, SyncMethod};

/// One line for each that comes or goes, and for each key that changes.
pub(super) fn changes(old: &[ConfigSync], new: &[ConfigSync], lines: &mut Vec<String>) {
    for sync in old {
        if !new.iter().any(|other| other.name == sync.name) {
            lines.push(format!(
                "- config_sync {} (the targets keep what they have)",
                sync.name
            ));
        }
    }
    for sync in new {
        match old.iter().find(|other| other.name == sync.name) {
            Some(known) => keys(known, sync, lines),
            None => lines.push(format!(
                "+ config_sync {} by {} from {} to {}",
                sync.name,
                sync.method.name(),
                source(sync),
                targets(sync)
            )),
        }
    }
}

fn keys(old: &ConfigSync, new: &ConfigSync, lines: &mut Vec<String>) {
    let mut differ = |key: &str, value: &dyn Fn(&ConfigSync) -> String| {
        let (before, after) = (value(old), value(new));
        if before != after {
            lines.push(format!(
                "~ config_sync {} {key} {before} -> {after}",
                new.name
            ));
        }
    };
    differ("method", &|s| s.method.name().to_owned());
    differ("source", &source);
    differ("targets", &targets);
    differ("interval", &|s| span(s.interval));
    differ("on_change", &|s| s.on_change.to_string());
    differ("exclude", &|s| match &s.method {
        SyncMethod::Rsync { exclude, .. } if !exclude.is_empty() => exclude.join(", "),
        _ => "none".to_owned(),
    });
    differ("delete", &|s| {
        matches!(s.method, SyncMethod::Rsync { delete: true, .. }).to_string()
    });
    differ("branch", &|s| match &s.method {
        SyncMethod::Git {
            branch: Some(branch),
            ..
        } => branch.clone(),
        _ => "none".to_owned(),
    });
    differ("reload", &|s| {
        let quoted = |command: &String| format!("`{command}`");
        s.reload.as_ref().map_or_else(|| "none".to_owned(), quoted)
    });
    let path = |path: &Option<std::path::PathBuf>| match path {
        Some(path) => path.display().to_string(),
        None => "ssh's own".to_owned(),
    };
    differ("identity_file", &|s| path(&s.identity_file));
    differ("known_hosts", &|s| path(&s.known_hosts));
    differ("timeout", &|s| span(s.timeout));
}

fn source(sync: &ConfigSync) -> String {
    match sync.source() {
        Some(source) => source.display().to_string(),
        None => "the targets' own origin".to_owned(),
    }
}

fn targets(sync: &ConfigSync) -> String {
    let mut targets: Vec<_> = sync
        .targets
        .iter()
        .map(|target| {
            let port = match target.port {
                22 => String::new(),
                port => format!(" port {port}"),
            };
            format!("{}@{}:{}{port}", target.user, target.host, target.path)
        })
        .collect();
    targets.sort_unstable();
    targets.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::changes;
    use crate::config::{Config, parse};

    const SERVICE: &str = "[service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = { mb1 = \"192.0.2.1\", mb2 = \"192.0.2.2\" }\n";

    fn config(syncs: &str) -> Config {
        parse(&format!("{SERVICE}{syncs}"), "lb1")
            .config
            .expect("valid")
    }

    #[test]
    fn every_key_that_changes_is_said() {
        let old = config(
            "[config_sync.a]\nsource = \"/etc/a\"\ntargets = [\"mb2\", \"mb3\"]\n\
             [config_sync.b]\nmethod = \"git\"\nsource = \"/etc/b\"\ntargets = \"mb2\"\n\
             [config_sync.c]\nsource = \"/etc/c\"\ntargets = \"mb2\"\n",
        );
        let new = config(
            "[config_sync.a]\nsource = \"/etc/a2\"\ntargets = [\"mb3:/etc/a\", { host = \"fd77::2\", port = 2222, user = \"x\", path = \"/y\" }]\n\
             interval = \"1h\"\non_change = false\nexclude = [\"*.bak\"]\ndelete = true\nreload = \"systemctl reload x\"\n\
             identity_file = \"/etc/mb-lb/id\"\nknown_hosts = \"/etc/mb-lb/known\"\ntimeout = \"90s\"\n\
             [config_sync.b]\nmethod = \"git\"\nbranch = \"main\"\ntargets = \"mb2:/etc/b\"\n\
             [config_sync.d]\nsource = \"/etc/d\"\ntargets = \"mb2\"\n",
        );
        insta::assert_snapshot!(changes(&old, &new).join("\n"));
        assert_eq!(changes(&new, &new), Vec::<String>::new());
    }
}
