//! Addresses that this machine lacks: its own end of the link to the peer, and VIPs that no virtual router moves.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::{Fact, fact};
use crate::config::Config;
use crate::engine::advice;

/// `held`: addresses that this machine has.
pub fn missing(config: &Config, held: &BTreeSet<IpAddr>) -> Vec<Fact> {
    let listen = listen(config, held);
    listen.into_iter().chain(vips(config, held)).collect()
}

fn listen(config: &Config, held: &BTreeSet<IpAddr>) -> Option<Fact> {
    let own = config.peer.as_ref()?.listen.ip();
    if held.contains(&own) {
        return None;
    }
    fact(
        format!("`listen` of [peer] is no address of this machine: {own}"),
        "write this director's own address into it: ip -br address shows those that there are",
    )
}

/// Without any virtual router a VIP may be put there by another program, and `status` says when it is missing.
fn vips(config: &Config, held: &BTreeSet<IpAddr>) -> Vec<Fact> {
    let moved: BTreeSet<IpAddr> = config
        .vrrps
        .iter()
        .flat_map(|vrrp| vrrp.addresses.iter().map(|moved| moved.address))
        .collect();
    let mut told = BTreeSet::new();
    let mut facts = Vec::new();
    for service in config.services.iter().cloned().chain(config.steered()) {
        for vip in service.listen.iter().map(SocketAddr::ip) {
            if held.contains(&vip) || moved.contains(&vip) || !told.insert(vip) {
                continue;
            }
            let text = format!(
                "the VIP {vip} of {} is in no [vrrp.NAME] and is no address of this machine",
                service.name
            );
            let next = advice::vip(vip, &config.vrrps);
            facts.extend(next.and_then(|next| fact(text, &next)));
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str =
        "[peer]\nlisten = \"192.0.2.10:8405\"\naddress = \"192.0.2.11:8405\"\nkey_file = \"/k\"\n";
    const VRRP: &str = "[vrrp.VI_1]\ninterface = \"eth0\"\nvirtual_router_id = 51\naddresses = \"192.0.2.100/24\"\n";

    fn facts(sections: &str, held: &[[u8; 4]]) -> Vec<Fact> {
        let text = format!(
            "{sections}[service.smtp]\nlisten = [\"192.0.2.100:25\", \"192.0.2.101:25\"]\n\
             servers = {{ mb1 = \"192.0.2.1\", mb2 = \"192.0.2.2\" }}\n\
             [service.imap]\nlisten = \"192.0.2.101:143\"\n\
             servers = {{ mb1 = \"192.0.2.1\", mb2 = \"192.0.2.2\" }}\n"
        );
        let config = crate::config::parse(&text, "lb1").config.expect("valid");
        missing(&config, &held.iter().copied().map(IpAddr::from).collect())
    }

    #[test]
    fn the_own_end_of_the_link_is_an_address_of_this_machine() {
        assert_eq!(facts(PEER, &[[192, 0, 2, 10]]), []);
        let elsewhere = facts(PEER, &[[192, 0, 2, 11]]);
        assert_eq!(elsewhere.len(), 1);
        assert_eq!(
            elsewhere[0].text,
            "`listen` of [peer] is no address of this machine: 192.0.2.10"
        );
        assert!(elsewhere[0].next.contains("ip -br address"));
    }

    #[test]
    fn a_vip_that_nothing_brings_here_is_said_once() {
        let forgotten = facts(VRRP, &[]);
        assert_eq!(forgotten.len(), 1, "{forgotten:?}");
        assert_eq!(
            forgotten[0].text,
            "the VIP 192.0.2.101 of smtp is in no [vrrp.NAME] and is no address of this machine"
        );
        assert!(
            forgotten[0]
                .next
                .starts_with("add 192.0.2.101 to `addresses` of [vrrp.VI_1]")
        );
        assert_eq!(facts(VRRP, &[[192, 0, 2, 101]]), [], "it is there");
        assert_eq!(facts("", &[]), [], "nothing moves any VIP");
    }
}
