//! Passwords for tiers.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::config::Secret;

/// The password; of a file its first line. A relative path is one of systemd's credentials.
///
/// # Errors
/// The file cannot be read, or its first line is empty.
pub fn read(secret: &Secret) -> io::Result<String> {
    let path = match secret {
        Secret::Text(text) => return Ok(text.clone()),
        Secret::File(path) => path,
    };
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let path = match &credentials {
        Some(dir) => Path::new(dir).join(path),
        None => path.clone(),
    };
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    // A path that leads to a device must not fill the memory, and one to a FIFO must not be waited for.
    let mut text = String::new();
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .and_then(|file| file.take(4096).read_to_string(&mut text))
        .map_err(named)?;
    match text.lines().next() {
        None | Some("") => Err(named(io::Error::other("the first line is empty"))),
        Some(line) => Ok(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("password");
        std::fs::write(&path, "s3cret\nsomething else\n").expect("written");
        assert_eq!(read(&Secret::File(path.clone())).expect("there"), "s3cret");
        std::fs::write(&path, "\n").expect("written");
        let error = read(&Secret::File(path)).expect_err("empty");
        assert!(
            error.to_string().ends_with("the first line is empty"),
            "{error}"
        );
        let error = read(&Secret::File("/nowhere/password".into())).expect_err("not there");
        assert!(
            error.to_string().starts_with("/nowhere/password: "),
            "{error}"
        );
        assert_eq!(read(&Secret::Text("x".into())).expect("given"), "x");
    }
}
