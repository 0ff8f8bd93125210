//! haproxy.cfg: sections of statements, and what is made of them.
//!
//! `sections` reads, `view` resolves `defaults` and drops what has no effect, `units` puts frontends and backends together,
//! `service` and `proxy` write blocks, and `known` has a word for every statement that is left.

mod bind;
mod checks;
mod global;
mod guard;
mod known;
mod proxy;
mod sections;
mod server;
mod service;
mod stats;
mod units;
mod view;
mod words;

use super::report::{At, Ledger, Verdict};
use super::{Error, Import, Input};

pub(super) use sections::Config;

/// Reads the file. Everything that is no statement has its verdict then.
pub(super) fn read(file: usize, input: &Input<'_>, ledger: &mut Ledger) -> Result<Config, Error> {
    sections::read(file, input, ledger)
}

/// `[director]` and `[admin]`, of all files: there is one of each.
pub(super) fn process(files: &[Config], name: Option<(String, At)>, import: &mut Import<'_>) {
    global::process(files, name, import);
}

/// Services and proxies, and a verdict on all that is left.
pub(super) fn proxies(config: &Config, import: &mut Import<'_>) {
    let units = units::units(config, import);
    for unit in &units {
        let written = match guard::guarded(config, &unit.back, &mut import.ledger) {
            Some(why) => Err(why),
            None if unit.http => proxy::proxy(config, unit, import),
            None => service::service(config, unit, import),
        };
        let why = match written {
            Ok(()) => continue,
            Err(why) => why,
        };
        for section in unit.sections() {
            section.otherwise(Verdict::Unsupported, &why, &mut import.ledger);
        }
    }
    known::rest(config, &units, import);
}
