//! `[galera.NAME]`, `[sentinel.NAME]` and `[storage.NAME]`. What shows only across the file is in [`mod@together`].

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::{Code, Finding, Reporter, quote};
use super::fields::{Field, Fields, in_order, refuse_name};
use super::service::misplaced;
use super::values::{self, Fault};
use super::{
    Galera, Secret, Sentinel, ServerTls, Storage, TierServer, Verify, address, schema, tls,
};

mod galera;
mod sentinel;
mod storage;
mod together;

pub(super) use together::{Served, together};

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
/// Servers of one tier.
const MOST: usize = 32;

/// A tier with the places of what is compared across the file.
pub(super) struct Draft<T> {
    /// Holds defaults where the file was refused; then there is no `Config` to hold it.
    pub tier: T,
    pub name: Range<usize>,
    /// As many as its `listen`.
    pub listen: Vec<Range<usize>>,
    /// Address of each of its servers.
    pub servers: Vec<Range<usize>>,
    /// Each of `takes_out`.
    pub takes_out: Vec<Range<usize>>,
    /// All servers could be read.
    pub complete: bool,
}

/// All tiers in the order of the file.
#[derive(Default)]
pub(super) struct Drafts {
    pub galeras: Vec<Draft<Galera>>,
    pub sentinels: Vec<Draft<Sentinel>>,
    pub storages: Vec<Draft<Storage>>,
}

pub(super) fn tiers(root: &Fields<'_>, reporter: &mut Reporter<'_>) -> Drafts {
    Drafts {
        galeras: section(root.get("galera"), "galera", galera::galera, reporter),
        sentinels: section(
            root.get("sentinel"),
            "sentinel",
            sentinel::sentinel,
            reporter,
        ),
        storages: section(root.get("storage"), "storage", storage::storage, reporter),
    }
}

fn section<T>(
    section: Option<Field<'_>>,
    kind: &str,
    read: fn(&str, &Field<'_>, &mut Reporter<'_>) -> Option<Draft<T>>,
    reporter: &mut Reporter<'_>,
) -> Vec<Draft<T>> {
    let Some(section) = section else {
        return Vec::new();
    };
    let Some(table) = section.table(&format!("tables [{kind}.NAME]"), reporter) else {
        return Vec::new();
    };
    let mut drafts = Vec::new();
    for (name, field) in in_order(&section.path, table) {
        let DeValue::Table(_) = field.value else {
            let finding = field.wrong_type("a table");
            reporter.push(finding.help(format!("every {kind} has a name: [{kind}.NAME]")));
            continue;
        };
        refuse_name(name, &field, &section.path, reporter);
        drafts.extend(read(name, &field, reporter));
    }
    drafts
}

fn missing(kind: &str, name: &str, field: &Field<'_>, key: &str, example: &str) -> Finding {
    let message = format!("{kind} {} has no `{key}`", quote(name));
    Finding::new(Code::MissingKey, field.key_span.clone(), message).help(format!("add {example}"))
}

/// Where clients come; the key is required.
fn listens(
    fields: &Fields<'_>,
    port: u16,
    missing: impl FnOnce() -> Finding,
    reporter: &mut Reporter<'_>,
) -> (Vec<SocketAddr>, Vec<Range<usize>>) {
    let Some(field) = fields.get("listen") else {
        reporter.push(missing());
        return (Vec::new(), Vec::new());
    };
    let one = format!("an address and port such as \"192.168.1.100:{port}\"");
    let expected = format!("{one}, or a list of them");
    let elements = field.elements(&expected, "add \"VIP:PORT\"", reporter);
    let read = |element: &Field<'_>| {
        let listen = element.parsed(&one, |text| address::tier_listen(text, port), reporter)?;
        Some((listen, element.span.clone()))
    };
    elements.iter().filter_map(read).unzip()
}

/// The servers that could be read, with the place of their address, and whether these are all. `port`: what is usual.
fn servers(
    field: &Field<'_>,
    port: u16,
    section: &'static schema::Section,
    reporter: &mut Reporter<'_>,
) -> (Vec<TierServer>, Vec<Range<usize>>, bool) {
    let (mut servers, mut spans) = (Vec::new(), Vec::new());
    let DeValue::Table(table) = field.value else {
        let finding = field.wrong_type("a table of servers");
        let help = format!("give each server a name: {{ db1 = \"192.168.1.111:{port}\" }}");
        reporter.push(finding.help(help));
        return (servers, spans, false);
    };
    if table.is_empty() {
        let mut finding = field.finding(Code::Empty, "has no server");
        finding.span = field.key_span.clone();
        reporter.push(finding.help("add NAME = \"ADDRESS:PORT\""));
    }
    for (name, entry) in in_order(&field.path, table) {
        let is_address = |text: &str| address::tier_server(text, port).is_ok();
        if let Some(finding) = misplaced(section, is_address, name, &entry, &field.path) {
            reporter.push(finding);
            continue;
        }
        refuse_name(name, &entry, &field.path, reporter);
        if let Some((server, span)) = server(name, &entry, port, reporter) {
            servers.push(server);
            spans.push(span);
        }
    }
    if let Some(span) = spans.get(MOST) {
        let message = format!(
            "{} servers in `{}`, the most is {MOST}",
            spans.len(),
            field.path
        );
        reporter.push(Finding::new(Code::TooMany, span.clone(), message));
    }
    let complete = !table.is_empty() && servers.len() == table.len();
    (servers, spans, complete)
}

