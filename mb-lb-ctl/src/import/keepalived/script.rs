//! `vrrp_script`, and whether mb-lb has use for one.

use super::{Config, Node};
use crate::import::report::{At, Ledger, Verdict};
use crate::import::value::{duration, quote, seconds};

const HOUR: u64 = 3_600_000;

/// One that instances may track.
#[derive(Debug)]
pub(super) struct Script<'c> {
    pub node: &'c Node,
    pub name: &'c str,
    pub weight: i64,
    /// Keys in TOML but for the weight. `Err`: why it is not tracked.
    pub entries: Result<Vec<(String, String)>, Left>,
}

/// Why a script is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub verdict: Verdict,
    pub why: String,
}

pub(super) fn scripts<'c>(config: &'c Config, ledger: &mut Ledger) -> Vec<Script<'c>> {
    let mut nodes: Vec<&Node> = config.all("vrrp_script").collect();
    nodes.extend(config.all("vrrp_track_process"));
    let mut scripts = Vec::new();
    for node in nodes {
        let Some(name) = node.word(1) else {
            ledger.say(node.at, Verdict::Unsupported, "has no name");
            continue;
        };
        let weight = node
            .child("weight")
            .and_then(|w| w.word(1)?.parse().ok())
            .unwrap_or(0);
        let entries = entries(node);
        if let Err(Left { verdict, why }) = &entries {
            node.each(&mut |node| {
                ledger.otherwise(node.at, *verdict, "belongs to what is left out")
            });
            ledger.say(node.at, *verdict, why.as_str());
        }
        scripts.push(Script {
            node,
            name,
            weight,
            entries,
        });
    }
    scripts
}

fn entries(node: &Node) -> Result<Vec<(String, String)>, Left> {
    let unsupported = |why: &str| Left {
        verdict: Verdict::Unsupported,
        why: why.to_owned(),
    };
    if node.is("vrrp_track_process") {
        let process = node.child("process").and_then(|process| process.word(1));
        return Err(match process {
            Some(process) if process.ends_with("haproxy") => of_balancer(node),
            _ => unsupported(
                "processes are not watched: write a program that does, into track_scripts",
            ),
        });
    }
    let command = node
        .child("script")
        .map(|script| script.words[1..].join(" "));
    let Some(command) = command.filter(|command| !command.trim().is_empty()) else {
        return Err(unsupported("has no `script`"));
    };
    if watches_haproxy(&command) {
        return Err(of_balancer(node));
    }
    if !command.starts_with('/') {
        return Err(unsupported(
            "no shell reads it and nobody looks for it: write the absolute path of a program into track_scripts",
        ));
    }
    let mut entries = vec![("command".to_owned(), quote(&command))];
    for (key, default) in [("interval", Some(1000)), ("timeout", None)] {
        let given = node.child(key).and_then(|child| seconds(child.word(1)?));
        let time = given
            .or(default)
            .map(|time| duration(time.clamp(100, HOUR)));
        entries.extend(time.map(|time| (key.to_owned(), time)));
    }
    for key in ["rise", "fall"] {
        let number = node
            .child(key)
            .and_then(|child| child.word(1)?.parse::<u64>().ok());
        entries.extend(number.map(|number| (key.to_owned(), number.clamp(1, 255).to_string())));
    }
    Ok(entries)
}

fn of_balancer(node: &Node) -> Left {
    let weight = node.child("weight").and_then(|weight| weight.word(1));
    let mut why = "it asks whether HAProxy runs, which is not needed: balancing and VRRP are one process here, which gives the VIP up when it cannot serve".to_owned();
    if let Some(weight) =
        weight.filter(|weight| weight.parse::<i64>().is_ok_and(|weight| weight > 0))
    {
        why.push_str(&format!(
            ". While the other director is keepalived still, its priority is {weight} higher than its configuration says, as long as HAProxy runs there"
        ));
    }
    Left {
        verdict: Verdict::NotNeeded,
        why,
    }
}

/// `killall -0 haproxy` and its like, and scripts with that name.
fn watches_haproxy(command: &str) -> bool {
    let base = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    let words: Vec<String> = command.split_whitespace().map(base).collect();
    let askers = [
        "killall",
        "pidof",
        "pgrep",
        "pkill",
        "systemctl",
        "service",
        "kill",
        "ps",
    ];
    let asks = words.iter().any(|word| askers.contains(&word.as_str()));
    let program = words.first().is_some_and(|word| word.contains("haproxy"));
    program || (asks && words.iter().any(|word| word.contains("haproxy")))
}

/// Lines of a script that is tracked.
pub(super) fn lines(node: &Node) -> Vec<At> {
    let keys = ["script", "interval", "timeout", "rise", "fall", "weight"];
    let children = node
        .children
        .iter()
        .filter(|child| keys.iter().any(|key| child.is(key)));
    std::iter::once(node.at)
        .chain(children.map(|child| child.at))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_haproxy() {
        for command in [
            "/usr/bin/killall -0 haproxy",
            "killall -0 haproxy",
            "/usr/bin/pgrep -x haproxy",
            "systemctl is-active haproxy.service",
            "/etc/keepalived/check_haproxy.sh",
            "pidof /usr/sbin/haproxy",
        ] {
            assert!(watches_haproxy(command), "{command}");
        }
        for command in [
            "/usr/bin/killall -0 postfix",
            "/usr/local/bin/x haproxy",
            "",
            "/bin/true",
        ] {
            assert!(!watches_haproxy(command), "{command}");
        }
    }
}
