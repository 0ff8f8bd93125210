//! Metrics for Prometheus, from the snapshot.
//!
//! Names are an interface: they are added to, never renamed. No label has a client in it, or anything else without
//! bound. What one service has in all is a sum over its servers, so there is no metric of its own for that.

mod director;
mod exposition;
mod pair;
mod servers;
mod tiers;

use crate::snapshot::Snapshot;

pub use exposition::{CONTENT_TYPE, Exposition, Family, Kind};

/// Everything there is to scrape.
pub fn render(snapshot: &Snapshot) -> String {
    let mut text = Exposition::default();
    director::write(snapshot, &mut text);
    servers::write(snapshot, &mut text);
    servers::proxies(snapshot, &mut text);
    pair::write(snapshot, &mut text);
    tiers::write(snapshot, &mut text);
    text.finish()
}

/// Every metric, in the order of the text.
pub fn families() -> impl Iterator<Item = &'static Family> {
    let all = [director::ALL, servers::ALL, pair::ALL, tiers::ALL];
    all.into_iter().flatten().copied()
}

/// Seconds of Unix time since which something is so that has been so for `seconds`.
fn timestamp(snapshot: &Snapshot, seconds: u64) -> u64 {
    (snapshot.started_ms / 1000 + snapshot.uptime).saturating_sub(seconds)
}

fn bit(value: bool) -> u8 {
    u8::from(value)
}
