//! Pages of statistics: `http`, `user` and `password` of `[admin]`, where this build has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::bind::guard as bind_guard;
use super::guard::guarded;
use super::sections::{Config, Statement};
use super::view::View;
use crate::config::schema;
use crate::import::block::Block;
use crate::import::report::{Ledger, Verdict};
use crate::import::value::{endpoint, quote};

/// Whether a section serves the page and nothing else.
pub(super) fn is_page(view: &View<'_>) -> bool {
    let words = ["stats enable", "stats uri", "stats auth"];
    let shown = words.iter().any(|key| !view.all(key).is_empty());
    let leads = ["server", "default_backend", "use_backend"];
    view.section.is_front()
        && view.http
        && shown
        && leads.iter().all(|key| view.all(key).is_empty())
}

/// This build has a page.
fn is_known() -> bool {
    schema::ADMIN.keys.contains(&"http")
}

/// Writes the keys of the first page. Gives a verdict to all lines of all of them.
pub(super) fn page(config: &Config, taken: &mut bool, block: &mut Block, ledger: &mut Ledger) {
    let fronts = config.sections.iter().filter(|section| section.is_front());
    for section in fronts {
        let view = View::new(config, section);
        if !is_page(&view) || view.disabled().is_some() {
            continue;
        }
        if !is_known() {
            let note = "this build of mb-lb has no page of statistics yet: `mb-lb-ctl status` and the admin socket show the same";
            section.otherwise(Verdict::Unsupported, note, ledger);
            continue;
        }
        if *taken {
            let note = "there is one page, that of the first such section";
            section.otherwise(Verdict::Unsupported, note, ledger);
            continue;
        }
        if let Some(why) = closed(config, &view, ledger) {
            section.otherwise(Verdict::Unsupported, &why, ledger);
            continue;
        }
        *taken = write(&view, block, ledger);
    }
}

/// Why the page would be seen by people that HAProxy's is not.
fn closed(config: &Config, view: &View<'_>, ledger: &mut Ledger) -> Option<String> {
    let mut why = guarded(config, view, ledger);
    for line in view.all("stats") {
        let note = match line.word(1) {
            Some("http-request") => {
                "whoever has the password sees the page, and no rule keeps anybody out: write `http` of [admin] by hand, with an address that only they reach"
            }
            Some("scope") => {
                "the page shows everything to whoever has the password: write `http` of [admin] by hand, where they may see it"
            }
            _ => continue,
        };
        ledger.open_door(line.at, note);
        why.get_or_insert_with(|| format!("line {}: {note}", line.at.line));
    }
    for line in view.all("bind") {
        if let Some(note) = bind_guard(config, line) {
            ledger.open_door(line.at, &note);
            why.get_or_insert_with(|| format!("line {}: {note}", line.at.line));
        }
    }
    why
}

fn write(view: &View<'_>, block: &mut Block, ledger: &mut Ledger) -> bool {
    let binds = view.all("bind");
    let listen = binds
        .iter()
        .find_map(|bind| Some((address(bind.word(1)?)?, *bind)));
    let Some((listen, line)) = listen else {
        let note = "the page needs an address and port of this machine: http = \"127.0.0.1:8404\" in [admin]";
        view.section.otherwise(Verdict::Unsupported, note, ledger);
        return false;
    };
    block.key(
        "http",
        quote(&listen.to_string()),
        &[line.at, view.section.at],
    );
    if line.words.iter().any(|word| word == "ssl") {
        block.claim(
            line.at,
            Verdict::Approximated,
            "the page is in clear: have it on loopback, and a [proxy.NAME] before it",
        );
    }
    for other in binds.iter().filter(|bind| bind.at != line.at) {
        block.claim(other.at, Verdict::Unsupported, "the page has one address");
    }
    let users = view.all("stats auth");
    let login = users
        .first()
        .and_then(|line| Some((line, line.word(2)?.split_once(':')?)));
    if let Some((line, (user, password))) = login {
        block.key("user", quote(user), &[line.at]);
        block.key("password", quote(password), &[line.at]);
        may_change(view, line, user, block);
    } else {
        for rule in view.all("stats admin") {
            let note = "nobody changes anything on a page without a password";
            block.claim(rule.at, Verdict::Unsupported, note);
        }
    }
    for other in users.iter().skip(1) {
        block.claim(other.at, Verdict::Unsupported, "the page has one user");
    }
    block.claim_all(&view.mode(), Verdict::Mapped, "admin.http");
    for line in view.all("stats") {
        let (verdict, note) = match line.word(1).unwrap_or_default() {
            "auth" => continue,
            "enable" => (Verdict::Mapped, "admin.http"),
            "uri" if matches!(line.word(2), Some("/stats" | "/")) => {
                (Verdict::Mapped, "the page is /stats")
            }
            "uri" => (Verdict::Approximated, "the page is /stats"),
            "refresh" => (Verdict::Mapped, "the page keeps itself up to date"),
            "admin" => continue,
            _ => (Verdict::NotNeeded, "how the page looks is its own affair"),
        };
        block.claim(line.at, verdict, note);
    }
    true
}

/// HAProxy's page is to be looked at, unless `stats admin` says who may change states; ours lets whoever has the password.
fn may_change(view: &View<'_>, login: &Statement, user: &str, block: &mut Block) {
    let rules = view.all("stats admin");
    if rules.is_empty() {
        let note = format!(
            "there is no `stats admin`: HAProxy's page can only be looked at, and on this one `{user}` may change the state of servers"
        );
        block.claim(login.at, Verdict::Approximated, note.as_str());
        block.notice(format!(
            "the page of statistics: {note}. Without `user` and `password` nobody may, and everybody sees it who reaches its address"
        ));
    }
    for rule in rules {
        let words: Vec<&str> = rule.words.iter().skip(2).map(String::as_str).collect();
        if matches!(words.as_slice(), ["if", "TRUE"] | ["unless", "FALSE"]) {
            let note = "whoever has the password may change states on the page";
            block.claim(rule.at, Verdict::Mapped, note);
            continue;
        }
        let note = format!(
            "its condition is not there: on the page `{user}` may change the state of servers from everywhere"
        );
        block.claim(rule.at, Verdict::Unsupported, note.as_str());
        block.notice(format!("access control is lost: `stats admin`: {note}"));
    }
}

/// An address of the machine, a wildcard among them.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let address = match host {
        "" | "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "::" | "[::]" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        host => endpoint(host).filter(|(_, port)| port.is_none())?.0,
    };
    Some(SocketAddr::new(address, port))
}
