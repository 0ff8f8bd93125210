//! A file system that misbehaves on demand, mounted by FUSE (`linux/fuse.h`) in a mount namespace: what a dead server
//! behind a hard mount does to whoever goes there.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::mounts::Mounts;

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Half of 1,000 blocks and inodes are free; nothing can be made there (EROFS).
    Fine,
    /// Requests are taken and not answered before the next mood, and then with an error. Who waits cannot be killed.
    Hang,
    /// Every request fails with this.
    Error(i32),
    /// Making something fails with this.
    WriteError(i32),
    /// Neither blocks nor inodes are free.
    Full,
}

#[derive(Debug, Default)]
struct Hung {
    /// The processes that asked, one for each request.
    pids: Vec<u32>,
    /// Numbers of the requests.
    waiting: Vec<[u8; 8]>,
}

const HEAD: usize = 40;
const LOOKUP: u32 = 1;
const GETATTR: u32 = 3;
const MKDIR: u32 = 9;
const STATFS: u32 = 17;
const INIT: u32 = 26;
/// FORGET, INTERRUPT, BATCH_FORGET.
const WITHOUT_ANSWER: [u32; 3] = [2, 36, 42];

/// Mounted until it is dropped. Then all that hang are told that nobody is there.
#[derive(Debug)]
pub struct HangFs {
    mood: Arc<Mutex<Mood>>,
    hung: Arc<Mutex<Hung>>,
    device: File,
    path: String,
    end: Option<std::sync::mpsc::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl HangFs {
    /// Mounts it on a directory, which is made.
    ///
    /// # Errors
    /// There is no `/dev/fuse`, or the mount is refused.
    pub fn mount(mounts: &Mounts, path: &str) -> Result<Self> {
        mounts.run("mkdir", &["-p", path])?;
        let mood = Arc::new(Mutex::new(Mood::Fine));
        let hung = Arc::new(Mutex::new(Hung::default()));
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let device = std::thread::scope(|scope| {
            let mounted = scope.spawn(|| {
                mounts.move_thread()?;
                let device = File::options()
                    .read(true)
                    .write(true)
                    .open("/dev/fuse")
                    .context("cannot open /dev/fuse")?;
                let options = format!(
                    "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
                    device.as_raw_fd()
                );
                let none = MsFlags::empty();
                mount(
                    Some("hangfs"),
                    path,
                    Some("fuse.hangfs"),
                    none,
                    Some(&*options),
                )
                .context("cannot mount it")?;
                Ok::<_, anyhow::Error>(device)
            });
            mounted
                .join()
                .map_err(|_| anyhow!("the thread that mounts panicked"))?
        })?;
        let own = device.try_clone().context("cannot have it twice")?;
        let server = {
            let (mood, hung) = (Arc::clone(&mood), Arc::clone(&hung));
            std::thread::spawn(move || serve(device, &mood, &hung))
        };
        // Someone has to be inside to take it away.
        let (ready, is_ready) = std::sync::mpsc::channel();
        let inside = mounts.namespace_file()?;
        let target = path.to_owned();
        let unmounter = std::thread::spawn(move || {
            let entered = Mounts::move_thread_to(inside);
            let told = ready.send(entered.map_err(|error| format!("{error:#}")));
            // An error is the end as well.
            let _ = (told, ended.recv());
            let _ = umount2(&*target, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
        });
        is_ready
            .recv()
            .context("nobody to unmount it")?
            .map_err(|error| anyhow!(error))?;
        Ok(Self {
            mood,
            hung,
            device: own,
            path: path.to_owned(),
            end: Some(end),
            threads: vec![unmounter, server],
        })
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// From now on. Who hangs gets an error, unless it is to hang on.
    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
        if mood != Mood::Hang {
            let mut hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
            for unique in hung.waiting.drain(..) {
                answer(&self.device, unique, Err(libc::EIO));
            }
        }
    }

    /// The processes whose requests were not answered, one for each request.
    pub fn hung(&self) -> Vec<u32> {
        self.hung
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pids
            .clone()
    }
}

impl Drop for HangFs {
    fn drop(&mut self) {
        self.end = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("lab: a thread of hangfs panicked");
            }
        }
    }
}

fn serve(mut device: File, mood: &Mutex<Mood>, hung: &Mutex<Hung>) {
    let mut buffer = vec![0; 1 << 17];
    // An error: it is unmounted.
    while let Ok(length) = device.read(&mut buffer) {
        let request = &buffer[..length];
        let word = |at: usize| {
            let bytes = request
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok());
            u32::from_ne_bytes(bytes.unwrap_or_default())
        };
        let (operation, pid) = (word(4), word(32));
        let unique = request.get(8..16).and_then(|bytes| bytes.try_into().ok());
        let Some(unique) =
            unique.filter(|_| length >= HEAD && !WITHOUT_ANSWER.contains(&operation))
        else {
            continue;
        };
        let mood = *mood.lock().unwrap_or_else(PoisonError::into_inner);
        let said = match (operation, mood) {
            (INIT, _) => Ok(init()),
            (_, Mood::Hang) => {
                let mut hung = hung.lock().unwrap_or_else(PoisonError::into_inner);
                hung.pids.push(pid);
                hung.waiting.push(unique);
                continue;
            }
            (_, Mood::Error(errno)) => Err(errno),
            (GETATTR, _) => Ok(attributes()),
            (STATFS, mood) => Ok(space(if mood == Mood::Full { 0 } else { 500 })),
            (LOOKUP, _) => Err(libc::ENOENT),
            (MKDIR, Mood::WriteError(errno)) => Err(errno),
            (MKDIR, _) => Err(libc::EROFS),
            _ => Err(libc::ENOSYS),
        };
        answer(&device, unique, said);
    }
}

fn answer(mut device: &File, unique: [u8; 8], said: Result<Vec<u8>, i32>) {
    let (errno, body) = match said {
        Ok(body) => (0, body),
        Err(errno) => (-errno, Vec::new()),
    };
    let size = u32::try_from(16 + body.len()).expect("answers are short");
    let mut reply = size.to_ne_bytes().to_vec();
    reply.extend(errno.to_ne_bytes());
    reply.extend(unique);
    reply.extend(body);
    // Who asked may be gone.
    let _ = device.write_all(&reply);
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `fuse_init_out`: version 7.31, no capabilities.
fn init() -> Vec<u8> {
    let mut body = words(&[7, 31, 65_536, 0, 12 << 16 | 16, 4096, 1]);
    body.resize(64, 0);
    body
}

/// `fuse_attr_out` of a directory, not to be cached.
fn attributes() -> Vec<u8> {
    let mut body = vec![0; 16];
    for long in [1_u64, 4096, 8, 0, 0, 0] {
        body.extend(long.to_ne_bytes());
    }
    body.extend(words(&[0, 0, 0, 0o40_777, 2, 0, 0, 0, 4096, 0]));
    body
}

/// `fuse_statfs_out`
fn space(free: u64) -> Vec<u8> {
    let mut body = Vec::new();
    for long in [1000, free, free, 1000, free] {
        body.extend(long.to_ne_bytes());
    }
    body.extend(words(&[4096, 255, 4096, 0, 0, 0, 0, 0, 0, 0]));
    body
}
