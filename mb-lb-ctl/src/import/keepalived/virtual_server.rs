//! `virtual_server` of IPVS: `[service.NAME]`.

use std::net::{IpAddr, SocketAddr};

use super::Node;
use crate::config::Forward;
use crate::import::Import;
use crate::import::block::Block;
use crate::import::report::{At, Verdict};
use crate::import::server_setup::ServerSetup;
use crate::import::value::{duration, key, list, quote, seconds, table};

const HOUR: u64 = 3_600_000;

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
        match address {
            Some(address) => reals.push(Real {
                node: child,
                address,
                port: given.unwrap_or(port),
                backup: child.is("sorry_server"),
            }),
            None => import
                .ledger
                .say(child.at, Verdict::Unsupported, "not an address"),
        }
    }
    reals
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
    let prepared = word.eq_ignore_ascii_case("DR");
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

/// Kinds of checks that have an equal here.
const CHECKS: [&str; 4] = ["TCP_CHECK", "SMTP_CHECK", "HTTP_GET", "SSL_GET"];

fn check(node: &Node, reals: &[Real<'_>], port: u16, forward: Forward, block: &mut Block) {
    let own = |real: &Real<'_>| {
        real.node
            .children
            .iter()
            .position(|child| CHECKS.iter().any(|kind| child.is(kind)))
    };
    let found = reals
        .iter()
        .find_map(|real| Some((real, &real.node.children[own(real)?])));
    let delay = node.child("delay_loop");
    let Some((first, check)) = found else {
        block.key_because(
            "check",
            "{ type = \"none\" }",
            &[],
            "no real_server has a check that could be imported",
        );
        let at: Vec<At> = delay.map(|delay| delay.at).into_iter().collect();
        block.claim_all(&at, Verdict::NotNeeded, "no server is checked");
        return;
    };
    let interval = delay
        .and_then(|delay| seconds(delay.word(1)?))
        .unwrap_or(60_000)
        .clamp(10, HOUR);
    let time = |key: &str| check.child(key).and_then(|child| seconds(child.word(1)?));
    let number = |key: &str| {
        check
            .child(key)
            .and_then(|child| child.word(1)?.parse::<u64>().ok())
    };
    let url = check.child("url");
    let mut entries = Vec::new();
    let mut at = vec![check.at];
    at.extend(delay.map(|delay| delay.at));
    let kind = match check.word(0).unwrap_or_default() {
        "SMTP_CHECK" => "smtp",
        "HTTP_GET" | "SSL_GET" => "http",
        _ => "tcp",
    };
    entries.push(("type".to_owned(), quote(kind)));
    let usual = if forward.is_in_kernel() {
        port
    } else {
        first.port
    };
    let other = number("connect_port").filter(|other| *other != u64::from(usual));
    entries.extend(other.map(|other| ("port".to_owned(), other.to_string())));
    if let Some(helo) = check
        .child("helo_name")
        .and_then(|helo| helo.word(1))
        .filter(|_| kind == "smtp")
    {
        entries.push(("helo".to_owned(), quote(helo)));
    }
    if kind == "http" {
        let path = url
            .and_then(|url| url.child("path")?.word(1))
            .unwrap_or("/");
        entries.push(("path".to_owned(), quote(path)));
        let status = url
            .and_then(|url| url.child("status_code"))
            .filter(|status| status.words.len() > 1);
        if let Some(status) = status {
            entries.push(("expect".to_owned(), list(&status.words[1..])));
        }
        let host = check
            .child("virtualhost")
            .or(url.and_then(|url| url.child("virtualhost")));
        entries.extend(
            host.and_then(|host| host.word(1))
                .map(|host| ("host".to_owned(), quote(host))),
        );
        if check.is("SSL_GET") {
            entries.push(("tls".to_owned(), "{ verify = \"none\" }".to_owned()));
        }
    }
    entries.push(("interval".to_owned(), duration(interval)));
    let timeout = time("connect_timeout")
        .unwrap_or(5000)
        .clamp(10, 60_000)
        .min(interval);
    entries.push(("timeout".to_owned(), duration(timeout)));
    let again = number("retry").or(number("nb_get_retry"));
    // Failures that follow the first one come faster.
    let fast = time("delay_before_retry").filter(|_| again.is_some_and(|again| again > 0));
    entries.extend(fast.map(|fast| ("fast_interval".to_owned(), duration(fast.clamp(10, HOUR)))));
    entries.push(("rise".to_owned(), "1".to_owned()));
    entries.push((
        "fall".to_owned(),
        (again.unwrap_or(0) + 1).min(255).to_string(),
    ));
    for child in &check.children {
        let (verdict, note) = match child.word(0).unwrap_or_default() {
            "connect_port" | "connect_timeout" | "retry" | "nb_get_retry"
            | "delay_before_retry" | "virtualhost" => continue,
            "helo_name" if kind == "smtp" => continue,
            "url" => {
                url_lines(child, url, block);
                continue;
            }
            "host" => (Verdict::Unsupported, "the server's own address is checked"),
            "bindto" | "bind_port" | "bind_if" | "fwmark" => (
                Verdict::Unsupported,
                "checks come from the address of the route",
            ),
            "warmup" => (
                Verdict::NotNeeded,
                "the first checks are spread over their interval",
            ),
            _ => (Verdict::Unsupported, "not there in checks"),
        };
        child.each(&mut |node| block.claim(node.at, verdict, note));
    }
    let used = [
        "connect_port",
        "connect_timeout",
        "retry",
        "nb_get_retry",
        "delay_before_retry",
        "virtualhost",
        "helo_name",
    ];
    at.extend(
        check
            .children
            .iter()
            .filter(|child| used.iter().any(|key| child.is(key)))
            .map(|child| child.at),
    );
    block.key("check", table(&entries), &at);
    for real in reals.iter().filter(|real| real.node.at != first.node.at) {
        let Some(other) = own(real).map(|at| &real.node.children[at]) else {
            continue;
        };
        let same = text(other) == text(check);
        let note = "all servers of a service are checked alike, as the first of them";
        let verdict = if same {
            Verdict::Mapped
        } else {
            Verdict::Approximated
        };
        other.each(&mut |node| block.claim(node.at, verdict, note));
    }
}

