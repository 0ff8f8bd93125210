//! `[proxy.NAME]`. Its servers are in [`servers`], and what shows only across the file is in [`mod@together`].

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::address;
use super::check::{agent, check, default_check};
use super::diagnostic::{Code, Finding, Reporter, quote};
use super::fields::{Field, Fields, Words, in_order, refuse_name};
use super::follows;
use super::values::{self, Fault};
use super::{AccessLog, LogFormat, Network, Proxy, ProxyScheduler, TlsVersion, schema};

mod cookie;
mod limits;
mod network;
mod servers;
mod together;

pub(super) use together::together;

pub(super) use servers::SEND_PROXY;
use servers::{Servers, servers};

const SCHEDULER: Words<ProxyScheduler> = Words {
    known: &[
        ("roundrobin", ProxyScheduler::Roundrobin),
        ("leastconn", ProxyScheduler::Leastconn),
        ("source", ProxyScheduler::Source),
        ("random", ProxyScheduler::Random),
    ],
    later: &[],
    foreign: &[
        ("rr", "roundrobin"),
        ("wrr", "roundrobin"),
        ("round_robin", "roundrobin"),
        ("static-rr", "roundrobin"),
        ("lc", "leastconn"),
        ("least_conn", "leastconn"),
        ("leasttime", "leastconn"),
        ("ip_hash", "source"),
        ("hash", "source"),
        ("random(2)", "random"),
        ("p2c", "random"),
        ("power_of_two", "random"),
    ],
};

const TLS_VERSION: Words<TlsVersion> = Words {
    known: &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)],
    later: &[],
    foreign: &[
        ("tlsv1.2", "1.2"),
        ("tls1.2", "1.2"),
        ("tlsv1.3", "1.3"),
        ("tls1.3", "1.3"),
    ],
};

const FORMAT: Words<LogFormat> = Words {
    known: &[("json", LogFormat::Json), ("httplog", LogFormat::Httplog)],
    later: &[],
    foreign: &[("haproxy", "httplog"), ("http", "httplog")],
};

const SLOW_START: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
/// Zero takes the word back that clients were given; ten years is more than any list of preloaded names asks for.
const HSTS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(87_600 * 3600);

/// A proxy with the places of what is compared across the file.
pub(super) struct Draft {
    /// Holds defaults where the file was refused; then there is no `Config` to hold it.
    pub proxy: Proxy,
    path: String,
    pub name: Range<usize>,
    /// As many as `proxy.listen`.
    pub listen: Vec<Range<usize>>,
    /// As many as `proxy.redirect_http`.
    pub redirect_http: Vec<Range<usize>>,
    /// Address of each of `proxy.servers`.
    pub servers: Vec<Range<usize>>,
    /// Cookie of each of them, where the file gives one.
    cookies: Vec<Option<Range<usize>>>,
    servers_key: Range<usize>,
    /// As many as `proxy.follows`.
    pub follows: Vec<Range<usize>>,
    /// The key `check`, or the proxy's name.
    check: Range<usize>,
    /// All servers could be read.
    pub complete: bool,
}

/// All proxies in the order of the file. `director` is the director's name.
pub(super) fn proxies(
    section: Option<&Field<'_>>,
    director: &str,
    reporter: &mut Reporter<'_>,
) -> Vec<Draft> {
    let Some(section) = section else {
        return Vec::new();
    };
    let Some(table) = section.table("tables [proxy.NAME]", reporter) else {
        return Vec::new();
    };
    let mut drafts = Vec::new();
    for (name, field) in in_order(&section.path, table) {
        let DeValue::Table(_) = field.value else {
            let finding = field.wrong_type("a table");
            reporter.push(finding.help("every proxy has a name: [proxy.NAME]"));
            continue;
        };
        refuse_name(name, &field, &section.path, reporter);
        drafts.extend(proxy(name, &field, director, reporter));
    }
    drafts
}

