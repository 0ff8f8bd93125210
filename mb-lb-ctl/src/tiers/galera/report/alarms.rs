//! What somebody has to look at, and what to do then.

use super::{Seen, list, sides};
use crate::snapshot::{Alarm, Severity};
use crate::tiers::galera::machine::{HOLD, Situation};
use crate::tiers::galera::node::{Watched, is_about_password};
use crate::tiers::galera::view::View;

/// The gravest first.
pub(super) fn alarms(seen: &Seen<'_>) -> Vec<Alarm> {
    if !seen.asked {
        return Vec::new();
    }
    let mut alarms = Vec::new();
    alarms.extend(split_brain(seen));
    alarms.extend(nobody(seen));
    alarms.extend(passwords(seen));
    alarms.extend(connections(seen));
    alarms.extend(hold(seen));
    if let Situation::One(view) = seen.situation {
        alarms.extend(size(seen, view));
        alarms.extend(half(seen, view));
    }
    alarms.extend(misconfigured(seen));
    for (name, node) in seen.nodes {
        alarms.extend(queue(seen, name, node));
        alarms.extend(flow_control(seen, name, node));
    }
    alarms
}

fn split_brain(seen: &Seen<'_>) -> Option<Alarm> {
    let split = seen.split?;
    let where_clients = match seen.elected.is_empty() {
        true => "clients are refused".to_owned(),
        false => format!(
            "clients stay at {} and are not moved",
            list(seen.elected.iter().map(String::as_str))
        ),
    };
    let sides = sides(&split.sides);
    let (text, next) = match seen.situation {
        Situation::Split => (
            format!("SPLIT BRAIN: {sides}, each a primary component of its own; {where_clients}"),
            format!(
                "decide which side is right ({} has the clients' last writes), then run `systemctl stop mariadb` on the \
                 nodes of the other side; save their data, empty their datadir and start them again, so that they get the \
                 state of the right side",
                seen.writer.unwrap_or("compare the data: nobody"),
            ),
        ),
        _ => {
            let away = split.involved.iter().filter(|name| match seen.situation {
                Situation::One(view) => !view.has(name),
                _ => true,
            });
            let away = list(away.map(String::as_str));
            (
                format!(
                    "the cluster was in two ({sides}) and {away} is not back in it; {where_clients}"
                ),
                format!(
                    "bring {away} back into the component that is right; if it is the writer that is lost for good, give \
                     its writes up by `mb-lb-ctl maint {}/SERVER` for each server that is not back",
                    seen.config.name
                ),
            )
        }
    };
    Some(critical(text, next))
}

fn nobody(seen: &Seen<'_>) -> Option<Alarm> {
    if !seen.elected.is_empty() || seen.split.is_some() {
        return None;
    }
    let each = seen.nodes.iter();
    let each = each.map(|(name, node)| format!("{name}: {}", position(node)));
    let each = each.collect::<Vec<_>>().join("; ");
    let names = list(seen.nodes.keys().map(String::as_str));
    Some(match seen.situation {
        Situation::None if seen.nodes.values().any(|node| is_about_password(node.word())) => {
            critical(
                format!("clients are refused: no node could be looked at ({each})"),
                format!("correct user and password in [galera.{}]", seen.config.name),
            )
        }
        Situation::None => bootstrap(seen, &each, &names),
        Situation::Changing => critical(
            format!("clients are refused: for more than {HOLD} rounds the nodes contradict each other about who is in the cluster ({each})"),
            "compare `SHOW STATUS LIKE 'wsrep_incoming_addresses'` on all nodes; look for a broken network between them".to_owned(),
        ),
        Situation::One(view) => {
            let withheld = view
                .reporters
                .iter()
                .any(|name| seen.nodes.get(name).is_some_and(Watched::is_up));
            match withheld {
                true => critical(
                    format!("clients are refused: all usable nodes are withheld ({each})"),
                    format!("`mb-lb-ctl ready {}/SERVER` for one of them", seen.config.name),
                ),
                false => critical(
                    format!("clients are refused: the cluster lives and none of its nodes is usable ({each})"),
                    "`mb-lb-ctl status` says why for each node; one of them has to be synced, writable and accepting queries".to_owned(),
                ),
            }
        }
        Situation::Split => critical(
            format!("clients are refused ({each})"),
            "end the split brain".to_owned(),
        ),
    })
}

