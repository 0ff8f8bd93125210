//! Gets what is missing, and only that: asks the thing itself (a version, a file, a binary in `PATH`) every time,
//! because a stamp file does not notice what was removed since.

mod debian_root;
mod kernels;
mod packages;
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::ebpf::{self, BPF_LINKER_VERSION};
use crate::progress::{quietly, step};

pub use debian_root::debian_roots;
pub use kernels::kernels;
pub use packages::{Purpose, packages};
pub use python::python;

/// Makes the Debian package.
const CARGO_DEB_VERSION: &str = "3.8.0";

const COMPONENTS: [&str; 3] = ["rust-src", "rustfmt", "clippy"];

/// The components of the pinned Rust, and bpf-linker under `target/tools`.
///
/// # Errors
/// Something cannot be had; the message says what to do.
pub fn toolchain(root: &Path) -> Result<()> {
    components(root)?;
    if ebpf::find_linker(root).is_err() {
        bpf_linker(root)?;
    }
    Ok(())
}

fn components(root: &Path) -> Result<()> {
    let has_source = ebpf::has_rust_src(root).map_err(anyhow::Error::msg)?;
    if has_source && runs("rustfmt", root) && runs("clippy-driver", root) {
        return Ok(());
    }
    step(
        "setup: Rust components rust-src, rustfmt and clippy",
        || {
            quietly(
                Command::new("rustup")
                    .current_dir(root)
                    .args(["component", "add"])
                    .args(COMPONENTS),
                "without rustup, or without Rust's own server, install your distribution's sources of the same \
             release (Debian: rustc-web, cargo-web, rust-web-src with llvm-22-dev) and put its cargo first in PATH; \
             docs/adr/0001-toolchain.md has the commands",
            )
        },
    )?;
    if !ebpf::has_rust_src(root).map_err(anyhow::Error::msg)? {
        bail!(
            "rustup has run, but `rustc --print sysroot` still holds no rust-src: is another rustc first in PATH?"
        );
    }
    Ok(())
}

fn runs(program: &str, root: &Path) -> bool {
    Command::new(program)
        .current_dir(root)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// cargo-deb under `target/tools`, or one in `PATH` of the same version; returns its path.
///
/// # Errors
/// It cannot be had; the message says what to do.
pub fn cargo_deb(root: &Path) -> Result<PathBuf> {
    let own = root.join("target/tools/bin/cargo-deb");
    for candidate in [&own, Path::new("cargo-deb")] {
        if version(candidate).as_deref() == Some(CARGO_DEB_VERSION) {
            return Ok(candidate.to_owned());
        }
    }
    let needs = "a C compiler (Debian: build-essential) and crates.io";
    install(root, "cargo-deb", CARGO_DEB_VERSION, needs)?;
    match version(&own) {
        Some(_) => Ok(own),
        None => bail!("{} was installed, but does not run", own.display()),
    }
}

/// `None`: not there, or it does not run.
fn version(cargo_deb: &Path) -> Option<String> {
    let output = Command::new(cargo_deb).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().last().map(str::to_owned)
}

fn bpf_linker(root: &Path) -> Result<()> {
    let needs = "a C++ compiler's runtime (Debian: build-essential) and crates.io";
    install(root, "bpf-linker", BPF_LINKER_VERSION, needs)?;
    ebpf::find_linker(root).map_err(anyhow::Error::msg)?;
    Ok(())
}

/// A program from crates.io into `target/tools/bin`.
fn install(root: &Path, program: &str, version: &str, needs: &str) -> Result<()> {
    let tools = root.join("target/tools");
    let heading = format!("setup: {program} {version} into target/tools (one to three minutes)");
    step(&heading, || {
        quietly(
            crate::cargo(root)
                // Not the checkout's target directory: its lock may be held by the build that waits for us.
                .env("CARGO_TARGET_DIR", tools.join("build"))
                .args(["install", program, "--locked", "--force", "--version"])
                .arg(version)
                .arg("--root")
                .arg(&tools),
            &format!(
                "see the lines above; it needs {needs}, or put a {program} of that version into PATH"
            ),
        )
    })?;
    std::fs::remove_dir_all(tools.join("build")).context("cannot remove target/tools/build")
}
