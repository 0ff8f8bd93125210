//! `virtual_server` of IPVS: `[service.NAME]`.

mod check;

use std::net::{IpAddr, SocketAddr};

use super::Node;
use crate::config::Forward;
use crate::import::Import;
use crate::import::block::Block;
use crate::import::report::{At, Verdict};
use crate::import::server_setup::ServerSetup;
use crate::import::value::{key, list, quote, table};

use check::{INHERITED, check};

struct Real<'n> {
    node: &'n Node,
    address: IpAddr,
    port: u16,
    backup: bool,
}

/// # Errors
/// Why there is none.
pub(super) fn service(node: &Node, import: &mut Import<'_>) -> Result<(), String> {
    let listen = listen(node)?;
    if node
        .child("protocol")
        .is_some_and(|protocol| protocol.word(1) != Some("TCP"))
    {
        return Err("services are TCP".to_owned());
    }
    let reals = reals(node, listen.port(), import);
    if reals.is_empty() {
        return Err("it has no real_server that can be imported".to_owned());
    }
    let title = format!(
        "{}-{}",
        listen.ip().to_string().replace(':', "_"),
        listen.port()
    );
    let mut block = Block::new(format!("service.{}", key(&title)), &[node.at]);
    block.key("listen", list([listen]), &[node.at]);
    if let Some(protocol) = node.child("protocol") {
        block.claim(protocol.at, Verdict::Mapped, "services are TCP");
    }
    let forward = forward(
        node,
        listen.port(),
        &reals,
        import.options.forward,
        &mut block,
    );
    scheduler(node, &mut block);
    check(node, &reals, listen.port(), forward, &mut block);
    let why = "as IPVS does. \"reset\" ends sessions of a server that fails";
    block.key_because("on_down", quote("keep"), &[], why);
    block.table(format!("service.{}.servers", key(&title)), &[]);
    for real in &reals {
        write(real, listen.port(), forward, &reals, &mut block);
    }
    rest(node, &mut block);
    if import.output.offer(&block, &mut import.ledger) && forward.is_in_kernel() {
        for real in &reals {
            let name = name(real, &reals);
            import.setups.push(ServerSetup::new(
                &name,
                real.address,
                [listen.ip()].into_iter(),
            ));
        }
    }
    Ok(())
}

fn listen(node: &Node) -> Result<SocketAddr, String> {
    let groups = "groups and fwmarks are not imported: write `listen` of a [service.NAME], which takes many addresses";
    let address = node
        .word(1)
        .and_then(|word| word.parse().ok())
        .ok_or(groups)?;
    let port = node
        .word(2)
        .and_then(|word| word.parse().ok())
        .filter(|port: &u16| *port > 0);
    let port = port.ok_or("a [service.NAME] has a port")?;
    Ok(SocketAddr::new(address, port))
}

fn reals<'n>(node: &'n Node, port: u16, import: &mut Import<'_>) -> Vec<Real<'n>> {
    let mut reals = Vec::new();
    for child in node.all("real_server").chain(node.all("sorry_server")) {
        let address = child.word(1).and_then(|word| word.parse().ok());
        let given = child
            .word(2)
            .and_then(|word| word.parse().ok())
            .filter(|port| *port > 0);
        let Some(address) = address else {
            import
                .ledger
                .say(child.at, Verdict::Unsupported, "not an address");
            continue;
        };
        let real = Real {
            node: child,
            address,
            port: given.unwrap_or(port),
            backup: child.is("sorry_server"),
        };
        let dsr = is_direct(node) && import.options.forward == Forward::Dsr;
        match unreachable(&real, port).filter(|_| dsr) {
            Some(why) => {
                child
                    .each(&mut |node| import.ledger.otherwise(node.at, Verdict::Unsupported, &why));
                import.ledger.say(child.at, Verdict::Unsupported, why);
            }
            None => reals.push(real),
        }
    }
    reals
}

fn is_direct(node: &Node) -> bool {
    let kind = node.child("lb_kind").or(node.child("lvs_method"));
    let word = kind.and_then(|kind| kind.word(1));
    word.is_some_and(|word| word.eq_ignore_ascii_case("DR"))
}

/// Why one server is left out of a service that reaches the others by dsr.
fn unreachable(real: &Real<'_>, port: u16) -> Option<String> {
    let Real { address, .. } = real;
    if address.is_loopback() || address.is_unspecified() {
        return Some(format!(
            "left out: {address} is on this machine, which dsr cannot reach. no_server = \"TEXT\" has the director answer while no server is up"
        ));
    }
    let elsewhere = real.backup && real.port != port;
    elsewhere.then(|| {
        format!(
            "left out: it listens on port {}, and dsr cannot change ports",
            real.port
        )
    })
}

