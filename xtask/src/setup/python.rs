//! Tools from PyPI, in a virtual environment under `target/tools`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::progress::{quietly, step};

/// What is pinned, and what was installed from it.
const REQUIREMENTS: &str = "tests/requirements.txt";

/// Installs what `tests/requirements.txt` names where it is not what is there.
///
/// # Errors
/// There is no Python with `venv`, or PyPI cannot be reached.
pub fn python(root: &Path) -> Result<()> {
    let place = root.join("target/tools/python");
    let requirements = root.join(REQUIREMENTS);
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    if is_there(&place, &wanted) {
        return Ok(());
    }
    step("setup: tools from PyPI into target/tools/python", || {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(&place);
        quietly(&mut venv, "is the package python3-venv installed?")?;
        let mut install = Command::new(place.join("bin/pip"));
        install
            .args([
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--requirement",
            ])
            .arg(&requirements);
        quietly(&mut install, "can PyPI be reached?")
    })
}

/// `pip freeze` names every line that is wanted.
fn is_there(place: &Path, wanted: &str) -> bool {
    let mut freeze = Command::new(place.join("bin/pip"));
    let Ok(output) = freeze.arg("freeze").output() else {
        return false;
    };
    let installed = String::from_utf8_lossy(&output.stdout);
    let is_wanted = |line: &&str| !line.is_empty() && !line.starts_with('#');
    wanted
        .lines()
        .filter(is_wanted)
        .all(|line| installed.lines().any(|known| known == line))
}
