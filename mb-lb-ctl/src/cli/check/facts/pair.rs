//! What virtual routers and the link to the peer need of this machine: interfaces, secrets, programs.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::programs::program;
use super::{Fact, fact};
use crate::config::{Config, Secret};
use crate::peer::Key;

/// `class`: where the kernel lists its interfaces.
pub fn missing(config: &Config, class: &Path) -> Vec<Fact> {
    let mut facts = Vec::new();
    for vrrp in &config.vrrps {
        let name = &vrrp.name;
        let tracked = vrrp.track_interfaces.iter().map(|track| &track.interface);
        let mut interfaces: Vec<_> = tracked.chain([&vrrp.interface]).collect();
        interfaces.sort();
        interfaces.dedup();
        for interface in interfaces {
            if !class.join(interface).exists() {
                facts.extend(fact(
                    format!("VRRP instance {name}: there is no interface {interface}"),
                    "ip link",
                ));
            }
        }
        if let Some(Secret::File(path)) = &vrrp.auth_pass {
            facts.extend(secret(
                path,
                &format!("the password of VRRP instance {name}"),
            ));
        }
        let programs = vrrp
            .track_scripts
            .iter()
            .filter_map(|script| script.command.split(' ').next())
            .map(Path::new)
            .chain(vrrp.notify.as_deref());
        let whose = format!("VRRP instance {name}");
        facts.extend(programs.filter_map(|path| program(path, &whose)));
    }
    if let Some(peer) = &config.peer {
        let is_readable = match &peer.key {
            Secret::File(path) => secret(path, "the key of [peer]").is_none_or(|missing| {
                facts.push(missing);
                false
            }),
            Secret::Text(_) => true,
        };
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        if is_readable && let Err(error) = Key::load(&peer.key, credentials.as_ref().map(Path::new))
        {
            facts.extend(fact(
                format!("[peer] has no key: {error}"),
                "mb-lb-ctl peer-key",
            ));
        }
    }
    facts
}

/// Only an absolute path can be looked at: systemd puts the others where the daemon finds them.
fn secret(path: &Path, what: &str) -> Option<Fact> {
    if !path.is_absolute() {
        return None;
    }
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(error) => fact(
            format!("{what} cannot be read from {shown}: {error}"),
            "write the file, or correct the path",
        ),
        Ok(file) if file.mode() & 0o077 != 0 => fact(
            format!("{what} can be read by others than root: {shown}"),
            &format!("chmod 600 {shown}"),
        ),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_not_there_is_said_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = |script: &str, notify: &str, password: &str, key: &str| {
            let text = format!(
                "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\naddresses = [\"192.0.2.100/32\"]\n\
                 auth_pass_file = \"{}\"\nnotify = \"{}\"\n\
                 track_scripts = {{ x = {{ command = \"{} -v\" }} }}\n\
                 [peer]\nlisten = \"192.0.2.1:8405\"\naddress = \"192.0.2.2:8405\"\nkey_file = \"{}\"\n\
                 [service.smtp]\nlisten = \"192.0.2.100:25\"\nservers = {{ mb1 = \"192.0.2.11\" }}\n",
                path(password),
                path(notify),
                path(script),
                path(key)
            );
            let parsed = crate::config::parse(&text, "lb1");
            parsed
                .config
                .unwrap_or_else(|| panic!("{:?}", parsed.diagnostics))
        };
        let put = |name: &str, text: &str, mode: u32| {
            write(dir.path().join(name), text).expect("written");
            set_permissions(dir.path().join(name), Permissions::from_mode(mode)).expect("set");
        };
        std::fs::create_dir(dir.path().join("eth0")).expect("made");
        put("program", "", 0o755);
        put("secret", "x\n", 0o600);
        put("key", &"0f".repeat(32), 0o600);
        let texts = |config: &Config| -> Vec<String> {
            let facts = missing(config, dir.path());
            assert!(facts.iter().all(|fact| !fact.next.is_empty()), "{facts:?}");
            facts.into_iter().map(|fact| fact.text).collect()
        };
        let well = config("program", "program", "secret", "key");
        assert_eq!(texts(&well), Vec::<String>::new());
        let elsewhere = missing(&well, Path::new("/nowhere"));
        assert!(elsewhere[0].text.ends_with("there is no interface eth0"));

        let nothing = texts(&config("no", "no", "no", "no"));
        for (text, says) in
            nothing
                .iter()
                .zip(["password", "no: No such", "no: No such", "key of [peer]"])
        {
            assert!(text.contains(says), "{text}");
        }
        assert_eq!(nothing.len(), 4);

        put("plain", "", 0o644);
        put("open", "", 0o757);
        put("seen", "x", 0o644);
        let odd = texts(&config("plain", "open", "seen", "secret"));
        for (text, says) in odd.iter().zip([
            "can be read by others",
            "not executable",
            "everybody can write it",
            "has no key",
        ]) {
            assert!(text.contains(says), "{text}");
        }
        assert_eq!(odd.len(), 4);
    }
}
