//! NFS-Ganesha on a machine: versions 3 and 4, with a portmapper, and a small file system of its own to export.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::machine::Machine;
use crate::mounts::Mounts;
use crate::process::Process;
use crate::wait::try_wait_until;

const START: Duration = Duration::from_secs(30);

/// Exports [`Ganesha::export`] to everybody, and root is root there.
#[derive(Debug)]
pub struct Ganesha {
    mounts: Mounts,
    _portmapper: Process,
    server: Process,
    protocols: String,
}

impl Ganesha {
    /// `protocols`: `3,4`, or one of them.
    ///
    /// # Errors
    /// It is not installed, or does not answer.
    pub fn start(machine: &Machine, protocols: &str) -> Result<Self> {
        let at = machine.directory().display();
        let mounts = Mounts::new(
            machine,
            "nfs-mounts",
            &format!(
                "mkdir -p /run/ganesha /run/rpcbind {at}/nfs-state {at}/export /var/lib/nfs; \
                 mount --bind {at}/nfs-state /var/lib/nfs; mkdir -p /var/lib/nfs/ganesha; \
                 mount -t tmpfs -o size=16m,nr_inodes=1000 tmpfs {at}/export; mkdir {at}/export/quarantine"
            ),
        )?;
        let portmapper = mounts.spawn("rpcbind", "rpcbind", &["-f"])?;
        try_wait_until("the portmapper to listen", START, || {
            let listed = machine.run("ss", &["-Hltn", "sport = :111"])?;
            ensure!(!listed.trim().is_empty(), "{}", portmapper.tail());
            Ok(())
        })?;
        let server = Self::spawn(&mounts, protocols)?;
        let ganesha = Self {
            mounts,
            _portmapper: portmapper,
            server,
            protocols: protocols.to_owned(),
        };
        ganesha.wait_listening()?;
        Ok(ganesha)
    }

    fn spawn(mounts: &Mounts, protocols: &str) -> Result<Process> {
        let machine = mounts.machine();
        let at = machine.directory().display();
        let text = format!(
            "NFS_CORE_PARAM {{ NFS_Protocols = {protocols}; Bind_addr = {}; NFS_Port = 2049; MNT_Port = 20048; \
             Enable_NLM = false; Enable_RQUOTA = false; }}\n\
             NFSv4 {{ Grace_Period = 5; Lease_Lifetime = 5; RecoveryBackend = fs; }}\n\
             EXPORT {{ Export_Id = 1; Path = {at}/export; Pseudo = /export; Access_Type = RW; Squash = No_Root_Squash; \
             SecType = sys; Protocols = {protocols}; Transports = TCP; FSAL {{ Name = VFS; }} }}\n\
             LOG {{ Default_Log_Level = EVENT; }}\n",
            machine.ipv4()
        );
        let config = machine.directory().join("ganesha.conf");
        fs::write(&config, text).context("ganesha.conf")?;
        let (config, log) = (config.display().to_string(), format!("{at}/ganesha.log"));
        mounts.spawn(
            "ganesha",
            "ganesha.nfsd",
            &["-F", "-L", &log, "-f", &config, "-p", "/run/ganesha.pid"],
        )
    }

    fn wait_listening(&self) -> Result<()> {
        let log = self.mounts.machine().directory().join("ganesha.log");
        try_wait_until("NFS-Ganesha to listen", START, || {
            let listed = self
                .mounts
                .machine()
                .run("ss", &["-Hltn", "sport = :2049"])?;
            let said = || fs::read_to_string(&log).unwrap_or_default();
            ensure!(!listed.trim().is_empty(), "{}", said());
            Ok(())
        })
    }

    /// Path of the export on its machine.
    pub fn export(&self) -> PathBuf {
        self.mounts.machine().directory().join("export")
    }

    /// Where the file system that is exported is mounted.
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.server.signal(signal)
    }

    /// `kill -9`. The portmapper stays, and still lists it.
    ///
    /// # Errors
    /// The kernel does not know it.
    pub fn kill(&mut self) -> Result<()> {
        self.server.kill()
    }

    /// Starts it again after [`Ganesha::kill`].
    ///
    /// # Errors
    /// It does not listen.
    pub fn again(&mut self) -> Result<()> {
        self.server = Self::spawn(&self.mounts, &self.protocols)?;
        self.wait_listening()
    }
}
