//! What is noted of a request for the access log, from its beginning to its end.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

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
    address: SocketAddr,
    server: Option<Arc<Server>>,
    times: Times,
    retries: u32,
    redispatched: bool,
    cookie: [char; 2],
    status: Option<u16>,
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
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let path = request.uri().path_and_query();
        Self(Some(Rc::new(RefCell::new(Notes {
            log: log.clone(),
            client: Rc::clone(client),
            started: Instant::now(),
            start_ms: since.map_or(0, |time| {
                u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
            }),
            method: request.method().as_str().to_owned(),
            target: path.map_or_else(|| "*".to_owned(), ToString::to_string),
            version: match request.version() {
                http::Version::HTTP_10 => "HTTP/1.0",
                http::Version::HTTP_2 => "HTTP/2.0",
                _ => "HTTP/1.1",
            },
            host: host.to_owned(),
            request_id: request_id.to_owned(),
            address: client.address,
            server: None,
            times: Times {
                // The head is read before anybody is asked.
                request: Some(Duration::ZERO),
                ..Times::default()
            },
            retries: 0,
            redispatched: false,
            cookie: ['-', '-'],
            status: None,
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
        });
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
        let few = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let proxy = &self.client.listen.proxy;
        let open = proxy
            .stats
            .connections
            .get()
            .saturating_sub(proxy.stats.closed.get());
        let server = self.server.as_ref();
        let record = Record {
            start_ms: self.start_ms,
            times: Times {
                total,
                ..self.times
            },
            client: self.address,
            proxy: &proxy.name,
            server: server.map(|server| server.config.name.as_str()),
            termination,
            cookie: self.cookie,
            status: status.or(self.status),
            bytes_out,
            bytes_in,
            connections: Connections {
                all: few(open),
                proxy: few(open),
                servers: server.map_or(0, |server| few(server.stats.load())),
                server: server.map_or(0, |server| few(server.stats.load())),
                retries: self.retries,
                redispatched: self.redispatched,
            },
            queue: Queue::default(),
            request: Some(RequestLine {
                method: &self.method,
                target: &self.target,
                version: self.version,
            }),
            host: Some(&self.host),
            request_id: Some(&self.request_id),
            tls: self.client.tls.as_ref().map(|tls| Tls {
                version: tls.version,
                cipher: &tls.cipher,
                sni: tls.name.as_deref(),
                resumed: tls.is_resumed,
            }),
        };
        let mut line = String::with_capacity(256);
        match self.log.format {
            LogFormat::Json => write_json(&record, &mut line),
            LogFormat::Httplog => write_httplog(&record, &mut line),
        }
        line
    }
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
