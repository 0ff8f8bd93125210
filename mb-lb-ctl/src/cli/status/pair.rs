//! The lines of `status` about virtual routers and the peer.

use std::fmt::Write as _;

use crate::cli::format::{count, grouped, span, timestamp};
use crate::cli::style::Style;
use crate::snapshot::{PeerView, Snapshot, VrrpView};

/// Writing into a String cannot fail.
pub fn render(text: &mut String, snapshot: &Snapshot, style: Style) {
    let width = |of: &dyn Fn(&VrrpView) -> usize| snapshot.vrrp.iter().map(of).max().unwrap_or(0);
    let name_width = width(&|router| router.name.chars().count());
    let address_width = width(&|router| place(router).chars().count());
    for router in &snapshot.vrrp {
        let role = format!("{:<6}", role(router));
        let _ = writeln!(
            text,
            "  {:<name_width$}  {}  {:<address_width$}  priority {}  for {}: {}",
            router.name,
            match router.role.as_str() {
                "active" => style.good(&role),
                "fault" => style.bad(&role),
                _ => role,
            },
            place(router),
            priority(router),
            span(router.since),
            why(router),
        );
    }
    let takeovers = snapshot
        .vrrp
        .iter()
        .filter_map(|router| router.takeovers.first().map(|last| (router, last)));
    if let Some((router, last)) = takeovers.max_by_key(|(_, last)| last.time_ms) {
        let outage = match last.outage_ms {
            Some(0) => "adverts went on without a gap".to_owned(),
            Some(ms) => format!("nobody advertised for {} ms", grouped(ms)),
            None => "nobody else was heard before".to_owned(),
        };
        let _ = writeln!(
            text,
            "  last take-over {} ({}): {outage}",
            timestamp(last.time_ms),
            router.name,
        );
    }
    if let Some(peer) = &snapshot.peer {
        let _ = writeln!(text, "  {}", peer_line(peer, style));
    }
}

fn role(router: &VrrpView) -> &str {
    match router.role.as_str() {
        "active" => "ACTIVE",
        "fault" => "FAULT",
        other => other,
    }
}

fn place(router: &VrrpView) -> String {
    format!("{} on {}", router.addresses.join(", "), router.interface)
}

fn priority(router: &VrrpView) -> String {
    match router.priority == router.base_priority {
        true => router.priority.to_string(),
        false => format!("{} ({} configured)", router.priority, router.base_priority),
    }
}

fn why(router: &VrrpView) -> String {
    if router.leaving {
        return "handing over".to_owned();
    }
    match (&router.active, router.role.as_str()) {
        (_, "fault" | "init") => router.fault.as_ref().unwrap_or(&router.cause).clone(),
        (Some(active), "backup") => {
            let address = active.address.map_or_else(String::new, |a| a.to_string());
            // The active one may have become the stronger since.
            let aside = if router.aside && active.priority < router.priority {
                "; handed over on purpose, so a lower priority is left alone"
            } else {
                ""
            };
            format!(
                "{address} is active with priority {}{aside}",
                active.priority
            )
        }
        _ => router.cause.clone(),
    }
}

fn peer_line(peer: &PeerView, style: Style) -> String {
    if !peer.connected {
        return format!(
            "peer {}  {} for {}{}",
            peer.address,
            style.bad("not connected"),
            span(peer.since),
            peer.why
                .as_ref()
                .map_or_else(String::new, |why| format!(": {why}")),
        );
    }
    let sync = match (peer.in_sync, peer.peer_in_sync) {
        (true, true) => style.good("in sync"),
        (false, _) => style.odd("taking in its flows"),
        (true, false) => style.odd("it is taking in our flows"),
    };
    let roles: Vec<String> = peer
        .roles
        .iter()
        .map(|role| format!("{} {} {}", role.name, role.role, role.priority))
        .collect();
    let mut line = format!(
        "peer {} {}  {sync} for {}  {}",
        peer.name,
        peer.address,
        span(peer.since),
        roles.join(", "),
    );
    if peer
        .peer_config_hash
        .as_ref()
        .is_some_and(|hash| *hash != peer.config_hash)
    {
        let _ = write!(line, "  {}", style.odd("configurations differ"));
    }
    if peer.unplaced > 0 {
        let _ = write!(
            line,
            "  {}",
            style.odd(&format!(
                "{} had no place here",
                count(peer.unplaced, "flow")
            ))
        );
    }
    line.trim_end().to_owned()
}
