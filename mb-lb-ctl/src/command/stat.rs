//! `show stat`: the columns of HAProxy 2.6, a row per frontend, server and backend.
//!
//! A layer-4 service is what HAProxy calls a `listen` section: one name with a FRONTEND and a BACKEND row, so tools
//! that look for either find it. Only cells with something true to say are filled; for example `bout` stays empty,
//! because with direct server return the director does not see the answers.

mod describe;
pub mod row;

use crate::command::{find_service, proxy_id};
use crate::snapshot::{AdminState, HealthState, RelayedView, ServerView, ServiceView, Snapshot};

use row::{Field, Form, Row};

pub use row::quoted;

/// Names in the order of HAProxy 2.6, with those of its modules after the `-`.
#[rustfmt::skip]
pub const COLUMNS: [&str; 128] = [
    "pxname", "svname", "qcur", "qmax", "scur", "smax", "slim", "stot", "bin", "bout", "dreq",
    "dresp", "ereq", "econ", "eresp", "wretr", "wredis", "status", "weight", "act", "bck",
    "chkfail", "chkdown", "lastchg", "downtime", "qlimit", "pid", "iid", "sid", "throttle",
    "lbtot", "tracked", "type", "rate", "rate_lim", "rate_max", "check_status", "check_code",
    "check_duration", "hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other",
    "hanafail", "req_rate", "req_rate_max", "req_tot", "cli_abrt", "srv_abrt", "comp_in",
    "comp_out", "comp_byp", "comp_rsp", "lastsess", "last_chk", "last_agt", "qtime", "ctime",
    "rtime", "ttime", "agent_status", "agent_code", "agent_duration", "check_desc", "agent_desc",
    "check_rise", "check_fall", "check_health", "agent_rise", "agent_fall", "agent_health",
    "addr", "cookie", "mode", "algo", "conn_rate", "conn_rate_max", "conn_tot", "intercepted",
    "dcon", "dses", "wrew", "connect", "reuse", "cache_lookups", "cache_hits", "srv_icur",
    "src_ilim", "qtime_max", "ctime_max", "rtime_max", "ttime_max", "eint", "idle_conn_cur",
    "safe_conn_cur", "used_conn_cur", "need_conn_est", "uweight", "agg_server_status",
    "agg_server_check_status", "agg_check_status", "-", "ssl_sess", "ssl_reused_sess",
    "ssl_failed_handshake", "h2_headers_rcvd", "h2_data_rcvd", "h2_settings_rcvd",
    "h2_rst_stream_rcvd", "h2_goaway_rcvd", "h2_detected_conn_protocol_errors",
    "h2_detected_strm_protocol_errors", "h2_rst_stream_resp", "h2_goaway_resp",
    "h2_open_connections", "h2_backend_open_streams", "h2_total_connections",
    "h2_backend_total_streams", "h1_open_connections", "h1_open_streams", "h1_total_connections",
    "h1_total_streams", "h1_bytes_in", "h1_bytes_out", "h1_spliced_bytes_in",
    "h1_spliced_bytes_out",
];

/// Rows that are wanted, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Service by number or name; `None`: all.
    service: Option<String>,
    /// Sum of 1 (frontends), 2 (backends), 4 (servers); `None`: all.
    kinds: Option<i64>,
    /// Server by position; `None`: all.
    server: Option<i64>,
    form: Form,
    /// Of the typed form: with what each cell means.
    described: bool,
    /// Without servers that are not up.
    up: bool,
    /// Without servers in maintenance.
    no_maint: bool,
}

const FRONTEND: i64 = 1;
const BACKEND: i64 = 2;
const SERVER: i64 = 4;

