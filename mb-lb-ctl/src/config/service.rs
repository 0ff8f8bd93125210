//! `[service.NAME]` and its servers.

use std::ops::Range;
use std::time::Duration;

use toml::de::DeValue;

use super::check::{agent, check, default_check};
use super::diagnostic::{Code, Finding, Reporter, quote};
use super::fields::{Field, Fields, Words, in_order, refuse_name};
use super::follows;
use super::values::Fault;
use super::{Check, Forward, OnDown, Scheduler, Server, Service, Via, address, proxy, schema};

const FORWARD: Words<Forward> = Words {
    known: &[("dsr", Forward::Dsr), ("proxy", Forward::Proxy)],
    later: &["dnat", "snat", "ipip"],
    foreign: &[
        ("dr", "dsr"),
        ("direct", "dsr"),
        ("gatewaying", "dsr"),
        ("nat", "dnat"),
        ("masquerade", "dnat"),
        ("tcp", "proxy"),
        ("relay", "proxy"),
        ("tun", "ipip"),
        ("tunnel", "ipip"),
    ],
};

const SCHEDULER: Words<Scheduler> = Words {
    known: &[
        ("leastconn", Scheduler::Leastconn),
        ("roundrobin", Scheduler::Roundrobin),
        ("source", Scheduler::Source),
    ],
    later: &[],
    foreign: &[
        ("lc", "leastconn"),
        ("wlc", "leastconn"),
        ("least_conn", "leastconn"),
        ("rr", "roundrobin"),
        ("wrr", "roundrobin"),
        ("static-rr", "roundrobin"),
        ("sh", "source"),
        ("mh", "source"),
        ("maglev", "source"),
        ("hash", "source"),
    ],
};

const ON_DOWN: Words<OnDown> = Words {
    known: &[("reset", OnDown::Reset), ("keep", OnDown::Keep)],
    later: &[],
    foreign: &[
        ("rst", "reset"),
        ("shutdown-sessions", "reset"),
        ("none", "keep"),
    ],
};

/// Said on ports where the first word is the server's and in clear (RFC 5321 section 4.2.3, RFC 3463 section 3.5).
const NO_SERVER: &str = "421 4.3.2 Service not available, try again later";
const CLEAR_SMTP_PORTS: [u16; 2] = [25, 587];

const SLOW_START: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);

/// A service with the places of what is compared across the file.
pub(super) struct Draft {
    /// Holds defaults where the file was refused; then there is no `Config` to hold it.
    pub service: Service,
    pub path: String,
    pub name: Range<usize>,
    /// As many as `service.listen`.
    pub listen: Vec<Range<usize>>,
    /// Address of each of `service.servers`.
    pub servers: Vec<Range<usize>>,
    /// As many as `service.follows`.
    pub follows: Vec<Range<usize>>,
    /// The key `servers`.
    pub servers_key: Range<usize>,
    /// All servers could be read.
    pub complete: bool,
}

/// All services in the order of the file. `director` is the director's name.
pub(super) fn services(
    section: Option<&Field<'_>>,
    director: &str,
    reporter: &mut Reporter<'_>,
) -> Vec<Draft> {
    let Some(section) = section else {
        return Vec::new();
    };
    let Some(table) = section.table("tables [service.NAME]", reporter) else {
        return Vec::new();
    };
    let mut drafts = Vec::new();
    for (name, field) in in_order(&section.path, table) {
        let DeValue::Table(_) = field.value else {
            let finding = field.wrong_type("a table");
            reporter.push(finding.help("every service has a name: [service.NAME]"));
            continue;
        };
        refuse_name(name, &field, &section.path, reporter);
        drafts.extend(service(name, &field, director, reporter));
    }
    drafts
}

