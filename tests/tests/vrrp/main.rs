//! A virtual router of ours against Debian's keepalived and FRR, on one segment: ours is on `lb1`, the other one on
//! `lb2`.

mod elect;
mod failures;
mod form;
mod frr;
mod keepalived;
mod mismatch;
mod network;
mod orders;
mod partition;
mod process;
mod router;
mod tracking;
mod wire;

use std::time::Duration;

use anyhow::Result;
use mb_lb_tests::lab::{Lab, Topology};

/// For an election, and a machine that has other things to do.
const SOON: Duration = Duration::from_secs(60);
const VIP4: &str = "10.77.0.200";
const VIP6: &str = "fe80::200";

fn lab(name: &str) -> Result<Lab> {
    Lab::with(
        name,
        Topology {
            directors: 2,
            servers: 1,
        },
    )
}
