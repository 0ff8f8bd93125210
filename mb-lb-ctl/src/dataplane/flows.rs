//! The flow tables, read for people.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use mb_lb_common::{Flow, FlowKey4, FlowKey6, FlowState, FlowWord, Half, HalfKind, HalfWord, maps};

use super::sys::Table;

/// One flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowEntry {
    pub client: SocketAddr,
    pub vip: SocketAddr,
    pub server: u32,
    pub state: FlowState,
    pub idle: Duration,
    pub age: Duration,
}

/// One entry of the half-open table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HalfEntry {
    pub client: SocketAddr,
    pub server: u32,
    pub kind: HalfKind,
}

#[derive(Debug)]
pub struct FlowTables {
    flows4: Table<FlowKey4, Flow>,
    flows6: Table<FlowKey6, Flow>,
    half4: Table<FlowKey4, Half>,
    half6: Table<FlowKey6, Half>,
}

impl FlowTables {
    pub fn open(pins: &Path) -> io::Result<Self> {
        Ok(Self {
            flows4: Table::open(&pins.join(maps::FLOWS4))?,
            flows6: Table::open(&pins.join(maps::FLOWS6))?,
            half4: Table::open(&pins.join(maps::HALF4))?,
            half6: Table::open(&pins.join(maps::HALF6))?,
        })
    }

    /// Room per family.
    pub fn max_flows(&self) -> io::Result<u32> {
        Ok(self.flows4.shape()?.max_entries)
    }

    /// Flows of both families; `now` in jiffies, `hz` of them a second.
    pub fn list(&self, limit: usize, now: u64, hz: u32) -> io::Result<Vec<FlowEntry>> {
        let v4 = self
            .flows4
            .entries(limit)?
            .into_iter()
            .map(|(key, flow)| (ends4(&key), flow));
        let v6 = self
            .flows6
            .entries(limit)?
            .into_iter()
            .map(|(key, flow)| (ends6(&key), flow));
        Ok(v4
            .chain(v6)
            .take(limit)
            .map(|((client, vip), flow)| {
                let word = FlowWord(flow.word);
                let idle = (now as u32).wrapping_sub(flow.last_seen) as i32;
                FlowEntry {
                    client,
                    vip,
                    server: word.server(),
                    state: word.state(),
                    idle: jiffies(idle.max(0) as u64, hz),
                    age: jiffies(now.saturating_sub(flow.created), hz),
                }
            })
            .collect())
    }

    /// Half-open and remembered connections.
    pub fn halves(&self, limit: usize) -> io::Result<Vec<HalfEntry>> {
        let v4 = self
            .half4
            .entries(limit)?
            .into_iter()
            .map(|(key, half)| (ends4(&key).0, half));
        let v6 = self
            .half6
            .entries(limit)?
            .into_iter()
            .map(|(key, half)| (ends6(&key).0, half));
        Ok(v4
            .chain(v6)
            .take(limit)
            .map(|(client, half)| {
                let word = HalfWord(half.word);
                HalfEntry {
                    client,
                    server: word.server(),
                    kind: word.kind(),
                }
            })
            .collect())
    }
}

fn jiffies(n: u64, hz: u32) -> Duration {
    Duration::from_millis(n * 1000 / u64::from(hz.max(1)))
}

pub(super) fn ends4(key: &FlowKey4) -> (SocketAddr, SocketAddr) {
    let end =
        |address: [u8; 4], port| SocketAddr::new(IpAddr::from(address), u16::from_be_bytes(port));
    (end(key.client, key.client_port), end(key.vip, key.vip_port))
}

pub(super) fn ends6(key: &FlowKey6) -> (SocketAddr, SocketAddr) {
    let end =
        |address: [u8; 16], port| SocketAddr::new(IpAddr::from(address), u16::from_be_bytes(port));
    (end(key.client, key.client_port), end(key.vip, key.vip_port))
}
