//! What an open connection that says nothing takes of memory.

use std::fs;

use anyhow::{Context as _, Result, anyhow, bail};

use super::client::{Client, Connection, Group};
use super::rig::{Front, Rig, Side};

pub const CONNECTIONS: usize = 5_000;
const THREADS: usize = 8;

/// Of a process, in kB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub rss: f64,
    /// Pages that several processes have, in shares.
    pub pss: f64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
                .and_then(|number| number.parse::<f64>().ok())
                .with_context(|| format!("no {name} in {path}"))
        };
        Ok(Self {
            rss: field("Rss:")?,
            pss: field("Pss:")?,
        })
    }
}

/// Per connection. The side is started anew: memory that it had before for something else would hide some.
pub fn memory(rig: &mut Rig<'_>, side: Side) -> Result<Memory> {
    rig.restart(side)?;
    let to = rig.address(side, Front::Ecdsa);
    let pid = rig.pid(side)?;
    let client = rig.lab.client();
    let before = {
        let _first = client.enter(|| open(&Client::new(to, Group::X25519, false)?, 1))?;
        Memory::of(pid)?
    };
    let mut connections = client.enter(|| {
        let mine = Client::new(to, Group::X25519, false)?;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| scope.spawn(|| open(&mine, CONNECTIONS / THREADS)))
                .collect();
            let mut all = Vec::with_capacity(CONNECTIONS);
            for thread in threads {
                all.extend(
                    thread
                        .join()
                        .map_err(|_| anyhow!("a client has panicked"))??,
                );
            }
            anyhow::Ok(all)
        })
    })?;
    let after = Memory::of(pid)?;
    // They were open, then.
    for connection in &mut connections {
        connection.request("")?;
    }
    let per = CONNECTIONS as f64;
    Ok(Memory {
        rss: (after.rss - before.rss) / per,
        pss: (after.pss - before.pss) / per,
    })
}

/// Connections that have had one answer.
fn open(client: &Client, count: usize) -> Result<Vec<Connection>> {
    (0..count)
        .map(|_| {
            let mut connection = client.connect()?;
            connection.request("")?;
            Ok(connection)
        })
        .collect()
}

/// Room for the clients' descriptors in this process.
pub fn make_room() -> Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls have a struct that outlives them.
    let done = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
        }
    };
    let wanted = CONNECTIONS as libc::rlim_t + 256;
    if !done || limit.rlim_cur < wanted {
        bail!(
            "{wanted} descriptors are needed, and {} may be open",
            limit.rlim_cur
        );
    }
    Ok(())
}