fn service(
    name: &str,
    field: &Field<'_>,
    director: &str,
    reporter: &mut Reporter<'_>,
) -> Option<Draft> {
    let table = field.table("a table", reporter)?;
    let fields = Fields::open(&schema::SERVICE, field.path.clone(), table, reporter);
    let missing = |key: &str, example: &str| {
        let message = format!("service {} has no `{key}`", quote(name));
        Finding::new(Code::MissingKey, field.key_span.clone(), message)
            .help(format!("add {example}"))
    };

    let listen_field = fields.get("listen");
    let listens = match &listen_field {
        Some(field) => listens(field, reporter),
        None => {
            reporter.push(missing("listen", "listen = \"VIP:PORT\""));
            Vec::new()
        }
    };
    let (listen, listen_spans): (Vec<_>, Vec<_>) = listens.into_iter().unzip();
    // Without any address there is an error already, and the port is never used.
    let port = listen.first().map_or(1, std::net::SocketAddr::port);

    // `None` where it was refused: nothing is concluded from the default then.
    let forward = match fields.get("forward") {
        Some(field) => field.word(&FORWARD, reporter),
        None => Some(Forward::Dsr),
    };
    let servers_field = fields.get("servers");
    let (servers, complete) = match &servers_field {
        Some(field) => servers(field, forward, reporter),
        None => {
            let example = format!("[{}.servers] with NAME = \"ADDRESS\"", field.path);
            reporter.push(missing("servers", &example));
            (Vec::new(), false)
        }
    };
    let (servers, server_spans): (Vec<_>, Vec<_>) = servers.into_iter().unzip();

    let clear = listen
        .iter()
        .all(|at: &std::net::SocketAddr| CLEAR_SMTP_PORTS.contains(&at.port()));
    let no_server = match fields.get("no_server") {
        Some(field) => no_server(&field, reporter),
        None => clear.then(|| NO_SERVER.to_owned()),
    };
    let relayed = forward == Some(Forward::Proxy);
    let checked = (!relayed).then_some(port);
    let check = match fields.get("check") {
        Some(field) => check(&field, checked, director, reporter),
        None => Some(default_check(checked)),
    };
    if let (Some(check), Some(field)) = (&check, fields.get("check")) {
        vip_of_each(&field, check, &listen, &servers, reporter);
    }
    let agent = fields.get("agent").and_then(|f| agent(&f, reporter));
    let scheduler = fields
        .get("scheduler")
        .and_then(|f| f.word(&SCHEDULER, reporter));
    let on_down = fields
        .get("on_down")
        .and_then(|f| f.word(&ON_DOWN, reporter));
    let slow_start = fields
        .get("slow_start")
        .and_then(|f| f.duration(SLOW_START, reporter));
    let min_up = min_up(&fields, complete.then_some(servers.len()), reporter);
    let (follows, follows_spans) = match fields.get("follows") {
        Some(field) => follows::follows(&field, reporter),
        None => (Vec::new(), Vec::new()),
    };
    Some(Draft {
        follows: follows_spans,
        service: Service {
            follows,
            name: name.to_owned(),
            listen,
            forward: forward.unwrap_or(Forward::Dsr),
            scheduler: scheduler.unwrap_or(Scheduler::Leastconn),
            check,
            agent,
            on_down: on_down.unwrap_or(OnDown::Reset),
            no_server,
            slow_start: slow_start.unwrap_or_default(),
            min_up,
            servers,
        },
        path: field.path.clone(),
        name: field.key_span.clone(),
        listen: listen_spans,
        servers: server_spans,
        servers_key: servers_field.map_or(field.key_span.clone(), |field| field.key_span),
        complete,
    })
}

/// Zero where there is none, or it was refused. `servers`: how many there are, where that is known.
pub(super) fn min_up(
    fields: &Fields<'_>,
    servers: Option<usize>,
    reporter: &mut Reporter<'_>,
) -> u32 {
    let Some(field) = fields.get("min_up") else {
        return 0;
    };
    let Some(min_up) = field.integer(1..=1024, reporter) else {
        return 0;
    };
    if let Some(servers) = servers.filter(|servers| min_up as usize > *servers) {
        let phrase = format!("is {min_up}, and there are {servers} servers");
        reporter.push(field.finding(Code::TooFewServers, &phrase));
    }
    min_up
}

