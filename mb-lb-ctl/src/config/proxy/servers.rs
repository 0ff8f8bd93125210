//! `servers` of a proxy.

use std::net::SocketAddr;
use std::ops::Range;

use toml::de::DeValue;

use super::cookie;
use crate::config::diagnostic::{Code, Finding, Reporter, quote};
use crate::config::fields::{Field, Fields, Words, in_order, refuse_name};
use crate::config::service::misplaced;
use crate::config::{ProxyHeader, ProxyServer, Upstream, Verify, address, schema, tls};

const HTTP: Words<Upstream> = Words {
    known: &[("1.1", Upstream::Http1), ("2", Upstream::Http2)],
    later: &[],
    foreign: &[
        ("1", "1.1"),
        ("1.0", "1.1"),
        ("h1", "1.1"),
        ("http/1.1", "1.1"),
        ("h2", "2"),
        ("h2c", "2"),
        ("2.0", "2"),
        ("http/2", "2"),
    ],
};

pub(in crate::config) const SEND_PROXY: Words<ProxyHeader> = Words {
    known: &[("v1", ProxyHeader::V1), ("v2", ProxyHeader::V2)],
    later: &[],
    foreign: &[("1", "v1"), ("2", "v2")],
};

/// TLS is what is expected there.
const TLS_PORTS: [u16; 2] = [443, 8443];

/// What a server's `cookie` is where the file says nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookies {
    /// The server's name.
    Named,
    /// None.
    Given,
    /// The proxy has no cookie, so that no server can have one.
    Useless,
}

/// What could be read.
#[derive(Default)]
pub(super) struct Servers {
    pub servers: Vec<ProxyServer>,
    /// Place of the address of each.
    pub addresses: Vec<Range<usize>>,
    /// Place of the cookie of each, where the file gives one.
    pub cookies: Vec<Option<Range<usize>>>,
    /// These are all.
    pub complete: bool,
}

pub(super) fn servers(field: &Field<'_>, cookies: Cookies, reporter: &mut Reporter<'_>) -> Servers {
    let mut servers = Servers::default();
    let DeValue::Table(table) = field.value else {
        let finding = field.wrong_type("a table of servers");
        reporter.push(finding.help("give each server a name: { mb1 = \"192.168.1.101:80\" }"));
        return servers;
    };
    if table.is_empty() {
        let mut finding = field.finding(Code::Empty, "has no server");
        finding.span = field.key_span.clone();
        reporter.push(finding.help("add NAME = \"ADDRESS:PORT\""));
    }
    for (name, entry) in in_order(&field.path, table) {
        let is_address = |text: &str| address::upstream(text).is_ok();
        if let Some(finding) = misplaced(&schema::PROXY, is_address, name, &entry, &field.path) {
            reporter.push(finding);
            continue;
        }
        refuse_name(name, &entry, &field.path, reporter);
        servers.read(name, &entry, cookies, reporter);
    }
    servers.complete = !table.is_empty() && servers.servers.len() == table.len();
    servers
}

impl Servers {
    /// Leaves the server out where anything of it was refused, so that nothing is concluded from a default.
    fn read(
        &mut self,
        name: &str,
        field: &Field<'_>,
        cookies: Cookies,
        reporter: &mut Reporter<'_>,
    ) -> Option<()> {
        let new = |address| ProxyServer {
            name: name.to_owned(),
            address,
            tls: None,
            http: Upstream::Http1,
            cookie: (cookies == Cookies::Named).then(|| name.to_owned()),
            weight: 1,
            max_connections: None,
            backup: false,
            send_proxy: None,
        };
        if let DeValue::String(_) = field.value {
            let address = field.parsed("an address and port", address::upstream, reporter)?;
            clear_text(&field.path, address, &field.span, reporter);
            self.push(new(address), field.span.clone(), None);
            return Some(());
        }
        let expected = "an address and port or a table such as { address = \"192.168.1.101:443\", tls = true }";
        let table = field.table(expected, reporter)?;
        let fields = Fields::open(&schema::PROXY_SERVER, field.path.clone(), table, reporter);
        let weight = fields.get("weight").map(|f| f.integer(0..=256, reporter));
        let max_connections = fields
            .get("max_connections")
            .map(|f| f.integer(1..=1_000_000, reporter));
        let backup = fields.get("backup").map(|f| f.boolean(reporter));
        let tls_given = fields.get("tls");
        let tls = tls_given
            .as_ref()
            .map(|field| tls::server_tls(field, Verify::System, reporter));
        let http = fields.get("http").map(|f| f.word(&HTTP, reporter));
        let send_proxy = fields
            .get("send_proxy")
            .map(|f| f.word(&SEND_PROXY, reporter));
        let cookie_field = fields.get("cookie");
        let cookie = cookie_field.as_ref().map(|field| {
            if cookies == Cookies::Useless {
                let help = "add cookie = \"SERVERID\" to the proxy, or remove it";
                field.no_effect("in a proxy without `cookie`", help, reporter);
            }
            field.parsed("the value of a cookie", cookie::value, reporter)
        });
        let Some(address_field) = fields.get("address") else {
            let message = format!("server {} has no `address`", quote(&field.path));
            let finding = Finding::new(Code::MissingKey, field.key_span.clone(), message);
            reporter.push(finding.help("add address = \"ADDRESS:PORT\""));
            return None;
        };
        let expected = "an address and port such as \"192.168.1.101:443\"";
        let address = address_field.parsed(expected, address::upstream, reporter)?;
        if tls_given.is_none() {
            clear_text(&field.path, address, &address_field.span, reporter);
        }
        let mut server = new(address);
        server.tls = tls.unwrap_or(Some(None))?;
        server.http = http.unwrap_or(Some(server.http))?;
        server.weight = weight.unwrap_or(Some(server.weight))?;
        server.max_connections = max_connections.map_or(Some(None), |given| given.map(Some))?;
        server.backup = backup.unwrap_or(Some(server.backup))?;
        server.send_proxy = send_proxy.map_or(Some(None), |given| given.map(Some))?;
        if let Some(cookie) = cookie {
            server.cookie = Some(cookie?);
        }
        let cookie = cookie_field.map(|field| field.span);
        self.push(server, address_field.span, cookie);
        Some(())
    }

    fn push(&mut self, server: ProxyServer, address: Range<usize>, cookie: Option<Range<usize>>) {
        self.servers.push(server);
        self.addresses.push(address);
        self.cookies.push(cookie);
    }
}

fn clear_text(path: &str, address: SocketAddr, span: &Range<usize>, reporter: &mut Reporter<'_>) {
    if TLS_PORTS.contains(&address.port()) {
        let message = format!(
            "server {} gets HTTP in clear on port {}",
            quote(path),
            address.port()
        );
        let help = format!(
            "write {{ address = \"{address}\", tls = {{ verify = \"none\" }} }}, or tls = false to have it so"
        );
        reporter.push(Finding::new(Code::ClearText, span.clone(), message).help(help));
    }
}