fn forward(
    node: &Node,
    port: u16,
    reals: &[Real<'_>],
    wished: Forward,
    block: &mut Block,
) -> Forward {
    let kind = node.child("lb_kind").or(node.child("lvs_method"));
    let word = kind.and_then(|kind| kind.word(1)).unwrap_or("NAT");
    let other = reals.iter().any(|real| real.port != port);
    let prepared = is_direct(node);
    let forward = match prepared && !other {
        true => wished,
        false => Forward::Proxy,
    };
    let at: Vec<At> = kind.map(|kind| kind.at).into_iter().collect();
    block.key("forward", quote(forward.name()), &at);
    if !prepared {
        let note = format!(
            "`{word}`: in user mode, for the servers are not prepared for direct return; they see the director's address"
        );
        block.claim_all(&at, Verdict::Approximated, &note);
    } else if forward != Forward::Dsr {
        block.claim_all(
            &at,
            Verdict::Approximated,
            "in user mode; servers see the director's address",
        );
    }
    forward
}

fn scheduler(node: &Node, block: &mut Block) {
    let line = node.child("lb_algo").or(node.child("lvs_sched"));
    let sticky = node.child("persistence_timeout");
    let word = line.and_then(|line| line.word(1)).unwrap_or("rr");
    let (ours, exact) = match word {
        _ if sticky.is_some() => ("source", false),
        "rr" | "wrr" => ("roundrobin", true),
        "lc" | "wlc" => ("leastconn", true),
        "sh" | "mh" => ("source", true),
        "dh" | "lblc" | "lblcr" => ("source", false),
        _ => ("leastconn", false),
    };
    let mut at: Vec<At> = line.map(|line| line.at).into_iter().collect();
    at.extend(sticky.map(|sticky| sticky.at));
    block.key("scheduler", quote(ours), &at);
    if !exact {
        let note = match sticky {
            Some(_) => "a client keeps its server by its address, for as long as that is up",
            None => "something near to it",
        };
        block.claim_all(&at, Verdict::Approximated, note);
    }
}

fn name(real: &Real<'_>, reals: &[Real<'_>]) -> String {
    let address = real.address.to_string().replace(':', "_");
    let twice = reals
        .iter()
        .filter(|other| other.address == real.address)
        .count()
        > 1;
    match twice {
        true => format!("{address}-{}", real.port),
        false => address,
    }
}

fn write(real: &Real<'_>, port: u16, forward: Forward, reals: &[Real<'_>], block: &mut Block) {
    let node = real.node;
    let mut entries = vec![("address".to_owned(), quote(&real.address.to_string()))];
    if forward == Forward::Proxy && real.port != port {
        entries.push(("port".to_owned(), real.port.to_string()));
    }
    let mut at = vec![node.at];
    for (theirs, ours) in [("weight", "weight"), ("uthreshold", "max_connections")] {
        let child = node.child(theirs);
        let number = child.and_then(|child| Some((child.at, child.word(1)?.parse::<u64>().ok()?)));
        if let Some((line, number)) = number.filter(|(_, number)| theirs == "weight" || *number > 0)
        {
            entries.push((ours.to_owned(), number.to_string()));
            at.push(line);
        }
    }
    if real.backup {
        entries.push(("backup".to_owned(), "true".to_owned()));
    }
    block.key(&key(&name(real, reals)), table(&entries), &at);
    for child in &node.children {
        let (verdict, note) = match child.word(0).unwrap_or_default() {
            "weight" | "uthreshold" => continue,
            kind if check::is_check(kind) || INHERITED.contains(&kind) => continue,
            "inhibit_on_failure" => (
                Verdict::NotNeeded,
                "`on_down` says what becomes of sessions",
            ),
            "lthreshold" => (
                Verdict::NotNeeded,
                "a server takes sessions again below three quarters of `max_connections`",
            ),
            "notify_up" | "notify_down" => (
                Verdict::Unsupported,
                "`mb-lb-ctl events -f -o json` tells of servers",
            ),
            _ => (Verdict::Unsupported, "not there"),
        };
        child.each(&mut |node| block.claim(node.at, verdict, note));
    }
}

fn rest(node: &Node, block: &mut Block) {
    for child in &node.children {
        let (verdict, note) = match child.word(0).unwrap_or_default() {
            "real_server"
            | "sorry_server"
            | "protocol"
            | "lb_kind"
            | "lvs_method"
            | "lb_algo"
            | "lvs_sched"
            | "persistence_timeout" => continue,
            kind if INHERITED.contains(&kind) => continue,
            "quorum" | "hysteresis" | "quorum_up" | "quorum_down" => (
                Verdict::Unsupported,
                "track_services = { NAME = { min_up = N } } of [vrrp.NAME] goes by how many servers are up",
            ),
            "alpha" => (
                Verdict::NotNeeded,
                "servers are unknown until they were checked",
            ),
            "omega" => (Verdict::NotNeeded, "no program is called at the end"),
            "sorry_server_inhibit" => (
                Verdict::NotNeeded,
                "a backup takes nobody while another server can",
            ),
            "persistence_granularity" => (Verdict::Unsupported, "the whole address counts"),
            "ops" | "ip_family" | "ha_suspend" | "lb_kind_opts" => {
                (Verdict::NotNeeded, "IPVS is not used")
            }
            _ => (Verdict::Unsupported, "not there"),
        };
        child.each(&mut |node| block.claim(node.at, verdict, note));
    }
}
