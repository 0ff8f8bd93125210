//! A director with two mail servers, as the tools find it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mb_lb_ctl::snapshot::{AdminState, ServerView};
use mb_lb_tests::cluster::Service;
use mb_lb_tests::{Cluster, try_wait_until};

pub const SOON: Duration = Duration::from_secs(30);

pub struct Site {
    pub cluster: Cluster,
}

impl Site {
    pub fn start(name: &str) -> Result<Self> {
        let cluster = Cluster::start(name, 2, |lab| Service::smtp(lab, &[10, 20]).toml())?;
        Ok(Self { cluster })
    }

    pub fn socket(&self) -> PathBuf {
        self.cluster.director.socket()
    }

    /// On the director.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.cluster.director.machine().command(program)
    }

    pub fn server(&self, name: &str) -> Result<ServerView> {
        self.cluster.server(&format!("smtp/{name}"))
    }

    pub fn expect_state(&self, name: &str, state: AdminState) -> Result<()> {
        let server = self.server(name)?;
        ensure!(server.admin == state, "{name} is {:?}", server.admin);
        Ok(())
    }

    pub fn wait_state(&self, name: &str, state: AdminState) -> Result<()> {
        try_wait_until(&format!("{name} to be {state:?}"), SOON, || {
            self.expect_state(name, state)
        })
    }
}

/// What a program of the virtual environment is called.
pub fn python_program(name: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("a workspace")?;
    let path = root.join("target/tools/python/bin").join(name);
    ensure!(
        path.exists(),
        "{} is not there: `cargo xtask test` installs it",
        path.display()
    );
    Ok(path)
}

/// Both streams of a program that has to succeed.
pub fn said(output: &Output) -> Result<String> {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(output.status.success(), "{}: {text}", output.status);
    Ok(text)
}
