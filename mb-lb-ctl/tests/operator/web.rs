//! The page, the API and metrics: what they say, to whom, and what bad clients come to.

mod limits;
mod page;
mod requests;
mod text;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mb_lb_ctl::config;
use mb_lb_ctl::snapshot::Snapshot;

use crate::daemon::Daemon;

/// Longer than anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon with a page.
struct Site {
    daemon: Daemon,
    address: SocketAddr,
}

/// What a request was answered with.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut fields = fields.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        fields.next().map(|(_, value)| value)
    }
}

impl Site {
    fn open(snapshot: Snapshot) -> Self {
        Self::start(snapshot, "")
    }

    /// For `admin` with the password `s3cret`.
    fn locked(snapshot: Snapshot) -> Self {
        Self::start(snapshot, "user = \"admin\"\npassword = \"s3cret\"\n")
    }

    fn start(snapshot: Snapshot, login: &str) -> Self {
        // Free a moment ago; the listener tries again should somebody take it.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let text = format!(
            "[admin]\nhttp = \"{address}\"\n{login}[service.smtp]\nlisten = \"192.168.1.100:25\"\n\
             servers = {{ mb1 = \"192.168.1.101\", mb2 = \"192.168.1.102\" }}\n"
        );
        let config = config::parse(&text, "lb1").config.expect("a good file");
        let daemon = Daemon::start_with(snapshot, config.admin.http);
        let site = Self { daemon, address };
        drop(site.connect());
        site
    }

    fn connect(&self) -> TcpStream {
        let until = Instant::now() + PATIENCE;
        loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    return stream;
                }
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Bytes out, bytes in until the other side closes.
    fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // Who is refused early may find the door closed before all is said.
        let _ = stream.write_all(request);
        answer(&mut stream)
    }

    fn request(&self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: lb1:8404\r\n{fields}content-length: {length}\r\n\r\n{body}"
        );
        self.raw(request.as_bytes())
    }

    fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "", "")
    }

    /// With the password.
    fn get_as_admin(&self, path: &str) -> Answer {
        self.request("GET", path, &basic("admin:s3cret"), "")
    }

    fn post(&self, fields: &str, body: &str) -> Answer {
        self.request("POST", "/stats", fields, body)
    }
}

fn basic(credentials: &str) -> String {
    format!("authorization: Basic {}\r\n", STANDARD.encode(credentials))
}

fn answer(stream: &mut TcpStream) -> Answer {
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        panic!("no answer: {read:?}, {text:?}");
    };
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
