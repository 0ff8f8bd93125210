//! A network namespace by name, as `ip netns` knows it, and the ways into it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

/// Descriptors that a process in the lab may open, where the hard limit allows: 1,024 is too few for an smtp-sink.
const DESCRIPTORS: libc::rlim_t = 65_536;

/// An open namespace. It is removed by the lab's keeper, not here.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: Arc<File>,
}

impl Namespace {
    pub fn create(name: &str) -> Result<Self> {
        let output = Command::new("ip")
            .args(["netns", "add", name])
            .output()
            .context("cannot start ip (package iproute2)")?;
        if !output.status.success() {
            bail!(
                "ip netns add {name}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Self::open(name)
    }

    pub fn open(name: &str) -> Result<Self> {
        let path = Path::new("/run/netns").join(name);
        let file = File::open(&path)
            .with_context(|| format!("cannot open the namespace {}", path.display()))?;
        Ok(Self {
            name: name.to_owned(),
            file: Arc::new(file),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a fresh thread inside. Sockets that it opens stay inside wherever they are used.
    ///
    /// Only the network is another: files, mounts and pids are the host's. `/proc/net` is the main thread's;
    /// look at `/proc/thread-self/net`.
    ///
    /// # Panics
    /// With the panic of `work`, or where the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let result = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    if let Err(error) = setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET) {
                        panic!("cannot enter the namespace {}: {error}", self.name);
                    }
                    work()
                })
                .join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A command that will run inside, with the host's mounts (`ip netns exec` would hide `/sys/fs/bpf`), and
    /// with room for many descriptors.
    pub fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new(program);
        let file = Arc::clone(&self.file);
        // SAFETY: setns, getrlimit and setrlimit are plain system calls; nothing is allocated between fork and exec.
        unsafe {
            command.pre_exec(move || {
                if libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                let mut limit = libc::rlimit {
                    rlim_cur: 0,
                    rlim_max: 0,
                };
                if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                limit.rlim_cur = limit.rlim_max.min(DESCRIPTORS);
                if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        command
    }
}
