//! `cargo xtask demo`: set-up and build, then the program `mb-lb-demo` of the test crate, which does the work.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::setup::{self, Purpose};

/// # Errors
/// Not root, or the set-up fails.
pub fn run(root: &Path) -> Result<ExitCode> {
    crate::need_root("demo")?;
    setup::toolchain(root)?;
    setup::packages(Purpose::Lab)?;
    eprintln!("demo: building (a few minutes the first time)");
    // Not quietly: cargo shows how far it is.
    let built =
        crate::finish(crate::cargo(root).args(["build", "--release", "--workspace", "--bins"]))?;
    if built != ExitCode::SUCCESS {
        return Ok(built);
    }
    crate::finish(&mut Command::new(root.join("target/release/mb-lb-demo")))
}
