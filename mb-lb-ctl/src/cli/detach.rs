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