/// No primary component anywhere. Only people can know which node has the latest state, once all were looked at.
fn bootstrap(seen: &Seen<'_>, each: &str, names: &str) -> Alarm {
    let running = |node: &&Watched| node.status.is_some();
    let next = match seen.nodes.values().find(running) {
        Some(_) => format!(
            "repair the network between {names}: nodes that see each other again form a component by themselves. Only if \
             the others are surely dead or stopped, on ONE node, the one with the highest wsrep_last_committed: `mariadb -e \
             \"SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'\"`"
        ),
        None => format!(
            "start MariaDB on ALL of {names} (`systemctl start mariadb`): if all come back they form the cluster again by \
             themselves. If they wait for ever, read the position of every one before you do more: `cat \
             /var/lib/mysql/grastate.dat` and, with MariaDB stopped, `sudo -u mysql mariadbd --wsrep-recover` (line \
             \"Recovered position\"). Then only on the one with the highest seqno of the same UUID: set safe_to_bootstrap: 1 \
             in grastate.dat and run `galera_new_cluster`; start the others afterwards"
        ),
    };
    critical(
        format!("clients are refused: no node is part of a primary component ({each})"),
        next,
    )
}

/// What a node is, with the position that it has if it says one.
fn position(node: &Watched) -> String {
    let last = node
        .status
        .as_ref()
        .and_then(|status| status.last_committed);
    match last {
        Some(last) => format!("{}, last committed {last}", node.word()),
        None => node.word().to_owned(),
    }
}

fn passwords(seen: &Seen<'_>) -> Option<Alarm> {
    let (name, node) = seen
        .nodes
        .iter()
        .find(|(_, node)| is_about_password(node.word()))?;
    Some(critical(
        format!("{name} cannot be looked at: {}", node.reason()),
        format!(
            "correct user and password in [galera.{}]; on a node: `CREATE USER '{}'@'ADDRESS OF THIS DIRECTOR' IDENTIFIED BY '...'` (USAGE is enough)",
            seen.config.name, seen.config.user
        ),
    ))
}

fn connections(seen: &Seen<'_>) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    for name in seen.with_word("too_many_connections") {
        alarms.push(Alarm {
            severity: match seen.elected.contains(name) {
                true => Severity::Critical,
                false => Severity::Warning,
            },
            text: format!("{name} has no connection left (error 1040); clients stay: the next node would be as full"),
            next: format!(
                "on {name}: `mariadb -e 'SHOW PROCESSLIST'`, and raise max_connections or give the server a lower max_connections here"
            ),
        });
    }
    for name in seen.with_word("host_blocked") {
        alarms.push(critical(
            format!("{name} blocks this director after too many broken connections (error 1129)"),
            format!("on {name}: `mariadb-admin flush-hosts`, and raise max_connect_errors"),
        ));
    }
    for name in seen.with_word("tls") {
        let reason = seen.nodes.get(name).map_or("", Watched::reason);
        alarms.push(critical(
            format!("{name} cannot be looked at: {reason}"),
            format!(
                "correct tls in [galera.{}] or the certificate of {name}",
                seen.config.name
            ),
        ));
    }
    alarms
}

fn hold(seen: &Seen<'_>) -> Option<Alarm> {
    if seen.situation != Situation::Changing || seen.elected.is_empty() {
        return None;
    }
    let text = format!(
        "the nodes do not agree who is in the cluster (round {} of {HOLD}); clients stay where they are",
        seen.changing
    );
    Some(warning(
        text,
        "wait: the cluster is changing; it is told here when it does not come to an end".to_owned(),
    ))
}

