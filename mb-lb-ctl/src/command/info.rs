//! `show info` and `show version`: HAProxy's keys, with what is true of mb-lb. What it has nothing of is 0.

use std::fmt::Write as _;

use crate::command::stat::row::{self, JsonCell, Typed};
use crate::snapshot::{AdminState, Snapshot};

/// haproxyadmin speaks to nobody of another name.
const NAME: &str = "HAProxy";
/// Tools decide by this which dialect they may speak; it is the one that the socket follows.
const DIALECT: &str = "2.6.0";
/// Of this version of mb-lb.
const RELEASE_DATE: &str = "2026/11/23";

/// HAProxy's version whose dialect is spoken, then mb-lb's own.
pub fn version(snapshot: &Snapshot) -> String {
    format!("{DIALECT}-mb-lb-{}", snapshot.build)
}

/// What only the process itself can say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Threads that serve clients of proxies.
    pub threads: u32,
    /// Descriptors that it may have open.
    pub files: u32,
    /// Percent of the time since the start that its threads had nothing to do.
    pub idle: u32,
}

/// How the facts are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `Key: value`.
    #[default]
    Text,
    /// With number, tags and type.
    Typed,
    Json,
}

/// What follows `show info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub form: Form,
    /// With what each fact means.
    pub described: bool,
}

impl Request {
    /// Of two forms the last counts, and what is not known is ignored, as in HAProxy.
    pub fn parse(words: &[&str]) -> Self {
        let mut request = Self::default();
        for word in words {
            match *word {
                "typed" => request.form = Form::Typed,
                "json" => request.form = Form::Json,
                "desc" => request.described = true,
                _ => {}
            }
        }
        request
    }
}

struct Fact {
    position: usize,
    key: &'static str,
    tags: &'static str,
    value: Typed,
    /// In one line without quotation marks.
    meaning: &'static str,
}

/// All of HAProxy's keys in its order.
pub fn render(snapshot: &Snapshot, request: Request, process: Process, now_ms: u64) -> String {
    let facts = facts(snapshot, process, now_ms);
    if request.form == Form::Json {
        let facts: Vec<_> = facts
            .iter()
            .map(|fact| JsonCell::new(fact.position, fact.key, fact.tags, &fact.value))
            .collect();
        return format!("{}\n", row::json(&facts));
    }
    let mut text = String::new();
    for fact in facts {
        let (position, key, tags, value) = (fact.position, fact.key, fact.tags, &fact.value);
        // Writing into a String cannot fail.
        let _ = match request.form {
            Form::Typed => write!(text, "{position}.{key}.1:{tags}:{}:{value}", value.kind()),
            _ => write!(text, "{key}: {value}"),
        };
        if request.described {
            let _ = write!(text, ":\"{}\"", fact.meaning);
        }
        text.push('\n');
    }
    text
}

