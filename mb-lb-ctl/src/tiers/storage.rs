//! Shared storage: whether it can be read and written.
//!
//! ```text
//!   nfs       RPC NULL to nfs and mountd, the list of exports, a file over NFSv3 without a mount
//!   glusterd  where the bricks are, and RPC NULL to each
//!   mount     mountinfo, and a child that touches the mount: what hangs is the child
//!   heal      a program of the operator's, seldom, by one director
//! ```
//!
//! Nothing in this process touches a path of the storage, not even with `stat`: who waits for a dead server in the kernel
//! cannot be killed, and keeps all sockets of its process.

pub mod child;
mod gluster;
mod heal;
mod machine;
mod mount;
mod mountinfo;
mod nfs;
pub mod nfs3;
pub mod rpc;
mod seen;
pub mod volfile;
mod wire;

pub use heal::parse as parse_heal;
pub use machine::Machine;
pub use mountinfo::{Mounted, parse as parse_mountinfo};
pub use seen::{Backlog, Kind, Part, Role, Round, Seen, Set, Space, Trouble};

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::config::{self, StorageKind};
use crate::tiers::{self, Reports};

/// Asks once per interval, until it is aborted.
pub async fn follow(config: config::Storage, slowly_too: bool, reports: Reports) {
    // The name leads to the running executable also when an upgrade has put another one in its place.
    follow_with(PathBuf::from("/proc/self/exe"), config, slowly_too, reports).await;
}

/// As [`follow`], with the executable whose [`child`] touches the mount.
pub async fn follow_with(
    program: PathBuf,
    config: config::Storage,
    slowly_too: bool,
    reports: Reports,
) {
    let mut asked = Asked::default();
    let heal = heal::Slow::start(&config, slowly_too);
    let mut ticks = interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut round = ask(&program, &config, &mut asked).await;
        round.parts.extend(heal.as_ref().and_then(heal::Slow::part));
        if !reports.send(tiers::Round::Storage(round)).await {
            return;
        }
    }
}

/// What is kept from one round to the next.
#[derive(Debug, Default)]
struct Asked {
    volume: gluster::Known,
}

/// All parts at once: each has its own deadline, so that none waits for another.
async fn ask(program: &Path, config: &config::Storage, asked: &mut Asked) -> Round {
    let limit = config.timeout;
    let servers = async {
        match &config.kind {
            StorageKind::Nfs { .. } => Round {
                parts: nfs::ask(&config.kind, limit).await,
                ..Round::default()
            },
            StorageKind::Glusterfs {
                servers,
                volume,
                port,
                ..
            } => gluster::ask(servers, *port, volume, &mut asked.volume, limit).await,
            StorageKind::Mount => Round::default(),
        }
    };
    let (mut round, mount) = tokio::join!(servers, mounted(program, config, limit));
    round.parts.extend(mount);
    round
}

async fn mounted(program: &Path, config: &config::Storage, limit: Duration) -> Option<Part> {
    let path = config.mount.as_deref()?;
    Some(mount::ask(program, path, &config.kind, config.write_probe, limit).await)
}