fn server(
    name: &str,
    field: &Field<'_>,
    port: u16,
    reporter: &mut Reporter<'_>,
) -> Option<(TierServer, Range<usize>)> {
    let new = |address| TierServer {
        name: name.to_owned(),
        address,
        weight: 1,
        priority: 100,
        max_connections: None,
    };
    let read = |text: &str| address::tier_server(text, port);
    if let DeValue::String(_) = field.value {
        let address = field.parsed("an address and port", read, reporter)?;
        return Some((new(address), field.span.clone()));
    }
    let expected = "an address and port or a table such as { address = \"192.168.1.111:3306\", priority = 110 }";
    let table = field.table(expected, reporter)?;
    let fields = Fields::open(&schema::TIER_SERVER, field.path.clone(), table, reporter);
    let weight = fields.get("weight").map(|f| f.integer(0..=256, reporter));
    let priority = fields.get("priority").map(|f| f.integer(1..=255, reporter));
    let max_connections = fields
        .get("max_connections")
        .map(|f| f.integer(1..=1_000_000, reporter));
    let Some(address) = fields.get("address") else {
        let message = format!("server {} has no `address`", quote(&field.path));
        let finding = Finding::new(Code::MissingKey, field.key_span.clone(), message);
        reporter.push(finding.help("add address = \"ADDRESS:PORT\""));
        return None;
    };
    let mut server = new(address.parsed("an address and port", read, reporter)?);
    server.weight = weight.unwrap_or(Some(server.weight))?;
    server.priority = priority.unwrap_or(Some(server.priority))?;
    server.max_connections = max_connections.map_or(Some(None), |given| given.map(Some))?;
    Some((server, address.span))
}

/// A password, in the file or in one of its own. The value never gets into a message.
fn password(
    fields: &Fields<'_>,
    key: &'static str,
    file_key: &'static str,
    reporter: &mut Reporter<'_>,
) -> Option<Secret> {
    let text = fields.get(key);
    let file = fields.get(file_key);
    if let (Some(text), Some(file)) = (&text, &file) {
        reporter.push(file.second(text, "password"));
    }
    let file =
        file.and_then(|field| field.parsed("the path of a file", values::secret_file, reporter));
    let text = text.and_then(|field| field.parsed("a password in quotes", spoken, reporter));
    text.map(Secret::Text).or(file.map(Secret::File))
}

fn spoken(text: &str) -> Result<String, Fault> {
    if text.is_empty() {
        return Err(Fault::new(Code::Empty, "is empty").help("remove the key for no password"));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::new(Code::BadText, "has a control character"));
    }
    Ok(text.to_owned())
}

/// A name that is sent to a server: of a user, a volume, a master.
fn word(text: &str) -> Result<String, Fault> {
    if text.is_empty() {
        return Err(Fault::new(Code::Empty, "is empty"));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let phrase = format!("has a space or a control character: {}", quote(text));
        return Err(Fault::new(Code::BadText, phrase));
    }
    if text.len() > 128 {
        let phrase = format!("has {} bytes, more than 128", text.len());
        return Err(Fault::new(Code::BadText, phrase));
    }
    Ok(text.to_owned())
}

fn words(field: Option<Field<'_>>, what: &str, reporter: &mut Reporter<'_>) -> Option<String> {
    field.and_then(|field| field.parsed(what, word, reporter))
}

fn server_tls(field: Option<Field<'_>>, reporter: &mut Reporter<'_>) -> Option<ServerTls> {
    field
        .and_then(|field| tls::server_tls(&field, Verify::System, reporter))
        .flatten()
}

fn duration(
    fields: &Fields<'_>,
    key: &'static str,
    range: RangeInclusive<Duration>,
    default: Duration,
    reporter: &mut Reporter<'_>,
) -> Duration {
    let given = fields.get(key).and_then(|f| f.duration(range, reporter));
    given.unwrap_or(default)
}

fn number<T: TryFrom<i128>>(
    fields: &Fields<'_>,
    key: &'static str,
    range: RangeInclusive<i128>,
    default: T,
    reporter: &mut Reporter<'_>,
) -> T {
    let given = fields.get(key).and_then(|f| f.integer(range, reporter));
    given.unwrap_or(default)
}