/// A check through the VIP needs one of the family of the server's address.
fn vip_of_each(
    field: &Field<'_>,
    check: &Check,
    listen: &[std::net::SocketAddr],
    servers: &[Server],
    reporter: &mut Reporter<'_>,
) {
    if check.via != Via::Vip {
        return;
    }
    let has_one = |server: &&Server| {
        let mut vips = listen.iter();
        vips.any(|vip| vip.is_ipv4() == server.address.is_ipv4())
    };
    if let Some(server) = servers.iter().find(|server| !has_one(server)) {
        let phrase = format!(
            "cannot go through the VIP to {}: {} and the VIPs are not of the same family",
            server.name, server.address
        );
        let finding = field.finding(Code::NoEffect, &phrase);
        reporter.push(
            finding.help(
                "its own address is checked; give it one of the VIP's family, or remove `via`",
            ),
        );
    }
}

fn listens(
    field: &Field<'_>,
    reporter: &mut Reporter<'_>,
) -> Vec<(std::net::SocketAddr, Range<usize>)> {
    let expected = "an address and port such as \"192.168.1.100:25\", or a list of them";
    field
        .elements(expected, "add \"VIP:PORT\"", reporter)
        .into_iter()
        .filter_map(|element| {
            let expected = "an address and port such as \"192.168.1.100:25\"";
            let address = element.parsed(expected, address::listen, reporter)?;
            Some((address, element.span))
        })
        .collect()
}

/// The text, or `None` for RST.
fn no_server(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<String> {
    let expected = "one line of text, or \"reset\"";
    let text = field.parsed(expected, spoken, reporter)?;
    if text == "reset" {
        return None;
    }
    let code = text.as_bytes();
    let refusing = matches!(code, [b'4' | b'5', b, c, rest @ ..]
        if b.is_ascii_digit() && c.is_ascii_digit() && matches!(rest, [] | [b' ', ..]));
    if !refusing {
        let phrase = "does not start with a reply code 4xx or 5xx and a space";
        let finding = field.finding(Code::NoReplyCode, phrase);
        reporter.push(finding.help(format!("an SMTP client expects such as \"{NO_SERVER}\"")));
    }
    Some(text.to_owned())
}

fn spoken(text: &str) -> Result<&str, Fault> {
    if text.is_empty() {
        let fault = Fault::new(Code::Empty, "is empty");
        return Err(fault.help("write \"reset\" to answer with a TCP reset"));
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii()) {
        let phrase = format!(
            "has a character that is not ASCII: {}",
            quote(&c.to_string())
        );
        let help = "a reply of SMTP is ASCII (RFC 5321, section 4.2); write it without";
        return Err(Fault::new(Code::BadText, phrase).help(help));
    }
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        let phrase = format!("has a control character: {}", quote(&c.to_string()));
        let help = "write one line; its end is sent without being written";
        return Err(Fault::new(Code::BadText, phrase).help(help));
    }
    if text.len() > 500 {
        let phrase = format!("has {} bytes, more than 500", text.len());
        return Err(Fault::new(Code::BadText, phrase));
    }
    Ok(text)
}

/// The servers that could be read, with the place of their address, and whether these are all.
fn servers(
    field: &Field<'_>,
    forward: Option<Forward>,
    reporter: &mut Reporter<'_>,
) -> (Vec<(Server, Range<usize>)>, bool) {
    let DeValue::Table(table) = field.value else {
        let finding = field.wrong_type("a table of servers");
        reporter.push(finding.help("give each server a name: { mb1 = \"192.168.1.101\" }"));
        return (Vec::new(), false);
    };
    if table.is_empty() {
        let mut finding = field.finding(Code::Empty, "has no server");
        finding.span = field.key_span.clone();
        reporter.push(finding.help("add NAME = \"ADDRESS\""));
    }
    let mut servers = Vec::new();
    for (name, entry) in in_order(&field.path, table) {
        let is_address = |text: &str| address::server_address(text).is_ok();
        if let Some(finding) = misplaced(&schema::SERVICE, is_address, name, &entry, &field.path) {
            reporter.push(finding);
            continue;
        }
        refuse_name(name, &entry, &field.path, reporter);
        servers.extend(server(name, &entry, forward, reporter));
    }
    let complete = !table.is_empty() && servers.len() == table.len();
    (servers, complete)
}

