//! What is noted of a request for the access log, from its beginning to its end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::gate::Handle;
use super::log::{
    Connections, Queue, Record, RequestLine, Times, Tls, Writer, write_httplog, write_json,
};
use super::serve::Client;
use super::table::Server;
use crate::config::LogFormat;

/// Where lines go, and in which form.
#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    pub writer: Arc<Writer>,
}

impl Log {
    fn line(&self, record: &Record<'_>) -> String {
        let mut line = String::with_capacity(256);
        match self.format {
            LogFormat::Json => write_json(record, &mut line),
            LogFormat::Httplog => write_httplog(record, &mut line),
        }
        line
    }
}

/// Notes of one request, where there is a log.
#[derive(Clone)]
pub struct Journal(Option<Rc<RefCell<Notes>>>);

struct Notes {
    log: Log,
    client: Rc<Client>,
    started: Instant,
    start_ms: u64,
    method: String,
    target: String,
    version: &'static str,
    host: String,
    request_id: String,
    server: Option<Arc<Server>>,
    times: Times,
    retries: u32,
    redispatched: bool,
    cookie: [char; 2],
    status: Option<u16>,
    /// Its line is written.
    is_written: bool,
}

impl Drop for Notes {
    /// The client has gone before there was a response, or an operator has ended it.
    fn drop(&mut self) {
        if self.is_written {
            return;
        }
        let phase = match (self.times.queue, self.times.connect) {
            (None, _) => 'Q',
            (Some(_), None) => 'C',
            (Some(_), Some(_)) => 'H',
        };
        let who = match self.client.session().is_cut() {
            true => 'K',
            false => 'C',
        };
        let line = self.line(None, 0, 0, [who, phase], self.started.elapsed());
        self.log.writer.write(line);
    }
}

impl Journal {
    /// `log`: `None` where nothing is to be noted.
    pub fn begin<B>(
        log: Option<&Log>,
        client: &Rc<Client>,
        request: &http::Request<B>,
        host: &str,
        request_id: &str,
    ) -> Self {
        let Some(log) = log else {
            return Self(None);
        };
        let path = request.uri().path_and_query();
        let began = client.gate.as_ref().and_then(Handle::request_began);
        // With HTTP/2 heads come in one piece, as a rule.
        let reading = began.map_or(Duration::ZERO, |began| began.elapsed());
        let reading_ms = u64::try_from(reading.as_millis()).unwrap_or(u64::MAX);
        Self(Some(Rc::new(RefCell::new(Notes {
            log: log.clone(),
            client: Rc::clone(client),
            started: Instant::now(),
            start_ms: now_ms().saturating_sub(reading_ms),
            method: request.method().as_str().to_owned(),
            target: path.map_or_else(|| "*".to_owned(), ToString::to_string),
            version: match request.version() {
                http::Version::HTTP_10 => "HTTP/1.0",
                http::Version::HTTP_2 => "HTTP/2.0",
                _ => "HTTP/1.1",
            },
            host: host.to_owned(),
            request_id: request_id.to_owned(),
            server: None,
            times: Times {
                request: Some(reading),
                ..Times::default()
            },
            retries: 0,
            redispatched: false,
            cookie: ['-', '-'],
            status: None,
            is_written: false,
        }))))
    }

    fn note(&self, note: impl FnOnce(&mut Notes, Duration)) {
        if let Some(notes) = &self.0 {
            let mut notes = notes.borrow_mut();
            let passed = notes.started.elapsed();
            note(&mut notes, passed);
        }
    }

    /// What the session cookie asked for.
    pub fn asked(&self, letter: char) {
        self.note(|notes, _| notes.cookie[0] = letter);
    }

    /// There is a place at this server.
    pub fn placed(&self, server: &Arc<Server>) {
        self.note(|notes, passed| {
            notes.server = Some(Arc::clone(server));
            notes.times.queue = Some(passed);
        });
    }

    pub fn connected(&self) {
        self.note(|notes, passed| {
            let before = notes.times.queue.unwrap_or_default();
            notes.times.connect = Some(passed.saturating_sub(before));
        });
    }