impl Selection {
    /// Understands what follows `show stat`; the error is the text to send.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let mut selection = Self::default();
        let mut flags = words;
        if let ["domain", domain @ ..] = words {
            // HAProxy counts in two: proxies and name servers, of which there are none here.
            let ["proxy", rest @ ..] = domain else {
                return Err("Invalid statistics domain.\n".to_owned());
            };
            flags = rest;
        }
        if let [service, kinds, server, rest @ ..] = flags {
            let any = |number: i64| (number != -1).then_some(number);
            selection.service = (*service != "-1").then(|| (*service).to_owned());
            selection.kinds = any(number(kinds));
            selection.server = any(number(server));
            flags = rest;
        }
        for flag in flags {
            match *flag {
                "typed" => selection.form = Form::Typed { described: false },
                "json" => selection.form = Form::Json,
                "desc" => selection.described = true,
                "up" => selection.up = true,
                "no-maint" => selection.no_maint = true,
                // HAProxy ignores what it does not know here, and tools rely on that.
                _ => {}
            }
        }
        if let Form::Typed { described } = &mut selection.form {
            *described = selection.described;
        }
        Ok(selection)
    }

    fn wants(&self, kind: i64) -> bool {
        self.kinds.is_none_or(|kinds| kinds & kind != 0)
    }

    fn wants_server(&self, server: &ServerView) -> bool {
        let named = |wanted| wanted == i64::from(server.position);
        let word = status(server);
        let up = word.starts_with("UP") || word == "no check";
        self.wants(SERVER)
            && self.server.is_none_or(named)
            && (up || !self.up)
            && !(self.no_maint && server.wish() == AdminState::Maint)
    }
}

/// As C's `atoi` reads it: the number at the start, or 0.
fn number(word: &str) -> i64 {
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(unsigned.len());
    let number = unsigned[..end].parse().unwrap_or(0);
    if word.starts_with('-') {
        -number
    } else {
        number
    }
}

/// The services that a word means, as HAProxy looks for them; `None`: its complaint is due.
fn services<'s>(snapshot: &'s Snapshot, wanted: Option<&str>) -> Option<&'s [ServiceView]> {
    let Some(name) = wanted else {
        return Some(&snapshot.services);
    };
    // A bare number is the number of a proxy, as tools send it, whether there is such a one or not.
    let known =
        find_service(snapshot, name).or_else(|| find_service(snapshot, &format!("#{name}")));
    match known {
        Some(at) => Some(&snapshot.services[at..=at]),
        None if number(name) != 0 => Some(&[]),
        None => None,
    }
}

/// The rows wanted, or HAProxy's complaint.
pub fn render(snapshot: &Snapshot, selection: &Selection) -> String {
    let Some(services) = services(snapshot, selection.service.as_deref()) else {
        return "No such proxy.\n".to_owned();
    };
    let mut text = String::new();
    let mut rows = 0;
    match selection.form {
        Form::Csv => row::header(&mut text),
        Form::Json => text.push('['),
        Form::Typed { .. } => {}
    }
    let mut emit = |row: Row| {
        if selection.form == Form::Json && rows > 0 {
            text.push(',');
        }
        rows += 1;
        row.write(&mut text, selection.form);
    };
    // 0 is what tools say for a frontend or a backend.
    let is_whole = selection.server.is_none_or(|server| server == 0);
    for service in services {
        if selection.wants(FRONTEND) && is_whole {
            emit(frontend(snapshot, service));
        }
        for server in &service.servers {
            if selection.wants_server(server) {
                emit(server_row(service, server));
            }
        }
        if selection.wants(BACKEND) && is_whole {
            emit(backend(service));
        }
    }
    if selection.form == Form::Json {
        text.push_str("]\n");
    }
    text
}

