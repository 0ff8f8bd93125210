//! `detach`.

use crate::cli::args::{Detach, Global};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{emit, say};

pub fn run(global: &Global, args: &Detach) -> Result<Exit, Failure> {
    // Under a running daemon the program would be missed at once, and every flow with it.
    if !args.force
        && let Ok(snapshot) = Client::new(global).snapshot()
    {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "the daemon (pid {}) is running; nothing was detached",
                snapshot.pid
            ),
        )
        .next("systemctl stop mb-lb && mb-lb-ctl detach, or mb-lb-ctl detach --force"));
    }
    // One whose socket is somewhere else, or does not answer, still holds the lock.
    let _lock = match crate::dataplane::lock_root(&global.bpf_root) {
        Ok(lock) => Some(lock),
        Err(_) if args.force => None,
        Err(error @ crate::dataplane::LoadError::Locked { .. }) => {
            return Err(
                Failure::new(Exit::Refused, format!("{error}; nothing was detached"))
                    .next("systemctl stop mb-lb && mb-lb-ctl detach, or mb-lb-ctl detach --force"),
            );
        }
        Err(error) => return Err(Failure::failed(error.to_string())),
    };
    let removed = crate::dataplane::detach(&global.bpf_root)
        .map_err(|error| Failure::failed(error.to_string()))?;
    for line in &removed {
        emit(&format!("{line}\n"))?;
    }
    if removed.is_empty() {
        say(&format!(
            "nothing is attached or pinned under {}",
            global.bpf_root.display()
        ));
    }
    Ok(Exit::Ok)
}