/// Of several pages the last one counts, as `child` has it.
fn url_lines(url: &Node, chosen: Option<&Node>, block: &mut Block) {
    if chosen.is_none_or(|chosen| chosen.at != url.at) {
        let note = "one page of a server is asked for, the last one here";
        return url.each(&mut |node| block.claim(node.at, Verdict::Unsupported, note));
    }
    block.claim(url.at, Verdict::Mapped, "`check`");
    for child in &url.children {
        match child.word(0).unwrap_or_default() {
            "path" | "status_code" | "virtualhost" => {
                block.claim(child.at, Verdict::Mapped, "`check`")
            }
            "digest" => {
                let note =
                    "digests of pages are not compared: `body` or `body_regex` look for text";
                block.claim(child.at, Verdict::Unsupported, note);
            }
            _ => child.each(&mut |node| {
                block.claim(node.at, Verdict::Unsupported, "not there in checks")
            }),
        }
    }
}

/// All words of a check, to compare it with another.
fn text(node: &Node) -> String {
    let mut text = String::new();
    node.each(&mut |node| {
        text.push_str(&node.words.join(" "));
        text.push('\n');
    });
    text
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
            kind if CHECKS.contains(&kind) => continue,
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
            "MISC_CHECK" | "PING_CHECK" | "DNS_CHECK" | "UDP_CHECK" | "BFD_CHECK"
            | "FILE_CHECK" => (
                Verdict::Unsupported,
                "no such check: see `check` of a service for what there is",
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
            "delay_loop" => continue,
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
            "virtualhost" => (Verdict::Unsupported, "write `host` of the check"),
            _ => (Verdict::Unsupported, "not there"),
        };
        child.each(&mut |node| block.claim(node.at, verdict, note));
    }
}
