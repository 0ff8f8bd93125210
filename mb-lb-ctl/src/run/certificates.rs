//! The thread that reads certificates: a disk that does not answer stops this thread, and nothing else.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;

use crate::config;
use crate::proxy::{Certificates, stamp};

/// The engine's loop waits so long for what it cannot go on without. Virtual routers bear 10 seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Files of one proxy that are to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub proxy: String,
    pub files: Vec<PathBuf>,
    pub when: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// They are read.
    Now,
    /// They are read if they are not those that were read, and have not changed since the last look: what changes still
    /// is not whole yet.
    Changed { read: Option<u64>, seen: u64 },
}

/// What came of it.
#[derive(Debug)]
pub struct Looked {
    pub proxy: String,
    pub files: Vec<PathBuf>,
    /// Of the files before they were read.
    pub seen: u64,
    /// `None`: not read. An error is all that is wrong.
    pub loaded: Option<Result<Certificates, Vec<String>>>,
}

impl Looked {
    pub fn is_of(&self, proxy: &config::Proxy) -> bool {
        self.proxy == proxy.name && self.files == proxy.certificates
    }
}

type Done = Box<dyn FnOnce(Vec<Looked>) + Send>;

/// The way to the thread, which does one thing after the other. It ends with it.
pub struct Reader {
    jobs: mpsc::Sender<(Vec<Wanted>, Done)>,
}

impl Reader {
    pub fn start() -> anyhow::Result<Self> {
        let (jobs, queue) = mpsc::channel::<(Vec<Wanted>, Done)>();
        std::thread::Builder::new()
            .name("certificates".to_owned())
            .spawn(move || {
                for (wanted, done) in queue {
                    done(wanted.into_iter().map(look).collect());
                }
            })
            .context("cannot start the thread that reads certificates")?;
        Ok(Self { jobs })
    }

    /// Gives what it found to `done`, on its thread.
    pub fn look(&self, wanted: Vec<Wanted>, done: impl FnOnce(Vec<Looked>) + Send + 'static) {
        // It ends by a panic only, and then there is no answer, as from a disk that hangs.
        let _sent = self.jobs.send((wanted, Box::new(done)));
    }

    /// Waits for it, but not for long. `None`: there is no answer.
    pub fn wait(&self, wanted: Vec<Wanted>) -> Option<Vec<Looked>> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.look(wanted, move |looked| {
            // Nobody waits any more.
            let _sent = reply.send(looked);
        });
        answer.recv_timeout(PATIENCE).ok()
    }
}

/// What is said where there is no answer.
pub fn no_answer() -> String {
    format!(
        "the certificates were not read within {} seconds: the disk does not answer",
        PATIENCE.as_secs()
    )
}

fn look(wanted: Wanted) -> Looked {
    let Wanted { proxy, files, when } = wanted;
    let now = stamp(&files);
    let is_due = match when {
        When::Now => true,
        When::Changed { read, seen } => now == seen && read != Some(now),
    };
    let loaded = is_due.then(|| {
        Certificates::load(&files)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    });
    Looked {
        proxy,
        files,
        seen: now,
        loaded,
    }
}
