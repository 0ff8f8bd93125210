//! `vrrp_instance`: `[vrrp.NAME]`.

use std::net::IpAddr;

use super::script::{Script, lines, scripts};
use super::{Config, Node};
use crate::import::Import;
use crate::import::block::Block;
use crate::import::report::{At, Verdict};
use crate::import::value::{duration, key, list, name, quote, renamed, seconds, table};

pub(super) fn instances(config: &Config, import: &mut Import<'_>) {
    let scripts = scripts(config, &mut import.ledger);
    let version = config
        .all("global_defs")
        .find_map(|defs| defs.child("vrrp_version"));
    let mut groups = groups(config);
    let nodes: Vec<&Node> = config.all("vrrp_instance").collect();
    for group in &mut groups {
        group
            .members
            .retain(|member| nodes.iter().any(|node| node.word(1) == Some(member.0)));
    }
    for (number, node) in nodes.into_iter().enumerate() {
        // The first one moves what is listened on besides.
        let more = import.options.tier_vip.filter(|_| number == 0);
        let more = more.filter(|more| !import.vips.iter().any(|(vip, _)| vip == more));
        instance(node, more, version, &scripts, &groups, import);
    }
    let lists = config
        .all("vrrp_instance")
        .flat_map(|instance| instance.all("track_script"));
    let lines: Vec<&Node> = lists.flat_map(|list| &list.children).collect();
    let idle = |script: &&Script<'_>| {
        script.entries.is_ok() && !lines.iter().any(|line| line.is(script.name))
    };
    for script in scripts.iter().filter(idle) {
        let note = "no instance tracks it";
        script
            .node
            .each(&mut |node| import.ledger.otherwise(node.at, Verdict::Dead, note));
    }
}

/// `vrrp_sync_group NAME { group { VI_1 VI_2 } }`
struct Group<'c> {
    node: &'c Node,
    name: &'c str,
    members: Vec<(&'c str, At)>,
}

fn groups(config: &Config) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    for node in config.all("vrrp_sync_group") {
        let Some(name) = node.word(1) else {
            continue;
        };
        let lists = node.all("group");
        let lines = lists.flat_map(|list| list.children.iter());
        let members = lines.flat_map(|line| line.words.iter().map(|word| (word.as_str(), line.at)));
        groups.push(Group {
            node,
            name,
            members: members.collect(),
        });
    }
    groups
}

/// Address and prefix.
pub(super) fn address(text: &str) -> Option<(IpAddr, Option<u8>)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
        None => (text, None),
    };
    Some((address.parse().ok()?, prefix))
}

