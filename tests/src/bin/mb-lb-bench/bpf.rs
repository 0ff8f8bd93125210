//! The calls of `bpf(2)` that a measurement needs: programs from raw instructions, maps, runs without a packet on
//! the wire, and what the kernel knows of a program.

use std::ffi::CString;
use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_map_type, bpf_prog_info, bpf_prog_type,
};

/// linux/if_link.h
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// # Safety
/// Every pointer in `attr` is valid for what `cmd` does with it.
unsafe fn bpf(cmd: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the caller's; the size is that of the union.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            cmd as libc::c_long,
            &raw mut *attr,
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

/// # Safety
/// As [`bpf`], for a command that returns a new descriptor.
unsafe fn bpf_fd(cmd: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller's; the descriptor is new, so nobody else owns it.
    unsafe { bpf(cmd, attr).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

fn attr() -> bpf_attr {
    // SAFETY: a union of plain integers; the kernel wants unused bytes zero.
    unsafe { zeroed() }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("an open descriptor is not negative")
}

/// Loads an XDP program of `instructions` (`struct bpf_insn` as it lies in memory).
///
/// # Errors
/// With the verifier's log in the text.
pub fn load_xdp(instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut log = vec![0u8; 64 * 1024];
    let mut attr = attr();
    {
        // SAFETY: a union field of integers.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = bpf_prog_type::BPF_PROG_TYPE_XDP as u32;
        // Programs that call each other by tail call must agree in it (6.18).
        load.expected_attach_type = bpf_attach_type::BPF_XDP as u32;
        load.insns = instructions.as_ptr() as u64;
        load.insn_cnt = instructions.len() as u32;
        load.license = c"GPL".as_ptr() as u64;
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = log.len() as u32;
    }
    // SAFETY: instructions, licence and log live until the call returns.
    unsafe { bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr) }.map_err(|error| {
        let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
        io::Error::new(
            error.kind(),
            format!("{error}: {}", String::from_utf8_lossy(&log[..end])),
        )
    })
}

/// Opens what is pinned at `path`.
pub fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = attr();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    // SAFETY: the path lives until the call returns.
    unsafe { bpf_fd(bpf_cmd::BPF_OBJ_GET, &mut attr) }
}

/// A map of one element, at index 0.
pub fn single(map_type: bpf_map_type, value_size: usize) -> io::Result<OwnedFd> {
    let mut attr = attr();
    {
        // SAFETY: a union field of integers.
        let create = unsafe { &mut attr.__bindgen_anon_1 };
        create.map_type = map_type as u32;
        create.key_size = size_of::<u32>() as u32;
        create.value_size = value_size as u32;
        create.max_entries = 1;
    }
    // SAFETY: no pointers.
    unsafe { bpf_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr) }
}

/// Writes the element of a map made by [`single`] with the size of `V`.
pub fn write<V>(map: BorrowedFd<'_>, value: &V) -> io::Result<()> {
    let key = 0u32;
    let mut attr = attr();
    {
        // SAFETY: a union field of integers.
        let element = unsafe { &mut attr.__bindgen_anon_2 };
        element.map_fd = raw(map);
        element.key = (&raw const key) as u64;
        element.__bindgen_anon_1.value = (&raw const *value) as u64;
    }
    // SAFETY: key and value live until the call returns.
    unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// What the kernel says of a run.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// Of the last repetition.
    pub action: u32,
    /// Mean of all, in whole nanoseconds, without what the kernel spent on other tasks in between.
    pub nanoseconds: u32,
    /// Of the frame, after the last repetition.
    pub length: u32,
}

/// Runs an XDP program `repeat` times on one buffer that begins as `frame`.
pub fn run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<Ran> {
    let mut attr = attr();
    {
        // SAFETY: a union field of integers.
        let test = unsafe { &mut attr.test };
        test.prog_fd = raw(program);
        test.data_in = frame.as_ptr() as u64;
        test.data_size_in = frame.len() as u32;
        test.repeat = repeat;
    }
    // SAFETY: the frame lives until the call returns, and no output is asked for.
    unsafe { bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }?;
    // SAFETY: the kernel has written integers.
    let test = unsafe { attr.test };
    Ok(Ran {
        action: test.retval,
        nanoseconds: test.duration,
        length: test.data_size_out,
    })
}

/// How long a program has run while statistics were on.
pub fn run_time(program: BorrowedFd<'_>) -> io::Result<Duration> {
    // SAFETY: a struct of plain integers, for which zero is a value.
    let mut info: bpf_prog_info = unsafe { zeroed() };
    let mut attr = attr();
    attr.info.bpf_fd = raw(program);
    attr.info.info = (&raw mut info) as u64;
    attr.info.info_len = size_of_val(&info) as u32;
    // SAFETY: `info` is `info_len` bytes that live until the call returns.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(Duration::from_nanos(info.run_time_ns))
}

/// Switches run statistics of all programs on until the descriptor is closed (5.8).
pub fn enable_stats() -> io::Result<OwnedFd> {
    // BPF_STATS_RUN_TIME, which is 0.
    let mut attr = attr();
    // SAFETY: no pointers.
    unsafe { bpf_fd(bpf_cmd::BPF_ENABLE_STATS, &mut attr) }
}

/// Attaches an XDP program to an interface of the calling thread's namespace, until the descriptor is closed.
pub fn attach_xdp(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    let mut attr = attr();
    attr.link_create.__bindgen_anon_1.prog_fd = raw(program);
    attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attr.link_create.attach_type = bpf_attach_type::BPF_XDP as u32;
    attr.link_create.flags = XDP_FLAGS_DRV_MODE;
    // SAFETY: no pointers.
    unsafe { bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr) }
}

/// Bytes that the kernel has charged for a map.
pub fn memory(map: BorrowedFd<'_>) -> io::Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", map.as_raw_fd());
    let text = std::fs::read_to_string(&path)?;
    text.lines()
        .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
        .ok_or_else(|| io::Error::other(format!("no memlock in {path}")))
}

/// The descriptor of an owned one, for calls that borrow.
pub fn fd(owned: &OwnedFd) -> BorrowedFd<'_> {
    owned.as_fd()
}

/// The program that is attached by the link pinned at `path`.
pub fn program_of_link(path: &Path) -> io::Result<OwnedFd> {
    let link = open_pinned(path)?;
    // SAFETY: a struct of plain integers and unions of such, for which zero is a value.
    let mut info: bpf_link_info = unsafe { zeroed() };
    let mut query = attr();
    query.info.bpf_fd = raw(fd(&link));
    query.info.info = (&raw mut info) as u64;
    query.info.info_len = size_of_val(&info) as u32;
    // SAFETY: `info` is `info_len` bytes that live until the call returns.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut query) }?;
    let mut attr = attr();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = info.prog_id;
    // SAFETY: no pointers.
    unsafe { bpf_fd(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr) }
}
