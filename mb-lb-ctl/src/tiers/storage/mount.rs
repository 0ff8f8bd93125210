//! A mount on this director, asked by a [`child`] with a deadline.
//!
//! A child that hangs is left alone for a while and killed then, which a dead server may not even let happen. As long as
//! it is there, nobody starts another for the same mount, also not after the configuration was read anew.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::child::{self, Answer};
use super::mountinfo::{self, Mounted};
use super::seen::{Kind, Part, Role, Seen, Trouble};
use crate::config::StorageKind;

/// A list of mounts that is longer is cut off.
const LONGEST_LIST: u64 = 4 * 1024 * 1024;
/// A line of the child that is longer is none.
const LONGEST_LINE: u64 = 1024;
/// After so long a child is killed: the mount may have come back without it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Mounts of one path, one after the other, that have children that cannot be killed.
const MOST_PENDING: usize = 4;

/// Children that live, by path and number of the mount.
static PENDING: Mutex<BTreeMap<(PathBuf, u32), Pending>> = Mutex::new(BTreeMap::new());

#[derive(Clone, Debug)]
struct Pending {
    /// Unix time in milliseconds.
    since_ms: u64,
    ended: watch::Receiver<Option<Ended>>,
}

#[derive(Clone, Debug)]
struct Ended {
    line: String,
    how: String,
    /// It has not answered for [`PATIENCE`].
    is_killed: bool,
}

pub(super) async fn ask(
    program: &Path,
    path: &Path,
    kind: &StorageKind,
    write: bool,
    limit: Duration,
) -> Part {
    let begun = Instant::now();
    let (seen, took) = match read_list().and_then(|text| expected(kind, path, &text)) {
        Ok(mounted) => touch(program, path, &mounted, write, limit).await,
        Err(trouble) => (Err(trouble), None),
    };
    Part {
        role: Role::Mount,
        name: path.display().to_string(),
        address: path.display().to_string(),
        seen,
        took: took.unwrap_or_else(|| begun.elapsed()),
    }
}

