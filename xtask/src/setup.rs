//! Gets what is missing, and only that: asks the thing itself (a version, a file, a binary in `PATH`) every time,
//! because a stamp file does not notice what was removed since.

mod kernels;
mod packages;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::ebpf::{self, BPF_LINKER_VERSION};
use crate::progress::{quietly, step};

pub use kernels::kernels;
pub use packages::{Purpose, packages};

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

fn bpf_linker(root: &Path) -> Result<()> {
    let tools = root.join("target/tools");
    let heading =
        format!("setup: bpf-linker {BPF_LINKER_VERSION} into target/tools (one to three minutes)");
    step(&heading, || {
        quietly(
            crate::cargo(root)
                // Not the checkout's target directory: its lock may be held by the build that waits for us.
                .env("CARGO_TARGET_DIR", tools.join("build"))
                .args(["install", "bpf-linker", "--locked", "--force", "--version"])
                .arg(BPF_LINKER_VERSION)
                .arg("--root")
                .arg(&tools),
            "see the lines above; it needs a C++ compiler's runtime (Debian: build-essential) and crates.io, or put \
             a bpf-linker of that version into PATH",
        )
    })?;
    std::fs::remove_dir_all(tools.join("build")).context("cannot remove target/tools/build")?;
    ebpf::find_linker(root).map_err(anyhow::Error::msg)?;
    Ok(())
}
