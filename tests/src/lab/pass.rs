//! An XDP program of two instructions that passes every frame.
//!
//! What XDP_TX sends into a veth pair waits in the ring of the other end, unless that end has an XDP program too.
//! So the bridge's end of each director's pair gets this one.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

// linux/bpf.h, linux/if_link.h
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_PASS: u64 = 2;

/// `mov r0, XDP_PASS` and `exit`, as the kernel's `struct bpf_insn` has them in memory: opcode, registers, 16 bits of
/// offset, 32 bits of immediate.
const PROGRAM: [u64; 2] = [0xb7 | (XDP_PASS << 32), 0x95];
const LICENSE: &[u8] = b"GPL\0";

/// Leading members of `union bpf_attr`; the kernel takes the rest as zero.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct ObjPin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Attaches to `ports`, interfaces of the calling thread's namespace. The links are pinned in `pins`, so they live
/// as long as that file system, whoever made them.
pub fn attach(ports: &[String], pins: &Path) -> Result<()> {
    let program = load().context("cannot load the XDP program that passes everything")?;
    for port in ports {
        let ifindex = nix::net::if_::if_nametoindex(port.as_str())
            .with_context(|| format!("no interface {port} on the switch"))?;
        let attributes = LinkCreate {
            prog_fd: raw(&program),
            target_ifindex: ifindex,
            attach_type: BPF_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        };
        // SAFETY: the layout is that of BPF_LINK_CREATE, which holds no pointers and returns a new descriptor.
        let link = unsafe { bpf_fd(BPF_LINK_CREATE, &attributes) }
            .with_context(|| format!("cannot attach XDP to {port} of the switch"))?;
        pin(&link, &pins.join(port)).with_context(|| format!("cannot pin the link of {port}"))?;
    }
    Ok(())
}

fn load() -> io::Result<OwnedFd> {
    let attributes = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: PROGRAM.len() as u32,
        insns: PROGRAM.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
    };
    // SAFETY: the layout is that of BPF_PROG_LOAD, which returns a new descriptor; its pointers are to statics.
    unsafe { bpf_fd(BPF_PROG_LOAD, &attributes) }
}

fn pin(link: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = ObjPin {
        pathname: path.as_ptr() as u64,
        bpf_fd: raw(link),
        file_flags: 0,
    };
    // SAFETY: the layout is that of BPF_OBJ_PIN; `path` ends in NUL and outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &attributes) }.map(drop)
}

fn raw(descriptor: &OwnedFd) -> u32 {
    u32::try_from(descriptor.as_raw_fd()).expect("an open descriptor is not negative")
}

/// # Safety
/// As [`bpf`], for a command that returns a new descriptor.
unsafe fn bpf_fd<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise; the descriptor is new, so nobody else owns it.
    unsafe { bpf(command, attributes).map(|descriptor| OwnedFd::from_raw_fd(descriptor)) }
}

/// # Safety
/// `attributes` has the layout that the kernel reads for `command`, and its pointers are valid during the call.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes from a valid reference; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}