fn proxy(
    name: &str,
    field: &Field<'_>,
    director: &str,
    reporter: &mut Reporter<'_>,
) -> Option<Draft> {
    let table = field.table("a table", reporter)?;
    let fields = Fields::open(&schema::PROXY, field.path.clone(), table, reporter);
    let missing = |key: &str, example: &str| {
        let message = format!("proxy {} has no `{key}`", quote(name));
        Finding::new(Code::MissingKey, field.key_span.clone(), message)
            .help(format!("add {example}"))
    };

    let listen = match fields.get("listen") {
        Some(field) => {
            let shape = "an address and port such as \"192.168.1.100:443\"";
            listens(&field, shape, address::proxy_listen, reporter)
        }
        None => {
            reporter.push(missing("listen", "listen = \"VIP:PORT\""));
            Vec::new()
        }
    };
    let (listen, listen_spans) = listen.into_iter().unzip();
    let tls = tls(&fields, reporter);
    let redirect_http = match fields.get("redirect_http") {
        Some(field) => {
            let shape = "an address and port such as \"192.168.1.100:80\"";
            listens(&field, shape, address::redirect_listen, reporter)
        }
        None => Vec::new(),
    };
    let (redirect_http, redirect_spans) = redirect_http.into_iter().unzip();

    let cookie_field = fields.get("cookie");
    let cookie = cookie_field
        .as_ref()
        .and_then(|field| cookie::cookie(field, reporter));
    let values = match (&cookie, &cookie_field) {
        (Some(cookie), _) if cookie.dynamic_key.is_none() => servers::Cookies::Named,
        // What was refused is not concluded from.
        (Some(_), _) | (None, Some(_)) => servers::Cookies::Given,
        (None, None) => servers::Cookies::Useless,
    };
    let servers_field = fields.get("servers");
    let servers = match &servers_field {
        Some(field) => servers(field, values, reporter),
        None => {
            let example = format!("[{}.servers] with NAME = \"ADDRESS:PORT\"", field.path);
            reporter.push(missing("servers", &example));
            Servers::default()
        }
    };

    let check_field = fields.get("check");
    let check = match &check_field {
        Some(field) => check(field, None, director, reporter),
        None => Some(default_check(None)),
    };
    let agent = fields.get("agent").and_then(|f| agent(&f, reporter));
    let timeouts = limits::timeouts(fields.get("timeouts").as_ref(), reporter);
    let limits = limits::limits(fields.get("limits").as_ref(), reporter);
    let mut networks = |key| {
        let field = fields.get(key);
        field.map_or_else(Vec::new, |field| network::networks(&field, reporter))
    };
    let trusted_proxies: Vec<Network> = networks("trusted_proxies");
    let accept_proxy = networks("accept_proxy");
    let mut flag = |key| fields.get(key).and_then(|f| f.boolean(reporter));
    let http2 = flag("http2");
    let forwarded = flag("forwarded");
    let redispatch = flag("redispatch");
    let retries = fields
        .get("retries")
        .and_then(|f| f.integer(0..=10, reporter));
    let scheduler = fields
        .get("scheduler")
        .and_then(|f| f.word(&SCHEDULER, reporter));
    let many = servers.complete.then_some(servers.servers.len());
    let min_up = super::service::min_up(&fields, many, reporter);
    let slow_start = fields
        .get("slow_start")
        .and_then(|f| f.duration(SLOW_START, reporter));
    let access_log = fields
        .get("access_log")
        .and_then(|field| access_log(&field, reporter));
    let key_of = |field: Option<Field<'_>>| field.map(|field| field.key_span);
    let (follows, follows_spans) = match fields.get("follows") {
        Some(field) => follows::follows(&field, reporter),
        None => (Vec::new(), Vec::new()),
    };
    Some(Draft {
        follows: follows_spans,
        proxy: Proxy {
            follows,
            name: name.to_owned(),
            listen,
            certificates: tls.certificates,
            tls_min_version: tls.min_version,
            http2: http2.unwrap_or(true),
            scheduler: scheduler.unwrap_or(ProxyScheduler::Roundrobin),
            cookie,
            redirect_http,
            hsts: tls.hsts,
            check,
            agent,
            timeouts,
            limits,
            trusted_proxies,
            forwarded: forwarded.unwrap_or(false),
            accept_proxy,
            retries: retries.unwrap_or(3),
            redispatch: redispatch.unwrap_or(true),
            slow_start: slow_start.unwrap_or_default(),
            min_up,
            access_log,
            servers: servers.servers,
        },
        path: field.path.clone(),
        name: field.key_span.clone(),
        listen: listen_spans,
        redirect_http: redirect_spans,
        servers: servers.addresses,
        cookies: servers.cookies,
        servers_key: key_of(servers_field).unwrap_or(field.key_span.clone()),
        check: key_of(check_field).unwrap_or(field.key_span.clone()),
        complete: servers.complete,
    })
}