/// HAProxy's word for the state of a server.
pub fn status(server: &ServerView) -> String {
    let agent = server.agent.as_ref();
    let stops = server.by_hand.as_ref().is_some_and(|hand| hand.stopping);
    match (server.wish(), server.health) {
        (AdminState::Maint, _) => return "MAINT".to_owned(),
        (_, HealthState::Up) => {}
        (_, HealthState::Down) if agent.is_some_and(|agent| !agent.up) => {
            return "DOWN (agent)".to_owned();
        }
        // HAProxy has no unknown: a server that takes no flow is down, perhaps on its way up.
        (_, HealthState::Down | HealthState::Unknown) => {
            return match &server.check {
                Some(check) if check.level > 0 && check.level < u32::from(check.rise) => {
                    format!("DOWN {}/{}", check.level, check.rise)
                }
                _ => "DOWN".to_owned(),
            };
        }
    }
    let word = match server.wish() {
        AdminState::Drain if server.admin == AdminState::Ready => {
            return "DRAIN (agent)".to_owned();
        }
        AdminState::Drain => "DRAIN",
        _ if stops => "NOLB",
        _ if server.check.is_none() => return "no check".to_owned(),
        _ => "UP",
    };
    match &server.check {
        Some(check) => {
            let (rise, fall) = (u32::from(check.rise), u32::from(check.fall));
            if check.level >= rise && check.level + 1 < rise + fall {
                format!("{word} {}/{fall}", check.level - rise + 1)
            } else {
                word.to_owned()
            }
        }
        None => word.to_owned(),
    }
}

/// Weight with slow start, as the scheduler uses it; a server that takes flows never falls to 0 by rounding.
fn effective_weight(server: &ServerView) -> u64 {
    let weight = u64::from(server.weight);
    (weight * u64::from(server.ramp_percent))
        .div_ceil(100)
        .min(weight)
}

fn sum(service: &ServiceView, of: impl Fn(&ServerView) -> u64) -> u64 {
    service.servers.iter().map(of).sum()
}

const fn queued(service: &ServiceView, server: &ServerView) -> u64 {
    if is_proxy(service) { server.pending } else { 0 }
}

/// Counts of the kernel are signed, because a drift may take them below zero for a moment.
fn active(server: &ServerView) -> u64 {
    u64::try_from(server.active).unwrap_or(0)
}

fn common(service: &ServiceView, name: &str, sid: u32, kind: u32) -> Row {
    let mut row = Row::new(
        match kind {
            0 => 'F',
            1 => 'B',
            _ => 'S',
        },
        proxy_id(service),
        sid,
    );
    row.text(Field(0, "KNS"), &service.name);
    row.text(Field(1, "KNS"), name);
    row.u32(Field(26, "KGP"), 1u64);
    row.u32(Field(27, "KGS"), proxy_id(service));
    row.u32(Field(28, "KGS"), sid);
    row.u32(Field(32, "CGS"), kind);
    row.text(
        Field(75, "CGS"),
        if is_proxy(service) { "http" } else { "tcp" },
    );
    row
}

/// Layer 7: with requests and responses.
const fn is_proxy(service: &ServiceView) -> bool {
    service.layer == 7
}

/// Of all servers.
fn statuses(service: &ServiceView) -> [u64; 5] {
    let servers = service.servers.iter().filter_map(|server| server.relayed);
    servers.fold([0; 5], |sum, relayed| {
        std::array::from_fn(|class| sum[class] + relayed.statuses[class])
    })
}

fn fill_statuses(row: &mut Row, statuses: [u64; 5]) {
    for (class, count) in statuses.into_iter().enumerate() {
        row.u64(Field(39 + class, "MCP"), count);
    }
}

/// What only a process can count of its servers.
fn fill_relayed(row: &mut Row, relayed: &RelayedView) {
    row.u64(Field(13, "MCP"), relayed.connect_errors);
    row.u64(Field(14, "MCP"), relayed.response_errors);
    row.u64(Field(15, "MCP"), relayed.retries);
    row.u64(Field(16, "MCP"), relayed.redispatches);
}

