//! Certificates by the socket: what `command/ssl.rs` decides, with files. Everything here may wait for a disk, and is run
//! where that holds up nobody but who asks.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::command::ssl::{self, Found, Served, Ssl, Store, details};
use crate::proxy::{CertificateError, Info, check_certificate, pem_chain};
use crate::snapshot::Snapshot;

/// Of all connections. The lock is held for a command of this kind, while it reads and writes its file.
#[derive(Debug, Default)]
pub struct Certificates(Mutex<Option<Store>>);

/// What a command has come to.
#[derive(Debug)]
pub enum Outcome {
    Said(String),
    /// The file holds the new certificate now; it is in force when a proxy says so.
    Written {
        info: Box<Info>,
        said: String,
    },
}

impl Certificates {
    /// The first that is seen to be served is taken to be known to everybody. Does not wait: a command may be at a slow disk.
    pub fn observe(&self, snapshot: &Snapshot) {
        let Ok(mut store) = self.0.try_lock() else {
            return;
        };
        if store.is_none() && files(snapshot).next().is_some() {
            *store = Some(Store::new(&served(snapshot, &[])));
        }
    }

    /// Does what is asked. `paths`: what the configuration names.
    pub fn run(&self, command: Ssl, snapshot: &Snapshot, paths: &[PathBuf]) -> Outcome {
        let served = served(snapshot, paths);
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let store = store.get_or_insert_with(|| Store::new(&served));
        Outcome::Said(match command {
            Ssl::Show(None) => store.show(&served),
            Ssl::Show(Some(path)) => describe(store, &path, &served),
            Ssl::Set { path, pem } => {
                let is_good = details::describe(&path, true, &pem_chain(pem.as_bytes())).is_some();
                store.set(path, pem, &served, is_good)
            }
            Ssl::Commit(path) => return commit(store, path, &served),
            Ssl::Abort(path) => store.abort(&path),
            Ssl::New(path) => store.create(path, &served),
            Ssl::Delete(path) => store.delete(&path, &served),
            Ssl::ShowLists => ssl::lists(&served),
            Ssl::ShowList { list, numbered } => ssl::list(&list, numbered, &served),
            Ssl::AddToList { list, path } => return add(store, &list, &path, &served),
            Ssl::DeleteFromList { list, path } => ssl::delete_from_list(&list, &path, &served),
        })
    }
}

fn files(snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    let services = snapshot.services.iter();
    let certificates = services.flat_map(|service| &service.certificates);
    certificates.map(|certificate| certificate.file.as_str())
}

fn served(snapshot: &Snapshot, paths: &[PathBuf]) -> Served {
    // certbot's directories have two files, and no room for others.
    let is_list = |path: &&PathBuf| path.is_dir() && !path.join("privkey.pem").exists();
    let directories = paths.iter().filter(is_list);
    Served {
        directories: directories
            .map(|path| path.to_string_lossy().trim_end_matches('/').to_owned())
            .collect(),
        files: files(snapshot).map(str::to_owned).collect(),
    }
}

fn describe(store: &Store, path: &str, served: &Served) -> String {
    let shown = match store.find(path, served) {
        Found::Used => fs::read(path)
            .ok()
            .and_then(|pem| details::describe(path, true, &pem_chain(&pem))),
        Found::Unused(pem) => details::describe(path, false, &pem_chain(pem.as_bytes())),
        Found::Empty => Some(details::empty(path)),
        Found::Nothing => None,
    };
    shown.unwrap_or_else(|| {
        "Can't display the certificate: Not found or the certificate is a bundle!\n".to_owned()
    })
}

fn commit(store: &mut Store, path: String, served: &Served) -> Outcome {
    let commit = match store.commit(&path, served) {
        Ok(commit) => commit,
        Err(text) => return Outcome::Said(text),
    };
    let refused = |why: String| Outcome::Said(format!("{why}\nCan't commit {path}!\n"));
    let info = match check_certificate(Path::new(&path), commit.pem.as_bytes()) {
        Ok(info) => info,
        Err(CertificateError::NoKey { .. } | CertificateError::NoCertificate(_)) => {
            return refused(
                "The transaction must contain at least a certificate and a private key!".to_owned(),
            );
        }
        Err(CertificateError::WrongKey(_)) => {
            return refused(format!(
                "inconsistencies between private key and certificate loaded '{path}'."
            ));
        }
        Err(error) => return refused(error.to_string()),
    };
    if !commit.is_served {
        store.committed(&path);
        return Outcome::Said(format!("Committing {path}\nSuccess!\n"));
    }
    if let Err(error) = write(Path::new(&path), commit.pem.as_bytes()) {
        return refused(cannot_write(&path, &error));
    }
    store.committed(&path);
    tracing::info!(
        file = path,
        "a certificate was written, as the admin socket was told"
    );
    Outcome::Written {
        info: Box::new(info),
        said: format!("Committing {path}.\nSuccess!\n"),
    }
}

