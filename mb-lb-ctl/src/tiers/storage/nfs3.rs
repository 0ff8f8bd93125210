//! What is asked of NFS version 3 and its mount protocol (RFC 1813), and what is read of the answers. Pure.
//!
//! By hand: the answers come from whoever listens at that address, and no length in them may cost more than it brings.

use super::rpc::{Procedure, Reader, Writer};
use super::seen::{Kind, Space, Trouble};

pub const PORTMAPPER: (u32, u32) = (100_000, 2);
pub const NFS: u32 = 100_003;
pub const MOUNTD: (u32, u32) = (100_005, 3);

/// RFC 1813, sections 2.4 and 5.1.4.
const LONGEST_HANDLE: usize = 64;
const LONGEST_PATH: usize = 1024;
const LONGEST_NAME: usize = 255;
/// Of `fattr3`.
const ATTRIBUTES: usize = 84;

const fn nfs(procedure: u32) -> Procedure {
    Procedure {
        program: NFS,
        version: 3,
        procedure,
    }
}

const fn mountd(procedure: u32) -> Procedure {
    Procedure {
        program: MOUNTD.0,
        version: MOUNTD.1,
        procedure,
    }
}

pub const GETPORT: Procedure = Procedure {
    program: PORTMAPPER.0,
    version: PORTMAPPER.1,
    procedure: 3,
};
pub const MNT: Procedure = mountd(1);
pub const UMNT: Procedure = mountd(3);
pub const EXPORT: Procedure = mountd(5);
pub const LOOKUP: Procedure = nfs(3);
pub const READ: Procedure = nfs(6);
pub const WRITE: Procedure = nfs(7);
pub const CREATE: Procedure = nfs(8);
pub const MKDIR: Procedure = nfs(9);
pub const REMOVE: Procedure = nfs(12);
pub const READDIR: Procedure = nfs(16);
pub const FSSTAT: Procedure = nfs(18);

pub const STATUS_NOENT: u32 = 2;
pub const STATUS_EXIST: u32 = 17;

/// `None`: not what such an answer looks like. `Err`: a status of NFS, or of the mount protocol.
pub type Decoded<T> = Option<Result<T, u32>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle(Vec<u8>);

/// Question to the portmapper: the TCP port of a program.
pub fn getport(program: u32, version: u32) -> Vec<u8> {
    Writer::default()
        .u32(program)
        .u32(version)
        .u32(6)
        .u32(0)
        .bytes()
}

/// Port 0: not registered. `None`: no port.
pub fn port(answer: &[u8]) -> Option<u16> {
    let mut reader = Reader::new(answer);
    let port = u16::try_from(reader.u32()?).ok()?;
    reader.is_empty().then_some(port)
}

pub fn path(path: &str) -> Vec<u8> {
    Writer::default().opaque(path.as_bytes()).bytes()
}

/// Answer to MNT.
pub fn mounted(answer: &[u8]) -> Decoded<Handle> {
    let mut reader = Reader::new(answer);
    match reader.u32()? {
        0 => Some(Ok(handle(&mut reader)?)),
        status => Some(Err(status)),
    }
}

/// Answer to EXPORT: the exported paths.
pub fn exports(answer: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader::new(answer);
    let mut paths = Vec::new();
    while reader.bool()? {
        paths.push(reader.opaque(LONGEST_PATH)?);
        while reader.bool()? {
            reader.opaque(LONGEST_PATH)?;
        }
    }
    Some(paths)
}

/// Whether a path is exported, itself or a directory above it.
pub fn is_exported(path: &str, exports: &[&[u8]]) -> bool {
    exports.iter().any(|exported| {
        let exported = exported.strip_suffix(b"/").unwrap_or(exported);
        path.as_bytes()
            .strip_prefix(exported)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    })
}

/// A name in a directory: of LOOKUP and REMOVE.
pub fn entry(directory: &Handle, name: &str) -> Vec<u8> {
    in_directory(directory, name).bytes()
}

pub fn of(handle: &Handle) -> Vec<u8> {
    Writer::default().opaque(&handle.0).bytes()
}

pub fn make_directory(parent: &Handle, name: &str) -> Vec<u8> {
    let mode = in_directory(parent, name).u32(1).u32(0o700);
    owner_and_times(mode).bytes()
}

/// It must not be there yet (GUARDED).
pub fn create(directory: &Handle, name: &str) -> Vec<u8> {
    let mode = in_directory(directory, name).u32(1).u32(1).u32(0o600);
    owner_and_times(mode).bytes()
}

/// From the beginning, and on the disk before it answers (FILE_SYNC).
pub fn write(file: &Handle, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("what is written is short");
    Writer::default()
        .opaque(&file.0)
        .u64(0)
        .u32(length)
        .u32(2)
        .opaque(data)
        .bytes()
}

