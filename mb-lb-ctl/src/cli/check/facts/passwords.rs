//! Passwords of tiers.

use super::{Fact, fact};
use crate::config::Config;
use crate::tiers;

pub(super) fn missing(config: &Config) -> Option<Fact> {
    let why = tiers::check(config).err()?;
    fact(
        format!("{why}; a reload would be refused"),
        "write the password into the file, for root only: install -m 600 /dev/stdin FILE",
    )
}