fn add(store: &mut Store, list: &str, path: &str, served: &Served) -> Outcome {
    let pem = match store.add(list, path, served) {
        Ok(pem) => pem,
        Err(text) => return Outcome::Said(text),
    };
    let Some(pem) = pem else {
        return Outcome::Said(store.added(list, path));
    };
    let refused = |why: String| Outcome::Said(format!("Can't edit the crt-list: {why}\n"));
    let info = match check_certificate(Path::new(path), pem.as_bytes()) {
        Ok(info) => info,
        Err(error) => return refused(error.to_string()),
    };
    if let Err(error) = write(Path::new(path), pem.as_bytes()) {
        return refused(cannot_write(path, &error));
    }
    tracing::info!(
        file = path,
        "a certificate was written, as the admin socket was told"
    );
    Outcome::Written {
        info: Box::new(info),
        said: store.added(list, path),
    }
}

fn cannot_write(path: &str, error: &io::Error) -> String {
    let next = match error.raw_os_error() {
        Some(libc::EROFS) => {
            "; the service may not write there: ReadWritePaths= in 'systemctl edit mb-lb'"
        }
        _ => "",
    };
    format!("Cannot write {path}: {error}{next}.")
}

/// Puts the file in place in one step, with the mode and the owner that it has. One that says the same already is left alone.
fn write(path: &Path, pem: &[u8]) -> io::Result<()> {
    // What is linked to is replaced, not the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::read(&target).is_ok_and(|present| present.trim_ascii_end() == pem.trim_ascii_end()) {
        return Ok(());
    }
    let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    // Its ending is none that makes it a certificate.
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".mb-lb-{}", std::process::id()));
    let temporary = directory.join(hidden);
    let written = write_beside(&temporary, &target, pem);
    if written.is_err() {
        // It may not even have been made.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    File::open(directory)?.sync_all()
}

fn write_beside(temporary: &Path, target: &Path, pem: &[u8]) -> io::Result<()> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    file.write_all(pem)?;
    if let Ok(present) = fs::metadata(target) {
        // A file that everybody could read, for it had a chain only, must not get a key.
        let had_key = fs::read(target).is_ok_and(|old| has_key(&old));
        let mode = match has_key(pem) && !had_key {
            true => present.mode() & 0o700,
            false => present.mode() & 0o7777,
        };
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        // Last, for whoever has given a file away has no say in it any more. The service may not do it, not even where it
        // changes nothing.
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (present.uid(), present.gid()) {
            std::os::unix::fs::fchown(&file, Some(present.uid()), Some(present.gid()))
                .map_err(given_away)?;
        }
    }
    file.sync_all()?;
    fs::rename(temporary, target)
}

/// Of a file that is not root's.
fn given_away(error: io::Error) -> io::Error {
    let text = format!(
        "{error}: it belongs to another user or group, and the service may not give files away: CapabilityBoundingSet=CAP_CHOWN \
         and SystemCallFilter=@chown in 'systemctl edit mb-lb', or chown root:root it"
    );
    io::Error::new(error.kind(), text)
}

fn has_key(pem: &[u8]) -> bool {
    memchr::memmem::find(pem, b"PRIVATE KEY-----").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_mode_and_a_link_stays_one() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (
            directory.path().join("a.pem"),
            directory.path().join("b.pem"),
        );
        fs::write(&file, "old\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let before = fs::metadata(&file).unwrap().ino();
        write(&link, b"old").unwrap();
        assert_eq!(
            fs::metadata(&file).unwrap().ino(),
            before,
            "it said so already"
        );
        write(&link, b"new\n").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new\n");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let new = directory.path().join("c.pem");
        write(&new, b"new\n").unwrap();
        assert_eq!(fs::metadata(&new).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
        // What had no key is for the owner alone when it gets one.
        let chain = directory.path().join("a.pem");
        fs::set_permissions(&chain, fs::Permissions::from_mode(0o644)).unwrap();
        let with_key = b"chain\n-----BEGIN PRIVATE KEY-----\n";
        write(&chain, with_key).unwrap();
        assert_eq!(fs::metadata(&chain).unwrap().mode() & 0o7777, 0o600);
        // Whoever has opened it since is right about it.
        fs::set_permissions(&chain, fs::Permissions::from_mode(0o640)).unwrap();
        write(&chain, &[with_key.as_slice(), b"next\n"].concat()).unwrap();
        assert_eq!(fs::metadata(&chain).unwrap().mode() & 0o7777, 0o640);
        assert!(write(&directory.path().join("none/x.pem"), b"x").is_err());
    }
}
