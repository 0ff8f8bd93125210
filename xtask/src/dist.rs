//! `cargo xtask dist`: the Debian package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::progress::step;
use crate::setup::{self, Purpose};

/// # Errors
/// The set-up fails, or cargo-deb does.
pub fn run(root: &Path) -> Result<ExitCode> {
    setup::toolchain(root)?;
    setup::packages(Purpose::Dist)?;
    let built =
        crate::finish(crate::cargo(root).args(["build", "--release", "--package", "mb-lb-ctl"]))?;
    if built != ExitCode::SUCCESS {
        return Ok(built);
    }
    let package = package(root)?;
    crate::finish(Command::new("dpkg-deb").arg("--info").arg(&package))?;
    crate::finish(Command::new("dpkg-deb").arg("--contents").arg(&package))?;
    println!("{}", package.display());
    Ok(ExitCode::SUCCESS)
}

/// Packs `target/release/mb-lb-ctl` as it is into the one package in `target/dist`, whose path is returned.
///
/// # Errors
/// cargo-deb cannot be had, or fails.
pub fn package(root: &Path) -> Result<PathBuf> {
    let cargo_deb = setup::cargo_deb(root)?;
    let directory = root.join("target/dist");
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    step("dist: the Debian package", || {
        let output = Command::new(&cargo_deb)
            .current_dir(root)
            // Whether called as `cargo deb` or by its own name, the first argument is its own.
            .args([
                "deb",
                "--package",
                "mb-lb-ctl",
                "--no-build",
                "--strip",
                "--locked",
            ])
            .arg("--output")
            .arg(&directory)
            .output()
            .with_context(|| format!("cannot start {}", cargo_deb.display()))?;
        if !output.status.success() {
            bail!(
                "cargo-deb failed ({}): {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let printed = String::from_utf8_lossy(&output.stdout);
        Ok(PathBuf::from(printed.trim()))
    })
}
