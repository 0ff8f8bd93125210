//! Puts the program into the kernel, or adopts what an earlier controller left there.
//!
//! Maps and links are pinned under `ROOT/v<layout version>/`. The controller keeps no link of its own: the pins
//! alone hold the data plane, so it stays when the controller goes, however it goes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::Map;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use mb_lb_common::{LAYOUT_VERSION, maps};
use nix::fcntl::{Flock, FlockArg};

use super::sys;
use crate::config;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("MB_LB_EBPF_OBJECT"));

/// The bytes of the eBPF object that this build carries.
pub fn object() -> &'static [u8] {
    OBJECT
}

/// What can go wrong between the controller and the kernel. The text says what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot mount bpffs at {path}: {error}; root is needed (CAP_SYS_ADMIN)")]
    Mount { path: PathBuf, error: io::Error },
    #[error(
        "{path} is not on a bpffs, so nothing can be pinned there; `mount -t bpf bpf {path}` makes it one"
    )]
    NotBpffs { path: PathBuf },
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
    #[error("the kernel does not take the XDP program: {0}")]
    Program(String),
    #[error(
        "{interface} already carries another XDP program; that of an mb-lb with another map layout is removed by its `mb-lb-ctl detach`, others by `ip link set dev {interface} xdp off`"
    )]
    Busy { interface: String },
    #[error(
        "{interface} has no native XDP, and `director.xdp = \"native\"` forbids generic: {error}"
    )]
    NoNative { interface: String, error: String },
    #[error(
        "{interface} goes on in {mode} mode: another director.xdp takes effect after stop, mb-lb-ctl detach and start \
         in a maintenance window (which ends all flows)"
    )]
    ModeInUse {
        interface: String,
        mode: &'static str,
    },
    #[error(
        "the XDP program was detached while this daemon runs, so nothing is balanced: restart the daemon (systemctl restart mb-lb)"
    )]
    Detached,
    #[error("another mb-lb-ctl works on {path}")]
    Locked { path: PathBuf },
    #[error("others read the flow table already; try again when they are done")]
    Reading,
    #[error("cannot attach to {interface}: {error}")]
    Attach { interface: String, error: String },
}

pub(super) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> LoadError {
    let what = what.into();
    move |error| LoadError::Io { what, error }
}

/// Where this layout's pins are.
pub fn pin_dir(root: &Path) -> PathBuf {
    root.join(format!("v{LAYOUT_VERSION}"))
}

/// Makes sure that `root` exists on a bpffs, mounting one at `/sys/fs/bpf` where the system has not.
pub fn prepare_root(root: &Path) -> Result<(), LoadError> {
    let system = Path::new("/sys/fs/bpf");
    if root.starts_with(system) && !is_bpffs(system) {
        nix::mount::mount(
            Some("bpf"),
            system,
            Some("bpf"),
            nix::mount::MsFlags::empty(),
            Some("mode=0700"),
        )
        .map_err(|error| LoadError::Mount {
            path: system.to_owned(),
            error: error.into(),
        })?;
    }
    fs::create_dir_all(root).map_err(io_error(format!("cannot create {}", root.display())))?;
    if !is_bpffs(root) {
        return Err(LoadError::NotBpffs {
            path: root.to_owned(),
        });
    }
    Ok(())
}

/// Only one controller may write the maps, and nobody may take them away under it. The kernel releases the lock when
/// the process ends, however it ends.
pub fn lock_root(root: &Path) -> Result<Flock<fs::File>, LoadError> {
    prepare_root(root)?;
    let dir = fs::File::open(root).map_err(io_error(format!("cannot open {}", root.display())))?;
    Flock::lock(dir, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => LoadError::Locked {
            path: root.to_owned(),
        },
        error => io_error(format!("cannot lock {}", root.display()))(error.into()),
    })
}

fn is_bpffs(path: &Path) -> bool {
    nix::sys::statfs::statfs(path)
        .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC)
}

/// The XDP program in the kernel, with its maps.
pub struct Loaded {
    pub ebpf: Ebpf,
    pub pins: PathBuf,
    /// The maps were there already.
    pub adopted: bool,
}

