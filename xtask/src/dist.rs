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
    generate(root)?;
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

/// Manual pages and completions, which the program writes itself, in `target/generated`.
fn generate(root: &Path) -> Result<()> {
    let directory = root.join("target/generated");
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    let completions = directory.join("completions");
    fs::create_dir_all(&completions)
        .with_context(|| format!("cannot make {}", completions.display()))?;
    ask(root, &["man", "--dir", "target/generated/man"])?;
    for shell in ["bash", "zsh", "fish"] {
        let path = completions.join(shell);
        fs::write(&path, ask(root, &["completions", shell])?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// What the program that is to be packed answers.
fn ask(root: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let program = root.join("target/release/mb-lb-ctl");
    let output = Command::new(&program)
        .current_dir(root)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !output.status.success() {
        bail!(
            "mb-lb-ctl {} failed ({}): {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}
