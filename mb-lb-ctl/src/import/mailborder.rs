//! mailborder.conf: `[database]` and `[redis]`, which mb-lb steers clients to by itself.

use std::net::{IpAddr, SocketAddr};

use super::block::Block;
use super::report::{At, Ledger, Verdict};
use super::value::{endpoint, key, list, name, quote};
use super::{Import, Input};
use crate::config::Forward;

/// Name of the cluster in the result, which the file does not say.
const CLUSTER: &str = "mailborder_cluster";
const USER: &str = "mb_monitor";

#[derive(Clone, Debug)]
struct Entry {
    at: At,
    section: String,
    key: String,
    value: String,
}

/// One file.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Lines with the titles of sections.
    titles: Vec<(String, At)>,
    entries: Vec<Entry>,
}

impl Config {
    fn get(&self, section: &str, key: &str) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries
            .rfind(|entry| entry.section == section && entry.key == key && !entry.value.is_empty())
    }

    fn title(&self, section: &str) -> Vec<At> {
        let titles = self.titles.iter().filter(|(title, _)| title == section);
        titles.map(|(_, at)| *at).collect()
    }
}

pub(super) fn read(file: usize, input: &Input<'_>, ledger: &mut Ledger) -> Config {
    let mut config = Config {
        titles: Vec::new(),
        entries: Vec::new(),
    };
    let mut section = String::new();
    for (text, line) in input.text.lines().zip(1..) {
        let at = At { file, line };
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            ledger.say(at, Verdict::NotNeeded, "comment");
            continue;
        }
        let own = "Mailborder's own: the director has nothing to do with it";
        ledger.otherwise(at, Verdict::NotNeeded, own);
        if let Some(title) = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
        {
            section = title.trim().to_ascii_lowercase();
            config.titles.push((section.clone(), at));
            continue;
        }
        let Some((key, value)) = text.split_once('=') else {
            ledger.say(
                at,
                Verdict::Unsupported,
                "neither a section nor KEY = VALUE",
            );
            continue;
        };
        // A comment begins with a blank before it; passwords may have these characters.
        let end = value
            .find(" #")
            .or_else(|| value.find(" ;"))
            .unwrap_or(value.len());
        let key = key.trim().to_ascii_lowercase();
        let value = value[..end].trim().trim_matches('"').to_owned();
        if key.contains("password") {
            ledger.hide(at, &value);
        }
        let section = section.clone();
        config.entries.push(Entry {
            at,
            section,
            key,
            value,
        });
    }
    config
}

pub(super) fn tiers(config: &Config, import: &mut Import<'_>) {
    for (tier, section) in [(galera as Tier, "database"), (sentinel as Tier, "redis")] {
        if let Err((at, why)) = tier(config, import) {
            for at in at.into_iter().chain(config.title(section)) {
                import.ledger.say(at, Verdict::Unsupported, why.as_str());
            }
        }
    }
}