/// A key of `section` that stands below the header of its servers, where TOML takes it for one of them.
pub(super) fn misplaced(
    section: &schema::Section,
    is_address: impl Fn(&str) -> bool,
    name: &str,
    field: &Field<'_>,
    path: &str,
) -> Option<Finding> {
    let looks_like_a_server = match field.value {
        DeValue::String(text) => is_address(text),
        DeValue::Table(table) => table.iter().any(|(key, _)| key.get_ref() == "address"),
        _ => false,
    };
    if looks_like_a_server || !section.keys.contains(&name) {
        return None;
    }
    let owner = path.strip_suffix(".servers").unwrap_or(path);
    let message = format!("`{name}` is a key of [{owner}], and stands among its servers");
    let finding = Finding::new(Code::UnknownKey, field.key_span.clone(), message);
    Some(finding.help(format!("move it above the line [{path}]")))
}

fn server(
    name: &str,
    field: &Field<'_>,
    forward: Option<Forward>,
    reporter: &mut Reporter<'_>,
) -> Option<(Server, Range<usize>)> {
    let new = |address| Server {
        name: name.to_owned(),
        address,
        weight: 1,
        max_connections: None,
        backup: false,
        port: None,
        send_proxy: None,
    };
    let parse = match forward {
        Some(Forward::Proxy) => address::relayed,
        Some(Forward::Dsr) | None => address::server_address,
    };
    if let DeValue::String(_) = field.value {
        let address = field.parsed("an address", parse, reporter)?;
        return Some((new(address), field.span.clone()));
    }
    let expected = "an address or a table such as { address = \"192.168.1.101\", weight = 10 }";
    let table = field.table(expected, reporter)?;
    let fields = Fields::open(&schema::SERVER, field.path.clone(), table, reporter);
    let weight = fields.get("weight").map(|f| f.integer(0..=256, reporter));
    let max_connections = fields
        .get("max_connections")
        .map(|f| f.integer(1..=1_000_000, reporter));
    let backup = fields.get("backup").map(|f| f.boolean(reporter));
    let port = fields.get("port").map(|f| f.integer(1..=65535, reporter));
    let send_proxy = fields
        .get("send_proxy")
        .map(|f| f.word(&proxy::SEND_PROXY, reporter));
    if forward == Some(Forward::Dsr) {
        let reached = "the server gets the client's packets as they are, to the port of `listen`; remove it, or write \
                       forward = \"proxy\"";
        for field in ["port", "send_proxy"]
            .iter()
            .filter_map(|key| fields.get(key))
        {
            field.no_effect("with forward = \"dsr\"", reached, reporter);
        }
    }
    let Some(address) = fields.get("address") else {
        let message = format!("server {} has no `address`", quote(&field.path));
        let finding = Finding::new(Code::MissingKey, field.key_span.clone(), message);
        reporter.push(finding.help("add address = \"ADDRESS\""));
        return None;
    };
    let expected = "an address such as \"192.168.1.101\"";
    let mut server = new(address.parsed(expected, parse, reporter)?);
    // A key that was refused leaves the server incomplete, so that nothing is concluded from a default.
    server.weight = weight.unwrap_or(Some(server.weight))?;
    server.max_connections = max_connections.map_or(Some(None), |given| given.map(Some))?;
    server.backup = backup.unwrap_or(Some(server.backup))?;
    server.port = port.map_or(Some(None), |given| given.map(Some))?;
    server.send_proxy = send_proxy.map_or(Some(None), |given| given.map(Some))?;
    Some((server, address.span))
}