fn frontend(snapshot: &Snapshot, service: &ServiceView) -> Row {
    let mut row = common(service, "FRONTEND", 0, 0);
    let opened = sum(service, |server| server.opened);
    let rate = sum(service, |server| server.rate);
    if service.clients.is_none() {
        row.u32(Field(4, "MGP"), sum(service, active));
        row.u32(Field(6, "CLP"), snapshot.dataplane.max_flows);
        row.u64(Field(7, "MCP"), opened);
        row.u64(Field(79, "MCP"), opened);
    }
    row.u64(Field(8, "MCP"), sum(service, |server| server.bytes));
    let state = match service.paused_by {
        Some(_) if service.shut_down => "STOP",
        Some(_) => "PAUSED",
        None => "OPEN",
    };
    row.text(Field(17, "SGP"), state);
    row.u32(Field(33, "MRP"), rate);
    row.u32(Field(77, "MRP"), rate);
    if let Some(clients) = &service.clients {
        row.u32(Field(4, "MGP"), clients.open);
        if clients.most != 0 {
            row.u32(Field(6, "CLP"), clients.most);
        }
        row.u64(Field(7, "MCP"), clients.connections);
        row.u64(Field(79, "MCP"), clients.connections);
        if is_proxy(service) {
            fill_statuses(&mut row, statuses(service));
            row.u64(Field(48, "MCP"), clients.requests);
            let [full, resumed, failed] = clients.handshakes;
            row.u64(Field(104, "MCP"), full + resumed);
            row.u64(Field(105, "MCP"), resumed);
            row.u64(Field(106, "MCP"), failed);
        }
    }
    row
}

fn server_row(service: &ServiceView, server: &ServerView) -> Row {
    let mut row = common(service, &server.name, server.position, 2);
    // A flow that finds no room goes to another server at once; a request waits.
    row.u32(Field(2, "MGP"), queued(service, server));
    row.u32(Field(3, "MMP"), 0u64);
    row.u32(Field(4, "MGP"), active(server));
    row.u32(
        Field(5, "MMP"),
        u64::try_from(server.active_max).unwrap_or(0),
    );
    if let Some(cap) = server.max_connections {
        row.u32(Field(6, "CLP"), cap);
    }
    row.u64(Field(7, "MCP"), server.opened);
    row.u64(Field(8, "MCP"), server.bytes);
    row.text(Field(17, "SGP"), &status(server));
    row.u32(Field(18, "MaP"), effective_weight(server));
    row.u32(Field(19, "SGP"), u32::from(!server.backup));
    row.u32(Field(20, "SGP"), u32::from(server.backup));
    if let Some(check) = &server.check {
        row.u64(Field(21, "MCP"), check.failures);
        row.u64(Field(22, "MCP"), check.falls);
    }
    row.u32(Field(23, "MAP"), server.since);
    if server.check.is_some() {
        row.u32(Field(24, "MCP"), server.downtime);
    }
    if server.ramp_percent < 100 {
        row.u32(Field(29, "MGP"), server.ramp_percent);
    }
    row.u64(Field(30, "MCP"), server.opened);
    row.u32(Field(33, "MRP"), server.rate);
    row.u32(Field(35, "MMP"), server.rate_max);
    if let Some(relayed) = &server.relayed {
        fill_relayed(&mut row, relayed);
        if is_proxy(service) {
            fill_statuses(&mut row, relayed.statuses);
        }
    }
    if let Some(agent) = &server.agent {
        row.text(Field(62, "MOP"), &agent.code);
        if agent.code != "INI" {
            row.u64(Field(64, "MDP"), agent.duration_ms);
        }
        row.text(Field(57, "MOP"), &agent.detail.replace(',', ";"));
        row.text(Field(66, "MOP"), describe_code(&agent.code));
        // What an agent says holds at once.
        row.u32(Field(70, "CGS"), 1u64);
        row.u32(Field(71, "CGS"), 1u64);
        row.u32(Field(72, "CGS"), u64::from(agent.up));
    }
    // Maintenance stops the checks, and with them what they last said.
    if let Some(check) = &server.check {
        if server.wish() != AdminState::Maint {
            row.text(Field(36, "MOP"), &check.code);
            if let Some(reply) = check.reply {
                row.u32(Field(37, "MOP"), reply);
            }
            if check.code != "INI" {
                row.u64(Field(38, "MDP"), check.duration_ms);
            }
            // Many scripts cut rows at commas and do not look at quotes.
            row.text(Field(56, "MOP"), &check.detail.replace(',', ";"));
            row.text(Field(65, "MOP"), describe_code(&check.code));
        }
        row.u32(Field(67, "CGS"), check.rise);
        row.u32(Field(68, "CGS"), check.fall);
        row.u32(Field(69, "CGS"), check.level);
    }
    row.s32(Field(55, "MAP"), since_last_flow(server.last_flow));
    if let Some(address) = server.address {
        row.text(
            Field(73, "CGS"),
            &std::net::SocketAddr::new(address, server.port).to_string(),
        );
    }
    row.u32(Field(99, "MaP"), server.weight);
    row
}