type Tier = fn(&Config, &mut Import<'_>) -> Result<(), (Vec<At>, String)>;

/// `[database] hosts`
fn galera(config: &Config, import: &mut Import<'_>) -> Result<(), (Vec<At>, String)> {
    let Some(hosts) = config.get("database", "hosts") else {
        let note = "one host, so there is nothing to choose; with `hosts` the import makes a [galera.NAME]";
        if let Some(host) = config.get("database", "host") {
            import.ledger.say(host.at, Verdict::NotNeeded, note);
        }
        return Ok(());
    };
    let nodes = endpoints(&hosts.value, 3306).map_err(|why| (vec![hosts.at], why))?;
    let host = config.get("database", "host");
    let port = config.get("database", "port");
    let listen = listen(host, port, 3306, import).map_err(|why| (vec![hosts.at], why))?;
    let mut at = config.title("database");
    let mut block = Block::new(format!("galera.{CLUSTER}"), &at);
    at = vec![hosts.at];
    let places: Vec<At> = host
        .into_iter()
        .chain(port)
        .map(|entry| entry.at)
        .chain(listen.1)
        .collect();
    block.key("listen", list([listen.0]), &places);
    let why =
        format!("to be made: CREATE USER '{USER}'@'%' IDENTIFIED BY '...'; add password_file");
    block.key_because("user", quote(USER), &[], &why);
    block.table(format!("galera.{CLUSTER}.servers"), &[]);
    for (number, node) in nodes.iter().enumerate() {
        block.key(
            &format!("mb-db{}", number + 1),
            quote(&node.to_string()),
            &at,
        );
    }
    let note = format!(
        "checks need a user of their own in MariaDB: CREATE USER '{USER}'@'%' IDENTIFIED BY '...', and password_file = \"/etc/mb-lb/galera.password\""
    );
    block.claim(hosts.at, Verdict::Approximated, note);
    own_vip(listen.0.ip(), hosts.at, import, &mut block);
    import.output.offer(&block, &mut import.ledger);
    Ok(())
}

/// `[redis] sentinel_*`
fn sentinel(config: &Config, import: &mut Import<'_>) -> Result<(), (Vec<At>, String)> {
    let Some(hosts) = config.get("redis", "sentinel_hosts") else {
        return Ok(());
    };
    let enabled = config.get("redis", "sentinel_enabled");
    let off = |entry: &&Entry| {
        matches!(
            entry.value.to_ascii_lowercase().as_str(),
            "false" | "no" | "off" | "0"
        )
    };
    if let Some(off) = enabled.filter(off) {
        import
            .ledger
            .say(off.at, Verdict::Mapped, "Sentinel is switched off");
        import.ledger.say(
            hosts.at,
            Verdict::Dead,
            "sentinel_enabled says that it is not used",
        );
        return Ok(());
    }
    let sentinels = endpoints(&hosts.value, 26379).map_err(|why| (vec![hosts.at], why))?;
    let host = config.get("sessions", "redis_host");
    let port = config.get("sessions", "redis_port");
    let listen = listen(host, port, 6379, import).map_err(|why| (vec![hosts.at], why))?;
    let master = config.get("redis", "sentinel_master");
    let title = master.map_or("mymaster", |master| master.value.as_str());
    let mut block = Block::new(
        format!("sentinel.{}", key(&name(title))),
        &config.title("redis"),
    );
    block.claim_all(
        &config.title("sessions"),
        Verdict::Mapped,
        "`listen`: where sessions are looked for",
    );
    let places: Vec<At> = host
        .into_iter()
        .chain(port)
        .map(|entry| entry.at)
        .chain(listen.1)
        .collect();
    block.key("listen", list([listen.0]), &places);
    if let Some(master) = master {
        block.key("master", quote(title), &[master.at]);
    }
    block.key("sentinels", list(&sentinels), &[hosts.at]);
    if let Some(enabled) = enabled {
        block.claim(enabled.at, Verdict::Mapped, format!("[sentinel.{title}]"));
    }
    let password = config
        .get("redis", "password")
        .or(config.get("sessions", "redis_password"));
    if let Some(password) = password {
        block.key("password", quote(&password.value), &[password.at]);
    }
    own_vip(listen.0.ip(), hosts.at, import, &mut block);
    import.output.offer(&block, &mut import.ledger);
    Ok(())
}

fn endpoints(text: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let one = |text: &str| {
        let (address, given) = endpoint(text).ok_or_else(|| {
            format!("names are not looked up: give the address of {text} in place of its name")
        })?;
        Ok(SocketAddr::new(address, given.unwrap_or(port)))
    };
    let texts = text
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    texts.map(one).collect()
}

/// `--tier-vip`, or the host that the file names, or the first VIP; with the line that gives the VIP.
fn listen(
    host: Option<&Entry>,
    port: Option<&Entry>,
    usual: u16,
    import: &Import<'_>,
) -> Result<(SocketAddr, Option<At>), String> {
    let port = port
        .and_then(|port| port.value.parse().ok())
        .unwrap_or(usual);
    let vips = import.vips_of(true, true);
    let named = host.and_then(|host| host.value.parse::<IpAddr>().ok());
    let of_named = vips.iter().find(|(vip, _)| Some(*vip) == named);
    let vip = match import.options.tier_vip {
        Some(vip) => Some((vip, None)),
        None => of_named.or(vips.first()).copied(),
    };
    let (vip, at) = vip.ok_or(
        "it is not known at which address: name keepalived.conf too, or give --tier-vip ADDRESS",
    )?;
    Ok((SocketAddr::new(vip, port), at))
}

/// Servers that answer for a VIP themselves do not get to the director by it.
fn own_vip(vip: IpAddr, at: At, import: &mut Import<'_>, block: &mut Block) {
    if import.options.tier_vip.is_some() || import.options.forward != Forward::Dsr {
        return;
    }
    if import.setups.iter().any(|setup| setup.vips.contains(&vip)) {
        let note = format!(
            "with dsr the mail servers have {vip} themselves, and do not get to databases and session stores by it: give --tier-vip ADDRESS with another address of [vrrp.NAME], or --forward proxy"
        );
        block.claim(at, Verdict::Approximated, note.as_str());
        import.ledger.notice(note);
    }
}
