//! The child that touches a mount. If it hangs, it hangs alone.
//!
//! It is this executable, started with [`ARGUMENT`] before everything else that it could do, and says one line.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use nix::libc;

use super::nfs::{PROBES, STALE, contents, is_probe_of};
use super::seen::Space;

/// The first argument of the child; the next are the path, `write` or `read`, and the device that is expected there, as
/// `major:minor`, or `any`.
pub const ARGUMENT: &str = "probe-mount";

/// So many names are looked at when what was left behind is searched, and so many files removed.
const MOST_LISTED: usize = 1000;
const MOST_SWEPT: usize = 64;

/// Runs as the child if the arguments of this process say so.
pub fn main() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let (Some(path), Some(how), Some(device)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Some(ExitCode::from(2));
    };
    // SAFETY: nothing in this process has opened a descriptor above 2 so far.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
    }
    let answer = match probe(Path::new(&path), how == "write", device.to_str()) {
        Ok(found) => Answer::Works(found),
        Err((step, error)) => Answer::Failed {
            step: step.to_owned(),
            errno: error.raw_os_error().unwrap_or(0),
        },
    };
    match io::stdout().write_all(answer.to_line().as_bytes()) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// What the child says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Works(Found),
    /// 0: no error of the kernel; the step says it all.
    Failed {
        step: String,
        errno: i32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub space: Space,
    pub wrote: bool,
    pub micros: u64,
}

impl Answer {
    pub fn to_line(&self) -> String {
        match self {
            Self::Works(found) => {
                let Space {
                    blocks,
                    blocks_free,
                    files,
                    files_free,
                } = found.space;
                let (wrote, micros) = (u8::from(found.wrote), found.micros);
                format!("ok {blocks} {blocks_free} {files} {files_free} {wrote} {micros}\n")
            }
            Self::Failed { step, errno } => format!("failed {errno} {step}\n"),
        }
    }

    pub fn parse(line: &str) -> Option<Self> {
        let line = line.strip_suffix('\n')?;
        if let Some(rest) = line.strip_prefix("failed ") {
            let (errno, step) = rest.split_once(' ')?;
            return Some(Self::Failed {
                step: step.to_owned(),
                errno: errno.parse().ok()?,
            });
        }
        let numbers: Vec<u64> = line
            .strip_prefix("ok ")?
            .split(' ')
            .map(|number| number.parse().ok())
            .collect::<Option<_>>()?;
        let &[blocks, blocks_free, files, files_free, wrote, micros] = &numbers[..] else {
            return None;
        };
        Some(Self::Works(Found {
            space: Space {
                blocks,
                blocks_free,
                files,
                files_free,
            },
            wrote: wrote == 1,
            micros,
        }))
    }
}

/// Of this machine, as far as it can be part of a file's name.
pub(super) fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name: String = name
        .to_string_lossy()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c))
        .take(64)
        .collect();
    match name.is_empty() {
        true => "mb-lb".to_owned(),
        false => name,
    }
}

type Step<T> = Result<T, (&'static str, io::Error)>;

fn step<T, E: Into<io::Error>>(name: &'static str, result: Result<T, E>) -> Step<T> {
    result.map_err(|error| (name, error.into()))
}

fn probe(path: &Path, write: bool, device: Option<&str>) -> Step<Found> {
    let begun = Instant::now();
    // From here on it is this mount, whatever happens to the path.
    step("open", std::env::set_current_dir(path))?;
    let here = step("stat", fs::metadata("."))?;
    let (major, minor) = (libc::major(here.dev()), libc::minor(here.dev()));
    if device.is_some_and(|device| device != "any" && device != format!("{major}:{minor}")) {
        return Err((
            "another file system than is mounted there",
            io::Error::other("device"),
        ));
    }
    let stat = step("statvfs", nix::sys::statvfs::statvfs("."))?;
    let space = Space {
        blocks: stat.blocks(),
        blocks_free: stat.blocks_available(),
        files: stat.files(),
        files_free: stat.files_available(),
    };
    if write {
        write_and_read()?;
    }
    Ok(Found {
        space,
        wrote: write,
        micros: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
    })
}

fn write_and_read() -> Step<()> {
    match fs::DirBuilder::new().create(PROBES) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => step("mkdir", made)?,
    }
    // Whoever can write to the storage must not lead root elsewhere.
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
    let directory = step("open the directory of probe files", options.open(PROBES))?;
    step("chdir", nix::unistd::fchdir(&directory))?;

    let host = host_name();
    let name = format!("{host}.{}", std::process::id());
    let done = format!("{name}.done");
    let now = match round_trip(&name, &done) {
        Ok(now) => now,
        Err(error) => {
            // What has gone wrong already says more than whether this works.
            let _ = fs::remove_file(&name).and(fs::remove_file(&done));
            return Err(error);
        }
    };
    step("unlink", fs::remove_file(&done))?;
    sweep(&host, now)
}

/// When it was written, by the server's clock.
fn round_trip(name: &str, done: &str) -> Step<i64> {
    let contents = contents();
    let mut options = File::options();
    options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    let created = match options.open(name) {
        // Of an earlier process with this number.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            step("unlink", fs::remove_file(name))?;
            options.open(name)
        }
        created => created,
    };
    let mut file = step("create", created)?;
    step("write", file.write_all(&contents))?;
    step("fsync", file.sync_all())?;
    let now = step("stat", file.metadata())?.mtime();
    drop(file);
    step("rename", fs::rename(name, done))?;
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NOFOLLOW);
    let file = step("open again", options.open(done))?;
    let mut back = Vec::new();
    let most = u64::try_from(contents.len()).unwrap_or(u64::MAX) + 1;
    step("read", file.take(most).read_to_end(&mut back))?;
    match back == contents {
        true => Ok(now),
        false => Err((
            "what was read is not what was written",
            io::Error::other("contents"),
        )),
    }
}

/// Removes what this director left behind long before `now`, both by the server's clock.
fn sweep(host: &str, now: i64) -> Step<()> {
    let names = step("list", fs::read_dir("."))?
        .take(MOST_LISTED)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_probe_of(host, name));
    for name in names.take(MOST_SWEPT) {
        // Somebody else may be faster.
        if let Ok(file) = fs::symlink_metadata(&name)
            && now.saturating_sub(file.mtime()) > i64::from(STALE)
        {
            let _ = fs::remove_file(&name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_the_child_says_is_read() {
        let failed = Answer::Failed {
            step: "open again".to_owned(),
            errno: libc::ESTALE,
        };
        assert_eq!(failed.to_line(), "failed 116 open again\n");
        assert_eq!(Answer::parse("failed 116 open again\n"), Some(failed));
        for line in [
            "",
            "ok",
            "ok 1 2 3 4 1 5",
            "ok 1 2 3 4 1\n",
            "ok 1 2 3 4 1 5 6\n",
            "failed\n",
            "failed x y\n",
            "fine 1\n",
        ] {
            assert_eq!(Answer::parse(line), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_said_is_understood(numbers: (u64, u64, u64, u64, u64), wrote: bool) {
            let (blocks, blocks_free, files, files_free, micros) = numbers;
            let space = Space { blocks, blocks_free, files, files_free };
            let answer = Answer::Works(Found { space, wrote, micros });
            prop_assert_eq!(Answer::parse(&answer.to_line()), Some(answer));
        }
    }
}
