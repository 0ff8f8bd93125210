//! Pages of statistics: `http`, `user` and `password` of `[admin]`, where this build has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::sections::Config;
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
        if !is_page(&view) {
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
        *taken = write(&view, block, ledger);
    }
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
            "admin" => (
                Verdict::Approximated,
                "whoever has the password may change states on the page",
            ),
            "scope" | "http-request" => (
                Verdict::Unsupported,
                "the page shows everything to whoever has the password",
            ),
            _ => (Verdict::NotNeeded, "how the page looks is its own affair"),
        };
        block.claim(line.at, verdict, note);
    }
    true
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
