//! The socket's file: made in one step with its final mode, never taken from a controller that still answers.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use tokio::net::{UnixListener, UnixStream};

/// Longest path that `sockaddr_un` holds (unix(7)), without the final zero.
const MAX_PATH: usize = 107;

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "another controller answers on {0}: stop it first, or give this one another admin.socket"
    )]
    InUse(PathBuf),
    #[error("{0} exists and is not a socket: remove it, or choose another admin.socket")]
    NotASocket(PathBuf),
    #[error(
        "{0} is longer than the {MAX_PATH} bytes that a socket's path may have: choose a shorter admin.socket"
    )]
    TooLong(PathBuf),
    #[error("{0} has no directory: choose another admin.socket")]
    NoDirectory(PathBuf),
    #[error("cannot {doing} {path}: {source}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// A listening socket whose file disappears with it.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl AdminSocket {
    /// Listens on `path` with permissions `mode` (for example 0o660). Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`BindError`]; the file that was there, if any, is then untouched.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, BindError> {
        if path.as_os_str().len() > MAX_PATH {
            return Err(BindError::TooLong(path.to_owned()));
        }
        let (Some(directory), Some(_)) = (path.parent(), path.file_name()) else {
            return Err(BindError::NoDirectory(path.to_owned()));
        };
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        std::fs::create_dir_all(directory).map_err(failed("create", directory))?;
        refuse_foreign_file(path)?;

        // Between bind and chmod the socket has the mode that the umask leaves. The umask belongs to the whole
        // process, so a directory that nobody else can enter keeps strangers out instead.
        let private = directory.join(format!(".mb-lb-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&private);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&private)
            .map_err(failed("create", &private))?;
        let bound = bind_in(&private, path, mode);
        let _ = std::fs::remove_dir_all(&private);
        bound
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Where clients connect.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // Another controller may have put its own socket there since.
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| metadata.ino() == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the admin socket's file stays behind");
        }
    }
}

fn bind_in(private: &Path, path: &Path, mode: u32) -> Result<AdminSocket, BindError> {
    let temporary = private.join("socket");
    let directory = std::fs::File::open(private).map_err(failed("open", private))?;
    // The name by way of the descriptor is short, however long the directory's own name is.
    let short = format!("/proc/self/fd/{}/socket", directory.as_raw_fd());
    let listener = UnixListener::bind(short).map_err(failed("bind", path))?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of", path))?;
    let inode = std::fs::symlink_metadata(&temporary)
        .map_err(failed("look at", path))?
        .ino();
    std::fs::rename(&temporary, path).map_err(failed("put in place", path))?;
    Ok(AdminSocket {
        listener,
        path: path.to_owned(),
        inode,
    })
}

/// Nothing there, or a socket that nobody listens on: the only things that may be replaced.
fn refuse_foreign_file(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match try_connect(path) {
        Err(nix::Error::ECONNREFUSED | nix::Error::ENOENT) => Ok(()),
        // EAGAIN: somebody listens, and too many wait already.
        Ok(_) | Err(nix::Error::EAGAIN) => Err(BindError::InUse(path.to_owned())),
        Err(error) => Err(failed("connect to", path)(error.into())),
    }
}

fn try_connect(path: &Path) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let client = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(client.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(client)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    let path = path.to_owned();
    move |source| BindError::Io {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[tokio::test]
    async fn the_file_has_its_mode_and_disappears_with_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/mb-lb/admin.sock");
        let socket = AdminSocket::bind(&path, 0o640).unwrap();
        assert_eq!(mode(&path), 0o640);
        assert_eq!(socket.path(), path);
        let entries = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(entries, 1, "no temporary file is left");
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_answers_is_never_taken_and_a_stale_one_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let first = AdminSocket::bind(&path, 0o600).unwrap();
        assert!(matches!(
            AdminSocket::bind(&path, 0o600),
            Err(BindError::InUse(taken)) if taken == path
        ));
        assert!(path.exists());
        drop(first);

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the file outlives its listener");
        let second = AdminSocket::bind(&path, 0o666).unwrap();
        assert_eq!(mode(&path), 0o666);
        drop(second);
    }

    #[tokio::test]
    async fn a_file_of_somebody_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(
            AdminSocket::bind(&path, 0o600),
            Err(BindError::NotASocket(_))
        ));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_replaced_socket_is_not_removed_by_its_former_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let first = AdminSocket::bind(&path, 0o600).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = AdminSocket::bind(&path, 0o600).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn long_names_are_refused_and_nearly_long_ones_work() {
        let directory = tempfile::tempdir().unwrap();
        let room = MAX_PATH - directory.path().as_os_str().len() - 1;
        let path = directory.path().join("x".repeat(room));
        drop(AdminSocket::bind(&path, 0o600).unwrap());
        assert!(matches!(
            AdminSocket::bind(&directory.path().join("x".repeat(room + 1)), 0o600),
            Err(BindError::TooLong(_))
        ));
        assert!(matches!(
            AdminSocket::bind(Path::new("/"), 0o600),
            Err(BindError::NoDirectory(_))
        ));
    }
}