fn size(seen: &Seen<'_>, view: &View) -> Option<Alarm> {
    let expected = seen.config.expected_size;
    if view.size == expected {
        return None;
    }
    let missing = seen.nodes.iter().filter(|(name, _)| !view.has(name));
    let missing: Vec<_> = missing
        .map(|(name, node)| format!("{name}: {}", node.reason()))
        .collect();
    let next = match (missing.is_empty(), view.size > expected) {
        (_, true) => format!(
            "add the further nodes to [galera.{}], or set expected_size",
            seen.config.name
        ),
        (true, false) => {
            "look at `SHOW STATUS LIKE 'wsrep_incoming_addresses'` for who is missing".to_owned()
        }
        (false, false) => {
            "on each of them: `systemctl status mariadb` and `journalctl -u mariadb -n 50`"
                .to_owned()
        }
    };
    let size = view.size;
    let text = match missing.is_empty() {
        true => format!("the cluster has {size} of {expected} nodes"),
        false => format!(
            "the cluster has {size} of {expected} nodes ({})",
            missing.join("; ")
        ),
    };
    Some(warning(text, next))
}

fn half(seen: &Seen<'_>, view: &View) -> Option<Alarm> {
    (view.size.saturating_mul(2) <= seen.config.expected_size).then(|| {
        warning(
            format!(
                "only {} of {} nodes make up the primary component: that many are left after clean stops, and after a forced \
                 bootstrap",
                view.size, seen.config.expected_size
            ),
            "start the others; if they run, make sure that they are no second component before anything else".to_owned(),
        )
    })
}

fn misconfigured(seen: &Seen<'_>) -> Vec<Alarm> {
    let words = [
        "no_galera",
        "wsrep_off",
        "undefined",
        "malformed",
        "garbage",
    ];
    let nodes = seen
        .nodes
        .iter()
        .filter(|(_, node)| words.contains(&node.word()));
    let alarm = |(name, node): (&String, &Watched)| {
        let next = match node.word() {
            "undefined" => {
                "stop all nodes, find the one with the highest position (`mariadbd --wsrep-recover`), and start the cluster from it"
            }
            "garbage" => "is the address in the configuration that of a MariaDB server?",
            _ => "compare /etc/mysql/mariadb.conf.d/60-galera.cnf with that of the other nodes",
        };
        warning(format!("{name}: {}", node.reason()), next.to_owned())
    };
    nodes.map(alarm).collect()
}

/// Neither this nor flow control ever moves the writer: it would be as slow elsewhere.
fn queue(seen: &Seen<'_>, name: &str, node: &Watched) -> Option<Alarm> {
    let queue = node.status.as_ref()?.receive_queue;
    (queue > u64::from(seen.config.max_receive_queue)).then(|| {
        warning(
            format!("{name} lags behind: {queue} write sets wait there (alarm above {})", seen.config.max_receive_queue),
            format!("look at the disk and the load of {name}; a backup or a long lock there would explain it"),
        )
    })
}

fn flow_control(seen: &Seen<'_>, name: &str, node: &Watched) -> Option<Alarm> {
    let paused = node.paused?;
    (paused > seen.config.max_flow_control).then(|| {
        warning(
            format!("{name} was stopped by flow control for {paused}% of the time: all writes wait for the slowest node"),
            "find the node whose wsrep_flow_control_sent grows: it is the slow one; look at its disk and load".to_owned(),
        )
    })
}

fn critical(text: String, next: String) -> Alarm {
    Alarm {
        severity: Severity::Critical,
        text,
        next,
    }
}

fn warning(text: String, next: String) -> Alarm {
    Alarm {
        severity: Severity::Warning,
        text,
        next,
    }
}
