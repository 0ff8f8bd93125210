//! `mode http`: `[proxy.NAME]`.

use std::net::SocketAddr;

use super::checks::check;
use super::sections::Config;
use super::server::{Server, servers};
use super::service::{agent, backups, common, notes, slow_start};
use super::units::{Front, Unit};
use crate::config::schema;
use crate::import::Import;
use crate::import::block::Block;
use crate::import::report::Verdict;
use crate::import::value::{duration, key, name, quote, renamed, table};

mod places;
mod timeouts;

use places::Places;

const DAY: u64 = 86_400_000;

/// # Errors
/// Why there is none; its lines have no verdict then.
pub(super) fn proxy(
    config: &Config,
    unit: &Unit<'_>,
    import: &mut Import<'_>,
) -> Result<(), String> {
    let title = name(&unit.back.section.name);
    let servers = servers(config, &unit.back, &mut import.ledger);
    let (with_port, without): (Vec<_>, Vec<_>) = servers
        .into_iter()
        .partition(|server| server.port.is_some());
    for server in without {
        let note = "a server of a proxy has a port of its own: write it behind the address";
        import.ledger.say(server.at[0], Verdict::Unsupported, note);
    }
    let servers = with_port;
    if servers.is_empty() {
        return Err(format!(
            "`{}` has no server that can be imported",
            unit.back.section.name
        ));
    }
    let places = Places::of(config, unit, import)?;
    let mut block = Block::new(format!("proxy.{}", key(&title)), &unit.titles());
    let other = renamed(&unit.back.section.name, &title);
    block.claim_some(unit.back.section.at, Verdict::Approximated, other);
    places.write(unit, &mut block);
    for view in unit.views() {
        block.claim_all(
            &view.mode(),
            Verdict::Mapped,
            &format!("[proxy.{title}], as it is HTTP"),
        );
    }
    scheduler(unit, &mut block);
    cookie(unit, &mut block);
    check(&unit.back, &servers, None, &mut block);
    agent(&servers, &schema::PROXY, &mut block);
    timeouts::write(unit, &mut block);
    settings(unit, &mut block);
    slow_start(&servers, &mut block);
    backups(unit, &title, &servers, &mut block);

    block.table(format!("proxy.{}.servers", key(&title)), &[]);
    for server in &servers {
        write(server, unit.back.last("cookie").is_some(), &mut block);
    }
    import.output.offer(&block, &mut import.ledger);
    Ok(())
}

fn scheduler(unit: &Unit<'_>, block: &mut Block) {
    let Some(balance) = unit.back.last("balance") else {
        return;
    };
    let word = balance.word(1).unwrap_or_default();
    let (ours, note) = match word {
        "roundrobin" | "leastconn" | "source" | "random" => (word, ""),
        "static-rr" => ("roundrobin", "weights can be changed at any time"),
        "first" => ("leastconn", "servers are not filled one after the other"),
        _ if word.starts_with("random(") => ("random", ""),
        _ => ("source", "by the client's address instead"),
    };
    block.key("scheduler", quote(ours), &[balance.at]);
    if !note.is_empty() {
        block.claim(
            balance.at,
            Verdict::Approximated,
            format!("`{word}`: {note}"),
        );
    }
    for hash in unit.back.all("hash-type") {
        block.claim(
            hash.at,
            Verdict::Approximated,
            "`source` is consistent always",
        );
    }
}

/// `cookie NAME insert ...`
fn cookie(unit: &Unit<'_>, block: &mut Block) {
    let Some(line) = unit.back.last("cookie") else {
        return;
    };
    let mut words = line.words.iter().skip(2).map(String::as_str);
    let has = |word: &str| line.words.iter().skip(2).any(|own| own == word);
    if !has("insert") {
        let note = "cookies of the servers' own are not used for stickiness: write cookie = { name = \"NAME\" }, which is one of the director's";
        block.claim(line.at, Verdict::Unsupported, note);
        return;
    }
    let mut entries = vec![
        ("name".to_owned(), quote(line.word(1).unwrap_or_default())),
        ("mode".to_owned(), quote("insert")),
    ];
    for (theirs, ours) in [("indirect", "indirect"), ("nocache", "nocache")] {
        entries.push((ours.to_owned(), has(theirs).to_string()));
    }
    for (theirs, ours) in [
        ("preserve", "preserve"),
        ("httponly", "http_only"),
        ("secure", "secure"),
    ] {
        if has(theirs) {
            entries.push((ours.to_owned(), "true".to_owned()));
        }
    }
    let mut odd = Vec::new();
    let mut domain = false;
    while let Some(word) = words.next() {
        match word {
            "insert" | "indirect" | "nocache" | "preserve" | "httponly" | "secure" => {}
            "domain" => {
                let value = words.next().unwrap_or_default();
                match domain {
                    false => entries.push(("domain".to_owned(), quote(value))),
                    true => odd.push(format!("`domain {value}`: one can be given")),
                }
                domain = true;
            }
            "maxidle" | "maxlife" => {
                let value = words.next().unwrap_or_default();
                // Seconds where no unit is given, unlike anywhere else.
                let plain = value.bytes().all(|b| b.is_ascii_digit());
                let value = if plain {
                    format!("{value}s")
                } else {
                    value.to_owned()
                };
                let key = if word == "maxidle" {
                    "max_idle"
                } else {
                    "max_life"
                };
                let time = crate::import::value::haproxy_time(&value);
                entries.extend(
                    time.map(|time| (key.to_owned(), duration(time.clamp(1000, 366 * DAY)))),
                );
            }
            "attr" => {
                let value = words.next().unwrap_or_default();
                match value.split_once('=') {
                    Some((name, value)) if name.eq_ignore_ascii_case("samesite") => {
                        entries.push(("same_site".to_owned(), quote(&value.to_ascii_lowercase())));
                    }
                    _ => odd.push(format!("`attr {value}` is not there")),
                }
            }
            "dynamic" => {
                if let Some(secret) = unit.back.last("dynamic-cookie-key") {
                    let value = secret.word(1).unwrap_or_default();
                    entries.push(("dynamic_key".to_owned(), quote(value)));
                    block.claim(secret.at, Verdict::Mapped, "`dynamic_key` of the cookie");
                }
            }
            other => odd.push(format!("`{other}` of the cookie is not there")),
        }
    }
    block.key("cookie", table(&entries), &[line.at]);
    for note in odd {
        block.claim(line.at, Verdict::Approximated, note);
    }
}