/// Loads the program with the pinned maps, creating those that are not there.
pub fn load(root: &Path, max_flows: u32) -> Result<Loaded, LoadError> {
    prepare_root(root)?;
    let pins = pin_dir(root);
    let adopted = pins.join(maps::FLOWS4).exists();
    fs::create_dir_all(&pins).map_err(io_error(format!("cannot create {}", pins.display())))?;
    let mut loader = EbpfLoader::new();
    loader
        .default_map_pin_directory(&pins)
        .map_max_entries(maps::FLOWS4, max_flows)
        .map_max_entries(maps::FLOWS6, max_flows);
    let mut ebpf = loader
        .load(OBJECT)
        .map_err(|error| LoadError::Program(chain(&error)))?;
    let program: &mut Xdp = ebpf
        .program_mut("mb_lb")
        .ok_or_else(|| LoadError::Program("not in the object".to_owned()))?
        .try_into()
        .map_err(|error| LoadError::Program(chain(&error)))?;
    program
        .load()
        .map_err(|error| LoadError::Program(chain(&error)))?;
    Ok(Loaded {
        ebpf,
        pins,
        adopted,
    })
}

/// An error with its causes, on one line but for the verifier's log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl Loaded {
    /// A map of the object: from its pin, or, for those that are not pinned (the logger's and constant data), that
    /// of the loaded program.
    pub fn map_fd(&self, name: &str) -> io::Result<OwnedFd> {
        if maps::ALL.contains(&name) {
            return sys::open_pinned(&self.pins.join(name));
        }
        match self.ebpf.map(name) {
            Some(Map::Array(map) | Map::RingBuf(map) | Map::LruHashMap(map)) => {
                map.fd().as_fd().try_clone_to_owned()
            }
            Some(_) => Err(io::Error::other("of a type that was not expected")),
            None => Err(io::Error::other("not in the loaded program")),
        }
    }
}

/// How the program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Native,
    Generic,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// Pinned links: interface index to mode.
pub fn attached(pins: &Path) -> BTreeMap<u32, Mode> {
    let mut links = BTreeMap::new();
    let Ok(entries) = fs::read_dir(pins) else {
        return links;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if let Some((index, mode)) = name.to_str().and_then(link_of) {
            links.insert(index, mode);
        }
    }
    links
}

/// Whether a program of this layout is on an interface already.
pub fn is_attached(root: &Path) -> bool {
    !attached(&pin_dir(root)).is_empty()
}

