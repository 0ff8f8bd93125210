//! `[director]` and `[admin]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mb_lb_common::{DEFAULT_MAX_FLOWS, MAX_PORTS};

use super::diagnostic::{Code, Finding, Reporter, quote};
use super::fields::{Field, Fields, Words};
use super::values::{self, Fault};
use super::{Admin, Director, FlowTimeouts, SocketLevel, XdpMode, admin_http, schema};

const XDP: Words<XdpMode> = Words {
    known: &[
        ("auto", XdpMode::Auto),
        ("native", XdpMode::Native),
        ("generic", XdpMode::Generic),
    ],
    later: &[],
    foreign: &[("skb", "generic"), ("driver", "native"), ("drv", "native")],
};

const LEVELS: Words<SocketLevel> = Words {
    known: &[
        ("user", SocketLevel::User),
        ("operator", SocketLevel::Operator),
        ("admin", SocketLevel::Admin),
    ],
    later: &[],
    foreign: &[("read", "user"), ("readonly", "user"), ("all", "admin")],
};

/// `host_name` is the default of `director.name`.
pub(super) fn director(
    section: Option<&Field<'_>>,
    host_name: &str,
    reporter: &mut Reporter<'_>,
) -> Director {
    let mut director = Director {
        name: host_name.to_owned(),
        interfaces: Vec::new(),
        xdp: XdpMode::Auto,
        max_flows: DEFAULT_MAX_FLOWS,
        flow_timeouts: FlowTimeouts::default(),
    };
    let fields = section.and_then(|section| {
        let table = section.table("a table", reporter)?;
        Some(Fields::open(
            &schema::DIRECTOR,
            section.path.clone(),
            table,
            reporter,
        ))
    });
    let get = |key| fields.as_ref().and_then(|fields| fields.get(key));

    match get("name") {
        Some(field) => {
            let check = |text: &str| values::name(text).map(|()| text.to_owned());
            director.name = field
                .parsed("a string", check, reporter)
                .unwrap_or_default();
        }
        None => {
            if let Err(fault) = values::name(host_name) {
                let span = section.map_or(0..0, |section| section.key_span.clone());
                let message = format!(
                    "this machine's host name {} cannot be the director's name: it {}",
                    quote(host_name),
                    fault.phrase
                );
                let help = "give it a name: name = \"lb1\" in [director]";
                reporter.push(Finding::new(Code::BadName, span, message).help(help));
            }
        }
    }
    if let Some(field) = get("interfaces") {
        director.interfaces = interfaces(&field, reporter);
    }
    if let Some(mode) = get("xdp").and_then(|field| field.word(&XDP, reporter)) {
        director.xdp = mode;
    }
    if let Some(flows) =
        get("max_flows").and_then(|field| field.integer(1024..=16_777_216, reporter))
    {
        director.max_flows = flows;
    }
    if let Some(field) = get("flow_timeouts") {
        director.flow_timeouts = flow_timeouts(&field, reporter);
    }
    director
}

fn interfaces(field: &Field<'_>, reporter: &mut Reporter<'_>) -> Vec<String> {
    let mut seen = BTreeMap::new();
    let mut names = Vec::new();
    let empty = "leave the key out to have them derived from the routes to the VIPs";
    for element in field.elements("a list of interface names", empty, reporter) {
        let check = |text: &str| values::interface(text).map(|()| text.to_owned());
        let Some(name) = element.parsed("the name of an interface", check, reporter) else {
            continue;
        };
        if let Some(first) = seen.insert(name.clone(), element.span.clone()) {
            let phrase = format!("lists {} twice", quote(&name));
            let finding = element.finding(Code::DuplicateInterface, &phrase);
            reporter.push(finding.related(first, "first listed here"));
            continue;
        }
        names.push(name);
    }
    if names.len() > MAX_PORTS as usize {
        let phrase = format!("lists {} interfaces, the most is {MAX_PORTS}", names.len());
        reporter.push(field.finding(Code::TooMany, &phrase));
    }
    names
}

fn flow_timeouts(field: &Field<'_>, reporter: &mut Reporter<'_>) -> FlowTimeouts {
    const ALLOWED: std::ops::RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    let mut timeouts = FlowTimeouts::default();
    let Some(table) = field.table("a table such as { established = \"15m\" }", reporter) else {
        return timeouts;
    };
    let fields = Fields::open(&schema::FLOW_TIMEOUTS, field.path.clone(), table, reporter);
    for (key, timeout) in [
        ("established", &mut timeouts.established),
        ("half_closed", &mut timeouts.half_closed),
        ("closing", &mut timeouts.closing),
        ("reset", &mut timeouts.reset),
    ] {
        let value = fields
            .get(key)
            .and_then(|field| field.duration(ALLOWED, reporter));
        *timeout = value.unwrap_or(*timeout);
    }
    timeouts
}

/// With the place of the page's address.
pub(super) fn admin(
    section: Option<&Field<'_>>,
    reporter: &mut Reporter<'_>,
) -> (Admin, Option<admin_http::Draft>) {
    let mut admin = Admin {
        socket: PathBuf::from("/run/mb-lb/admin.sock"),
        socket_mode: 0o660,
        http: None,
        socket_level: SocketLevel::Admin,
    };
    let Some((section, table)) =
        section.and_then(|section| Some((section, section.table("a table", reporter)?)))
    else {
        return (admin, None);
    };
    let fields = Fields::open(&schema::ADMIN, section.path.clone(), table, reporter);
    if let Some(path) = fields
        .get("socket")
        .and_then(|field| field.parsed("a path", socket, reporter))
    {
        admin.socket = path;
    }
    if let Some(field) = fields.get("socket_level")
        && let Some(level) = field.word(&LEVELS, reporter)
    {
        admin.socket_level = level;
    }
    if let Some(field) = fields.get("socket_mode") {
        let expected = "a file mode in quotes, such as \"0660\"";
        if let Some(mode) = field.parsed(expected, socket_mode, reporter) {
            admin.socket_mode = mode;
            if mode & 0o002 != 0 && admin.socket_level == SocketLevel::Admin {
                let phrase = "lets every user of this machine change the state of servers";
                let finding = field.finding(Code::OpenSocket, phrase);
                reporter.push(finding.help("write \"0660\" and use the socket's group"));
            }
        }
    }
    let http = admin_http::http(&fields, reporter);
    admin.http = http.as_ref().map(|draft| draft.http.clone());
    (admin, http)
}

/// `sun_path` of unix(7) has 108 bytes, the last one for NUL.
fn socket(text: &str) -> Result<PathBuf, Fault> {
    let fault = |why: String| Err(Fault::new(Code::BadPath, why));
    if !text.starts_with('/') {
        return fault(format!("is not an absolute path: {}", quote(text)));
    }
    if text.ends_with('/') {
        return fault(format!("is a directory, not a socket: {}", quote(text)));
    }
    if text.contains('\0') {
        return fault("has a NUL byte".to_owned());
    }
    if text.len() > 107 {
        return fault(format!(
            "has {} bytes, the path of a socket at most 107",
            text.len()
        ));
    }
    Ok(PathBuf::from(text))
}

fn socket_mode(text: &str) -> Result<u32, Fault> {
    let digits = text.len() == 3 || (text.len() == 4 && text.starts_with('0'));
    if digits && text.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        // Three octal digits always fit.
        if let Ok(mode) = u32::from_str_radix(text, 8) {
            return Ok(mode);
        }
    }
    Err(Fault::new(
        Code::BadMode,
        format!("is not a file mode: {}", quote(text)),
    )
    .help("write three octal digits, such as \"0660\""))
}