/// Single keys.
fn settings(unit: &Unit<'_>, block: &mut Block) {
    if let Some(retries) = unit.back.last("retries") {
        let number = retries
            .word(1)
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or(3);
        block.key("retries", number.min(10).to_string(), &[retries.at]);
        if number > 10 {
            block.claim(retries.at, Verdict::Approximated, "10 at most");
        }
    }
    if let Some(option) = unit.back.option("redispatch") {
        block.key("redispatch", "true", &[option.at]);
    }
    for view in unit.views() {
        if let Some(option) = view.option("forwardfor") {
            let bare = option.words.len() == 2;
            let note = "X-Forwarded-For, -Proto and -Host are always set, and the client's own are thrown away";
            let verdict = if bare {
                Verdict::NotNeeded
            } else {
                Verdict::Approximated
            };
            block.claim(option.at, verdict, note);
        }
    }
    let log = unit.fronts.iter().find_map(|front| {
        front
            .view
            .option("httplog")
            .or_else(|| front.view.option("httpslog"))
    });
    if let Some(option) = log {
        block.key_because(
            "access_log",
            quote("httplog"),
            &[option.at],
            "to the journal",
        );
        for Front { view, .. } in &unit.fronts {
            if let Some(other) = view.option("httplog").filter(|other| other.at != option.at) {
                block.claim(other.at, Verdict::Mapped, "`access_log`");
            }
        }
    }
    let mut limit = None;
    for Front { view, .. } in &unit.fronts {
        let Some(most) = view.last("maxconn") else {
            continue;
        };
        let number = most.word(1).and_then(|word| word.parse::<u64>().ok());
        let Some(number) = number.filter(|number| (1..=1_000_000).contains(number)) else {
            continue;
        };
        match limit {
            None => {
                let value = format!("{{ connections = {number} }}");
                block.key("limits", value, &[most.at]);
                limit = Some(most.at);
            }
            Some(at) if at != most.at => {
                let note = format!(
                    "clients of all frontends are counted together, up to what line {} says",
                    at.line
                );
                block.claim(most.at, Verdict::Approximated, note);
            }
            Some(_) => {}
        }
    }
    hsts(unit, block);
}

/// `http-response set-header Strict-Transport-Security max-age=...`
fn hsts(unit: &Unit<'_>, block: &mut Block) {
    if !unit.binds().any(|bind| bind.tls) {
        return;
    }
    let views: Vec<_> = unit.views().collect();
    let rules = views.iter().flat_map(|view| {
        let mut rules = view.all("http-response");
        rules.extend(view.all("http-after-response"));
        rules
    });
    for rule in rules {
        let named = |word: &String| word.eq_ignore_ascii_case("strict-transport-security");
        let Some(at) = rule.words.iter().position(named) else {
            continue;
        };
        let value = rule.word(at + 1).unwrap_or_default().to_ascii_lowercase();
        let mut parts = value.split(';').map(str::trim);
        let seconds =
            parts.find_map(|part| part.strip_prefix("max-age=")?.trim().parse::<u64>().ok());
        if let Some(seconds) = seconds {
            let most = 10 * 365 * 86_400;
            block.key("hsts", duration(seconds.min(most) * 1000), &[rule.at]);
            if value.contains(';') || rule.words.len() > at + 2 {
                block.claim(
                    rule.at,
                    Verdict::Approximated,
                    "`max-age` only, and on every response",
                );
            }
            return;
        }
    }
}

fn write(server: &Server, sticky: bool, block: &mut Block) {
    let set = &server.set;
    let port = server.port.unwrap_or_default();
    let address = SocketAddr::new(server.address, port);
    let mut entries = vec![("address".to_owned(), quote(&address.to_string()))];
    let tls = set.tls_value().or_else(|| {
        // Otherwise our parser doubts that it is meant.
        [443, 8443].contains(&port).then(|| "false".to_owned())
    });
    entries.extend(tls.map(|tls| ("tls".to_owned(), tls)));
    if set.http2 {
        entries.push(("http".to_owned(), quote("2")));
    }
    if sticky {
        entries.extend(
            set.cookie
                .as_ref()
                .map(|cookie| ("cookie".to_owned(), quote(cookie))),
        );
    }
    entries.extend(
        set.send_proxy
            .map(|version| ("send_proxy".to_owned(), quote(version))),
    );
    common(server, &mut entries);
    block.key(&key(&server.name), table(&entries), &server.at);
    notes(server, block);
    if set.cookie.is_some() && !sticky {
        block.claim_all(
            &server.at[..1],
            Verdict::Mapped,
            "`cookie` has no effect without `cookie` of the backend",
        );
    }
}