fn listens(
    field: &Field<'_>,
    shape: &str,
    parse: fn(&str) -> Result<SocketAddr, Fault>,
    reporter: &mut Reporter<'_>,
) -> Vec<(SocketAddr, Range<usize>)> {
    field
        .elements(
            &format!("{shape}, or a list of them"),
            "add \"VIP:PORT\"",
            reporter,
        )
        .into_iter()
        .filter_map(|element| Some((element.parsed(shape, parse, reporter)?, element.span)))
        .collect()
}

/// What is spoken with clients.
struct Tls {
    certificates: Vec<PathBuf>,
    min_version: TlsVersion,
    hsts: Option<Duration>,
}

fn tls(fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> Tls {
    let certificate = fields.get("certificate");
    let certificates = match &certificate {
        Some(field) => {
            let expected = "the path of a PEM file or a directory, or a list of them";
            let empty = "remove the key to speak HTTP in clear";
            let elements = field.elements(expected, empty, reporter);
            let paths = elements.iter();
            paths
                .filter_map(|element| element.parsed(expected, path, reporter))
                .collect()
        }
        None => Vec::new(),
    };
    if certificate.is_none() {
        // RFC 6797 section 7.2 for `hsts`.
        for key in ["tls_min_version", "hsts", "redirect_http"] {
            if let Some(field) = fields.get(key) {
                let help = "add certificate = \"/path/chain-and-key.pem\", or remove it";
                field.no_effect("without `certificate`", help, reporter);
            }
        }
    }
    let min_version = fields
        .get("tls_min_version")
        .and_then(|field| field.word(&TLS_VERSION, reporter));
    Tls {
        certificates,
        min_version: min_version.unwrap_or(TlsVersion::Tls12),
        hsts: fields
            .get("hsts")
            .and_then(|field| field.duration(HSTS, reporter)),
    }
}

/// A file or a directory: which of the two is known where it is read.
fn path(text: &str) -> Result<PathBuf, Fault> {
    match text.trim_end_matches('/') {
        "" if text.starts_with('/') => {
            let phrase = "is the root of the file system".to_owned();
            Err(Fault::new(Code::BadPath, phrase))
        }
        trimmed => values::file(trimmed),
    }
}

fn access_log(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Option<AccessLog> {
    if let DeValue::String(_) = field.value {
        let format = field.word(&FORMAT, reporter)?;
        return Some(AccessLog { format, file: None });
    }
    let expected =
        "\"json\", \"httplog\" or a table such as { format = \"json\", file = \"/PATH\" }";
    let table = field.table(expected, reporter)?;
    let fields = Fields::open(&schema::ACCESS_LOG, field.path.clone(), table, reporter);
    let format = fields
        .get("format")
        .and_then(|field| field.word(&FORMAT, reporter));
    let file = fields
        .get("file")
        .and_then(|field| field.parsed("the path of a file", values::file, reporter));
    Some(AccessLog {
        format: format.unwrap_or(LogFormat::Json),
        file,
    })
}
