//! The access log: one line for each request.
//!
//! What a line must not be is two lines, or an escape sequence of a terminal: whatever clients send is escaped.

#[cfg(test)]
mod tests;
mod text;
mod writer;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use crate::command::info::{civil_date, log_date};
use text::{hashed, json};

pub use writer::Writer;

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When its first byte came, in milliseconds since 1970.
    pub start_ms: u64,
    pub times: Times,
    pub client: SocketAddr,
    pub proxy: &'a str,
    /// `None`: it was given to none.
    pub server: Option<&'a str>,
    /// HAProxy's two letters: who ended it, and in which state. `--` is a good end.
    pub termination: [char; 2],
    /// What the session cookie asked for, and what was done about it. `--` without one.
    pub cookie: [char; 2],
    /// `None`: it ended without a response.
    pub status: Option<u16>,
    /// To the client: the body.
    pub bytes_out: u64,
    /// From the client: the body.
    pub bytes_in: u64,
    pub connections: Connections,
    pub queue: Queue,
    /// `None`: it could not be read.
    pub request: Option<RequestLine<'a>>,
    /// Its Host or authority.
    pub host: Option<&'a str>,
    pub request_id: Option<&'a str>,
    /// `None`: in clear.
    pub tls: Option<Tls<'a>>,
}

/// How long it took. `None`: it did not come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// From the first byte to the end of the request's header.
    pub request: Option<Duration>,
    /// Until there was a place at a server.
    pub queue: Option<Duration>,
    /// Until there was a connection to it.
    pub connect: Option<Duration>,
    /// From there to the end of the response's header.
    pub response: Option<Duration>,
    /// From the first byte of the request to the last of the response.
    pub total: Duration,
}

/// How many there were when it ended, itself included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Of clients, to all proxies.
    pub all: u32,
    /// Of clients, to this proxy.
    pub proxy: u32,
    /// Requests under way at this proxy's servers.
    pub servers: u32,
    /// Requests under way at its server.
    pub server: u32,
    pub retries: u32,
    /// It went to another server than it first was to.
    pub redispatched: bool,
}

/// How many requests waited before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// For its server.
    pub server: u32,
    /// For any server of the proxy.
    pub proxy: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLine<'a> {
    pub method: &'a str,
    pub target: &'a str,
    /// `HTTP/1.1`
    pub version: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls<'a> {
    /// `TLSv1.3`
    pub version: &'a str,
    pub cipher: &'a str,
    /// The name that the client asked for (RFC 6066 section 3).
    pub sni: Option<&'a str>,
    pub resumed: bool,
}

/// As HAProxy's `option httplog`, whose fields its manual has in section 8.2.3; with an end of line.
///
/// `192.0.2.1:5000 [28/Oct/2026:00:00:00.000] www~ www/mb1 0/0/1/2/3 200 512 - - --VN 1/1/0/0/0 0/0 "GET / HTTP/1.1"`
pub fn write_httplog(record: &Record<'_>, line: &mut String) {
    let address = record.client.ip().to_canonical();
    let _ = write!(line, "{address}:{} ", record.client.port());
    let _ = write!(line, "[{}] ", log_date(record.start_ms));
    hashed(record.proxy, line);
    line.push_str(if record.tls.is_some() { "~ " } else { " " });
    hashed(record.proxy, line);
    line.push('/');
    hashed(record.server.unwrap_or("<NOSRV>"), line);
    let times = &record.times;
    for (before, time) in [
        (' ', times.request),
        ('/', times.queue),
        ('/', times.connect),
        ('/', times.response),
    ] {
        line.push(before);
        match time {
            Some(time) => whole(time, line),
            None => line.push_str("-1"),
        }
    }
    line.push('/');
    whole(times.total, line);
    match record.status {
        Some(status) => _ = write!(line, " {status}"),
        None => line.push_str(" -1"),
    }
    // No cookies are captured.
    let _ = write!(line, " {} - - ", record.bytes_out);
    line.extend(record.termination);
    line.extend(record.cookie);
    let Connections {
        all,
        proxy,
        servers,
        server,
        retries,
        redispatched,
    } = record.connections;
    let plus = if redispatched { "+" } else { "" };
    let _ = write!(line, " {all}/{proxy}/{servers}/{server}/{plus}{retries}");
    let _ = write!(line, " {}/{} \"", record.queue.server, record.queue.proxy);
    match &record.request {
        Some(request) => {
            hashed(request.method, line);
            line.push(' ');
            hashed(request.target, line);
            line.push(' ');
            hashed(request.version, line);
        }
        None => line.push_str("<BADREQ>"),
    }
    line.push_str("\"\n");
}

