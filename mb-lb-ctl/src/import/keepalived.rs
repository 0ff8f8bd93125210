//! keepalived.conf: a tree of blocks; VRRP instances, and virtual servers of IPVS.

mod known;
mod script;
mod tree;
mod virtual_server;
mod vrrp;

use std::net::IpAddr;

use super::report::{At, Ledger, Verdict};
use super::{Error, Import, Input, value};

pub(super) use tree::Node;

/// One file.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub nodes: Vec<Node>,
}

impl Config {
    pub fn all<'c>(&'c self, key: &'c str) -> impl Iterator<Item = &'c Node> {
        self.nodes.iter().filter(move |node| node.is(key))
    }
}

/// Reads the file. Everything that is no statement has its verdict then. `id` decides lines such as `@lb1`.
pub(super) fn read(
    file: usize,
    input: &Input<'_>,
    id: &str,
    ledger: &mut Ledger,
) -> Result<Config, Error> {
    let nodes = tree::read(file, input, id, ledger)?;
    for node in &nodes {
        known::word(node, ledger);
    }
    Ok(Config { nodes })
}

/// The director's name, where it can be one.
pub(super) fn router_id(config: &Config) -> Option<(String, At)> {
    let node = config
        .all("global_defs")
        .find_map(|defs| defs.child("router_id"))?;
    let name = node.word(1)?;
    (value::name(name) == name && name.len() <= 64).then(|| (name.to_owned(), node.at))
}

/// Addresses of all instances.
pub(super) fn vips(config: &Config) -> Vec<(IpAddr, Option<At>)> {
    let instances = config.all("vrrp_instance");
    let blocks = instances.flat_map(|instance| &instance.children);
    let blocks = blocks
        .filter(|block| block.is("virtual_ipaddress") || block.is("virtual_ipaddress_excluded"));
    let lines = blocks.flat_map(|block| &block.children);
    lines
        .filter_map(|line| Some((vrrp::address(line.word(0)?)?.0, Some(line.at))))
        .collect()
}

/// `[vrrp.NAME]`
pub(super) fn vrrp(config: &Config, import: &mut Import<'_>) {
    vrrp::instances(config, import);
}

/// `[service.NAME]`
pub(super) fn virtual_servers(config: &Config, import: &mut Import<'_>) {
    for node in config.all("virtual_server") {
        if let Err(why) = virtual_server::service(node, import) {
            node.each(&mut |node| {
                import
                    .ledger
                    .say(node.at, Verdict::Unsupported, why.as_str())
            });
        }
    }
}
