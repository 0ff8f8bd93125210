//! The calls of `bpf(2)` that aya does not offer: programs of type SYSCALL, and plain typed access to pinned maps.

use std::ffi::CString;
use std::io;
use std::marker::PhantomData;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type};
use bytemuck::{Pod, Zeroable};

/// BPF_F_SLEEPABLE: the kernel takes programs of type SYSCALL only so (5.14).
const SLEEPABLE: u32 = 1 << 4;

/// # Safety
/// Every pointer in `attr` must be valid for what `cmd` does with it.
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
    Ok(result as i32)
}

fn attr() -> bpf_attr {
    // SAFETY: a union of plain integers, for which zero is a value; the kernel wants unused bytes zero.
    unsafe { zeroed() }
}

/// # Safety
/// `fd` has just been returned by the kernel and belongs to nobody.
unsafe fn own(fd: i32) -> OwnedFd {
    // SAFETY: the caller's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Opens what is pinned at `path`.
pub fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = attr();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    // SAFETY: the path lives until the call returns.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET, &mut attr).map(|fd| own(fd)) }
}

/// Loads BTF. A BTF that the kernel refuses is an error here: callbacks need it.
pub fn load_btf(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = attr();
    attr.__bindgen_anon_7.btf = btf.as_ptr() as u64;
    attr.__bindgen_anon_7.btf_size = btf.len() as u32;
    // SAFETY: the bytes live until the call returns.
    unsafe { bpf(bpf_cmd::BPF_BTF_LOAD, &mut attr).map(|fd| own(fd)) }
}

/// Loads a program of type SYSCALL.
///
/// # Errors
/// With the verifier's log in the text.
pub fn load_syscall_program(
    name: &str,
    instructions: &[bpf_insn],
    func_info: &[u8],
    func_info_size: usize,
    btf: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let mut log = vec![0u8; 256 * 1024];
    let mut attr = attr();
    {
        // SAFETY: a union field of integers.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        for (to, from) in load.prog_name.iter_mut().zip(name.bytes().take(15)) {
            *to = from as _;
        }
        load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SYSCALL as u32;
        load.prog_flags = SLEEPABLE;
        load.insns = instructions.as_ptr() as u64;
        load.insn_cnt = instructions.len() as u32;
        load.license = c"Dual MIT/GPL".as_ptr() as u64;
        load.prog_btf_fd = btf.as_raw_fd() as u32;
        load.func_info = func_info.as_ptr() as u64;
        load.func_info_rec_size = func_info_size as u32;
        load.func_info_cnt = (func_info.len() / func_info_size.max(1)) as u32;
    }
    // SAFETY: instructions, licence and func_info live until the call returns.
    if let Ok(fd) = unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) } {
        // SAFETY: just returned.
        return Ok(unsafe { own(fd) });
    }
    // Again, for the reason: asking for the log in the first place costs time.
    {
        // SAFETY: a union field of integers.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = log.len() as u32;
    }
    // SAFETY: as above, and the log buffer lives too.
    match unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) } {
        // SAFETY: just returned.
        Ok(fd) => Ok(unsafe { own(fd) }),
        Err(error) => {
            let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
            let text = String::from_utf8_lossy(&log[..end]);
            let tail: Vec<&str> = text.lines().rev().take(12).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            Err(io::Error::new(
                error.kind(),
                format!("{error}; the verifier says:\n{}", tail.join("\n")),
            ))
        }
    }
}

/// Runs a program of type SYSCALL once; `context` goes in and comes out.
pub fn run_syscall_program<T: Pod>(program: BorrowedFd<'_>, context: &mut T) -> io::Result<()> {
    let mut attr = attr();
    {
        // SAFETY: a union field of integers.
        let test = unsafe { &mut attr.test };
        test.prog_fd = program.as_raw_fd() as u32;
        test.ctx_in = (&raw mut *context) as u64;
        test.ctx_size_in = size_of::<T>() as u32;
    }
    // SAFETY: the context is `ctx_size_in` bytes of plain data, read and written during the call only.
    unsafe { bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr) }?;
    Ok(())
}

/// A map with keys `K` and values `V`, opened from its pin.
#[derive(Debug)]
pub struct Table<K, V> {
    fd: OwnedFd,
    marker: PhantomData<(K, V)>,
}

/// What the kernel says of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
}

