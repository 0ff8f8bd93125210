//! One machine of the lab: a namespace with addresses.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use crate::lab::netns::Namespace;
use crate::process::Process;

/// A handle; clones are the same machine.
#[derive(Clone, Debug)]
pub struct Machine {
    name: String,
    host: u8,
    namespace: Arc<Namespace>,
    directory: PathBuf,
}

impl Machine {
    /// `host` is the last part of its addresses; `directory` is for its logs.
    pub(crate) fn new(name: &str, host: u8, namespace: Namespace, directory: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            host,
            namespace: Arc::new(namespace),
            directory,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// As `ip netns` lists it.
    pub fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// For configuration, state and logs of this machine; goes with the lab.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// First IPv4 address of `eth0`.
    pub fn ipv4(&self) -> Ipv4Addr {
        ipv4(self.host)
    }

    /// First global IPv6 address of `eth0`.
    pub fn ipv6(&self) -> Ipv6Addr {
        ipv6(self.host)
    }

    /// Of `eth0`, as the lab has set it.
    pub fn mac(&self) -> [u8; 6] {
        [0x02, 0x77, 0, 0, 0, self.host]
    }

    /// A command that will run on this machine; the file system is the host's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.namespace.command(program.as_ref())
    }

    /// Runs `work` on a fresh thread on this machine; see there for what is inside and what is not.
    ///
    /// # Panics
    /// With the panic of `work`.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.enter(work)
    }

    /// Runs a command to its end and returns its standard output.
    ///
    /// # Errors
    /// It cannot be started, or fails; the message holds its standard error.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.run_with_input(program, arguments, "")
    }

    /// Starts a command in the background; its output goes to `LABEL.out` and `LABEL.err` in
    /// [`Self::directory`]. It is killed when the handle is dropped.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, label: &str, command: &mut Command) -> Result<Process> {
        Process::spawn(
            &format!("{label} on {}", self.name),
            command,
            &self.directory.join(label),
        )
    }

    /// Writes `net.KEY`, e.g. `ipv4.ip_forward`.
    ///
    /// # Errors
    /// The kernel has no such key or refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{}", key.replace('.', "/"));
        self.enter(|| std::fs::write(&path, value))
            .with_context(|| format!("cannot write {value:?} to {path} on {}", self.name))
    }

    /// Adds addresses to `device`, hundreds at once if need be. They are usable when this returns; IPv6 addresses
    /// of full length are never chosen as source.
    ///
    /// # Errors
    /// `ip` refuses one of them.
    pub fn add_addresses(
        &self,
        device: &str,
        addresses: impl IntoIterator<Item = (IpAddr, u8)>,
    ) -> Result<()> {
        let mut batch = String::new();
        for (address, length) in addresses {
            let how = match (address, length) {
                (IpAddr::V4(_), _) => "",
                // Deprecated: otherwise the kernel takes a VIP that resembles the destination for the source
                // (RFC 6724, rule 8), and the answer goes to whoever else holds the VIP.
                (IpAddr::V6(_), 128) => " nodad preferred_lft 0",
                (IpAddr::V6(_), _) => " nodad",
            };
            writeln!(batch, "address add {address}/{length} dev {device}{how}")
                .context("cannot write to a string")?;
        }
        self.ip_batch(&batch)
    }

    /// Pulls or plugs the cable of `eth0`. Addresses stay; IPv6 ones too.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn set_link(&self, up: bool) -> Result<()> {
        self.run(
            "ip",
            &["link", "set", "eth0", if up { "up" } else { "down" }],
        )
        .map(drop)
    }

    /// Runs lines of `ip` commands in one process.
    pub(crate) fn ip_batch(&self, lines: &str) -> Result<()> {
        self.run_with_input("ip", &["-batch", "-"], lines).map(drop)
    }

    fn run_with_input(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        let mut child = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program} on {}", self.name))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that reads nothing may have closed it; its exit status says whether it minded.
            let written = stdin.write_all(input.as_bytes());
            if !input.is_empty() {
                written.with_context(|| format!("cannot write to {program}"))?;
            }
        }
        let output = child
            .wait_with_output()
            .with_context(|| format!("cannot wait for {program}"))?;
        if !output.status.success() {
            bail!(
                "{program} {} on {}: {}: {}",
                arguments.join(" "),
                self.name,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Address with the last part `host`.
pub(crate) const fn ipv4(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, host)
}

/// Address that ends in the same digits as the IPv4 address: host 101 is `fd77::101`.
pub(crate) const fn ipv6(host: u8) -> Ipv6Addr {
    let (hundreds, tens, ones) = (host / 100, host / 10 % 10, host % 10);
    let digits = ((hundreds as u16) << 8) | ((tens as u16) << 4) | ones as u16;
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_end_in_the_same_digits() {
        for (host, expected) in [
            (2, "fd77::2"),
            (10, "fd77::10"),
            (100, "fd77::100"),
            (120, "fd77::120"),
        ] {
            assert_eq!(ipv6(host).to_string(), expected);
            assert_eq!(ipv4(host).to_string(), format!("10.77.0.{host}"));
        }
    }
}
