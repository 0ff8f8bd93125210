//! The servers as the director's segment shows them: their MAC addresses, who answers for a VIP, and whether they are
//! set up for dsr.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::finding::Finding;
use crate::config::{Config, Forward, Via};
use crate::engine::{advice, mac};
use crate::net::{Claim, Held, Interface, asking};
use crate::snapshot::{HealthState, Snapshot};

const NEIGHBOURS: &str = "neighbours";
const VIPS: &str = "vips";
const SETUP: &str = "servers";

/// Servers that are asked for at once; each question is heard by the whole segment.
const ASKED: usize = 256;

/// What is known of the segment without asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// By MAC address as `ip link` writes it: `SERVICE/SERVER`, of all services.
    pub servers: BTreeMap<String, BTreeSet<String>>,
    /// VIPs that this director has now.
    pub held: BTreeSet<IpAddr>,
    /// VIPs that a virtual router moves, and that another director has, as far as is known.
    pub elsewhere: BTreeSet<IpAddr>,
}

impl Segment {
    pub fn new(snapshot: Option<&Snapshot>, held: BTreeSet<IpAddr>) -> Self {
        let mut segment = Self {
            held,
            ..Self::default()
        };
        let Some(snapshot) = snapshot else {
            return segment;
        };
        for service in &snapshot.services {
            for server in &service.servers {
                if let Some(mac) = &server.mac {
                    let name = format!("{}/{}", service.name, server.name);
                    segment.servers.entry(mac.clone()).or_default().insert(name);
                }
            }
        }
        for router in snapshot
            .vrrp
            .iter()
            .filter(|router| router.active.is_some())
        {
            let addresses = router
                .addresses
                .iter()
                .filter_map(|text| text.split('/').next());
            segment
                .elsewhere
                .extend(addresses.filter_map(|text| text.parse::<IpAddr>().ok()));
        }
        segment
    }
}

impl Segment {
    fn add(&mut self, servers: &[(String, [u8; 6])]) {
        for (name, found) in servers {
            let names = self.servers.entry(mac(*found)).or_default();
            names.insert(name.clone());
        }
    }
}

/// Whether each server's MAC address is known.
pub fn neighbours(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in &snapshot.services {
        if service.forward != Forward::Dsr.name() {
            continue;
        }
        for server in &service.servers {
            let name = format!("{}/{}", service.name, server.name);
            let address = server
                .address
                .map_or_else(String::new, |address| address.to_string());
            let found = match (&server.mac, advice::path(&server.health_reason)) {
                (Some(mac), None) => {
                    Finding::ok(NEIGHBOURS, &format!("{name} is {address} at {mac}"))
                }
                (_, Some(next)) => Finding::problem(
                    NEIGHBOURS,
                    &format!("{name}: {}", server.health_reason),
                    "the director cannot send it anything, so it takes no clients",
                    &next,
                ),
                (None, None) => Finding::problem(
                    NEIGHBOURS,
                    &format!("{name}: there is no MAC address for {address}"),
                    "the director cannot send it anything, so it takes no clients",
                    "is the server on, is its cable in, is it in this network? On it: ip -br address",
                ),
            };
            findings.push(found.of(&name));
        }
    }
    findings
}

/// Asks for each VIP of `config` on each interface. `held` are all addresses of this machine.
pub async fn asked(
    config: &Config,
    interfaces: &[Interface],
    held: &[Held],
    mut segment: Segment,
) -> Vec<Finding> {
    let vips: BTreeSet<IpAddr> = config.vips().collect();
    if interfaces.is_empty() && !vips.is_empty() {
        let why = "who answers for the VIPs: there is no interface to ask on";
        let next = "director.interfaces, or an address in the VIPs' network; then mb-lb-ctl doctor";
        return vec![Finding::not_known(VIPS, why, next)];
    }
    let asked: Vec<Asked> = interfaces
        .iter()
        .map(|interface| Asked {
            interface,
            from: asking::source(held, interface, &vips),
        })
        .collect();
    let list: Vec<IpAddr> = vips.iter().copied().collect();
    let mut claims = BTreeSet::new();
    let mut findings = Vec::new();
    for Asked { interface, from } in &asked {
        match asking::who_has(interface, &list, *from).await {
            Ok(found) => claims.extend(found),
            Err(error) => {
                let why = format!("who answers for the VIPs on {}: {error}", interface.name);
                findings.push(Finding::not_known(VIPS, &why, "run this as root"));
            }
        }
    }
    if !findings.is_empty() {
        return findings;
    }
    // The interfaces of this machine hear each other where two are on one segment.
    let own: BTreeSet<[u8; 6]> = interfaces.iter().map(|interface| interface.mac).collect();
    claims.retain(|claim| !own.contains(&claim.mac));
    if claims
        .iter()
        .any(|claim| !segment.servers.contains_key(&mac(claim.mac)))
    {
        segment.add(&asked_for_servers(config, &asked).await);
    }
    let from_somewhere = asked.iter().any(|asked| asked.from.is_some());
    for vip in vips {
        if vip.is_ipv6() && !from_somewhere {
            findings.push(Finding::not_known(
                VIPS,
                &format!(
                    "who answers for {vip}: no interface has an IPv6 address of its own to ask from"
                ),
                "ip -6 -br address; there is no link-local one where net.ipv6.conf.all.disable_ipv6 is 1",
            ));
            continue;
        }
        findings.extend(answers(vip, &claims, &segment));
    }
    findings
}

