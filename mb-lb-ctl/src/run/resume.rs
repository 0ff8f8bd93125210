//! What a process that is about to be replaced leaves word of: which virtual routers were active, and when that was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const FILE: &str = "vrrp-resume.json";

#[derive(Serialize, Deserialize)]
struct Word {
    /// `/proc/sys/kernel/random/boot_id`: the clock begins anew with each boot.
    boot: String,
    /// Milliseconds of CLOCK_BOOTTIME.
    at_ms: u64,
    active: Vec<String>,
}

/// # Errors
/// The file cannot be written: adverts a second or more apart go on all the same, by the lease of the addresses.
pub fn save(dir: &Path, active: Vec<String>, now: Duration) -> std::io::Result<()> {
    let word = Word {
        boot: boot()?,
        at_ms: milliseconds(now),
        active,
    };
    fs::write(dir.join(FILE), serde_json::to_vec(&word)?)
}

/// Takes the word, which is good once. Nothing where there is none, or none that can be believed.
pub fn load(dir: &Path, now: Duration) -> BTreeMap<String, Duration> {
    let path = dir.join(FILE);
    let Ok(bytes) = fs::read(&path) else {
        return BTreeMap::new();
    };
    if let Err(error) = fs::remove_file(&path) {
        tracing::warn!(%error, "{} cannot be removed, and is not believed", path.display());
        return BTreeMap::new();
    }
    let Ok(word) = serde_json::from_slice::<Word>(&bytes) else {
        return BTreeMap::new();
    };
    let ago = milliseconds(now).checked_sub(word.at_ms);
    match (ago, boot()) {
        (Some(ago), Ok(boot)) if boot == word.boot => word
            .active
            .into_iter()
            .map(|name| (name, Duration::from_millis(ago)))
            .collect(),
        _ => BTreeMap::new(),
    }
}

fn boot() -> std::io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_word_is_good_once() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(load(dir.path(), ms(1)).is_empty());
        save(dir.path(), vec!["VI_1".to_owned()], ms(5000)).expect("written");
        let found = load(dir.path(), ms(5150));
        assert_eq!(found, BTreeMap::from([("VI_1".to_owned(), ms(150))]));
        assert!(load(dir.path(), ms(5150)).is_empty());
    }

    #[test]
    fn another_boot_the_future_and_garbage_are_not_believed() {
        let dir = tempfile::tempdir().expect("a directory");
        save(dir.path(), vec!["VI_1".to_owned()], ms(5000)).expect("written");
        assert!(load(dir.path(), ms(4999)).is_empty());
        let other = r#"{"boot":"another","at_ms":1,"active":["VI_1"]}"#;
        for text in [other, "{}", "", "\u{0}"] {
            fs::write(dir.path().join(FILE), text).expect("written");
            assert!(load(dir.path(), ms(2)).is_empty(), "{text}");
        }
    }
}