pub fn read(file: &Handle, length: u32) -> Vec<u8> {
    Writer::default().opaque(&file.0).u64(0).u32(length).bytes()
}

/// From the beginning, as much as goes into `size` bytes.
pub fn list(directory: &Handle, size: u32) -> Vec<u8> {
    Writer::default()
        .opaque(&directory.0)
        .u64(0)
        .u64(0)
        .u32(size)
        .bytes()
}

/// Answer to LOOKUP: what it is, and when it was written, by the server's clock, where it says so.
pub fn looked_up(answer: &[u8]) -> Decoded<(Handle, Option<u32>)> {
    decoded(answer, |reader| {
        let handle = handle(reader)?;
        Some((handle, attributes(reader)?))
    })
}

/// Answer to MKDIR and CREATE. `None` inside: it is there, and the server does not say as what.
pub fn created(answer: &[u8]) -> Decoded<Option<Handle>> {
    decoded(answer, |reader| match reader.bool()? {
        true => Some(Some(handle(reader)?)),
        false => Some(None),
    })
}

/// Answer to WRITE: how much was, and when, by the server's clock.
pub fn written(answer: &[u8]) -> Decoded<(u32, Option<u32>)> {
    decoded(answer, |reader| {
        if reader.bool()? {
            reader.fixed(24)?;
        }
        let when = attributes(reader)?;
        Some((reader.u32()?, when))
    })
}

/// Answer to READ.
pub fn data(answer: &[u8], most: usize) -> Decoded<&[u8]> {
    decoded(answer, |reader| {
        attributes(reader)?;
        let _count = reader.u32()?;
        let _end = reader.bool()?;
        reader.opaque(most)
    })
}

/// Answer to READDIR.
pub fn names(answer: &[u8]) -> Decoded<Vec<&[u8]>> {
    decoded(answer, |reader| {
        attributes(reader)?;
        reader.u64()?;
        let mut names = Vec::new();
        while reader.bool()? {
            reader.u64()?;
            names.push(reader.opaque(LONGEST_NAME)?);
            reader.u64()?;
        }
        Some(names)
    })
}

/// Answer to REMOVE.
pub fn removed(answer: &[u8]) -> Decoded<()> {
    decoded(answer, |_| Some(()))
}

/// Answer to FSSTAT.
pub fn space(answer: &[u8]) -> Decoded<Space> {
    decoded(answer, |reader| {
        attributes(reader)?;
        let blocks = reader.u64()?;
        let _free = reader.u64()?;
        let blocks_free = reader.u64()?;
        let files = reader.u64()?;
        let _free = reader.u64()?;
        let files_free = reader.u64()?;
        Some(Space {
            blocks,
            blocks_free,
            files,
            files_free,
        })
    })
}

/// What a status means, in words. `doing` is what was tried: `CREATE`.
pub fn trouble(status: u32, doing: &str) -> Trouble {
    let (kind, name, meaning) = match status {
        1 => (Kind::Permission, "NFS3ERR_PERM", "not permitted"),
        2 => (Kind::IoError, "NFS3ERR_NOENT", "it is not there"),
        5 => (
            Kind::IoError,
            "NFS3ERR_IO",
            "the server's disk has an error",
        ),
        13 => (Kind::Permission, "NFS3ERR_ACCES", "permission denied"),
        28 => (Kind::Full, "NFS3ERR_NOSPC", "no space left"),
        30 => (
            Kind::ReadOnly,
            "NFS3ERR_ROFS",
            "the file system is read-only",
        ),
        69 => (Kind::Quota, "NFS3ERR_DQUOT", "the quota is used up"),
        70 => (
            Kind::StaleHandle,
            "NFS3ERR_STALE",
            "the file handle is stale: the directory is gone or was exported anew",
        ),
        10_001 => (
            Kind::StaleHandle,
            "NFS3ERR_BADHANDLE",
            "the file handle is unknown",
        ),
        10_004 => (
            Kind::IoError,
            "NFS3ERR_NOTSUPP",
            "the server cannot do that",
        ),
        10_006 => (
            Kind::IoError,
            "NFS3ERR_SERVERFAULT",
            "the server has an error of its own",
        ),
        10_008 => (
            Kind::IoError,
            "NFS3ERR_JUKEBOX",
            "the server says that it will take long",
        ),
        _ => return Trouble::new(Kind::IoError, format!("{doing}: status {status}")),
    };
    Trouble::new(kind, format!("{doing}: {meaning} ({name})"))
}