fn backend(service: &ServiceView) -> Row {
    let mut row = common(service, "BACKEND", 0, 1);
    let usable = |backup: bool| {
        sum(service, |server| {
            u64::from(server.usable && server.backup == backup)
        })
    };
    let usable_weight = |of: fn(&ServerView) -> u64| {
        sum(
            service,
            move |server| if server.usable { of(server) } else { 0 },
        )
    };
    row.u32(
        Field(2, "MGP"),
        sum(service, |server| queued(service, server)),
    );
    row.u32(Field(3, "MMP"), 0u64);
    row.u32(Field(4, "MGP"), sum(service, active));
    row.u64(Field(7, "MCP"), sum(service, |server| server.opened));
    row.u64(Field(8, "MCP"), sum(service, |server| server.bytes));
    let up = service.servers.iter().any(|server| server.usable);
    row.text(Field(17, "SGP"), if up { "UP" } else { "DOWN" });
    row.u32(Field(18, "MaP"), usable_weight(effective_weight));
    row.u32(Field(19, "MGP"), usable(false));
    row.u32(Field(20, "MGP"), usable(true));
    row.u64(Field(22, "MCP"), service.downs);
    row.u32(Field(23, "MAP"), service.since);
    row.u64(Field(30, "MCP"), sum(service, |server| server.opened));
    row.u32(Field(33, "MGP"), sum(service, |server| server.rate));
    let relayed = service.servers.iter().filter_map(|server| server.relayed);
    let relayed = relayed.reduce(|a, b| RelayedView {
        connect_errors: a.connect_errors + b.connect_errors,
        response_errors: a.response_errors + b.response_errors,
        retries: a.retries + b.retries,
        redispatches: a.redispatches + b.redispatches,
        statuses: std::array::from_fn(|class| a.statuses[class] + b.statuses[class]),
    });
    if let Some(relayed) = &relayed {
        fill_relayed(&mut row, relayed);
        if is_proxy(service) {
            fill_statuses(&mut row, relayed.statuses);
        }
    }
    row.s32(
        Field(55, "MAP"),
        since_last_flow(
            service
                .servers
                .iter()
                .filter_map(|server| server.last_flow)
                .min(),
        ),
    );
    row.text(Field(76, "CGS"), &service.scheduler);
    row.u32(
        Field(99, "MaP"),
        usable_weight(|server| u64::from(server.weight)),
    );
    row
}

fn since_last_flow(seconds: Option<u64>) -> i64 {
    seconds.map_or(-1, |seconds| i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn describe_code(code: &str) -> &'static str {
    match code {
        "INI" => "Initializing",
        "SOCKERR" => "Socket error",
        "L4OK" => "Layer4 check passed",
        "L4TOUT" => "Layer4 timeout",
        "L4CON" => "Layer4 connection problem",
        "L6OK" => "Layer6 check passed",
        "L6TOUT" => "Layer6 timeout",
        "L6RSP" => "Layer6 invalid response",
        "L7OK" => "Layer7 check passed",
        "L7TOUT" => "Layer7 timeout",
        "L7RSP" => "Layer7 invalid response",
        "L7STS" => "Layer7 wrong status",
        _ => "",
    }
}