fn read_list() -> Result<String, Trouble> {
    // Not of the process but of the thread: it is the thread that starts the child.
    let path = "/proc/thread-self/mountinfo";
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_LIST).read_to_end(&mut bytes))
        .map_err(|error| Trouble::new(Kind::Untested, format!("cannot read {path}: {error}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The mount at the path, if it is what it should be.
fn expected(kind: &StorageKind, path: &Path, list: &str) -> Result<Mounted, Trouble> {
    let nothing = || {
        Trouble::new(
            Kind::NotMounted,
            format!("nothing is mounted at {}", path.display()),
        )
    };
    let mounted = mountinfo::parse(list, path).ok_or_else(nothing)?;
    if mounted.point != path && !mounted.is_shared() && !mounted.is_automount() {
        return Err(nothing());
    }
    let fits = match kind {
        StorageKind::Nfs { .. } => matches!(&*mounted.kind, "nfs" | "nfs4"),
        StorageKind::Glusterfs { .. } => mounted.kind == "fuse.glusterfs",
        StorageKind::Mount => true,
    };
    match fits || mounted.is_automount() {
        true => Ok(mounted),
        false => Err(Trouble::new(
            Kind::WrongMount,
            format!(
                "{} is of type {} ({}), not {}",
                mounted.point.display(),
                mounted.kind,
                mounted.source,
                kind.name()
            ),
        )),
    }
}

async fn touch(
    program: &Path,
    path: &Path,
    mounted: &Mounted,
    write: bool,
    limit: Duration,
) -> (Result<Seen, Trouble>, Option<Duration>) {
    let hung = |since_ms: u64| {
        let text = format!(
            "{} does not answer within {limit:?}: whoever goes there waits",
            path.display()
        );
        Err(Trouble::new(Kind::Hung { since_ms }, text))
    };
    let mut pending = match child_of(program, path, mounted, write) {
        Ok(pending) => pending,
        Err(trouble) => return (Err(trouble), None),
    };
    let ended = match timeout(limit, pending.ended.wait_for(Option::is_some)).await {
        Err(_) => return (hung(pending.since_ms), None),
        Ok(ended) => ended.ok().and_then(|ended| ended.clone()),
    };
    let untested = |how: &str| {
        let text = format!("the test of {} ended without a word: {how}", path.display());
        Err(Trouble::new(Kind::Untested, text))
    };
    let Some(ended) = ended else {
        return (untested("nobody waits for it"), None);
    };
    if ended.is_killed {
        return (hung(pending.since_ms), None);
    }
    match Answer::parse(&ended.line) {
        Some(Answer::Works(found)) => {
            let seen = Seen::Works {
                space: found.space,
                wrote: found.wrote,
                note: format!("{} of {}", mounted.kind, mounted.source),
            };
            (Ok(seen), Some(Duration::from_micros(found.micros)))
        }
        Some(Answer::Failed { step, errno }) => (Err(failed(path, mounted, &step, errno)), None),
        None => (untested(&ended.how), None),
    }
}

/// The child for that mount: the one that is there, or a new one.
fn child_of(
    program: &Path,
    path: &Path,
    mounted: &Mounted,
    write: bool,
) -> Result<Pending, Trouble> {
    let key = (path.to_owned(), mounted.id);
    let mut all = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
    // Whoever waited for a child may be gone, and the child with it.
    all.retain(|_, pending| pending.ended.has_changed().is_ok());
    if let Some(pending) = all.get(&key) {
        return Ok(pending.clone());
    }
    if all.keys().filter(|(known, _)| known == path).count() >= MOST_PENDING {
        let text = format!(
            "{MOST_PENDING} tests of {} still wait for mounts that were there before",
            path.display()
        );
        return Err(Trouble::new(Kind::Untested, text));
    }
    let child = start(program, path, mounted, write).map_err(|error| {
        Trouble::new(
            Kind::Untested,
            format!("cannot start the test of {}: {error}", path.display()),
        )
    })?;
    let (sender, ended) = watch::channel(None);
    let pending = Pending {
        since_ms: wall_ms(),
        ended,
    };
    all.insert(key.clone(), pending.clone());
    tokio::spawn(async move {
        let ended = end_of(child).await;
        PENDING
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key);
        // Nobody may care any more.
        let _ = sender.send(Some(ended));
    });
    Ok(pending)
}

fn start(program: &Path, path: &Path, mounted: &Mounted, write: bool) -> io::Result<Child> {
    let (major, minor) = mounted.device;
    // Subvolumes of local file systems have numbers of their own; what is mounted on the way has them, too.
    let device = match mounted.point == path && mounted.is_shared() {
        true => format!("{major}:{minor}"),
        false => "any".to_owned(),
    };
    let mut command = Command::new(program);
    command
        .arg(child::ARGUMENT)
        .arg(path)
        .arg(if write { "write" } else { "read" })
        .arg(device)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    // SAFETY: prctl is async-signal-safe and touches no memory of ours.
    unsafe {
        command
            .pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from));
    }
    command.spawn()
}