    pub fn retried(&self, redispatched: bool) {
        self.note(|notes, _| {
            notes.retries += 1;
            notes.redispatched |= redispatched;
        });
    }

    /// The head of the response is there; `letter` is what was done about the session cookie.
    pub fn responded(&self, status: u16, letter: Option<char>) {
        self.note(|notes, passed| {
            let before = notes.times.queue.unwrap_or_default();
            let before = before + notes.times.connect.unwrap_or_default();
            notes.times.response = Some(passed.saturating_sub(before));
            notes.status = Some(status);
            if let Some(letter) = letter {
                notes.cookie[1] = letter;
            }
        });
    }

    /// Writes the line. `letters` are HAProxy's two for how it ended.
    pub fn end(&self, status: Option<u16>, bytes_in: u64, bytes_out: u64, letters: [char; 2]) {
        self.note(|notes, passed| {
            let line = notes.line(status, bytes_in, bytes_out, letters, passed);
            notes.log.writer.write(line);
            notes.is_written = true;
        });
    }

    /// The line of what is no request. `status`: what was answered, if anything.
    pub fn refused(client: &Rc<Client>, status: Option<u16>, termination: [char; 2]) {
        let in_force = client.listen.proxy.in_force.load();
        let Some(log) = &in_force.log else {
            return;
        };
        let record = Record {
            start_ms: now_ms(),
            times: Times::default(),
            termination,
            status,
            ..of(client)
        };
        log.writer.write(log.line(&record));
    }
}

impl Notes {
    fn line(
        &self,
        status: Option<u16>,
        bytes_in: u64,
        bytes_out: u64,
        termination: [char; 2],
        total: Duration,
    ) -> String {
        let server = self.server.as_ref();
        let load = server.map_or(0, |server| few(server.stats.load()));
        let common = of(&self.client);
        let record = Record {
            start_ms: self.start_ms,
            times: Times {
                total: total + self.times.request.unwrap_or_default(),
                ..self.times
            },
            server: server.map(|server| server.config.name.as_str()),
            termination,
            cookie: self.cookie,
            status: status.or(self.status),
            bytes_out,
            bytes_in,
            connections: Connections {
                servers: load,
                server: load,
                retries: self.retries,
                redispatched: self.redispatched,
                ..common.connections
            },
            request: Some(RequestLine {
                method: &self.method,
                target: &self.target,
                version: self.version,
            }),
            host: Some(&self.host),
            request_id: Some(&self.request_id),
            ..common
        };
        self.log.line(&record)
    }
}

/// What is true of all that comes from this client.
fn of(client: &Client) -> Record<'_> {
    let proxy = &client.listen.proxy;
    let open = proxy.stats.connections.get();
    let open = few(open.saturating_sub(proxy.stats.closed.get()));
    Record {
        start_ms: 0,
        times: Times::default(),
        client: client.address,
        proxy: &proxy.name,
        server: None,
        termination: ['-', '-'],
        cookie: ['-', '-'],
        status: None,
        bytes_out: 0,
        bytes_in: 0,
        connections: Connections {
            all: open,
            proxy: open,
            ..Connections::default()
        },
        queue: Queue::default(),
        request: None,
        host: None,
        request_id: None,
        tls: client.tls.as_ref().map(|tls| Tls {
            version: tls.version,
            cipher: &tls.cipher,
            sni: tls.name.as_deref(),
            resumed: tls.is_resumed,
        }),
    }
}

fn few(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

/// What was agreed on with a client.
#[derive(Clone, Debug)]
pub struct Session {
    /// `TLSv1.3`
    pub version: &'static str,
    pub cipher: String,
    /// The name that it asked for.
    pub name: Option<String>,
    pub is_resumed: bool,
}

impl Session {
    pub fn of(connection: &rustls::ServerConnection) -> Self {
        Self {
            version: match connection.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("-")
                .to_owned(),
            name: connection.server_name().map(str::to_owned),
            is_resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        }
    }
}
