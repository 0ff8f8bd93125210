//! `[config_sync.NAME]`: what is filled in, and what counts as the same.

use std::time::Duration;

use super::{CONFIG_SYNC, SERVICE, accept, shown};
use crate::config::{ConfigSync, SyncMethod, SyncTarget};

fn only(sync: &str) -> ConfigSync {
    let mut config = accept(&format!("{SERVICE}{sync}"));
    assert_eq!(config.config_syncs.len(), 1);
    config.config_syncs.remove(0)
}

fn target(host: &str, path: &str) -> SyncTarget {
    SyncTarget {
        host: host.to_owned(),
        port: 22,
        user: "root".to_owned(),
        path: path.to_owned(),
    }
}

#[test]
fn defaults_are_filled_in() {
    let expected = ConfigSync {
        name: "etc".to_owned(),
        method: SyncMethod::Rsync {
            source: "/etc/mailborder".into(),
            exclude: Vec::new(),
            delete: false,
        },
        targets: vec![target("mb2", "/etc/mailborder")],
        interval: Duration::from_secs(300),
        on_change: true,
        reload: None,
        identity_file: None,
        known_hosts: None,
        timeout: Duration::from_secs(60),
    };
    assert_eq!(only(CONFIG_SYNC), expected);
}

#[test]
fn everything_can_be_said() {
    let sync = only(
        "[config_sync.etc]\nsource = \"/etc/mail border/\"\nmethod = \"rsync\"\ninterval = \"1h\"\non_change = false\n\
         exclude = [\"*.bak\", \"/private\"]\ndelete = true\nreload = \" systemctl reload mb-rpcd && echo 'done' \"\n\
         identity_file = \"/etc/mb-lb/id_ed25519\"\nknown_hosts = \"/etc/mb-lb/known_hosts\"\ntimeout = \"2m\"\n\
         targets = [\"root@192.168.1.102:/etc/mailborder/\", { host = \"[fd77::103]\", port = 2222, user = \"sync\", path = \"/srv/x\" }]\n",
    );
    assert_eq!(
        sync.method,
        SyncMethod::Rsync {
            source: "/etc/mail border".into(),
            exclude: vec!["*.bak".to_owned(), "/private".to_owned()],
            delete: true,
        }
    );
    let second = SyncTarget {
        port: 2222,
        user: "sync".to_owned(),
        ..target("fd77::103", "/srv/x")
    };
    assert_eq!(
        sync.targets,
        [target("192.168.1.102", "/etc/mailborder"), second]
    );
    assert_eq!(
        sync.reload.as_deref(),
        Some("systemctl reload mb-rpcd && echo 'done'")
    );
    assert!(!sync.on_change);
}

#[test]
fn a_git_target_fetches_by_itself_where_there_is_no_source() {
    let sync = only(
        "[config_sync.git]\nmethod = \"git\"\nbranch = \"master\"\ntargets = \"mb2:/etc/mailborder\"\n",
    );
    assert_eq!(
        sync.method,
        SyncMethod::Git {
            source: None,
            branch: Some("master".to_owned()),
        }
    );
    assert!(!sync.on_change, "there is nothing to look at");
    let sync =
        only("[config_sync.git]\nmethod = \"git\"\nsource = \"/etc/x\"\ntargets = \"mb2\"\n");
    assert_eq!(sync.targets, [target("mb2", "/etc/x")]);
    assert!(sync.on_change);
}

#[test]
fn the_order_of_targets_does_not_matter_and_everything_else_does() {
    let hash = |sync: &str| accept(&format!("{SERVICE}{sync}")).hash();
    let base = "[config_sync.etc]\nsource = \"/etc/x\"\n";
    let first = hash(&format!("{base}targets = [\"mb2\", \"mb3\"]\n"));
    assert_eq!(
        first,
        hash(&format!("{base}targets = [\"mb3\", \"mb2:/etc/x\"]\n"))
    );
    for other in [
        "targets = \"mb2\"\n",
        "targets = [\"mb2\", \"mb3\"]\ndelete = true\n",
    ] {
        assert_ne!(first, hash(&format!("{base}{other}")), "{other}");
    }
    assert_ne!(first, accept(SERVICE).hash());
}

#[test]
fn what_the_script_had_is_found_again() {
    let shown = shown(&format!(
        "{SERVICE}{CONFIG_SYNC}src = \"/etc\"\nsecondary_nodes = \"mb2\"\nstrict_host_key_checking = false\n\
         password_file = \"/etc/x\"\nuser = \"root\"\npath = \"/etc\"\n[sync]\n"
    ));
    for words in [
        "did you mean `source`?",
        "did you mean `targets`?",
        "host keys are always checked",
        "make a key with ssh-keygen",
        "it belongs to a target: { host",
        "did you mean `config_sync`?",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}
