//! One thread of a program stands still, and the others go on: what waits for it waits, as long as a test wants.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::ptr;

use anyhow::{Context as _, Result, ensure};

use crate::process::Process;

/// Dropping it lets the thread go on.
#[derive(Debug)]
pub struct Halted {
    thread: libc::pid_t,
    /// ptrace(2) belongs to the thread that called it first.
    _here: PhantomData<*const ()>,
}

impl Halted {
    /// `name` is what the thread is called, and no other of the process.
    ///
    /// # Errors
    /// There is no such thread, or the kernel refuses.
    pub fn thread(process: &Process, name: &str) -> Result<Self> {
        let tasks = format!("/proc/{}/task", process.pid());
        let mut found = Vec::new();
        for task in fs::read_dir(&tasks).with_context(|| format!("cannot list {tasks}"))? {
            let task = task?.path();
            if fs::read_to_string(task.join("comm"))?.trim_end() == name {
                let number = task.file_name().and_then(|number| number.to_str());
                found.push(number.context("a thread has a number")?.parse()?);
            }
        }
        ensure!(found.len() == 1, "threads called {name}: {found:?}");
        let thread = found[0];
        request(libc::PTRACE_SEIZE, thread).with_context(|| format!("cannot seize {name}"))?;
        let halted = Self {
            thread,
            _here: PhantomData,
        };
        request(libc::PTRACE_INTERRUPT, thread).with_context(|| format!("cannot halt {name}"))?;
        let mut status = 0;
        // SAFETY: the pointer is that of a live integer.
        let waited = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
        ensure!(
            waited == thread && libc::WIFSTOPPED(status),
            "{name} did not halt: {waited}, {status:#x}, {}",
            io::Error::last_os_error()
        );
        Ok(halted)
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        // It may be gone, with its process.
        let _ = request(libc::PTRACE_DETACH, self.thread);
    }
}

/// One without address and data.
fn request(what: libc::c_uint, thread: libc::pid_t) -> io::Result<()> {
    let nothing = ptr::null_mut::<libc::c_void>();
    // SAFETY: these requests read and write no memory of ours.
    match unsafe { libc::ptrace(what, thread, nothing, nothing) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
