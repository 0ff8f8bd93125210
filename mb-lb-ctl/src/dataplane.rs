//! Loads, pins and attaches the program; applies plans; sweeps and audits.

/// What the data plane counts.
#[derive(Clone, Debug, Default)]
pub struct Report {}