fn facts(snapshot: &Snapshot, process: Process, now_ms: u64) -> Vec<Fact> {
    let servers = || {
        snapshot
            .services
            .iter()
            .flat_map(|service| &service.servers)
    };
    let clients = || {
        snapshot
            .services
            .iter()
            .filter_map(|service| service.clients.as_ref())
    };
    let checks = servers()
        .filter(|server| server.check.is_some() && server.wish() != AdminState::Maint)
        .count();
    let rate: u64 = servers().map(|server| server.rate).sum();
    let listeners: usize = snapshot
        .services
        .iter()
        .map(|service| service.listen.len())
        .sum();
    let handshakes = clients().fold([0, 0, 0], |[full, resumed, failed], clients| {
        let [a, b, c] = clients.handshakes;
        [full + a, resumed + b, failed + c]
    });
    let [full, resumed, _] = handshakes;
    let opened: u64 = servers().map(|server| server.opened).sum();
    let requests: u64 = clients().map(|clients| clients.requests).sum();
    let reused = (resumed * 100).checked_div(full + resumed).unwrap_or(0);
    let connected = snapshot.peer.as_ref().is_some_and(|peer| peer.connected);
    let has_peer = snapshot.peer.is_some();
    let text = |value: &str| Typed::Text(value.to_owned());
    let number = |value: u64| row::u32(value);
    let none = || row::u32(0u64);
    let fact = |position, key, tags, value, meaning| Fact {
        position,
        key,
        tags,
        value,
        meaning,
    };
    let started = (now_ms / 1000).saturating_sub(snapshot.uptime);
    const NOTHING: &str = "Always 0: mb-lb has nothing of the kind";
    vec![
        fact(
            0,
            "Name",
            "POS",
            text(NAME),
            "Whose language is spoken; Version says which program it is",
        ),
        fact(
            1,
            "Version",
            "POS",
            text(&version(snapshot)),
            "The HAProxy version whose language is spoken, then that of mb-lb",
        ),
        fact(
            2,
            "Release_date",
            "POS",
            text(RELEASE_DATE),
            "Date of this version of mb-lb",
        ),
        fact(
            3,
            "Nbthread",
            "CGS",
            number(process.threads.into()),
            "Threads that serve clients of proxies",
        ),
        fact(4, "Nbproc", "CGS", number(1), "Always 1"),
        fact(5, "Process_num", "KGP", number(1), "Always 1"),
        fact(
            6,
            "Pid",
            "SGP",
            number(snapshot.pid.into()),
            "Number of the process",
        ),
        fact(
            7,
            "Uptime",
            "MDP",
            text(&uptime(snapshot.uptime)),
            "Time since the controller started",
        ),
        fact(
            8,
            "Uptime_sec",
            "MDP",
            number(snapshot.uptime),
            "Seconds since the controller started",
        ),
        fact(
            9,
            "Memmax_MB",
            "CLP",
            none(),
            "Limit on memory in MB, 0 for none",
        ),
        fact(10, "PoolAlloc_MB", "MGP", none(), NOTHING),
        fact(11, "PoolUsed_MB", "MGP", none(), NOTHING),
        fact(12, "PoolFailed", "MCP", none(), NOTHING),
        fact(
            13,
            "Ulimit-n",
            "CLP",
            number(process.files.into()),
            "Descriptors that the process may have open",
        ),
        fact(
            14,
            "Maxsock",
            "CLP",
            number(process.files.into()),
            "Descriptors that the process may have open",
        ),
        fact(
            15,
            "Maxconn",
            "CLP",
            number(snapshot.dataplane.max_flows),
            "Room for flows, for each address family",
        ),
        fact(
            16,
            "Hard_maxconn",
            "CLP",
            number(snapshot.dataplane.max_flows),
            "Room for flows, for each address family",
        ),
        fact(
            17,
            "CurrConns",
            "MGP",
            number(snapshot.dataplane.active),
            "Connections that are open",
        ),
        fact(
            18,
            "CumConns",
            "MCP",
            number(opened),
            "Connections since the start",
        ),
        fact(
            19,
            "CumReq",
            "MCP",
            number(opened.max(requests)),
            "Requests of proxies, or connections where those are more",
        ),
        fact(
            20,
            "MaxSslConns",
            "MMP",
            none(),
            "Limit on TLS connections, 0 for none",
        ),
        fact(
            21,
            "CurrSslConns",
            "MGP",
            none(),
            "Always 0: not counted apart from other connections",
        ),
        fact(
            22,
            "CumSslConns",
            "MCP",
            number(full + resumed),
            "TLS handshakes since the start",
        ),
        // Packets never reach user space, and what proxies splice has no limit.
        fact(23, "Maxpipes", "CLP", none(), "Limit on pipes, 0 for none"),
        fact(24, "PipesUsed", "MGP", none(), "Always 0: not counted"),
        fact(25, "PipesFree", "MGP", none(), "Always 0: not counted"),
        fact(
            26,
            "ConnRate",
            "MRP",
            number(rate),
            "New connections in the last second",
        ),
        fact(
            27,
            "ConnRateLimit",
            "CLP",
            none(),
            "Limit on new connections in a second, 0 for none",
        ),
        fact(
            28,
            "MaxConnRate",
            "MMP",
            number(highest(snapshot)),
            "Most new connections that one server has had in a second",
        ),
        fact(
            29,
            "SessRate",
            "MRP",
            number(rate),
            "New connections in the last second",
        ),
        fact(
            30,
            "SessRateLimit",
            "CLP",
            none(),
            "Limit on new connections in a second, 0 for none",
        ),
        fact(
            31,
            "MaxSessRate",
            "MRP",
            number(highest(snapshot)),
            "Most new connections that one server has had in a second",
        ),
        fact(
            32,
            "SslRate",
            "MRP",
            none(),
            "Always 0: not counted apart from other connections",
        ),
        fact(
            33,
            "SslRateLimit",
            "CLP",
            none(),
            "Limit on TLS handshakes in a second, 0 for none",
        ),
        fact(
            34,
            "MaxSslRate",
            "MMP",
            none(),
            "Always 0: not counted apart from other connections",
        ),
        fact(
            35,
            "SslFrontendKeyRate",
            "MGP",
            none(),
            "Always 0: not counted",
        ),
        fact(
            36,
            "SslFrontendMaxKeyRate",
            "MMP",
            none(),
            "Always 0: not counted",
        ),
        fact(
            37,
            "SslFrontendSessionReuse_pct",
            "MGP",
            number(reused),
            "Percent of TLS handshakes that resumed a session",
        ),
        fact(
            38,
            "SslBackendKeyRate",
            "MRP",
            none(),
            "Always 0: not counted",
        ),
        fact(
            39,
            "SslBackendMaxKeyRate",
            "MMP",
            none(),
            "Always 0: not counted",
        ),
        fact(40, "SslCacheLookups", "MCP", none(), NOTHING),
        fact(41, "SslCacheMisses", "MCP", none(), NOTHING),
        fact(42, "CompressBpsIn", "MRP", none(), NOTHING),
        fact(43, "CompressBpsOut", "MRP", none(), NOTHING),
        fact(44, "CompressBpsRateLim", "CLP", none(), NOTHING),
        // Checks under way: the tasks that an operator would count.
        fact(
            47,
            "Tasks",
            "MGP",
            number(checks as u64),
            "Checks that are run",
        ),
        fact(48, "Run_queue", "MGP", none(), "Always 0: not counted"),
        fact(
            49,
            "Idle_pct",
            "MaP",
            number(process.idle.into()),
            "Percent of the time since the start without work",
        ),
        fact(
            50,
            "node",
            "COS",
            text(&snapshot.director),
            "Name of the director",
        ),
        fact(
            52,
            "Stopping",
            "MGP",
            none(),
            "Always 0: a controller that stops answers no more",
        ),
        fact(
            53,
            "Jobs",
            "MGP",
            number((checks + listeners) as u64),
            "Checks and listeners",
        ),
        fact(54, "Unstoppable Jobs", "MGP", none(), NOTHING),
        fact(
            55,
            "Listeners",
            "MGP",
            number(listeners as u64),
            "Addresses and ports of all services",
        ),
        fact(
            56,
            "ActivePeers",
            "MGP",
            number(has_peer.into()),
            "1 where another director is configured",
        ),
        fact(
            57,
            "ConnectedPeers",
            "MGP",
            number(connected.into()),
            "1 while the other director is connected",
        ),
        fact(
            58,
            "DroppedLogs",
            "MGP",
            number(clients().map(|clients| clients.unlogged).sum()),
            "Lines of access logs that were dropped",
        ),
        fact(59, "BusyPolling", "MGP", none(), NOTHING),
        fact(60, "FailedResolutions", "MGP", none(), NOTHING),
        fact(
            61,
            "TotalBytesOut",
            "MGP",
            Typed::U64(0),
            "Always 0: with direct server return the answers do not come by",
        ),
        fact(
            62,
            "TotalSplicdedBytesOut",
            "MGP",
            Typed::U64(0),
            "Always 0: not counted",
        ),
        fact(
            63,
            "BytesOutRate",
            "MRP",
            Typed::U64(0),
            "Always 0: with direct server return the answers do not come by",
        ),
        fact(64, "DebugCommandsIssued", "MGP", none(), NOTHING),
        fact(65, "CumRecvLogs", "MCP", none(), NOTHING),
        fact(
            66,
            "Build info",
            "POS",
            text(&version(snapshot)),
            "As Version",
        ),
        fact(
            67,
            "Memmax_bytes",
            "CLP",
            none(),
            "Limit on memory in bytes, 0 for none",
        ),
        fact(68, "PoolAlloc_bytes", "MGP", Typed::U64(0), NOTHING),
        fact(69, "PoolUsed_bytes", "MGP", Typed::U64(0), NOTHING),
        fact(
            70,
            "Start_time_sec",
            "MDP",
            number(started),
            "When the controller started, in seconds of Unix time",
        ),
        fact(71, "Tainted", "SGP", text("0"), NOTHING),
    ]
}

