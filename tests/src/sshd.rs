//! OpenSSH's server on a machine, without an init system: a host key and a configuration of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::lab::Lab;
use crate::machine::Machine;
use crate::process::Process;
use crate::wait::try_wait_until;

const READY: Duration = Duration::from_secs(30);

/// A running `sshd` on port 22 of both addresses of a machine. Root may log in with the keys that it was started with.
/// Dropping it ends the listener.
#[derive(Debug)]
pub struct Sshd {
    pub process: Process,
    host_key: PathBuf,
}

/// A pair of keys in two files.
#[derive(Clone, Debug)]
pub struct Key {
    pub private: PathBuf,
}

impl Key {
    /// # Errors
    /// `ssh-keygen` is missing or refuses.
    pub fn make(lab: &Lab, path: &Path) -> Result<Self> {
        let text = path.to_str().context("a path that is not UTF-8")?;
        let keygen = ["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", text];
        lab.client().run("ssh-keygen", &keygen)?;
        Ok(Self {
            private: path.to_owned(),
        })
    }

    /// As it stands in `authorized_keys`.
    ///
    /// # Errors
    /// The file is gone.
    pub fn public(&self) -> Result<String> {
        let path = self.private.with_extension("pub");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

impl Sshd {
    /// # Errors
    /// It is not installed, or does not listen.
    pub fn start(lab: &Lab, machine: &Machine, authorized: &[&Key]) -> Result<Self> {
        Self::start_with(lab, machine, authorized, "true")
    }

    /// As [`Sshd::start`], after a command of a shell in a mount namespace that is the server's own: what it mounts,
    /// only whoever logs in sees, and it goes with the server.
    ///
    /// # Errors
    /// It is not installed, the command fails, or it does not listen.
    pub fn start_with(
        lab: &Lab,
        machine: &Machine,
        authorized: &[&Key],
        prepare: &str,
    ) -> Result<Self> {
        let directory = machine.directory();
        // Where it puts what has no privileges any more; Debian's unit makes it.
        fs::create_dir_all("/run/sshd").context("cannot make /run/sshd")?;
        let host_key = directory.join("ssh_host_key");
        if !host_key.exists() {
            Key::make(lab, &host_key)?;
        }
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        let keys = authorized
            .iter()
            .map(|key| key.public())
            .collect::<Result<String>>()?;
        let keys = write("authorized_keys", &keys)?;
        let config = format!(
            "ListenAddress {}\nListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nStrictModes no\nMaxStartups 100\n",
            machine.ipv4(),
            machine.ipv6(),
            host_key.display(),
            keys.display()
        );
        let config = write("sshd_config", &config)?;
        // What the host's root has in its home (start files of the shell, settings of git) is no part of the lab.
        let script = format!(
            "mount -t tmpfs tmpfs /root && {prepare} && exec /usr/sbin/sshd -D -e -f {}",
            config.display()
        );
        let mut command = machine.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        let mut process = machine.spawn("sshd", &mut command)?;
        try_wait_until("sshd to listen", READY, || {
            if let Some(status) = process.exited()? {
                return Err(anyhow!("it ended: {status}; {}", process.tail()));
            }
            let listening = machine.run("ss", &["-Htln", "sport", "=", "22"])?;
            match listening.trim().is_empty() {
                false => Ok(()),
                true => Err(anyhow!("nobody listens; {}", process.tail())),
            }
        })?;
        Ok(Self { process, host_key })
    }

    /// A line of `known_hosts`.
    ///
    /// # Errors
    /// The key is gone.
    pub fn known_as(&self, host: &str) -> Result<String> {
        let key = Key {
            private: self.host_key.clone(),
        };
        Ok(format!("{host} {}", key.public()?))
    }
}