/// As [`trouble`], of the mount protocol.
pub fn mount_trouble(status: u32, path: &str) -> Trouble {
    let (kind, name, meaning) = match status {
        1 => (Kind::Permission, "MNT3ERR_PERM", "not permitted"),
        2 => (Kind::ExportGone, "MNT3ERR_NOENT", "no such export"),
        5 => (
            Kind::IoError,
            "MNT3ERR_IO",
            "the server's disk has an error",
        ),
        13 => (
            Kind::ExportGone,
            "MNT3ERR_ACCES",
            "not exported to this director, or not any more",
        ),
        20 => (Kind::ExportGone, "MNT3ERR_NOTDIR", "no directory"),
        10_006 => (
            Kind::IoError,
            "MNT3ERR_SERVERFAULT",
            "the server has an error of its own",
        ),
        _ => return Trouble::new(Kind::Rejected, format!("MNT {path}: status {status}")),
    };
    Trouble::new(kind, format!("MNT {path}: {meaning} ({name})"))
}

fn in_directory(directory: &Handle, name: &str) -> Writer {
    Writer::default()
        .opaque(&directory.0)
        .opaque(name.as_bytes())
}

/// The rest of `sattr3`: neither owner nor size nor times are set.
fn owner_and_times(mode: Writer) -> Writer {
    mode.u32(0).u32(0).u32(0).u32(0).u32(0)
}

fn decoded<'a, T>(answer: &'a [u8], read: impl FnOnce(&mut Reader<'a>) -> Option<T>) -> Decoded<T> {
    let mut reader = Reader::new(answer);
    match reader.u32()? {
        0 => Some(Ok(read(&mut reader)?)),
        status => Some(Err(status)),
    }
}

fn handle(reader: &mut Reader<'_>) -> Option<Handle> {
    reader
        .opaque(LONGEST_HANDLE)
        .map(|bytes| Handle(bytes.to_vec()))
}

/// `post_op_attr`; the time of the last write in seconds.
fn attributes(reader: &mut Reader<'_>) -> Option<Option<u32>> {
    if !reader.bool()? {
        return Some(None);
    }
    let mut all = Reader::new(reader.fixed(ATTRIBUTES)?);
    all.fixed(68)?;
    Some(Some(all.u32()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exports_cover_what_is_below_them() {
        let listed = Writer::default()
            .u32(1)
            .opaque(b"/srv/mail")
            .u32(1)
            .opaque(b"10.0.0.0/24")
            .u32(0)
            .u32(1)
            .opaque(b"/other/")
            .u32(0)
            .u32(0)
            .bytes();
        let listed = exports(&listed).expect("a list");
        assert_eq!(listed, [&b"/srv/mail"[..], b"/other/"]);
        for (path, expected) in [
            ("/srv/mail", true),
            ("/srv/mail/quarantine", true),
            ("/srv/mailbox", false),
            ("/srv", false),
            ("/other", true),
            ("/other/x", true),
        ] {
            assert_eq!(is_exported(path, &listed), expected, "{path}");
        }
        assert!(is_exported("/x", &[b"/"]));
        assert_eq!(exports(&[0, 0, 0, 1]), None);
    }

    #[test]
    fn statuses_are_named() {
        for (status, kind, word) in [
            (13, Kind::Permission, "NFS3ERR_ACCES"),
            (28, Kind::Full, "NFS3ERR_NOSPC"),
            (30, Kind::ReadOnly, "NFS3ERR_ROFS"),
            (69, Kind::Quota, "NFS3ERR_DQUOT"),
            (70, Kind::StaleHandle, "NFS3ERR_STALE"),
            (12_345, Kind::IoError, "12345"),
        ] {
            let trouble = trouble(status, "CREATE");
            assert_eq!(trouble.kind, kind);
            assert!(trouble.text.contains(word), "{}", trouble.text);
        }
        assert_eq!(mount_trouble(13, "/x").kind, Kind::ExportGone);
        assert!(mount_trouble(13, "/x").text.contains("MNT3ERR_ACCES"));
    }

    #[test]
    fn a_written_answer_says_how_much_and_when() {
        let mut attributes = vec![0; ATTRIBUTES];
        attributes[68..72].copy_from_slice(&1_700_000_000_u32.to_be_bytes());
        let mut answer = Writer::default().u32(0).u32(0).u32(1).bytes();
        answer.extend(&attributes);
        answer.extend(Writer::default().u32(4096).u32(2).u64(0).bytes());
        assert_eq!(written(&answer), Some(Ok((4096, Some(1_700_000_000)))));
        assert_eq!(written(&answer[..answer.len() - 16]), None);
        assert_eq!(written(&28_u32.to_be_bytes()), Some(Err(28)));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (port(&bytes), mounted(&bytes), looked_up(&bytes), created(&bytes), written(&bytes));
            let _ = (data(&bytes, 4096), names(&bytes), removed(&bytes), space(&bytes));
            if let Some(paths) = exports(&bytes) {
                let _ = is_exported("/a", &paths);
            }
        }
    }
}
