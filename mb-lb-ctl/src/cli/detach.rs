//! `detach`.

use crate::cli::args::{Detach, Global};
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{emit, say};
use crate::cli::privilege;

pub fn run(global: &Global, args: &Detach) -> Result<Exit, Failure> {
    if !privilege::enough() {
        return Err(privilege::refused("nothing was detached", "detach"));
    }
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
    // First: without the program, the director's own kernel would reset what comes for them.
    let vips = crate::net::release_left(&routed(global))
        .map_err(|error| Failure::failed(format!("{error}; nothing was detached")))?;
    for vip in &vips {
        say(&format!("gave up {}/{}", vip.address, vip.prefix));
    }
    let interfaces = crate::dataplane::interfaces(&global.bpf_root).unwrap_or_default();
    for interface in &interfaces {
        crate::dataplane::detach_vias(interface);
    }
    let removed = crate::dataplane::detach(&global.bpf_root)
        .map_err(|error| Failure::failed(error.to_string()))?;
    if removed.is_empty() {
        say(&format!(
            "nothing is attached or pinned under {}",
            global.bpf_root.display()
        ));
        return Ok(Exit::Ok);
    }
    emit(&format!(
        "XDP program removed from {}, and its maps from the kernel.\n\
         Sessions through this director end; new connections to its VIPs reach the director itself.\n\
         Start again: systemctl start mb-lb\n",
        match interfaces.as_slice() {
            [] => "the kernel (it was on no interface)".to_owned(),
            names => names.join(", "),
        }
    ))?;
    if args.verbose {
        for path in &removed {
            emit(&format!("removed {path}\n"))?;
        }
    }
    Ok(Exit::Ok)
}

/// Addresses of virtual routers, where there is a configuration that can be read.
fn routed(global: &Global) -> Vec<std::net::IpAddr> {
    let text = std::fs::read_to_string(global.config_path()).unwrap_or_default();
    let config = crate::config::parse(&text, "").config;
    config.map_or_else(Vec::new, |config| {
        let routers = config.vrrps.iter();
        routers
            .flat_map(|vrrp| vrrp.addresses.iter().map(|vip| vip.address))
            .collect()
    })
}
