//! Texts that end up on command lines, some of them on those of other machines. What is let through here means nothing
//! to a shell, to ssh (`%h`, `~`) or to rsync (`host:path`), so nobody has to quote it right.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::config::diagnostic::{Code, quote};
use crate::config::values::Fault;

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-+=@,:/".contains(c)
}

/// An absolute path on another machine, given back without slashes at its end.
pub(super) fn path(text: &str) -> Result<String, Fault> {
    let fault = |phrase: String| Fault::new(Code::BadPath, phrase);
    let trimmed = text.trim_end_matches('/');
    if !text.starts_with('/') {
        return Err(fault(format!("is not an absolute path: {}", quote(text))));
    }
    if trimmed.is_empty() {
        return Err(fault("is the root of a file system".to_owned())
            .help("name a directory below it: all of it is written to"));
    }
    if let Some(c) = text.chars().find(|c| !plain(*c)) {
        return Err(fault(format!(
            "has a character that cannot be in it: {}",
            quote(&c.to_string())
        ))
        .help("possible are letters, digits and _ . - + = @ , : /"));
    }
    if text.len() > 4095 {
        let length = text.len();
        return Err(fault(format!("has {length} bytes, a path at most 4095")));
    }
    Ok(trimmed.to_owned())
}

/// A file that ssh is told of.
pub(super) fn file(text: &str) -> Result<PathBuf, Fault> {
    if text.ends_with('/') && text.starts_with('/') {
        let phrase = format!("is a directory, not a file: {}", quote(text));
        return Err(Fault::new(Code::BadPath, phrase));
    }
    path(text).map(PathBuf::from)
}

/// A directory of this machine: no shell sees it.
pub(super) fn directory(text: &str) -> Result<PathBuf, Fault> {
    let fault = |phrase: String| Err(Fault::new(Code::BadPath, phrase));
    if !text.starts_with('/') {
        return fault(format!("is not an absolute path: {}", quote(text)));
    }
    if text.contains(char::is_control) {
        return fault("has a control character".to_owned());
    }
    if text.len() > 4095 {
        return fault(format!("has {} bytes, a path at most 4095", text.len()));
    }
    match text.trim_end_matches('/') {
        "" => fault("is the root of the file system".to_owned()),
        trimmed => Ok(PathBuf::from(trimmed)),
    }
}

/// A name (not checked for more than its characters: ssh may know it as an alias) or an address.
pub(super) fn host(text: &str) -> Result<String, Fault> {
    let inside = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let good = !inside.is_empty()
        && inside.len() <= 253
        && !inside.starts_with(['-', '.'])
        && (inside.chars().all(name) || inside.parse::<IpAddr>().is_ok());
    match good {
        true => Ok(inside.to_owned()),
        false => Err(Fault::new(
            Code::BadAddress,
            format!("is not a host name or an address: {}", quote(text)),
        )
        .help("write [USER@]HOST[:PATH], or a table with `host`, `user`, `path` and `port`")),
    }
}

/// As useradd(8) takes it.
pub(super) fn user(text: &str) -> Result<String, Fault> {
    let good = (1..=32).contains(&text.len())
        && !text.starts_with(['-', '.'])
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    match good {
        true => Ok(text.to_owned()),
        false => {
            let phrase = format!("is not the name of a user: {}", quote(text));
            Err(Fault::new(Code::BadName, phrase))
        }
    }
}

/// What git-check-ref-format(1) lets through, and less.
pub(super) fn branch(text: &str) -> Result<String, Fault> {
    let part =
        |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with(".lock");
    let good = text.len() <= 255
        && !text.contains("..")
        && !text.ends_with('.')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-/+=".contains(c))
        && text.split('/').all(part);
    match good {
        true => Ok(text.to_owned()),
        false => {
            let phrase = format!("is not the name of a branch: {}", quote(text));
            Err(Fault::new(Code::BadName, phrase).help("write it as `git branch` lists it"))
        }
    }
}

/// One line that is not empty.
pub(super) fn line(text: &str) -> Result<String, Fault> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(Fault::new(Code::Empty, "is empty").help("remove the key"));
    }
    if let Some(c) = trimmed.chars().find(|c| c.is_control()) {
        let phrase = format!("has a control character: {}", quote(&c.to_string()));
        return Err(Fault::new(Code::BadText, phrase).help("write a script, and name it here"));
    }
    if trimmed.len() > 1024 {
        let phrase = format!("has {} bytes, the most is 1024", trimmed.len());
        return Err(Fault::new(Code::BadText, phrase).help("write a script, and name it here"));
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_shell_ssh_or_rsync_would_read_gets_through() {
        for bad in [
            "/a b", "/a;b", "/a$b", "/a%h", "/a'b", "/a\"b", "/~a", "/a*", "/ä", "a", "/", "//", "",
        ] {
            path(bad).expect_err(bad);
            file(bad).expect_err(bad);
        }
        assert_eq!(
            path("/etc/mail_border-2.x/").as_deref(),
            Ok("/etc/mail_border-2.x")
        );
        file("/etc/").expect_err("a directory");
        for bad in [
            "",
            "-l",
            ".x",
            "a b",
            "a@b",
            "a:b",
            "$x",
            "[::1",
            "fe80::1%eth0",
        ] {
            host(bad).expect_err(bad);
        }
        for good in ["mb2", "mb2.example.org", "10.0.0.1", "fd77::1", "[fd77::1]"] {
            host(good).expect(good);
        }
        for bad in ["", "-x", "a b", "a;b", &"x".repeat(33)] {
            user(bad).expect_err(bad);
        }
        for bad in [
            "", "-f", "a..b", "a//b", "/a", "a/", "a b", "a:b", "x.lock", "a~1", ".a",
        ] {
            branch(bad).expect_err(bad);
        }
        for good in ["main", "release/1.x", "a-b_c"] {
            branch(good).expect(good);
        }
        for bad in ["", " ", "a\nb", "a\0b", &"x".repeat(1025)] {
            line(bad).expect_err(bad);
        }
    }
}
