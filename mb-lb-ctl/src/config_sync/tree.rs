//! What a directory holds, as one number: it differs when anything in it has changed, contents by their times and size.

use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Watch;

/// A tree with more entries is not walked once a second.
const MOST: usize = 100_000;

/// Blocks, for as long as the file system takes.
///
/// # Errors
/// For people: the source is missing, or too large.
pub(super) fn fingerprint(watch: &Watch) -> Result<u64, String> {
    let mut hasher = DefaultHasher::new();
    let mut entries = 0;
    let source = &watch.source;
    if watch.git {
        let inside = source.join(".git");
        let repository = if inside.is_dir() { &inside } else { source };
        if !repository.join("HEAD").exists() {
            return Err(format!("{} is not a git repository", source.display()));
        }
        for part in ["HEAD", "packed-refs", "refs/heads"] {
            // One that is not there is as good as one that is.
            let _ = walk(&repository.join(part), &mut hasher, &mut entries);
        }
        return Ok(hasher.finish());
    }
    readable(source)?;
    walk(source, &mut hasher, &mut entries)?;
    Ok(hasher.finish())
}

/// Whether there is something to send. An empty directory is what is left of one that is not mounted: with `delete`
/// it would take everything away from the targets.
pub(super) fn readable(source: &Path) -> Result<(), String> {
    let name = source.display();
    let mut entries = fs::read_dir(source).map_err(|error| format!("{name}: {error}"))?;
    match entries.next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(format!("{name}: {error}")),
        None => Err(format!("{name} is empty: nothing is sent")),
    }
}

fn walk(path: &Path, hasher: &mut DefaultHasher, entries: &mut usize) -> Result<(), String> {
    *entries += 1;
    if *entries > MOST {
        return Err(format!(
            "more than {MOST} files: changes are not looked for, only `interval` counts"
        ));
    }
    path.hash(hasher);
    let Ok(facts) = fs::symlink_metadata(path) else {
        // It went between the listing and the look; the next look sees that.
        return Ok(());
    };
    add(&facts, hasher);
    if !facts.is_dir() {
        return Ok(());
    }
    let Ok(listed) = fs::read_dir(path) else {
        return Ok(());
    };
    let mut children: Vec<_> = listed.flatten().map(|entry| entry.path()).collect();
    children.sort_unstable();
    for child in children {
        walk(&child, hasher, entries)?;
    }
    Ok(())
}

/// The time of the last change of the inode tells of everything but the directory's own times of reading.
fn add(facts: &Metadata, hasher: &mut DefaultHasher) {
    (facts.mode(), facts.uid(), facts.gid(), facts.ino()).hash(hasher);
    (facts.ctime(), facts.ctime_nsec()).hash(hasher);
    if !facts.is_dir() {
        (facts.len(), facts.mtime(), facts.mtime_nsec()).hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(source: &Path) -> Result<u64, String> {
        fingerprint(&Watch {
            name: "etc".to_owned(),
            source: source.to_owned(),
            git: false,
        })
    }

    #[test]
    fn every_change_shows() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        look(root).expect_err("empty");
        look(&root.join("missing")).expect_err("missing");
        fs::create_dir(root.join("sub")).expect("made");
        fs::write(root.join("sub/a"), "1").expect("written");
        let mut seen = vec![look(root).expect("readable")];
        assert_eq!(look(root), Ok(seen[0]));
        let mut changed = |what: &str| {
            let now = look(root).expect("readable");
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        fs::write(root.join("sub/a"), "12").expect("written");
        changed("contents");
        fs::rename(root.join("sub/a"), root.join("sub/b")).expect("renamed");
        changed("a name");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(root.join("sub/b"), mode).expect("set");
        changed("a mode");
        std::os::unix::fs::symlink("x", root.join("link")).expect("made");
        changed("a link");
        fs::remove_file(root.join("sub/b")).expect("removed");
        changed("a file that is gone");
    }
}
