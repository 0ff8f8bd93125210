//! `show sess`: a line for each flow of the table and each connection that the controller has itself, in HAProxy's shape.
//!
//! What HAProxy shows of its own buffers and tasks has no meaning for a flow that is steered in the kernel, and is left out.

pub mod client;

use std::net::SocketAddr;
use std::time::Duration;

use crate::command::{find_service, info, proxy_id};
use crate::config::FlowTimeouts;
use crate::proxy::OpenSession;
use crate::snapshot::{FlowView, Snapshot};

/// Flows that are shown at most: more would take longer to read than the first of them live.
pub const MAX_SHOWN: usize = 100_000;

/// Flows, and how long they live.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sessions {
    pub flows: Vec<FlowView>,
    /// There are more than these.
    pub more: bool,
    /// Those of proxies and of services in user mode.
    pub clients: Vec<OpenSession>,
    pub timeouts: FlowTimeouts,
}

/// The name of a flow: the same for as long as it lives, in a form that HAProxy's tools take for a pointer.
pub fn id(client: SocketAddr, vip: SocketAddr) -> u64 {
    let hash = xxhash_rust::xxh64::xxh64(format!("{client} {vip}").as_bytes(), 0);
    // 48 bits, never 0.
    (hash >> 16) | 1
}

/// Understands `0x5621226bca20`, with or without the 0x; `None`: it is no number.
pub fn parse_id(word: &str) -> Option<u64> {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    u64::from_str_radix(digits, 16).ok().filter(|id| *id != 0)
}

/// One line of the list.
pub fn line(flow: &FlowView, timeouts: &FlowTimeouts) -> String {
    format!(
        "{:#x}: proto={} src={} fe={} be={} srv={} ts=00 age={} exp={} rc=0 c_exp= dst={} st={}\n",
        id(flow.client, flow.vip),
        protocol(flow.client),
        flow.client,
        flow.service,
        flow.service,
        flow.server,
        time(flow.age_seconds),
        expires(flow, timeouts),
        flow.vip,
        flow.state,
    )
}

/// All that is known of one flow.
pub fn describe(
    flow: &FlowView,
    timeouts: &FlowTimeouts,
    snapshot: &Snapshot,
    now_ms: u64,
) -> String {
    let service = find_service(snapshot, &flow.service).map(|at| &snapshot.services[at]);
    let server = service.and_then(|service| {
        let mut servers = service.servers.iter();
        servers.find(|server| server.name == flow.server)
    });
    let opened = now_ms.saturating_sub(flow.age_seconds.saturating_mul(1000));
    let name = &flow.service;
    let number = service.map_or(0, proxy_id);
    let address = server
        .and_then(|server| Some(SocketAddr::new(server.address?, server.port)))
        .map_or_else(|| "?".to_owned(), |address| address.to_string());
    format!(
        "{:#x}: [{}] proto={} source={}\n  \
         frontend={name} (id={number} mode=tcp) addr={}\n  \
         backend={name} (id={number} mode=tcp)\n  \
         server={} (id={}) addr={address}\n  \
         state={} age={} idle={} exp={}\n",
        id(flow.client, flow.vip),
        info::log_date(opened),
        protocol(flow.client),
        flow.client,
        flow.vip,
        flow.server,
        server.map_or(0, |server| server.position),
        flow.state,
        time(flow.age_seconds),
        time(flow.idle_seconds),
        expires(flow, timeouts),
    )
}

const fn protocol(client: SocketAddr) -> &'static str {
    match client {
        SocketAddr::V4(_) => "tcpv4",
        SocketAddr::V6(_) => "tcpv6",
    }
}

/// How long until it is forgotten, if no packet comes.
fn expires(flow: &FlowView, timeouts: &FlowTimeouts) -> String {
    let timeout = match flow.state.as_str() {
        "half_closed" => timeouts.half_closed,
        "closing" => timeouts.closing,
        "reset" => timeouts.reset,
        _ => timeouts.established,
    };
    let left = timeout.saturating_sub(Duration::from_secs(flow.idle_seconds));
    time(left.as_secs())
}

/// At most two units, as HAProxy writes it: `1d2h`, `14m59s`.
fn time(seconds: u64) -> String {
    const UNITS: [(u64, char); 4] = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let first = UNITS.iter().position(|(unit, _)| seconds >= *unit);
    let Some(at) = first else {
        return "0s".to_owned();
    };
    let (unit, letter) = UNITS[at];
    let mut text = format!("{}{letter}", seconds / unit);
    if let Some((smaller, letter)) = UNITS.get(at + 1)
        && seconds % unit >= *smaller
    {
        text += &format!("{}{letter}", seconds % unit / smaller);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> FlowView {
        FlowView {
            client: "203.0.113.7:40000".parse().unwrap(),
            vip: "192.168.1.100:25".parse().unwrap(),
            service: "smtp_backend".into(),
            server: "mb2".into(),
            removed: false,
            state: "established".into(),
            idle_seconds: 1,
            age_seconds: 3_725,
        }
    }

    #[test]
    fn a_flow_is_a_line_that_its_id_finds_again() {
        let flow = flow();
        let line = line(&flow, &FlowTimeouts::default());
        let (id, rest) = line.split_once(": ").unwrap();
        assert_eq!(
            rest,
            "proto=tcpv4 src=203.0.113.7:40000 fe=smtp_backend be=smtp_backend srv=mb2 ts=00 age=1h2m exp=14m59s rc=0 \
             c_exp= dst=192.168.1.100:25 st=established\n"
        );
        assert_eq!(parse_id(id), Some(super::id(flow.client, flow.vip)));
        assert_ne!(
            super::id(flow.client, flow.vip),
            super::id(flow.vip, flow.client)
        );
    }

    #[test]
    fn ids_are_numbers_and_times_have_two_units() {
        for (word, id) in [
            ("0x12", Some(0x12)),
            ("12", Some(0x12)),
            ("0x", None),
            ("0", None),
            ("foo", None),
            ("", None),
        ] {
            assert_eq!(parse_id(word), id, "{word}");
        }
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_599, "59m59s"),
            (3_601, "1h"),
            (90_000, "1d1h"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }
}
