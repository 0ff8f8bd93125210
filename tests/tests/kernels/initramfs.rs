//! The file system that a virtual machine starts from: a program as `/init`, the libraries that it is linked
//! with, and the kernel's modules that it inserts, in `/modules`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;

/// Writes it to `out`: a cpio archive, not compressed, since an emulated processor takes longer to unpack it
/// than to read it.
///
/// # Errors
/// A file cannot be read or written, or `ldd` does not know what the program needs.
pub fn write(init: &Path, modules: &[PathBuf], out: &Path) -> Result<()> {
    let mut archive = Archive::default();
    archive.file("/init", init)?;
    for library in libraries(init)? {
        let at = library.to_str().context("a library's path")?;
        archive.file(at, &library)?;
    }
    for module in modules {
        let name = module.file_name().and_then(|name| name.to_str());
        archive.file(
            &format!("/modules/{}", name.context("a module's name")?),
            module,
        )?;
    }
    fs::write(out, archive.finish()?).with_context(|| format!("cannot write {}", out.display()))
}

/// The dynamic linker and what it loads, where the program expects them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("cannot start ldd (Debian package libc-bin)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "ldd failed: {text}");
    ensure!(!text.contains("not found"), "a library is missing: {text}");
    // "libc.so.6 => /lib/... (0x...)" and "/lib64/ld-linux-x86-64.so.2 (0x...)"; the vDSO has no path.
    let paths: Vec<PathBuf> = text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect();
    ensure!(!paths.is_empty(), "ldd names no library: {text}");
    Ok(paths)
}

/// A cpio archive of the format "newc" (Linux: Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<PathBuf>,
}

impl Archive {
    /// Adds the file `from` as `path`, which is absolute, and the directories above it.
    fn file(&mut self, path: &str, from: &Path) -> Result<()> {
        let parents: Vec<_> = Path::new(path).ancestors().skip(1).collect();
        for parent in parents.into_iter().rev().skip(1) {
            if self.directories.insert(parent.to_owned()) {
                let name = parent.to_str().context("a directory's path")?;
                self.entry(name, DIRECTORY, &[])?;
            }
        }
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.entry(path, EXECUTABLE, &content)
    }

    fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let name = path.trim_start_matches('/');
        let size = u32::try_from(content.len()).context("a file of 4 GiB or more")?;
        let name_size = u32::try_from(name.len() + 1).context("a long path")?;
        self.entries += 1;
        // Inode, mode, owner, group, links, time, size, device and special device (major, minor), name's size, checksum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
