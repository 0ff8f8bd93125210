//! `peer-key`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::cli::args::PeerKey;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{emit, say};
use crate::peer::Key;

pub fn run(args: &PeerKey) -> Result<Exit, Failure> {
    let key = Key::generate().map_err(|error| Failure::failed(format!("no key: {error}")))?;
    let line = key.to_hex() + "\n";
    let Some(path) = &args.output else {
        emit(&line)?;
        return Ok(Exit::Ok);
    };
    write(path, &line)?;
    let path = path.display();
    say(&format!(
        "{path} has a new key. The other director needs the same one:\n  scp -p {path} OTHER:{path}"
    ));
    Ok(Exit::Ok)
}

/// A file that only its owner can read, from its first moment on. One that exists is kept: the peer has its key.
fn write(path: &Path, line: &str) -> Result<(), Failure> {
    let shown = path.display();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::new(
                Exit::Refused,
                format!("{shown} exists already; it was not changed"),
            )
            .next(format!(
                "to replace the key on both directors: rm {shown}, then again"
            )),
            _ => Failure::failed(format!("cannot make {shown}: {error}")),
        })?;
    let written = file
        .write_all(line.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a key is worse than none; what became of the file is said in any case.
        let left = match fs::remove_file(path) {
            Ok(()) => "it was removed",
            Err(_) => "it is still there",
        };
        Failure::failed(format!("cannot write {shown}: {error}; {left}"))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_written_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("peer.key");
        let args = PeerKey {
            output: Some(path.clone()),
        };
        assert_eq!(run(&args), Ok(Exit::Ok));
        let text = fs::read_to_string(&path).expect("written");
        assert_eq!(text.len(), 65);
        let key = Key::parse(&text).expect("a key");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = run(&args).expect_err("it exists");
        assert_eq!(refused.exit, Exit::Refused);
        assert_eq!(
            refused.message,
            format!("{} exists already; it was not changed", path.display())
        );
        let again = fs::read_to_string(&path).expect("there");
        assert_eq!(Key::parse(&again).expect("a key"), key);
    }

    #[test]
    fn a_directory_that_is_not_there_is_said() {
        let args = PeerKey {
            output: Some("/nowhere/peer.key".into()),
        };
        let failed = run(&args).expect_err("no directory");
        assert_eq!(failed.exit, Exit::Failed);
        assert!(
            failed
                .message
                .starts_with("cannot make /nowhere/peer.key: No such file")
        );
    }
}
