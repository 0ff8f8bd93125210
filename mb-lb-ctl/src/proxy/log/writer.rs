//! The thread that writes the access log, so that no request waits for a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Lines that wait to be written. More are dropped: answers go before records of them.
const LINES: usize = 8192;
/// Bytes that are written at once, more or less. Fewer where no more lines wait.
const TOGETHER: usize = 64 * 1024;
/// A file that could not be opened is tried again so often.
const AGAIN: Duration = Duration::from_secs(1);

/// The way to one log. Dropped, it writes what waits and then closes the file.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    /// `None` while it is dropped.
    queue: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    reopen: AtomicBool,
    /// Why lines are dropped.
    trouble: Mutex<Option<String>>,
}

impl Shared {
    fn say(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

impl Writer {
    /// Appends to the file, which is made where there is none, readable by owner and group only. `None`: standard output.
    /// The file is opened by the thread, and tried again with every line where that fails: see [`Writer::trouble`].
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(file: Option<PathBuf>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (queue, lines) = sync_channel(LINES);
        let mut log = Log {
            target: match file {
                Some(_) => Target::Closed,
                None => Target::Stdout(io::stdout()),
            },
            path: file,
            shared: Arc::clone(&shared),
            waiting: Vec::with_capacity(TOGETHER),
            lines: 0,
            failing: None,
        };
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || log.run(&lines))?;
        Ok(Self {
            shared,
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Gives it a line with its end. Never waits.
    pub fn write(&self, line: String) {
        let queue = self.queue.as_ref();
        if queue.is_none_or(|queue| queue.try_send(line).is_err()) {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has the file opened anew before the next line, for whoever has renamed it. What waited goes to the old one.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // An empty line wakes the thread. Where the queue is full it is awake.
        if let Some(queue) = &self.queue {
            let _ = queue.try_send(String::new());
        }
    }

    /// Lines that were not written since the start: too many waited, or the file could not be written.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Why lines are dropped, if they are.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.shared.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg(test)]
    pub(super) fn stuck(lines: usize) -> (Self, Receiver<String>) {
        let (queue, receiver) = sync_channel(lines);
        let writer = Self {
            shared: Arc::default(),
            queue: Some(queue),
            thread: None,
        };
        (writer, receiver)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The end of the queue ends the thread.
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of an access log has panicked");
        }
    }
}

enum Target {
    /// It could not be opened yet.
    Closed,
    File(File),
    Stdout(io::Stdout),
}

/// What the thread owns.
struct Log {
    path: Option<PathBuf>,
    target: Target,
    shared: Arc<Shared>,
    waiting: Vec<u8>,
    /// Number of those that wait.
    lines: u64,
    failing: Option<Failing>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Failing {
    Open,
    Write,
}

impl Log {
    fn run(&mut self, lines: &Receiver<String>) {
        self.open();
        loop {
            let line = match self.failing {
                Some(Failing::Open) => lines.recv_timeout(AGAIN),
                _ => lines.recv().map_err(RecvTimeoutError::from),
            };
            match line {
                Ok(line) => self.push(&line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while self.waiting.len() < TOGETHER
                && let Ok(line) = lines.try_recv()
            {
                self.push(&line);
            }
            if self.failing == Some(Failing::Open) {
                self.open();
            }
            self.flush();
        }
    }

    fn push(&mut self, line: &str) {
        if self.shared.reopen.swap(false, Ordering::Acquire) {
            self.flush();
            self.open();
        }
        if !line.is_empty() {
            self.waiting.extend_from_slice(line.as_bytes());
            self.lines += 1;
        }
    }

    fn flush(&mut self) {
        if self.lines == 0 {
            return;
        }
        let written = match &mut self.target {
            Target::Closed => None,
            Target::File(file) => Some(file.write_all(&self.waiting)),
            Target::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                let written = stdout.write_all(&self.waiting);
                Some(written.and_then(|()| stdout.flush()))
            }
        };
        match written {
            Some(Ok(())) => {
                if self.failing == Some(Failing::Write) {
                    self.recover();
                }
            }
            Some(Err(error)) => {
                self.shared.dropped.fetch_add(self.lines, Ordering::Relaxed);
                self.fail(Failing::Write, format!("cannot be written: {error}"));
            }
            None => _ = self.shared.dropped.fetch_add(self.lines, Ordering::Relaxed),
        }
        self.waiting.clear();
        self.lines = 0;
    }

    /// Anew, where it is open. Where that fails, the old file is written until it does not.
    fn open(&mut self) {
        let Some(path) = &self.path else {
            return;
        };
        match open(path) {
            Ok(file) => {
                self.target = Target::File(file);
                self.recover();
            }
            Err(error) => {
                let why = match self.target {
                    Target::Closed => format!("cannot be opened: {error}"),
                    _ => format!("cannot be opened anew, the old file is written: {error}"),
                };
                self.fail(Failing::Open, why);
            }
        }
    }

    fn recover(&mut self) {
        self.failing = None;
        self.shared.say(None);
    }

    /// Logged once, not for every line on a full disk.
    fn fail(&mut self, what: Failing, why: String) {
        let text = format!("{} {why}", self.name());
        if self.failing != Some(what) {
            tracing::warn!("access log: {text}");
        }
        self.failing = Some(what);
        self.shared.say(Some(text));
    }

    fn name(&self) -> std::path::Display<'_> {
        let path = self.path.as_deref();
        path.unwrap_or(Path::new("standard output")).display()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}
