//! Galera: which nodes can be trusted with clients.

mod machine;

pub use machine::Machine;

use crate::config;
use crate::tiers::Reports;

/// What all nodes said when they were asked once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round;

/// Asks once per interval, until it is aborted.
pub async fn follow(config: config::Galera, reports: Reports) {
    let _ = (config, reports);
}
