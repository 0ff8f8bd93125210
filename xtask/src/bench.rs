//! `cargo xtask bench`: set-up and build, then the program `mb-lb-bench` of the test crate, which does the work.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::setup::{self, Purpose};

#[derive(clap::Args)]
pub struct Arguments {
    /// Fewer rounds and no million flows: a few minutes, and figures that only show that it works
    #[arg(long)]
    quick: bool,
    /// Only a part
    #[arg(long, value_parser = ["packets", "wire", "smtp", "sweep", "https", "failover", "tiers", "checks"])]
    only: Option<String>,
    /// Also measure a pinned XDP program (of another project) with the same packets to 10.77.0.100:25
    #[arg(long, value_name = "PIN")]
    compare: Option<PathBuf>,
    /// Also write the figures as JSON here; always in target/bench/bench.json
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// # Errors
/// Not root, or the set-up fails.
pub fn run(root: &Path, arguments: &Arguments) -> Result<ExitCode> {
    crate::need_root("bench")?;
    setup::toolchain(root)?;
    setup::packages(Purpose::Bench)?;
    eprintln!("bench: building");
    let built = crate::finish(crate::cargo(root).args([
        "build",
        "--quiet",
        "--release",
        "--workspace",
        "--bins",
    ]))?;
    if built != ExitCode::SUCCESS {
        return Ok(built);
    }
    let directory = root.join("target/bench");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let json = directory.join("bench.json");
    let mut passed: Vec<OsString> = vec!["--json".into(), json.clone().into()];
    if arguments.quick {
        passed.push("--quick".into());
    }
    if let Some(only) = &arguments.only {
        passed.extend(["--only".into(), only.into()]);
    }
    if let Some(pin) = &arguments.compare {
        passed.extend(["--compare".into(), pin.into()]);
    }
    let program = root.join("target/release/mb-lb-bench");
    let code = crate::finish(std::process::Command::new(program).args(passed))?;
    if code == ExitCode::SUCCESS
        && let Some(copy) = &arguments.json
    {
        std::fs::copy(&json, copy).with_context(|| format!("cannot write {}", copy.display()))?;
    }
    Ok(code)
}