async fn end_of(mut child: Child) -> Ended {
    let mut line = String::new();
    let stdout = child.stdout.take();
    let read = async {
        if let Some(stdout) = stdout {
            // What is no text is no answer.
            let _ = stdout.take(LONGEST_LINE).read_to_string(&mut line).await;
        }
    };
    let is_killed = timeout(PATIENCE, read).await.is_err();
    if is_killed {
        // It is gone already, or goes as soon as the kernel lets it.
        let _ = child.start_kill();
    }
    let how = match child.wait().await {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    Ended {
        line,
        how,
        is_killed,
    }
}

fn failed(path: &Path, mounted: &Mounted, step: &str, errno: i32) -> Trouble {
    let error = Errno::from_raw(errno);
    let fuse = mounted.kind.starts_with("fuse.");
    // These are asked before anything is written.
    let early = matches!(step, "open" | "stat" | "statvfs");
    let (kind, meaning) = match error {
        Errno::ESTALE => (Kind::StaleHandle, "the file handle is stale"),
        Errno::EROFS if mounted.read_only == (true, false) => (
            Kind::ReadOnly,
            "it is read-only for mb-lb, though not of itself",
        ),
        Errno::EROFS => (Kind::ReadOnly, "it is read-only"),
        Errno::ENOSPC => (Kind::Full, "no space left"),
        Errno::EDQUOT => (Kind::Quota, "the quota is used up"),
        Errno::EACCES | Errno::EPERM => (Kind::Permission, "permission denied"),
        Errno::ENOTCONN if fuse && early => {
            (Kind::StaleMount, "the program behind the mount is gone")
        }
        Errno::ENOTCONN if fuse => (
            Kind::NoQuorum,
            "too few bricks can be reached from here (Transport endpoint is not connected)",
        ),
        Errno::ENOENT if early => (Kind::IoError, "it is not there"),
        Errno::UnknownErrno => (Kind::IoError, "it does not do what it should"),
        _ => (Kind::IoError, error.desc()),
    };
    Trouble::new(kind, format!("{}: {meaning} ({step})", path.display()))
}

fn wall_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
28 1 254:0 / / rw - ext4 /dev/vda rw
29 28 0:40 / /srv/nfs rw - nfs4 10.0.0.1:/q rw
30 28 0:41 / /srv/gluster rw - fuse.glusterfs 10.0.0.1:/qvol rw
31 28 254:1 / /srv/local rw - ext4 /dev/vdb rw
32 28 0:42 / /srv/auto rw - autofs systemd-1 rw
";

    fn nfs() -> StorageKind {
        StorageKind::Nfs {
            server: [10, 0, 0, 1].into(),
            export: None,
            port: 2049,
            version: crate::config::NfsVersion::Any,
            export_probe: false,
        }
    }

    #[test]
    fn only_what_should_be_mounted_is_touched() {
        for (kind, path, trouble) in [
            (nfs(), "/srv/nfs", None),
            (nfs(), "/srv/nfs/below", None),
            (nfs(), "/srv/auto", None),
            (nfs(), "/srv/gluster", Some(Kind::WrongMount)),
            (nfs(), "/srv/local", Some(Kind::WrongMount)),
            (nfs(), "/srv", Some(Kind::NotMounted)),
            (StorageKind::Mount, "/srv/local", None),
            (
                StorageKind::Mount,
                "/srv/local/below",
                Some(Kind::NotMounted),
            ),
            (StorageKind::Mount, "/srv/gluster/below", None),
            (StorageKind::Mount, "/nowhere", Some(Kind::NotMounted)),
            (StorageKind::Mount, "/", None),
        ] {
            let seen = expected(&kind, Path::new(path), LIST);
            assert_eq!(seen.err().map(|trouble| trouble.kind), trouble, "{path}");
        }
    }

    #[test]
    fn errors_have_their_names() {
        let gluster = mountinfo::parse(LIST, Path::new("/srv/gluster")).expect("mounted");
        let mut nfs = mountinfo::parse(LIST, Path::new("/srv/nfs")).expect("mounted");
        let kind = |mounted: &Mounted, step: &str, errno: Errno| {
            failed(Path::new("/srv/x"), mounted, step, errno as i32).kind
        };
        for (step, errno, expected) in [
            ("open", Errno::ENOTCONN, Kind::StaleMount),
            ("statvfs", Errno::ENOTCONN, Kind::StaleMount),
            ("create", Errno::ENOTCONN, Kind::NoQuorum),
            ("fsync", Errno::EIO, Kind::IoError),
            ("open", Errno::ESTALE, Kind::StaleHandle),
            ("create", Errno::EROFS, Kind::ReadOnly),
            ("write", Errno::ENOSPC, Kind::Full),
            ("write", Errno::EDQUOT, Kind::Quota),
            ("mkdir", Errno::EACCES, Kind::Permission),
            (
                "what was read is not what was written",
                Errno::UnknownErrno,
                Kind::IoError,
            ),
        ] {
            assert_eq!(kind(&gluster, step, errno), expected, "{step} {errno}");
        }
        assert_eq!(kind(&nfs, "open", Errno::ENOTCONN), Kind::IoError);
        nfs.read_only = (true, false);
        let text = failed(Path::new("/srv/x"), &nfs, "mkdir", Errno::EROFS as i32).text;
        assert_eq!(
            text,
            "/srv/x: it is read-only for mb-lb, though not of itself (mkdir)"
        );
    }
}