/// Names of the interfaces that pinned links below `root` put a program on, whichever layout it has.
///
/// # Errors
/// The directory is there and cannot be read: only root can.
pub fn interfaces(root: &Path) -> io::Result<Vec<String>> {
    let versions = match fs::read_dir(root) {
        Ok(versions) => versions,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for version in versions {
        for index in attached(&version?.path()).into_keys() {
            // One of another network namespace, or that has gone.
            let unnamed = || format!("interface {index}");
            let name = nix::net::if_::if_indextoname(index);
            names.push(
                name.ok()
                    .and_then(|name| name.into_string().ok())
                    .unwrap_or_else(unnamed),
            );
        }
    }
    Ok(names)
}

fn link_name(ifindex: u32, mode: Mode) -> String {
    format!("link-{ifindex}-{}", mode.name())
}

fn link_of(name: &str) -> Option<(u32, Mode)> {
    let (index, mode) = name.strip_prefix("link-")?.split_once('-')?;
    let mode = match mode {
        "native" => Mode::Native,
        "generic" => Mode::Generic,
        _ => return None,
    };
    Some((index.parse().ok()?, mode))
}

/// Attaches to an interface: replaces the program in the pinned link where there is one (no packet is missed),
/// makes and pins a new link where there is none.
pub fn attach(
    loaded: &mut Loaded,
    interface: &str,
    ifindex: u32,
    wanted: config::XdpMode,
) -> Result<Mode, LoadError> {
    let attach_error = |error: String| LoadError::Attach {
        interface: interface.to_owned(),
        error,
    };
    let pins = loaded.pins.clone();
    if !pins.is_dir() {
        return Err(LoadError::Detached);
    }
    let program: &mut Xdp = loaded
        .ebpf
        .program_mut("mb_lb")
        .ok_or_else(|| attach_error("the program is not loaded".to_owned()))?
        .try_into()
        .map_err(|error| attach_error(chain(&error)))?;
    if let Some(&mode) = attached(&pins).get(&ifindex) {
        let path = pins.join(link_name(ifindex, mode));
        if !mode_allowed(mode, wanted) {
            // A switch would leave a gap in which the director's own kernel resets what it does not know.
            return Err(LoadError::ModeInUse {
                interface: interface.to_owned(),
                mode: mode.name(),
            });
        }
        match adopt(program, &path) {
            Ok(()) => return Ok(mode),
            // The interface that it belonged to is gone.
            Err(error) if is_os_error(error.as_ref(), libc::ENOLINK) => {}
            Err(error) => return Err(attach_error(chain(error.as_ref()))),
        }
        fs::remove_file(&path).map_err(io_error(format!("cannot remove {}", path.display())))?;
    }
    let modes: &[(Mode, XdpMode)] = match wanted {
        config::XdpMode::Auto => &[
            (Mode::Native, XdpMode::Driver),
            (Mode::Generic, XdpMode::Skb),
        ],
        config::XdpMode::Native => &[(Mode::Native, XdpMode::Driver)],
        config::XdpMode::Generic => &[(Mode::Generic, XdpMode::Skb)],
    };
    let mut refused = None;
    for &(mode, flag) in modes {
        match program.attach_to_if_index(ifindex, flag) {
            Ok(id) => {
                let link = program
                    .take_link(id)
                    .map_err(|error| attach_error(chain(&error)))?;
                let link: FdLink = link.try_into().map_err(|_| {
                    attach_error(
                        "the kernel has no BPF links for XDP (5.9 or newer is needed)".to_owned(),
                    )
                })?;
                let path = pins.join(link_name(ifindex, mode));
                // Dropping the pinned link closes this process's hold on it, not the pin.
                let _pinned: PinnedLink = link
                    .pin(&path)
                    .map_err(|error| attach_error(chain(&error)))?;
                return Ok(mode);
            }
            Err(error) => {
                let text = chain(&error);
                if is_os_error(&error, libc::EBUSY) {
                    return Err(LoadError::Busy {
                        interface: interface.to_owned(),
                    });
                }
                refused = Some(text);
            }
        }
    }
    let error = refused.unwrap_or_default();
    Err(match wanted {
        config::XdpMode::Native => LoadError::NoNative {
            interface: interface.to_owned(),
            error,
        },
        _ => attach_error(error),
    })
}

const fn mode_allowed(mode: Mode, wanted: config::XdpMode) -> bool {
    match wanted {
        config::XdpMode::Auto => true,
        config::XdpMode::Native => matches!(mode, Mode::Native),
        config::XdpMode::Generic => matches!(mode, Mode::Generic),
    }
}

/// BPF_LINK_UPDATE (5.9) on the link that is pinned at `path`.
fn adopt(program: &mut Xdp, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let link: FdLink = PinnedLink::from_pin(path)?.into();
    let link: XdpLink = link.try_into()?;
    let id = program.attach_to_link(link)?;
    let link: FdLink = program
        .take_link(id)?
        .try_into()
        .map_err(|_| "not a BPF link")?;
    // Dropping closes this process's hold on it; the pin stays.
    drop(link);
    Ok(())
}

fn is_os_error(error: &(dyn std::error::Error + 'static), code: i32) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error() == Some(code);
        }
        cause = error.source();
    }
    false
}

/// Takes the program off an interface.
pub fn detach_interface(pins: &Path, ifindex: u32) -> Result<(), LoadError> {
    if let Some(&mode) = attached(pins).get(&ifindex) {
        let path = pins.join(link_name(ifindex, mode));
        fs::remove_file(&path).map_err(io_error(format!("cannot remove {}", path.display())))?;
    }
    Ok(())
}

/// Removes everything below `root`: links first, so that the program is off before its maps go.
///
/// Returns what was removed, for people.
pub fn detach(root: &Path) -> Result<Vec<String>, LoadError> {
    let mut removed = Vec::new();
    let versions = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(removed),
        Err(error) => return Err(io_error(format!("cannot read {}", root.display()))(error)),
    };
    for version in versions.flatten() {
        let dir = version.path();
        // At the top of a BPF file system the kernel has files of its own.
        if !dir.is_dir() {
            continue;
        }
        let mut names: Vec<_> = fs::read_dir(&dir)
            .map_err(io_error(format!("cannot read {}", dir.display())))?
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_by_key(|name| (!name.starts_with("link-"), name.clone()));
        for name in names {
            let path = dir.join(&name);
            fs::remove_file(&path)
                .map_err(io_error(format!("cannot remove {}", path.display())))?;
            removed.push(path.display().to_string());
        }
        fs::remove_dir(&dir).map_err(io_error(format!("cannot remove {}", dir.display())))?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_round_trip() {
        for mode in [Mode::Native, Mode::Generic] {
            assert_eq!(link_of(&link_name(17, mode)), Some((17, mode)));
        }
        for other in ["FLOWS4", "link-", "link-x-native", "link-3-hw"] {
            assert_eq!(link_of(other), None, "{other}");
        }
    }
}