/// One object, always with the same members in the same order; with an end of line. Times are in milliseconds.
pub fn write_json(record: &Record<'_>, line: &mut String) {
    let seconds = record.start_ms / 1000;
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let _ = write!(
        line,
        "{{\"time\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z\"",
        record.start_ms % 1000
    );
    let address = record.client.ip().to_canonical();
    let _ = write!(
        line,
        ",\"client\":\"{address}\",\"client_port\":{}",
        record.client.port()
    );
    text(line, "proxy", Some(record.proxy));
    text(line, "server", record.server);
    let request = record.request.as_ref();
    text(line, "method", request.map(|request| request.method));
    text(line, "host", record.host);
    text(line, "target", request.map(|request| request.target));
    text(line, "version", request.map(|request| request.version));
    number(line, "status", record.status.map(u64::from));
    number(line, "bytes_in", Some(record.bytes_in));
    number(line, "bytes_out", Some(record.bytes_out));
    let times = &record.times;
    for (name, time) in [
        ("request_ms", times.request),
        ("queue_ms", times.queue),
        ("connect_ms", times.connect),
        ("response_ms", times.response),
        ("total_ms", Some(times.total)),
    ] {
        exact(line, name, time);
    }
    letters(line, "termination", record.termination);
    letters(line, "cookie", record.cookie);
    let Connections {
        all,
        proxy,
        servers,
        server,
        retries,
        redispatched,
    } = record.connections;
    for (name, count) in [
        ("connections", all),
        ("proxy_connections", proxy),
        ("servers_requests", servers),
        ("server_requests", server),
        ("retries", retries),
    ] {
        number(line, name, Some(count.into()));
    }
    let _ = write!(line, ",\"redispatched\":{redispatched}");
    number(line, "server_queue", Some(record.queue.server.into()));
    number(line, "proxy_queue", Some(record.queue.proxy.into()));
    text(line, "request_id", record.request_id);
    let tls = record.tls.as_ref();
    text(line, "tls_version", tls.map(|tls| tls.version));
    text(line, "tls_cipher", tls.map(|tls| tls.cipher));
    text(line, "tls_sni", tls.and_then(|tls| tls.sni));
    match tls {
        Some(tls) => _ = write!(line, ",\"tls_resumed\":{}", tls.resumed),
        None => line.push_str(",\"tls_resumed\":null"),
    }
    line.push_str("}\n");
}

/// Whole milliseconds.
fn whole(time: Duration, line: &mut String) {
    let _ = write!(line, "{}", time.as_millis());
}

/// Milliseconds with microseconds after the point.
fn exact(line: &mut String, name: &str, time: Option<Duration>) {
    let _ = match time.map(|time| time.as_micros()) {
        Some(time) => write!(line, ",\"{name}\":{}.{:03}", time / 1000, time % 1000),
        None => write!(line, ",\"{name}\":null"),
    };
}

fn number(line: &mut String, name: &str, number: Option<u64>) {
    let _ = match number {
        Some(number) => write!(line, ",\"{name}\":{number}"),
        None => write!(line, ",\"{name}\":null"),
    };
}

fn letters(line: &mut String, name: &str, [first, second]: [char; 2]) {
    let _ = write!(line, ",\"{name}\":\"{first}{second}\"");
}

fn text(line: &mut String, name: &str, text: Option<&str>) {
    let _ = write!(line, ",\"{name}\":");
    match text {
        Some(text) => json(text, line),
        None => line.push_str("null"),
    }
}