/// Where is asked, and from which address where it is for IPv6.
struct Asked<'i> {
    interface: &'i Interface,
    from: Option<Ipv6Addr>,
}

/// Where no daemon knows them: full names and MAC addresses of servers of `dsr` that answer for their own address.
async fn asked_for_servers(config: &Config, asked: &[Asked<'_>]) -> Vec<(String, [u8; 6])> {
    let services = config.services.iter();
    let servers: Vec<(String, IpAddr)> = services
        .filter(|service| service.forward == Forward::Dsr)
        .flat_map(|service| service.servers.iter().map(move |server| (service, server)))
        .map(|(service, server)| (format!("{}/{}", service.name, server.name), server.address))
        .take(ASKED)
        .collect();
    let addresses: Vec<IpAddr> = servers.iter().map(|(_, address)| *address).collect();
    let mut found = Vec::new();
    for Asked { interface, from } in asked {
        // Without an answer it stays a stranger.
        let claims = asking::who_has(interface, &addresses, *from)
            .await
            .unwrap_or_default();
        for claim in claims {
            let named = servers
                .iter()
                .filter(|(_, address)| claim.address == *address);
            found.extend(named.map(|(name, _)| (name.clone(), claim.mac)));
        }
    }
    found
}

/// What a neighbour that has the address answers.
const fn question(vip: IpAddr) -> &'static str {
    match vip {
        IpAddr::V4(_) => "ARP",
        IpAddr::V6(_) => "neighbour discovery",
    }
}

/// What is to be said of those who answered for `vip`.
pub fn answers(vip: IpAddr, claims: &BTreeSet<Claim>, segment: &Segment) -> Vec<Finding> {
    let macs: BTreeSet<[u8; 6]> = claims
        .iter()
        .filter(|claim| claim.address == vip)
        .map(|claim| claim.mac)
        .collect();
    let mut findings = Vec::new();
    let mut strangers = Vec::new();
    for found in macs {
        let text = mac(found);
        match segment.servers.get(&text) {
            Some(names) => findings.extend(names.iter().map(|name| by_server(vip, &text, name))),
            None => strangers.push(text),
        }
    }
    let question = question(vip);
    let held = segment.held.contains(&vip);
    let others = strangers.join(" and ");
    match (held, strangers.len()) {
        (_, 0) if !findings.is_empty() => {}
        (true, 0) => findings.push(Finding::ok(VIPS, &format!("nobody but this director answers {question} for {vip}"))),
        (false, 0) => findings.push(Finding::warning(
            VIPS,
            &format!("nobody answers {question} for {vip}, and it is not on this director"),
            "no director has the VIP: clients reach nothing",
            "mb-lb-ctl status says why; where no [vrrp.NAME] moves it: ip address add on the active director",
        )),
        (false, 1) => findings.push(Finding::ok(
            VIPS,
            &match segment.elsewhere.contains(&vip) {
                true => format!("the active director answers {question} for {vip}, at {others}"),
                false => format!("{others} answers {question} for {vip}; this director does not have it"),
            },
        )),
        (true, _) => findings.push(Finding::problem(
            VIPS,
            &format!("{others} answers {question} for {vip} as well, and is none of the servers"),
            "two machines have the VIP: each client reaches whichever answered it first",
            "find that machine, by the switch's table of MAC addresses, and take the VIP from it; where it is the other \
             director: mb-lb-ctl status on both",
        )),
        (false, _) => findings.push(Finding::problem(
            VIPS,
            &format!("more than one machine answers {question} for {vip}: {others}"),
            "each client reaches whichever answered it first",
            "find them, by the switch's table of MAC addresses; only the active director may have the VIP",
        )),
    }
    findings
}

