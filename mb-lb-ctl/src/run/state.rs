//! What outlives the process besides the kernel: the lock and the state file.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};

use crate::cli::{Exit, Failure};
use crate::engine::SavedState;

const LOCK: &str = "lock";
const STATE: &str = "state.json";

/// Only one controller may write the maps. The kernel releases the lock when the process ends, however it ends.
pub fn lock(dir: &Path) -> anyhow::Result<Flock<File>> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("not started: cannot create {}", dir.display()))?;
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("not started: cannot open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => Failure::new(
            Exit::Refused,
            format!("not started: another mb-lb-ctl run has {}", path.display()),
        )
        .next("systemctl status mb-lb; stop that one first")
        .into(),
        error => anyhow::anyhow!("not started: cannot lock {}: {error}", path.display()),
    })
}

/// What was saved; nothing where nothing was. A damaged file is set aside, not believed and not thrown away.
pub fn load(dir: &Path) -> anyhow::Result<SavedState> {
    let path = dir.join(STATE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(SavedState::default());
        }
        Err(error) => {
            return Err(error)
                .with_context(|| format!("not started: cannot read {}", path.display()));
        }
    };
    match serde_json::from_str(&text) {
        Ok(saved) => Ok(saved),
        Err(error) => {
            let aside = path.with_extension("json.damaged");
            fs::rename(&path, &aside)
                .with_context(|| format!("cannot set {} aside", path.display()))?;
            tracing::error!(
                %error,
                "the state file was damaged and is now {}: drained servers are ready again",
                aside.display()
            );
            Ok(SavedState::default())
        }
    }
}

/// Writes a new file and puts it in the place of the old one.
pub fn save(dir: &Path, saved: &SavedState) -> std::io::Result<()> {
    let path = dir.join(STATE);
    let new = path.with_extension("json.new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&serde_json::to_vec_pretty(saved)?)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    // Only now does the new name outlive a loss of power.
    File::open(dir)?.sync_all()
}

/// The director's name where the configuration has none.
pub fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SavedServer;
    use crate::snapshot::AdminState;

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(
            load(dir.path()).expect("nothing yet"),
            SavedState::default()
        );
        let mut saved = SavedState {
            version: 1,
            ..SavedState::default()
        };
        saved.servers.insert(
            "smtp/mb1".to_owned(),
            SavedServer {
                admin: AdminState::Drain,
                by: "alice".to_owned(),
                reason: "kernel upgrade".to_owned(),
                weight: Some(3),
                configured: Some(10),
                by_hand: crate::engine::ByHand::default(),
                since: 1,
            },
        );
        save(dir.path(), &saved).expect("writable");
        assert_eq!(load(dir.path()).expect("readable"), saved);
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join(STATE), "{ half").expect("writable");
        assert_eq!(load(dir.path()).expect("not fatal"), SavedState::default());
        assert_eq!(
            fs::read_to_string(dir.path().join("state.json.damaged")).expect("kept"),
            "{ half"
        );
    }

    #[test]
    fn two_controllers_do_not_run_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = lock(dir.path()).expect("free");
        let error = lock(dir.path()).expect_err("held");
        assert!(
            error.to_string().contains("another mb-lb-ctl run has"),
            "{error}"
        );
        drop(held);
        lock(dir.path()).expect("free again");
    }
}
