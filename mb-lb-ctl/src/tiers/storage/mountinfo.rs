//! What is mounted at a path, by `/proc/self/mountinfo` (proc(5)). Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// The mount that a path belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Unique as long as it is mounted.
    pub id: u32,
    /// `major:minor`
    pub device: (u32, u32),
    pub point: PathBuf,
    /// `nfs4`, `fuse.glusterfs`, ...
    pub kind: String,
    pub source: String,
    /// This mount is read-only, and whether the file system behind it is.
    pub read_only: (bool, bool),
}

impl Mounted {
    /// Others can reach the same files.
    pub fn is_shared(&self) -> bool {
        self.kind.starts_with("nfs")
            || self.kind.starts_with("fuse.")
            || [
                "ceph", "cifs", "smb3", "9p", "gfs2", "ocfs2", "lustre", "beegfs", "afs",
            ]
            .contains(&&*self.kind)
    }

    /// It is mounted when somebody goes there.
    pub fn is_automount(&self) -> bool {
        self.kind == "autofs"
    }
}

/// The mount that whoever goes to `path` comes to; symbolic links are not followed. `None`: there is none, not even `/`.
pub fn parse(text: &str, path: &Path) -> Option<Mounted> {
    let mut found: Option<Mounted> = None;
    for mounted in text.lines().filter_map(line) {
        let depth = |path: &Path| path.components().count();
        let better = found
            .as_ref()
            .is_none_or(|known| depth(&mounted.point) >= depth(&known.point));
        // The later of two at the same place covers the other.
        if path.starts_with(&mounted.point) && better {
            found = Some(mounted);
        }
    }
    found
}

fn line(line: &str) -> Option<Mounted> {
    let mut fields = line.split(' ');
    let id = fields.next()?.parse().ok()?;
    let _parent = fields.next()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let _root = fields.next()?;
    let point = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
    let options = fields.next()?;
    // Optional fields, and their end.
    fields.by_ref().find(|&field| field == "-")?;
    let kind = fields.next()?.to_owned();
    let source = String::from_utf8_lossy(&unescape(fields.next()?)).into_owned();
    let super_options = fields.next().unwrap_or_default();
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    Some(Mounted {
        id,
        device: (major.parse().ok()?, minor.parse().ok()?),
        point,
        kind,
        source,
        read_only: (read_only(options), read_only(super_options)),
    })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &str) -> Vec<u8> {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(octal.unwrap_or(byte));
        at += if octal.is_some() { 4 } else { 1 };
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
22 28 0:21 / /proc rw,nosuid shared:13 - proc proc rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
90 28 254:1 / /var rw - ext4 /dev/vdb rw
91 90 0:50 / /var/spool/q\\040u rw,relatime shared:50 master:2 - nfs4 10.0.0.1:/q rw,vers=4.2
92 28 0:51 / /mnt/g rw - fuse.glusterfs 10.0.0.1:/qvol rw,user_id=0
93 28 0:52 / /mnt/g ro - fuse.glusterfs 10.0.0.1:/new rw,user_id=0
94 28 0:53 / /auto rw - autofs systemd-1 rw,fd=57
95 28 254:2 / /ro ro - xfs /dev/vdc ro
";

    #[test]
    fn the_mount_of_a_path_is_found() {
        for (path, point, kind, shared) in [
            ("/var/spool/q u", "/var/spool/q u", "nfs4", true),
            ("/var/spool/q u/below/it", "/var/spool/q u", "nfs4", true),
            ("/var/spool/q", "/var", "ext4", false),
            ("/srv", "/", "ext4", false),
            ("/mnt/g", "/mnt/g", "fuse.glusterfs", true),
            ("/mnt/ga", "/", "ext4", false),
            ("/auto", "/auto", "autofs", false),
        ] {
            let mounted = parse(TEXT, Path::new(path)).expect("at least the root");
            assert_eq!(mounted.point, Path::new(point));
            assert_eq!((&*mounted.kind, mounted.is_shared()), (kind, shared));
        }
        assert_eq!(parse("", Path::new("/srv")), None);
    }

    #[test]
    fn the_later_covers_the_earlier() {
        let mounted = parse(TEXT, Path::new("/mnt/g")).expect("mounted");
        assert_eq!((mounted.id, &*mounted.source), (93, "10.0.0.1:/new"));
        assert_eq!(mounted.device, (0, 52));
        assert_eq!(mounted.read_only, (true, false));
        let local = parse(TEXT, Path::new("/ro")).expect("mounted");
        assert_eq!(local.read_only, (true, true));
    }

    #[test]
    fn garbage_is_passed_over() {
        for text in [
            "\n\n",
            "1 2 3",
            "x 1 0:1 / / rw - a b c",
            "1 1 0:1 / / rw a b c",
            "1 1 01 / / rw - a b c",
        ] {
            assert_eq!(parse(text, Path::new("/")), None, "{text}");
        }
        assert_eq!(unescape("a\\040b\\\\9\\04"), b"a b\\\\9\\04");
        assert_eq!(unescape("\\777"), b"\\777");
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in "[ 0-9a-z:/\\\\\\-\n]{0,200}") {
            if let Some(mounted) = parse(&text, Path::new("/a/b")) {
                prop_assert!(Path::new("/a/b").starts_with(mounted.point));
            }
        }
    }
}