fn by_server(vip: IpAddr, mac: &str, name: &str) -> Finding {
    let question = question(vip);
    let (why, next) = match vip {
        IpAddr::V4(_) => (
            "its arp_ignore is off",
            format!(
                "on the server: sysctl -w net.ipv4.conf.all.arp_ignore=1; sysctl -w net.ipv4.conf.all.arp_announce=2; \
                 mb-lb-ctl server-setup {name} has all of it. Then on this director: mb-lb-ctl doctor"
            ),
        ),
        IpAddr::V6(_) => (
            "it has it on another interface than lo",
            format!(
                "on the server: ip -6 -br address shows where; ip address del {vip}/128 dev DEVICE; \
                 mb-lb-ctl server-setup {name} has what it is to have on lo. Then on this director: mb-lb-ctl doctor"
            ),
        ),
    };
    Finding::problem(
        VIPS,
        &format!("{name} answers {question} for {vip} ({mac}): {why}"),
        "clients and routers that believe it send everything to that one server, past the director: nothing of that is \
         balanced, and it ends when the server does",
        &next,
    )
    .of(name)
}

/// Whether each server is set up for dsr, by its checks where they go through the VIP.
pub fn set_up(config: &Config, snapshot: Option<&Snapshot>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in config
        .services
        .iter()
        .filter(|service| service.forward == Forward::Dsr)
    {
        let via = service.check.as_ref().map(|check| check.via);
        let view = snapshot.and_then(|snapshot| {
            snapshot
                .services
                .iter()
                .find(|view| view.name == service.name)
        });
        let vips: BTreeSet<String> = service
            .listen
            .iter()
            .map(SocketAddr::ip)
            .map(|vip| vip.to_string())
            .collect();
        let vips: Vec<String> = vips.into_iter().collect();
        for server in &service.servers {
            let name = format!("{}/{}", service.name, server.name);
            let server =
                view.and_then(|view| view.servers.iter().find(|view| view.name == server.name));
            let seen = match (via, server) {
                (Some(Via::Vip), Some(server)) => {
                    Ok((server.health, server.health_reason.as_str()))
                }
                (Some(Via::Vip), None) => Err(Unseen::NoDaemon),
                _ => Err(Unseen::NotAsked),
            };
            findings.push(one(&name, &vips.join(", "), seen).of(&name));
        }
    }
    findings
}

/// Why nobody has looked at a server through the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unseen {
    NotAsked,
    NoDaemon,
}

/// `seen`: what a check through the VIP says.
fn one(name: &str, vips: &str, seen: Result<(HealthState, &str), Unseen>) -> Finding {
    match seen {
        Ok((HealthState::Up, _)) => Finding::ok(
            SETUP,
            &format!("{name} answers for {vips}: a check through the VIP says so"),
        ),
        Ok((_, why)) if why.contains(": the VIP is not on its lo") => Finding::problem(
            SETUP,
            &format!("{name}: {why}"),
            "what the director sends it for the VIP is dropped there",
            &format!("mb-lb-ctl server-setup {name}, and run what it prints on the server"),
        ),
        Ok((_, why)) if why.ends_with(": its service is not bound to the VIP") => Finding::problem(
            SETUP,
            &format!("{name}: {why}"),
            "clients that are sent there are refused",
            &advice::server(why, None, 0),
        ),
        Ok(_) => Finding::not_known(
            SETUP,
            &format!("whether {name} answers for {vips}: it is not up for another reason"),
            &format!("mb-lb-ctl describe {name}"),
        ),
        Err(Unseen::NotAsked) => Finding::not_known(
            SETUP,
            &format!("whether {name} has {vips} on its lo: its check does not go through the VIP"),
            "check = { via = \"vip\", ... } of the service; or on the server: ip -br address show lo; sysctl \
             net.ipv4.conf.all.arp_ignore",
        ),
        Err(Unseen::NoDaemon) => Finding::not_known(
            SETUP,
            &format!(
                "whether {name} has {vips} on its lo: the daemon checks that, and does not answer"
            ),
            "systemctl start mb-lb; or on the server: ip -br address show lo; sysctl net.ipv4.conf.all.arp_ignore",
        ),
    }
}

#[cfg(test)]
mod tests;