impl<K: Pod, V: Pod> Table<K, V> {
    /// # Errors
    /// Where nothing is pinned there, or the sizes are not those of `K` and `V`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let table = Self {
            fd: open_pinned(path)?,
            marker: PhantomData,
        };
        let shape = table.shape()?;
        if shape.key_size as usize != size_of::<K>() || shape.value_size as usize != size_of::<V>()
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{}: key and value have {} and {} bytes, {} and {} are expected",
                    path.display(),
                    shape.key_size,
                    shape.value_size,
                    size_of::<K>(),
                    size_of::<V>()
                ),
            ));
        }
        Ok(table)
    }

    /// Sizes as the kernel has them.
    pub fn shape(&self) -> io::Result<MapShape> {
        let mut info: aya_obj::generated::bpf_map_info = {
            // SAFETY: a struct of plain integers.
            unsafe { zeroed() }
        };
        let mut attr = attr();
        attr.info.bpf_fd = self.fd.as_raw_fd() as u32;
        attr.info.info = (&raw mut info) as u64;
        attr.info.info_len = size_of_val(&info) as u32;
        // SAFETY: `info` is `info_len` bytes that live until the call returns.
        unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
        Ok(MapShape {
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
        })
    }

    fn element(&self, key: Option<&K>, value: u64, flags: u64) -> bpf_attr {
        let mut attr = attr();
        // SAFETY: a union field of integers.
        let element = unsafe { &mut attr.__bindgen_anon_2 };
        element.map_fd = self.fd.as_raw_fd() as u32;
        element.key = key.map_or(0, |key| (&raw const *key) as u64);
        element.__bindgen_anon_1.value = value;
        element.flags = flags;
        attr
    }

    /// `None` where there is no such key.
    pub fn get(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = V::zeroed();
        let mut attr = self.element(Some(key), (&raw mut value) as u64, 0);
        // SAFETY: key and value have the sizes of the map, checked in `open`.
        match unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) } {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Inserts or replaces.
    pub fn set(&self, key: &K, value: &V) -> io::Result<()> {
        let mut attr = self.element(Some(key), (&raw const *value) as u64, 0);
        // SAFETY: key and value have the sizes of the map, checked in `open`.
        unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }?;
        Ok(())
    }

    /// No error where there is no such key.
    pub fn remove(&self, key: &K) -> io::Result<()> {
        let mut attr = self.element(Some(key), 0, 0);
        // SAFETY: the key has the size of the map's.
        match unsafe { bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr) } {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Up to `limit` entries of a map. One of a hash map that moves meanwhile may be missed or come twice.
    pub fn entries(&self, limit: usize) -> io::Result<Vec<(K, V)>> {
        let mut entries = Vec::new();
        let mut cursor = Cursor::default();
        while entries.len() < limit && !cursor.done {
            entries.append(&mut self.batch(&mut cursor)?);
        }
        entries.truncate(limit);
        Ok(entries)
    }

    /// The next entries from `cursor` on, up to 4,096 (BPF_MAP_LOOKUP_BATCH, 5.6).
    pub fn batch(&self, cursor: &mut Cursor) -> io::Result<Vec<(K, V)>> {
        const BATCH: usize = 4096;
        let mut keys = vec![K::zeroed(); BATCH];
        let mut values = vec![V::zeroed(); BATCH];
        let mut next = [0u8; 64];
        let mut attr = attr();
        attr.batch.map_fd = self.fd.as_raw_fd() as u32;
        attr.batch.in_batch = match &cursor.at {
            Some(at) => at.as_ptr() as u64,
            None => 0,
        };
        attr.batch.out_batch = next.as_mut_ptr() as u64;
        attr.batch.keys = keys.as_mut_ptr() as u64;
        attr.batch.values = values.as_mut_ptr() as u64;
        attr.batch.count = BATCH as u32;
        // SAFETY: keys and values have room for `count` elements of the map's sizes; the cursors are larger
        // than the 4 bytes (hash) or the key (others) that the kernel stores there.
        let result = unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr) };
        // SAFETY: the kernel has written an integer.
        let count = unsafe { attr.batch.count } as usize;
        cursor.done = match result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        cursor.at = Some(next);
        Ok(keys.into_iter().zip(values).take(count).collect())
    }
}

/// Where [`Table::batch`] goes on.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    at: Option<[u8; 64]>,
    /// There is nothing more.
    pub done: bool,
}

/// A per-CPU array.
#[derive(Debug)]
pub struct PerCpuTable<V> {
    fd: OwnedFd,
    cpus: usize,
    marker: PhantomData<V>,
}

/// Waits until every run of an XDP program that was under way has ended: they run inside RCU read sections, and the
/// barrier is one grace period (membarrier(2), Linux 4.3).
///
/// # Errors
/// The kernel's; a kernel without the call, or with isolated CPUs (`nohz_full`), waits for a fixed time instead.
pub fn wait_for_readers() -> io::Result<()> {
    const GLOBAL: libc::c_int = 1;
    /// A run lasts microseconds, unless its CPU is taken away by a hypervisor.
    const INSTEAD: Duration = Duration::from_millis(100);
    // SAFETY: no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS | libc::EPERM) => {
            std::thread::sleep(INSTEAD);
            Ok(())
        }
        _ => Err(error),
    }
}

impl<V: Pod + Zeroable> PerCpuTable<V> {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            fd: open_pinned(path)?,
            cpus: aya::util::nr_cpus().map_err(|(_, error)| error)?,
            marker: PhantomData,
        })
    }

    /// Sets the values of all CPUs to zero.
    pub fn clear(&self, index: u32) -> io::Result<()> {
        let stride = size_of::<V>().next_multiple_of(8);
        let zeros = vec![0u64; stride / 8 * self.cpus];
        let mut attr = attr();
        {
            // SAFETY: a union field of integers.
            let element = unsafe { &mut attr.__bindgen_anon_2 };
            element.map_fd = self.fd.as_raw_fd() as u32;
            element.key = (&raw const index) as u64;
            element.__bindgen_anon_1.value = zeros.as_ptr() as u64;
        }
        // SAFETY: the buffer holds the padded value of every possible CPU.
        unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }

    /// The value of each possible CPU.
    pub fn get(&self, index: u32) -> io::Result<Vec<V>> {
        // The kernel pads each CPU's value to 8 bytes.
        let stride = size_of::<V>().next_multiple_of(8);
        let mut bytes = vec![0u64; stride / 8 * self.cpus];
        let mut attr = attr();
        {
            // SAFETY: a union field of integers.
            let element = unsafe { &mut attr.__bindgen_anon_2 };
            element.map_fd = self.fd.as_raw_fd() as u32;
            element.key = (&raw const index) as u64;
            element.__bindgen_anon_1.value = bytes.as_mut_ptr() as u64;
        }
        // SAFETY: the buffer has room for the padded value of every possible CPU.
        unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) }?;
        let bytes: &[u8] = bytemuck::cast_slice(&bytes);
        Ok(bytes
            .chunks_exact(stride)
            .map(|chunk| bytemuck::pod_read_unaligned(&chunk[..size_of::<V>()]))
            .collect())
    }
}