fn highest(snapshot: &Snapshot) -> u64 {
    let services = snapshot.services.iter();
    let rates = services.flat_map(|service| service.servers.iter().map(|server| server.rate_max));
    rates.max().unwrap_or(0)
}

/// As HAProxy writes it: `0d 0h02m00s`.
pub fn uptime(seconds: u64) -> String {
    format!(
        "{}d {}h{:02}m{:02}s",
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `23/Nov/2026:12:17:37.358`, in UTC.
pub fn log_date(now_ms: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (year, month, day) = civil_date(now_ms / 86_400_000);
    let second = now_ms / 1000;
    format!(
        "{day:02}/{}/{year:04}:{:02}:{:02}:{:02}.{:03}",
        MONTHS[month as usize - 1],
        second / 3600 % 24,
        second / 60 % 60,
        second % 60,
        now_ms % 1000
    )
}

/// `2026-11-23`, of Unix seconds, in UTC.
pub fn date(seconds: i64) -> String {
    let (year, month, day) = civil_date(u64::try_from(seconds).unwrap_or(0) / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01, proleptic Gregorian.
pub fn civil_date(days: u64) -> (u64, u64, u64) {
    // Years that begin in March put the leap day last, so lengths of months follow one formula.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_780, (2026, 11, 23)),
            (20_818, (2026, 12, 31)),
            (20_819, (2027, 1, 1)),
        ] {
            assert_eq!(civil_date(days), date, "day {days}");
        }
        assert_eq!(log_date(1_795_436_257_358), "23/Nov/2026:12:17:37.358");
    }

    #[test]
    fn uptime_is_written_as_haproxy_writes_it() {
        assert_eq!(uptime(120), "0d 0h02m00s");
        assert_eq!(uptime(12 * 86_400 + 4 * 3600 + 65), "12d 4h01m05s");
    }
}
