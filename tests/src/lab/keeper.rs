//! Who removes a lab: a shell outside of it that waits for the owner's end.
//!
//! A guard's `drop` does not run on `kill -9`, on Ctrl-C or on abort. So there is one way to remove a lab, not
//! two: the keeper does it when its pipe is closed, and `drop` closes the pipe and waits.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

const TEARDOWN: &str = include_str!("teardown.sh");
/// One directory for each lab.
pub const ROOT: &str = "/run/mb-lb-lab";
const NAMESPACES: &str = "/run/netns";
const PREFIX: &str = "mblb-";

/// Name of a lab that no other has at the same time: `PID-NUMBER-NAME`. Pid and number come first so that
/// no prefix of a lab's namespaces is a prefix of another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// `PID-NUMBER`
    key: String,
    name: String,
}

impl Identity {
    pub fn new(number: u32, name: &str) -> Self {
        Self {
            key: format!("{}-{number}", std::process::id()),
            name: name.to_owned(),
        }
    }

    /// Of a directory under [`ROOT`].
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let (pid, number, name) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        (digits(pid) && digits(number)).then(|| Self {
            key: format!("{pid}-{number}"),
            name: name.to_owned(),
        })
    }

    pub fn directory(&self) -> PathBuf {
        Path::new(ROOT).join(format!("{}-{}", self.key, self.name))
    }

    pub fn namespace(&self, machine: &str) -> String {
        format!("{}{machine}", self.prefix())
    }

    /// Of the names of this lab's namespaces, and of no other's.
    pub fn prefix(&self) -> String {
        format!("{PREFIX}{}-{}-", self.key, self.name)
    }

    fn pid(&self) -> &str {
        self.key.split('-').next().unwrap_or_default()
    }
}

/// Whose end is the lab's end: `PID START`, or [`DETACHED`].
const OWNER: &str = "owner";
const DETACHED: &str = "detached";

/// Makes the lab's directory and says whose it is.
pub fn claim(identity: &Identity) -> Result<()> {
    let directory = identity.directory();
    // The last lab to go removes the root as well, which may happen between two steps of this.
    let mut made = fs::create_dir_all(&directory);
    while made
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    {
        made = fs::create_dir_all(&directory);
    }
    made.with_context(|| format!("cannot make {}", directory.display()))?;
    let pid = std::process::id().to_string();
    let owner = format!("{pid} {}", start_time(&pid).unwrap_or_default());
    fs::write(directory.join(OWNER), owner).context("cannot write the lab's owner")
}

#[derive(Debug)]
pub struct Keeper(Child);

impl Keeper {
    pub fn start(identity: &Identity) -> Result<Self> {
        let mut command = teardown(identity);
        command.stdin(Stdio::piped());
        // SAFETY: setsid is async-signal-safe and touches no memory of ours.
        unsafe {
            command.pre_exec(|| {
                // Ctrl-C goes to the terminal's process group; the keeper has work to do then.
                nix::unistd::setsid()?;
                Ok(())
            });
        }
        Ok(Self(
            command
                .spawn()
                .context("cannot start the lab's keeper (sh)")?,
        ))
    }

    /// Removes the lab.
    pub fn remove(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait().context("cannot wait for the lab's keeper")?;
        if !status.success() {
            bail!("something of the lab is left (see above): {status}");
        }
        Ok(())
    }

    /// Leaves the lab standing when this process ends; [`remove_detached`] removes it then.
    pub fn call_off(mut self, identity: &Identity) -> Result<()> {
        fs::write(identity.directory().join(OWNER), DETACHED)
            .context("cannot mark the lab as detached")?;
        if let Some(mut pipe) = self.0.stdin.take() {
            pipe.write_all(b"keep\n")
                .context("cannot call off the lab's keeper")?;
        }
        self.0.wait().context("cannot wait for the lab's keeper")?;
        Ok(())
    }
}

/// Removes a lab that has no keeper.
pub fn remove_detached(identity: &Identity) -> Result<()> {
    let status = teardown(identity)
        .stdin(Stdio::null())
        .status()
        .context("cannot start sh")?;
    if !status.success() {
        bail!("something of the lab is left (see above): {status}");
    }
    Ok(())
}

/// Labs whose owner is gone and whose keeper was killed too.
pub fn leftovers() -> Vec<Identity> {
    let names = |directory: &str| {
        fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect::<Vec<_>>()
    };
    let of_directories = names(ROOT)
        .into_iter()
        .filter_map(|name| Identity::parse(&name));
    let of_namespaces = names(NAMESPACES).into_iter().filter_map(|name| {
        let (lab, _machine) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
        Identity::parse(lab)
    });
    let mut found: Vec<_> = of_directories
        .chain(of_namespaces)
        .filter(is_leftover)
        .collect();
    found.sort();
    found.dedup();
    found
}

fn is_leftover(identity: &Identity) -> bool {
    let owner = fs::read_to_string(identity.directory().join(OWNER)).unwrap_or_default();
    if owner == DETACHED {
        return false;
    }
    match owner.split_once(' ') {
        Some((pid, start)) => start_time(pid).as_deref() != Some(start),
        // Being made, being removed, or only namespaces are left: the pid in the name decides.
        None => start_time(identity.pid()).is_none(),
    }
}

fn teardown(identity: &Identity) -> Command {
    let mut command = Command::new("sh");
    command
        .args([
            OsStr::new("-c"),
            TEARDOWN.as_ref(),
            "mb-lb-lab-keeper".as_ref(),
        ])
        .arg(identity.prefix())
        .arg(identity.directory())
        .stdout(Stdio::null());
    command
}

/// Field 22 of `/proc/PID/stat`: tells a process from a later one with its pid.
fn start_time(pid: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, field 2, may hold anything, and ends at the last parenthesis.
    let (_, after) = stat.rsplit_once(") ")?;
    after.split(' ').nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prefix_of_a_lab_is_a_prefix_of_anothers() {
        let one = Identity::parse("7-1-a").expect("a lab's name");
        let longer = Identity::parse("7-1-a-1").expect("a lab's name");
        let later = Identity::parse("7-10-a").expect("a lab's name");
        assert_eq!(one.namespace("mb1"), "mblb-7-1-a-mb1");
        // Same pid and number never meet; otherwise the key tells them apart.
        assert!(!later.namespace("mb1").starts_with(&one.prefix()));
        assert!(!one.namespace("mb1").starts_with(&longer.prefix()));
    }

    #[test]
    fn names_that_are_no_labs_are_let_alone() {
        for name in ["", "x", "7", "7-1", "a-1-lab", "7-b-lab", "client"] {
            assert_eq!(Identity::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn this_process_has_a_start_time_and_a_pid_beyond_the_last_has_none() {
        assert!(start_time(&std::process::id().to_string()).is_some());
        assert_eq!(start_time("4194305"), None);
    }
}
