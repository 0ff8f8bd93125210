//! `cargo xtask test`: one build, then every test of the workspace.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::setup::{self, Purpose};

/// The lab tests run whole clusters: more at a time than this only makes each of them slow.
const THREADS: &str = "--test-threads=2";

#[derive(clap::Args)]
pub struct Arguments {
    /// Only tests whose name contains this
    filter: Option<String>,
    /// Only this package, e.g. mb-lb-tests
    #[arg(short, long)]
    package: Option<String>,
    /// Only this test file of the package, e.g. lab
    #[arg(long, requires = "package")]
    test: Option<String>,
    /// Show what tests print
    #[arg(long)]
    nocapture: bool,
}

/// # Errors
/// Not root, or the set-up fails.
pub fn run(root: &Path, arguments: &Arguments) -> Result<ExitCode> {
    crate::need_root("test")?;
    setup::toolchain(root)?;
    setup::packages(Purpose::Test)?;
    // Few tests need them, and say so where they are not there; the others run without.
    if let Err(error) = setup::kernels(root) {
        eprintln!("test: {error:#}");
    }
    if let Err(error) = setup::debian_roots(root) {
        eprintln!("test: {error:#}");
    }
    if let Err(error) = setup::python(root) {
        eprintln!("test: {error:#}");
    }
    crate::build_ebpf(root)?;

    // Cargo unites the features of what is selected together. Both commands select the same, so the second
    // finds everything built; the binaries are for the lab tests, which run the real ones.
    eprintln!("test: building");
    let built = crate::finish(crate::cargo(root).args([
        "build",
        "--release",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
    ]))?;
    if built != ExitCode::SUCCESS {
        return Ok(built);
    }
    // What its tests install.
    crate::dist::package(root)?;
    eprintln!("test: running");
    let mut tests = crate::cargo(root);
    tests.args(["test", "--release"]);
    match &arguments.package {
        Some(package) => tests.args(["--package", package]),
        None => tests.arg("--workspace"),
    };
    if let Some(test) = &arguments.test {
        tests.args(["--test", test]);
    }
    // One run tells of every failure, not only of the first file that has one.
    tests.args(["--no-fail-fast", "--", THREADS]);
    if arguments.nocapture {
        tests.arg("--nocapture");
    }
    tests.args(&arguments.filter);
    crate::finish(&mut tests)
}