fn instance(
    node: &Node,
    more: Option<IpAddr>,
    version: Option<&Node>,
    scripts: &[Script<'_>],
    groups: &[Group<'_>],
    import: &mut Import<'_>,
) {
    let Some(title) = node.word(1) else {
        return import
            .ledger
            .say(node.at, Verdict::Unsupported, "has no name");
    };
    let mut block = Block::new(format!("vrrp.{}", key(&name(title))), &[node.at]);
    let other = renamed(title, &name(title));
    block.claim_some(node.at, Verdict::Approximated, other);
    let interface = node.child("interface");
    if let Some(interface) = interface {
        block.key(
            "interface",
            quote(interface.word(1).unwrap_or_default()),
            &[interface.at],
        );
    }
    for (theirs, ours) in [
        ("virtual_router_id", "virtual_router_id"),
        ("priority", "priority"),
    ] {
        if let Some(child) = node.child(theirs) {
            let number = child.word(1).and_then(|word| word.parse::<u64>().ok());
            match number {
                Some(number) => block.key(ours, number.to_string(), &[child.at]),
                None => block.claim(child.at, Verdict::Unsupported, "not a number"),
            }
        }
    }
    let addresses = addresses(node, &mut block);
    let v6 = addresses
        .first()
        .is_some_and(|(address, _)| address.contains(':'));
    let version3 = versions(node, version, v6, &mut block);
    if let Some(child) = node.child("advert_int") {
        match child.word(1).and_then(seconds) {
            Some(time) => block.key("advert_interval", duration(time), &[child.at]),
            None => block.claim(child.at, Verdict::Unsupported, "not a time"),
        }
    }
    authentication(node, version3, &mut block);
    let at: Vec<At> = addresses.iter().map(|(_, at)| *at).collect();
    let more = more.map(|vip| format!("{vip}/{}", if vip.is_ipv4() { 32 } else { 128 }));
    let texts = addresses.iter().map(|(address, _)| address).chain(&more);
    let why = if more.is_some() { "and --tier-vip" } else { "" };
    block.key_because("addresses", list(texts), &at, why);
    preempt(node, &mut block);
    ends(node, &mut block);
    group(title, groups, &mut block);
    let primary = interface.and_then(|interface| interface.word(1));
    track_interfaces(node, primary, &mut block);
    track_scripts(node, scripts, &mut block);
    notify(node, &mut block);
    if !import.output.offer(&block, &mut import.ledger) {
        // Nobody moves them.
        import
            .vips
            .retain(|(_, line)| line.is_none_or(|line| !at.contains(&line)));
    }
}

/// Texts with their lines.
fn addresses(node: &Node, block: &mut Block) -> Vec<(String, At)> {
    let mut found: Vec<(String, At)> = Vec::new();
    let mut family = None;
    for list in node
        .all("virtual_ipaddress")
        .chain(node.all("virtual_ipaddress_excluded"))
    {
        block.claim(list.at, Verdict::Mapped, "`addresses`");
        let excluded = list.is("virtual_ipaddress_excluded");
        for line in &list.children {
            let word = line.word(0).unwrap_or_default();
            let Some((vip, prefix)) = address(word) else {
                block.claim(line.at, Verdict::Unsupported, "not an address");
                continue;
            };
            if *family.get_or_insert(vip.is_ipv4()) != vip.is_ipv4() {
                let note = "IPv4 and IPv6 are two instances: write another [vrrp.NAME] for it, with version = 3, a link-local address first, and the same sync_group";
                block.claim(line.at, Verdict::Unsupported, note);
                continue;
            }
            let whole = if vip.is_ipv4() { 32 } else { 128 };
            let text = format!("{vip}/{}", prefix.unwrap_or(whole));
            let same =
                |known: &(String, At)| known.0.split('/').next() == Some(vip.to_string().as_str());
            if found.iter().any(same) {
                block.claim(line.at, Verdict::Dead, "the address is given already");
                continue;
            }
            if excluded {
                let note = "adverts name it as well: with keepalived as the other director, it has to be in virtual_ipaddress there";
                block.claim(line.at, Verdict::Approximated, note);
            }
            let mut rest = line.words.iter().skip(1).map(String::as_str);
            while let Some(word) = rest.next() {
                let value = rest.next().unwrap_or_default();
                if word == "dev"
                    && node
                        .child("interface")
                        .is_none_or(|interface| interface.word(1) != Some(value))
                {
                    let note = format!(
                        "`dev {value}`: addresses are on the interface of the adverts. Write another [vrrp.NAME] for that interface"
                    );
                    block.claim(line.at, Verdict::Approximated, note);
                } else if matches!(word, "label" | "scope") {
                    block.claim(
                        line.at,
                        Verdict::Approximated,
                        format!("`{word}` is not there"),
                    );
                }
            }
            found.push((text, line.at));
        }
    }
    found
}

/// Whether it is version 3.
fn versions(node: &Node, general: Option<&Node>, v6: bool, block: &mut Block) -> bool {
    let given = node.child("version").or(general);
    let three = given.and_then(|given| given.word(1)) == Some("3");
    if three || v6 {
        let at: Vec<At> = given
            .filter(|_| three)
            .map(|given| given.at)
            .into_iter()
            .collect();
        let why = if three { "" } else { "IPv6 needs it" };
        block.key_because("version", "3", &at, why);
        if let Some(given) = given.filter(|_| !three) {
            block.claim(given.at, Verdict::Dead, "IPv6 is always version 3");
        }
    } else if let Some(given) = given {
        block.key("version", "2", &[given.at]);
    }
    three || v6
}

fn authentication(node: &Node, version3: bool, block: &mut Block) {
    for auth in node.all("authentication") {
        let kind = auth.child("auth_type");
        let ah = kind.is_some_and(|kind| kind.word(1) != Some("PASS"));
        let (verdict, note) = match (version3, ah) {
            (true, _) => (
                Verdict::NotNeeded,
                "version 3 has no authentication, and keepalived sends none with it",
            ),
            (false, true) => (
                Verdict::Unsupported,
                "type PASS is the only one: change the other director too",
            ),
            (false, false) => (Verdict::Mapped, "`auth_pass`: type PASS is the only one"),
        };
        block.claim(auth.at, verdict, note);
        for child in &auth.children {
            block.claim(child.at, verdict, note);
        }
        let pass = auth
            .child("auth_pass")
            .filter(|_| verdict == Verdict::Mapped);
        if let Some((pass, text)) = pass.and_then(|pass| Some((pass, pass.word(1)?))) {
            // With no more than that, `check` has nothing to say of it.
            let counts = text.get(..8).unwrap_or(text);
            block.key("auth_pass", quote(counts), &[pass.at]);
            if text.len() > 8 {
                block.claim(
                    pass.at,
                    Verdict::Mapped,
                    "the first 8 bytes count, as in keepalived",
                );
            }
        }
    }
}

fn preempt(node: &Node, block: &mut Block) {
    let never = node.child("nopreempt");
    if let Some(never) = never {
        block.key("preempt", "false", &[never.at]);
    }
    let Some(delay) = node.child("preempt_delay") else {
        return;
    };
    match delay.word(1).and_then(seconds) {
        Some(_) if never.is_some() => block.claim(
            delay.at,
            Verdict::Dead,
            "nothing is preempted with `nopreempt`",
        ),
        Some(time) => block.key("preempt_delay", duration(time.min(1_000_000)), &[delay.at]),
        None => block.claim(delay.at, Verdict::Unsupported, "not a time"),
    }
}

/// Where adverts come from and go to.
fn ends(node: &Node, block: &mut Block) {
    let peers: Vec<&Node> = node
        .all("unicast_peer")
        .flat_map(|list| &list.children)
        .collect();
    for list in node.all("unicast_peer") {
        block.claim(list.at, Verdict::Mapped, "`unicast_peers`");
    }
    if !peers.is_empty() {
        let at: Vec<At> = peers.iter().map(|peer| peer.at).collect();
        block.key(
            "unicast_peers",
            list(peers.iter().filter_map(|peer| peer.word(0))),
            &at,
        );
        for peer in peers.iter().filter(|peer| peer.words.len() > 1) {
            block.claim(
                peer.at,
                Verdict::Approximated,
                "limits of the TTL are not there",
            );
        }
    }
    let source = match peers.is_empty() {
        true => node.child("mcast_src_ip").or(node.child("unicast_src_ip")),
        false => node.child("unicast_src_ip").or(node.child("mcast_src_ip")),
    };
    if let Some(source) = source {
        block.key(
            "source_address",
            quote(source.word(1).unwrap_or_default()),
            &[source.at],
        );
    }
}

fn group(title: &str, groups: &[Group<'_>], block: &mut Block) {
    for group in groups {
        let Some((_, at)) = group.members.iter().find(|(member, _)| *member == title) else {
            continue;
        };
        let mut lines = vec![*at, group.node.at];
        lines.extend(group.node.all("group").map(|list| list.at));
        if group.members.len() < 2 {
            block.claim_all(&lines, Verdict::NotNeeded, "a group of one moves as it is");
        } else {
            block.key("sync_group", quote(&name(group.name)), &lines);
        }
        return;
    }
}

/// `NAME weight N reverse`
fn weight(line: &Node) -> (Option<i64>, bool) {
    let mut words = line.words.iter().map(String::as_str);
    let given = words.by_ref().any(|word| word == "weight");
    let number = if given {
        words.next().and_then(|word| word.parse().ok())
    } else {
        None
    };
    (number, line.words.iter().any(|word| word == "reverse"))
}

const REVERSE: &str = "`reverse` is not there";

fn track_interfaces(node: &Node, primary: Option<&str>, block: &mut Block) {
    let lines: Vec<&Node> = node
        .all("track_interface")
        .flat_map(|list| &list.children)
        .collect();
    let alone = node.child("dont_track_primary");
    if let Some(alone) = alone {
        let (verdict, note) = match lines.is_empty() {
            true => (
                Verdict::Unsupported,
                "the interface of the adverts is tracked always",
            ),
            false => (Verdict::Mapped, "`track_interfaces` without it"),
        };
        block.claim(alone.at, verdict, note);
    }
    if lines.is_empty() {
        return;
    }
    let mut entries: Vec<(String, String)> = Vec::new();
    let own = primary.filter(|own| alone.is_none() && !lines.iter().any(|line| line.is(own)));
    entries.extend(own.map(|own| (own.to_owned(), "{}".to_owned())));
    for line in &lines {
        let (number, reverse) = weight(line);
        let number = number.unwrap_or(0);
        let value = if number == 0 {
            "{}".to_owned()
        } else {
            format!("{{ weight = {number} }}")
        };
        let name = line.word(0).unwrap_or_default();
        if entries.iter().any(|(known, _)| known == name) {
            block.claim(line.at, Verdict::Dead, "it is tracked already");
            continue;
        }
        entries.push((name.to_owned(), value));
        if reverse {
            block.claim(line.at, Verdict::Approximated, REVERSE);
        }
    }
    let mut at: Vec<At> = lines.iter().map(|line| line.at).collect();
    at.extend(node.all("track_interface").map(|list| list.at));
    block.key("track_interfaces", table(&entries), &at);
}

fn track_scripts(node: &Node, scripts: &[Script<'_>], block: &mut Block) {
    let mut entries: Vec<(String, String)> = Vec::new();
    let mut at = Vec::new();
    let lists: Vec<&Node> = node.all("track_script").collect();
    for line in lists.iter().flat_map(|list| &list.children) {
        let title = line.word(0).unwrap_or_default();
        let Some(script) = scripts.iter().find(|script| script.name == title) else {
            block.claim(
                line.at,
                Verdict::Dead,
                format!("there is no vrrp_script `{title}`"),
            );
            continue;
        };
        let keys = match &script.entries {
            Ok(keys) => keys,
            Err(left) => {
                let note = format!("left out, as line {} says", script.node.at.line);
                block.claim(line.at, left.verdict, note);
                continue;
            }
        };
        let name = name(title);
        if entries.iter().any(|(known, _)| *known == name) {
            block.claim(line.at, Verdict::Dead, "it is tracked already");
            continue;
        }
        block.claim_some(line.at, Verdict::Approximated, renamed(title, &name));
        let (number, reverse) = weight(line);
        let number = number.unwrap_or(script.weight);
        let mut keys = keys.clone();
        if number != 0 {
            keys.push(("weight".to_owned(), number.to_string()));
        }
        entries.push((name, table(&keys)));
        at.push(line.at);
        at.extend(lines(script.node));
        if reverse {
            block.claim(line.at, Verdict::Approximated, REVERSE);
        }
    }
    let empty = entries.is_empty();
    if !empty {
        block.key("track_scripts", table(&entries), &at);
    }
    for list in lists {
        match empty {
            true => block.claim(list.at, Verdict::NotNeeded, "nothing of it is left"),
            false => block.claim(list.at, Verdict::Mapped, "`track_scripts`"),
        }
    }
}

fn notify(node: &Node, block: &mut Block) {
    let Some(child) = node.child("notify") else {
        return;
    };
    let words: Vec<&str> = child.words[1..]
        .iter()
        .flat_map(|word| word.split_whitespace())
        .collect();
    match words.as_slice() {
        [path] if path.starts_with('/') => {
            block.key("notify", quote(path), &[child.at]);
            let note = "it is called with other arguments: instance, old role, new role (active, backup, fault), priority";
            block.claim(child.at, Verdict::Approximated, note);
        }
        _ => {
            let note = "`notify` is the absolute path of a program without arguments: put them into a script";
            block.claim(child.at, Verdict::Unsupported, note);
        }
    }
}
