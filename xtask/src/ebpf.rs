//! Builds the eBPF object.
//!
//! Knows only std: the controller's build script includes this file by path, so that `cargo build` and
//! `cargo xtask build-ebpf` cannot differ. The flags and versions are those of docs/adr/0001-toolchain.md.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The linker reads the bitcode of the pinned compiler's LLVM; a later one wants another LLVM, and 0.10.1
/// writes BTF that the kernel refuses.
pub const BPF_LINKER_VERSION: &str = "0.10.3";

const PACKAGE: &str = "mb-lb-ebpf";
const BINARY: &str = "mb-lb";
const TARGET: &str = "bpfel-unknown-none";
const REMEDY: &str = "run `cargo xtask build-ebpf`, which gets it";

/// Where `cargo xtask build-ebpf` leaves the object.
#[allow(dead_code, reason = "the build script writes to its own OUT_DIR")]
pub fn object_path(workspace_root: &Path) -> PathBuf {
    workspace_root.join("target/bpf/mb-lb.bpf.o")
}

/// Where the set-up installs the linker.
pub fn tools_linker(workspace_root: &Path) -> PathBuf {
    workspace_root.join("target/tools/bin/bpf-linker")
}

/// Builds the program and writes the object to `out`, which is returned.
///
/// Its target directory is `target/ebpf`: the surrounding cargo holds the lock of `target`. The object is for
/// controllers of `CARGO_CFG_TARGET_ARCH` (set in build scripts), otherwise of this machine.
///
/// # Errors
/// One line that says what is missing and what to run; where the compiler failed, its output comes first.
pub fn build(workspace_root: &Path, out: &Path) -> Result<PathBuf, String> {
    let linker = find_linker(workspace_root)?;
    if !has_rust_src(workspace_root)? {
        return Err(format!(
            "the eBPF program needs Rust's component rust-src: {REMEDY}"
        ));
    }
    let target_dir = workspace_root.join("target/ebpf");
    let mut cargo = scrubbed(Command::new(cargo()));
    cargo
        .current_dir(workspace_root)
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            PACKAGE,
            "--bin",
            BINARY,
        ])
        .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .arg(&target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&linker)?);
    let output = cargo
        .output()
        .map_err(|error| format!("cannot start cargo for the eBPF program: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{}\nthe eBPF program does not build ({}): run `cargo xtask build-ebpf` to see it alone",
            String::from_utf8_lossy(&output.stderr).trim_end(),
            output.status
        ));
    }
    let built = target_dir.join(TARGET).join("release").join(BINARY);
    install(&built, out).map_err(|error| {
        format!(
            "cannot copy {} to {}: {error}",
            built.display(),
            out.display()
        )
    })?;
    Ok(out.to_path_buf())
}

/// The linker of `target/tools`, or one in `PATH`, if it is exactly of [`BPF_LINKER_VERSION`].
///
/// # Errors
/// One line that says what to run.
pub fn find_linker(workspace_root: &Path) -> Result<PathBuf, String> {
    let own = tools_linker(workspace_root);
    let in_path = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        .map(|dir| dir.join("bpf-linker"));
    let mut wrong = None;
    for candidate in std::iter::once(own).chain(in_path) {
        match linker_version(&candidate).as_deref() {
            Some(BPF_LINKER_VERSION) => return Ok(candidate),
            Some(version) => wrong = Some(format!("{} is {version}", candidate.display())),
            None => {}
        }
    }
    Err(match wrong {
        Some(found) => {
            format!("the eBPF program needs bpf-linker {BPF_LINKER_VERSION}, and {found}: {REMEDY}")
        }
        None => format!("the eBPF program needs bpf-linker {BPF_LINKER_VERSION}: {REMEDY}"),
    })
}

/// Whether the sources of `core` are where `-Z build-std` looks for them.
///
/// # Errors
/// There is no rustc.
pub fn has_rust_src(workspace_root: &Path) -> Result<bool, String> {
    let output = scrubbed(Command::new("rustc"))
        .current_dir(workspace_root)
        .args(["--print", "sysroot"])
        .output()
        .map_err(|error| format!("cannot start rustc: {error}; install Rust from rustup.rs"))?;
    if !output.status.success() {
        return Err(format!(
            "rustc does not run here: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    let sysroot = String::from_utf8_lossy(&output.stdout);
    Ok(Path::new(sysroot.trim())
        .join("lib/rustlib/src/rust/library/core/src/lib.rs")
        .exists())
}

/// `None`: not there, or it does not run.
fn linker_version(linker: &Path) -> Option<String> {
    let output = Command::new(linker).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split_whitespace().nth(1)?.to_owned())
}

/// The flags, separated as `CARGO_ENCODED_RUSTFLAGS` wants it, which is the form that allows spaces in paths.
fn rustflags(linker: &Path) -> Result<OsString, String> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| env::consts::ARCH.to_owned());
    if !matches!(arch.as_str(), "x86_64" | "aarch64") {
        return Err(format!(
            "the eBPF program is for x86_64 and aarch64, not for {arch}"
        ));
    }
    let mut flags = OsString::from(format!("--cfg=bpf_target_arch=\"{arch}\""));
    for flag in [
        // Compare-and-swap.
        "-Ctarget-cpu=v3",
        // Packet headers are not aligned; without this every field is put together from single bytes.
        "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        "-Clinker=",
    ] {
        flags.push("\u{1f}");
        flags.push(flag);
    }
    flags.push(linker);
    Ok(flags)
}

/// The cargo that is running us, so that a toolchain chosen by `cargo +NAME` is kept.
fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Takes away what a surrounding cargo sets for its own build (flags, wrappers such as clippy's, jobserver,
/// profile and target directory), and keeps what belongs to the user (home, network, registries).
fn scrubbed(mut command: Command) -> Command {
    const KEPT: [&str; 5] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_TERM_",
    ];
    const OTHERS: [&str; 16] = [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_LINKER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "CLIPPY_ARGS",
        "CLIPPY_CONF_DIR",
        "MAKEFLAGS",
        "MFLAGS",
        "TARGET",
        "HOST",
        "OUT_DIR",
        "PROFILE",
        "OPT_LEVEL",
    ];
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let cargos = text.starts_with("CARGO") && !KEPT.iter().any(|kept| text.starts_with(kept));
        if cargos || OTHERS.contains(&text) {
            command.env_remove(&name);
        }
    }
    command
}

/// Copies by way of a rename: a build that runs at the same time sees the old object or the new one.
fn install(built: &Path, out: &Path) -> std::io::Result<()> {
    if let Some(directory) = out.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut partial = out.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    fs::copy(built, &partial)?;
    fs::rename(&partial, out)
}
